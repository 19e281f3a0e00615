/* tokenizer_vocab.c - see tokenizer_vocab.h. */
#include "text/tokenizer/tokenizer_vocab.h"

#include <stdlib.h>

bool vocab_begin(struct vocab *v, int32_t n, size_t pool_hint, struct err *e)
{
    *v = (struct vocab){ 0 };
    if (n < 1 || n > VOCAB_MAX)
        return err_set(e, ERR_FORMAT, "a vocabulary of %d tokens; 1 to %d can be read", (int)n, VOCAB_MAX);
    v->off = malloc(((size_t)n + 1) * sizeof *v->off);
    v->kind = calloc((size_t)n, 1);
    v->pool_cap = pool_hint + (size_t)n + 1;
    v->pool = malloc(v->pool_cap);
    if (!v->off || !v->kind || !v->pool) {
        vocab_free(v);
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d tokens", (int)n);
    }
    return true;
}

bool vocab_add(struct vocab *v, int32_t id, enum vocab_kind kind, const char *s, size_t len, struct err *e)
{
    size_t gap = (size_t)(id - v->n); /* absent ids before it: one NUL each */
    size_t need = gap + len + 1;
    if (need < len || v->pool_len + need > UINT32_MAX / 2)
        return err_set(e, ERR_LIMIT, "the vocabulary's strings pass 2 GiB");
    if (v->pool_len + need > v->pool_cap) {
        size_t cap = v->pool_cap + v->pool_cap / 2 + need;
        char *p = realloc(v->pool, cap);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu bytes of vocabulary", cap);
        v->pool = p;
        v->pool_cap = cap;
    }
    for (; v->n < id; v->n++) {
        v->off[v->n] = (uint32_t)v->pool_len;
        v->pool[v->pool_len++] = 0;
    }
    v->off[v->n] = (uint32_t)v->pool_len;
    v->kind[v->n++] = (unsigned char)kind;
    if (len) memcpy(v->pool + v->pool_len, s, len);
    v->pool[v->pool_len + len] = 0;
    v->pool_len += len + 1;
    v->off[v->n] = (uint32_t)v->pool_len;
    return true;
}

bool vocab_finish(struct vocab *v, struct err *e)
{
    size_t slots = 16;
    while (slots < (size_t)v->n * 2) slots *= 2;
    v->slot = malloc(slots * sizeof *v->slot);
    if (!v->slot) return err_set(e, ERR_NOMEM, "no memory for the table of %d tokens", (int)v->n);
    memset(v->slot, 0xff, slots * sizeof *v->slot);
    v->mask = slots - 1;
    for (int32_t id = 0; id < v->n; id++) {
        if (v->kind[id] != VOCAB_NORMAL && v->kind[id] != VOCAB_USER) continue;
        size_t len;
        const char *s = vocab_text(v, id, &len);
        if (len == 0) continue;
        uint64_t h = vocab_hash(s, len);
        if (vocab_find_hashed(v, s, len, h) >= 0) continue;
        size_t i = h & v->mask;
        while (v->slot[i].id >= 0) i = (i + 1) & v->mask;
        v->slot[i] = (struct vocab_slot){ (uint32_t)(h >> 32), id };
        if (len > v->max_len) v->max_len = (uint32_t)len;
    }
    return true;
}

void vocab_free(struct vocab *v)
{
    free(v->off);
    free(v->kind);
    free(v->pool);
    free(v->slot);
    *v = (struct vocab){ 0 };
}
