/* counters.h - numbers that go up with every request, each in a window of time, and slots that are held while one runs: what limits are
 * counted in. One interface over a table of places (counters_inside.h): this process's memory, or a Redis that several servers share.
 *
 * Windows    a count belongs to the window that it began in. When a later window is asked for it begins anew; a clock that is set back goes
 *            on with the later window, unless it went back by more than a window: then it was wrong before.
 * Slots      belong to a request. In a Redis they are leases that their server renews: those of one that was killed are free again after
 *            COUNTERS_LEASE_MS.
 * Away       a Redis that cannot be reached: counters_take() says ERR_BUSY at once, and what counters_give() is to give waits in memory.
 *            It is looked for four times a second, so it heals by itself.
 * Threads    any, but counters_open() and counters_close(). counters_take() waits for a Redis, at most COUNTERS_WAIT_MS; the others
 *            never do. */
#ifndef HEARTH_STORE_COUNTERS_H
#define HEARTH_STORE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct counters;

enum { COUNTERS_WAIT_MS = 2000, COUNTERS_LEASE_MS = 60000 };

/* One count of one owner. Strings are the caller's; the two together name it. */
struct counter {
    const char *who, *what;
    int64_t start_ms, end_ms; /* Unix: the window that the moment is in */
    int64_t most;             /* full from here on */
    int64_t add;

    /* Written by the calls. */
    int64_t used;     /* in its window, with what was added */
    int64_t until_ms; /* the end of the window that it is counted in */
};

struct slots {
    const char *who;
    int64_t most; /* that may be held at once */
};

struct counters_ask {
    const char *id; /* of the request; no other has it */
    struct counter *counter;
    int n_counters;
    const struct slots *slots;
    int n_slots;
};

struct counters_options {
    int lease_ms; /* 0: COUNTERS_LEASE_MS */
};
/* "": memory; redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]. A place that is away opens all the same. ERR_REQUEST: the URL is wrong. */
bool counters_open(struct counters **out, const char *where, const struct counters_options *o, struct err *e);
/* Gives what is still to be given, for a few seconds at most. NULL: nothing happens. */
void counters_close(struct counters *c);
const char *counters_name(const struct counters *c);  /* "memory", "redis" */
const char *counters_where(const struct counters *c); /* as it may be shown, without a password */
bool counters_shared(const struct counters *c);       /* counters_take() may wait */
/* Whether all that was given has been counted. */
bool counters_settled(struct counters *c);
/* Why it cannot be reached now; false when it can. */
bool counters_away(struct counters *c, struct err *why);

/* Adds to all counters and takes all slots, or does nothing because one of them is full: then *by is the index of a counter, or
 * n_counters and the index of a slot; it is -1 when all was taken. False: nothing is known to be taken. */
bool counters_take(struct counters *c, const struct counters_ask *ask, int *by, struct err *e);
/* The slots are free, and the counters get what they are to add whether they are full or not. */
void counters_give(struct counters *c, const struct counters_ask *ask);
/* What is used, as far as this process has heard. */
void counters_look(struct counters *c, struct counter *v, int n);

#endif
