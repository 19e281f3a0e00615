/* attention_test.c - dense attention on every instruction set against sums in double; the precise kind closely, the
 * other as closely as bf16 allows; the same bits whatever the number of queries and threads. And the norms, rotations and
 * element-wise operations around it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/cpu/each_isa.h"
#include "device/cpu/edge.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct shape {
    int n_q, n_kv, n_head, n_kv_head, head_dim;
    bool bias, causal, precise;
};

static const struct shape shapes[] = {
    { 1, 1, 1, 1, 8, false, false, true },       { 5, 9, 2, 1, 8, true, false, true },
    { 40, 77, 4, 2, 32, false, false, false },   { 77, 77, 3, 3, 64, false, true, true },
    { 77, 77, 2, 2, 64, false, true, false },    { 33, 300, 2, 2, 40, true, false, false },
    { 150, 150, 1, 1, 80, true, true, true },    { 70, 260, 1, 1, 128, false, false, false },
    { 35, 140, 1, 1, 512, false, false, false }, { 20, 33, 1, 1, 160, false, false, true },
    { 600, 129, 1, 1, 16, false, false, true },  { 7, 20, 1, 1, 20, false, false, false },
};

static void reference(const struct attention_args *a, int64_t i, int h, double *out)
{
    static double p[4096];
    const int kvh = h / (a->n_head / a->n_kv_head);
    double max = -INFINITY, sum = 0;
    for (int64_t k = 0; k < a->n_kv; k++) {
        p[k] = 0;
        for (int c = 0; c < a->head_dim; c++)
            p[k] += (double)a->q[i * a->ldq + h * a->head_dim + c] *
                    (double)a->k[k * a->ldk + kvh * a->head_dim + c];
        p[k] *= (double)a->scale;
        if (a->bias) p[k] += (double)a->bias[(h * a->n_q + i) * a->n_kv + k];
        if (a->causal && k > i) p[k] = -INFINITY;
        if (p[k] > max) max = p[k];
    }
    for (int64_t k = 0; k < a->n_kv; k++) sum += p[k] = max == -INFINITY ? 0 : exp(p[k] - max);
    for (int c = 0; c < a->head_dim; c++) {
        out[c] = 0;
        for (int64_t k = 0; k < a->n_kv; k++)
            out[c] += p[k] * (double)a->v[k * a->ldv + kvh * a->head_dim + c];
        out[c] = sum > 0 ? out[c] / sum : 0;
    }
}

static void check_shape(unsigned mask, const struct shape *s)
{
    struct pool *pool, *pool3;
    struct device *d = each_isa_open(&pool, 2, mask), *d3 = each_isa_open(&pool3, 3, mask);
    const int64_t ldq = s->n_head * s->head_dim + 5, ldk = s->n_kv_head * s->head_dim + 1, ldv = ldk + 1;
    struct edge q = edge_floats((size_t)(s->n_q * ldq - 5), 1),
                k = edge_floats((size_t)(s->n_kv * ldk - 1), 2);
    struct edge v = edge_floats((size_t)(s->n_kv * ldv - 2), 3);
    struct edge bias = edge_floats((size_t)(s->n_head * s->n_q * s->n_kv), 4);
    const size_t n_out = (size_t)(s->n_q * s->n_head * s->head_dim);
    struct edge out = edge_alloc(n_out * sizeof(float)), alone = edge_alloc(n_out * sizeof(float));
    float *b = bias.p;
    for (size_t i = 0; i < bias.bytes / sizeof(float); i += 3) b[i] = -INFINITY;
    for (int i = 0; i < s->n_kv; i++) b[i] = -INFINITY; /* the first query of the first head sees nothing */
    struct attention_args a = { .q = q.p,
                                .ldq = ldq,
                                .k = k.p,
                                .ldk = ldk,
                                .v = v.p,
                                .ldv = ldv,
                                .out = out.p,
                                .ldo = s->n_head * s->head_dim,
                                .n_q = s->n_q,
                                .n_kv = s->n_kv,
                                .n_head = s->n_head,
                                .n_kv_head = s->n_kv_head,
                                .head_dim = s->head_dim,
                                .scale = 3.0f / sqrtf((float)s->head_dim),
                                .bias = s->bias ? bias.p : NULL,
                                .causal = s->causal,
                                .precise = s->precise };
    op_attention(d, &a);
    double err = 0, norm = 0;
    for (int64_t i = 0; i < s->n_q; i++)
        for (int h = 0; h < s->n_head; h++) {
            double want[1024];
            reference(&a, i, h, want);
            for (int c = 0; c < s->head_dim; c++) {
                const double got = (double)((float *)out.p)[(i * s->n_head + h) * s->head_dim + c];
                err += (got - want[c]) * (got - want[c]);
                norm += want[c] * want[c];
            }
        }
    const double bound = s->precise ? 1e-6 : 6e-3;
    if (!(sqrt(err) <= bound * sqrt(norm)))
        fail_msg("mask %x, shape %d: relative error %g", mask, (int)(s - shapes), sqrt(err / norm));

    /* one query alone (without a mask that depends on its place), on another number of threads */
    for (int64_t i = 0; !s->bias && !s->causal && i < s->n_q; i += 29) {
        struct attention_args one = a;
        one.q += i * ldq;
        one.n_q = 1;
        one.out = alone.p;
        op_attention(d3, &one);
        assert_memory_equal(alone.p, a.out + i * a.ldo, (size_t)(s->n_head * s->head_dim) * sizeof(float));
    }
    /* too little scratch for the keys of a head: the same bits again */
    const size_t cap = cpu_of(d)->shared_cap;
    cpu_of(d)->shared_cap = 1;
    a.out = alone.p;
    op_attention(d, &a);
    cpu_of(d)->shared_cap = cap;
    assert_memory_equal(alone.p, out.p, out.bytes);
    each_isa_close(d, pool);
    each_isa_close(d3, pool3);
    struct edge all[] = { q, k, v, bias, out, alone };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

