/* pretoken.h - cutting text into the pieces that merging never crosses.
 *
 * A pretoken is a list of splits, each applied to the pieces of the one before, as the `pre_tokenizer` of a
 * tokenizer.json lists them. Patterns that published models use are recognised by their text and run as hand-written
 * scanners (pretoken_scan.c); any other goes to PCRE2. Both answer alike, which pretoken_test.c checks.
 * Threads  read-only after building; a pretoken_run has one owner. */
#ifndef HEARTH_TEXT_PRETOKEN_H
#define HEARTH_TEXT_PRETOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "text/unicode.h"

/* What becomes of a match, by the names of the tokenizers library. */
enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
};

enum { PRETOKEN_MAX_SPLITS = 8 };

struct pretoken;

bool pretoken_new(struct pretoken **out, const struct unicode *u,
                  struct err *e); /* no splits: the text is one piece */
void pretoken_free(struct pretoken *p);

/* Appends a split. force_pcre2 keeps a known pattern from its scanner (for the tests). */
bool pretoken_add(struct pretoken *p, const char *pattern, size_t len, enum split_behavior behavior,
                  bool invert, bool force_pcre2, struct err *e);
/* A split at a literal string. */
bool pretoken_add_literal(struct pretoken *p, const char *literal, size_t len, enum split_behavior behavior,
                          bool invert, struct err *e);
/* The splits of a GGUF file's `tokenizer.ggml.pre`. ERR_UNSUPPORTED for a name that is not known. */
bool pretoken_add_named(struct pretoken *p, const char *name, size_t len, struct err *e);

/* The memory that running PCRE2 takes; {0} to begin with. */
struct pretoken_run {
    void *match, *context, *stack;
};
void pretoken_run_free(struct pretoken_run *r);

/* Calls piece() for each piece of s[n], in order; s is valid UTF-8. Stops when it answers false. */
bool pretoken_split(const struct pretoken *p, struct pretoken_run *r, const char *s, size_t n,
                    bool (*piece)(void *arg, const char *s, size_t n, struct err *e), void *arg,
                    struct err *e);

#endif
