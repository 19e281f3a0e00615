/* line_reader_test.c - the lines of a file come as they stand, whatever their length and wherever blocks end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service/batch/line_reader.h"

/* A file with `before` bytes in front of the content, which are none of it. */
static int file_of(const char *bytes, size_t n, size_t before)
{
    const int fd = memfd_create("lines", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < before; i++) assert_int_equal(write(fd, "\n", 1), 1);
    for (size_t at = 0; at < n;) {
        const ssize_t w = write(fd, bytes + at, n - at);
        assert_true(w > 0);
        at += (size_t)w;
    }
    assert_int_equal(write(fd, "\nbehind", 7), 7);
    return fd;
}

struct want {
    int64_t line;
    const char *text; /* NULL: it is too long */
};

static void expect(const char *bytes, size_t n, size_t most, const struct want *want)
{
    struct line_reader r;
    struct err e;
    const char *text;
    size_t len;
    const int fd = file_of(bytes, n, 3);
    line_reader_init(&r, fd, 3, (int64_t)n, most);
    for (; want->line; want++) {
        const enum line_read got = line_reader_next(&r, &text, &len, &e);
        assert_int_equal(got, want->text ? LINE_READ : LINE_TOO_LONG);
        assert_int_equal(r.line, want->line);
        if (!want->text) continue;
        assert_int_equal(len, strlen(want->text));
        assert_memory_equal(text, want->text, len);
    }
    assert_int_equal(line_reader_next(&r, &text, &len, &e), LINE_END);
    assert_int_equal(line_reader_next(&r, &text, &len, &e), LINE_END);
    line_reader_free(&r);
    close(fd);
}

static void test_lines(void **state)
{
    (void)state;
#define EXPECT(bytes, ...)                                                                                   \
    expect(bytes, sizeof(bytes) - 1, 8, (const struct want[]){ __VA_ARGS__, { 0, NULL } })
    EXPECT("", { 0, NULL });
    EXPECT("\n\n \r\n", { 0, NULL });
    EXPECT("a\nb", { 1, "a" }, { 2, "b" });
    EXPECT("a\r\n\n b \n", { 1, "a" }, { 3, " b " });
    EXPECT("\xef\xbb\xbf"
           "a\n",
           { 1, "a" });
    EXPECT("\xef\xbb\xbf\nb\n", { 2, "b" });
    EXPECT("12345678\n123456789\nc\n", { 1, "12345678" }, { 2, NULL }, { 3, "c" });
    EXPECT("a\n123456789", { 1, "a" }, { 2, NULL });
#undef EXPECT
}

/* Blocks of the reader are 64 KiB: lines end before, at and behind their ends. */
static void test_long_lines(void **state)
{
    enum { MOST = 200000 };
    static const size_t lengths[] = { 65534, 65535,    65536, 65537,  131072, 3,
                                      MOST,  MOST + 1, 10,    400000, 1,      65536 };
    enum { N = sizeof lengths / sizeof *lengths };
    struct want want[N + 1] = { 0 };
    char *bytes = malloc(2000000), *at = bytes;
    (void)state;
    for (int i = 0; i < N; i++) {
        char *line = malloc(lengths[i] + 1);
        memset(line, 'a' + i, lengths[i]);
        line[lengths[i]] = 0;
        memcpy(at, line, lengths[i]);
        at += lengths[i];
        *at++ = '\n';
        want[i] = (struct want){ i + 1, lengths[i] > MOST ? NULL : line };
        if (lengths[i] > MOST) free(line);
    }
    expect(bytes, (size_t)(at - bytes), MOST, want);
    for (int i = 0; i < N; i++) free((char *)want[i].text);
    free(bytes);
}

/* Of a line that is far too long no more is kept than of a block. */
static void test_bounded(void **state)
{
    enum { BYTES = 8 << 20 };
    struct line_reader r;
    struct err e;
    const char *text;
    size_t len;
    char *bytes = malloc(BYTES);
    (void)state;
    memset(bytes, 'a', BYTES);
    const int fd = file_of(bytes, BYTES, 0);
    line_reader_init(&r, fd, 0, BYTES, 1000);
    assert_int_equal(line_reader_next(&r, &text, &len, &e), LINE_TOO_LONG);
    assert_true(r.buf.cap <= 4 * (64 << 10));
    line_reader_free(&r);
    close(fd);
    free(bytes);
}

static void test_cut_short(void **state)
{
    struct line_reader r;
    struct err e = { 0 };
    const char *text;
    size_t len;
    const int fd = file_of("a\nb\n", 4, 0);
    (void)state;
    line_reader_init(&r, fd, 0, 100, 50);
    assert_int_equal(line_reader_next(&r, &text, &len, &e), LINE_READ);
    enum line_read got = LINE_READ;
    for (int i = 0; i < 5 && got == LINE_READ; i++) got = line_reader_next(&r, &text, &len, &e);
    assert_int_equal(got, LINE_FAILED);
    assert_non_null(strstr(e.msg, "cut short"));
    line_reader_free(&r);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
