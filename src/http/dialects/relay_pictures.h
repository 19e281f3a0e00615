/* relay_pictures.h - an image request in the form of OpenAI's API, for another server that is to draw it, and what that server answers: whichever
 * dialect the client speaks.
 *
 * What is asked for is sent or refused by name. Pictures are asked for as bytes, and are made files of the format that the client wants here. */
#ifndef HEARTH_HTTP_DIALECTS_RELAY_PICTURES_H
#define HEARTH_HTTP_DIALECTS_RELAY_PICTURES_H

#include <jansson.h>

#include "http/dialects/picture_dialect.h"

enum { RELAY_BOUNDARY = 48 /* bytes of a form's boundary and its end */ };

/* "/images/generations", "/images/edits", "/images/variations" */
const char *relay_picture_endpoint(const struct picture_wire *w);
/* The fields as JSON, new; NULL: *f says which wish cannot be sent. */
json_t *relay_picture_body(const struct picture_wire *w, const char *model, struct fault *f);
/* The same as a form with the input picture and its mask, without the model; for endpoints that take files. */
bool relay_picture_form(const struct picture_wire *w, const json_t *body, struct buf *out,
                        char boundary[RELAY_BOUNDARY], struct fault *f);

/* The pictures of an answer: files as w wants them, [n] of them, each the caller's. False: it is of no use. */
bool relay_picture_read(const struct picture_wire *w, const char *json, size_t len, struct reply_picture *out,
                        int n, struct err *e);

#endif
