/* gguf.h - GGUF v2/v3 metadata. Format: ggml's docs/gguf.md.
 *
 * Values are typed in the file; the getters convert between integer widths and bool where nothing is lost and
 * answer `fallback` when the key is absent or has another type. Strings are NOT NUL-terminated in the file: they
 * come as pointer and length, and their bytes are whatever the file holds (tokens need not be UTF-8). Keys are
 * printable.
 *
 * The parser is a pure function over bytes: it allocates tables (at most a small multiple of the file's size) and
 * reads nothing but `data`. Every count, length and offset is checked against `size` first.
 * Lifetime  values and tensors point into `data`, which must outlive the struct gguf.
 * Threads   read-only after parsing. */
#ifndef HEARTH_FORMAT_GGUF_H
#define HEARTH_FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

struct gguf_str {
    const char *data;
    size_t len;
};

struct gguf_value {
    struct gguf_str key;
    enum gguf_type type; /* of the value, or of the elements of an array */
    bool is_array;
    uint64_t n;       /* array elements; 1 for a scalar */
    const void *data; /* scalars and arrays of scalars: the raw little-endian elements, maybe unaligned */
    const struct gguf_str *s; /* strings and arrays of strings */
};

struct gguf;
struct tensor_table;

bool gguf_parse(struct gguf **out, const uint8_t *data, size_t size, struct err *e);
void gguf_free(struct gguf *g);
const struct tensor_table *gguf_tensors(const struct gguf *g);
uint32_t gguf_version(const struct gguf *g);

size_t gguf_count(const struct gguf *g);
const struct gguf_value *gguf_at(const struct gguf *g, size_t i);
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);

int64_t gguf_int(const struct gguf *g, const char *key, int64_t fallback);
double gguf_float(const struct gguf *g, const char *key, double fallback);
bool gguf_bool(const struct gguf *g, const char *key, bool fallback);
struct gguf_str gguf_string(const struct gguf *g, const char *key);               /* {NULL,0} when absent */
int64_t gguf_value_int(const struct gguf_value *v, uint64_t i, int64_t fallback); /* element i */
double gguf_value_float(const struct gguf_value *v, uint64_t i, double fallback);

#endif
