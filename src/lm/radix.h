/* radix.h - which token prefixes have their keys and values in pages already: a tree over token ids, a page a node.
 *
 * A node stands for the tokens from the root down to it; all nodes but leaves hold KV_PAGE tokens, a leaf may hold
 * fewer. The tree holds one reference to each node's page. Each space of RADIX_SPACE bytes, hashes as a rule, has a tree of its own:
 * requests of different ones never see each other's nodes.
 * Eviction  least recently used leaf whose page no sequence uses.
 * Threads   one owner: the scheduler's thread. */
#ifndef HEARTH_LM_RADIX_H
#define HEARTH_LM_RADIX_H

#include "base/err.h"
#include "lm/kvcache.h"

struct radix;
enum { RADIX_SPACE = 32 };

bool radix_new(struct radix **out, struct kvcache *c, struct err *e);
void radix_free(struct radix *r); /* gives all pages back */

struct radix_match {
    int n_pages; /* whole pages found, written to page[] with a reference each for the caller */
    int32_t
        partial; /* a page that begins with the next n_partial tokens, or -1; no reference: copy it at once */
    int n_partial;
};
/* The longest known prefix of tokens[n]; page has room for n / KV_PAGE. */
struct radix_match radix_match(struct radix *r, const unsigned char *space, const int32_t *tokens, int n,
                               int32_t *page);

/* Remembers tokens[n] with their pages (the last may be partly filled, and may be filled further by its owner). Where the
 * tree already knows a whole page's tokens, page[i] becomes the tree's page: equal content, the reference moves over.
 * Out of memory: remembers less. */
void radix_insert(struct radix *r, const unsigned char *space, const int32_t *tokens, int n, int32_t *page);

/* Drops one idle page. false: there is none. */
bool radix_evict(struct radix *r);

int radix_n_nodes(const struct radix *r);

#endif
