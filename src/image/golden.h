/* golden.h - for tests of image networks: reference tensors, a device whose memory networks cannot touch (device/guard), and the relative error between two results.
 * Included by *_test.c only. */
#ifndef HEARTH_IMAGE_GOLDEN_H
#define HEARTH_IMAGE_GOLDEN_H

#include "device/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "device/guard/guard.h"
#include "format/weights.h"
#include "image/nn.h"

#define GOLDEN_DIR "tests/golden/image/"

struct golden {
    struct pool *pool;
    struct device *dev, *inner;
    struct device_arena scratch;
};

static inline void golden_open(struct golden *g)
{
    struct err e = { 0 };
    *g = (struct golden){ 0 };
    if (!pool_new(&g->pool, 2, &e) || !device_cpu_open(&g->inner, g->pool, ~0u, &e) ||
        !device_guard_open(&g->dev, g->inner, &e) || !device_arena_init(&g->scratch, g->dev, 64 << 20, &e)) {
        fail_msg("%s", e.msg);
    }
}

static inline void golden_close(struct golden *g)
{
    device_arena_free(&g->scratch);
    device_close(g->dev);
    device_close(g->inner);
    pool_free(g->pool);
}

static inline struct weights *golden_weights(const char *path)
{
    struct err e = { 0 };
    struct weights *w = NULL;
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    return w;
}

static inline json_t *golden_json(const char *path)
{
    json_error_t je;
    json_t *j = json_load_file(path, 0, &je);
    if (!j) fail_msg("%s: %s", path, je.text);
    return j;
}

/* A copy of a reference tensor as f32; free() it. */
static inline float *golden_floats(const struct weights *w, const char *name, int64_t n)
{
    const struct tensor *t = weights_find(w, name);
    if (!t || tensor_elems(t) != n || t->type != DT_F32)
        fail_msg("golden %s: absent, or not %lld values", name, (long long)n);
    float *v = malloc((size_t)n * sizeof *v);
    assert_non_null(v);
    memcpy(v, t->data, (size_t)n * sizeof *v);
    return v;
}

static inline int32_t *golden_ids(const struct weights *w, const char *name, int *n)
{
    const struct tensor *t = weights_find(w, name);
    assert_non_null(t);
    *n = (int)tensor_elems(t);
    int32_t *v = malloc((size_t)*n * sizeof *v);
    assert_non_null(v);
    memcpy(v, t->data, (size_t)*n * sizeof *v);
    return v;
}

/* Fails unless ||got - want|| / ||want|| < bound. */
static inline void golden_near(const char *what, const float *got, const struct weights *w, const char *name,
                               int64_t n, double bound)
{
    float *want = golden_floats(w, name, n);
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    free(want);
    double error = sqrt(diff / norm);
    if (!(error < bound)) fail_msg("%s: relative error %.3g, bound %.0e", what, error, bound);
    printf("  %-44s relative error %.2e (bound %.0e)\n", what, error, bound);
}

#endif
