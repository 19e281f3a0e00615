#include "text/grammar/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A rule that is regular is written out where it stands, as far as that stays small: MAX_INLINE parts in a rule that is itself regular,
 * FEW in others, and there only when it does not go on over many kinds of characters: such rules (words, strings) keep states of their
 * own, so that what is known of their masks (item_masks.h) serves wherever they stand. */
enum { MAX_INLINE = 4000, FEW = 32, MANY_CHARS = 16, MAX_INLINE_DEPTH = 64, HUGE_SIZE = 1 << 30 };

const struct grammar_limits grammar_default_limits = {
    .text = { .max_bytes = 1 << 20,
              .max_rules = 5000,
              .max_nodes = 50000,
              .max_depth = 200,
              .max_count = 100000 },
    .max_parts = 200000,
    .max_states = 100000,
    .max_table = 4 << 20,
    .work = 6000000,
};

enum { EPS = -1, BYTES = -2 }; /* edges that are no calls */

struct edge { /* of the automaton that is made deterministic */
    int next, to;
    int rule; /* called; or EPS, BYTES */
    uint8_t lo, hi;
};

/* What is known of a name. */
struct info {
    int number; /* of its rule; -1: none yet */
    int scc;    /* names that use each other, numbered so that what is used comes first; -1: not reached */
    int size;   /* parts when written out */
    json_t *schema;
    bool productive, nullable; /* derives something; the empty text */
    bool recursive, linear;    /* uses itself; and only at ends, so that it is a loop */
    bool regular;              /* can be written out */
    bool many, wide;           /* has characters of many kinds; and in a loop */
};

struct ref {
    int from, to;
    bool tail; /* nothing stands behind it */
};

/* A rule as it is written out in one place. */
struct copy {
    int name, start, to;
    int *pending; /* names of its circle that have a start (start_of) and no body yet */
    int n_pending;
};

struct maker {
    const struct gbnf *g;
    const struct grammar_limits *l;
    struct rules *r;
    struct info *info;
    struct ref *ref; /* by `from` */
    int *first_ref;
    int n_ref, cap_ref;
    int *circle; /* [n_rule] names, by scc */
    int n_circle, n_scc;
    int *start_of;    /* [n_rule] in the copy that is being made; -1: none */
    int *name_of;     /* [n_rule] of a rule's number */
    int *begin, *end; /* by rule number */
    int *state;       /* first edge, -1: none */
    struct edge *edge;
    int n_state, cap_state, n_edge, cap_edge;
    int *mark, round, *stack; /* [n_state] of subset_of() */
    long work;
    bool failed;
    struct err *e;
};

static bool fail(struct maker *m, enum err_code code, const char *what)
{
    if (!m->failed) err_set(m->e, code, "%s", what);
    m->failed = true;
    return false;
}

static bool no_memory(struct maker *m) { return fail(m, ERR_NOMEM, "no memory for a grammar"); }

static bool spend(struct maker *m, long steps)
{
    if ((m->work -= steps) >= 0) return true;
    return fail(m, ERR_LIMIT, "the grammar is too complex: making it ready takes too long");
}

static bool room(struct maker *m, void *at, int *cap, int need, size_t each)
{
    void **list = at;
    if (need <= *cap) return true;
    int want = *cap ? *cap * 2 : 256;
    if (want < need) want = need;
    void *q = realloc(*list, (size_t)want * each);
    if (!q) return no_memory(m);
    *list = q;
    *cap = want;
    return true;
}

/* ---- what uses what ---------------------------------------------------------------------------------------------------------- */

static void collect(struct maker *m, int from, int id, bool tail)
{
    const struct gbnf_node *k = &m->g->node[id];
    switch (k->kind) {
    case GBNF_NAME:
        if (!room(m, &m->ref, &m->cap_ref, m->n_ref + 1, sizeof *m->ref)) return;
        m->ref[m->n_ref++] = (struct ref){ from, k->at, tail };
        break;
    case GBNF_CAT:
        for (int c = k->child; c >= 0; c = m->g->node[c].next)
            collect(m, from, c, tail && m->g->node[c].next < 0);
        break;
    case GBNF_OR:
        for (int c = k->child; c >= 0; c = m->g->node[c].next) collect(m, from, c, tail);
        break;
    case GBNF_REPEAT:
        if (k->max != 0) collect(m, from, k->child, tail && k->max == 1 && k->min == 0);
        break;
    default: break;
    }
}

