/* Llama 4's configuration: what is taken for absent keys against transformers' (tests/golden/lm/llama4_defaults.json,
 * tools/reference/lm_golden.py), the two published models, and what is refused. Logits are golden_test.c's. */
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

#include "lm/layers.h"
#include "lm/test_config.h"

extern const struct lm_arch lm_llama4;

static bool read_config(const json_t *config, struct lm_shape *s, char **unused, struct err *e)
{
    return read_config_of(&lm_llama4, config, s, unused, e);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number %s", key);
    return json_number_value(v);
}

static void test_absent_keys(void **state)
{
    (void)state;
    struct lm_shape s;
    struct err e = { 0 };
    json_t *want = json_load_file("tests/golden/lm/llama4_defaults.json", 0, NULL),
           *config = json_pack("{s:s}", "model_type", "llama4_text");
    if (!read_config(config, &s, NULL, &e)) fail_msg("%s", e.msg);
    const struct {
        const char *key;
        double got;
    } same[] = {
        { "num_hidden_layers", s.n_layer },
        { "hidden_size", s.n_embd },
        { "num_attention_heads", s.n_head },
        { "num_key_value_heads", s.n_kv_head },
        { "head_dim", s.head_dim },
        { "intermediate_size", s.n_ff_expert },
        { "intermediate_size", s.n_ff_shared },
        { "intermediate_size_mlp", s.n_ff },
        { "max_position_embeddings", s.n_ctx_train },
        { "num_local_experts", s.n_expert },
        { "num_experts_per_tok", s.n_expert_used },
        { "rope_theta", s.rope[0].theta },
        { "floor_scale", (double)s.temper.every },
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (same[i].got != number(want, same[i].key)) fail_msg("%s is %g", same[i].key, same[i].got);
    assert_true(s.eps == (float)number(want, "rms_norm_eps"));
    assert_true(s.temper.scale == (float)number(want, "attn_scale"));
    const json_t *rotates = json_object_get(want, "no_rope_layers"),
                 *types = json_object_get(want, "layer_types");
    assert_int_equal(json_array_size(json_object_get(want, "moe_layers")), s.n_layer);
    for (int il = 0; il < s.n_layer; il++) {
        const bool rope = json_integer_value(json_array_get(rotates, (size_t)il)) != 0;
        const char *type = json_string_value(json_array_get(types, (size_t)il));
        assert_int_equal(s.layer[il].rope, rope ? 0 : -1);
        assert_int_equal(s.layer[il].unit_heads, rope);
        assert_int_equal(s.layer[il].tempered, !rope);
        assert_int_equal(s.layer[il].chunk, strcmp(type, "chunked_attention") == 0 ? 8192 : 0);
        assert_int_equal(s.layer[il].routed, true);
    }
    json_decref(config);
    json_decref(want);
}

/* text_config as the repositories have it; llama3 is rope_scaling's rope_type. */
static json_t *published(int experts, int step, bool norm, double factor, double high)
{
    json_t *scaling = factor > 0 ? json_pack("{s:s,s:f,s:f,s:f,s:i}", "rope_type", "llama3", "factor", factor,
                                             "low_freq_factor", 1.0, "high_freq_factor", high,
                                             "original_max_position_embeddings", 8192)
                                 : json_null();
    json_t *text =
        json_pack("{s:s,s:i,s:i,s:b,s:o,s:f,s:i,s:i,s:[],s:i,s:i,s:f,s:i,s:i,s:i,s:b}", "model_type",
                  "llama4_text", "num_local_experts", experts, "interleave_moe_layer_step", step,
                  "use_qk_norm", norm, "rope_scaling", scaling, "rope_theta", 5e5, "max_position_embeddings",
                  1048576, "num_experts_per_tok", 1, "no_rope_layers", "attention_chunk_size", 8192,
                  "attn_temperature_tuning", 4, "attn_scale", 0.1, "floor_scale", 8192, "intermediate_size",
                  8192, "intermediate_size_mlp", 16384, "for_llm_compressor", 0);
    return json_pack("{s:s,s:o,s:{}}", "model_type", "llama4", "text_config", text, "vision_config");
}

static void test_scout(void **state)
{
    (void)state;
    const double high[] = { 1, 4 }, factor[] = { 16, 8 }; /* as it is, and as it was first uploaded */
    for (int i = 0; i < 2; i++) {
        struct lm_shape s;
        struct err e = { 0 };
        char *unused;
        float freq[64];
        json_t *config = published(16, 1, true, factor[i], high[i]);
        if (!read_config(config, &s, &unused, &e)) fail_msg("%s", e.msg);
        assert_string_equal(unused, "");
        rope_freq(freq, &s.rope[0], NULL, s.n_ctx_train);
        for (int k = 0; k < 64; k++) {
            const double plain = pow(5e5, -k / 64.0), want = k < 35 ? plain : plain / 16;
            assert_true(fabs((double)freq[k] - want) < 1e-6 * want);
        }
        assert_true(s.layer[0].routed && s.layer[47].routed && s.layer[0].unit_heads &&
                    !s.layer[3].unit_heads);
        free(unused);
        json_decref(config);
    }
}

static void test_maverick(void **state)
{
    (void)state;
    struct lm_shape s;
    struct err e = { 0 };
    json_t *config = published(128, 2, false, 0, 0);
    if (!read_config(config, &s, NULL, &e)) fail_msg("%s", e.msg);
    int full = 0;
    for (int il = 0; il < s.n_layer; il++) {
        assert_int_equal(s.layer[il].routed, il % 2);
        assert_false(s.layer[il].unit_heads);
        full += s.layer[il].chunk == 0;
        assert_int_equal(s.layer[il].chunk == 0, s.layer[il].rope < 0);
    }
    assert_int_equal(full, 12);
    json_decref(config);
}

static void test_temper(void **state)
{
    (void)state;
    const struct lm_temper t = { .scale = 0.1f, .every = 8192 }, none = { 0 };
    static const struct {
        int pos;
        double by;
    } at[] = { { 0, 1 },
               { 8190, 1 },
               { 8191, 1.0693147 },
               { 16383, 1.1098612 },
               { 32767, 1.1609438 },
               { 131071, 1.2833213 } };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        assert_true(fabs((double)layers_temper(&t, at[i].pos) - at[i].by) < 2e-7);
        assert_true(layers_temper(&none, at[i].pos) == 1);
    }
    assert_true(layers_temper(&t, 8190) == 1);
}

