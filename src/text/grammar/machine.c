#include "text/grammar/machine.h"

#include <stdlib.h>
#include <string.h>

/* Room for the states along a walk. */
enum { ITEMS = 16 * MAX_ITEMS, INNERS = 64 * MAX_INNERS, THREADS = 16 * MAX_THREADS, MAX_FLATTEN = 64 };

bool machine_init(struct machine *m, const struct rules *r, struct err *e)
{
    *m = (struct machine){ .r = r, .root = { .bottom = true } };
    m->cap_item = m->cap_inner = m->cap_thread = 16;
    m->item = malloc((size_t)m->cap_item * sizeof *m->item);
    m->inner = malloc((size_t)m->cap_inner * sizeof *m->inner);
    m->thread = malloc((size_t)m->cap_thread * sizeof *m->thread);
    m->fresh = calloc((size_t)r->n_rule, sizeof *m->fresh);
    if (m->item && m->inner && m->thread && m->fresh) return true;
    machine_free(m);
    return err_set(e, ERR_NOMEM, "no memory for a constraint");
}

void machine_free(struct machine *m)
{
    pile_free(&m->pile);
    free(m->item);
    free(m->inner);
    free(m->thread);
    free(m->fresh);
    *m = (struct machine){ 0 };
}

/* Makes room for `need` entries of a list. */
static bool grow(struct machine *m, void *at, int *cap, int need, int most, size_t each)
{
    void **list = at;
    if (need > most) {
        m->full = true;
        return false;
    }
    int want = *cap * 2 < need ? need : *cap * 2;
    if (want > most) want = most;
    void *q = realloc(*list, (size_t)want * each);
    if (!q) {
        m->pile.failed = true;
        return false;
    }
    *list = q;
    *cap = want;
    return true;
}
static bool room_for_threads(struct machine *m, int need)
{
    return need <= m->cap_thread || grow(m, &m->thread, &m->cap_thread, need, THREADS, sizeof *m->thread);
}
static bool room_for_inner(struct machine *m, const struct view *v)
{
    const int need = v->inner + v->n_inner + 1;
    if (v->n_inner == MAX_INNERS) m->full = true;
    return !m->full &&
           (need <= m->cap_inner || grow(m, &m->inner, &m->cap_inner, need, INNERS, sizeof *m->inner));
}

static void open_view(struct machine *m, const struct view *below, struct view *to)
{
    *to = (struct view){ .at = ++m->at };
    if (!below) return;
    to->item = below->item + below->n_item;
    to->inner = below->inner + below->n_inner;
    to->thread = below->thread + below->n_thread;
}

static void add_item(struct machine *m, struct view *v, int32_t q, const struct call *in)
{
    const struct item *list = m->item + v->item;
    m->work += 1 + v->n_item / 8;
    for (int i = v->n_item - 1; i >= 0; i--)
        if (list[i].q == q && list[i].in == in) return;
    const int need = v->item + v->n_item + 1;
    if (v->n_item == MAX_ITEMS) m->full = true;
    if (m->full) return;
    if (need > m->cap_item && !grow(m, &m->item, &m->cap_item, need, ITEMS, sizeof *m->item)) return;
    m->item[v->item + v->n_item++] = (struct item){ in, q };
}

/* What stands in a call has ended: what comes behind it. A call that was made here is passed over by those who made it (rules.h: Empty). */
static void end_call(struct machine *m, struct view *v, const struct call *c)
{
    if (c->at == v->at) return;
    v->ended |= c->bottom;
    for (const struct back *b = c->back; b; b = b->next) add_item(m, v, b->ret, b->up);
}

static void add_back(struct machine *m, struct call *c, int32_t ret, const struct call *up)
{
    for (const struct back *b = c->back; b; b = b->next) {
        m->work++;
        if (b->ret == ret && b->up == up) return;
    }
    struct back *b = pile_alloc(&m->pile, sizeof *b);
    if (!b) return;
    *b = (struct back){ c->back, up, ret };
    c->back = b;
}

/* Where `up` returns to, for a call that stands at its end: so that a list, which is a call at the end of a call, stays flat. */
static void add_backs_of(struct machine *m, struct call *c, const struct call *up, int depth)
{
    c->bottom |= up->bottom;
    for (const struct back *b = up->back; b; b = b->next)
        if (m->r->ends[b->ret] && b->up != up && depth < MAX_FLATTEN)
            add_backs_of(m, c, b->up, depth + 1);
        else
            add_back(m, c, b->ret, b->up);
}

static void add_inner(struct machine *m, struct view *v, const struct call *in, const struct schema *s)
{
    if (v->n_thread == MAX_THREADS) m->full = true;
    if (!room_for_inner(m, v) || !room_for_threads(m, v->thread + v->n_thread + 1)) return;
    struct inner *k = &m->inner[v->inner + v->n_inner++];
    *k = (struct inner){ in, s, v->thread + v->n_thread, 1 };
    v->n_thread += json_begin(s, &m->thread[k->first]);
}

