/* Configurations as models are published with them, those that people try first: what the engine makes of them, and that no key of them is a
 * surprise. */
#include "lm/test_config.h"

struct published {
    const char *name, *config; /* unused: keys that are named as without effect */
    const char *unused;
    int n_layer, n_embd, n_head, n_kv_head, head_dim, n_rot, n_ctx_train, window,
        slides; /* slides: of layers */
    int n_expert, n_expert_used, n_ff;
    float attn_scale;
};

#define LIST_48                                                                                              \
    "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"

static const struct published all[] = {
    { .name = "gemma-3-4b-it",
      .config =
          "{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"boi_token_index\":255999,\"model_type\":"
          "\"gemma3\","
          "\"mm_tokens_per_image\":256,\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":10240,"
          "\"model_type\":\"gemma3_text\",\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,\"rope_"
          "type\":\"linear\"},"
          "\"sliding_window\":1024},\"vision_config\":{\"hidden_size\":1152,\"model_type\":\"siglip_vision_"
          "model\"}}",
      .n_layer = 34,
      .n_embd = 2560,
      .n_head = 8,
      .n_kv_head = 4,
      .head_dim = 256,
      .n_rot = 256,
      .n_ctx_train = 131072,
      .window = 1024,
      .slides = 29,
      .n_ff = 10240,
      .attn_scale = 1.0f / 16 },
    { .name = "Mistral-Small-3.2-24B-Instruct-2506",
      .config =
          "{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"image_token_index\":10,\"model_type\":"
          "\"mistral3\","
          "\"projector_hidden_act\":\"gelu\",\"spatial_merge_size\":2,\"text_config\":{\"attention_dropout\":"
          "0.0,"
          "\"head_dim\":128,\"hidden_act\":\"silu\",\"hidden_size\":5120,\"initializer_range\":0.02,"
          "\"intermediate_size\":32768,\"max_position_embeddings\":131072,\"model_type\":\"mistral\","
          "\"num_attention_heads\":32,\"num_hidden_layers\":40,\"num_key_value_heads\":8,\"rms_norm_eps\":1e-"
          "05,"
          "\"rope_theta\":1000000000.0,\"sliding_window\":null,\"use_cache\":true,\"vocab_size\":131072}}",
      .n_layer = 40,
      .n_embd = 5120,
      .n_head = 32,
      .n_kv_head = 8,
      .head_dim = 128,
      .n_rot = 128,
      .n_ctx_train = 131072,
      .n_ff = 32768,
      .attn_scale = 0.088388348f },
    { .name = "phi-4",
      .config =
          "{\"architectures\":[\"Phi3ForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,\"bos_"
          "token_id\":100257,"
          "\"embd_pdrop\":0.0,\"eos_token_id\":100265,\"hidden_act\":\"silu\",\"hidden_size\":5120,"
          "\"intermediate_size\":17920,\"max_position_embeddings\":16384,\"model_type\":\"phi3\",\"num_"
          "attention_heads\":40,"
          "\"num_hidden_layers\":40,\"num_key_value_heads\":10,\"original_max_position_embeddings\":16384,"
          "\"pad_token_id\":100349,\"resid_pdrop\":0.0,\"rms_norm_eps\":1e-05,\"rope_scaling\":null,\"rope_"
          "theta\":250000,"
          "\"sliding_window\":null,\"tie_word_embeddings\":false,\"vocab_size\":100352}",
      .n_layer = 40,
      .n_embd = 5120,
      .n_head = 40,
      .n_kv_head = 10,
      .head_dim = 128,
      .n_rot = 128,
      .n_ctx_train = 16384,
      .n_ff = 17920,
      .attn_scale = 0.088388348f },
    { .name = "Phi-3.5-mini-instruct",
      .config =
          "{\"architectures\":[\"Phi3ForCausalLM\"],\"attention_bias\":false,\"hidden_act\":\"silu\","
          "\"hidden_size\":3072,"
          "\"intermediate_size\":8192,\"max_position_embeddings\":131072,\"model_type\":\"phi3\",\"num_"
          "attention_heads\":32,"
          "\"num_hidden_layers\":32,\"num_key_value_heads\":32,\"original_max_position_embeddings\":4096,"
          "\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"long_factor\":" LIST_48 ",\"short_factor\":" LIST_48
          ",\"type\":\"longrope\"},\"rope_theta\":10000.0,\"sliding_window\":262144,\"tie_word_embeddings\":"
          "false}",
      .n_layer = 32,
      .n_embd = 3072,
      .n_head = 32,
      .n_kv_head = 32,
      .head_dim = 96,
      .n_rot = 96,
      .n_ctx_train = 131072,
      .window = 262144,
      .slides = 32,
      .n_ff = 8192,
      .attn_scale = 0.10206207f },
    { .name = "Phi-4-mini-instruct",
      .config =
          "{\"architectures\":[\"Phi3ForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":3072,"
          "\"intermediate_size\":8192,"
          "\"interpolate_factor\":1,\"lm_head_bias\":false,\"max_position_embeddings\":131072,\"mlp_bias\":"
          "false,"
          "\"model_type\":\"phi3\",\"num_attention_heads\":24,\"num_hidden_layers\":32,\"num_key_value_"
          "heads\":8,"
          "\"original_max_position_embeddings\":4096,\"partial_rotary_factor\":0.75,\"rms_norm_eps\":1e-05,"
          "\"rope_scaling\":{\"long_factor\":" LIST_48 ",\"short_factor\":" LIST_48
          ",\"type\":\"longrope\"},\"rope_theta\":10000.0,\"sliding_window\":262144,\"tie_word_embeddings\":"
          "true}",
      .unused = "interpolate_factor",
      .n_layer = 32,
      .n_embd = 3072,
      .n_head = 24,
      .n_kv_head = 8,
      .head_dim = 128,
      .n_rot = 96,
      .n_ctx_train = 131072,
      .window = 262144,
      .slides = 32,
      .n_ff = 8192,
      .attn_scale = 0.088388348f },
    { .name = "GLM-4.5-Air",
      .config =
          "{\"architectures\":[\"Glm4MoeForCausalLM\"],\"attention_bias\":true,\"attention_dropout\":0.0,"
          "\"pad_token_id\":151329,"
          "\"eos_token_id\":[151329,151336,151338],\"head_dim\":128,\"hidden_act\":\"silu\",\"hidden_size\":"
          "4096,"
          "\"partial_rotary_factor\":0.5,\"initializer_range\":0.02,\"intermediate_size\":10944,"
          "\"max_position_embeddings\":131072,\"model_type\":\"glm4_moe\",\"moe_intermediate_size\":1408,"
          "\"norm_topk_prob\":true,\"num_attention_heads\":96,\"n_group\":1,\"topk_group\":1,\"n_routed_"
          "experts\":128,"
          "\"n_shared_experts\":1,\"routed_scaling_factor\":1.0,\"num_experts_per_tok\":8,\"first_k_dense_"
          "replace\":1,"
          "\"num_hidden_layers\":46,\"num_key_value_heads\":8,\"num_nextn_predict_layers\":1,\"rms_norm_"
          "eps\":1e-05,"
          "\"rope_scaling\":null,\"rope_theta\":1000000,\"tie_word_embeddings\":false,\"use_cache\":true,"
          "\"use_qk_norm\":false,\"vocab_size\":151552}",
      .n_layer = 46,
      .n_embd = 4096,
      .n_head = 96,
      .n_kv_head = 8,
      .head_dim = 128,
      .n_rot = 64,
      .n_ctx_train = 131072,
      .n_expert = 128,
      .n_expert_used = 8,
      .n_ff = 10944,
      .attn_scale = 0.088388348f },
    { .name = "gpt-oss-20b",
      .config =
          "{\"architectures\":[\"GptOssForCausalLM\"],\"attention_bias\":true,\"attention_dropout\":0.0,"
          "\"eos_token_id\":200002,"
          "\"experts_per_token\":4,\"head_dim\":64,\"hidden_act\":\"silu\",\"hidden_size\":2880,"
          "\"initial_context_length\":4096,\"initializer_range\":0.02,\"intermediate_size\":2880,"
          "\"max_position_embeddings\":131072,\"model_type\":\"gpt_oss\",\"num_attention_heads\":64,"
          "\"num_experts_per_tok\":4,\"num_hidden_layers\":24,\"num_key_value_heads\":8,\"num_local_"
          "experts\":32,"
          "\"output_router_logits\":false,\"pad_token_id\":199999,\"rms_norm_eps\":1e-05,\"rope_scaling\":{"
          "\"beta_fast\":32.0,"
          "\"beta_slow\":1.0,\"factor\":32.0,\"original_max_position_embeddings\":4096,\"rope_type\":"
          "\"yarn\","
          "\"truncate\":false},\"rope_theta\":150000,\"router_aux_loss_coef\":0.9,\"sliding_window\":128,"
          "\"swiglu_limit\":7.0,\"tie_word_embeddings\":false,\"use_cache\":true,\"vocab_size\":201088}",
      .n_layer = 24,
      .n_embd = 2880,
      .n_head = 64,
      .n_kv_head = 8,
      .head_dim = 64,
      .n_rot = 64,
      .n_ctx_train = 131072,
      .window = 128,
      .slides = 12,
      .n_expert = 32,
      .n_expert_used = 4,
      .n_ff = 2880,
      .attn_scale = 0.125f },
};

