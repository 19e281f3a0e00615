/* router.h - where a request is served: here, or by one of the upstreams of --routes; and what is known of how they do.
 *
 * A request that has a route is planned first (router_plan()): the order of the places that may serve it. If the first is not this server, a call is
 * started (call_start()), which asks the upstreams in turn until one answers: with a whole answer, or with the first event of a stream. Until
 * then nothing has been seen by the client, and what fails may be asked again; from then on it is never sent again.
 *
 * Threads    one thread of the router's own carries every transfer, with libcurl's multi interface. The functions may be called from any thread,
 *            but router_open() and router_close(); router_set() by one at a time.
 * Pressure   a stream whose events nobody takes is not read any further: the upstream waits as well. */
#ifndef HEARTH_SERVICE_ROUTE_ROUTER_H
#define HEARTH_SERVICE_ROUTE_ROUTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "service/route/breaker.h"
#include "service/route/upstreams.h"
#include "service/usage.h"

struct router;
struct call;

struct router_options {
    const char *shadow_log; /* a file for what shadows answered; "": it is only counted */
};

/* Takes over *u, whose keys are set, on success. */
bool router_open(struct router **out, struct upstreams *u, const struct router_options *o, struct err *e);
/* No call may be waited for any more. NULL: nothing happens. */
void router_close(struct router *r);
/* Another reading of the file holds from now on; what is under way goes on by the one that it began with. Takes over *u on success. What is
 * known of an upstream stays known while its name and address do. */
bool router_set(struct router *r, struct upstreams *u, struct err *e);

/* The route of a model as a client calls it; bare: the same without an account in front. NULL: it is none of ours. */
const struct routed *router_find(const struct router *r, const char *name, const char *bare, size_t n_bare);
/* As they are now; lives as long as the router. */
const struct upstreams *router_upstreams(const struct router *r);

/* ---- one request --------------------------------------------------------------------------------------------------- */

struct plan {
    const struct routed *route;
    const struct target *to[UPSTREAMS_MOST]; /* in the order in which they are asked */
    int n;
    int64_t worst; /* nano-dollars that it costs at most, whoever serves it of the upstreams */
};
/* here: this server could serve it, for here_cost at most. n 0: nobody can now, and *again_s says when to come again. */
void router_plan(struct router *r, const struct routed *route, const struct usage *worst, bool here,
                 int64_t here_cost, struct plan *out, int *again_s);

struct call_request {
    const char *path;     /* "/v1/chat/completions": what the client asked for */
    const char *endpoint; /* "/chat/completions": the same below an API's base */
    const char *body;     /* a JSON object that has been accepted */
    size_t len;
    const char *boundary; /* the body is a form with this one, and without a model; NULL: it is JSON */
    const char *model;    /* as the client calls it */
    bool stream;
    bool asks_usage;       /* the body asks for what was used in the stream */
    bool hides_usage;      /* the client did not */
    bool usage_by_itself;  /* its API says it unasked, where an upstream is asked by the client's own path */
    int n_choices;         /* of a stream */
    const char *id;        /* of the request */
    const char *isolation; /* whose prompts it shares prefixes with; NULL: does not matter */
    int hops;              /* servers that it has come through */
    bool says_cost;        /* usage.cost, where there is one, becomes ours */
    struct usage guess;    /* what is taken for used where the upstream does not say */
    const atomic_bool *stop; /* lives until the call is ready */
    /* Once, from the router's thread: an answer, the first event or a failure is there. */
    void (*ready)(void *arg);
    /* After that, until call_free(): there are events, or the end. */
    void (*wake)(void *arg);
    void *arg;
};
/* The strings need not outlive this. On failure nothing will be called. */
bool call_start(struct call **out, struct router *r, const struct plan *p, const struct call_request *q,
                struct err *e);
/* Ends it if need be. Nothing is called any more. */
void call_free(struct call *c);
void call_cancel(struct call *c); /* it ends soon, with ERR_CANCELLED */

enum call_is {
    CALL_ANSWERED, /* the whole answer, or the first of its events, is there */
    CALL_HERE,     /* nobody before this server in the plan could: it is our turn */
    CALL_FAILED
};
/* Once it is ready. *e: why it failed. again_s: when to come again, 0: nobody knows. */
enum call_is call_outcome(const struct call *c, struct err *e, int *again_s);
const char *call_at(const struct call *c); /* the upstream's name */
/* What was used, and what it costs by the upstream's price: what is known by now, or guessed. */
void call_used(struct call *c, struct usage *u, struct price *price);

/* The plain answer, appended. */
bool call_answer(struct call *c, struct buf *out);

enum call_next {
    CALL_NOTHING, /* now */
    CALL_EVENTS,  /* some, appended */
    CALL_LAST,    /* those that end it, appended: what was used is known */
    CALL_END,     /* [DONE], appended, and no more */
    CALL_BROKEN   /* it failed on the way: *e */
};
enum call_next call_next(struct call *c, struct buf *out, struct err *e);

/* Begins the call that is only looked at, if this request is one of its share. */
void router_shadow(struct router *r, const struct routed *route, const struct call_request *q);

/* ---- how they do --------------------------------------------------------------------------------------------------- */

struct upstream_counts {
    enum breaker_state breaker;
    int running;
    uint64_t tries, answered, failed, refused, retries, cancelled; /* tries: all that were sent */
    uint64_t prompt_tokens, completion_tokens;
    int64_t cost; /* nano-dollars */
    double first_p50_s, first_p99_s, p50_s,
        p99_s;    /* of the latest that were answered, -1 where there are none */
    int n_window; /* how many those are */
    uint64_t shadows, shadow_failed;
    char error[200]; /* the latest */
};
/* Of one of these, which router_upstreams() said. */
void router_counts(struct router *r, const struct upstreams *of, int upstream, struct upstream_counts *out);
uint64_t router_shadows_left_out(struct router *r);

#endif
