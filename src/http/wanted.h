/* wanted.h - which model a request means, what it leaves to that model, and of pictures the most that it can use: for who runs it, and for a quote. */
#ifndef HEARTH_HTTP_WANTED_H
#define HEARTH_HTTP_WANTED_H

#include "http/dialects/picture_wire.h"
#include "http/dialects/wire.h"
#include "service/models/registry.h"

/* *m is set as soon as it is found, so that a refusal of what follows can name it; NULL before. */
bool wanted_text(struct registry *r, struct wire_request *w, struct model **m, struct fault *f);
/* model: from the path, or NULL for the body's. */
bool wanted_pictures(struct registry *r, struct picture_wire *w, const char *model, struct model **m,
                     struct usage *worst, struct fault *f);

/* Whether a model of this name, installed here or of the catalog, is one for pictures. */
bool wanted_draws(struct registry *r, const struct catalog *c, const char *name);

#endif
