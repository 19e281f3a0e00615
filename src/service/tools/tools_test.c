/* tools_test.c - what a request may offer and choose, and what it is told when it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/tools/tools.h"

static bool read_tools(struct tool_set *t, const char *text, bool legacy, bool strict, struct err *e)
{
    json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(j);
    *t = (struct tool_set){ 0 };
    const bool ok = tool_set_read(t, j, legacy ? "functions" : "tools", legacy, strict, e);
    json_decref(j);
    return ok;
}

static bool choose(struct tool_set *t, const char *text, struct err *e)
{
    json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(j);
    const bool ok = tool_set_choose(t, j, t->legacy ? "function_call" : "tool_choice", e);
    json_decref(j);
    return ok;
}

#define F(inside) "{\"type\":\"function\",\"function\":{" inside "}}"
static const char three[] =
    "[" F("\"name\":\"a\"") "," F("\"name\":\"b\",\"description\":\"B\",\"parameters\":{\"type\":\"object\"},"
                                  "\"strict\":true") "," F("\"name\":\"c-_9\",\"parameters\":{}") "]";

static void test_read(void **state)
{
    (void)state;
    struct tool_set t;
    struct err e;
    assert_true(read_tools(&t, three, false, true, &e));
    assert_int_equal(t.n, 3);
    assert_string_equal(t.tool[1].name, "b");
    assert_true(t.tool[1].strict && !t.tool[0].strict && t.tool[0].allowed);
    assert_null(t.tool[0].parameters);
    assert_true(json_is_object(t.tool[2].parameters));
    assert_int_equal(t.choice, TOOL_AUTO);
    char *shown = json_dumps(json_array_get(t.list, 1), JSON_COMPACT);
    assert_string_equal(shown, "{\"type\":\"function\",\"function\":{\"name\":\"b\",\"description\":\"B\","
                               "\"parameters\":{\"type\":\"object\"}}}");
    free(shown);
    tool_set_free(&t);
    assert_true(read_tools(&t, "null", false, true, &e) && !t.n);
    assert_true(read_tools(&t, "[]", false, true, &e) && !t.n && !t.list);
    assert_true(
        read_tools(&t, "[{\"name\":\"f\",\"parameters\":null,\"description\":null}]", true, true, &e));
    assert_true(t.legacy && t.n == 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(t.list, 0), "type")), "function");
    tool_set_free(&t);
    /* Without strict fields what nobody knows is not shown to the model. */
    assert_true(read_tools(&t, "[{\"type\":\"function\",\"cache\":1,\"function\":{\"name\":\"f\",\"x\":1}}]",
                           false, false, &e));
    shown = json_dumps(t.list, JSON_COMPACT);
    assert_string_equal(shown, "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]");
    free(shown);
    tool_set_free(&t);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *tools, *why;
        bool legacy;
    } cases[] = {
        { "{}", "tools: expected an array of tools, found an object", false },
        { "[1]", "tools[0]: expected an object, found a number", false },
        { "[{}]", "tools[0].type: missing; must be \"function\"", false },
        { "[{\"type\":\"web_search\"}]", "tools[0].type: must be \"function\", found \"web_search\"", false },
        { "[{\"type\":7}]", "tools[0].type: must be \"function\", found a number", false },
        { "[{\"type\":\"function\"}]", "tools[0].function: missing; it describes the function", false },
        { "[{\"type\":\"function\",\"function\":[]}]",
          "tools[0].function: expected an object, found an array", false },
        { "[" F("") "]", "tools[0].function.name: missing; every tool needs a name", false },
        { "[" F("\"name\":null") "]", "tools[0].function.name: expected a string, found null", false },
        { "[" F("\"name\":\"a b\"") "]",
          "tools[0].function.name: \"a b\" is no name for a tool; use 1 to 64 of a-z, A-Z, 0-9, _ and -",
          false },
        { "[" F("\"name\":\"\"") "]",
          "tools[0].function.name: \"\" is no name for a tool; use 1 to 64 of a-z, A-Z, 0-9, _ and -",
          false },
        { "[" F("\"name\":\"a\"") "," F("\"name\":\"b\"") "," F("\"name\":\"a\"") "]",
          "tools[2].function.name: \"a\" is the name of tools[0] already", false },
        { "[" F("\"name\":\"a\",\"description\":1") "]",
          "tools[0].function.description: expected a string, found a number", false },
        { "[" F("\"name\":\"a\",\"strict\":1") "]",
          "tools[0].function.strict: expected true or false, found a number", false },
        { "[" F("\"name\":\"a\",\"paramters\":{}") "]", "tools[0].function.paramters: unknown field", false },
        { "[{\"type\":\"function\",\"x\":1,\"function\":{\"name\":\"a\"}}]", "tools[0].x: unknown field",
          false },
        { "[" F("\"name\":\"a\"") "," F("\"name\":\"b\",\"parameters\":[]") "]",
          "tools[1].function.parameters: expected a JSON Schema object, found an array", false },
        { "[" F("\"name\":\"a\",\"parameters\":{\"type\":\"string\"}") "]",
          "tools[0].function.parameters.type: must be \"object\", found \"string\"", false },
        { "[" F("\"name\":\"a\",\"parameters\":{\"type\":[\"object\"]}") "]",
          "tools[0].function.parameters.type: must be \"object\", found an array", false },
        { "[" F("\"name\":\"a\",\"parameters\":{\"properties\":[]}") "]",
          "tools[0].function.parameters.properties: expected an object, found an array", false },
        { "[" F("\"name\":\"a\",\"parameters\":{\"properties\":{\"x\":1}}") "]",
          "tools[0].function.parameters.properties.x: expected a JSON Schema, found a number", false },
        { "[" F("\"name\":\"a\",\"parameters\":{\"required\":\"x\"}") "]",
          "tools[0].function.parameters.required: expected an array of names, found a string", false },
        { "[" F("\"name\":\"a\",\"parameters\":{\"required\":[\"x\",2]}") "]",
          "tools[0].function.parameters.required[1]: expected a string, found a number", false },
        { "[{\"name\":\"a\"},{\"description\":\"x\"}]", "functions[1].name: missing; every tool needs a name",
          true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tool_set t;
        struct err e;
        assert_false(read_tools(&t, cases[i].tools, cases[i].legacy, true, &e));
        assert_string_equal(e.msg, cases[i].why);
        assert_int_equal(e.code, ERR_REQUEST);
        assert_null(t.list);
    }
    json_t *many = json_array();
    for (int i = 0; i <= TOOLS_MAX; i++) json_array_append_new(many, json_object());
    struct tool_set t = { 0 };
    struct err e;
    assert_false(tool_set_read(&t, many, "tools", false, true, &e));
    assert_string_equal(e.msg, "tools: 129 tools are offered, at most 128 may be");
    json_decref(many);
}

