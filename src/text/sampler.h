/* sampler.h - from logits to a token.
 *
 * Order of application (each step only when asked for): logit_bias, repetition penalty (multiplicative, prompt and output),
 * presence and frequency penalties (output), grammar mask (allowed), temperature, top_k, typical_p, top_p, min_p, draw. Temperature 0 is the
 * exact argmax (lowest id on ties) of the penalised logits. Log-probabilities reported are of the penalised logits
 * before temperature (see sampler.c for why).
 * Random    number i of the request's (seed, choice) stream decides token i: nothing else draws from it.
 * Threads   one owner at a time; different samplers in different threads. */
#ifndef HEARTH_TEXT_SAMPLER_H
#define HEARTH_TEXT_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct logit_bias {
    int32_t id;
    float bias;
};

struct sampler_params {
    float temperature;             /* 0: greedy */
    int top_k;                     /* 0: off */
    float top_p, min_p, typical_p; /* 1, 0, 1: off */
    float repetition_penalty;      /* 1: off */
    float presence_penalty, frequency_penalty;
    const struct logit_bias *bias;
    int n_bias;                         /* borrowed for the sampler's life */
    uint64_t seed, stream;              /* stream: the choice's index */
    int n_top_logprobs;                 /* -1: no log-probabilities at all; 0..20 */
    float mirostat_target, mirostat_lr; /* target 0: off */
};

#define SAMPLER_MAX_TOP 20
struct token_prob {
    int32_t id;
    float logprob;
};
struct pick {
    int32_t id;
    float logprob; /* when n_top_logprobs >= 0 */
    struct token_prob top[SAMPLER_MAX_TOP];
    int n_top;
    bool
        broken; /* the logits held no largest number (all NaN, or an infinity): the model's weights are damaged */
};

struct sampler;
/* Whether the numbers are in their range: what sampler_new() would say of them. */
bool sampler_check(const struct sampler_params *p, struct err *e);
/* isa: the instruction sets to use (base/isa.h); the draws are the same with any. */
bool sampler_new(struct sampler **out, const struct sampler_params *p, int32_t n_vocab, unsigned isa,
                 struct err *e);
void sampler_free(struct sampler *s);
/* Tokens of the prompt, for the repetition penalty. */
bool sampler_prompt(struct sampler *s, const int32_t *ids, size_t n, struct err *e);
/* logits [n_vocab] is scratch afterwards. allowed: NULL, or a bit mask of n_vocab bits (grammar). Records the token. Ids at or
 * above n_valid are never drawn. */
void sampler_pick(struct sampler *s, float *logits, int32_t n_valid, const uint32_t *allowed,
                  struct pick *out);
/* A token that was not drawn, because no other could come: recorded as a drawn one is, and its random number is passed over. */
void sampler_take(struct sampler *s, int32_t id);
/* log p of token `id` under these logits, unpenalised: for echo and scoring. */
void sampler_score(unsigned isa, const float *logits, int32_t n_valid, int32_t id, int n_top,
                   struct pick *out);

#endif
