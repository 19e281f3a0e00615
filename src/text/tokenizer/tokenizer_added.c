/* tokenizer_added.c - see tokenizer_added.h. */
#include "text/tokenizer/tokenizer_added.h"

#include <stdlib.h>
#include <string.h>

bool added_push(struct added_set *s, struct added a, struct err *e)
{
    if (a.len == 0) return true;
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct added *tok = realloc(s->tok, cap * sizeof *tok);
        if (!tok) return err_set(e, ERR_NOMEM, "no memory for %zu added tokens", cap);
        s->tok = tok;
        s->cap = cap;
    }
    s->tok[s->n++] = a;
    return true;
}

static int by_text(const void *x, const void *y)
{
    const struct added *a = x, *b = y;
    size_t n = a->len < b->len ? a->len : b->len;
    int c = memcmp(a->text, b->text, n);
    if (c) return c;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void added_sort(struct added_set *s)
{
    if (s->n) qsort(s->tok, s->n, sizeof *s->tok, by_text);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct added *last = n ? &s->tok[n - 1] : NULL;
        if (last && last->len == s->tok[i].len && memcmp(last->text, s->tok[i].text, last->len) == 0)
            continue;
        s->tok[n++] = s->tok[i];
    }
    s->n = n;
    size_t i = 0;
    for (unsigned b = 0; b < 257; b++) {
        while (i < n && (unsigned char)s->tok[i].text[0] < b) i++;
        s->first[b] = (uint32_t)i;
        if (b && s->first[b] > s->first[b - 1]) s->begins[b - 1] = true;
    }
    s->only = n && s->tok[0].text[0] == s->tok[n - 1].text[0] ? (unsigned char)s->tok[0].text[0] : -1;
}

void added_free(struct added_set *s)
{
    free(s->tok);
    *s = (struct added_set){ 0 };
}

bool added_is_tag(const char *s, size_t n)
{
    return n >= 3 && ((s[0] == '<' && s[n - 1] == '>') || (s[0] == '[' && s[n - 1] == ']'));
}

bool added_is_control(const char *s, size_t n)
{
    static const char bar[] = "\uff5c"; /* DeepSeek's */
    if (n >= 5 && s[0] == '<' && s[1] == '|' && s[n - 2] == '|' && s[n - 1] == '>') return true;
    return n >= 9 && s[0] == '<' && memcmp(s + 1, bar, 3) == 0 && memcmp(s + n - 4, bar, 3) == 0 &&
           s[n - 1] == '>';
}

/* First of tok[lo..hi), which agree on `depth` bytes, whose next byte is at least c. */
static size_t lower(const struct added_set *s, size_t lo, size_t hi, size_t depth, unsigned c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)s->tok[mid].text[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_word(const struct unicode *u, const char *p)
{
    unsigned n;
    uint32_t cp = utf8_get((const unsigned char *)p, &n);
    return (unicode_class(u, cp) & (UC_LETTER | UC_MARK)) || unicode_joins_words(cp);
}

/* The character that ends before text + i; i > 0. */
static size_t before(const char *text, size_t i)
{
    for (i--; i > 0 && ((unsigned char)text[i] & 0xc0) == 0x80; i--) {
    }
    return i;
}

static bool allowed(const struct added *a, const unsigned char *mask, size_t i, bool markup)
{
    if (!a->markup) return true;
    for (size_t k = 0; markup && mask && k < a->len; k++)
        if (mask[i + k]) return false;
    return markup;
}

static bool stands_alone(const struct unicode *u, const char *text, size_t start, size_t end, size_t n)
{
    return !(start > 0 && is_word(u, text + before(text, start))) && !(end < n && is_word(u, text + end));
}

static const struct added *longest(const struct added_set *s, const char *text, const unsigned char *mask,
                                   size_t i, size_t n, bool markup)
{
    const struct added *best = NULL;
    unsigned char b = (unsigned char)text[i];
    size_t lo = s->first[b], hi = s->first[b + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        if (s->tok[lo].len == depth) {
            if (allowed(&s->tok[lo], mask, i, markup)) best = &s->tok[lo];
            lo++;
        }
        if (i + depth >= n) break;
        unsigned c = (unsigned char)text[i + depth];
        lo = lower(s, lo, hi, depth, c);
        hi = lower(s, lo, hi, depth, c + 1);
    }
    return best;
}

size_t added_prefix(const struct added_set *s, const char *text, size_t n)
{
    if (n == 0 || !s->begins[(unsigned char)*text]) return 0;
    const struct added *a = longest(s, text, NULL, 0, n, true);
    return a ? a->len : 0;
}

static bool is_space(const struct added_set *s, const struct unicode *u, const char *p, unsigned *n)
{
    return (unicode_class(u, utf8_get((const unsigned char *)p, n)) & UC_SPACE) && !(s->marked && *p == ' ');
}

bool added_find(const struct added_set *s, const struct unicode *u, const char *text,
                const unsigned char *mask, size_t from, size_t taken, size_t n, bool markup,
                struct added_match *out)
{
    if (s->n == 0) return false;
    for (size_t i = from; i < n; i++) {
        if (s->only >= 0) {
            const char *hit = memchr(text + i, s->only, n - i);
            if (!hit) return false;
            i = (size_t)(hit - text);
        } else if (!s->begins[(unsigned char)text[i]]) {
            continue;
        }
        const struct added *a = longest(s, text, mask, i, n, markup);
        const size_t start = i - s->prefixed;
        if (!a || (s->prefixed && (i == from || text[start] != ' '))) continue;
        if (a->single_word && !stands_alone(u, text, start, i + a->len, n)) {
            i += a->len - 1; /* nothing shorter is looked for there */
            continue;
        }
        *out = (struct added_match){ start, i + a->len, i + a->len, a->id };
        unsigned len;
        while (a->lstrip && out->start > taken) {
            size_t p = before(text, out->start);
            if (!is_space(s, u, text + p, &len)) break;
            out->start = p;
        }
        while (a->rstrip && out->end < n && is_space(s, u, text + out->end, &len)) out->end += len;
        return true;
    }
    return false;
}

int32_t added_lookup(const struct added_set *s, const char *text, size_t n)
{
    struct added key = { .text = text, .len = n, .id = INT32_MIN };
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (by_text(&s->tok[mid], &key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < s->n && s->tok[lo].len == n && memcmp(s->tok[lo].text, text, n) == 0) return s->tok[lo].id;
    return -1;
}
