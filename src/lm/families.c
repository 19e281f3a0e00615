/* families.c - every family of language models. A new one: its file, and its row here. */
#include "lm/arch.h"

extern const struct lm_arch lm_llama, lm_qwen2, lm_qwen3, lm_gemma3, lm_smollm3, lm_llama4, lm_deepseek;
extern const struct lm_arch lm_phi3, lm_glm4, lm_glm4_moe, lm_gpt_oss;
extern const struct lm_arch lm_encoder; /* encoder.c: BERT and those like it */

const struct lm_arch *const lm_families[] = {
    &lm_llama, /* llama.c: Llama, Mistral, Ministral, Mixtral */
    &lm_qwen2, /* qwen3.c */
    &lm_qwen3,    &lm_gemma3,  &lm_smollm3, &lm_llama4, &lm_deepseek, &lm_phi3, &lm_glm4, /* glm4.c */
    &lm_glm4_moe, &lm_gpt_oss, &lm_encoder,
};

const int lm_n_families = sizeof lm_families / sizeof *lm_families;