/* Names that use each other (Tarjan 1972), without recursion: what is used before what uses it. */
static bool circles(struct maker *m)
{
    const int n = m->g->n_rule;
    int *index = calloc((size_t)n, sizeof *index), *low = calloc((size_t)n, sizeof *low);
    int *path = malloc((size_t)n * sizeof *path), *at = malloc((size_t)n * sizeof *at);
    int *open = malloc((size_t)n * sizeof *open);
    int n_path = 0, n_open = 0, count = 0;
    const bool ok = index && low && path && at && open;
    if (ok) path[n_path++] = m->g->root;
    while (ok && n_path > 0) {
        const int v = path[n_path - 1];
        if (index[v] == 0) {
            index[v] = low[v] = ++count;
            at[v] = m->first_ref[v];
            open[n_open++] = v;
        }
        bool deeper = false;
        for (; at[v] < m->first_ref[v + 1]; at[v]++) {
            const int w = m->ref[at[v]].to;
            if (index[w] == 0) {
                path[n_path++] = w;
                deeper = true;
                break;
            }
            if (m->info[w].scc < 0 && low[w] < low[v]) low[v] = low[w];
        }
        if (deeper) continue;
        n_path--;
        if (low[v] != index[v]) continue;
        int w;
        do {
            w = open[--n_open];
            m->info[w].scc = m->n_scc;
            m->circle[m->n_circle++] = w;
        } while (w != v);
        m->n_scc++;
    }
    free(index);
    free(low);
    free(path);
    free(at);
    free(open);
    return ok || no_memory(m);
}

/* Does a symbol derive anything; the empty text? As far as is known. */
static void derives(struct maker *m, int id, bool *productive, bool *nullable)
{
    const struct gbnf_node *k = &m->g->node[id];
    bool p, n;
    *productive = *nullable = true;
    m->work--;
    switch (k->kind) {
    case GBNF_EMPTY: return;
    case GBNF_TEXT: *nullable = k->n == 0; return;
    case GBNF_CHARS:
        *productive = k->n > 0;
        *nullable = false;
        return;
    case GBNF_NAME:
        *productive = m->info[k->at].productive;
        *nullable = m->info[k->at].nullable;
        return;
    case GBNF_CAT:
        for (int c = k->child; c >= 0; c = m->g->node[c].next) {
            derives(m, c, &p, &n);
            *productive &= p;
            *nullable &= n;
        }
        return;
    case GBNF_OR:
        *productive = *nullable = false;
        for (int c = k->child; c >= 0; c = m->g->node[c].next) {
            derives(m, c, &p, &n);
            *productive |= p;
            *nullable |= n;
        }
        return;
    case GBNF_REPEAT:
        if (k->min == 0) return;
        derives(m, k->child, productive, nullable);
    }
}

static int add_sizes(int a, long b) { return a + b > HUGE_SIZE ? HUGE_SIZE : (int)(a + b); }

/* Size and kind of an expression of a rule whose circle is `scc`. */
static int measure(struct maker *m, int id, struct info *of, bool loop)
{
    const struct gbnf_node *k = &m->g->node[id];
    int size = 1;
    m->work--;
    switch (k->kind) {
    case GBNF_EMPTY: return 1;
    case GBNF_TEXT: return k->n + 1;
    case GBNF_CHARS: {
        uint32_t chars = 0;
        for (int i = 0; i < k->n; i++) {
            const struct gbnf_range *r = &m->g->range[k->at + i];
            chars += r->last - r->first + 1;
            size = add_sizes(size, r->last < 0x80 ? 1 : 8);
        }
        of->many |= chars > MANY_CHARS;
        of->wide |= loop && chars > MANY_CHARS;
        return size;
    }
    case GBNF_NAME: {
        const struct info *to = &m->info[k->at];
        if (to->scc == of->scc || !to->productive) return 2;
        of->regular &= to->regular;
        of->many |= to->many;
        of->wide |= to->wide || (loop && to->many);
        return to->regular ? to->size + 1 : 2;
    }
    case GBNF_CAT:
    case GBNF_OR:
        for (int c = k->child; c >= 0; c = m->g->node[c].next)
            size = add_sizes(size, measure(m, c, of, loop));
        return size;
    case GBNF_REPEAT: {
        const bool loops = loop || k->max < 0 || k->max > MANY_CHARS;
        const long times = k->max < 0 ? k->min + 1L : k->max;
        if (k->max == 0) return 1;
        return add_sizes(1, times * (measure(m, k->child, of, loops) + 1L));
    }
    }
    return size;
}

