/* DeepSeek's configuration: what is taken for absent keys against transformers' (tests/golden/lm/deepseek_defaults.json,
 * tools/reference/deepseek_golden.py), the published models, and what is refused; and the engine over a cache of latents, through its door.
 * Logits are golden_test.c's. */
#include "lm/test_engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "lm/layers.h"
#include "lm/test_config.h"

extern const struct lm_arch lm_deepseek;

static bool read_config(const json_t *config, struct lm_shape *s, char **unused, struct err *e)
{
    return read_config_of(&lm_deepseek, config, s, unused, e);
}

/* The number under the key; 1 where it is null: no groups. */
static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!v) fail_msg("no number %s", key);
    return json_is_null(v) ? 1 : json_is_boolean(v) ? json_is_true(v) : json_number_value(v);
}

static void check_absent(const char *kind, const json_t *want)
{
    struct lm_shape s;
    struct err e = { 0 };
    json_t *config = json_pack("{s:s,s:i}", "model_type", kind, "num_experts_per_tok", 8);
    if (!read_config(config, &s, NULL, &e)) fail_msg("%s", e.msg);
    int dense = 0;
    while (dense < s.n_layer && !s.layer[dense].routed) dense++;
    const struct {
        const char *key;
        double got;
    } same[] = {
        { "num_hidden_layers", s.n_layer },
        { "hidden_size", s.n_embd },
        { "num_attention_heads", s.n_head },
        { "intermediate_size", s.n_ff },
        { "max_position_embeddings", s.n_ctx_train },
        { "n_routed_experts", s.n_expert },
        { "num_experts_per_tok", s.n_expert_used },
        { "moe_intermediate_size", s.n_ff_expert },
        { "n_shared_experts", (double)s.n_ff_shared / s.n_ff_expert },
        { "first_k_dense_replace", dense },
        { "q_lora_rank", s.latent.q_rank },
        { "kv_lora_rank", s.latent.kv_rank },
        { "qk_nope_head_dim", s.latent.nope },
        { "qk_rope_head_dim", s.latent.rope },
        { "v_head_dim", s.latent.v },
        { "n_group", s.routing.n_group },
        { "topk_group", s.routing.n_group_used },
        { "norm_topk_prob", s.routing.renorm },
        { "routed_scaling_factor", (double)s.routing.scale },
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (same[i].got != number(want, same[i].key))
            fail_msg("%s: %s is %g, transformers takes %g", kind, same[i].key, same[i].got,
                     number(want, same[i].key));
    assert_true(s.eps == (float)number(want, "rms_norm_eps"));
    json_decref(config);
}

static void test_absent_keys(void **state)
{
    (void)state;
    json_t *all = json_load_file("tests/golden/lm/deepseek_defaults.json", 0, NULL), *want;
    const char *kind;
    assert_int_equal(json_object_size(all), 2);
    json_object_foreach(all, kind, want) check_absent(kind, want);
    json_decref(all);
}

/* ---- the published models ----------------------------------------------------------------------------------------------- */

static json_t *yarn(double mscale)
{
    return json_pack("{s:s,s:i,s:i,s:i,s:f,s:f,s:i}", "type", "yarn", "factor", 40, "beta_fast", 32,
                     "beta_slow", 1, "mscale", mscale, "mscale_all_dim", mscale,
                     "original_max_position_embeddings", 4096);
}

/* config.json of V3, R1 and R1-0528, as far as it describes the network. */
static json_t *published_v3(void)
{
    json_t *c = json_pack("{s:[s],s:b,s:s,s:i,s:i,s:i,s:i,s:i,s:i}", "architectures", "DeepseekV3ForCausalLM",
                          "attention_bias", 0, "model_type", "deepseek_v3", "vocab_size", 129280,
                          "hidden_size", 7168, "num_hidden_layers", 61, "num_attention_heads", 128,
                          "num_key_value_heads", 128, "max_position_embeddings", 163840);
    json_t *ranks = json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f}", "q_lora_rank", 1536, "kv_lora_rank", 512,
                              "qk_nope_head_dim", 128, "qk_rope_head_dim", 64, "v_head_dim", 128,
                              "intermediate_size", 18432, "rope_theta", 10000, "rms_norm_eps", 1e-6);
    json_t *experts = json_pack(
        "{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:s,s:s,s:b,s:f,s:i}", "n_routed_experts", 256, "n_shared_experts",
        1, "num_experts_per_tok", 8, "first_k_dense_replace", 3, "moe_layer_freq", 1, "n_group", 8,
        "topk_group", 4, "moe_intermediate_size", 2048, "topk_method", "noaux_tc", "scoring_func", "sigmoid",
        "norm_topk_prob", 1, "routed_scaling_factor", 2.5, "num_nextn_predict_layers", 1);
    json_object_update(c, ranks);
    json_object_update(c, experts);
    json_object_set_new(c, "rope_scaling", yarn(1));
    json_object_set_new(c, "ep_size", json_integer(1));
    json_decref(ranks);
    json_decref(experts);
    return c;
}

