#include "text/grammar/matcher.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/ecma.h"
#include "text/grammar/grammar.h"
#include "text/grammar/item_masks.h"
#include "text/grammar/text_masks.h"

static const size_t max_held = 64 << 20; /* bytes that a text may need to be kept of it */
static const size_t least_kept = 64 << 10;

struct constraint {
    atomic_int holders;
    struct rules *rules;
    const struct vocab_trie *v;
    struct free_masks *free;
    struct mask_table names; /* masks of members' names */
    struct item_masks items;
};

struct matcher {
    struct constraint *c;
    struct machine machine;
    struct view now;
    size_t compact_at; /* bytes of the pile */
};

/* ---- constraints ------------------------------------------------------------------------------------------------------------ */

/* Takes over the rules. */
static bool constraint_of(struct constraint **out, struct rules *r, struct free_masks *f, struct err *e)
{
    struct constraint *c = calloc(1, sizeof *c);
    if (!c) {
        rules_free(r);
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    }
    atomic_init(&c->holders, 1);
    c->rules = r;
    c->v = f->v;
    c->free = f;
    mask_table_init(&c->names);
    item_masks_init(&c->items, f->v);
    *out = c;
    return true;
}

bool constraint_of_schema(struct constraint **out, struct schema *s, struct free_masks *f, struct err *e)
{
    struct rules *r;
    return rules_of_schema(&r, s, e) && constraint_of(out, r, f, e);
}

bool constraint_of_grammar(struct constraint **out, const char *gbnf, size_t len, const json_t *schemas,
                           const struct grammar_limits *l, struct free_masks *f, struct err *e)
{
    struct gbnf *g;
    struct rules *r;
    if (!l) l = &grammar_default_limits;
    if (!gbnf_read(&g, gbnf, len, &l->text, e)) return false;
    const bool ok = rules_of_gbnf(&r, g, schemas, l, e);
    gbnf_free(g);
    return ok && constraint_of(out, r, f, e);
}

enum { REGEX_NODES = 200000, REGEX_STATES = 20000 };
static const long regex_work = 3000000; /* of rx_pool_new() */

bool constraint_of_regex(struct constraint **out, const char *pattern, size_t len, struct free_masks *f,
                         struct err *e)
{
    struct rx_pool *p = rx_pool_new(REGEX_NODES, regex_work);
    struct dfa *d = NULL;
    struct rules *r = NULL;
    rx language;
    if (!p) return err_set(e, ERR_NOMEM, "no memory for a regular expression");
    bool ok = ecma_whole(p, pattern, len, &language, e) && rx_ok(p, e) &&
              dfa_new(&d, p, language, NULL, 0, REGEX_STATES, e);
    if (ok && d->n == 0) ok = err_set(e, ERR_REQUEST, "the regular expression matches no text");
    if (!ok && e->code == ERR_LIMIT)
        err_set(e, ERR_LIMIT, "the regular expression is too complex: its automaton is too large");
    ok = ok && rules_of_dfa(&r, d, e) && constraint_of(out, r, f, e);
    dfa_free(d);
    rx_pool_free(p);
    return ok;
}

struct constraint *constraint_ref(struct constraint *c)
{
    atomic_fetch_add_explicit(&c->holders, 1, memory_order_relaxed);
    return c;
}

void constraint_free(struct constraint *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->holders, 1, memory_order_acq_rel) > 1) return;
    mask_table_free(&c->names);
    item_masks_free(&c->items);
    rules_free(c->rules);
    free(c);
}

const struct schema *constraint_schema(const struct constraint *c, int i)
{
    for (int k = 0; k < c->rules->n_rule; k++)
        if (c->rules->rule[k].schema && i-- == 0) return c->rules->rule[k].schema;
    return NULL;
}

size_t constraint_bytes(struct constraint *c)
{
    return sizeof *c + rules_bytes(c->rules) + mask_table_bytes(&c->names) + item_masks_bytes(&c->items);
}

/* ---- matchers ---------------------------------------------------------------------------------------------------------------- */

