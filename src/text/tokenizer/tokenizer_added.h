/* tokenizer_added.h - tokens that are cut out of the text by their spelling, before anything else looks at it.
 *
 * Matching  leftmost, then longest. A `markup` token is one that a person must not be able to say: those flagged
 *           special or control, and those spelled like a tag (<...> or [...]), as <think> or [INST].
 * Memory    texts are borrowed from whoever fills `text`.
 * Threads   read-only after added_sort(). */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_ADDED_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/unicode.h"

struct added {
    const char *text;
    size_t len;
    int32_t id;
    bool markup;
    bool single_word;    /* only between characters that are not part of a word */
    bool lstrip, rstrip; /* white space on that side belongs to it */
};

struct added_set {
    struct added *tok; /* sorted by text */
    size_t n, cap;
    bool begins[256];    /* whether any token begins with this byte */
    int only;            /* the byte that all begin with, as '<' nearly always is; -1: there are several */
    bool marked;         /* ' ' stands for U+2581 in the text: no white space, so nothing strips it */
    bool prefixed;       /* a token is found only behind such a one, which it takes with it */
    uint32_t first[257]; /* tokens that begin with byte b: tok[first[b]] .. tok[first[b + 1]] */
};

bool added_push(struct added_set *s, struct added a, struct err *e); /* the empty text is ignored */
void added_sort(struct added_set *s); /* of equal texts, the first pushed stays */
void added_free(struct added_set *s);

/* Whether a token spelled like this is a tag. */
bool added_is_tag(const char *s, size_t n);
/* Whether it is spelled as chat formats spell their control tokens: <|...|> or <｜...｜>. */
bool added_is_control(const char *s, size_t n);

struct added_match {
    size_t start, end; /* white space that the token takes with it included */
    size_t next;       /* where the search goes on: white space behind may be a token as well */
    int32_t id;
};
/* The first match in text[from..n), of which text[..taken) belongs to the match before. Markup counts only with `markup`, and only
 * where mask (NULL: all 0) is 0. */
bool added_find(const struct added_set *s, const struct unicode *u, const char *text,
                const unsigned char *mask, size_t from, size_t taken, size_t n, bool markup,
                struct added_match *out);

/* Bytes of the longest token that text[n] begins with, whatever its settings; 0: none. */
size_t added_prefix(const struct added_set *s, const char *text, size_t n);

/* The token with exactly this text, or -1. */
int32_t added_lookup(const struct added_set *s, const char *text, size_t n);

#endif
