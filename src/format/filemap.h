/* filemap.h - a regular file, mapped read-only.
 *
 * A mapping costs no memory of its own: pages come from the page cache when they are read and can be dropped again.
 * The price: a file that somebody truncates while it is mapped kills the reader (SIGBUS). Model files are replaced by
 * renaming, never rewritten in place (service/hub.c keeps to that). */
#ifndef HEARTH_FORMAT_FILEMAP_H
#define HEARTH_FORMAT_FILEMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct filemap {
    const uint8_t *data;
    size_t size; /* > 0 once open */
};

/* Refuses what is not a regular file or is empty. The error names the path. */
bool filemap_open(struct filemap *m, const char *path, struct err *e);
void filemap_close(struct filemap *m);

/* Tell the kernel that [data, data+n) is not needed for now: whole pages inside it leave this process's memory and
 * come back from the file when read. */
void filemap_forget(const void *data, size_t n);

#endif
