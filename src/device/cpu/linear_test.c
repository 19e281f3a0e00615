/* linear_test.c - quantised layers: against dequantised weights, against plain C bit for bit, alone and in company. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/cpu/each_isa.h"
#include "device/cpu/edge.h"
#include "format/quant.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const enum dtype types[] = { DT_Q4_0,  DT_Q4_1,  DT_Q5_0,    DT_Q5_1,   DT_Q8_0,  DT_IQ4_NL,
                                    DT_Q2_K,  DT_Q3_K,  DT_Q4_K,    DT_Q5_K,   DT_Q6_K,  DT_IQ4_XS,
                                    DT_IQ1_S, DT_IQ1_M, DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS,
                                    DT_IQ3_S, DT_TQ1_0, DT_TQ2_0,   DT_MXFP4,  DT_NVFP4, DT_W4_128 };

static float uniform(uint64_t stream, uint64_t i)
{
    return (float)(2.0 * philox_uniform(7, stream, i) - 1.0);
}

/* Random blocks with scales of a sensible size. */
static void fill(enum dtype t, unsigned char *p, int64_t n_blocks, uint64_t stream)
{
    size_t bytes = (size_t)dtype_info(t)->block_bytes;
    for (int64_t b = 0; b < n_blocks; b++, p += bytes) {
        for (size_t i = 0; i < bytes; i++)
            p[i] = (unsigned char)(philox_uniform(9, stream, (uint64_t)b * 256 + i) * 256.0);
        float k = dtype_info(t)->block_elems == 256 ? 0.001f : 0.02f;
        uint16_t d = f32_to_f16(k * (1.0f + 0.5f * uniform(stream, (uint64_t)b)));
        uint16_t m = f32_to_f16(k * uniform(stream + 1, (uint64_t)b));
        if (t == DT_MXFP4) {
            p[0] = (unsigned char)(118 + p[0] % 4);
            continue;
        }
        if (t == DT_NVFP4) {
            for (int i = 0; i < 4; i++) p[i] = (unsigned char)(0x10 + p[i] % 32);
            continue;
        }
        if (t == DT_IQ1_M) {
            for (int i = 0; i < 4; i++)
                p[49 + 2 * i] = (unsigned char)((p[49 + 2 * i] & 15) | (d >> 4 * i & 15) << 4);
            continue;
        }
        if (t == DT_W4_128) p[2] &= 15;
        size_t at = t == DT_Q2_K    ? 80
                    : t == DT_Q3_K  ? 108
                    : t == DT_Q6_K  ? 208
                    : t == DT_TQ1_0 ? 52
                    : t == DT_TQ2_0 ? 64
                                    : 0;
        memcpy(p + at, &d, 2);
        if (t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q4_K || t == DT_Q5_K || t == DT_Q2_K)
            memcpy(p + at + 2, &m, 2);
    }
}

struct layer {
    struct matrix m[4];
    struct edge data[4];
    int n;
};

static void layer_make(struct layer *l, const enum dtype *t, const int64_t *n_out, int n, int64_t n_in)
{
    l->n = n;
    for (int i = 0; i < n; i++) {
        size_t bytes = dtype_row_bytes(t[i], n_in) * (size_t)n_out[i];
        l->data[i] = edge_alloc(bytes);
        fill(t[i], l->data[i].p, n_out[i] * n_in / dtype_info(t[i])->block_elems, (uint64_t)(10 * i + t[i]));
        l->m[i] = (struct matrix){ .type = t[i], .n_out = n_out[i], .n_in = n_in, .data = l->data[i].p };
    }
}

static void layer_free(struct layer *l)
{
    for (int i = 0; i < l->n; i++) edge_free(l->data[i]);
}

/* y[n, n_out] of a fresh layer on a fresh device; rows go through in calls of at most `chunk`. */
static void product(unsigned mask, int threads, const struct layer *w, enum linear_join join,
                    const float *bias, const float *x, const float *norm, enum epilogue epi, int64_t n,
                    int64_t chunk, float *y)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, threads, mask);
    struct linear *l;
    assert_true(linear_new(d, &l, w->m, w->n, join, bias, 1, &e));
    assert_true(linear_is_copy(l));
    int64_t n_in = linear_n_in(l), n_out = linear_n_out(l);
    for (int64_t r = 0; r < n; r += chunk)
        op_linear(d, &(struct linear_args){ .w = l,
                                            .x = x + r * n_in,
                                            .ldx = n_in,
                                            .y = y + r * n_out,
                                            .ldy = n_out,
                                            .n = n - r < chunk ? n - r : chunk,
                                            .norm = norm,
                                            .eps = 1e-5f,
                                            .epi = epi });
    linear_free(l);
    each_isa_close(d, pool);
}

