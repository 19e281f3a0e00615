#include "text/grammar/dfa.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

enum { NOT_MADE = -2 };

struct build {
    struct rx_pool *p;
    struct dfa *d;
    int width; /* expressions a state is made of: the base and those it watches */
    rx *part;  /* [n, width] */
    int cap, max;
    int32_t *bucket; /* -1: free */
    int n_bucket;    /* a power of two */
};

static uint32_t hash_of(const rx *part, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (uint32_t)part[i]) * 16777619u, h ^= h >> 15;
    return h;
}

static bool room(struct build *b, struct err *e)
{
    struct dfa *d = b->d;
    if (d->n < b->cap) return true;
    if (d->n >= b->max) return err_set(e, ERR_LIMIT, "needs an automaton of more than %d states", b->max);
    int cap = b->cap ? b->cap * 2 : 16;
    if (cap > b->max) cap = b->max;
    const size_t more = (size_t)(cap - b->cap);
    const size_t bytes = more * ((size_t)(d->n_class + b->width) * 4 + 17);
    if (!budget_bytes(rx_budget(b->p), bytes) || !budget_take(rx_budget(b->p), (long)(bytes / 64)))
        return budget_ok(rx_budget(b->p), e);
    int32_t *next = realloc(d->next, (size_t)cap * (size_t)d->n_class * sizeof *next);
    if (next) d->next = next;
    uint8_t *accepts = realloc(d->accepts, (size_t)cap);
    if (accepts) d->accepts = accepts;
    uint64_t *label = b->width > 1 ? realloc(d->label, (size_t)cap * sizeof *label) : NULL;
    if (label) d->label = label;
    rx *part = realloc(b->part, (size_t)cap * (size_t)b->width * sizeof *part);
    if (part) b->part = part;
    if (!next || !accepts || !part || (b->width > 1 && !label))
        return err_set(e, ERR_NOMEM, "no memory for an automaton");
    b->cap = cap;
    while (b->n_bucket < cap * 2) {
        int32_t *bucket = malloc((size_t)b->n_bucket * 2 * sizeof *bucket);
        if (!bucket) return err_set(e, ERR_NOMEM, "no memory for an automaton");
        free(b->bucket);
        b->bucket = bucket;
        b->n_bucket *= 2;
        for (int i = 0; i < b->n_bucket; i++) bucket[i] = -1;
        for (int s = 0; s < d->n; s++) {
            uint32_t at = hash_of(b->part + (size_t)s * (size_t)b->width, b->width);
            while (bucket[at & (uint32_t)(b->n_bucket - 1)] >= 0) at++;
            bucket[at & (uint32_t)(b->n_bucket - 1)] = s;
        }
    }
    return true;
}

/* The state of these expressions; -1 on error. */
static int32_t state_of(struct build *b, const rx *part, struct err *e)
{
    const size_t bytes = (size_t)b->width * sizeof *part;
    uint32_t at = hash_of(part, b->width);
    for (;; at++) {
        const int32_t s = b->bucket[at & (uint32_t)(b->n_bucket - 1)];
        if (s < 0) break;
        if (!memcmp(b->part + (size_t)s * (size_t)b->width, part, bytes)) return s;
    }
    struct dfa *d = b->d;
    const int n_bucket = b->n_bucket;
    if (!room(b, e)) return -1;
    if (n_bucket != b->n_bucket) {
        at = hash_of(part, b->width);
        while (b->bucket[at & (uint32_t)(b->n_bucket - 1)] >= 0) at++;
    }
    b->bucket[at & (uint32_t)(b->n_bucket - 1)] = d->n;
    memcpy(b->part + (size_t)d->n * (size_t)b->width, part, bytes);
    d->accepts[d->n] = rx_has_empty(b->p, part[0]);
    if (d->label) {
        d->label[d->n] = 0;
        for (int i = 1; i < b->width; i++)
            if (rx_has_empty(b->p, part[i])) d->label[d->n] |= UINT64_C(1) << (i - 1);
    }
    return d->n++;
}

