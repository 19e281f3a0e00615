/* deepseek.h - where DeepSeek's files keep routed and shared experts. GLM-4.5 has taken over the names. */
#ifndef HEARTH_LM_DEEPSEEK_H
#define HEARTH_LM_DEEPSEEK_H

#include "lm/bind.h"

enum { DEEPSEEK_MOE = 10, DEEPSEEK_EXPERT = 3 };

extern const struct tensor_spec deepseek_moe
    [DEEPSEEK_MOE]; /* router, stacked experts, shared ones; dimensions and slots are decoder.h's */
extern const struct tensor_spec deepseek_expert[DEEPSEEK_EXPERT]; /* one tensor an expert */

#endif
