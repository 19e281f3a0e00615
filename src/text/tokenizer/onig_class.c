/* onig_class.c - see onig_class.h. */
#include "text/tokenizer/onig_class.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>

#include "text/unicode.h"

enum { MAX_NESTING = 30 };

bool onig_refuse(const struct onig_text *t, const char *what, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED,
                   "the regular expression has %s at byte %zu, which is not supported here", what, t->i);
}

static char at(const struct onig_text *t, size_t k) { return t->i + k < t->n ? t->s[t->i + k] : 0; }

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Up to `most` digits of a base. */
static bool digits(struct onig_text *t, int base, int most, uint32_t *out)
{
    uint32_t v = 0;
    int n = 0;
    for (; n < most; n++, t->i++) {
        int d = hex(at(t, 0));
        if (d < 0 || d >= base) break;
        v = v * (uint32_t)base + (uint32_t)d;
    }
    *out = v;
    return n > 0;
}

static bool scalar(struct onig_text *t, uint32_t c, struct err *e)
{
    return (c < ONIG_CHARS && (c < 0xd800 || c > 0xdfff)) || onig_refuse(t, "the number of no character", e);
}

/* Behind "\x": {H...}, or HH; bytes above 7f stand one after the other for a character's UTF-8. */
static bool hex_escape(struct onig_text *t, uint32_t *c, struct err *e)
{
    if (at(t, 0) == '{') {
        t->i++;
        if (!digits(t, 16, 8, c)) return onig_refuse(t, "\\x{} without a number", e);
        if (at(t, 0) != '}') return onig_refuse(t, "several characters in one \\x{}", e);
        t->i++;
        return scalar(t, *c, e);
    }
    if (!digits(t, 16, 2, c)) return *c = 0, true;
    if (*c < 128) return true;
    unsigned char bytes[4] = { (unsigned char)*c };
    size_t n = 1;
    int step;
    while ((step = utf8_step(bytes, n)) == 0) {
        uint32_t b;
        if (n == 4 || at(t, 0) != '\\' || at(t, 1) != 'x') break;
        t->i += 2;
        if (!digits(t, 16, 2, &b)) break;
        bytes[n++] = (unsigned char)b;
    }
    if (step <= 0) return onig_refuse(t, "bytes that are no character", e);
    unsigned len;
    *c = utf8_get(bytes, &len);
    return true;
}

bool onig_class_property(struct onig_text *t, bool in_class, struct onig_set *out, struct err *e)
{
    bool invert = at(t, 0) == 'P', found = false;
    struct onig_set s = { 0 };
    t->i += 2;
    const size_t start = t->i;
    if (at(t, 0) == '^') {
        invert = !invert;
        t->i++;
    }
    const char *name = t->s + t->i, *end = memchr(name, '}', t->n - t->i);
    if (!end) return onig_refuse(t, "a property that does not end", e);
    bool ok = onig_set_add_property(&s, name, (size_t)(end - name), in_class, &found, e);
    if (ok && !found)
        ok = err_set(e, ERR_UNSUPPORTED,
                     "the regular expression's property \"%.*s\" at byte %zu is not known here",
                     end - name > 60 ? 60 : (int)(end - name), name, start);
    t->i = (size_t)(end - t->s) + 1;
    ok = ok && (!invert || onig_set_invert(&s, e)) && onig_set_unite(out, &s, e);
    onig_set_free(&s);
    return ok;
}

/* \d \h \s \w and their opposites. */
static bool type_escape(char c, bool in_class, struct onig_set *out, struct err *e)
{
    struct onig_set s = { 0 };
    bool ok = true;
    switch (c | 32) {
    case 'd': ok = onig_set_add_categories(&s, 1u << ONIG_ND, e); break;
    case 'h':
        ok = onig_set_add(&s, '0', '9', e) && onig_set_add(&s, 'A', 'F', e) && onig_set_add(&s, 'a', 'f', e);
        break;
    case 's': ok = onig_set_add_flag(&s, ONIG_SPACE, e); break;
    default: ok = onig_set_add_word(&s, in_class, e); break;
    }
    ok = ok && (c & 32 || onig_set_invert(&s, e)) && onig_set_unite(out, &s, e);
    onig_set_free(&s);
    return ok;
}

