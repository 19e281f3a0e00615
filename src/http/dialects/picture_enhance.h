/* picture_enhance.h - the field `enhance` of requests for pictures: words of a style behind the prompt, and what the picture should not be.
 *
 *   true, or {"style": "cinematic", "quality": false, "avoid": ["text"], "model": "a-chat-model"}
 *
 * A `model` writes the prompt anew before the words are put behind it: whoever runs the request asks it (http/pictures.c). */
#ifndef HEARTH_HTTP_DIALECTS_PICTURE_ENHANCE_H
#define HEARTH_HTTP_DIALECTS_PICTURE_ENHANCE_H

#include "http/dialects/picture_fields.h"
#include "service/advice/prompts.h"

bool picture_field_enhance(struct picture_value *a);

/* Once the model is known (m NULL: only this machine knows it): w->q.prompt and w->q.negative_prompt become what is drawn. Nothing where
 * the request does not ask for it. A model that takes no negative prompt is refused `avoid`, by its name. */
bool picture_enhance(struct picture_wire *w, const struct styles *styles, const struct catalog_model *m,
                     struct fault *f);
/* Whether w asks a chat model for another prompt; the chat request, as /v1/chat/completions takes it. NULL: no memory. */
bool picture_enhance_asks(const struct picture_wire *w);
json_t *picture_enhance_question(const struct picture_wire *w);
/* That model's whole reply: its text is the prompt. */
bool picture_enhance_answer(struct picture_wire *w, int status, const char *body, size_t len,
                            struct fault *f);

/* ,"revised_prompt":... and, where there is one, ,"negative_prompt":...; nothing where the request does not ask for it. */
void picture_enhance_print(struct buf *b, const struct picture_wire *w);

#endif
