#include "text/grammar/item_masks.h"

#include <stdlib.h>
#include <string.h>

#include "text/grammar/suffixes.h"
#include "text/grammar/text_masks.h"

enum { FEW_TOKENS = 768, MAX_VISITS = 4096 };
static const size_t max_bytes = 64 << 20; /* of a table; beyond it masks are made each time anew */
static const long max_work = 100000000;   /* steps of one mask: a second or so */

struct item_tree {
    struct item_tree *next;
    uint64_t hash[2];
    struct suffixes rest;
};

struct item_mask {
    struct item_mask *next;
    const struct item_tree *tree; /* whose tokens; NULL: the vocabulary's */
    int32_t q;
    bool passes;    /* the rule may end here at once */
    uint32_t *bits; /* NULL: they are few */
    int32_t *id;
    int n;
    const struct item_tree *leaves; /* what is left of tokens that end the rule; NULL: none do */
};

void item_masks_init(struct item_masks *t, const struct vocab_trie *v)
{
    *t = (struct item_masks){ .v = v };
    pthread_mutex_init(&t->lock, NULL);
}

static void mask_free(struct item_mask *m)
{
    if (!m) return;
    free(m->bits);
    free(m->id);
    free(m);
}

static void tree_free(struct item_tree *t)
{
    if (!t) return;
    suffixes_free(&t->rest);
    free(t);
}

void item_masks_free(struct item_masks *t)
{
    for (int i = 0; i < ITEM_BUCKETS; i++)
        for (struct item_mask *m = t->known[i]; m;) {
            struct item_mask *next = m->next;
            mask_free(m);
            m = next;
        }
    for (struct item_tree *x = t->trees; x;) {
        struct item_tree *next = x->next;
        tree_free(x);
        x = next;
    }
    pthread_mutex_destroy(&t->lock);
}

size_t item_masks_bytes(struct item_masks *t)
{
    pthread_mutex_lock(&t->lock);
    const size_t bytes = sizeof *t + t->bytes;
    pthread_mutex_unlock(&t->lock);
    return bytes;
}

bool machine_well(struct machine *m, struct err *e)
{
    if (m->pile.failed) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (m->full)
        return err_set(e, ERR_LIMIT,
                       "the text can be read in too many ways at once; tell the alternatives apart");
    return true;
}

bool tree_walk(struct machine *m, const struct byte_tree *t, const struct view *from,
               bool (*reached)(void *arg, uint32_t node, const struct view *at), void *arg, struct err *e)
{
    struct view at[VOCAB_MAX_TOKEN + 1];
    struct pile_mark mark[VOCAB_MAX_TOKEN + 2];
    at[0] = *from;
    mark[1] = pile_mark(&m->pile);
    bool ok = true;
    for (uint32_t i = 1; i < t->n && ok;) {
        const int d = t->depth[i];
        pile_release(&m->pile, mark[d]);
        if (!machine_step(m, &at[d - 1], t->byte[i], &at[d])) {
            if (m->full) break;
            i = t->skip[i];
            continue;
        }
        if (m->full) break;
        if (m->work > max_work) {
            ok = err_set(e, ERR_LIMIT,
                         "finding the tokens that may come takes too long; tell the alternatives apart");
            break;
        }
        ok = reached(arg, i, &at[d]);
        mark[d + 1] = pile_mark(&m->pile);
        i++;
    }
    pile_release(&m->pile, mark[1]);
    return ok && machine_well(m, e);
}

/* ---- making one ---------------------------------------------------------------------------------------------------------------- */

struct making {
    const struct vocab_trie *v;
    const struct item_tree *tree;
    uint32_t *bits;
    uint32_t *ended; /* nodes at which the rule may end */
    size_t n, cap;
};

static bool note(void *arg, uint32_t node, const struct view *at)
{
    struct making *k = arg;
    if (!k->tree) {
        mask_put(k->v, k->bits, k->v->token[node]);
    } else {
        const struct suffixes *x = &k->tree->rest;
        for (uint32_t i = x->first[node]; i < x->first[node + 1]; i++)
            k->bits[x->id[i] / 32] |= UINT32_C(1) << (x->id[i] % 32);
    }
    if (!at->ended) return true;
    if (k->n == k->cap) {
        const size_t cap = k->cap ? k->cap * 2 : 256;
        uint32_t *q = realloc(k->ended, cap * sizeof *q);
        if (!q) return false;
        k->ended = q;
        k->cap = cap;
    }
    k->ended[k->n++] = node;
    return true;
}

static bool leaves_with(struct making *k, struct leavings *l, int32_t id, uint32_t len)
{
    if (k->bits[id / 32] >> (id % 32) & 1) return true; /* it is possible without leaving */
    return leave(l, (struct leaving){ k->v->text[id] + k->v->len[id] - len, len, id, 0, 0, 0 });
}

