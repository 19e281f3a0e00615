/* kept_responses_test.c - what is kept, for whom, how long, and what goes when there is no more room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/kept_responses.h"
#include "store/store.h"

static struct kept_responses *open_with(size_t bytes, int count, int64_t age_ms)
{
    const struct kept_limits l = { bytes, count, age_ms };
    struct kept_responses *k;
    assert_true(kept_responses_new(&k, &l, NULL, NULL));
    return k;
}

static bool put(struct kept_responses *k, const char *owner, const char *id, const char *text, int64_t now)
{
    struct kept_response r = {
        .input = "[]", .input_len = 2, .response = (char *)text, .response_len = strlen(text)
    };
    snprintf(r.id, sizeof r.id, "%s", id);
    snprintf(r.previous, sizeof r.previous, "before");
    return kept_responses_put(k, owner, &r, now);
}

static bool has(struct kept_responses *k, const char *owner, const char *id, const char *text, int64_t now)
{
    struct kept_response r;
    struct err e = { 0 };
    if (!kept_responses_get(k, owner, id, now, &r, &e)) {
        assert_int_equal(e.code, ERR_NOT_FOUND);
        return false;
    }
    assert_string_equal(r.response, text);
    assert_string_equal(r.input, "[]");
    assert_string_equal(r.previous, "before");
    kept_response_free(&r);
    return true;
}

static void test_its_owners(void **state)
{
    (void)state;
    struct kept_responses *k = open_with(1 << 20, 100, 1000);
    assert_true(put(k, "a", "r1", "one", 0));
    assert_true(has(k, "a", "r1", "one", 1));
    assert_false(has(k, "b", "r1", "one", 1));
    struct err e = { 0 };
    assert_false(kept_responses_remove(k, "b", "r1", 1, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(kept_responses_remove(k, "a", "r1", 1, &e));
    assert_false(has(k, "a", "r1", "one", 1));
    assert_false(kept_responses_remove(k, "a", "r1", 1, &e));
    kept_responses_free(k);
}

static void test_its_time(void **state)
{
    (void)state;
    struct kept_responses *k = open_with(1 << 20, 100, 1000);
    assert_true(put(k, "a", "r1", "one", 0));
    assert_true(has(k, "a", "r1", "one", 1000));
    assert_false(has(k, "a", "r1", "one", 1001));
    kept_responses_free(k);
}

static void test_the_oldest_go(void **state)
{
    (void)state;
    struct kept_responses *k = open_with(1 << 20, 3, 1000000);
    char id[20];
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_true(put(k, "a", id, "text", i));
    }
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_int_equal(has(k, "a", id, "text", 50), i >= 47);
    }
    kept_responses_free(k);
    static char large[3000];
    memset(large, 'x', sizeof large - 1);
    k = open_with(8000, 100, 1000000);
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_true(put(k, "a", id, large, i));
    }
    assert_false(has(k, "a", "r2", large, 5));
    assert_true(has(k, "a", "r4", large, 5));
    kept_responses_free(k);
    k = open_with(2000, 100, 1000000);
    assert_true(put(k, "a", "r1", "text", 0));
    assert_false(put(k, "a", "r2", large, 0)); /* larger than all of it: the others stay */
    assert_true(has(k, "a", "r1", "text", 0));
    kept_responses_free(k);
}

/* Over a restart, by another server of the store too, with the limits of age and number. */
static void test_store(void **state)
{
    (void)state;
    enum { MANY = 70 }; /* old ones go with each 64th */
    const struct kept_limits l = { 1000000, 3, 1000 };
    const struct store_options o = { .migrate = true };
    char folder[] = "/tmp/kept_test_XXXXXX", path[64], id[16];
    struct store *store;
    struct kept_responses *k, *other;
    struct err e = { 0 };
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/store.db", folder);
    assert_true(store_open(&store, path, &o, &e));
    assert_true(kept_responses_new(&k, &l, store, &e));
    assert_true(put(k, "a", "r1", "one", 10));
    assert_true(put(k, "a", "r2", "two", 11));
    assert_true(has(k, "a", "r1", "one", 11)); /* whether it is written down yet or not */
    assert_false(has(k, "b", "r1", "one", 11));
    assert_false(kept_responses_remove(k, "b", "r1", 11, &e));
    kept_responses_free(k);
    store_close(store);

    assert_true(store_open(&store, path, &o, &e));
    assert_true(kept_responses_new(&k, &l, store, &e));
    assert_true(kept_responses_new(&other, &l, store, &e));
    assert_true(has(k, "a", "r1", "one", 1000));
    assert_false(has(k, "a", "r1", "one", 1011)); /* its time is over */
    assert_false(has(k, "b", "r1", "one", 1000));
    assert_true(kept_responses_remove(other, "a", "r1", 12, &e));
    assert_false(has(k, "a", "r1", "one", 12));
    assert_false(kept_responses_remove(k, "a", "r1", 12, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "m%d", i);
        assert_true(put(k, "a", id, "many", 100 + i));
        assert_true(put(other, "b", id, "same", 100 + i)); /* an id is one response's */
    }
    kept_responses_free(other);
    kept_responses_free(k);
    store_close(store);

    assert_true(store_open(&store, path, &o, &e));
    assert_true(kept_responses_new(&k, &l, store, &e));
    assert_false(has(k, "a", "m0", "many", 200));
    assert_false(has(k, "a", "r2", "two", 200));
    assert_true(has(k, "a", "m69", "many", 200) || has(k, "b", "m69", "same", 200));
    kept_responses_free(k);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_its_owners), cmocka_unit_test(test_its_time),
                                        cmocka_unit_test(test_the_oldest_go), cmocka_unit_test(test_store) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
