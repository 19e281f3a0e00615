#include "lm/kvcache.h"

#include <stdlib.h>

#include "base/mem.h"

struct page {
    int refs;
    bool in_tree;
};

struct kvcache {
    struct device *dev;
    dev_byte *base;
    size_t bytes, page_bytes;
    int n_pages, n_free, n_idle;
    int32_t *free_page; /* a stack; the lowest numbers on top at the start */
    struct page *page;
    struct kv_layer *layer;
    struct kv_plan plan;
};

/* Each layer's part starts on a cache line. */
static size_t layer_bytes(const struct device *d, enum kv_type type, const struct lm_shape *s)
{
    return (kv_page_bytes(d, type, s->n_kv_head, s->k_dim, s->v_in_k ? 0 : s->v_dim) + 63) / 64 * 64;
}

size_t kvcache_page_bytes(const struct device *d, enum kv_type type, const struct kv_plan *p,
                          const struct lm_shape *s)
{
    return layer_bytes(d, type, s) * (size_t)p->layers_each;
}

bool kvcache_new(struct kvcache **out, struct device *d, enum kv_type type, const struct kv_plan *p,
                 const struct lm_shape *s, int n_pages, struct err *e)
{
    struct kvcache *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "no memory for the key/value cache");
    c->plan = *p;
    c->page_bytes = kvcache_page_bytes(d, type, p, s);
    c->n_pages = c->n_free = n_pages;
    c->dev = d;
    if (!mem_mul(c->page_bytes, (size_t)n_pages, &c->bytes)) c->bytes = SIZE_MAX;
    c->free_page = calloc((size_t)n_pages, sizeof *c->free_page);
    c->page = calloc((size_t)n_pages, sizeof *c->page);
    c->layer = calloc((size_t)s->n_layer, sizeof *c->layer);
    if (c->bytes < SIZE_MAX) c->base = device_reserve(d, c->bytes, e);
    if (!c->base || !c->free_page || !c->page || !c->layer) {
        size_t bytes = c->bytes;
        kvcache_free(c);
        return err_set(e, ERR_NOMEM,
                       "cannot reserve %zu bytes for the key/value cache; ask for less context or cache",
                       bytes);
    }
    for (int i = 0; i < n_pages; i++) c->free_page[i] = n_pages - 1 - i;
    for (int il = 0; il < s->n_layer; il++)
        c->layer[il] = (struct kv_layer){ .type = type,
                                          .n_kv_head = s->n_kv_head,
                                          .k_dim = s->k_dim,
                                          .v_dim = s->v_dim,
                                          .v_in_k = s->v_in_k,
                                          .pages = c->base + layer_bytes(d, type, s) * (size_t)p->slot_of[il],
                                          .page_stride = c->page_bytes };
    *out = c;
    return true;
}

void kvcache_free(struct kvcache *c)
{
    if (!c) return;
    device_unreserve(c->dev, c->base, c->bytes);
    free(c->free_page);
    free(c->page);
    free(c->layer);
    free(c);
}

const struct kv_plan *kvcache_plan(const struct kvcache *c) { return &c->plan; }
const struct kv_layer *kvcache_layers(const struct kvcache *c) { return c->layer; }

int32_t kvcache_alloc(struct kvcache *c)
{
    if (!c->n_free) return -1;
    int32_t page = c->free_page[--c->n_free];
    c->page[page] = (struct page){ .refs = 1 };
    return page;
}

static bool idle(const struct page *p) { return p->in_tree && p->refs == 1; }

void kvcache_ref(struct kvcache *c, int32_t page)
{
    struct page *p = &c->page[page];
    c->n_idle -= idle(p);
    p->refs++;
}

void kvcache_unref(struct kvcache *c, int32_t page)
{
    struct page *p = &c->page[page];
    c->n_idle -= idle(p);
    if (--p->refs == 0)
        c->free_page[c->n_free++] = page;
    else
        c->n_idle += idle(p);
}

int kvcache_refs(const struct kvcache *c, int32_t page) { return c->page[page].refs; }

void kvcache_mark(struct kvcache *c, int32_t page, bool in_tree)
{
    struct page *p = &c->page[page];
    c->n_idle -= idle(p);
    p->in_tree = in_tree;
    c->n_idle += idle(p);
}

void kvcache_copy(struct kvcache *c, int32_t dst, int32_t src)
{
    device_copy_bytes(c->dev, c->base + (size_t)dst * c->page_bytes, c->base + (size_t)src * c->page_bytes,
                      c->page_bytes);
}

void kvcache_save(struct kvcache *c, int32_t page, void *to)
{
    device_download_bytes(c->dev, to, c->base + (size_t)page * c->page_bytes, c->page_bytes);
}

void kvcache_restore(struct kvcache *c, int32_t page, const void *from)
{
    device_upload_bytes(c->dev, c->base + (size_t)page * c->page_bytes, from, c->page_bytes);
}

int kvcache_total(const struct kvcache *c) { return c->n_pages; }
int kvcache_n_free(const struct kvcache *c) { return c->n_free; }
int kvcache_n_idle(const struct kvcache *c) { return c->n_idle; }
