/* watch.h - one thread that notices what no event loop sees: clients that leave while their connection is suspended, requests that
 * dribble in, streams that have been silent, work that takes too long. */
#ifndef HEARTH_HTTP_WATCH_H
#define HEARTH_HTTP_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

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
    atomic_llong reading_since_ms; /* monotonic; 0: no request is being read */
};

bool watch_new(struct watch **out, double request_s, double run_s, double keepalive_s, struct err *e);
void watch_free(struct watch *w);

/* From dispatch to the end of the reply. */
void watch_add(struct watch *w, struct exchange *x, int fd);
void watch_remove(struct watch *w, struct exchange *x);
/* Cancels everything that runs, as if its time were over. */
void watch_abandon_all(struct watch *w);

struct link *watch_open(struct watch *w, int fd);
void watch_close(struct watch *w, struct link *l);
void link_reading(struct link *l, bool reading);

#endif
