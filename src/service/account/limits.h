/* limits.h - how much a key, a project or an address may ask in a minute, a day, a month; and how much at once.
 *
 * What is counted when: requests and concurrency when a request is admitted; tokens, steps and pictures when they were used. A request is
 * admitted while something is left, so that its last one may go over; what went over counts against the window in which it ended.
 * Windows are those of period.h: a full one is empty again at its end, which is what Retry-After says. A clock that is set back does not
 * empty a window, unless it goes back by a whole one: then it was wrong before.
 *
 * Counts are this process's, in memory.
 * Threads  any. */
#ifndef HEARTH_SERVICE_ACCOUNT_LIMITS_H
#define HEARTH_SERVICE_ACCOUNT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/account/rules.h"
#include "service/usage.h"

struct limits;

/* NULL: no memory. */
struct limits *limits_new(void);
void limits_free(struct limits *l);

/* One who is limited: a name of its own ("key:key_1234", "project:web", "address:10.0.0.1") and its rules, which live as long as l. */
struct limited_one {
    const char *name;
    const struct limit_rules *rules;
};

/* What stood in the way, for the error and its Retry-After. */
struct limit_hit {
    const char *who; /* the name of the one whose limit it is: the caller's */
    bool concurrency;
    enum limited what;
    enum period period;
    int64_t limit;
    int64_t again_ms; /* Unix: when the window is empty again; of concurrency: a second from now */
};

/* Admits a request of all of them or of none. Each one admitted is due a limits_leave(). ERR_NOMEM counts nothing either. */
enum limits_answer { LIMITS_ADMITTED, LIMITS_FULL, LIMITS_NO_MEMORY };
enum limits_answer limits_enter(struct limits *l, const struct limited_one *who, int n, int64_t now_ms,
                                struct limit_hit *hit);
/* It has ended, and used this. */
void limits_leave(struct limits *l, const struct limited_one *who, int n, int64_t now_ms,
                  const struct usage *u);

/* What is left of the window of which least is left (of two: the one that ends later), as answers' headers say. Limit 0: there is none of this. */
struct limit_left {
    int64_t limit, remaining, reset_ms; /* Unix */
};
struct limit_left limits_left(struct limits *l, const struct limited_one *who, int n, enum limited what,
                              int64_t now_ms);

#endif
