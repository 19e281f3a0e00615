/* phrases.c - see phrases.h. Two automata (Aho and Corasick, 1975) over folded characters: one for the text as it stands, one for the text without
 * tricks, in which l and i are one letter because 1 is written for both. */
#include "service/safety/phrases.h"

#include <stdlib.h>
#include <string.h>

#include "service/safety/fold.h"

enum {
    /* Longer texts are read in chunks; a phrase is found where it takes less than OVERLAP bytes of the text. */
    CHUNK = 1 << 20,
    OVERLAP = 64 << 10,
    FREE_LETTERS = 5, /* of a phrase that is found within a longer row of letters with something between */
    JOINED_LETTERS = 3,
    WIDEST_GAP = 3
};

struct phrase {
    char *text;
    uint32_t *cp[2]; /* [n] as it stands; without tricks */
    uint32_t n;
    unsigned list;
    bool open, korean; /* any ending; one that Korean has */
    int32_t same[2];   /* the next one that ends in the same node, or -1 */
};

struct node {
    int32_t child, sibling, fail,
        link;       /* link: the nearest node behind `fail` that ends a phrase; -1: none */
    int32_t phrase; /* that ends here, or -1 */
    uint32_t cp, depth;
};

struct slot {
    uint64_t key; /* node << 21 | character, plus 1; 0: free */
    int32_t to;
};

struct automaton {
    struct node *node;
    size_t n, cap;
    struct slot *slot; /* of the edges, twice as many */
    size_t n_slots;
};

struct phrases {
    struct phrase *v;
    size_t n, cap;
    struct automaton way[2];
};

/* ---- adding -------------------------------------------------------------------------------------------------------- */

bool phrases_new(struct phrases **out, struct err *e)
{
    *out = calloc(1, sizeof **out);
    return *out || err_set(e, ERR_NOMEM, "out of memory");
}

void phrases_free(struct phrases *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].text);
        free(p->v[i].cp[0]);
        free(p->v[i].cp[1]);
    }
    for (int w = 0; w < 2; w++) {
        free(p->way[w].node);
        free(p->way[w].slot);
    }
    free(p->v);
    free(p);
}

static uint32_t without_tricks(uint32_t cp) { return cp == 'l' ? 'i' : cp; }

/* Its characters, one space where there is a gap. */
static bool spell(struct phrase *ph, const struct folded *f, size_t n)
{
    ph->cp[0] = calloc(n + 1, sizeof(uint32_t));
    ph->cp[1] = calloc(n + 1, sizeof(uint32_t));
    if (!ph->cp[0] || !ph->cp[1]) return false;
    bool gap = false;
    for (size_t i = 0; i < n; i++) {
        if (f[i].kind == FOLD_GAP) {
            gap = true;
            continue;
        }
        if (gap && ph->n) ph->cp[0][ph->n++] = ' ';
        gap = false;
        ph->cp[0][ph->n++] = f[i].cp;
    }
    for (uint32_t i = 0; i < ph->n; i++) ph->cp[1][i] = without_tricks(ph->cp[0][i]);
    return true;
}

static bool is_jamo(uint32_t cp) { return cp >= 0x1100 && cp <= 0x11ff; }

