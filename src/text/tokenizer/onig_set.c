/* onig_set.c - see onig_set.h. */
#include "text/tokenizer/onig_set.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>

void onig_set_free(struct onig_set *s)
{
    free(s->at);
    *s = (struct onig_set){ 0 };
}

static bool reserve(struct onig_set *s, size_t extra, struct err *e)
{
    if (s->cap - s->n >= extra) return true;
    size_t cap = s->n + extra + s->cap / 2 + 16;
    uint32_t *at = realloc(s->at, cap * sizeof *at);
    if (!at) return err_set(e, ERR_NOMEM, "no memory for a class of characters");
    s->at = at;
    s->cap = cap;
    return true;
}

static bool onig_set_has(const struct onig_set *s, uint32_t c)
{
    size_t lo = 0, hi = s->n; /* how many borders are at or before c */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->at[mid] <= c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo & 1;
}

/* s = the characters whose membership in (s, other) is one that `table` has: bit 0 neither, 1 s, 2 other, 3 both. */
static bool combine(struct onig_set *s, const struct onig_set *other, unsigned table, struct err *e)
{
    struct onig_set r = { 0 };
    if (!reserve(&r, s->n + other->n + 2, e)) return false;
    unsigned state = 0;
    bool in = false;
    uint32_t c = 0;
    for (size_t i = 0, k = 0; c < ONIG_CHARS;) {
        while (i < s->n && s->at[i] == c) state ^= 1, i++;
        while (k < other->n && other->at[k] == c) state ^= 2, k++;
        if ((table >> state & 1) != in) {
            in = !in;
            r.at[r.n++] = c;
        }
        c = ONIG_CHARS;
        if (i < s->n) c = s->at[i];
        if (k < other->n && other->at[k] < c) c = other->at[k];
    }
    if (in) r.at[r.n++] = ONIG_CHARS;
    free(s->at);
    *s = r;
    return true;
}

bool onig_set_unite(struct onig_set *s, const struct onig_set *other, struct err *e)
{
    return combine(s, other, 0xe, e);
}

bool onig_set_intersect(struct onig_set *s, const struct onig_set *other, struct err *e)
{
    return combine(s, other, 0x8, e);
}

static bool subtract(struct onig_set *s, const struct onig_set *other, struct err *e)
{
    return combine(s, other, 0x2, e);
}

bool onig_set_invert(struct onig_set *s, struct err *e)
{
    return combine(s, &(struct onig_set){ 0 }, 0x1, e);
}

bool onig_set_add(struct onig_set *s, uint32_t first, uint32_t last, struct err *e)
{
    uint32_t at[2] = { first, last + 1 };
    return onig_set_unite(s, &(struct onig_set){ at, 2, 2 }, e);
}

/* Behind everything that is there already, so a set can be made run by run. */
static bool append(struct onig_set *s, uint32_t first, uint32_t end, struct err *e)
{
    if (s->n && s->at[s->n - 1] == first) {
        s->at[s->n - 1] = end;
        return true;
    }
    if (!reserve(s, 2, e)) return false;
    s->at[s->n++] = first;
    s->at[s->n++] = end;
    return true;
}

static uint32_t end_of(const uint32_t *runs, size_t n, size_t i, unsigned shift)
{
    return i + 1 < n ? runs[i + 1] >> shift : ONIG_CHARS;
}

/* The runs of which (value & mask) is `value`, or whose category is among `categories`. */
static bool add_runs(struct onig_set *s, unsigned flag, uint32_t categories, struct err *e)
{
    struct onig_set r = { 0 };
    bool ok = true;
    for (size_t i = 0; ok && i < n_onig_char_runs; i++) {
        uint32_t bits = onig_char_runs[i] & 0x7ff;
        if (!(bits & flag) && !(categories >> (bits & 31) & 1)) continue;
        ok = append(&r, onig_char_runs[i] >> 11, end_of(onig_char_runs, n_onig_char_runs, i, 11), e);
    }
    ok = ok && onig_set_unite(s, &r, e);
    onig_set_free(&r);
    return ok;
}

