/* limits.h - how much a key, a project or an address may ask in a minute, a day, a month; and how much at once.
 *
 * What is counted when: requests and concurrency when a request is admitted; tokens, steps and pictures when they were used. A request is
 * admitted while something is left, so that its last one may go over; what went over counts against the window in which it ended.
 * Windows are those of period.h: a full one is empty again at its end, which is what Retry-After says. A clock that is set back does not
 * empty a window, unless it goes back by a whole one: then it was wrong before.
 *
 * Counts are where the counters are (store/counters.h): this process's memory, or a Redis that several servers share.
 * Threads  any. limits_enter() waits for a shared place; the others do not. */
#ifndef HEARTH_SERVICE_ACCOUNT_LIMITS_H
#define HEARTH_SERVICE_ACCOUNT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/account/rules.h"
#include "service/usage.h"
#include "store/counters.h"

enum { LIMITED_ONES = 4 /* at most, of one request */ };

/* One who is limited: a name of its own ("key:key_1234", "project:web", "address:10.0.0.1") and its rules. */
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

/* What is left of the window of which least is left (of two: the one that ends later), as answers' headers say. Limit 0: there is none of
 * this. */
struct limit_left {
    int64_t limit, remaining, reset_ms; /* Unix */
};

/* Admits a request of all of them or of none, and says what is left of each thing then. Each one admitted is due a limits_leave() with the
 * same id, which no other request has. LIMITS_AWAY: *e says why nothing could be counted. */
enum limits_answer { LIMITS_ADMITTED, LIMITS_FULL, LIMITS_AWAY };
enum limits_answer limits_enter(struct counters *c, const char *id, const struct limited_one *who, int n,
                                int64_t now_ms, struct limit_left left[N_LIMITED], struct limit_hit *hit,
                                struct err *e);
/* It has ended, and used this. */
void limits_leave(struct counters *c, const char *id, const struct limited_one *who, int n, int64_t now_ms,
                  const struct usage *u);
/* What is left, as far as this server has heard. */
void limits_left(struct counters *c, const struct limited_one *who, int n, int64_t now_ms,
                 struct limit_left left[N_LIMITED]);

#endif
