/* Networks against transformers: tests/golden/lm/NAME (tools/reference/lm_golden.py, deepseek_golden.py) in both file formats, and variants of their
 * configuration over the same weights. */
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
#include "device/cuda/emulated/driver.h"
#include "device/guard/guard.h"
#include "lm/arch.h"
#include "lm/config_keys.h"
#include "lm/kvcache.h"

#define DIR "tests/golden/lm/"

/* Relative error of all logits. Against the reference with keys and values rounded to f16 as our cache rounds them: f32
 * weights differ by the order of sums alone; bf16 and fp8 weights may be multiplied in bf16. The cache's rounding itself is
 * worth about 2e-4 on these networks, so the plain reference gets a bound of its own. */
static const double F32_BOUND = 1e-4, NARROW_BOUND = 1e-2, CACHE_BOUND = 5e-4;
/* Quantised weights of small networks meet 15 bits of the activations. */
static const double QUANT_BOUND = 2e-3, PACKED_BOUND = 2e-4;

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

/* Two of three rows of the embedding, as a caller would give them, and LM_ROW_GIVEN for their ids. */
static float *give_rows(const struct weights *w, const struct lm_shape *s, const struct golden *g,
                        int32_t *ids)
{
    const struct tensor *t =
        weights_find(w, weights_gguf(w) ? "token_embd.weight" : "model.embed_tokens.weight");
    if (!t) return NULL; /* under another name */
    float *rows = calloc((size_t)(g->n * s->n_embd), sizeof *rows);
    const size_t row_bytes = dtype_row_bytes(t->type, s->n_embd);
    for (int i = 0; i < g->n; i++) {
        if (i % 3 == 1) continue;
        float *x = rows + (int64_t)i * s->n_embd;
        dequant_row(t->type, (const char *)t->data + (size_t)g->ids[i] * row_bytes, x, s->n_embd);
        for (int k = 0; k < s->n_embd; k++) x[k] *= s->embd_scale;
        ids[i] = LM_ROW_GIVEN;
    }
    return rows;
}

/* All positions' logits, the prompt cut into chunks of `chunk` rows; give: some rows come as embeddings. */
static float *run(const char *path, const struct golden *g, int chunk, bool give, struct device *dev)
{
    struct err e = { 0 };
    struct weights *w;
    struct lm_net *net;
    struct lm_shape s;
    struct kvcache *cache;
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    const struct lm_arch *arch = NULL;
    for (int i = 0; i < lm_n_families; i++)
        if (hparams_member(lm_families[i]->member, lm_families[i]->n_members, w)) arch = lm_families[i];
    if (!arch) fail_msg("%s: no family recognises it", path);
    if (!arch->engine->load(arch, &net, &s, w, dev, g->n, g->n, &e)) fail_msg("%s: %s", path, e.msg);
    assert_int_equal(s.n_vocab, g->n_vocab);
    struct kv_plan plan;
    kv_plan(&plan, &s);
    const int n_pages = kv_pages_for(g->n);
    if (!kvcache_new(&cache, dev, KV_F16, &plan, &s, n_pages * plan.n_group, &e)) fail_msg("%s", e.msg);
    int32_t page[KV_GROUPS][16], pos[256], row[256], ids[256];
    memcpy(ids, g->ids, (size_t)g->n * sizeof *ids);
    float *embd = give ? give_rows(w, &s, g, ids) : NULL;
    for (int i = 0; i < n_pages; i++)
        for (int k = 0; k < plan.n_group; k++)
            page[k][n_pages - 1 - i] = kvcache_alloc(cache); /* not in order */
    float *logits = malloc((size_t)g->n * (size_t)g->n_vocab * sizeof *logits);
    dev_float *out = device_floats(dev, (size_t)g->n * (size_t)g->n_vocab, &e);
    assert_true(logits && out);
    for (int at = 0; at < g->n; at += chunk) {
        const int n = g->n - at < chunk ? g->n - at : chunk;
        for (int i = 0; i < n; i++) pos[i] = at + i, row[i] = i;
        struct lm_seq seq[KV_GROUPS];
        for (int k = 0; k < plan.n_group; k++) {
            for (int i = 0; i < kv_first_page(&plan, k, at); i++) page[k][i] = -1; /* nobody looks there */
            seq[k] = (struct lm_seq){ .row = 0, .n = n, .pos0 = at, .page = page[k] };
        }
        struct lm_batch b = { .n_rows = n,
                              .ids = ids + at,
                              .pos = pos,
                              .seq = seq,
                              .n_seq = 1,
                              .group = plan.group_of,
                              .lane = POOL_PREFILL };
        if (embd) b.embd = embd + (int64_t)at * s.n_embd;
        if (!arch->engine->step(net, &b, kvcache_layers(cache), &e) ||
            !arch->engine->head(net, row, n, out, &e))
            fail_msg("%s: %s", path, e.msg);
        device_download(dev, logits + (size_t)at * (size_t)g->n_vocab, out, (size_t)n * (size_t)g->n_vocab);
    }
    free(embd);
    device_free(dev, out);
    kvcache_free(cache);
    arch->engine->free(net);
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

/* The same on a GPU, an emulated one: its logits are those of the reference, whole and in chunks bit for bit. */
static void check_gpu(const char *name, const char *path, const struct golden *g, struct pool *pool,
                      double bound)
{
#if defined(HEARTH_CUDA_EMULATED) && !defined(__SANITIZE_ADDRESS__)
    struct err e = { 0 };
    struct device *gpu;
    /* One of each kind of attention, routing and norm: fibres take their time. */
    static const char *const names[] = { "qwen3_moe/model.safetensors", "gemma3/model.safetensors",
                                         "deepseek_v3/model.safetensors", "llama4_scout/model.safetensors",
                                         "llama_yarn/model.safetensors" };
    bool wanted = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) wanted |= strcmp(name, names[i]) == 0;
    if (!wanted) return;
    if (!emulated_gpu_open(&gpu, pool, &e)) fail_msg("%s", e.msg);
    float *whole = run(path, g, g->n, false, gpu), *cut = run(path, g, 7, false, gpu);
    const double err = error_of(whole, g->logits_kv16, g);
    print_message("%-48s relative error %.2e on an emulated GPU\n", name, err);
    if (!(err < bound)) fail_msg("%s: relative error %g on an emulated GPU, allowed %g", name, err, bound);
    assert_memory_equal(cut, whole, (size_t)g->n * (size_t)g->n_vocab * sizeof *cut);
    free(cut);
    free(whole);
    device_close(gpu);
#else
    (void)name, (void)path, (void)g, (void)pool, (void)bound;
#endif
}

