/* jinja_str.c - string operations that methods and filters share, provenance kept byte by byte. */
#include <string.h>
#include <unicase.h>
#include <unictype.h>

#include "text/jinja/jinja_eval.h"

/* Whether s contains the character at p[0..n); false after failing, too. */
static bool has_char(struct jvm *vm, const struct jstr *s, const char *p, size_t n)
{
    for (size_t i = 0, seen = 0; i < s->len && vm_step(vm, ++seen % 16 == 0);) {
        int k;
        utf8_at(s->p + i, s->len - i, &k);
        if ((size_t)k == n && memcmp(s->p + i, p, n) == 0) return true;
        i += (size_t)k;
    }
    return false;
}

static bool strippable(struct jvm *vm, const struct jstr *chars, const char *p, size_t n, uint32_t c)
{
    return chars ? has_char(vm, chars, p, n) : uni_is_space(c);
}

bool jstr_digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9') return false;
    return true;
}

struct jval jstr_strip(struct jvm *vm, const struct jstr *s, const struct jstr *chars, int sides)
{
    size_t from = 0, to = s->len;
    int n;
    while ((sides & STRIP_LEFT) && from < to) {
        const uint32_t c = utf8_at(s->p + from, to - from, &n);
        if (!strippable(vm, chars, s->p + from, (size_t)n, c)) break;
        from += (size_t)n;
    }
    while ((sides & STRIP_RIGHT) && to > from) {
        size_t k = to - 1;
        while (k > from && ((unsigned char)s->p[k] & 0xC0) == 0x80) k--;
        const uint32_t c = utf8_at(s->p + k, to - k, &n);
        if (!strippable(vm, chars, s->p + k, (size_t)n, c)) break;
        to = k;
    }
    if (!vm_text(vm, s->len - (to - from))) return j_none();
    return j_str_sub(vm, s, from, to - from);
}

struct jval jstr_replace(struct jvm *vm, const struct jstr *s, const struct jstr *old, const struct jstr *by,
                         int64_t max)
{
    struct jbuf b = jbuf_new(vm);
    if (max < 0) max = INT64_MAX;
    if (!vm_text(vm, s->len + old->len)) return j_none();
    size_t i = 0;
    if (old->len == 0) { /* between all characters, as Python does */
        for (; max > 0 && vm_step(vm, 1); max--) {
            jbuf_str(&b, by);
            if (i == s->len) break;
            int n;
            utf8_at(s->p + i, s->len - i, &n);
            jbuf_sub(&b, s, i, (size_t)n);
            i += (size_t)n;
        }
    } else {
        bool any = false;
        while (max > 0 && i < s->len && vm_step(vm, 1)) {
            const char *hit = memmem(s->p + i, s->len - i, old->p, old->len);
            if (!hit) break;
            const size_t at = (size_t)(hit - s->p);
            jbuf_sub(&b, s, i, at - i);
            jbuf_str(&b, by);
            i = at + old->len;
            max--;
            any = true;
        }
        if (!any) return j_str_sub(vm, s, 0, s->len);
    }
    jbuf_sub(&b, s, i, s->len - i);
    return j_like(vm, s, jbuf_take(&b));
}

/* One character in another case, which may be several: `to` is u32_toupper, u32_totitle or u32_casefold. */
static void add_cased(struct jbuf *b, uint32_t c, __typeof__(u32_toupper) *to, bool data)
{
    uint32_t out[8];
    size_t n = sizeof out / sizeof *out;
    if (!to(&c, 1, NULL, NULL, out, &n)) n = 0;
    for (size_t i = 0; i < n; i++) jbuf_char(b, out[i], data);
}

/* Sigma at the end of a word, after a letter, has a form of its own. */
static bool is_final_sigma(const struct jstr *s, size_t at)
{
    int n;
    size_t k = at;
    if (k == 0) return false;
    do k--;
    while (k > 0 && ((unsigned char)s->p[k] & 0xC0) == 0x80);
    if (!uni_is_alpha(utf8_at(s->p + k, s->len - k, &n))) return false;
    return at + 2 >= s->len || !uni_is_alpha(utf8_at(s->p + at + 2, s->len - at - 2, &n));
}

/* The character c at byte `at` of s in lower case. */
static void add_lower(struct jbuf *b, const struct jstr *s, size_t at, uint32_t c, bool data)
{
    if (c == 0x3A3)
        jbuf_char(b, is_final_sigma(s, at) ? 0x3C2 : 0x3C3, data);
    else if (c == 0x130)
        jbuf_add(b, "i\xCC\x87", 3, data);
    else
        jbuf_char(b, uni_lower(c), data);
}

enum letter_case { CASE_UPPER, CASE_LOWER, CASE_CAPITAL, CASE_SWAP, CASE_FOLD };

