/* upstream.h - requests for models that are served by other servers (--routes), passed through as they came.
 *
 * What passes is JSON of an endpoint that other servers spell alike: chat, completions, pictures, embeddings. Forms, other APIs and endpoints
 * that have the model in their path are put into that form by their handlers (relayed_text.h, relayed_pictures.h, relayed_embeddings.h). */
#ifndef HEARTH_HTTP_UPSTREAM_H
#define HEARTH_HTTP_UPSTREAM_H

#include <stdbool.h>

struct buf;
struct exchange;
struct route;
struct router;

/* On x's lane, once it is admitted. True: it is taken care of, and its handler must not run (now). */
bool upstream_takes(struct exchange *x, const struct route *endpoint);

/* The upstreams' lines of /metrics. */
void upstream_print_metrics(struct buf *b, struct router *r);

#endif
