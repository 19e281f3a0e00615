/* json_read.h - the JSON configuration files beside a model's weights, in the dialect that Python's json module writes.
 *
 * Beyond RFC 8259   NaN, Infinity and -Infinity become the strings "NaN", "Infinity" and "-Infinity", which
 *                   json_read_number() takes for numbers; a whole number that does not fit 64 bits becomes a real one; of a key that
 *                   is there twice the last value counts; \u0000 may stand in strings.
 * Errors            name the file and the line. A failed allocation is ERR_NOMEM and never called a fault of the file. */
#ifndef HEARTH_FORMAT_JSON_READ_H
#define HEARTH_FORMAT_JSON_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define JSON_READ_MAX (16u << 20) /* bytes; the largest in use have one */

/* *out: an object, the caller's. ERR_NOT_FOUND: no such file. A fault of the content names the file without its folder: clients read it. */
bool json_read_file(json_t **out, const char *path, struct err *e);
/* The same of `len` bytes in memory; the error says the line. */
bool json_read_text(json_t **out, const char *text, size_t len, struct err *e);

/* A number, also one of the three words; `otherwise` for anything else (NULL too). */
double json_read_number(const json_t *v, double otherwise);

/* Says why jansson answered NULL for `text`: sets ERR_NOMEM where memory was short, however jansson put it, and then returns true; false
 * (and *e untouched) when the text itself is at fault. */
bool json_read_no_memory(const json_error_t *why, const char *text, size_t len, struct err *e);

#endif
