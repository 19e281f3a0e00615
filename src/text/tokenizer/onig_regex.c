/* onig_regex.c - see onig_regex.h. A recursive descent over the pattern that writes PCRE2's as it goes; classes are in onig_class.c.
 * Facts: Oniguruma's doc/RE and the behaviour of the tokenizers library, which tools/reference/tokenizer/make_regex.py compares. */
#include "text/tokenizer/onig_regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/onig_class.h"
#include "text/unicode.h"

enum { MAX_DEPTH = 60, MAX_REPEAT = 65535, MAX_NAMES = 32 };

struct mode {
    bool icase, dotall, extended;
};

struct translation {
    struct onig_text in;
    struct buf *out;
    int depth;
    bool refers; /* groups are referred to, so they must capture */
    bool named;  /* some have names: then those without do not capture */
    int n_groups, n_names;
    struct {
        const char *text;
        size_t len;
    } name[MAX_NAMES]; /* of group i + 1 */
    struct onig_foldings foldings;
    uint32_t letters[2]; /* the last letters of a run of literals, 0: none */
};

/* What an atom allows behind it. */
enum atom { ATOM_ERROR, ATOM_END, ATOM_NOTHING, ATOM_ANCHOR, ATOM_PLAIN, ATOM_LITERAL };

static bool alternatives(struct translation *x, struct mode m, struct err *e);

static bool refuse(struct translation *x, const char *what, struct err *e)
{
    return onig_refuse(&x->in, what, e);
}
static bool more(const struct translation *x) { return x->in.i < x->in.n; }
static char at(const struct translation *x, size_t k)
{
    return x->in.i + k < x->in.n ? x->in.s[x->in.i + k] : 0;
}

static bool follows(const struct translation *x, const char *s)
{
    size_t n = strlen(s);
    return x->in.n - x->in.i >= n && memcmp(x->in.s + x->in.i, s, n) == 0;
}

static bool take(struct translation *x, const char *s)
{
    if (!follows(x, s)) return false;
    x->in.i += strlen(s);
    return true;
}

static bool put_set(struct translation *x, const struct onig_set *s, struct err *e)
{
    return onig_set_print(s, x->out, e);
}

/* A character, with its other cases where they count. A letter that several may stand for (as one of Germany for "ss") is refused: the
 * number of characters would depend on the text. */
static bool put_char(struct translation *x, uint32_t c, struct mode m, struct err *e)
{
    if (!m.icase) {
        if (c < 128 && ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' ||
                        c == ' ' || c == '\''))
            buf_putc(x->out, (char)c);
        else
            buf_printf(x->out, "\\x{%x}", (unsigned)c);
        return true;
    }
    struct onig_set s = { 0 };
    bool ok = onig_set_add(&s, c, c, e) && onig_set_fold(&s, e) && put_set(x, &s, e);
    onig_set_free(&s);
    return ok;
}

/* "ss" without case is found in one letter too: such runs of literals are refused. Called after each letter that no quantifier takes. */
static bool note_letter(struct translation *x, uint32_t c, struct err *e)
{
    uint32_t run[3] = { x->letters[0], x->letters[1], c };
    for (int from = 0; from < 3; from++)
        if (run[from] && onig_folds_together(&x->foldings, run + from, (size_t)(3 - from)))
            return refuse(x, "letters that one character may stand for when case does not count", e);
    x->letters[0] = x->letters[1];
    x->letters[1] = c;
    return true;
}

static bool number(struct translation *x, int *out)
{
    int v = 0, digits = 0;
    for (; at(x, 0) >= '0' && at(x, 0) <= '9' && digits < 7; x->in.i++, digits++)
        v = v * 10 + (at(x, 0) - '0');
    *out = v;
    return digits > 0;
}

