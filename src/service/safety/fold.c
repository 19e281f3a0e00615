/* fold.c - see fold.h. Decompositions and case are libunistring's. */
#include "service/safety/fold.h"

#include "text/unicode.h" /* before <unictype.h>, whose macros have names of its */

#include <stdlib.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>

struct range {
    uint32_t first, last;
};

/* What nobody sees, and marks that do not make another letter in the script that has them: a vowel sign of an Indic script does. */
static const struct range dropped[] = {
    { 0x00ad, 0x00ad }, { 0x0300, 0x036f }, { 0x0483, 0x0489 },   { 0x0591, 0x05bd },   { 0x05bf, 0x05bf },
    { 0x05c1, 0x05c2 }, { 0x05c4, 0x05c5 }, { 0x0610, 0x061a },   { 0x061c, 0x061c },   { 0x0640, 0x0640 },
    { 0x064b, 0x065f }, { 0x0670, 0x0670 }, { 0x06d6, 0x06dc },   { 0x115f, 0x1160 },   { 0x17b4, 0x17b5 },
    { 0x180b, 0x180f }, { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff },   { 0x200b, 0x200f },   { 0x202a, 0x202e },
    { 0x2060, 0x206f }, { 0x20d0, 0x20ff }, { 0x3164, 0x3164 },   { 0xfe00, 0xfe0f },   { 0xfe20, 0xfe2f },
    { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 }, { 0x1d165, 0x1d169 }, { 0x1d16d, 0x1d182 }, { 0xe0000, 0xe0fff },
};
static const struct range alone[] = {
    { 0x0e00, 0x0eff }, { 0x1000, 0x109f }, { 0x1780, 0x17ff }, { 0x2e80, 0x2fdf }, { 0x3005, 0x3007 },
    { 0x3041, 0x309f }, { 0x3400, 0x4dbf }, { 0x4e00, 0x9fff }, { 0xf900, 0xfaff }, { 0x20000, 0x3ffff },
};

static bool within(const struct range *r, size_t n, uint32_t cp)
{
    size_t lo = 0;
    while (lo < n) {
        const size_t mid = (lo + n) / 2;
        if (cp > r[mid].last)
            lo = mid + 1;
        else if (cp < r[mid].first)
            n = mid;
        else
            return true;
    }
    return false;
}
#define WITHIN(ranges, cp) within(ranges, sizeof(ranges) / sizeof *(ranges), cp)

uint32_t fold_sign(uint32_t cp)
{
    switch (cp) {
    case '0': return 'o';
    case '1':
    case '!':
    case '|': return 'i';
    case '3': return 'e';
    case '4':
    case '@': return 'a';
    case '5':
    case '$': return 's';
    case '7':
    case '+': return 't';
    case '8': return 'b';
    case '9': return 'g';
    default: return 0;
    }
}

uint32_t fold_lookalike(uint32_t cp)
{
    static const struct {
        uint32_t cp, latin;
    } table[] = {
        { 0x03b1, 'a' }, { 0x03b5, 'e' }, { 0x03b9, 'i' }, { 0x03ba, 'k' }, { 0x03bd, 'v' }, { 0x03bf, 'o' },
        { 0x03c1, 'p' }, { 0x03c4, 't' }, { 0x03c5, 'u' }, { 0x03c7, 'x' }, { 0x0430, 'a' }, { 0x0432, 'b' },
        { 0x0435, 'e' }, { 0x043a, 'k' }, { 0x043c, 'm' }, { 0x043d, 'h' }, { 0x043e, 'o' }, { 0x0440, 'p' },
        { 0x0441, 'c' }, { 0x0442, 't' }, { 0x0443, 'y' }, { 0x0445, 'x' }, { 0x0455, 's' }, { 0x0456, 'i' },
        { 0x0458, 'j' }, { 0x0501, 'd' }, { 0x051b, 'q' }, { 0x051d, 'w' },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].cp == cp) return table[i].latin;
    return 0;
}