bool onig_set_add_flag(struct onig_set *s, enum onig_flag flag, struct err *e)
{
    return add_runs(s, flag, 0, e);
}

bool onig_set_add_categories(struct onig_set *s, uint32_t categories, struct err *e)
{
    return add_runs(s, 0, categories, e);
}

bool onig_set_add_word(struct onig_set *s, bool in_class, struct err *e)
{
    uint32_t odd[] = { 0xb2, 0xb4, 0xb9, 0xba, 0xbc, 0xbf };
    struct onig_set word = { 0 };
    bool ok = onig_set_add_flag(&word, ONIG_WORD, e) &&
              (!in_class || subtract(&word, &(struct onig_set){ odd, 6, 6 }, e)) &&
              onig_set_unite(s, &word, e);
    onig_set_free(&word);
    return ok;
}

#define BIT(x) (1u << ONIG_##x)
#define LETTERS (BIT(LU) | BIT(LL) | BIT(LT) | BIT(LM) | BIT(LO))
#define MARKS (BIT(MN) | BIT(MC) | BIT(ME))
#define NUMBERS (BIT(ND) | BIT(NL) | BIT(NO))
#define PUNCTUATION (BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO))
#define SYMBOLS (BIT(SM) | BIT(SC) | BIT(SK) | BIT(SO))
#define SEPARATORS (BIT(ZS) | BIT(ZL) | BIT(ZP))
#define OTHERS (BIT(CC) | BIT(CF) | BIT(CS) | BIT(CO) | BIT(CN))
#define EVERYTHING ((1u << ONIG_N_CATEGORIES) - 1)

static const struct {
    const char *names; /* between spaces */
    uint32_t categories;
} general[] = {
    { " lu uppercaseletter ", BIT(LU) },
    { " ll lowercaseletter ", BIT(LL) },
    { " lt titlecaseletter ", BIT(LT) },
    { " lm modifierletter ", BIT(LM) },
    { " lo otherletter ", BIT(LO) },
    { " lc casedletter ", BIT(LU) | BIT(LL) | BIT(LT) },
    { " l letter ", LETTERS },
    { " mn nonspacingmark ", BIT(MN) },
    { " mc spacingmark ", BIT(MC) },
    { " me enclosingmark ", BIT(ME) },
    { " m mark combiningmark ", MARKS },
    { " nd decimalnumber digit ", BIT(ND) },
    { " nl letternumber ", BIT(NL) },
    { " no othernumber ", BIT(NO) },
    { " n number ", NUMBERS },
    { " pc connectorpunctuation ", BIT(PC) },
    { " pd dashpunctuation ", BIT(PD) },
    { " ps openpunctuation ", BIT(PS) },
    { " pe closepunctuation ", BIT(PE) },
    { " pi initialpunctuation ", BIT(PI) },
    { " pf finalpunctuation ", BIT(PF) },
    { " po otherpunctuation ", BIT(PO) },
    { " p punctuation punct ", PUNCTUATION },
    { " sm mathsymbol ", BIT(SM) },
    { " sc currencysymbol ", BIT(SC) },
    { " sk modifiersymbol ", BIT(SK) },
    { " so othersymbol ", BIT(SO) },
    { " s symbol ", SYMBOLS },
    { " zs spaceseparator ", BIT(ZS) },
    { " zl lineseparator ", BIT(ZL) },
    { " zp paragraphseparator ", BIT(ZP) },
    { " z separator ", SEPARATORS },
    { " cc control cntrl ", BIT(CC) },
    { " cf format ", BIT(CF) },
    { " cs surrogate ", BIT(CS) },
    { " co privateuse ", BIT(CO) },
    { " cn unassigned ", BIT(CN) },
    { " c other ", OTHERS },
    { " any ", EVERYTHING },
    { " assigned ", EVERYTHING & ~BIT(CN) },
};

static const struct {
    const char *names;
    enum onig_flag flag;
} flags[] = {
    { " alpha alphabetic ", ONIG_ALPHA },
    { " upper uppercase ", ONIG_UPPER },
    { " lower lowercase ", ONIG_LOWER },
    { " space whitespace ", ONIG_SPACE },
};