/* path: a file or folder, whose logits must be those of *g. */
static void check(const char *name, const char *path, const struct golden *given, double bound)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev = NULL, *guard = NULL;
    const struct golden g = *given;
    if (!pool_new(&pool, 2, &e) || !device_cpu_open(&dev, pool, ~0u, &e) ||
        !device_guard_open(&guard, dev, &e))
        fail_msg("%s", e.msg);
    pool_acquire(pool, POOL_LOAD);
    float *whole = run(path, &g, g.n, false, dev);
    float *guarded = run(path, &g, g.n, false, guard); /* no host loop touches the device's memory */
    assert_memory_equal(guarded, whole, (size_t)g.n * (size_t)g.n_vocab * sizeof *whole);
    free(guarded);
    double err = error_of(whole, g.logits_kv16, &g);
    double plain = g.logits ? error_of(whole, g.logits, &g) : 0;
    print_message("%-48s relative error %.2e (f32 cache in the reference: %.2e)\n", name, err, plain);
    if (!(err < bound)) fail_msg("%s: relative error %g, allowed %g", name, err, bound);
    if (!(plain < bound + CACHE_BOUND))
        fail_msg("%s: relative error %g, allowed %g", name, plain, bound + CACHE_BOUND);
    static const struct {
        int chunk;
        bool give;
    } ways[] = { { 1, false }, { 7, false }, { 33, false }, { 256, true }, { 5, true } };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        float *cut = run(path, &g, ways[i].chunk, ways[i].give, dev);
        if (memcmp(cut, whole, (size_t)g.n * (size_t)g.n_vocab * sizeof *cut) != 0)
            fail_msg("%s: chunks of %d%s give other bits than one chunk", name, ways[i].chunk,
                     ways[i].give ? ", rows given as embeddings," : "");
        free(cut);
    }
    check_gpu(name, path, &g, pool, bound);
    free(whole);
    pool_release(pool);
    device_close(guard);
    device_close(dev);
    pool_free(pool);
}

static void compare(const char *name, const char *file, double bound)
{
    struct golden g;
    char path[200];
    open_golden(&g, name);
    snprintf(path, sizeof path, DIR "%s/%s", name, file);
    check(path + strlen(DIR), path, &g, bound);
    weights_close(g.w);
}

/* ---- the same weights under another config.json, or under other names ----------------------------------------------------- */

