#include "text/grammar/ecma.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/onig_set.h"
#include "text/unicode.h"

enum { MAX_NESTING = 200, MAX_REPEAT = 20000, MAX_ITEMS = 20000, LAST = 0x10ffff };

enum kind {
    ONE,    /* a character of a set */
    CAT,    /* a, then b */
    ALT,    /* a or b */
    REPEAT, /* a, min to max times */
    NOTHING,
    START,
    END,
    LOOK,  /* a comes next; with `no`: it does not */
    BOUND, /* between a word's character and another; with `no`: not there */
};

struct item {
    enum kind kind;
    int a, b;     /* indices of other items */
    int min, max; /* max -1: no end */
    bool no;
    bool plain;  /* no assertion below: a language by itself */
    bool empty;  /* it may take no character */
    bool starts; /* there is a ^ in it */
    rx set;      /* ONE */
};

struct parse {
    struct rx_pool *p;
    const char *s;
    size_t i, n;
    int depth;
    struct item *item;
    int n_item, cap_item;
    struct err *e;
};

static bool refuse(struct parse *t, enum err_code code, const char *what)
{
    return err_set(t->e, code, "the regular expression has %s at byte %zu%s", what, t->i,
                   code == ERR_UNSUPPORTED ? ", which is not supported" : "");
}

/* Out of budget? The error says so. */
static bool spent(struct parse *t, long steps)
{
    return !budget_take(rx_budget(t->p), steps) && !budget_ok(rx_budget(t->p), t->e);
}

static int add(struct parse *t, struct item it)
{
    if (spent(t, 8)) return -1;
    if (t->n_item >= MAX_ITEMS) {
        err_set(t->e, ERR_LIMIT, "the regular expression has more than %d parts", MAX_ITEMS);
        return -1;
    }
    if (t->n_item == t->cap_item) {
        const int cap = t->cap_item ? t->cap_item * 2 : 64;
        struct item *q = realloc(t->item, (size_t)cap * sizeof *q);
        if (!q) {
            err_set(t->e, ERR_NOMEM, "no memory for a regular expression");
            return -1;
        }
        t->item = q;
        t->cap_item = cap;
    }
    t->item[t->n_item] = it;
    return t->n_item++;
}

static int add_two(struct parse *t, enum kind kind, int a, int b)
{
    if (a < 0 || b < 0) return -1;
    const struct item *x = &t->item[a], *y = &t->item[b];
    return add(t, (struct item){ .kind = kind,
                                 .a = a,
                                 .b = b,
                                 .plain = x->plain && y->plain,
                                 .empty = kind == CAT ? x->empty && y->empty : x->empty || y->empty,
                                 .starts = x->starts || y->starts });
}

static char at(const struct parse *t, size_t k) { return t->i + k < t->n ? t->s[t->i + k] : 0; }
static bool more(const struct parse *t) { return t->i < t->n; }

/* ---- sets of characters -------------------------------------------------------------------------------------------- */

static rx set_rx(struct parse *t, const struct onig_set *s)
{
    rx few[64], *part = s->n <= 128 ? few : malloc(s->n / 2 * sizeof *part);
    if (!part) return RX_NONE;
    for (size_t i = 0; i + 1 < s->n; i += 2) part[i / 2] = rx_chars(t->p, s->at[i], s->at[i + 1] - 1);
    const rx r = rx_or_all(t->p, part, s->n / 2);
    if (part != few) free(part);
    return r;
}

static bool add_word(struct onig_set *s, struct err *e)
{
    return onig_set_add(s, '0', '9', e) && onig_set_add(s, 'A', 'Z', e) && onig_set_add(s, '_', '_', e) &&
           onig_set_add(s, 'a', 'z', e);
}