static void make_call(struct machine *m, struct view *v, const struct rule_call *k, const struct call *up)
{
    struct fresh *f = &m->fresh[k->rule];
    if (f->at != v->at) {
        struct call *c = pile_alloc(&m->pile, sizeof *c);
        if (!c) return;
        *c = (struct call){ .at = v->at };
        *f = (struct fresh){ v->at, c };
        const struct rule *rule = &m->r->rule[k->rule];
        if (rule->schema)
            add_inner(m, v, c, rule->schema);
        else
            add_item(m, v, rule->start, c);
    }
    if (m->r->ends[k->ret] && up->at != v->at)
        add_backs_of(m, f->call, up, 0);
    else
        add_back(m, f->call, k->ret, up);
}

/* Follows calls and ends, and drops items behind which nothing comes. */
static void close_view(struct machine *m, struct view *v)
{
    const struct rules *r = m->r;
    int kept = 0;
    for (int i = 0; i < v->n_item && !m->full; i++) {
        const struct item k = m->item[v->item + i];
        if (r->accepts[k.q]) end_call(m, v, k.in);
        for (int c = r->first_call[k.q]; c < r->first_call[k.q + 1]; c++) make_call(m, v, &r->call[c], k.in);
    }
    for (int i = 0; i < v->n_item; i++) {
        const struct item k = m->item[v->item + i];
        if (!r->ends[k.q]) m->item[v->item + kept++] = k;
    }
    v->n_item = kept;
}

void machine_begin(struct machine *m, struct view *to)
{
    open_view(m, NULL, to);
    add_item(m, to, m->r->rule[0].start, &m->root);
    close_view(m, to);
}

void machine_at(struct machine *m, const struct view *below, int32_t q, const struct call *in,
                struct view *to)
{
    open_view(m, below, to);
    add_item(m, to, q, in);
    close_view(m, to);
}

/* Takes n threads that lie behind those of the view as one more set; those that have ended are done with. Whether there are any, and with
 * `ends` what comes behind them was added. */
static bool take_threads(struct machine *m, struct view *v, const struct inner *of, int n, bool ends)
{
    struct thread *t = m->thread + v->thread + v->n_thread;
    int kept = n;
    bool ended = false;
    for (int i = 0; i < n; i++) ended |= json_ended(&t[i]);
    if (ended) {
        kept = 0;
        for (int i = 0; i < n; i++)
            if (!json_ended(&t[i]) || t[i].place != AT_AFTER) t[kept++] = t[i];
    }
    if (kept > 0) {
        if (!room_for_inner(m, v)) return false;
        m->inner[v->inner + v->n_inner++] =
            (struct inner){ of->in, of->schema, v->thread + v->n_thread, kept };
        v->n_thread += kept;
    }
    if (ended && ends) end_call(m, v, of->in);
    return ended && ends;
}

void machine_inner(struct machine *m, const struct view *below, const struct inner *of,
                   const struct thread *t, int n, bool ends, struct view *to)
{
    open_view(m, below, to);
    if (!room_for_threads(m, to->thread + n)) return;
    memcpy(m->thread + to->thread, t, (size_t)n * sizeof *t);
    take_threads(m, to, of, n, ends);
    if (to->n_item > 0) close_view(m, to);
}

/* The threads of some JSON behind byte b, at most `most` of them, written from `at` on; how many. */
static int step_inner(struct machine *m, const struct inner *k, unsigned char b, int at, int most)
{
    for (;;) {
        const int left = m->cap_thread - at,
                  room = left < most ? left : most; /* views end within the lists */
        const struct pile_mark mark = pile_mark(&m->pile);
        const int n = json_step(k->schema, &m->pile, m->thread + k->first, k->n, b, m->thread + at, room);
        if (n >= 0) return n;
        if (room == most) {
            m->full = true;
            return 0;
        }
        pile_release(&m->pile, mark);
        if (!room_for_threads(m, m->cap_thread + 1)) return 0;
    }
}

bool machine_step(struct machine *m, const struct view *from, unsigned char b, struct view *to)
{
    const struct rules *r = m->r;
    open_view(m, from, to);
    m->work++;
    bool more = false; /* something has ended, or is called */
    for (int i = 0; i < from->n_item; i++) {
        const struct item k = m->item[from->item + i];
        const int32_t q = rules_next(r, k.q, b);
        if (q < 0) continue;
        if (r->accepts[q] && !k.in->back) { /* at the bottom: nothing but the end comes behind */
            to->ended |= k.in->bottom;
            if (r->ends[q]) continue;
        } else {
            more |= r->accepts[q];
        }
        more |= r->first_call[q] < r->first_call[q + 1];
        add_item(m, to, q, k.in);
    }
    for (int i = 0; i < from->n_inner; i++) {
        const struct inner k = m->inner[from->inner + i];
        const int n = step_inner(m, &k, b, to->thread + to->n_thread, MAX_THREADS - to->n_thread);
        m->work += k.n;
        if (n > 0) more |= take_threads(m, to, &k, n, true);
    }
    if (more) close_view(m, to);
    return view_alive(to);
}

