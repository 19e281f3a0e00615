#include "text/grammar/text_masks.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SHARED = 4096 };

static size_t text_mask_bytes(const struct vocab_trie *v, const struct text_mask *m)
{
    size_t bytes = sizeof *m + (m->own ? mask_words(v) * sizeof *m->own : 0);
    for (int i = 0; i < m->n_group; i++) bytes += sizeof m->group[i] + suffixes_bytes(&m->group[i].exits);
    return bytes;
}

static void text_mask_free(struct text_mask *m)
{
    if (!m) return;
    for (int i = 0; i < m->n_group; i++) suffixes_free(&m->group[i].exits);
    free(m->group);
    free(m->own);
    free(m);
}

/* Sorts what leaves into groups of one class each. */
static bool group(struct text_mask *m, struct leavings *l)
{
    if (l->n == 0) return true;
    leavings_sort(l);
    size_t n = 1;
    for (size_t i = 1; i < l->n; i++) n += l->at[i].cls != l->at[i - 1].cls;
    m->group = calloc(n, sizeof *m->group);
    if (!m->group) return false;
    for (size_t i = 0; i < l->n;) {
        size_t end = i;
        while (end < l->n && l->at[end].cls == l->at[i].cls) end++;
        struct group *g = &m->group[m->n_group];
        g->q = l->at[i].q;
        g->cls = l->at[i].cls;
        if (!suffixes_make(&g->exits, l->at + i, end - i)) return false;
        m->n_group++;
        i = end;
    }
    return true;
}

/* The class that a name belongs to that ends in a state; strings have one. */
static int class_in(const struct thread *t, int32_t q)
{
    return t->place == AT_KEY ? t->up->object->class_of[q] : 0;
}

/* A walk through the vocabulary along the automaton. */
static bool walk_text(const struct vocab_trie *v, struct text_mask *m, const struct thread *t,
                      struct leavings *l)
{
    struct thread at[VOCAB_MAX_TOKEN + 1];
    const struct dfa *d = thread_automaton(t);
    m->own = calloc(mask_words(v), sizeof *m->own);
    m->inside = m->own;
    if (!m->own) return false;
    at[0] = *t;
    at[0].n = 0;
    for (uint32_t i = 1; i < v->n;) {
        const struct thread *from = &at[v->depth[i] - 1];
        struct thread *to = &at[v->depth[i]];
        const unsigned char b = v->byte[i];
        if (b == '"' && !from->escape) {
            if (d->accepts[from->q])
                for (uint32_t k = i; k < v->skip[i]; k++)
                    for (int32_t id = v->token[k]; id >= 0; id = v->same[id])
                        if (!leave(l, (struct leaving){ v->text[id] + v->depth[i], v->len[id] - v->depth[i],
                                                        id, from->q, class_in(t, from->q), from->n }))
                            return false;
            i = v->skip[i];
            continue;
        }
        if (!from->escape && b >= 0x20 && b != '\\') { /* most of them */
            const int32_t q = dfa_next(d, from->q, b);
            if (q < 0) {
                i = v->skip[i];
                continue;
            }
            to->q = q;
            to->escape = 0;
            to->n = from->n + ((b & 0xc0) != 0x80);
        } else {
            struct thread u = *t;
            u.q = from->q;
            u.escape = from->escape;
            u.code = from->code;
            u.n = from->n;
            if (!json_text_byte(&u, b)) {
                i = v->skip[i];
                continue;
            }
            to->q = u.q;
            to->escape = u.escape;
            to->code = u.code;
            to->n = u.n;
        }
        mask_put(v, m->own, v->token[i]);
        i++;
    }
    return true;
}

