/* aliases_test.c - names of one's own: read, found, written, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/models/aliases.h"

static void test_reads(void **state)
{
    (void)state;
    static const char text[] = "# mine\n\ngpt-4o accounts/local/models/tiny\n  b\tc  \r\nlast one";
    struct aliases a;
    struct err e = { 0 };
    if (!aliases_parse(text, strlen(text), &a, &e)) fail_msg("%s", e.msg);
    assert_int_equal(a.n, 3);
    assert_string_equal(aliases_find(&a, "GPT-4o"), "accounts/local/models/tiny");
    assert_string_equal(aliases_find(&a, "accounts/fireworks/models/gpt-4o#dep"),
                        "accounts/local/models/tiny");
    assert_string_equal(aliases_find(&a, "b"), "c");
    assert_string_equal(aliases_find(&a, "last"), "one");
    assert_null(aliases_find(&a, "gpt"));
    aliases_free(&a);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = { { "one\n", "line 1: expected NAME MODEL" },
                { "a b\nc d e\n", "line 2: expected NAME MODEL" },
                { "a b#c\n", "line 1: expected NAME MODEL" },
                { "a b\nA c\n", "line 2: a is there twice" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct aliases a;
        struct err e = { 0 };
        assert_false(aliases_parse(bad[i].text, strlen(bad[i].text), &a, &e));
        if (!strstr(e.msg, bad[i].says)) fail_msg("%s: %s", bad[i].text, e.msg);
    }
    struct aliases a;
    struct err e = { 0 };
    assert_false(aliases_parse("a\0b c", 5, &a, &e));
    assert_int_equal(e.code, ERR_FORMAT);
}

static void expect(const char *dir, const char *name, const char *model)
{
    struct aliases a;
    struct err e = { 0 };
    if (!aliases_read(dir, &a, &e)) fail_msg("%s", e.msg);
    const char *found = aliases_find(&a, name);
    if (model)
        assert_string_equal(found ? found : "nothing", model);
    else
        assert_null(found);
    aliases_free(&a);
}

static void test_writes(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-aliases-XXXXXX", path[100], longest[ALIAS_MAX + 2];
    struct err e = { 0 };
    assert_non_null(mkdtemp(dir));
    expect(dir, "a", NULL);
    assert_true(aliases_set(dir, "accounts/fireworks/models/a", "m", &e));
    expect(dir, "a", "m");
    assert_true(aliases_set(dir, "b", "A", &e)); /* what that one means, and not the other alias */
    expect(dir, "b", "m");
    assert_true(aliases_set(dir, "a", "n", &e));
    expect(dir, "a", "n");
    expect(dir, "b", "m");
    assert_false(aliases_set(dir, "n", "a", &e)); /* a means n */
    assert_non_null(strstr(e.msg, "would mean itself"));
    assert_false(aliases_set(dir, "x y", "m", &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_false(aliases_set(dir, "x", "", &e));
    assert_false(aliases_set(dir, "", "m", &e));
    memset(longest, 'x', sizeof longest);
    longest[ALIAS_MAX + 1] = 0;
    assert_false(aliases_set(dir, longest, "m", &e));
    longest[ALIAS_MAX] = 0;
    assert_true(aliases_set(dir, longest, "m", &e));
    expect(dir, longest, "m");
    assert_true(aliases_remove(dir, longest, &e));
    assert_true(aliases_remove(dir, "a", &e));
    expect(dir, "a", NULL);
    expect(dir, "b", "m");
    assert_false(aliases_remove(dir, "a", &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_false(aliases_set("/nowhere/at/all", "a", "m", &e));
    assert_int_equal(e.code, ERR_IO);
    snprintf(path, sizeof path, "%s/" ALIASES_FILE, dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* what is no file is said, and left */
    assert_false(aliases_set(dir, "a", "m", &e));
    assert_non_null(strstr(e.msg, "expected a file"));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

struct writer {
    const char *dir;
    int k;
};

static void *write_some(void *arg)
{
    const struct writer *w = arg;
    for (int i = 0; i < 3; i++) {
        char name[40];
        struct err e = { 0 };
        snprintf(name, sizeof name, "w%d-%d", w->k, i);
        if (!aliases_set(w->dir, name, "m", &e)) return (void *)1;
    }
    return NULL;
}

/* Nobody's is lost when several write. */
static void test_together(void **state)
{
    (void)state;
    enum { WRITERS = 3 };
    char dir[] = "/tmp/hearth-aliases-XXXXXX", path[100];
    struct writer w[WRITERS];
    pthread_t t[WRITERS];
    struct aliases a;
    struct err e = { 0 };
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){ dir, i };
        assert_int_equal(pthread_create(&t[i], NULL, write_some, &w[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        void *failed;
        assert_int_equal(pthread_join(t[i], &failed), 0);
        assert_null(failed);
    }
    assert_true(aliases_read(dir, &a, &e));
    assert_int_equal(a.n, WRITERS * 3);
    aliases_free(&a);
    snprintf(path, sizeof path, "%s/" ALIASES_FILE, dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_reads), cmocka_unit_test(test_refuses),
                                        cmocka_unit_test(test_writes), cmocka_unit_test(test_together) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
