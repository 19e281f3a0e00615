/* shares.c - see shares.h. */
#include "base/shares.h"

#include <stdlib.h>

struct share *shares_hold(struct shares *s, const struct share_claim *c)
{
    struct share *h = s->first;
    while (h && h->id != c->id) h = h->next;
    if (!h) {
        h = calloc(1, s->size);
        if (!h) return NULL;
        h->id = c->id;
        h->next = s->first;
        s->first = h;
    }
    const int weight = c->weight > 0 ? c->weight : 1;
    h->weight = weight;
    h->priority = c->priority;
    h->holders++;
    return h;
}

void shares_let_go(struct shares *s, struct share *h)
{
    if (--h->holders > 0) return;
    struct share **at = &s->first;
    while (*at != h) at = &(*at)->next;
    *at = h->next;
    free(h);
}

void shares_ask(struct shares *s, struct share *h, int n)
{
    if (!h->asking && n > 0) {
        const struct share *least = NULL;
        for (const struct share *o = s->first; o; o = o->next)
            if (o->asking && (!least || o->served < least->served)) least = o;
        if (least && h->served < least->served) h->served = least->served;
    }
    h->asking += n;
}

void shares_served(struct share *h, double work) { h->served += work / h->weight; }

bool shares_before(const struct share *a, const struct share *b)
{
    if (a->priority != b->priority) return a->priority > b->priority;
    return a->served < b->served;
}

bool shares_entitled(const struct share *a, int n_a, const struct share *b, int n_b, double slice)
{
    if (a == b || n_b < 1 || a->priority < b->priority) return false;
    if (a->priority > b->priority) return true;
    if (a->served > b->served + slice) return false; /* or b would have the place back at once */
    const int64_t more = (int64_t)(n_a + 1) * b->weight, has = (int64_t)n_b * a->weight;
    return more < has || (more <= has + (int64_t)a->weight * b->weight && a->served + slice < b->served);
}
