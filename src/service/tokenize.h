/* tokenize.h - a model's tokenizer for those who want nothing else of it. */
#ifndef HEARTH_SERVICE_TOKENIZE_H
#define HEARTH_SERVICE_TOKENIZE_H

#include <stdatomic.h>

#include "service/models/registry.h"
#include "service/request.h"
#include "text/tokenizer/tokenizer.h"

/* A model in use, from tokenize_begin() to tokenize_end(). */
struct tokenizing {
    const struct tokenizer *tokenizer;
    int n_ctx;
    struct registry *registry;
    struct model *model;
    const struct lm *lm;
};
bool tokenize_begin(struct tokenizing *t, struct registry *r, struct model *m, struct err *e);
void tokenize_end(struct tokenizing *t);

/* The messages of q as the model would get them; ids are the caller's to free. cancel: once set, by any thread, this ends soon. */
bool tokenize_messages(const struct tokenizing *t, const struct gen_request *q, const atomic_bool *cancel,
                       struct token_list *out, struct fault *f);

/* Prompt i of q, messages or not, as a generation would have it. */
struct tokenized {
    int64_t prompt, room; /* tokens; room: of each choice, at most */
};
bool tokenize_prompt(const struct tokenizing *t, const struct gen_request *q, int i,
                     const atomic_bool *cancel, struct tokenized *out, struct fault *f);

#endif
