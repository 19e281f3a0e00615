#include "text/tokenizer/wordpiece.h"

#include <string.h>

enum { DEFAULT_MAX_CHARS = 100 };

void wordpiece_defaults(struct wordpiece *w)
{
    *w = (struct wordpiece){ .clean = true,
                             .chinese = true,
                             .strip = true,
                             .lower = true,
                             .split = true,
                             .max_chars = DEFAULT_MAX_CHARS,
                             .prefix = "##",
                             .prefix_len = 2,
                             .unk = -1 };
}

static unsigned class_of(uint32_t cp)
{
    size_t lo = 0, hi = wp_n_runs;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (wp_runs[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < wp_n_runs && wp_runs[lo].first <= cp ? wp_runs[lo].bits : 0;
}

static unsigned ascii_class(unsigned char c)
{
    if (c >= 'a' && c <= 'z') return 0; /* most of all text */
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return WP_SPACE;
    if (c < ' ' || c == 0x7f) return WP_DROP;
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? 0 : WP_PUNCT;
}

static uint32_t small_letter(uint32_t cp)
{
    if (cp < 0x80) return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    size_t lo = 0, hi = wp_n_lowers;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (wp_lowers[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == wp_n_lowers || wp_lowers[lo].first > cp) return cp;
    const struct wp_lower *l = &wp_lowers[lo];
    return (cp - l->first) % (uint32_t)l->step ? cp : (uint32_t)((int64_t)cp + l->delta);
}

/* Control characters, white space and Chinese characters. */
static bool tidy(const struct wordpiece *w, const char *s, const unsigned char *mask, size_t n,
                 struct masked *out, struct err *e)
{
    unsigned len;
    for (size_t i = 0; i < n; i += len) {
        const uint32_t cp = utf8_get((const unsigned char *)s + i, &len);
        const unsigned bits = cp < 0x80 ? ascii_class((unsigned char)cp) : class_of(cp);
        const unsigned char m = mask ? mask[i] : 0;
        if (!masked_reserve(out, len + 2, mask != NULL, e)) return false;
        if (w->clean && (bits & WP_DROP)) continue;
        const bool apart = w->chinese && (bits & WP_CHINESE);
        if (apart) masked_put(out, " ", 1, m);
        if (w->clean && (bits & WP_SPACE))
            masked_put(out, " ", 1, m);
        else
            masked_put(out, s + i, len, m);
        if (apart) masked_put(out, " ", 1, m);
    }
    return true;
}

/* Marks and capitals, in place: no small letter is longer than its capital but one. */
static bool letters(const struct wordpiece *w, const char *s, const unsigned char *mask, size_t n,
                    struct masked *out, struct err *e)
{
    unsigned len;
    out->len = 0;
    for (size_t i = 0; i < n; i += len) {
        const uint32_t cp = utf8_get((const unsigned char *)s + i, &len);
        const unsigned char m = mask ? mask[i] : 0;
        char small[4];
        if (!masked_reserve(out, 4, mask != NULL, e)) return false;
        if (w->strip && cp >= 0x80 && (class_of(cp) & WP_MARK)) continue;
        if (!w->lower)
            masked_put(out, s + i, len, m);
        else if (cp == 0x130) /* a capital I with a dot becomes two characters */
            masked_put(out, "i\xcc\x87", 3, m);
        else
            masked_put(out, small, utf8_put(small_letter(cp), small), m);
    }
    return true;
}

bool wordpiece_normalize(const struct wordpiece *w, const struct unicode *u, const char *s,
                         const unsigned char *mask, size_t n, struct masked *formed, struct masked *out,
                         struct err *e)
{
    formed->len = out->len = 0;
    if (!tidy(w, s, mask, n, formed, e)) return false;
    if (!w->strip || !unicode_may_change(u, FORM_NFD, formed->text, formed->len))
        return letters(w, formed->text, mask ? formed->mask : NULL, formed->len, out, e);
    struct masked apart = { 0 };
    const bool ok =
        unicode_normalize(u, FORM_NFD, formed->text, mask ? formed->mask : NULL, formed->len, &apart, e) &&
        letters(w, apart.text, mask ? apart.mask : NULL, apart.len, out, e);
    masked_free(&apart);
    return ok;
}

/* White space, which is dropped by the normaliser where it is on. */
static bool is_space(uint32_t cp, unsigned bits)
{
    return (bits & WP_SPACE) || cp == 0x0b || cp == 0x0c || cp == 0x85;
}

bool wordpiece_split(const struct wordpiece *w, const char *s, size_t n,
                     bool (*word)(void *arg, const char *s, size_t n, struct err *e), void *arg,
                     struct err *e)
{
    size_t from = 0;
    unsigned len;
    if (!w->split) return n == 0 || word(arg, s, n, e);
    for (size_t i = 0; i < n; i += len) {
        const uint32_t cp = utf8_get((const unsigned char *)s + i, &len);
        const unsigned bits = cp < 0x80 ? ascii_class((unsigned char)cp) : class_of(cp);
        const bool space = is_space(cp, bits), punct = bits & WP_PUNCT;
        if (!space && !punct) continue;
        if (i > from && !word(arg, s + from, i - from, e)) return false;
        if (punct && !word(arg, s + i, len, e)) return false;
        from = i + len;
    }
    return n == from || word(arg, s + from, n - from, e);
}

size_t wordpiece_word(const struct wordpiece *w, const struct vocab *v, const char *s, size_t n, char *room,
                      int32_t *id)
{
    int chars = 0;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xc0) != 0x80;
    const bool too_long = chars > w->max_chars;
    /* The prefix goes before what is left of the word, over what has become pieces already. */
    char *const at = room + w->prefix_len;
    memcpy(at, s, n);
    for (size_t i = 0; i < n && !too_long;) {
        const size_t prefix = i ? w->prefix_len : 0;
        char *const piece = at + i - prefix;
        int32_t best = -1;
        if (prefix) memcpy(piece, w->prefix, prefix);
        size_t end = n;
        if (end - i + prefix > v->max_len) end = v->max_len > prefix ? i + v->max_len - prefix : i;
        for (; end > i; end--) {
            if (end < n && ((unsigned char)s[end] & 0xc0) == 0x80) continue;
            best = vocab_find(v, piece, prefix + end - i);
            if (best >= 0) break;
        }
        if (best < 0) {
            k = 0;
            break;
        }
        id[k++] = best;
        i = end;
    }
    if (k || n == 0) return k;
    if (w->unk < 0) return 0;
    id[0] = w->unk;
    return 1;
}
