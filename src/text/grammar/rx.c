#include "text/grammar/rx.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 4000, BYTES_A_STEP = 64 };

enum kind { NONE, EMPTY, SET, CAT, OR, AND, NOT, REPEAT, STATE };

struct node {
    enum kind kind;
    bool has_empty;
    uint32_t hash;
    rx a, b;       /* CAT: both; NOT, REPEAT: a; STATE: number of a table, and state */
    int min, max;  /* REPEAT; of OR and AND: where its parts begin in part[], and how many */
    uint32_t next; /* of the same bucket */
};

struct memo { /* rx_after(a, b) */
    rx a, is;
    unsigned b;
};

struct rx_pool {
    struct node *node;
    size_t n, cap, max;
    struct rx_bytes *set; /* of SET nodes: node.a is an index here */
    size_t n_set, cap_set;
    rx *part; /* of OR and AND nodes, ascending */
    size_t n_part, cap_part;
    struct rx_table *table;
    size_t n_table, cap_table;
    uint32_t *bucket;
    size_t n_bucket; /* a power of two */
    struct memo *memo;
    size_t n_memo;  /* a power of two */
    uint32_t *mark; /* rx_classes(): the call that has seen the node */
    size_t n_mark;
    uint32_t round;
    rx byte[256]; /* of each byte alone; RX_NONE: not made yet */
    bool failed;  /* too many expressions, or too deep; else the budget knows */
    int depth;
    struct budget own, *budget;
};

static rx fail(struct rx_pool *p, bool no_memory)
{
    p->failed = true;
    if (no_memory) budget_no_memory(p->budget);
    return RX_NONE;
}

static bool grow(struct rx_pool *p, void **at, size_t *cap, size_t need, size_t each)
{
    if (need <= *cap) return true;
    size_t want = *cap ? *cap * 2 : 256;
    if (want < need) want = need;
    /* A copy of what is there, and pages that are touched for the first time. */
    if (!budget_bytes(p->budget, (want - *cap) * each) ||
        !budget_take(p->budget, (long)(want * each / BYTES_A_STEP)))
        return fail(p, false), false;
    void *q = realloc(*at, want * each);
    if (!q) return fail(p, true), false;
    *at = q;
    *cap = want;
    return true;
}

static uint32_t mix(uint32_t h, uint32_t v)
{
    h ^= v + 0x9e3779b9u + (h << 6) + (h >> 2);
    return h * 0x85ebca6bu;
}

static bool same(const struct rx_pool *p, const struct node *x, const struct node *y, const rx *part,
                 const struct rx_bytes *set)
{
    if (x->kind != y->kind || x->hash != y->hash) return false;
    switch (x->kind) {
    case SET: return !memcmp(&p->set[x->a], set, sizeof *set);
    case OR:
    case AND: return x->max == y->max && !memcmp(p->part + x->min, part, (size_t)x->max * sizeof *part);
    default: return x->a == y->a && x->b == y->b && x->min == y->min && x->max == y->max;
    }
}

static void rehash(struct rx_pool *p)
{
    const size_t n = p->n_bucket * 2;
    if (!budget_bytes(p->budget, n * sizeof(uint32_t)) || !budget_take(p->budget, (long)n / 2)) return;
    uint32_t *b = calloc(n, sizeof *b);
    if (!b) return; /* longer chains */
    free(p->bucket);
    p->bucket = b;
    p->n_bucket = n;
    for (size_t i = 1; i < p->n; i++) {
        uint32_t *at = &b[p->node[i].hash & (n - 1)];
        p->node[i].next = *at;
        *at = (uint32_t)i;
    }
}

