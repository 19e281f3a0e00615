/* What a configuration means: the families' own values for absent keys against transformers' (tests/golden/lm/defaults.json,
 * tools/reference/lm_golden.py), and the keys that are named because nothing follows them. */
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

#include "lm/config_keys.h"

struct model {
    char dir[40], config[80], file[80];
    struct weights *w;
    const struct hparam_family *f;
};

static const struct hparam_family *family_of(const struct weights *w)
{
    for (int i = 0; i < lm_n_families; i++) {
        const struct hparam_family *f = hparams_member(lm_families[i]->member, lm_families[i]->n_members, w);
        if (f) return f;
    }
    return NULL;
}

/* A folder with this config.json and a file of one number. */
static void open_model(struct model *m, const json_t *config)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    const uint64_t n = sizeof header - 1;
    struct err e = { 0 };
    snprintf(m->dir, sizeof m->dir, "/tmp/hearth-hparams-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    snprintf(m->config, sizeof m->config, "%s/config.json", m->dir);
    snprintf(m->file, sizeof m->file, "%s/model.safetensors", m->dir);
    assert_int_equal(json_dump_file(config, m->config, 0), 0);
    FILE *f = fopen(m->file, "wb");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(header, n, 1, f);
    fwrite("\0\0\0", 4, 1, f);
    assert_int_equal(fclose(f), 0);
    if (!weights_open(&m->w, m->dir, &e)) fail_msg("%s", e.msg);
    m->f = family_of(m->w);
    assert_non_null(m->f);
}

static void close_model(struct model *m)
{
    weights_close(m->w);
    unlink(m->config);
    unlink(m->file);
    rmdir(m->dir);
}

