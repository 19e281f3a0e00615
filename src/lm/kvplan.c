#include "lm/kvplan.h"

#include <stdint.h>

enum { USUAL_TOKENS = 8192, USUAL_ROWS = 256 };

struct kind { /* layers that see alike */
    int window, chunk, n;
};

/* The layer as a kind; a window or a chunk that no sequence outgrows is none. */
static struct kind kind_of(const struct lm_shape *s, int il)
{
    struct kind k = { s->layer[il].window, s->layer[il].chunk, 0 };
    if (k.window >= s->n_ctx_train) k.window = 0;
    if (k.chunk >= s->n_ctx_train) k.chunk = 0;
    return k;
}

static int find_kind(struct kind *kind, int *n, const struct kind *k)
{
    int i = 0;
    while (i < *n && (kind[i].window != k->window || kind[i].chunk != k->chunk)) i++;
    if (i == *n && *n < KV_GROUPS) kind[(*n)++] = *k;
    return i < *n ? i : -1;
}

static int see(int window, int chunk)
{
    if (window && chunk) return window < chunk ? window : chunk;
    return window ? window : chunk;
}

/* Layers times pages that a usual sequence takes with groups of this size; n_group: how many there are. */
static int64_t cost(const struct kind *kind, int n_kind, int size, int usual, int *n_group)
{
    int64_t pages = 0;
    *n_group = 0;
    for (int i = 0; i < n_kind; i++) {
        const int groups = (kind[i].n + size - 1) / size, sees = see(kind[i].window, kind[i].chunk);
        int tokens = sees ? sees + USUAL_ROWS : usual;
        if (tokens > usual) tokens = usual;
        pages += (int64_t)groups * kv_pages_for(tokens);
        *n_group += groups;
    }
    return pages * size;
}

void kv_plan(struct kv_plan *p, const struct lm_shape *s)
{
    struct kind kind[KV_GROUPS];
    int n_kind = 0;
    *p = (struct kv_plan){ .n_group = 1, .layers_each = s->n_layer };
    for (int il = 0; il < s->n_layer; il++) {
        const struct kind k = kind_of(s, il);
        const int i = find_kind(kind, &n_kind, &k);
        if (i < 0) n_kind = KV_GROUPS + 1; /* too many: as if all saw everything */
        if (i < 0) break;
        kind[i].n++;
    }
    const int usual = s->n_ctx_train < USUAL_TOKENS ? s->n_ctx_train : USUAL_TOKENS;
    int64_t best = INT64_MAX;
    for (int size = s->n_layer; size > 0 && n_kind <= KV_GROUPS; size--) {
        int n;
        const int64_t c = cost(kind, n_kind, size, usual, &n);
        if (n > KV_GROUPS || c >= best) continue;
        best = c;
        p->layers_each = size;
    }
    int used[KV_GROUPS], n_group = 0; /* slots that are taken */
    for (int il = 0; il < s->n_layer; il++) {
        const struct kind k = best < INT64_MAX ? kind_of(s, il) : (struct kind){ 0 };
        int g = 0;
        while (g < n_group &&
               (p->group[g].window != k.window || p->group[g].chunk != k.chunk || used[g] == p->layers_each))
            g++;
        if (g == n_group) {
            p->group[n_group].window = k.window;
            p->group[n_group].chunk = k.chunk;
            used[n_group++] = 0;
        }
        p->group_of[il] = (short)g;
        p->slot_of[il] = (short)used[g]++;
    }
    p->n_group = n_group;
}

int kv_first_page(const struct kv_plan *p, int g, int pos)
{
    const int window = p->group[g].window, chunk = p->group[g].chunk;
    int first = chunk ? pos / chunk * chunk : 0;
    if (window && pos - window + 1 > first) first = pos - window + 1;
    return first / KV_PAGE;
}

int kv_group_pages(const struct kv_plan *p, int g, int n_tokens, int max_rows)
{
    const int all = kv_pages_for(n_tokens), sees = see(p->group[g].window, p->group[g].chunk);
    if (!sees || sees + max_rows >= n_tokens) return all;
    const int some = kv_pages_for(sees + max_rows) + 1; /* which may begin anywhere in a page */
    return some < all ? some : all;
}

int kv_sequence_pages(const struct kv_plan *p, int n_tokens, int max_rows)
{
    int n = 0;
    for (int g = 0; g < p->n_group; g++) n += kv_group_pages(p, g, n_tokens, max_rows);
    return n;
}
