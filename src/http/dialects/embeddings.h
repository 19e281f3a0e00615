/* embeddings.h - requests for vectors of texts, as OpenAI's, Fireworks' and Ollama's APIs have them, and their replies.
 *
 * Ownership  what an embedding_wire holds goes with embedding_wire_free(). */
#ifndef HEARTH_HTTP_DIALECTS_EMBEDDINGS_H
#define HEARTH_HTTP_DIALECTS_EMBEDDINGS_H

#include "base/buf.h"
#include "http/error.h"
#include "service/request.h"
#include "service/usage.h"

enum embedding_form {
    EMBEDDING_OPENAI = 1,    /* /embeddings */
    EMBEDDING_OLLAMA = 2,    /* /api/embed */
    EMBEDDING_OLLAMA_ONE = 4 /* /api/embeddings, its older form with one prompt */
};

struct embedding_wire {
    struct gen_request gen; /* model, and a prompt for each text */
    enum embedding_form form;
    bool base64, normalize;
    int64_t dimensions; /* 0: all */
    bool cut;           /* texts that are too long lose their end */
    bool keeps;         /* Ollama's keep_alive was given */
    double keep_s;
    char *name; /* the model, as the client wrote it */
};

/* d: of the path; OpenAI's and Ollama's vectors have length 1, Fireworks' only where that is asked for. On failure nothing is to be freed. */
bool embedding_wire_parse(struct embedding_wire *w, json_t *body, enum embedding_form form,
                          enum api_dialect d, bool strict, struct fault *f);
void embedding_wire_free(struct embedding_wire *w);

/* A reply in parts: the head, each vector in its order, the end. model: its id. */
void embedding_wire_head(struct buf *b, const struct embedding_wire *w);
void embedding_wire_vector(struct buf *b, const struct embedding_wire *w, int i, const float *v, int n);
void embedding_wire_end(struct buf *b, const struct embedding_wire *w, const char *model,
                        const struct usage *u, double load_s, double total_s);

#endif