bool dfa_prune(struct dfa *d, struct err *e)
{
    const size_t n = (size_t)d->n, c = (size_t)d->n_class;
    uint8_t *live = calloc(n ? n : 1, 1);
    int32_t *name = malloc((n ? n : 1) * sizeof *name);
    int32_t *first = malloc((n + 1) * sizeof *first), *from = malloc((n * c + 1) * sizeof *from);
    int32_t *pending = malloc((n ? n : 1) * sizeof *pending);
    bool ok = live && name && first && from && pending;
    if (ok) { /* edges backwards: from[first[s] ..] lead to s */
        memset(first, 0, (n + 1) * sizeof *first);
        for (size_t i = 0; i < n * c; i++)
            if (d->next[i] >= 0) first[d->next[i] + 1]++;
        for (size_t s = 0; s < n; s++) first[s + 1] += first[s];
        int32_t *fill = name; /* not needed yet */
        for (size_t s = 0; s < n; s++) fill[s] = first[s];
        for (size_t i = 0; i < n * c; i++)
            if (d->next[i] >= 0) from[fill[d->next[i]]++] = (int32_t)(i / c);
        size_t n_pending = 0;
        for (size_t s = 0; s < n; s++)
            if (d->accepts[s]) live[s] = 1, pending[n_pending++] = (int32_t)s;
        while (n_pending) {
            const int32_t s = pending[--n_pending];
            for (int32_t i = first[s]; i < first[s + 1]; i++)
                if (!live[from[i]]) live[from[i]] = 1, pending[n_pending++] = from[i];
        }
        int32_t kept = 0;
        for (size_t s = 0; s < n; s++) name[s] = live[s] ? kept++ : -1;
        if (n == 0 || !live[0]) kept = 0;
        for (size_t s = 0; kept && s < n; s++) {
            if (!live[s]) continue;
            const size_t to = (size_t)name[s];
            for (size_t k = 0; k < c; k++) {
                const int32_t t = d->next[s * c + k];
                d->next[to * c + k] = t < 0 ? -1 : name[t];
            }
            d->accepts[to] = d->accepts[s];
            if (d->label) d->label[to] = d->label[s];
            if (d->other) d->other[to] = d->other[s];
        }
        d->n = kept;
    } else {
        err_set(e, ERR_NOMEM, "no memory for an automaton");
    }
    free(live);
    free(name);
    free(first);
    free(from);
    free(pending);
    return ok;
}

static void hash_table(struct dfa *d)
{
    uint64_t a = 0x9e3779b97f4a7c15u, b = 0xc2b2ae3d27d4eb4fu;
#define PUT(v)                                                                                               \
    (a = (a ^ (uint64_t)(v)) * 0xff51afd7ed558ccdu, a ^= a >> 29,                                            \
     b = (b + (uint64_t)(v)) * 0xc4ceb9fe1a85ec53u, b ^= b >> 31)
    PUT(d->n);
    for (int i = 0; i < 256; i++) PUT(d->class_of[i]);
    for (int i = 0; i < d->n * d->n_class; i++) PUT(d->next[i]);
    for (int i = 0; i < d->n; i++) PUT(d->accepts[i]);
#undef PUT
    d->hash[0] = a;
    d->hash[1] = b;
}

/* Gives back what its making had in reserve. */
static void shrink(struct dfa *d)
{
    const size_t n = d->n > 0 ? (size_t)d->n : 1;
    int32_t *next = realloc(d->next, n * (size_t)d->n_class * sizeof *next);
    if (next) d->next = next;
    uint8_t *accepts = realloc(d->accepts, n);
    if (accepts) d->accepts = accepts;
    uint64_t *label = d->label ? realloc(d->label, n * sizeof *label) : NULL;
    if (label) d->label = label;
}

