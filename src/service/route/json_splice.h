/* json_splice.h - changes one member of a JSON object and leaves every other byte as it was: what passes through is not printed anew.
 *
 * Input    an object that a parser has accepted; of anything else the functions say no, and read nothing outside it.
 * Names    are compared as they are spelled, members of the outermost object only. */
#ifndef HEARTH_SERVICE_ROUTE_JSON_SPLICE_H
#define HEARTH_SERVICE_ROUTE_JSON_SPLICE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct json_span {
    size_t from, to;   /* of the member with one comma beside it: what goes when it is dropped */
    size_t value, end; /* of its value */
};
/* The member `key` of the object s[len]. */
bool json_splice_find(const char *s, size_t len, const char *key, struct json_span *out);

/* Appends s[len] to *out with `key` having this value (JSON), in its place or as the first member. */
bool json_splice_set(struct buf *out, const char *s, size_t len, const char *key, const char *value,
                     size_t n);
/* Appends s[len] to *out without `key`. */
bool json_splice_drop(struct buf *out, const char *s, size_t len, const char *key);

#endif
