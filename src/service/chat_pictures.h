/* chat_pictures.h - the pictures of a chat on their way into its prompt: decoded under limits, cut for the model, put where its template has a mark.
 *
 * Order    pictures stand in the prompt as their parts do in the messages; a template that prints another number of marks than there are
 *          pictures is refused, so that none is passed over.
 * Threads  any; may take as long as decoding and, for those that are elsewhere, fetching takes. */
#ifndef HEARTH_SERVICE_CHAT_PICTURES_H
#define HEARTH_SERVICE_CHAT_PICTURES_H

#include <stdatomic.h>

#include "lm/lm.h"
#include "service/request.h"

struct chat_pictures {
    struct lm_picture **of; /* [n], numbered as the request's */
    int n;
};

/* Nothing where the request has none; refused where the model sees none. *out is zeroed or whole, to be closed either way. */
bool chat_pictures_open(struct chat_pictures *out, const struct lm *lm, const struct gen_request *q,
                        const atomic_bool *cancel, struct fault *f);
void chat_pictures_close(struct chat_pictures *p);

/* Puts the tokens of the messages' pictures in place of their marks in *ids. *at [*n_at]: where they stand; the caller's, to be freed. */
bool chat_pictures_place(const struct chat_pictures *p, const json_t *messages, int32_t mark,
                         struct token_list *ids, struct lm_picture_at **at, int *n_at, struct fault *f);

#endif
