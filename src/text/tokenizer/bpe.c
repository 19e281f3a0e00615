/* bpe.c - see bpe.h. */
#include "text/tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#define NO_RANK UINT32_MAX
/* Up to here the quadratic scan wins: a heap costs about 60 ns a symbol, the scan 1 ns a symbol and merge. */
#define SHORT 40

bool bpe_init(struct bpe *b, size_t n_pairs, struct err *e)
{
    size_t slots = 16;
    while (slots / 3 * 2 < n_pairs + 1) slots *= 2;
    *b = (struct bpe){ .slot = malloc(slots * sizeof *b->slot), .mask = slots - 1 };
    if (!b->slot) return err_set(e, ERR_NOMEM, "no memory for %zu merges", n_pairs);
    memset(b->slot, 0xff, slots * sizeof *b->slot);
    return true;
}

void bpe_free(struct bpe *b)
{
    free(b->slot);
    *b = (struct bpe){ 0 };
}

static size_t pair_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (size_t)(h ^ h >> 32);
}

void bpe_add(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    if (b->n >= b->mask) return;
    size_t i = pair_hash(left, right) & b->mask;
    for (; b->slot[i].left >= 0; i = (i + 1) & b->mask)
        if (b->slot[i].left == left && b->slot[i].right == right) return;
    b->slot[i] = (struct bpe_pair){ left, right, rank, id };
    b->n++;
}

static const struct bpe_pair *find(const struct bpe *b, int32_t left, int32_t right)
{
    for (size_t i = pair_hash(left, right) & b->mask;; i = (i + 1) & b->mask) {
        const struct bpe_pair *p = &b->slot[i];
        if (p->left == left && p->right == right) return left < 0 || right < 0 ? NULL : p;
        if (p->left < 0) return NULL;
    }
}

static uint32_t rank_of(const struct bpe *b, int32_t left, int32_t right)
{
    const struct bpe_pair *p = find(b, left, right);
    return p ? p->rank : NO_RANK;
}

static void merge_short(const struct bpe *b, int32_t *sym, size_t *len)
{
    size_t n = *len;
    uint32_t rank[SHORT];
    int32_t join[SHORT];
    for (size_t i = 0; i + 1 < n; i++) {
        const struct bpe_pair *p = find(b, sym[i], sym[i + 1]);
        rank[i] = p ? p->rank : NO_RANK;
        join[i] = p ? p->id : -1;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NO_RANK) break;
        sym[best] = join[best];
        n--;
        memmove(sym + best + 1, sym + best + 2, (n - best - 1) * sizeof *sym);
        memmove(rank + best, rank + best + 1, (n - best - 1) * sizeof *rank);
        memmove(join + best, join + best + 1, (n - best - 1) * sizeof *join);
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const struct bpe_pair *p = find(b, sym[i], sym[i + 1]);
            rank[i] = p ? p->rank : NO_RANK;
            join[i] = p ? p->id : -1;
        }
    }
    *len = n;
}

/* A binary heap of rank << 32 | position: the lowest rank first, the leftmost among equals. */
static void sift_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t x = h[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && h[c + 1] < h[c]) c++;
        if (h[c] >= x) break;
        h[i] = h[c];
    }
    h[i] = x;
}

static bool heap_push(struct bpe_scratch *s, uint64_t x)
{
    if (s->heap_n == s->heap_cap) {
        size_t cap = s->heap_cap + s->heap_cap / 2 + 64;
        uint64_t *h = realloc(s->heap, cap * sizeof *h);
        if (!h) return false;
        s->heap = h;
        s->heap_cap = cap;
    }
    size_t i = s->heap_n++;
    for (size_t up; i && s->heap[up = (i - 1) / 2] > x; i = up) s->heap[i] = s->heap[up];
    s->heap[i] = x;
    return true;
}

static uint64_t heap_pop(struct bpe_scratch *s)
{
    uint64_t top = s->heap[0];
    s->heap[0] = s->heap[--s->heap_n];
    if (s->heap_n) sift_down(s->heap, s->heap_n, 0);
    return top;
}

