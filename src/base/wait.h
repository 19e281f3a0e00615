/* wait.h - waiting on a condition for no longer than so many seconds, of the clock that nobody sets: on the wall's, as pthread has it by default, a
 * second lasts a day when that clock is set back by one. */
#ifndef HEARTH_BASE_WAIT_H
#define HEARTH_BASE_WAIT_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

static inline void wait_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
}

/* When so many seconds from now are over. */
static inline struct timespec wait_end(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const double ns = (double)t.tv_nsec + seconds * 1e9;
    t.tv_sec += (time_t)(ns / 1e9);
    t.tv_nsec = (long)(ns - 1e9 * (double)(time_t)(ns / 1e9));
    return t;
}

/* As pthread_cond_timedwait(), of one that wait_init() made. False: the time is over. */
static inline bool wait_until(pthread_cond_t *c, pthread_mutex_t *lock, const struct timespec *end)
{
    return pthread_cond_timedwait(c, lock, end) != ETIMEDOUT;
}

#endif
