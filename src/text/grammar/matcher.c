#include "text/grammar/matcher.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/json_machine.h"

enum {
    STACK = 16 * MAX_THREADS,
    BUCKETS = 1024,
    MAX_CHARS = VOCAB_MAX_TOKEN + 1,
    LONG_TOKEN = 48,
    MAX_SHARED = 4096
};

/* Tokens that leave a text at a quote, by what stands behind it: a tree like the vocabulary's. */
struct exits {
    uint32_t n;
    uint8_t *byte, *depth;
    uint32_t *skip;
    uint32_t *first; /* [n+1] where the tokens that end at a node begin in id[] */
    int32_t *id;
    uint8_t *chars; /* beside id[]: characters before the quote */
};

/* Of a text's automaton in one state, between characters: the tokens that stay inside, and those that leave; where `keys` is set, apart
 * by the class of the name that they end. */
struct text_mask {
    struct text_mask *next;
    uint64_t hash[2]; /* of a string's automaton; of names', the address */
    int32_t q;
    const uint32_t *inside;
    uint32_t *own; /* inside, when it is not another's */
    int n_group;
    struct group {
        int32_t q; /* a state in which a name of the class ends */
        int cls;
        struct exits exits;
    } * group;
};

struct leaving {
    const char *text; /* behind the quote */
    uint32_t len;
    int32_t id, q;
    int cls, chars;
};

struct mask_table {
    pthread_mutex_t lock; /* guards what follows */
    struct text_mask *known[BUCKETS];
    int n;
};

struct free_masks {
    const struct vocab_trie *v;
    struct dfa *any; /* every text */
    struct strings string;
    struct text_mask *text; /* of every text, at its beginning */
    uint8_t
        *chars; /* [n_vocab] characters of a token in a free text; one more when it ends within an escape */
    int32_t *long_token; /* those of more than LONG_TOKEN bytes */
    int n_long;
    struct mask_table masks;      /* of strings, for all constraints: by what the automaton is, not where */
    pthread_mutex_t lock;         /* guards what follows */
    uint32_t *at_most[MAX_CHARS]; /* tokens of at most so many characters in a free text */
};

struct constraint {
    struct schema *schema;
    const struct vocab_trie *v;
    struct free_masks *free;
    struct mask_table masks; /* of members' names */
};

struct matcher {
    struct constraint *c;
    struct pile pile;
    struct thread *now; /* the present state */
    int n;
    struct thread *stack; /* states along a walk, one behind the other */
};

static size_t words(const struct vocab_trie *v) { return ((size_t)v->n_vocab + 31) / 32; }

static void put(const struct vocab_trie *v, uint32_t *bits, int32_t id)
{
    for (; id >= 0; id = v->same[id]) bits[id / 32] |= UINT32_C(1) << (id % 32);
}

/* ---- what is known of texts ------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const struct leaving *x = a, *y = b;
    if (x->cls != y->cls) return x->cls < y->cls ? -1 : 1;
    const int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    if (order) return order;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void exits_free(struct exits *x)
{
    free(x->byte);
    free(x->depth);
    free(x->skip);
    free(x->first);
    free(x->id);
    free(x->chars);
}

/* l[n]: sorted. */
static bool exits_of(struct exits *x, const struct leaving *l, size_t n)
{
    size_t bytes = 2;
    for (size_t i = 0; i < n; i++) bytes += l[i].len;
    *x = (struct exits){ .byte = malloc(bytes),
                         .depth = malloc(bytes),
                         .skip = malloc(bytes * sizeof *x->skip),
                         .first = malloc((bytes + 1) * sizeof *x->first),
                         .id = malloc((n + 1) * sizeof *x->id),
                         .chars = malloc(n + 1) };
    if (!x->byte || !x->depth || !x->skip || !x->first || !x->id || !x->chars) {
        exits_free(x);
        return false;
    }
    uint32_t open[VOCAB_MAX_TOKEN + 1] = { 0 }, deep = 0, used = 0;
    x->byte[0] = x->depth[0] = 0;
    x->first[0] = 0;
    x->n = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t shared = 0;
        while (i && shared < l[i].len && shared < l[i - 1].len && l[i].text[shared] == l[i - 1].text[shared])
            shared++;
        for (; deep > shared; deep--) x->skip[open[deep]] = x->n;
        while (deep < l[i].len) {
            x->byte[x->n] = (uint8_t)l[i].text[deep];
            x->depth[x->n] = (uint8_t)++deep;
            x->first[x->n] = used;
            open[deep] = x->n++;
        }
        x->chars[used] = (uint8_t)l[i].chars;
        x->id[used++] = l[i].id;
        x->first[x->n] = used;
    }
    for (; deep > 0; deep--) x->skip[open[deep]] = x->n;
    x->skip[0] = x->n;
    x->first[x->n] = used;
    return true;
}

