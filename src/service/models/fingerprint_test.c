/* fingerprint_test.c - the same files have the same fingerprint wherever they lie, others another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/models/fingerprint.h"

static void put(const char *dir, const char *name, size_t n, size_t changed)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) fputc((int)(i * 7 + (i == changed)) & 0xff, f);
    assert_int_equal(fclose(f), 0);
}

static void print_of(const char *dir, const char *name, char out[FINGERPRINT])
{
    char path[300];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!fingerprint_of(path, out, &e)) fail_msg("%s", e.msg);
    assert_int_equal(strlen(out), 64);
}

static void test_prints(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-print-XXXXXX", sub[100], other[100], a[FINGERPRINT], b[FINGERPRINT];
    assert_non_null(mkdtemp(dir));
    static const size_t sizes[] = { 0, 1, 5000, 1 << 20, (2 << 20) + 1, (2 << 20) + 5000, 5 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        put(dir, "a.gguf", sizes[i], SIZE_MAX);
        put(dir, "b.gguf", sizes[i], SIZE_MAX);
        print_of(dir, "a.gguf", a);
        print_of(dir, "b.gguf", b);
        assert_string_equal(a, b);
        put(dir, "b.gguf", sizes[i] + 1, SIZE_MAX);
        print_of(dir, "b.gguf", b);
        assert_string_not_equal(a, b);
        const size_t at[] = { 0, sizes[i] / 2, sizes[i] - 1 };
        for (size_t k = 0; sizes[i] && sizes[i] <= 2 << 20 && k < 3; k++) {
            put(dir, "b.gguf", sizes[i], at[k]);
            print_of(dir, "b.gguf", b);
            assert_string_not_equal(a, b);
        }
    }
    snprintf(sub, sizeof sub, "%s/one", dir);
    snprintf(other, sizeof other, "%s/two", dir);
    for (int i = 0; i < 2; i++) {
        const char *at = i ? other : sub;
        char inner[120];
        assert_int_equal(mkdir(at, 0700), 0);
        put(at, "model.safetensors", 100, SIZE_MAX);
        put(at, "config.json", 10, SIZE_MAX);
        snprintf(inner, sizeof inner, "%s/vae", at);
        assert_int_equal(mkdir(inner, 0700), 0);
        put(inner, "x", 3, SIZE_MAX);
    }
    print_of(dir, "one", a);
    print_of(dir, "two", b);
    assert_string_equal(a, b);
    put(other, ".hidden", 3, SIZE_MAX);
    print_of(dir, "two", b);
    assert_string_equal(a, b);
    put(other, "vae/x", 3, 1);
    print_of(dir, "two", b);
    assert_string_not_equal(a, b);
    struct err e;
    assert_false(fingerprint_of("/nowhere/at/all", a, &e));
    assert_non_null(strstr(e.msg, "/nowhere"));
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_prints) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
