#include "text/grammar/gbnf.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

enum { MAX_STARS = 8 };

struct reader {
    const char *s, *end, *p; /* all of it; where it is */
    const struct gbnf_limits *l;
    struct gbnf *g;
    int cap_node, cap_rule, cap_text, cap_range;
    int *bucket;  /* [n_bucket] rules by their names, -1: none */
    int n_bucket; /* a power of two */
    int depth;
    struct err *e;
};

/* ---- places and errors ------------------------------------------------------------------------------------------------------- */

void gbnf_place(const struct gbnf *g, size_t pos, int *line, int *column)
{
    const char *at = g->source + pos, *begin = g->source;
    *line = 1;
    for (const char *p = g->source; p < at; p++)
        if (*p == '\n') {
            ++*line;
            begin = p + 1;
        }
    *column = 1;
    for (const char *p = begin; p < at; p++) *column += ((unsigned char)*p & 0xc0) != 0x80;
}

static bool wrong(const struct reader *r, enum err_code code, const char *at, const char *what)
{
    int line, column;
    gbnf_place(r->g, (size_t)(at - r->s), &line, &column);
    return err_set(r->e, code, "the grammar, line %d, column %d: %s", line, column, what);
}

/* What stands at a place, to be shown. */
static const char *seen(const struct reader *r, const char *at, char out[32])
{
    const unsigned char c = at < r->end ? (unsigned char)*at : 0;
    if (at >= r->end)
        snprintf(out, 32, "the end");
    else if (c == '\n' || c == '\r')
        snprintf(out, 32, "the line's end");
    else if (c < 0x20 || c >= 0x7f)
        snprintf(out, 32, "byte 0x%02x", c);
    else
        snprintf(out, 32, "'%c'", c);
    return out;
}

static bool expected(const struct reader *r, const char *what)
{
    char found[32], text[160];
    snprintf(text, sizeof text, "expected %s, found %s", what, seen(r, r->p, found));
    return wrong(r, ERR_REQUEST, r->p, text);
}

/* ---- what is made ------------------------------------------------------------------------------------------------------------ */

static bool room(struct reader *r, void *at, int *cap, int need, size_t each)
{
    void **list = at;
    if (need <= *cap) return true;
    int want = *cap ? *cap * 2 : 64;
    if (want < need) want = need;
    void *q = realloc(*list, (size_t)want * each);
    if (!q) return err_set(r->e, ERR_NOMEM, "no memory for a grammar");
    *list = q;
    *cap = want;
    return true;
}

/* -1: not to be had. */
static int node_new(struct reader *r, enum gbnf_kind kind, const char *at)
{
    struct gbnf *g = r->g;
    if (g->n_node == r->l->max_nodes) {
        char text[80];
        snprintf(text, sizeof text, "more than %d symbols", r->l->max_nodes);
        return wrong(r, ERR_LIMIT, at, text), -1;
    }
    if (!room(r, &g->node, &r->cap_node, g->n_node + 1, sizeof *g->node)) return -1;
    g->node[g->n_node] =
        (struct gbnf_node){ .kind = kind, .child = -1, .next = -1, .pos = (size_t)(at - r->s) };
    return g->n_node++;
}

static uint32_t hash_of(const char *s, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h ^ h >> 15;
}

static bool more_buckets(struct reader *r)
{
    const int n = r->n_bucket ? r->n_bucket * 2 : 64;
    int *bucket = malloc((size_t)n * sizeof *bucket);
    if (!bucket) return err_set(r->e, ERR_NOMEM, "no memory for a grammar");
    for (int i = 0; i < n; i++) bucket[i] = -1;
    for (int k = 0; k < r->g->n_rule; k++) {
        const char *name = r->g->rule[k].name;
        unsigned at = hash_of(name, strlen(name)) & (unsigned)(n - 1);
        while (bucket[at] >= 0) at = (at + 1) & (unsigned)(n - 1);
        bucket[at] = k;
    }
    free(r->bucket);
    r->bucket = bucket;
    r->n_bucket = n;
    return true;
}

