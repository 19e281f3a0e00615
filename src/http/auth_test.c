/* auth_test.c - keys, host names and origins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/auth.h"

/* The program is linked so that these come first (Makefile), and fail where a test wants it. */
static atomic_bool no_memory, no_sodium;
void *__real_calloc(size_t n, size_t size);
int __real_sodium_init(void);
void *__wrap_calloc(size_t n, size_t size);
int __wrap_sodium_init(void);

void *__wrap_calloc(size_t n, size_t size) { return atomic_load(&no_memory) ? NULL : __real_calloc(n, size); }
int __wrap_sodium_init(void) { return atomic_load(&no_sodium) ? -1 : __real_sodium_init(); }

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
    char asker[AUTH_ASKER];
    struct principal p, again;
    assert_true(auth_principal(&a, NULL, NULL, &p));
    auth_asker(&p, asker);
    assert_true(auth_principal_again(&a, asker, &again));
    assert_string_equal(again.id, "anonymous");
    assert_int_equal(again.share.id, p.share.id);
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

/* Without memory or libsodium nobody is let in by chance: it does not begin, and the keys that were there stay. */
static void test_cannot(void **state)
{
    (void)state;
    static const char *const keys[] = { "first-key" }, *const others[] = { "second-key" };
    struct auth a;
    struct err e = { ERR_NONE, "" };
    atomic_store(&no_sodium, true);
    assert_false(auth_init(&a, keys, 1, NULL, &e));
    atomic_store(&no_sodium, false);
    assert_int_equal(e.code, ERR_IO);
    auth_free(&a);
    atomic_store(&no_memory, true);
    assert_false(auth_init(&a, keys, 1, NULL, &e));
    atomic_store(&no_memory, false);
    assert_int_equal(e.code, ERR_NOMEM);
    auth_free(&a);
    assert_true(auth_init(&a, keys, 1, NULL, &e));
    atomic_store(&no_memory, true);
    assert_false(auth_set_keys(&a, others, 1, &e));
    atomic_store(&no_memory, false);
    assert_true(key_ok(&a, "Bearer first-key"));
    assert_false(key_ok(&a, "Bearer second-key"));
    auth_free(&a);
}

/* Keys of a store beside those that the server was started with, and alone. */
static void test_store(void **state)
{
    (void)state;
    static const char *const keys[] = { "first-key" };
    char dir[] = "/tmp/hearth-auth-XXXXXX", where[60], line[80], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    struct store *s;
    struct keyring *ring;
    struct auth a;
    struct principal p;
    assert_non_null(mkdtemp(dir));
    snprintf(where, sizeof where, "%s/a.db", dir);
    if (!store_open(&s, where, &(struct store_options){ .busy_s = 120 }, &e)) fail_msg("%s", e.msg);
    const struct key_wish w = { .name = "",
                                .project = "",
                                .scopes = "",
                                .addresses = "",
                                .limits = "",
                                .budgets = "",
                                .tags = "",
                                .weight = 3,
                                .priority = -2 };
    if (!key_new(s, &w, 1, key, id, &e)) fail_msg("%s", e.msg);
    assert_true(keyring_open(&ring, s, &e));
    assert_true(auth_init(&a, keys, 1, ring, &e));
    snprintf(line, sizeof line, "Bearer %s", key);
    assert_true(auth_principal(&a, line, NULL, &p));
    assert_true(p.known && p.key && p.share.weight == 3 && p.share.priority == -2);
    assert_string_equal(p.id, id);
    assert_true(auth_principal(&a, NULL, key, &p)); /* as Anthropic's clients send it */
    assert_string_equal(p.id, id);
    assert_true(auth_principal(&a, "Bearer first-key", "none", &p));
    assert_null(p.key);
    assert_false(auth_principal(&a, "Bearer none", NULL, &p));
    assert_false(auth_principal(&a, NULL, NULL, &p));
    /* Again, without the key. */
    char asker[AUTH_ASKER];
    struct principal again;
    assert_true(auth_principal(&a, line, NULL, &p));
    auth_asker(&p, asker);
    assert_true(auth_principal_again(&a, asker, &again));
    assert_true(again.known && again.key == p.key && again.share.weight == 3 && again.share.priority == -2);
    assert_string_equal(again.id, id);
    assert_memory_equal(again.hash, p.hash, sizeof p.hash);
    assert_true(auth_principal(&a, "Bearer first-key", NULL, &p));
    auth_asker(&p, asker);
    assert_true(auth_principal_again(&a, asker, &again) && again.known && !again.key);
    assert_string_equal(again.id, p.id);
    static const char *const none[] = { "", "key:", "key:key_0", "hash:", "hash:00", "hash:zz" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(auth_principal_again(&a, none[i], &again));
    auth_free(&a);
    a = (struct auth){ .keyring = ring };
    assert_false(auth_principal_again(&a, asker, &again)); /* the server has that key no more */
    assert_true(auth_principal(&a, line, NULL, &p));
    assert_false(key_ok(&a, "Bearer first-key"));
    assert_true(auth_host_ok(&a, "evil.example")); /* keys are asked for */
    keyring_close(ring);
    store_close(s);
    snprintf(line, sizeof line, "rm -rf %s", dir);
    assert_int_equal(system(line), 0);
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const allowed[] = { "box.lan" };
    struct auth a = { .host = allowed, .n_host = 1 };
    static const char *const good[] = { "localhost", "LOCALHOST:80", "127.0.0.1",     "127.8.9.1:8080",
                                        "[::1]",     "[::1]:8080",   "a.localhost:1", "box.lan:8080" };
    static const char *const bad[] = { "",
                                       "evil.example",
                                       "localhost.evil.example",
                                       "127.0.0.1.evil.example",
                                       "10.0.0.1",
                                       "[::2]:1",
                                       "[::1",
                                       "box.lan.evil.example",
                                       "box.lam",
                                       "[::1]evil.example",
                                       "xlocalhost",
                                       "127x.evil.example",
                                       ".localhosts" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(auth_host_ok(&a, good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (auth_host_ok(&a, bad[i])) fail_msg("%s was let in", bad[i]);
    assert_true(auth_host_ok(&a, NULL));
    static const char *const all[] = { "other.lan", "*" };
    a = (struct auth){ .host = all, .n_host = 2 };
    assert_true(auth_host_ok(&a, "evil.example"));
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
    assert_int_equal(auth_origin(&a, "https://localhost:8080", "localhost:8080"), ORIGIN_SAME);
    assert_int_equal(auth_origin(&a, "https://localhost:8080", NULL), ORIGIN_FOREIGN);
    static const char *const all[] = { "https://app.example", "*" };
    a = (struct auth){ .origin = all, .n_origin = 2 };
    assert_int_equal(auth_origin(&a, "https://evil.example", "localhost:8080"), ORIGIN_ALLOWED);
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_keys),   cmocka_unit_test(test_principals),
                                        cmocka_unit_test(test_cannot), cmocka_unit_test(test_store),
                                        cmocka_unit_test(test_hosts),  cmocka_unit_test(test_origins),
                                        cmocka_unit_test(test_new_key) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
