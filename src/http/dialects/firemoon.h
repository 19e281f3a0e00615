/* firemoon.h - Firemoon's pages about its models. What it draws is firemoon_pictures (picture_dialect.h). */
#ifndef HEARTH_HTTP_DIALECTS_FIREMOON_H
#define HEARTH_HTTP_DIALECTS_FIREMOON_H

#include "base/buf.h"
#include "service/models/catalog.h"

/* "flux/dev" when there is such a model, else NULL. A constant: the name that the catalog knows it by. */
const char *firemoon_model(const char *path);
/* The page behind /api/v1: "" (the endpoints), "providers", "providers/flux/models", "flux/dev" (its schema). False: there is none. */
bool firemoon_page(struct buf *b, const char *path, const struct catalog *c);

#endif