/* The name between two spaces, without what does not count; false when it is none. */
static bool key_of(const char *name, size_t len, char *key, size_t size)
{
    size_t n = 1;
    key[0] = ' ';
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == ' ' || c == '-' || c == '_') continue;
        if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
        if (n + 3 > size || (unsigned char)c < '!') return false;
        key[n++] = c;
    }
    key[n] = ' ';
    key[n + 1] = 0;
    return n > 1;
}

/* What bracket expressions and properties both know. */
static bool add_common(struct onig_set *s, const char *key, bool in_class, bool *found, struct err *e)
{
    *found = true;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strstr(flags[i].names, key)) return onig_set_add_flag(s, flags[i].flag, e);
    if (strcmp(key, " word ") == 0) return onig_set_add_word(s, in_class, e);
    if (strcmp(key, " alnum ") == 0)
        return onig_set_add_flag(s, ONIG_ALPHA, e) && onig_set_add_categories(s, BIT(ND), e);
    if (strcmp(key, " ascii ") == 0) return onig_set_add(s, 0, 127, e);
    if (strcmp(key, " blank ") == 0)
        return onig_set_add_categories(s, BIT(ZS), e) && onig_set_add(s, '\t', '\t', e);
    if (strcmp(key, " cntrl ") == 0) return onig_set_add_categories(s, BIT(CC), e);
    if (strcmp(key, " digit ") == 0) return onig_set_add_categories(s, BIT(ND), e);
    if (strcmp(key, " xdigit ") == 0)
        return onig_set_add(s, '0', '9', e) && onig_set_add(s, 'A', 'F', e) && onig_set_add(s, 'a', 'f', e);
    if (strcmp(key, " print ") == 0 || strcmp(key, " graph ") == 0) {
        uint32_t not = BIT(CC) | BIT(CN) | BIT(CS) | (key[1] == 'g' ? SEPARATORS : BIT(ZL) | BIT(ZP));
        return onig_set_add_categories(s, EVERYTHING & ~not, e);
    }
    return *found = false, true;
}

/* A property that libunistring knows by the same name: its letters only, first ones large. */
static bool add_binary(struct onig_set *s, const char *key, bool *found, struct err *e)
{
    static const char *const known[] = { "Ideographic",
                                         "Unified_Ideograph",
                                         "Math",
                                         "Dash",
                                         "Hex_Digit",
                                         "ASCII_Hex_Digit",
                                         "Quotation_Mark",
                                         "Diacritic",
                                         "Extender",
                                         "Emoji",
                                         "Emoji_Presentation",
                                         "Emoji_Modifier",
                                         "Emoji_Modifier_Base",
                                         "Emoji_Component",
                                         "Extended_Pictographic",
                                         "ID_Start",
                                         "ID_Continue",
                                         "XID_Start",
                                         "XID_Continue",
                                         "Default_Ignorable_Code_Point",
                                         "Variation_Selector",
                                         "Cased",
                                         "Case_Ignorable",
                                         "Terminal_Punctuation",
                                         "Sentence_Terminal",
                                         "Join_Control",
                                         "Regional_Indicator",
                                         "Hyphen",
                                         "Radical" };
    *found = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char name[64];
        if (!key_of(known[i], strlen(known[i]), name, sizeof name) || strcmp(name, key) != 0) continue;
        uc_property_t p = uc_property_byname(known[i]);
        if (!uc_property_is_valid(p)) return true;
        *found = true;
        struct onig_set r = { 0 };
        bool ok = true;
        for (uint32_t c = 0; ok && c < ONIG_CHARS; c++)
            if (uc_is_property(c, p)) ok = append(&r, c, c + 1, e);
        ok = ok && onig_set_unite(s, &r, e);
        onig_set_free(&r);
        return ok;
    }
    return true;
}