/* The node like `want`, whose parts or set stand apart; a new one when there is none. */
static rx intern(struct rx_pool *p, struct node want, const rx *part, const struct rx_bytes *set)
{
    if (p->failed) return RX_NONE;
    /* A large pool lies in slow memory. */
    const long far = p->n >> 15 < 8 ? (long)(p->n >> 15) : 8;
    if (!budget_take(p->budget, 2 + far + (part ? want.max / 4 : 0))) return fail(p, false);
    uint32_t h = mix(17, (uint32_t)want.kind);
    if (set)
        for (int i = 0; i < 4; i++) h = mix(mix(h, (uint32_t)set->has[i]), (uint32_t)(set->has[i] >> 32));
    else if (part)
        for (int i = 0; i < want.max; i++) h = mix(h, (uint32_t)part[i]);
    else
        h = mix(mix(mix(mix(h, (uint32_t)want.a), (uint32_t)want.b), (uint32_t)want.min), (uint32_t)want.max);
    h = (h ^ h >> 16) * 0x7feb352du;
    want.hash = h ^= h >> 15;
    for (uint32_t i = p->bucket[h & (p->n_bucket - 1)]; i; i = p->node[i].next)
        if (same(p, &p->node[i], &want, part, set)) return (rx)i;
    if (p->n >= p->max || !budget_take(p->budget, 4)) return fail(p, false);
    if (!grow(p, (void **)&p->node, &p->cap, p->n + 1, sizeof *p->node)) return RX_NONE;
    if (set) {
        if (!grow(p, (void **)&p->set, &p->cap_set, p->n_set + 1, sizeof *p->set)) return RX_NONE;
        want.a = (rx)p->n_set;
        p->set[p->n_set++] = *set;
    } else if (part) {
        if (p->n_part + (size_t)want.max > p->max * 8) return fail(p, false);
        if (!grow(p, (void **)&p->part, &p->cap_part, p->n_part + (size_t)want.max, sizeof *p->part))
            return RX_NONE;
        memcpy(p->part + p->n_part, part, (size_t)want.max * sizeof *part);
        want.min = (int)p->n_part;
        p->n_part += (size_t)want.max;
    }
    if (p->n > p->n_bucket) rehash(p);
    uint32_t *at = &p->bucket[h & (p->n_bucket - 1)];
    want.next = *at;
    *at = (uint32_t)p->n;
    p->node[p->n] = want;
    return (rx)p->n++;
}

static struct rx_pool *pool_new(size_t max_nodes, long max_work, struct budget *b)
{
    struct rx_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->max = max_nodes;
    budget_open(&p->own, max_work, 0, NULL);
    p->budget = b ? b : &p->own;
    p->n_bucket = 1024;
    p->n_memo = 1 << 15;
    p->bucket = calloc(p->n_bucket, sizeof *p->bucket);
    p->memo = calloc(p->n_memo, sizeof *p->memo);
    if (!p->bucket || !p->memo || !grow(p, (void **)&p->node, &p->cap, 256, sizeof *p->node)) {
        rx_pool_free(p);
        return NULL;
    }
    /* Number 0 is RX_NONE and stands outside the table, where 0 ends a chain. */
    p->node[p->n++] = (struct node){ .kind = NONE };
    intern(p, (struct node){ .kind = EMPTY, .has_empty = true }, NULL, NULL);
    intern(p, (struct node){ .kind = NOT, .a = RX_NONE, .has_empty = true }, NULL, NULL);
    return p;
}

struct rx_pool *rx_pool_new(size_t max_nodes, long max_work) { return pool_new(max_nodes, max_work, NULL); }
struct rx_pool *rx_pool_within(size_t max_nodes, struct budget *b) { return pool_new(max_nodes, 0, b); }
struct budget *rx_budget(struct rx_pool *p) { return p->budget; }

void rx_pool_free(struct rx_pool *p)
{
    if (!p) return;
    free(p->node);
    free(p->set);
    free(p->part);
    for (size_t i = 0; i < p->n_table; i++) {
        free((void *)p->table[i].next);
        free((void *)p->table[i].accepts);
    }
    free(p->table);
    free(p->bucket);
    free(p->memo);
    free(p->mark);
    free(p);
}

bool rx_ok(const struct rx_pool *p, struct err *e)
{
    if (!budget_ok(p->budget, e)) return false;
    return !p->failed ||
           err_set(e, ERR_LIMIT, "its patterns, lengths and numbers take more than %zu expressions together",
                   p->max);
}

bool rx_has_empty(const struct rx_pool *p, rx a) { return p->node[a].has_empty; }

/* ---- making ------------------------------------------------------------------------------------------------------- */

static rx rx_set(struct rx_pool *p, const struct rx_bytes *s)
{
    if (!(s->has[0] | s->has[1] | s->has[2] | s->has[3])) return RX_NONE;
    return intern(p, (struct node){ .kind = SET }, NULL, s);
}

rx rx_range(struct rx_pool *p, unsigned first, unsigned last)
{
    struct rx_bytes s = { 0 };
    if (first == last && p->byte[first] != RX_NONE && !p->failed) return p->byte[first];
    rx_bytes_add(&s, first, last);
    const rx r = rx_set(p, &s);
    if (first == last && !p->failed) p->byte[first] = r;
    return r;
}