static void text_mask_free(struct text_mask *m)
{
    if (!m) return;
    for (int i = 0; i < m->n_group; i++) exits_free(&m->group[i].exits);
    free(m->group);
    free(m->own);
    free(m);
}

struct leavings {
    struct leaving *at;
    size_t n, cap;
};

static bool leave(struct leavings *l, struct leaving one)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 256;
        struct leaving *q = realloc(l->at, cap * sizeof *q);
        if (!q) return false;
        l->at = q;
        l->cap = cap;
    }
    l->at[l->n++] = one;
    return true;
}

/* Sorts what leaves into groups of one class each. */
static bool group(struct text_mask *m, struct leavings *l)
{
    if (l->n == 0) return true;
    qsort(l->at, l->n, sizeof *l->at, by_text);
    size_t n = 1;
    for (size_t i = 1; i < l->n; i++) n += l->at[i].cls != l->at[i - 1].cls;
    m->group = calloc(n, sizeof *m->group);
    if (!m->group) return false;
    for (size_t i = 0; i < l->n;) {
        size_t end = i;
        while (end < l->n && l->at[end].cls == l->at[i].cls) end++;
        struct group *g = &m->group[m->n_group];
        g->q = l->at[i].q;
        g->cls = l->at[i].cls;
        if (!exits_of(&g->exits, l->at + i, end - i)) return false;
        m->n_group++;
        i = end;
    }
    return true;
}

/* The class that a name belongs to that ends in a state; strings have one. */
static int class_in(const struct thread *t, int32_t q)
{
    return t->place == AT_KEY ? t->up->object->class_of[q] : 0;
}

/* A walk through the vocabulary along the automaton. */
static bool walk_text(const struct vocab_trie *v, struct text_mask *m, const struct thread *t,
                      struct leavings *l)
{
    struct thread at[VOCAB_MAX_TOKEN + 1];
    const struct dfa *d = thread_automaton(t);
    m->own = calloc(words(v), sizeof *m->own);
    m->inside = m->own;
    if (!m->own) return false;
    at[0] = *t;
    at[0].n = 0;
    for (uint32_t i = 1; i < v->n;) {
        const struct thread *from = &at[v->depth[i] - 1];
        struct thread *to = &at[v->depth[i]];
        const unsigned char b = v->byte[i];
        if (b == '"' && !from->escape) {
            if (d->accepts[from->q])
                for (uint32_t k = i; k < v->skip[i]; k++)
                    for (int32_t id = v->token[k]; id >= 0; id = v->same[id])
                        if (!leave(l, (struct leaving){ v->text[id] + v->depth[i], v->len[id] - v->depth[i],
                                                        id, from->q, class_in(t, from->q), from->n }))
                            return false;
            i = v->skip[i];
            continue;
        }
        if (!from->escape && b >= 0x20 && b != '\\') { /* most of them */
            const int32_t q = dfa_next(d, from->q, b);
            if (q < 0) {
                i = v->skip[i];
                continue;
            }
            to->q = q;
            to->escape = 0;
            to->n = from->n + ((b & 0xc0) != 0x80);
        } else {
            struct thread u = *t;
            u.q = from->q;
            u.escape = from->escape;
            u.code = from->code;
            u.n = from->n;
            if (!json_text_byte(&u, b)) {
                i = v->skip[i];
                continue;
            }
            to->q = u.q;
            to->escape = u.escape;
            to->code = u.code;
            to->n = u.n;
        }
        put(v, m->own, v->token[i]);
        i++;
    }
    return true;
}

