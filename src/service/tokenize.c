/* tokenize.c - see tokenize.h. */
#include "service/tokenize.h"

#include "service/context.h"

bool tokenize_begin(struct tokenizing *t, struct registry *r, struct model *m, struct err *e)
{
    struct lm *lm;
    if (!registry_acquire(r, m, &lm, e)) return false;
    *t = (struct tokenizing){ lm_tokenizer(lm), lm_info(lm)->n_ctx, r, m, lm };
    return true;
}

void tokenize_end(struct tokenizing *t) { registry_release(t->registry, t->model); }

bool tokenize_messages(const struct tokenizing *t, const struct gen_request *q, const atomic_bool *cancel,
                       struct token_list *out, struct fault *f)
{
    struct fitted p;
    if (!context_fit(t->lm, q, 0, cancel, &p, f)) return false;
    *out = p.ids;
    p.ids = (struct token_list){ 0 };
    fitted_free(&p);
    return true;
}

bool tokenize_prompt(const struct tokenizing *t, const struct gen_request *q, int i,
                     const atomic_bool *cancel, struct tokenized *out, struct fault *f)
{
    struct fitted p;
    if (!context_fit(t->lm, q, i, cancel, &p, f)) return false;
    *out = (struct tokenized){ (int64_t)p.ids.n, p.max_tokens };
    fitted_free(&p);
    return true;
}
