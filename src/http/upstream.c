/* upstream.c - see upstream.h. */
#include "http/upstream.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/costs.h"
#include "http/exchange.h"
#include "http/json_in.h"
#include "http/prompt_policy.h"
#include "http/provenance.h"
#include "http/relay.h"
#include "http/routes.h"
#include "service/safety/policy.h"
#include "service/ending.h"

struct passing {
    const struct route *endpoint;
    struct relay *relay;
    bool stream, over;
};

static void passing_free(void *arg)
{
    struct passing *p = arg;
    if (!p) return;
    relay_free(p->relay);
    free(p);
}

static void passing_cancel(void *arg) { relay_cancel(((struct passing *)arg)->relay); }

/* ---- a stream ------------------------------------------------------------------------------------------------------ */

static void put_fault(struct exchange *x, struct buf *out, enum fault_kind kind, const char *why)
{
    buf_puts(out, "data: ");
    fault_print(out, exchange_dialect(x), kind, NULL, why);
    buf_puts(out, "\n\n");
    exchange_note(x, "%.150s", why);
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct passing *p = arg;
    struct err e = { ERR_NONE, "" };
    struct usage u;
    struct price price;
    enum fault_kind kind;
    if (p->over) return PRODUCED_END;
    const char *why = exchange_early_end(x, NULL, &kind);
    if (!why) {
        switch (relay_next(p->relay, out, &e)) {
        case CALL_NOTHING: return PRODUCED_NOTHING;
        case CALL_EVENTS: return PRODUCED_EVENT;
        case CALL_LAST: relay_book(p->relay, &u, &price); return PRODUCED_LAST;
        case CALL_END: p->over = true; return PRODUCED_EVENT;
        case CALL_BROKEN: why = exchange_early_end(x, &e, &kind); break;
        }
    }
    put_fault(x, out, kind, why);
    p->over = true; /* nothing follows an error, no [DONE] either */
    return PRODUCED_EVENT;
}

static bool collect(struct exchange *x, void *arg)
{
    (void)x, (void)arg; /* a plain answer is replied with when it is whole */
    return false;
}

static const struct work_ops passing_ops = { collect, produce, passing_cancel, passing_free };

/* ---- what came of it ----------------------------------------------------------------------------------------------- */

static void reply(struct exchange *x, struct passing *p)
{
    struct buf b = BUF_INIT(0);
    struct usage u;
    struct price price;
    if (!relay_answer(p->relay, &b)) b.failed = true;
    relay_book(p->relay, &u, &price);
    costs_header(x, exchange_server(x)->o.account ? &price : NULL, &u);
    exchange_reply(x, 200, "application/json", &b);
    passing_free(p);
}

static void go_on(struct exchange *x, void *arg, const struct err *none)
{
    struct passing *p = arg;
    const struct route *endpoint = p->endpoint;
    struct fault f = { 0 };
    (void)none;
    switch (relay_outcome(p->relay, &f)) {
    case CALL_HERE:
        passing_free(p);
        endpoint->handler(x);
        return;
    case CALL_FAILED:
        passing_free(p);
        exchange_fault_from(x, &f);
        return;
    case CALL_ANSWERED: break;
    }
    if (p->stream)
        exchange_run(x, &passing_ops, p, true);
    else
        reply(x, p);
}

/* ---- the request --------------------------------------------------------------------------------------------------- */

static bool asks_usage(const json_t *body, bool *said)
{
    const json_t *v = json_object_get(json_object_get(body, "stream_options"), "include_usage");
    *said = json_is_boolean(v);
    return json_is_true(v);
}

/* False: the handler is to run here. */
static bool dispatch(struct exchange *x, const struct route *endpoint, const struct routed *route,
                     const json_t *body, struct call_request *q)
{
    const bool pictures = strstr(endpoint->path, "/images/") != NULL;
    struct fault f = { 0 };
    bool said;
    if (!prompt_policy_body(x, body, &f)) { /* before anything of it leaves, to be compared too */
        ending_model(exchange_ending(x), route->model);
        exchange_fault_from(x, &f);
        return true;
    }
    struct passing *p = calloc(1, sizeof *p);
    if (!p) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return true;
    }
    q->stream = json_is_true(json_object_get(body, "stream")) && !pictures;
    q->asks_usage = asks_usage(body, &said);
    q->usage_by_itself = exchange_dialect(x) == DIALECT_FIREWORKS;
    q->hides_usage = !q->asks_usage && (said || !q->usage_by_itself);
    *p = (struct passing){ .endpoint = endpoint, .stream = q->stream };
    provenance_json(x, body);
    const enum relay_is is = relay_start(x, route, body, pictures, q, go_on, p, &p->relay, &f);
    if (is == RELAY_STARTED) return true;
    passing_free(p);
    if (is == RELAY_REFUSED) exchange_fault_from(x, &f);
    return is == RELAY_REFUSED;
}

/* Endpoints that every upstream spells alike: JSON that names a model, streams that end with [DONE]. What else there is, its handler brings
 * to this form. */
static bool passes(const char *path)
{
    static const char *const known[] = { "/chat/completions", "/completions", "/images/generations",
                                         "/embeddings", "/rerank" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(path, known[i])) return true;
    return false;
}

static bool may_pass(struct exchange *x, const struct route *endpoint)
{
    const char *type = exchange_header_in(x, "Content-Type");
    return exchange_server(x)->o.router && endpoint->endpoint && endpoint->base == BASE_API &&
           endpoint->method == METHOD_POST && passes(endpoint->path) &&
           !(type && !strncasecmp(type, "multipart/", 10));
}

/* Pictures of a stream are drawn elsewhere as a whole, and told as events here. */
static bool is_picture_stream(const struct route *endpoint, const json_t *body)
{
    return strstr(endpoint->path, "/images/") && json_is_true(json_object_get(body, "stream"));
}

/* What is said is held against a policy: then it is no longer passed as it comes, and the handler does what has to be done. */
static bool is_filtered(struct exchange *x, const struct route *endpoint)
{
    const struct word_policy *p;
    struct fault f = { 0 };
    return strstr(endpoint->path, "completions") && prompt_policy_of(x, &p, &f) && p->answers && p->refuse;
}

bool upstream_takes(struct exchange *x, const struct route *endpoint)
{
    struct fault f;
    json_t *body;
    if (!may_pass(x, endpoint)) return false;
    struct call_request q = { .path = exchange_path(x),
                              .endpoint = endpoint->path,
                              .n_choices = 1,
                              .says_cost = exchange_server(x)->o.account != NULL };
    q.body = exchange_body(x, &q.len);
    /* What is no good JSON is told by the endpoint's own handler. */
    if (!json_in_parse(q.body, q.len, &exchange_server(x)->json, &body, &f)) return false;
    q.model = json_string_value(json_object_get(body, "model"));
    const bool whole = !is_picture_stream(endpoint, body) && !is_filtered(x, endpoint);
    const struct routed *route = whole ? relay_route(x, q.model) : NULL;
    const bool taken = route && dispatch(x, endpoint, route, body, &q);
    json_decref(body);
    return taken;
}
