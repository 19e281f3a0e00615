/* aliases.h - names of one's own for models: `hearth alias NAME MODEL`, kept in the file "aliases" of the model folder.
 *
 * The file     a line each, NAME and MODEL with white space between them; a line that begins with # is a comment. It is written as
 *              a whole and renamed into place, under a lock on the folder, so that who reads it finds the old or the new one.
 * One step     MODEL is never an alias: aliases_set() puts what that one means, so that there are no chains and no rings.
 * Threads      functions over a folder may be called from any thread and process; a struct aliases has one owner. */
#ifndef HEARTH_SERVICE_MODELS_ALIASES_H
#define HEARTH_SERVICE_MODELS_ALIASES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define ALIASES_FILE "aliases"
#define ALIAS_MAX 250 /* bytes of a name, and of what it means */

struct alias {
    char name[ALIAS_MAX + 1], model[ALIAS_MAX + 1];
};
struct aliases { /* a zeroed one is empty */
    struct alias *v;
    int n;
};

/* Any bytes as the file's text. ERR_FORMAT says which line is none. */
bool aliases_parse(const char *text, size_t len, struct aliases *out, struct err *e);

/* Those of a model folder; a folder without the file has none. */
bool aliases_read(const char *models_dir, struct aliases *out, struct err *e);
void aliases_free(struct aliases *a);

/* What `name` means: as it stands, or without an account in front and a deployment behind (catalog_bare_name()). NULL: it is no alias.
 * Case does not count. The answer lives as long as *a. */
const char *aliases_find(const struct aliases *a, const char *name);

/* From now on `name` means `model`, whatever it meant before. ERR_REQUEST: one of them is no name. */
bool aliases_set(const char *models_dir, const char *name, const char *model, struct err *e);
/* ERR_NOT_FOUND: there is no such alias. */
bool aliases_remove(const char *models_dir, const char *name, struct err *e);

#endif
