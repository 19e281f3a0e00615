#include "lm/radix.h"

#include <stdlib.h>
#include <string.h>

#include "lm/prefix_store.h"

struct node {
    struct node *parent, *child, *sibling; /* child: the first one */
    struct node *newer, *older;            /* use order; a node is never older than its children */
    int32_t page[KV_GROUPS];               /* -1: none */
    int n;                                 /* tokens, 1..KV_PAGE */
    bool hashed;
    unsigned char hash[PREFIX_HASH]; /* of a whole page, when somebody asked for it */
    int32_t token[KV_PAGE];
};

struct root {        /* of one space; lives while it has a node */
    struct node top; /* no page of its own */
    struct root *next;
    unsigned char space[RADIX_SPACE];
};

enum { BUCKETS = 1024 };

struct radix {
    struct kvcache *cache;
    const struct kv_plan *plan;
    struct root *root[BUCKETS]; /* by the space's first bytes */
    struct node *newest, *oldest;
    int n_nodes;
    radix_page_fn *leave;
    void *leave_arg;
};

bool radix_new(struct radix **out, struct kvcache *c, struct err *e)
{
    struct radix *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "no memory for the prefix tree");
    r->cache = c;
    r->plan = kvcache_plan(c);
    *out = r;
    return true;
}

static void list_remove(struct radix *r, struct node *n)
{
    *(r->newest == n ? &r->newest : &n->newer->older) = n->older;
    *(r->oldest == n ? &r->oldest : &n->older->newer) = n->newer;
}

static void list_push(struct radix *r, struct node *n)
{
    n->newer = NULL;
    n->older = r->newest;
    *(r->newest ? &r->newest->newer : &r->oldest) = n;
    r->newest = n;
}

/* From the leaf up, so that parents end up newer than their children. */
static void touch(struct radix *r, struct node *n)
{
    for (; n->parent; n = n->parent) {
        list_remove(r, n);
        list_push(r, n);
    }
}

static struct root **bucket_of(struct radix *r, const unsigned char *space)
{
    unsigned h = 0;
    for (int i = 0; i < RADIX_SPACE; i++) h = h * 31 + space[i];
    return &r->root[h % BUCKETS];
}

static void forget_root(struct radix *r, struct root *t)
{
    struct root **at = bucket_of(r, t->space);
    while (*at != t) at = &(*at)->next;
    *at = t->next;
    free(t);
}

/* Of one group; the tree has none of it afterwards. true: the page is free now. */
static bool give_back(struct radix *r, struct node *n, int g)
{
    const int32_t page = n->page[g];
    if (page < 0) return false;
    const bool last = kvcache_refs(r->cache, page) == 1;
    n->page[g] = -1;
    kvcache_mark(r->cache, page, false);
    kvcache_unref(r->cache, page);
    return last;
}

static void take(struct radix *r, struct node *n, int g, int32_t page)
{
    n->page[g] = page;
    if (page < 0) return;
    kvcache_ref(r->cache, page);
    kvcache_mark(r->cache, page, true);
}

/* Of the text from its beginning to the end of the node, which is whole and so are all before it. Nodes that are whole stay as they are. */
static const unsigned char *hash_of(struct node *n)
{
    struct node *first =
        n; /* the first one, from n upwards, that has no hash; from there down to n none has */
    if (n->hashed) return n->hash;
    while (first->parent->parent && !first->parent->hashed) first = first->parent;
    for (;;) {
        unsigned char begin[PREFIX_HASH];
        const struct node *p = first->parent;
        if (!p->parent) prefix_hash_begin(begin, ((const struct root *)p)->space, RADIX_SPACE);
        prefix_hash_page(first->hash, p->parent ? p->hash : begin, first->token, first->n);
        first->hashed = true;
        if (first == n) return n->hash;
        struct node *down = n; /* the child on the way to n */
        while (down->parent != first) down = down->parent;
        first = down;
    }
}