bool onig_class_escape(struct onig_text *t, bool in_class, struct onig_set *out, bool *is_set, uint32_t *c,
                       struct err *e)
{
    const char k = at(t, 0);
    *is_set = k && strchr("dDhHsSwW", k);
    if (*is_set) {
        t->i++;
        return type_escape(k, in_class, out, e);
    }
    if (k >= '0' && k <= '7') {
        if (!digits(t, 8, 3, c)) return onig_refuse(t, "an escape", e);
        return *c < 128 || onig_refuse(t, "an octal number above 177", e);
    }
    unsigned len;
    *c = utf8_get((const unsigned char *)t->s + t->i, &len);
    t->i += len;
    switch (k) {
    case 't': return *c = '\t', true;
    case 'n': return *c = '\n', true;
    case 'r': return *c = '\r', true;
    case 'f': return *c = '\f', true;
    case 'v': return *c = '\v', true;
    case 'a': return *c = '\a', true;
    case 'e': return *c = 27, true;
    case 'b': *c = in_class ? '\b' : 'b'; return true;
    case 'x': return hex_escape(t, c, e);
    case 'u': {
        const size_t start = t->i;
        if (!digits(t, 16, 4, c) || t->i != start + 4) return onig_refuse(t, "\\u without four digits", e);
        return scalar(t, *c, e);
    }
    case 'o':
        if (at(t, 0) != '{') return true;
        t->i++;
        if (!digits(t, 8, 11, c) || at(t, 0) != '}') return onig_refuse(t, "an octal number", e);
        t->i++;
        return scalar(t, *c, e);
    case 'c':
    case 'C':
        if (k == 'C' && at(t, 0) != '-') return onig_refuse(t, "\\C without a character", e);
        if (k == 'C') t->i++;
        if (!at(t, 0) || at(t, 0) == '\\' || (at(t, 0) & 0x80))
            return onig_refuse(t, "a control character", e);
        *c = at(t, 0) == '?' ? 0x7f : (uint32_t)at(t, 0) & 0x1f;
        t->i++;
        return true;
    case 'M': return at(t, 0) != '-' || onig_refuse(t, "a meta character (\\M-)", e);
    default: return true;
    }
}

/* Its letters without case; how many, at most 3. */
static size_t folding(uint32_t c, uint32_t *letters)
{
    size_t n = 3;
    uint32_t *r = u32_casefold(&c, 1, NULL, NULL, letters, &n);
    if (r && r != letters) free(r);
    return r == letters ? n : 0;
}

static void look_up(struct onig_foldings *f)
{
    for (uint32_t c = 0xdf; f->n < 104 && c <= 0xfb17;
         c = c == 0x1fff ? 0xfb00 : c + 1) { /* that many there are */
        size_t n = folding(c, f->of[f->n].letter);
        if (n < 2) continue;
        f->of[f->n].c = c;
        f->of[f->n++].n = n;
    }
}

bool onig_folds_apart(struct onig_foldings *f, uint32_t c)
{
    if (!f->n) look_up(f);
    for (size_t i = 0; i < f->n; i++)
        if (f->of[i].c == c) return true;
    return false;
}

bool onig_folds_together(struct onig_foldings *f, const uint32_t *letters, size_t n)
{
    uint32_t mine[3] = { 0 }, parts[3];
    if (!f->n) look_up(f);
    for (size_t i = 0; i < n && i < 3; i++) mine[i] = folding(letters[i], parts) == 1 ? parts[0] : letters[i];
    for (size_t i = 0; i < f->n; i++)
        if (f->of[i].n <= n && memcmp(f->of[i].letter, mine, f->of[i].n * sizeof *mine) == 0) return true;
    return false;
}

static bool parse(struct onig_text *t, bool icase, int depth, struct onig_set *out, struct err *e);

/* "[:name:]" at the place; *found false when it is no such thing. */
static bool posix(struct onig_text *t, struct onig_set *out, bool *found, struct err *e)
{
    *found = false;
    if (at(t, 0) != '[' || at(t, 1) != ':') return true;
    bool invert = at(t, 2) == '^';
    const size_t start = t->i + (invert ? 3 : 2);
    const char *end = start < t->n ? memmem(t->s + start, t->n - start, ":]", 2) : NULL;
    if (!end || (size_t)(end - t->s) > start + 20) return true;
    struct onig_set s = { 0 };
    bool known = false;
    bool ok = onig_set_add_posix(&s, t->s + start, (size_t)(end - t->s) - start, &known, e);
    if (ok && !known) ok = onig_refuse(t, "an unknown [:name:]", e);
    ok = ok && (!invert || onig_set_invert(&s, e)) && onig_set_unite(out, &s, e);
    onig_set_free(&s);
    t->i = (size_t)(end - t->s) + 2;
    *found = true;
    return ok;
}