static const struct lm_arch *family_of(const json_t *config)
{
    const json_t *text = json_object_get(config, "text_config");
    const char *type = json_string_value(json_object_get(text ? text : config, "model_type"));
    for (int i = 0; i < lm_n_families; i++)
        for (int k = 0; k < lm_families[i]->n_members; k++)
            if (strcmp(lm_families[i]->member[k].hf, type) == 0) return lm_families[i];
    fail_msg("no family for %s", type);
    return NULL;
}

static void test_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct published *p = &all[i];
        struct err e = { 0 };
        struct lm_shape s;
        char *unused;
        json_t *config = json_loads(p->config, 0, NULL);
        assert_non_null(config);
        if (!read_config_of(family_of(config), config, &s, &unused, &e)) fail_msg("%s: %s", p->name, e.msg);
        if (strcmp(unused, p->unused ? p->unused : "") != 0)
            fail_msg("%s: without effect: %s", p->name, unused);
        const int want[] = { p->n_layer, p->n_embd, p->n_head,      p->n_kv_head, p->head_dim,
                             p->n_rot,   p->n_ff,   p->n_ctx_train, p->n_expert,  p->n_expert_used };
        const int got[] = {
            s.n_layer,       s.n_embd, s.n_head,      s.n_kv_head, s.head_dim,
            s.rope[0].n_rot, s.n_ff,   s.n_ctx_train, s.n_expert,  s.n_expert ? s.n_expert_used : 0
        };
        for (size_t k = 0; k < sizeof want / sizeof *want; k++)
            if (got[k] != want[k]) fail_msg("%s: number %zu is %d, expected %d", p->name, k, got[k], want[k]);
        int slides = 0;
        for (int il = 0; il < s.n_layer; il++) {
            slides += s.layer[il].window > 0;
            assert_true(s.layer[il].window == 0 || s.layer[il].window == p->window);
            assert_float_equal(s.layer[il].attn_scale, p->attn_scale, 1e-6);
        }
        if (slides != p->slides)
            fail_msg("%s: %d layers have a window, expected %d", p->name, slides, p->slides);
        free(unused);
        json_decref(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all) };
    return cmocka_run_group_tests_name("published configurations", tests, NULL, NULL);
}