/* Where every text can come: inside it is a free text, and of the tokens that leave one those that may. */
static bool walk_free(struct constraint *c, struct text_mask *m, const struct thread *t, struct leavings *l)
{
    const struct exits *x = &c->free->text->group[0].exits;
    m->inside = c->free->text->inside;
    for (uint32_t node = 0; node < x->n; node++)
        for (uint32_t k = x->first[node]; k < x->first[node + 1]; k++) {
            const int32_t id = x->id[k];
            const uint32_t behind = x->depth[node], before = c->v->len[id] - behind - 1;
            const char first = behind ? c->v->text[id][before + 1] : ':';
            if (t->place == AT_KEY && first != ':' && first != ' ' && first != '\n' && first != '\t' &&
                first != '\r')
                continue;
            struct thread u = *t;
            bool ok = true;
            for (uint32_t i = 0; i < before && ok; i++)
                ok = json_text_byte(&u, (unsigned char)c->v->text[id][i]);
            if (!ok || !thread_automaton(t)->accepts[u.q]) continue;
            const int cls = class_in(t, u.q);
            if (!leave(l, (struct leaving){ c->v->text[id] + before + 1, behind, id, u.q, cls, x->chars[k] }))
                return false;
        }
    return true;
}

/* Does the automaton take every text from a state that is at the beginning of a character, as far as beginnings go? */
static bool takes_all(const struct free_masks *f, const struct dfa *d, int32_t q)
{
    const struct dfa *any = f->any;
    const size_t n = (size_t)d->n * (size_t)any->n;
    uint8_t *seen = calloc(n, 1);
    int32_t *pending = malloc(n * sizeof *pending);
    size_t n_pending = 0;
    bool all = seen && pending;
    if (all) {
        pending[n_pending++] = q * any->n;
        seen[q * any->n] = 1;
    }
    while (n_pending > 0 && all) {
        const int32_t pair = pending[--n_pending], s = pair / any->n, u = pair % any->n;
        for (int b = 0; b < 256 && all; b++) {
            const int32_t v = dfa_next(any, u, (unsigned char)b);
            if (v < 0) continue;
            const int32_t to = dfa_next(d, s, (unsigned char)b);
            all = to >= 0;
            if (!all || seen[to * any->n + v]) continue;
            seen[to * any->n + v] = 1;
            pending[n_pending++] = to * any->n + v;
        }
    }
    free(seen);
    free(pending);
    return all;
}