/* Each type means what dequant_row() says: the only error is the rounding of activations to int8. */
static void test_against_dequantised(unsigned mask)
{
    for (size_t t = 0; t < COUNT(types); t++) {
        int64_t n_in = 768, n_out = 37, n = 3;
        struct layer w;
        layer_make(&w, &types[t], &n_out, 1, n_in);
        float *x = malloc((size_t)(n * n_in) * sizeof *x), *y = malloc((size_t)(n * n_out) * sizeof *y);
        float *row = malloc((size_t)n_in * sizeof *row);
        for (int64_t i = 0; i < n * n_in; i++) x[i] = uniform(3, (uint64_t)i);
        product(mask, 1, &w, LINEAR_CONCAT, NULL, x, NULL, EPI_STORE, n, n, y);
        double err = 0, ref = 0;
        for (int64_t o = 0; o < n_out; o++) {
            dequant_row(types[t], (const char *)w.m[0].data + (size_t)o * dtype_row_bytes(types[t], n_in),
                        row, n_in);
            for (int64_t r = 0; r < n; r++) {
                double want = 0;
                for (int64_t k = 0; k < n_in; k++) want += (double)row[k] * x[r * n_in + k];
                err += (want - y[r * n_out + o]) * (want - y[r * n_out + o]);
                ref += want * want;
            }
        }
        if (sqrt(err / ref) > 0.008)
            fail_msg("%s: relative error %g", dtype_info(types[t])->name, sqrt(err / ref));
        free(x);
        free(y);
        free(row);
        layer_free(&w);
    }
}

/* Every instruction set, thread count and cutting of the rows gives the bits of plain C on one thread, row by row. */
static void test_same_bits(unsigned mask)
{
    static const int64_t shapes[][2] = { { 256, 16 }, { 512, 50 }, { 1024, 131 } };
    static const int64_t chunks[] = { 1, 2, 3, 5, 8, 13, 24, 76 };
    for (size_t t = 0; t < COUNT(types); t++)
        for (size_t s = 0; s < COUNT(shapes); s++) {
            int64_t n_in = shapes[s][0], n_out = shapes[s][1], n = 76;
            struct layer w;
            layer_make(&w, &types[t], &n_out, 1, n_in);
            size_t y_bytes = (size_t)(n * n_out) * sizeof(float);
            float *x = malloc((size_t)(n * n_in) * sizeof *x), *norm = malloc((size_t)n_in * sizeof *norm);
            float *want = malloc(y_bytes), *got = malloc(y_bytes);
            for (int64_t i = 0; i < n * n_in; i++) x[i] = 3.0f * uniform(4, (uint64_t)i);
            for (int64_t i = 0; i < 64; i++) x[i] = 0.0f;
            for (int64_t i = 0; i < n_in; i++) norm[i] = 1.0f + uniform(5, (uint64_t)i);
            product(0, 1, &w, LINEAR_CONCAT, NULL, x, norm, EPI_STORE, n, 1, want);
            for (size_t c = 0; c < COUNT(chunks); c++) {
                if (mask == 0 && c % 3 != 1) continue;
                memset(got, 0xff, y_bytes);
                product(mask, 1 + (int)(c % 2), &w, LINEAR_CONCAT, NULL, x, norm, EPI_STORE, n, chunks[c],
                        got);
                if (memcmp(want, got, y_bytes))
                    fail_msg("%s [%d, %d], isa %x, rows in %d: bits differ", dtype_info(types[t])->name,
                             (int)n_out, (int)n_in, mask, (int)chunks[c]);
            }
            free(x);
            free(norm);
            free(want);
            free(got);
            layer_free(&w);
        }
}

static float silu(float v) { return v / (1.0f + expf(-v)); }