/* What is left of tokens behind a node at which the rule may end, as far as it begins with what may stand behind the rule. */
static bool leavings_behind(struct making *k, const struct byte_tree *t, uint32_t node,
                            const struct rx_bytes *follow, struct leavings *l)
{
    const uint8_t depth = t->depth[node];
    for (uint32_t j = node + 1; j < t->skip[node];) {
        if (t->depth[j] == depth + 1 && !rx_bytes_has(follow, t->byte[j])) {
            j = t->skip[j];
            continue;
        }
        const uint32_t len = (uint32_t)(t->depth[j] - depth);
        if (k->tree) {
            const struct suffixes *x = &k->tree->rest;
            for (uint32_t i = x->first[j]; i < x->first[j + 1]; i++)
                if (!leaves_with(k, l, x->id[i], len)) return false;
        } else {
            for (int32_t id = k->v->token[j]; id >= 0; id = k->v->same[id])
                if (!leaves_with(k, l, id, len)) return false;
        }
        j++;
    }
    return true;
}

static struct item_tree *tree_of(struct leavings *l)
{
    struct item_tree *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    leavings_sort(l);
    size_t n = 0;
    uint64_t a = 0x9e3779b97f4a7c15u, b = 1;
    for (size_t i = 0; i < l->n; i++) { /* the same remainder of a token may come from several places */
        if (n && l->at[n - 1].id == l->at[i].id && l->at[n - 1].len == l->at[i].len) continue;
        l->at[n++] = l->at[i];
        const uint64_t one = (uint64_t)(uint32_t)l->at[i].id << 8 | l->at[i].len;
        a = (a ^ one) * 0x9fb21c651e98df25u;
        a ^= a >> 29;
        b = (b + one) * 0xd6e8feb86659fd93u;
        b ^= b >> 32;
    }
    t->hash[0] = a;
    t->hash[1] = b;
    if (suffixes_make(&t->rest, l->at, n)) return t;
    free(t);
    return NULL;
}

/* bits[] as a list, when they are few. */
static bool keep_bits(struct item_mask *mask, uint32_t *bits, size_t words)
{
    size_t n = 0;
    for (size_t w = 0; w < words; w++)
        if (bits[w])
            n += (size_t)__builtin_popcount(bits[w]); /* slow where the machine has no instruction for it */
    mask->n = (int)n;
    if (n > FEW_TOKENS) {
        mask->bits = malloc(words * sizeof *bits);
        if (mask->bits) memcpy(mask->bits, bits, words * sizeof *bits);
        return mask->bits != NULL;
    }
    mask->id = malloc((n + 1) * sizeof *mask->id);
    if (!mask->id) return false;
    n = 0;
    for (size_t w = 0; w < words; w++)
        for (uint32_t rest = bits[w]; rest; rest &= rest - 1)
            mask->id[n++] = (int32_t)(w * 32) + __builtin_ctz(rest);
    return true;
}

