/* essence.h - what of an answer its request, its seed and its model decide: what is compared when a request is made again.
 *
 * JSON without what differs each time (ids, times, usage, costs, addresses of files), its long strings (pictures) as their SHA-256; of a stream of
 * events the choices put together, however their pieces were cut, and the finished pictures; of other bytes their SHA-256. Printed as JSON, keys
 * in order. Threads any. */
#ifndef HEARTH_SERVICE_ACCOUNT_ESSENCE_H
#define HEARTH_SERVICE_ACCOUNT_ESSENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { ESSENCE_HASH = 65 /* hexadecimal, and the 0 */, ESSENCE_MOST = 64 << 20 };

/* type: the answer's Content-Type. ERR_FORMAT: the bytes are not of that type. */
bool essence_of(const char *type, const char *bytes, size_t len, struct buf *out, struct err *e);
void essence_hash(const struct buf *essence, char out[ESSENCE_HASH]);

/* The first place where two essences differ, for a person: `choices[0].message.content, byte 12: "b" is now "c"`. False: they are the same. */
bool essence_differ(const struct buf *before, const struct buf *now, char *where, size_t cap);

#endif
