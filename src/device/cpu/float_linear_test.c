/* float_linear_test.c - layers with float weights on every instruction set: against double sums of the same rounded
 * values on ragged shapes, and the same bits for a row alone, in company, and on any number of threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/cpu/each_isa.h"
#include "device/cpu/edge.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/epilogue.h"
#include "device/cpu/float_kern.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A matrix in memory that ends at its last byte, with scales of its own where asked. */
static struct edge make_matrix(struct matrix *m, enum dtype type, int64_t n_out, int64_t n_in, float *scale,
                               int64_t scale_rows, int64_t scale_cols, uint64_t seed)
{
    const size_t n = (size_t)(n_out * n_in), bytes = n * dtype_row_bytes(type, 1);
    struct edge e = edge_alloc(bytes);
    for (size_t i = 0; i < n; i++) {
        const float f = (float)(2.0 * philox_uniform(seed, 1, i) - 1.0);
        const uint16_t bf = f32_to_bf16(f), half = f32_to_f16(f);
        const uint8_t f8 = (uint8_t)(philox_uniform(seed, 2, i) * 256);
        switch (type) {
        case DT_F32: memcpy((char *)e.p + i * 4, &f, 4); break;
        case DT_BF16: memcpy((char *)e.p + i * 2, &bf, 2); break;
        case DT_F16: memcpy((char *)e.p + i * 2, &half, 2); break;
        /* every code but NaN and, for e5m2, infinity */
        default:
            ((uint8_t *)e.p)[i] =
                (f8 & 0x7f) >= (type == DT_F8_E4M3 ? 0x7f : 0x7c) ? (uint8_t)(f8 & 0x8f) : f8;
        }
    }
    if (scale)
        for (int i = 0; i < 4096; i++) scale[i] = 0.5f + (float)philox_uniform(seed, 3, (uint64_t)i);
    *m = (struct matrix){ type, n_out, n_in, e.p, scale, scale_rows, scale_cols, NULL, false };
    return e;
}

static double activation(enum epilogue epi, double v)
{
    switch (epi) {
    case EPI_SILU:
    case EPI_SWIGLU: return v / (1 + exp(-v));
    case EPI_GELU_ERF:
    case EPI_GEGLU_ERF: return 0.5 * v * (1 + erf(v * M_SQRT1_2));
    case EPI_GELU_TANH:
    case EPI_GEGLU: return 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    case EPI_QUICK_GELU: return v / (1 + exp(-1.702 * v));
    case EPI_CLIPGLU: return fmin(v, 7) / (1 + exp(-1.702 * fmin(v, 7)));
    case EPI_RELU: return v > 0 ? v : 0;
    default: return v;
    }
}

/* How a layer's values meet: both sides as bf16 ("narrow"), or exactly. */
static bool narrow(struct device *d, enum dtype type, int rows_hint)
{
    if (type == DT_F16) return rows_hint > 1 && cpu_of(d)->fl->bf16_faster;
    return type != DT_F32;
}

/* Row o of m times x in double; bf: of the values as they are rounded for bf16 products. */
static double dot(const struct matrix *m, int64_t o, const float *x, bool bf)
{
    static float w[1 << 14];
    dequant_row(m->type, (const char *)m->data + (size_t)o * dtype_row_bytes(m->type, m->n_in), w, m->n_in);
    double sum = 0;
    const int64_t cols = m->scale ? (m->n_in + m->scale_cols - 1) / m->scale_cols : 0;
    for (int64_t i = 0; i < m->n_in; i++) {
        const double s = m->scale ? (double)m->scale[o / m->scale_rows * cols + i / m->scale_cols] : 1.0;
        sum += s * (double)(bf ? bf16_to_f32(f32_to_bf16(w[i])) : w[i]) *
               (double)(bf ? bf16_to_f32(f32_to_bf16(x[i])) : x[i]);
    }
    return sum;
}

struct shape {
    enum dtype type;
    int64_t n_in, n_out[3], rows;
    int parts;
    enum linear_join join;
    enum epilogue epi;
    int scale; /* 0: none, 1: tensor, 2: rows, more: blocks of so many columns, and as many rows */
    bool bias, norm;
    int rows_hint;
};