/* What is known of each circle, those that are used first. */
static bool understand(struct maker *m)
{
    for (int at = 0; at < m->n_circle && !m->failed;) {
        const int scc = m->info[m->circle[at]].scc;
        int end = at;
        while (end < m->n_circle && m->info[m->circle[end]].scc == scc) end++;
        for (bool changed = true; changed && spend(m, 0);) {
            changed = false;
            for (int i = at; i < end; i++) {
                struct info *k = &m->info[m->circle[i]];
                const int body = m->g->rule[m->circle[i]].body;
                bool p, n;
                if (body < 0 || (k->productive && k->nullable)) continue; /* a schema is not empty */
                derives(m, body, &p, &n);
                n &= p;
                changed |= p != k->productive || n != k->nullable;
                k->productive = p;
                k->nullable = n;
            }
        }
        bool recursive = end - at > 1, linear = true, regular = true, many = false, wide = false;
        for (int i = at; i < end; i++)
            for (int r = m->first_ref[m->circle[i]]; r < m->first_ref[m->circle[i] + 1]; r++)
                if (m->info[m->ref[r].to].scc == scc) {
                    recursive = true;
                    linear &= m->ref[r].tail;
                }
        int size = 0;
        for (int i = at; i < end && spend(m, 0); i++) {
            struct info k = m->info[m->circle[i]];
            const int body = m->g->rule[m->circle[i]].body;
            k.regular = body >= 0;
            k.many = k.wide = false;
            size = add_sizes(size, body < 0 ? 1 : measure(m, body, &k, recursive));
            regular &= k.regular;
            many |= k.many;
            wide |= k.wide;
        }
        for (int i = at; i < end; i++) {
            struct info *k = &m->info[m->circle[i]];
            k->recursive = recursive;
            k->linear = linear;
            k->regular = regular && linear && size <= MAX_INLINE;
            k->size = size;
            k->many = many;
            k->wide = wide;
        }
        at = end;
    }
    return !m->failed;
}

/* ---- expressions as automata -------------------------------------------------------------------------------------------------- */

static int state_new(struct maker *m)
{
    if (m->n_state >= m->l->max_parts) {
        fail(m, ERR_LIMIT, "the grammar is too large when its repetitions are written out");
        return 0;
    }
    if (!room(m, &m->state, &m->cap_state, m->n_state + 1, sizeof *m->state)) return 0;
    m->state[m->n_state] = -1;
    return m->n_state++;
}

static void connect(struct maker *m, int from, int to, int rule, unsigned lo, unsigned hi)
{
    if (m->failed || !spend(m, 1)) return;
    if (m->n_edge >= 4 * m->l->max_parts) {
        fail(m, ERR_LIMIT, "the grammar is too large when its repetitions are written out");
        return;
    }
    if (!room(m, &m->edge, &m->cap_edge, m->n_edge + 1, sizeof *m->edge)) return;
    m->edge[m->n_edge] = (struct edge){ m->state[from], to, rule, (uint8_t)lo, (uint8_t)hi };
    m->state[from] = m->n_edge++;
}

static void skip_to(struct maker *m, int from, int to) { connect(m, from, to, EPS, 0, 0); }

/* UTF-8 sequences of n bytes from a to z, whose lengths and forms are alike. full[k]: the state from which any k continuation bytes lead
 * to `to` (-1: not made yet). */
static void sequences(struct maker *m, int from, int to, const uint8_t *a, const uint8_t *z, int n,
                      int full[4])
{
    if (n == 1) {
        connect(m, from, to, BYTES, a[0], z[0]);
        return;
    }
    bool least = true, most = true;
    for (int i = 1; i < n; i++) {
        least &= a[i] == 0x80;
        most &= z[i] == 0xbf;
    }
    if (a[0] == z[0] && !(least && most)) {
        const int mid = state_new(m);
        connect(m, from, mid, BYTES, a[0], a[0]);
        sequences(m, mid, to, a + 1, z + 1, n - 1, full);
        return;
    }
    static const uint8_t lowest[3] = { 0x80, 0x80, 0x80 }, highest[3] = { 0xbf, 0xbf, 0xbf };
    unsigned first = a[0], last = z[0];
    if (!least) {
        const int mid = state_new(m);
        connect(m, from, mid, BYTES, first, first);
        sequences(m, mid, to, a + 1, highest, n - 1, full);
        first++;
    }
    if (!most) {
        const int mid = state_new(m);
        connect(m, from, mid, BYTES, last, last);
        sequences(m, mid, to, lowest, z + 1, n - 1, full);
        last--;
    }
    if (first > last) return;
    for (int k = 1; k < n; k++)
        if (full[k] < 0) {
            full[k] = state_new(m);
            connect(m, full[k], k == 1 ? to : full[k - 1], BYTES, 0x80, 0xbf);
        }
    connect(m, from, full[n - 1], BYTES, first, last);
}

