/* answer_test.c - an upstream's bytes: events whatever their pieces, what they say, and how little of them is changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "service/route/answer.h"
#include "service/route/json_splice.h"

static bool note(void *arg, const char *data, size_t len, struct err *e)
{
    (void)e;
    buf_append(arg, data, len);
    return buf_putc(arg, '|');
}

static void test_events(void **state)
{
    (void)state;
    static const char bytes[] =
        ": a comment\n\ndata: one\r\n\r\ndata:two\ndata: more\nid: 7\n\nevent: x\n\r\rdata: \n\ndata: no end";
    for (size_t piece = 1; piece <= sizeof bytes; piece++) {
        struct event_reader r;
        struct buf got = BUF_INIT(0);
        struct err e;
        event_reader_init(&r, 100);
        for (size_t at = 0; at < sizeof bytes - 1; at += piece) {
            const size_t left = sizeof bytes - 1 - at;
            assert_true(event_reader_feed(&r, bytes + at, left < piece ? left : piece, note, &got, &e));
        }
        assert_string_equal(got.data, "one|two\nmore||");
        buf_free(&got);
        event_reader_free(&r);
    }
}

static void test_events_too_long(void **state)
{
    (void)state;
    struct event_reader r;
    struct buf got = BUF_INIT(0);
    struct err e;
    event_reader_init(&r, 10);
    assert_false(event_reader_feed(&r, "data: 0123456789", 16, note, &got, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    event_reader_free(&r);
    event_reader_init(&r, 10);
    assert_false(event_reader_feed(&r, "data:12345\ndata:12345\ndata:12345\n\n", 34, note, &got, &e));
    event_reader_free(&r);
    buf_free(&got);
}

static void read_it(struct answer *a, const char *json)
{
    struct err e;
    if (!answer_read(a, json, strlen(json), &e)) fail_msg("%s: %s", json, e.msg);
}

static void test_what_it_says(void **state)
{
    (void)state;
    struct answer a;
    read_it(&a, "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],"
                "\"usage\":null}");
    assert_true(a.n_choices == 1 && !a.n_said && !a.n_finished && !a.has_usage);
    read_it(&a, "{\"choices\":[{\"delta\":{\"content\":\"x\"}},{\"text\":\"y\",\"finish_reason\":\"stop\"}],"
                "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_"
                "tokens\":20},"
                "\"completion_tokens_details\":{\"reasoning_tokens\":2}}}");
    assert_true(a.n_choices == 2 && a.n_said == 2 && a.n_finished == 1 && a.has_usage);
    assert_true(a.usage.prompt_tokens == 9 && a.usage.cached_tokens == 9 && a.usage.completion_tokens == 3);
    assert_int_equal(a.usage.reasoning_tokens, 2);
    read_it(&a, "{\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":99999999999999}}");
    assert_true(a.usage.prompt_tokens == 0 && a.usage.completion_tokens > 0);
    read_it(&a, "{\"data\":[{\"b64_json\":\"\"},{\"url\":\"x\"},{}]}");
    assert_int_equal(a.n_pictures, 2);
    read_it(&a, "{\"error\":{\"message\":\"broke\"}}");
    assert_true(a.failed && !strcmp(a.message, "broke"));
    static const char *const bad[] = {
        "", "{", "[]", "7", "{\"a\":1}{", "{\"a\":\"\xff\"}", "{\"a\":\"\n\"}", "data"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = { ERR_NONE, "" };
        assert_false(answer_read(&a, bad[i], strlen(bad[i]), &e));
        assert_int_equal(e.code, ERR_FORMAT);
    }
}

static void spelled(const char *json, const struct answer_spelling *s, const char *want)
{
    struct buf b = BUF_INIT(0);
    assert_true(answer_spell(&b, json, strlen(json), s));
    assert_string_equal(b.data, want);
    buf_free(&b);
}

static void test_spelling(void **state)
{
    (void)state;
    const struct answer_spelling name = { .model = "a\"b" },
                                 all = { .model = "m", .cost = "0.5", .no_usage = false },
                                 none = { .no_usage = true };
    spelled("{ \"x\" : [1.50, {\"model\":2}] ,\"model\" : \"theirs\", \"y\":\"}\\\"\" }", &name,
            "{ \"x\" : [1.50, {\"model\":2}] ,\"model\" : \"a\\\"b\", \"y\":\"}\\\"\" }");
    spelled("{\"usage\":{\"prompt_tokens\":1,\"cost\":9.75},\"model\":\"t\"}", &all,
            "{\"usage\":{\"prompt_tokens\":1,\"cost\":0.5},\"model\":\"m\"}");
    spelled("{\"usage\":{\"prompt_tokens\":1}}", &all, "{\"usage\":{\"prompt_tokens\":1}}");
    spelled("{\"a\":1,\"usage\":null}", &none, "{\"a\":1}");
    spelled("{\"usage\":null,\"a\":1}", &none, "{\"a\":1}");
    spelled("{\"usage\":null}", &none, "{}");
    spelled("{\"a\":1,\"usage\":{\"x\":[{}]} ,\"b\":2}", &none, "{\"a\":1 ,\"b\":2}");
    spelled("{}", &all, "{}");
}

static void test_members(void **state)
{
    (void)state;
    static const char *const no_object[] = { "",        "[1]",      "{",         "{\"a",  "{\"a\"",
                                             "{\"a\":", "{\"a\":1", "{\"a\":\"", "{a:1}", "{\"b\":1,}" };
    struct json_span m;
    struct buf b = BUF_INIT(0);
    for (size_t i = 0; i < sizeof no_object / sizeof *no_object; i++)
        assert_false(json_splice_find(no_object[i], strlen(no_object[i]), "a", &m));
    assert_true(json_splice_set(&b, " { } ", 5, "a", "1", 1));
    assert_string_equal(b.data, " {\"a\":1 } ");
    buf_clear(&b);
    assert_true(json_splice_set(&b, "{\"b\":2}", 7, "a", "[1]", 3));
    assert_string_equal(b.data, "{\"a\":[1],\"b\":2}");
    buf_free(&b);
}

static void test_hidden(void **state)
{
    (void)state;
    char text[] = "key sk-12345 and sk-12345.";
    answer_hide(text, "sk-12345");
    assert_string_equal(text, "key ... and ....");
    answer_hide(text, NULL);
    answer_hide(text, "");
    assert_string_equal(text, "key ... and ....");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),       cmocka_unit_test(test_events_too_long),
        cmocka_unit_test(test_what_it_says), cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_members),      cmocka_unit_test(test_hidden)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
