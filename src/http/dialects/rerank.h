/* rerank.h - documents in the order of how well they answer a query: /rerank, as Fireworks has it below /inference/v1, and as Cohere and Jina
 * have it below /v1. The two differ in the name of the list and in how a document stands in it. */
#ifndef HEARTH_HTTP_DIALECTS_RERANK_H
#define HEARTH_HTTP_DIALECTS_RERANK_H

#include <jansson.h>

#include "base/buf.h"
#include "http/error.h"
#include "service/request.h"
#include "service/usage.h"

struct rerank_wire {
    struct gen_request gen; /* model; the first prompt is the query, and the documents follow */
    int64_t top_n;          /* 0: all */
    bool fireworks, with_documents;
};

/* On failure nothing is to be freed. */
bool rerank_wire_parse(struct rerank_wire *w, json_t *body, enum api_dialect d, bool strict, struct fault *f);
void rerank_wire_free(struct rerank_wire *w);

/* Document `index` of the request and its score; the best first. */
struct rerank_hit {
    int index;
    double score;
};
/* model and id: the model's, and the request's. */
void rerank_wire_print(struct buf *b, const struct rerank_wire *w, const char *model, const char *id,
                       const struct rerank_hit *hit, int n, const struct usage *u);

#endif
