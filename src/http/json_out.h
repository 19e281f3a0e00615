/* json_out.h - writes JSON into a buf without building a tree: a chunk of a stream costs one pass over its text. */
#ifndef HEARTH_HTTP_JSON_OUT_H
#define HEARTH_HTTP_JSON_OUT_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

/* A quoted string. Bytes that are not UTF-8 become U+FFFD, so the output is always valid JSON. */
void json_out_str(struct buf *b, const char *s, size_t len);
void json_out_cstr(struct buf *b, const char *s); /* NULL writes null */
/* The shortest form that reads back as the same double (as the same float with `is_float`); not finite: -9999.0, as the API spells
 * "too unlikely". */
void json_out_num(struct buf *b, double v);
void json_out_float(struct buf *b, float v);
/* Bytes in base64 with padding (RFC 4648, 4), without quotes. */
void json_out_base64(struct buf *b, const void *bytes, size_t n);
/* A parsed value, compact, cut to at most `max` bytes (for error messages). */
void json_out_excerpt(struct buf *b, const json_t *v, size_t max);

#endif
