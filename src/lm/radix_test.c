/* The page pool and the prefix tree together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "lm/radix.h"

enum { N_PAGES = 12 };

struct fixture {
    struct pool *pool;
    struct device *dev;
    struct kvcache *cache;
    struct radix *tree;
    struct kv_plan plan;
};

static const unsigned char SPACE[3][RADIX_SPACE] = { { 0 }, { [RADIX_SPACE - 1] = 1 }, { [0] = 2 } };

enum { WINDOW = 40 };

/* Two layers; `windowed` of them see WINDOW tokens. */
static struct fixture *setup_with(int windowed)
{
    struct err e;
    struct fixture *f = calloc(1, sizeof *f);
    struct lm_shape s = { .n_layer = 2, .n_kv_head = 1, .k_dim = 8, .v_dim = 8, .n_ctx_train = 512 };
    for (int il = 0; il < windowed; il++) s.layer[il].window = WINDOW;
    kv_plan(&f->plan, &s);
    assert_int_equal(f->plan.n_group, windowed == 1 ? 2 : 1);
    assert_true(pool_new(&f->pool, 1, &e) && device_cpu_open(&f->dev, f->pool, 0, &e));
    assert_true(kvcache_new(&f->cache, f->dev, KV_F16, &f->plan, &s, N_PAGES, &e));
    assert_true(radix_new(&f->tree, f->cache, &e));
    return f;
}

static int setup(void **state)
{
    *state = setup_with(0);
    return 0;
}

static int setup_windowed(void **state)
{
    *state = setup_with(1);
    return 0;
}

static int setup_all_windowed(void **state)
{
    *state = setup_with(2);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    radix_free(f->tree);
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES); /* nothing is lost */
    kvcache_free(f->cache);
    device_close(f->dev);
    pool_free(f->pool);
    free(f);
    return 0;
}

static void count_up(int32_t *t, int n, int from)
{
    for (int i = 0; i < n; i++) t[i] = from + i;
}

/* A sequence of n tokens that came and went. */
static void leave_behind(struct fixture *f, const unsigned char *space, const int32_t *tokens, int n)
{
    int32_t page[N_PAGES];
    const int n_pages = kv_pages_for(n);
    for (int i = 0; i < n_pages; i++) {
        page[i] = kvcache_alloc(f->cache);
        assert_true(page[i] >= 0);
    }
    radix_insert(f->tree, space, tokens, n, (int32_t *const[]){ page });
    for (int i = 0; i < n_pages; i++) kvcache_unref(f->cache, page[i]);
}

static int known(struct fixture *f, const unsigned char *space, const int32_t *tokens, int n)
{
    int32_t page[N_PAGES];
    struct radix_match m = radix_match(f->tree, space, tokens, n, (int32_t *const[]){ page });
    for (int i = 0; i < m.n_pages; i++) kvcache_unref(f->cache, page[i]);
    return m.n_pages * KV_PAGE + m.n_partial;
}

static void test_match(void **state)
{
    struct fixture *f = *state;
    int32_t a[100], b[100];
    count_up(a, 100, 1000);
    leave_behind(f, SPACE[0], a, 70); /* two pages and six tokens */
    assert_int_equal(kvcache_n_idle(f->cache), 3);
    assert_int_equal(known(f, SPACE[0], a, 100), 70);
    assert_int_equal(known(f, SPACE[0], a, 69), 69);
    assert_int_equal(known(f, SPACE[0], a, 33), 33);
    memcpy(b, a, sizeof b);
    b[40] = 7;
    assert_int_equal(known(f, SPACE[0], b, 100), 40); /* part of the second page */
    b[0] = 7;
    assert_int_equal(known(f, SPACE[0], b, 100), 0);
    leave_behind(f, SPACE[0], a, 100); /* continues the short leaf */
    assert_int_equal(known(f, SPACE[0], a, 100), 100);
    assert_int_equal(radix_n_nodes(f->tree), 4);
}

