/* json_scan.h - a forward-only reader for the large, flat JSON of model files: a safetensors header or an index of
 * shards holds a hundred thousand entries, of which a tree would keep five allocations each.
 *
 * Strict JSON (RFC 8259). Each function skips white space first, consumes what it names and answers true, or answers
 * false: then the position is undefined and the caller gives up (`s->p` says where).
 * Memory  none but the caller's: strings are decoded into a pool. */
#ifndef HEARTH_FORMAT_JSON_SCAN_H
#define HEARTH_FORMAT_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_scan {
    const char *p, *end;
    char *
        pool; /* room for as many bytes as were left at p at the start: no string decodes to more than its text. NULL
                 * where strings are skipped only. */
    bool python; /* json_scan_skip() passes over NaN, Infinity and -Infinity too */
};

/* A string, decoded and NUL-terminated in the pool. Refused: control characters, lone surrogates, and U+0000, which a C
 * string cannot hold. The input must be valid UTF-8 already. */
bool json_scan_string(struct json_scan *s, char **out, size_t *len);
bool json_scan_u64(struct json_scan *s, uint64_t *out); /* digits only: no sign, point or exponent */
bool json_scan_char(struct json_scan *s, char c);       /* this structural character, if it is next */
bool json_scan_skip(struct json_scan *s);               /* any value, at most 64 deep */
bool json_scan_end(struct json_scan *s);                /* nothing but white space is left */
/* Is the whole text one value? Takes no memory. */
bool json_scan_valid(const char *text, size_t len);

/* `{` has been consumed: the next key and its colon. *more is false, and nothing else written, at `}`.
 * Start with *first true. */
bool json_scan_key(struct json_scan *s, bool *first, bool *more, char **key, size_t *len);

#endif
