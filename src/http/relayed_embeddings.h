/* relayed_embeddings.h - vectors of texts whose model another server serves, asked as OpenAI's API is and answered in the client's form. */
#ifndef HEARTH_HTTP_RELAYED_EMBEDDINGS_H
#define HEARTH_HTTP_RELAYED_EMBEDDINGS_H

#include "http/dialects/embeddings.h"

struct exchange;
struct routed;

/* A whole handler once the body was read. w lives as long as arg, which ends with drop(arg); or it is this server's turn after all, and
 * here(x, arg) goes on with both. */
void relayed_embeddings(struct exchange *x, const struct routed *route, const struct embedding_wire *w,
                        void (*here)(struct exchange *x, void *arg), void (*drop)(void *arg), void *arg);

#endif