rx rx_cat(struct rx_pool *p, rx a, rx b)
{
    if (a == RX_NONE || b == RX_NONE) return RX_NONE;
    if (a == RX_EMPTY) return b;
    if (b == RX_EMPTY) return a;
    if (a == RX_ALL && b == RX_ALL) return RX_ALL;
    if (p->node[a].kind == CAT) { /* to the right, so that a long text is derived a byte at a time */
        const rx first = p->node[a].a, rest = p->node[a].b;
        return rx_cat(p, first, rx_cat(p, rest, b));
    }
    return intern(
        p,
        (struct node){
            .kind = CAT, .a = a, .b = b, .has_empty = p->node[a].has_empty && p->node[b].has_empty },
        NULL, NULL);
}

rx rx_text(struct rx_pool *p, const char *s, size_t n)
{
    rx r = RX_EMPTY;
    while (n-- > 0) r = rx_cat(p, rx_range(p, (unsigned char)s[n], (unsigned char)s[n]), r);
    return r;
}

static rx texts_from(struct rx_pool *p, const char *const *s, int n, size_t at)
{
    if (n == 1) return rx_text(p, s[0] + at, strlen(s[0] + at));
    rx *branch = malloc(256 * sizeof *branch), r;
    int n_branch = 0, i = 0;
    if (!branch) return fail(p, true);
    bool ends = s[0][at] == 0;
    for (i = ends; i < n;) {
        const unsigned char c = (unsigned char)s[i][at];
        int last = i;
        while (last < n && (unsigned char)s[last][at] == c) last++;
        branch[n_branch++] = rx_cat(p, rx_range(p, c, c), texts_from(p, s + i, last - i, at + 1));
        i = last;
    }
    r = rx_or_all(p, branch, (size_t)n_branch);
    free(branch);
    return ends ? rx_or(p, r, RX_EMPTY) : r;
}

rx rx_texts(struct rx_pool *p, const char *const *s, int n)
{
    if (n == 0) return RX_NONE;
    for (int i = 0; i < n; i++)
        if (strlen(s[i]) > MAX_DEPTH) return fail(p, false);
    return texts_from(p, s, n, 0);
}

static int by_number(const void *a, const void *b)
{
    const rx x = *(const rx *)a, y = *(const rx *)b;
    return (x > y) - (x < y);
}

/* x and its complement are both among the n (ascending)? */
static bool has_opposites(const struct rx_pool *p, const rx *part, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p->node[part[i]].kind == NOT && bsearch(&p->node[part[i]].a, part, n, sizeof *part, by_number))
            return true;
    return false;
}

/* Sorts the parts and drops what is there twice. false: the budget is used up. */
static bool ascending(struct rx_pool *p, rx *part, size_t *n)
{
    size_t kept = 0, out_of_order = 0;
    for (size_t i = 1; i < *n; i++) out_of_order += part[i] < part[i - 1];
    if (out_of_order == 1 && part[*n - 1] < part[*n - 2]) { /* one more, behind those of a union */
        const rx last = part[*n - 1];
        size_t i = *n - 1;
        for (; i > 0 && part[i - 1] > last; i--) part[i] = part[i - 1];
        part[i] = last;
    } else if (out_of_order > 0) {
        if (!budget_take(p->budget, (long)*n * 6)) return fail(p, false), false;
        qsort(part, *n, sizeof *part, by_number);
    }
    for (size_t i = 0; i < *n; i++)
        if (!i || part[i] != part[i - 1]) part[kept++] = part[i];
    *n = kept;
    return true;
}

