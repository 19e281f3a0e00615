/* keys_test.c - files of keys as editors, scripts and other systems leave them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/keys.h"

static char path[] = "/tmp/hearth-keys-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 || close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void put(const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void test_files_that_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *keys[3];
    } cases[] = {
        { "", { NULL } },
        { "# none\n\n", { NULL } },
        { "key-number-1\nkey-number-2\n", { "key-number-1", "key-number-2" } },
        { "key-number-1", { "key-number-1" } },
        { "key-number-1\r\nkey-number-2\r\n", { "key-number-1", "key-number-2" } },
        { "\xef\xbb\xbfkey-number-1\r\n# it\r\n\r\nkey-number-2", { "key-number-1", "key-number-2" } },
        { "\xef\xbb\xbf# only a comment", { NULL } },
        { "  key-number-1 \t# the first\n\tkey#number#2\n", { "key-number-1", "key#number#2" } },
        { "key-number-1\nkey-number-1\n", { "key-number-1" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct keys k = { 0 };
        struct err e;
        int n = 0;
        put(cases[i].text, strlen(cases[i].text));
        if (!keys_read_file(&k, path, false, &e)) fail_msg("case %zu: %s", i, e.msg);
        for (; cases[i].keys[n]; n++) {
            assert_true(n < k.n);
            assert_string_equal(k.v[n], cases[i].keys[n]);
        }
        assert_int_equal(k.n, n);
        keys_free(&k);
    }
}

static void test_files_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "key-number-1\nx\n", ":2: a key of 1 character could be guessed" },
        { "seven77\n", ":1: a key of 7 characters" },
        { "key-number-1 key-number-2\n", ":1: one key a line" },
        { "k\xc3\xa9y-number-1\n", ":1: a key is made of" },
        { "key\x01number-1\n", ":1: a key is made of" },
        { "\xff\xfek", ":1: a key of 3 characters" },
    };
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct keys k = { 0 };
        put(cases[i].text, strlen(cases[i].text));
        assert_false(keys_read_file(&k, path, false, &e));
        if (!strstr(e.msg, cases[i].why)) fail_msg("case %zu: %s", i, e.msg);
        keys_free(&k);
    }
    struct keys k = { 0 };
    put("key-num\0ber-1\n", 14);
    assert_false(keys_read_file(&k, path, false, &e));
    char *longer = calloc(1, KEYS_MAX + 2);
    memset(longer, 'x', KEYS_MAX + 1);
    assert_false(keys_add(&k, longer, KEYS_MAX + 1, "--keys", &e));
    assert_true(keys_add(&k, longer, KEYS_MAX, "--keys", &e));
    free(longer);
    assert_false(keys_read_file(&k, "/dev/null/keys", false, &e));
    assert_true(keys_read_file(&k, "/no/such/folder/keys", true, &e));
    keys_free(&k);
}

static void test_a_new_key_gets_a_line_of_its_own(void **state)
{
    (void)state;
    static const char *const before[] = { "", "# comment", "# comment\n", "key-number-1\r\nkey-number-2" };
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        struct keys made = { 0 }, k = { 0 };
        struct err e;
        put(before[i], strlen(before[i]));
        assert_true(keys_make(&made, path, &e));
        assert_true(keys_read_file(&k, path, false, &e));
        assert_true(k.n == (int)(i == 3 ? 3 : 1));
        assert_string_equal(k.v[k.n - 1], made.new_key);
        keys_free(&made);
        keys_free(&k);
    }
    struct keys made = { 0 };
    struct err e;
    struct stat st;
    assert_int_equal(unlink(path), 0);
    assert_true(keys_make(&made, path, &e));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    assert_false(keys_make(&made, "/dev/null/keys", &e));
    keys_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_files_that_are_read),
                                        cmocka_unit_test(test_files_that_are_refused),
                                        cmocka_unit_test(test_a_new_key_gets_a_line_of_its_own) };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
