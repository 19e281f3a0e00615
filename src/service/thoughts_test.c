/* thoughts_test.c - thoughts of earlier turns: left out, kept, and shown to templates that look for them in different places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/thoughts.h"

static struct chat_template *compiled(const char *source)
{
    struct chat_template *t;
    struct err e = { ERR_NONE, "" };
    if (!chat_template_compile(&t, source, strlen(source), &e)) fail_msg("%s", e.msg);
    return t;
}

/* A JSON text in single quotes. */
static json_t *json_of(const char *text)
{
    char *s = strdup(text);
    for (char *p = s; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *v = json_loads(s, 0, NULL);
    if (!v) fail_msg("%s", s);
    free(s);
    return v;
}

static void test_marks(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "{{ messages[0].content }}", NULL },
        { "{{ messages[0].content.split('</think>')[-1] }}", "<think>" },
        { "{% if add_generation_prompt %}<think>\n{% endif %}", "<think>" },
        { "{{ '[THINK]' }}", "[THINK]" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct chat_template *t = compiled(rows[i][0]);
        const struct thought_marks m = thoughts_marks(t);
        if (rows[i][1])
            assert_string_equal(m.open, rows[i][1]);
        else
            assert_null(m.open);
        chat_template_free(t);
    }
}

#define U(text) "{'role':'user','content':'" text "'}"
#define A(text) "{'role':'assistant','content':'" text "'}"
#define R(thought, text) "{'role':'assistant','content':'" text "','reasoning_content':'" thought "'}"

static void test_history(void **state)
{
    (void)state;
    static const struct thought_marks marks = { "<think>", "</think>" }, none = { NULL, NULL };
    static const char in[] =
        "[" U("a") "," R("one", "A") "," U("b") "," A("<think>\\ntwo\\n</think>\\n\\nB") "," A(
            "three</think>C") "," A("x <think>y</think> z") "," A("D") "]";
    static const struct {
        enum thought_history history;
        enum thought_way way;
        const char *out;
    } rows[] = {
        { HISTORY_AS_TEMPLATE, THOUGHTS_IN_TEXT, in },
        { HISTORY_NONE, THOUGHTS_AS_THEY_CAME,
          "[" U("a") "," A("A") "," U("b") "," A("B") "," A("C") "," A("x <think>y</think> z") "," A(
              "D") "]" },
        { HISTORY_INTERLEAVED, THOUGHTS_AS_THEY_CAME,
          "[" U("a") "," A("A") "," U("b") "," A("<think>\\ntwo\\n</think>\\n\\nB") "," A(
              "three</think>C") "," A("x <think>y</think> z") "," A("D") "]" },
        { HISTORY_ALL, THOUGHTS_AS_THEY_CAME, in },
        { HISTORY_ALL, THOUGHTS_IN_TEXT,
          "[" U("a") "," A("<think>\\none\\n</think>\\n\\nA") "," U("b") "," A(
              "<think>\\ntwo\\n</"
              "think>\\n\\nB") "," A("<think>\\nthree\\n</think>\\n\\nC") "," A("x "
                                                                                "<think>y</think> "
                                                                                "z") "," A("D") "]" },
        { HISTORY_ALL, THOUGHTS_IN_TEXT_ALONE,
          "[" U("a") "," R("", "<think>\\none\\n</think>\\n\\nA") "," U("b") "," R(
              "", "<think>\\ntwo\\n</"
                  "think>\\n\\nB") "," R("", "<think>\\nthree\\n</think>\\n\\nC") "," A("x <think>y</think> "
                                                                                        "z") "," A("D") "]" },
    };
    json_t *messages = json_of(in);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 2; k++) {
            json_t *want = json_of(rows[i].out);
            json_t *out = thoughts_of_history(messages, rows[i].history, k ? &none : &marks, rows[i].way);
            if (!json_equal(out, want)) fail_msg("%zu: %s", i, json_dumps(out, JSON_COMPACT));
            json_decref(out);
            json_decref(want);
        }
    /* Parts stay parts, and a turn of calls alone has a text for its thought. */
    json_t *others =
               json_of("[{'role':'assistant','reasoning_content':'r','content':[{'type':'text','text':'A'}]},"
                       "{'role':'assistant','reasoning_content':'s','content':null,'tool_calls':[]}]"),
           *out = thoughts_of_history(others, HISTORY_ALL, &marks, THOUGHTS_IN_TEXT),
           *want = json_of(
               "[{'role':'assistant','content':[{'type':'text','text':'<think>\\nr\\n</think>\\n\\n'},"
               "{'type':'text','text':'A'}]},{'role':'assistant','content':'<think>\\ns\\n</think>\\n\\n"
               "','tool_calls':[]}]");
    assert_true(json_equal(out, want));
    json_decref(want);
    json_decref(out);
    json_decref(others);
    json_decref(messages);
}

static void test_held(void **state)
{
    (void)state;
    static const struct thought_marks marks = { "<think>", "</think>" };
    json_t *messages = json_of("[" U("a") "," R(" one ", "A") "," U("b") "," A("<think>two</think>B") "]");
    assert_true(thoughts_held(messages, HISTORY_AS_TEMPLATE, &marks, ""));
    assert_true(thoughts_held(messages, HISTORY_NONE, &marks, ""));
    assert_true(thoughts_held(messages, HISTORY_INTERLEAVED, &marks, "a A b two B"));
    assert_false(thoughts_held(messages, HISTORY_INTERLEAVED, &marks, "a one A b B"));
    assert_true(thoughts_held(messages, HISTORY_ALL, &marks, "a one A b two B"));
    assert_false(thoughts_held(messages, HISTORY_ALL, &marks, "a A b two B"));
    assert_false(thoughts_held(messages, HISTORY_ALL, &marks, "two one")); /* in their order */
    json_decref(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_marks), cmocka_unit_test(test_history),
                                        cmocka_unit_test(test_held) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