bool phrases_add(struct phrases *p, const char *text, unsigned list, struct err *e)
{
    struct folded *f;
    size_t n, len = strlen(text);
    if (len > PHRASE_BYTES)
        return err_set(e, ERR_REQUEST, "\"%.40s...\" is longer than %d bytes", text, PHRASE_BYTES);
    if (p->n == PHRASES_MOST) return err_set(e, ERR_LIMIT, "more than %d phrases", PHRASES_MOST);
    if (p->n == p->cap) {
        const size_t cap = p->cap * 2 + 64;
        struct phrase *v = realloc(p->v, cap * sizeof *v);
        if (!v) return err_set(e, ERR_NOMEM, "out of memory");
        p->v = v;
        p->cap = cap;
    }
    if (!fold_text(text, len, &f, &n, e)) return false;
    struct phrase ph = {
        .text = strdup(text), .list = list, .same = { -1, -1 }, .open = len && text[len - 1] == '*'
    };
    bool ok = (spell(&ph, f, n) && ph.text) || err_set(e, ERR_NOMEM, "out of memory");
    free(f);
    if (ok && !ph.n) ok = err_set(e, ERR_REQUEST, "\"%.60s\" has no letter or digit", text);
    if (ok) {
        ph.korean = is_jamo(ph.cp[0][ph.n - 1]);
        p->v[p->n++] = ph;
        return true;
    }
    free(ph.text);
    free(ph.cp[0]);
    free(ph.cp[1]);
    return false;
}

/* ---- the automata -------------------------------------------------------------------------------------------------- */

static uint64_t key_of(int32_t node, uint32_t cp) { return ((uint64_t)node << 21 | cp) + 1; }

static size_t place_of(const struct automaton *a, uint64_t key)
{
    size_t i = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (a->n_slots - 1);
    while (a->slot[i].key && a->slot[i].key != key) i = (i + 1) & (a->n_slots - 1);
    return i;
}

/* -1: there is no such edge. */
static int32_t edge(const struct automaton *a, int32_t node, uint32_t cp)
{
    const struct slot *s = &a->slot[place_of(a, key_of(node, cp))];
    return s->key ? s->to : -1;
}

static int32_t step(const struct automaton *a, int32_t node, uint32_t cp)
{
    for (;;) {
        const int32_t to = edge(a, node, cp);
        if (to >= 0) return to;
        if (!node) return 0;
        node = a->node[node].fail;
    }
}

static bool make_room(struct automaton *a, const struct phrases *p)
{
    size_t most = 1;
    for (size_t i = 0; i < p->n; i++) most += p->v[i].n;
    for (a->n_slots = 64; a->n_slots < 2 * most;) a->n_slots *= 2;
    a->node = calloc(most, sizeof *a->node);
    a->slot = calloc(a->n_slots, sizeof *a->slot);
    if (!a->node || !a->slot) return false;
    a->node[0] = (struct node){ .child = -1, .sibling = -1, .link = -1, .phrase = -1 };
    a->n = 1;
    return true;
}

static void put_phrase(struct automaton *a, struct phrase *all, int32_t index, int way)
{
    struct phrase *ph = &all[index];
    int32_t at = 0;
    for (uint32_t i = 0; i < ph->n; i++) {
        const uint32_t cp = ph->cp[way][i];
        int32_t to = edge(a, at, cp);
        if (to < 0) {
            to = (int32_t)a->n++;
            a->node[to] = (struct node){
                .child = -1, .sibling = a->node[at].child, .link = -1, .phrase = -1, .cp = cp, .depth = i + 1
            };
            a->node[at].child = to;
            const uint64_t key = key_of(at, cp);
            a->slot[place_of(a, key)] = (struct slot){ key, to };
        }
        at = to;
    }
    ph->same[way] = a->node[at].phrase;
    a->node[at].phrase = index;
}

/* In the order of depth, so that what a node fails to is done before it. */
static bool link_nodes(struct automaton *a)
{
    int32_t *queue = malloc(a->n * sizeof *queue);
    if (!queue) return false;
    size_t first = 0, last = 0;
    queue[last++] = 0;
    while (first < last) {
        const int32_t at = queue[first++];
        for (int32_t c = a->node[at].child; c >= 0; c = a->node[c].sibling) {
            struct node *n = &a->node[c];
            n->fail = at ? step(a, a->node[at].fail, n->cp) : 0;
            n->link = a->node[n->fail].phrase >= 0 ? n->fail : a->node[n->fail].link;
            queue[last++] = c;
        }
    }
    free(queue);
    return true;
}