bool matcher_new(struct matcher **out, struct constraint *c, struct err *e)
{
    struct matcher *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (!machine_init(&m->machine, c->rules, e)) {
        free(m);
        return false;
    }
    m->c = constraint_ref(c);
    m->compact_at = least_kept;
    machine_begin(&m->machine, &m->now);
    if (!machine_well(&m->machine, e)) {
        matcher_free(m);
        return false;
    }
    *out = m;
    return true;
}

bool matcher_copy(struct matcher **out, const struct matcher *m, struct err *e)
{
    struct matcher *copy = calloc(1, sizeof *copy);
    if (!copy) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (!machine_init(&copy->machine, m->c->rules, e)) {
        free(copy);
        return false;
    }
    copy->c = constraint_ref(m->c);
    copy->compact_at = m->compact_at;
    if (!machine_copy(&copy->machine, &m->machine, &m->now, &copy->now, e)) {
        matcher_free(copy);
        return false;
    }
    *out = copy;
    return true;
}

void matcher_free(struct matcher *m)
{
    if (!m) return;
    machine_free(&m->machine);
    constraint_free(m->c);
    free(m);
}

size_t matcher_bytes(const struct matcher *m) { return pile_bytes(&m->machine.pile); }

/* ---- masks ------------------------------------------------------------------------------------------------------------------ */

struct marking {
    const struct vocab_trie *v;
    const struct suffixes *x;
    int least, most;          /* characters before the quote */
    const struct thread *key; /* not NULL: names that were there may not come again */
    struct matcher
        *exactly; /* not NULL: what comes behind depends on the text: each token is stepped from `from` */
    const struct inner *of;
    const struct thread *from;
    uint32_t *bits;
};

/* Can the token's bytes come from this thread on? The lists are used behind `below`. */
static bool steps(struct matcher *m, const struct view *below, const struct inner *of,
                  const struct thread *from, int32_t id)
{
    struct machine *k = &m->machine;
    const struct pile_mark mark = pile_mark(&k->pile);
    struct view at, next;
    bool lives = true;
    machine_inner(k, below, of, from, 1, false, &at);
    for (uint32_t i = 0; i < m->c->v->len[id] && lives; i++) {
        lives = machine_step(k, &at, (unsigned char)m->c->v->text[id][i], &next);
        machine_lower(k, &next, below);
        at = next;
    }
    pile_release(&k->pile, mark);
    return lives;
}

/* Was the name that the token ends, `behind` bytes before its own end, there before? */
static bool is_used(const struct marking *k, int32_t id, uint32_t behind)
{
    struct thread u = *k->key;
    for (uint32_t i = 0; i + behind + 1 < k->v->len[id]; i++)
        if (!json_text_byte(&u, (unsigned char)k->v->text[id][i])) return true;
    return json_was_used(u.up, u.hash);
}

static bool mark_token(void *arg, uint32_t node, const struct view *at)
{
    struct marking *k = arg;
    (void)at;
    mask_put(k->v, k->bits, k->v->token[node]);
    return true;
}

static bool mark_exits(void *arg, uint32_t node, const struct view *at)
{
    struct marking *k = arg;
    for (uint32_t i = k->x->first[node]; i < k->x->first[node + 1]; i++) {
        const int32_t id = k->x->id[i];
        if (k->x->chars[i] < k->least || k->x->chars[i] > k->most) continue;
        if (k->key && is_used(k, id, k->x->depth[node])) continue;
        if (k->exactly && !steps(k->exactly, at, k->of, k->from, id)) continue;
        k->bits[id / 32] |= UINT32_C(1) << (id % 32);
    }
    return true;
}

/* The tokens that leave a text, from n threads behind the quote on. */
static bool walk_exits(struct matcher *m, struct marking *k, const struct inner *of, const struct thread *t,
                       int n, struct err *e)
{
    const struct byte_tree tree = { k->x->n, k->x->byte, k->x->depth, k->x->skip };
    struct view from;
    mark_exits(k, 0, &m->now);
    machine_inner(&m->machine, &m->now, of, t, n, true, &from);
    return tree_walk(&m->machine, &tree, &from, mark_exits, k, e);
}

