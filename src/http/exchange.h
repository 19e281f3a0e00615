/* exchange.h - one HTTP request and its reply, as handlers see it.
 *
 * A handler runs once, on the lane its route names, and ends by calling exactly one of exchange_reply(), exchange_fault() or
 * exchange_run(). With exchange_run() the reply is made from events: `collect` (plain reply) or `produce` (event stream) is called on
 * the connection's event loop after every exchange_wake().
 *
 * Ownership  the exchange belongs to its connection; a lane holds a reference while it works. `work` is freed with the exchange, after the
 *            watch thread has forgotten it. */
#ifndef HEARTH_HTTP_EXCHANGE_H
#define HEARTH_HTTP_EXCHANGE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "http/auth.h"
#include "http/error.h"
#include "http/json_in.h"
#include "http/lanes.h"
#include "http/loading.h"
#include "http/metrics.h"
#include "http/server.h"
#include "http/watch.h"

struct route;

struct server {
    struct server_options o;
    struct registry *registry;
    const struct catalog *catalog;
    struct MHD_Daemon *daemon;
    struct auth auth;
    struct lanes *lanes;
    struct loading *loading;
    struct watch *watch;
    struct metrics metrics;
    struct bodies bodies;
    struct json_limits json;
    char url[128];
    double started;                        /* clock_seconds() */
    atomic_bool ready, draining, stopping; /* stopping: the time for draining is over */
    atomic_int active;                     /* exchanges that a lane or a model works on */
};

enum produced { PRODUCED_EVENT, PRODUCED_NOTHING, PRODUCED_END };

struct work_ops {
    /* Plain reply: takes what has arrived; true once a reply has been set. */
    bool (*collect)(struct exchange *x, void *work);
    /* Stream: appends one whole event to *out, or says that there is none now, or that there will be none any more. */
    enum produced (*produce)(struct exchange *x, void *work, struct buf *out);
    void (*cancel)(void *work); /* from any thread; the work ends soon after, with a wake */
    void (*free)(void *work);
};

enum exchange_state {
    EXCHANGE_READING,
    EXCHANGE_PREPARING,
    EXCHANGE_READY,
    EXCHANGE_COLLECTING,
    EXCHANGE_STREAMING,
    EXCHANGE_SENT
};

struct exchange {
    struct server *server;
    struct MHD_Connection *connection;
    struct link *
        link; /* its connection's; for the event loop, which may free it before the last reference to x goes */
    struct peer peer;
    const struct route *route;
    char *path;       /* decoded, one slash between parts, none at the end */
    const char *tail; /* what stands for a route's '*', inside path */
    enum api_dialect dialect;
    char id[72];           /* X-Request-Id */
    char origin[200];      /* the page's origin when it is allowed, else "" */
    double started, whole; /* clock_seconds(): its headers were here; the body was too */
    struct buf body;
    size_t body_taken; /* of the memory for bodies */
    bool discard, head;
    size_t announced; /* Content-Length, 0 when absent */

    int status;
    const char *content_type;
    struct buf reply;
    struct MHD_Response *prepared; /* headers are collected here until the body is known */
    char note[160];                /* for the log line */

    enum lane lane;                    /* that it is prepared on */
    void (*later)(struct exchange *x); /* what waits for the model */
    void *scratch;                     /* for it */
    bool at_work;                      /* errors may speak of the server's files */
    struct model *model;               /* and what loading_then() was asked for */
    bool holds_model;
    struct err load_error;
    struct exchange *next_waiting;

    const struct work_ops *ops;
    atomic_int refs;
    pthread_mutex_t lock; /* guards what follows */
    enum exchange_state state;
    bool suspended, woken;
    void *work;
    bool half_closed; /* the client says nothing more; perhaps it left */
    bool gone;        /* the client left: nobody reads the reply */
    bool timed_out;   /* run_s is over, or the server stops */
    bool ping;        /* a comment is due */
    bool plain;       /* a lane prepares a plain reply: a client that says nothing more has left */
    atomic_bool stop; /* nobody waits for what a lane prepares: long work looks at it, without the lock */
    double last_write;

    struct watched watched;
    struct buf pending; /* stream: bytes of whole events not yet handed out */
    size_t pending_at;
    bool ended;
};

void exchange_header(struct exchange *x, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes over *body. */
void exchange_reply(struct exchange *x, int status, const char *content_type, struct buf *body);
void exchange_fault(struct exchange *x, enum fault_kind kind, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void exchange_fault_from(struct exchange *x, const struct fault *f);
/* A message as a client may read it: without the server's folders. The log keeps the whole. Faults go through this once a handler has
 * begun with the server's own files (exchange_at_work()), and so does every error event; before that a message holds nothing but what the
 * request said, which comes back as it was, so that nobody learns a folder's name by guessing it. */
void exchange_at_work(struct exchange *x);
void exchange_tell(struct exchange *x, const char *msg, char *out, size_t cap);
/* Takes over work. Streaming when `stream`; then the status is 200 and what goes wrong later is an event. */
void exchange_run(struct exchange *x, const struct work_ops *ops, void *work, bool stream);

/* Gives the body's memory back; with a reply or work it goes by itself. */
void exchange_drop_body(struct exchange *x);

/* Before long work on a lane: says what kind of reply it prepares, and returns the flag that ends it. The flag lives as long as x. */
const atomic_bool *exchange_stop_flag(struct exchange *x, bool stream);

/* Something arrived for x, or its handler is done: any thread. */
void exchange_wake(struct exchange *x);
bool exchange_timed_out(struct exchange *x);
void exchange_unref(struct exchange *x);

/* For the watch thread: the client has left (gone) or the time is over: cancels and wakes. */
void exchange_abandon(struct exchange *x, bool gone);
/* The client closed its side. See watch.c for what that means. */
void exchange_half_closed(struct exchange *x);

#endif
