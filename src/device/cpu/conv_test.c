/* conv_test.c - convolution on every instruction set against a direct sum in double of the same rounded values: ragged
 * sizes, strides, paddings, doubling, folded group norm, and pictures that need several bands. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/cpu/each_isa.h"
#include "device/cpu/edge.h"
#include "device/cpu/float_kern.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct shape {
    enum dtype type;
    int h, w, n_in, n_out, kh, kw, groups, stride;
    int top, left, bottom, right, upsample;
    enum epilogue epi;
    bool gn, silu, bias2;
    float clamp;
    size_t scratch; /* 0: all; else so many bytes, so that the picture is cut */
    bool doubled;   /* CONV_DOUBLED */
};

static const struct shape shapes[] = {
    { DT_BF16, 9, 11, 32, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, EPI_STORE, false, false, false, 0, 0, false },
    { DT_BF16, 6, 40, 40, 50, 3, 3, 1, 1, 1, 1, 1, 1, 1, EPI_ADD, true, false, true, 0, 0, false },
    { DT_BF16, 12, 16, 64, 37, 3, 3, 1, 1, 1, 1, 1, 1, 2, EPI_STORE, true, true, false, 0, 0, false },
    { DT_BF16, 13, 17, 33, 20, 3, 3, 1, 2, 0, 0, 1, 1, 1, EPI_STORE, false, true, true, 0, 0, false },
    { DT_BF16, 7, 9, 100, 200, 1, 1, 1, 1, 0, 0, 0, 0, 1, EPI_ADD, false, false, false, 0, 0, false },
    { DT_BF16, 30, 70, 40, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1, EPI_SILU, true, false, false, 0, 60000, false },
    { DT_BF16, 33, 150, 16, 24, 3, 3, 1, 2, 1, 1, 1, 1, 1, EPI_STORE, false, false, false, 0, 40000, false },
    { DT_F16, 10, 10, 3, 8, 3, 3, 1, 2, 0, 1, 1, 0, 1, EPI_RELU, false, false, false, 1.5f, 0, false },
    { DT_F16, 28, 28, 3, 20, 14, 14, 1, 14, 0, 0, 0, 0, 1, EPI_STORE, false, false, false, 0, 0, false },
    { DT_F16, 9, 40, 40, 21, 3, 3, 1, 1, 1, 1, 1, 1, 1, EPI_ADD, true, true, true, 0, 0, false },
    { DT_F32, 9, 23, 20, 21, 3, 3, 1, 1, 1, 1, 1, 1, 1, EPI_ADD, true, true, true, 0, 0, false },
    { DT_F32, 8, 8, 3, 33, 5, 2, 1, 3, 2, 0, 1, 1, 1, EPI_STORE, false, false, false, 0, 0, false },
    { DT_F32, 20, 40, 5, 7, 3, 3, 1, 1, 1, 1, 1, 1, 2, EPI_STORE, false, false, false, 0, 30000, false },
    { DT_F32, 14, 14, 70, 70, 3, 3, 70, 2, 0, 0, 1, 1, 1, EPI_RELU, false, false, false, 1.0f, 0, false },
    { DT_BF16, 5, 6, 19, 19, 3, 3, 19, 1, 1, 1, 1, 1, 1, EPI_STORE, false, false, true, 0, 0, false },
    { DT_BF16, 9, 20, 32, 40, 3, 3, 1, 1, 1, 1, 1, 1, 2, EPI_ADD, false, false, true, 0, 0, true },
    { DT_F16, 31, 37, 65, 33, 3, 3, 1, 1, 1, 1, 1, 1, 2, EPI_STORE, false, false, false, 0, 60000, true },
    { DT_F32, 9, 50, 20, 21, 3, 3, 1, 1, 1, 1, 1, 1, 2, EPI_SILU, false, false, false, 0, 0, true },
    { DT_BF16, 1, 1, 64, 40, 3, 3, 1, 1, 1, 1, 1, 1, 2, EPI_STORE, true, true, false, 0, 0, true },
};

static float bf(float f) { return bf16_to_f32(f32_to_bf16(f)); }

struct data {
    bool rounded; /* both sides, to bf16 */
    const float *x, *w, *bias, *bias2, *scale, *shift;
};