static int utf8_bytes(uint32_t cp, uint8_t out[4])
{
    if (cp < 0x80) return out[0] = (uint8_t)cp, 1;
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (uint8_t)(0x80 | (cp & 63));
    out[0] = (uint8_t)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | cp);
    return n;
}

static void chars(struct maker *m, const struct gbnf_node *k, int from, int to)
{
    static const uint32_t last_of[4] = { 0x7f, 0x7ff, 0xffff, 0x10ffff };
    int full[4] = { -1, -1, -1, -1 };
    for (int i = 0; i < k->n && !m->failed; i++) {
        uint32_t first = m->g->range[k->at + i].first;
        const uint32_t last = m->g->range[k->at + i].last;
        for (int n = 0; n < 4 && first <= last; n++) {
            if (first > last_of[n]) continue;
            uint8_t a[4], z[4];
            const uint32_t end = last < last_of[n] ? last : last_of[n];
            utf8_bytes(first, a);
            sequences(m, from, to, a, z, utf8_bytes(end, z), full);
            first = end + 1;
        }
    }
}

static int number_of(struct maker *m, int name)
{
    struct info *k = &m->info[name];
    if (k->number < 0) {
        k->number = m->r->n_rule++;
        m->name_of[k->number] = name;
    }
    return k->number;
}

static void expand(struct maker *m, int id, int from, int to, struct copy *in, bool tail, int depth);

/* Writes out rule `name` between two states. */
static void write_out(struct maker *m, int name, int from, int to, int depth)
{
    struct copy c = { .name = name, .to = to };
    const struct info *k = &m->info[name];
    c.start = from;
    if (k->recursive) { /* others come back to it */
        c.start = state_new(m);
        skip_to(m, from, c.start);
        c.pending = malloc((size_t)m->n_circle * sizeof *c.pending);
        if (!c.pending) {
            no_memory(m);
            return;
        }
    }
    m->start_of[name] = c.start;
    expand(m, m->g->rule[name].body, c.start, to, &c, true, depth);
    for (int i = 0; i < c.n_pending && !m->failed; i++)
        expand(m, m->g->rule[c.pending[i]].body, m->start_of[c.pending[i]], to, &c, true, depth);
    for (int i = 0; i < c.n_pending; i++) m->start_of[c.pending[i]] = -1;
    m->start_of[name] = -1;
    free(c.pending);
}

static void use_rule(struct maker *m, int name, int from, int to, struct copy *in, bool tail, int depth)
{
    const struct info *k = &m->info[name], *of = &m->info[in->name];
    if (!k->productive) return;
    if (tail && k->scc == of->scc && (name == in->name || of->linear)) { /* at the end of itself: a loop */
        if (m->start_of[name] < 0) {
            m->start_of[name] = state_new(m);
            in->pending[in->n_pending++] = name;
        }
        skip_to(m, from, m->start_of[name]);
        return;
    }
    const bool whole = of->regular || (!k->wide && k->size <= FEW);
    if (k->regular && k->scc != of->scc && whole && depth < MAX_INLINE_DEPTH) {
        write_out(m, name, from, to, depth + 1);
        return;
    }
    connect(m, from, to, number_of(m, name), 0, 0);
    if (k->nullable) skip_to(m, from, to);
}

static void repeat(struct maker *m, const struct gbnf_node *k, int from, int to, struct copy *in, bool tail,
                   int depth)
{
    int at = from;
    for (int i = 0; i < k->min && !m->failed; i++) {
        const int next = k->max == k->min && i + 1 == k->min ? to : state_new(m);
        expand(m, k->child, at, next, in, false, depth);
        at = next;
    }
    if (k->max < 0) {
        const int loop = state_new(m);
        skip_to(m, at, loop);
        expand(m, k->child, loop, loop, in, false, depth);
        skip_to(m, loop, to);
    }
    for (int i = k->min; i < k->max && !m->failed; i++) {
        const int next = i + 1 == k->max ? to : state_new(m);
        skip_to(m, at, to);
        expand(m, k->child, at, next, in, tail && k->max == 1, depth);
        at = next;
    }
    if (k->max == 0) skip_to(m, from, to);
}

