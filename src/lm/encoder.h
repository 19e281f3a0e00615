/* encoder.h - networks that see a text from both sides and make vectors of it, not text: BERT, RoBERTa and XLM-RoBERTa, DistilBERT, nomic-bert.
 *
 *   x  = norm(word + type + position)            positions from a table, or q and k are rotated (nomic-bert)
 *   x  = norm(x + out(attention(q, k, v)))       q, k, v = qkv(x); every token sees every other one of its text
 *   x  = norm(x + down(act(up(x))))              or down(act(gate(x)) * up(x)); all norms are layer norms
 *
 * Texts of a step stand row behind row, none is padded. A text goes in whole, and nothing of it is kept. A family is a table of names. */
#ifndef HEARTH_LM_ENCODER_H
#define HEARTH_LM_ENCODER_H

#include "lm/arch.h"
#include "lm/hparams.h"

enum encoder_act { ENCODER_GELU, ENCODER_GELU_TANH, ENCODER_RELU, ENCODER_SILU };

/* What a configuration says beyond lm_shape. */
struct encoder_shape {
    int first_pos; /* row of the table of positions that a text's first token has */
    enum encoder_act act;
    bool gated, rotary;
};

/* encoder_config.c: from config.json or GGUF metadata; all that is wrong in one error. n_vocab is for the tensors to say. */
bool encoder_config(struct lm_shape *s, struct encoder_shape *x, const struct hparam_family *f,
                    const struct weights *w, struct err *e);

#endif