/* The rule of a name; new when it is the first time. -1: not to be had. */
static int rule_named(struct reader *r, const char *name, size_t n)
{
    struct gbnf *g = r->g;
    if (g->n_rule * 2 >= r->n_bucket && !more_buckets(r)) return -1;
    unsigned at = hash_of(name, n) & (unsigned)(r->n_bucket - 1);
    for (; r->bucket[at] >= 0; at = (at + 1) & (unsigned)(r->n_bucket - 1)) {
        const char *known = g->rule[r->bucket[at]].name;
        if (strlen(known) == n && !memcmp(known, name, n)) return r->bucket[at];
    }
    if (g->n_rule == r->l->max_rules) {
        char text[80];
        snprintf(text, sizeof text, "more than %d rules", r->l->max_rules);
        return wrong(r, ERR_LIMIT, name, text), -1;
    }
    if (!room(r, &g->rule, &r->cap_rule, g->n_rule + 1, sizeof *g->rule)) return -1;
    struct gbnf_rule *k = &g->rule[g->n_rule];
    *k = (struct gbnf_rule){ .name = strndup(name, n), .body = -1, .pos = (size_t)(name - r->s) };
    if (!k->name) return err_set(r->e, ERR_NOMEM, "no memory for a grammar"), -1;
    r->bucket[at] = g->n_rule;
    return g->n_rule++;
}

/* ---- the text ---------------------------------------------------------------------------------------------------------------- */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static const char *skip(const char *p, const char *end, bool lines)
{
    for (; p < end; p++) {
        if (*p == '#')
            while (p + 1 < end && p[1] != '\n' && p[1] != '\r') p++;
        else if (*p != ' ' && *p != '\t' && !(lines && (*p == '\n' || *p == '\r')))
            break;
    }
    return p;
}

static void blanks(struct reader *r, bool lines) { r->p = skip(r->p, r->end, lines); }

/* Does a rule begin here: a name and ::=? */
static bool rule_begins(const struct reader *r, const char *p)
{
    const char *q = p;
    while (q < r->end && is_name(*q)) q++;
    if (q == p) return false;
    q = skip(q, r->end, false);
    return r->end - q >= 3 && !memcmp(q, "::=", 3);
}

/* A code point of UTF-8. */
static bool plain_char(struct reader *r, uint32_t *cp)
{
    unsigned n;
    if (utf8_step((const unsigned char *)r->p, (size_t)(r->end - r->p)) <= 0)
        return wrong(r, ERR_REQUEST, r->p, "the text is not UTF-8");
    *cp = utf8_get((const unsigned char *)r->p, &n);
    if (*cp == 0) return wrong(r, ERR_REQUEST, r->p, "a NUL; \\x00 stands for it");
    r->p += n;
    return true;
}

static bool escaped_char(struct reader *r, uint32_t *cp)
{
    static const char from[] = "nrt\\\"[]-^", to[] = "\n\r\t\\\"[]-^";
    const char *begin = r->p++, *known;
    const char c = r->p < r->end ? *r->p : 0;
    if (c && (known = strchr(from, c))) {
        *cp = (unsigned char)to[known - from];
        r->p++;
        return true;
    }
    const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0)
        return wrong(r, ERR_REQUEST, begin,
                     "no escape that is known; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xNN \\uNNNN "
                     "\\UNNNNNNNN");
    r->p++;
    *cp = 0;
    for (int i = 0; i < digits; i++, r->p++) {
        const char h = r->p < r->end ? *r->p : 0;
        const int v = h >= '0' && h <= '9'                 ? h - '0'
                      : (h | 32) >= 'a' && (h | 32) <= 'f' ? (h | 32) - 'a' + 10
                                                           : -1;
        if (v < 0) {
            char what[40];
            snprintf(what, sizeof what, "%d hexadecimal digits behind \\%c", digits, c);
            return expected(r, what);
        }
        *cp = *cp << 4 | (uint32_t)v;
    }
    if (*cp > 0x10ffff) return wrong(r, ERR_REQUEST, begin, "no character: they end at 10FFFF");
    if (*cp >= 0xd800 && *cp <= 0xdfff)
        return wrong(r, ERR_REQUEST, begin, "half a surrogate pair; write the character as \\UNNNNNNNN");
    return true;
}

static bool one_char(struct reader *r, uint32_t *cp)
{
    return *r->p == '\\' ? escaped_char(r, cp) : plain_char(r, cp);
}

/* The mark that s[n] begins with, the longest; 0: none. */
static size_t mark_at(const struct reader *r, const char *s, size_t n)
{
    size_t longest = 0;
    for (const char *const *m = r->l->marks; m && *m; m++) {
        const size_t len = strlen(*m);
        if (len > longest && len <= n && !memcmp(s, *m, len)) longest = len;
    }
    return longest;
}

