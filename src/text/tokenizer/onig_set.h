/* onig_set.h - sets of characters as the classes of Oniguruma's regular expressions make them, and as PCRE2 can be told them.
 *
 * A set is an inversion list: at[0] is its first member, at[1] the first character behind that run that is none, and so on, ascending,
 * below ONIG_CHARS.
 * Memory   a set owns its list; {0} is the empty one.
 * Threads  nothing is shared but tables that nobody writes. */
#ifndef HEARTH_TEXT_TOKENIZER_ONIG_SET_H
#define HEARTH_TEXT_TOKENIZER_ONIG_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { ONIG_CHARS = 0x110000 };

/* General categories, in the order of onig_data.c. */
enum onig_category {
    ONIG_LU,
    ONIG_LL,
    ONIG_LT,
    ONIG_LM,
    ONIG_LO,
    ONIG_MN,
    ONIG_MC,
    ONIG_ME,
    ONIG_ND,
    ONIG_NL,
    ONIG_NO,
    ONIG_PC,
    ONIG_PD,
    ONIG_PS,
    ONIG_PE,
    ONIG_PI,
    ONIG_PF,
    ONIG_PO,
    ONIG_SM,
    ONIG_SC,
    ONIG_SK,
    ONIG_SO,
    ONIG_ZS,
    ONIG_ZL,
    ONIG_ZP,
    ONIG_CC,
    ONIG_CF,
    ONIG_CS,
    ONIG_CO,
    ONIG_CN,
    ONIG_N_CATEGORIES,
};

/* Flags of a character beside its category, as bits of a run (onig_data.c). ONIG_WORD is what \w means, ONIG_PUNCT [[:punct:]]. */
enum onig_flag {
    ONIG_ALPHA = 1 << 5,
    ONIG_UPPER = 1 << 6,
    ONIG_LOWER = 1 << 7,
    ONIG_WORD = 1 << 8,
    ONIG_SPACE = 1 << 9,
    ONIG_PUNCT = 1 << 10,
};

extern const uint32_t onig_char_runs[], onig_script_runs[], onig_young_runs[];
extern const size_t n_onig_char_runs, n_onig_script_runs, n_onig_young_runs, n_onig_script_names;
extern const char *const onig_script_names[][2]; /* code and name, lower case, letters only */

struct onig_set {
    uint32_t *at;
    size_t n, cap; /* n is even */
};

void onig_set_free(struct onig_set *s);
bool onig_set_add(struct onig_set *s, uint32_t first, uint32_t last, struct err *e); /* both included */
bool onig_set_unite(struct onig_set *s, const struct onig_set *other, struct err *e);
bool onig_set_intersect(struct onig_set *s, const struct onig_set *other, struct err *e);
bool onig_set_invert(struct onig_set *s, struct err *e);
/* Adds the characters that have a flag, or one of the categories (bits 1 << enum onig_category). */
bool onig_set_add_flag(struct onig_set *s, enum onig_flag flag, struct err *e);
/* What \w means: inside a class the fractions and superscripts below U+0100 are left out. */
bool onig_set_add_word(struct onig_set *s, bool in_class, struct err *e);
bool onig_set_add_categories(struct onig_set *s, uint32_t categories, struct err *e);
/* Adds what \p{name} means; *found false: no such property. The name counts without case, spaces, '-' and '_'. */
bool onig_set_add_property(struct onig_set *s, const char *name, size_t len, bool in_class, bool *found,
                           struct err *e);
/* Adds what [:name:] means inside a class. */
bool onig_set_add_posix(struct onig_set *s, const char *name, size_t len, bool *found, struct err *e);

/* Adds to the set whatever differs from a member in case alone. */
bool onig_set_fold(struct onig_set *s, struct err *e);

/* The set as a class of PCRE2 (with UTF and UCP): categories that are in it as a whole, and ranges. It means the same with any
 * PCRE2 whose tables are of Unicode 14 or later: what later versions of Unicode added is listed. */
bool onig_set_print(const struct onig_set *s, struct buf *out, struct err *e);

#endif
