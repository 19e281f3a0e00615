/* unicode.c - see unicode.h. */
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <unictype.h>
#include <uninorm.h>

struct unicode *unicode_new(struct err *e)
{
    enum { N_PAGES = 0x110000 / 128, MAX_CELL_PAGES = 1200 };
    struct unicode *u = calloc(1, sizeof *u + sizeof(uint16_t) * 128 * MAX_CELL_PAGES);
    if (!u) {
        err_set(e, ERR_NOMEM, "no memory for the character classes");
        return NULL;
    }
    uint16_t plain[512]; /* page of one class only -> its number + 1 */
    memset(plain, 0, sizeof plain);
    size_t n_cells = 0, run = 0;
    for (size_t p = 0; p < N_PAGES; p++) {
        uint32_t first = (uint32_t)p * 128, last = first + 127;
        while (run + 1 < n_unicode_runs && unicode_runs[run + 1] >> 9 <= first) run++;
        bool one = run + 1 == n_unicode_runs || unicode_runs[run + 1] >> 9 > last;
        unsigned class = unicode_runs[run] & 511;
        if (one && plain[class]) {
            u->page[p] = plain[class] - 1;
            continue;
        }
        if (n_cells ==
            MAX_CELL_PAGES) { /* cannot happen with the table that is compiled in; the tests would see it */
            free(u);
            err_set(e, ERR_LIMIT, "unicode_data.c has more kinds of pages than unicode.c expects");
            return NULL;
        }
        u->page[p] = (uint16_t)n_cells;
        if (one) plain[class] = (uint16_t)(n_cells + 1);
        uint16_t *cell = u->cell + 128 * n_cells++;
        size_t r = run;
        for (uint32_t c = first; c <= last; c++) {
            while (r + 1 < n_unicode_runs && unicode_runs[r + 1] >> 9 <= c) r++;
            cell[c - first] = unicode_runs[r] & 511;
        }
    }
    struct unicode *small = realloc(u, sizeof *u + sizeof(uint16_t) * 128 * n_cells);
    return small ? small : u;
}

unsigned utf8_put(uint32_t cp, char *out)
{
    if (cp < 0x80) return out[0] = (char)cp, 1;
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

int utf8_step(const unsigned char *s, size_t n)
{
    unsigned char c = s[0];
    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return -1;
    int len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    /* The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF. */
    unsigned char lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < len; i++, lo = 0x80, hi = 0xbf) {
        if ((size_t)i == n) return 0;
        if (s[i] < lo || s[i] > hi) return -i;
    }
    return len;
}

size_t utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        while (i + 8 <= n && (memcpy(&w, s + i, 8), (w & 0x8080808080808080u) == 0)) i += 8;
        if (i == n) break;
        int step = utf8_step((const unsigned char *)s + i, n - i);
        if (step <= 0) break;
        i += (size_t)step;
    }
    return i;
}

void masked_free(struct masked *m)
{
    free(m->text);
    free(m->mask);
    *m = (struct masked){ 0 };
}

bool masked_reserve(struct masked *m, size_t extra, bool want_mask, struct err *e)
{
    if (m->cap - m->len >= extra && (!want_mask || m->mask)) return true;
    size_t cap = m->len + extra + m->cap / 2;
    if (cap < m->len || cap < extra) return err_set(e, ERR_NOMEM, "the text is too long");
    char *text = realloc(m->text, cap + 1);
    if (text) m->text = text;
    unsigned char *mask = text && want_mask ? realloc(m->mask, cap + 1) : NULL;
    if (mask) m->mask = mask;
    if (!text || (want_mask && !mask)) return err_set(e, ERR_NOMEM, "no memory for %zu bytes of text", cap);
    m->cap = cap;
    return true;
}

void masked_put(struct masked *m, const char *s, size_t n, unsigned char mask)
{
    if (n == 0) return;
    memcpy(m->text + m->len, s, n);
    if (m->mask) memset(m->mask + m->len, mask, n);
    m->len += n;
}

/* Appends n bytes with their own masks. */
static void put_same(struct masked *m, const char *s, const unsigned char *mask, size_t n)
{
    if (n == 0) return;
    memcpy(m->text + m->len, s, n);
    if (mask && m->mask) memcpy(m->mask + m->len, mask, n);
    m->len += n;
}

static unsigned char any_mask(const unsigned char *mask, size_t n)
{
    unsigned char m = 0;
    for (size_t i = 0; mask && i < n; i++) m |= mask[i];
    return m;
}

bool utf8_repair(const char *text, const unsigned char *mask, size_t len, struct masked *out, struct err *e)
{
    for (size_t i = 0; i < len;) {
        size_t good = utf8_valid(text + i, len - i);
        if (!masked_reserve(out, good + 3, mask != NULL, e)) return false;
        put_same(out, text + i, mask ? mask + i : NULL, good);
        i += good;
        if (i == len) break;
        int step = utf8_step((const unsigned char *)text + i, len - i);
        size_t bad =
            step < 0 ? (size_t)-step : len - i; /* a beginning at the end of the text is bad as a whole */
        masked_put(out, "\xef\xbf\xbd", 3, any_mask(mask ? mask + i : NULL, bad));
        i += bad;
    }
    return true;
}

