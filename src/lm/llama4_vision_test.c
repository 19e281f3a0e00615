/* Llama 4's tower against transformers (tests/golden/lm/llama4_vision, tools/reference/llama4_vision_golden.py): the rows of two tiles, and
 * the logits of a text in which they stand; towers that lie. */
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

#include "device/guard/guard.h"
#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/kvcache.h"
#include "lm/llama4_vision.h"

#define DIR "tests/golden/lm/llama4_vision/"

extern const struct lm_arch lm_llama4;

struct world {
    struct pool *pool;
    struct device *dev, *guard;
    struct weights *w, *golden;
};

static int open_world(void **state)
{
    static struct world x;
    struct err e = { 0 };
    if (!pool_new(&x.pool, 2, &e) || !device_cpu_open(&x.dev, x.pool, ~0u, &e) ||
        !device_guard_open(&x.guard, x.dev, &e) || !weights_open(&x.w, DIR "model.safetensors", &e) ||
        !weights_open(&x.golden, DIR "golden.safetensors", &e))
        fail_msg("%s", e.msg);
    pool_acquire(x.pool, POOL_LOAD);
    *state = &x;
    return 0;
}

static int close_world(void **state)
{
    struct world *x = *state;
    pool_release(x->pool);
    weights_close(x->w);
    weights_close(x->golden);
    device_close(x->guard);
    device_close(x->dev);
    pool_free(x->pool);
    return 0;
}

static const float *golden(const struct world *x, const char *name)
{
    const struct tensor *t = weights_find(x->golden, name);
    if (!t) fail_msg("no %s", name);
    return t->data;
}

static double error_of(const float *got, const float *want, size_t n)
{
    double d = 0, r = 0;
    for (size_t i = 0; i < n; i++) {
        d += pow((double)got[i] - (double)want[i], 2);
        r += pow((double)want[i], 2);
    }
    return sqrt(d / r);
}

/* Both tiles' rows, to be freed. */
static float *see(const struct world *x, struct device *dev, size_t *n)
{
    struct err e = { 0 };
    struct llama4_vision *v;
    if (!llama4_vision_load(&v, x->w, dev, &e)) fail_msg("%s", e.msg);
    const struct llama4_vision_shape *s = llama4_vision_shape(v);
    assert_int_equal(s->n_rows, 9);
    *n = (size_t)(s->n_rows * s->n_text);
    float *rows = calloc(2 * *n, sizeof *rows);
    const size_t pixels = (size_t)(s->n_channels * s->image * s->image);
    for (size_t i = 0; i < 2; i++)
        if (!llama4_vision_run(v, golden(x, "tiles") + i * pixels, rows + i * *n, &e)) fail_msg("%s", e.msg);
    assert_true(llama4_vision_bytes(v) > 0);
    llama4_vision_free(v);
    return rows;
}

static void test_rows(void **state)
{
    const struct world *x = *state;
    size_t n;
    float *rows = see(x, x->dev, &n), *guarded = see(x, x->guard, &n);
    const double err = error_of(rows, golden(x, "rows"), 2 * n);
    print_message("rows of two tiles: relative error %.2e\n", err);
    assert_true(err < 1e-5);
    assert_memory_equal(rows, guarded, 2 * n * sizeof *rows); /* no host loop touches the device's memory */
    free(rows);
    free(guarded);
}

