/* files.h - pictures handed out by URL: files with unguessable names in a place of blobs (store/blobs.h), a folder or a bucket.
 *
 * Threads  any. files_put() and files_get() wait for a disk or for the network: not for an event loop. */
#ifndef HEARTH_SERVICE_FILES_H
#define HEARTH_SERVICE_FILES_H

#include "store/blobs.h"

/* name: 32 random hexadecimal digits, a dot, the extension. Errors are those of blobs_put(). */
bool files_put(struct blobs *b, const void *data, size_t len, const char *extension, char name[BLOBS_NAME],
               struct err *e);

#endif