bool dfa_new(struct dfa **out, struct rx_pool *p, rx base, const rx *watched, int n_watched, int max_states,
             struct err *e)
{
    struct dfa *d = calloc(1, sizeof *d);
    struct build b = { .p = p, .d = d, .width = 1 + n_watched, .max = max_states, .n_bucket = 128 };
    rx part[65];
    int byte_of[256], n_class = 1;
    bool ok = false;
    b.bucket = malloc((size_t)b.n_bucket * sizeof *b.bucket);
    if (!d || !b.bucket) {
        err_set(e, ERR_NOMEM, "no memory for an automaton");
        goto done;
    }
    for (int i = 0; i < b.n_bucket; i++) b.bucket[i] = -1;
    part[0] = base;
    for (int i = 0; i < n_watched; i++) part[i + 1] = watched[i];
    for (int i = 0; i < b.width; i++) rx_classes(p, part[i], d->class_of, &n_class);
    d->n_class = n_class;
    for (int i = 255; i >= 0; i--) byte_of[d->class_of[i]] = i;
    if (!rx_ok(p, e) || !room(&b, e) || state_of(&b, part, e) < 0) goto done;
    for (int s = 0; s < d->n; s++) {
        for (int c = 0; c < n_class; c++) {
            int32_t to = -1;
            part[0] = rx_after(p, b.part[(size_t)s * (size_t)b.width], (unsigned)byte_of[c]);
            if (part[0] != RX_NONE) {
                for (int i = 1; i < b.width; i++)
                    part[i] =
                        rx_after(p, b.part[(size_t)s * (size_t)b.width + (size_t)i], (unsigned)byte_of[c]);
                if (!rx_ok(p, e)) goto done;
                to = state_of(&b, part, e);
                if (to < 0) goto done;
            }
            d->next[s * n_class + c] = to;
        }
        if (!rx_ok(p, e)) goto done;
    }
    /* Dead states are found and the table is hashed: three more looks at each cell. */
    if (!budget_take(rx_budget(p), (long)d->n * n_class)) {
        budget_ok(rx_budget(p), e);
        goto done;
    }
    ok = dfa_prune(d, e);
    if (ok) hash_table(d), shrink(d);
done:
    free(b.bucket);
    free(b.part);
    if (ok)
        *out = d;
    else
        dfa_free(d);
    return ok;
}

void dfa_free(struct dfa *d)
{
    if (!d) return;
    free(d->next);
    free(d->accepts);
    free(d->label);
    free(d->other);
    free(d);
}

bool dfa_of_texts(struct dfa **out, const char *const *text, int n, const struct dfa *other, int max_states,
                  int *first_other, struct budget *b, struct err *e)
{
    struct dfa *d = calloc(1, sizeof *d);
    const int n_other = other ? other->n : 0;
    bool used[256] = { false };
    size_t bytes = 1;
    int n_class = other ? other->n_class : 1, rep[256];
    for (int i = 0; i < n; i++) {
        bytes += strlen(text[i]);
        for (const char *s = text[i]; *s; s++) used[(unsigned char)*s] = true;
    }
    if (!d) return err_set(e, ERR_NOMEM, "no memory for an automaton");
    if (bytes + (size_t)n_other > (size_t)max_states) {
        free(d);
        return err_set(e, ERR_LIMIT, "needs an automaton of more than %d states", max_states);
    }
    if (other) memcpy(d->class_of, other->class_of, sizeof d->class_of);
    int members[256] = { 0 };
    for (int x = 0; x < 256; x++) members[d->class_of[x]]++;
    for (int x = 0; x < 256; x++) /* each byte of a text is a class of its own */
        if (used[x] && members[d->class_of[x]] > 1)
            members[d->class_of[x]]--, d->class_of[x] = (uint8_t)n_class++;
    for (int x = 255; x >= 0; x--) rep[d->class_of[x]] = x;
    const size_t cap = bytes + (size_t)n_other, c = (size_t)n_class;
    d->n_class = n_class;
    if (!budget_bytes(b, cap * (c * 4 + 13)) || !budget_take(b, (long)(cap * c))) {
        dfa_free(d);
        return budget_ok(b, e);
    }
    d->next = malloc(cap * c * sizeof *d->next);
    d->accepts = calloc(cap, 1);
    d->label = calloc(cap, sizeof *d->label);
    d->other = malloc(cap * sizeof *d->other);
    if (!d->next || !d->accepts || !d->label || !d->other) {
        dfa_free(d);
        return err_set(e, ERR_NOMEM, "no memory for an automaton");
    }
    int n_text = 1; /* states of beginnings; `other`'s follow */
    for (size_t i = 0; i < cap * c; i++) d->next[i] = -1;
    d->other[0] = n_other ? 0 : -1;
    for (int i = 0; i < n; i++) {
        int32_t s = 0;
        for (const unsigned char *t = (const unsigned char *)text[i]; *t; t++) {
            int32_t *to = &d->next[(size_t)s * c + d->class_of[*t]];
            if (*to < 0) {
                *to = n_text;
                d->other[n_text] = d->other[s] < 0 ? -1 : dfa_next(other, d->other[s], *t);
                n_text++;
            }
            s = *to;
        }
        d->label[s] = (uint64_t)i + 1;
        d->accepts[s] = 1;
    }
    for (int s = 0; s < n_text; s++) {
        const int32_t q = d->other[s];
        if (q < 0) continue;
        if (other->accepts[q]) d->accepts[s] = 1;
        for (size_t k = 0; k < c; k++) {
            int32_t *to = &d->next[(size_t)s * c + k];
            const int32_t t = *to < 0 ? dfa_next(other, q, (unsigned char)rep[k]) : -1;
            if (t >= 0) *to = n_text + t;
        }
    }
    for (int q = 0; q < n_other; q++) {
        const size_t s = (size_t)(n_text + q);
        d->accepts[s] = other->accepts[q];
        d->other[s] = q;
        for (size_t k = 0; k < c; k++) {
            const int32_t t = dfa_next(other, q, (unsigned char)rep[k]);
            d->next[s * c + k] = t < 0 ? -1 : n_text + t;
        }
    }
    d->n = n_text + n_other;
    *first_other = n_text;
    hash_table(d);
    *out = d;
    return true;
}