/* The text around the picture's tokens, for which the tower's rows stand. */
static void test_text_with_a_picture(void **state)
{
    enum { N = 50, PICTURE = 63 };
    const struct world *x = *state;
    struct err e = { 0 };
    struct lm_net *net;
    struct lm_shape s;
    struct kvcache *cache;
    struct kv_plan plan;
    size_t n;
    float *seen = see(x, x->dev, &n);
    if (!lm_llama4.engine->load(&lm_llama4, &net, &s, x->w, x->dev, N, N, &e)) fail_msg("%s", e.msg);
    const struct tensor *ids = weights_find(x->golden, "ids");
    assert_int_equal(ids->dim[0], N);
    kv_plan(&plan, &s);
    if (!kvcache_new(&cache, x->dev, KV_F16, &plan, &s, 2 * plan.n_group, &e)) fail_msg("%s", e.msg);
    int32_t id[N], pos[N], row[N], page[KV_GROUPS][2];
    struct lm_seq seq[KV_GROUPS];
    float *embd = calloc((size_t)(N * s.n_embd), sizeof *embd);
    memcpy(id, ids->data, sizeof id);
    for (int i = 0, k = 0; i < N; i++) {
        pos[i] = row[i] = i;
        if (id[i] != PICTURE) continue;
        id[i] = LM_ROW_GIVEN;
        memcpy(embd + (ptrdiff_t)i * s.n_embd, seen + (ptrdiff_t)k++ * s.n_embd,
               (size_t)s.n_embd * sizeof *embd);
    }
    for (int g = 0; g < plan.n_group; g++) {
        for (int i = 0; i < 2; i++) page[g][i] = kvcache_alloc(cache);
        seq[g] = (struct lm_seq){ .n = N, .page = page[g] };
    }
    const struct lm_batch b = { .n_rows = N,
                                .ids = id,
                                .embd = embd,
                                .pos = pos,
                                .seq = seq,
                                .n_seq = 1,
                                .group = plan.group_of,
                                .lane = POOL_PREFILL };
    dev_float *out = device_floats(x->dev, (size_t)(N * s.n_vocab), &e);
    float *logits = calloc((size_t)(N * s.n_vocab), sizeof *logits);
    if (!out || !lm_llama4.engine->step(net, &b, kvcache_layers(cache), &e) ||
        !lm_llama4.engine->head(net, row, N, out, &e))
        fail_msg("%s", e.msg);
    device_download(x->dev, logits, out, (size_t)(N * s.n_vocab));
    const double err = error_of(logits, golden(x, "logits"), (size_t)(N * s.n_vocab));
    print_message("logits around a picture: relative error %.2e (the cache is f16)\n", err);
    assert_true(err < 6e-4);
    device_free(x->dev, out);
    kvcache_free(cache);
    lm_llama4.engine->free(net);
    free(logits);
    free(embd);
    free(seen);
}

static void refused(const char *key, const char *value, const char *says)
{
    char dir[] = "/tmp/hearth-vision-XXXXXX", config[80], file[80], cwd[400], target[500];
    struct err e = { 0 };
    struct weights *w;
    struct llama4_vision_shape s;
    json_t *whole = json_load_file(DIR "config.json", 0, NULL), *v = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    if (*key)
        json_object_set_new(json_object_get(whole, "vision_config"), key, v);
    else
        json_object_set_new(whole, "vision_config", v);
    assert_non_null(mkdtemp(dir));
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
    assert_int_equal(json_dump_file(whole, config, 0), 0);
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(target, sizeof target, "%s/" DIR "model.safetensors", cwd);
    assert_int_equal(symlink(target, file), 0);
    if (!weights_open(&w, dir, &e)) fail_msg("%s", e.msg);
    if (llama4_vision_read(&s, w, &e)) fail_msg("%s %s: accepted", key, value);
    if (!strstr(e.msg, says)) fail_msg("%s %s: \"%s\" does not say \"%s\"", key, value, e.msg, says);
    weights_close(w);
    unlink(file);
    unlink(config);
    rmdir(dir);
    json_decref(whole);
}

static void test_towers_that_lie(void **state)
{
    (void)state;
    refused("", "null", "no tower that sees pictures");
    refused("image_size", "25", "tiles of 25 pixels are not whole squares");
    refused("image_size", "[24, 28]", "image_size is no whole number");
    refused("image_size", "1e300", "image_size is no whole number");
    refused("patch_size", "0", "patch_size is no whole number");
    refused("num_attention_heads", "3", "16 channels in 3 heads");
    refused("num_hidden_layers", "-1", "num_hidden_layers is no whole number");
    refused("pixel_shuffle_ratio", "0.3", "pixel_shuffle_ratio");
    refused("pixel_shuffle_ratio", "0.25", "tiles of 24 pixels are not whole squares of 4 patches");
    refused("intermediate_size", "48", "a square of patches has 64 channels");
    refused("vision_output_dim", "44", "differ");
    refused("rope_parameters", "{\"rope_type\": \"yarn\"}", "'yarn' are not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows),
                                        cmocka_unit_test(test_text_with_a_picture),
                                        cmocka_unit_test(test_towers_that_lie) };
    return cmocka_run_group_tests_name("Llama 4's tower", tests, open_world, close_world);
}