/* Paths from one state to another for what the expression derives. `tail`: `to` is the end of the copy. Only a loop's own state has edges
 * that lead back to it from what stands behind it, so paths do not mix. */
static void expand(struct maker *m, int id, int from, int to, struct copy *in, bool tail, int depth)
{
    const struct gbnf_node *k = &m->g->node[id];
    if (m->failed) return;
    switch (k->kind) {
    case GBNF_EMPTY: skip_to(m, from, to); break;
    case GBNF_TEXT:
        if (k->n == 0) skip_to(m, from, to);
        for (int i = 0; i < k->n && !m->failed; i++) {
            const int next = i + 1 == k->n ? to : state_new(m);
            const unsigned b = (unsigned char)m->g->text[k->at + i];
            connect(m, from, next, BYTES, b, b);
            from = next;
        }
        break;
    case GBNF_CHARS: chars(m, k, from, to); break;
    case GBNF_NAME: use_rule(m, k->at, from, to, in, tail, depth); break;
    case GBNF_CAT:
        for (int c = k->child; c >= 0 && !m->failed; c = m->g->node[c].next) {
            const bool last = m->g->node[c].next < 0;
            const int next = last ? to : state_new(m);
            expand(m, c, from, next, in, tail && last, depth);
            from = next;
        }
        break;
    case GBNF_OR:
        for (int c = k->child; c >= 0; c = m->g->node[c].next) expand(m, c, from, to, in, tail, depth);
        break;
    case GBNF_REPEAT: repeat(m, k, from, to, in, tail, depth); break;
    }
}

/* ---- deterministic automata ---------------------------------------------------------------------------------------------------- */

struct subset { /* of the states that count: with bytes or calls behind them, or the end */
    int at, n;
};

struct list {
    int *to;
    int n, cap;
};

struct subsets {
    struct maker *m;
    int end; /* the state at the rule's end */
    int *member;
    int n_member, cap_member;
    struct subset *set;
    int n, cap;
    int *bucket, n_bucket; /* a power of two */
    int32_t *next;
    int cap_next; /* sets */
    uint8_t *accepts;
    int cap_accepts;
    struct {
        int q, rule, ret;
    } * call; /* ascending by q */
    int n_call, cap_call;
    struct list of_class[256];
};

static bool counts(const struct subsets *s, int q)
{
    if (q == s->end) return true;
    for (int i = s->m->state[q]; i >= 0; i = s->m->edge[i].next)
        if (s->m->edge[i].rule != EPS) return true;
    return false;
}

static int ascending(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

static uint32_t hash_set(const int *member, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (uint32_t)member[i]) * 16777619u ^ h >> 13;
    return h ^ h >> 16;
}

static bool more_buckets(struct subsets *s)
{
    const int n = s->n_bucket ? s->n_bucket * 2 : 256;
    int *bucket = malloc((size_t)n * sizeof *bucket);
    if (!bucket) return no_memory(s->m);
    memset(bucket, -1, (size_t)n * sizeof *bucket);
    for (int k = 0; k < s->n; k++) {
        unsigned at = hash_set(s->member + s->set[k].at, s->set[k].n) & (unsigned)(n - 1);
        while (bucket[at] >= 0) at = (at + 1) & (unsigned)(n - 1);
        bucket[at] = k;
    }
    free(s->bucket);
    s->bucket = bucket;
    s->n_bucket = n;
    return true;
}