uint32_t dfa_size(const struct dfa *d, uint32_t most)
{
    const int n = d->n, c = d->n_class;
    int width[256] = { 0 };
    int32_t *before = calloc((size_t)n + 1, sizeof *before), *order = malloc(((size_t)n + 1) * sizeof *order);
    uint32_t *count = calloc((size_t)n + 1, sizeof *count), size = most;
    if (!before || !order || !count) goto done; /* as good as no end */
    for (int b = 0; b < 256; b++) width[d->class_of[b]]++;
    for (int i = 0; i < n * c; i++)
        if (d->next[i] >= 0) before[d->next[i]]++;
    int n_order = 0;
    for (int s = 0; s < n; s++)
        if (before[s] == 0) order[n_order++] = s;
    for (int i = 0; i < n_order; i++) /* a state behind all that lead to it */
        for (int k = 0; k < c; k++) {
            const int32_t t = d->next[order[i] * c + k];
            if (t >= 0 && --before[t] == 0) order[n_order++] = t;
        }
    if (n_order < n) goto done; /* a cycle: every state leads to an end, so there is none to the strings */
    for (int i = n - 1; i >= 0; i--) {
        const int32_t s = order[i];
        uint64_t sum = d->accepts[s];
        for (int k = 0; k < c && sum < most; k++) {
            const int32_t t = d->next[s * c + k];
            if (t >= 0) sum += (uint64_t)width[k] * count[t];
        }
        count[s] = sum < most ? (uint32_t)sum : most;
    }
    size = n > 0 ? count[0] : 0;
done:
    free(before);
    free(order);
    free(count);
    return size;
}

int32_t dfa_after_char(const struct dfa *d, int32_t state, uint32_t cp)
{
    char u[4];
    const unsigned n = utf8_put(cp, u);
    for (unsigned i = 0; i < n && state >= 0; i++) state = dfa_next(d, state, (unsigned char)u[i]);
    return state;
}

bool dfa_accepts(const struct dfa *d, const char *s, size_t n)
{
    int32_t q = d->n > 0 ? 0 : -1;
    for (size_t i = 0; i < n && q >= 0; i++) q = dfa_next(d, q, (unsigned char)s[i]);
    return q >= 0 && d->accepts[q];
}