bool phrases_finish(struct phrases *p, struct err *e)
{
    for (int w = 0; w < 2; w++) {
        if (!make_room(&p->way[w], p)) return err_set(e, ERR_NOMEM, "out of memory");
        for (size_t i = 0; i < p->n; i++) put_phrase(&p->way[w], p->v, (int32_t)i, w);
        if (!link_nodes(&p->way[w])) return err_set(e, ERR_NOMEM, "out of memory");
    }
    return true;
}

/* ---- what is read -------------------------------------------------------------------------------------------------- */

struct unit { /* a character as an automaton sees it; a space for a gap */
    uint32_t cp, at, end;
    enum fold_kind kind;
    bool sign, alike, joined; /* tricks: for a letter; of another script; to the one before it, over a gap */
};

struct units {
    struct unit *v;
    size_t n;
};

/* As the text stands. */
static void plain_units(const struct folded *f, size_t n, struct units *u)
{
    for (size_t i = 0; i < n; i++) {
        const bool gap = f[i].kind == FOLD_GAP;
        if (gap && u->n && u->v[u->n - 1].kind == FOLD_GAP)
            u->v[u->n - 1].end = f[i].end;
        else
            u->v[u->n++] =
                (struct unit){ .cp = gap ? ' ' : f[i].cp, .at = f[i].at, .end = f[i].end, .kind = f[i].kind };
    }
}

struct token {
    size_t first, n;
    size_t letters; /* with those before the text that is read */
    size_t gap;     /* characters between it and the one before */
    size_t row;     /* the same where that one is a single character, else 0 */
};

/* A sign within or before a word may be one of its letters. */
static bool in_word(const struct folded *f, size_t i, size_t n)
{
    return f[i].kind == FOLD_WORD ||
           (f[i].kind == FOLD_GAP && fold_sign(f[i].cp) && i + 1 < n && f[i + 1].kind == FOLD_WORD);
}

/* The first one is what was before, of which nothing can be read any more; without letters where there was nothing. */
static size_t cut_tokens(const struct folded *f, size_t n, const struct phrase_context *c, struct token *t)
{
    size_t count = 1, gap = c->gaps;
    t[0] = (struct token){ .letters = c->letters, .row = c->row };
    for (size_t i = 0; i < n;) {
        size_t k = i;
        const bool goes_on = count == 1 && !gap && c->letters && c->last == FOLD_WORD && in_word(f, i, n);
        if (f[i].kind == FOLD_KANA || f[i].kind == FOLD_ALONE)
            k++;
        else
            while (k < n && in_word(f, k, n)) k++;
        if (k == i) {
            gap++;
            i++;
            continue;
        }
        t[count] = (struct token){
            .first = i, .n = k - i, .letters = k - i + (goes_on ? c->letters : 0), .gap = gap
        };
        if (t[count - 1].letters == 1) t[count].row = gap;
        count++;
        gap = 0;
        i = k;
    }
    return count;
}

/* A gap between two single characters, and no wider than those beside it: in "h o w  t o" the middle one is between words. */
static bool is_joined(const struct token *t, size_t i, size_t n)
{
    const size_t gap = t[i].gap;
    if (!gap || gap > WIDEST_GAP || t[i].letters != 1 || t[i - 1].letters != 1) return false;
    if (t[i - 1].row && t[i - 1].row < gap) return false;
    return !(i + 1 < n && t[i + 1].letters == 1 && t[i + 1].gap && t[i + 1].gap < gap);
}

static bool has_latin(const struct folded *f, const struct token *t)
{
    for (size_t i = t->first; i < t->first + t->n; i++)
        if (f[i].cp >= 'a' && f[i].cp <= 'z') return true;
    return false;
}

/* Without tricks. unsure: the last units of the last tokens, the very last first: what comes may decide otherwise of them, but not of the
 * fourth. latin_next: the last word will have a Latin letter. */