/* Where every text can come: inside it is a free text, and of the tokens that leave one those that may. */
static bool walk_free(const struct free_masks *f, struct text_mask *m, const struct thread *t,
                      struct leavings *l)
{
    const struct suffixes *x = &f->text->group[0].exits;
    m->inside = f->text->inside;
    for (uint32_t node = 0; node < x->n; node++)
        for (uint32_t k = x->first[node]; k < x->first[node + 1]; k++) {
            const int32_t id = x->id[k];
            const uint32_t behind = x->depth[node], before = f->v->len[id] - behind - 1;
            const char first = behind ? f->v->text[id][before + 1] : ':';
            if (t->place == AT_KEY && first != ':' && first != ' ' && first != '\n' && first != '\t' &&
                first != '\r')
                continue;
            struct thread u = *t;
            bool ok = true;
            for (uint32_t i = 0; i < before && ok; i++)
                ok = json_text_byte(&u, (unsigned char)f->v->text[id][i]);
            if (!ok || !thread_automaton(t)->accepts[u.q]) continue;
            const int cls = class_in(t, u.q);
            if (!leave(l, (struct leaving){ f->v->text[id] + before + 1, behind, id, u.q, cls, x->chars[k] }))
                return false;
        }
    return true;
}

/* Does the automaton take every text from a state that is at the beginning of a character, as far as beginnings go? */
static bool takes_all(const struct free_masks *f, const struct dfa *d, int32_t q)
{
    const struct dfa *any = f->any;
    const size_t n = (size_t)d->n * (size_t)any->n;
    uint8_t *seen = calloc(n, 1);
    int32_t *pending = malloc(n * sizeof *pending);
    size_t n_pending = 0;
    bool all = seen && pending;
    if (all) {
        pending[n_pending++] = q * any->n;
        seen[q * any->n] = 1;
    }
    while (n_pending > 0 && all) {
        const int32_t pair = pending[--n_pending], s = pair / any->n, u = pair % any->n;
        for (int b = 0; b < 256 && all; b++) {
            const int32_t v = dfa_next(any, u, (unsigned char)b);
            if (v < 0) continue;
            const int32_t to = dfa_next(d, s, (unsigned char)b);
            all = to >= 0;
            if (!all || seen[to * any->n + v]) continue;
            seen[to * any->n + v] = 1;
            pending[n_pending++] = to * any->n + v;
        }
    }
    free(seen);
    free(pending);
    return all;
}

const struct text_mask *text_mask_of(struct free_masks *f, struct mask_table *names, const struct thread *t)
{
    const struct dfa *d = thread_automaton(t);
    const bool shared = t->place == AT_STRING && f->masks.n < MAX_SHARED;
    struct mask_table *table = shared ? &f->masks : names;
    const uint64_t hash[2] = { t->place == AT_KEY ? (uint64_t)(uintptr_t)d : d->hash[0],
                               t->place == AT_KEY ? 0 : d->hash[1] };
    const size_t at = (size_t)((hash[0] >> 6) + (uint64_t)t->q * 0x9e3779b97f4a7c15u) % TEXT_BUCKETS;
    pthread_mutex_lock(&table->lock);
    struct text_mask *m = table->known[at];
    while (m && (m->hash[0] != hash[0] || m->hash[1] != hash[1] || m->q != t->q)) m = m->next;
    if (!m && (m = calloc(1, sizeof *m))) {
        struct leavings l = { 0 };
        memcpy(m->hash, hash, sizeof m->hash);
        m->q = t->q;
        const bool whole = t->place == AT_KEY ? t->up->object->any_name && dfa_next(d, t->q, 'a') >= 0
                                              : takes_all(f, d, t->q);
        const bool ok = (whole ? walk_free(f, m, t, &l) : walk_text(f->v, m, t, &l)) && group(m, &l);
        free(l.at);
        if (ok) {
            m->next = table->known[at];
            table->known[at] = m;
            table->n++;
            table->bytes += text_mask_bytes(f->v, m);
        } else {
            text_mask_free(m);
            m = NULL;
        }
    }
    pthread_mutex_unlock(&table->lock);
    return m;
}

void mask_table_free(struct mask_table *table)
{
    for (int i = 0; i < TEXT_BUCKETS; i++)
        for (struct text_mask *m = table->known[i]; m;) {
            struct text_mask *next = m->next;
            text_mask_free(m);
            m = next;
        }
    pthread_mutex_destroy(&table->lock);
}