/* The mask of a thread in a string or a name; made when it is the first of its kind. */
static const struct text_mask *mask_of(struct constraint *c, const struct thread *t)
{
    const struct dfa *d = thread_automaton(t);
    const bool shared = t->place == AT_STRING && c->free->masks.n < MAX_SHARED;
    struct mask_table *table = shared ? &c->free->masks : &c->masks;
    const uint64_t hash[2] = { t->place == AT_KEY ? (uint64_t)(uintptr_t)d : d->hash[0],
                               t->place == AT_KEY ? 0 : d->hash[1] };
    const size_t at = (size_t)((hash[0] >> 6) + (uint64_t)t->q * 0x9e3779b97f4a7c15u) % BUCKETS;
    pthread_mutex_lock(&table->lock);
    struct text_mask *m = table->known[at];
    while (m && (m->hash[0] != hash[0] || m->hash[1] != hash[1] || m->q != t->q)) m = m->next;
    if (!m && (m = calloc(1, sizeof *m))) {
        struct leavings l = { 0 };
        memcpy(m->hash, hash, sizeof m->hash);
        m->q = t->q;
        const bool whole = t->place == AT_KEY ? t->up->object->any_name && dfa_next(d, t->q, 'a') >= 0
                                              : takes_all(c->free, d, t->q);
        const bool ok = (whole ? walk_free(c, m, t, &l) : walk_text(c->v, m, t, &l)) && group(m, &l);
        free(l.at);
        if (ok) {
            m->next = table->known[at];
            table->known[at] = m;
            table->n++;
        } else {
            text_mask_free(m);
            m = NULL;
        }
    }
    pthread_mutex_unlock(&table->lock);
    return m;
}

static void table_free(struct mask_table *table)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct text_mask *m = table->known[i]; m;) {
            struct text_mask *next = m->next;
            text_mask_free(m);
            m = next;
        }
    pthread_mutex_destroy(&table->lock);
}

/* ---- constraints ------------------------------------------------------------------------------------------------------------ */

/* How many characters each token adds to a free text. */
static bool count_characters(struct free_masks *f)
{
    const struct vocab_trie *v = f->v;
    struct thread at[VOCAB_MAX_TOKEN + 1];
    f->chars = malloc((size_t)v->n_vocab + 1);
    f->long_token = malloc(((size_t)v->n_vocab + 1) * sizeof *f->long_token);
    if (!f->chars || !f->long_token) return false;
    memset(f->chars, 255, (size_t)v->n_vocab);
    at[0] = (struct thread){ .place = AT_STRING, .string = &f->string, .hash = 1 };
    for (uint32_t i = 1; i < v->n;) {
        struct thread *to = &at[v->depth[i]];
        *to = at[v->depth[i] - 1];
        if ((v->byte[i] == '"' && !to->escape) || !json_text_byte(to, v->byte[i])) {
            i = v->skip[i];
            continue;
        }
        for (int32_t id = v->token[i]; id >= 0; id = v->same[id])
            f->chars[id] = (uint8_t)(to->n + (to->escape > 0));
        i++;
    }
    for (int32_t id = 0; id < v->n_vocab; id++)
        if (v->len[id] > LONG_TOKEN && v->len[id] <= VOCAB_MAX_TOKEN) f->long_token[f->n_long++] = id;
    return true;
}

bool free_masks_new(struct free_masks **out, const struct vocab_trie *v, struct err *e)
{
    struct free_masks *f = calloc(1, sizeof *f);
    struct rx_pool *p = rx_pool_new(10000, 0);
    struct leavings l = { 0 };
    if (!f || !p) {
        free(f);
        rx_pool_free(p);
        return err_set(e, ERR_NOMEM, "no memory for the masks of texts");
    }
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutex_init(&f->masks.lock, NULL);
    f->v = v;
    bool ok = dfa_new(&f->any, p, rx_any_text(p), NULL, 0, 100, e);
    if (ok) {
        f->string = (struct strings){ .d = f->any, .any = true, .max = -1 };
        f->text = calloc(1, sizeof *f->text);
        const struct thread t = { .place = AT_STRING, .string = &f->string, .hash = 1 };
        ok = f->text && walk_text(v, f->text, &t, &l) && group(f->text, &l) && count_characters(f);
        if (!ok) err_set(e, ERR_NOMEM, "no memory for the masks of texts");
        if (ok && f->text->n_group != 1)
            ok = err_set(e, ERR_UNSUPPORTED, "the vocabulary has no token with a quote");
    }
    free(l.at);
    rx_pool_free(p);
    if (ok)
        *out = f;
    else
        free_masks_free(f);
    return ok;
}