static void bare_units(const struct folded *f, size_t n, bool latin_next, const struct phrase_context *before,
                       struct token *t, struct units *u, size_t unsure[4])
{
    const size_t n_tokens = cut_tokens(f, n, before, t);
    for (int i = 0; i < 4; i++) unsure[i] = SIZE_MAX;
    for (size_t i = 1; i < n_tokens; i++) {
        const struct token *k = &t[i];
        const bool joined = is_joined(t, i, n_tokens), last = k->first + k->n == n;
        const bool latin = has_latin(f, k) || k->letters == 1 || (last && latin_next);
        if (k->gap && !joined)
            u->v[u->n++] =
                (struct unit){ .cp = ' ', .at = f[k->first ? k->first - 1 : 0].at, .end = f[k->first].at };
        for (size_t c = k->first; c < k->first + k->n; c++) {
            const uint32_t sign = fold_sign(f[c].cp), alike = latin && !sign ? fold_lookalike(f[c].cp) : 0;
            u->v[u->n++] = (struct unit){ .cp = without_tricks(sign    ? sign
                                                               : alike ? alike
                                                                       : f[c].cp),
                                          .at = f[c].at,
                                          .end = f[c].end,
                                          .kind = sign ? FOLD_WORD : f[c].kind,
                                          .sign = sign != 0,
                                          .alike = alike != 0,
                                          .joined = joined && c == k->first };
        }
        if (n_tokens - i <= 4) unsure[n_tokens - i - 1] = u->n - 1;
    }
    const size_t over = t[n_tokens - 1].first + t[n_tokens - 1].n;
    if (n_tokens > 1 && over < n)
        u->v[u->n++] = (struct unit){ .cp = ' ', .at = f[over].at, .end = f[n - 1].end };
}

/* ---- finding ------------------------------------------------------------------------------------------------------- */

struct search {
    const struct phrases *p;
    uint64_t lists;
    struct phrase_context before;
    bool more;
    phrase_fn *fn;
    void *arg;
    size_t base;        /* bytes of the text before what is read */
    size_t reported[2]; /* hits that end by then were told before; without tricks */
    size_t told;        /* without tricks: all that ends by then */
    size_t sure;        /* without tricks: units of which nothing that comes decides otherwise */
    size_t hold;        /* the first byte that may have a part in a phrase */
    bool stop;
    bool only_hold; /* what is read may be otherwise: nothing is told */
};

static bool apart(const struct unit *a, const struct unit *b)
{
    return a->kind == FOLD_GAP || b->kind == FOLD_GAP || a->kind == FOLD_ALONE || b->kind == FOLD_ALONE ||
           a->kind != b->kind;
}

/* May a phrase begin where the text does? */
static bool may_begin_first(const struct search *s, const struct unit *first, bool bare, bool free)
{
    const struct phrase_context *c = &s->before;
    if (first->kind == FOLD_ALONE || (c->sign && !bare)) return true;
    if (first->joined) return free;
    return !c->letters || c->gaps || first->kind != (enum fold_kind)c->last;
}

/* And at unit i? free: also within a row of joined letters. */
static bool may_begin(const struct search *s, const struct units *u, size_t i, bool bare, bool free)
{
    const struct unit *v = u->v;
    if (!i) return may_begin_first(s, v, bare, free);
    if (v[i].joined && v[i].kind != FOLD_ALONE) return free;
    return apart(&v[i - 1], &v[i]);
}

static bool may_end(const struct search *s, const struct units *u, size_t i, const struct phrase *ph,
                    bool free)
{
    const struct unit *v = u->v;
    if (ph->open) return true;
    if (i + 1 == u->n) return !s->more;
    if (v[i + 1].joined && v[i + 1].kind != FOLD_ALONE) return free;
    if (ph->korean && is_jamo(v[i + 1].cp)) return v[i + 1].cp < 0x1160; /* a new syllable */
    return apart(&v[i], &v[i + 1]);
}

