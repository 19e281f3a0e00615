/* pretoken.h - cutting text into the pieces that merging never crosses.
 *
 * A pretoken is a list of steps, each applied to the pieces of the one before, as the `pre_tokenizer` of a tokenizer.json lists them.
 * Most cut. Some rewrite the text (ByteLevel, Metaspace), and those behind them work on what they made: a piece is handed out as the
 * text that it stands for, so that only the steps know. Patterns that published models use are recognised by their text and run as
 * hand-written scanners (pretoken_scan.c); any other is Oniguruma's, translated for PCRE2 (onig_regex.h). Both answer alike, which
 * pretoken_test.c checks.
 * Threads  read-only after building; a pretoken_run has one owner. */
#ifndef HEARTH_TEXT_TOKENIZER_PRETOKEN_H
#define HEARTH_TEXT_TOKENIZER_PRETOKEN_H

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

enum { PRETOKEN_MAX_STEPS = 24 };

struct pretoken;

bool pretoken_new(struct pretoken **out, const struct unicode *u,
                  struct err *e); /* no steps: the text is one piece */
void pretoken_free(struct pretoken *p);

/* Appends a split. force_pcre2 keeps a known pattern from its scanner (for the tests). */
bool pretoken_add(struct pretoken *p, const char *pattern, size_t len, enum split_behavior behavior,
                  bool invert, bool force_pcre2, struct err *e);
/* A split at a literal string. */
bool pretoken_add_literal(struct pretoken *p, const char *literal, size_t len, enum split_behavior behavior,
                          bool invert, struct err *e);
/* The steps of a GGUF file's `tokenizer.ggml.pre` (pretoken_named.c). ERR_UNSUPPORTED for a name that is not known. *flags (or NULL):
 * what else goes with the name. */
enum pretoken_flag {
    NAMED_WHOLE_WORDS = 1, /* a whole word is looked up before merging (tokenizer.json: ignore_merges) */
    NAMED_BEGINS = 2,      /* texts begin with the beginning token unless the file says otherwise */
    NAMED_NFC = 4,         /* text is normalised so */
};
bool pretoken_add_named(struct pretoken *p, const char *name, size_t len, unsigned *flags, struct err *e);

/* From here on the steps see bytes in GPT-2's alphabet. At most one of this and the next. */
bool pretoken_add_bytes(struct pretoken *p, struct err *e);
/* From here on the steps see U+2581 for each space. */
bool pretoken_add_low_lines(struct pretoken *p, struct err *e);
/* Puts a space in front of each piece that does not begin with one (ByteLevel's add_prefix_space). */
bool pretoken_add_space(struct pretoken *p, struct err *e);

/* Metaspace: U+2581 for each space, and one in front of pieces that do not begin with one. */
enum meta_prefix { META_NEVER, META_ALWAYS, META_FIRST /* only of the piece that begins the whole text */ };
/* `mark` is how U+2581 is written from there on: itself, or a space. */
bool pretoken_add_meta(struct pretoken *p, enum meta_prefix prefix, const char *mark, struct err *e);

/* Whether pieces lie in memory of their own, each as long as it is handed out; else all of a call's lie in one text. */
bool pretoken_moves(const struct pretoken *p);

/* The memory that running PCRE2 takes; {0} to begin with. */
struct pretoken_run {
    void *match, *context, *stack;
};
void pretoken_run_free(struct pretoken_run *r);

/* Calls piece() for each piece of s[n], in order; s is valid UTF-8, and with `first` the beginning of the whole text. Stops when it
 * answers false. */
bool pretoken_split(const struct pretoken *p, struct pretoken_run *r, const char *s, size_t n, bool first,
                    bool (*piece)(void *arg, const char *s, size_t n, struct err *e), void *arg,
                    struct err *e);

#endif
