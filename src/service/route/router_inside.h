/* router_inside.h - a router and its calls from below: for the files of this folder.
 *
 * A call belongs to whoever started it and to the carrier, and goes with the later of the two. `lock` guards what both touch; the rest is the
 * carrier's thread's. */
#ifndef HEARTH_SERVICE_ROUTE_ROUTER_INSIDE_H
#define HEARTH_SERVICE_ROUTE_ROUTER_INSIDE_H

#include <curl/curl.h>
#include <pthread.h>

#include "service/route/answer.h"
#include "service/route/router.h"

enum {
    WINDOW = 512,             /* answers of an upstream that its latencies are told from */
    WINDOW_S = 900,           /* and how old they may be */
    SHADOWS_MOST = 16,        /* at a time: more are left out */
    SHADOW_BYTES = 1 << 20,   /* of an answer in the log */
    ANSWER_BYTES = 256 << 20, /* of a plain answer */
    ERROR_BYTES = 64 << 10,   /* of the answer that says an error */
    PENDING_BYTES = 256 << 10 /* of events that wait for who takes them */
};

struct sample {
    double at, first_s, whole_s;
};

struct state { /* of an upstream, by its name and address whatever file says it */
    struct state *next;
    struct breaker breaker;
    struct retry_budget budget;
    struct upstream_counts is; /* what only grows, and `running` and `error` */
    struct sample window[WINDOW];
    unsigned n_samples;
};

/* One reading of the file. Those of before stay until the router goes: calls, and whoever looks at them, have pieces of them. */
struct routing {
    struct routing *older;
    struct upstreams *up;
    struct state **state; /* [up->n] */
};

struct router {
    struct routing *_Atomic now;
    int shadow_fd; /* -1: none */
    atomic_int shadows;
    atomic_ullong left_out;
    pthread_mutex_t lock; /* guards what follows */
    struct state *states; /* all that there are, by `next` */
    struct call *queue;   /* new ones, by `next` */
    bool stopping;
    /* the carrier's */
    CURLM *multi;
    pthread_t thread;
    bool running;
    struct call *active;
};

enum call_phase { PHASE_WAITING /* until `due` */, PHASE_SENT, PHASE_OVER };

struct call {
    struct router *router;
    struct call *next;
    atomic_int refs;
    atomic_bool cancelled;

    /* set at its start */
    struct plan plan;
    const struct routing *in; /* the reading that it was planned by */
    struct call_request q;    /* its strings are the call's own */
    bool shadow;
    double began; /* clock_seconds(); the first try's */

    /* the carrier's */
    enum call_phase phase;
    int at; /* of plan.to */
    int tries_at[UPSTREAMS_MOST], round;
    bool left_out[UPSTREAMS_MOST]; /* places of the plan that will not be asked again */
    double due, sent, last_byte, first_s;
    double retry_after_s; /* the latest that was said; -1: none */
    CURL *easy;
    struct curl_slist *headers;
    struct buf body; /* as it is sent */
    char url[2300];
    bool got_head, got_byte, streams, paused, over, late;
    int n_finished;
    struct event_reader reader;
    struct buf got; /* a plain answer, or what says an error */
    struct err broken;
    struct err last; /* what the latest try came to, and when to come again */
    int last_again_s;
    bool told; /* ready() was called */

    pthread_mutex_t lock; /* guards what follows */
    bool orphan;          /* nobody waits for it */
    bool settled;         /* its outcome is known */
    enum call_is outcome;
    struct err error;
    int again_s;
    struct buf events, held; /* held: from the choices' end on, until the stream's */
    bool done, handed_last;
    int n_said, n_pictures;
    bool has_usage;
    struct usage usage;
};

/* call.c, on the carrier's thread. */
bool call_try(struct call *c);                  /* false: it is over */
void call_ended(struct call *c, CURLcode code); /* its transfer */
void call_tick(struct call *c, double now);
void call_unref(struct call *c);
void call_fail(struct call *c, enum err_code code, const char *why);

/* router.c: what is known of the upstream. */
const struct routing *router_reading(const struct router *r, const struct routed *route);
void router_sent(struct call *c, bool again);
enum router_news { NEWS_ANSWERED, NEWS_FAILED, NEWS_REFUSED, NEWS_CANCELLED };
void router_news(struct call *c, enum router_news news, double first_s, double whole_s, const char *error);
void router_spent(struct call *c, const struct usage *u, int64_t cost);
double router_draw(void); /* of [0, 1) */

/* shadow.c */
void shadow_record(struct router *r, const struct call *c, const char *answer, size_t len, bool ok,
                   const char *why, double seconds);

#endif
