/* shared_paths.h - two APIs have POST /api/generate and POST /api/chat: the Express servers of the guides (express.h), and Ollama's.
 *
 * A body says which of them is meant, by this rule and nothing else:
 *
 *   /api/chat      `messages` is Ollama's; a body without it is Express', whose clients send one `message`.
 *   /api/generate  both send a `prompt`. A `model` that draws, or none, is Express'; any other model is Ollama's.
 *
 * So a body that neither would take is refused by Express' words, unless it names a model that writes. */
#ifndef HEARTH_HTTP_DIALECTS_SHARED_PATHS_H
#define HEARTH_HTTP_DIALECTS_SHARED_PATHS_H

#include <jansson.h>
#include <stdbool.h>

enum shared_api { SHARED_EXPRESS, SHARED_OLLAMA };

/* draws: whether a model of that name is one for pictures. */
enum shared_api shared_generate(const json_t *body, bool (*draws)(void *arg, const char *model), void *arg);
enum shared_api shared_chat(const json_t *body);

#endif
