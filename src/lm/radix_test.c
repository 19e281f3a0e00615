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
    struct kvcache *cache;
    struct radix *tree;
};

static const unsigned char SPACE[3][RADIX_SPACE] = { { 0 }, { [RADIX_SPACE - 1] = 1 }, { [0] = 2 } };

static int setup(void **state)
{
    struct err e;
    struct fixture *f = calloc(1, sizeof *f);
    assert_true(kvcache_new(&f->cache, KV_F16, 2, 1, 8, 8, N_PAGES, &e));
    assert_true(radix_new(&f->tree, f->cache, &e));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    radix_free(f->tree);
    assert_int_equal(kvcache_n_free(f->cache), N_PAGES); /* nothing is lost */
    kvcache_free(f->cache);
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
    const int n_pages = kvcache_pages_for(n);
    for (int i = 0; i < n_pages; i++) {
        page[i] = kvcache_alloc(f->cache);
        assert_true(page[i] >= 0);
    }
    radix_insert(f->tree, space, tokens, n, page);
    for (int i = 0; i < n_pages; i++) kvcache_unref(f->cache, page[i]);
}

static int known(struct fixture *f, const unsigned char *space, const int32_t *tokens, int n)
{
    int32_t page[N_PAGES];
    struct radix_match m = radix_match(f->tree, space, tokens, n, page);
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
    radix_insert(f->tree, SPACE[0], a, 64, first);
    radix_insert(f->tree, SPACE[0], a, 64, second); /* second now uses the tree's pages; its own are free */
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
    assert_int_equal(known(f, SPACE[0], a, 64), 64);                    /* a is the fresher one now */
    struct radix_match m = radix_match(f->tree, SPACE[0], b, 32, page); /* b's first page is in use */
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
    radix_insert(f->tree, SPACE[0], a, 10, page); /* a prompt of ten tokens; its owner writes on */
    assert_int_equal(known(f, SPACE[0], a, 40), 10);
    radix_insert(f->tree, SPACE[0], a, 32, page);
    radix_insert(f->tree, SPACE[0], a, 40, page);
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
        struct radix_match m = radix_match(f->tree, SPACE[r[3] & 1], t, n - 1, page);
        int have = m.n_pages;
        while (have < kvcache_pages_for(n)) {
            page[have] = kvcache_alloc(f->cache);
            if (page[have] >= 0)
                have++;
            else if (!radix_evict(f->tree))
                break;
        }
        if (have == kvcache_pages_for(n)) radix_insert(f->tree, SPACE[r[3] & 1], t, n, page);
        for (int i = 0; i < have; i++) kvcache_unref(f->cache, page[i]);
        assert_int_equal(kvcache_n_idle(f->cache) + kvcache_n_free(f->cache), N_PAGES);
        assert_int_equal(kvcache_n_idle(f->cache), radix_n_nodes(f->tree));
    }
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
    };
    return cmocka_run_group_tests_name("kvcache and radix", tests, NULL, NULL);
}
