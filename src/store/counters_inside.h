/* counters_inside.h - what a place for counts is: a row of functions, as counters.h says of each. A new one is a file with such a row, and a
 * line in counters.c's list; the tests in counters_test.c run on every row. */
#ifndef HEARTH_STORE_COUNTERS_INSIDE_H
#define HEARTH_STORE_COUNTERS_INSIDE_H

#include "store/counters.h"

struct counters_backend {
    const char *name, *scheme; /* of its URLs; NULL: no URL at all */
    bool shared;
    bool (*open)(void **place, const char *where, const struct counters_options *o, struct err *e);
    void (*close)(void *place);
    const char *(*where)(const void *place);
    bool (*settled)(void *place);
    bool (*away)(void *place, struct err *why);
    bool (*take)(void *place, const struct counters_ask *ask, int *by, struct err *e);
    void (*give)(void *place, const struct counters_ask *ask);
    void (*look)(void *place, struct counter *v, int n);
};

extern const struct counters_backend counters_memory, counters_redis;

/* What another place said of these counts, to be looked at here. */
void counters_memory_note(void *place, const struct counter *v, int n);

#endif
