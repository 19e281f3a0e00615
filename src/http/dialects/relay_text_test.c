/* relay_text_test.c - a request as another server is asked it, and that server's answers as events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/json_memory.h"
#include "http/dialects/relay_text.h"

/* ---- what is asked ------------------------------------------------------------------------------------------------- */

static json_t *asked(const char *body, bool chat, struct fault *f)
{
    struct wire_request w;
    json_t *in = json_loads(body, 0, NULL);
    *f = (struct fault){ 0 };
    assert_true(wire_parse(&w, in, chat, false, &openai_style, f));
    json_t *out = relay_text_body(&w, f);
    wire_free(&w);
    json_decref(in);
    return out;
}

/* A request that says all that can be sent comes out as it went in. */
static void test_all_of_it(void **state)
{
    (void)state;
    static const char body[] =
        "{\"chat_template_kwargs\":{\"a\":1},\"frequency_penalty\":0.5,\"ignore_eos\":true,\"logit_bias\":{"
        "\"7\":-1."
        "5},"
        "\"max_tokens\":9,\"messages\":[{\"content\":\"hi\",\"role\":\"user\"},{\"content\":null,\"role\":"
        "\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"{}\",\"name\":\"f\"},\"id\":\"a\","
        "\"type\":"
        "\"function\"}]},{\"content\":\"r\",\"role\":\"tool\",\"tool_call_id\":\"a\"}],\"min_p\":0.1,"
        "\"mirostat_lr\":0.2,\"mirostat_target\":5.0,\"model\":\"m\",\"n\":2,\"parallel_tool_calls\":false,"
        "\"presence_penalty\":-0.5,\"reasoning_effort\":\"low\",\"repetition_penalty\":1.1,\"response_"
        "format\":{"
        "\"json_schema\":{\"name\":\"answer\",\"schema\":{\"type\":\"object\"},\"strict\":false},\"type\":"
        "\"json_schema\"},\"seed\":-3,\"stop\":[\"x\",\"y\"],\"stream\":true,\"temperature\":0.3,\"tool_"
        "choice\":{"
        "\"function\":{\"name\":\"f\"},\"type\":\"function\"},\"tools\":[{\"function\":{\"name\":\"f\","
        "\"parameters\":{\"type\":\"object\"},\"strict\":true},\"type\":\"function\"}],\"top_k\":4,\"top_p\":"
        "0.9,"
        "\"typical_p\":0.8}";
    struct fault f;
    json_t *out = asked(body, true, &f);
    assert_non_null(out);
    char *text = json_dumps(out, JSON_COMPACT | JSON_SORT_KEYS);
    json_t *want = json_loads(body, 0, NULL);
    char *wanted = json_dumps(want, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, wanted);
    free(text);
    free(wanted);
    json_decref(out);
    json_decref(want);
}

static void test_wishes_that_cannot_be_sent(void **state)
{
    (void)state;
    static const struct {
        const char *more, *param;
        bool chat;
    } cases[] = { { "\"logprobs\":true", "logprobs", true },
                  { "\"raw_output\":true", "raw_output", true },
                  { "\"stop_token_ids\":[1]", "stop_token_ids", true },
                  { "\"return_token_ids\":true", "return_token_ids", true },
                  { "\"prompt_truncate_len\":5", "prompt_truncate_len", true },
                  { "\"reasoning_history\":\"disabled\"", "reasoning_history", true },
                  { "\"best_of\":3", "best_of", false },
                  { "\"echo\":true", "echo", false },
                  { "\"n\":1", "prompt", false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = BUF_INIT(0);
        struct fault f;
        const char *prompt = cases[i].chat ? "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
                             : !strcmp(cases[i].param, "prompt") ? "\"prompt\":[1,2]"
                                                                 : "\"prompt\":\"x\"";
        buf_printf(&b, "{\"model\":\"m\",%s,%s}", prompt, cases[i].more);
        assert_null(asked(b.data, cases[i].chat, &f));
        assert_int_equal(f.err.code, ERR_UNSUPPORTED);
        assert_string_equal(f.param, cases[i].param);
        buf_free(&b);
    }
}

/* ---- what comes ---------------------------------------------------------------------------------------------------- */

static const struct usage used = { .prompt_tokens = 3, .completion_tokens = 2 };

static bool reads(struct relay_text *t, const char *json, struct err *e)
{
    return relay_text_read(t, json, strlen(json), &used, e);
}

static void test_a_stream(void **state)
{
    (void)state;
    struct gen_request gen = { 0 };
    struct relay_text t;
    struct wire_choice c = { 0 };
    struct reply_event ev;
    struct err e;
    assert_true(relay_text_init(&t, &gen, 1, false, &e));
    static const char *const events[] = {
        "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}",
        "{\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"a\\u0000b\"}}]}",
        "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\"}}]}}]}",
        "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]}}]}",
        "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\"}}]}"
        "}]}",
        "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}",
        "{\"choices\":[],\"usage\":{}}",
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) assert_true(reads(&t, events[i], &e));
    assert_true(relay_text_end(&t, &used, &e));
    while (relay_text_next(&t, &ev)) {
        assert_true(wire_choice_take(&c, &ev));
        if (ev.type == REPLY_DONE) assert_int_equal(ev.usage.prompt_tokens, 3);
        reply_event_free(&ev);
    }
    assert_string_equal(c.thought.data, "hm");
    assert_memory_equal(c.text.data, "a\0b", 3);
    assert_int_equal(c.n_calls, 2);
    assert_memory_equal(c.calls[0].id, "call_", 5); /* the upstream gave none */
    assert_string_equal(c.calls[0].arguments.data, "{}");
    assert_string_equal(c.calls[1].id, "b");
    assert_int_equal(c.finish, REPLY_CALLS);
    wire_choice_free(&c);
    relay_text_free(&t);
}

static void test_answers_of_no_use(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } cases[] = {
        { "[]", "no JSON object" },
        { "{\"choices\":[{\"index\":1,\"delta\":{}}]}", "not asked for" },
        { "{\"choices\":[{\"index\":-1,\"delta\":{}}]}", "not asked for" },
        { "{\"choices\":[7]}", "not asked for" },
        { "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"name\":\"f\"}}]}}]}",
          "out of its turn" },
        { "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{}}]}}]}", "no function" },
        { "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"},{\"index\":0,\"delta\":{}}]}",
          "behind its end" },
        { "{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", "without saying why" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gen_request gen = { 0 };
        struct relay_text t;
        struct err e = { 0 };
        assert_true(relay_text_init(&t, &gen, 1, true, &e));
        assert_false(reads(&t, cases[i].json, &e) && relay_text_end(&t, &used, &e));
        assert_int_equal(e.code, ERR_UPSTREAM);
        assert_non_null(strstr(e.msg, cases[i].says));
        relay_text_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_it),
        cmocka_unit_test(test_wishes_that_cannot_be_sent),
        cmocka_unit_test(test_a_stream),
        cmocka_unit_test(test_answers_of_no_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
