/* unicode.h - UTF-8, the character classes of pre-tokenizer patterns, and normal forms.
 *
 * Classes  those of Unicode 16, as the reference tokenizer's regex engine has them (unicode_data.c is probed from it);
 *          normal forms come from libunistring.
 * Threads  everything here is read-only after unicode_new(). */
#ifndef HEARTH_TEXT_UNICODE_H
#define HEARTH_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum unicode_class {
    UC_UPPER = 1,    /* Lu, Lt */
    UC_LOWER = 2,    /* Ll */
    UC_CASELESS = 4, /* Lm, Lo */
    UC_MARK = 8,     /* M */
    UC_NUMBER = 16,  /* N */
    UC_PUNCT = 32,   /* P */
    UC_SYMBOL = 64,  /* S */
    UC_SPACE = 128,  /* White_Space, what \s means */
    UC_NFC = 256,    /* NFC may change it, move it, or join it to what stands before */
    UC_LETTER = UC_UPPER | UC_LOWER | UC_CASELESS,
};

extern const uint32_t unicode_runs[]; /* (first code point << 9) | class bits, ascending */
extern const size_t n_unicode_runs;

/* The runs spread into a two-level table, pages of 128 code points, equal pages shared: about 100 KB. */
struct unicode {
    uint16_t page[0x110000 / 128]; /* index of a page's first cell, in pages */
    uint16_t cell[];
};

struct unicode *unicode_new(struct err *e); /* free() */

static inline unsigned unicode_class(const struct unicode *u, uint32_t cp) /* cp < 0x110000 */
{
    return u->cell[(size_t)u->page[cp >> 7] << 7 | (cp & 127)];
}

/* Whether a character that is neither letter nor mark is part of a word all the same, as \w of the reference's regex has it: digits,
 * letter numbers, circled letters, what joins words; not other numbers, as superscripts. */
bool unicode_joins_words(uint32_t cp);

/* The character at s, which must be valid UTF-8; its length into *n. */
static inline uint32_t utf8_get(const unsigned char *s, unsigned *n)
{
    if (s[0] < 0x80) return *n = 1, s[0];
    if (s[0] < 0xe0) return *n = 2, (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
    if (s[0] < 0xf0) return *n = 3, (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    return *n = 4, (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

/* Bytes that cp < 0x110000 takes, written to out[4]. */
unsigned utf8_put(uint32_t cp, char *out);

/* How the bytes at s[n] (n > 0) begin:
 *   > 0  a whole character of that many bytes;
 *   < 0  a bad sequence of that many bytes, which Python's errors="replace" turns into one U+FFFD (the longest beginning
 *        of a character, or one byte);
 *     0  a beginning that more bytes may complete. */
int utf8_step(const unsigned char *s, size_t n);

/* Bytes of the longest valid beginning of s[n]. */
size_t utf8_valid(const char *s, size_t n);

/* A piece of text with its mask (text/tokenizer/tokenizer.h: data), either borrowed or grown by a function below. */
struct masked {
    char *text;
    unsigned char *mask; /* NULL: none */
    size_t len, cap;
};
void masked_free(struct masked *m);
/* Room for `extra` more bytes; with a mask when want_mask. */
bool masked_reserve(struct masked *m, size_t extra, bool want_mask, struct err *e);
void masked_put(struct masked *m, const char *s, size_t n, unsigned char mask); /* after reserving */

/* out = text with every bad sequence replaced by U+FFFD. */
bool utf8_repair(const char *text, const unsigned char *mask, size_t len, struct masked *out, struct err *e);

enum unicode_form { FORM_NONE, FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD };

/* Whether the form may differ from the text itself; a quick look that errs on the side of yes. */
bool unicode_may_change(const struct unicode *u, enum unicode_form form, const char *text, size_t len);
/* out = the normal form. A mask byte of a result is set when any byte it was made from had it set. */
bool unicode_normalize(const struct unicode *u, enum unicode_form form, const char *text,
                       const unsigned char *mask, size_t len, struct masked *out, struct err *e);

#endif
