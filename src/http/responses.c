/* responses.c - Responses: POST /v1/responses, and what can be asked of those that are kept (service/kept_responses.h). */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "format/json_memory.h"
#include "http/count_tokens.h"
#include "http/dialects/responses.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "http/text.h"
#include "service/account/keyring.h"
#include "service/kept_responses.h"

enum { MOST_BEFORE = 10000 /* responses that one goes on from, one from the other */ };

/* A key of the store is who it is when it was rotated, too. */
static void owner_of(const struct exchange *x, char out[KEPT_OWNER])
{
    const struct principal *who = exchange_who(x);
    if (who->key)
        snprintf(out, KEPT_OWNER, "%s", who->key->id);
    else
        sodium_bin2hex(out, KEPT_OWNER, who->hash, sizeof who->hash);
}

static json_t *parsed(const char *text, size_t len)
{
    json_error_t why;
    return json_loadb(text, len, JSON_DECODE_ANY, &why);
}

/* ---- keeping ------------------------------------------------------------------------------------------------------- */

struct keeping { /* until the response is whole */
    struct kept_responses *kept;
    char owner[KEPT_OWNER], previous[KEPT_ID], request[80];
    json_t *input; /* its own items */
};

static void keeping_free(void *arg)
{
    struct keeping *k = arg;
    json_decref(k->input);
    free(k);
}

static void keep(void *arg, const struct wire_reply *r, const struct wire_choice *c, const struct usage *u)
{
    struct keeping *k = arg;
    struct buf b = BUF_INIT(0);
    char *input = json_memory_dumps(k->input, JSON_COMPACT);
    r->request->style->printer->full(&b, r, c, 1, u);
    struct kept_response it = {
        .input = input, .input_len = input ? strlen(input) : 0, .response = b.data, .response_len = b.len
    };
    snprintf(it.id, sizeof it.id, "%s", r->id);
    memcpy(it.previous, k->previous, sizeof it.previous);
    if (!input || b.failed || !kept_responses_put(k->kept, k->owner, &it, clock_unix_ms()))
        log_warn("%s: its response is not kept: it is too large, or there is no memory", k->request);
    free(input);
    buf_free(&b);
}

static const struct text_sequel keeping_sequel = { keep, keeping_free };

static bool wants_keeping(const json_t *body) { return !json_is_false(json_object_get(body, "store")); }

static struct keeping *keeping_new(struct exchange *x, const json_t *body)
{
    struct keeping *k = calloc(1, sizeof *k);
    const char *previous = json_string_value(json_object_get(body, "previous_response_id"));
    if (!k) return NULL;
    k->kept = exchange_server(x)->kept;
    owner_of(x, k->owner);
    snprintf(k->request, sizeof k->request, "%s", exchange_id(x));
    snprintf(k->previous, sizeof k->previous, "%s", previous ? previous : "");
    k->input = responses_input_items(json_object_get(body, "input"));
    if (k->input) return k;
    free(k);
    return NULL;
}

/* ---- going on ------------------------------------------------------------------------------------------------------ */

static bool no_memory(struct fault *f) { return err_set(&f->err, ERR_NOMEM, "out of memory"); }

/* Its items in front of those that are there already; *id becomes the response before it. */
static bool put_before(struct exchange *x, const char *owner, char id[KEPT_ID], json_t **items,
                       struct fault *f)
{
    struct kept_response r;
    f->param = "previous_response_id";
    if (!kept_responses_get(exchange_server(x)->kept, owner, id, clock_unix_ms(), &r, &f->err)) {
        if (f->err.code != ERR_NOT_FOUND) return false;
        return err_set(&f->err, ERR_REQUEST, "Previous response with id '%.60s' not found.", id);
    }
    json_t *all = parsed(r.input, r.input_len), *said = parsed(r.response, r.response_len);
    bool ok = all && said && !json_array_extend(all, json_object_get(said, "output")) &&
              !json_array_extend(all, *items);
    json_decref(said);
    memcpy(id, r.previous, KEPT_ID);
    kept_response_free(&r);
    if (!ok) {
        json_decref(all);
        return no_memory(f);
    }
    json_decref(*items);
    *items = all;
    return true;
}

