/* tool_messages_test.c - conversations with calls as templates print them (tools/reference/tool_messages.py), and tools in a system message where
 * a template has no place for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/tools/tool_format.h"

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *j = json_load_file(path, JSON_DECODE_INT_AS_REAL, &why);
    if (!j) fail_msg("%s:%d: %s", path, why.line, why.text);
    return j;
}

/* A template of tests/golden/template, and what stands in its context. */
static struct chat_template *family_template(const char *family, json_t **context)
{
    char path[128];
    struct chat_template *t;
    struct err e;
    snprintf(path, sizeof path, "tests/golden/template/family_%s.json", family);
    json_t *file = load(path), *other = NULL;
    const json_t *source = json_object_get(file, "template"), *from = json_object_get(file, "from");
    if (from) {
        other = load(json_string_value(json_array_get(from, 0)));
        source = json_object_get(other, json_string_value(json_array_get(from, 1)));
    }
    if (!chat_template_compile(&t, json_string_value(source), json_string_length(source), &e))
        fail_msg("%s: %s", path, e.msg);
    if (context) *context = json_incref(json_object_get(file, "context"));
    json_decref(other);
    json_decref(file);
    return t;
}

static json_t *messages_for(const json_t *messages, const struct tool_set *set, const struct chat_template *t)
{
    json_t *out;
    struct err e = { 0 };
    char *before = json_dumps(messages, 0);
    if (!tools_messages(messages, set, tool_format_of(t), t, &out, &e)) fail_msg("%s", e.msg);
    char *behind = json_dumps(messages, 0);
    assert_string_equal(before, behind); /* the request's own are left alone */
    free(before);
    free(behind);
    return out;
}

static void test_rendered(void **state)
{
    (void)state;
    json_t *golden = json_load_file("tests/golden/tools/messages.json", 0, NULL), *c;
    assert_non_null(golden);
    size_t i;
    int bad = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, c)
    {
        json_t *context;
        const char *family = json_string_value(json_object_get(c, "family")),
                   *name = json_string_value(json_object_get(c, "name")),
                   *want = json_string_value(json_object_get(c, "output"));
        struct chat_template *t = family_template(family, &context);
        json_t *messages = messages_for(json_object_get(json_object_get(golden, "conversations"), name),
                                        &(struct tool_set){ 0 }, t);
        struct rendered r;
        struct err e;
        json_object_set_new(context, "messages", messages);
        json_object_set_new(context, "tools", json_pack("[O]", json_object_get(golden, "tool")));
        json_object_set_new(context, "add_generation_prompt", json_true());
        const bool ok =
            chat_template_render(t, context, &(struct render_options){ .now_unix = 1735825445 }, &r, &e);
        if (!ok || strcmp(r.text, want) != 0) {
            print_message("%s, %s:\n  want: %s\n  got:  %s\n", family, name, want, ok ? r.text : e.msg);
            bad++;
        }
        if (ok) {
            free(r.text);
            free(r.data);
        }
        json_decref(context);
        chat_template_free(t);
    }
    json_decref(golden);
    assert_true(i > 60);
    if (bad) fail_msg("%d cases differ from jinja2", bad);
}

static void two_tools(struct tool_set *t)
{
    json_t *j = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"type\":\"function\","
                           "\"function\":{\"name\":"
                           "\"g\"}}]",
                           0, NULL);
    *t = (struct tool_set){ 0 };
    assert_true(tool_set_read(t, j, "tools", false, true, NULL));
    json_decref(j);
}

static void check_first(const char *family, const char *messages, const struct tool_set *set,
                        const char *role, const char *begins, bool instructed)
{
    struct chat_template *t = family_template(family, NULL);
    json_t *in = json_loads(messages, 0, NULL), *out = messages_for(in, set, t),
           *first = json_array_get(out, 0);
    const char *content = json_string_value(json_object_get(first, "content"));
    assert_string_equal(json_string_value(json_object_get(first, "role")), role);
    assert_non_null(content);
    assert_memory_equal(content, begins, strlen(begins));
    assert_int_equal(strstr(content, "{\"type\": \"function\", \"function\": {\"name\": \"g\"}}\n") != NULL,
                     instructed);
    if (!instructed) assert_ptr_equal(in, out);
    json_decref(in);
    json_decref(out);
    chat_template_free(t);
}

#define SYSTEM "{\"role\":\"system\",\"content\":\"Be brief.\"}"
#define PARTS                                                                                                \
    "{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"Be\"},{\"type\":\"text\",\"text\":"     \
    "\"brief.\"}]}"
#define USER "{\"role\":\"user\",\"content\":\"Hi\"}"

static void test_instructions(void **state)
{
    (void)state;
    struct tool_set set;
    two_tools(&set);
    check_first("smollm2", "[" SYSTEM "," USER "]", &set, "system", "Be brief.\n\nYou can call", true);
    check_first("smollm2", "[" PARTS "," USER "]", &set, "system", "Be\nbrief.\n\nYou can call", true);
    check_first("smollm2", "[" USER "]", &set, "system", "You can call", true);
    check_first("deepseek_v3", "[" USER "]", &set, "system", "## Tools", true);
    check_first("llama3_1_short", "[" USER "]", &set, "system", "You can call", true);
    check_first("qwen3", "[" USER "]", &set, "user", "Hi", false);
    set.choice = TOOL_NEVER;
    check_first("smollm2", "[" USER "]", &set, "user", "Hi", false);
    tool_set_free(&set);
    check_first("smollm2", "[" USER "]", &set, "user", "Hi", false);
    /* A template that refuses system messages has it in front of the user's. */
    static const char refuses[] =
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content }}{% endfor %}";
    struct chat_template *t;
    struct err e;
    two_tools(&set);
    assert_true(chat_template_compile(&t, refuses, sizeof refuses - 1, &e));
    json_t *in = json_loads("[" USER "]", 0, NULL), *out = messages_for(in, &set, t);
    const char *content = json_string_value(json_object_get(json_array_get(out, 0), "content"));
    assert_non_null(strstr(content, "{\"name\": \"g\"}}\n"));
    assert_string_equal(content + strlen(content) - 4, "\n\nHi");
    json_decref(in);
    json_decref(out);
    chat_template_free(t);
    tool_set_free(&set);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const arguments[] = { "[1]", "{\\\"a\\\"", "7" };
    struct chat_template *t = family_template("qwen3", NULL);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        char text[256];
        struct err e = { 0 };
        json_t *out;
        snprintf(
            text, sizeof text,
            "[" USER
            ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
            "\"function\":{\"name\":\"f\",\"arguments\":\"%s\"}}]}]",
            arguments[i]);
        json_t *in = json_loads(text, 0, NULL);
        assert_non_null(in);
        assert_false(tools_messages(in, &(struct tool_set){ 0 }, tool_format_of(t), t, &out, &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_string_equal(e.msg,
                            "messages[1].tool_calls[0].function.arguments: expected a JSON object as text");
        json_decref(in);
    }
    chat_template_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rendered),
        cmocka_unit_test(test_instructions),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
