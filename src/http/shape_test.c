/* shape_test.c - what shapes allow, how they read, and what JSON Schema they are. */
#include "http/shape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_allows(void **state)
{
    (void)state;
    static const struct {
        const char *shape, *value;
        bool allowed;
    } cases[] = {
        { "text", "\"\"", true },
        { "text", "1", false },
        { "text 1..3", "\"\"", false },
        { "text 1..3", "\"\u00e4\u00f6\u00fc\"", true }, /* characters, not bytes */
        { "text 1..3", "\"abcd\"", false },
        { "int", "1.5", false },
        { "int", "-7", true },
        { "int 1..128", "5.0", true },
        { "int 1..128", "0", false },
        { "int 1..128", "129", false },
        { "int 1..", "1000000", true },
        { "int ..4", "5", false },
        { "int -1..", "-2", false },
        { "num 0.001..1", "0.0005", false },
        { "num 0.001..1", "0.001", true },
        { "bool", "true", true },
        { "bool", "\"true\"", false },
        { "object", "{}", true },
        { "object", "[]", false },
        { "any", "[1]", true },
        { "none", "1", true }, /* its reader knows which values ask for nothing */
        { "'a'|'bc'", "\"bc\"", true },
        { "'a'|'bc'", "\"b\"", false },
        { "[text] 1..2", "[\"a\", \"b\"]", true },
        { "[text] 1..2", "[]", false },
        { "[text] 1..2", "[\"a\", 1]", false },
        { "[text|int 0..9] ..2|bool", "[3, \"x\"]", true },
        { "[text|int 0..9] ..2|bool", "[10]", false },
        { "[text|int 0..9] ..2|bool", "false", true },
        { "[[int]] ..1", "[[1, 2]]", true },
        { "[[int]] ..1", "[[1], [2]]", false },
        { "!{num -100..100} ..1", "{\"a\": 3}", true },
        { "!{num -100..100} ..1", "{\"a\": 101}", false },
        { "!{num -100..100} ..1", "{\"a\": 1, \"b\": 1}", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *v = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        assert_true(shape_valid(cases[i].shape));
        if (shape_allows(cases[i].shape, v) != cases[i].allowed)
            fail_msg("%s and %s", cases[i].shape, cases[i].value);
        json_decref(v);
    }
}

static void test_valid(void **state)
{
    (void)state;
    static const char *const bad[] = { "",      "!",  "txt",    "text|", "int 1", "int 1.",
                                       "[text", "'a", "text x", "{}",    "a|b" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (shape_valid(bad[i])) fail_msg("\"%s\" is no shape", bad[i]);
    assert_true(shape_required("!text"));
    assert_false(shape_required("text"));
    assert_true(shape_refused("none"));
    assert_false(shape_refused("any"));
}

static void test_range(void **state)
{
    (void)state;
    double min, max;
    shape_range("bool|int 0..5|num 7..9", &min, &max);
    assert_true(min == 0 && max == 5);
    shape_range("num 0.01..", &min, &max);
    assert_true(min == 0.01 && isinf(max));
    shape_range("bool", &min, &max);
    assert_true(isinf(min) && isinf(max));
}

static void test_told(void **state)
{
    (void)state;
    static const struct {
        const char *shape, *words, *schema;
    } cases[] = {
        { "text", "a string", "{\"type\":\"string\"}" },
        { "!int 1..128|'auto'", "a whole number from 1 to 128 or \"auto\"",
          "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":128},{\"type\":\"string\",\"enum\":["
          "\"auto\"]}]}" },
        { "'a'|'b'|'c'", "one of a, b, c", "{\"type\":\"string\",\"enum\":[\"a\",\"b\",\"c\"]}" },
        { "text 1..1000", "a string of 1 to 1000 characters",
          "{\"type\":\"string\",\"minLength\":1,\"maxLength\":1000}" },
        { "[[int]] ..2048", "an array of arrays of whole numbers (at most 2048)",
          "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}},\"maxItems\":"
          "2048}" },
        { "{num -100..100}", "an object of numbers from -100 to 100",
          "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\",\"minimum\":-100,\"maximum\":"
          "100}}" },
        { "num 0.5..", "a number from 0.5", "{\"type\":\"number\",\"minimum\":0.5}" },
        { "any", "anything", "{}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = BUF_INIT(1000);
        json_t *schema = shape_schema(cases[i].shape);
        char *text = json_dumps(schema, JSON_COMPACT);
        shape_words(&b, cases[i].shape);
        assert_string_equal(b.data, cases[i].words);
        assert_string_equal(text, cases[i].schema);
        free(text);
        json_decref(schema);
        buf_free(&b);
    }
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *shape, *value, *place, *words, *got;
    } cases[] = {
        { "[object]", "[{}, 1]", "[1]", "an object", "1" },
        { "[object]", "{}", "", "an array of objects", "{}" },
        { "[[int]] ..2", "[[1], [2, true]]", "[1][1]", "a whole number", "true" },
        { "text|[text] ..1", "[1, 2]", "", "a string or an array of strings (at most 1)", "[1,2]" },
        { "text|[int]|[[int]]", "[1, \"a\"]", "",
          "a string, an array of whole numbers or an array of arrays of whole numbers", "[1,\"a\"]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf place = BUF_INIT(100), words = BUF_INIT(200);
        json_t *v = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);
        char *got =
            json_dumps(shape_wrong(cases[i].shape, v, &place, &words), JSON_COMPACT | JSON_ENCODE_ANY);
        assert_string_equal(place.len ? place.data : "", cases[i].place);
        assert_string_equal(words.data, cases[i].words);
        assert_string_equal(got, cases[i].got);
        free(got);
        json_decref(v);
        buf_free(&place);
        buf_free(&words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allows), cmocka_unit_test(test_valid), cmocka_unit_test(test_range),
        cmocka_unit_test(test_told),   cmocka_unit_test(test_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
