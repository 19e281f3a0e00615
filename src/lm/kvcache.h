/* kvcache.h - keys and values of past tokens, in pages of KV_PAGE tokens that sequences and the prefix tree share.
 *
 * A page holds its tokens' keys and values of the layers of one group (kvplan.h). Who uses a page holds a reference; at none it is free
 * again, for whichever group needs one.
 * Memory   the device's. Addresses for all pages are reserved at the start and become memory when a page is first written: low
 *          numbers are handed out first, so what an idle server never needed it never holds.
 * Threads  one owner: the scheduler's thread. */
#ifndef HEARTH_LM_KVCACHE_H
#define HEARTH_LM_KVCACHE_H

#include "base/err.h"
#include "lm/kvplan.h"

struct kvcache;

/* Bytes of one page. */
size_t kvcache_page_bytes(const struct device *d, enum kv_type type, const struct kv_plan *p,
                          const struct lm_shape *s);

/* Copies the plan, which is the shape's. */
bool kvcache_new(struct kvcache **out, struct device *d, enum kv_type type, const struct kv_plan *p,
                 const struct lm_shape *s, int n_pages, struct err *e);
void kvcache_free(struct kvcache *c);

const struct kv_plan *kvcache_plan(const struct kvcache *c);
const struct kv_layer *kvcache_layers(const struct kvcache *c); /* [n_layer], for the device */

/* A free page with one reference, or -1. */
int32_t kvcache_alloc(struct kvcache *c);
void kvcache_ref(struct kvcache *c, int32_t page);
void kvcache_unref(struct kvcache *c, int32_t page);
int kvcache_refs(const struct kvcache *c, int32_t page);

/* One of the page's references belongs to the prefix tree (or no longer). Pages that only the tree holds are idle:
 * evicting them makes them free. */
void kvcache_mark(struct kvcache *c, int32_t page, bool in_tree);

/* By the device's owner. */
void kvcache_copy(struct kvcache *c, int32_t dst, int32_t src);
/* A page's bytes, kvcache_page_bytes() of them, to the host and back; likewise by the device's owner. */
void kvcache_save(struct kvcache *c, int32_t page, void *to);
void kvcache_restore(struct kvcache *c, int32_t page, const void *from);

int kvcache_total(const struct kvcache *c);
int kvcache_n_free(const struct kvcache *c);
int kvcache_n_idle(const struct kvcache *c);

#endif
