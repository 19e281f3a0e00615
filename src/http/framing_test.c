/* framing_test.c - what passes, in which spelling, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/framing.h"

enum { LIMIT = 400 };
#define HOST "Host: h\r\n"

/* The block, given whole and then byte by byte: the answer is the same. */
static enum framing parse(const char *p, size_t n, struct framing_head *h, struct buf *out)
{
    struct framing_head steps = { 0 };
    struct buf again = BUF_INIT(0);
    enum framing got = FRAMING_MORE, end = FRAMING_MORE;
    *h = (struct framing_head){ 0 };
    got = framing_head(h, p, n, LIMIT, out);
    for (size_t k = 1; k <= n && end == FRAMING_MORE; k++) {
        char *copy = malloc(k); /* so that the address checker sees a byte too far */
        memcpy(copy, p, k);
        end = framing_head(&steps, copy, k, LIMIT, &again);
        if (end != got && end != FRAMING_MORE)
            fail_msg("'%.*s': %d after %zu bytes, %d at once", (int)n, p, end, k, got);
        free(copy);
    }
    assert_int_equal(got, end);
    assert_int_equal(h->fault.kind, steps.fault.kind);
    if (got != FRAMING_MORE) assert_string_equal(out->data, again.data);
    buf_free(&again);
    return got;
}