struct folder {
    char dir[40], config[80], weights[80];
};

static void open_folder(struct folder *f, const json_t *config)
{
    snprintf(f->dir, sizeof f->dir, "/tmp/hearth-golden-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->config, sizeof f->config, "%s/config.json", f->dir);
    snprintf(f->weights, sizeof f->weights, "%s/model.safetensors", f->dir);
    assert_int_equal(json_dump_file(config, f->config, 0), 0);
}

static void remove_folder(struct folder *f)
{
    unlink(f->config);
    unlink(f->weights);
    rmdir(f->dir);
}

static void link_weights(struct folder *f, const char *name)
{
    char cwd[400], target[500];
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(target, sizeof target, "%s/" DIR "%s/model.safetensors", cwd, name);
    assert_int_equal(symlink(target, f->weights), 0);
}

static void compare_variant(const char *name)
{
    struct err e = { 0 };
    char path[200];
    snprintf(path, sizeof path, DIR "variants/%s.json", name);
    json_t *about = json_load_file(path, 0, NULL);
    const char *of = json_string_value(json_object_get(about, "weights"));
    assert_non_null(of);
    struct golden g;
    struct weights *w;
    open_golden(&g, of);
    snprintf(path, sizeof path, DIR "variants/%s.safetensors", name);
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    g.logits = NULL;
    g.logits_kv16 = weights_find(w, "logits_kv16")->data;
    struct folder f;
    open_folder(&f, json_object_get(about, "config"));
    link_weights(&f, of);
    check(name, f.dir, &g, F32_BOUND);
    remove_folder(&f);
    weights_close(w);
    weights_close(g.w);
    json_decref(about);
}

/* Keys that the reference passes over, obeys, or replaces by its own value when they are absent. */
static void test_variants(void **state)
{
    (void)state;
    static const char *const names[] = {
        "llama_sliding_window",
        "llama_experts",
        "llama_unused_biases",
        "llama_tied_with_head",
        "llama_gelu",
        "llama_gelu_tanh",
        "mixtral_gelu_tanh",
        "gemma3_published",
        "gemma3_absent",
        "smollm3_listed",
        "llama4_listed",
        "llama4_moe_layers",
        "llama4_absent",
        "mistral_window",
        "mistral_layer_types",
        "mistral_absent",
        "ministral",
        "mixtral_window",
        "mixtral_absent",
        "qwen2_window_null",
        "qwen2_max_window_layers_absent",
        "qwen3_moe_window",
        "qwen3_moe_window_off",
        "qwen3_moe_sparse_step",
        "qwen3_moe_mlp_only",
        "qwen3_moe_step_and_mlp_only",
        "rope_scaling_beside_parameters",
        "rope_scaling_empty",
        "rope_theta_beside",
        "rope_original_outside",
        "rope_yarn_magnitudes",
        "rope_dynamic",
        "rope_dynamic_within",
        "rope_longrope",
        "phi3_near",
        "phi3_su",
        "phi3_factor",
        "phi3_part_beside",
        "glm4_moe_absent",
        "mistral3",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) compare_variant(names[i]);
}

/* A copy of NAME's weights in which tensors' names have `from` at their start replaced by `to`; the head has its own. */
static void write_renamed(const char *out, const char *name, const char *to, const char *head)
{
    char path[200], spelt[200];
    uint64_t n;
    snprintf(path, sizeof path, DIR "%s/model.safetensors", name);
    FILE *in = fopen(path, "rb"), *f = fopen(out, "wb");
    assert_true(in && f);
    assert_int_equal(fread(&n, sizeof n, 1, in), 1);
    char *text = malloc(n);
    assert_int_equal(fread(text, n, 1, in), 1);
    json_t *was = json_loadb(text, n, 0, NULL), *is = json_object(), *v;
    const char *key;
    json_object_foreach(was, key, v)
    {
        if (strncmp(key, "model.", 6) == 0)
            snprintf(spelt, sizeof spelt, "%s%s", to, key + 6);
        else
            snprintf(spelt, sizeof spelt, "%s%s", strncmp(key, "lm_head", 7) == 0 ? head : "", key);
        json_object_set(is, spelt, v);
    }
    char *header = json_dumps(is, JSON_COMPACT);
    n = strlen(header);
    assert_int_equal(fwrite(&n, sizeof n, 1, f), 1);
    assert_int_equal(fwrite(header, n, 1, f), 1);
    char block[4096];
    for (size_t got; (got = fread(block, 1, sizeof block, in)) > 0;)
        assert_int_equal(fwrite(block, 1, got, f), got);
    fclose(in);
    assert_int_equal(fclose(f), 0);
    free(header);
    free(text);
    json_decref(was);
    json_decref(is);
}

/* A language model inside a larger one: other names, and its configuration one level down. */
static void test_inside_others(void **state)
{
    (void)state;
    static const struct {
        const char *name, *inner, *body, *head;
    } kinds[] = {
        { "llama3", "text_config", "model.language_model.", "" },
        { "llama3", "text_config", "language_model.model.", "language_model." },
        { "llama3", "llm_config", "language_model.model.", "" },
        { "llama3", "text_config", "model.text_model.", "" },
        { "llama3", NULL, "", "" },
        { "llama_tied", "text_config", "model.language_model.", "" },
        { "gemma3", "text_config", "language_model.model.", "language_model." },
        { "llama4_scout", "text_config", "language_model.model.", "language_model." },
        { "llama_fp8", "text_config", "model.language_model.", "" }, /* weight_block_size is down there too */
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct golden g;
        struct folder f;
        char path[200];
        open_golden(&g, kinds[i].name);
        snprintf(path, sizeof path, DIR "%s/config.json", kinds[i].name);
        json_t *config = json_load_file(path, 0, NULL), *outer = config;
        if (kinds[i].inner) {
            const bool gemma =
                strcmp(kinds[i].name, "gemma3") == 0; /* whose text part need not name its type */
            if (gemma) json_object_del(config, "model_type");
            outer = json_pack("{s:s,s:o}", "model_type", gemma ? "gemma3" : "llava", kinds[i].inner, config);
        }
        open_folder(&f, outer);
        write_renamed(f.weights, kinds[i].name, kinds[i].body, kinds[i].head);
        snprintf(path, sizeof path, "%s as %s", kinds[i].name, *kinds[i].body ? kinds[i].body : "(nothing)");
        check(path, f.dir, &g, strcmp(kinds[i].name, "llama_fp8") == 0 ? NARROW_BOUND : F32_BOUND);
        remove_folder(&f);
        weights_close(g.w);
        json_decref(outer);
    }
}

static void test_f32(void **state)
{
    (void)state;
    static const char *const names[] = {
        "llama3",          "llama_tied", "llama_linear_bias", "llama_yarn", "mixtral",  "mixtral_fused",
        "qwen2",           "qwen3",      "qwen3_moe",         "gemma3",     "smollm3",  "llama4_scout",
        "llama4_maverick", "phi3",       "phi3_tied",         "glm4",       "glm4_moe", "glm4_moe_plain",
        "gpt_oss",         "ministral3"
    };
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

/* Keys and values of the latents in one matrix, and apart; layers behind the last are in the Hugging Face files of V3. */
static void test_latent(void **state)
{
    (void)state;
    static const struct {
        const char *name, *file;
        double bound;
    } all[] = {
        { "deepseek_v3", "model.safetensors", F32_BOUND },
        { "deepseek_v3", "model.gguf", F32_BOUND },
        { "deepseek_v3", "split.gguf", F32_BOUND },
        { "deepseek_v3_mscale", "model.safetensors", F32_BOUND },
        { "deepseek_v2_lite", "model.safetensors", F32_BOUND },
        { "deepseek_v2_lite", "model.gguf", F32_BOUND },
        { "deepseek_v2", "model.safetensors", F32_BOUND },
        { "deepseek_v2", "split.gguf", F32_BOUND },
        { "deepseek_bf16", "model.safetensors", NARROW_BOUND },
        { "deepseek_bf16", "split.gguf", NARROW_BOUND },
        { "deepseek_q8_0", "model.gguf", QUANT_BOUND },
        { "deepseek_q8_0_split", "split.gguf", QUANT_BOUND },
        { "deepseek_fp8", "model.safetensors", NARROW_BOUND },
        { "deepseek_fp8_48x40", "model.safetensors", NARROW_BOUND },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) compare(all[i].name, all[i].file, all[i].bound);
}

/* llama.cpp knows no window for these, whatever a file says: two keys more, which leave the tensors where they stand to 64 bytes. */
static void test_gguf_window_is_passed_over(void **state)
{
    (void)state;
    static const char key[] = "llama.attention.sliding_window", filler[] = "xx";
    char path[] = "/tmp/hearth-golden-XXXXXX.gguf", block[4096];
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "wb"), *in = fopen(DIR "llama3/model.gguf", "rb");
    assert_true(f && in);
    uint64_t head[3]; /* magic and version, tensors, keys */
    assert_int_equal(fread(head, sizeof head, 1, in), 1);
    head[2] += 2;
    fwrite(head, sizeof head, 1, f);
    const char *const keys[] = { key, filler };
    for (int i = 0; i < 2; i++) {
        const uint64_t n = strlen(keys[i]);
        const uint32_t type = 4, value = 16; /* U32 */
        fwrite(&n, sizeof n, 1, f);
        fwrite(keys[i], n, 1, f);
        fwrite(&type, sizeof type, 1, f);
        fwrite(&value, sizeof value, 1, f);
    }
    for (size_t got; (got = fread(block, 1, sizeof block, in)) > 0;)
        assert_int_equal(fwrite(block, 1, got, f), got);
    fclose(in);
    assert_int_equal(fclose(f), 0);
    struct golden g;
    open_golden(&g, "llama3");
    check("llama3/model.gguf with a window", path, &g, F32_BOUND);
    struct weights *w;
    struct err e = { 0 };
    struct buf b = BUF_INIT(0);
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    const struct lm_arch *llama = lm_families[0];
    config_keys_unused_gguf(&b, hparams_member(llama->member, llama->n_members, w), weights_gguf(w));
    assert_string_equal(b.data, "attention.sliding_window");
    weights_close(w);
    buf_free(&b);
    weights_close(g.w);
    unlink(path);
}

static void test_narrow(void **state)
{
    (void)state;
    compare("llama_bf16", "model.safetensors", NARROW_BOUND);
    compare("llama_bf16", "model.gguf", NARROW_BOUND);
    compare("llama_bf16_tied", "model.safetensors", NARROW_BOUND);
    compare("llama_bf16_tied", "model.gguf", NARROW_BOUND);
    compare("qwen2_bf16", "model.safetensors", NARROW_BOUND); /* biases of q, k and v */
    compare("qwen2_bf16", "model.gguf", NARROW_BOUND);
    static const char *const fp8[] = { "llama_fp8", "llama_fp8_64x32", "llama_fp8_128", "llama_fp8_24x40" };
    for (size_t i = 0; i < sizeof fp8 / sizeof *fp8; i++) compare(fp8[i], "model.safetensors", NARROW_BOUND);
    compare("gpt_oss_mxfp4", "model.gguf", QUANT_BOUND);
    compare("llama4_bf16", "model.safetensors", NARROW_BOUND);
    compare("llama4_bf16", "model.gguf", NARROW_BOUND);
    compare("llama4_q8_0", "model.gguf", 1e-3);                     /* activations keep 15 bits */
    compare("llama4_fp8_fused", "model.safetensors", NARROW_BOUND); /* stacked experts that lie [in, out] */
    compare("llama4_fp8_apart", "model.safetensors", NARROW_BOUND);
}

/* All eleven bits of a weight and as many of what it meets: the reference in f16 is an order of magnitude further off. */
static void test_f16(void **state)
{
    (void)state;
    compare("llama_f16", "model.safetensors", F32_BOUND);
    compare("llama_f16", "model.gguf", F32_BOUND);
}

/* Whole numbers and FP4 in the layouts of the libraries that write them; and a file with all of GGUF's types of codes. Weights count exactly,
 * activations with 15 bits. */
static void test_packed(void **state)
{
    (void)state;
    static const char *const names[] = { "packed_w4",       "packed_w4_zeros_32", "packed_w8_channel",
                                         "packed_int8",     "packed_gptq",        "packed_gptq_order",
                                         "packed_gptq_8",   "packed_awq",         "packed_nvfp4",
                                         "packed_nvfp4_ct", "packed_mxfp4_ct",    "packed_gptq_row",
                                         "packed_gptq_3",   "packed_gptq_2",      "packed_gptq_2_sym" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        compare(names[i], "model.safetensors", PACKED_BOUND);
    compare("packed_gpt_oss", "model.safetensors", PACKED_BOUND); /* stacked experts, gate and up in turns */
    compare("gguf_types", "model.gguf", PACKED_BOUND);
}

int main(void)
{
    log_set_level(LOG_ERROR - 1); /* keys that are passed over are the point of some variants */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),           cmocka_unit_test(test_windows),
        cmocka_unit_test(test_latent),        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_inside_others), cmocka_unit_test(test_gguf_window_is_passed_over),
        cmocka_unit_test(test_narrow),        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_packed)
    };
    return cmocka_run_group_tests_name("golden networks", tests, NULL, NULL);
}