/* ASCII, which needs none of Unicode's tables and is most of what there is. */
static void add_ascii(struct jbuf *b, char c, bool up, bool swap, bool data)
{
    const bool letter = (unsigned)((c | 32) - 'a') < 26, is_up = letter && !(c & 32);
    if (letter && (swap || up != is_up)) c ^= 32;
    jbuf_add(b, &c, 1, data);
}

static struct jval change_case(struct jvm *vm, const struct jstr *s, enum letter_case how)
{
    struct jbuf b = jbuf_new(vm);
    if (!vm_text(vm, s->len)) return j_none();
    for (size_t i = 0; i < s->len && !vm->failed;) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool data = jstr_data(s, i);
        if (c < 0x80) {
            add_ascii(&b, (char)c, how == CASE_UPPER || (how == CASE_CAPITAL && i == 0), how == CASE_SWAP,
                      data);
            i++;
            continue;
        }
        if (!vm_step(vm, 1)) break; /* a character of the rest costs a step */
        bool up = how == CASE_UPPER || (how == CASE_CAPITAL && i == 0);
        if (how == CASE_SWAP) up = uc_is_property_lowercase(c);
        if (how == CASE_FOLD)
            add_cased(&b, c, u32_casefold, data);
        else if (up)
            add_cased(&b, c, how == CASE_CAPITAL ? u32_totitle : u32_toupper, data);
        else
            add_lower(&b, s, i, c, data);
        i += (size_t)n;
    }
    return j_like(vm, s, jbuf_take(&b));
}

struct jval jstr_upper(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_UPPER); }
struct jval jstr_lower(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_LOWER); }
struct jval jstr_capitalize(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_CAPITAL); }
struct jval jstr_swapcase(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_SWAP); }
struct jval jstr_casefold(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_FOLD); }

struct jval jstr_title(struct jvm *vm, const struct jstr *s)
{
    struct jbuf b = jbuf_new(vm);
    bool in_word = false;
    for (size_t i = 0; i < s->len && vm_step(vm, 1);) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool data = jstr_data(s, i);
        if (in_word)
            add_lower(&b, s, i, c, data);
        else
            add_cased(&b, c, u32_totitle, data);
        in_word = uni_is_upper(c) || uc_is_property_lowercase(c);
        i += (size_t)n;
    }
    return j_like(vm, s, jbuf_take(&b));
}

bool jstr_is_cased(struct jvm *vm, const struct jstr *s, bool upper)
{
    bool any = false;
    for (size_t i = 0; i < s->len && vm_step(vm, 1);) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool is_upper = uni_is_upper(c), is_lower = uc_is_property_lowercase(c);
        if (upper ? is_lower : is_upper) return false;
        any |= upper ? is_upper : is_lower;
        i += (size_t)n;
    }
    return any;
}

struct jval jstr_splitlines(struct jvm *vm, const struct jstr *s, bool keep_ends)
{
    struct jval list = j_seq(vm, J_LIST, 0);
    size_t from = 0;
    vm_text(vm, s->len);
    for (size_t i = 0; i < s->len && !vm->failed;) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        size_t end = i + (size_t)n;
        if (uni_is_newline(c)) {
            if (c == '\r' && end < s->len && s->p[end] == '\n') end++;
            jseq_push(vm, list, j_str_sub(vm, s, from, (keep_ends ? end : i) - from));
            from = end;
        }
        i = end;
    }
    if (from < s->len) jseq_push(vm, list, j_str_sub(vm, s, from, s->len - from));
    return list;
}

struct jval jstr_reverse(struct jvm *vm, const struct jstr *s)
{
    struct jbuf b = jbuf_new(vm);
    if (!vm_text(vm, s->len)) return j_none();
    for (size_t to = s->len; to > 0 && !vm->failed;) {
        size_t k = to - 1;
        while (k > 0 && ((unsigned char)s->p[k] & 0xC0) == 0x80) k--;
        jbuf_sub(&b, s, k, to - k);
        to = k;
    }
    return j_like(vm, s, jbuf_take(&b));
}

struct jval jstr_center(struct jvm *vm, struct jstr *s, int64_t width)
{
    const int64_t n = jstr_chars(vm, s);
    if (width <= n) return j_str_sub(vm, s, 0, s->len);
    const int64_t pad = width - n;
    const int64_t left = pad / 2 + (pad & width & 1); /* CPython's own rounding */
    struct jbuf b = jbuf_new(vm);
    jbuf_pad(&b, ' ', left);
    jbuf_str(&b, s);
    jbuf_pad(&b, ' ', pad - left);
    return j_like(vm, s, jbuf_take(&b));
}

struct jval jstr_join(struct jvm *vm, const struct jstr *sep, struct jval list, bool any_type)
{
    struct jbuf b = jbuf_new(vm);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
        const struct jval v = list.seq->v[i];
        if (i) jbuf_str(&b, sep);
        if (v.t != J_STR && !any_type) {
            vm_type_error(vm, "sequence item %zu: expected str instance, %s found", i, j_type_name(v));
            break;
        }
        j_print(&b, v);
    }
    return jbuf_take(&b);
}