/* "{n}", "{n,}", "{,n}", "{n,m}" at the place; anything else is text and stays. *low == -1: not there. */
static void interval(struct translation *x, int *low, int *high, bool *fixed)
{
    const size_t start = x->in.i;
    x->in.i++;
    bool has_low = number(x, low), has_high = false;
    *fixed = false;
    if (has_low && at(x, 0) == '}') {
        *high = *low;
        *fixed = true;
        x->in.i++;
        return;
    }
    if (at(x, 0) == ',') {
        x->in.i++;
        has_high = number(x, high);
        if (at(x, 0) == '}' && (has_low || has_high)) {
            if (!has_low) *low = 0;
            if (!has_high) *high = -1;
            x->in.i++;
            return;
        }
    }
    *low = -1;
    x->in.i = start;
}

/* Puts "(?:" before what begins at `start` of the output, and ")" behind it. */
static void wrap(struct translation *x, size_t start)
{
    buf_puts(x->out, "(?:");
    if (x->out->failed) return;
    memmove(x->out->data + start + 3, x->out->data + start, x->out->len - start - 3);
    memcpy(x->out->data + start, "(?:", 3);
    buf_puts(x->out, ")");
}

static void skip_blank(struct translation *x, struct mode m)
{
    for (;;) {
        if (take(x, "(?#")) {
            while (more(x) && at(x, 0) != ')') x->in.i += at(x, 0) == '\\' ? 2 : 1;
            x->in.i = x->in.i < x->in.n ? x->in.i + 1 : x->in.n;
        } else if (m.extended && at(x, 0) && strchr(" \t\n\r\f\v", at(x, 0))) {
            x->in.i++;
        } else if (m.extended && at(x, 0) == '#') {
            while (more(x) && at(x, 0) != '\n') x->in.i++;
        } else {
            return;
        }
    }
}

/* One quantifier, if there is one. Oniguruma's "+" behind an interval is a quantifier of its own, and so is "?" behind {n}. */
static bool quantifier(struct translation *x, char *text, size_t size, bool *found, struct err *e)
{
    const char c = at(x, 0);
    int low = -1, high = -1;
    bool fixed = false;
    *found = false;
    if (c == '?' || c == '*' || c == '+') {
        char mark = at(x, 1) == '?' || at(x, 1) == '+' ? at(x, 1) : 0;
        snprintf(text, size, "%c%s", c, mark == '?' ? "?" : mark == '+' ? "+" : "");
        x->in.i += mark ? 2 : 1;
        return *found = true;
    }
    if (c != '{') return true;
    interval(x, &low, &high, &fixed);
    if (low < 0) return true;
    if (low > MAX_REPEAT || high > MAX_REPEAT) return refuse(x, "a repetition of more than 65535 times", e);
    const char *mark = "";
    if (high >= 0 && low > high) { /* {5,2} is its way to say {2,5} and be possessive */
        int swap = low;
        low = high;
        high = swap;
        mark = "+";
    } else if (!fixed && take(x, "?")) {
        mark = "?";
    }
    if (high < 0)
        snprintf(text, size, "{%d,}%s", low, mark);
    else
        snprintf(text, size, "{%d,%d}%s", low, high, mark);
    return *found = true;
}

static bool quantifiers(struct translation *x, struct mode m, size_t start, enum atom kind, bool *any,
                        struct err *e)
{
    char text[40];
    *any = false;
    for (bool found;; *any = true) {
        skip_blank(x, m);
        if (!quantifier(x, text, sizeof text, &found, e)) return false;
        if (!found) return true;
        if (kind == ATOM_ANCHOR || kind == ATOM_NOTHING)
            return refuse(x, "a quantifier behind nothing that repeats", e);
        if (*any) wrap(x, start);
        buf_puts(x->out, text);
    }
}

/* <name> or 'name' behind \k and \g, or in front of a group. */
static bool name_of(struct translation *x, const char **text, size_t *len, struct err *e)
{
    const char close = at(x, 0) == '<' ? '>' : '\'';
    const char *s = x->in.s + x->in.i + 1, *end = memchr(s, close, x->in.n - x->in.i - 1);
    if (!end || end == s) return refuse(x, "a group's name that does not end", e);
    *text = s;
    *len = (size_t)(end - s);
    x->in.i += *len + 2;
    return true;
}

