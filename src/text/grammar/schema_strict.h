/* schema_strict.h - the rules of OpenAI's strict mode for a schema, checked before it is compiled. */
#ifndef HEARTH_TEXT_GRAMMAR_SCHEMA_STRICT_H
#define HEARTH_TEXT_GRAMMAR_SCHEMA_STRICT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/* The root is an object without anyOf; every object is closed (additionalProperties false) and requires all of its properties; no keyword
 * but those that strict mode has; at most 5000 properties, 10 levels, 1000 enum values and 120,000 bytes of names and constants.
 * what: leads the message, "response_format 'answer'": "Invalid schema for WHAT: In context=('properties', 'a'), ...", as OpenAI writes it.
 * ERR_REQUEST: a rule is broken. */
bool schema_strict_check(const json_t *schema, const char *what, struct err *e);

#endif
