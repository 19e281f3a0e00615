/* paged_attention_test.c - attention over pages: against double arithmetic, and the same bits for every instruction set,
 * thread count, cutting of the prompt and company. Rotation likewise. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "device/cpu/each_isa.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static float uniform(uint64_t stream, uint64_t i)
{
    return (float)(2.0 * philox_uniform(7, stream, i) - 1.0);
}

/* A sequence of n tokens with random q, k, v. */
struct world {
    int n, n_head, n_kv, k_dim, v_dim;
    int32_t window, chunk;
    enum kv_type type;
    bool sink;   /* heads see a score besides */
    bool v_in_k; /* v holds what the keys begin with, for the comparison; attention is not given it */
    float *q, *k, *v;
};

/* Of some heads far above what tokens score, of others far below. */
static float sink_of(int head) { return 3.0f * (float)(head % 5) - 5.0f; }

static struct world world_new(enum kv_type type, int n, int n_head, int n_kv, int k_dim, int v_dim)
{
    struct world w = { .n = n, .n_head = n_head, .n_kv = n_kv, .k_dim = k_dim, .v_dim = v_dim, .type = type };
    size_t nq = (size_t)(n * n_head * k_dim), nk = (size_t)(n * n_kv * k_dim),
           nv = (size_t)(n * n_kv * v_dim);
    w.q = malloc(nq * sizeof(float));
    w.k = malloc(nk * sizeof(float));
    w.v = malloc(nv * sizeof(float));
    for (size_t i = 0; i < nq; i++) w.q[i] = 2.0f * uniform(1, i);
    for (size_t i = 0; i < nk; i++) w.k[i] = 2.0f * uniform(2, i);
    for (size_t i = 0; i < nv; i++) w.v[i] = uniform(3, i);
    return w;
}

static void world_free(struct world *w)
{
    free(w->q);
    free(w->k);
    free(w->v);
}

/* All rows, `chunk` at a time; in company the sequence goes through twice, as two sequences of one batch. */
static void attend(unsigned mask, int threads, const struct world *w, int chunk, bool company, float *out)
{
    struct pool *pool;
    struct device *d = each_isa_open(&pool, threads, mask);
    int pages = (w->n + KV_PAGE - 1) / KV_PAGE;
    size_t page_bytes = kv_page_bytes(d, w->type, w->n_kv, w->k_dim, w->v_in_k ? 0 : w->v_dim);
    struct kv_layer kv = { w->type, w->n_kv, w->k_dim, w->v_dim, NULL, page_bytes + 64, w->v_in_k };
    kv.pages = mem_aligned((size_t)pages * 2, kv.page_stride, false);
    memset(kv.pages, 0xff, (size_t)pages * 2 * kv.page_stride); /* NaN wherever nothing was written */
    int32_t *page = malloc((size_t)pages * 2 * sizeof *page);
    for (int i = 0; i < pages * 2; i++) page[i] = pages * 2 - 1 - i;
    int64_t ldq = w->n_head * w->k_dim, ldk = w->n_kv * w->k_dim, ldv = w->n_kv * w->v_dim,
            ldo = w->n_head * w->v_dim;
    float *both = malloc((size_t)(2 * chunk) * (size_t)(ldq + ldk + ldv + ldo) * sizeof *both);
    for (int r = 0; r < w->n; r += chunk) {
        int m = w->n - r < chunk ? w->n - r : chunk;
        float *q = both, *k = q + 2 * m * ldq, *v = k + 2 * m * ldk, *o = v + 2 * m * ldv;
        for (int c = 0; c < 1 + company; c++) {
            memcpy(q + c * m * ldq, w->q + r * ldq, (size_t)(m * ldq) * sizeof *q);
            memcpy(k + c * m * ldk, w->k + r * ldk, (size_t)(m * ldk) * sizeof *k);
            memcpy(v + c * m * ldv, w->v + r * ldv, (size_t)(m * ldv) * sizeof *v);
        }
        struct attn_seq seq[2] = { { 0, m, r }, { m, m, r } };
        float sink[128];
        for (int h = 0; h < w->n_head; h++) sink[h] = sink_of(h);
        op_attention_paged(d, &(struct attn_args){ .kv = &kv,
                                                   .seq = seq,
                                                   .n_seq = 1 + company,
                                                   .page = page,
                                                   .max_pages = pages,
                                                   .q = q,
                                                   .ldq = ldq,
                                                   .k = k,
                                                   .ldk = ldk,
                                                   .v = w->v_in_k ? NULL : v,
                                                   .ldv = ldv,
                                                   .out = o,
                                                   .ldo = ldo,
                                                   .n_head = w->n_head,
                                                   .scale = 0.125f,
                                                   .chunk = w->chunk,
                                                   .window = w->window,
                                                   .sink = w->sink ? sink : NULL });
        memcpy(out + r * ldo, o, (size_t)(m * ldo) * sizeof *out);
        if (company) assert_memory_equal(o, o + m * ldo, (size_t)(m * ldo) * sizeof *o);
    }
    free(both);
    free(page);
    mem_free(kv.pages);
    device_close(d);
    pool_free(pool);
}

