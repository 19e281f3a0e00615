/* relay.h - a request at the upstreams of its model: where it goes, the call, and what it used. Between an exchange and the router, for whoever
 * passes bytes through (upstream.h) and whoever speaks another API than the upstream (relayed_text.h, relayed_pictures.h).
 *
 * A relay is started on x's lane; x then goes on as the function it was given, which asks what came of it (relay_outcome()).
 * Ownership  whoever started it, until relay_free(); x outlives it.
 * Threads    relay_cancel() from any; the others one at a time. */
#ifndef HEARTH_HTTP_RELAY_H
#define HEARTH_HTTP_RELAY_H

#include <jansson.h>
#include <stdbool.h>

#include "http/loading.h"
#include "service/request.h"
#include "service/route/router.h"

struct exchange;
struct relay;

/* The route of a model as a client calls it. NULL: it has none, or it is decided that x is served here. name NULL: none. */
const struct routed *relay_route(struct exchange *x, const char *name);

/* *f: why x cannot be served here, before anything was done for it. Where that is for want of room: its route, if that says that others are
 * asked then (spill_at), and x is not served here any more. What they cannot be asked (ERR_UNSUPPORTED) is still told as *f. NULL: it has none. */
const struct routed *relay_spill(struct exchange *x, const char *name, const struct fault *f);

enum relay_is {
    RELAY_HERE,    /* this server's turn: nothing was started, and x is not routed any more */
    RELAY_STARTED, /* x goes on as fn(x, arg, e) */
    RELAY_REFUSED  /* *f says why; the caller answers */
};
/* body: the request as JSON, which says what it uses at most. Of q what the request says is set: path, endpoint, body, len, model, stream,
 * n_choices and what belongs to usage. *out is set before fn can run. */
enum relay_is relay_start(struct exchange *x, const struct routed *route, const json_t *body, bool pictures,
                          struct call_request *q, loading_next *fn, void *arg, struct relay **out,
                          struct fault *f);

/* Once x goes on. CALL_HERE: as RELAY_HERE, and the relay is to be freed. */
enum call_is relay_outcome(struct relay *r, struct fault *f);
/* What it used goes into x's ending, once; the price is the upstream's. */
void relay_book(struct relay *r, struct usage *u, struct price *price);
void relay_price(struct relay *r, struct price *out);
/* The plain answer, appended; events of a stream, as call_next() has them. */
bool relay_answer(struct relay *r, struct buf *out);
enum call_next relay_next(struct relay *r, struct buf *out, struct err *e);

void relay_cancel(struct relay *r);
void relay_free(struct relay *r); /* books what came until then; NULL: nothing happens */

#endif