static void test_choose(void **state)
{
    (void)state;
    struct tool_set t;
    struct err e;
    static const struct {
        const char *choice;
        enum tool_choice is;
        const char *allows; /* of a, b, c */
    } good[] = {
        { "null", TOOL_AUTO, "abc" },
        { "\"auto\"", TOOL_AUTO, "abc" },
        { "\"none\"", TOOL_NEVER, "" },
        { "\"required\"", TOOL_REQUIRED, "abc" },
        { "\"any\"", TOOL_REQUIRED, "abc" },
        { "{\"type\":\"function\",\"function\":{\"name\":\"b\"}}", TOOL_NAMED, "b" },
        { "{\"type\":\"function\",\"name\":\"c-_9\"}", TOOL_NAMED, "c" },
        { "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\",\"tools\":[{\"type\":"
          "\"function\","
          "\"function\":{\"name\":\"a\"}},{\"type\":\"function\",\"name\":\"b\"}]}}",
          TOOL_REQUIRED, "ab" },
        { "{\"type\":\"allowed_tools\",\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"name\":\"c-_9\"}"
          "]}",
          TOOL_AUTO, "c" },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char allows[4] = "";
        assert_true(read_tools(&t, three, false, true, &e));
        assert_true(choose(&t, good[i].choice, &e));
        assert_int_equal(t.choice, good[i].is);
        for (int k = 0; k < 3; k++)
            if (tool_set_allows(&t, k)) allows[strlen(allows)] = "abc"[k];
        assert_string_equal(allows, good[i].allows);
        tool_set_free(&t);
    }
    static const struct {
        const char *choice, *why;
    } bad[] = {
        { "\"must\"",
          "tool_choice: \"must\" is none of auto, none, required and an object that names a function" },
        { "7", "tool_choice: expected a string or an object, found a number" },
        { "{}", "tool_choice.type: must be \"function\"" },
        { "{\"type\":\"function\"}", "tool_choice.name: expected the name of a tool, found nothing" },
        { "{\"type\":\"function\",\"function\":{\"name\":\"x\"}}",
          "tool_choice.function.name: no tool \"x\" is offered" },
        { "{\"type\":\"function\",\"function\":1}",
          "tool_choice.function: expected an object, found a number" },
        { "{\"type\":\"allowed_tools\"}", "tool_choice.mode: must be \"auto\" or \"required\"" },
        { "{\"type\":\"allowed_tools\",\"mode\":\"auto\"}",
          "tool_choice.tools: expected an array with at least one tool, found nothing" },
        { "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[]}}",
          "tool_choice.allowed_tools.tools: expected an array with at least one tool, found an empty one" },
        { "{\"type\":\"allowed_tools\",\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"name\":\"x\"}]}",
          "tool_choice.tools[0].name: no tool \"x\" is offered" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(read_tools(&t, three, false, true, &e));
        assert_false(choose(&t, bad[i].choice, &e));
        assert_string_equal(e.msg, bad[i].why);
        tool_set_free(&t);
    }
    t = (struct tool_set){ 0 };
    assert_true(choose(&t, "\"auto\"", &e) && choose(&t, "\"none\"", &e));
    assert_false(choose(&t, "\"required\"", &e));
    assert_string_equal(e.msg, "tool_choice: \"required\" needs tools, and none are offered");
    assert_true(read_tools(&t, "[{\"name\":\"f\"}]", true, true, &e));
    assert_true(choose(&t, "{\"name\":\"f\"}", &e) && t.choice == TOOL_NAMED && !t.named);
    assert_false(choose(&t, "\"required\"", &e));
    assert_false(choose(&t, "{\"name\":\"g\"}", &e));
    assert_string_equal(e.msg, "function_call.name: no tool \"g\" is offered");
    tool_set_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_choose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