/* OR or AND of n expressions. zero: what absorbs all (RX_ALL or RX_NONE); one: what changes nothing. */
static rx join(struct rx_pool *p, enum kind kind, const rx *in, size_t n_in)
{
    const rx zero = kind == OR ? RX_ALL : RX_NONE, one = kind == OR ? RX_NONE : RX_ALL;
    size_t n = 0, room = 0;
    for (size_t i = 0; i < n_in; i++) room += p->node[in[i]].kind == kind ? (size_t)p->node[in[i]].max : 1;
    if (room == 0) return one;
    if (!budget_take(p->budget, (long)room * 2)) return fail(p, false);
    rx few[16], *part = room <= 16 ? few : malloc(room * sizeof *part);
    if (!part) return fail(p, true);
    struct rx_bytes set = { 0 };
    bool has_set = false, over = false;
    for (size_t i = 0; i < n_in; i++) {
        const struct node *x = &p->node[in[i]];
        const bool nested = x->kind == kind;
        const rx *from = nested ? p->part + x->min : &in[i];
        const size_t n_from = nested ? (size_t)x->max : 1;
        for (size_t k = 0; k < n_from; k++) {
            if (from[k] == zero) over = true;
            if (from[k] == one) continue;
            if (p->node[from[k]].kind == SET) { /* sets become one */
                const struct rx_bytes *s = &p->set[p->node[from[k]].a];
                for (int w = 0; w < 4; w++)
                    set.has[w] = !has_set     ? s->has[w]
                                 : kind == OR ? set.has[w] | s->has[w]
                                              : set.has[w] & s->has[w];
                has_set = true;
                continue;
            }
            part[n++] = from[k];
        }
    }
    if (has_set) {
        const rx s = rx_set(p, &set);
        if (s == zero) over = true;
        if (s != one && !over) part[n++] = s;
    }
    if (!ascending(p, part, &n)) over = true;
    rx r;
    if (over || has_opposites(p, part, n)) {
        r = zero;
    } else if (n == 0) {
        r = one;
    } else if (n == 1) {
        r = part[0];
    } else {
        bool empty = kind == AND;
        for (size_t i = 0; i < n; i++)
            empty = kind == OR ? empty || p->node[part[i]].has_empty : empty && p->node[part[i]].has_empty;
        r = intern(p, (struct node){ .kind = kind, .max = (int)n, .has_empty = empty }, part, NULL);
    }
    if (part != few) free(part);
    return r;
}

rx rx_or(struct rx_pool *p, rx a, rx b) { return a == b ? a : join(p, OR, (const rx[]){ a, b }, 2); }
rx rx_or_all(struct rx_pool *p, const rx *a, size_t n) { return join(p, OR, a, n); }
rx rx_and(struct rx_pool *p, rx a, rx b) { return a == b ? a : join(p, AND, (const rx[]){ a, b }, 2); }

rx rx_not(struct rx_pool *p, rx a)
{
    if (p->node[a].kind == NOT) return p->node[a].a;
    return intern(p, (struct node){ .kind = NOT, .a = a, .has_empty = !p->node[a].has_empty }, NULL, NULL);
}

rx rx_repeat(struct rx_pool *p, rx a, int min, int max)
{
    if (max == 0 || a == RX_EMPTY) return RX_EMPTY;
    if (a == RX_NONE) return min == 0 ? RX_EMPTY : RX_NONE;
    if (min == 1 && max == 1) return a;
    if (a == RX_ALL) return RX_ALL;
    const struct node *x = &p->node[a];
    if (x->kind == REPEAT && x->min <= 1 && x->max < 0 && max < 0) /* (a*)* */
        return min == 0 ? rx_repeat(p, x->a, 0, -1) : a;
    if (x->has_empty) min = 0;
    return intern(p, (struct node){ .kind = REPEAT, .a = a, .min = min, .max = max, .has_empty = min == 0 },
                  NULL, NULL);
}

int rx_table(struct rx_pool *p, const struct rx_table *t)
{
    const size_t cells = (size_t)t->n * (size_t)t->n_class;
    if (cells > p->max * 8 || !budget_bytes(p->budget, cells * sizeof(int32_t)) ||
        !budget_take(p->budget, (long)cells / 2))
        return fail(p, false), -1;
    int32_t *next = malloc(cells * sizeof *next);
    uint8_t *accepts = malloc((size_t)t->n);
    if (!next || !accepts || !grow(p, (void **)&p->table, &p->cap_table, p->n_table + 1, sizeof *p->table)) {
        free(next);
        free(accepts);
        return fail(p, true), -1;
    }
    memcpy(next, t->next, cells * sizeof *next);
    memcpy(accepts, t->accepts, (size_t)t->n);
    p->table[p->n_table] = *t;
    p->table[p->n_table].next = next;
    p->table[p->n_table].accepts = accepts;
    return (int)p->n_table++;
}

rx rx_state(struct rx_pool *p, int table, int32_t state)
{
    if (p->failed || state < 0) return RX_NONE;
    return intern(
        p,
        (struct node){ .kind = STATE, .a = table, .b = state, .has_empty = p->table[table].accepts[state] },
        NULL, NULL);
}

/* ---- characters ---------------------------------------------------------------------------------------------------- */

