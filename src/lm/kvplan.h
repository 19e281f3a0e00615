/* kvplan.h - which layers share a page of the key/value cache, and which pages of a sequence they still need.
 *
 * Layers that see everything need all pages of a sequence; layers with a window or chunks need those that some later token sees. So that
 * both take pages from one pool, layers are dealt into groups of one size, each group of layers that see alike, and a page holds the keys
 * and values of KV_PAGE tokens in the layers of one group. A sequence has a table of pages for each group. A model whose layers all see
 * alike has one group. (The hybrid cache manager of vLLM divides layers the same way.)
 * Size     of a group is chosen so that a sequence of usual length takes least; a group whose layers do not fill it wastes the rest. */
#ifndef HEARTH_LM_KVPLAN_H
#define HEARTH_LM_KVPLAN_H

#include "lm/arch.h"

enum { KV_GROUPS = 8 };

struct kv_plan {
    int n_group, layers_each; /* layers of a group, some perhaps empty */
    struct {
        int window, chunk; /* as its layers' (lm_layer_shape); 0 and 0: they see everything */
    } group[KV_GROUPS];
    short group_of[LM_MAX_LAYER], slot_of[LM_MAX_LAYER];
};

void kv_plan(struct kv_plan *p, const struct lm_shape *s);

static inline int kv_pages_for(int n_tokens) { return (n_tokens + KV_PAGE - 1) / KV_PAGE; }

/* The first page of group g that a token at position pos or later needs. */
int kv_first_page(const struct kv_plan *p, int g, int pos);

/* Pages of group g, and of all groups together, that a sequence of n_tokens holds at most at once, when no step brings it more than
 * max_rows tokens. */
int kv_group_pages(const struct kv_plan *p, int g, int n_tokens, int max_rows);
int kv_sequence_pages(const struct kv_plan *p, int n_tokens, int max_rows);

#endif