/* How many characters each token adds to a free text. */
static bool count_characters(struct free_masks *f)
{
    const struct vocab_trie *v = f->v;
    struct thread at[VOCAB_MAX_TOKEN + 1];
    f->chars = malloc((size_t)v->n_vocab + 1);
    f->long_token = malloc(((size_t)v->n_vocab + 1) * sizeof *f->long_token);
    if (!f->chars || !f->long_token) return false;
    memset(f->chars, 255, (size_t)v->n_vocab);
    at[0] = (struct thread){ .place = AT_STRING, .string = &f->string, .hash = 1 };
    for (uint32_t i = 1; i < v->n;) {
        struct thread *to = &at[v->depth[i]];
        *to = at[v->depth[i] - 1];
        if ((v->byte[i] == '"' && !to->escape) || !json_text_byte(to, v->byte[i])) {
            i = v->skip[i];
            continue;
        }
        for (int32_t id = v->token[i]; id >= 0; id = v->same[id])
            f->chars[id] = (uint8_t)(to->n + (to->escape > 0));
        i++;
    }
    for (int32_t id = 0; id < v->n_vocab; id++)
        if (v->len[id] > TEXT_LONG_TOKEN && v->len[id] <= VOCAB_MAX_TOKEN) f->long_token[f->n_long++] = id;
    return true;
}

bool free_masks_new(struct free_masks **out, const struct vocab_trie *v, struct err *e)
{
    struct free_masks *f = calloc(1, sizeof *f);
    struct rx_pool *p = rx_pool_new(10000, 0);
    struct leavings l = { 0 };
    if (!f || !p) {
        free(f);
        rx_pool_free(p);
        return err_set(e, ERR_NOMEM, "no memory for the masks of texts");
    }
    pthread_mutex_init(&f->lock, NULL);
    mask_table_init(&f->masks);
    f->v = v;
    bool ok = dfa_new(&f->any, p, rx_any_text(p), NULL, 0, 100, e);
    if (ok) {
        f->string = (struct strings){ .d = f->any, .any = true, .max = -1 };
        f->text = calloc(1, sizeof *f->text);
        const struct thread t = { .place = AT_STRING, .string = &f->string, .hash = 1 };
        ok = f->text && walk_text(v, f->text, &t, &l) && group(f->text, &l) && count_characters(f);
        if (!ok) err_set(e, ERR_NOMEM, "no memory for the masks of texts");
        if (ok && f->text->n_group != 1)
            ok = err_set(e, ERR_UNSUPPORTED, "the vocabulary has no token with a quote");
    }
    free(l.at);
    rx_pool_free(p);
    if (ok)
        *out = f;
    else
        free_masks_free(f);
    return ok;
}

void free_masks_free(struct free_masks *f)
{
    if (!f) return;
    for (int i = 0; i < TEXT_MAX_CHARS; i++) free(f->at_most[i]);
    mask_table_free(&f->masks);
    text_mask_free(f->text);
    dfa_free(f->any);
    free(f->chars);
    free(f->long_token);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

const uint32_t *free_at_most(struct free_masks *f, int n)
{
    pthread_mutex_lock(&f->lock);
    uint32_t *bits = f->at_most[n];
    if (!bits && (bits = calloc(mask_words(f->v), sizeof *bits))) {
        for (int32_t id = 0; id < f->v->n_vocab; id++)
            bits[id / 32] |= (uint32_t)(f->chars[id] <= n) << (id % 32);
        f->at_most[n] = bits;
    }
    pthread_mutex_unlock(&f->lock);
    return bits;
}

void mask_table_init(struct mask_table *t)
{
    *t = (struct mask_table){ 0 };
    pthread_mutex_init(&t->lock, NULL);
}

size_t mask_table_bytes(struct mask_table *t)
{
    pthread_mutex_lock(&t->lock);
    const size_t bytes = sizeof *t + t->bytes;
    pthread_mutex_unlock(&t->lock);
    return bytes;
}
