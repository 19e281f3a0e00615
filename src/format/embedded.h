/* embedded.h - where a picture's file keeps its C2PA manifest, a block of bytes beside the pixels: a caBX chunk of a PNG, APP11 segments of a JPEG
 * (ISO 19566-5), a C2PA chunk of a WebP.
 *
 * Threads  any; no state between calls. */
#ifndef HEARTH_FORMAT_EMBEDDED_H
#define HEARTH_FORMAT_EMBEDDED_H

#include "base/buf.h"
#include "base/err.h"

/* Which bytes of a file it takes, headers of chunks included. */
struct embedded_span {
    size_t start, len;
};

/* Puts n bytes into a picture's file, which has none yet, in place. *at: where they lie now. The same n always takes the same span of a file,
 * so that bytes may be put there of which only the length is known, and the right ones over them (embedded_fill()). ERR_FORMAT: no picture of these kinds. */
bool embedded_put(struct buf *file, const void *manifest, size_t n, struct embedded_span *at, struct err *e);
/* The same span with other bytes, as many. */
void embedded_fill(struct buf *file, const struct embedded_span *at, const void *manifest, size_t n);

/* The manifest of a file of anybody's, appended to *manifest, which stays empty where the file has none: that is no error.
 * ERR_FORMAT: no picture of these kinds, one that is cut off or damaged, or more than one manifest. */
bool embedded_find(const void *file, size_t n, struct buf *manifest, struct embedded_span *at, struct err *e);

#endif
