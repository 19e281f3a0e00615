/* trace_context_test.c - headers as W3C's Trace Context writes them, and as it forbids them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/trace_context.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void test_good(void **state)
{
    static const struct {
        const char *header;
        bool sampled;
    } good[] = {
        { "00-" TRACE "-" SPAN "-01", true },           { "00-" TRACE "-" SPAN "-00", false },
        { "00-" TRACE "-" SPAN "-ff", true },           { "00-" TRACE "-" SPAN "-02", false },
        { "cc-" TRACE "-" SPAN "-01", true },           { "cc-" TRACE "-" SPAN "-01-what-comes", true },
        { "01-" TRACE "-" SPAN "-00-anything", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct trace_context c = { 0 };
        char id[2 * TRACE_ID + 1], out[TRACEPARENT];
        assert_true(trace_context_parse(&c, good[i].header));
        assert_true(c.known);
        assert_int_equal(c.sampled, good[i].sampled);
        trace_context_hex(c.trace, TRACE_ID, id);
        assert_string_equal(id, TRACE);
        trace_context_hex(c.parent, SPAN_ID, id);
        assert_string_equal(id, SPAN);
        /* What is passed on names our span in the same trace. */
        trace_context_begin(&c);
        trace_context_print(&c, out);
        assert_memory_equal(out, "00-" TRACE "-", 36);
        assert_memory_not_equal(out + 36, SPAN, 16);
        assert_string_equal(out + 52, good[i].sampled ? "-01" : "-00");
        assert_true(trace_context_parse(&c, out));
    }
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01 ",
        "00-" TRACE "-" SPAN "-0g",
        "cc-" TRACE "-" SPAN "-01.what-comes",
        "ff-" TRACE "-" SPAN "-01",
        "0-" TRACE "-" SPAN "-01",
        " 00-" TRACE "-" SPAN "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "0-" SPAN "-01",
        "00_" TRACE "_" SPAN "_01",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct trace_context c = { 0 };
        assert_false(trace_context_parse(&c, bad[i]));
        assert_false(c.known);
    }
    struct trace_context c = { 0 };
    assert_false(trace_context_parse(&c, NULL));
    trace_context_begin(&c); /* one of our own */
    char out[TRACEPARENT];
    trace_context_print(&c, out);
    assert_true(c.known && c.sampled && trace_context_parse(&c, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
