/* vector_head.h - how a text's hidden states become its vector, as the model's files say: how they are pooled, and small layers behind that.
 *
 * Files     sentence-transformers' modules.json (Pooling, Dense, Normalize) and 1_Pooling/config.json, GGUF's pooling_type; of a model that
 *           scores pairs of texts its classifier, whose numbers are the pair's.
 * Numbers   f32, on the host, in one order: a text's vector is the same whatever is computed beside it.
 * Threads   read-only after loading. */
#ifndef HEARTH_LM_VECTOR_HEAD_H
#define HEARTH_LM_VECTOR_HEAD_H

#include "base/err.h"
#include "format/weights.h"

enum vector_pool { VECTOR_LAST, VECTOR_MEAN, VECTOR_FIRST, VECTOR_MAX };

struct vector_head;

/* encoder: what no file says is as sentence-transformers takes a bare encoder, the mean; else the last token. What is asked for and not done
 * here is refused by name for encoders, and named in the log for others, which were made for text. */
bool vector_head_load(struct vector_head **out, const struct weights *w, int n_embd, bool encoder,
                      struct err *e);
void vector_head_free(struct vector_head *h);

enum vector_pool vector_head_pool(const struct vector_head *h);
int vector_head_n_out(const struct vector_head *h);
bool vector_head_is_unit(const struct vector_head *h); /* vectors have length 1 */
/* Of a model that scores pairs: how many numbers; 0: it does not. *sigmoid: what makes a score of one. */
int vector_head_n_score(const struct vector_head *h, bool *sigmoid);
size_t vector_head_bytes(const struct vector_head *h);

/* The pooled states *v [n_embd] become the vector [n_out], in place or in new memory. false: there is none. */
bool vector_head_run(const struct vector_head *h, float **v);

#endif