static void test_spaces_do_not_see_each_other(void **state)
{
    struct fixture *f = *state;
    int32_t a[40];
    count_up(a, 40, 0);
    leave_behind(f, SPACE[1], a, 40);
    assert_int_equal(known(f, SPACE[2], a, 40), 0);
    assert_int_equal(known(f, SPACE[0], a, 40), 0);
    assert_int_equal(known(f, SPACE[1], a, 40), 40);
}

static void test_same_content_twice(void **state)
{
    struct fixture *f = *state;
    int32_t a[64], first[2], second[2];
    count_up(a, 64, 0);
    for (int i = 0; i < 2; i++) first[i] = kvcache_alloc(f->cache);
    for (int i = 0; i < 2; i++) second[i] = kvcache_alloc(f->cache);
    radix_insert(f->tree, SPACE[0], a, 64, (int32_t *const[]){ first });
    radix_insert(f->tree, SPACE[0], a, 64,
                 (int32_t *const[]){ second }); /* second now uses the tree's pages; its own are free */
    assert_int_equal(second[0], first[0]);
    assert_int_equal(second[1], first[1]);
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES - 2);
    assert_int_equal(kvcache_refs(f->cache, first[0]), 3);
    for (int i = 0; i < 2; i++) kvcache_unref(f->cache, first[i]), kvcache_unref(f->cache, second[i]);
    assert_int_equal(kvcache_n_idle(f->cache), 2);
}

static void test_eviction(void **state)
{
    struct fixture *f = *state;
    int32_t a[64], b[64], page[N_PAGES];
    count_up(a, 64, 0);
    count_up(b, 64, 500);
    leave_behind(f, SPACE[0], a, 64);
    leave_behind(f, SPACE[0], b, 64);
    assert_int_equal(known(f, SPACE[0], a, 64), 64); /* a is the fresher one now */
    struct radix_match m =
        radix_match(f->tree, SPACE[0], b, 32, (int32_t *const[]){ page }); /* b's first page is in use */
    assert_int_equal(m.n_pages, 1);
    assert_true(radix_evict(f->tree)); /* the oldest leaf that nobody uses: b's second page */
    assert_int_equal(known(f, SPACE[0], a, 64), 64);
    assert_true(radix_evict(f->tree));
    assert_true(radix_evict(f->tree));
    assert_false(radix_evict(f->tree)); /* what is left is in use */
    assert_int_equal(known(f, SPACE[0], b, 64), 32);
    kvcache_unref(f->cache, page[0]);
    assert_true(radix_evict(f->tree));
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES);
}

static void test_growing_page(void **state)
{
    struct fixture *f = *state;
    int32_t a[40];
    count_up(a, 40, 0);
    int32_t page[2] = { kvcache_alloc(f->cache), kvcache_alloc(f->cache) };
    radix_insert(f->tree, SPACE[0], a, 10,
                 (int32_t *const[]){ page }); /* a prompt of ten tokens; its owner writes on */
    assert_int_equal(known(f, SPACE[0], a, 40), 10);
    radix_insert(f->tree, SPACE[0], a, 32, (int32_t *const[]){ page });
    radix_insert(f->tree, SPACE[0], a, 40, (int32_t *const[]){ page });
    assert_int_equal(known(f, SPACE[0], a, 40), 40);
    assert_int_equal(radix_n_nodes(f->tree), 2);
    kvcache_unref(f->cache, page[0]);
    kvcache_unref(f->cache, page[1]);
}

/* Random sequences over a tiny alphabet, with pages running out all the time: counts must always add up. */
static void test_storm(void **state)
{
    struct fixture *f = *state;
    uint32_t r[4];
    for (uint64_t round = 0; round < 3000; round++) {
        int32_t t[128], page[N_PAGES];
        philox_block(1, 2, round, r);
        const int n = (int)(r[0] % 120) + 1;
        for (int i = 0; i < n; i++)
            t[i] = (int32_t)(r[1] >> (i / 16 * 3) & 1) + (i % 16 == 0 ? (int32_t)(r[2] >> i / 16 & 1) : 0);
        struct radix_match m = radix_match(f->tree, SPACE[r[3] & 1], t, n - 1, (int32_t *const[]){ page });
        int have = m.n_pages;
        while (have < kv_pages_for(n)) {
            page[have] = kvcache_alloc(f->cache);
            if (page[have] >= 0)
                have++;
            else if (!radix_evict(f->tree))
                break;
        }
        if (have == kv_pages_for(n)) radix_insert(f->tree, SPACE[r[3] & 1], t, n, (int32_t *const[]){ page });
        for (int i = 0; i < have; i++) kvcache_unref(f->cache, page[i]);
        assert_int_equal(kvcache_n_idle(f->cache) + kvcache_n_free(f->cache), N_PAGES);
        assert_int_equal(kvcache_n_idle(f->cache), radix_n_nodes(f->tree));
    }
}