/* Output o of the pixel (oy, ox), before the epilogue. */
static double direct(const struct shape *s, const struct data *d, int ldx, int oy, int ox, int o)
{
    const bool rounded = d->rounded;
    double sum = (double)d->bias[o] + (s->bias2 ? (double)d->bias2[o] : 0);
    for (int ky = 0; ky < s->kh; ky++)
        for (int kx = 0; kx < s->kw; kx++) {
            const int iy = oy * s->stride - s->top + ky, ix = ox * s->stride - s->left + kx;
            if (iy < 0 || ix < 0 || iy >= s->h * s->upsample || ix >= s->w * s->upsample) continue;
            const float *x = d->x + ((int64_t)(iy / s->upsample) * s->w + ix / s->upsample) * ldx;
            for (int i = s->groups > 1 ? o : 0; i < (s->groups > 1 ? o + 1 : s->n_in); i++) {
                double v = (double)x[i];
                if (s->gn) v = v * (double)d->scale[i] + (double)d->shift[i];
                if (s->silu) v = v / (1 + exp(-v));
                const int per_out = s->n_in / s->groups, wi = s->groups > 1 ? 0 : i;
                const float w = d->w[((o * per_out + wi) * s->kh + ky) * s->kw + kx];
                sum += (double)(rounded ? bf(w) : w) * (rounded ? (double)bf((float)v) : v);
            }
        }
    return sum;
}

static void make_whole(struct edge e, float most)
{
    for (size_t i = 0; i < e.bytes / sizeof(float); i++) {
        float *f = (float *)e.p + i;
        *f = roundf(*f * most);
    }
}