static bool add_script(struct onig_set *s, const char *key, bool *found, struct err *e)
{
    const size_t len = strlen(key) - 2;
    uint32_t number = 0;
    for (size_t i = 0; !number && i < n_onig_script_names; i++)
        for (int k = 0; k < 2; k++)
            if (strlen(onig_script_names[i][k]) == len && memcmp(onig_script_names[i][k], key + 1, len) == 0)
                number = (uint32_t)i + 1;
    *found = number || strcmp(key, " zzzz ") == 0 || strcmp(key, " unknown ") == 0; /* of no script: 0 */
    if (!*found) return true;
    struct onig_set r = { 0 };
    bool ok = true;
    for (size_t i = 0; ok && i < n_onig_script_runs; i++)
        if ((onig_script_runs[i] & 0xff) == number)
            ok = append(&r, onig_script_runs[i] >> 8, end_of(onig_script_runs, n_onig_script_runs, i, 8), e);
    *found = r.n != 0; /* a script that is younger than the reference has no character there */
    ok = ok && onig_set_unite(s, &r, e);
    onig_set_free(&r);
    return ok;
}

bool onig_set_add_property(struct onig_set *s, const char *name, size_t len, bool in_class, bool *found,
                           struct err *e)
{
    char key[80];
    *found = false;
    if (!key_of(name, len, key, sizeof key)) return true;
    *found = true;
    for (size_t i = 0; i < sizeof general / sizeof *general; i++)
        if (strstr(general[i].names, key)) return onig_set_add_categories(s, general[i].categories, e);
    if (!add_common(s, key, in_class, found, e) || *found) return *found;
    if (!add_script(s, key, found, e) || *found) return *found;
    return add_binary(s, key, found, e);
}

bool onig_set_add_posix(struct onig_set *s, const char *name, size_t len, bool *found, struct err *e)
{
    static const char names[] =
        " alpha upper lower word space alnum ascii blank cntrl digit xdigit print graph ";
    char key[16] = " ";
    *found = len == 5 && memcmp(name, "punct", 5) == 0;
    if (*found) return onig_set_add_flag(s, ONIG_PUNCT, e);
    if (len == 0 || len > 8 || memchr(name, ' ', len)) return true;
    memcpy(key + 1, name, len);
    memcpy(key + 1 + len, " ", 2);
    return strstr(names, key) ? add_common(s, key, true, found, e) : true;
}

/* What characters that differ in case alone have in common. Dotted and dotless i are nobody's other case. */
static uint32_t case_key(uint32_t c) { return c == 0x130 || c == 0x131 ? c : uc_tolower(uc_toupper(c)); }

bool onig_set_fold(struct onig_set *s, struct err *e)
{
    enum { CASED_END = 0x1e944 }; /* Adlam's are the last letters that have case */
    struct onig_set keys = { 0 };
    /* Two passes over the letters: the keys of the members, then whoever has one of the keys. */
    unsigned char *wanted = calloc(CASED_END, 1);
    bool ok = wanted || err_set(e, ERR_NOMEM, "no memory for a class of characters");
    for (size_t i = 0; ok && i < s->n; i += 2)
        for (uint32_t c = s->at[i]; c < s->at[i + 1] && c < CASED_END; c++) {
            uint32_t k = case_key(c);
            if (k < CASED_END) wanted[k] = 1;
        }
    for (uint32_t c = 0; ok && c < CASED_END; c++) {
        uint32_t k = case_key(c);
        if (k < CASED_END && wanted[k]) ok = append(&keys, c, c + 1, e);
    }
    ok = ok && onig_set_unite(s, &keys, e);
    free(wanted);
    onig_set_free(&keys);
    return ok;
}

static void print_range(struct buf *out, uint32_t first, uint32_t end)
{
    buf_printf(out, end - first == 1 ? "\\x{%x}" : "\\x{%x}-\\x{%x}", (unsigned)first, (unsigned)end - 1);
}

