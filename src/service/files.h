/* files.h - pictures handed out by URL: a folder of files with unguessable names, for a time and within a size.
 *
 * Written whole or not at all: under a temporary name first, then renamed. What is older than the retention time goes, and the
 * oldest go when the folder passes its limit. Files of an earlier run in the same folder count.
 * Threads    any. */
#ifndef HEARTH_SERVICE_FILES_H
#define HEARTH_SERVICE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct files;

/* The folder is made if need be. */
bool files_new(struct files **out, const char *dir, double retention_s, int64_t max_bytes, struct err *e);
void files_free(struct files *f);

enum { FILES_NAME = 64 };
/* name: 32 random hexadecimal digits, a dot, the extension. */
bool files_put(struct files *f, const void *data, size_t len, const char *extension, char name[FILES_NAME],
               struct err *e);
/* An open descriptor, the caller's; -1 when there is no such file (any more) or the name is none of ours. */
int files_open(struct files *f, const char *name, int64_t *size, int64_t *mtime_unix);

#endif
