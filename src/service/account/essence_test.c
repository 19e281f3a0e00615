/* essence_test.c - the same answer has the same essence however it came, another one says where it differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/account/essence.h"

#define JSON "application/json"
#define STREAM "text/event-stream; charset=utf-8"

static struct buf of(const char *type, const char *text)
{
    struct buf out = BUF_INIT(ESSENCE_MOST);
    struct err e;
    if (!essence_of(type, text, strlen(text), &out, &e)) fail_msg("%s", e.msg);
    return out;
}

static void test_told(void **state)
{
    (void)state;
    static const struct {
        const char *type, *in, *out;
    } cases[] = {
        { JSON,
          "{\"id\":\"x\",\"created\":7,\"model\":\"m\",\"usage\":{\"a\":1},\"choices\":[{\"text\":"
          "\"a\\u0000b\",\"n\":null}]}",
          "{\"choices\":[{\"text\":\"a\\u0000b\"}],\"model\":\"m\"}" },
        { JSON, "[1,2.5,true,{\"url\":\"u\"}]", "[1,2.5,true,{}]" },
        { JSON, "{}", "{}" },
        { STREAM,
          ": ping\n\ndata: "
          "{\"id\":\"1\",\"object\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
          "\"content\":\"He\"}}]}\n\n"
          "data: "
          "{\"object\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}},{\"index\":0,\"delta\":"
          "{\"content\":\"y\"}}]}\n\n"
          "data: "
          "{\"object\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"logprobs\":{"
          "\"content\":[1]}}]}\r\n\r\n"
          "data: {\"object\":\"c\",\"choices\":[{\"index\":0,\"logprobs\":{\"content\":[2]}}]}\n\n"
          "data: {\"choices\":[],\"usage\":{\"t\":1}}\n\ndata: [DONE]\n\n",
          "{\"choices\":[{\"delta\":{\"content\":\"Hey\",\"role\":\"assistant\"},\"finish_reason\":\"stop\","
          "\"index\":0,\"logprobs\":{\"content\":[1,2]}},"
          "{\"delta\":{\"content\":\"x\"},\"index\":1}],\"object\":\"c\"}" },
        { STREAM,
          "event: image_generation.partial_image\ndata: "
          "{\"type\":\"image_generation.partial_image\",\"b64_json\":\"p\"}\n\n"
          "event: x\ndata: "
          "{\"type\":\"image_generation.completed\",\"b64_json\":\"q\",\"index\":0,\"created_at\":3}",
          "{\"pictures\":[{\"b64_json\":\"q\",\"index\":0,\"type\":\"image_generation.completed\"}]}" },
        { STREAM,
          "data: {\"choices\":[{\"index\":2,\"text\":\"c\"},{\"index\":0,\"text\":\"a\"}]}\ndata: "
          "{\"choices\":[{\"index\":1,\"text\":\"b\"}]}\n",
          "{\"choices\":[{\"index\":0,\"text\":\"a\"},{\"index\":1,\"text\":\"b\"},{\"index\":2,\"text\":"
          "\"c\"}]}" },
        { STREAM, "", "{}" },
        /* Empty pieces are a text, too; six bytes need not be the end. */
        { STREAM, "data: {\"text\":\"\"}\ndata: {\"text\":\"\"}\ndata: {\"\":1}\n",
          "{\"\":1,\"text\":\"\"}" },
        /* A piece of another kind takes the place of what was there. */
        { STREAM,
          "data: {\"a\":{\"b\":1},\"c\":[1],\"d\":\"x\"}\ndata: {\"a\":2,\"c\":3,\"d\":4}\ndata: "
          "{\"a\":\"y\"}\n",
          "{\"a\":\"y\",\"c\":3,\"d\":4}" },
        { "image/png", "abc",
          "\"3 bytes, SHA-256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = of(cases[i].type, cases[i].in);
        assert_string_equal(b.data, cases[i].out);
        char hash[ESSENCE_HASH];
        essence_hash(&b, hash);
        assert_int_equal(strlen(hash), 64);
        buf_free(&b);
    }
    struct buf out = BUF_INIT(0);
    struct err e;
    assert_false(essence_of(JSON, "{", 1, &out, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_false(essence_of(STREAM, "data: {\n", 8, &out, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_false(essence_of(STREAM, "data: 12\n", 9, &out, &e));
    assert_false(essence_of(STREAM, "data: [12]\n", 11, &out, &e));
    assert_string_equal(e.msg, "an event of the answer is no JSON object: [12]");
    out.max = 3;
    assert_false(essence_of(JSON, "{\"a\":1}", 7, &out, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_free(&out);
}

/* Of what is nested deeper than 64 there is null, so that no answer can make it recurse without end. */
static void test_deep(void **state)
{
    (void)state;
    enum { N = 100 };
    char in[2 * N + 2], out[200] = "";
    memset(in, '[', N);
    in[N] = '1';
    memset(in + N + 1, ']', N);
    in[2 * N + 1] = 0;
    memset(out, '[', 65);
    memcpy(out + 65, "null", 4);
    memset(out + 69, ']', 65);
    struct buf b = of(JSON, in);
    assert_string_equal(b.data, out);
    buf_free(&b);
    char hash[ESSENCE_HASH];
    essence_hash(&(struct buf){ 0 }, hash); /* of nothing */
    assert_string_equal(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* A picture in JSON is told by its hash, and so is a long text that a stream has put together. */
static void test_long(void **state)
{
    (void)state;
    enum { N = 9000 };
    char *text = malloc(3 * N), *p = text;
    assert_non_null(text);
    p += sprintf(p, "{\"b64_json\":\"");
    memset(p, 'A', N);
    strcpy(p + N, "\"}");
    struct buf a = of(JSON, text);
    assert_true(a.len < 200);
    assert_non_null(strstr(a.data, "9000 bytes, SHA-256 "));
    text[N] = 'B';
    struct buf b = of(JSON, text);
    char where[200];
    assert_true(essence_differ(&a, &b, where, sizeof where));
    assert_non_null(strstr(where, "b64_json, byte 20"));
    buf_free(&a);
    buf_free(&b);
    p = text;
    for (int k = 0; k < 2; k++) {
        p += sprintf(p, "data: {\"choices\":[{\"index\":0,\"text\":\"");
        memset(p, 'A', N / 2 + 100);
        p += N / 2 + 100;
        p += sprintf(p, "\"}]}\n\n");
    }
    a = of(STREAM, text);
    assert_non_null(strstr(a.data, "9200 bytes, SHA-256 "));
    buf_free(&a);
    free(text);
}

static void test_differ(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *says;
    } cases[] = {
        { "{\"choices\":[{\"text\":\"hello there\"}]}", "{\"choices\":[{\"text\":\"hello world\"}]}",
          "choices[0].text, byte 6: \"there\" is now \"world\"" },
        { "{\"a\":[1,2]}", "{\"a\":[1]}", "a[1]: 2 is now nothing" },
        { "{\"a\":[1]}", "{\"a\":[1,2]}", "a[1]: nothing is now 2" },
        { "{\"a\":1}", "{\"b\":1}", "a: 1 is now nothing" },
        { "{}", "{\"b\":1}", "b: nothing is now 1" },
        { "{\"a\":1}", "{\"a\":\"1\"}", "a: 1 is now \"1\"" },
        { "{}", "[]", "the answer: {} is now []" },
        { "{\"a\":\"x\"}", "{\"a\":\"xy\"}", "a, byte 1: \"\" is now \"y\"" },
        { "{\"a\":\"xy\"}", "{\"a\":\"x\"}", "a, byte 1: \"y\" is now \"\"" },
        { "{\"a\":1,\"b\":[1,2]}", "{\"a\":1,\"b\":[1,3]}", "b[1]: 2 is now 3" },
        { "{\"a\":1}", "{\"a\":1,\"b\":2}", "b: nothing is now 2" },
        { "{\"a\":\"x\"}", "{\"b\":1}", "a: \"x\" is now nothing" },
    };
    char where[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf a = of(JSON, cases[i].a), b = of(JSON, cases[i].b);
        assert_true(essence_differ(&a, &b, where, sizeof where));
        assert_string_equal(where, cases[i].says);
        assert_false(essence_differ(&a, &a, where, sizeof where));
        buf_free(&a);
        buf_free(&b);
    }
    struct buf none = { 0 }, one = of(JSON, "{}");
    assert_true(essence_differ(&none, &one, where, sizeof where));
    assert_string_equal(where, "the answer: nothing is now {}");
    assert_true(essence_differ(&one, &none, where, sizeof where));
    assert_string_equal(where, "the answer: {} is now nothing");
    assert_false(essence_differ(&none, &none, where, sizeof where));
    buf_free(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_told), cmocka_unit_test(test_deep),
                                        cmocka_unit_test(test_long), cmocka_unit_test(test_differ) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
