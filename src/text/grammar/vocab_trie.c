#include "text/grammar/vocab_trie.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    const char *text;
    uint32_t len;
    int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    if (order) return order;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

bool vocab_trie_new(struct vocab_trie **out, const char *const *text, const uint32_t *len, int32_t n_vocab,
                    struct err *e)
{
    struct vocab_trie *t = calloc(1, sizeof *t);
    struct entry *v = malloc(((size_t)n_vocab + 1) * sizeof *v);
    size_t n = 0, bytes = 1;
    if (!t || !v) goto no_memory;
    for (int32_t i = 0; i < n_vocab; i++) {
        if (len[i] == 0 || len[i] > VOCAB_MAX_TOKEN) continue;
        v[n++] = (struct entry){ text[i], len[i], i };
        bytes += len[i];
    }
    qsort(v, n, sizeof *v, by_bytes);
    t->n_vocab = n_vocab;
    t->text = text;
    t->len = len;
    t->byte = malloc(bytes);
    t->depth = malloc(bytes);
    t->skip = malloc(bytes * sizeof *t->skip);
    t->token = malloc(bytes * sizeof *t->token);
    t->same = malloc(((size_t)n_vocab + 1) * sizeof *t->same);
    if (!t->byte || !t->depth || !t->skip || !t->token || !t->same) goto no_memory;
    uint32_t open[VOCAB_MAX_TOKEN + 1] = { 0 }; /* the nodes of the latest token */
    uint32_t deep = 0;
    t->byte[0] = t->depth[0] = 0;
    t->token[0] = -1;
    t->n = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t shared = 0;
        while (i && shared < v[i].len && shared < v[i - 1].len && v[i].text[shared] == v[i - 1].text[shared])
            shared++;
        for (; deep > shared; deep--) t->skip[open[deep]] = t->n;
        t->same[v[i].id] = -1;
        if (i && shared == v[i].len && shared == v[i - 1].len) { /* the same bytes again */
            t->same[v[i - 1].id] = v[i].id;
            continue;
        }
        while (deep < v[i].len) {
            t->byte[t->n] = (uint8_t)v[i].text[deep];
            t->depth[t->n] = (uint8_t)++deep;
            t->token[t->n] = -1;
            open[deep] = t->n++;
        }
        t->token[t->n - 1] = v[i].id;
    }
    for (; deep > 0; deep--) t->skip[open[deep]] = t->n;
    t->skip[0] = t->n;
    free(v);
    *out = t;
    return true;
no_memory:
    free(v);
    vocab_trie_free(t);
    return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d tokens", n_vocab);
}

void vocab_trie_free(struct vocab_trie *t)
{
    if (!t) return;
    free(t->byte);
    free(t->depth);
    free(t->skip);
    free(t->token);
    free(t->same);
    free(t);
}
