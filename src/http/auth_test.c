/* auth_test.c - keys, host names and origins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "http/auth.h"

static bool key_ok(const struct auth *a, const char *authorization)
{
    struct principal p;
    return auth_principal(a, authorization, NULL, &p);
}

static void test_keys(void **state)
{
    (void)state;
    static const char *const keys[] = { "first-key", "second-key" };
    struct auth a;
    assert_true(auth_init(&a, keys, 2, NULL, NULL));
    assert_true(key_ok(&a, "Bearer first-key"));
    assert_true(key_ok(&a, "bearer   second-key "));
    static const char *const wrong[] = { "",
                                         "Bearer",
                                         "Bearer ",
                                         "first-key",
                                         "Basic first-key",
                                         "Bearer first-ke",
                                         "Bearer first-keyx",
                                         "Bearer first-key second-key" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(key_ok(&a, wrong[i]));
    assert_false(key_ok(&a, NULL));
    assert_true(auth_host_ok(&a, "anything.example")); /* who has a key may call it what he likes */
    static const char *const others[] = { "third-key" };
    assert_true(auth_set_keys(&a, others, 1, NULL));
    assert_int_equal(auth_n_keys(&a), 1);
    assert_true(key_ok(&a, "Bearer third-key"));
    assert_false(key_ok(&a, "Bearer first-key"));
    auth_free(&a);
    assert_true(auth_init(&a, NULL, 0, NULL, NULL));
    assert_true(key_ok(&a, NULL));
    auth_free(&a);
}

static void test_principals(void **state)
{
    (void)state;
    static const char *const keys[] = { "first-key" };
    struct auth a, open;
    struct principal p, q;
    memset(&open, 0, sizeof open);
    assert_true(auth_init(&a, keys, 1, NULL, NULL));
    assert_true(auth_principal(&a, "Bearer first-key", NULL, &p));
    assert_true(p.known);
    assert_true(auth_principal(&open, "bearer   first-key ", NULL,
                               &q)); /* the same one, where nobody asks for a key */
    assert_false(q.known);
    assert_memory_equal(p.hash, q.hash, sizeof p.hash);
    assert_string_equal(p.id, q.id);
    assert_false(auth_principal(&a, "Bearer second-key", NULL, &q));
    assert_false(q.known);
    assert_memory_not_equal(p.hash, q.hash, sizeof p.hash);
    assert_true(auth_principal(&open, NULL, NULL, &q));
    assert_string_equal(q.id, "anonymous");
    assert_true(auth_principal(&open, "Basic first-key", NULL, &p)); /* no key of ours */
    assert_memory_equal(p.hash, q.hash, sizeof p.hash);
    auth_free(&a);
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const allowed[] = { "box.lan" };
    struct auth a = { .host = allowed, .n_host = 1 };
    static const char *const good[] = { "localhost", "LOCALHOST:80", "127.0.0.1",     "127.8.9.1:8080",
                                        "[::1]",     "[::1]:8080",   "a.localhost:1", "box.lan:8080" };
    static const char *const bad[] = {
        "",        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1",
        "[::2]:1", "[::1",         "box.lan.evil.example"
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(auth_host_ok(&a, good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (auth_host_ok(&a, bad[i])) fail_msg("%s was let in", bad[i]);
    assert_true(auth_host_ok(&a, NULL));
}

static void test_origins(void **state)
{
    (void)state;
    static const char *const allowed[] = { "https://app.example" };
    struct auth a = { .origin = allowed, .n_origin = 1 };
    assert_int_equal(auth_origin(&a, NULL, "h"), ORIGIN_NONE);
    assert_int_equal(auth_origin(&a, "http://localhost:8080", "localhost:8080"), ORIGIN_SAME);
    assert_int_equal(auth_origin(&a, "http://localhost:8081", "localhost:8080"), ORIGIN_FOREIGN);
    assert_int_equal(auth_origin(&a, "https://app.example", "localhost:8080"), ORIGIN_ALLOWED);
    assert_int_equal(auth_origin(&a, "https://app.example.evil", "localhost:8080"), ORIGIN_FOREIGN);
    assert_int_equal(auth_origin(&a, "null", "null"), ORIGIN_FOREIGN);
}

static void test_new_key(void **state)
{
    (void)state;
    char a[64], b[64];
    auth_new_key(a);
    auth_new_key(b);
    assert_int_equal(strlen(a), 46);
    assert_memory_equal(a, "hk-", 3);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_keys), cmocka_unit_test(test_principals),
                                        cmocka_unit_test(test_hosts), cmocka_unit_test(test_origins),
                                        cmocka_unit_test(test_new_key) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