static void test_good_heads(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        uint64_t length;
        bool chunked;
    } cases[] = {
        { "GET / HTTP/1.1\r\n" HOST "\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0, false },
        { "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", 0, false },
        { "\r\n\r\nGET /a?b=%20 HTTP/1.1\r\n" HOST "\r\n", "GET /a?b=%20 HTTP/1.1\r\nHost: h\r\n\r\n", 0,
          false },
        { "POST http://h/x HTTP/1.1\r\nHOST:h\t \r\ncontent-length: 007\r\nX:\r\n\r\n",
          "POST http://h/x HTTP/1.1\r\nHOST: h\r\nContent-Length: 7\r\nX: \r\n\r\n", 7, false },
        { "POST / HTTP/1.1\r\n" HOST "Cookie: a=b\r\nTransfer-Encoding: Chunked\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 0, true },
        { "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1152921504606846975\r\n\r\n", UINT64_MAX / 16,
          false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct framing_head h;
        struct buf out = BUF_INIT(0);
        if (parse(cases[i].in, strlen(cases[i].in), &h, &out) != FRAMING_DONE)
            fail_msg("%s: %s", cases[i].in, h.fault.why);
        assert_string_equal(out.data, cases[i].out);
        assert_int_equal(h.used, strlen(cases[i].in));
        assert_int_equal(h.length, cases[i].length);
        assert_int_equal(h.chunked, cases[i].chunked);
        buf_free(&out);
    }
}

static void test_bad_heads(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        enum fault_kind kind;
        const char *stand_in;
    } cases[] = {
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length\t: 5\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST " folded: 5\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST ": 5\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST "no colon\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST "X: a\rContent-Length: 5\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "GET /v1/x HTTP/1.1\r\nHost: h\n\r\n", FAULT_INVALID, "GET /" },
        { "GET /v1/x HTTP/1.1\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST HOST "\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\nHost: h, i\r\n\r\n", FAULT_INVALID, "GET /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", FAULT_INVALID,
          "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
          FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", FAULT_INVALID,
          "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
          FAULT_INVALID, "POST /v1/x" },
        { "POST /v1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", FAULT_INVALID, "POST /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST "Origin: a\r\nX: y\r\norigin: b\r\n\r\n", FAULT_INVALID,
          "GET /v1/x" },
        { "GET /v1/x HTTP/1.1\r\n" HOST "Authorization: a\r\nAuthorization: a\r\n\r\n", FAULT_INVALID,
          "GET /v1/x" },
        { "GET /v1/x HTTP/2.0\r\n" HOST "\r\n", FAULT_VERSION, "GET /v1/x" },
        { "GET /v1/x http/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /v1/x" },
        { "GET /v1/x\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "GET /v1/ x HTTP/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "GET  /v1/x HTTP/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "GET\t/v1/x HTTP/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "G@T /v1/x HTTP/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "GET v1/x HTTP/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "GET /v1%00/x HTTP/1.1\r\n" HOST "\r\n", FAULT_INVALID, "GET /" },
        { "nonsense\r\n\r\n", FAULT_INVALID, "GET /" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct framing_head h;
        struct buf out = BUF_INIT(0);
        if (parse(cases[i].in, strlen(cases[i].in), &h, &out) != FRAMING_BAD)
            fail_msg("%s passed", cases[i].in);
        if (h.fault.kind != cases[i].kind) fail_msg("%s: %s", cases[i].in, h.fault.why);
        char want[100];
        snprintf(want, sizeof want, "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                 cases[i].stand_in);
        assert_string_equal(out.data, want);
        buf_free(&out);
    }
    static const char nul[] = "GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n",
                      in_path[] = "GET /\0 HTTP/1.1\r\n" HOST "\r\n";
    struct framing_head h;
    struct buf out = BUF_INIT(0);
    assert_int_equal(parse(nul, sizeof nul - 1, &h, &out), FRAMING_BAD);
    assert_int_equal(parse(in_path, sizeof in_path - 1, &h, &out), FRAMING_BAD);
    buf_free(&out);
}

static void test_limits(void **state)
{
    (void)state;
    char path[LIMIT + 100], headers[LIMIT + 100], *many = calloc(FRAMING_MAX_HEADERS + 10, 8);
    struct framing_head h;
    struct buf out = BUF_INIT(0);
    memset(path, 'a', sizeof path);
    memcpy(path, "GET /", 5);
    assert_int_equal(parse(path, sizeof path, &h, &out), FRAMING_BAD);
    assert_int_equal(h.fault.kind, FAULT_URI_TOO_LONG);
    int n = snprintf(headers, sizeof headers, "GET /v1/x HTTP/1.1\r\nX: ");
    memset(headers + n, 'a', sizeof headers - (size_t)n);
    assert_int_equal(parse(headers, sizeof headers, &h, &out), FRAMING_BAD);
    assert_int_equal(h.fault.kind, FAULT_HEADERS);
    assert_string_equal(out.data, "GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    strcpy(many, "GET / HTTP/1.0\r\n");
    for (int i = 0; i <= FRAMING_MAX_HEADERS; i++) strcat(many, "a:\r\n");
    strcat(many, "\r\n");
    h = (struct framing_head){ 0 };
    assert_int_equal(framing_head(&h, many, strlen(many), 1 << 20, &out), FRAMING_BAD);
    assert_int_equal(h.fault.kind, FAULT_HEADERS);
    strcpy(many, "GET /?");
    for (int i = 0; i <= FRAMING_MAX_QUERY; i++) strcat(many, "a&");
    strcat(many, " HTTP/1.0\r\n\r\n");
    h = (struct framing_head){ 0 };
    assert_int_equal(framing_head(&h, many, strlen(many), 1 << 20, &out), FRAMING_BAD);
    assert_int_equal(h.fault.kind, FAULT_URI_TOO_LONG);
    buf_free(&out);
    free(many);
}

static void test_chunks(void **state)
{
    (void)state;
    static const char *const bad[] = { "\r\n", "x\r\n",      " 5\r\n",  "5 \r\n",     "-5\r\n",  "0x5\r\n",
                                       "5\n",  "5;a\nb\r\n", "5 5\r\n", "5;\x01\r\n", "5\r6\r\n" };
    struct framing_fault f;
    uint64_t size;
    size_t used;
    assert_int_equal(framing_chunk("1aF\r\nxx", 7, &used, &size, &f), FRAMING_DONE);
    assert_int_equal(size, 0x1af);
    assert_int_equal(used, 5);
    assert_int_equal(framing_chunk("5 ; a=b\r\n", 9, &used, &size, &f), FRAMING_DONE);
    assert_int_equal(size, 5);
    assert_int_equal(framing_chunk("5;a\r", 4, &used, &size, &f), FRAMING_MORE);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (framing_chunk(bad[i], strlen(bad[i]), &used, &size, &f) != FRAMING_BAD)
            fail_msg("%s passed", bad[i]);
    assert_int_equal(framing_chunk("1234567890abcdef1\r\n", 19, &used, &size, &f), FRAMING_BAD);
    assert_int_equal(f.kind, FAULT_TOO_LARGE);
    char line[FRAMING_CHUNK_LINE + 1];
    memset(line, '0', sizeof line);
    assert_int_equal(framing_chunk(line, sizeof line, &used, &size, &f), FRAMING_BAD);
    assert_int_equal(framing_trailer("\r\n", 2, &used, &f), FRAMING_DONE);
    assert_int_equal(used, 2);
    assert_int_equal(framing_trailer("a: b\r\n\r\n", 8, &used, &f), FRAMING_DONE);
    assert_int_equal(used, 6);
    assert_int_equal(framing_trailer("a : b\r\n\r\n", 9, &used, &f), FRAMING_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good_heads), cmocka_unit_test(test_bad_heads),
                                        cmocka_unit_test(test_limits), cmocka_unit_test(test_chunks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
