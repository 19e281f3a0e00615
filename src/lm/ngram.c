#include "lm/ngram.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Two tokens are the least that says anything. Of the places where the last two stood before, the latest MAX_PLACES are looked at, and at each no more
 * than MAX_MATCH tokens: longer ones do not guess better. */
enum { MAX_PLACES = 32, MAX_MATCH = 32 };

struct ngram {
    int32_t *id; /* [cap] the text */
    int32_t *
        before; /* [cap] of the pair that ends at i, where it or another of its bucket ended last before; -1: nowhere */
    int32_t *bucket;         /* [n_bucket] where a pair ended last; -1: nowhere */
    size_t n, cap, n_bucket; /* n_bucket is a power of two */
};

struct ngram *ngram_new(void) { return calloc(1, sizeof(struct ngram)); }

void ngram_free(struct ngram *g)
{
    if (!g) return;
    free(g->id);
    free(g->before);
    free(g->bucket);
    free(g);
}

static int32_t *bucket_of(const struct ngram *g, int32_t a, int32_t b)
{
    const uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * UINT64_C(0x9e3779b97f4a7c15);
    return &g->bucket[(h >> 32) & (g->n_bucket - 1)];
}

/* The pair that ends at i. */
static void chain(struct ngram *g, size_t i)
{
    g->before[i] = -1;
    if (i == 0 || g->id[i] < 0 || g->id[i - 1] < 0) return;
    int32_t *b = bucket_of(g, g->id[i - 1], g->id[i]);
    g->before[i] = *b;
    *b = (int32_t)i;
}

static bool grow(struct ngram *g)
{
    const size_t cap = g->cap ? 2 * g->cap : 256;
    if (cap > INT32_MAX / 2) return false;
    int32_t *id = realloc(g->id, cap * sizeof *id);
    if (id) g->id = id;
    int32_t *before = realloc(g->before, cap * sizeof *before);
    if (before) g->before = before;
    int32_t *bucket = malloc(cap * sizeof *bucket);
    if (!id || !before || !bucket) {
        free(bucket);
        return false;
    }
    free(g->bucket);
    g->bucket = bucket;
    g->cap = g->n_bucket = cap;
    memset(bucket, 0xff, cap * sizeof *bucket);
    for (size_t i = 0; i < g->n; i++) chain(g, i);
    return true;
}

bool ngram_push(struct ngram *g, int32_t id)
{
    if (g->n == g->cap && !grow(g)) return false;
    g->id[g->n] = id;
    chain(g, g->n++);
    return true;
}

/* Tokens up to `at` that are those up to the end. */
static int matching(const struct ngram *g, size_t at)
{
    int n = 0;
    while (n < MAX_MATCH && (size_t)n <= at && g->id[at - (size_t)n] >= 0 &&
           g->id[at - (size_t)n] == g->id[g->n - 1 - (size_t)n])
        n++;
    return n;
}

int ngram_guess(const struct ngram *g, int32_t *guess, int n_max, int *match)
{
    int best = 1, n = 0;
    size_t at = 0;
    *match = 0;
    if (g->n < 3 || g->id[g->n - 1] < 0 || g->id[g->n - 2] < 0) return 0;
    int32_t i = g->before[g->n - 1];
    for (int k = 0; i >= 0 && k < MAX_PLACES && best < MAX_MATCH; k++, i = g->before[i]) {
        const int m = matching(g, (size_t)i);
        if (m <= best) continue; /* of equal ones the latest */
        best = m;
        at = (size_t)i + 1;
    }
    if (best < 2) return 0;
    for (; n < n_max;
         n++, at++) { /* behind the end stands what was guessed: a text that repeats goes on so */
        const int32_t id = at < g->n ? g->id[at] : guess[at - g->n];
        if (id < 0) break;
        guess[n] = id;
    }
    *match = best;
    return n;
}