/* Whether what is found without tricks is one: see phrases.h. */
static bool is_trick(const struct unit *v, uint32_t n, bool *free)
{
    uint32_t signs = 0, alike = 0, joined = 0, letters = 0;
    bool all_joined = true;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].cp == ' ') {
            all_joined = false;
            continue;
        }
        letters++;
        signs += v[i].sign;
        alike += v[i].alike;
        joined += i && v[i].joined;
        all_joined &= !i || v[i].joined;
    }
    *free = all_joined && letters >= FREE_LETTERS;
    if (joined && letters < JOINED_LETTERS && v->kind != FOLD_ALONE) return false;
    return signs + alike + joined > 0 && letters - signs >= signs;
}

/* Is the next character of the same word? */
static bool goes_on(const struct units *u, size_t i)
{
    return i + 1 < u->n && !u->v[i + 1].joined && !apart(&u->v[i], &u->v[i + 1]);
}

static void tell(struct search *s, const struct units *u, size_t end, const struct phrase *ph, bool bare)
{
    const size_t begin = end + 1 - ph->n;
    bool free = false;
    if (!(s->lists >> ph->list & 1) || s->base + u->v[end].end < s->reported[bare]) return;
    if (bare && s->more && end >= s->sure && !goes_on(u, end)) return;
    if (bare && !is_trick(&u->v[begin], ph->n, &free)) return;
    if (!may_begin(s, u, begin, bare, free) || !may_end(s, u, end, ph, free)) return;
    const struct phrase_hit hit = { s->base + u->v[begin].at, s->base + u->v[end].end, ph->list, ph->text };
    s->stop = !s->fn(s->arg, &hit);
}

/* Keeps back what may become a phrase: the longest beginning of one that ends with unit i. */
static void keep_back(struct search *s, const struct units *u, const struct automaton *a, int32_t node,
                      size_t i, bool bare)
{
    for (; node; node = a->node[node].fail) {
        const size_t begin = i + 1 - a->node[node].depth;
        if (!may_begin(s, u, begin, bare, true)) continue;
        if (u->v[begin].at < s->hold) s->hold = u->v[begin].at;
        return;
    }
}

static void search_units(struct search *s, const struct units *u, bool bare, const size_t unsure[4])
{
    const struct automaton *a = &s->p->way[bare];
    int32_t node = 0;
    for (size_t i = 0; i < u->n && !s->stop; i++) {
        node = step(a, node, u->v[i].cp);
        int32_t at = a->node[node].phrase >= 0 ? node : a->node[node].link;
        for (; at >= 0 && !s->stop && !s->only_hold; at = a->node[at].link)
            for (int32_t k = a->node[at].phrase; k >= 0 && !s->stop; k = s->p->v[k].same[bare])
                tell(s, u, i, &s->p->v[k], bare);
        if (!s->more) continue;
        bool look = i + 1 == u->n;
        for (int k = 0; unsure && k < 3; k++) look |= unsure[k] == i;
        if (look) keep_back(s, u, a, node, i, bare);
    }
}

/* What is known at the end of the first `settled` bytes. */
static void note_context(struct phrase_context *c, const struct folded *f, size_t n, size_t settled)
{
    for (size_t i = 0; i < n && f[i].at < settled; i++) {
        c->sign = in_word(f, i, n) && f[i].kind == FOLD_GAP;
        if (f[i].kind == FOLD_GAP && !c->sign) {
            c->gaps = (unsigned char)(c->gaps + (c->gaps <= WIDEST_GAP));
            continue;
        }
        const enum fold_kind kind = c->sign ? FOLD_WORD : f[i].kind;
        const bool goes_on = c->letters && !c->gaps && kind == FOLD_WORD && c->last == FOLD_WORD;
        c->row = !goes_on && c->letters == 1 ? c->gaps : 0;
        c->letters = goes_on ? 2 : 1;
        c->gaps = 0;
        c->last = (unsigned char)kind;
    }
}