static const struct shape shapes[] = {
    { DT_BF16, 1, { 1 }, 1, 1, LINEAR_CONCAT, EPI_STORE, 0, false, false, 1 },
    { DT_BF16, 33, { 17 }, 5, 1, LINEAR_CONCAT, EPI_STORE, 0, true, false, 1 },
    { DT_BF16, 600, { 215 }, 40, 1, LINEAR_CONCAT, EPI_ADD, 0, true, true, 1 },
    { DT_BF16, 576, { 64, 7, 48 }, 17, 3, LINEAR_CONCAT, EPI_GATE_ADD, 0, true, false, 1 },
    { DT_BF16, 300, { 100, 100 }, 33, 2, LINEAR_PAIRED, EPI_SWIGLU, 0, true, true, 1 },
    { DT_BF16, 1100, { 400 }, 300, 1, LINEAR_CONCAT, EPI_GELU_TANH, 0, true, false, 1 },
    { DT_F16, 100, { 31 }, 16, 1, LINEAR_CONCAT, EPI_GELU_ERF, 0, false, false, 1 },
    { DT_F16, 1, { 1 }, 1, 1, LINEAR_CONCAT, EPI_STORE, 0, true, false, 1 },
    { DT_F16, 600, { 215 }, 300, 1, LINEAR_CONCAT, EPI_ADD, 0, true, true, 1 },
    { DT_F16, 257, { 60, 60 }, 9, 2, LINEAR_PAIRED, EPI_GEGLU_ERF, 0, true, false, 512 },
    { DT_F16, 600, { 215 }, 40, 1, LINEAR_CONCAT, EPI_ADD, 0, true, true, 512 },
    { DT_F16, 257, { 60, 60 }, 9, 2, LINEAR_PAIRED, EPI_GEGLU_ERF, 0, true, false, 1 },
    { DT_F32, 100, { 37 }, 21, 1, LINEAR_CONCAT, EPI_QUICK_GELU, 0, true, false, 1 },
    { DT_F32, 515, { 130 }, 270, 1, LINEAR_CONCAT, EPI_SILU, 0, false, true, 1 },
    { DT_F32, 64, { 20, 20 }, 3, 2, LINEAR_PAIRED, EPI_GEGLU, 0, false, false, 1 },
    { DT_F32, 300, { 33, 33 }, 7, 2, LINEAR_PAIRED, EPI_CLIPGLU, 0, true, false, 1 },
    { DT_F8_E4M3, 100, { 37 }, 19, 1, LINEAR_CONCAT, EPI_STORE, 0, false, false, 1 },
    { DT_F8_E4M3, 300, { 50, 21 }, 300, 2, LINEAR_CONCAT, EPI_RELU, 1, true, false, 1 },
    { DT_F8_E4M3, 130, { 77, 77 }, 6, 2, LINEAR_PAIRED, EPI_SWIGLU, 2, true, false, 1 },
    { DT_F8_E4M3, 300, { 200 }, 18, 1, LINEAR_CONCAT, EPI_STORE, 128, false, false, 1 },
    { DT_F8_E4M3, 700, { 100, 40 }, 300, 2, LINEAR_CONCAT, EPI_ADD, 64, true, true, 1 },
    { DT_F8_E4M3, 330, { 70, 70 }, 140, 2, LINEAR_PAIRED, EPI_SWIGLU, 32, true, false, 1 },
    { DT_F8_E4M3, 600, { 50 }, 5, 1, LINEAR_CONCAT, EPI_STORE, 512, true, false, 1 },
    { DT_F8_E4M3, 200, { 50 }, 20, 1, LINEAR_CONCAT, EPI_STORE, 48, false, false, 1 },
    { DT_F8_E5M2, 200, { 33 }, 7, 1, LINEAR_CONCAT, EPI_STORE, 96, false, false, 1 },
    { DT_F8_E5M2, 70, { 40 }, 2, 1, LINEAR_CONCAT, EPI_STORE, 0, false, false, 1 },
};