/* Categories that are in w as a whole; surrogates are in no text and count for nothing. */
static uint32_t whole_categories(const struct onig_set *w)
{
    uint32_t whole = EVERYTHING & ~(BIT(CS) | BIT(CN));
    size_t k = 0;
    for (size_t i = 0; i < n_onig_char_runs; i++) {
        uint32_t first = onig_char_runs[i] >> 11, end = end_of(onig_char_runs, n_onig_char_runs, i, 11);
        while (k < w->n && w->at[k + 1] <= first) k += 2;
        bool in = k < w->n && w->at[k] <= first && w->at[k + 1] >= end;
        if (!in) whole &= ~(1u << (onig_char_runs[i] & 31));
    }
    return whole;
}

/* What of w the categories do not say for every PCRE2: the rest, what is young, and the first 256, which it looks up in a bitmap. */
static bool rest_of(const struct onig_set *w, uint32_t whole, struct onig_set *rest, struct err *e)
{
    struct onig_set said = { 0 }, young = { 0 };
    bool ok = onig_set_add_categories(&said, whole, e) && onig_set_unite(rest, w, e);
    for (size_t i = 0; ok && i < n_onig_young_runs; i++)
        if (onig_young_runs[i] & 1)
            ok = append(&young, onig_young_runs[i] >> 1, end_of(onig_young_runs, n_onig_young_runs, i, 1), e);
    ok = ok && subtract(&said, &young, e);
    onig_set_free(&young);
    ok = ok && onig_set_add(&young, 0, 255, e) && subtract(&said, &young, e) && subtract(rest, &said, e);
    onig_set_free(&said);
    onig_set_free(&young);
    return ok;
}

static void print_categories(struct buf *out, uint32_t whole)
{
    static const struct {
        uint32_t all;
        const char *name;
    } majors[] = { { LETTERS, "L" },     { MARKS, "M" },   { NUMBERS, "N" },
                   { PUNCTUATION, "P" }, { SYMBOLS, "S" }, { SEPARATORS, "Z" } };
    static const char *const names[] = { "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                         "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                         "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn" };
    for (size_t i = 0; i < sizeof majors / sizeof *majors; i++)
        if ((whole & majors[i].all) == majors[i].all) {
            buf_printf(out, "\\p{%s}", majors[i].name);
            whole &= ~majors[i].all;
        }
    for (size_t i = 0; i < ONIG_N_CATEGORIES; i++)
        if (whole >> i & 1) buf_printf(out, "\\p{%s}", names[i]);
}

bool onig_set_print(const struct onig_set *s, struct buf *out, struct err *e)
{
    enum { FEW = 12 };
    struct onig_set w = { 0 }, rest = { 0 }, surrogates = { 0 };
    /* By what it has not when it has nearly everything: then no class ever says "unassigned", which ages. */
    bool negated = onig_set_has(s, 0x10ffff);
    bool ok = onig_set_unite(&w, s, e) && (!negated || onig_set_invert(&w, e)) &&
              onig_set_add(&surrogates, 0xd800, 0xdfff, e) && subtract(&w, &surrogates, e);
    if (ok && w.n == 0) {
        buf_puts(out, negated ? "(?s:.)" : "[^\\x{0}-\\x{10ffff}]");
        goto done;
    }
    if (!ok) goto done;
    uint32_t whole = w.n / 2 <= FEW ? 0 : whole_categories(&w);
    ok = whole ? rest_of(&w, whole, &rest, e) : onig_set_unite(&rest, &w, e);
    if (!ok) goto done;
    buf_puts(out, negated ? "[^" : "[");
    print_categories(out, whole);
    size_t k = 0;
    for (size_t i = 0;
         i < rest.n;) { /* what stands between two ranges and is in w may be said twice: fewer ranges */
        uint32_t first = rest.at[i], end = rest.at[i + 1];
        while (k < w.n && w.at[k + 1] <= first) k += 2;
        for (i += 2; i < rest.n && k < w.n && rest.at[i] < w.at[k + 1]; i += 2) end = rest.at[i + 1];
        print_range(out, first, end);
    }
    buf_puts(out, "]");
done:
    onig_set_free(&w);
    onig_set_free(&rest);
    onig_set_free(&surrogates);
    return ok;
}