/* Joined layers with bias and epilogue are the same as their parts apart. */
static void test_joins(unsigned mask)
{
    static const enum dtype mixed[3] = { DT_Q4_K, DT_Q4_K, DT_Q6_K };
    static const int64_t sizes[3] = { 48, 16, 20 };
    int64_t n_in = 512, n = 14;
    struct layer w;
    layer_make(&w, mixed, sizes, 3, n_in);
    float *x = malloc((size_t)(n * n_in) * sizeof *x), *y = malloc((size_t)(n * 84) * sizeof *y);
    float *part = malloc((size_t)(n * 84) * sizeof *part), bias[84];
    for (int64_t i = 0; i < n * n_in; i++) x[i] = uniform(6, (uint64_t)i);
    for (int i = 0; i < 84; i++) bias[i] = uniform(8, (uint64_t)i);
    product(mask, 2, &w, LINEAR_CONCAT, bias, x, NULL, EPI_STORE, n, n, y);
    int64_t at = 0;
    for (int i = 0; i < 3; i++) {
        struct layer one = { .m = { w.m[i] }, .n = 1 };
        product(0, 1, &one, LINEAR_CONCAT, bias + at, x, NULL, EPI_STORE, n, n, part);
        for (int64_t r = 0; r < n; r++)
            assert_memory_equal(y + r * 84 + at, part + r * sizes[i], (size_t)sizes[i] * sizeof *y);
        at += sizes[i];
    }
    layer_free(&w);

    static const enum dtype pair[2] = { DT_Q4_1, DT_Q8_0 };
    static const int64_t same[2] = { 37, 37 };
    layer_make(&w, pair, same, 2, n_in);
    float *gate = malloc((size_t)(n * 37) * sizeof *gate), *up = malloc((size_t)(n * 37) * sizeof *up);
    struct layer g = { .m = { w.m[0] }, .n = 1 }, u = { .m = { w.m[1] }, .n = 1 };
    product(0, 1, &g, LINEAR_CONCAT, bias, x, NULL, EPI_STORE, n, n, gate);
    product(0, 1, &u, LINEAR_CONCAT, bias + 37, x, NULL, EPI_STORE, n, n, up);
    product(mask, 2, &w, LINEAR_PAIRED, bias, x, NULL, EPI_SWIGLU, n, n, y);
    for (int64_t i = 0; i < n * 37; i++) {
        float want = silu(gate[i]) * up[i];
        assert_true(fabsf(y[i] - want) <= 1e-5f * (1.0f + fabsf(want)));
    }
    layer_free(&w);
    free(gate);
    free(up);
    free(x);
    free(y);
    free(part);
}

/* y = x + W x in place: no thread may see a row that another has already changed. */
static void test_in_place(unsigned mask)
{
    enum dtype t = DT_Q4_0;
    int64_t n = 256;
    struct layer w;
    layer_make(&w, &t, &n, 1, n);
    struct err e = { 0 };
    float *x = malloc((size_t)n * sizeof *x), *want = malloc((size_t)n * sizeof *want);
    for (int64_t i = 0; i < n; i++) x[i] = uniform(11, (uint64_t)i);
    product(0, 1, &w, LINEAR_CONCAT, NULL, x, NULL, EPI_STORE, 1, 1, want);
    for (int64_t i = 0; i < n; i++) want[i] = x[i] + want[i];
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    struct linear *l;
    assert_true(linear_new(d, &l, w.m, 1, LINEAR_CONCAT, NULL, 1, &e));
    for (int i = 0; i < 50; i++) {
        float y[256];
        memcpy(y, x, sizeof y);
        op_linear(
            d, &(struct linear_args){ .w = l, .x = y, .ldx = n, .y = y, .ldy = n, .n = 1, .epi = EPI_ADD });
        assert_memory_equal(y, want, sizeof y);
    }
    linear_free(l);
    each_isa_close(d, pool);
    free(x);
    free(want);
    layer_free(&w);
}

/* A scale for each row multiplies finished sums, and inputs may be taken in an order of the matrix's own; parts with another order, or
 * none, are the same joined as apart. */
