/* anthropic.h - the parts of Anthropic's messages API: its body (anthropic_parse.c), the blocks of its conversation (anthropic_blocks.c), its
 * replies (anthropic.c, which has the styles: wire.h). */
#ifndef HEARTH_HTTP_DIALECTS_ANTHROPIC_H
#define HEARTH_HTTP_DIALECTS_ANTHROPIC_H

#include "http/dialects/wire.h"

/* For wire_style.parse. The second is of a request whose tokens are to be counted: it has no fields that only an answer needs. */
bool anthropic_parse(struct wire_request *w, json_t *body, bool chat, bool strict,
                     const struct wire_style *style, struct fault *f);
bool anthropic_parse_count(struct wire_request *w, json_t *body, bool chat, bool strict,
                           const struct wire_style *style, struct fault *f);

/* system (NULL: none) and messages as request.h has a conversation, into q->messages and q->picture. What is wrong is named by its place. */
bool anthropic_conversation(const json_t *system, const json_t *messages, bool strict, struct gen_request *q,
                            struct fault *f);

#endif