/* All that was said before: new, NULL with the fault set. */
static json_t *items_before(struct exchange *x, const json_t *body, struct fault *f)
{
    const char *previous = json_string_value(json_object_get(body, "previous_response_id"));
    char id[KEPT_ID], owner[KEPT_OWNER];
    json_t *items = json_array();
    owner_of(x, owner);
    snprintf(id, sizeof id, "%s", previous ? previous : "");
    bool ok = items || no_memory(f);
    for (int i = 0; ok && *id; i++) {
        ok = put_before(x, owner, id, &items, f);
        if (ok && i == MOST_BEFORE)
            ok = err_set(&f->err, ERR_REQUEST, "previous_response_id: more than %d responses go before",
                         MOST_BEFORE);
    }
    if (ok) return items;
    json_decref(items);
    return NULL;
}

/* ---- POST ---------------------------------------------------------------------------------------------------------- */

/* Takes over nothing; *keeping is set where the response is to be kept. */
static bool read_request(struct exchange *x, json_t *body, struct wire_request *w, struct keeping **keeping,
                         struct fault *f)
{
    *keeping = NULL;
    json_t *before = items_before(x, body, f);
    const bool ok =
        before && responses_read(w, body, before, exchange_server(x)->o.strict_fields, &responses_style, f);
    json_decref(before);
    if (!ok || !wants_keeping(body) || (*keeping = keeping_new(x, body)) != NULL) return ok;
    wire_free(w);
    return no_memory(f);
}

void responses_post(struct exchange *x)
{
    struct fault f = { 0 };
    struct wire_request w;
    struct keeping *keeping;
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f)) {
        exchange_fault_from(x, &f);
        return;
    }
    if (read_request(x, body, &w, &keeping, &f))
        text_run_read(x, body, &w, keeping ? &keeping_sequel : NULL, keeping);
    else
        exchange_fault_from(x, &f);
    json_decref(body);
}

static void print_count(struct buf *b, int64_t tokens)
{
    buf_printf(b, "{\"object\":\"response.input_tokens\",\"input_tokens\":%lld}", (long long)tokens);
}

void responses_count_post(struct exchange *x) { count_tokens(x, &responses_count_style, print_count); }

/* ---- those that are kept ------------------------------------------------------------------------------------------- */

/* The id in front of the path's rest, which becomes what follows it ("" or "/..."). */
static const char *split_tail(const struct exchange *x, char id[KEPT_ID])
{
    const char *tail = exchange_tail(x);
    const size_t n = strcspn(tail, "/");
    snprintf(id, KEPT_ID, "%.*s", n < KEPT_ID ? (int)n : KEPT_ID - 1, tail);
    return tail + n;
}

static void not_there(struct exchange *x, const struct err *e)
{
    struct fault f = { .err = *e };
    if (e->code == ERR_NOT_FOUND)
        exchange_fault(x, FAULT_NOT_FOUND, NULL, "%s", e->msg);
    else if (e->code == ERR_BUSY)
        exchange_fault(x, FAULT_UNAVAILABLE, NULL,
                       "the place where responses are kept cannot be reached; try again");
    else
        exchange_fault_from(x, &f);
}

static bool find(struct exchange *x, const char *id, struct kept_response *out)
{
    struct err e = { 0 };
    char owner[KEPT_OWNER];
    owner_of(x, owner);
    if (kept_responses_get(exchange_server(x)->kept, owner, id, clock_unix_ms(), out, &e)) return true;
    not_there(x, &e);
    return false;
}

static void nothing_here(struct exchange *x, const char *method)
{
    exchange_fault(x, FAULT_URL, NULL, "there is nothing at %s %.200s", method, exchange_path(x));
}

static void put_item(struct buf *b, const json_t *item, const char *response, size_t i, const char **id,
                     char made_up[KEPT_ID + 16])
{
    const char *own = json_string_value(json_object_get(item, "id"));
    json_t *with = json_copy((json_t *)item);
    snprintf(made_up, KEPT_ID + 16, "item_%.40s%02zx", strlen(response) > 5 ? response + 5 : response, i);
    *id = own ? own : made_up;
    if (with && !own) json_object_set_new(with, "id", json_string(made_up));
    if (with && !json_object_get(with, "type")) json_object_set_new(with, "type", json_string("message"));
    char *text = with ? json_memory_dumps(with, JSON_COMPACT) : NULL;
    json_decref(with);
    if (!text) b->failed = true;
    buf_puts(b, text ? text : "null");
    free(text);
}

/* What of a list is asked for. */
struct page {
    const char *after;
    bool ascending;
    long size;
};