static bool group_number(struct translation *x, int *out, struct err *e)
{
    const char *s;
    size_t len;
    if (!name_of(x, &s, &len, e)) return false;
    for (int i = 0; i < x->n_names; i++)
        if (x->name[i].len == len && memcmp(x->name[i].text, s, len) == 0) return *out = i + 1, true;
    char digits[12] = "", *end;
    if (len < sizeof digits) memcpy(digits, s, len);
    long v = strtol(digits, &end, 10);
    if (x->named || !digits[0] || *end || v < 1 || v > x->n_groups)
        return refuse(x, "a reference to a group that is not there", e);
    *out = (int)v;
    return true;
}

static bool property(struct translation *x, struct err *e)
{
    struct onig_set s = { 0 };
    bool ok = onig_class_property(&x->in, false, &s, e) && put_set(x, &s, e);
    onig_set_free(&s);
    return ok;
}

static bool boundary(struct translation *x, bool invert, struct err *e)
{
    struct buf w = BUF_INIT(1 << 16);
    struct onig_set s = { 0 };
    bool ok = onig_set_add_flag(&s, ONIG_WORD, e) && onig_set_print(&s, &w, e);
    const char *text = ok && !w.failed ? w.data : "";
    if (ok)
        buf_printf(x->out, invert ? "(?:(?<=%s)(?=%s)|(?<!%s)(?!%s))" : "(?:(?<=%s)(?!%s)|(?<!%s)(?=%s))",
                   text, text, text, text);
    onig_set_free(&s);
    buf_free(&w);
    return ok;
}

/* Behind the backslash. */
static enum atom escape(struct translation *x, struct mode m, uint32_t *literal, struct err *e)
{
    static const struct {
        char name;
        enum atom kind;
        const char *text;
    } fixed[] = { { 'A', ATOM_ANCHOR, "\\A" },
                  { 'z', ATOM_ANCHOR, "\\z" },
                  { 'Z', ATOM_ANCHOR, "(?=\\n?\\z)" },
                  { 'G', ATOM_ANCHOR, "\\G" },
                  { 'K', ATOM_ANCHOR, "\\K" },
                  { 'N', ATOM_PLAIN, "[^\\n]" },
                  { 'O', ATOM_PLAIN, "(?s:.)" },
                  { 'X', ATOM_PLAIN, "\\X" },
                  { 'R', ATOM_PLAIN, "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])" } };
    const char c = at(x, 0);
    int group = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (c == fixed[i].name) {
            x->in.i++;
            buf_puts(x->out, fixed[i].text);
            return fixed[i].kind;
        }
    if (c == 'b' || c == 'B') {
        x->in.i++;
        return boundary(x, c == 'B', e) ? ATOM_ANCHOR : ATOM_ERROR;
    }
    if (c == 'y' || c == 'Y') return refuse(x, "a boundary of text segments (\\y)", e), ATOM_ERROR;
    if ((c == 'k' || c == 'g') && (at(x, 1) == '<' || at(x, 1) == '\'')) {
        if (c == 'k' && m.icase)
            return refuse(x, "a reference back where case does not count", e), ATOM_ERROR;
        x->in.i++;
        if (!group_number(x, &group, e)) return ATOM_ERROR;
        buf_printf(x->out, c == 'k' ? "\\g{%d}" : "(?%d)", group);
        return ATOM_PLAIN;
    }
    if (c >= '1' && c <= '9') {
        const size_t start = x->in.i;
        number(x, &group);
        if (group <= x->n_groups && !x->named) {
            if (m.icase) return refuse(x, "a reference back where case does not count", e), ATOM_ERROR;
            buf_printf(x->out, "\\g{%d}", group);
            return ATOM_PLAIN;
        }
        x->in.i = start;
        if (group <= 9) return refuse(x, "a reference to a group that is not there", e), ATOM_ERROR;
    }
    struct onig_set s = { 0 };
    bool is_set;
    bool ok = onig_class_escape(&x->in, false, &s, &is_set, literal, e);
    if (ok && is_set) ok = put_set(x, &s, e);
    onig_set_free(&s);
    return !ok ? ATOM_ERROR : is_set ? ATOM_PLAIN : ATOM_LITERAL;
}

