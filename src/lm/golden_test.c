/* Networks against transformers: tests/golden/lm/NAME (tools/reference/lm_golden.py) in both file formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lm/arch.h"
#include "lm/kvcache.h"

#define DIR "tests/golden/lm/"

/* Relative error of all logits. Against the reference with keys and values rounded to f16 as our cache rounds them: f32
 * weights differ by the order of sums alone; bf16 and fp8 weights may be multiplied in bf16. The cache's rounding itself is
 * worth about 2e-4 on these networks, so the plain reference gets a bound of its own. */
static const double F32_BOUND = 1e-4, NARROW_BOUND = 1e-2, CACHE_BOUND = 5e-4;

static const struct lm_arch *const families[] = { &lm_arch_llama, &lm_arch_qwen };

struct golden {
    struct weights *w;
    const int32_t *ids;
    const float *logits, *logits_kv16;
    int n, n_vocab;
};

static void open_golden(struct golden *g, const char *name)
{
    char path[200];
    struct err e = { 0 };
    snprintf(path, sizeof path, DIR "%s/golden.safetensors", name);
    if (!weights_open(&g->w, path, &e)) fail_msg("%s", e.msg);
    const struct tensor *ids = weights_find(g->w, "ids"), *logits = weights_find(g->w, "logits");
    const struct tensor *kv16 = weights_find(g->w, "logits_kv16");
    assert_non_null(kv16);
    g->logits_kv16 = kv16->data;
    assert_non_null(ids);
    assert_non_null(logits);
    g->ids = ids->data;
    g->logits = logits->data;
    g->n = (int)ids->dim[0];
    g->n_vocab = (int)logits->dim[1];
}

/* All positions' logits, the prompt cut into chunks of `chunk` rows. */
static float *run(const char *path, const struct golden *g, int chunk, struct device *dev)
{
    struct err e = { 0 };
    struct weights *w;
    struct lm_net *net;
    struct lm_shape s;
    struct kvcache *cache;
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    const struct lm_arch *arch = NULL;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (families[i]->recognises(w)) arch = families[i];
    if (!arch) fail_msg("%s: no family recognises it", path);
    if (!arch->load(&net, &s, w, dev, g->n, &e)) fail_msg("%s: %s", path, e.msg);
    assert_int_equal(s.n_vocab, g->n_vocab);
    const int n_pages = kvcache_pages_for(g->n);
    if (!kvcache_new(&cache, KV_F16, s.n_layer, s.n_kv_head, s.head_dim, s.head_dim, n_pages, &e))
        fail_msg("%s", e.msg);
    int32_t page[16], pos[256], row[256];
    for (int i = 0; i < n_pages; i++) page[n_pages - 1 - i] = kvcache_alloc(cache); /* not in order */
    float *logits = malloc((size_t)g->n * (size_t)g->n_vocab * sizeof *logits);
    for (int at = 0; at < g->n; at += chunk) {
        const int n = g->n - at < chunk ? g->n - at : chunk;
        for (int i = 0; i < n; i++) pos[i] = at + i, row[i] = i;
        struct attn_seq seq = { .row = 0, .n = n, .pos0 = at, .page = page };
        struct lm_batch b = {
            .n_rows = n, .ids = g->ids + at, .pos = pos, .seq = &seq, .n_seq = 1, .lane = POOL_PREFILL
        };
        arch->step(net, &b, kvcache_layers(cache));
        arch->head(net, row, n, logits + (size_t)at * (size_t)g->n_vocab);
    }
    kvcache_free(cache);
    arch->free(net);
    weights_close(w);
    return logits;
}

static double error_of(const float *got, const float *want, const struct golden *g)
{
    double d = 0, r = 0;
    for (int64_t i = 0; i < (int64_t)g->n * g->n_vocab; i++) {
        d += pow((double)got[i] - want[i], 2);
        r += pow(want[i], 2);
    }
    return sqrt(d / r);
}

static void compare(const char *name, const char *file, double bound)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev = NULL;
    struct golden g;
    if (!pool_new(&pool, 2, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) fail_msg("%s", e.msg);
    pool_acquire(pool, POOL_LOAD);
    open_golden(&g, name);
    char path[200];
    snprintf(path, sizeof path, DIR "%s/%s", name, file);
    float *whole = run(path, &g, g.n, dev);
    double err = error_of(whole, g.logits_kv16, &g), plain = error_of(whole, g.logits, &g);
    print_message("%-18s %-18s relative error %.2e (f32 cache in the reference: %.2e)\n", name, file, err,
                  plain);
    if (!(err < bound)) fail_msg("%s: relative error %g, allowed %g", path, err, bound);
    if (!(plain < bound + CACHE_BOUND))
        fail_msg("%s: relative error %g, allowed %g", path, plain, bound + CACHE_BOUND);
    static const int chunks[] = { 1, 7, 33 };
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        float *cut = run(path, &g, chunks[i], dev);
        if (memcmp(cut, whole, (size_t)g.n * (size_t)g.n_vocab * sizeof *cut) != 0)
            fail_msg("%s: chunks of %d give other bits than one chunk", path, chunks[i]);
        free(cut);
    }
    free(whole);
    weights_close(g.w);
    pool_release(pool);
    device_close(dev);
    pool_free(pool);
}

static void test_f32(void **state)
{
    (void)state;
    static const char *const names[] = { "llama3",     "llama_tied", "llama_linear_bias",
                                         "llama_yarn", "mixtral",    "mixtral_fused",
                                         "qwen2",      "qwen3",      "qwen3_moe" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        compare(names[i], "model.safetensors", F32_BOUND);
        compare(names[i], "model.gguf", F32_BOUND);
    }
}

static void test_windows(void **state)
{
    (void)state;
    static const char *const names[] = { "qwen2_window", "qwen3_layer_types", "qwen2_no_window" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        compare(names[i], "model.safetensors", F32_BOUND);
}

static void test_narrow(void **state)
{
    (void)state;
    compare("llama_bf16", "model.safetensors", NARROW_BOUND);
    compare("llama_bf16", "model.gguf", NARROW_BOUND);
    compare("llama_fp8", "model.safetensors", NARROW_BOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_f32), cmocka_unit_test(test_windows),
                                        cmocka_unit_test(test_narrow) };
    return cmocka_run_group_tests_name("golden networks", tests, NULL, NULL);
}