static json_t *published_v2_lite(void)
{
    json_t *c = published_v3(),
           *more = json_pack("{s:s,s:n,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:s,s:s,s:b,s:f,s:f,s:b}",
                             "model_type", "deepseek_v2", "q_lora_rank", "hidden_size", 2048,
                             "num_hidden_layers", 27, "num_attention_heads", 16, "intermediate_size", 10944,
                             "moe_intermediate_size", 1408, "n_routed_experts", 64, "n_shared_experts", 2,
                             "num_experts_per_tok", 6, "first_k_dense_replace", 1, "n_group", 1,
                             "topk_method", "greedy", "scoring_func", "softmax", "norm_topk_prob", 0,
                             "routed_scaling_factor", 1.0, "aux_loss_alpha", 0.001, "seq_aux", 1);
    json_object_update(c, more);
    json_object_set_new(c, "rope_scaling", yarn(0.707));
    json_object_set_new(c, "topk_group", json_integer(1));
    json_object_del(c, "num_nextn_predict_layers");
    json_decref(more);
    return c;
}

static void near(double got, double want)
{
    if (!(fabs(got - want) < 1e-6 * fabs(want))) fail_msg("%.10g, expected %.10g", got, want);
}

static void test_v3(void **state)
{
    (void)state;
    struct lm_shape s;
    struct err e = { 0 };
    char *unused;
    float freq[32];
    json_t *config = published_v3();
    if (!read_config(config, &s, &unused, &e)) fail_msg("%s", e.msg);
    assert_string_equal(unused, "");
    near((double)s.layer[60].attn_scale, 0.1352337788608801);
    assert_true(s.rope[0].mscale == 1);
    assert_int_equal(s.rope[0].n_rot, 64);
    rope_freq(freq, &s.rope[0], NULL, s.n_ctx_train);
    for (int i = 0; i <= 10; i++) near((double)freq[i], pow(10000, -i / 32.0));
    near((double)freq[11], 0.0390069266);
    near((double)freq[16], 0.0055);
    near((double)freq[22], 0.000177827941);
    for (int i = 23; i < 32; i++) near((double)freq[i], pow(10000, -i / 32.0) / 40);
    /* 576 numbers of a token and layer */
    assert_true(s.v_in_k);
    assert_int_equal(s.n_kv_head * s.k_dim, 576);
    assert_int_equal(s.v_dim, 512);
    assert_int_equal(s.n_guess_layer, 1);
    assert_int_equal(s.routing.kind, ROUTE_SIGMOID);
    assert_int_equal(s.routing.group_best, 2);
    assert_true(s.routing.biased);
    for (int il = 0; il < 61; il++) assert_int_equal(s.layer[il].routed, il >= 3);
    free(unused);
    json_decref(config);
}

static void test_v2_lite(void **state)
{
    (void)state;
    struct lm_shape s;
    struct err e = { 0 };
    char *unused;
    json_t *config = published_v2_lite();
    if (!read_config(config, &s, &unused, &e)) fail_msg("%s", e.msg);
    assert_string_equal(unused, "");
    const double m = 0.1 * 0.707 * log(40) + 1;
    near((double)s.layer[1].attn_scale, m * m / sqrt(192));
    assert_true(s.rope[0].mscale == 1);
    assert_int_equal(s.latent.q_rank, 0);
    assert_int_equal(s.routing.kind, ROUTE_SOFTMAX);
    assert_int_equal(s.routing.n_group, 1);
    assert_false(s.routing.renorm);
    assert_false(s.routing.biased);
    assert_int_equal(s.n_ff_shared, 2816);
    free(unused);
    json_decref(config);
}

