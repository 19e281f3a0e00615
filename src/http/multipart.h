/* multipart.h - multipart/form-data (RFC 7578) as a pure function over bytes.
 *
 * Nothing is copied: names, types and contents point into the body; lengths are exact. The same function is what the fuzzer calls. */
#ifndef HEARTH_HTTP_MULTIPART_H
#define HEARTH_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { MULTIPART_MAX_PARTS = 64 };

struct multipart_part {
    const char *name, *file, *type, *data; /* file and type NULL when the part does not say */
    size_t name_len, file_len, type_len, len;
};

struct multipart {
    struct multipart_part part[MULTIPART_MAX_PARTS];
    int n;
};

/* content_type: the request's header, with its boundary. */
bool multipart_parse(struct multipart *out, const char *content_type, const char *body, size_t len,
                     struct err *e);

#endif