/* Letters that look like one of another script and have no decomposition. */
static uint32_t plainer(uint32_t cp)
{
    switch (cp) {
    case 0x00f8: return 'o';
    case 0x0111: return 'd';
    case 0x0127: return 'h';
    case 0x0131: return 'i';
    case 0x0142: return 'l';
    default: return cp;
    }
}

static enum fold_kind kind_of(uint32_t cp)
{
    if (cp < 0x80) return (cp >= 'a' && cp <= 'z') || (cp >= '0' && cp <= '9') ? FOLD_WORD : FOLD_GAP;
    if (WITHIN(alone, cp)) return FOLD_ALONE;
    if (cp >= 0x30a1 && cp <= 0x30ff && cp != 0x30fb) return FOLD_KANA;
    return uc_is_general_category_withtable(cp, UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_N | UC_CATEGORY_MASK_M)
               ? FOLD_WORD
               : FOLD_GAP;
}

/* Decomposed, folded, and again: a bold capital becomes a capital first. NULL: no memory; to is used where it fits. */
static uint32_t *folds_of(uint32_t cp, uint32_t *to, size_t cap, size_t *n)
{
    uint32_t first[32];
    size_t n_first = sizeof first / sizeof *first;
    uint32_t *d = u32_normalize(UNINORM_NFKD, &cp, 1, first, &n_first);
    if (!d) return NULL;
    *n = cap;
    uint32_t *f = u32_casefold(d, n_first, NULL, UNINORM_NFKD, to, n);
    if (d != first) free(d);
    return f;
}

struct folding {
    struct folded *v;
    size_t n, cap;
};

static bool put(struct folding *o, size_t at, size_t end, uint32_t cp, enum fold_kind kind)
{
    if (o->n == o->cap) {
        const size_t cap = o->cap + o->cap / 2 + 64;
        struct folded *v = realloc(o->v, cap * sizeof *v);
        if (!v) return false;
        o->v = v;
        o->cap = cap;
    }
    o->v[o->n++] = (struct folded){ (uint32_t)at, (uint32_t)end, cp, kind };
    return true;
}

static bool put_folded(struct folding *o, size_t at, size_t end, uint32_t cp)
{
    uint32_t room[64];
    size_t n;
    if (cp >= 0x4e00 && cp <= 0x9fff) return put(o, at, end, cp, FOLD_ALONE);
    uint32_t *f = folds_of(cp, room, sizeof room / sizeof *room, &n);
    bool ok = f != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        if (WITHIN(dropped, f[i])) continue;
        const uint32_t c = plainer(f[i]);
        /* A voicing mark belongs to its letter. */
        const bool voiced = (c == 0x3099 || c == 0x309a) && o->n;
        ok = put(o, at, end, c, voiced ? o->v[o->n - 1].kind : kind_of(c));
    }
    if (f != room) free(f);
    return ok;
}

bool fold_text(const char *text, size_t len, struct folded **out, size_t *n, struct err *e)
{
    struct folding o = { .cap = len + 8 };
    const unsigned char *s = (const unsigned char *)text;
    o.v = malloc(o.cap * sizeof *o.v);
    bool ok = o.v != NULL;
    for (size_t i = 0; ok && i < len;) {
        const unsigned char c = s[i];
        if (c < 0x80) {
            const uint32_t cp = c >= 'A' && c <= 'Z' ? c + 32u : c;
            ok = put(&o, i, i + 1, cp, kind_of(cp));
            i++;
            continue;
        }
        unsigned size;
        const int step = utf8_step(s + i, len - i);
        if (step <= 0) {
            size = step ? (unsigned)-step : (unsigned)(len - i);
            ok = put(&o, i, i + size, 0xfffd, FOLD_GAP);
        } else {
            const uint32_t cp = utf8_get(s + i, &size);
            ok = put_folded(&o, i, i + size, cp);
        }
        i += size;
    }
    if (!ok) {
        free(o.v);
        return err_set(e, ERR_NOMEM, "no memory to read a text");
    }
    *out = o.v;
    *n = o.n;
    return true;
}
