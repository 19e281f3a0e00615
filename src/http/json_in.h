/* json_in.h - a request's JSON: bounded before it is parsed, then read with errors that name the field.
 *
 * Refused    deeper or more numerous than the limits, duplicate keys, NaN and infinities, numbers out of range, \u0000, text that is
 *            not UTF-8, anything but an object on the outside. */
#ifndef HEARTH_HTTP_JSON_IN_H
#define HEARTH_HTTP_JSON_IN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/request.h"

struct json_limits {
    int depth; /* nesting of objects and arrays */
    int64_t
        values; /* a value costs some forty bytes of memory whatever its spelling, so they are counted first */
};

bool json_in_parse(const char *s, size_t len, const struct json_limits *l, json_t **out, struct fault *f);

/* Each takes a value that is not null, checks type and range and writes *out; false sets the fault with `name` as its parameter. `name`
 * must outlive the fault. max of INT64_MAX or HUGE_VAL: no upper end worth naming. */
bool json_in_int(const json_t *v, const char *name, int64_t min, int64_t max, int64_t *out, struct fault *f);
bool json_in_num(const json_t *v, const char *name, double min, double max, double *out, struct fault *f);
bool json_in_bool(const json_t *v, const char *name, bool *out, struct fault *f);
bool json_in_str(const json_t *v, const char *name, const char **out, struct fault *f);
/* Members that no API defines are refused or ignored here, at whatever depth of a request they stand. `where` leads to the object they are
 * in ("" for the body, "messages[3]."), `param` is the body's field (a constant) or NULL. True when not strict. */
bool json_in_unknown(const char *where, const char *key, const json_t *v, bool strict, const char *param,
                     struct fault *f);
/* The same for every member of `object` that is not among `known`, names with one space between them. */
bool json_in_members(const json_t *object, const char *known, const char *where, bool strict,
                     const char *param, struct fault *f);
/* "NAME must be WHAT, got VALUE". */
bool json_in_bad(const json_t *v, const char *name, const char *what, struct fault *f);

#endif