static void check_shape(unsigned mask, const struct shape *s, uint64_t seed)
{
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    static float scale[3][4096];
    const bool bf = narrow(d, s->type, s->rows_hint) && (s->scale <= 2 || s->scale % 32 == 0);
    struct matrix m[3];
    struct edge data[3];
    int64_t n_total = 0;
    for (int i = 0; i < s->parts; i++) {
        const int64_t n_out = s->n_out[i];
        data[i] = make_matrix(&m[i], s->type, n_out, s->n_in, s->scale ? scale[i] : NULL,
                              s->scale == 1   ? n_out
                              : s->scale == 2 ? 1
                                              : s->scale,
                              s->scale > 2 ? s->scale : s->n_in, seed + (uint64_t)i);
        n_total += n_out;
    }
    const int64_t n_out = s->join == LINEAR_PAIRED ? s->n_out[0] : n_total;
    struct edge x = edge_floats((size_t)(s->rows * s->n_in), seed + 10),
                bias = edge_floats((size_t)n_total, seed + 11);
    struct edge norm = edge_floats((size_t)s->n_in, seed + 12), gate = edge_floats((size_t)n_out, seed + 13);
    struct edge before = edge_floats((size_t)(s->rows * n_out), seed + 14);
    struct edge y = edge_alloc(before.bytes), alone = edge_alloc(before.bytes);
    memcpy(y.p, before.p, before.bytes);
    memcpy(alone.p, before.p, before.bytes);

    struct linear *l;
    struct err e;
    assert_true(linear_new(d, &l, m, s->parts, s->join, s->bias ? bias.p : NULL, s->rows_hint, &e));
    assert_int_equal(linear_n_out(l), n_out);
    struct linear_args a = { .w = l,
                             .x = x.p,
                             .ldx = s->n_in,
                             .y = y.p,
                             .ldy = n_out,
                             .n = s->rows,
                             .norm = s->norm ? norm.p : NULL,
                             .eps = 1e-6f,
                             .epi = s->epi,
                             .gate = gate.p };
    op_linear(d, &a);

    double worst = 0, largest = 0;
    for (int64_t r = 0; r < s->rows; r++) {
        static float xr[1 << 14];
        const float *src = (const float *)x.p + r * s->n_in;
        const float inv = epilogue_rms_inv(src, s->n_in, 1e-6f);
        for (int64_t i = 0; i < s->n_in; i++) xr[i] = s->norm ? src[i] * inv * ((float *)norm.p)[i] : src[i];
        for (int64_t o = 0; o < n_out; o++) {
            int part = 0;
            int64_t row = o;
            while (s->join == LINEAR_CONCAT && row >= s->n_out[part]) row -= s->n_out[part++];
            double v = dot(&m[part], row, xr, bf) + (s->bias ? (double)((float *)bias.p)[o] : 0);
            double want = activation(s->epi, v);
            if (s->join == LINEAR_PAIRED) {
                const double up =
                    dot(&m[1], row, xr, bf) + (s->bias ? (double)((float *)bias.p)[n_out + o] : 0);
                want *= s->epi == EPI_CLIPGLU ? fmax(fmin(up, 7), -7) + 1 : up;
            }
            const double old = (double)((float *)before.p)[r * n_out + o];
            if (s->epi == EPI_ADD) want += old;
            if (s->epi == EPI_GATE_ADD) want = old + want * (double)((float *)gate.p)[o];
            const double err = fabs(want - (double)((float *)y.p)[r * n_out + o]);
            if (!(err <= worst)) worst = err;
            if (fabs(want) > largest) largest = fabs(want);
        }
    }
    /* AMX keeps what an F16 layer reads as two bf16, to one part in 2^16 */
    const bool halves = s->type == DT_F16 && !bf && (d->isa & ISA_AMX);
    if (!(worst <= (halves ? 0x1p-16 : 4e-6) * largest))
        fail_msg("mask %x, shape %d: error %g of %g", mask, (int)(s - shapes), worst, largest);

    /* every row alone, on one thread more, the 16-bit matrices read from where they lie: the same bits */
    struct pool *pool3;
    struct device *d3 = each_isa_open(&pool3, 3, mask);
    struct linear *l3;
    for (int i = 0; i < s->parts; i++) m[i].stay = true;
    assert_true(linear_new(d3, &l3, m, s->parts, s->join, s->bias ? bias.p : NULL, s->rows_hint, &e));
    assert_int_equal(linear_is_copy(l3), s->type == DT_F32 || (s->scale > 2 && s->scale % 32));
    for (int64_t r = 0; r<s->rows; r += s->rows> 20 ? 13 : 1) {
        struct linear_args one = a;
        one.w = l3;
        one.n = 1;
        one.x += r * s->n_in;
        one.y = (float *)alone.p + r * n_out;
        op_linear(d3, &one);
        assert_memory_equal(one.y, (float *)y.p + r * n_out, (size_t)n_out * sizeof(float));
    }
    linear_free(l);
    linear_free(l3);
    each_isa_close(d, pool);
    each_isa_close(d3, pool3);
    for (int i = 0; i < s->parts; i++) edge_free(data[i]);
    struct edge all[] = { x, bias, norm, gate, before, y, alone };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

static void test_shapes(unsigned mask)
{
    for (size_t i = 0; i < COUNT(shapes); i++) check_shape(mask, &shapes[i], 100 * i);
}

/* Parts of several kinds in one layer: F16 keeps its bits beside others, and blocks may differ from part to part. */
static void test_mixed(unsigned mask)
{
    enum { N_IN = 200, N_ROWS = 9 };
    static const struct {
        enum dtype type[3];
        int block[3];
    } layers[] = { { { DT_F16, DT_BF16, DT_F8_E4M3 }, { 0, 0, 64 } },
                   { { DT_F8_E4M3, DT_F8_E4M3, DT_F8_E4M3 }, { 64, 128, N_IN } },
                   { { DT_F8_E4M3, DT_BF16, DT_F8_E4M3 }, { 32, 0, 32 } } };
    static const int64_t rows[3] = { 20, 7, 37 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    for (size_t k = 0; k < COUNT(layers); k++) {
        static float scale[3][4096];
        struct matrix m[3];
        struct edge data[3], x = edge_floats(N_ROWS * N_IN, 9), y = edge_alloc(N_ROWS * 64 * sizeof(float));
        struct edge alone = edge_alloc(64 * sizeof(float));
        struct linear *l;
        struct err e;
        for (int i = 0; i < 3; i++)
            data[i] =
                make_matrix(&m[i], layers[k].type[i], rows[i], N_IN, layers[k].block[i] ? scale[i] : NULL,
                            layers[k].block[i], layers[k].block[i], 50 + (uint64_t)i);
        assert_true(linear_new(d, &l, m, 3, LINEAR_CONCAT, NULL, 1, &e));
        struct linear_args a = { .w = l, .x = x.p, .ldx = N_IN, .y = y.p, .ldy = 64, .n = N_ROWS };
        op_linear(d, &a);
        double worst = 0, largest = 0;
        for (int r = 0; r < N_ROWS; r++)
            for (int64_t o = 0; o < 64; o++) {
                int part = 0;
                int64_t row = o;
                while (row >= rows[part]) row -= rows[part++];
                const double want = dot(&m[part], row, (float *)x.p + r * N_IN, k == 2);
                const double err = fabs(want - (double)((float *)y.p)[r * 64 + o]);
                if (!(err <= worst)) worst = err;
                if (fabs(want) > largest) largest = fabs(want);
            }
        if (!(worst <= 4e-6 * largest))
            fail_msg("mask %x, layer %zu: error %g of %g", mask, k, worst, largest);
        a.n = 1;
        a.y = alone.p;
        op_linear(d, &a);
        assert_memory_equal(alone.p, y.p, alone.bytes);
        linear_free(l);
        for (int i = 0; i < 3; i++) edge_free(data[i]);
        edge_free(x);
        edge_free(y);
        edge_free(alone);
    }
    each_isa_close(d, pool);
}

/* A layer in F8 wide and long enough that its rows go through in several chunks. */
static void test_many_rows(void **state)
{
    (void)state;
    const struct shape s = {
        DT_F8_E4M3, 4096, { 20 }, 3200, 1, LINEAR_CONCAT, EPI_STORE, 1, true, false, 512
    };
    check_shape(~0u, &s, 7);
}

static void test_refusals(void **state)
{
    (void)state;
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 1, ~0u);
    static const float data[64 * 64];
    struct linear *l = NULL;
    struct err e;
    struct matrix two[2] = { { .type = DT_F32, .n_out = 8, .n_in = 64, .data = data },
                             { .type = DT_F32, .n_out = 8, .n_in = 32, .data = data } };
    assert_false(linear_new(d, &l, two, 2, LINEAR_CONCAT, NULL, 1, &e)); /* different n_in */
    two[1].n_in = 64;
    two[1].n_out = 4;
    assert_false(linear_new(d, &l, two, 2, LINEAR_PAIRED, NULL, 1, &e)); /* halves of different size */
    assert_null(l);
    each_isa_close(d, pool);
}

static const void *pick(unsigned isa) { return float_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "shapes", test_shapes }, { "mixed", test_mixed } };
    const struct CMUnitTest once[] = { cmocka_unit_test(test_many_rows), cmocka_unit_test(test_refusals) };
    return each_isa("layers of float weights", each, COUNT(each),
                    ISA_NEON | ISA_ARMBF16 | ISA_AVX2 | ISA_AVX512 | ISA_AVX512BF16 | ISA_AMX, pick, once,
                    COUNT(once));
}
