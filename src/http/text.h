/* text.h - a text request from its body to its reply, for the handlers of every API that has one. */
#ifndef HEARTH_HTTP_TEXT_H
#define HEARTH_HTTP_TEXT_H

#include <jansson.h>

#include "http/dialects/wire.h"

struct exchange;

/* A whole handler: parses the body as the style has it, runs it on its model, and prints what comes. */
void text_post(struct exchange *x, bool chat, const struct wire_style *style);
/* The same where the body was read already. Ends as handlers do. body: the caller's, an object, which parsing may change. */
void text_run(struct exchange *x, bool chat, json_t *body, const struct wire_style *style);

#endif