void free_masks_free(struct free_masks *f)
{
    if (!f) return;
    for (int i = 0; i < MAX_CHARS; i++) free(f->at_most[i]);
    table_free(&f->masks);
    text_mask_free(f->text);
    dfa_free(f->any);
    free(f->chars);
    free(f->long_token);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* The tokens that add at most n characters to a free text. NULL: no memory. */
static const uint32_t *at_most(struct free_masks *f, int n)
{
    pthread_mutex_lock(&f->lock);
    uint32_t *bits = f->at_most[n];
    if (!bits && (bits = calloc(words(f->v), sizeof *bits))) {
        for (int32_t id = 0; id < f->v->n_vocab; id++)
            bits[id / 32] |= (uint32_t)(f->chars[id] <= n) << (id % 32);
        f->at_most[n] = bits;
    }
    pthread_mutex_unlock(&f->lock);
    return bits;
}

bool constraint_of_schema(struct constraint **out, struct schema *s, struct free_masks *f, struct err *e)
{
    struct constraint *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    c->schema = s;
    c->v = f->v;
    c->free = f;
    pthread_mutex_init(&c->masks.lock, NULL);
    *out = c;
    return true;
}

void constraint_free(struct constraint *c)
{
    if (!c) return;
    table_free(&c->masks);
    schema_free(c->schema);
    free(c);
}

bool matcher_new(struct matcher **out, struct constraint *c, struct err *e)
{
    struct matcher *m = calloc(1, sizeof *m);
    if (m) m->now = malloc(2 * MAX_THREADS * sizeof *m->now);
    if (m) m->stack = malloc(STACK * sizeof *m->stack);
    if (!m || !m->now || !m->stack) {
        matcher_free(m);
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    }
    m->c = c;
    m->n = json_begin(c->schema, m->now);
    *out = m;
    return true;
}

void matcher_free(struct matcher *m)
{
    if (!m) return;
    pile_free(&m->pile);
    free(m->now);
    free(m->stack);
    free(m);
}

static bool too_many(struct err *e)
{
    return err_set(e, ERR_LIMIT,
                   "the text can be read in too many ways at once; tell the schema's alternatives apart");
}

/* ---- masks ------------------------------------------------------------------------------------------------------------------ */

/* A tree of bytes to walk: the vocabulary's, or what leaves a text. */
struct tree {
    uint32_t n;
    const uint8_t *byte, *depth;
    const uint32_t *skip;
};

/* Steps the state that stands at stack[0..n) along a tree; `reached` at every node that can be. */
static bool walk(struct matcher *m, const struct tree *t, int n, void (*reached)(void *arg, uint32_t node),
                 void *arg, struct err *e)
{
    int from[VOCAB_MAX_TOKEN + 2];
    struct pile_mark mark[VOCAB_MAX_TOKEN + 2];
    from[0] = 0;
    from[1] = n;
    mark[1] = pile_mark(&m->pile);
    bool ok = true;
    for (uint32_t i = 1; i < t->n;) {
        const int d = t->depth[i];
        pile_release(&m->pile, mark[d]);
        const int left = STACK - 2 * MAX_THREADS - from[d], room = left < MAX_THREADS ? left : MAX_THREADS;
        const int k = json_step(m->c->schema, &m->pile, m->stack + from[d - 1], from[d] - from[d - 1],
                                t->byte[i], m->stack + from[d], room);
        if (k < 0) {
            ok = too_many(e);
            break;
        }
        if (k == 0) {
            i = t->skip[i];
            continue;
        }
        reached(arg, i);
        from[d + 1] = from[d] + k;
        mark[d + 1] = pile_mark(&m->pile);
        i++;
    }
    pile_release(&m->pile, mark[1]);
    if (m->pile.failed) ok = err_set(e, ERR_NOMEM, "no memory for a constraint");
    return ok;
}

struct marking {
    const struct vocab_trie *v;
    const struct exits *x;
    int least, most;          /* characters before the quote */
    const struct thread *key; /* not NULL: names that were there may not come again */
    struct matcher
        *exactly; /* not NULL: what comes behind depends on the text: each token is stepped from `from` */
    const struct thread *from;
    uint32_t *bits;
};

/* Can the token's bytes come from this thread on? */
static bool steps(struct matcher *m, const struct thread *from, int32_t id)
{
    struct thread *now = m->stack + STACK - 2 * MAX_THREADS, *next = now + MAX_THREADS;
    const struct pile_mark mark = pile_mark(&m->pile);
    int n = 1;
    now[0] = *from;
    for (uint32_t i = 0; i < m->c->v->len[id] && n > 0; i++) {
        struct thread *t = now;
        n = json_step(m->c->schema, &m->pile, now, n, (unsigned char)m->c->v->text[id][i], next, MAX_THREADS);
        now = next;
        next = t;
    }
    pile_release(&m->pile, mark);
    return n > 0;
}

/* Was the name that the token ends, `behind` bytes before its own end, there before? */
static bool is_used(const struct marking *k, int32_t id, uint32_t behind)
{
    struct thread u = *k->key;
    for (uint32_t i = 0; i + behind + 1 < k->v->len[id]; i++)
        if (!json_text_byte(&u, (unsigned char)k->v->text[id][i])) return true;
    return json_was_used(u.up, u.hash);
}

static void mark_token(void *arg, uint32_t node)
{
    struct marking *k = arg;
    put(k->v, k->bits, k->v->token[node]);
}

static void mark_exits(void *arg, uint32_t node)
{
    struct marking *k = arg;
    for (uint32_t i = k->x->first[node]; i < k->x->first[node + 1]; i++) {
        const int32_t id = k->x->id[i];
        if (k->x->chars[i] < k->least || k->x->chars[i] > k->most) continue;
        if (k->key && is_used(k, id, k->x->depth[node])) continue;
        if (k->exactly && !steps(k->exactly, k->from, id)) continue;
        k->bits[id / 32] |= UINT32_C(1) << (id % 32);
    }
}

static bool walk_exits(struct matcher *m, struct marking *k, int n, struct err *e)
{
    const struct tree tree = { k->x->n, k->x->byte, k->x->depth, k->x->skip };
    mark_exits(k, 0);
    return walk(m, &tree, n, mark_exits, k, e);
}

/* Can the thread's mask be looked up? */
static bool is_known(const struct thread *t)
{
    if (t->escape) return false;
    if (t->place == AT_KEY) return t->up->object->all_open;
    if (t->place != AT_STRING) return false;
    const struct strings *s = t->string;
    if (!s->shortest) return true;
    if (s->any) return t->q == 0 || s->max < 0; /* tokens' characters are counted from one's beginning */
    /* Past the least, and so far from the end that only long tokens have to be looked at. */
    return t->n >= s->min && (s->max < 0 || s->max - t->n - s->farthest > LONG_TOKEN);
}

static bool look_up(struct matcher *m, const struct thread *t, uint32_t *bits, struct err *e)
{
    struct constraint *c = m->c;
    const size_t n_words = words(c->v);
    struct marking k = { .v = c->v, .most = VOCAB_MAX_TOKEN, .bits = bits };
    if (t->place == AT_KEY ? t->up->hashing : json_asks_hash(t->up)) {
        k.exactly = m;
        k.from = t;
    }
    const bool is_free = t->place == AT_STRING && t->string->any && t->q == 0;
    const struct text_mask *s = is_free ? c->free->text : mask_of(c, t);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (t->place == AT_KEY) {
        for (size_t w = 0; w < n_words; w++) bits[w] |= s->inside[w];
        for (int g = 0; g < s->n_group; g++) {
            const struct pile_mark mark = pile_mark(&m->pile);
            /* No name has this hash, so it is as if it were new. */
            const int n = json_key_ended(&m->pile, t, s->group[g].q, 0, m->stack);
            k.key = t->up->used && s->group[g].cls >= t->up->object->n_named ? t : NULL;
            k.x = &s->group[g].exits;
            if (n > 0 && !walk_exits(m, &k, n, e)) return false;
            pile_release(&m->pile, mark);
        }
        return true;
    }
    const int left = t->string->any && t->string->max >= 0 ? t->string->max - t->n : MAX_CHARS;
    if (left < MAX_CHARS) {
        const uint32_t *short_enough = at_most(c->free, left);
        if (!short_enough) return err_set(e, ERR_NOMEM, "no memory for a constraint");
        for (size_t w = 0; w < n_words; w++) bits[w] |= s->inside[w] & short_enough[w];
    } else {
        for (size_t w = 0; w < n_words; w++) bits[w] |= s->inside[w];
    }
    if (t->string->min > t->n) k.least = t->string->min - t->n;
    if (left < k.most) k.most = left;
    m->stack[0] = (struct thread){ .place = AT_AFTER, .up = t->up };
    for (int g = 0; g < s->n_group; g++) {
        k.x = &s->group[g].exits;
        if (!walk_exits(m, &k, 1, e)) return false;
    }
    if (!t->string->any && t->string->max >= 0)
        for (int i = 0; i < c->free->n_long; i++) {
            const int32_t id = c->free->long_token[i];
            if ((bits[id / 32] >> (id % 32) & 1) && !steps(m, t, id))
                bits[id / 32] &= ~(UINT32_C(1) << (id % 32));
        }
    return true;
}

bool matcher_mask(struct matcher *m, uint32_t *bits, struct err *e)
{
    const struct vocab_trie *v = m->c->v;
    struct marking k = { .v = v, .bits = bits };
    int rest = 0;
    memset(bits, 0, words(v) * sizeof *bits);
    for (int i = 0; i < m->n; i++)
        if (is_known(&m->now[i]) && !look_up(m, &m->now[i], bits, e)) return false;
    for (int i = 0; i < m->n; i++) /* the others, together */
        if (!is_known(&m->now[i])) m->stack[rest++] = m->now[i];
    const struct tree all = { v->n, v->byte, v->depth, v->skip };
    return rest == 0 || walk(m, &all, rest, mark_token, &k, e);
}

bool matcher_can_end(const struct matcher *m) { return json_can_end(m->c->schema, m->now, m->n); }

bool matcher_take_bytes(struct matcher *m, const char *s, size_t n, size_t *taken, struct err *e)
{
    struct thread *other = m->now + MAX_THREADS, *now = m->stack;
    const struct pile_mark mark = pile_mark(&m->pile);
    int k = m->n;
    memcpy(now, m->now, (size_t)k * sizeof *now);
    for (*taken = 0; *taken < n; ++*taken) {
        const int next =
            json_step(m->c->schema, &m->pile, now, k, (unsigned char)s[*taken], other, MAX_THREADS);
        if (next < 0) return too_many(e);
        if (m->pile.failed) return err_set(e, ERR_NOMEM, "no memory for a constraint");
        if (next == 0) {
            pile_release(&m->pile, mark);
            return true;
        }
        memcpy(now, other, (size_t)next * sizeof *now);
        k = next;
    }
    memcpy(m->now, now, (size_t)k * sizeof *now);
    m->n = k;
    return true;
}

bool matcher_take(struct matcher *m, int32_t id, bool *ok, struct err *e)
{
    const struct vocab_trie *v = m->c->v;
    size_t taken;
    *ok = false;
    if (id < 0 || id >= v->n_vocab || v->len[id] == 0 || v->len[id] > VOCAB_MAX_TOKEN) return true;
    if (!matcher_take_bytes(m, v->text[id], v->len[id], &taken, e)) return false;
    *ok = taken == v->len[id];
    return true;
}
