/* Any text as a grammar: it is taken or refused; along what it allows masks, copies and forced bytes agree with feeding bytes, and where
 * the text may end a plain reading of the grammar says so, too. */
#include "mask_walk.h"
#include "text/grammar/rules.h"
#include "text/unicode.h"

enum { MAX_TEXT = 24, MAX_RULES = 24 };

/* Where what a symbol derives may end that begins at a place of the text: a bit for each place. Of rules, as far as is known. */
struct reading {
    const struct gbnf *g;
    const char *text;
    size_t n;
    uint64_t ends[MAX_RULES][MAX_TEXT + 1];
};

static uint64_t symbol_ends(const struct reading *r, int id, size_t from);

static uint64_t from_all(const struct reading *r, int id, uint64_t places)
{
    uint64_t to = 0;
    for (size_t i = 0; i <= r->n; i++)
        if (places >> i & 1) to |= symbol_ends(r, id, i);
    return to;
}

static uint64_t symbol_ends(const struct reading *r, int id, size_t from)
{
    const struct gbnf_node *k = &r->g->node[id];
    uint64_t to = 0;
    switch (k->kind) {
    case GBNF_EMPTY: return UINT64_C(1) << from;
    case GBNF_TEXT:
        if (k->n == 0) return UINT64_C(1) << from;
        if (r->n - from < (size_t)k->n || memcmp(r->text + from, r->g->text + k->at, (size_t)k->n) != 0)
            return 0;
        return UINT64_C(1) << (from + (size_t)k->n);
    case GBNF_CHARS: {
        unsigned n;
        if (from == r->n || utf8_step((const unsigned char *)r->text + from, r->n - from) <= 0) return 0;
        const uint32_t cp = utf8_get((const unsigned char *)r->text + from, &n);
        for (int i = 0; i < k->n; i++)
            if (cp >= r->g->range[k->at + i].first && cp <= r->g->range[k->at + i].last)
                return UINT64_C(1) << (from + n);
        return 0;
    }
    case GBNF_CAT:
        to = UINT64_C(1) << from;
        for (int c = k->child; c >= 0; c = r->g->node[c].next) to = from_all(r, c, to);
        return to;
    case GBNF_OR:
        for (int c = k->child; c >= 0; c = r->g->node[c].next) to |= symbol_ends(r, c, from);
        return to;
    case GBNF_REPEAT: {
        uint64_t at = UINT64_C(1) << from;
        for (int i = 0; i < k->min && at; i++) {
            const uint64_t next = from_all(r, k->child, at);
            if (next == at) break;
            at = next;
        }
        to = at;
        for (int i = k->min; (k->max < 0 || i < k->max) && at; i++) {
            at = from_all(r, k->child, at) & ~to;
            to |= at;
        }
        return to;
    }
    case GBNF_NAME: return r->ends[k->at][from];
    }
    return 0;
}

static void here(void *arg, const char *text, size_t n, bool ends)
{
    struct reading r = { .g = arg, .text = text, .n = n };
    if (n > MAX_TEXT) return;
    for (bool changed = true; changed;) {
        changed = false;
        for (int k = 0; k < r.g->n_rule; k++)
            for (size_t i = 0; i <= n; i++) {
                const uint64_t e = symbol_ends(&r, r.g->rule[k].body, i);
                changed |= e != r.ends[k][i];
                r.ends[k][i] = e;
            }
    }
    if ((r.ends[r.g->root][0] >> n & 1) != ends) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct grammar_limits small = {
        .text = { .max_bytes = 4096, .max_rules = 100, .max_nodes = 1000, .max_depth = 20, .max_count = 50 },
        .max_parts = 5000,
        .max_states = 1000,
        .max_table = 100000,
        .work = 200000,
    };
    struct constraint *c;
    struct gbnf *g;
    struct err e;
    if (size < 2) return 0;
    const size_t n_choice = data[0] < size - 1 ? data[0] : size - 1; /* the last bytes choose tokens */
    const char *text = (const char *)data + 1;
    const size_t n = size - 1 - n_choice;
    if (!gbnf_read(&g, text, n, &small.text, &e)) return 0;
    if (constraint_of_grammar(&c, text, n, NULL, &small, walk_masks(), &e))
        walk_constraint(c, data + size - n_choice, n_choice, g->n_rule <= MAX_RULES ? here : NULL, g);
    gbnf_free(g);
    return 0;
}
