/* times.h - times that a benchmark takes: noted one by one, then asked for their mean and percentiles. */
#ifndef HEARTH_BENCH_TIMES_H
#define HEARTH_BENCH_TIMES_H

#include <stddef.h>
#include <stdlib.h>

struct times {
    double *us;
    size_t n, cap;
};

/* Ends the program where there is no memory. */
static inline void times_note(struct times *t, double us)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1024;
        t->us = realloc(t->us, t->cap * sizeof *t->us);
        if (!t->us) exit(1);
    }
    t->us[t->n++] = us;
}

static inline int times_by_length(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static inline void times_sort(struct times *t)
{
    if (t->n) qsort(t->us, t->n, sizeof *t->us, times_by_length);
}

/* p from 0 to 1, of sorted ones; 0 when there are none. */
static inline double times_percentile(const struct times *t, double p)
{
    return t->n ? t->us[(size_t)(p * (double)(t->n - 1))] : 0;
}

static inline double times_mean(const struct times *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->n; i++) sum += t->us[i];
    return t->n ? sum / (double)t->n : 0;
}

#endif