static double against_double(const struct world *w, const float *out)
{
    double err = 0, ref = 0, *p = malloc((size_t)w->n * sizeof *p);
    for (int r = 0; r < w->n; r++)
        for (int h = 0; h < w->n_head; h++) {
            int hk = h / (w->n_head / w->n_kv), first = 0;
            if (w->window && r - w->window + 1 > 0) first = r - w->window + 1;
            if (w->chunk && r / w->chunk * w->chunk > first) first = r / w->chunk * w->chunk;
            double top = w->sink ? (double)sink_of(h) : -1e30, sum = 0;
            for (int t = first; t <= r; t++) {
                p[t] = 0;
                for (int i = 0; i < w->k_dim; i++)
                    p[t] += 0.125 * w->q[(r * w->n_head + h) * w->k_dim + i] *
                            w->k[(t * w->n_kv + hk) * w->k_dim + i];
                top = p[t] > top ? p[t] : top;
            }
            if (w->sink) sum = exp((double)sink_of(h) - top);
            for (int t = first; t <= r; t++) sum += p[t] = exp(p[t] - top);
            for (int i = 0; i < w->v_dim; i++) {
                double want = 0;
                for (int t = first; t <= r; t++) want += p[t] / sum * w->v[(t * w->n_kv + hk) * w->v_dim + i];
                double got = out[(r * w->n_head + h) * w->v_dim + i];
                err += (want - got) * (want - got);
                ref += want * want;
            }
        }
    free(p);
    return sqrt(err / ref);
}

static void one_world(unsigned mask, struct world *w, double bound)
{
    size_t bytes = (size_t)(w->n * w->n_head * w->v_dim) * sizeof(float);
    float *want = malloc(bytes), *got = malloc(bytes);
    attend(0, 1, w, 1, false, want);
    double e = against_double(w, want);
    if (!(e < bound))
        fail_msg("heads %d/%d of %d, type %d: error %g", w->n_head, w->n_kv, w->k_dim, w->type, e);
    static const int chunks[] = { 1, 5, 32, 1000 };
    for (size_t c = 0; c < COUNT(chunks); c++) {
        int chunk = chunks[c] < w->n ? chunks[c] : w->n;
        attend(mask, 1 + (int)(c & 1), w, chunk, c >= 2, got);
        if (memcmp(want, got, bytes))
            fail_msg("heads %d/%d of %d, type %d, isa %x, chunks of %d: bits differ", w->n_head, w->n_kv,
                     w->k_dim, w->type, mask, chunk);
    }
    free(want);
    free(got);
    world_free(w);
}

static void test_attention(unsigned mask)
{
    static const int shapes[][5] = { /* tokens, heads, kv heads, k_dim, v_dim */
                                     { 100, 9, 3, 64, 64 }, { 70, 4, 4, 80, 48 },  { 45, 16, 2, 128, 128 },
                                     { 33, 3, 1, 20, 36 },  { 67, 24, 2, 64, 64 }, { 1, 2, 1, 32, 32 }
    };
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int type = KV_F16; type <= KV_Q8_0; type++) {
            const int *n = shapes[s];
            struct world w = world_new((enum kv_type)type, n[0], n[1], n[2], n[3], n[4]);
            one_world(mask, &w, type == KV_F16 ? 1e-3 : 1.5e-2);
        }
}

static void put_values_in_keys(struct world *w)
{
    w->v_in_k = true;
    for (int i = 0; i < w->n * w->n_kv; i++)
        memcpy(w->v + i * w->v_dim, w->k + i * w->k_dim, (size_t)w->v_dim * sizeof *w->v);
}

