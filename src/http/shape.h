/* shape.h - which JSON values a member of a request or a reply may be, said in a word. One text serves the reader, which refuses what it does not
 * allow (json_in.h), the description at /openapi.json, and the documents.
 *
 *   text, text 1..1000    a string; of so many characters
 *   int, int 1..128       a whole number (5.0 is one)
 *   num 0..2              a number
 *   bool, object, any
 *   'auto'                that string
 *   [X], [X] 1..4         an array of X
 *   {X}, {X} ..16         an object whose members are X
 *   X|Y                   the one or the other
 *   none                  not offered: the reader refuses it by its name
 *
 * An end of a range that is left out is open. "!" in front of the whole: the member has to be there. Shapes are constants of this program; what
 * is wrong with one is a mistake of ours, which shape_test.c finds. */
#ifndef HEARTH_HTTP_SHAPE_H
#define HEARTH_HTTP_SHAPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

bool shape_valid(const char *shape);
bool shape_required(const char *shape);
bool shape_refused(const char *shape); /* "none" */
bool shape_allows(const char *shape, const json_t *v);
/* The range of its first number or string (characters); -HUGE_VAL and HUGE_VAL where an end is open. */
void shape_range(const char *shape, double *min, double *max);
/* What of a value that is not allowed is wrong: *place is where in it ("[2]", "" for itself), *words what should be there. */
const json_t *shape_wrong(const char *shape, const json_t *v, struct buf *place, struct buf *words);
/* "a whole number from 1 to 128, or \"auto\"" */
void shape_words(struct buf *b, const char *shape);
/* As JSON Schema; new, NULL without memory. */
json_t *shape_schema(const char *shape);

#endif