/* Long words are megabytes: looked at every few thousand steps, well under a millisecond. */
static bool cancelled(const struct bpe_scratch *s, size_t step, struct err *e)
{
    if (step % 4096 || !s->cancel || !atomic_load_explicit(s->cancel, memory_order_relaxed)) return false;
    err_set(e, ERR_CANCELLED, "tokenising was cancelled");
    return true;
}

/* A symbol in the list. Position is its place in the input; a dead one (joined to its left) has rank NO_RANK for good. */
struct link {
    int32_t sym, prev, next;
    uint32_t rank; /* of joining with the next one */
};

static bool merge_long(const struct bpe *b, struct bpe_scratch *s, int32_t *sym, size_t *len, struct err *e)
{
    size_t n = *len;
    if (s->cap < n * sizeof(struct link)) {
        free(s->mem);
        s->mem = malloc(n * sizeof(struct link));
        s->cap = s->mem ? n * sizeof(struct link) : 0;
    }
    if (s->heap_cap < n) {
        free(s->heap);
        s->heap = malloc(n * sizeof *s->heap);
        s->heap_cap = s->heap ? n : 0;
    }
    if (!s->mem || !s->heap) return err_set(e, ERR_NOMEM, "no memory to merge %zu symbols", n);

    struct link *l = s->mem;
    s->heap_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (cancelled(s, i, e)) return false;
        l[i] = (struct link){ sym[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1, NO_RANK };
        if (i + 1 < n) l[i].rank = rank_of(b, sym[i], sym[i + 1]);
        if (l[i].rank != NO_RANK) s->heap[s->heap_n++] = (uint64_t)l[i].rank << 32 | i;
    }
    for (size_t i = s->heap_n / 2; i-- > 0;) sift_down(s->heap, s->heap_n, i);

    for (size_t step = 1; s->heap_n; step++) {
        if (cancelled(s, step, e)) return false;
        uint64_t top = heap_pop(s);
        int32_t i = (int32_t)(top & UINT32_MAX);
        if (l[i].rank != top >> 32 || l[i].rank == NO_RANK)
            continue; /* the pair changed since it was pushed */
        int32_t j = l[i].next;
        const struct bpe_pair *p = find(b, l[i].sym, l[j].sym);
        if (!p) continue;
        l[i].sym = p->id;
        l[i].next = l[j].next;
        if (l[j].next >= 0) l[l[j].next].prev = i;
        l[j].rank = NO_RANK;
        l[i].rank = l[i].next >= 0 ? rank_of(b, l[i].sym, l[l[i].next].sym) : NO_RANK;
        if (l[i].rank != NO_RANK && !heap_push(s, (uint64_t)l[i].rank << 32 | (uint32_t)i)) goto nomem;
        int32_t k = l[i].prev;
        if (k < 0) continue;
        l[k].rank = rank_of(b, l[k].sym, l[i].sym);
        if (l[k].rank != NO_RANK && !heap_push(s, (uint64_t)l[k].rank << 32 | (uint32_t)k)) goto nomem;
    }
    size_t out = 0;
    for (int32_t i = 0; i >= 0; i = l[i].next) sym[out++] = l[i].sym;
    *len = out;
    return true;
nomem:
    return err_set(e, ERR_NOMEM, "no memory to merge %zu symbols", n);
}

bool bpe_merge(const struct bpe *b, struct bpe_scratch *s, int32_t *sym, size_t *n, struct err *e)
{
    if (*n < 2) return true;
    if (*n > BPE_MAX_SYMBOLS) return err_set(e, ERR_LIMIT, "a word of %zu symbols cannot be merged", *n);
    if (*n <= SHORT) {
        merge_short(b, sym, n);
        return true;
    }
    return merge_long(b, s, sym, n, e);
}

void bpe_scratch_free(struct bpe_scratch *s)
{
    free(s->mem);
    free(s->heap);
    *s = (struct bpe_scratch){ .cancel = s->cancel };
}
