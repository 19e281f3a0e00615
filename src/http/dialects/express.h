/* express.h - what the Express servers of the guides answer: POST /api/generate draws, POST /api/chat says one answer to one message.
 *
 * Their refusals of a prompt or a message are literal. What goes wrong later is a 500 in their envelope (http/error.h has it), and a full
 * limit a line of plain text. */
#ifndef HEARTH_HTTP_DIALECTS_EXPRESS_H
#define HEARTH_HTTP_DIALECTS_EXPRESS_H

#include <jansson.h>

#include "http/dialects/picture_dialect.h"
#include "http/dialects/wire.h"

#define EXPRESS_PICTURE_MODEL "accounts/fireworks/models/flux-1-dev-fp8"
#define EXPRESS_CHAT_MODEL "accounts/fireworks/models/llama4-scout-instruct-basic"

extern const struct wire_style express_style; /* of chats; pictures: express_pictures */

/* What is said to a body that is not taken, or NULL. */
const char *express_generate_refusal(const json_t *body);
const char *express_chat_refusal(const json_t *body);

/* The chat request that `body` stands for, new; `model` where it names none. strict: members that are not known are refused. */
bool express_chat(const json_t *body, const char *model, bool strict, json_t **out, struct fault *f);

#endif