/* The set of what can be reached without a byte from n states. -1: nothing, or failed. */
static int subset_of(struct subsets *s, const int *from, int n)
{
    struct maker *m = s->m;
    int n_stack = 0;
    const int first = s->n_member;
    m->round++;
    for (int i = 0; i < n; i++)
        if (m->mark[from[i]] != m->round) {
            m->mark[from[i]] = m->round;
            m->stack[n_stack++] = from[i];
        }
    while (n_stack > 0) {
        const int q = m->stack[--n_stack];
        if (!spend(m, 4)) return -1;
        if (counts(s, q)) {
            if (!room(m, &s->member, &s->cap_member, s->n_member + 1, sizeof *s->member)) return -1;
            s->member[s->n_member++] = q;
        }
        for (int i = m->state[q]; i >= 0; i = m->edge[i].next) {
            m->work--;
            if (m->edge[i].rule != EPS || m->mark[m->edge[i].to] == m->round) continue;
            m->mark[m->edge[i].to] = m->round;
            m->stack[n_stack++] = m->edge[i].to;
        }
    }
    const int count = s->n_member - first;
    if (count == 0) return -1;
    qsort(s->member + first, (size_t)count, sizeof *s->member, ascending);
    m->work -= 4L * count;
    if (s->n * 2 >= s->n_bucket && !more_buckets(s)) return -1;
    unsigned at = hash_set(s->member + first, count) & (unsigned)(s->n_bucket - 1);
    for (; s->bucket[at] >= 0; at = (at + 1) & (unsigned)(s->n_bucket - 1)) {
        const struct subset *k = &s->set[s->bucket[at]];
        if (k->n != count || memcmp(s->member + k->at, s->member + first, (size_t)count * sizeof *s->member))
            continue;
        s->n_member = first;
        return s->bucket[at];
    }
    if (m->r->n_state + s->n >= m->l->max_states ||
        (long)(m->r->n_state + s->n + 1) * m->r->n_class > m->l->max_table) {
        fail(m, ERR_LIMIT, "the grammar is too complex: it has too many states");
        return -1;
    }
    if (!room(m, &s->set, &s->cap, s->n + 1, sizeof *s->set)) return -1;
    s->set[s->n] = (struct subset){ first, count };
    s->bucket[at] = s->n;
    return s->n++;
}

static bool list_add(struct maker *m, struct list *l, int to)
{
    if (!room(m, &l->to, &l->cap, l->n + 1, sizeof *l->to)) return false;
    l->to[l->n++] = to;
    return true;
}

struct called {
    int rule, to;
};
static int by_rule(const void *a, const void *b)
{
    const struct called *x = a, *y = b;
    return x->rule != y->rule ? (x->rule > y->rule) - (x->rule < y->rule) : (x->to > y->to) - (x->to < y->to);
}

/* The calls of a set: each rule once, and behind it all that may stand behind it. */
static bool set_calls(struct subsets *s, int q, struct called *called, int n)
{
    struct maker *m = s->m;
    struct list to = { 0 };
    bool ok = true;
    if (n > 0) qsort(called, (size_t)n, sizeof *called, by_rule);
    for (int i = 0; i < n && ok;) {
        const int rule = called[i].rule;
        for (to.n = 0; i < n && called[i].rule == rule && ok; i++) ok = list_add(m, &to, called[i].to);
        const int ret = ok ? subset_of(s, to.to, to.n) : -1;
        ok = ok && !m->failed && room(m, &s->call, &s->cap_call, s->n_call + 1, sizeof *s->call);
        if (ok && ret >= 0) {
            s->call[s->n_call].q = q;
            s->call[s->n_call].rule = rule;
            s->call[s->n_call++].ret = ret;
        }
    }
    free(to.to);
    return ok;
}

/* Where each byte, and each call, leads from a set. */
static bool set_edges(struct subsets *s, int q)
{
    struct maker *m = s->m;
    const int n_class = m->r->n_class;
    struct called *called = NULL;
    int n_called = 0, cap_called = 0;
    bool ok = true;
    if (!room(m, &s->next, &s->cap_next, q + 1, (size_t)n_class * sizeof *s->next) ||
        !room(m, &s->accepts, &s->cap_accepts, q + 1, 1))
        return false;
    int32_t *next = s->next + (size_t)q * (size_t)n_class;
    s->accepts[q] = 0;
    for (int c = 0; c < n_class; c++) s->of_class[c].n = 0;
    for (int i = 0; i < s->set[q].n && ok; i++) {
        const int member = s->member[s->set[q].at + i];
        s->accepts[q] |= member == s->end;
        for (int k = m->state[member]; k >= 0 && ok; k = m->edge[k].next) {
            const struct edge *x = &m->edge[k];
            if (x->rule == BYTES) {
                const int last = m->r->class_of[x->hi];
                for (int c = m->r->class_of[x->lo]; c <= last && ok; c++)
                    ok = list_add(m, &s->of_class[c], x->to);
                m->work -= last - m->r->class_of[x->lo];
            } else if (x->rule >= 0 && (ok = room(m, &called, &cap_called, n_called + 1, sizeof *called))) {
                called[n_called++] = (struct called){ x->rule, x->to };
            }
        }
    }
    for (int c = 0; c < n_class && ok; c++) {
        const struct list *l = &s->of_class[c], *before = c ? &s->of_class[c - 1] : NULL;
        if (l->n == 0)
            next[c] = -1;
        else if (before && before->n == l->n && !memcmp(before->to, l->to, (size_t)l->n * sizeof *l->to))
            next[c] = next[c - 1];
        else
            next[c] = subset_of(s, l->to, l->n);
        ok = spend(m, 1) && !m->failed;
    }
    ok = ok && set_calls(s, q, called, n_called);
    free(called);
    return ok;
}

