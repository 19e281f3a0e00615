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

static void assert_delta(const struct wire_style *style, const struct reply_event *ev, bool legacy,
                         const char *want)
{
    struct wire_request w;
    struct buf b = BUF_INIT(0);
    json_t *root;
    const struct wire_reply r = reply_in(&w, style);
    struct wire_growing g = { 0 };
    w.gen.tools.legacy = legacy;
    wire_stream_piece(&b, &r, &g, ev);
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
        assert_delta(styles[i], &text, false, "{\"content\":\"Hi \\\"you\\\"\"}");
        assert_delta(styles[i], &thought, false, "{\"reasoning_content\":\"Well\\n\"}");
        assert_delta(styles[i], &name, false,
                     "{\"tool_calls\":[{\"index\":1,\"id\":\"call_a\",\"type\":\"function\",\"function\":{"
                     "\"name\":\"get\",\"arguments\":\"\"}}]}");
        assert_delta(styles[i], &more, false,
                     "{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]}");
        name.call.index = more.call.index = 0;
        assert_delta(styles[i], &name, true, "{\"function_call\":{\"name\":\"get\",\"arguments\":\"\"}}");
        assert_delta(styles[i], &more, true, "{\"function_call\":{\"arguments\":\"{\\\"x\\\":\"}}");
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
    static const struct {
        const struct wire_style *style;
        enum tool_choice choice;
        bool legacy;
        const char *calls;
    } rows[] = {
        { &openai_style, TOOL_AUTO, false, "tool_calls" },
        { &openai_style, TOOL_REQUIRED, false, "tool_calls" },
        { &openai_style, TOOL_NAMED, false, "stop" },
        { &openai_style, TOOL_AUTO, true, "function_call" },
        { &openai_style, TOOL_NAMED, true, "stop" },
        { &fireworks_style, TOOL_AUTO, false, "tool_calls" },
        { &fireworks_style, TOOL_NAMED, false, "tool_calls" },
        { &fireworks_style, TOOL_NAMED, true, "function_call" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct wire_request w = { .style = rows[i].style, .chat = true };
        w.gen.tools.choice = rows[i].choice;
        w.gen.tools.legacy = rows[i].legacy;
        assert_string_equal(wire_finish_reason(&w, REPLY_STOP), "stop");
        assert_string_equal(wire_finish_reason(&w, REPLY_LENGTH), "length");
        assert_string_equal(wire_finish_reason(&w, REPLY_CALLS), rows[i].calls);
        assert_string_equal(wire_finish_reason(&w, REPLY_FAILED), "error");
        assert_string_equal(wire_finish_reason(&w, REPLY_CANCELLED), "stop");
    }
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

/* ---- a stream and a full reply say the same ------------------------------------------------------------------------ */

/* As openai-python joins deltas: what is missing or null is set, texts are put behind each other, lists go by their items' "index". */
static void join_delta(json_t *to, const json_t *delta)
{
    const char *key;
    json_t *v, *item, *old;
    size_t i;
    json_object_foreach((json_t *)delta, key, v)
    {
        old = json_object_get(to, key);
        if (json_is_array(v)) {
            if (!json_is_array(old)) json_object_set_new(to, key, old = json_array());
            json_array_foreach(v, i, item)
            {
                const size_t at = (size_t)json_integer_value(json_object_get(item, "index"));
                while (json_array_size(old) <= at) json_array_append_new(old, json_object());
                join_delta(json_array_get(old, at), item);
            }
        } else if (!old || json_is_null(old)) {
            json_object_set_new(to, key, json_deep_copy(v));
        } else if (json_is_object(v)) {
            join_delta(old, v);
        } else if (json_is_string(v) && strcmp(key, "type") != 0) {
            json_t *both = json_sprintf("%s%s", json_string_value(old), json_string_value(v));
            json_object_set_new(to, key, both);
        }
    }
}

/* The choices' messages and finish reasons as a client of the stream has them in the end. */
static json_t *folded(const struct buf *stream, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:{}, s:n, s:[]}", "message", "finish_reason", "offsets"));
    for (const char *p = stream->data; (p = strstr(p, "data: {")); p++) {
        json_t *event = json_loadb(p + 6, strcspn(p + 6, "\n"), 0, NULL), *ch, *v;
        size_t i, k;
        assert_non_null(event);
        json_array_foreach(json_object_get(event, "choices"), i, ch)
        {
            json_t *c = json_array_get(all, (size_t)json_integer_value(json_object_get(ch, "index")));
            const json_t *finish = json_object_get(ch, "finish_reason");
            assert_true(json_is_null(json_object_get(c, "finish_reason"))); /* nothing follows it */
            join_delta(json_object_get(c, "message"), json_object_get(ch, "delta"));
            json_object_set(c, "finish_reason", (json_t *)finish);
            json_array_foreach(json_object_get(ch, "token_ids"), k, v)
                json_array_append(json_object_get(c, "offsets"), v);
        }
        json_decref(event);
    }
    for (int i = 0; i < n; i++) {
        json_t *m = json_object_get(json_array_get(all, (size_t)i), "message"), *call;
        size_t k;
        json_array_foreach(json_object_get(m, "tool_calls"), k, call) json_object_del(call, "index");
        if (!json_object_get(m, "content")) json_object_set_new(m, "content", json_null()); /* one to them */
    }
    return all;
}

static struct reply_event end(enum reply_finish finish)
{
    return (struct reply_event){ .type = REPLY_CHOICE_END, .finish = finish };
}

#define MAX_EVENTS 12

static void test_same(void **state)
{
    (void)state;
    const struct reply_event empty = piece(REPLY_TEXT, "");
    /* Each is one choice; two of them run side by side below. */
    const struct reply_event lists[][MAX_EVENTS] = {
        { piece(REPLY_TEXT, "Hel"), piece(REPLY_TEXT, "lo"), end(REPLY_STOP) },
        { end(REPLY_STOP) },
        { empty, end(REPLY_LENGTH) },
        { piece(REPLY_THOUGHT, "Well, "), piece(REPLY_THOUGHT, "yes"), piece(REPLY_TEXT, "Yes."),
          end(REPLY_STOP) },
        { piece(REPLY_THOUGHT, "Well, "), end(REPLY_LENGTH) },
        { call(0, "call_a", "get", ""), call(0, NULL, NULL, "{\"x\":"), call(0, NULL, NULL, "\"\\u00e9\"}"),
          end(REPLY_CALLS) },
        { piece(REPLY_THOUGHT, "A call."), piece(REPLY_TEXT, "I look."), call(0, "call_a", "get", "{"),
          call(0, NULL, NULL, "}"), piece(REPLY_TEXT, "And: "), call(1, "call_b", "put", ""),
          call(1, NULL, NULL, "{\"y\":1}"), end(REPLY_CALLS) },
        { call(0, "call_a", "get", ""), call(0, NULL, NULL, "{\"x\":"), empty, end(REPLY_LENGTH) },
    };
    const size_t n_lists = sizeof lists / sizeof *lists;
    for (size_t k = 0; k < n_lists * n_lists * 8; k++) {
        const struct reply_event *list[2] = { lists[k % n_lists], lists[k / n_lists % n_lists] };
        const size_t way = k / n_lists / n_lists; /* dialect, legacy, tokens */
        struct wire_request w;
        struct wire_reply r = reply_in(&w, way & 1 ? &fireworks_style : &openai_style);
        struct tool tool = { .name = "get" };
        struct wire_choice c[2] = { 0 };
        struct wire_growing full[2] = { 0 }, streamed[2] = { 0 };
        struct buf stream = BUF_INIT(0), whole_reply = BUF_INIT(0);
        const struct usage u = { 0 };
        w.gen.tools = (struct tool_set){ .tool = &tool, .n = 1, .legacy = way & 2 };
        w.gen.return_token_ids = way & 4;
        for (int i = 0; i < 2; i++) wire_event_open(&stream, &r, i);
        bool over[2] = { false, false };
        for (int e = 0, id = 0; e < MAX_EVENTS; e++)
            for (int i = 0; i < 2; i++) {
                struct reply_token token[2] = { { .id = id, .text_offset = 100 }, { .id = id + 1 } };
                id += 2;
                struct reply_event ev = list[i][e];
                if (over[i]) continue;
                ev.index = i;
                over[i] = ev.type == REPLY_CHOICE_END;
                if (!over[i] && way & 4) {
                    ev.tokens = token;
                    ev.n_tokens = 2;
                }
                wire_place_tokens(&ev, &full[i]);
                assert_true(wire_choice_take(&c[i], &ev));
                if (ev.type == REPLY_TEXT) full[i].bytes += ev.len;
                wire_place_tokens(&ev, &streamed[i]);
                if (over[i])
                    wire_stream_end(&stream, &r, &streamed[i], &ev, NULL);
                else
                    wire_stream_piece(&stream, &r, &streamed[i], &ev);
            }
        wire_print_full(&whole_reply, &r, c, 2, &u);
        json_t *root = json_loads(whole_reply.data, 0, NULL), *fold = folded(&stream, 2);
        for (size_t i = 0; i < 2; i++) {
            json_t *ch = json_array_get(json_object_get(root, "choices"), i), *f = json_array_get(fold, i);
            json_t *m = json_object_get(ch, "message");
            json_object_del(m, "annotations"); /* streams never have them */
            char *want = json_dumps(m, JSON_COMPACT | JSON_SORT_KEYS),
                 *is = json_dumps(json_object_get(f, "message"), JSON_COMPACT | JSON_SORT_KEYS);
            assert_string_equal(is, want);
            assert_true(
                json_equal(json_object_get(ch, "finish_reason"), json_object_get(f, "finish_reason")));
            if (way & 4 && !(way & 2))
                assert_true(json_equal(json_object_get(ch, "token_ids"), json_object_get(f, "offsets")));
            free(want);
            free(is);
            wire_choice_free(&c[i]);
        }
        json_decref(root);
        json_decref(fold);
        buf_free(&stream);
        buf_free(&whole_reply);
    }
}

/* A token stands in the answer where the text it came with begins, whatever was thought and called before. */
static void test_places(void **state)
{
    (void)state;
    struct reply_token t = { .text_offset = 40 };
    struct wire_growing g = { 0 };
    struct reply_event text = piece(REPLY_TEXT, "ab"), thought = piece(REPLY_THOUGHT, "b");
    text.tokens = thought.tokens = &t;
    text.n_tokens = thought.n_tokens = 1;
    wire_place_tokens(&text, &g);
    assert_int_equal(t.text_offset, 40);
    wire_place_tokens(&thought, &g);
    assert_int_equal(t.text_offset, 0);
    g.bytes = 2;
    t.text_offset = 40;
    wire_place_tokens(&text, &g);
    assert_int_equal(t.text_offset, 2);
}

/* Who asks for thoughts by another server's name gets them by that name, once. */
static void test_thought_name(void **state)
{
    (void)state;
    struct wire_request w;
    struct wire_reply r = reply_in(&w, &openai_style);
    struct wire_choice c = { 0 };
    struct wire_growing g = { 0 };
    struct buf b = BUF_INIT(0);
    const struct usage u = { 0 };
    const struct reply_event thought = piece(REPLY_THOUGHT, "Hm");
    w.thought_name = "reasoning";
    take(&c, thought);
    wire_print_full(&b, &r, &c, 1, &u);
    assert_non_null(strstr(b.data, "\"content\":\"\",\"reasoning\":\"Hm\""));
    assert_null(strstr(b.data, "reasoning_content"));
    buf_clear(&b);
    wire_stream_piece(&b, &r, &g, &thought);
    assert_non_null(strstr(b.data, "\"delta\":{\"reasoning\":\"Hm\"}"));
    wire_choice_free(&c);
    buf_free(&b);
}

/* Usage of thoughts: always on OpenAI's paths, on Fireworks' where there was one. */
static void test_usage(void **state)
{
    (void)state;
    struct wire_choice c = { 0 };
    for (int i = 0; i < 4; i++) {
        const struct usage u = { .completion_tokens = 9, .reasoning_tokens = i & 1 ? 5 : 0 };
        json_t *root = whole(i & 2 ? &fireworks_style : &openai_style, &c, &u);
        const json_t *details = json_object_get(json_object_get(root, "usage"), "completion_tokens_details");
        if (i == 2)
            assert_null(details);
        else
            assert_int_equal(json_integer_value(json_object_get(details, "reasoning_tokens")), i & 1 ? 5 : 0);
        json_decref(root);
    }
}

/* To the nano-dollar, and nothing of it where there is no account. */
static void test_cost(void **state)
{
    (void)state;
    const struct price price = { .input = INT64_C(150000000), .cached_input = 75000000, .output = 600000000 };
    const struct usage u = { .prompt_tokens = 1001, .cached_tokens = 1, .completion_tokens = 3 };
    struct wire_choice c = { 0 };
    struct wire_request w;
    struct wire_reply r = reply_in(&w, &openai_style);
    struct buf b = BUF_INIT(0);
    wire_print_full(&b, &r, &c, 1, &u);
    assert_null(strstr(b.data, "\"cost\""));
    r.price = &price;
    buf_clear(&b);
    wire_print_full(&b, &r, &c, 1, &u);
    assert_non_null(strstr(b.data, "},\"cost\":0.000151875}"));
    buf_clear(&b);
    w.stream_usage = USAGE_ON;
    wire_event_usage(&b, &r, &u);
    assert_non_null(strstr(b.data, "\"cost\":0.000151875}}"));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deltas), cmocka_unit_test(test_whole),
        cmocka_unit_test(test_absent), cmocka_unit_test(test_finish_reasons),
        cmocka_unit_test(test_tokens), cmocka_unit_test(test_same),
        cmocka_unit_test(test_places), cmocka_unit_test(test_thought_name),
        cmocka_unit_test(test_usage),  cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