/* Whether letters of another script are read as Latin ones is said by the rest of their word. */
static bool ends_in_lookalike(const struct search *s, const struct folded *f, size_t n)
{
    bool alike = false, latin = false;
    if (!s->more) return false;
    for (size_t i = n; i > 0 && f[i - 1].kind != FOLD_ALONE; i--) {
        if (f[i - 1].kind == FOLD_GAP && !fold_sign(f[i - 1].cp)) break;
        alike |= fold_lookalike(f[i - 1].cp) != 0;
        latin |= f[i - 1].cp >= 'a' && f[i - 1].cp <= 'z';
    }
    return alike && !latin;
}

static bool search_text(struct search *s, const char *text, size_t len, struct phrase_context *after,
                        struct err *e)
{
    struct folded *f;
    size_t n, unsure[4];
    if (!fold_text(text, len, &f, &n, e)) return false;
    struct units u = { .v = malloc((2 * n + 2) * sizeof *u.v) };
    struct token *t = malloc((n + 2) * sizeof *t);
    bool ok = (u.v && t) || err_set(e, ERR_NOMEM, "no memory to read a text");
    s->hold = len;
    /* Whether a sign is a letter is said by what follows it. */
    if (s->more && n && f[n - 1].kind == FOLD_GAP && fold_sign(f[n - 1].cp)) s->hold = f[--n].at;
    if (ok) {
        plain_units(f, n, &u);
        search_units(s, &u, false, NULL);
    }
    for (int latin_next = 0; ok && !s->stop && latin_next < 1 + ends_in_lookalike(s, f, n); latin_next++) {
        u.n = 0;
        bare_units(f, n, latin_next, &s->before, t, &u, unsure);
        s->only_hold = latin_next;
        s->sure = unsure[3] == SIZE_MAX ? 0 : unsure[3] + 1;
        if (s->sure && !latin_next) s->told = s->base + u.v[unsure[3]].end;
        search_units(s, &u, true, unsure);
    }
    if (ok && after) note_context(after, f, n, s->hold);
    free(t);
    free(u.v);
    free(f);
    return ok;
}

bool phrases_find(const struct phrases *p, const char *text, size_t len, phrase_fn *fn, void *arg,
                  struct err *e)
{
    struct search s = { .p = p, .lists = UINT64_MAX, .fn = fn, .arg = arg };
    while (s.base < len && !s.stop) {
        size_t n = len - s.base < CHUNK ? len - s.base : CHUNK;
        while (n < len - s.base && n > CHUNK - 4 && ((unsigned char)text[s.base + n] & 0xc0) == 0x80) n--;
        s.more = s.base + n < len;
        if (!search_text(&s, text + s.base, n, NULL, e)) return false;
        if (!s.more) break;
        s.reported[0] = s.base + n;
        s.reported[1] = s.told + 1;
        s.base = s.reported[0] - OVERLAP;
        while (((unsigned char)text[s.base] & 0xc0) == 0x80 && s.base > s.reported[0] - OVERLAP - 4) s.base--;
        s.before = (struct phrase_context){ .last = FOLD_WORD,
                                            .letters = 2 }; /* whatever begins here was begun before */
    }
    return true;
}

static bool take_first(void *arg, const struct phrase_hit *hit)
{
    *(struct phrase_hit *)arg = *hit;
    return false;
}

bool phrases_find_growing(const struct phrases *p, uint64_t lists, const char *text, size_t len, bool more,
                          struct phrase_context *c, bool *found, struct phrase_hit *hit, size_t *settled,
                          struct err *e)
{
    struct search s = { .p = p, .lists = lists, .before = *c, .more = more, .fn = take_first, .arg = hit };
    *found = false;
    *settled = 0;
    if (!len) return true;
    if (!search_text(&s, text, len, c, e)) return false;
    *found = s.stop;
    *settled = s.stop ? hit->begin : s.hold;
    return true;
}
