/* parts_test.c - an answer of a thought, a text and two calls, as the APIs print it that have a place for each: whole, and as a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/dialects/wire.h"

static const struct usage used = {
    .prompt_tokens = 9, .cached_tokens = 4, .completion_tokens = 7, .reasoning_tokens = 3
};

struct answer {
    struct wire_request request;
    struct wire_reply reply;
    struct wire_choice said;
    struct buf stream, whole;
};

static void piece(struct answer *a, struct wire_growing *g, struct reply_event ev)
{
    const struct wire_printer *p = a->request.style->printer;
    assert_true(wire_choice_take(&a->said, &ev));
    p->piece(&a->stream, &a->reply, g, &ev);
}

static void text(struct answer *a, struct wire_growing *g, enum reply_type type, char *s)
{
    piece(a, g, (struct reply_event){ .type = type, .text = s, .len = strlen(s) });
}

static void call(struct answer *a, struct wire_growing *g, int index, char *id, char *arguments)
{
    char name[] = "f", none[] = "";
    piece(a, g, (struct reply_event){ .type = REPLY_CALL, .text = none, .call = { index, id, name } });
    piece(a, g,
          (struct reply_event){
              .type = REPLY_CALL, .text = arguments, .len = strlen(arguments), .call = { .index = index } });
}

static void say(struct answer *a, const struct wire_style *style, json_t *echo, const char *id)
{
    *a = (struct answer){ .request = { .style = style, .chat = true, .echo = echo } };
    a->reply = (struct wire_reply){ .request = &a->request, .model = "m", .n_prompt_ids = 9 };
    snprintf(a->reply.id, sizeof a->reply.id, "%s", id);
    struct wire_growing g = { .said = &a->said };
    const struct wire_printer *p = style->printer;
    char one[] = "Let me ", two[] = "think.", hello[] = "Hello \"you\".", c1[] = "call_1", c2[] = "call_2",
         args[] = "{\"a\":1}", cut[] = "{\"a\":";
    p->open(&a->stream, &a->reply, &g, 0);
    text(a, &g, REPLY_THOUGHT, one);
    text(a, &g, REPLY_THOUGHT, two);
    text(a, &g, REPLY_TEXT, hello);
    call(a, &g, 0, c1, args);
    call(a, &g, 1, c2, cut);
    const struct reply_event end = { .type = REPLY_CHOICE_END, .finish = REPLY_LENGTH, .usage = used };
    assert_true(wire_choice_take(&a->said, &end));
    p->end(&a->stream, &a->reply, &g, &end, NULL);
    p->usage(&a->stream, &a->reply, &g, &used);
    p->done(&a->stream, &a->reply, &g);
    p->full(&a->whole, &a->reply, &a->said, 1, &used);
    assert_false(a->stream.failed || a->whole.failed);
}

static void forget(struct answer *a)
{
    wire_choice_free(&a->said);
    wire_free(&a->request);
    buf_free(&a->stream);
    buf_free(&a->whole);
}

/* The names of a stream's events, in a row; each one's data is JSON of that type. */
static void names_of(const struct buf *stream, struct buf *out)
{
    for (const char *p = stream->data, *end; *p; p = end + 2) {
        json_error_t e;
        const char *line = strchr(p, '\n');
        end = strstr(p, "\n\n");
        assert_true(line && end && !strncmp(p, "event: ", 7) && !strncmp(line, "\ndata: ", 7));
        json_t *v = json_loadb(line + 7, (size_t)(end - line - 7), 0, &e);
        const char *type = json_string_value(json_object_get(v, "type"));
        assert_non_null(type);
        assert_true(!strncmp(type, p + 7, strlen(type)) && p[7 + strlen(type)] == '\n');
        buf_printf(out, "%s ", type);
        json_decref(v);
    }
}

static json_t *parsed(const struct buf *b)
{
    json_error_t e;
    json_t *v = json_loadb(b->data, b->len, 0, &e);
    assert_non_null(v);
    return v;
}

static void is(const json_t *array, size_t i, const char *json)
{
    json_error_t e;
    json_t *want = json_loads(json, 0, &e);
    assert_non_null(want);
    assert_true(json_equal(json_array_get(array, i), want));
    json_decref(want);
}

