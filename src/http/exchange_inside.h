/* exchange_inside.h - an exchange from below: for what carries it (a connection, or memory), the lanes and the watch. Handlers see exchange.h.
 *
 * A request goes READING -> PREPARING (its transport sleeps, a lane works) -> READY, or COLLECTING or STREAMING while its model works ->
 * SENT. The transport calls exchange_turn() when the request is whole and again whenever it was resumed, and does what that says.
 *
 * Threads  what no comment says otherwise belongs to the transport's own thread, one for each exchange. */
#ifndef HEARTH_HTTP_EXCHANGE_INSIDE_H
#define HEARTH_HTTP_EXCHANGE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "http/exchange.h"

/* What an exchange asks of its transport. */
struct exchange_transport {
    /* Of the request; a header's name in any case. NULL: it has none. While it is prepared, on its lane too. */
    const char *(*header)(const struct exchange *x, const char *name);
    const char *(*query)(const struct exchange *x, const char *name);
    void (*each_query)(const struct exchange *x, void (*fn)(void *arg, const char *name, const char *value),
                       void *arg);
    /* Under x's lock: there is nothing to do until resume(), which may come from any thread. */
    void (*suspend)(struct exchange *x);
    void (*resume)(struct exchange *x);
};

enum exchange_state {
    EXCHANGE_READING,
    EXCHANGE_PREPARING,
    EXCHANGE_READY,
    EXCHANGE_COLLECTING,
    EXCHANGE_STREAMING,
    EXCHANGE_SENT
};

enum { BOOKS_OPEN, BOOKS_ASKED, BOOKS_CLOSED };

struct exchange {
    struct server *server;
    const struct exchange_transport *via;
    void *connection; /* the transport's */
    struct link *
        link; /* its connection's, or NULL; for the event loop, which may free it before the last reference to x goes */
    struct peer peer;
    const struct route *route;
    char *path;       /* decoded, one slash between parts, none at the end */
    const char *tail; /* what stands for a route's '*', inside path */
    enum api_dialect dialect;
    char origin[200];           /* the page's origin when it is allowed, else "" */
    const struct principal *as; /* who asks, where that is not read from its headers; NULL: it is */
    struct identity is;         /* who asks for what, and since when: set once, by the preflight */
    double whole;               /* clock_seconds(): its body was here too */
    struct buf body;
    size_t body_taken;     /* of the memory for bodies */
    struct upload *upload; /* a body that goes to the disk; NULL: none, or nothing of it came yet */
    bool discard, head;
    size_t announced; /* Content-Length, 0 when absent */

    int status;
    const char *content_type;
    struct buf reply;
    int file; /* the reply's body in place of `reply`; -1: none */
    int64_t file_start, file_bytes;
    long long bytes;    /* of the reply's body, handed on */
    struct buf headers; /* of the reply: a name and its value, each ended by 0, and so on */
    char note[160];     /* for the log line */
    bool admitted;      /* before it came to a lane; otherwise it is done there */
    enum fault_kind
        refused; /* why the account said no, which no code of an error says; FAULT_NONE: it did not */
    enum fault_kind blame; /* the error that the client was told, in a stream too; FAULT_NONE: none */
    struct ending *ending; /* from admission to the end; NULL: nothing is counted */
    atomic_int books;      /* BOOKS_*: whether what it used is written down */

    enum lane lane;      /* that it is prepared on */
    loading_next *later; /* what waits for the model */
    void *later_arg;
    bool at_work;        /* errors may speak of the server's files */
    struct model *model; /* and what loading_then() was asked for */
    bool holds_model;
    const struct word_rules *words; /* NULL: it has met none yet */
    bool unread;                    /* it asks a judge, whatever it says: no policy of words holds for it */
    enum exchange_place place;
    bool reserved; /* what it can cost at most, before it was known who serves it */
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
    bool lines; /* a stream of JSON lines, not of events */
    bool held;  /* what is pending waits for the books */
    bool ended;
};

/* With one reference. NULL: no memory. */
struct exchange *exchange_new(struct server *s, const struct exchange_transport *via, void *connection,
                              struct link *link, const struct peer *peer);
void exchange_unref(struct exchange *x);
/* Bytes of a reply that is a file, from `at` of its content on: up to max, 0 at its end, -1 when they cannot be read. */
ssize_t exchange_read_file(const struct exchange *x, uint64_t at, char *out, size_t max);
/* More of the body, within its limits; what cannot be taken is answered, and the rest is thrown away. */
void exchange_take_body(struct exchange *x, const char *data, size_t n);

enum exchange_turn {
    TURN_WAIT,   /* it sleeps */
    TURN_REPLY,  /* x->status, x->reply and exchange_each_header() are to be sent */
    TURN_STREAM, /* the reply is what exchange_stream() gives, until it ends */
    TURN_CLOSE,  /* nobody reads it */
    TURN_SENT    /* has been said before */
};
enum exchange_turn exchange_turn(struct exchange *x);
/* Once what the turn said has been handed on. */
void exchange_set_state(struct exchange *x, enum exchange_state s);

/* Bytes of the stream, up to max: whole events as far as they fit, so that none is split between two writes. 0: it sleeps. */
enum { EXCHANGE_STREAM_END = -1, EXCHANGE_STREAM_BROKEN = -2 };
ssize_t exchange_stream(struct exchange *x, char *out, size_t max);

/* Calls fn for every header of the reply: the handler's own and those that every reply has. */
void exchange_each_header(const struct exchange *x,
                          void (*fn)(void *arg, const char *name, const char *value), void *arg);

/* The exchange is over, sent or not: counted, written to the log, and the transport's reference given back. closed: why the server
 * ended the connection, or NULL. */
void exchange_over(struct exchange *x, bool sent, const char *closed);

/* For the watch thread: the client has left (gone) or the time is over: cancels and wakes. */
void exchange_abandon(struct exchange *x, bool gone);
/* The client closed its side. See watch.c for what that means. */
void exchange_half_closed(struct exchange *x);

#endif