static void test_attention(unsigned mask)
{
    for (size_t i = 0; i < COUNT(shapes); i++) check_shape(mask, &shapes[i]);
}

static void close_to(float got, double want, double bound, const char *what)
{
    if (!(fabs((double)got - want) <= bound)) fail_msg("%s: %g instead of %g", what, (double)got, want);
}

static void test_norms(unsigned mask)
{
    enum { ROWS = 5, N = 77, LD = 80 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    struct edge x = edge_floats((ROWS - 1) * LD + N, 1), w = edge_floats(N, 2), b = edge_floats(N, 3);
    struct edge scale = edge_floats(N, 4), shift = edge_floats(N, 5),
                y = edge_alloc(ROWS * N * sizeof(float));
    const float *xf = x.p, *wf = w.p, *bf = b.p, *sc = scale.p, *sh = shift.p, *yf = y.p;
    op_rmsnorm(d, y.p, N, x.p, LD, ROWS, N, w.p, 1e-5f);
    for (int r = 0; r < ROWS; r++) {
        double q = 0;
        for (int i = 0; i < N; i++) q += (double)xf[r * LD + i] * (double)xf[r * LD + i];
        for (int i = 0; i < N; i++)
            close_to(yf[r * N + i], (double)xf[r * LD + i] / sqrt(q / N + 1e-5) * (double)wf[i], 2e-6,
                     "rms norm");
    }
    op_layernorm(d, y.p, N, x.p, LD, ROWS, N, w.p, b.p, 1e-5f, scale.p, shift.p);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, q = 0;
        for (int i = 0; i < N; i++) mean += (double)xf[r * LD + i] / N;
        for (int i = 0; i < N; i++) q += ((double)xf[r * LD + i] - mean) * ((double)xf[r * LD + i] - mean);
        for (int i = 0; i < N; i++) {
            const double v =
                ((double)xf[r * LD + i] - mean) / sqrt(q / N + 1e-5) * (double)wf[i] + (double)bf[i];
            close_to(yf[r * N + i], v * (1 + (double)sc[i]) + (double)sh[i], 4e-6, "layer norm");
        }
    }
    each_isa_close(d, pool);
    struct edge all[] = { x, w, b, scale, shift, y };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

/* A picture far from zero: its variance must not drown. */
static void test_groupnorm(unsigned mask)
{
    enum { HW = 3000, C = 24, GROUPS = 4 };
    struct pool *pool, *pool3;
    struct device *d = each_isa_open(&pool, 2, mask), *d3 = each_isa_open(&pool3, 3, mask);
    struct edge x = edge_floats((size_t)HW * C, 1), w = edge_floats(C, 2), b = edge_floats(C, 3);
    float *xf = x.p, scale[C], shift[C], scale3[C], shift3[C];
    for (int i = 0; i < HW * C; i++) xf[i] = xf[i] * 0.1f + 30.0f + (float)(i % C);
    op_groupnorm_fold(d, scale, shift, x.p, HW, C, GROUPS, w.p, b.p, 1e-6f);
    op_groupnorm_fold(d3, scale3, shift3, x.p, HW, C, GROUPS, w.p, b.p, 1e-6f);
    assert_memory_equal(scale, scale3, sizeof scale);
    assert_memory_equal(shift, shift3, sizeof shift);
    for (int g = 0; g < GROUPS; g++) {
        const int gc = C / GROUPS;
        double mean = 0, var = 0;
        for (int p = 0; p < HW; p++)
            for (int i = g * gc; i < (g + 1) * gc; i++) mean += (double)xf[p * C + i] / ((double)HW * gc);
        for (int p = 0; p < HW; p++)
            for (int i = g * gc; i < (g + 1) * gc; i++)
                var += ((double)xf[p * C + i] - mean) * ((double)xf[p * C + i] - mean) / ((double)HW * gc);
        for (int i = g * gc; i < (g + 1) * gc; i++) {
            const double k = (double)((float *)w.p)[i] / sqrt(var + 1e-6);
            close_to(scale[i], k, 1e-6, "group norm's scale");
            close_to(shift[i], (double)((float *)b.p)[i] - mean * k, 2e-5, "group norm's shift");
        }
    }
    struct edge y = edge_alloc(x.bytes);
    op_scale_shift(d, y.p, x.p, HW, C, scale, shift, true);
    for (int i = 0; i < HW * C; i += 7) {
        const double v = (double)xf[i] * (double)scale[i % C] + (double)shift[i % C];
        close_to(((float *)y.p)[i], v / (1 + exp(-v)), 2e-5, "scale, shift and SiLU");
    }
    each_isa_close(d, pool);
    each_isa_close(d3, pool3);
    struct edge all[] = { x, w, b, y };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

static void test_rope(unsigned mask)
{
    enum { N = 3, HEADS = 2, DIM = 22, LD = HEADS * DIM + 3 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    struct edge x = edge_floats((N - 1) * LD + HEADS * DIM, 1),
                before = edge_floats((N - 1) * LD + HEADS * DIM, 1);
    struct edge c = edge_floats((size_t)N * DIM / 2, 2), s = edge_floats((size_t)N * DIM / 2, 3);
    struct edge norm = edge_floats(DIM, 4);
    op_rope_table(d, x.p, LD, N, HEADS, DIM, c.p, s.p, norm.p, 1e-6f);
    for (int r = 0; r < N; r++)
        for (int h = 0; h < HEADS; h++) {
            const float *o = (float *)before.p + r * LD + h * DIM, *y = (float *)x.p + r * LD + h * DIM;
            double q = 0;
            for (int i = 0; i < DIM; i++) q += (double)o[i] * (double)o[i];
            for (int i = 0; i < DIM / 2; i++) {
                const double inv = 1 / sqrt(q / DIM + 1e-6);
                const double a = (double)o[2 * i] * inv * (double)((float *)norm.p)[2 * i];
                const double b = (double)o[2 * i + 1] * inv * (double)((float *)norm.p)[2 * i + 1];
                const double cs = (double)((float *)c.p)[r * DIM / 2 + i],
                             sn = (double)((float *)s.p)[r * DIM / 2 + i];
                close_to(y[2 * i], a * cs - b * sn, 2e-6, "rotation");
                close_to(y[2 * i + 1], a * sn + b * cs, 2e-6, "rotation");
            }
        }
    each_isa_close(d, pool);
    struct edge all[] = { x, before, c, s, norm };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

static void test_elementwise(unsigned mask)
{
    enum { N = 1003 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, 2, mask);
    struct edge x = edge_floats(N, 1), z = edge_floats(N, 2), y = edge_alloc(N * sizeof(float));
    float *yf = y.p;
    const float *xf = x.p, *zf = z.p;
    op_silu(d, y.p, x.p, N);
    for (int i = 0; i < N; i++) close_to(yf[i], (double)xf[i] / (1 + exp(-(double)xf[i])), 1e-6, "SiLU");
    op_add(d, y.p, x.p, z.p, N);
    for (int i = 0; i < N; i++) assert_true(yf[i] == xf[i] + zf[i]);
    memcpy(y.p, z.p, y.bytes);
    op_axpby(d, y.p, x.p, 2.0f, -0.5f, N);
    for (int i = 0; i < N; i++) close_to(yf[i], 2.0 * (double)xf[i] - 0.5 * (double)zf[i], 1e-6, "a x + b y");
    each_isa_close(d, pool);
    struct edge all[] = { x, z, y };
    for (size_t i = 0; i < COUNT(all); i++) edge_free(all[i]);
}

static const void *pick(unsigned isa) { return float_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "attention", test_attention },
                                                 { "norms", test_norms },
                                                 { "groupnorm", test_groupnorm },
                                                 { "rope", test_rope },
                                                 { "elementwise", test_elementwise } };
    return each_isa("dense attention", each, COUNT(each),
                    ISA_NEON | ISA_ARMBF16 | ISA_AVX2 | ISA_AVX512 | ISA_AVX512BF16 | ISA_AMX, pick, NULL, 0);
}