void machine_lower(struct machine *m, struct view *v, const struct view *below)
{
    struct view to = *v;
    to.item = below ? below->item + below->n_item : 0;
    to.inner = below ? below->inner + below->n_inner : 0;
    to.thread = below ? below->thread + below->n_thread : 0;
    memmove(m->item + to.item, m->item + v->item, (size_t)v->n_item * sizeof *m->item);
    memmove(m->inner + to.inner, m->inner + v->inner, (size_t)v->n_inner * sizeof *m->inner);
    memmove(m->thread + to.thread, m->thread + v->thread, (size_t)v->n_thread * sizeof *m->thread);
    for (int i = 0; i < v->n_inner; i++) m->inner[to.inner + i].first += to.thread - v->thread;
    *v = to;
}

int machine_bytes(struct machine *m, const struct view *v, unsigned char *byte)
{
    bool can[256] = { false };
    int n = 0;
    for (int i = 0; i < v->n_item; i++)
        for (int b = 0; b < 256; b++)
            can[b] |= rules_next(m->r, m->item[v->item + i].q, (unsigned char)b) >= 0;
    for (int b = 0; b < 256; b++) n += can[b];
    for (int i = 0; i < v->n_inner && n < 2; i++) {
        const struct inner k = m->inner[v->inner + i];
        const int to = v->thread + v->n_thread;
        for (int b = 0; b < 256 && n < 2; b++) {
            const struct pile_mark mark = pile_mark(&m->pile);
            if (can[b]) continue;
            can[b] = step_inner(m, &k, (unsigned char)b, to, MAX_THREADS) > 0;
            n += can[b];
            pile_release(&m->pile, mark);
        }
    }
    for (int b = 255; b >= 0; b--)
        if (can[b]) *byte = (unsigned char)b;
    return n < 2 ? n : 2;
}

/* ---- copies ------------------------------------------------------------------------------------------------------------------- */

struct copying {
    struct mover mover;
    const struct call **pending; /* the originals whose backs are still theirs */
    size_t n, cap;
    const struct call *root, *new_root;
};

static const struct call *copy_call(struct copying *k, const struct call *c)
{
    if (c == k->root) return k->new_root;
    struct call *to = mover_find(&k->mover, c);
    if (to) return to;
    if (k->n == k->cap) {
        const size_t cap = k->cap ? k->cap * 2 : 64;
        const struct call **q = realloc(k->pending, cap * sizeof *q);
        if (!q) {
            k->mover.failed = true;
            return NULL;
        }
        k->pending = q;
        k->cap = cap;
    }
    k->pending[k->n++] = c;
    return mover_copy(&k->mover, c, sizeof *c);
}

static void copy_backs(struct copying *k)
{
    while (k->n > 0 && !k->mover.failed) {
        struct call *to = mover_find(&k->mover, k->pending[--k->n]);
        struct back **at = &to->back;
        for (const struct back *b = to->back; b; b = b->next) {
            struct back *copy = pile_alloc(k->mover.to, sizeof *copy);
            if (!copy) {
                k->mover.failed = true;
                return;
            }
            *copy = (struct back){ NULL, copy_call(k, b->up), b->ret };
            *at = copy;
            at = &copy->next;
        }
    }
}

/* The state's lists, moved into another pile. */
static bool move(struct copying *k, const struct machine *m, const struct view *v, struct item *item,
                 struct inner *inner, struct thread *thread)
{
    for (int i = 0; i < v->n_item; i++)
        item[i] = (struct item){ copy_call(k, m->item[v->item + i].in), m->item[v->item + i].q };
    for (int i = 0; i < v->n_inner; i++) {
        inner[i] = m->inner[v->inner + i];
        inner[i].in = copy_call(k, inner[i].in);
        inner[i].first -= v->thread;
    }
    for (int i = 0; i < v->n_thread; i++) {
        thread[i] = m->thread[v->thread + i];
        thread[i].up = json_move(&k->mover, thread[i].up);
    }
    copy_backs(k);
    const bool ok = !k->mover.failed;
    mover_free(&k->mover);
    free(k->pending);
    return ok;
}

bool machine_copy(struct machine *to, const struct machine *from, const struct view *v, struct view *copy,
                  struct err *e)
{
    struct copying k = { .mover = { .to = &to->pile }, .root = &from->root, .new_root = &to->root };
    if ((v->n_item > to->cap_item &&
         !grow(to, &to->item, &to->cap_item, v->n_item, ITEMS, sizeof *to->item)) ||
        (v->n_inner > to->cap_inner &&
         !grow(to, &to->inner, &to->cap_inner, v->n_inner, INNERS, sizeof *to->inner)) ||
        !room_for_threads(to, v->n_thread))
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (!move(&k, from, v, to->item, to->inner, to->thread))
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    *copy = *v;
    copy->item = copy->inner = copy->thread = 0;
    to->at = from->at;
    return true;
}

bool machine_compact(struct machine *m, struct view *v, struct err *e)
{
    struct pile fresh = { 0 };
    struct copying k = { .mover = { .to = &fresh }, .root = &m->root, .new_root = &m->root };
    if (!move(&k, m, v, m->item, m->inner, m->thread)) {
        pile_free(&fresh); /* the lists are no longer whole */
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    }
    pile_free(&m->pile);
    m->pile = fresh;
    return true;
}
