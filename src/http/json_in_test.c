/* json_in_test.c - what a body may be, and how a value that is not what was asked for is named. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/json_in.h"
#include "http/json_out.h"

static const struct json_limits limits = { 8, 100 };

static bool parses(const char *s, size_t len, struct fault *f)
{
    json_t *v = NULL;
    *f = (struct fault){ 0 };
    bool ok = json_in_parse(s, len, &limits, &v, f);
    json_decref(v);
    return ok;
}

static int left; /* allocations before the next one fails; this is a program of one thread */
static void *failing_malloc(size_t n) { return left-- == 0 ? NULL : malloc(n); }

static void test_no_memory_is_no_fault_of_the_body(void **state)
{
    (void)state;
    const char *body = "{\"messages\": [{\"role\": \"user\", \"content\": \"h\\u00e9llo\"}], \"n\": 1}";
    json_set_alloc_funcs(failing_malloc, free);
    bool done = false;
    for (int n = 0; n < 1000 && !done; n++) {
        struct fault f = { 0 };
        left = n;
        done = parses(body, strlen(body), &f);
        if (!done && f.err.code != ERR_NOMEM) fail_msg("allocation %d failed: %s", n, f.err.msg);
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(done);
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *body, *why; /* why NULL: fine */
    } cases[] = {
        { "{}", NULL },
        { " {\"a\": [1, 2.5, \"\\u00e9\"]} ", NULL },
        { "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}", NULL },
        { "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}", "deeper than 8" },
        { "{\"a\":\"[[[[[[[[[[[[\\\"[[[[[\"}", NULL }, /* brackets in strings do not count */
        { "", "no body" },
        { "[]", "must be a JSON object" },
        { "{", "not valid JSON" },
        { "5", "not valid JSON" },
        { " \"text\"", "not valid JSON" },
        { "{\"a\":1,}", "not valid JSON" },
        { "{\"a\":1,\"a\":2}", "duplicate" },
        { "{\"a\":NaN}", "not valid JSON" },
        { "{\"a\":1e999}", "too large" },
        { "{\"a\":99999999999999999999}", "a number that is too large" },
        { "{\"a\":\"\xff\"}", "not valid JSON" },
        { "{\"a\":\"\\ud800\"}", "not valid JSON" },
        { "{\"a\":\"\\u0000\"}", "\\u0000" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fault f;
        bool ok = parses(cases[i].body, strlen(cases[i].body), &f);
        if (ok != !cases[i].why || (cases[i].why && !strstr(f.err.msg, cases[i].why)))
            fail_msg("%s -> %s", cases[i].body, f.err.msg);
    }
    char many[1024] = "{\"a\":[1";
    for (int i = 0; i < 200; i++) strcat(many, ",1");
    strcat(many, "]}");
    struct fault f;
    assert_false(parses(many, strlen(many), &f));
    assert_non_null(strstr(f.err.msg, "more than 100 values"));
}

static void expect(bool ok, const struct fault *f, const char *message)
{
    assert_false(ok);
    assert_string_equal(f->err.msg, message);
    assert_string_equal(f->param, "x");
}

static void test_values(void **state)
{
    (void)state;
    struct fault f = { 0 };
    json_t *half = json_real(3.5), *five = json_integer(5), *whole = json_real(5),
           *text = json_string("warm"), *list = json_pack("[i,i]", 1, 2);
    double d;
    int64_t i;
    bool b;
    expect(json_in_num(half, "x", 0, 2, &d, &f), &f, "x must be between 0 and 2, got 3.5");
    expect(json_in_num(text, "x", 0, 2, &d, &f), &f, "x must be a number, got \"warm\"");
    expect(json_in_int(half, "x", 0, 9, &i, &f), &f, "x must be a whole number, got 3.5");
    expect(json_in_int(five, "x", 1, 4, &i, &f), &f, "x must be between 1 and 4, got 5");
    expect(json_in_int(five, "x", 6, INT64_MAX, &i, &f), &f, "x must be at least 6, got 5");
    expect(json_in_num(five, "x", 6, HUGE_VAL, &d, &f), &f, "x must be at least 6, got 5");
    expect(json_in_bool(list, "x", &b, &f), &f, "x must be true or false, got [1,2]");
    assert_true(json_in_int(whole, "x", 0, 9, &i, &f) && i == 5);
    assert_true(json_in_num(five, "x", 0, 9, &d, &f) && d == 5);
    json_decref(half);
    json_decref(five);
    json_decref(whole);
    json_decref(text);
    json_decref(list);
}

static void check_out(const char *in, size_t len, const char *want)
{
    struct buf b = BUF_INIT(0);
    json_out_str(&b, in, len);
    assert_string_equal(b.data, want);
    buf_free(&b);
}

static void test_strings_out(void **state)
{
    (void)state;
    check_out("a\"b\\c\n\t\x01\x7f", 9, "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f\"");
    check_out("\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    check_out("a\0b", 3, "\"a\\u0000b\"");
    check_out("\xc3", 1, "\"\xef\xbf\xbd\"");
    check_out("\xed\xa0\x80!", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!\"");
    check_out("\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void test_numbers_out(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(0);
    json_out_num(&b, 0.1);
    buf_putc(&b, ' ');
    json_out_float(&b, -0.1F);
    buf_putc(&b, ' ');
    json_out_float(&b, 0);
    buf_putc(&b, ' ');
    json_out_float(&b, -INFINITY);
    assert_string_equal(b.data, "0.1 -0.1 0.0 -9999.0");
    buf_free(&b);
}

/* Whole numbers beyond 64 bits are taken in schemas, and nowhere else. */
static void test_wide_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *body, *fails; /* fails NULL: taken */
    } cases[] = {
        { "{\"schema\":{\"maximum\":18446744073709551615,\"minimum\":-9223372036854775808}}", NULL },
        { "{\"json_schema\" : {\"schema\": {\"enum\": [1, -9223372036854775809]}}}", NULL },
        { "{\"tools\":[{\"function\":{\"parameters\":{\"maximum\":99999999999999999999999}}}]}", NULL },
        { "{\"schema\":{\"a\":\"]}\\\"\",\"b\":{\"maximum\":9223372036854775808}}}", NULL },
        { "{\"schema\":{},\"seed\":9223372036854775808}", "too large" },
        { "{\"schema\":{\"maximum\":18446744073709551615},\"seed\":18446744073709551615}", "too large" },
        { "{\"schema\":18446744073709551615}", "too large" },
        { "{\"x\":\"schema\",\"y\":{\"z\":18446744073709551615}}", "too large" },
        { "{\"schema\":{\"maximum\":1e999}}", "too large" },
        { "{\"schema\":{\"maximum\":018446744073709551615}}", "not valid JSON" },
        { "{\"schema\":{\"maximum\":18446744073709551615", "not valid JSON" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fault f = { 0 };
        json_t *v = NULL;
        const bool ok = json_in_parse(cases[i].body, strlen(cases[i].body), &limits, &v, &f);
        if (ok != !cases[i].fails || (!ok && !strstr(f.err.msg, cases[i].fails)))
            fail_msg("%s: %s", cases[i].body, ok ? "taken" : f.err.msg);
        json_decref(v);
    }
    struct fault f = { 0 };
    json_t *v;
    assert_true(json_in_parse(cases[0].body, strlen(cases[0].body), &limits, &v, &f));
    const json_t *schema = json_object_get(v, "schema");
    assert_true(json_real_value(json_object_get(schema, "maximum")) == 18446744073709551616.0);
    assert_true(json_integer_value(json_object_get(schema, "minimum")) == INT64_MIN);
    json_decref(v);
}

static void test_members(void **state)
{
    (void)state;
    static const struct {
        const char *object;
        bool known;
    } cases[] = {
        { "{}", true },
        { "{\"role\": 1, \"content\": null}", true },
        { "{\"rol\": 1}", false },          /* a piece of a name is no name */
        { "{\"role content\": 1}", false }, /* nor are two of them */
        { "{\"\": 1}", false },
        { "{\"content\": 1, \"id\": null}", false },
        { "[1]", true }, /* no members at all: what it must be is its reader's business */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fault f = { 0 };
        json_t *v = json_loads(cases[i].object, 0, NULL);
        if (json_in_members(v, "role content", "messages[2].", true, "messages", &f) != cases[i].known)
            fail_msg("%s: %s", cases[i].object, f.err.msg);
        assert_true(json_in_members(v, "role content", "messages[2].", false, "messages", &f));
        json_decref(v);
    }
    struct fault f = { 0 };
    json_t *v = json_loads("{\"id\": [1]}", 0, NULL);
    assert_false(json_in_members(v, "role", "messages[2].", true, "messages", &f));
    assert_string_equal(f.err.msg, "Extra inputs are not permitted, field: 'messages[2].id', value: [1]");
    assert_string_equal(f.param, "messages");
    json_decref(v);
}

enum { FORM_A = 1, FORM_B = 2 };
struct row {
    struct json_member member;
    int *count;
};
static int taken[2];

static bool take(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct row *r = row;
    ++*(int *)reader;
    ++*r->count;
    return json_is_integer(v) || json_in_bad(v, r->member.name, "a number", f);
}

static void test_object(void **state)
{
    (void)state;
    static const struct row rows[] = { { { "both", FORM_A | FORM_B, "!int ..5" }, &taken[0] },
                                       { { "only", FORM_B, "any" }, &taken[1] } };
    static const struct json_table table = JSON_TABLE(rows, take);
    static const struct {
        const char *object, *message; /* NULL: taken */
        unsigned form;
        bool strict;
        int n;
    } cases[] = {
        { "{\"both\": 1, \"only\": 2}", NULL, FORM_B, true, 2 },
        { "{\"both\": null, \"only\": null}", NULL, FORM_B, true, 0 },
        { "{\"only\": 2}", "Extra inputs are not permitted, field: 'at.only', value: 2", FORM_A, true, 0 },
        { "{\"only\": null}", "Extra inputs are not permitted, field: 'at.only', value: null", FORM_A, true,
          0 },
        { "{\"only\": 2, \"both\": 1}", NULL, FORM_A, false, 1 },
        { "{\"both\": \"x\"}", "both must be a number, got \"x\"", FORM_A, false, 1 },
        { "{\"both\": 6}", "both must be a whole number up to 5, got 6", FORM_A, false, 1 },
        { "{\"x\": 1, \"both\": 1}", "Extra inputs are not permitted, field: 'at.x', value: 1", FORM_A, true,
          0 },
        { "[1]", NULL, FORM_A, true, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fault f = { 0 };
        const struct json_place place = { "at.", "at", cases[i].form, cases[i].strict };
        json_t *v = json_loads(cases[i].object, 0, NULL);
        int n = 0;
        assert_int_equal(json_in_object(&table, &place, &n, v, &f), !cases[i].message);
        assert_string_equal(f.err.msg, cases[i].message ? cases[i].message : "");
        assert_int_equal(n, cases[i].n);
        json_decref(v);
    }
    assert_int_equal(taken[0], 4);
    assert_int_equal(taken[1], 1);
}

static void test_extra_body(void **state)
{
    (void)state;
    struct fault f = { 0 };
    json_t *v = json_loads("{\"a\": 1, \"extra_body\": {\"a\": 2, \"b\": 3}}", 0, NULL);
    json_t *want = json_loads("{\"a\": 1, \"b\": 3}", 0, NULL);
    assert_true(json_in_extra_body(v, &f));
    assert_true(json_equal(v, want));
    json_decref(v);
    v = json_loads("{\"extra_body\": [1]}", 0, NULL);
    assert_false(json_in_extra_body(v, &f));
    assert_string_equal(f.err.msg, "extra_body must be an object, got [1]");
    json_decref(v);
    json_decref(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),     cmocka_unit_test(test_no_memory_is_no_fault_of_the_body),
        cmocka_unit_test(test_values),     cmocka_unit_test(test_members),
        cmocka_unit_test(test_object),     cmocka_unit_test(test_wide_numbers),
        cmocka_unit_test(test_extra_body), cmocka_unit_test(test_strings_out),
        cmocka_unit_test(test_numbers_out)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