/* A mask, and the tree of what leaves; neither is in the table yet. */
static bool make(struct item_masks *masks, struct machine *m, const struct view *below,
                 const struct item_tree *tree, int32_t q, struct item_mask **out, struct item_tree **leaves,
                 struct err *e)
{
    const struct call bottom = { .bottom = true };
    const struct vocab_trie *v = masks->v;
    const size_t words = mask_words(v);
    struct making k = { .v = v, .tree = tree, .bits = calloc(words, sizeof *k.bits) };
    struct item_mask *mask = calloc(1, sizeof *mask);
    struct leavings l = { 0 };
    struct view from;
    const struct byte_tree t =
        tree ? (struct byte_tree){ tree->rest.n, tree->rest.byte, tree->rest.depth, tree->rest.skip }
             : (struct byte_tree){ v->n, v->byte, v->depth, v->skip };
    const struct pile_mark mark = pile_mark(&m->pile);
    bool ok = k.bits && mask, memory = ok;
    *leaves = NULL;
    if (ok) {
        mask->tree = tree;
        mask->q = q;
        machine_at(m, below, q, &bottom, &from);
        mask->passes = from.ended;
        ok = tree_walk(m, &t, &from, note, &k, e);
        memory = ok || m->full || e->code == ERR_LIMIT;
    }
    pile_release(&m->pile, mark);
    const struct rx_bytes *follow = &m->r->follow[m->r->rule_of[q]];
    for (size_t i = 0; i < k.n && ok; i++) ok = memory = leavings_behind(&k, &t, k.ended[i], follow, &l);
    if (ok) ok = memory = (l.n == 0 || (*leaves = tree_of(&l))) && keep_bits(mask, k.bits, words);
    free(l.at);
    free(k.bits);
    free(k.ended);
    if (ok) {
        *out = mask;
        return true;
    }
    mask_free(mask);
    tree_free(*leaves);
    return memory ? false : err_set(e, ERR_NOMEM, "no memory for a mask");
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------ */

struct marking {
    struct item_masks *t;
    struct machine *m;
    const struct view *below;
    uint32_t *bits;
    struct item_mask *own; /* masks and trees for which the table has no room */
    struct item_tree *own_trees;
    struct visit {
        const struct item_tree *tree;
        const struct call *call;
    } * visit; /* calls that have to read what a tree holds; those before `at` have been */
    size_t n, cap, at;
};

static struct item_mask **bucket(struct item_masks *t, const struct item_tree *tree, int32_t q)
{
    const uint64_t h =
        ((uint64_t)(uintptr_t)tree >> 4) * 0x9e3779b97f4a7c15u + (uint64_t)(uint32_t)q * 0xd6e8feb86659fd93u;
    return &t->known[(h >> 32) % ITEM_BUCKETS];
}

static struct item_mask *find(struct item_mask *m, const struct item_tree *tree, int32_t q)
{
    while (m && (m->tree != tree || m->q != q)) m = m->next;
    return m;
}

static const struct item_mask *get(struct marking *k, const struct item_tree *tree, int32_t q, struct err *e)
{
    struct item_masks *t = k->t;
    struct item_mask **at = bucket(t, tree, q), *made = NULL;
    struct item_tree *leaves = NULL;
    pthread_mutex_lock(&t->lock);
    const struct item_mask *known = find(*at, tree, q);
    pthread_mutex_unlock(&t->lock);
    if (known) return known;
    if (!make(t, k->m, k->below, tree, q, &made, &leaves, e))
        return NULL; /* meanwhile others may look, and make it, too */
    pthread_mutex_lock(&t->lock);
    known = find(*at, tree, q);
    const bool room = t->bytes < max_bytes;
    if (!known) {
        struct item_tree *same = leaves ? t->trees : NULL;
        while (same && (same->hash[0] != leaves->hash[0] || same->hash[1] != leaves->hash[1]))
            same = same->next;
        made->leaves = same ? same : leaves;
        if (!same && leaves) {
            leaves->next = room ? t->trees : k->own_trees;
            *(room ? &t->trees : &k->own_trees) = leaves;
            t->bytes += room ? sizeof *leaves + suffixes_bytes(&leaves->rest) : 0;
            leaves = NULL;
        }
        made->next = room ? *at : k->own;
        *(room ? at : &k->own) = made;
        t->bytes += room ? sizeof *made + (made->bits ? mask_words(t->v) : (size_t)made->n) * 4 : 0;
        known = made;
        made = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    mask_free(made);
    tree_free(leaves);
    return known;
}

static bool visit(struct marking *k, const struct item_tree *tree, const struct call *call, struct err *e)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->visit[i].tree == tree && k->visit[i].call == call) return true;
    if (k->n == MAX_VISITS)
        return err_set(e, ERR_LIMIT,
                       "the text can be read in too many ways at once; tell the alternatives apart");
    if (k->n == k->cap) {
        const size_t cap = k->cap ? k->cap * 2 : 64;
        struct visit *q = realloc(k->visit, cap * sizeof *q);
        if (!q) return err_set(e, ERR_NOMEM, "no memory for a mask");
        k->visit = q;
        k->cap = cap;
    }
    k->visit[k->n++] = (struct visit){ tree, call };
    return true;
}

static bool mark(struct marking *k, const struct item_tree *tree, int32_t q, const struct call *in,
                 struct err *e)
{
    const struct item_mask *m = get(k, tree, q, e);
    if (!m) return false;
    if (m->bits) {
        const size_t words = mask_words(k->t->v);
        for (size_t w = 0; w < words; w++) k->bits[w] |= m->bits[w];
    } else {
        for (int i = 0; i < m->n; i++) k->bits[m->id[i] / 32] |= UINT32_C(1) << (m->id[i] % 32);
    }
    if (m->leaves && !visit(k, m->leaves, in, e)) return false;
    return !tree || !m->passes || visit(k, tree, in, e);
}

bool item_masks_mark(struct item_masks *t, struct machine *m, const struct view *below, int32_t q,
                     const struct call *in, uint32_t *bits, struct err *e)
{
    struct marking k = { .t = t, .m = m, .below = below, .bits = bits };
    bool ok = mark(&k, NULL, q, in, e);
    while (ok && k.at < k.n) {
        const struct visit now = k.visit[k.at++];
        for (const struct back *b = now.call->back; b && ok; b = b->next)
            ok = mark(&k, now.tree, b->ret, b->up, e);
    }
    for (struct item_mask *own = k.own; own;) {
        struct item_mask *next = own->next;
        mask_free(own);
        own = next;
    }
    for (struct item_tree *own = k.own_trees; own;) {
        struct item_tree *next = own->next;
        tree_free(own);
        own = next;
    }
    free(k.visit);
    return ok;
}
