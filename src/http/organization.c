/* organization.c - usage and costs of the whole account, as OpenAI shapes them: pages of buckets of time, each with its results. A bucket
 * begins at a multiple of its width (of UTC), the first one of a page too. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/admin.h"
#include "http/dialects/usage_query.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "service/account/money.h"
#include "service/account/usage_buckets.h"

enum { MOST_RESULTS = 5000 /* of a bucket */ };

struct result {
    char *name[N_BY]; /* NULL: not told apart by it */
    int64_t requests, prompt, cached, completion, pictures, cost;
};

/* The page as it grows: buckets come in their order, and those without a row have no results. */
struct report {
    const struct usage_query *q;
    struct buf b;
    int64_t bucket_s, last_s; /* the one that is open, and the end of the page */
    struct result *v;
    int n;
};

static void put_name(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, ",\"%s\":", name);
    json_out_cstr(b, value);
}

static void put_result(struct buf *b, const struct result *r, enum usage_kind kind)
{
    char dollars[MONEY_TEXT];
    switch (kind) {
    case USAGE_OF_TEXT:
        buf_printf(b,
                   "{\"object\":\"organization.usage.completions.result\",\"input_tokens\":%" PRId64
                   ",\"output_tokens\":%" PRId64 ",\"input_cached_tokens\":%" PRId64
                   ",\"input_audio_tokens\":0,\"output_audio_tokens\":0,\"num_model_requests\":%" PRId64,
                   r->prompt, r->completion, r->cached, r->requests);
        break;
    case USAGE_OF_PICTURES:
        buf_printf(b,
                   "{\"object\":\"organization.usage.images.result\",\"images\":%" PRId64
                   ",\"num_model_requests\":%" PRId64 ",\"size\":null",
                   r->pictures, r->requests);
        put_name(b, "source", r->name[BY_SOURCE]);
        break;
    case USAGE_OF_MONEY:
        buf_printf(b,
                   "{\"object\":\"organization.costs.result\",\"amount\":{\"value\":%s,\"currency\":\"usd\"}",
                   money_print(r->cost, dollars));
        put_name(b, "line_item", r->name[BY_MODEL]);
        break;
    }
    put_name(b, "project_id", r->name[BY_PROJECT]);
    put_name(b, "api_key_id", r->name[BY_KEY]);
    if (kind != USAGE_OF_MONEY) put_name(b, "model", r->name[BY_MODEL]);
    buf_puts(b, ",\"user_id\":null");
    if (kind == USAGE_OF_TEXT) buf_puts(b, ",\"batch\":null,\"service_tier\":null");
    buf_putc(b, '}');
}

static void drop_results(struct report *r)
{
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < N_BY; k++) free(r->v[i].name[k]);
    r->n = 0;
}

/* Prints the open bucket, and those behind it up to `until_s`. */
static void close_buckets(struct report *r, int64_t until_s)
{
    const int64_t width = r->q->width_s;
    for (; r->bucket_s < until_s; r->bucket_s += width) {
        if (r->b.data[r->b.len - 1] == '}') buf_putc(&r->b, ',');
        buf_printf(&r->b,
                   "{\"object\":\"bucket\",\"start_time\":%" PRId64 ",\"end_time\":%" PRId64 ",\"results\":[",
                   r->bucket_s, r->bucket_s + width);
        for (int i = 0; i < r->n; i++) {
            if (i) buf_putc(&r->b, ',');
            put_result(&r->b, &r->v[i], r->q->kind);
        }
        buf_puts(&r->b, "]}");
        drop_results(r);
    }
}

static bool same(const char *const name[N_BY], const struct result *r)
{
    for (int k = 0; k < N_BY; k++)
        if (name[k] && strcmp(name[k], r->name[k]) != 0) return false;
    return true;
}

