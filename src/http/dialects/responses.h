/* responses.h - the parts of OpenAI's Responses: its body (responses_parse.c), the items of its conversation (responses_items.c), its replies
 * (responses.c, which has the styles: wire.h). */
#ifndef HEARTH_HTTP_DIALECTS_RESPONSES_H
#define HEARTH_HTTP_DIALECTS_RESPONSES_H

#include "http/dialects/wire.h"

/* The body, with `before`, the items of the responses that it goes on from (NULL: none), in front of its own. What the reply repeats of the
 * request is w->echo. */
bool responses_read(struct wire_request *w, json_t *body, const json_t *before, bool strict,
                    const struct wire_style *style, struct fault *f);
/* For wire_style.parse: where nothing is gone on from. The second is of a request whose tokens are to be counted. */
bool responses_parse(struct wire_request *w, json_t *body, bool chat, bool strict,
                     const struct wire_style *style, struct fault *f);
bool responses_parse_count(struct wire_request *w, json_t *body, bool chat, bool strict,
                           const struct wire_style *style, struct fault *f);

/* An input as an array of items: new, or NULL: no memory. */
json_t *responses_input_items(const json_t *input);
/* instructions (NULL: none), the items before, and the input's own, as request.h has a conversation, into q->messages and q->picture. What is
 * wrong is named by its place in `input`. */
bool responses_conversation(const json_t *instructions, const json_t *before, const json_t *input,
                            bool strict, struct gen_request *q, struct fault *f);
/* In an error of what chat completions share, the names that the fields have there become those of here. */
void responses_rename(struct err *e, const char *from, const char *to);

#endif
