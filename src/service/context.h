/* context.h - makes the prompt: runs the chat template, tokenises, and keeps it inside the model's context. */
#ifndef HEARTH_SERVICE_CONTEXT_H
#define HEARTH_SERVICE_CONTEXT_H

#include <stdatomic.h>

#include "lm/lm.h"
#include "service/chat_pictures.h"
#include "service/request.h"

struct fitted {
    struct token_list ids;
    char *text;  /* what was tokenised; NULL when the client gave ids */
    int dropped; /* messages left out */
    bool over; /* while fitting: tokenising stopped at far more than the context holds, ids are incomplete */
    int max_tokens;                /* per choice, fits behind ids */
    struct chat_pictures pictures; /* of the request */
    struct lm_picture_at *at;      /* [n_at] those of them that the prompt has, and where */
    int n_at;
};

/* Prompt i of the request for this model. ERR_CONTEXT when it cannot fit. cancel: once set, by any thread, this ends soon with
 * ERR_CANCELLED; NULL: never. */
bool context_fit(const struct lm *lm, const struct gen_request *q, int i, const atomic_bool *cancel,
                 struct fitted *out, struct fault *f);
void fitted_free(struct fitted *p);

#endif
