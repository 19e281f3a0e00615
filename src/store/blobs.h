/* blobs.h - files kept by name and given out again: one interface over a table of places (blobs_inside.h), a folder or a bucket.
 *
 * A place is a folder's path, or "s3://BUCKET/PREFIX" of any service that speaks S3's protocol. Names are 32 hexadecimal digits, a dot and a short
 * extension: nothing else is ever read, written or removed, whatever stands beside them.
 *
 * Written whole or not at all. What is older than the retention time is not given out. A folder removes it, and its oldest when it passes its
 * limit; a bucket leaves both to its own lifecycle rules.
 * Errors   ERR_BUSY: the place is away: try again. ERR_NOT_FOUND: there is no such file (any more). ERR_LIMIT: too large.
 * Threads  any. The folder waits for the disk, the bucket for the network: not for an event loop. */
#ifndef HEARTH_STORE_BLOBS_H
#define HEARTH_STORE_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct blobs;

enum { BLOBS_NAME = 64 };
bool blobs_name_ok(const char *name);

struct blobs_options {
    double retention_s;
    int64_t max_bytes;              /* of a folder; and of one file */
    const char *s3_endpoint;        /* "" or NULL: Amazon's, of the region */
    const char *s3_region;          /* "" or NULL: us-east-1 */
    const char *s3_key, *s3_secret; /* of a bucket */
};

/* A folder is made if need be. A bucket is not asked before it is needed. The options are copied. */
bool blobs_open(struct blobs **out, const char *where, const struct blobs_options *o, struct err *e);
void blobs_close(struct blobs *b);

bool blobs_put(struct blobs *b, const char *name, const void *data, size_t len, struct err *e);
/* An open descriptor, the caller's; -1 with *e. */
int blobs_get(struct blobs *b, const char *name, int64_t *size, int64_t *mtime_unix, struct err *e);
/* The last that was asked of it failed, a moment ago, so that it is not worth asking: *why says how. */
bool blobs_away(struct blobs *b, struct err *why);
/* The last that was asked of it failed, however long ago. */
bool blobs_failed(struct blobs *b);

#endif
