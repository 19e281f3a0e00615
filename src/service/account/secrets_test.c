/* secrets_test.c - what is sealed opens with its own key and under its own name alone, in each kind of store. */
#include "store/test_places.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "service/account/secrets.h"

#define NOW INT64_C(1750000000000)

static const struct actor anna = { "cli:anna", "" };
static const char *const text_a = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
                         *const text_b = "FF0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static struct master_key key_of(const char *text)
{
    struct master_key k;
    struct err e = { ERR_NONE, "" };
    assert_true(master_key_load(&k, "", text, &e));
    return k;
}

static void holds(struct store *s, const struct master_key *k, const char *name, const char *want)
{
    struct err e = { ERR_NONE, "" };
    char *value;
    if (!secrets_get(s, k, name, &value, &e)) fail_msg("%s", e.msg);
    assert_string_equal(value, want);
    free(value);
}

static bool count_name(void *arg, const char *name, int64_t set_ms, struct err *e)
{
    char *names = arg;
    (void)e;
    assert_true(set_ms >= NOW && set_ms < NOW + 10);
    strcat(names, name);
    strcat(names, " ");
    return true;
}

static bool count_act(void *arg, const struct audit_row *row, struct err *e)
{
    char *acts = arg;
    (void)e;
    assert_string_equal(row->who, "cli:anna");
    assert_string_equal(row->after, "");
    strcat(acts, row->act);
    strcat(acts, " ");
    return true;
}

static bool swap(void *arg, struct session *c, struct err *e)
{
    (void)arg;
    return session_run(
        c, "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'b') WHERE name = 'a'",
        STORE_NO_ARGS, NULL, NULL, e);
}

static void each_life(struct places *p, enum place kind)
{
    char where[200], names[100] = "", acts[300] = "", *value = NULL;
    struct err e = { ERR_NONE, "" };
    const struct master_key a = key_of(text_a), b = key_of(text_b);
    int n;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(secrets_set(s, &a, "b", "second", &anna, NOW, &e));
    assert_true(secrets_set(s, &a, "a", "first", &anna, NOW + 1, &e));
    assert_true(secrets_set(s, &a, "a", "first again", &anna, NOW + 2, &e));
    holds(s, &a, "a", "first again");
    holds(s, &a, "b", "second");
    assert_true(secrets_each(s, count_name, names, &e));
    assert_string_equal(names, "a b ");
    assert_false(secrets_get(s, &a, "c", &value, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);

    /* Another key opens nothing and adds nothing, and the error shows neither key nor value. */
    assert_false(secrets_get(s, &b, "a", &value, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_non_null(strstr(e.msg, "not the master key"));
    assert_null(strstr(e.msg, "first"));
    assert_false(secrets_set(s, &b, "c", "third", &anna, NOW, &e));
    assert_false(secrets_rotate(s, &b, &a, &anna, NOW, &n, &e));
    assert_null(value);

    assert_true(secrets_rotate(s, &a, &b, &anna, NOW + 3, &n, &e));
    assert_int_equal(n, 2);
    holds(s, &b, "a", "first again");
    assert_false(secrets_get(s, &a, "b", &value, &e));
    assert_true(secrets_set(s, &b, "c", "third", &anna, NOW + 4, &e));
    assert_true(secrets_remove(s, "c", &anna, NOW + 5, &e));
    assert_false(secrets_remove(s, "c", &anna, NOW + 6, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(audit_each(s, 0, 100, count_act, acts, &e));
    assert_string_equal(acts, "secret.set secret.set secret.set secrets.rotated secret.set secret.removed ");

    assert_true(store_write(s, swap, NULL, &e)); /* a value under another's name */
    assert_false(secrets_get(s, &b, "a", &value, &e));
    holds(s, &b, "b", "second");
    store_close(s);
}

static void test_life(void **state)
{
    for (int k = 0; k < N_PLACES; k++) each_life(*state, (enum place)k);
}

/* In the file there is neither the value nor the key. */
static void test_sealed(void **state)
{
    char where[200];
    static char bytes[1 << 20];
    struct err e = { ERR_NONE, "" };
    const struct master_key a = key_of(text_a);
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(secrets_set(s, &a, "name-of-it", "the-value-of-it", &anna, NOW, &e));
    store_close(s);
    FILE *f = fopen(where, "r");
    assert_non_null(f);
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_non_null(memmem(bytes, n, "name-of-it", 10));
    assert_null(memmem(bytes, n, "the-value", 9));
    assert_null(memmem(bytes, n, "0405060708090a0b", 16));
}

static void test_refused(void **state)
{
    static const char *const bad_keys[] = {
        "",
        "00",
        "zz",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00",
        "0001 02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    };
    static const char *const bad_names[] = {
        "", "a b", "a/b", "\xc3\xbc",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    };
    char where[200], *value, *long_one = malloc(SECRETS_VALUE + 2);
    struct master_key k = key_of(text_a);
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    for (size_t i = 0; i < sizeof bad_keys / sizeof *bad_keys; i++) {
        assert_false(master_key_load(&k, "", bad_keys[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_non_null(strstr(e.msg, "hearth secrets init"));
    }
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
        assert_false(secrets_set(s, &k, bad_names[i], "x", &anna, NOW, &e));
        assert_int_equal(e.code, ERR_REQUEST);
    }
    assert_non_null(long_one);
    memset(long_one, 'x', SECRETS_VALUE + 1);
    long_one[SECRETS_VALUE + 1] = 0;
    assert_false(secrets_set(s, &k, "a", long_one, &anna, NOW, &e));
    assert_false(secrets_set(s, &k, "a", "", &anna, NOW, &e));
    long_one[SECRETS_VALUE] = 0;
    assert_true(secrets_set(s, &k, "a", long_one, &anna, NOW, &e));
    holds(s, &k, "a", long_one);
    free(long_one);
    assert_true(secrets_resolve(s, "as it stands", "", "", &value, &e));
    assert_string_equal(value, "as it stands");
    free(value);
    assert_false(secrets_resolve(s, "secret:a", "", "", &value, &e)); /* no key */
    assert_false(secrets_resolve(s, "secret:b", "", text_a, &value, &e));
    store_close(s);
}

/* A key in a file: made once, for its owner alone. */
static void test_key_file(void **state)
{
    char where[200], path[220];
    struct master_key a, b;
    struct stat st;
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    snprintf(path, sizeof path, "%s.key", where);
    assert_false(master_key_load(&a, path, text_a, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_true(master_key_make(path, &e));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(master_key_load(&a, path, "", &e));
    assert_true(master_key_load(&b, path, text_a, &e)); /* the file stands before the text */
    assert_memory_equal(&a, &b, sizeof a);
    assert_false(master_key_make(path, &e));
    assert_non_null(strstr(e.msg, "there already"));
    assert_int_equal(chmod(path, 0640), 0);
    assert_false(master_key_load(&b, path, "", &e));
    assert_non_null(strstr(e.msg, "chmod 600"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_life), cmocka_unit_test(test_sealed),
                                        cmocka_unit_test(test_refused), cmocka_unit_test(test_key_file) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