/* Puts the byte in front of each mark in the text from `at` on. */
static bool set_marks_apart(struct reader *r, int at)
{
    struct gbnf *g = r->g;
    while (at < g->n_text) {
        const size_t len = mark_at(r, g->text + at, (size_t)(g->n_text - at));
        if (!len) {
            at++;
            continue;
        }
        if (!room(r, &g->text, &r->cap_text, g->n_text + 1, 1)) return false;
        memmove(g->text + at + 1, g->text + at, (size_t)(g->n_text++ - at));
        g->text[at] = '\xff';
        at += 1 + (int)len;
    }
    return true;
}

static int literal(struct reader *r)
{
    struct gbnf *g = r->g;
    const char *begin = r->p++;
    const int id = node_new(r, GBNF_TEXT, begin), at = g->n_text;
    if (id < 0) return -1;
    while (r->p < r->end && *r->p != '"') {
        uint32_t cp;
        char bytes[4];
        if (*r->p == '\n' || *r->p == '\r') break;
        if (!one_char(r, &cp)) return -1;
        const unsigned n = utf8_put(cp, bytes);
        if (!room(r, &g->text, &r->cap_text, g->n_text + (int)n, 1)) return -1;
        memcpy(g->text + g->n_text, bytes, n);
        g->n_text += (int)n;
    }
    if (r->p == r->end || *r->p != '"')
        return wrong(r, ERR_REQUEST, begin, "a literal that is not closed"), -1;
    r->p++;
    if (!set_marks_apart(r, at)) return -1;
    g->node[id].at = at;
    g->node[id].n = g->n_text - at;
    return id;
}

static bool range_add(struct reader *r, uint32_t first, uint32_t last)
{
    struct gbnf *g = r->g;
    if (first > last) return true;
    if (!room(r, &g->range, &r->cap_range, g->n_range + 1, sizeof *g->range)) return false;
    g->range[g->n_range++] = (struct gbnf_range){ first, last };
    return true;
}

