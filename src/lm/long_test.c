/* Positions far into a text, against transformers: past the chunk of 8,192 and the temperature's step of Llama 4, past the 4,096 at which the
 * rotary scaling of DeepSeek and of Phi 3 begins. tests/golden/lm/long (tools/reference/long_golden.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/kvcache.h"

#define DIR "tests/golden/lm/"

static const double BOUND = 3e-4; /* sums over thousands of values differ in their order */

/* One sequence, cut into chunks of 512 as a prompt is. */
enum { CHUNK = 512 };

struct run {
    const struct lm_arch *arch;
    struct lm_net *net;
    struct lm_shape s;
    struct kvcache *cache;
    struct kv_plan plan;
    int32_t *page[KV_GROUPS];
};

static void start(struct run *r, const struct weights *w, struct device *dev, int n)
{
    struct err e = { 0 };
    for (int i = 0; i < lm_n_families; i++)
        if (hparams_member(lm_families[i]->member, lm_families[i]->n_members, w)) r->arch = lm_families[i];
    assert_non_null(r->arch);
    if (!r->arch->engine->load(r->arch, &r->net, &r->s, w, dev, CHUNK, n, &e)) fail_msg("%s", e.msg);
    kv_plan(&r->plan, &r->s);
    const int n_pages = kv_pages_for(n);
    if (!kvcache_new(&r->cache, dev, KV_F16, &r->plan, &r->s, n_pages * r->plan.n_group, &e))
        fail_msg("%s", e.msg);
    for (int k = 0; k < r->plan.n_group; k++) {
        r->page[k] = calloc((size_t)n_pages, sizeof *r->page[k]);
        assert_non_null(r->page[k]);
        for (int i = n_pages - 1; i >= 0; i--) r->page[k][i] = kvcache_alloc(r->cache); /* not in order */
    }
}

static void stop(struct run *r)
{
    for (int k = 0; k < r->plan.n_group; k++) free(r->page[k]);
    kvcache_free(r->cache);
    r->arch->engine->free(r->net);
}

/* Tokens [at, at + n) of the text; pages that nobody looks into any more are taken away first. */
static void step(struct run *r, int at, int n)
{
    struct err e = { 0 };
    int32_t ids[CHUNK], pos[CHUNK];
    struct lm_seq seq[KV_GROUPS];
    for (int i = 0; i < n; i++) {
        const int64_t p = at + i;
        pos[i] = at + i;
        ids[i] = (int32_t)((p * p * 7 + p * 3 + (p >> 5) * 11) % r->s.n_vocab);
    }
    for (int k = 0; k < r->plan.n_group; k++) {
        for (int i = 0; i < kv_first_page(&r->plan, k, at); i++) r->page[k][i] = -1;
        seq[k] = (struct lm_seq){ .row = 0, .n = n, .pos0 = at, .page = r->page[k] };
    }
    const struct lm_batch b = { .n_rows = n,
                                .ids = ids,
                                .pos = pos,
                                .seq = seq,
                                .n_seq = 1,
                                .group = r->plan.group_of,
                                .lane = POOL_PREFILL };
    if (!r->arch->engine->step(r->net, &b, kvcache_layers(r->cache), &e)) fail_msg("%s", e.msg);
}

static void compare(const char *name)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev;
    struct weights *golden, *w;
    char path[200], dir[] = "/tmp/hearth-long-XXXXXX", config[80], link[80], cwd[400], target[600];
    snprintf(path, sizeof path, DIR "long/%s.json", name);
    json_t *about = json_load_file(path, 0, NULL);
    const char *of = json_string_value(json_object_get(about, "weights"));
    const int n = (int)json_integer_value(json_object_get(about, "tokens"));
    assert_true(of && n > 4096);
    snprintf(path, sizeof path, DIR "long/%s.safetensors", name);
    if (!weights_open(&golden, path, &e)) fail_msg("%s", e.msg);
    const struct tensor *rows = weights_find(golden, "rows"), *logits = weights_find(golden, "logits");
    assert_true(rows && logits && getcwd(cwd, sizeof cwd) && mkdtemp(dir));
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(link, sizeof link, "%s/model.safetensors", dir);
    snprintf(target, sizeof target, "%s/" DIR "%s/model.safetensors", cwd, of);
    assert_int_equal(json_dump_file(json_object_get(about, "config"), config, 0), 0);
    assert_int_equal(symlink(target, link), 0);
    if (!weights_open(&w, dir, &e) || !pool_new(&pool, 2, &e) || !device_cpu_open(&dev, pool, ~0u, &e))
        fail_msg("%s", e.msg);

    struct run r = { 0 };
    pool_acquire(pool, POOL_LOAD);
    start(&r, w, dev, n);
    const int64_t n_vocab = logits->dim[1];
    assert_int_equal(r.s.n_vocab, n_vocab);
    dev_float *out = device_floats(dev, (size_t)n_vocab, &e);
    float *got = malloc((size_t)n_vocab * sizeof *got);
    assert_true(out && got);
    double worst = 0;
    int64_t next = 0;
    for (int at = 0; at < n; at += CHUNK) {
        const int m = n - at < CHUNK ? n - at : CHUNK;
        step(&r, at, m);
        for (; next < rows->dim[0] && ((const int32_t *)rows->data)[next] < at + m; next++) {
            const int32_t row = ((const int32_t *)rows->data)[next] - at;
            const float *want = (const float *)logits->data + next * n_vocab;
            double d = 0, all = 0;
            if (!r.arch->engine->head(r.net, &row, 1, out, &e)) fail_msg("%s", e.msg);
            device_download(dev, got, out, (size_t)n_vocab);
            for (int64_t i = 0; i < n_vocab; i++) {
                d += pow((double)got[i] - want[i], 2);
                all += pow(want[i], 2);
            }
            worst = fmax(worst, sqrt(d / all));
            if (!(sqrt(d / all) < BOUND))
                fail_msg("%s: position %d: relative error %g", name, (int)row + at, sqrt(d / all));
        }
    }
    assert_int_equal(next, rows->dim[0]);
    print_message("%-12s %d tokens, worst relative error %.2e\n", name, n, worst);
    free(got);
    device_free(dev, out);
    stop(&r);
    pool_release(pool);
    device_close(dev);
    pool_free(pool);
    weights_close(w);
    weights_close(golden);
    unlink(config);
    unlink(link);
    rmdir(dir);
    json_decref(about);
}

static void test_chunks_and_temperature(void **state) { (void)state, compare("llama4"); }
static void test_yarn_of_latents(void **state) { (void)state, compare("deepseek"); }
static void test_lists(void **state) { (void)state, compare("phi3"); }

int main(void)
{
    log_set_level(LOG_ERROR - 1);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_chunks_and_temperature),
                                        cmocka_unit_test(test_yarn_of_latents),
                                        cmocka_unit_test(test_lists) };
    return cmocka_run_group_tests_name("positions far into a text", tests, NULL, NULL);
}
