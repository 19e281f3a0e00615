/* print_test.c - reply events on the wire: answers, thoughts and calls, streamed and whole, in both dialects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/dialects/wire.h"

static struct wire_reply reply_in(struct wire_request *w, const struct wire_style *style)
{
    *w = (struct wire_request){ .style = style, .chat = true };
    struct wire_reply r;
    wire_reply_init(&r, w, "m", NULL);
    return r;
}

static struct reply_event piece(enum reply_type type, const char *text)
{
    return (struct reply_event){ .type = type, .text = (char *)text, .len = strlen(text) };
}

static struct reply_event call(int index, const char *id, const char *name, const char *arguments)
{
    struct reply_event ev = piece(REPLY_CALL, arguments);
    ev.call = (struct reply_call){ index, (char *)id, (char *)name };
    return ev;
}

/* The value of choices[0] in one event of a stream, or in a reply; *root is to be given back. */
static const json_t *choice_of(const struct buf *b, json_t **root)
{
    const char *data = strncmp(b->data, "data: ", 6) ? b->data : b->data + 6;
    *root = json_loads(data, 0, NULL);
    assert_non_null(*root);
    return json_array_get(json_object_get(*root, "choices"), 0);
}

static void assert_delta(const struct wire_style *style, const struct reply_event *ev, const char *want)
{
    struct wire_request w;
    struct buf b = BUF_INIT(0);
    json_t *root;
    const struct wire_reply r = reply_in(&w, style);
    const struct wire_piece p = { .text = ev->text, .len = ev->len };
    wire_event_piece(&b, &r, ev, &p);
    assert_string_equal(b.data + b.len - 2, "\n\n");
    const json_t *c = choice_of(&b, &root);
    char *delta = json_dumps(json_object_get(c, "delta"), JSON_COMPACT);
    assert_string_equal(delta, want);
    assert_true(json_is_null(json_object_get(c, "finish_reason")));
    assert_int_equal(json_integer_value(json_object_get(c, "index")), ev->index);
    free(delta);
    json_decref(root);
    buf_free(&b);
}

static void test_deltas(void **state)
{
    (void)state;
    static const struct wire_style *const styles[] = { &openai_style, &fireworks_style };
    for (int i = 0; i < 2; i++) {
        struct reply_event text = piece(REPLY_TEXT, "Hi \"you\""), thought = piece(REPLY_THOUGHT, "Well\n"),
                           name = call(1, "call_a", "get", ""), more = call(1, NULL, NULL, "{\"x\":");
        text.index = 3;
        assert_delta(styles[i], &text, "{\"content\":\"Hi \\\"you\\\"\"}");
        assert_delta(styles[i], &thought, "{\"reasoning_content\":\"Well\\n\"}");
        assert_delta(styles[i], &name,
                     "{\"tool_calls\":[{\"index\":1,\"id\":\"call_a\",\"type\":\"function\",\"function\":{"
                     "\"name\":\"get\",\"arguments\":\"\"}}]}");
        assert_delta(styles[i], &more,
                     "{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]}");
    }
}

static void take(struct wire_choice *c, struct reply_event ev) { assert_true(wire_choice_take(c, &ev)); }

static json_t *whole(const struct wire_style *style, const struct wire_choice *c, const struct usage *u)
{
    struct wire_request w;
    struct buf b = BUF_INIT(0);
    const struct wire_reply r = reply_in(&w, style);
    wire_print_full(&b, &r, c, 1, u);
    json_t *root = json_loads(b.data, 0, NULL);
    assert_non_null(root);
    buf_free(&b);
    return root;
}

static void test_whole(void **state)
{
    (void)state;
    struct wire_choice c = { 0 };
    take(&c, piece(REPLY_THOUGHT, "Two "));
    take(&c, piece(REPLY_THOUGHT, "steps"));
    take(&c, call(0, "call_a", "get", ""));
    take(&c, call(0, NULL, NULL, "{\"x\""));
    take(&c, call(0, NULL, NULL, ":1}"));
    take(&c, call(1, "call_b", "put", "{}"));
    take(&c, (struct reply_event){ .type = REPLY_CHOICE_END, .finish = REPLY_CALLS });
    const struct usage u = { .prompt_tokens = 4, .completion_tokens = 9, .reasoning_tokens = 5 };

    json_t *root = whole(&fireworks_style, &c, &u);
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    char *message = json_dumps(json_object_get(choice, "message"), JSON_COMPACT);
    assert_string_equal(
        message,
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"Two "
        "steps\",\"tool_calls\":[{\"id\":"
        "\"call_a\",\"type\":\"function\",\"function\":{\"name\":\"get\",\"arguments\":\"{\\\"x\\\":1}\"}},{"
        "\"id\":\"call_b\",\"type\":\"function\",\"function\":{\"name\":\"put\",\"arguments\":\"{}\"}}]}");
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "tool_calls");
    free(message);
    json_decref(root);

    take(&c, piece(REPLY_TEXT, "Done.")); /* text beside calls stays */
    root = whole(&openai_style, &c, &u);
    choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *m = json_object_get(choice, "message"),
                 *details = json_object_get(json_object_get(root, "usage"), "completion_tokens_details");
    assert_string_equal(json_string_value(json_object_get(m, "content")), "Done.");
    assert_true(json_is_null(json_object_get(m, "refusal")));
    assert_int_equal(json_integer_value(json_object_get(details, "reasoning_tokens")), 5);
    json_decref(root);
    wire_choice_free(&c);
}

/* Neither an empty thought nor an empty list of calls: clients ask whether the name is there. */
static void test_absent(void **state)
{
    (void)state;
    struct wire_choice c = { 0 };
    const struct usage u = { 0 };
    take(&c, piece(REPLY_TEXT, ""));
    take(&c, (struct reply_event){ .type = REPLY_CHOICE_END, .finish = REPLY_STOP });
    json_t *root = whole(&fireworks_style, &c, &u);
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    char *message = json_dumps(json_object_get(choice, "message"), JSON_COMPACT);
    assert_string_equal(message, "{\"role\":\"assistant\",\"content\":\"\"}");
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "stop");
    free(message);
    json_decref(root);
    wire_choice_free(&c);
}

static void test_finish_reasons(void **state)
{
    (void)state;
    assert_string_equal(wire_finish_reason(REPLY_STOP), "stop");
    assert_string_equal(wire_finish_reason(REPLY_LENGTH), "length");
    assert_string_equal(wire_finish_reason(REPLY_CALLS), "tool_calls");
    assert_string_equal(wire_finish_reason(REPLY_FAILED), "error");
    assert_string_equal(wire_finish_reason(REPLY_CANCELLED), "stop");
}

/* Tokens of every kind of piece are kept, in their order. */
static void test_tokens(void **state)
{
    (void)state;
    struct wire_choice c = { 0 };
    struct reply_token t[200] = { 0 };
    for (int i = 0; i < 200; i++) t[i].id = i;
    struct reply_event thought = piece(REPLY_THOUGHT, "a"), text = piece(REPLY_TEXT, "b"),
                       name = call(0, "i", "n", "");
    thought.tokens = t;
    thought.n_tokens = 3;
    name.tokens = t + 3;
    name.n_tokens = 1;
    text.tokens = t + 4;
    text.n_tokens = 196;
    take(&c, thought);
    take(&c, name);
    take(&c, text);
    assert_int_equal(c.n_tokens, 200);
    for (int i = 0; i < 200; i++) assert_int_equal(c.tokens[i].id, i);
    wire_choice_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deltas),         cmocka_unit_test(test_whole),  cmocka_unit_test(test_absent),
        cmocka_unit_test(test_finish_reasons), cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
