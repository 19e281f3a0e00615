#include "lm/radix.h"

#include <stdlib.h>
#include <string.h>

struct node {
    struct node *parent, *child, *sibling; /* child: the first one */
    struct node *newer, *older;            /* use order; a node is never older than its children */
    int32_t page;
    int n; /* tokens, 1..KV_PAGE */
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
    struct root *root[BUCKETS]; /* by the space's first bytes */
    struct node *newest, *oldest;
    int n_nodes;
};

bool radix_new(struct radix **out, struct kvcache *c, struct err *e)
{
    struct radix *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "no memory for the prefix tree");
    r->cache = c;
    *out = r;
    return true;
}

static void list_remove(struct radix *r, struct node *n)
{
    *(n->newer ? &n->newer->older : &r->newest) = n->older;
    *(n->older ? &n->older->newer : &r->oldest) = n->newer;
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

static void drop(struct radix *r, struct node *n)
{
    struct node *parent = n->parent, **p = &parent->child;
    while (*p != n) p = &(*p)->sibling;
    *p = n->sibling;
    list_remove(r, n);
    kvcache_mark(r->cache, n->page, false);
    kvcache_unref(r->cache, n->page);
    r->n_nodes--;
    free(n);
    if (!parent->parent && !parent->child)
        forget_root(r, (struct root *)parent); /* top is its first member */
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

struct radix_match radix_match(struct radix *r, const unsigned char *space, const int32_t *tokens, int n,
                               int32_t *page)
{
    struct radix_match m = { .partial = -1 };
    struct root *root = find_root(r, space, false);
    if (!root) return m;
    struct node *at = &root->top;
    for (int i = 0; i < n;) {
        int shared;
        struct node *c = best_child(at, tokens + i, n - i, &shared);
        if (!c) break;
        at = c;
        if (shared < KV_PAGE) {
            m.partial = c->page;
            m.n_partial = shared;
            break;
        }
        kvcache_ref(r->cache, c->page);
        page[m.n_pages++] = c->page;
        i += KV_PAGE;
    }
    touch(r, at);
    return m;
}

static struct node *add(struct radix *r, struct node *parent, const int32_t *tokens, int n, int32_t page)
{
    struct node *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->parent = parent;
    c->sibling = parent->child;
    parent->child = c;
    c->page = page;
    c->n = n;
    memcpy(c->token, tokens, (size_t)n * sizeof *tokens);
    list_push(r, c);
    kvcache_ref(r->cache, page);
    kvcache_mark(r->cache, page, true);
    r->n_nodes++;
    return c;
}

void radix_insert(struct radix *r, const unsigned char *space, const int32_t *tokens, int n, int32_t *page)
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
            if (c->page != page[p]) {
                kvcache_ref(r->cache, c->page);
                kvcache_unref(r->cache, page[p]);
                page[p] = c->page;
            }
            continue;
        }
        if (c && shared == c->n) { /* a shorter leaf that this one continues: replace its content */
            memcpy(c->token, tokens + i, (size_t)len * sizeof *tokens);
            c->n = len;
            if (c->page != page[p]) {
                kvcache_mark(r->cache, c->page, false);
                kvcache_unref(r->cache, c->page);
                c->page = page[p];
                kvcache_ref(r->cache, c->page);
                kvcache_mark(r->cache, c->page, true);
            }
            at = c;
            continue;
        }
        c = add(r, at, tokens + i, len, page[p]);
        if (!c) break;
        at = c;
    }
    touch(r, at);
    if (!root->top.child) forget_root(r, root);
}

bool radix_evict(struct radix *r)
{
    for (struct node *n = r->oldest; n; n = n->newer) {
        if (n->child || kvcache_refs(r->cache, n->page) > 1) continue;
        drop(r, n);
        return true;
    }
    return false;
}

int radix_n_nodes(const struct radix *r) { return r->n_nodes; }
