/* paged.c - attention of language models over the paged cache, against the machine's f32 peak. Prints one JSON object a line.
 *
 *     paged [threads [tokens]]
 *
 * Rows that follow `tokens` (default 4096) tokens of the same sequence: 256 as a prompt's chunk has them, and one, for the heads of a
 * 135M, a 1B and an 8B Llama, for DeepSeek's latents, and both types of cache. A product is counted for each pair of a query and a token that it sees. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/pool.h"
#include "device/backend.h"
#include "machine.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void *piece(size_t n, size_t size)
{
    void *p = mem_aligned(n, size, true);
    if (!p) exit(1);
    return p;
}

static double measure(struct device *d, struct attn_args *a, struct attn_seq *s, struct pool *pool, int n,
                      int pos0)
{
    double best = 1e9;
    *s = (struct attn_seq){ .n = n, .pos0 = pos0 };
    for (int rep = 0; rep < (n > 1 ? 5 : 200); rep++) {
        double t = machine_seconds(pool);
        op_attention_paged(d, a);
        t = machine_seconds(pool) - t;
        if (t < best) best = t;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int heads, kv_heads, dim,
            v_dim; /* v_dim: less than dim where values are the beginning of their keys */
    } shapes[] = { { "135m", 9, 3, 64, 64 },
                   { "1b", 32, 8, 64, 64 },
                   { "8b", 32, 8, 128, 128 },
                   { "latent", 128, 1, 576, 512 } };
    enum { CHUNK = 256 };
    const int tokens = argc > 2 ? atoi(argv[2]) : 4096;
    const int n_pages = (tokens + CHUNK + KV_PAGE - 1) / KV_PAGE;
    struct err e = { 0 };
    struct pool *pool;
    struct device *d;
    if (!pool_new(&pool, argc > 1 ? atoi(argv[1]) : 0, &e) || !device_cpu_open(&d, pool, ~0u, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    const struct machine_peaks peaks = machine_peaks_measure(pool);
    printf("{\"device\": \"%s\", \"f32_gflops\": %.0f}\n", device_name(d), peaks.f32 / 1e9);
    int32_t *page = piece((size_t)n_pages, sizeof *page);
    for (int i = 0; i < n_pages; i++) page[i] = i;
    for (size_t i = 0; i < COUNT(shapes) * 2; i++) {
        const int heads = shapes[i / 2].heads, kv_heads = shapes[i / 2].kv_heads, dim = shapes[i / 2].dim,
                  v_dim = shapes[i / 2].v_dim;
        const bool v_in_k = v_dim < dim;
        const enum kv_type type = i % 2 ? KV_Q8_0 : KV_F16;
        struct kv_layer kv = {
            .type = type, .n_kv_head = kv_heads, .k_dim = dim, .v_dim = v_dim, .v_in_k = v_in_k
        };
        kv.page_stride = kv_page_bytes(d, type, kv_heads, dim, v_in_k ? 0 : v_dim);
        kv.pages = piece((size_t)n_pages, kv.page_stride);
        struct attn_seq s = { 0 };
        struct attn_args a = { .kv = &kv,
                               .seq = &s,
                               .n_seq = 1,
                               .page = page,
                               .max_pages = n_pages,
                               .n_head = heads,
                               .scale = 0.125f };
        a.ldq = (int64_t)heads * dim;
        a.ldo = (int64_t)heads * v_dim;
        a.ldk = a.ldv = (int64_t)kv_heads * dim;
        float *q = piece((size_t)(CHUNK * heads * dim), sizeof *q);
        float *k = piece((size_t)(CHUNK * kv_heads * dim), sizeof *k);
        float *out = piece((size_t)(CHUNK * heads * dim), sizeof *out);
        for (int j = 0; j < CHUNK * heads * dim; j++) q[j] = (float)(j * 7 % 31 - 15) / 16;
        for (int j = 0; j < CHUNK * kv_heads * dim; j++) k[j] = (float)(j * 5 % 29 - 14) / 16;
        a.q = q;
        a.k = a.v = k;
        a.out = out;
        for (int at = 0; at < tokens; at += CHUNK) {
            s = (struct attn_seq){ .n = CHUNK, .pos0 = at };
            op_attention_paged(d, &a);
        } /* fills the cache */
        static const int rows[] = { 1, CHUNK };
        for (size_t r = 0; r < COUNT(rows); r++) {
            const double t = measure(d, &a, &s, pool, rows[r], tokens);
            const double ops = 2.0 * heads * (dim + v_dim) * rows[r] * (tokens + (rows[r] + 1) / 2.0);
            printf("{\"shape\": \"%s\", \"cache\": \"%s\", \"behind\": %d, \"rows\": %d, \"us\": %.1f, "
                   "\"gflops\": %.1f, \"of_f32_peak\": %.2f}\n",
                   shapes[i / 2].name, type == KV_F16 ? "f16" : "q8_0", tokens, rows[r], t * 1e6,
                   ops / t / 1e9, ops / t / peaks.f32);
            fflush(stdout);
        }
        mem_free(kv.pages);
        mem_free(q);
        mem_free(k);
        mem_free(out);
    }
    mem_free(page);
    device_close(d);
    pool_free(pool);
    return 0;
}
