/* json_in.h - a request's JSON: bounded before it is parsed, then read with errors that name the field.
 *
 * Refused    deeper or more numerous than the limits, duplicate keys, NaN and infinities, numbers out of range, \u0000, text that is
 *            not UTF-8, anything but an object on the outside.
 * Schemas    in members that hold a JSON Schema (schema, json_schema, parameters, input_schema) whole numbers beyond 64 bits are reals:
 *            clients print the largest 64-bit number without a sign as a bound (grammar/schema_scalar.c reads it back). */
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

/* ---- an object by a table --------------------------------------------------------------------------------------------
 *
 * What an object may hold is a table of rows; a reader's row is a struct of its own that begins with a json_member. What stands in no
 * row is refused by its name, or passed over where clients may send what they like. null means "not given" in every row. Nothing else
 * refuses a member of a request. What a row says of the values is what /openapi.json and docs/endpoints.md say (described.def). */
struct json_member {
    const char *name;
    unsigned forms;    /* the forms of this object that know it, one bit of the reader's each */
    const char *shape; /* what it may be (shape.h): held against each value that take() took */
};

struct json_table {
    const void *rows;
    size_t n, size; /* rows, and bytes of one */
    /* Takes a value that is not null; false with the fault set. */
    bool (*take)(void *reader, const void *row, const json_t *v, struct fault *f);
};
#define JSON_TABLE(rows, take)                                                                               \
    {                                                                                                        \
        rows, sizeof rows / sizeof *(rows), sizeof *(rows), take                                             \
    }

/* Where an object stands in a request. */
struct json_place {
    const char *path;  /* leads to it: "" for the body, "messages[3]." */
    const char *param; /* the body's field that it is in (a constant); NULL for the body */
    unsigned form;     /* which form it is of: rows without this bit are unknown */
    bool strict;       /* refuse what is unknown */
};

/* One member, as of a form that has no JSON around its fields. */
bool json_in_member(const struct json_table *t, const struct json_place *p, void *reader, const char *key,
                    const json_t *v, struct fault *f);
/* The first row of that form that has to be there and is not (null counts as missing), or NULL. */
const char *json_in_missing(const struct json_table *t, unsigned form, const json_t *object);
/* Every member of `object` (something else has none), in its order, until the first that is bad. */
bool json_in_object(const struct json_table *t, const struct json_place *p, void *reader,
                    const json_t *object, struct fault *f);
/* The same where names are all there is to know: `known` has them with one space between. */
bool json_in_members(const json_t *object, const char *known, const char *path, bool strict,
                     const char *param, struct fault *f);
/* extra_body is an idiom of one client library that some programs send literally: its members become members of the body, where a
 * member of the body itself wins. */
bool json_in_extra_body(json_t *body, struct fault *f);
/* "NAME must be WHAT, got VALUE". */
bool json_in_bad(const json_t *v, const char *name, const char *what, struct fault *f);

#endif
