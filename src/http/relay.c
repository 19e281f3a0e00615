/* relay.c - see relay.h. */
#include "http/relay.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/admission.h"
#include "http/costs.h"
#include "http/exchange.h"
#include "service/account/account.h"
#include "service/ending.h"
#include "service/models/registry.h"

enum {
    USUAL_STEPS = 50,      /* of a picture model that the catalog does not know */
    TEMPLATE_BYTES = 1024, /* what a chat's template puts around the messages, at most */
    BYTES_A_TOKEN = 4,     /* of a prompt whose upstream does not say what it used */
    HOPS_MOST = 4
};

struct relay {
    struct exchange *x;
    struct call *call;
    bool begun, booked;
    double first_s; /* until the first event, or the answer */
};

const struct routed *relay_route(struct exchange *x, const char *name)
{
    struct router *r = exchange_server(x)->o.router;
    int n;
    if (!r || !name || exchange_place(x) == PLACE_HERE) return NULL;
    const char *bare = catalog_bare_name(name, &n);
    return router_find(r, name, bare, (size_t)n);
}

/* ---- what it may use ----------------------------------------------------------------------------------------------- */

static int64_t whole(const json_t *body, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(body, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : otherwise;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int small(int64_t v) { return v < INT_MAX ? (int)v : INT_MAX; }

static int context_of(const struct routed *route)
{
    int most = 1;
    for (int i = 0; i < route->n; i++)
        if (route->to[i].model && route->to[i].model->context > most) most = route->to[i].model->context;
    return most;
}

/* The most that it can use at any of its upstreams, and what is taken for used where nothing is said. */
static void estimate(struct exchange *x, const struct routed *route, const json_t *body, size_t len,
                     bool pictures, struct call_request *q, struct usage *worst)
{
    const int64_t n = least(whole(body, "n", 1), 1024), ctx = context_of(route);
    const struct catalog_model *known = catalog_find(exchange_server(x)->catalog, route->model);
    const json_t *prompt = json_object_get(body, "prompt");
    *worst = q->guess = (struct usage){ 0 };
    if (pictures) {
        const int64_t steps =
            least(whole(body, "num_inference_steps",
                        whole(body, "steps", known && known->steps ? known->steps : USUAL_STEPS)),
                  1000);
        worst->pictures = (int)n;
        worst->steps = (int)(n * steps);
        q->guess.steps = (int)steps;
        return;
    }
    /* A prompt may be one array of tokens, or an array of prompts. */
    const int64_t prompts =
        json_is_string(json_array_get(prompt, 0)) || json_is_array(json_array_get(prompt, 0))
            ? (int64_t)json_array_size(prompt)
            : 1;
    const int64_t choices =
        prompts * least(whole(body, "best_of", n) > n ? whole(body, "best_of", n) : n, 1024);
    const int64_t longest = least(whole(body, "max_completion_tokens", whole(body, "max_tokens", ctx)), ctx);
    worst->prompt_tokens = small(least((int64_t)len + TEMPLATE_BYTES, prompts * ctx));
    worst->completion_tokens = small(choices * longest);
    q->guess.prompt_tokens = small((int64_t)len / BYTES_A_TOKEN + 1);
    q->n_choices = small(prompts * n);
}

/* Is this model installed, so that this server is one of the places? What would it cost here, and do so many wait that others are asked first? */
static bool can_here(struct exchange *x, const struct routed *route, bool pictures, const struct usage *worst,
                     int64_t *cost, bool *busy)
{
    const char *name = route->model;
    struct server *s = exchange_server(x);
    struct model *m;
    struct price price;
    *cost = 0;
    *busy = false;
    if (pictures ? !registry_find_image(s->registry, name, &m, NULL)
                 : !registry_find(s->registry, name, &m, NULL))
        return false;
    if (costs_price(x, model_id(m), &price)) *cost = price_cost(&price, worst);
    *busy = route->spill_at && registry_waiting(s->registry, m) >= route->spill_at;
    return true;
}

/* This server last. */
static void others_first(struct plan *p)
{
    int n = 0;
    const struct target *here = NULL;
    for (int i = 0; i < p->n; i++)
        if (p->to[i]->upstream == UPSTREAM_HERE)
            here = p->to[i];
        else
            p->to[n++] = p->to[i];
    if (here) p->to[n++] = here;
    p->n = n;
}

static const char *isolation(struct exchange *x, char *out, size_t cap)
{
    const char *given = exchange_header_in(x, "x-prompt-cache-isolation-key");
    const bool apart = !exchange_server(x)->o.share_prefixes;
    if (!given && !apart) return NULL;
    snprintf(out, cap, "%s:%s", apart ? exchange_who(x)->id : "", given ? given : "");
    return out;
}

static int hops(struct exchange *x)
{
    const char *v = exchange_header_in(x, "X-Hearth-Hops");
    const long n = v ? strtol(v, NULL, 10) : 0;
    return n < 0 ? 0 : n > HOPS_MOST ? HOPS_MOST : (int)n;
}

/* ---- its start ----------------------------------------------------------------------------------------------------- */

static void on_ready(void *x) { loading_resume(x); }
static void on_wake(void *x) { exchange_wake(x); }

static void stay(struct exchange *x)
{
    exchange_header(x, "X-Hearth-Route", "here");
    ending_route(exchange_ending(x), "here");
    exchange_set_place(x, PLACE_HERE);
}

static bool start_call(struct exchange *x, const struct plan *plan, struct call_request *q, loading_next *fn,
                       void *arg, struct relay **out, struct fault *f)
{
    struct relay *r = calloc(1, sizeof *r);
    if (!r) return err_set(&f->err, ERR_NOMEM, "out of memory");
    r->x = x;
    *out = r;
    /* Until the first event nothing tells a client that says no more from one that left: no comment can be sent yet. */
    q->stop = exchange_stop_flag(x, false);
    q->ready = on_ready;
    q->wake = on_wake;
    q->arg = x;
    loading_wait(x, fn, arg);
    if (call_start(&r->call, exchange_server(x)->o.router, plan, q, &f->err)) return true;
    loading_wait_not(x);
    free(r);
    *out = NULL;
    return false;
}

enum relay_is relay_start(struct exchange *x, const struct routed *route, const json_t *body, bool pictures,
                          struct call_request *q, loading_next *fn, void *arg, struct relay **out,
                          struct fault *f)
{
    struct router *r = exchange_server(x)->o.router;
    struct usage worst;
    struct plan plan;
    char apart[1200];
    int64_t here_cost = 0;
    q->id = exchange_id(x);
    q->hops = hops(x);
    if (!q->isolation) q->isolation = isolation(x, apart, sizeof apart);
    estimate(x, route, body, q->len, pictures, q, &worst);
    bool busy = false;
    const bool here =
        exchange_place(x) != PLACE_ELSEWHERE && can_here(x, route, pictures, &worst, &here_cost, &busy);
    router_plan(r, route, &worst, here, here_cost, &plan, &f->retry_after_s);
    if (here && busy) others_first(&plan);
    if (plan.n && plan.to[0]->upstream == UPSTREAM_HERE) {
        stay(x);
        router_shadow(r, route, q);
        return RELAY_HERE;
    }
    ending_model(exchange_ending(x), route->model);
    ending_may_use(exchange_ending(x), &worst);
    if (!plan.n)
        err_set(&f->err, ERR_UPSTREAM_BUSY,
                "the upstreams of this model are left alone after failures; try again later");
    else if (q->hops >= HOPS_MOST)
        err_set(&f->err, ERR_UPSTREAM,
                "this request has come through %d servers: their routes lead in a circle", q->hops);
    if (f->err.code || !admission_route(x, route->model, plan.worst, &f->err)) return RELAY_REFUSED;
    router_shadow(r, route, q);
    return start_call(x, &plan, q, fn, arg, out, f) ? RELAY_STARTED : RELAY_REFUSED;
}

const struct routed *relay_spill(struct exchange *x, const char *name, const struct fault *f)
{
    if (f->err.code != ERR_BUSY || exchange_place(x) == PLACE_ELSEWHERE) return NULL;
    exchange_set_place(x, PLACE_OPEN);
    const struct routed *route = relay_route(x, name);
    exchange_set_place(x, PLACE_HERE);
    struct err none;
    if (!route || !route->spill_at || !admission_release(x, &none)) return NULL;
    exchange_set_place(x, PLACE_ELSEWHERE);
    exchange_drop_header(x, "X-Hearth-Route"); /* "here" */
    return route;
}

/* ---- what comes of it ---------------------------------------------------------------------------------------------- */

enum call_is relay_outcome(struct relay *r, struct fault *f)
{
    r->first_s = clock_seconds() - exchange_started(r->x);
    const enum call_is is = call_outcome(r->call, &f->err, &f->retry_after_s);
    if (is == CALL_HERE) stay(r->x);
    if (is == CALL_ANSWERED) {
        exchange_header(r->x, "X-Hearth-Route", "%s", call_at(r->call));
        ending_route(exchange_ending(r->x), call_at(r->call));
        r->begun = true;
    }
    return is;
}

void relay_book(struct relay *r, struct usage *u, struct price *price)
{
    call_used(r->call, u, price);
    u->ttft_s = r->first_s;
    u->total_s = clock_seconds() - exchange_started(r->x);
    if (r->booked) return;
    r->booked = true;
    ending_use(exchange_ending(r->x), u);
    ending_cost(exchange_ending(r->x), price_cost(price, u));
}

void relay_price(struct relay *r, struct price *out)
{
    struct usage u;
    call_used(r->call, &u, out);
}

bool relay_answer(struct relay *r, struct buf *out) { return call_answer(r->call, out); }

enum call_next relay_next(struct relay *r, struct buf *out, struct err *e)
{
    return call_next(r->call, out, e);
}

void relay_cancel(struct relay *r) { call_cancel(r->call); }

void relay_free(struct relay *r)
{
    struct usage u;
    struct price price;
    if (!r) return;
    if (r->begun) relay_book(r, &u, &price); /* of a client that left, what came until then */
    call_free(r->call);
    free(r);
}
