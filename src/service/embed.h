/* embed.h - texts as vectors: a request for embeddings under way on its model's queue.
 *
 * A language model's vector of a text is its hidden state behind the last norm, of the last token or the mean of all, as the model's files say
 * (lm_info.pooling); an encoder's may have small layers behind that, and one that scores pairs of texts has a number for each pair. The texts run side by side in the scheduler's batches, beside everything else that the model is asked. */
#ifndef HEARTH_SERVICE_EMBED_H
#define HEARTH_SERVICE_EMBED_H

#include <stdatomic.h>

#include "service/models/registry.h"
#include "service/request.h"
#include "service/usage.h"

struct embedding;

/* Tokenises q->prompts and submits them. cut: what is longer than the context loses its end; otherwise it is ERR_CONTEXT. The rest as
 * generation_start() has it; of q the model, prompts, who, ending, isolation and may count. */
bool embedding_start(struct registry *r, struct model *m, const struct gen_request *q, bool cut,
                     const atomic_bool *cancel, void (*notify)(void *arg), void *arg, struct embedding **out,
                     struct fault *f);
/* A query, q->prompts[0], with each of the documents behind it, whose ends are cut where a pair is longer than the context. Only models that
 * score pairs. */
bool rerank_start(struct registry *r, struct model *m, const struct gen_request *q, const atomic_bool *cancel,
                  void (*notify)(void *arg), void *arg, struct embedding **out, struct fault *f);
void embedding_free(struct embedding *g);
void embedding_cancel(struct embedding *g); /* any thread */

/* Takes what has come. true: it is over, and *e is ERR_NONE when all vectors are there. */
bool embedding_over(struct embedding *g, struct err *e);
/* Once it is over: of text i, n numbers, as the model has them. */
const float *embedding_vector(const struct embedding *g, int i, int *n);
/* Likewise document i's score. */
double rerank_score(const struct embedding *g, int i);
void embedding_usage(const struct embedding *g, struct usage *out);

/* The first `dimensions` numbers of v (0: all n), of length 1 where `normalize`: into out. How many they are. */
int embedding_shape(const float *v, int n, int dimensions, bool normalize, float *out);

#endif