/* ---- layers with a window ----------------------------------------------------------------------------------------------- */

/* A sequence in a cache of several groups, as the scheduler keeps it. */
struct sequence {
    int32_t page[KV_GROUPS][N_PAGES];
    int first[KV_GROUPS], n[KV_GROUPS];
};

static void leave(struct fixture *f, struct sequence *q)
{
    for (int g = 0; g < f->plan.n_group; g++)
        for (int i = q->first[g]; i < q->n[g]; i++) kvcache_unref(f->cache, q->page[g][i]);
}

static void tables(struct sequence *q, int32_t *page[KV_GROUPS])
{
    for (int g = 0; g < KV_GROUPS; g++) page[g] = q->page[g];
}

/* From n_past to n tokens at once, and what is not seen any more is given back. false: no pages. */
static bool grow(struct fixture *f, struct sequence *q, const unsigned char *space, const int32_t *tokens,
                 int n)
{
    int32_t *page[KV_GROUPS];
    for (int g = 0; g < f->plan.n_group; g++)
        while (q->n[g] < kv_pages_for(n)) {
            int32_t p = kvcache_alloc(f->cache);
            if (p < 0 && radix_evict(f->tree)) p = kvcache_alloc(f->cache);
            if (p < 0) return false;
            q->page[g][q->n[g]++] = p;
        }
    tables(q, page);
    radix_insert(f->tree, space, tokens, n, page);
    for (int g = 0; g < f->plan.n_group; g++)
        for (; q->first[g] < kv_first_page(&f->plan, g, n); q->first[g]++) {
            kvcache_unref(f->cache, q->page[g][q->first[g]]);
            q->page[g][q->first[g]] = -1;
        }
    return true;
}

/* Tokens that a new sequence starts with, and whether it has the pages it needs. */
static int start(struct fixture *f, struct sequence *q, const unsigned char *space, const int32_t *tokens,
                 int n)
{
    int32_t *page[KV_GROUPS];
    memset(q, 0, sizeof *q);
    tables(q, page);
    const struct radix_match m = radix_match(f->tree, space, tokens, n, page);
    for (int g = 0; g < f->plan.n_group; g++) {
        assert_int_equal(m.first[g], kv_first_page(&f->plan, g, m.n_pages * KV_PAGE + m.n_partial));
        for (int i = m.first[g]; i < m.n_pages; i++) assert_true(kvcache_refs(f->cache, page[g][i]) > 1);
        if (m.n_partial) assert_true(kvcache_refs(f->cache, m.partial[g]) > 0);
        q->first[g] = m.first[g];
        q->n[g] = m.n_pages;
    }
    return m.n_pages * KV_PAGE + m.n_partial;
}

static void test_windows_are_given_back(void **state)
{
    struct fixture *f = *state;
    struct sequence q = { 0 }, r;
    int32_t a[200];
    count_up(a, 200, 0);
    assert_true(grow(f, &q, SPACE[0], a, 160)); /* five pages of both groups */
    const int full = f->plan.group[0].window ? 1 : 0;
    assert_int_equal(q.first[full], 0);
    assert_int_equal(q.first[1 - full], (160 - WINDOW + 1) / KV_PAGE); /* 121: in the fourth page */
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES - 10);
    assert_int_equal(kvcache_n_idle(f->cache), 3); /* the tree alone has them */
    /* all of it, and any part whose window the tree still has */
    assert_int_equal(start(f, &r, SPACE[0], a, 200), 160);
    leave(f, &r);
    assert_int_equal(start(f, &r, SPACE[0], a, 70), 70);
    leave(f, &r);
    /* room for two more: the pages nobody sees go, the sequence's own stay */
    for (int i = 0; i < 3; i++) {
        assert_true(kvcache_n_free(f->cache) > 0 || radix_evict(f->tree));
        assert_true((r.page[0][i] = kvcache_alloc(f->cache)) >= 0);
    }
    for (int i = 0; i < 3; i++) kvcache_unref(f->cache, r.page[0][i]);
    assert_int_equal(start(f, &r, SPACE[0], a, 200), 160);
    leave(f, &r);
    leave(f, &q);
    while (radix_evict(f->tree)) continue;
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES);
}

