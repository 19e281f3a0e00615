/* cbor.h - CBOR (RFC 8949): values written behind each other into a buf, and read out of bytes that nobody trusts.
 *
 * Written  shortest form, definite lengths. An array or a map is its head with a number, then that many items (of a map twice as many).
 * Read     an item at a time, with all that lies in it; nesting past CBOR_DEPTH, strings in pieces and cut items are refused. Nothing is
 *          copied: items point into the bytes.
 * Threads  any; no state between calls. */
#ifndef HEARTH_FORMAT_CBOR_H
#define HEARTH_FORMAT_CBOR_H

#include <stdint.h>

#include "base/buf.h"

enum { CBOR_DEPTH = 16 };
enum cbor_type {
    CBOR_UINT,
    CBOR_NEGATIVE,
    CBOR_BYTES,
    CBOR_TEXT,
    CBOR_ARRAY,
    CBOR_MAP,
    CBOR_TAG,
    CBOR_SIMPLE
};

/* ---- writing: the buf says whether there was room ------------------------------------------------------------------ */

void cbor_put(struct buf *b, enum cbor_type type,
              uint64_t value); /* a head: a number, or how many items follow */
void cbor_put_text(struct buf *b, const char *s);
void cbor_put_bytes(struct buf *b, const void *data, size_t n);
void cbor_put_null(struct buf *b);

/* ---- reading ------------------------------------------------------------------------------------------------------- */

struct cbor { /* what is still to be read */
    const unsigned char *at, *end;
};
struct cbor_item {
    enum cbor_type type;
    uint64_t value; /* UINT itself; NEGATIVE -1 - value; SIMPLE 20 false, 21 true, 22 null; TAG its number */
    const unsigned char *data; /* BYTES, TEXT */
    size_t len;
    struct cbor inside; /* ARRAY its items, MAP names and values in turn, TAG the one item */
};
/* False at the end, or where no item stands: then c->at is not c->end. */
bool cbor_next(struct cbor *c, struct cbor_item *out);
/* The value under a name, or under a number; false: there is none, or `map` is none. */
bool cbor_get(const struct cbor_item *map, const char *name, struct cbor_item *out);
bool cbor_get_int(const struct cbor_item *map, int64_t name, struct cbor_item *out);
bool cbor_is_text(const struct cbor_item *it, const char *s);
/* False, too, where the number does not fit. */
bool cbor_int(const struct cbor_item *it, int64_t *out);

#endif