/* The result that a part belongs to, a new one where there is none yet. NULL: *e says why. */
static struct result *result_of(struct report *r, const char *const name[N_BY], struct err *e)
{
    for (int i = 0; i < r->n; i++)
        if (same(name, &r->v[i])) return &r->v[i];
    if (r->n == MOST_RESULTS) {
        err_set(e, ERR_LIMIT, "more than %d results in one bucket: choose some, or group by less",
                MOST_RESULTS);
        return NULL;
    }
    struct result *v = realloc(r->v, ((size_t)r->n + 1) * sizeof *v), *new;
    if (v) {
        r->v = v;
        new = &v[r->n++];
        *new = (struct result){ .requests = 0 };
        bool ok = true;
        for (int k = 0; k < N_BY; k++) ok = (!name[k] || (new->name[k] = strdup(name[k]))) && ok;
        if (ok) return new;
    }
    err_set(e, ERR_NOMEM, "out of memory");
    return NULL;
}

static const char *source_of(const char *endpoint)
{
    return !strcmp(endpoint, "image edit")        ? "image.edit"
           : !strcmp(endpoint, "image variation") ? "image.variation"
                                                  : "image.generation";
}

static bool take_part(void *arg, const struct usage_part *p, struct err *e)
{
    struct report *r = arg;
    const struct usage_query *q = r->q;
    const char *const value[N_BY] = { [BY_PROJECT] = p->project,
                                      [BY_KEY] = p->key,
                                      [BY_MODEL] = p->model,
                                      [BY_SOURCE] = source_of(p->endpoint) };
    const char *name[N_BY];
    const bool draws = usage_draws(p->endpoint);
    if (q->kind != USAGE_OF_MONEY && draws != (q->kind == USAGE_OF_PICTURES)) return true;
    for (int k = 0; k < N_BY; k++) {
        if (!usage_query_wants(q, (enum usage_by_what)k, value[k])) return true;
        name[k] = q->by & 1U << k ? value[k] : NULL;
    }
    close_buckets(r, p->start_ms / 1000);
    struct result *to = result_of(r, name, e);
    if (!to) return false;
    to->requests += p->requests;
    to->prompt += p->prompt;
    to->cached += p->cached;
    to->completion += p->completion;
    to->pictures += p->pictures;
    to->cost += p->cost;
    return true;
}

static void report(struct exchange *x, const struct usage_query *q)
{
    struct err e = { ERR_NONE, "" };
    struct report r = { .q = q, .b = BUF_INIT(0), .bucket_s = q->page_s / q->width_s * q->width_s };
    const int64_t from_s = r.bucket_s > q->start_s ? r.bucket_s : q->start_s;
    r.last_s = r.bucket_s + q->limit * q->width_s;
    const bool more = r.last_s < q->end_s;
    const int64_t to_s = more ? r.last_s : q->end_s;
    bool ok = buf_puts(&r.b, "{\"object\":\"page\",\"data\":[") || err_set(&e, ERR_NOMEM, "out of memory");
    ok = ok && (from_s >= to_s || usage_buckets(admin_store(x), "", q->width_s * 1000, from_s * 1000,
                                                to_s * 1000, take_part, &r, &e));
    if (ok) {
        close_buckets(&r, to_s);
        buf_printf(&r.b, "],\"has_more\":%s,\"next_page\":", more ? "true" : "false");
        if (more)
            buf_printf(&r.b, "\"page_%" PRId64 "\"}", r.last_s);
        else
            buf_puts(&r.b, "null}");
        admin_reply_text(x, &r.b);
    } else {
        admin_fault(x, &e);
    }
    drop_results(&r);
    free(r.v);
    buf_free(&r.b);
}

struct asked {
    struct usage_query q;
    struct fault f;
    bool ok;
};

static void take_parameter(void *arg, const char *name, const char *value)
{
    struct asked *a = arg;
    a->ok = a->ok && usage_query_take(&a->q, name, value, &a->f);
}

static void answer(struct exchange *x, enum usage_kind kind)
{
    struct asked a = { .ok = true };
    usage_query_init(&a.q, kind);
    exchange_each_query(x, take_parameter, &a);
    if (a.ok && usage_query_whole(&a.q, clock_unix_ms() / 1000, &a.f))
        report(x, &a.q);
    else
        exchange_fault_from(x, &a.f);
    usage_query_free(&a.q);
}

void organization_completions_get(struct exchange *x) { answer(x, USAGE_OF_TEXT); }
void organization_images_get(struct exchange *x) { answer(x, USAGE_OF_PICTURES); }
void organization_costs_get(struct exchange *x) { answer(x, USAGE_OF_MONEY); }