bool unicode_may_change(const struct unicode *u, enum unicode_form form, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    if (form == FORM_NONE) return false;
    for (size_t i = 0; i < len;) {
        uint64_t w;
        while (i + 8 <= len && (memcpy(&w, s + i, 8), (w & 0x8080808080808080u) == 0)) i += 8;
        if (i == len) break;
        if (s[i] < 0x80) {
            i++;
            continue;
        }
        if (form != FORM_NFC) return true;
        unsigned n;
        if (unicode_class(u, utf8_get(s + i, &n)) & UC_NFC) return true;
        i += n;
    }
    return false;
}

bool unicode_joins_words(uint32_t cp)
{
    return cp == 0x200c || cp == 0x200d || uc_is_property_alphabetic(cp) ||
           uc_is_general_category_withtable(cp, UC_CATEGORY_MASK_Nd | UC_CATEGORY_MASK_Pc);
}

/* One run through libunistring. */
static bool normalize_run(uninorm_t form, const char *s, size_t n, unsigned char mask, struct masked *out,
                          struct err *e)
{
    size_t got = 0;
    if (n == 0) return true;
    uint8_t *r = u8_normalize(form, (const uint8_t *)s, n, NULL, &got);
    if (!r) return err_set(e, ERR_NOMEM, "no memory to normalise %zu bytes of text", n);
    bool ok = masked_reserve(out, got, out->mask != NULL, e);
    if (ok) masked_put(out, (const char *)r, got, mask);
    free(r);
    return ok;
}

/* The reference takes a few dozen recent marks for plain characters; libunistring would move them. */
static bool is_recent_mark(const struct unicode *u, uint32_t cp)
{
    return cp >= 0x300 && !(unicode_class(u, cp) & UC_NFC) && uc_combining_class(cp) != 0;
}

/* Text in any form: whole, but for such marks, which stand alone. */
static bool normalize_all(const struct unicode *u, uninorm_t form, const char *text,
                          const unsigned char *mask, size_t len, struct masked *out, struct err *e)
{
    size_t done = 0;
    unsigned n;
    for (size_t i = 0; i < len; i += n) {
        if (!is_recent_mark(u, utf8_get((const unsigned char *)text + i, &n))) continue;
        if (!normalize_run(form, text + done, i - done, any_mask(mask ? mask + done : NULL, i - done), out,
                           e) ||
            !masked_reserve(out, n, mask != NULL, e))
            return false;
        put_same(out, text + i, mask ? mask + i : NULL, n);
        done = i + n;
    }
    return normalize_run(form, text + done, len - done, any_mask(mask ? mask + done : NULL, len - done), out,
                         e);
}

bool unicode_normalize(const struct unicode *u, enum unicode_form form, const char *text,
                       const unsigned char *mask, size_t len, struct masked *out, struct err *e)
{
    const unsigned char *s = (const unsigned char *)text;
    if (!masked_reserve(out, len, mask != NULL, e)) return false;
    switch (form) {
    case FORM_NONE: return put_same(out, text, mask, len), true;
    case FORM_NFD: return normalize_all(u, UNINORM_NFD, text, mask, len, out, e);
    case FORM_NFKC: return normalize_all(u, UNINORM_NFKC, text, mask, len, out, e);
    case FORM_NFKD: return normalize_all(u, UNINORM_NFKD, text, mask, len, out, e);
    case FORM_NFC: break;
    }
    /* NFC only acts inside runs of one inert character and the active ones after it: everything else is copied. */
    size_t done = 0, base = 0; /* base: where the last inert character began */
    for (size_t i = 0; i < len;) {
        unsigned n;
        if (s[i] < 0x80) {
            base = i++;
            continue;
        }
        if (!(unicode_class(u, utf8_get(s + i, &n)) & UC_NFC)) {
            base = i;
            i += n;
            continue;
        }
        size_t end = i;
        do end += n;
        while (end < len && (unicode_class(u, utf8_get(s + end, &n)) & UC_NFC));
        if (base < i && is_recent_mark(u, utf8_get(s + base, &n))) base = i;
        if (base < done) base = done;
        if (!masked_reserve(out, len - done, mask != NULL, e)) return false;
        put_same(out, text + done, mask ? mask + done : NULL, base - done);
        if (!normalize_run(UNINORM_NFC, text + base, end - base,
                           any_mask(mask ? mask + base : NULL, end - base), out, e))
            return false;
        done = base = i = end;
    }
    if (!masked_reserve(out, len - done, mask != NULL, e)) return false;
    put_same(out, text + done, mask ? mask + done : NULL, len - done);
    return true;
}
