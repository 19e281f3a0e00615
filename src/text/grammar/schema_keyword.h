/* schema_keyword.h - which names in a schema are keywords, and which of the others are mistakes. */
#ifndef HEARTH_TEXT_GRAMMAR_SCHEMA_KEYWORD_H
#define HEARTH_TEXT_GRAMMAR_SCHEMA_KEYWORD_H

enum keyword_kind {
    KEYWORD_ENFORCED,   /* it decides what a value may be, or how the schema is read; or it is refused */
    KEYWORD_ANNOTATION, /* of a draft, of OpenAPI, or of programs that write schemas; x-..., _..., $$... */
    KEYWORD_UNKNOWN,    /* it says something to somebody else */
    KEYWORD_MISTAKE,    /* so close to one that decides something that it cannot be meant otherwise: *meant */
};
enum keyword_kind schema_keyword(const char *name, const char **meant);

#endif
