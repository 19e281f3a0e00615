/* relayed_text.h - a text request whose model another server serves, for the handlers of every API but OpenAI's own (which upstream.h passes
 * through): what a generation is for a model of this server.
 *
 * Ownership  whoever started it; the request and x outlive it.
 * Threads    relayed_text_cancel() from any; the others one at a time. */
#ifndef HEARTH_HTTP_RELAYED_TEXT_H
#define HEARTH_HTTP_RELAYED_TEXT_H

#include "http/dialects/wire.h"
#include "http/relay.h"

struct relayed_text;

/* As relay_start(); w was held against the safety policy. */
enum relay_is relayed_text_start(struct exchange *x, const struct routed *route, const struct wire_request *w,
                                 loading_next *fn, void *arg, struct relayed_text **out, struct fault *f);
/* As relay_outcome(). */
enum call_is relayed_text_outcome(struct relayed_text *t, struct fault *f);
/* Once it is answered: how the model is called in replies, and what it costs. */
const char *relayed_text_model(const struct relayed_text *t);
void relayed_text_price(struct relayed_text *t, struct price *out);

/* As generation_next(). */
bool relayed_text_next(struct relayed_text *t, struct reply_event *ev);
void relayed_text_cancel(struct relayed_text *t);
void relayed_text_free(struct relayed_text *t);

#endif
