/* ending.h - the one end of every admitted request, whatever happened to it.
 *
 * An ending is opened when a request is admitted, and whoever works for it holds it: its connection, and each job that an engine has for it.
 * Each adds what it knows (what was used, how it went) and lets go; when the last one has let go the request has ended, and every sink gets
 * the ending, once. So it comes when nothing more will be used: of a client that left, when the cancel has taken effect.
 *
 * Books      What is kept for good is written earlier where that is possible: when an answer is whole its connection asks for it
 *            (ending_book()) and sends the last bytes once it is written. So nobody has seen what the books do not know. Of a request that
 *            had no such moment they are told at its end, before the sinks.
 * Threads    any. Sinks and books are called from the thread that let go last, which may be an engine's: they must not block.
 * Ownership  an ending frees itself after its sinks; the sinks outlive it. NULL stands for a request that nobody counts. */
#ifndef HEARTH_SERVICE_ENDING_H
#define HEARTH_SERVICE_ENDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/trace_context.h"
#include "service/principal.h"
#include "service/recording.h"
#include "service/usage.h"

enum end_how {
    END_DONE,      /* the answer was given */
    END_REFUSED,   /* admitted, then found wrong: a field, a model, a size; or no place in a queue */
    END_ERROR,     /* something failed here */
    END_TIMEOUT,   /* it took longer than it may */
    END_CANCELLED, /* the server stopped */
    END_LEFT,      /* the client left, or did not read */
    N_END_HOW
};
const char *end_how_name(enum end_how how); /* "done", "refused", "error", "timeout", "cancelled", "left" */

/* What is known of a request before its body. Strings without a size are constants. */
struct identity {
    char id[72];          /* X-Request-Id */
    char method[12];      /* "POST" */
    const char *dialect;  /* "openai" */
    const char *endpoint; /* "chat"; NULL: nothing is counted there */
    int route;            /* row of the table of endpoints */
    struct principal who;
    char uid[33];               /* its name in the ledger, which no client chose; "" where there is none */
    char address[46];           /* where it came from, without a port; "" when that is not known */
    struct trace_context trace; /* not known: it belongs to none */
    double started;             /* clock_seconds() */
    char batch
        [40]; /* whose line it is; "": nobody's. A line has its row in the ledger once and with its answer, or not at all */
    int64_t line;
    int64_t asked_ms; /* Unix: whose prices hold, from its reservation to its row */
};

struct ending_sinks;

struct ending {
    struct identity of;
    char *path;                /* as it was asked for */
    char model[160];           /* id, "" when it did not come to a model */
    struct usage usage, worst; /* worst: the most that it can use */
    bool bounded;              /* that is known */
    bool priced;               /* by whoever served it; otherwise its model's price holds */
    int64_t cost;              /* nano-dollars, where it is */
    enum end_how how;
    int status;      /* what the client was told, 499 when it could not be */
    char note[160];  /* why it did not go well, for the log; or what was made */
    double seconds;  /* from the start to the end */
    long long bytes; /* of the answer's body, handed on to be sent */
    /* What would make the answer again, and what was wrong; "" and NULL where it is not known. */
    char seed[24], request_hash[65], model_hash[65];
    char route[64];              /* who serves a model that has a route: "here", or an upstream's name; "" */
    const char *error;           /* a constant: fault_name() */
    struct recording *recording; /* its own; NULL: it is not recorded */
    struct buf answer; /* of a line of a batch: what it is answered for good; empty: it will be asked again */
    int slot;          /* the books': its place in their journal; -1: none */

    bool booked;
    struct ending_sinks *sinks; /* this file's from here on */
    atomic_int holders;
    pthread_mutex_t lock;
};

struct ending_sink {
    void (*take)(void *arg, const struct ending *e);
    void *arg;
};
/* Take each request once. told(told_arg), from any thread, perhaps before take() returns: it is written for good, or cannot be now; told NULL:
 * nobody waits. e is not theirs after take(); what was recorded they may take over. */
struct ending_books {
    void (*take)(void *arg, struct ending *e, void (*told)(void *told_arg),
                 void *told_arg); /* NULL: none are kept */
    void *arg;
};
struct ending_sinks {
    struct ending_sink v[12],
        unadmitted[4]; /* the latter get what was never admitted, by ending_unadmitted() */
    int n, n_unadmitted;
    struct ending_books books;
    atomic_int open; /* endings that are to come: whoever frees the sinks waits until there are none */
};

/* Held once. NULL: no memory. path is copied. */
struct ending *ending_open(struct ending_sinks *s, const struct identity *of, const char *path);
void ending_hold(struct ending *e);
void ending_let_go(struct ending *e);

void ending_model(struct ending *e, const char *id);
/* Said by the handler before the work, asked by who reserves its cost. e NULL: nothing. False: it was not said. */
void ending_may_use(struct ending *e, const struct usage *worst);
bool ending_worst(struct ending *e, struct usage *out);
/* What a request is made again with. request: of its canonical body; model: of the model's files, both SHA-256 in hexadecimal. */
void ending_seed(struct ending *e, uint64_t seed);
void ending_hashes(struct ending *e, const char *request, const char *model); /* NULL: as it was */
void ending_route(struct ending *e, const char *name);
void ending_error(struct ending *e, const char *name);
void ending_use(struct ending *e, const struct usage *u); /* adds to what others used */
void ending_cost(struct ending *e, int64_t nano);         /* of all that was used; the latest holds */
void ending_went(struct ending *e, enum end_how how, int status, const char *note); /* the connection's */
void ending_sent(struct ending *e, long long bytes);                                /* its as well */

/* A request that was not admitted is over: the sinks of such get *e, which is the caller's. */
void ending_unadmitted(const struct ending_sinks *s, const struct ending *e);

/* The connection's, when its answer is whole and it alone holds e: what ending_went() would say goes into the books, then told(arg) as they
 * have it. False: there are none, or somebody still works for it, and nothing is called. Nothing may be used after this. */
bool ending_book(struct ending *e, enum end_how how, int status, const char *note, void (*told)(void *arg),
                 void *arg);

#endif
