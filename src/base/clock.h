/* clock.h - time. Monotonic for durations, wall for what people and clients read. */
#ifndef HEARTH_BASE_CLOCK_H
#define HEARTH_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline double clock_seconds(void) /* monotonic, arbitrary zero */
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static inline int64_t clock_unix_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Where time is read by those who may be given another: tests set it back and let it jump. NULL: the system's. */
struct time_source {
    int64_t (*unix_ms)(void *arg);
    double (*seconds)(void *arg);
    void *arg;
};

static inline int64_t time_unix_ms(const struct time_source *t)
{
    return t->unix_ms ? t->unix_ms(t->arg) : clock_unix_ms();
}

static inline double time_seconds(const struct time_source *t)
{
    return t->seconds ? t->seconds(t->arg) : clock_seconds();
}

#endif
