/* scheduler_prefix.c - the prefix that a sequence begins with: from the tree, and from the disk. Pages go to the disk when they leave the tree or the model is unloaded, and come back when a prompt has
 * their text (scheduler_inside.h, prefix_store.h). */
#include <string.h>

#include "lm/scheduler_inside.h"

struct keeping {
    struct scheduler *s;
    bool wait;
};

/* Radix's radix_page_fn. */
static void keep(const struct keeping *k, const unsigned char *hash, int32_t page)
{
    struct scheduler *s = k->s;
    void *room = prefix_store_room(s->c.prefixes, hash, k->wait);
    if (!room) return;
    device_acquire(s->c.dev, POOL_DECODE);
    kvcache_save(s->c.cache, page, room);
    struct err e;
    const bool ok = device_finish(s->c.dev, &e);
    device_release(s->c.dev);
    if (ok)
        prefix_store_write(s->c.prefixes, hash, room);
    else
        prefix_store_drop(s->c.prefixes, room);
}

static void keep_one(void *arg, const unsigned char *hash, int32_t page)
{
    keep(&(struct keeping){ .s = arg }, hash, page);
}

static void keep_last(void *arg, const unsigned char *hash, int32_t page)
{
    keep(&(struct keeping){ .s = arg, .wait = true }, hash, page);
}

void scheduler_keep_evicted(struct scheduler *s)
{
    if (s->c.prefixes) radix_on_leave(s->radix, keep_one, s);
}

void scheduler_keep_all(struct scheduler *s)
{
    if (!s->c.prefixes || !s->radix || s->failure.code != ERR_NONE) return;
    radix_on_leave(s->radix, NULL, NULL);
    radix_each(s->radix, keep_last, s);
}

/* A page was damaged: those behind it, from page i on, are looked at as well, so that what is computed now is written in place of all that are. */
static void check_rest(struct scheduler *s, const unsigned char *before, const int32_t *token, int limit,
                       int i)
{
    unsigned char hash[PREFIX_HASH];
    memcpy(hash, before, sizeof hash);
    for (; i < limit / KV_PAGE; i++) {
        prefix_hash_page(hash, hash, token + (size_t)i * KV_PAGE, KV_PAGE);
        if (prefix_store_has(s->c.prefixes, hash)) prefix_store_read(s->c.prefixes, hash);
    }
}

/* Of a text's pages n_page are there; those behind them that the disk has, up to `limit` tokens, are read into page[]. The number of all. */
static int restore(struct scheduler *s, const unsigned char *space, const int32_t *token, int limit,
                   int n_page, int32_t *page)
{
    unsigned char hash[PREFIX_HASH];
    if (!s->c.prefixes || limit / KV_PAGE <= n_page) return n_page;
    prefix_hash_begin(hash, space, RADIX_SPACE);
    for (int i = 0; i < n_page; i++) prefix_hash_page(hash, hash, token + (size_t)i * KV_PAGE, KV_PAGE);
    for (; n_page < limit / KV_PAGE; n_page++) {
        bool text = true; /* rows of a picture have names that mean nothing after a restart */
        for (int k = 0; k < KV_PAGE; k++) text &= token[n_page * KV_PAGE + k] >= 0;
        prefix_hash_page(hash, hash, token + (size_t)n_page * KV_PAGE, KV_PAGE);
        if (!text) break;
        if (!prefix_store_has(s->c.prefixes, hash)) break;
        const int32_t to = scheduler_new_page(s);
        if (to < 0) break;
        const void *bytes = prefix_store_read(s->c.prefixes, hash);
        struct err e;
        bool ok = bytes != NULL;
        if (ok) {
            device_acquire(s->c.dev, POOL_DECODE);
            kvcache_restore(s->c.cache, to, bytes);
            ok = device_finish(s->c.dev, &e);
            device_release(s->c.dev);
        }
        if (!ok) kvcache_unref(s->c.cache, to);
        if (!bytes) check_rest(s, hash, token, limit, n_page + 1);
        if (!ok) break;
        page[n_page] = to;
    }
    return n_page;
}

/* The pages that begin with the next tokens, of every group, are copied: whoever filled them writes on. false: no room. */
static bool copy_partial(struct scheduler *s, struct seq *q, const struct radix_match *m)
{
    int n = 0;
    for (int g = 0; g < s->kv->n_group; g++) /* not to be evicted while pages are found for the copies */
        kvcache_ref(s->c.cache, m->partial[g]);
    for (; n < s->kv->n_group; n++) {
        const int32_t page = scheduler_new_page(s);
        if (page < 0) break;
        device_acquire(s->c.dev, POOL_DECODE);
        kvcache_copy(s->c.cache, page, m->partial[n]);
        device_release(s->c.dev);
        q->page[n].at[q->page[n].n++] = page;
    }
    for (int g = 0; g < s->kv->n_group; g++) kvcache_unref(s->c.cache, m->partial[g]);
    return n == s->kv->n_group;
}

/* The prefix that other requests left behind. Its last token is processed anew, because its logits are wanted, unless the request's first
 * choice has left them. */
void scheduler_start_from_prefix(struct scheduler *s, struct seq *q)
{
    const struct lm_job *j = q->job;
    int limit = q->n_token - 1;
    if (s->c.arch->engine->whole) return;
    if (q->choice > 0 && q->n_token == j->n_prompt && (j->first_logits || j->max_tokens == 0))
        limit = q->n_token; /* nothing is left to compute */
    if (q->choice == 0 && !j->prompt_ready && limit > j->score_from - 1) limit = j->score_from - 1;
    if (q->choice == 0 && (j->raw_logits || (j->pool != LM_POOL_NONE && j->pool != LM_POOL_LAST))) limit = 0;
    int32_t *page[KV_GROUPS];
    for (int g = 0; g < s->kv->n_group; g++) page[g] = q->page[g].at;
    const struct radix_match m = radix_match(s->radix, j->terms->space, q->token, limit, page);
    for (int g = 0; g < s->kv->n_group; g++) {
        q->page[g].n = m.n_pages;
        q->page[g].first = m.first[g];
        for (int i = 0; i < m.first[g]; i++) page[g][i] = -1;
    }
    q->n_past = m.n_pages * KV_PAGE + m.n_partial;
    const int n = restore(s, j->terms->space, q->token, limit, m.n_pages, q->page[0].at);
    if (n > m.n_pages) { /* more than the tree has */
        q->page[0].n = n;
        q->n_past = n * KV_PAGE;
        scheduler_tell_tree(s, q, q->n_past);
        return;
    }
    if (m.n_partial && !copy_partial(s, q, &m)) scheduler_give_up_pages(s, q);
}
