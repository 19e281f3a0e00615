/* limits_test.c - windows fill and empty, all of those who are limited or none, and what is said about them is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#include "service/account/limits.h"

#define T0 INT64_C(1750000020000) /* a minute begins, and a quarter of an hour is under way */

static struct limit_rules rules(const char *text)
{
    struct limit_rules r;
    struct err e = { ERR_NONE, "" };
    if (!limit_rules_parse(&r, text, &e)) fail_msg("%s", e.msg);
    return r;
}

static const struct usage nothing;

static void test_requests(void **state)
{
    (void)state;
    const struct limit_rules r = rules("requests/minute=3,requests/day=5");
    const struct limited_one who = { "key:a", &r }, other = { "key:b", &r };
    struct limit_hit hit;
    struct limits *l = limits_new();
    assert_int_equal(period_start(PERIOD_MINUTE, T0), T0);
    struct limit_left left = limits_left(l, &who, 1, LIMITED_REQUESTS, T0 + 7);
    assert_true(left.limit == 3 && left.remaining == 3 && left.reset_ms == T0 + 60000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(limits_enter(l, &who, 1, T0 + i, &hit), LIMITS_ADMITTED);
        limits_leave(l, &who, 1, T0 + i, &nothing);
    }
    left = limits_left(l, &who, 1, LIMITED_REQUESTS, T0 + 7);
    assert_true(left.limit == 3 && left.remaining == 0 && left.reset_ms == T0 + 60000);
    assert_int_equal(limits_enter(l, &who, 1, T0 + 59999, &hit), LIMITS_FULL);
    assert_true(!hit.concurrency && hit.what == LIMITED_REQUESTS && hit.period == PERIOD_MINUTE &&
                hit.limit == 3);
    assert_int_equal(hit.again_ms, T0 + 60000);
    assert_ptr_equal(hit.who, who.name);
    assert_int_equal(limits_enter(l, &other, 1, T0 + 59999, &hit), LIMITS_ADMITTED); /* is not in its way */
    limits_leave(l, &other, 1, T0 + 59999, &nothing);
    /* When it says, and not before; then the day's limit comes. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(limits_enter(l, &who, 1, T0 + 60000, &hit), LIMITS_ADMITTED);
        limits_leave(l, &who, 1, T0 + 60000, &nothing);
    }
    assert_int_equal(limits_enter(l, &who, 1, T0 + 60000, &hit), LIMITS_FULL);
    assert_true(hit.period == PERIOD_DAY && hit.limit == 5 && hit.again_ms == period_end(PERIOD_DAY, T0));
    assert_int_equal(limits_enter(l, &who, 1, hit.again_ms - 1, &hit), LIMITS_FULL);
    assert_int_equal(limits_enter(l, &who, 1, period_end(PERIOD_DAY, T0), &hit), LIMITS_ADMITTED);
    limits_free(l);
}

static void test_used(void **state)
{
    (void)state;
    const struct limit_rules r =
        rules("prompt-tokens/minute=100,generated-tokens/minute=50,steps/15-minutes=30,pictures/month=2");
    const struct limited_one who = { "key:a", &r };
    const struct {
        struct usage u;
        enum limited what;
        enum period period;
    } uses[] = { { { .prompt_tokens = 100 }, LIMITED_PROMPT, PERIOD_MINUTE },
                 { { .completion_tokens = 70 }, LIMITED_GENERATED, PERIOD_MINUTE },
                 { { .steps = 30 }, LIMITED_STEPS, PERIOD_QUARTER },
                 { { .pictures = 3 }, LIMITED_PICTURES, PERIOD_MONTH } };
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        struct limits *l = limits_new();
        struct limit_hit hit;
        struct usage less = uses[i].u;
        assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_ADMITTED);
        assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_ADMITTED); /* nothing is used yet */
        limits_leave(l, &who, 1, T0, &nothing);
        less.prompt_tokens -= less.prompt_tokens > 0; /* one less than the limit */
        limits_leave(l, &who, 1, T0, &uses[i].u);
        assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_FULL);
        assert_true(hit.what == uses[i].what && hit.period == uses[i].period &&
                    hit.again_ms == period_end(uses[i].period, T0));
        struct limit_left left = limits_left(l, &who, 1, uses[i].what, T0);
        assert_true(left.remaining == 0 && left.limit == hit.limit && left.reset_ms == hit.again_ms);
        assert_int_equal(limits_enter(l, &who, 1, hit.again_ms, &hit), LIMITS_ADMITTED);
        limits_leave(l, &who, 1, hit.again_ms, &less);
        limits_free(l);
    }
    struct limits *l = limits_new();
    assert_int_equal(limits_left(l, &who, 1, LIMITED_REQUESTS, T0).limit, 0);
    limits_free(l);
}

