/* gate_test.c - who is limited in a request: its key, its key's project, its address, its address at an endpoint; what is said when one of
 * them refuses, when nothing can be counted, and which rules hold for what came before others were set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "service/account/gate.h"
#include "service/account/keyring.h"

static double at; /* the clock that the gates are given, of a Monday in 2025 */

static int64_t unix_now(void *arg) { return INT64_C(1750000000000) + (int64_t)(*(double *)arg * 1000); }
static double seconds_now(void *arg) { return *(double *)arg; }

static struct gate *opened(const char *counters, const char *address_limits, const char *endpoint_limits)
{
    struct gate *g;
    struct err e;
    const struct gate_options o = {
        counters, address_limits, endpoint_limits, { unix_now, seconds_now, &at }
    };
    if (!gate_open(&g, &o, &e)) fail_msg("%s", e.msg);
    return g;
}

static struct identity request(const struct key_record *k, const char *endpoint)
{
    static int n;
    struct identity is = { .endpoint = endpoint, .address = "::1", .started = at, .asked_ms = 1 };
    is.who.key = k;
    snprintf(is.uid, sizeof is.uid, "%032d", ++n);
    return is;
}

/* words NULL: it is let in. */
static struct identity enter(struct gate *g, const struct key_record *k, const char *endpoint,
                             const char *words)
{
    struct limit_left left[N_LIMITED];
    struct gate_refusal r;
    const struct identity is = request(k, endpoint);
    const bool may = gate_enter(g, &is, left, &r);
    if (may != !words) fail_msg("%s", r.msg);
    if (words) {
        assert_int_equal(r.why, GATE_FULL);
        assert_string_equal(r.msg, words);
    }
    return is;
}

static void test_who(void **state)
{
    (void)state;
    struct key_record alone = { .id = "key_a", .project = "" }, one = { .id = "key_b", .project = "web" },
                      two = { .id = "key_c", .project = "web" };
    struct err e;
    assert_true(limit_rules_parse(&alone.limits, "requests/minute=1", &e));
    assert_true(limit_rules_parse(&alone.project_limits, "", &e));
    for (int i = 0; i < 2; i++) {
        struct key_record *k = i ? &two : &one;
        assert_true(limit_rules_parse(&k->limits, "concurrency=2", &e));
        assert_true(limit_rules_parse(&k->project_limits, "requests/day=3", &e));
    }
    struct gate *g = opened("", "requests/day=6", "chat:requests/day=1");
    enter(g, &alone, "completions", NULL);
    enter(g, &alone, "completions", "key:key_a: 1 requests/minute");
    const struct identity first = enter(g, &one, "completions", NULL);
    enter(g, &one, "completions", NULL);
    enter(g, &one, "completions", "key:key_b: 2 requests at once");
    gate_undo(g, &first); /* its place is free; that it came stays counted */
    enter(g, &two, "completions", NULL);
    enter(g, &two, "completions", "project:web: 3 requests/day");
    enter(g, NULL, "chat", NULL);
    enter(g, NULL, "chat", "address:::1 at chat: 1 requests/day");
    /* What is not counted says what is left all the same: of its address, for it is at no endpoint. */
    struct limit_left left[N_LIMITED];
    const struct identity look = request(NULL, NULL);
    gate_left(g, &look, left);
    assert_int_equal(left[LIMITED_REQUESTS].limit, 6);
    assert_int_equal(left[LIMITED_REQUESTS].remaining, 1);
    assert_false(gate_waits(g));
    assert_string_equal(gate_where(g), "memory");
    gate_close(g);
}

/* A request leaves by the rules that it entered by; what has no time yet is told of those that hold. */
static void test_rules(void **state)
{
    (void)state;
    struct err e = { ERR_NONE, "" };
    struct limit_left left[N_LIMITED];
    struct gate *g = opened("", "concurrency=1", "");
    at = 10;
    const struct identity old = enter(g, NULL, "chat", NULL);
    at = 20;
    assert_false(gate_set_limits(g, "concurrency", "", &e));
    assert_non_null(strstr(e.msg, "address-limits: "));
    assert_false(gate_set_limits(g, "", "chat", &e));
    assert_non_null(strstr(e.msg, "endpoint-limits: "));
    enter(g, NULL, "chat", "address:::1: 1 requests at once"); /* those that held go on */
    assert_true(gate_set_limits(g, "requests/day=5", "", &e));
    enter(g, NULL, "chat", NULL);
    struct identity look = request(NULL, NULL);
    look.asked_ms = 0;
    look.started = 10;
    gate_left(g, &look, left);
    assert_int_equal(left[LIMITED_REQUESTS].limit, 5);
    look.asked_ms = 1; /* of one that came before them: those of then, which say nothing of requests */
    gate_left(g, &look, left);
    assert_int_equal(left[LIMITED_REQUESTS].limit, 0);
    at = 30;
    assert_true(gate_set_limits(g, "concurrency=1", "", &e));
    enter(g, NULL, "chat", "address:::1: 1 requests at once"); /* the first is still there */
    gate_ended(g, &(struct ending){ .of = old });
    enter(g, NULL, "chat", NULL);
    gate_close(g);
    struct gate *none;
    assert_false(gate_open(&none, &(struct gate_options){ "", "concurrency", "", { 0 } }, &e));
    assert_false(gate_open(&none, &(struct gate_options){ "here", "", "", { 0 } }, &e));
    assert_non_null(strstr(e.msg, "counters: "));
    gate_close(NULL);
}

/* Nobody answers where counts would be: what has a limit is not let in, and is told that it may come again. */
static void test_away(void **state)
{
    (void)state;
    struct gate *g = opened("redis://127.0.0.1:1", "requests/day=5", "");
    struct gate_refusal r;
    struct limit_left left[N_LIMITED];
    struct err why = { ERR_NONE, "" };
    const struct identity is = request(NULL, "chat");
    assert_true(gate_waits(g));
    assert_false(gate_enter(g, &is, left, &r));
    assert_int_equal(r.why, GATE_AWAY);
    assert_string_equal(r.msg, "what is asked cannot be counted now; try again later");
    assert_int_equal(r.again_ms, 0);
    assert_true(gate_away(g, &why));
    assert_true(*why.msg != 0);
    gate_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_who), cmocka_unit_test(test_rules),
                                        cmocka_unit_test(test_away) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
