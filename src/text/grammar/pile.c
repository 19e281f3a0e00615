#include "text/grammar/pile.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct pile_piece {
    struct pile_piece *next;
    size_t cap;
    _Alignas(16) unsigned char bytes[];
};

void pile_free(struct pile *p)
{
    for (struct pile_piece *k = p->first; k;) {
        struct pile_piece *next = k->next;
        free(k);
        k = next;
    }
    *p = (struct pile){ 0 };
}

void *pile_alloc(struct pile *p, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (!p->at || p->at->cap - p->used < bytes) {
        struct pile_piece *next = p->at ? p->at->next : p->first;
        if (!next || next->cap < bytes) {
            const size_t cap = bytes > 16384 ? bytes : 16384;
            struct pile_piece *k = malloc(sizeof *k + cap);
            if (!k) return p->failed = true, NULL;
            k->cap = cap;
            k->next = next;
            *(p->at ? &p->at->next : &p->first) = k;
            next = k;
        }
        p->below += p->used;
        p->at = next;
        p->used = 0;
    }
    void *r = p->at->bytes + p->used;
    p->used += bytes;
    return r;
}

static size_t place(const struct mover *m, const void *from)
{
    size_t at = (size_t)(((uint64_t)(uintptr_t)from * 0x9e3779b97f4a7c15u) >> 32) & (m->cap - 1);
    while (m->known[at].from && m->known[at].from != from) at = (at + 1) & (m->cap - 1);
    return at;
}

void *mover_find(const struct mover *m, const void *from)
{
    return m->cap ? m->known[place(m, from)].to : NULL;
}

static bool grow(struct mover *m)
{
    struct mover larger = { .cap = m->cap ? m->cap * 2 : 256 };
    larger.known = calloc(larger.cap, sizeof *larger.known);
    if (!larger.known) return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->known[i].from) larger.known[place(&larger, m->known[i].from)] = m->known[i];
    free(m->known);
    m->known = larger.known;
    m->cap = larger.cap;
    return true;
}

void *mover_copy(struct mover *m, const void *from, size_t bytes)
{
    void *to = pile_alloc(m->to, bytes);
    if (!to || (m->n * 2 >= m->cap && !grow(m))) {
        m->failed = true;
        return NULL;
    }
    memcpy(to, from, bytes);
    m->known[place(m, from)] = (struct moved){ from, to };
    m->n++;
    return to;
}

void mover_free(struct mover *m)
{
    free(m->known);
    *m = (struct mover){ 0 };
}
