/* radix.h - which token prefixes have their keys and values in pages already: a tree over token ids, a page a node.
 *
 * A node stands for the tokens from the root down to it; all nodes but leaves hold KV_PAGE tokens, a leaf may hold
 * fewer. It has a page of each group of layers (kvplan.h), but of groups that do not see everything perhaps none: who continues from
 * a node needs the pages that a window, or a chunk, behind it still shows. The tree holds one reference to each page. Each space of RADIX_SPACE bytes, hashes as a rule, has a tree of its own:
 * requests of different ones never see each other's nodes.
 * Eviction  least recently used leaf whose pages no sequence uses; behind sequences that go on, pages that they no longer see.
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
    int n_pages; /* whole pages found */
    int first
        [KV_GROUPS]; /* of each group, pages first[g] .. n_pages-1 are written to page[g][], with a reference each for the caller */
    int n_partial;   /* more tokens, in the beginnings of pages; 0: none */
    int32_t partial[KV_GROUPS]; /* those pages; no reference: copy them at once */
};
/* The longest known prefix of tokens[n] that can be continued; each page[g] has room for n / KV_PAGE. */
struct radix_match radix_match(struct radix *r, const unsigned char *space, const int32_t *tokens, int n,
                               int32_t *const *page);

/* Remembers tokens[n] with their pages (the last may be partly filled, and may be filled further by its owner); -1 where the sequence has
 * given one back. Where the tree already knows a whole page's tokens, page[g][i] becomes the tree's page: equal content, the
 * reference moves over. Out of memory: remembers less. */
void radix_insert(struct radix *r, const unsigned char *space, const int32_t *tokens, int n,
                  int32_t *const *page);

/* fn is told of each whole page of the first group before it leaves the tree by radix_evict(), by the hash of its text (prefix_store.h).
 * NULL: nobody is. */
typedef void radix_page_fn(void *arg, const unsigned char *hash, int32_t page);
void radix_on_leave(struct radix *r, radix_page_fn *fn, void *arg);
/* The same for all of them, the latest used first: a page after those before it in the text. */
void radix_each(struct radix *r, radix_page_fn *fn, void *arg);

/* Makes at least one page free. false: none is idle. */
bool radix_evict(struct radix *r);

int radix_n_nodes(const struct radix *r);

#endif
