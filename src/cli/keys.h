/* keys.h - the keys that `hearth serve` accepts: from the settings, from a file, or a new one.
 *
 * File   one key a line; white space around it and a comment behind it (# ...) are no part of it; lines may end in CR LF, the last one in
 *        nothing; a byte order mark is passed over. A file that others may read is warned about. */
#ifndef HEARTH_CLI_KEYS_H
#define HEARTH_CLI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str_list.h"

enum { KEYS_MIN = 8, KEYS_MAX = 256, KEYS_NEW = 64 }; /* characters; of the buffer for a new key */

struct keys {
    char **v; /* none stands there twice */
    int n;
    char new_key[KEYS_NEW]; /* "" when none was made */
};

/* Adds one. `where` names its source: "--keys", "FILE:3". ERR_REQUEST when it could be guessed or not be sent in a header. */
bool keys_add(struct keys *k, const char *key, size_t len, const char *where, struct err *e);
/* Adds those of a file. A file that does not exist is no error with may_be_missing. */
bool keys_read_file(struct keys *k, const char *path, bool may_be_missing, struct err *e);
/* Those of a list and of a file ("": none). `may_be_none`: the file may be missing or empty. */
bool keys_collect(struct keys *k, const struct str_list *given, const char *file, bool may_be_none,
                  struct err *e);
/* Makes one and, unless path is "", appends it to the file, which nobody else may read if it is new. */
bool keys_make(struct keys *k, const char *path, struct err *e);
void keys_free(struct keys *k);

#endif