/* Texts of n continuation-byte positions whose six-bit groups spell lo..hi. */
static rx utf8_tail(struct rx_pool *p, uint32_t lo, uint32_t hi, int n)
{
    if (n == 0) return RX_EMPTY;
    const uint32_t shift = 6 * (uint32_t)(n - 1), full = (UINT32_C(1) << shift) - 1;
    const uint32_t a = lo >> shift, b = hi >> shift;
    if (a == b) return rx_cat(p, rx_range(p, 0x80 | a, 0x80 | a), utf8_tail(p, lo & full, hi & full, n - 1));
    rx r = RX_NONE;
    uint32_t from = a, to = b;
    if ((lo & full) != 0) {
        r = rx_or(p, r, rx_cat(p, rx_range(p, 0x80 | a, 0x80 | a), utf8_tail(p, lo & full, full, n - 1)));
        from++;
    }
    if ((hi & full) != full) {
        r = rx_or(p, r, rx_cat(p, rx_range(p, 0x80 | b, 0x80 | b), utf8_tail(p, 0, hi & full, n - 1)));
        to--;
    }
    if (from <= to && from != UINT32_MAX)
        r = rx_or(p, r, rx_cat(p, rx_range(p, 0x80 | from, 0x80 | to), utf8_tail(p, 0, full, n - 1)));
    return r;
}

/* lo..hi, all of the same length: n continuation bytes behind a first byte. */
static rx utf8_of(struct rx_pool *p, uint32_t lo, uint32_t hi, int n)
{
    static const unsigned head[] = { 0, 0xc0, 0xe0, 0xf0 };
    const uint32_t shift = 6 * (uint32_t)n, full = (UINT32_C(1) << shift) - 1;
    rx r = RX_NONE;
    uint32_t a = lo >> shift;
    const uint32_t b = hi >> shift;
    while (a <= b) { /* first bytes whose tails are whole go together */
        const uint32_t from = a == lo >> shift ? lo & full : 0;
        uint32_t last = a;
        if (from == 0)
            while (last + 1 < b || (last + 1 == b && (hi & full) == full)) last++;
        const uint32_t to = last == b ? hi & full : full;
        r = rx_or(p, r, rx_cat(p, rx_range(p, head[n] | a, head[n] | last), utf8_tail(p, from, to, n)));
        a = last + 1;
    }
    return r;
}

rx rx_chars(struct rx_pool *p, uint32_t first, uint32_t last)
{
    static const uint32_t end[] = { 0x7f, 0x7ff, 0xffff, 0x10ffff };
    if (first <= 0xdfff && last >= 0xd800) { /* surrogates are no characters */
        const rx below = first < 0xd800 ? rx_chars(p, first, 0xd7ff) : RX_NONE;
        return rx_or(p, below, last > 0xdfff ? rx_chars(p, 0xe000, last) : RX_NONE);
    }
    rx r = RX_NONE;
    for (int n = 0; n < 4 && first <= last; n++) {
        if (first > end[n]) continue;
        const uint32_t to = last < end[n] ? last : end[n];
        r = rx_or(p, r, n == 0 ? rx_range(p, first, to) : utf8_of(p, first, to, n));
        first = to + 1;
    }
    return r;
}

rx rx_any_text(struct rx_pool *p) { return rx_repeat(p, rx_chars(p, 0, 0x10ffff), 0, -1); }

/* ---- derivatives --------------------------------------------------------------------------------------------------- */

static rx derive(struct rx_pool *p, rx a, unsigned b)
{
    const struct node x = p->node[a];
    switch (x.kind) {
    case NONE:
    case EMPTY: return RX_NONE;
    case SET: return rx_bytes_has(&p->set[x.a], b) ? RX_EMPTY : RX_NONE;
    case CAT: {
        const rx r = rx_cat(p, rx_after(p, x.a, b), x.b);
        return p->node[x.a].has_empty ? rx_or(p, r, rx_after(p, x.b, b)) : r;
    }
    case NOT: return rx_not(p, rx_after(p, x.a, b));
    case STATE: {
        const struct rx_table *t = &p->table[x.a];
        return rx_state(p, x.a, t->next[x.b * t->n_class + t->class_of[b]]);
    }
    case REPEAT: {
        const rx rest = rx_repeat(p, x.a, x.min > 0 ? x.min - 1 : 0, x.max < 0 ? -1 : x.max - 1);
        return rx_cat(p, rx_after(p, x.a, b), rest);
    }
    case OR:
    case AND: {
        rx few[16] = { 0 }, *part = x.max <= 16 ? few : malloc((size_t)x.max * sizeof *part);
        if (!part) return fail(p, true);
        for (int i = 0; i < x.max; i++) part[i] = rx_after(p, p->part[x.min + i], b);
        const rx r = join(p, x.kind, part, (size_t)x.max);
        if (part != few) free(part);
        return r;
    }
    }
    return RX_NONE;
}