/* One member: a set, added to *out, or a character. */
static bool member(struct onig_text *t, bool first, int depth, struct onig_set *out, bool *is_set,
                   bool *nested, uint32_t *c, struct err *e)
{
    *nested = false;
    if (!posix(t, out, is_set, e)) return false;
    if (*is_set) return true;
    if (at(t, 0) == '[') {
        t->i++;
        *is_set = *nested = true;
        struct onig_set s = { 0 };
        bool ok = parse(t, false, depth + 1, &s, e) && onig_set_unite(out, &s, e);
        onig_set_free(&s);
        return ok;
    }
    if (at(t, 0) == '\\') {
        t->i++;
        if (t->i >= t->n) return onig_refuse(t, "a class that does not end", e);
        *is_set = (at(t, 0) == 'p' || at(t, 0) == 'P') && at(t, 1) == '{';
        if (*is_set) return onig_class_property(t, true, out, e);
        return onig_class_escape(t, true, out, is_set, c, e);
    }
    (void)first;
    unsigned len;
    *c = utf8_get((const unsigned char *)t->s + t->i, &len);
    t->i += len;
    return true;
}

static bool ends_here(const struct onig_text *t)
{
    return at(t, 0) == ']' || (at(t, 0) == '&' && at(t, 1) == '&');
}

/* Members up to "]" or "&&". */
static bool members(struct onig_text *t, bool first, int depth, struct onig_set *out, struct err *e)
{
    for (;; first = false) {
        if (t->i >= t->n) return onig_refuse(t, "a class that does not end", e);
        if (ends_here(t) && !(first && at(t, 0) == ']')) return true;
        bool is_set, nested;
        uint32_t c = 0, last = 0;
        if (!member(t, first, depth, out, &is_set, &nested, &c, e)) return false;
        bool dash = at(t, 0) == '-' && t->i + 1 < t->n;
        if (is_set) {
            if (!dash || nested) continue;
            t->i++;
            if (!ends_here(t)) return onig_refuse(t, "a range that begins with a class", e);
            t->i--;
            continue;
        }
        if (dash) {
            t->i++;
            dash = !ends_here(t);
            if (!dash) t->i--;
        }
        if (!dash) {
            if (!onig_set_add(out, c, c, e)) return false;
            continue;
        }
        if (at(t, 0) == '[') return onig_refuse(t, "a range that ends in a class", e);
        if (!member(t, false, depth, out, &is_set, &nested, &last, e)) return false;
        if (is_set) return onig_refuse(t, "a range that ends in a class", e);
        if (last < c) return onig_refuse(t, "an empty range", e);
        if (!onig_set_add(out, c, last, e)) return false;
        if (at(t, 0) == '-' && t->i + 1 < t->n) { /* [a-c-e]: the second one is itself */
            t->i++;
            if (!onig_set_add(out, '-', '-', e)) return false;
        }
    }
}

/* Whether a "]" still comes: then the one at the beginning is a member. */
static bool closes_later(const struct onig_text *t)
{
    for (size_t i = t->i + 1; i < t->n; i++) {
        if (t->s[i] == '\\')
            i++;
        else if (t->s[i] == ']')
            return true;
    }
    return false;
}

static bool parse(struct onig_text *t, bool icase, int depth, struct onig_set *out, struct err *e)
{
    if (depth > MAX_NESTING) return onig_refuse(t, "classes nested too deep", e);
    bool invert = at(t, 0) == '^', ok = true;
    if (invert) t->i++;
    if (at(t, 0) == ']' && !closes_later(t)) return onig_refuse(t, "an empty class", e);
    for (bool first = true; ok; first = false) {
        struct onig_set part = { 0 };
        ok = members(t, first, depth, &part, e) &&
             (first ? onig_set_unite(out, &part, e) : onig_set_intersect(out, &part, e));
        onig_set_free(&part);
        if (ok && at(t, 0) == ']') break;
        t->i += 2; /* && */
    }
    if (!ok) return false;
    t->i++;
    return (!icase || onig_set_fold(out, e)) && (!invert || onig_set_invert(out, e));
}

bool onig_class_parse(struct onig_text *t, bool icase, struct onig_set *out, struct err *e)
{
    return parse(t, icase, 0, out, e);
}