/* The letters of (?imx-imx; false for another. */
static bool options(struct translation *x, struct mode *m, struct err *e)
{
    bool on = true;
    for (;; x->in.i++) {
        switch (at(x, 0)) {
        case '-': on = false; break;
        case 'i': m->icase = on; break;
        case 'm': m->dotall = on; break;
        case 'x': m->extended = on; break;
        case ':':
        case ')': return true;
        default: return refuse(x, "a kind of group or option", e);
        }
    }
}

static bool close_group(struct translation *x, struct err *e)
{
    if (!take(x, ")")) return refuse(x, "a group that does not end", e);
    buf_puts(x->out, ")");
    return true;
}

static enum atom enclosed(struct translation *x, const char *open, struct mode m, enum atom kind,
                          struct err *e)
{
    buf_puts(x->out, open);
    return alternatives(x, m, e) && close_group(x, e) ? kind : ATOM_ERROR;
}

/* Behind the "(". */
static enum atom group(struct translation *x, struct mode m, struct err *e)
{
    static const struct {
        const char *open;
        enum atom kind;
    } kinds[] = { { "?:", ATOM_PLAIN },  { "?>", ATOM_PLAIN },   { "?=", ATOM_ANCHOR },
                  { "?!", ATOM_ANCHOR }, { "?<=", ATOM_ANCHOR }, { "?<!", ATOM_ANCHOR } };
    if (at(x, 0) == '*') return refuse(x, "a callout (*...)", e), ATOM_ERROR;
    if (at(x, 0) != '?') return enclosed(x, x->named || !x->refers ? "(?:" : "(", m, ATOM_PLAIN, e);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (take(x, kinds[i].open)) {
            buf_puts(x->out, "(");
            return enclosed(x, kinds[i].open, m, kinds[i].kind, e);
        }
    if (follows(x, "?~")) return refuse(x, "an absent group (?~...)", e), ATOM_ERROR;
    if (follows(x, "?(")) return refuse(x, "a condition (?(...)...)", e), ATOM_ERROR;
    if (follows(x, "?<") || follows(x, "?'")) {
        const char *s;
        size_t len;
        x->in.i++;
        return name_of(x, &s, &len, e) ? enclosed(x, x->refers ? "(" : "(?:", m, ATOM_PLAIN, e) : ATOM_ERROR;
    }
    x->in.i++;
    struct mode inner = m;
    if (!options(x, &inner, e)) return ATOM_ERROR;
    if (take(x, ":")) return enclosed(x, "(?:", inner, ATOM_PLAIN, e);
    /* (?i) and its like: a group up to the end of the one around it, alternatives included. */
    x->in.i++;
    buf_puts(x->out, "(?:");
    if (!alternatives(x, inner, e)) return ATOM_ERROR;
    buf_puts(x->out, ")");
    return ATOM_END;
}

static bool class(struct translation *x, struct mode m, struct err *e)
{
    struct onig_set s = { 0 };
    bool ok = onig_class_parse(&x->in, m.icase, &s, e) && put_set(x, &s, e);
    onig_set_free(&s);
    return ok;
}

static bool dot(struct translation *x, struct mode m)
{
    return buf_puts(x->out, m.dotall ? "(?s:.)" : "[^\\n]");
}

static enum atom atom(struct translation *x, struct mode m, uint32_t *literal, struct err *e)
{
    const char c = at(x, 0);
    switch (c) {
    case '|':
    case ')': return ATOM_END;
    case '(': x->in.i++; return group(x, m, e);
    case '[': x->in.i++; return class(x, m, e) ? ATOM_PLAIN : ATOM_ERROR;
    case '.': x->in.i++; return dot(x, m), ATOM_PLAIN;
    /* A line begins behind a line end, but not at the very end of the text. */
    case '^': x->in.i++; return buf_puts(x->out, "(?:\\A|(?<=\\n)(?!\\z))"), ATOM_ANCHOR;
    case '$': x->in.i++; return buf_puts(x->out, "(?=\\n|\\z)"), ATOM_ANCHOR;
    case '*':
    case '+':
    case '?': return refuse(x, "a quantifier behind nothing that repeats", e), ATOM_ERROR;
    case '{': {
        int low, high;
        bool fixed;
        interval(x, &low, &high, &fixed);
        if (low >= 0) return refuse(x, "a quantifier behind nothing that repeats", e), ATOM_ERROR;
        break;
    }
    case '\\':
        x->in.i++;
        if (!more(x)) return refuse(x, "a backslash at the end", e), ATOM_ERROR;
        if ((at(x, 0) == 'p' || at(x, 0) == 'P') && at(x, 1) == '{')
            return property(x, e) ? ATOM_PLAIN : ATOM_ERROR;
        return escape(x, m, literal, e);
    default: break;
    }
    unsigned len;
    *literal = utf8_get((const unsigned char *)x->in.s + x->in.i, &len);
    x->in.i += len;
    return ATOM_LITERAL;
}

