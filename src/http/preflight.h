/* preflight.h - what can be said about a request from its headers alone: where it leads, and whether it may. */
#ifndef HEARTH_HTTP_PREFLIGHT_H
#define HEARTH_HTTP_PREFLIGHT_H

#include <stdbool.h>

struct exchange;

/* Fills x from the request line and the headers. A refusal is set as the reply, with x->discard for the body. False: no memory. */
bool preflight(struct exchange *x, const char *url, const char *method);
/* The request, or its body, could not be told from what follows it. */
void preflight_misframed(struct exchange *x);
void preflight_too_large(struct exchange *x);
bool preflight_expects_continue(struct exchange *x);
/* Whether a store's key may be used for x's endpoint, here and now; false: answered. */
bool preflight_key(struct exchange *x);

#endif
