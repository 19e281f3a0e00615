/* unigram.c - see unigram.h. */
#include "text/tokenizer/unigram.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

#define UNKNOWN_PENALTY 10.0

/* The best way to an end. */
struct node {
    double score;
    uint32_t start; /* of its last piece; NOWHERE: not reached */
    int32_t id;
};
#define NOWHERE UINT32_MAX

bool unigram_init(struct unigram *u, size_t n, struct err *e)
{
    size_t bytes;
    *u = (struct unigram){ .unk = -1 };
    if (!mem_mul(n ? n : 1, sizeof *u->piece, &bytes) || !(u->piece = malloc(bytes)))
        return err_set(e, ERR_NOMEM, "no memory for %zu pieces", n);
    return true;
}

void unigram_add(struct unigram *u, const char *text, size_t len, double score, int32_t id)
{
    if (len) u->piece[u->n++] = (struct unigram_piece){ text, len, score, id };
}

static int by_text(const void *x, const void *y)
{
    const struct unigram_piece *a = x, *b = y;
    int c = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    if (c) return c;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void unigram_finish(struct unigram *u, double worst)
{
    u->unknown_score = u->narrow ? (double)((float)worst - (float)UNKNOWN_PENALTY) : worst - UNKNOWN_PENALTY;
    if (u->n) qsort(u->piece, u->n, sizeof *u->piece, by_text);
    size_t n = 0;
    for (size_t i = 0; i < u->n; i++) {
        const struct unigram_piece *p = &u->piece[i], *last = n ? &u->piece[n - 1] : NULL;
        if (last && last->len == p->len && memcmp(last->text, p->text, p->len) == 0) continue;
        u->piece[n++] = *p;
    }
    u->n = n;
    for (size_t b = 0, i = 0; b < 257; b++) {
        while (i < n && (unsigned char)u->piece[i].text[0] < b) i++;
        u->first[b] = (uint32_t)i;
    }
}

void unigram_free(struct unigram *u)
{
    free(u->piece);
    *u = (struct unigram){ 0 };
}

void unigram_scratch_free(struct unigram_scratch *s)
{
    free(s->node);
    *s = (struct unigram_scratch){ 0 };
}

static void reach(const struct unigram *u, struct node *to, double score, size_t start, int32_t id)
{
    if (to->start != NOWHERE && !(score > to->score)) return;
    *to = (struct node){ u->narrow ? (double)(float)score : score, (uint32_t)start, id };
}

/* First of piece[lo..hi), which agree on `depth` bytes, whose next byte is at least c. */
static size_t lower(const struct unigram *u, size_t lo, size_t hi, size_t depth, unsigned c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)u->piece[mid].text[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Every piece that s[i..n) begins with, from the shortest to the longest; the length of the character there. */
static unsigned extend(const struct unigram *u, struct node *node, const char *s, size_t i, size_t n)
{
    unsigned len;
    utf8_get((const unsigned char *)s + i, &len);
    unsigned char b = (unsigned char)s[i];
    size_t lo = u->first[b], hi = u->first[b + 1];
    bool single = false;
    for (size_t depth = 1; lo < hi; depth++) {
        if (u->piece[lo].len == depth) {
            const struct unigram_piece *p = &u->piece[lo++];
            reach(u, &node[i + depth], node[i].score + p->score, i, p->id);
            single |= depth == len;
        }
        if (i + depth == n) break;
        unsigned c = (unsigned char)s[i + depth];
        lo = lower(u, lo, hi, depth, c);
        hi = lower(u, lo, hi, depth, c + 1);
    }
    if (!single) reach(u, &node[i + len], node[i].score + u->unknown_score, i, u->unk);
    return len;
}

bool unigram_encode(const struct unigram *u, struct unigram_scratch *x, const char *s, size_t n,
                    bool (*token)(void *arg, int32_t id, const char *s, size_t n, struct err *e), void *arg,
                    struct err *e)
{
    if (n == 0) return true;
    if (n >= NOWHERE) return err_set(e, ERR_LIMIT, "a text of %zu bytes without a place to cut it", n);
    if (x->cap < n + 1) {
        size_t bytes;
        free(x->node);
        x->node = mem_mul(n + 1, sizeof(struct node), &bytes) ? malloc(bytes) : NULL;
        x->cap = x->node ? n + 1 : 0;
        if (!x->node) return err_set(e, ERR_NOMEM, "no memory for a text of %zu bytes", n);
    }
    struct node *node = x->node;
    for (size_t i = 0; i <= n; i++) node[i] = (struct node){ 0, NOWHERE, -1 };
    node[0].start = 0;
    for (size_t i = 0; i < n;) i += extend(u, node, s, i, n);
    /* Backwards over the best path, turning it round in place: start becomes where the next piece ends. */
    uint32_t next = NOWHERE;
    for (size_t i = n; i > 0;) {
        uint32_t start = node[i].start;
        node[i].start = next;
        next = (uint32_t)i;
        i = start;
    }
    for (size_t from = 0, i = next; i != NOWHERE; from = i, i = node[i].start)
        if (!token(arg, node[i].id, s + from, i - from, e)) return false;
    return true;
}
