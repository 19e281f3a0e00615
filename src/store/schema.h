/* schema.h - the tables, and how a store comes from one version of them to the next. */
#ifndef HEARTH_STORE_SCHEMA_H
#define HEARTH_STORE_SCHEMA_H

#include "store/backend.h"

/* Brings what `connection` leads to to this program's version: an empty one always, an older one when `migrate`. ERR_FORMAT when it may
 * not, or when the store is newer. */
bool schema_apply(const struct store_backend *b, void *connection, const char *where, bool migrate,
                  struct err *e);
/* The same up to a version, for tests of migration. */
bool schema_apply_to(const struct store_backend *b, void *connection, const char *where, bool migrate,
                     int version, struct err *e);
int schema_version(void);

#endif
