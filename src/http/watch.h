/* watch.h - one thread that notices what no event loop sees: clients that leave while their connection is suspended, requests that
 * dribble in, replies that nobody reads, streams that have been silent, work that takes too long.
 *
 * Times  request_s runs while a request is being sent, idle_s while a client that should say something says nothing, read_s while bytes of
 *        a reply wait and none is taken, run_s while a request is worked on. None of them runs in another's place. */
#ifndef HEARTH_HTTP_WATCH_H
#define HEARTH_HTTP_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "http/bodies.h"
#include "http/intake.h"

struct exchange;
struct watch;

struct watched { /* part of an exchange */
    struct exchange *prev, *next;
    int fd;
    uint32_t serial; /* 0: not watched */
};

struct link { /* one connection, from accept to close */
    struct link *prev, *next;
    int fd;
    struct intake intake;
    struct peer peer;
    unsigned n_requests;          /* that the library reported; its event loop's */
    atomic_bool replying;         /* a reply has been handed to the library */
    _Atomic(const char *) closed; /* why the watch closed it, a constant; NULL: it did not */
    uint64_t acked;               /* the watch's: bytes that the client's machine has taken */
    long long acked_ms;           /* and when that was last seen to grow */
};

/* Whether the request that the library reported last is one that the intake refused. */
static inline bool link_refused(const struct link *l)
{
    return l->intake.fault.kind != FAULT_NONE && l->n_requests == l->intake.n_heads;
}

struct watch_times {
    double request_s, idle_s, read_s, run_s, keepalive_s; /* seconds; run_s 0: no limit */
};

bool watch_new(struct watch **out, const struct watch_times *times, struct err *e);
void watch_free(struct watch *w);

/* From dispatch to the end of the reply. */
void watch_add(struct watch *w, struct exchange *x, int fd);
void watch_remove(struct watch *w, struct exchange *x);
/* Cancels everything that runs, as if its time were over. */
void watch_abandon_all(struct watch *w);

/* NULL: no memory, or no such descriptor; then the connection is to be closed. */
struct link *watch_open(struct watch *w, int fd, const struct sockaddr *from, size_t max_header);
void watch_close(struct watch *w, struct link *l);
/* Ends every connection at the socket: nobody is waited for any more. */
void watch_close_all(struct watch *w);

#endif
