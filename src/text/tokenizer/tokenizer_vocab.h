/* tokenizer_vocab.h - the strings of a vocabulary: id to bytes, bytes to id.
 *
 * Memory   owned by the vocabulary; strings are NUL-terminated there, and may hold NULs of their own.
 * Threads  read-only after vocab_finish(). */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_VOCAB_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

enum { VOCAB_MAX = 1 << 22 }; /* ids; the largest published vocabularies have 2^18 */

enum vocab_kind {
    VOCAB_ABSENT, /* an id that no token has: empty text */
    VOCAB_NORMAL,
    VOCAB_USER,    /* added, but plain text */
    VOCAB_CONTROL, /* never the result of splitting text */
    VOCAB_BYTE,    /* one byte that no other piece spells (SentencePiece's <0x00>..<0xFF>) */
};

struct vocab_slot {
    uint32_t tag; /* high half of the hash */
    int32_t id;   /* -1: free */
};

struct vocab {
    int32_t n;           /* ids 0..n-1 */
    uint32_t max_len;    /* bytes of the longest token that vocab_find() can answer */
    uint32_t *off;       /* [n+1] into pool; a string ends one byte (its NUL) before the next */
    unsigned char *kind; /* [n] enum vocab_kind */
    char *pool;
    size_t pool_len, pool_cap;
    struct vocab_slot *slot; /* open addressing, linear probing */
    size_t mask;             /* slots - 1 */
};

/* Ids are given in ascending order by vocab_add(); gaps become VOCAB_ABSENT. `pool_hint`: bytes to expect. */
bool vocab_begin(struct vocab *v, int32_t n, size_t pool_hint, struct err *e);
bool vocab_add(struct vocab *v, int32_t id, enum vocab_kind kind, const char *s, size_t len, struct err *e);
/* Builds the way back. Of tokens with equal bytes the one with the lowest id is found. Control and byte tokens are not found. */
bool vocab_finish(struct vocab *v, struct err *e);
void vocab_free(struct vocab *v);

static inline const char *vocab_text(const struct vocab *v, int32_t id, size_t *len)
{
    *len = v->off[id + 1] - v->off[id] - 1;
    return v->pool + v->off[id];
}

/* A multiply-and-fold hash; reads nothing outside s[n]. The vocabulary comes from a file that the operator chose, and
 * lookups add nothing to it, so it needs no secret. */
static inline uint64_t vocab_hash(const char *s, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u, a;
    for (; n > 8; n -= 8, s += 8) {
        memcpy(&a, s, 8);
        h = (h ^ a) * 0x9fb21c651e98df25u;
        h ^= h >> 32;
    }
    if (n >= 4) {
        uint32_t lo, hi;
        memcpy(&lo, s, 4);
        memcpy(&hi, s + n - 4, 4);
        a = (uint64_t)hi << 32 | lo;
    } else {
        a = n ? (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[n >> 1] << 8 |
                    (unsigned char)s[n - 1]
              : 0;
    }
    h = (h ^ a) * 0x9fb21c651e98df25u;
    h ^= h >> 29;
    h *= 0xff51afd7ed558ccdu;
    return h ^ h >> 32;
}

static inline int32_t vocab_find_hashed(const struct vocab *v, const char *s, size_t n, uint64_t h)
{
    for (size_t i = h & v->mask;; i = (i + 1) & v->mask) {
        const struct vocab_slot *t = &v->slot[i];
        if (t->id < 0) return -1;
        if (t->tag != h >> 32) continue;
        size_t len;
        const char *p = vocab_text(v, t->id, &len);
        if (len == n && memcmp(p, s, n) == 0) return t->id;
    }
}

/* The id of these bytes, or -1. */
static inline int32_t vocab_find(const struct vocab *v, const char *s, size_t n)
{
    return n > v->max_len ? -1 : vocab_find_hashed(v, s, n, vocab_hash(s, n));
}

#endif
