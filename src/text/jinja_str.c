/* jinja_str.c - string operations that methods and filters share, provenance kept byte by byte. */
#include <string.h>

#include "text/jinja_eval.h"

/* Whether s contains the character at p[0..n). */
static bool has_char(const struct jstr *s, const char *p, size_t n)
{
    for (size_t i = 0; i < s->len;) {
        int k;
        utf8_at(s->p + i, s->len - i, &k);
        if ((size_t)k == n && memcmp(s->p + i, p, n) == 0) return true;
        i += (size_t)k;
    }
    return false;
}

static bool strippable(const struct jstr *chars, const char *p, size_t n, uint32_t c)
{
    return chars ? has_char(chars, p, n) : uni_is_space(c);
}

struct jval jstr_strip(struct jvm *vm, const struct jstr *s, const struct jstr *chars, int sides)
{
    size_t from = 0, to = s->len;
    int n;
    while ((sides & STRIP_LEFT) && from < to) {
        const uint32_t c = utf8_at(s->p + from, to - from, &n);
        if (!strippable(chars, s->p + from, (size_t)n, c)) break;
        from += (size_t)n;
    }
    while ((sides & STRIP_RIGHT) && to > from) {
        size_t k = to - 1;
        while (k > from && ((unsigned char)s->p[k] & 0xC0) == 0x80) k--;
        const uint32_t c = utf8_at(s->p + k, to - k, &n);
        if (!strippable(chars, s->p + k, (size_t)n, c)) break;
        to = k;
    }
    if (!vm_step(vm, (s->len - (to - from)) / 16)) return j_none();
    return j_str_sub(vm, s, from, to - from);
}

struct jval jstr_replace(struct jvm *vm, const struct jstr *s, const struct jstr *old, const struct jstr *by,
                         int64_t max)
{
    struct jbuf b = jbuf_new(vm);
    if (max < 0) max = INT64_MAX;
    if (!vm_step(vm, s->len / 16)) return j_none();
    size_t i = 0;
    if (old->len == 0) { /* between all characters, as Python does */
        for (; max > 0 && !vm->failed; max--) {
            jbuf_str(&b, by);
            if (i == s->len) break;
            int n;
            utf8_at(s->p + i, s->len - i, &n);
            jbuf_sub(&b, s, i, (size_t)n);
            i += (size_t)n;
        }
    } else {
        bool any = false;
        while (max > 0 && i < s->len && !vm->failed) {
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
    return jbuf_take(&b);
}

/* Letters whose upper case is several letters, as far as ordinary text has them. */
static const struct {
    uint32_t c;
    const char *upper;
} long_upper[] = { { 0xDF, "SS" },    { 0x149, "\xCA\xBCN" }, { 0xFB00, "FF" },
                   { 0xFB01, "FI" },  { 0xFB02, "FL" },       { 0xFB03, "FFI" },
                   { 0xFB04, "FFL" }, { 0xFB05, "ST" },       { 0xFB06, "ST" } };

static void add_upper(struct jbuf *b, uint32_t c, bool data)
{
    for (size_t i = 0; c >= 0x80 && i < sizeof long_upper / sizeof *long_upper; i++) {
        if (long_upper[i].c != c) continue;
        jbuf_add(b, long_upper[i].upper, strlen(long_upper[i].upper), data);
        return;
    }
    jbuf_char(b, uni_upper(b->vm, c), data);
}

/* Sigma at the end of a word, after a letter, has a form of its own. */
static bool is_final_sigma(struct jvm *vm, const struct jstr *s, size_t at)
{
    int n;
    size_t k = at;
    if (k == 0) return false;
    do k--;
    while (k > 0 && ((unsigned char)s->p[k] & 0xC0) == 0x80);
    if (!uni_is_alpha(vm, utf8_at(s->p + k, s->len - k, &n))) return false;
    return at + 2 >= s->len || !uni_is_alpha(vm, utf8_at(s->p + at + 2, s->len - at - 2, &n));
}

enum letter_case { CASE_UPPER, CASE_LOWER, CASE_CAPITAL, CASE_SWAP };

static struct jval change_case(struct jvm *vm, const struct jstr *s, enum letter_case how)
{
    struct jbuf b = jbuf_new(vm);
    if (!vm_step(vm, s->len / 16)) return j_none();
    for (size_t i = 0; i < s->len && !vm->failed;) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool data = jstr_data(s, i);
        bool up = how == CASE_UPPER || (how == CASE_CAPITAL && i == 0);
        if (how == CASE_SWAP) up = uni_upper(vm, c) != c || c == 0xDF;
        if (c == 0xDF && how == CASE_CAPITAL && i == 0)
            jbuf_add(&b, "Ss", 2, data);
        else if (up)
            add_upper(&b, c, data);
        else if (c == 0x3A3)
            jbuf_char(&b, is_final_sigma(vm, s, i) ? 0x3C2 : 0x3C3, data);
        else if (c == 0x130)
            jbuf_add(&b, "i\xCC\x87", 3, data);
        else
            jbuf_char(&b, uni_lower(vm, c), data);
        i += (size_t)n;
    }
    return jbuf_take(&b);
}

struct jval jstr_upper(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_UPPER); }
struct jval jstr_lower(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_LOWER); }
struct jval jstr_capitalize(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_CAPITAL); }
struct jval jstr_swapcase(struct jvm *vm, const struct jstr *s) { return change_case(vm, s, CASE_SWAP); }

struct jval jstr_title(struct jvm *vm, const struct jstr *s)
{
    struct jbuf b = jbuf_new(vm);
    bool in_word = false;
    if (!vm_step(vm, s->len / 16)) return j_none();
    for (size_t i = 0; i < s->len && !vm->failed;) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool data = jstr_data(s, i),
                   letter = uni_upper(vm, c) != c || uni_lower(vm, c) != c || c == 0xDF;
        if (c == 0xDF && !in_word)
            jbuf_add(&b, "Ss", 2, data);
        else
            jbuf_char(&b, in_word ? uni_lower(vm, c) : uni_upper(vm, c), data);
        in_word = letter;
        i += (size_t)n;
    }
    return jbuf_take(&b);
}

bool jstr_is_cased(struct jvm *vm, const struct jstr *s, bool upper)
{
    bool any = false;
    for (size_t i = 0; i < s->len && vm_step(vm, 1);) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool is_upper = uni_lower(vm, c) != c, is_lower = uni_upper(vm, c) != c || c == 0xDF;
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
    vm_step(vm, s->len / 16);
    return list;
}

struct jval jstr_reverse(struct jvm *vm, const struct jstr *s)
{
    struct jbuf b = jbuf_new(vm);
    if (!vm_step(vm, s->len / 16)) return j_none();
    for (size_t to = s->len; to > 0 && !vm->failed;) {
        size_t k = to - 1;
        while (k > 0 && ((unsigned char)s->p[k] & 0xC0) == 0x80) k--;
        jbuf_sub(&b, s, k, to - k);
        to = k;
    }
    return jbuf_take(&b);
}

struct jval jstr_center(struct jvm *vm, struct jstr *s, int64_t width)
{
    const int64_t n = jstr_chars(s), pad = width - n;
    if (pad <= 0) return j_str_sub(vm, s, 0, s->len);
    const int64_t left = pad / 2 + (pad & width & 1); /* CPython's own rounding */
    struct jbuf b = jbuf_new(vm);
    jbuf_pad(&b, ' ', left);
    jbuf_str(&b, s);
    jbuf_pad(&b, ' ', pad - left);
    return jbuf_take(&b);
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