/* ---- what lies ------------------------------------------------------------------------------------------------------------ */

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *key, *value, *says;
        bool unsupported; /* valid elsewhere, not here */
    } bad[] = {
        { "n_group", "7", "256 experts in 7 groups", false },
        { "n_group", "1000", "n_group is no whole number from 1 to 64", false },
        { "topk_group", "9", "256 experts in 8 groups, of which 9 hold", false },
        { "topk_group", "0", "topk_group is no whole number", false },
        { "num_experts_per_tok", "129", "of which 4 hold the 129 of a token", false },
        { "n_routed_experts", "5000", "n_routed_experts is no whole number from 0 to 4096", false },
        { "kv_lora_rank", "0", "kv_lora_rank is no whole number", false },
        { "kv_lora_rank", "\"512\"", "kv_lora_rank is no whole number", false },
        { "kv_lora_rank", "100000000", "kv_lora_rank is no whole number", false },
        { "q_lora_rank", "-1", "q_lora_rank is no whole number", false },
        { "qk_rope_head_dim", "63", "rotary dimension 63", false },
        { "qk_nope_head_dim", "0", "qk_nope_head_dim is no whole number", false },
        { "v_head_dim", "1e9", "v_head_dim is no whole number", false },
        { "n_shared_experts", "1.5", "n_shared_experts is no whole number", false },
        { "first_k_dense_replace", "-3", "first_k_dense_replace is no whole number", false },
        { "routed_scaling_factor", "0", "weights of experts are scaled by 0", false },
        { "routed_scaling_factor", "\"a\"", "weights of experts are scaled by", false },
        { "num_nextn_predict_layers", "-1", "num_nextn_predict_layers is no whole number", false },
        { "moe_layer_freq", "2", "moe_layer_freq other than 1", true },
        { "scoring_func", "\"softmax\"", "scoring_func 'softmax' is not supported", true },
        { "topk_method", "\"greedy\"", "topk_method 'greedy' is not supported", true },
        { "topk_method", "7", "topk_method '(not a string)' is not supported", true },
        { "attention_bias", "true", "attention_bias is not supported", true },
        { "rope_interleave", "false", "rope_interleave false is not supported", true },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lm_shape s;
        struct err e = { 0 };
        json_t *config = published_v3();
        json_object_set_new(config, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        assert_false(read_config(config, &s, NULL, &e));
        if (!strstr(e.msg, bad[i].says)) fail_msg("%s = %s: %s", bad[i].key, bad[i].value, e.msg);
        assert_int_equal(e.code, bad[i].unsupported ? ERR_UNSUPPORTED : ERR_FORMAT);
        json_decref(config);
    }
    struct lm_shape s;
    struct err e = { 0 };
    json_t *config = published_v2_lite();
    json_object_set_new(config, "norm_topk_prob", json_true());
    assert_false(read_config(config, &s, NULL, &e));
    assert_non_null(strstr(e.msg, "norm_topk_prob is not supported in deepseek_v2"));
    json_decref(config);
}

/* ---- the engine ----------------------------------------------------------------------------------------------------------- */

#define CHAT "tests/golden/lm/deepseek_chat"

/* Sequences that part from each other at several places, that are set back when pages run out and start from what the tree has kept, in
 * chunks of any size: each answers as alone, with both kinds of cache. */
static void test_answers_as_alone(void **state)
{
    (void)state;
    enum { ALL = 6 };
    static const int from[ALL] = { 0, 0, 33, 64, 90, 120 }; /* where prompt k parts from the first */
    static const struct {
        enum kv_type type;
        int chunk, pages, threads;
    } way[] = {
        { KV_F16, 256, 1000, 2 }, { KV_F16, 16, 18, 1 }, { KV_Q8_0, 37, 18, 2 }, { KV_Q8_0, 64, 1000, 1 }
    };
    int32_t prompt[ALL][150];
    struct lm_request r[ALL];
    for (int k = 0; k < ALL; k++) {
        prompt_of(prompt[k], 150, 60 + (uint64_t)k);
        memcpy(prompt[k], prompt[0], (size_t)from[k] * sizeof prompt[k][0]);
        r[k] = request(prompt[k], 150 - 3 * k, 40 + 5 * k);
    }
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        struct engine g;
        struct seen s;
        char *alone[ALL];
        struct lm_options o = { .kv_type = way[i].type, .n_ctx = 256, .prefill_chunk = 256 };
        size_t page = 0;
        for (int k = 0; k < ALL; k++) {
            start_model(&g, CHAT, 1, &o);
            struct lm_stats st;
            lm_stats(g.lm, &st);
            page = lm_info(g.lm)->kv_bytes / (size_t)st.kv_pages_total;
            collect(submit(&g, &r[k]), &s);
            assert_int_equal(s.usage.cached_tokens, 0);
            alone[k] = strdup(s.out[0].data);
            seen_free(&s);
            stop(&g);
        }
        /* two layers of 32 tokens: 40 numbers each of f16, or of a byte and a sixteenth; pieces of cache lines */
        assert_int_equal(page, way[i].type == KV_F16 ? 2 * 32 * 80 : 2 * (32 * 40 + 2 * 32 * 2));
        o.max_batch = 8;
        o.prefill_chunk = way[i].chunk;
        o.kv_bytes = (size_t)way[i].pages * page;
        start_model(&g, CHAT, way[i].threads, &o);
        int cached = 0;
        for (int again = 0; again < 2; again++) {
            struct lm_job *job[ALL];
            for (int k = 0; k < ALL; k++) job[k] = submit(&g, &r[k]);
            for (int k = 0; k < ALL; k++) {
                collect(job[k], &s);
                assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
                if (strcmp(s.out[0].data, alone[k]) != 0)
                    fail_msg("way %zu, round %d: prompt %d answers otherwise than alone", i, again, k);
                cached += s.usage.cached_tokens;
                seen_free(&s);
            }
        }
        const struct lm_stats st = stats_at_rest(&g);
        assert_int_equal(st.preemptions > 0, way[i].pages < 100);
        assert_true(cached > 0);
        stop(&g);
        for (int k = 0; k < ALL; k++) free(alone[k]);
    }
}

int main(void)
{
    log_set_level(LOG_ERROR - 1);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_absent_keys), cmocka_unit_test(test_v3),
                                        cmocka_unit_test(test_v2_lite), cmocka_unit_test(test_refused),
                                        cmocka_unit_test(test_answers_as_alone) };
    return cmocka_run_group_tests_name("DeepSeek", tests, NULL, NULL);
}
