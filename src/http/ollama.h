/* ollama.h - Ollama's side of the two paths that it shares (dialects/shared_paths.h), and what its handlers have in common. */
#ifndef HEARTH_HTTP_OLLAMA_H
#define HEARTH_HTTP_OLLAMA_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

struct exchange;
struct model;
struct routed;

/* Handlers of POST /api/chat and /api/generate once the body is read, which stays the caller's. */
void ollama_run(struct exchange *x, bool chat, json_t *body);

/* The text model that a client calls `name`, which is changed to the form that was found. */
bool ollama_find(struct exchange *x, char *name, struct model **m, struct err *e);

/* The route of a model that a client calls so, in either form. NULL: it has none. */
const struct routed *ollama_route(struct exchange *x, const char *name);

#endif