static void check_shape(unsigned mask, const struct shape *s, bool exact)
{
    /* Sums of a doubled kernel's weights are rounded where direct() rounds the weights: of whole numbers both are exact. */
    const bool whole = s->doubled && !s->gn && !s->silu;
    const unsigned use = (s->doubled ? CONV_DOUBLED : CONV_ANY) | (exact ? CONV_EXACT : CONV_ANY);
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    struct err e;
    const int ldx = s->n_in + 3, pad_y = s->epi == EPI_ADD ? 5 : 0;
    const size_t n_w = (size_t)(s->n_out * (s->n_in / s->groups) * s->kh * s->kw);
    struct edge x = edge_floats((size_t)(s->h * s->w * ldx - 3), 1), wf = edge_floats(n_w, 2);
    struct edge bias = edge_floats((size_t)s->n_out, 3), bias2 = edge_floats((size_t)s->n_out, 4);
    struct edge scale = edge_floats((size_t)s->n_in, 5), shift = edge_floats((size_t)s->n_in, 6);
    if (whole) {
        make_whole(x, 3);
        make_whole(wf, 2);
        make_whole(bias, 3);
        make_whole(bias2, 3);
    }
    struct edge w = edge_alloc(n_w * dtype_row_bytes(s->type, 1));
    for (size_t i = 0; i < n_w; i++) {
        float *f = (float *)wf.p + i;
        if (s->type == DT_F16) *f = f16_to_f32(f32_to_f16(*f));
        if (s->type == DT_BF16) *f = bf(*f);
        const uint16_t h = s->type == DT_F16 ? f32_to_f16(*f) : f32_to_bf16(*f);
        if (s->type == DT_F32)
            memcpy((char *)w.p + i * 4, f, 4);
        else
            memcpy((char *)w.p + i * 2, &h, 2);
    }
    struct conv *c;
    assert_true(conv_new(d, &c, s->type, w.p, s->n_out, s->n_in, s->kh, s->kw, s->groups, use, bias.p, &e));
    assert_true(conv_bytes(c) > 0);
    struct conv_args a = { .w = c,
                           .x = x.p,
                           .h = s->h,
                           .w_in = s->w,
                           .ldx = ldx,
                           .ldy = s->n_out + pad_y,
                           .stride = s->stride,
                           .pad_top = s->top,
                           .pad_left = s->left,
                           .pad_bottom = s->bottom,
                           .pad_right = s->right,
                           .upsample = s->upsample,
                           .epi = s->epi,
                           .gn_scale = s->gn ? scale.p : NULL,
                           .gn_shift = s->gn ? shift.p : NULL,
                           .in_silu = s->silu,
                           .bias2 = s->bias2 ? bias2.p : NULL,
                           .clamp_max = s->clamp };
    int h_out, w_out;
    conv_out_size(&a, &h_out, &w_out);
    const size_t n_y = (size_t)(h_out * w_out * a.ldy - pad_y);
    struct edge before = edge_floats(n_y, 7);
    if (whole) make_whole(before, 3);
    struct edge y = edge_alloc(before.bytes);
    memcpy(y.p, before.p, y.bytes);
    a.y = y.p;
    const size_t cap = cpu_of(d)->shared_cap;
    if (s->scratch) cpu_of(d)->shared_cap = s->scratch;
    op_conv2d(d, &a);
    cpu_of(d)->shared_cap = cap;

    const bool bf16 = s->type == DT_F16 ? cpu_of(d)->fl->bf16_faster && !exact : s->type != DT_F32;
    const struct data data = { bf16 && s->groups == 1, x.p, wf.p, bias.p, bias2.p, scale.p, shift.p };
    double worst = 0, largest = 0;
    for (int p = 0; p < h_out * w_out; p++)
        for (int o = 0; o < a.ldy; o++) {
            const size_t at = (size_t)p * (size_t)a.ldy + (size_t)o;
            if (at >= n_y) break;
            const double got = (double)((float *)y.p)[at], old = (double)((float *)before.p)[at];
            if (o >= s->n_out) { /* between two pixels nothing is written */
                assert_true(got == old);
                continue;
            }
            double want = direct(s, &data, ldx, p / w_out, p % w_out, o);
            if (s->epi == EPI_SILU) want = want / (1 + exp(-want));
            if (s->epi == EPI_RELU && want < 0) want = 0;
            if (s->epi == EPI_ADD) want += old;
            if (s->clamp > 0 && want > (double)s->clamp) want = (double)s->clamp;
            if (!(fabs(got - want) <= worst)) worst = fabs(got - want);
            if (fabs(want) > largest) largest = fabs(want);
        }
    /* A value on the edge between two bf16 may round the other way after SiLU or a multiply-add; AMX keeps an F16 layer's
     * inputs as two bf16, to one part in 2^16. */
    const bool halves = s->type == DT_F16 && !bf16 && (d->isa & ISA_AMX);
    const double bound = s->doubled && !whole         ? 1e-2
                         : bf16 && (s->gn || s->silu) ? 2e-3
                         : halves                     ? 0x1p-16
                                                      : 4e-6;
    if (!(worst <= bound * largest))
        fail_msg("mask %x, shape %d: error %g of %g", mask, (int)(s - shapes), worst, largest);
    conv_free(c);
    each_isa_close(d, pool);

    /* cut otherwise, for another number of threads: the same bits */
    struct edge again = edge_alloc(before.bytes);
    memcpy(again.p, before.p, again.bytes);
    d = each_isa_open(&pool, 1, mask);
    assert_true(conv_new(d, &c, s->type, w.p, s->n_out, s->n_in, s->kh, s->kw, s->groups, use, bias.p, &e));
    a.w = c;
    a.y = again.p;
    op_conv2d(d, &a);
    assert_memory_equal(again.p, y.p, y.bytes);
    conv_free(c);
    each_isa_close(d, pool);
    edge_free(again);
    struct edge all[] = { x, wf, bias, bias2, scale, shift, w, before, y };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

static void test_shapes(unsigned mask)
{
    for (size_t i = 0; i < COUNT(shapes); i++) {
        check_shape(mask, &shapes[i], false);
        if (shapes[i].type == DT_F16) check_shape(mask, &shapes[i], true);
    }
}

/* Stores past the caches, which only pictures of many megabytes take: every alignment and length. */
static void test_store_far(unsigned mask)
{
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 1, mask);
    for (int n = 1; n < 70; n += 3) {
        struct edge v = edge_floats((size_t)n, 1), bias = edge_floats((size_t)n, 2),
                    y = edge_floats((size_t)n + 8, 3);
        cpu_of(d)->fl->store_far((float *)y.p + 8, v.p, bias.p, n);
        for (int i = 0; i < n; i++)
            assert_true(((float *)y.p)[i + 8] == ((float *)v.p)[i] + ((float *)bias.p)[i]);
        assert_true(((float *)y.p)[7] == (float)(2.0 * philox_uniform(3, 0, 7) - 1.0));
        edge_free(v);
        edge_free(bias);
        edge_free(y);
    }
    each_isa_close(d, pool);
}

static void test_refusals(void **state)
{
    (void)state;
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 1, ~0u);
    struct err e;
    static const float w[64];
    struct conv *c = NULL;
    assert_false(
        conv_new(d, &c, DT_F32, w, 4, 4, 1, 1, 2, CONV_ANY, NULL, &e)); /* neither dense nor depthwise */
    assert_false(conv_new(d, &c, DT_F32, w, 0, 4, 1, 1, 1, CONV_ANY, NULL, &e));
    assert_false(conv_new(d, &c, DT_Q4_0, w, 4, 4, 1, 1, 1, CONV_ANY, NULL, &e));
    assert_null(c);
    each_isa_close(d, pool);
}

static const void *pick(unsigned isa) { return float_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "shapes", test_shapes }, { "store_far", test_store_far } };
    const struct CMUnitTest once[] = { cmocka_unit_test(test_refusals) };
    return each_isa("convolution", each, COUNT(each),
                    ISA_NEON | ISA_ARMBF16 | ISA_AVX2 | ISA_AVX512 | ISA_AVX512BF16 | ISA_AMX, pick, once,
                    COUNT(once));
}
