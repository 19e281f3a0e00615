/* backend_case.h - what a case of backend_test.c works with: a device, values that are the same on every backend, results.
 * Included by backend_test.c only. */
#ifndef HEARTH_DEVICE_BACKEND_CASE_H
#define HEARTH_DEVICE_BACKEND_CASE_H

#include "device/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"

enum { MOST = 64, ROUNDS = 8 };
#ifdef __SANITIZE_ADDRESS__ /* an emulated GPU's fibres are slow there */
enum { GPU_ROUNDS = 2 };
#else
enum { GPU_ROUNDS = ROUNDS };
#endif

struct ctx {
    struct device *d;
    uint64_t seed, drawn; /* of the case's shapes and values: the same on every backend */
    float *out, *want;    /* results; by formula, where the case has one */
    size_t n_out, n_want;
    void *piece[MOST], *host[MOST];
    int n_piece, n_host;
};

static inline int pick(struct ctx *c, int lo, int hi) /* lo..hi */
{
    return lo + (int)(philox_uniform(c->seed, 0, c->drawn++) * (hi - lo + 1));
}

static inline void *host(struct ctx *c, size_t bytes)
{
    assert_true(c->n_host < MOST);
    void *p = calloc(1, bytes ? bytes : 1);
    assert_non_null(p);
    return c->host[c->n_host++] = p;
}

static inline float *values(struct ctx *c, int64_t n) /* in -1..1 */
{
    float *v = host(c, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = (float)(philox_uniform(c->seed, 0, c->drawn++) * 2 - 1);
    return v;
}

static inline dev_float *put(struct ctx *c, const float *v, int64_t n)
{
    struct err e = { 0 };
    dev_float *p = device_floats(c->d, (size_t)n, &e);
    if (!p || c->n_piece == MOST) fail_msg("%s", e.msg);
    device_upload(c->d, p, v, (size_t)n);
    return c->piece[c->n_piece++] = p;
}

static inline dev_int *put_ints(struct ctx *c, const int32_t *v, int64_t n)
{
    struct err e = { 0 };
    dev_int *p = device_ints(c->d, (size_t)n, &e);
    if (!p || c->n_piece == MOST) fail_msg("%s", e.msg);
    device_upload_ints(c->d, p, v, (size_t)n);
    return c->piece[c->n_piece++] = p;
}

static inline dev_float *put_random(struct ctx *c, int64_t n) { return put(c, values(c, n), n); }

static inline void result(struct ctx *c, const dev_float *y, int64_t n)
{
    c->out = realloc(c->out, (c->n_out + (size_t)n + 1) * sizeof *c->out);
    assert_non_null(c->out);
    device_download(c->d, c->out + c->n_out, y, (size_t)n);
    c->n_out += (size_t)n;
}

/* What the last result is by its formula. */
static inline void expect(struct ctx *c, const float *v, int64_t n)
{
    c->want = realloc(c->want, (c->n_want + (size_t)n + 1) * sizeof *c->want);
    assert_non_null(c->want);
    memcpy(c->want + c->n_want, v, (size_t)n * sizeof *v);
    c->n_want += (size_t)n;
}

static inline void forget(struct ctx *c)
{
    for (int i = 0; i < c->n_piece; i++) device_free(c->d, c->piece[i]);
    for (int i = 0; i < c->n_host; i++) free(c->host[i]);
    free(c->out);
    free(c->want);
}

#endif
