/* constraint_cache.h - constraints over one vocabulary, compiled once and kept by their content.
 *
 * Bounds    so many constraints and so many bytes; the one that was not asked for the longest goes first. A constraint that somebody holds
 *           lives on until it is let go of.
 * Threads   any; two that ask for the same compile it twice at worst. */
#ifndef HEARTH_TEXT_GRAMMAR_CONSTRAINT_CACHE_H
#define HEARTH_TEXT_GRAMMAR_CONSTRAINT_CACHE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/grammar/matcher.h"
#include "text/tokenizer/tokenizer.h"

struct constraint_cache;

/* tok: borrowed. Costs nothing before the first constraint. */
bool constraint_cache_new(struct constraint_cache **out, const struct tokenizer *tok, struct err *e);
void constraint_cache_free(struct constraint_cache *c); /* nothing of it may be held */

const struct tokenizer *constraint_cache_tokenizer(const struct constraint_cache *c);
/* Bits [(n_vocab + 31) / 32] of the tokens that end a text. */
const uint32_t *constraint_cache_ends(const struct constraint_cache *c);
/* The bytes of text tokens, once there has been a constraint; *len 0: the token is part of no text, or a control token. */
const char *constraint_cache_text(const struct constraint_cache *c, int32_t id, size_t *len);

enum constraint_kind {
    CONSTRAINT_SCHEMA,  /* JSON that meets `schema` */
    CONSTRAINT_GRAMMAR, /* GBNF `text`, whose names may be keys of `schema` (grammar.h) */
    CONSTRAINT_REGEX    /* `text` */
};
struct constraint_source {
    enum constraint_kind kind;
    const json_t *schema;
    const char *text;
    size_t len;
    bool
        marks; /* grammar: control tokens that a literal spells are these tokens; else no control token is ever allowed */
    bool closed;               /* objects that list properties and say nothing of others admit no others */
    const atomic_bool *cancel; /* once set, compiling ends soon with ERR_CANCELLED; NULL: never */
};

/* Control tokens are bytes that no text has, as constraints see them: this one, and then the text. */
#define CONTROL_MARK "\xff"

/* The caller holds it once more, and lets go with constraint_free(). ERR_REQUEST, ERR_UNSUPPORTED, ERR_LIMIT: as schema_compile() and
 * constraint_of_grammar() say them. */
bool constraint_cache_get(struct constraint_cache *c, const struct constraint_source *s,
                          struct constraint **out, struct err *e);

#endif
