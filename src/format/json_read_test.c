#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_read.h"
#include "format/json_scan.h"

static json_t *read(const char *text)
{
    json_t *v = NULL;
    struct err e = { 0 };
    if (!json_read_text(&v, text, strlen(text), &e)) fail_msg("%s: %s", text, e.msg);
    return v;
}

static void test_words_of_python(void **state)
{
    (void)state;
    json_t *v = read("{\"a\": NaN, \"b\":Infinity,\"c\" :[-Infinity,1],\n \"NaN\": \"Infinity\", \"d\": "
                     "\"say \\\"NaN\\\" NaN\", "
                     "\"e\": -7.5e-3, \"f\": null}");
    assert_true(isnan(json_read_number(json_object_get(v, "a"), 1)));
    assert_true(json_read_number(json_object_get(v, "b"), 1) == INFINITY);
    assert_true(json_read_number(json_array_get(json_object_get(v, "c"), 0), 1) == -INFINITY);
    assert_true(json_read_number(json_array_get(json_object_get(v, "c"), 1), 0) == 1);
    assert_string_equal(json_string_value(json_object_get(v, "NaN")), "Infinity");
    assert_string_equal(json_string_value(json_object_get(v, "d")), "say \"NaN\" NaN");
    assert_true(json_read_number(json_object_get(v, "e"), 0) == -7.5e-3);
    assert_true(json_read_number(json_object_get(v, "f"), 5) == 5);
    assert_true(json_read_number(NULL, 5) == 5);
    json_decref(v);
}

static void test_long_integers(void **state)
{
    (void)state;
    json_t *v = read(
        "{\"a\": 1000000000000000019884624838656, \"b\": 9223372036854775807, \"c\": -98765432109876543210,"
        "\"d\": \"1000000000000000019884624838656\", \"e\": 1.25}");
    assert_true(json_read_number(json_object_get(v, "a"), 0) == 1e30);
    assert_true(json_is_integer(json_object_get(v, "b")));
    assert_true(json_read_number(json_object_get(v, "c"), 0) == -98765432109876543210.0);
    assert_int_equal(json_string_length(json_object_get(v, "d")), 31);
    assert_true(json_read_number(json_object_get(v, "e"), 0) == 1.25);
    json_decref(v);
}

static void test_the_last_of_two_counts(void **state)
{
    (void)state;
    json_t *v = read("{\"a\": 1, \"a\": 2}");
    assert_int_equal(json_integer_value(json_object_get(v, "a")), 2);
    json_decref(v);
}

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "[1]", "expected an object" },
        { "NaN", "line 1" },
        { "{\"a\": nan}", "line 1" },
        { "{\"a\":\n +Infinity}", "line 2" },
        { "{\"a\": \"b", "line 1" },
        { "{\"a\": NaNs}", "line 1" },
        { "", "line 1" },
        { "{\"a\": 1} x", "line 1" },
        { "{\"a\": \"\\", "line 1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *v = NULL;
        struct err e = { 0 };
        assert_false(json_read_text(&v, cases[i].text, strlen(cases[i].text), &e));
        assert_null(v);
        assert_int_equal(e.code, ERR_FORMAT);
        if (!strstr(e.msg, cases[i].says)) fail_msg("%s: %s", cases[i].text, e.msg);
    }
}

static void test_file(void **state)
{
    (void)state;
    json_t *v = NULL;
    struct err e = { 0 };
    assert_false(json_read_file(&v, "build/there/is/no/such/config.json", &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(json_read_file(&v, "tests/golden/lm/llama3/config.json", &e));
    assert_string_equal(json_string_value(json_object_get(v, "model_type")), "llama");
    json_decref(v);
}

static int left; /* allocations before the next one fails; this is a program of one thread */
static void *failing_malloc(size_t n) { return left-- == 0 ? NULL : malloc(n); }

static void test_no_memory_is_said(void **state)
{
    (void)state;
    const char *text = "{\"key\": [\"some text\", 1, 2.5, {\"b\": true}], \"other\": \"\\u00e9\"}";
    json_set_alloc_funcs(failing_malloc, free);
    bool done = false;
    int failures = 0;
    for (int n = 0; n < 1000 && !done; n++) {
        json_t *v = NULL;
        struct err e = { 0 };
        left = n;
        done = json_read_text(&v, text, strlen(text), &e);
        json_decref(v);
        if (!done && e.code != ERR_NOMEM) fail_msg("allocation %d failed: %s", n, e.msg);
        failures += !done;
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(done);
    assert_true(failures > 5);
}

static void test_validity(void **state)
{
    (void)state;
    static const char *const good[] = { "{}", " [1, -2.5e+3, \"a\\n\\ud83d\\ude00\", null] ", "\"x\"" };
    static const char *const bad[] = { "", "{", "[1,]", "NaN", "01", "\"\\ud800\"", "\"\x80\"", "1 2" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(json_scan_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(json_scan_valid(bad[i], strlen(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_of_python),
        cmocka_unit_test(test_long_integers),
        cmocka_unit_test(test_the_last_of_two_counts),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_no_memory_is_said),
        cmocka_unit_test(test_validity),
    };
    return cmocka_run_group_tests_name("configuration files", tests, NULL, NULL);
}