/* A prefix whose window is gone cannot be continued, though its other pages are there: a shorter one is. */
static void test_prefix_without_its_window(void **state)
{
    struct fixture *f = *state;
    struct sequence q = { 0 }, r;
    int32_t a[160], b[160];
    count_up(a, 160, 0);
    assert_true(grow(f, &q, SPACE[0], a, 160));
    while (kvcache_n_free(f->cache)) (void)kvcache_alloc(f->cache); /* nobody gives these back ... */
    const int n_before = kvcache_n_idle(f->cache);
    assert_true(radix_evict(f->tree)); /* ... so the oldest idle page of those in the sequence's past goes */
    assert_true(kvcache_n_idle(f->cache) < n_before);
    memcpy(b, a, sizeof b);
    b[100] = 7; /* parts from the sequence where its first windows were */
    const int known = start(f, &r, SPACE[0], b, 160);
    assert_true(known < 100);
    leave(f, &r);
    assert_int_equal(start(f, &r, SPACE[0], a, 160), 160);
    leave(f, &r);
    leave(f, &q);
    radix_free(f->tree);
    struct err e;
    assert_true(radix_new(&f->tree, f->cache, &e));
    for (int32_t p = 0; p < N_PAGES; p++)
        if (kvcache_refs(f->cache, p) > 0) kvcache_unref(f->cache, p);
}

/* Sequences that grow by turns, part from each other and end, in a cache that is always full. */
static void test_windowed_storm(void **state)
{
    struct fixture *f = *state;
    uint32_t r[4];
    int continued = 0;
    for (uint64_t round = 0; round < 4000; round++) {
        struct sequence q;
        int32_t t[128];
        philox_block(3, 4, round, r);
        const int n = (int)(r[0] % 126) + 2, step = (int)(r[3] >> 8) % 60 + 1;
        for (int i = 0; i < n; i++)
            t[i] = (int32_t)(r[1] >> (i / 16 * 3) & 1) + (i % 16 == 0 ? (int32_t)(r[2] >> i / 16 & 1) : 0);
        int past = start(f, &q, SPACE[r[3] & 1], t, n - 1);
        continued += past >= KV_PAGE;
        past = past / KV_PAGE * KV_PAGE; /* as if the copy of the partial page was not to be had: ... */
        for (int g = 0; g < f->plan.n_group; g++) /* ... then the pages before it may be too few */
            if (kv_first_page(&f->plan, g, past) < q.first[g]) past = -1;
        bool ok = past >= 0;
        while (ok && past < n) {
            past = past + step < n ? past + step : n;
            ok = grow(f, &q, SPACE[r[3] & 1], t, past);
        }
        leave(f, &q);
        assert_int_equal(kvcache_n_idle(f->cache) + kvcache_n_free(f->cache), N_PAGES);
    }
    assert_true(continued > 100);
    while (radix_evict(f->tree)) continue;
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES); /* whatever is idle can be had */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_match, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spaces_do_not_see_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_content_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_growing_page, setup, teardown),
        cmocka_unit_test_setup_teardown(test_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows_are_given_back, setup_windowed, teardown),
        cmocka_unit_test_setup_teardown(test_prefix_without_its_window, setup_windowed, teardown),
        cmocka_unit_test_setup_teardown(test_windowed_storm, setup_windowed, teardown),
        cmocka_unit_test_setup_teardown(test_windowed_storm, setup_all_windowed, teardown),
    };
    return cmocka_run_group_tests_name("kvcache and radix", tests, NULL, NULL);
}