static void test_blocks(void **state)
{
    (void)state;
    struct answer a;
    struct buf names = BUF_INIT(0);
    say(&a, &anthropic_style, NULL, "msg_1");
    names_of(&a.stream, &names);
    assert_string_equal(
        names.data, "message_start ping content_block_start content_block_delta content_block_delta "
                    "content_block_delta content_block_stop content_block_start content_block_delta "
                    "content_block_stop content_block_start content_block_delta content_block_stop "
                    "content_block_start content_block_delta content_block_stop message_delta message_stop ");
    json_t *v = parsed(&a.whole), *content = json_object_get(v, "content");
    assert_int_equal(json_array_size(content), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(content, 0), "thinking")),
                        "Let me think.");
    is(content, 1, "{\"type\":\"text\",\"text\":\"Hello \\\"you\\\".\"}");
    is(content, 2, "{\"type\":\"tool_use\",\"id\":\"call_1\",\"name\":\"f\",\"input\":{\"a\":1}}");
    is(content, 3,
       "{\"type\":\"tool_use\",\"id\":\"call_2\",\"name\":\"f\",\"input\":{}}"); /* it was cut off */
    assert_string_equal(json_string_value(json_object_get(v, "stop_reason")), "max_tokens");
    const json_t *u = json_object_get(v, "usage");
    assert_int_equal(json_integer_value(json_object_get(u, "input_tokens")),
                     5); /* the cached ones are apart */
    assert_int_equal(json_integer_value(json_object_get(u, "cache_read_input_tokens")), 4);
    json_decref(v);
    buf_free(&names);
    forget(&a);
}

static void test_items(void **state)
{
    struct answer a;
    struct buf names = BUF_INIT(0);
    (void)state;
    say(&a, &responses_style, json_pack("{s:{s:s}}", "reasoning", "summary", "auto"), "resp_00");
    names_of(&a.stream, &names);
    assert_string_equal(
        names.data,
        "response.created response.in_progress response.output_item.added "
        "response.reasoning_summary_part.added "
        "response.reasoning_summary_text.delta response.reasoning_summary_text.delta "
        "response.reasoning_summary_text.done response.reasoning_summary_part.done response.output_item.done "
        "response.output_item.added response.content_part.added response.output_text.delta "
        "response.output_text.done response.content_part.done response.output_item.done "
        "response.output_item.added response.function_call_arguments.delta "
        "response.function_call_arguments.done response.output_item.done response.output_item.added "
        "response.function_call_arguments.delta response.function_call_arguments.done "
        "response.output_item.done response.incomplete ");
    json_t *v = parsed(&a.whole), *output = json_object_get(v, "output");
    assert_int_equal(json_array_size(output), 4);
    is(output, 0,
       "{\"id\":\"rs_0000\",\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"Let me "
       "think.\"}],\"status\":\"completed\"}");
    is(output, 3,
       "{\"id\":\"fc_0003\",\"type\":\"function_call\",\"call_id\":\"call_2\",\"name\":\"f\",\"arguments\":"
       "\"{"
       "\\\"a\\\":\",\"status\":\"incomplete\"}");
    json_decref(v);
    buf_free(&names);
    forget(&a);
    say(&a, &responses_style, json_object(), "resp_00"); /* nothing said of a summary */
    v = parsed(&a.whole);
    is(json_object_get(v, "output"), 0,
       "{\"id\":\"rs_0000\",\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\","
       "\"text\":\"Let me think.\"}],\"status\":\"completed\"}");
    assert_non_null(strstr(a.stream.data, "\"sequence_number\":23,"));
    json_decref(v);
    forget(&a);
}

/* What a policy took the rest of is no whole answer. */
static void test_filtered(void **state)
{
    const struct reply_event end = { .type = REPLY_CHOICE_END, .finish = REPLY_FILTERED, .usage = used };
    const struct wire_style *const styles[] = { &anthropic_style, &responses_style };
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct answer a;
        say(&a, styles[i], json_object(), "resp_00");
        buf_clear(&a.whole);
        assert_true(wire_choice_take(&a.said, &end));
        styles[i]->printer->full(&a.whole, &a.reply, &a.said, 1, &used);
        assert_non_null(
            strstr(a.whole.data, i ? "\"status\":\"incomplete\"" : "\"stop_reason\":\"refusal\""));
        if (i) assert_non_null(strstr(a.whole.data, "{\"reason\":\"content_filter\"}"));
        forget(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_blocks), cmocka_unit_test(test_items),
                                        cmocka_unit_test(test_filtered) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