/* Appends the states that lead to the end, as rule `number`. */
static bool append(struct subsets *s, int number)
{
    struct maker *m = s->m;
    struct rules *r = m->r;
    const int n_class = r->n_class, n = s->n;
    int *new = malloc(((size_t)n + 1) * sizeof *new), kept = 0;
    if (!new) return no_memory(m);
    for (int q = 0; q < n; q++) new[q] = s->accepts[q] ? 0 : -1;
    for (bool changed = true; changed && spend(m, n);) { /* mostly from the end on, so few rounds */
        changed = false;
        int k = s->n_call;
        for (int q = n - 1; q >= 0; q--) {
            bool lives = new[q] >= 0;
            const int32_t *next = s->next + (size_t)q * (size_t)n_class;
            for (; k > 0 && s->call[k - 1].q == q; k--) lives |= new[s->call[k - 1].ret] >= 0;
            for (int c = 0; c < n_class && !lives; c++) lives = next[c] >= 0 && new[next[c]] >= 0;
            if (lives && new[q] < 0) {
                new[q] = 0;
                changed = true;
            }
        }
    }
    for (int q = 0; q < n; q++)
        if (new[q] >= 0) new[q] = r->n_state + kept++;
    const size_t all = (size_t)r->n_state + (size_t)kept;
    int32_t *next = realloc(r->next, (all * (size_t)n_class + 1) * sizeof *next);
    if (next) r->next = next;
    uint8_t *accepts = realloc(r->accepts, all + 1);
    if (accepts) r->accepts = accepts;
    uint8_t *ends = realloc(r->ends, all + 1);
    if (ends) r->ends = ends;
    int32_t *first = realloc(r->first_call, (all + 1) * sizeof *first);
    if (first) r->first_call = first;
    const int n_call = r->n_state ? r->first_call[r->n_state] : 0;
    struct rule_call *call = realloc(r->call, ((size_t)n_call + (size_t)s->n_call + 1) * sizeof *call);
    if (call) r->call = call;
    if (!next || !accepts || !ends || !first || !call || m->failed) {
        free(new);
        return no_memory(m);
    }
    r->rule[number].start = new[0];
    first[r->n_state] = n_call;
    for (int q = 0, k = 0, to = n_call; q < n; q++) {
        const int at = new[q];
        bool goes_on = false;
        for (; k < s->n_call && s->call[k].q == q; k++)
            if (at >= 0 && new[s->call[k].ret] >= 0) {
                call[to++] = (struct rule_call){ s->call[k].rule, new[s->call[k].ret] };
                goes_on = true;
            }
        if (at < 0) continue;
        for (int c = 0; c < n_class; c++) {
            const int32_t from = s->next[(size_t)q * (size_t)n_class + (size_t)c];
            next[(size_t)at * (size_t)n_class + (size_t)c] = from < 0 ? -1 : new[from];
            goes_on |= from >= 0 && new[from] >= 0;
        }
        accepts[at] = s->accepts[q];
        ends[at] = s->accepts[q] && !goes_on;
        first[at + 1] = to;
    }
    r->n_state += kept;
    free(new);
    return true;
}

static bool determine(struct maker *m, int number)
{
    struct subsets s = { .m = m, .end = m->end[number] };
    bool ok = subset_of(&s, &m->begin[number], 1) == 0;
    for (int q = 0; q < s.n && ok; q++) ok = set_edges(&s, q);
    ok = ok && append(&s, number);
    for (int c = 0; c < 256; c++) free(s.of_class[c].to);
    free(s.member);
    free(s.set);
    free(s.bucket);
    free(s.next);
    free(s.accepts);
    free(s.call);
    return ok;
}