/* Values that are part of their keys: the same numbers as if they were kept beside them, in the bytes of the keys. */
static void test_values_in_keys(unsigned mask)
{
    static const int shapes[][5] = {
        { 70, 16, 1, 576, 512 }, { 100, 4, 2, 80, 48 }, { 33, 30, 1, 64, 64 }, { 40, 100, 2, 40, 32 }
    };
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int type = KV_F16; type <= KV_Q8_0; type++) {
            const int *n = shapes[s];
            struct world w = world_new((enum kv_type)type, n[0], n[1], n[2], n[3], n[4]);
            put_values_in_keys(&w);
            for (int i = 0; i < n[0] * n[1] * n[3]; i++)
                w.q[i] *= 0.3f; /* many channels: not one token alone */
            const size_t bytes = (size_t)(n[0] * n[1] * n[4]) * sizeof(float);
            float *in = malloc(bytes), *beside = malloc(bytes);
            attend(mask, 2, &w, n[0], false, in);
            w.v_in_k = false;
            attend(mask, 2, &w, n[0], false, beside);
            if (type == KV_F16 || n[4] % 32 == 0) /* else the last block of values has a scale of its own */
                assert_memory_equal(in, beside, bytes);
            w.v_in_k = true;
            free(in);
            free(beside);
            one_world(mask, &w, type == KV_F16 ? 1e-3 : 1.5e-2);
        }
}

static void test_sinks(unsigned mask)
{
    for (int type = KV_F16; type <= KV_Q8_0; type++) {
        struct world w = world_new((enum kv_type)type, 100, 10, 2, 64, 64);
        w.sink = true;
        w.window = type == KV_F16 ? 33 : 0;
        one_world(mask, &w, type == KV_F16 ? 1e-3 : 1.5e-2);
    }
}

static void test_windows(unsigned mask)
{
    struct world w = world_new(KV_F16, 150, 4, 2, 32, 32);
    w.window = 40;
    one_world(mask, &w, 1e-3);
    w = world_new(KV_F16, 150, 4, 2, 32, 32);
    w.chunk = 48;
    one_world(mask, &w, 1e-3);
    for (int type = KV_F16; type <= KV_Q8_0; type++) {
        w = world_new((enum kv_type)type, 150, 30, 1, 64, 32);
        put_values_in_keys(&w);
        w.chunk = 48 - 8 * type;
        w.window = type == KV_F16 ? 0 : 33;
        one_world(mask, &w, type == KV_F16 ? 1e-3 : 1.5e-2);
    }
}

static void test_rope(unsigned mask)
{
    enum { N = 37, HEADS = 5, DIM = 64 };
    float freq[DIM / 2], norm[DIM];
    int32_t pos[N];
    for (int i = 0; i < DIM / 2; i++) freq[i] = powf(10000.0f, -2.0f * (float)i / DIM);
    for (int i = 0; i < DIM; i++) norm[i] = 1.0f + 0.5f * uniform(4, (uint64_t)i);
    for (int i = 0; i < N; i++) pos[i] = i * i * 90;
    static float x[N * HEADS * DIM], want[N * HEADS * DIM], got[N * HEADS * DIM];
    for (int i = 0; i < N * HEADS * DIM; i++) x[i] = uniform(5, (uint64_t)i);
    for (int form = 0; form < 6; form++) {
        struct rope_args a = { .ld = HEADS * DIM,
                               .n = N,
                               .n_head = HEADS,
                               .head_dim = DIM,
                               .n_rot = form < 4 ? DIM : 48,
                               .pos = pos,
                               .freq = freq,
                               .mscale = 1.1f,
                               .eps = 1e-5f };
        a.layout = form & 1 ? ROPE_INTERLEAVED : ROPE_HALF;
        if (form >= 2) a.head_norm = norm;
        a.norm_after = form == 3;
        for (int plain = 1; plain >= 0; plain--) { /* the bits of plain C */
            struct pool *pool;
            struct device *d = each_isa_open(&pool, 2, plain ? 0 : mask);
            float *y = plain ? want : got;
            memcpy(y, x, sizeof x);
            a.x = y;
            op_rope(d, &a);
            each_isa_close(d, pool);
        }
        assert_memory_equal(got, want, sizeof got);
        if (form >= 2) continue;
        for (int r = 0; r < N; r++)
            for (int h = 0; h < HEADS; h++)
                for (int i = 0; i < DIM / 2; i++) {
                    int at = (r * HEADS + h) * DIM, lo = form ? 2 * i : i,
                        hi = form ? 2 * i + 1 : i + DIM / 2;
                    double angle = (float)pos[r] * freq[i], c = cos(angle), s = sin(angle);
                    assert_true(fabs(want[at + lo] - 1.1 * (x[at + lo] * c - x[at + hi] * s)) < 1e-6);
                    assert_true(fabs(want[at + hi] - 1.1 * (x[at + hi] * c + x[at + lo] * s)) < 1e-6);
                }
    }
}

static const void *pick(unsigned isa) { return attn_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "attention", test_attention },
                                                 { "windows", test_windows },
                                                 { "sinks", test_sinks },
                                                 { "values in keys", test_values_in_keys },
                                                 { "rope", test_rope } };
    return each_isa("paged attention", each, COUNT(each), ISA_NEON | ISA_AVX2 | ISA_AVX512, pick, NULL, 0);
}
