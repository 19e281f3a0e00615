/* onig_class.h - the parts of Oniguruma's regular expressions that name sets of characters: [classes], escapes, \p{properties}. */
#ifndef HEARTH_TEXT_TOKENIZER_ONIG_CLASS_H
#define HEARTH_TEXT_TOKENIZER_ONIG_CLASS_H

#include "text/tokenizer/onig_set.h"

/* A place in a pattern, which is valid UTF-8. */
struct onig_text {
    const char *s;
    size_t i, n;
};

/* Always false: *e says what is refused and where. */
bool onig_refuse(const struct onig_text *t, const char *what, struct err *e);

/* Behind the "[": up to and with the "]" that ends it. Without case, whatever differs from a member in case alone is one too. */
bool onig_class_parse(struct onig_text *t, bool icase, struct onig_set *out, struct err *e);
/* At the "p" or "P" of \p{name}. */
bool onig_class_property(struct onig_text *t, bool in_class, struct onig_set *out, struct err *e);
/* Behind a backslash: a set (\w and its like) or one character. */
bool onig_class_escape(struct onig_text *t, bool in_class, struct onig_set *out, bool *is_set, uint32_t *c,
                       struct err *e);

/* The characters that stand for two or three letters when case does not count, as U+00DF for "ss". {0}: not looked up yet. */
struct onig_foldings {
    struct {
        uint32_t c, letter[3];
        size_t n;
    } of[128];
    size_t n;
};
/* Whether there is one for the first two or three of these letters. */
bool onig_folds_together(struct onig_foldings *f, const uint32_t *letters, size_t n);
/* Whether the character is one. */
bool onig_folds_apart(struct onig_foldings *f, uint32_t c);

#endif