static bool read_page(struct exchange *x, struct page *p)
{
    const char *limit = exchange_query(x, "limit"), *order = exchange_query(x, "order");
    char *end = NULL;
    p->after = exchange_query(x, "after");
    p->ascending = order && !strcmp(order, "asc");
    p->size = limit ? strtol(limit, &end, 10) : 20;
    if ((limit && (end == limit || *end)) || p->size < 1 || p->size > 100) {
        exchange_fault(x, FAULT_INVALID, "limit", "limit must be a number from 1 to 100");
        return false;
    }
    if (order && !p->ascending && strcmp(order, "desc") != 0) {
        exchange_fault(x, FAULT_INVALID, "order", "order must be asc or desc");
        return false;
    }
    return true;
}

static void answer_items(struct exchange *x, const struct kept_response *r, const struct page *p)
{
    json_t *items = parsed(r->input, r->input_len);
    struct buf b = BUF_INIT(0), one = BUF_INIT(0);
    char made_up[KEPT_ID + 16], first[KEPT_ID + 16] = "", last[KEPT_ID + 16] = "";
    const size_t n = json_array_size(items);
    bool begun = !p->after, more = false;
    long said = 0;
    buf_puts(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t k = 0; k < n; k++) {
        const size_t i = p->ascending ? k : n - 1 - k;
        const char *id;
        buf_clear(&one);
        put_item(&one, json_array_get(items, i), r->id, i, &id, made_up);
        if (!begun) {
            begun = !strcmp(id, p->after);
            continue;
        }
        if (said == p->size) {
            more = true;
            break;
        }
        if (said) buf_putc(&b, ',');
        buf_append(&b, one.data, one.len);
        if (!said++) snprintf(first, sizeof first, "%s", id);
        snprintf(last, sizeof last, "%s", id);
    }
    buf_puts(&b, "],\"first_id\":");
    json_out_cstr(&b, *first ? first : NULL);
    buf_puts(&b, ",\"last_id\":");
    json_out_cstr(&b, *last ? last : NULL);
    buf_printf(&b, ",\"has_more\":%s}", more ? "true" : "false");
    b.failed |= one.failed || !items;
    json_decref(items);
    buf_free(&one);
    if (begun) {
        exchange_reply(x, 200, "application/json", &b);
        return;
    }
    buf_free(&b);
    exchange_fault(x, FAULT_INVALID, "after", "after must be the id of an item of the list");
}

void responses_get(struct exchange *x)
{
    char id[KEPT_ID];
    struct kept_response r;
    struct page page;
    const char *rest = split_tail(x, id), *stream = exchange_query(x, "stream");
    const bool items = !strcmp(rest, "/input_items");
    if (*rest && !items) {
        nothing_here(x, "GET");
        return;
    }
    if (stream && !strcmp(stream, "true")) {
        exchange_fault(x, FAULT_UNSUPPORTED, "stream",
                       "stream: the events of a response are not kept, the response is; leave stream out");
        return;
    }
    if ((items && !read_page(x, &page)) || !find(x, id, &r)) return;
    if (items) {
        answer_items(x, &r, &page);
    } else {
        struct buf b = BUF_INIT(0);
        buf_append(&b, r.response, r.response_len);
        exchange_reply(x, 200, "application/json", &b);
    }
    kept_response_free(&r);
}

void responses_delete(struct exchange *x)
{
    char id[KEPT_ID], owner[KEPT_OWNER];
    if (*split_tail(x, id)) {
        nothing_here(x, "DELETE");
        return;
    }
    struct err e = { 0 };
    owner_of(x, owner);
    if (!kept_responses_remove(exchange_server(x)->kept, owner, id, clock_unix_ms(), &e)) {
        not_there(x, &e);
        return;
    }
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"id\":");
    json_out_cstr(&b, id);
    buf_puts(&b, ",\"object\":\"response\",\"deleted\":true}");
    exchange_reply(x, 200, "application/json", &b);
}

/* Only what runs in the background can be cancelled by its id, and here nothing does: a client cancels by leaving. */
void responses_act(struct exchange *x)
{
    char id[KEPT_ID];
    struct kept_response r;
    if (strcmp(split_tail(x, id), "/cancel") != 0) {
        nothing_here(x, "POST");
        return;
    }
    if (!find(x, id, &r)) return;
    kept_response_free(&r);
    exchange_fault(x, FAULT_INVALID, NULL,
                   "Cannot cancel a synchronous response: only responses created with background=true can be "
                   "cancelled, and this one is complete.");
}
