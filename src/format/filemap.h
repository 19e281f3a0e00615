/* filemap.h - a regular file, mapped read-only.
 *
 * A mapping costs no memory of its own: pages come from the page cache when they are read and can be dropped again.
 * The price: what somebody writes into the file, or cuts off it, changes what is read here. Lost pages read as zeros (mapfault.h);
 * filemap_changed() says that something of the kind happened, so that nobody takes the result for the model's.
 * A file that is replaced by renaming goes on unchanged as long as it is mapped: that is how model files are to be replaced
 * (service/hub/hub.c keeps to it). */
#ifndef HEARTH_FORMAT_FILEMAP_H
#define HEARTH_FORMAT_FILEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"

struct filemap {
    const uint8_t *data;
    size_t size; /* > 0 once open */
    int fd;      /* of the mapped file, whatever its name is by now */
    struct timespec modified;
    struct mapfault *fault;
};

/* Refuses what is not a regular file or is empty. The error names the path. */
bool filemap_open(struct filemap *m, const char *path, struct err *e);
void filemap_close(struct filemap *m);
/* Whether the mapped file was cut or written to since: by its size and time, and by pages that were found missing. One system call. */
bool filemap_changed(const struct filemap *m);

/* Tell the kernel that [data, data+n) is not needed for now: whole pages inside it leave this process's memory and
 * come back from the file when read. */
void filemap_forget(const void *data, size_t n);

#endif
