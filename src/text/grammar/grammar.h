/* grammar.h - constraints that are no JSON Schema: grammars in GBNF, in which names may stand for JSON that meets a schema, and regular
 * expressions. Their matchers are matcher.h's. */
#ifndef HEARTH_TEXT_GRAMMAR_GRAMMAR_H
#define HEARTH_TEXT_GRAMMAR_GRAMMAR_H

#include <jansson.h>
#include <stddef.h>

#include "text/grammar/matcher.h"

struct grammar_limits; /* rules.h; NULL: the default ones */

/* gbnf[len]: rules in GBNF (llama.cpp's notation), the first symbol `root`. schemas: NULL, or an object: where the grammar uses a name that
 * it does not define and that is a key here, JSON stands there that meets the schema. ERR_REQUEST: it is wrong, with line and column;
 * ERR_LIMIT: it is too complex. */
bool constraint_of_grammar(struct constraint **out, const char *gbnf, size_t len, const json_t *schemas,
                           const struct grammar_limits *l, struct free_masks *f, struct err *e);
/* What the expression matches as a whole, as ECMA-262 means it. */
bool constraint_of_regex(struct constraint **out, const char *pattern, size_t len, struct free_masks *f,
                         struct err *e);

#endif
