/* cuda_test.c - the CUDA backend on an emulated GPU: every weight type by its definition, equal bits alone and among others, and what happens
 * when the device fails. backend_test.c runs its operations against plain C. */
#include "device/cuda/cuda_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "device/cuda/emulated/driver.h"

#ifndef HEARTH_CUDA_EMULATED
/* Built for another machine: there are no kernels inside, and that is said. */
static void test_without(void **state)
{
    (void)state;
    struct pool *pool;
    struct device *d;
    struct err e = { 0 };
    assert_true(pool_new(&pool, 1, &e));
    assert_false(device_cuda_open(&d, pool, 0, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_without) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else

struct gpu {
    struct pool *pool;
    struct device *d;
};

static struct gpu open_gpu(void)
{
    struct gpu g;
    struct err e = { 0 };
    if (!pool_new(&g.pool, 1, &e) || !cuda_open_on(&g.d, g.pool, emulated_driver(), emulated_image, 0, &e))
        fail_msg("%s", e.msg);
    device_acquire(g.d, POOL_LOAD);
    return g;
}

static void close_gpu(struct gpu *g)
{
    struct err e = { 0 };
    if (!device_finish(g->d, &e)) fail_msg("%s", e.msg);
    device_release(g->d);
    device_close(g->d);
    pool_free(g->pool);
    assert_int_equal(emulated_pieces(), 0);
}

static dev_float *put(struct gpu *g, const float *v, size_t n)
{
    struct err e = { 0 };
    dev_float *p = device_floats(g->d, n, &e);
    if (!p) fail_msg("%s", e.msg);
    device_upload(g->d, p, v, n);
    return p;
}

enum { ROWS = 5, COLS = 512, MANY = 19 };

/* Blocks of a type whose values are of a size that weights have: bytes at random, drawn again where they are not. */
static unsigned char *blocks(enum dtype t, uint64_t seed)
{
    const size_t row = dtype_row_bytes(t, COLS), block = (size_t)dtype_info(t)->block_bytes;
    const int elems = dtype_info(t)->block_elems;
    unsigned char *p = malloc(ROWS * row);
    uint64_t drawn = 0;
    float v[256];
    assert_non_null(p);
    for (unsigned char *b = p; b < p + ROWS * row; b += block) {
        bool good = false;
        while (!good) {
            for (size_t i = 0; i < block; i++) b[i] = (unsigned char)(philox_uniform(seed, 1, drawn++) * 256);
            dequant_row(t, b, v, elems);
            good = true;
            for (int i = 0; i < elems; i++) good &= isfinite(v[i]) && fabsf(v[i]) < 100;
        }
    }
    return p;
}

static void test_weights(void **state)
{
    (void)state;
    static const enum dtype wide[] = { DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S,
                                       DT_IQ1_S,   DT_IQ1_M,  DT_TQ1_0, DT_TQ2_0,   DT_MXFP4 };
    struct gpu g = open_gpu();
    struct err e = { 0 };
    static const int32_t ids[ROWS] = { 4, 0, 3, 1, 2 };
    dev_int *rows = device_ints(g.d, ROWS, &e);
    device_upload_ints(g.d, rows, ids, ROWS);
    for (int t = 0; t <= DT_MXFP4; t++) {
        bool widened = false;
        for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) widened |= wide[i] == (enum dtype)t;
        unsigned char *data = blocks((enum dtype)t, (uint64_t)t);
        const struct matrix m = { .type = (enum dtype)t, .n_out = ROWS, .n_in = COLS, .data = data };
        const float scale[2] = { 0.5f, 3 };
        struct matrix scaled = m;
        scaled.scale = scale;
        scaled.scale_rows = 3;
        scaled.scale_cols = COLS;
        struct table *table;
        struct linear *l;
        if (!table_new(g.d, &table, &m, &e) || !linear_new(g.d, &l, &scaled, 1, LINEAR_CONCAT, NULL, 1, &e))
            fail_msg("%s", e.msg);
        float want[ROWS * COLS], got[ROWS * COLS], x[COLS], product[ROWS];
        for (int r = 0; r < ROWS; r++)
            dequant_row((enum dtype)t, data + (size_t)r * dtype_row_bytes((enum dtype)t, COLS),
                        want + r * COLS, COLS);
        dev_float *y = device_floats(g.d, ROWS * COLS, &e), *z = device_floats(g.d, ROWS, &e);
        for (int i = 0; i < COLS; i++) x[i] = (float)philox_uniform(7, 0, (uint64_t)i) - 0.5f;
        dev_float *in = put(&g, x, COLS);
        op_embed(g.d, y, COLS, table, rows, ROWS);
        op_linear(g.d, &(struct linear_args){ .w = l, .x = in, .ldx = COLS, .y = z, .ldy = ROWS, .n = 1 });
        device_download(g.d, got, y, ROWS * COLS);
        device_download(g.d, product, z, ROWS);
        for (int r = 0; r < ROWS; r++) {
            double sum = 0, size = 0;
            for (int i = 0; i < COLS; i++) {
                const float w = want[ids[r] * COLS + i];
                if (!(fabsf(got[r * COLS + i] - w) <= (widened ? 5e-4f : 1e-6f) * fabsf(w) + 1e-7f))
                    fail_msg("%s, row %d, column %d: %g, wanted %g", dtype_info((enum dtype)t)->name, ids[r],
                             i, (double)got[r * COLS + i], (double)w);
                sum += (double)want[r * COLS + i] * x[i];
                size += fabs((double)want[r * COLS + i] * x[i]);
            }
            sum *= scale[r / 3];
            if (!(fabs(product[r] - sum) <= (widened ? 5e-4 : 1e-5) * size * scale[r / 3] + 1e-6))
                fail_msg("%s, product %d: %g, wanted %g", dtype_info((enum dtype)t)->name, r,
                         (double)product[r], sum);
        }
        device_free(g.d, y);
        device_free(g.d, z);
        device_free(g.d, in);
        linear_free(l);
        table_free(table);
        free(data);
    }
    device_free(g.d, rows);
    close_gpu(&g);
}

/* A row's product, its attention and its experts have the same bits whatever else is in the batch. */
static void test_equal_bits(void **state)
{
    (void)state;
    struct gpu g = open_gpu();
    struct err e = { 0 };
    unsigned char *data = blocks(DT_Q4_K, 3);
    const struct matrix m = { .type = DT_Q4_K, .n_out = ROWS, .n_in = COLS, .data = data };
    struct linear *l;
    if (!linear_new(g.d, &l, &m, 1, LINEAR_CONCAT, NULL, 1, &e)) fail_msg("%s", e.msg);
    float *x = malloc(MANY * COLS * sizeof *x), one[ROWS], all[MANY * ROWS];
    for (int i = 0; i < MANY * COLS; i++) x[i] = (float)philox_uniform(9, 0, (uint64_t)i) - 0.5f;
    dev_float *in = put(&g, x, MANY * COLS), *w = put(&g, x, COLS), *y = device_floats(g.d, MANY * ROWS, &e);
    struct linear_args a = {
        .w = l, .x = in, .ldx = COLS, .y = y, .ldy = ROWS, .n = MANY, .norm = w, .eps = 1e-5f
    };
    op_linear(g.d, &a);
    device_download(g.d, all, y, MANY * ROWS);
    for (int r = 0; r < MANY; r++) {
        a.x = in + r * COLS;
        a.n = 1;
        op_linear(g.d, &a);
        device_download(g.d, one, y, ROWS);
        assert_memory_equal(one, all + r * ROWS, sizeof one);
    }
    device_free(g.d, in);
    device_free(g.d, w);
    device_free(g.d, y);
    linear_free(l);
    free(data);
    free(x);
    close_gpu(&g);
}

/* A launch that fails is an error of the step; the next step begins anew. */
static void test_a_lost_launch(void **state)
{
    (void)state;
    struct gpu g = open_gpu();
    struct err e = { 0 };
    const float two = 2;
    float got;
    dev_float *x = put(&g, &two, 1);
    emulated_fail_launch(2);
    op_scale(g.d, x, x, 3, 1);
    op_scale(g.d, x, x, 3, 1); /* fails */
    op_scale(g.d, x, x, 3, 1); /* is not done */
    assert_false(device_finish(g.d, &e));
    assert_string_equal(e.msg, "a kernel: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure");
    op_scale(g.d, x, x, 3, 1);
    device_download(g.d, &got, x, 1);
    assert_true(got == 18);
    device_free(g.d, x);
    close_gpu(&g);
}

/* No memory is an error before anything is kept. */
static void test_no_memory(void **state)
{
    (void)state;
    struct gpu g = open_gpu();
    struct err e = { 0 };
    unsigned char *data = blocks(DT_F32, 1);
    const float bias[ROWS] = { 0 }, scale = 1;
    const struct matrix m = { .type = DT_F32,
                              .n_out = ROWS,
                              .n_in = COLS,
                              .data = data,
                              .scale = &scale,
                              .scale_rows = ROWS,
                              .scale_cols = COLS };
    struct linear *l = NULL;
    static const size_t left[] = { 0, 1, ROWS * COLS * 4 - 1 };
    const int before = emulated_pieces();
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        emulated_limit_memory(left[i]);
        assert_false(linear_new(g.d, &l, &m, 1, LINEAR_CONCAT, bias, 1, &e));
        assert_int_equal(e.code, ERR_NOMEM);
        assert_non_null(strstr(e.msg, "CUDA_ERROR_OUT_OF_MEMORY"));
        assert_int_equal(emulated_pieces(), before);
    }
    emulated_limit_memory(SIZE_MAX);
    free(data);
    close_gpu(&g);
}

static void test_opening(void **state)
{
    (void)state;
    struct pool *pool;
    struct device *d = NULL;
    struct err e = { 0 };
    assert_true(pool_new(&pool, 1, &e));
    assert_false(cuda_open_on(&d, pool, emulated_driver(), emulated_image, 3, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.msg, "there is no GPU 3: this machine has 1");
    assert_false(cuda_open_on(&d, pool, emulated_driver(), "another image", 0, &e));
    assert_non_null(strstr(e.msg, "the kernels do not load"));
    assert_true(cuda_open_on(&d, pool, emulated_driver(), emulated_image, 0, &e));
    assert_string_equal(device_name(d), "cuda:0 emulated, sm_90");
    device_close(d);
    pool_free(pool);
    assert_int_equal(emulated_pieces(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),       cmocka_unit_test(test_equal_bits),
        cmocka_unit_test(test_a_lost_launch), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
