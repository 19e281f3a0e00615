/* text.h - a chat completion or a completion whose body was read already. */
#ifndef HEARTH_HTTP_TEXT_H
#define HEARTH_HTTP_TEXT_H

#include <jansson.h>

#include "http/dialects/wire.h"

struct exchange;

/* Ends as handlers do. body: the caller's, an object, read only until this returns. */
void text_run(struct exchange *x, bool chat, json_t *body, const struct wire_style *style);

#endif
