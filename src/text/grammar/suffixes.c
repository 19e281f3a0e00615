#include "text/grammar/suffixes.h"

#include <stdlib.h>
#include <string.h>

#include "text/grammar/vocab_trie.h"

static int by_text(const void *a, const void *b)
{
    const struct leaving *x = a, *y = b;
    if (x->cls != y->cls) return x->cls < y->cls ? -1 : 1;
    const int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    if (order) return order;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

bool leave(struct leavings *l, struct leaving one)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 256;
        struct leaving *q = realloc(l->at, cap * sizeof *q);
        if (!q) return false;
        l->at = q;
        l->cap = cap;
    }
    l->at[l->n++] = one;
    return true;
}

void leavings_sort(struct leavings *l)
{
    if (l->n) qsort(l->at, l->n, sizeof *l->at, by_text);
}

void suffixes_free(struct suffixes *x)
{
    free(x->byte);
    free(x->depth);
    free(x->skip);
    free(x->first);
    free(x->id);
    free(x->chars);
    *x = (struct suffixes){ 0 };
}

bool suffixes_make(struct suffixes *x, const struct leaving *l, size_t n)
{
    size_t bytes = 2;
    for (size_t i = 0; i < n; i++) bytes += l[i].len;
    *x = (struct suffixes){ .byte = malloc(bytes),
                            .depth = malloc(bytes),
                            .skip = malloc(bytes * sizeof *x->skip),
                            .first = malloc((bytes + 1) * sizeof *x->first),
                            .id = malloc((n + 1) * sizeof *x->id),
                            .chars = malloc(n + 1) };
    if (!x->byte || !x->depth || !x->skip || !x->first || !x->id || !x->chars) {
        suffixes_free(x);
        return false;
    }
    uint32_t open[VOCAB_MAX_TOKEN + 1] = { 0 }, deep = 0, used = 0;
    x->byte[0] = x->depth[0] = 0;
    x->first[0] = 0;
    x->n = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t shared = 0;
        while (i && shared < l[i].len && shared < l[i - 1].len && l[i].text[shared] == l[i - 1].text[shared])
            shared++;
        for (; deep > shared; deep--) x->skip[open[deep]] = x->n;
        while (deep < l[i].len) {
            x->byte[x->n] = (uint8_t)l[i].text[deep];
            x->depth[x->n] = (uint8_t)++deep;
            x->first[x->n] = used;
            open[deep] = x->n++;
        }
        x->chars[used] = (uint8_t)l[i].chars;
        x->id[used++] = l[i].id;
        x->first[x->n] = used;
    }
    for (; deep > 0; deep--) x->skip[open[deep]] = x->n;
    x->skip[0] = x->n;
    x->first[x->n] = used;
    return true;
}

size_t suffixes_bytes(const struct suffixes *x)
{
    return (size_t)x->n * (2 + sizeof *x->skip + sizeof *x->first) + (size_t)(x->n ? x->first[x->n] : 0) * 5;
}