/* Bytes that no edge tells apart are one class; classes ascend with the bytes. */
static void classify(struct maker *m)
{
    bool cut[257] = { false };
    for (int i = 0; i < m->n_edge; i++)
        if (m->edge[i].rule == BYTES) cut[m->edge[i].lo] = cut[m->edge[i].hi + 1] = true;
    int c = 0;
    for (int b = 0; b < 256; b++) {
        c += b > 0 && cut[b];
        m->r->class_of[b] = (uint8_t)c;
    }
    m->r->n_class = c + 1;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------ */

static bool names(struct maker *m, const json_t *schemas)
{
    const struct gbnf *g = m->g;
    for (int i = 0; i < g->n_rule; i++) {
        struct info *k = &m->info[i];
        k->number = k->scc = -1;
        m->start_of[i] = -1;
        m->first_ref[i] = m->n_ref;
        if (g->rule[i].body >= 0) {
            collect(m, i, g->rule[i].body, true);
            if (m->failed) return false;
            continue;
        }
        k->schema = json_object_get(schemas, g->rule[i].name);
        k->productive = true;
        if (!k->schema) {
            int line, column;
            gbnf_place(g, g->rule[i].pos, &line, &column);
            m->failed = true;
            return err_set(m->e, ERR_REQUEST, "the grammar, line %d, column %d: no rule is named %.60s", line,
                           column, g->rule[i].name);
        }
    }
    m->first_ref[g->n_rule] = m->n_ref;
    return true;
}

static bool make_rules(struct maker *m)
{
    struct rules *r = m->r;
    const int root = number_of(m, m->g->root);
    for (int i = root; i < r->n_rule && !m->failed; i++) {
        const int name = m->name_of[i];
        struct info *k = &m->info[name];
        if (k->schema) {
            if (schema_compile(&r->rule[i].schema, k->schema, m->l->schemas, m->e)) continue;
            m->failed = true;
            return err_wrap(m->e, "the schema of %.60s", m->g->rule[name].name);
        }
        m->begin[i] = state_new(m);
        m->end[i] = state_new(m);
        write_out(m, name, m->begin[i], m->end[i], 0);
    }
    if (m->failed) return false;
    classify(m);
    m->mark = calloc((size_t)m->n_state + 1, sizeof *m->mark);
    m->stack = malloc(((size_t)m->n_state + 1) * sizeof *m->stack);
    if (!m->mark || !m->stack) return no_memory(m);
    for (int i = 0; i < r->n_rule && !m->failed; i++)
        if (!r->rule[i].schema) determine(m, i);
    return !m->failed && (rules_finish(r) || no_memory(m));
}

bool rules_of_gbnf(struct rules **out, const struct gbnf *g, const json_t *schemas,
                   const struct grammar_limits *l, struct err *e)
{
    const size_t n = (size_t)g->n_rule;
    struct maker m = { .g = g, .l = l, .e = e, .work = l->work };
    m.r = calloc(1, sizeof *m.r);
    m.info = calloc(n, sizeof *m.info);
    m.first_ref = malloc((n + 1) * sizeof *m.first_ref);
    m.circle = malloc(n * sizeof *m.circle);
    m.start_of = malloc(n * sizeof *m.start_of);
    m.name_of = malloc(n * sizeof *m.name_of);
    m.begin = malloc(n * sizeof *m.begin);
    m.end = malloc(n * sizeof *m.end);
    if (m.r) m.r->rule = calloc(n, sizeof *m.r->rule);
    bool ok = (m.r && m.info && m.first_ref && m.circle && m.start_of && m.name_of && m.begin && m.end &&
               m.r->rule) ||
              no_memory(&m);
    ok = ok && names(&m, schemas) && circles(&m) && understand(&m);
    if (ok && !m.info[g->root].productive)
        ok = err_set(e, ERR_REQUEST,
                     "the grammar's rule root derives no text: each of its alternatives needs itself, or a "
                     "class that is empty");
    ok = ok && make_rules(&m);
    free(m.info);
    free(m.ref);
    free(m.first_ref);
    free(m.circle);
    free(m.start_of);
    free(m.name_of);
    free(m.begin);
    free(m.end);
    free(m.state);
    free(m.edge);
    free(m.mark);
    free(m.stack);
    if (ok)
        *out = m.r;
    else
        rules_free(m.r);
    return ok;
}