rx rx_after(struct rx_pool *p, rx a, unsigned b)
{
    if (a <= RX_EMPTY || p->failed) return RX_NONE;
    if (a == RX_ALL) return RX_ALL;
    if (p->node[a].kind == SET) return derive(p, a, b);
    uint32_t h = ((uint32_t)a * 256 + b) * 0x9e3779b1u;
    const size_t at = (h ^ h >> 15) & (p->n_memo - 1);
    if (!budget_take(p->budget, 1)) return fail(p, false);
    if (p->memo[at].a == a && p->memo[at].b == b) return p->memo[at].is;
    if (++p->depth > MAX_DEPTH) return p->depth--, fail(p, false);
    const rx r = derive(p, a, b);
    p->depth--;
    if (!p->failed) p->memo[at] = (struct memo){ a, r, b };
    return r;
}

/* ---- classes of bytes ---------------------------------------------------------------------------------------------- */

/* Classes as sets, so that a class is split by a few words' work. */
struct classes {
    struct rx_bytes set[256];
    int n;
};

static void refine(struct classes *k, const struct rx_bytes *s)
{
    for (int c = 0, n = k->n; c < n; c++) {
        struct rx_bytes in;
        uint64_t some = 0, rest = 0;
        for (int w = 0; w < 4; w++) {
            in.has[w] = k->set[c].has[w] & s->has[w];
            some |= in.has[w];
            rest |= k->set[c].has[w] & ~s->has[w];
        }
        if (!some || !rest) continue;
        for (int w = 0; w < 4; w++) k->set[c].has[w] &= ~in.has[w];
        k->set[k->n++] = in;
    }
}

void rx_classes(struct rx_pool *p, rx a, uint8_t class_of[256], int *n)
{
    if (p->n_mark < p->n) {
        if (!budget_bytes(p->budget, (p->n - p->n_mark) * sizeof(uint32_t)) ||
            !budget_take(p->budget, (long)(p->n - p->n_mark) / 8)) {
            fail(p, false);
            return;
        }
        uint32_t *m = realloc(p->mark, p->n * sizeof *m);
        if (!m) {
            fail(p, true);
            return;
        }
        memset(m + p->n_mark, 0, (p->n - p->n_mark) * sizeof *m);
        p->mark = m;
        p->n_mark = p->n;
    }
    struct classes k = { .n = *n };
    for (unsigned x = 0; x < 256; x++) rx_bytes_add(&k.set[class_of[x]], x, x);
    p->round++;
    size_t n_pending = 0, cap = 0;
    rx *pending = NULL;
    if (!grow(p, (void **)&pending, &cap, 64, sizeof *pending)) return;
    pending[n_pending++] = a;
    p->mark[a] = p->round;
    while (n_pending > 0) {
        const struct node *x = &p->node[pending[--n_pending]];
        if (!budget_take(p->budget, x->kind == SET     ? 4 + k.n / 4
                                    : x->kind == STATE ? 40 * p->table[x->a].n_class
                                                       : 1)) {
            fail(p, false);
            break;
        }
        const bool many = x->kind == OR || x->kind == AND;
        rx two[2] = { x->a, x->b };
        const rx *next = many ? p->part + x->min : two;
        const int n_next = many ? x->max : x->kind == CAT ? 2 : x->kind == NOT || x->kind == REPEAT ? 1 : 0;
        if (x->kind == SET) refine(&k, &p->set[x->a]);
        for (int c = 0; x->kind == STATE && c < p->table[x->a].n_class; c++) {
            struct rx_bytes s = { 0 };
            for (unsigned b = 0; b < 256; b++)
                if (p->table[x->a].class_of[b] == c) rx_bytes_add(&s, b, b);
            refine(&k, &s);
        }
        if (!grow(p, (void **)&pending, &cap, n_pending + (size_t)n_next, sizeof *pending)) break;
        for (int i = 0; i < n_next; i++) {
            if (p->mark[next[i]] == p->round) continue;
            p->mark[next[i]] = p->round;
            pending[n_pending++] = next[i];
        }
    }
    free(pending);
    for (int c = 0; c < k.n; c++)
        for (unsigned x = 0; x < 256; x++)
            if (rx_bytes_has(&k.set[c], x)) class_of[x] = (uint8_t)c;
    *n = k.n;
}
