/* schema_strict_test.c - what strict mode takes, and how it says what it does not take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "text/grammar/schema_strict.h"

static bool check(const char *text, struct err *e)
{
    json_error_t why;
    json_t *j = json_loads(text, 0, &why);
    if (!j) fail_msg("%s: %s", text, why.text);
    const bool ok = schema_strict_check(j, "response_format 'answer'", e);
    json_decref(j);
    return ok;
}

#define CLOSED "\"type\":\"object\",\"additionalProperties\":false"

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *schema,
            *says; /* behind "Invalid schema for response_format 'answer': "; NULL: it is fine */
    } rows[] = {
        { "{" CLOSED ",\"properties\":{},\"required\":[]}", NULL },
        { "{" CLOSED ",\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],\"pattern\":\"x\"},\"b\":{"
          "\"type\":\"array\","
          "\"items\":{\"$ref\":\"#/$defs/"
          "n\"},\"minItems\":1}},\"required\":[\"b\",\"a\"],\"$defs\":{\"n\":{\"anyOf\":[{"
          "\"type\":\"integer\",\"minimum\":1},{\"enum\":[\"x\"]}]}}}",
          NULL },
        { "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}",
          "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'." },
        { "{\"properties\":{}}",
          "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'." },
        { "{" CLOSED ",\"anyOf\":[]}", "In context=(), 'anyOf' is not permitted." },
        { "{\"type\":\"object\",\"properties\":{},\"required\":[]}",
          "In context=(), 'additionalProperties' is required to be supplied and to be false." },
        { "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":{}}",
          "In context=(), 'additionalProperties' is required to be supplied and to be false." },
        { "{" CLOSED
          ",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"string\"}},\"required\":[\"a\"]}",
          "In context=(), 'required' is required to be supplied and to be an array including every key in "
          "properties. "
          "Missing 'b'." },
        { "{" CLOSED ",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\",\"b\"]}",
          "In context=(), 'required' names what 'properties' does not have." },
        { "{" CLOSED ",\"properties\":{\"a\":{\"type\":\"object\"}},\"required\":[\"a\"]}",
          "In context=('properties', 'a'), 'additionalProperties' is required to be supplied and to be "
          "false." },
        { "{" CLOSED ",\"properties\":{\"a\":{}},\"required\":[\"a\"]}",
          "In context=('properties', 'a'), schema must have a 'type' key." },
        { "{" CLOSED ",\"properties\":{\"a\":{\"type\":\"array\"}},\"required\":[\"a\"]}",
          "In context=('properties', 'a'), array schema missing items." },
        { "{" CLOSED
          ",\"properties\":{\"a\":{\"anyOf\":[{\"type\":\"null\"},{\"oneOf\":[]}]}},\"required\":[\"a\"]}",
          "In context=('properties', 'a', 'anyOf', '1'), 'oneOf' is not permitted." },
        { "{" CLOSED ",\"properties\":{},\"required\":[],\"allOf\":[]}",
          "In context=(), 'allOf' is not permitted." },
        { "{" CLOSED ",\"properties\":{},\"$defs\":{\"n\":{\"type\":\"array\",\"items\":{\"not\":{}}}}}",
          "In context=('$defs', 'n', 'items'), 'not' is not permitted." },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[400];
        struct err e = { 0 };
        const bool ok = check(rows[i].schema, &e);
        snprintf(want, sizeof want, "Invalid schema for response_format 'answer': %s",
                 rows[i].says ? rows[i].says : "");
        if (ok != !rows[i].says || (!ok && (strcmp(e.msg, want) || e.code != ERR_REQUEST)))
            fail_msg("%s: %s", rows[i].schema, ok ? "taken" : e.msg);
    }
}

/* A schema of so many properties, levels, and constants. */
static bool sized(int n_properties, int levels, int n_enum, struct err *e)
{
    struct buf b = BUF_INIT(1 << 22);
    for (int i = 1; i < levels; i++) buf_puts(&b, "{" CLOSED ",\"required\":[\"x\"],\"properties\":{\"x\":");
    buf_puts(&b, "{" CLOSED ",\"required\":[");
    for (int i = 0; i < n_properties; i++) buf_printf(&b, "%s\"p%d\"", i ? "," : "", i);
    buf_puts(&b, "],\"properties\":{");
    for (int i = 0; i < n_properties; i++)
        buf_printf(&b, "%s\"p%d\":{\"type\":\"integer\"}", i ? "," : "", i);
    buf_puts(&b, "},\"$defs\":{\"e\":{\"enum\":[");
    for (int i = 0; i < n_enum; i++) buf_printf(&b, "%s%d", i ? "," : "", i);
    buf_puts(&b, "]}}}");
    for (int i = 1; i < levels; i++) buf_puts(&b, "}}");
    const bool ok = check(b.data, e);
    buf_free(&b);
    return ok;
}

static void limits(void **state)
{
    (void)state;
    struct err e = { 0 };
    assert_true(sized(5000, 1, 1000, &e));
    assert_true(sized(1, 10, 1, &e));
    assert_false(sized(5001, 1, 1, &e));
    assert_non_null(strstr(e.msg, "more than 5000 properties"));
    assert_false(sized(1, 11, 1, &e));
    assert_non_null(strstr(e.msg, "more than 10 levels"));
    assert_false(sized(1, 1, 1001, &e));
    assert_non_null(strstr(e.msg, "more than 1000 enum values"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rules), cmocka_unit_test(limits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