/* Can the thread's mask be looked up? */
static bool is_known(const struct thread *t)
{
    if (t->escape) return false;
    if (t->place == AT_KEY) return t->up->object->all_open && json_has_room(t->up);
    if (t->place != AT_STRING) return false;
    const struct strings *s = t->string;
    if (!s->shortest) return true;
    if (s->any) return t->q == 0 || s->max < 0; /* tokens' characters are counted from one's beginning */
    /* Past the least, and so far from the end that only long tokens have to be looked at. */
    return t->n >= s->min && (s->max < 0 || s->max - t->n - s->farthest > TEXT_LONG_TOKEN);
}

static bool look_up(struct matcher *m, const struct inner *of, const struct thread *t, uint32_t *bits,
                    struct err *e)
{
    struct constraint *c = m->c;
    struct pile *pile = &m->machine.pile;
    const size_t n_words = mask_words(c->v);
    struct marking k = { .v = c->v, .most = VOCAB_MAX_TOKEN, .bits = bits };
    if (t->place == AT_KEY ? t->up->hashing : json_asks_hash(t->up)) {
        k.exactly = m;
        k.of = of;
        k.from = t;
    }
    const bool is_free = t->place == AT_STRING && t->string->any && t->q == 0;
    const struct text_mask *s = is_free ? c->free->text : text_mask_of(c->free, &c->names, t);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (t->place == AT_KEY) {
        for (size_t w = 0; w < n_words; w++) bits[w] |= s->inside[w];
        for (int g = 0; g < s->n_group; g++) {
            const struct pile_mark mark = pile_mark(pile);
            struct thread behind[1 << SCHEMA_TRACKS];
            /* No name has this hash, so it is as if it were new. */
            const int n = json_key_ended(pile, t, s->group[g].q, 0, behind);
            k.key = t->up->used && s->group[g].cls >= t->up->object->n_named ? t : NULL;
            k.x = &s->group[g].exits;
            if (n > 0 && !walk_exits(m, &k, of, behind, n, e)) return false;
            pile_release(pile, mark);
        }
        return true;
    }
    const int left = t->string->any && t->string->max >= 0 ? t->string->max - t->n : TEXT_MAX_CHARS;
    if (left < TEXT_MAX_CHARS) {
        const uint32_t *short_enough = free_at_most(c->free, left);
        if (!short_enough) return err_set(e, ERR_NOMEM, "no memory for a constraint");
        for (size_t w = 0; w < n_words; w++) bits[w] |= s->inside[w] & short_enough[w];
    } else {
        for (size_t w = 0; w < n_words; w++) bits[w] |= s->inside[w];
    }
    if (t->string->min > t->n) k.least = t->string->min - t->n;
    if (left < k.most) k.most = left;
    const struct thread behind = { .place = AT_AFTER, .up = t->up };
    for (int g = 0; g < s->n_group; g++) {
        const struct pile_mark mark = pile_mark(pile);
        k.x = &s->group[g].exits;
        if (!walk_exits(m, &k, of, &behind, 1, e)) return false;
        pile_release(pile, mark);
    }
    if (!t->string->any && t->string->max >= 0)
        for (int i = 0; i < c->free->n_long; i++) {
            const int32_t id = c->free->long_token[i];
            if ((bits[id / 32] >> (id % 32) & 1) && !steps(m, &m->now, of, t, id))
                bits[id / 32] &= ~(UINT32_C(1) << (id % 32));
        }
    return true;
}

