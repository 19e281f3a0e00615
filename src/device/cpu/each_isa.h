/* each_isa.h - for tests of kernels: every test once for each instruction set that has kernels of its own, under its name;
 * where the machine (or HEARTH_ISA) does not have the set, the test is printed as skipped. */
#ifndef HEARTH_DEVICE_CPU_EACH_ISA_H
#define HEARTH_DEVICE_CPU_EACH_ISA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "device/cpu/cpu_internal.h"

#define EACH_ISA_MAX 96 /* tests times levels, and those that run once */

struct each_isa_test {
    const char *name;
    void (*run)(unsigned mask); /* mask: for device_cpu_open() */
};

struct each_isa_case {
    char name[80];
    void (*run)(unsigned mask);
    int level; /* of isa_level */
};

static inline struct device *each_isa_open(struct pool **pool, int n_threads, unsigned mask)
{
    struct device *d;
    struct err e = { 0 };
    if (!pool_new(pool, n_threads, &e) || !device_cpu_open(&d, *pool, mask, &e)) fail_msg("%s", e.msg);
    return d;
}

static inline void each_isa_close(struct device *d, struct pool *pool)
{
    device_close(d);
    pool_free(pool);
}

static inline void each_isa_run(void **state)
{
    const struct each_isa_case *c = *state;
    const unsigned bit = isa_level[c->level].bit;
    unsigned isa;
    struct err e = { 0 };
    if (!isa_choose(&isa, &e)) fail_msg("%s", e.msg);
    if ((isa & bit) != bit) skip();
    c->run(isa_mask(c->level));
}

/* What main() returns. `sets`: the bits that `pick` has kernels for beside plain C, those of all architectures together; it must
 * have others for each, or a test would run under a name that is not its own. */
static inline int each_isa(const char *group, const struct each_isa_test *test, size_t n, unsigned sets,
                           const void *(*pick)(unsigned isa), const struct CMUnitTest *once, size_t n_once)
{
    static struct each_isa_case cases[EACH_ISA_MAX];
    struct CMUnitTest all[EACH_ISA_MAX];
    size_t k = 0;
    const void *below = NULL;
    for (int l = 0; l < ISA_LEVELS; l++) {
        if ((isa_level[l].bit & sets) != isa_level[l].bit) continue;
        if (pick(isa_mask(l)) == below) {
            fprintf(stderr, "%s: %s has no kernels of its own\n", group, isa_level[l].name);
            return 1;
        }
        below = pick(isa_mask(l));
        for (size_t i = 0; i < n && k < EACH_ISA_MAX; i++, k++) {
            cases[k] = (struct each_isa_case){ .run = test[i].run, .level = l };
            snprintf(cases[k].name, sizeof cases[k].name, "%s (%s)", test[i].name, isa_level[l].name);
            all[k] = (struct CMUnitTest){ cases[k].name, each_isa_run, NULL, NULL, &cases[k] };
        }
    }
    for (size_t i = 0; i < n_once && k < EACH_ISA_MAX; i++) all[k++] = once[i];
    return _cmocka_run_group_tests(group, all, k, NULL, NULL);
}

#endif
