#include "text/tokenizer/t5_normalizer.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>

enum kind { MAP, FORM, LOWERCASE, STRIP, STRIP_MARKS, REPLACE, REPLACE_RUN, PREPEND };

struct t5_step {
    enum kind kind;
    enum unicode_form form;
    struct spm_charsmap map;
    uint8_t *map_bytes; /* NULL: borrowed */
    bool left, right;   /* STRIP */
    bool any_space;     /* REPLACE_RUN: of white space, not only of spaces */
    size_t at_least;    /* REPLACE_RUN */
    char *what, *with;  /* REPLACE, REPLACE_RUN, PREPEND */
    size_t what_len, with_len;
};

/* ---- reading ----------------------------------------------------------------------------------------------- */

static struct t5_step *add(struct t5_normalizer *n, enum kind kind, struct err *e)
{
    if (n->n == T5_NORMALIZER_STEPS) {
        err_set(e, ERR_LIMIT, "a normalizer of more than %d steps", T5_NORMALIZER_STEPS);
        return NULL;
    }
    struct t5_step *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ERR_NOMEM, "no memory for a normalizer");
        return NULL;
    }
    s->kind = kind;
    n->step[n->n++] = s;
    return s;
}

static bool keep(char **to, size_t *len, const json_t *v, const char *what, struct err *e)
{
    if (!json_is_string(v)) return err_set(e, ERR_FORMAT, "the normalizer's %s is not a string", what);
    *len = json_string_length(v);
    *to = malloc(*len + 1);
    if (!*to) return err_set(e, ERR_NOMEM, "no memory for a normalizer");
    memcpy(*to, json_string_value(v), *len + 1);
    return true;
}

static bool read_map(struct t5_normalizer *n, const json_t *v, struct err *e)
{
    const json_t *map = json_object_get(v, "precompiled_charsmap");
    if (json_is_null(map)) return true;
    if (!json_is_string(map)) return err_set(e, ERR_FORMAT, "the character map is not a string");
    struct t5_step *s = add(n, MAP, e);
    if (!s) return false;
    size_t cap = json_string_length(map) / 4 * 3 + 3, len = 0;
    s->map_bytes = malloc(cap);
    if (!s->map_bytes) return err_set(e, ERR_NOMEM, "no memory for the character map");
    if (sodium_base642bin(s->map_bytes, cap, json_string_value(map), json_string_length(map), NULL, &len,
                          NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return err_set(e, ERR_FORMAT, "the character map is not base64");
    return spm_charsmap_init(&s->map, s->map_bytes, len, e);
}

/* A text for a text, or for one of the patterns that such files have: a run of spaces, or of white space. */
static bool read_replace(struct t5_normalizer *n, const json_t *v, struct err *e)
{
    static const struct {
        const char *pattern;
        bool any_space;
        size_t at_least;
    } runs[] = { { " {2,}", false, 2 }, { "\\s+", true, 1 }, { "\\s{2,}", true, 2 }, { " +", false, 1 } };
    const json_t *pattern = json_object_get(v, "pattern"), *regex = json_object_get(pattern, "Regex");
    struct t5_step *s = add(n, regex ? REPLACE_RUN : REPLACE, e);
    if (!s || !keep(&s->with, &s->with_len, json_object_get(v, "content"), "content", e)) return false;
    if (!regex) return keep(&s->what, &s->what_len, json_object_get(pattern, "String"), "pattern", e);
    for (size_t i = 0; json_is_string(regex) && i < sizeof runs / sizeof *runs; i++) {
        if (strcmp(json_string_value(regex), runs[i].pattern) != 0) continue;
        s->any_space = runs[i].any_space;
        s->at_least = runs[i].at_least;
        return true;
    }
    return err_set(e, ERR_UNSUPPORTED, "the normalizer Replace with the pattern \"%.60s\" is not supported",
                   json_is_string(regex) ? json_string_value(regex) : "(not a string)");
}

/* As the library sees it: true when absent. */
static bool flag(const json_t *v, const char *key) { return !json_is_false(json_object_get(v, key)); }

static bool read_step(struct t5_normalizer *n, const json_t *v, int depth, struct err *e)
{
    static const struct {
        const char *type;
        enum unicode_form form;
    } forms[] = { { "NFC", FORM_NFC }, { "NFD", FORM_NFD }, { "NFKC", FORM_NFKC }, { "NFKD", FORM_NFKD } };
    const char *type = json_string_value(json_object_get(v, "type"));
    struct t5_step *s;
    if (!type) return err_set(e, ERR_FORMAT, "a normalizer has no type");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(type, forms[i].type) != 0) continue;
        if (!(s = add(n, FORM, e))) return false;
        s->form = forms[i].form;
        return true;
    }
    if (strcmp(type, "Sequence") == 0 && depth < 8) {
        const json_t *one;
        size_t i;
        json_array_foreach(json_object_get(v, "normalizers"), i, one)
        {
            if (!read_step(n, one, depth + 1, e)) return false;
        }
        return true;
    }
    if (strcmp(type, "Precompiled") == 0) return read_map(n, v, e);
    if (strcmp(type, "Replace") == 0) return read_replace(n, v, e);
    if (strcmp(type, "Lowercase") == 0) return add(n, LOWERCASE, e) != NULL;
    if (strcmp(type, "StripAccents") == 0) return add(n, STRIP_MARKS, e) != NULL;
    if (strcmp(type, "Prepend") == 0)
        return (s = add(n, PREPEND, e)) &&
               keep(&s->with, &s->with_len, json_object_get(v, "prepend"), "prepend", e);
    if (strcmp(type, "Strip") == 0) {
        if (!(s = add(n, STRIP, e))) return false;
        s->left = flag(v, "strip_left");
        s->right = flag(v, "strip_right");
        return true;
    }
    return err_set(e, ERR_UNSUPPORTED, "the normalizer %.60s is not supported", type);
}

