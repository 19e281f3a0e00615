/* blobs_inside.h - what a place of blobs is; a new one is a file with such a table, and a line in blobs.c. */
#ifndef HEARTH_STORE_BLOBS_INSIDE_H
#define HEARTH_STORE_BLOBS_INSIDE_H

#include "store/blobs.h"

/* As the functions of blobs.h, with names that are good and sizes that are allowed. */
struct blobs_place {
    bool (*open)(void **out, const char *where, const struct blobs_options *o, struct err *e);
    void (*close)(void *place);
    bool (*put)(void *place, const char *name, const void *data, size_t len, struct err *e);
    int (*get)(void *place, const char *name, int64_t *size, int64_t *mtime_unix, struct err *e);
};

extern const struct blobs_place blobs_folder, blobs_s3;

#endif