static json_int_t whole(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void same(const char *kind, const char *key, double got, double want)
{
    if (got != want)
        fail_msg("%s: %s is %g where config.json says nothing, transformers takes %g", kind, key, got, want);
}

static void check_absent(const char *kind, const json_t *want, bool windows)
{
    struct model m;
    struct lm_shape s;
    struct err e = { 0 };
    json_t *config = json_pack("{s:s}", "model_type", kind);
    if (windows) json_object_set_new(config, "use_sliding_window", json_true());
    open_model(&m, config);
    if (!hparams_read(&s, m.f, m.w, &e)) fail_msg("%s: %s", kind, e.msg);
    same(kind, "num_hidden_layers", s.n_layer, (double)whole(want, "num_hidden_layers"));
    same(kind, "hidden_size", s.n_embd, (double)whole(want, "hidden_size"));
    same(kind, "num_attention_heads", s.n_head, (double)whole(want, "num_attention_heads"));
    same(kind, "num_key_value_heads", s.n_kv_head, (double)whole(want, "num_key_value_heads"));
    const json_int_t hd = whole(want, "head_dim");
    same(kind, "head_dim", s.head_dim, hd ? (double)hd : s.n_embd / s.n_head);
    same(kind, "intermediate_size", s.n_ff, (double)whole(want, "intermediate_size"));
    same(kind, "max_position_embeddings", s.n_ctx_train, (double)whole(want, "max_position_embeddings"));
    same(kind, "rms_norm_eps", s.eps, (float)json_number_value(json_object_get(want, "rms_norm_eps")));
    same(kind, "rope_theta", s.rope[0].theta, json_number_value(json_object_get(want, "rope_theta")));
    const json_int_t experts = whole(want, "num_local_experts") + whole(want, "num_experts");
    same(kind, "num_experts", s.n_expert, (double)experts);
    same(kind, "num_experts_per_tok", s.n_expert_used, (double)whole(want, "num_experts_per_tok"));
    const json_int_t wide = whole(want, "moe_intermediate_size");
    same(kind, "moe_intermediate_size", s.n_ff_expert, wide ? (double)wide : s.n_ff);

    const bool switched = json_object_get(want, "use_sliding_window") != NULL, on = !switched || windows;
    const json_t *from = json_object_get(want, "max_window_layers");
    const json_t *listed = json_object_get(want, "sliding"), *one;
    bool slides[LM_MAX_LAYER] = { false };
    size_t i;
    json_array_foreach(listed, i, one) slides[json_integer_value(one)] = true;
    if (listed) {
        const json_t *scalar = json_object_get(want, "query_pre_attn_scalar");
        same(kind, "query_pre_attn_scalar", s.layer[0].attn_scale,
             (float)(1 / sqrt(json_number_value(scalar))));
        same(kind, "rope_local_base_freq", s.rope[1].theta,
             json_number_value(json_object_get(want, "rope_local_base_freq")));
    }
    for (int il = 0; il < s.n_layer; il++) {
        const json_t *rotates = json_array_get(json_object_get(want, "no_rope_layers"), (size_t)il);
        const int rope = !rotates ? slides[il] : json_integer_value(rotates) ? 0 : -1;
        same(kind, "the rotary embedding of a layer", s.layer[il].rope, rope);
        const bool has = listed ? slides[il] : on && (!from || il >= json_integer_value(from));
        same(kind, "the window of a layer", s.layer[il].window,
             has ? (double)whole(want, "sliding_window") : 0);
        same(kind, "experts of a layer", s.layer[il].routed, experts > 0);
    }
    const struct hparam_biases b = hparams_biases(m.f, m.w);
    same(kind, "attention_bias", b.out, json_is_true(json_object_get(want, "attention_bias")));
    same(kind, "mlp_bias", b.mlp, json_is_true(json_object_get(want, "mlp_bias")));
    if (experts && wide)
        same(kind, "norm_topk_prob", s.routing.renorm, json_is_true(json_object_get(want, "norm_topk_prob")));
    assert_int_equal(hparams_tied(m.w), TIED_UNSAID);
    close_model(&m);
    json_decref(config);
}

static void test_absent_keys(void **state)
{
    (void)state;
    json_t *all = json_load_file("tests/golden/lm/defaults.json", 0, NULL), *want;
    const char *kind;
    assert_int_equal(json_object_size(all), 9);
    json_object_foreach(all, kind, want)
    {
        check_absent(kind, want, false);
        check_absent(kind, want, true);
    }
    json_decref(all);
}

static void refused(json_t *config, const char *says)
{
    struct model m;
    struct lm_shape s;
    struct err e = { 0 };
    open_model(&m, config);
    if (hparams_read(&s, m.f, m.w, &e)) fail_msg("accepted, should say \"%s\"", says);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    assert_int_equal(e.code, strstr(e.msg, "not supported") ? ERR_UNSUPPORTED : ERR_FORMAT);
    close_model(&m);
    json_decref(config);
}

static void test_refused(void **state)
{
    (void)state;
    refused(json_pack("{s:s,s:i,s:[s,s]}", "model_type", "qwen3", "num_hidden_layers", 2, "layer_types",
                      "full_attention", "sliding_attention"),
            "no sliding_window is switched on");
    refused(json_pack("{s:s,s:i,s:[s]}", "model_type", "qwen2", "num_hidden_layers", 2, "layer_types",
                      "full_attention"),
            "layer_types has 1 entries for 2 layers");
    refused(json_pack("{s:s,s:i,s:[s]}", "model_type", "mistral", "num_hidden_layers", 1, "layer_types",
                      "chunked_attention"),
            "chunked_attention");
    refused(json_pack("{s:s,s:s}", "model_type", "mistral", "sliding_window", "wide"), "sliding_window");
    refused(json_pack("{s:s,s:i}", "model_type", "qwen3_moe", "decoder_sparse_step", 0),
            "decoder_sparse_step");
    refused(json_pack("{s:s,s:[s]}", "model_type", "qwen3_moe", "mlp_only_layers", "0"), "mlp_only_layers");
    refused(json_pack("{s:s,s:{s:{s:i}}}", "model_type", "llama", "per_layer_config", "3",
                      "num_attention_heads", 8),
            "per_layer_config");
    refused(json_pack("{s:s,s:{s:s,s:f}}", "model_type", "llama", "rope_scaling", "type", "llama3", "factor",
                      8.0),
            "low_freq_factor");
    refused(json_pack("{s:s,s:f,s:{s:s,s:f}}", "model_type", "llama", "partial_rotary_factor", 0.5,
                      "rope_scaling", "type", "linear", "factor", 8.0),
            "partial_rotary_factor");
    refused(json_pack("{s:s,s:{s:{s:f},s:{s:f}}}", "model_type", "qwen3", "rope_parameters", "full_attention",
                      "rope_theta", 1e6, "sliding_attention", "rope_theta", 1e4),
            "differ between kinds of layers");
    refused(json_pack("{s:s,s:{s:{s:f}}}", "model_type", "llama", "rope_parameters", "chunked_attention",
                      "rope_theta", 1e6),
            "rope_parameters.chunked_attention is not supported");
    refused(json_pack("{s:s,s:f}", "model_type", "gemma3_text", "final_logit_softcapping", 30.0),
            "final_logit_softcapping is not supported");
    refused(json_pack("{s:s,s:b}", "model_type", "gemma3_text", "use_bidirectional_attention", 1),
            "use_bidirectional_attention is not supported");
    refused(json_pack("{s:s,s:{s:f}}", "model_type", "gemma3_text", "rope_parameters", "rope_theta", 1e6),
            "not by kind of layer");
    refused(json_pack("{s:s,s:i}", "model_type", "gemma3_text", "sliding_window_pattern", 0),
            "sliding_window_pattern");
    refused(json_pack("{s:s,s:i}", "model_type", "gemma3_text", "query_pre_attn_scalar", 0),
            "attention is scaled by inf");
    refused(
        json_pack("{s:s,s:i,s:[i]}", "model_type", "smollm3", "num_hidden_layers", 2, "no_rope_layers", 1),
        "no_rope_layers has 1 entries for 2 layers");
    refused(json_pack("{s:s,s:f}", "model_type", "smollm3", "no_rope_layer_interval", 2.5),
            "no_rope_layer_interval");
    refused(json_pack("{s:s,s:b,s:i}", "model_type", "smollm3", "use_sliding_window", 1, "sliding_window", 8),
            "use_sliding_window without layer_types is not supported");
    /* a kind that is no attention, also where the reference would not look */
    refused(json_pack("{s:s,s:i,s:[s]}", "model_type", "llama", "num_hidden_layers", 1, "layer_types",
                      "linear_attention"),
            "\"linear_attention\" is not supported");
}

static void test_rope_by_kind_of_layer(void **state)
{
    (void)state;
    struct model m;
    struct lm_shape s;
    struct err e = { 0 };
    json_t *config = json_pack("{s:{s:s,s:{s:{s:s,s:f},s:{s:s,s:f}}}}", "text_config", "model_type", "qwen3",
                               "rope_parameters", "full_attention", "rope_type", "default", "rope_theta", 5e5,
                               "sliding_attention", "rope_type", "default", "rope_theta", 5e5);
    open_model(&m, config);
    if (!hparams_read(&s, m.f, m.w, &e)) fail_msg("%s", e.msg);
    assert_true(s.rope[0].theta == 5e5);
    close_model(&m);
    json_decref(config);
}

/* GGUF does not say by what q.k is scaled: llama.cpp knows the model of 27 billion by its layers. */
static void test_scale_of_27b(void **state)
{
    (void)state;
    static const char golden[] = "tests/golden/lm/gemma3/model.gguf", key[] = "gemma3.block_count";
    static char all[400 << 10];
    char path[] = "/tmp/hearth-hparams-XXXXXX.gguf";
    struct err e = { 0 };
    struct lm_shape s;
    FILE *f = fopen(golden, "rb");
    assert_non_null(f);
    const size_t n = fread(all, 1, sizeof all, f);
    fclose(f);
    char *at = memmem(all, n, key, sizeof key - 1);
    assert_non_null(at);
    at += sizeof key - 1 + 4; /* the type */
    for (uint32_t layers = 4; layers <= 62; layers += 58) {
        memcpy(at, &layers, sizeof layers);
        const int fd = mkstemps(path, 5);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, all, n), n);
        close(fd);
        struct weights *w;
        if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
        if (!hparams_read(&s, family_of(w), w, &e)) fail_msg("%s", e.msg);
        assert_int_equal(s.n_layer, layers);
        /* heads are 16 wide, and 32 / 4 otherwise */
        assert_true(s.layer[0].attn_scale == (layers == 62 ? 1 / sqrtf(8) : 0.25f));
        assert_true(s.layer[0].window == 16 && s.layer[1].window == 0 && s.layer[2].window == 16);
        weights_close(w);
        unlink(path);
        memcpy(path + sizeof path - 12, "XXXXXX", 6);
    }
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *config, *type;
    } cases[] = {
        { "{\"model_type\": \"mistral\"}", "mistral" },
        { "{\"model_type\": \"mistral\", \"layer_types\": null}", "ministral" },
        { "{\"model_type\": \"llava\", \"text_config\": {\"vocab_size\": 64}}", "llama" },
        { "{\"model_type\": \"internvl\", \"text_config\": {}}", "qwen2" },
        { "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"qwen3\"}}", "qwen3" },
        { "{\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": \"mistral\", \"layer_types\": "
          "[]}}",
          "mistral" },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"hidden_size\": 64}}", "gemma3_text" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model m;
        json_t *config = json_loads(cases[i].config, 0, NULL);
        open_model(&m, config);
        assert_string_equal(m.f->hf, cases[i].type);
        close_model(&m);
        json_decref(config);
    }
}

