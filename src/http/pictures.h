/* pictures.h - a request for pictures, whichever endpoint it came to. */
#ifndef HEARTH_HTTP_PICTURES_H
#define HEARTH_HTTP_PICTURES_H

#include "http/dialects/picture_dialect.h"

struct exchange;

/* Ends as handlers do; x's body is the request. model: in place of the one in the body, or NULL. */
void pictures_run(struct exchange *x, const struct picture_dialect *d, const char *model,
                  enum picture_task task);

#endif