static void tell(struct node *n, radix_page_fn *fn, void *arg)
{
    if (n->n == KV_PAGE && n->page[0] >= 0) fn(arg, hash_of(n), n->page[0]);
}

void radix_on_leave(struct radix *r, radix_page_fn *fn, void *arg)
{
    r->leave = fn;
    r->leave_arg = arg;
}

void radix_each(struct radix *r, radix_page_fn *fn, void *arg)
{
    for (struct node *n = r->newest; n; n = n->older) tell(n, fn, arg);
}

/* Returns how many pages are free by it. */
static int drop(struct radix *r, struct node *n)
{
    int n_free = 0;
    struct node *parent = n->parent, **p = &parent->child;
    while (*p != n) p = &(*p)->sibling;
    *p = n->sibling;
    list_remove(r, n);
    for (int g = 0; g < r->plan->n_group; g++) n_free += give_back(r, n, g);
    r->n_nodes--;
    free(n);
    if (!parent->parent && !parent->child)
        forget_root(r, (struct root *)parent); /* top is its first member */
    return n_free;
}

void radix_free(struct radix *r)
{
    if (!r) return;
    for (struct node *n = r->oldest, *newer; n; n = newer) { /* children come before their parents */
        newer = n->newer;
        drop(r, n);
    }
    free(r);
}

static struct root *find_root(struct radix *r, const unsigned char *space, bool create)
{
    struct root **bucket = bucket_of(r, space);
    for (struct root *t = *bucket; t; t = t->next)
        if (memcmp(t->space, space, RADIX_SPACE) == 0) return t;
    struct root *t = create ? calloc(1, sizeof *t) : NULL;
    if (!t) return NULL;
    memcpy(t->space, space, RADIX_SPACE);
    t->next = *bucket;
    *bucket = t;
    return t;
}

static int common(const struct node *n, const int32_t *tokens, int limit)
{
    int k = 0;
    if (limit > n->n) limit = n->n;
    while (k < limit && n->token[k] == tokens[k]) k++;
    return k;
}

/* The child that shares most tokens. */
static struct node *best_child(const struct node *n, const int32_t *tokens, int limit, int *shared)
{
    struct node *best = NULL;
    *shared = 0;
    for (struct node *c = n->child; c; c = c->sibling) {
        int k = common(c, tokens, limit);
        if (k > *shared) *shared = k, best = c;
    }
    return best;
}

/* Whether pages since[g] .. of each group are all that tokens from position pos on need. */
static bool enough(const struct kv_plan *p, const int *since, int pos)
{
    for (int g = 0; g < p->n_group; g++)
        if (kv_first_page(p, g, pos) < since[g]) return false;
    return true;
}

struct radix_match radix_match(struct radix *r, const unsigned char *space, const int32_t *tokens, int n,
                               int32_t *const *page)
{
    const struct kv_plan *p = r->plan;
    struct radix_match m = { .n_pages = 0 };
    struct root *root = find_root(r, space, false);
    if (!root) return m;
    int since[KV_GROUPS] = {
        0
    }; /* from here on every node down to the present one has a page of the group */
    struct node *at = &root->top, *whole = at, *end = at;
    for (int i = 0; i < n;) {
        int shared;
        struct node *c = best_child(at, tokens + i, n - i, &shared);
        if (!c) break;
        at = c;
        if (shared < KV_PAGE) {
            bool there = enough(p, since, i + shared);
            for (int g = 0; g < p->n_group; g++) there &= c->page[g] >= 0;
            if (!there) break;
            whole = c->parent;
            end = c;
            m.n_pages = i / KV_PAGE;
            m.n_partial = shared;
            break;
        }
        i += KV_PAGE;
        for (int g = 0; g < p->n_group; g++)
            if (c->page[g] < 0) since[g] = i / KV_PAGE;
        if (!enough(p, since, i)) continue;
        whole = end = c;
        m.n_pages = i / KV_PAGE;
    }
    const int pos = m.n_pages * KV_PAGE + m.n_partial;
    for (int g = 0; g < p->n_group; g++) {
        m.first[g] = kv_first_page(p, g, pos);
        if (m.n_partial) m.partial[g] = end->page[g];
        int i = m.n_pages;
        for (const struct node *c = whole; i > m.first[g]; c = c->parent) {
            page[g][--i] = c->page[g];
            kvcache_ref(r->cache, c->page[g]);
        }
    }
    touch(r, end);
    return m;
}

