/* upload.h - a request's body that goes to the disk as it comes, so that its size costs no memory: a file of the folder of files, form and all.
 *
 * Ownership  the exchange's; what a handler does not keep is removed with it.
 * Threads    one at a time: its event loop's until the request is whole, then its lane's. */
#ifndef HEARTH_HTTP_UPLOAD_H
#define HEARTH_HTTP_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/batch/file_folder.h"

struct upload {
    struct file_folder *folder;
    int fd;
    char id[FILE_ID];
    int64_t bytes;
};

bool upload_new(struct upload **out, struct file_folder *f, struct err *e);
bool upload_take(struct upload *u, const char *bytes, size_t n, struct err *e);
/* All of it, to read until upload_unmap(); "" where there is nothing. NULL with *e. */
const char *upload_map(const struct upload *u, struct err *e);
void upload_unmap(const struct upload *u, const char *bytes);
/* It stays, as the file u->id. False: nothing of it is left. */
bool upload_keep(struct upload *u, struct err *e);
void upload_free(struct upload *u); /* NULL: nothing happens */

#endif