static void test_concurrency(void **state)
{
    (void)state;
    const struct limit_rules r = rules("concurrency=2");
    const struct limited_one who = { "key:a", &r };
    struct limit_hit hit;
    struct limits *l = limits_new();
    assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_FULL);
    assert_true(hit.concurrency && hit.limit == 2 && hit.again_ms == T0 + 1000);
    limits_leave(l, &who, 1, T0, &nothing);
    assert_int_equal(limits_enter(l, &who, 1, T0, &hit), LIMITS_ADMITTED);
    limits_free(l);
}

/* One of several refuses: nothing is counted against the others. */
static void test_all_or_none(void **state)
{
    (void)state;
    const struct limit_rules key = rules("requests/minute=2"), project = rules("requests/minute=3"),
                             none = rules("");
    const struct limited_one a[] = { { "key:a", &key }, { "address:1", &none }, { "project:p", &project } },
                             b[] = { { "key:b", &key }, { "address:1", &none }, { "project:p", &project } };
    struct limit_hit hit;
    struct limits *l = limits_new();
    for (int i = 0; i < 2; i++) assert_int_equal(limits_enter(l, a, 3, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(limits_enter(l, b, 3, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(limits_enter(l, b, 3, T0, &hit), LIMITS_FULL);
    assert_string_equal(hit.who, "project:p");
    assert_int_equal(limits_left(l, b, 1, LIMITED_REQUESTS, T0).remaining, 1); /* of the key alone */
    const struct limit_left least = limits_left(l, b, 3, LIMITED_REQUESTS, T0);
    assert_true(least.limit == 3 && least.remaining == 0);
    limits_free(l);
}

static void test_clock(void **state)
{
    (void)state;
    const struct limit_rules r = rules("requests/day=1,requests/month=9");
    const struct limited_one who = { "key:a", &r };
    const int64_t midnight = period_end(PERIOD_MONTH, T0); /* of a month too */
    struct limit_hit hit;
    struct limits *l = limits_new();
    assert_int_equal(limits_enter(l, &who, 1, midnight + 5, &hit), LIMITS_ADMITTED);
    /* Set back over midnight and the month's end: the window stays, and so does when it ends. */
    assert_int_equal(limits_enter(l, &who, 1, midnight - 5, &hit), LIMITS_FULL);
    assert_int_equal(hit.again_ms, midnight + 86400000);
    assert_int_equal(limits_left(l, &who, 1, LIMITED_REQUESTS, midnight - 5).remaining, 0);
    assert_int_equal(limits_enter(l, &who, 1, midnight + 6, &hit), LIMITS_FULL);
    /* A year ahead by mistake, and put right: nobody waits a year. */
    assert_int_equal(limits_enter(l, &who, 1, midnight + INT64_C(31536000000), &hit), LIMITS_ADMITTED);
    assert_int_equal(limits_enter(l, &who, 1, midnight + 7, &hit), LIMITS_ADMITTED);
    limits_free(l);
}

struct worker {
    struct limits *l;
    const struct limited_one *who;
    atomic_int *admitted, *running, *most;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 500; i++) {
        struct limit_hit hit;
        if (limits_enter(w->l, w->who, 1, T0, &hit) != LIMITS_ADMITTED) continue;
        atomic_fetch_add(w->admitted, 1);
        const int now = atomic_fetch_add(w->running, 1) + 1;
        for (int most = atomic_load(w->most);
             now > most && !atomic_compare_exchange_weak(w->most, &most, now);) {
        }
        atomic_fetch_sub(w->running, 1);
        limits_leave(w->l, w->who, 1, T0, &(struct usage){ .prompt_tokens = 1 });
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    const struct limit_rules r = rules("requests/month=3000,concurrency=5,prompt-tokens/month=1000000");
    const struct limited_one who = { "key:a", &r };
    atomic_int admitted = 0, running = 0, most = 0;
    struct worker w[16];
    struct limits *l = limits_new();
    for (int i = 0; i < 16; i++) {
        w[i] = (struct worker){ l, &who, &admitted, &running, &most, 0 };
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 16; i++) pthread_join(w[i].thread, NULL);
    assert_in_range(admitted, 1, 3000);
    assert_in_range(most, 1, 5);
    assert_int_equal(limits_left(l, &who, 1, LIMITED_PROMPT, T0).remaining, 1000000 - admitted);
    assert_int_equal(limits_left(l, &who, 1, LIMITED_REQUESTS, T0).remaining, 3000 - admitted);
    limits_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),    cmocka_unit_test(test_used),  cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_all_or_none), cmocka_unit_test(test_clock), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