static int by_first(const void *a, const void *b)
{
    const struct gbnf_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Orders the ranges from `at` on, joins those that meet, turns them round, and leaves surrogates out. */
static bool ranges_tidy(struct reader *r, int at, bool negated)
{
    struct gbnf *g = r->g;
    int n = 0;
    if (!range_add(r, 0xd800, 0xdfff)) return false; /* so that they are at one piece: cut off below */
    struct gbnf_range *k = g->range + at;
    qsort(k, (size_t)(g->n_range - at), sizeof *k, by_first);
    for (int i = 0; i < g->n_range - at; i++) {
        if (n > 0 && k[i].first <= k[n - 1].last + 1) {
            if (k[i].last > k[n - 1].last) k[n - 1].last = k[i].last;
        } else {
            k[n++] = k[i];
        }
    }
    g->n_range = at + n;
    const int given = g->n_range;
    if (negated) {
        uint32_t from = 0;
        for (int i = at; i < given; i++) {
            const struct gbnf_range one = g->range[i];
            if (one.first > from && !range_add(r, from, one.first - 1)) return false;
            from = one.last + 1;
        }
        if (from <= 0x10ffff && !range_add(r, from, 0x10ffff)) return false;
    } else { /* the range that holds the surrogates is cut in two, or goes */
        for (int i = at; i < given; i++) {
            const struct gbnf_range one = g->range[i];
            if (one.first > 0xdfff || one.last < 0xd800) {
                if (!range_add(r, one.first, one.last)) return false;
                continue;
            }
            if (one.first < 0xd800 && !range_add(r, one.first, 0xd7ff)) return false;
            if (one.last > 0xdfff && !range_add(r, 0xe000, one.last)) return false;
        }
    }
    memmove(g->range + at, g->range + given, (size_t)(g->n_range - given) * sizeof *g->range);
    g->n_range -= given - at;
    return true;
}

static int class(struct reader *r)
{
    struct gbnf *g = r->g;
    const char *begin = r->p++;
    const int id = node_new(r, GBNF_CHARS, begin), at = g->n_range;
    if (id < 0) return -1;
    const bool negated = r->p < r->end && *r->p == '^';
    r->p += negated;
    while (r->p < r->end && *r->p != ']') {
        uint32_t first, last;
        const char *where = r->p;
        if (!one_char(r, &first)) return -1;
        last = first;
        if (r->end - r->p >= 2 && *r->p == '-' && r->p[1] != ']') {
            r->p++;
            if (!one_char(r, &last)) return -1;
            if (last < first) return wrong(r, ERR_REQUEST, where, "a range that runs backwards"), -1;
        }
        if (!range_add(r, first, last)) return -1;
    }
    if (r->p == r->end) return wrong(r, ERR_REQUEST, begin, "a class [...] that is not closed"), -1;
    r->p++;
    if (!ranges_tidy(r, at, negated)) return -1;
    g->node[id].at = at;
    g->node[id].n = g->n_range - at;
    return id;
}

static int any_char(struct reader *r)
{
    struct gbnf *g = r->g;
    const int id = node_new(r, GBNF_CHARS, r->p++);
    if (id < 0) return -1;
    g->node[id].at = g->n_range;
    g->node[id].n = 2;
    return range_add(r, 0, 0xd7ff) && range_add(r, 0xe000, 0x10ffff) ? id : -1;
}

static int name(struct reader *r)
{
    const char *begin = r->p;
    while (r->p < r->end && is_name(*r->p)) r->p++;
    const int rule = rule_named(r, begin, (size_t)(r->p - begin)),
              id = rule < 0 ? -1 : node_new(r, GBNF_NAME, begin);
    if (id < 0) return -1;
    r->g->node[id].at = rule;
    return id;
}

static bool count(struct reader *r, int *out)
{
    const char *begin = r->p;
    long n = 0;
    if (r->p == r->end || *r->p < '0' || *r->p > '9') return expected(r, "a number");
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
        if (n <= r->l->max_count) n = n * 10 + (*r->p - '0');
    if (n > r->l->max_count) {
        char text[80];
        snprintf(text, sizeof text, "a repetition of more than %d", r->l->max_count);
        return wrong(r, ERR_LIMIT, begin, text);
    }
    *out = (int)n;
    return true;
}

/* *, +, ? or {m,n} behind `of`. */
static int repeated(struct reader *r, int of)
{
    const char *begin = r->p;
    int min = *begin == '+', max = *begin == '?' ? 1 : -1;
    r->p++;
    if (*begin == '{') {
        blanks(r, true);
        if (!count(r, &min)) return -1;
        max = min;
        blanks(r, true);
        if (r->p < r->end && *r->p == ',') {
            r->p++;
            blanks(r, true);
            max = -1;
            if (r->p < r->end && *r->p != '}' && !count(r, &max)) return -1;
            blanks(r, true);
        }
        if (r->p == r->end || *r->p != '}') return expected(r, "}"), -1;
        r->p++;
        if (max >= 0 && max < min)
            return wrong(r, ERR_REQUEST, begin, "a repetition whose most is below its least"), -1;
    }
    const int id = node_new(r, GBNF_REPEAT, begin);
    if (id < 0) return -1;
    struct gbnf_node *k = &r->g->node[id];
    k->child = of;
    k->min = min;
    k->max = max;
    return id;
}

static int alternatives(struct reader *r, bool nested);

static int group(struct reader *r)
{
    const char *begin = r->p++;
    if (++r->depth > r->l->max_depth) {
        char text[80];
        snprintf(text, sizeof text, "more than %d open parentheses", r->l->max_depth);
        return wrong(r, ERR_LIMIT, begin, text), -1;
    }
    blanks(r, true);
    const int id = alternatives(r, true);
    if (id < 0) return -1;
    if (r->p == r->end || *r->p != ')') {
        if (r->p == r->end) return wrong(r, ERR_REQUEST, begin, "a parenthesis that is not closed"), -1;
        return expected(r, "a symbol, '|' or ')'"), -1;
    }
    r->p++;
    r->depth--;
    return id;
}

/* <name> or <[id]>, with ! in front. */
static int token(struct reader *r)
{
    const char *end = r->p;
    char text[160];
    while (end < r->end && *end != '>' && *end != '\n') end++;
    const int n = (int)(end - r->p) < 60 ? (int)(end - r->p) : 60;
    snprintf(text, sizeof text, "%.*s>: tokens are not supported in grammars; write its text as a literal", n,
             r->p);
    return wrong(r, ERR_UNSUPPORTED, r->p, text), -1;
}

/* What stands here, with its repetitions; *id -2: nothing more of a sequence. */
static bool symbol(struct reader *r, bool nested, int *id)
{
    const char c = r->p < r->end ? *r->p : 0;
    *id = -2;
    if (!nested && (c == '\n' || c == '\r')) { /* the rule ends, unless the next line goes on with it */
        const char *next = skip(r->p, r->end, true);
        if (next == r->end || *next == '|' || rule_begins(r, next)) {
            if (next < r->end && *next == '|') r->p = next;
            return true;
        }
        r->p = next;
        return symbol(r, nested, id);
    }
    switch (c) {
    case '"': *id = literal(r); break;
    case '[': *id = class(r); break;
    case '.': *id = any_char(r); break;
    case '(': *id = group(r); break;
    case '<':
    case '!': *id = token(r); break;
    case '*':
    case '+':
    case '?':
    case '{': return wrong(r, ERR_REQUEST, r->p, "a repetition of nothing");
    default:
        if (!is_name(c)) return true;
        *id = name(r);
    }
    for (int n = 0;; n++) {
        if (*id < 0) return false;
        blanks(r, nested);
        if (r->p == r->end || !strchr("*+?{", *r->p) || !*r->p) return true;
        if (n == MAX_STARS) return wrong(r, ERR_LIMIT, r->p, "too many repetitions of one symbol");
        *id = repeated(r, *id);
    }
}

static int sequence(struct reader *r, bool nested)
{
    int first = -1, last = -1, n = 0, id;
    for (;;) {
        if (!symbol(r, nested, &id)) return -1;
        if (id == -2) break;
        if (last >= 0)
            r->g->node[last].next = id;
        else
            first = id;
        last = id;
        n++;
    }
    if (n == 1) return first;
    id = node_new(r, n ? GBNF_CAT : GBNF_EMPTY, r->p);
    if (id >= 0) r->g->node[id].child = first;
    return id;
}

static int alternatives(struct reader *r, bool nested)
{
    const int first = sequence(r, nested);
    int last = first;
    if (first < 0) return -1;
    if (r->p == r->end || *r->p != '|') return first;
    const int id = node_new(r, GBNF_OR, r->p);
    if (id < 0) return -1;
    r->g->node[id].child = first;
    while (r->p < r->end && *r->p == '|') {
        r->p++;
        blanks(r, true);
        const int next =
            rule_begins(r, r->p) && !nested ? node_new(r, GBNF_EMPTY, r->p) : sequence(r, nested);
        if (next < 0) return -1;
        r->g->node[last].next = next;
        last = next;
    }
    return id;
}

static bool rule(struct reader *r)
{
    const char *begin = r->p;
    if (!is_name(*r->p)) return expected(r, "a rule: name ::= ...");
    while (r->p < r->end && is_name(*r->p)) r->p++;
    const int id = rule_named(r, begin, (size_t)(r->p - begin));
    if (id < 0) return false;
    blanks(r, false);
    if (r->end - r->p < 3 || memcmp(r->p, "::=", 3) != 0) return expected(r, "::= behind a rule's name");
    r->p += 3;
    if (r->g->rule[id].body >= 0) {
        char text[160];
        int line, column;
        gbnf_place(r->g, r->g->rule[id].pos, &line, &column);
        snprintf(text, sizeof text, "rule %.60s is defined twice, first in line %d", r->g->rule[id].name,
                 line);
        return wrong(r, ERR_REQUEST, begin, text);
    }
    r->g->rule[id].pos = (size_t)(begin - r->s);
    blanks(r, true);
    const int body = rule_begins(r, r->p) ? node_new(r, GBNF_EMPTY, r->p) : alternatives(r, false);
    if (body < 0) return false;
    r->g->rule[id].body = body;
    blanks(r, true);
    if (r->p < r->end && !rule_begins(r, r->p)) return expected(r, "a symbol, '|' or the next rule");
    return true;
}

bool gbnf_read(struct gbnf **out, const char *s, size_t n, const struct gbnf_limits *l, struct err *e)
{
    if (n > l->max_bytes || n > INT_MAX / 4)
        return err_set(e, ERR_LIMIT, "the grammar has more than %zu bytes", l->max_bytes);
    struct reader r = { .s = s, .p = s, .end = s + n, .l = l, .g = calloc(1, sizeof *r.g), .e = e };
    bool ok = r.g != NULL || err_set(e, ERR_NOMEM, "no memory for a grammar");
    if (ok) {
        r.g->source = s;
        blanks(&r, true);
        while (r.p < r.end && (ok = rule(&r))) {
        }
    }
    if (ok) {
        r.g->root = -1;
        for (int i = 0; i < r.g->n_rule; i++)
            if (!strcmp(r.g->rule[i].name, "root") && r.g->rule[i].body >= 0) r.g->root = i;
        if (r.g->root < 0) ok = err_set(e, ERR_REQUEST, "the grammar defines no rule named root");
    }
    free(r.bucket);
    if (ok)
        *out = r.g;
    else
        gbnf_free(r.g);
    return ok;
}

void gbnf_free(struct gbnf *g)
{
    if (!g) return;
    for (int i = 0; i < g->n_rule; i++) free(g->rule[i].name);
    free(g->rule);
    free(g->node);
    free(g->text);
    free(g->range);
    free(g);
}