static void test_rows_and_order(unsigned mask)
{
    enum { N_IN = 512, N_OUT = 37, ROWS = 30 };
    static const enum dtype pair[2] = { DT_W4_128, DT_Q8_0 };
    static const int64_t sizes[2] = { N_OUT, N_OUT };
    struct layer w;
    layer_make(&w, pair, sizes, 2, N_IN);
    float *x = malloc(ROWS * N_IN * sizeof *x), *sorted = malloc(ROWS * N_IN * sizeof *x);
    float *plain = malloc(ROWS * N_OUT * sizeof *x), *up = malloc(ROWS * N_OUT * sizeof *x),
          *got = malloc(2 * ROWS * N_OUT * sizeof *x), scale[N_OUT];
    int32_t from[N_IN];
    for (int i = 0; i < N_IN; i++) from[i] = (i * 77 + 5) % N_IN;
    for (int o = 0; o < N_OUT; o++) scale[o] = uniform(15, (uint64_t)o);
    for (int i = 0; i < ROWS * N_IN; i++) x[i] = uniform(16, (uint64_t)i);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < N_IN; i++) sorted[r * N_IN + i] = x[r * N_IN + from[i]];
    struct layer one = { .m = { w.m[0] }, .n = 1 }, other = { .m = { w.m[1] }, .n = 1 };
    product(0, 1, &one, LINEAR_CONCAT, NULL, sorted, NULL, EPI_STORE, ROWS, ROWS, plain);
    product(0, 1, &other, LINEAR_CONCAT, NULL, x, NULL, EPI_STORE, ROWS, ROWS, up);
    for (int i = 0; i < ROWS * N_OUT; i++) plain[i] *= scale[i % N_OUT];
    w.m[0].from = one.m[0].from = from;
    w.m[0].scale = one.m[0].scale = scale;
    w.m[0].scale_rows = one.m[0].scale_rows = 1;
    w.m[0].scale_cols = one.m[0].scale_cols = N_IN;
    product(mask, 2, &one, LINEAR_CONCAT, NULL, x, NULL, EPI_STORE, ROWS, ROWS, got);
    assert_memory_equal(got, plain, ROWS * N_OUT * sizeof *got);
    product(mask, 2, &w, LINEAR_CONCAT, NULL, x, NULL, EPI_STORE, ROWS, 7, got);
    for (int r = 0; r < ROWS; r++) {
        assert_memory_equal(got + 2 * r * N_OUT, plain + r * N_OUT, sizeof scale);
        assert_memory_equal(got + (2 * r + 1) * N_OUT, up + r * N_OUT, sizeof scale);
    }
    w.m[1].from = from;
    product(0, 1, &(struct layer){ .m = { w.m[1] }, .n = 1 }, LINEAR_CONCAT, NULL, x, NULL, EPI_STORE, ROWS,
            ROWS, up);
    product(mask, 2, &w, LINEAR_PAIRED, NULL, x, NULL, EPI_SWIGLU, ROWS, ROWS, got);
    for (int i = 0; i < ROWS * N_OUT; i++) {
        const float want = silu(plain[i]) * up[i];
        assert_true(fabsf(got[i] - want) <= 1e-5f * (1.0f + fabsf(want)));
    }
    layer_free(&w);
    free(x);
    free(sorted);
    free(plain);
    free(up);
    free(got);
}

static void test_refusals(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 1, ~0u);
    struct linear *l = NULL;
    unsigned char bytes[18 * 4] = { 0 };
    struct matrix m[2] = { { .type = DT_Q4_0, .n_out = 2, .n_in = 64, .data = bytes },
                           { .type = DT_Q4_0, .n_out = 2, .n_in = 32, .data = bytes } };
    assert_false(linear_new(d, &l, m, 2, LINEAR_CONCAT, NULL, 1, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    m[0].n_in = 33;
    assert_false(linear_new(d, &l, m, 1, LINEAR_CONCAT, NULL, 1, &e));
    assert_false(linear_new(d, &l, m, 0, LINEAR_CONCAT, NULL, 1, &e));
    int32_t from[64] = { 0 };
    float scale[4] = { 1, 1, 1, 1 };
    m[0].n_in = m[1].n_in = 64;
    m[0].from = from; /* gate and up take their inputs in one order */
    assert_false(linear_new(d, &l, m, 2, LINEAR_PAIRED, NULL, 1, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    m[0].scale = scale; /* a scale for half a row */
    m[0].scale_rows = 1;
    m[0].scale_cols = 32;
    assert_false(linear_new(d, &l, m, 1, LINEAR_CONCAT, NULL, 1, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_null(l);
    each_isa_close(d, pool);
}

static const void *pick(unsigned isa) { return quant_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "against_dequantised", test_against_dequantised },
                                                 { "same_bits", test_same_bits },
                                                 { "joins", test_joins },
                                                 { "in_place", test_in_place },
                                                 { "rows_and_order", test_rows_and_order } };
    const struct CMUnitTest once[] = { cmocka_unit_test(test_refusals) };
    return each_isa("quantised layers", each, COUNT(each),
                    ISA_NEON | ISA_DOTPROD | ISA_I8MM | ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512 | ISA_AMX, pick,
                    once, COUNT(once));
}