static bool branch(struct translation *x, struct mode m, struct err *e)
{
    x->letters[0] = x->letters[1] = 0;
    for (;;) {
        skip_blank(x, m);
        if (!more(x)) return true;
        const size_t start = x->out->len;
        uint32_t literal = 0;
        enum atom kind = atom(x, m, &literal, e);
        if (kind == ATOM_ERROR) return false;
        if (kind == ATOM_END) return true;
        if (kind == ATOM_LITERAL && !put_char(x, literal, m, e)) return false;
        bool any;
        if (!quantifiers(x, m, start, kind, &any, e)) return false;
        if (kind == ATOM_LITERAL && m.icase && onig_folds_apart(&x->foldings, literal))
            return refuse(x, "a letter that several may stand for when case does not count", e);
        if (kind != ATOM_LITERAL || any || !m.icase)
            x->letters[0] = x->letters[1] = 0;
        else if (!note_letter(x, literal, e))
            return false;
    }
}

static bool alternatives(struct translation *x, struct mode m, struct err *e)
{
    if (++x->depth > MAX_DEPTH) return refuse(x, "groups nested too deep", e);
    bool ok = branch(x, m, e);
    while (ok && take(x, "|")) {
        buf_puts(x->out, "|");
        ok = branch(x, m, e);
    }
    x->depth--;
    return ok;
}

/* Groups and their names, which references may stand before. */
static bool survey(struct translation *x, struct err *e)
{
    const char *s = x->in.s;
    const size_t n = x->in.n;
    int plain = 0, class = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\') {
            char c = i + 1 < n ? s[i + 1] : 0;
            if (!class && (c == 'k' || c == 'g' || (c >= '1' && c <= '9'))) x->refers = true;
            i++;
            continue;
        }
        if (s[i] == '[') class ++;
        if (s[i] == ']' && class) class --;
        if (s[i] != '(' || class) continue;
        if (i + 1 >= n || s[i + 1] != '?') {
            plain++;
            continue;
        }
        if (i + 3 >= n || !((s[i + 2] == '<' && s[i + 3] != '=' && s[i + 3] != '!') || s[i + 2] == '\''))
            continue;
        if (x->n_names == MAX_NAMES) return refuse(x, "more than 32 named groups", e);
        x->in.i = i + 2;
        const char *text;
        size_t len;
        if (!name_of(x, &text, &len, e)) return false;
        for (int k = 0; k < x->n_names; k++)
            if (x->name[k].len == len && memcmp(x->name[k].text, text, len) == 0)
                return refuse(x, "two groups of one name", e);
        x->name[x->n_names].text = text;
        x->name[x->n_names++].len = len;
    }
    x->named = x->n_names > 0;
    x->n_groups = x->named ? x->n_names : plain;
    x->in.i = 0;
    return true;
}

bool onig_regex_translate(const char *pattern, size_t len, struct buf *out, struct err *e)
{
    struct translation x = { .in = { pattern, 0, len }, .out = out };
    if (!survey(&x, e) || !alternatives(&x, (struct mode){ 0 }, e)) return false;
    if (more(&x)) return refuse(&x, "a \")\" too many", e);
    if (out->failed) return err_set(e, ERR_LIMIT, "the regular expression is too long once it is translated");
    return true;
}
