/* s3_place.h - where an object of a bucket is: "s3://BUCKET/PREFIX" and an endpoint to URLs. */
#ifndef HEARTH_STORE_S3_PLACE_H
#define HEARTH_STORE_S3_PLACE_H

#include <stdbool.h>

#include "base/err.h"

enum { S3_BUCKET = 64, S3_PREFIX = 512, S3_BASE = 1024 };

struct s3_place {
    char bucket[S3_BUCKET], prefix[S3_PREFIX]; /* the prefix is "" or ends in '/' */
    char base[S3_BASE];                        /* URL of the prefix: an object's name is put behind it */
};

/* endpoint: "https://minio.example:9000" (the bucket is then in the path), or "" for Amazon's in that region (and then in the name).
 * ERR_REQUEST says what is wrong. */
bool s3_place_parse(struct s3_place *p, const char *where, const char *endpoint, const char *region,
                    struct err *e);

#endif