static struct node *add(struct radix *r, struct node *parent, const int32_t *tokens, int n)
{
    struct node *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->parent = parent;
    c->sibling = parent->child;
    parent->child = c;
    c->n = n;
    memcpy(c->token, tokens, (size_t)n * sizeof *tokens);
    for (int g = 0; g < KV_GROUPS; g++) c->page[g] = -1;
    list_push(r, c);
    r->n_nodes++;
    return c;
}

/* The same tokens, known to the tree and to a sequence: one page of each group is enough. */
static void share(struct radix *r, struct node *c, int32_t *const *page, int p)
{
    for (int g = 0; g < r->plan->n_group; g++) {
        int32_t *mine = &page[g][p];
        if (*mine < 0 || *mine == c->page[g]) continue;
        if (c->page[g] < 0) {
            take(r, c, g, *mine);
            continue;
        }
        kvcache_ref(r->cache, c->page[g]);
        kvcache_unref(r->cache, *mine);
        *mine = c->page[g];
    }
}

void radix_insert(struct radix *r, const unsigned char *space, const int32_t *tokens, int n,
                  int32_t *const *page)
{
    struct root *root = find_root(r, space, true);
    if (!root) return;
    struct node *at = &root->top;
    for (int i = 0, p = 0; i < n; i += KV_PAGE, p++) {
        const int len = n - i < KV_PAGE ? n - i : KV_PAGE;
        int shared;
        struct node *c = best_child(at, tokens + i, len, &shared);
        if (c && shared == len) { /* known: as long or longer */
            at = c;
            if (len < KV_PAGE) break;
            share(r, c, page, p);
            continue;
        }
        if (c && shared == c->n) { /* a shorter leaf that this one continues: replace its content */
            memcpy(c->token, tokens + i, (size_t)len * sizeof *tokens);
            c->n = len;
        } else {
            c = add(r, at, tokens + i, len);
            if (!c) break;
        }
        for (int g = 0; g < r->plan->n_group; g++) {
            if (c->page[g] == page[g][p]) continue;
            give_back(r, c, g);
            take(r, c, g, page[g][p]);
        }
        at = c;
    }
    touch(r, at);
    if (!root->top.child) forget_root(r, root);
}

static bool in_use(const struct radix *r, const struct node *n)
{
    for (int g = 0; g < r->plan->n_group; g++)
        if (n->page[g] >= 0 && kvcache_refs(r->cache, n->page[g]) > 1) return true;
    return false;
}

/* What sequences, or nodes below, have left behind their windows. */
static bool release_unseen(struct radix *r, struct node *n)
{
    bool any = false;
    for (int g = 0; g < r->plan->n_group; g++)
        if (n->page[g] >= 0 && kvcache_refs(r->cache, n->page[g]) == 1 &&
            (r->plan->group[g].window || r->plan->group[g].chunk))
            any |= give_back(r, n, g);
    return any;
}

bool radix_evict(struct radix *r)
{
    for (struct node *n = r->oldest, *newer; n; n = newer) {
        newer = n->newer;
        if (in_use(r, n)) {
            if (release_unseen(r, n)) return true;
            continue;
        }
        if (n->child) continue;
        if (r->leave) tell(n, r->leave, r->leave_arg);
        if (drop(r, n)) return true;
    }
    /* In a model where no layer sees everything, a sequence may use a node below without using this one. */
    for (struct node *n = r->oldest; n; n = n->newer)
        if (release_unseen(r, n)) return true;
    return false;
}

int radix_n_nodes(const struct radix *r) { return r->n_nodes; }
