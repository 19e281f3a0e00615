/* relayed_pictures.h - an image request whose model another server serves, for the handlers of every API: what a drawing is for a model of this
 * server. Pictures come when all of them are there.
 *
 * Ownership  whoever started it; w and x outlive it.
 * Threads    relayed_pictures_cancel() from any; the others one at a time. */
#ifndef HEARTH_HTTP_RELAYED_PICTURES_H
#define HEARTH_HTTP_RELAYED_PICTURES_H

#include "http/dialects/picture_dialect.h"
#include "http/relay.h"

struct relayed_pictures;

/* As relay_start(); w was held against the safety policy. */
enum relay_is relayed_pictures_start(struct exchange *x, const struct routed *route,
                                     const struct picture_wire *w, loading_next *fn, void *arg,
                                     struct relayed_pictures **out, struct fault *f);
/* As relay_outcome(); CALL_ANSWERED when the pictures are good, kept in `files` too where that is not NULL. */
enum call_is relayed_pictures_outcome(struct relayed_pictures *p, struct blobs *files, struct fault *f);
/* Once it is answered. model lives as long as p. */
void relayed_pictures_facts(const struct relayed_pictures *p, struct picture_facts *out, struct price *price);
/* As drawing_next(). */
bool relayed_pictures_next(struct relayed_pictures *p, struct reply_event *ev);
void relayed_pictures_cancel(struct relayed_pictures *p);
void relayed_pictures_free(struct relayed_pictures *p);

#endif
