/* Requests steered as a client would have them: every way that models write calls, on a tiny model of random weights, which writes nothing that
 * it need not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "service/models/catalog.h"
#include "service/steering.h"
#include "service/tools/tool_format.h"

#define MODEL "tests/golden/lm/chat"

struct fixture {
    struct pool *pool;
    struct device *dev;
    struct lm *lm;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = { 0 };
    if (!f || !pool_new(&f->pool, 2, &e) || !device_cpu_open(&f->dev, f->pool, ~0u, &e) ||
        !lm_load(&f->lm, MODEL, &(struct lm_options){ .kv_bytes = 64 << 20 }, f->dev, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    lm_free(f->lm);
    device_close(f->dev);
    pool_free(f->pool);
    free(f);
    return 0;
}

struct answer {
    struct buf text, thought;
    int n_calls;
    char *name[8];
    struct buf arguments[8];
    enum reply_finish finish;
    struct usage usage;
};

static void answer_free(struct answer *a)
{
    buf_free(&a->text);
    buf_free(&a->thought);
    for (int i = 0; i < a->n_calls; i++) {
        free(a->name[i]);
        buf_free(&a->arguments[i]);
    }
}

static void take(struct answer *a, struct reply_event *ev)
{
    switch (ev->type) {
    case REPLY_TEXT: buf_append(&a->text, ev->text, ev->len); break;
    case REPLY_THOUGHT: buf_append(&a->thought, ev->text, ev->len); break;
    case REPLY_CALL:
        if (ev->call.name) {
            assert_int_equal(ev->call.index, a->n_calls);
            assert_in_range(a->n_calls, 0, 7);
            a->name[a->n_calls++] = strdup(ev->call.name);
        }
        buf_append(&a->arguments[ev->call.index], ev->text, ev->len);
        break;
    case REPLY_CHOICE_END: a->finish = ev->finish; break;
    case REPLY_DONE: a->usage = ev->usage; break;
    case REPLY_ERROR: fail_msg("%s", ev->error.msg); break;
    default: break;
    }
}

static void run(struct fixture *f, const struct gen_request *q, const char *prompt, uint64_t seed,
                int max_tokens, struct answer *a)
{
    struct steering s;
    struct fault fault = { 0 };
    struct reply *reply;
    struct lm_job *job;
    struct lm_event ev;
    struct reply_event said;
    struct token_list ids = { 0 };
    memset(a, 0, sizeof *a);
    if (!steering_make(&s, f->lm, NULL, q, prompt, NULL, &fault)) fail_msg("%s", fault.err.msg);
    assert_true(
        tokenizer_encode(lm_tokenizer(f->lm), prompt, strlen(prompt), NULL, true, 0, &ids, &fault.err));
    assert_true(reply_new(&reply, &s.style, 1, &fault.err));
    const struct lm_request r = {
        .prompt = { .ids = ids.id, .n = ids.n, .max_tokens = max_tokens },
        .n = 1,
        .guide = s.plan,
        .sampling = { .temperature = 1.3f,
                      .top_p = 1,
                      .typical_p = 1,
                      .repetition_penalty = 1,
                      .n_top_logprobs = -1,
                      .seed = seed },
    };
    assert_true(lm_submit(f->lm, &r, NULL, NULL, &job, &fault.err));
    while (lm_wait(job, &ev)) {
        reply_feed(reply, &ev);
        while (reply_next(reply, &said)) {
            take(a, &said);
            reply_event_free(&said);
        }
    }
    lm_job_free(job);
    reply_free(reply);
    steering_free(&s);
    token_list_free(&ids);
}

static const char two_tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"integer\","
    "\"minimum\":0,\"maximum\":99},\"b\":{\"enum\":[1,2,3]}},\"required\":[\"a\",\"b\"],"
    "\"additionalProperties\":false}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"turn\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"to\":{\"enum\":[\"left\",\"\\u00fc}{\\\"\"]}},"
    "\"required\":[\"to\"],\"additionalProperties\":false}}}]";

static void offer(struct gen_request *q, const char *choice, const struct tool_format *format)
{
    struct err e;
    json_t *tools = json_loads(two_tools, 0, NULL), *c = json_loads(choice, JSON_DECODE_ANY, NULL);
    gen_request_init(q);
    q->messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "hi");
    q->tool_format = format;
    if (!tool_set_read(&q->tools, tools, "tools", false, true, &e) ||
        !tool_set_choose(&q->tools, c, "tool_choice", &e))
        fail_msg("%s", e.msg);
    json_decref(tools);
    json_decref(c);
}

static void check_call(const struct answer *a, int i, const char *format)
{
    json_error_t why;
    json_t *j = json_loads(a->arguments[i].data ? a->arguments[i].data : "", 0, &why), *x;
    if (!j) fail_msg("%s: %s of %s: %s", format, a->arguments[i].data, a->name[i], why.text);
    if (!strcmp(a->name[i], "add")) {
        x = json_object_get(j, "a");
        assert_true(json_is_number(x) && json_number_value(x) >= 0 && json_number_value(x) <= 99);
        x = json_object_get(j, "b");
        assert_true(json_number_value(x) >= 1 && json_number_value(x) <= 3);
        assert_int_equal(json_object_size(j), 2);
    } else {
        assert_string_equal(a->name[i], "turn");
        const char *to = json_string_value(json_object_get(j, "to"));
        assert_true(to && (!strcmp(to, "left") || !strcmp(to, "\u00fc}{\"")));
        assert_int_equal(json_object_size(j), 1);
    }
    json_decref(j);
}

static void test_calls_of_every_family(void **state)
{
    static const char *const choices[] = { "\"required\"",
                                           "{\"type\":\"function\",\"function\":{\"name\":\"turn\"}}" };
    for (int k = 0; tool_formats[k]; k++) {
        int ended = 0;
        for (size_t c = 0; c < 2; c++)
            for (uint64_t seed = 1; seed <= 8; seed++) {
                struct gen_request q;
                struct answer a;
                offer(&q, choices[c], tool_formats[k]);
                q.tools.one = seed % 2;
                run(*state, &q, "hello ", seed, 500, &a);
                if (a.finish != REPLY_LENGTH) {
                    ended++;
                    if (a.finish != REPLY_CALLS)
                        fail_msg("%s: no call in: %s", tool_formats[k]->name, a.text.data);
                    assert_int_equal(a.text.len, 0);
                    assert_true(a.n_calls >= 1);
                    if (q.tools.one || c == 1)
                        assert_true(c == 1 ? strcmp(a.name[0], "turn") == 0 : a.n_calls == 1);
                }
                for (int i = 0; i < a.n_calls && a.finish != REPLY_LENGTH; i++)
                    check_call(&a, i, tool_formats[k]->name);
                answer_free(&a);
                gen_request_free(&q);
            }
        if (ended < 8) fail_msg("%s: only %d of 16 answers ended", tool_formats[k]->name, ended);
    }
}

/* With a schema beside tools the answer is a call or meets the schema. */
static void test_a_call_or_a_schema(void **state)
{
    int calls = 0, answers = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct gen_request q;
        struct answer a;
        offer(&q, "\"auto\"", tool_format_named("hermes"));
        q.answer.kind = FORM_SCHEMA;
        q.answer.from = "response_format";
        q.answer.schema = json_loads("{\"enum\":[\"yes\",\"no\"]}", 0, NULL);
        run(*state, &q, "hello ", seed, 500, &a);
        if (a.finish == REPLY_CALLS) {
            calls++;
            for (int i = 0; i < a.n_calls; i++) check_call(&a, i, "hermes");
        } else if (a.finish == REPLY_STOP) {
            answers++;
            json_t *j = json_loads(a.text.data, JSON_DECODE_ANY, NULL);
            const char *word = json_string_value(j);
            assert_true(word && (!strcmp(word, "yes") || !strcmp(word, "no")));
            json_decref(j);
        }
        answer_free(&a);
        gen_request_free(&q);
    }
    assert_true(calls > 0 && answers > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_of_every_family),
        cmocka_unit_test(test_a_call_or_a_schema),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