static bool add_space(struct onig_set *s, struct err *e)
{
    static const uint32_t runs[][2] = { { 9, 13 },          { ' ', ' ' },       { 0xa0, 0xa0 },
                                        { 0x1680, 0x1680 }, { 0x2000, 0x200a }, { 0x2028, 0x2029 },
                                        { 0x202f, 0x202f }, { 0x205f, 0x205f }, { 0x3000, 0x3000 },
                                        { 0xfeff, 0xfeff } };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        if (!onig_set_add(s, runs[i][0], runs[i][1], e)) return false;
    return true;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* n hexadecimal digits at i+from; -1: they are not there. */
static int32_t hex_at(const struct parse *t, size_t from, int n)
{
    int32_t v = 0;
    for (int k = 0; k < n; k++) {
        const int d = hex(at(t, from + (size_t)k));
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Behind \u. */
static bool unicode_escape(struct parse *t, uint32_t *c)
{
    if (at(t, 0) == '{') {
        uint32_t v = 0;
        size_t k = 1;
        while (hex(at(t, k)) >= 0 && v <= LAST) v = v * 16 + (uint32_t)hex(at(t, k++));
        if (k == 1 || at(t, k) != '}' || v > LAST) return refuse(t, ERR_REQUEST, "\\u{...} of no character");
        t->i += k + 1;
        *c = v;
        return true;
    }
    const int32_t v = hex_at(t, 0, 4);
    if (v < 0) { /* Annex B: a letter u */
        *c = 'u';
        return true;
    }
    t->i += 4;
    if (v >= 0xd800 && v < 0xdc00 && at(t, 0) == '\\' && at(t, 1) == 'u') {
        const int32_t low = hex_at(t, 2, 4);
        if (low >= 0xdc00 && low < 0xe000) {
            t->i += 6;
            *c = 0x10000u + ((uint32_t)(v - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
            return true;
        }
    }
    *c = (uint32_t)v;
    return true;
}

/* Behind \p or \P. */
static bool property(struct parse *t, bool not, struct onig_set *out)
{
    size_t k = 1;
    bool found = false, ok = true;
    if (at(t, 0) != '{') return refuse(t, ERR_REQUEST, "\\p without {...}");
    while (t->i + k < t->n && at(t, k) != '}') k++;
    if (t->i + k >= t->n) return refuse(t, ERR_REQUEST, "\\p{ without }");
    const char *name = t->s + t->i + 1, *end = t->s + t->i + k, *eq = memchr(name, '=', (size_t)(end - name));
    if (eq) name = eq + 1; /* Script=Greek, General_Category=Lu */
    struct onig_set one = { 0 };
    ok = onig_set_add_property(&one, name, (size_t)(end - name), true, &found, t->e);
    if (ok && !found) ok = refuse(t, ERR_UNSUPPORTED, "an unknown property");
    if (ok && not ) ok = onig_set_invert(&one, t->e);
    ok = ok && onig_set_unite(out, &one, t->e);
    onig_set_free(&one);
    t->i += k + 1;
    return ok;
}

enum escape { A_CHAR, A_SET, FAILED };

/* Behind a backslash: one character, or a set that is added to *set. */
static enum escape escape(struct parse *t, bool in_class, uint32_t *c, struct onig_set *set)
{
    if (!more(t)) return refuse(t, ERR_REQUEST, "a backslash at its end"), FAILED;
    const char ch = at(t, 0);
    unsigned width = 1;
    struct onig_set one = { 0 };
    bool ok = true;
    switch (ch) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 's':
    case 'S':
        t->i++;
        ok = (ch | 32) == 'd'   ? onig_set_add(&one, '0', '9', t->e)
             : (ch | 32) == 'w' ? add_word(&one, t->e)
                                : add_space(&one, t->e);
        if (ok && ch < 'a') ok = onig_set_invert(&one, t->e);
        ok = ok && onig_set_unite(set, &one, t->e);
        onig_set_free(&one);
        return ok ? A_SET : FAILED;
    case 'p':
    case 'P':
        if (spent(t, 10000)) return FAILED; /* a walk over all characters' properties */
        t->i++;
        return property(t, ch == 'P', set) ? A_SET : FAILED;
    case 't': return t->i++, *c = 9, A_CHAR;
    case 'n': return t->i++, *c = 10, A_CHAR;
    case 'v': return t->i++, *c = 11, A_CHAR;
    case 'f': return t->i++, *c = 12, A_CHAR;
    case 'r': return t->i++, *c = 13, A_CHAR;
    case 'u': return t->i++, unicode_escape(t, c) ? A_CHAR : FAILED;
    case 'x':
        if (hex_at(t, 1, 2) < 0) return t->i++, *c = 'x', A_CHAR;
        *c = (uint32_t)hex_at(t, 1, 2);
        return t->i += 3, A_CHAR;
    case 'c':
        if (((at(t, 1) | 32) < 'a' || (at(t, 1) | 32) > 'z')) return *c = '\\', A_CHAR;
        *c = (uint32_t)at(t, 1) & 31;
        return t->i += 2, A_CHAR;
    case '0':
        if (at(t, 1) >= '0' && at(t, 1) <= '9') return refuse(t, ERR_UNSUPPORTED, "an octal escape"), FAILED;
        return t->i++, *c = 0, A_CHAR;
    case 'b':
        if (in_class) return t->i++, *c = 8, A_CHAR;
        break;
    case 'B': break;
    default: break;
    }
    if (ch >= '1' && ch <= '9') return refuse(t, ERR_UNSUPPORTED, "a back reference"), FAILED;
    if (((ch | 32) >= 'a' && (ch | 32) <= 'z'))
        return refuse(t, ERR_REQUEST, "an escape that ECMA-262 does not have"), FAILED;
    *c = utf8_get((const unsigned char *)t->s + t->i, &width);
    t->i += width;
    return A_CHAR;
}

static bool class_atom(struct parse *t, uint32_t *c, struct onig_set *set, bool *is_set)
{
    *is_set = false;
    if (at(t, 0) == '\\') {
        t->i++;
        const enum escape is = escape(t, true, c, set);
        *is_set = is == A_SET;
        return is != FAILED;
    }
    unsigned width;
    *c = utf8_get((const unsigned char *)t->s + t->i, &width);
    t->i += width;
    return true;
}

/* Behind '['. */
static int class(struct parse *t)
{
    struct onig_set s = { 0 };
    const bool not = at(t, 0) == '^';
    bool ok = true;
    t->i += not ;
    while (ok && more(t) && at(t, 0) != ']') {
        uint32_t a = 0, b = 0;
        bool a_set, b_set;
        ok = !spent(t, 8 + (long)s.n / 2) && class_atom(t, &a, &s, &a_set);
        if (!ok) break;
        if (at(t, 0) == '-' && t->i + 1 < t->n && at(t, 1) != ']') {
            t->i++;
            ok = class_atom(t, &b, &s, &b_set);
            if (!ok) break;
            if (a_set || b_set) { /* Annex B: the hyphen itself */
                ok = onig_set_add(&s, '-', '-', t->e) && (a_set || onig_set_add(&s, a, a, t->e)) &&
                     (b_set || onig_set_add(&s, b, b, t->e));
            } else if (a > b) {
                ok = refuse(t, ERR_REQUEST, "a range that runs backwards");
            } else {
                ok = onig_set_add(&s, a, b, t->e);
            }
        } else if (!a_set) {
            ok = onig_set_add(&s, a, a, t->e);
        }
    }
    if (ok && !more(t)) ok = refuse(t, ERR_REQUEST, "a [ without ]");
    t->i++;
    if (ok && not ) ok = onig_set_invert(&s, t->e);
    const int it = ok ? add(t, (struct item){ .kind = ONE, .set = set_rx(t, &s), .plain = true }) : -1;
    onig_set_free(&s);
    return it;
}

/* ---- the pattern --------------------------------------------------------------------------------------------------- */

static int alternatives(struct parse *t);

static int one_char(struct parse *t, uint32_t c)
{
    return add(t, (struct item){ .kind = ONE, .set = rx_chars(t->p, c, c), .plain = true });
}

/* Behind '('. */
static int group(struct parse *t)
{
    bool look = false, no = false;
    if (at(t, 0) == '?') {
        if (at(t, 1) == ':') {
            t->i += 2;
        } else if (at(t, 1) == '=' || at(t, 1) == '!') {
            look = true;
            no = at(t, 1) == '!';
            t->i += 2;
        } else if (at(t, 1) == '<' && (at(t, 2) == '=' || at(t, 2) == '!')) {
            return refuse(t, ERR_UNSUPPORTED, "lookbehind"), -1;
        } else if (at(t, 1) == '<') {
            while (more(t) && at(t, 0) != '>') t->i++;
            if (!more(t)) return refuse(t, ERR_REQUEST, "a group's name without >"), -1;
            t->i++;
        } else {
            return refuse(t, ERR_REQUEST, "a group that ECMA-262 does not have"), -1;
        }
    }
    if (++t->depth > MAX_NESTING) {
        err_set(t->e, ERR_LIMIT, "the regular expression nests groups deeper than %d", MAX_NESTING);
        return -1;
    }
    const int a = alternatives(t);
    t->depth--;
    if (a < 0) return -1;
    if (at(t, 0) != ')') return refuse(t, ERR_REQUEST, "a ( without )"), -1;
    t->i++;
    if (!look) return a;
    return add(t,
               (struct item){ .kind = LOOK, .a = a, .no = no, .empty = true, .starts = t->item[a].starts });
}

static int atom(struct parse *t)
{
    const char c = at(t, 0);
    struct onig_set s = { 0 };
    uint32_t cp = 0;
    switch (c) {
    case '^': return t->i++, add(t, (struct item){ .kind = START, .empty = true, .starts = true });
    case '$': return t->i++, add(t, (struct item){ .kind = END, .empty = true });
    case '(': return t->i++, group(t);
    case '[': return t->i++, class(t);
    case '*':
    case '+':
    case '?': return refuse(t, ERR_REQUEST, "a repetition of nothing"), -1;
    case '.': {
        t->i++;
        rx r = rx_or(t->p, rx_chars(t->p, 0, 9), rx_chars(t->p, 11, 12));
        r = rx_or(t->p, rx_or(t->p, r, rx_chars(t->p, 14, 0x2027)), rx_chars(t->p, 0x202a, LAST));
        return add(t, (struct item){ .kind = ONE, .set = r, .plain = true });
    }
    case '\\': {
        if (at(t, 1) == 'b' || at(t, 1) == 'B') {
            t->i += 2;
            return add(t, (struct item){ .kind = BOUND, .no = t->s[t->i - 1] == 'B', .empty = true });
        }
        t->i++;
        const enum escape is = escape(t, false, &cp, &s);
        const int it = is == FAILED ? -1
                       : is == A_CHAR
                           ? one_char(t, cp)
                           : add(t, (struct item){ .kind = ONE, .set = set_rx(t, &s), .plain = true });
        onig_set_free(&s);
        return it;
    }
    default: {
        unsigned width;
        cp = utf8_get((const unsigned char *)t->s + t->i, &width);
        t->i += width;
        return one_char(t, cp);
    }
    }
}

/* {n}, {n,}, {n,m} at i; false: it is something else, a brace that stands for itself. */
static bool counts(struct parse *t, int *min, int *max)
{
    size_t k = 1;
    long v[2] = { 0, -1 };
    bool comma = false;
    if (at(t, 0) != '{' || at(t, 1) < '0' || at(t, 1) > '9') return false;
    for (int w = 0; w < 2; w++) {
        if (w == 1) {
            if (at(t, k) != ',') break;
            comma = true;
            k++;
        }
        while (at(t, k) >= '0' && at(t, k) <= '9') {
            if (v[w] < 0) v[w] = 0;
            if (v[w] < 10000000) v[w] = v[w] * 10 + (at(t, k) - '0');
            k++;
        }
    }
    if (at(t, k) != '}') return false;
    t->i += k + 1;
    *min = (int)v[0];
    *max = comma ? (int)v[1] : (int)v[0];
    return true;
}

static int repeated(struct parse *t)
{
    int a = atom(t);
    while (a >= 0 && more(t)) { /* Annex B lets a lookahead be repeated; nothing else twice */
        int min, max;
        const char c = at(t, 0);
        if (c == '*' || c == '+' || c == '?') {
            min = c == '+';
            max = c == '?' ? 1 : -1;
            t->i++;
        } else if (!counts(t, &min, &max)) {
            break;
        }
        if (max >= 0 && min > max) return refuse(t, ERR_REQUEST, "a repetition that runs backwards"), -1;
        if (min > MAX_REPEAT || max > MAX_REPEAT) {
            err_set(t->e, ERR_LIMIT, "the regular expression repeats more than %d times", MAX_REPEAT);
            return -1;
        }
        if (at(t, 0) == '?') t->i++;
        const struct item *x = &t->item[a];
        a = add(t, (struct item){ .kind = REPEAT,
                                  .a = a,
                                  .min = min,
                                  .max = max,
                                  .plain = x->plain,
                                  .empty = min == 0 || x->empty,
                                  .starts = x->starts });
        if (at(t, 0) == '*' || at(t, 0) == '+' || at(t, 0) == '?')
            return refuse(t, ERR_REQUEST, "a repetition of a repetition"), -1;
    }
    return a;
}

static int sequence(struct parse *t)
{
    int list[64], n = 0, all = -1;
    /* Joined from the right, in pieces, so that long texts do not nest deeper than they must. */
    while (more(t) && at(t, 0) != '|' && at(t, 0) != ')') {
        const int a = repeated(t);
        if (a < 0) return -1;
        if (n == 64) {
            int r = list[--n];
            while (n > 0) r = add_two(t, CAT, list[--n], r);
            if (r < 0) return -1;
            all = all < 0 ? r : add_two(t, CAT, all, r);
            if (all < 0) return -1;
        }
        list[n++] = a;
    }
    if (n == 0) return add(t, (struct item){ .kind = NOTHING, .plain = true, .empty = true });
    int r = list[--n];
    while (n > 0) r = add_two(t, CAT, list[--n], r);
    return all < 0 ? r : add_two(t, CAT, all, r);
}

static int alternatives(struct parse *t)
{
    /* Those of each rank stand for 2^rank alternatives, joined in pairs, so that many of them do not nest deep. */
    int of_rank[32], n = 0, rank[32];
    for (;;) {
        int a = sequence(t), r = 0;
        if (a < 0) return -1;
        while (n > 0 && rank[n - 1] == r) {
            a = add_two(t, ALT, of_rank[--n], a);
            if (a < 0) return -1;
            r++;
        }
        of_rank[n] = a;
        rank[n++] = r;
        if (!more(t) || at(t, 0) != '|') break;
        t->i++;
    }
    int a = of_rank[--n];
    while (n > 0 && a >= 0) a = add_two(t, ALT, of_rank[--n], a);
    return a;
}

/* ---- languages ------------------------------------------------------------------------------------------------------ */

static rx plain(struct parse *t, int at_item)
{
    const struct item *x = &t->item[at_item];
    switch (x->kind) {
    case ONE: return x->set;
    case CAT: {
        const rx b = plain(t, x->b);
        return rx_cat(t->p, plain(t, t->item[at_item].a), b);
    }
    case ALT: return rx_or(t->p, plain(t, x->a), plain(t, x->b));
    case REPEAT: return rx_repeat(t->p, plain(t, x->a), x->min, x->max);
    default: return RX_EMPTY;
    }
}

/* What is known of the place where an item stands. */
enum before { AT_START, AFTER_WORD, AFTER_OTHER, AFTER_SOMETHING };

static rx word_char(struct rx_pool *p)
{
    rx r = rx_or(p, rx_range(p, '0', '9'), rx_range(p, 'A', 'Z'));
    return rx_or(p, r, rx_or(p, rx_range(p, '_', '_'), rx_range(p, 'a', 'z')));
}

/* What stands before the item behind `x`, which stands behind `w`; *sure false: that depends. */
static enum before behind(struct parse *t, int at_item, enum before w, bool *sure)
{
    const struct item *x = &t->item[at_item];
    bool s1 = true, s2 = true;
    budget_take(rx_budget(t->p), 3);
    switch (x->kind) {
    case ONE: {
        const rx word = word_char(t->p);
        if (rx_and(t->p, x->set, word) == x->set) return AFTER_WORD;
        if (rx_and(t->p, x->set, rx_not(t->p, word)) == x->set || rx_and(t->p, x->set, word) == RX_NONE)
            return AFTER_OTHER;
        return AFTER_SOMETHING;
    }
    case CAT: return behind(t, x->b, behind(t, x->a, w, sure), sure);
    case ALT: {
        const enum before a = behind(t, x->a, w, &s1), b = behind(t, t->item[at_item].b, w, &s2);
        if (!s1 || !s2 || (a != b && (a == AT_START || b == AT_START))) *sure = false;
        return a == b ? a : AFTER_SOMETHING;
    }
    case REPEAT: {
        const enum before a = behind(t, x->a, w, &s1);
        if (!s1 || (x->empty && a != w && (w == AT_START || a == AT_START))) *sure = false;
        return !x->empty || a == w ? a : AFTER_SOMETHING;
    }
    default: return w;
    }
}

/* The item standing behind `w`, then `rest`: whole texts from there on. */
static bool then(struct parse *t, int at_item, enum before w, rx rest, rx *out)
{
    const struct item x = t->item[at_item];
    rx a, b;
    if (spent(t, 4)) return false;
    if (x.plain) return *out = rx_cat(t->p, plain(t, at_item), rest), true;
    switch (x.kind) {
    case START: return *out = w == AT_START ? rest : RX_NONE, true;
    case END: return *out = rx_and(t->p, rest, RX_EMPTY), true;
    case LOOK:
        if (!then(t, x.a, w, RX_ALL, &a)) return false;
        return *out = rx_and(t->p, rest, x.no ? rx_not(t->p, a) : a), true;
    case BOUND: {
        if (w == AFTER_SOMETHING)
            return err_set(t->e, ERR_UNSUPPORTED,
                           "the regular expression has \\b behind what may or may not be part of a word, "
                           "which is not supported");
        const rx word = rx_cat(t->p, word_char(t->p), RX_ALL);
        const bool want_word = (w == AFTER_WORD) == x.no;
        return *out = rx_and(t->p, rest, want_word ? word : rx_not(t->p, word)), true;
    }
    case CAT: {
        bool sure = true;
        enum before mid = behind(t, x.a, w, &sure);
        if (!sure) mid = AFTER_SOMETHING;
        if (!sure && t->item[x.b].starts)
            return err_set(t->e, ERR_UNSUPPORTED,
                           "the regular expression has an anchor behind what may be empty, which is not "
                           "supported");
        return then(t, x.b, mid, rest, &b) && then(t, x.a, w, b, out);
    }
    case ALT:
        if (!then(t, x.a, w, rest, &a) || !then(t, x.b, w, rest, &b)) return false;
        return *out = rx_or(t->p, a, b), true;
    case REPEAT: {
        if (x.max >= 0 && x.max <= 16) {
            rx r = rest;
            for (int k = x.max; k > 0; k--) {
                if (!then(t, x.a, k == 1 ? w : AFTER_SOMETHING, r, &a)) return false;
                r = k > x.min ? rx_or(t->p, rest, a) : a;
            }
            return *out = r, true;
        }
        /* (?: (?!a) c )* to the end of the text: no place in it where a begins. */
        const struct item *in = &t->item[x.a];
        if (in->kind == CAT && t->item[in->a].kind == LOOK && t->item[in->b].plain && x.min <= 1 &&
            x.max < 0 && rest == RX_EMPTY && t->item[in->b].kind == ONE) {
            const struct item look = t->item[in->a];
            const rx c = t->item[in->b].set;
            if (!then(t, look.a, AFTER_SOMETHING, RX_ALL, &a)) return false;
            const rx bad = rx_and(t->p, look.no ? a : rx_not(t->p, a), rx_cat(t->p, c, RX_ALL));
            const rx all = rx_repeat(t->p, c, x.min, -1);
            const rx broken = rx_cat(t->p, rx_repeat(t->p, c, 0, -1), bad);
            return *out = rx_and(t->p, all, rx_not(t->p, broken)), true;
        }
        return err_set(t->e, ERR_UNSUPPORTED,
                       "the regular expression repeats an assertion, which is not supported");
    }
    default: return *out = rest, true;
    }
}

static bool compile(struct rx_pool *p, const char *pattern, size_t n, bool whole, rx *out, struct err *e)
{
    struct parse t = { .p = p, .s = pattern, .n = n, .e = e };
    rx here = RX_NONE, later = RX_NONE;
    bool ok = true;
    if (utf8_valid(pattern, n) != n) return err_set(e, ERR_REQUEST, "the regular expression is not UTF-8");
    const int top = alternatives(&t);
    ok = top >= 0;
    if (ok && t.i < n) ok = refuse(&t, ERR_REQUEST, "a ) too many");
    if (ok && whole) {
        ok = then(&t, top, AT_START, RX_EMPTY, &here);
    } else if (ok) {
        /* At the beginning, or behind some character: a word's or another, where that makes a difference. */
        ok = then(&t, top, AT_START, RX_ALL, &here);
        const rx any = rx_any_text(p), word = word_char(p);
        const rx other = rx_and(p, rx_chars(p, 0, LAST), rx_not(p, word));
        if (t.item[top].plain) {
            later = here == RX_ALL ? RX_NONE : rx_cat(p, any, here);
        } else if (ok) {
            rx after_word, after_other;
            ok = then(&t, top, AFTER_WORD, RX_ALL, &after_word) &&
                 then(&t, top, AFTER_OTHER, RX_ALL, &after_other);
            if (ok && after_word == after_other)
                later = rx_cat(p, any, rx_cat(p, rx_chars(p, 0, LAST), after_word));
            else if (ok)
                later = rx_cat(p, any, rx_or(p, rx_cat(p, word, after_word), rx_cat(p, other, after_other)));
        }
    }
    free(t.item);
    if (!ok || !rx_ok(p, e)) return false;
    *out = rx_and(p, rx_or(p, here, later), rx_any_text(p));
    return rx_ok(p, e);
}

bool ecma_search(struct rx_pool *p, const char *pattern, size_t n, rx *out, struct err *e)
{
    return compile(p, pattern, n, false, out, e);
}

bool ecma_whole(struct rx_pool *p, const char *pattern, size_t n, rx *out, struct err *e)
{
    return compile(p, pattern, n, true, out, e);
}