static void unused(json_t *config, const char *names)
{
    struct model m;
    struct buf b = BUF_INIT(0);
    open_model(&m, config);
    config_keys_unused(&b, m.f, hparams_config(m.w));
    if (strcmp(b.data ? b.data : "", names) != 0)
        fail_msg("\"%s\", expected \"%s\"", b.data ? b.data : "", names);
    buf_free(&b);
    close_model(&m);
    json_decref(config);
}

static void test_keys_are_named(void **state)
{
    (void)state;
    unused(json_pack("{s:s,s:i,s:s,s:b}", "model_type", "llama", "vocab_size", 64, "torch_dtype", "bfloat16",
                     "use_cache", 1),
           "");
    unused(json_pack("{s:s,s:i,s:f}", "model_type", "llama", "sliding_window", 16, "logits_scaling", 8.0),
           "sliding_window, logits_scaling");
    unused(json_pack("{s:s,s:n,s:b,s:[]}", "model_type", "llama", "sliding_window", "attention_multiplier", 0,
                     "layer_types"),
           "");
    unused(json_pack("{s:s,s:i,s:i}", "model_type", "mistral", "sliding_window", 16, "max_window_layers", 3),
           "max_window_layers");
    unused(json_pack("{s:s,s:i,s:i,s:b}", "model_type", "qwen2", "sliding_window", 16, "max_window_layers", 3,
                     "use_sliding_window", 0),
           "");
    unused(json_pack("{s:s,s:{s:f},s:{s:s,s:f,s:i}}", "model_type", "llama", "rope_parameters", "rope_theta",
                     1e6, "rope_scaling", "type", "linear", "factor", 2.0, "short_mscale", 1),
           "rope_parameters, rope_scaling.short_mscale");
    unused(json_pack("{s:s,s:f,s:i,s:s,s:f,s:i}", "model_type", "gemma3_text", "rope_local_base_freq", 1e4,
                     "sliding_window_pattern", 6, "hidden_activation", "gelu_pytorch_tanh",
                     "query_pre_attn_scalar", 256.0, "cache_implementation_x", 1),
           "cache_implementation_x");
    /* of a larger model its text part counts */
    unused(json_pack("{s:s,s:i,s:{s:s,s:i}}", "model_type", "llava", "image_token_index", 3, "text_config",
                     "model_type", "llama", "mystery", 1),
           "mystery");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent_keys),           cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rope_by_kind_of_layer), cmocka_unit_test(test_types),
        cmocka_unit_test(test_keys_are_named),        cmocka_unit_test(test_scale_of_27b),
    };
    return cmocka_run_group_tests_name("hyper-parameters", tests, NULL, NULL);
}
