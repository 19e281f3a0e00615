/* ages.h - which Unix times are surely so long ago, or of no time at all, whatever was done to the clock meanwhile.
 *
 * What is released by its age is stamped by a clock that people set. Let it jump two hours ahead, and everything that is under way looks two
 * hours old. So the difference between that clock and the one that nobody sets is noted, and a stamp is old only where it is by every difference
 * of the last age; and one from the future, which no clock of that time can have made, is of before it was set back.
 *
 * The clocks of servers that share a store are kept together, to less than the age.
 * Threads  any, but ages_init() and ages_free(). */
#ifndef HEARTH_SERVICE_ACCOUNT_AGES_H
#define HEARTH_SERVICE_ACCOUNT_AGES_H

#include <pthread.h>
#include <stdint.h>

struct ages {
    pthread_mutex_t lock;
    int64_t age_ms, turned_ms; /* turned: when `now` began, by the clock that nobody sets */
    struct age_span {
        int64_t least, most; /* of the difference, milliseconds */
    } now, before;           /* of the age under way, and of the one before */
};

/* Stamps from first_ms to last_ms may be of less than the age ago. */
struct age_bounds {
    int64_t first_ms, last_ms;
};

void ages_init(struct ages *a, int64_t age_ms, double now_s, int64_t unix_ms);
void ages_free(struct ages *a);
/* now_s: clock_seconds(). Called now and then; a difference that came and went between two calls is not known. */
struct age_bounds ages_look(struct ages *a, double now_s, int64_t unix_ms);

#endif