bool t5_normalizer_read(struct t5_normalizer *n, const json_t *normalizer, struct err *e)
{
    return !normalizer || json_is_null(normalizer) || read_step(n, normalizer, 0, e);
}

bool t5_normalizer_map(struct t5_normalizer *n, const uint8_t *map, size_t len, struct err *e)
{
    if (len == 0) return true;
    struct t5_step *s = add(n, MAP, e);
    return s && spm_charsmap_init(&s->map, map, len, e);
}

void t5_normalizer_free(struct t5_normalizer *n)
{
    for (int i = 0; i < n->n; i++) {
        free(n->step[i]->map_bytes);
        free(n->step[i]->what);
        free(n->step[i]->with);
        free(n->step[i]);
    }
    n->n = 0;
}

/* ---- applying ---------------------------------------------------------------------------------------------- */

static bool put(struct masked *out, const char *s, size_t n, struct err *e)
{
    if (!masked_reserve(out, n, false, e)) return false;
    masked_put(out, s, n, 0);
    return true;
}

static bool is_space(const struct unicode *u, const char *s, unsigned *len)
{
    return unicode_class(u, utf8_get((const unsigned char *)s, len)) & UC_SPACE;
}

/* Character by character, as the library does it: a final sigma is one like any other. */
static bool lower(const char *s, size_t n, struct masked *out, struct err *e)
{
    for (size_t i = 0; i < n;) {
        unsigned len;
        char low[8];
        uint32_t cp = utf8_get((const unsigned char *)s + i, &len);
        unsigned k = utf8_put(uc_tolower(cp), low);
        bool dotted = cp == 0x130; /* the one character whose lower case is two */
        if (!put(out, dotted ? "i\u0307" : low, dotted ? 3 : k, e)) return false;
        i += len;
    }
    return true;
}

static bool strip(const struct t5_step *step, const struct unicode *u, const char *s, size_t n,
                  struct masked *out, struct err *e)
{
    size_t from = 0, to = 0;
    unsigned len;
    if (step->left)
        while (from < n && is_space(u, s + from, &len)) from += len;
    for (size_t i = from; i < n; i += len)
        if (!is_space(u, s + i, &len) || !step->right) to = i + len;
    return to <= from || put(out, s + from, to - from, e);
}

static bool strip_marks(const struct unicode *u, const char *s, size_t n, struct masked *out, struct err *e)
{
    unsigned len;
    for (size_t i = 0; i < n; i += len) {
        bool mark = unicode_class(u, utf8_get((const unsigned char *)s + i, &len)) & UC_MARK;
        if (!mark && !put(out, s + i, len, e)) return false;
    }
    return true;
}

static bool replace(const struct t5_step *step, const char *s, size_t n, struct masked *out, struct err *e)
{
    if (step->what_len == 0) return put(out, s, n, e);
    for (size_t i = 0; i < n;) {
        const char *at = memmem(s + i, n - i, step->what, step->what_len);
        size_t to = at ? (size_t)(at - s) : n;
        if (!put(out, s + i, to - i, e)) return false;
        if (!at) break;
        if (!put(out, step->with, step->with_len, e)) return false;
        i = to + step->what_len;
    }
    return true;
}

static bool replace_runs(const struct t5_step *step, const struct unicode *u, const char *s, size_t n,
                         struct masked *out, struct err *e)
{
    for (size_t i = 0; i < n;) {
        size_t end = i, count = 0;
        unsigned len;
        while (end < n && (step->any_space ? is_space(u, s + end, &len) : (len = 1, s[end] == ' '))) {
            end += len;
            count++;
        }
        bool run = count >= step->at_least;
        if (count == 0) {
            utf8_get((const unsigned char *)s + i, &len);
            end = i + len;
        }
        if (!put(out, run ? step->with : s + i, run ? step->with_len : end - i, e)) return false;
        i = end;
    }
    return true;
}

static bool apply(const struct t5_step *step, const struct unicode *u, const char *s, size_t n,
                  struct masked *out, struct err *e)
{
    switch (step->kind) {
    case MAP: return spm_charsmap_apply(&step->map, s, n, out, e);
    case FORM:
        return unicode_may_change(u, step->form, s, n) ? unicode_normalize(u, step->form, s, NULL, n, out, e)
                                                       : put(out, s, n, e);
    case LOWERCASE: return lower(s, n, out, e);
    case STRIP: return strip(step, u, s, n, out, e);
    case STRIP_MARKS: return strip_marks(u, s, n, out, e);
    case REPLACE: return replace(step, s, n, out, e);
    case REPLACE_RUN: return replace_runs(step, u, s, n, out, e);
    case PREPEND: return (n == 0 || put(out, step->with, step->with_len, e)) && put(out, s, n, e);
    }
    return false;
}

bool t5_normalizer_apply(const struct t5_normalizer *n, const struct unicode *u, const char *s, size_t len,
                         struct masked *out, struct err *e)
{
    struct masked now = { 0 };
    if (!put(&now, s, len, e)) return false;
    for (int i = 0; i < n->n && now.len > 0; i++) {
        struct masked next = { 0 };
        bool ok = apply(n->step[i], u, now.text, now.len, &next, e);
        masked_free(&now);
        now = next;
        if (!ok) {
            masked_free(&now);
            return false;
        }
    }
    *out = now;
    return true;
}