/* What lies in lists counts before what says it in one number. */
static void test_lists(void **state)
{
    (void)state;
    struct lm_shape s;
    struct err e = { 0 };
    json_t *config =
        json_pack("{s:s,s:i,s:[i,i,i],s:i,s:[i,i],s:i,s:[s,s,s],s:b}", "model_type", "llama4_text",
                  "num_hidden_layers", 3, "no_rope_layers", 0, 1, 1, "no_rope_layer_interval", 3,
                  "moe_layers", 0, 2, "interleave_moe_layer_step", 2, "layer_types", "full_attention",
                  "full_attention", "chunked_attention", "attn_temperature_tuning", 0);
    if (!read_config(config, &s, NULL, &e)) fail_msg("%s", e.msg);
    for (int il = 0; il < 3; il++) {
        assert_int_equal(s.layer[il].rope, il ? 0 : -1);
        assert_int_equal(s.layer[il].routed, il != 1);
        assert_int_equal(s.layer[il].chunk, il == 2 ? 8192 : 0);
        assert_false(s.layer[il].tempered);
    }
    json_decref(config);
}

static void refused(const char *members, const char *says)
{
    struct lm_shape s;
    struct err e = { 0 };
    char text[400];
    snprintf(text, sizeof text, "{\"model_type\": \"llama4_text\", \"num_hidden_layers\": 2, %s}", members);
    json_t *config = json_loads(text, 0, NULL);
    assert_non_null(config);
    if (read_config(config, &s, NULL, &e)) fail_msg("%s: accepted, should say \"%s\"", members, says);
    if (!strstr(e.msg, says)) fail_msg("%s: \"%s\" does not say \"%s\"", members, e.msg, says);
    json_decref(config);
}

static void test_refused(void **state)
{
    (void)state;
    refused("\"layer_types\": [\"full_attention\"]", "layer_types has 1 entries for 2 layers");
    refused("\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
            "\"sliding_attention\" is not supported");
    refused("\"layer_types\": \"chunked_attention\"", "layer_types is no list");
    refused("\"no_rope_layers\": [1]", "no_rope_layers has 1 entries for 2 layers");
    refused("\"no_rope_layer_interval\": 0", "no_rope_layer_interval is no whole number");
    refused("\"attention_chunk_size\": null", "attention_chunk_size is null, but layers have chunks");
    refused("\"attention_chunk_size\": -5", "attention_chunk_size is no whole number");
    refused("\"attention_chunk_size\": 2.5", "attention_chunk_size is no whole number");
    refused("\"moe_layers\": [\"0\"]", "moe_layers is not a list of layers");
    refused("\"interleave_moe_layer_step\": 0", "interleave_moe_layer_step");
    refused("\"intermediate_size_mlp\": 0", "intermediate_size_mlp is no whole number");
    refused("\"floor_scale\": 0", "floor_scale is no whole number");
    refused("\"attn_scale\": \"much\"", "the temperature of attention grows by nan");
    refused("\"num_local_experts\": 4, \"num_experts_per_tok\": 5", "5 experts a token of 4");
    refused("\"rope_scaling\": {\"rope_type\": \"longrope\"}",
            "short_factor: a list of 64 numbers is needed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent_keys), cmocka_unit_test(test_scout), cmocka_unit_test(test_maverick),
        cmocka_unit_test(test_temper),      cmocka_unit_test(test_lists), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("Llama 4's configuration", tests, NULL, NULL);
}