/* What some JSON's threads allow. */
static bool mark_inner(struct matcher *m, struct inner of, uint32_t *bits, struct err *e)
{
    const struct vocab_trie *v = m->c->v;
    struct machine *k = &m->machine;
    struct marking marking = { .v = v, .bits = bits };
    struct thread few[8], *rest = few;
    int n = 0;
    for (int i = 0; i < of.n; i++) {
        const struct thread t = k->thread[of.first + i]; /* the lists may move */
        if (!is_known(&t))
            n++;
        else if (!look_up(m, &of, &t, bits, e))
            return false;
    }
    if (n == 0) return true;
    if (n > 8 && !(rest = malloc((size_t)n * sizeof *rest)))
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    n = 0;
    for (int i = 0; i < of.n; i++)
        if (!is_known(&k->thread[of.first + i])) rest[n++] = k->thread[of.first + i];
    struct view from;
    const struct byte_tree all = { v->n, v->byte, v->depth, v->skip };
    machine_inner(k, &m->now, &of, rest, n, false, &from);
    if (rest != few) free(rest);
    return tree_walk(k, &all, &from, mark_token, &marking, e);
}

bool matcher_mask(struct matcher *m, uint32_t *bits, struct err *e)
{
    struct machine *k = &m->machine;
    memset(bits, 0, mask_words(m->c->v) * sizeof *bits);
    k->work = 0;
    const struct pile_mark mark = pile_mark(&k->pile);
    bool ok = true;
    for (int i = 0; i < m->now.n_item && ok; i++) /* what was called here is in the callers' masks */
        if (!view_made(&m->now, k->item[i].in))
            ok = item_masks_mark(&m->c->items, k, &m->now, k->item[i].q, k->item[i].in, bits, e);
    for (int i = 0; i < m->now.n_inner && ok; i++)
        if (!view_made(&m->now, k->inner[i].in)) ok = mark_inner(m, k->inner[i], bits, e);
    pile_release(&k->pile, mark);
    return ok && machine_well(k, e);
}

bool matcher_can_end(const struct matcher *m) { return m->now.ended; }

/* ---- texts -------------------------------------------------------------------------------------------------------------------- */

bool matcher_take_bytes(struct matcher *m, const char *s, size_t n, size_t *taken, struct err *e)
{
    struct machine *k = &m->machine;
    const struct pile_mark mark = pile_mark(&k->pile);
    struct view at = m->now, next;
    for (*taken = 0; *taken < n; ++*taken) {
        const bool lives = machine_step(k, &at, (unsigned char)s[*taken], &next);
        if (!machine_well(k, e)) return false;
        if (!lives) {
            pile_release(&k->pile, mark);
            return true;
        }
        machine_lower(k, &next, &m->now);
        at = next;
    }
    machine_lower(k, &at, NULL);
    m->now = at;
    if (pile_bytes(&k->pile) < m->compact_at) return true;
    if (!machine_compact(k, &m->now, e)) return false;
    const size_t held = pile_bytes(&k->pile);
    if (held > max_held)
        return err_set(e, ERR_LIMIT,
                       "the text is nested too deeply, or has too many distinct values, to be kept track of");
    m->compact_at = 2 * held > least_kept ? 2 * held : least_kept;
    return true;
}

bool matcher_take(struct matcher *m, int32_t id, bool *ok, struct err *e)
{
    const struct vocab_trie *v = m->c->v;
    size_t taken;
    *ok = false;
    if (id < 0 || id >= v->n_vocab || v->len[id] == 0 || v->len[id] > VOCAB_MAX_TOKEN) return true;
    if (!matcher_take_bytes(m, v->text[id], v->len[id], &taken, e)) return false;
    *ok = taken == v->len[id];
    return true;
}

bool matcher_forced(struct matcher *m, char *out, size_t cap, size_t *n, struct err *e)
{
    struct machine *k = &m->machine;
    const struct pile_mark mark = pile_mark(&k->pile);
    struct view at = m->now, next;
    unsigned char only;
    size_t count = 0;
    while (count < cap && !at.ended && machine_bytes(k, &at, &only) == 1) {
        machine_step(k, &at, only, &next);
        if (k->full || k->pile.failed) break;
        machine_lower(k, &next, &m->now);
        at = next;
        out[count++] = (char)only;
    }
    pile_release(&k->pile, mark);
    if (!machine_well(k, e)) return false;
    *n = count;
    return true;
}
