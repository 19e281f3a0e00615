/* limits_test.c - in memory and in a Redis: windows fill and empty, all of those who are limited or none, and what is said about them is true. */
#include "store/test_redis.h"

#include <pthread.h>
#include <stdatomic.h>

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

/* ---- where they are counted ---------------------------------------------------------------------------------------- */

enum { PLACE_MEMORY, PLACE_REDIS, N_PLACES };
static struct {
    struct test_redis redis;
    int n; /* databases of it that tests have had */
} shared;

static int start_redis(void **state)
{
    (void)state;
    redis_open(&shared.redis);
    return 0;
}

static int stop_redis(void **state)
{
    (void)state;
    redis_close(&shared.redis);
    return 0;
}

/* Where nothing is counted yet. */
static struct counters *place(int kind)
{
    char where[100] = "";
    struct counters *c = NULL;
    struct err e = { ERR_NONE, "" };
    if (kind == PLACE_REDIS) redis_url(&shared.redis, shared.n++, where, sizeof where);
    if (!counters_open(&c, where, &(struct counters_options){ 0 }, &e)) fail_msg("%s", e.msg);
    return c;
}

static enum limits_answer enter(struct counters *c, const char *id, const struct limited_one *who, int n,
                                int64_t now_ms, struct limit_hit *hit)
{
    struct limit_left left[N_LIMITED];
    struct err e = { ERR_NONE, "" };
    const enum limits_answer answer = limits_enter(c, id, who, n, now_ms, left, hit, &e);
    if (answer == LIMITS_AWAY) fail_msg("%s", e.msg);
    return answer;
}

static void leave(struct counters *c, const char *id, const struct limited_one *who, int n, int64_t now_ms,
                  const struct usage *u)
{
    limits_leave(c, id, who, n, now_ms, u);
    for (int i = 0; !counters_settled(c); i++) {
        assert_true(i < REDIS_PATIENCE_S * 100);
        redis_sleep_ms(10);
    }
}

static struct limit_left left_of(struct counters *c, const struct limited_one *who, int n, enum limited what,
                                 int64_t now_ms)
{
    struct limit_left left[N_LIMITED];
    limits_left(c, who, n, now_ms, left);
    return left[what];
}

/* ---- tests, each on every place ------------------------------------------------------------------------------------ */

static void each_requests(int kind)
{
    const struct limit_rules r = rules("requests/minute=3,requests/day=5");
    const struct limited_one who = { "key:a", &r }, other = { "key:b", &r };
    struct limit_hit hit;
    struct counters *l = place(kind);
    assert_int_equal(period_start(PERIOD_MINUTE, T0), T0);
    struct limit_left left = left_of(l, &who, 1, LIMITED_REQUESTS, T0 + 7);
    assert_true(left.limit == 3 && left.remaining == 3 && left.reset_ms == T0 + 60000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(enter(l, "id", &who, 1, T0 + i, &hit), LIMITS_ADMITTED);
        leave(l, "id", &who, 1, T0 + i, &nothing);
    }
    left = left_of(l, &who, 1, LIMITED_REQUESTS, T0 + 7);
    assert_true(left.limit == 3 && left.remaining == 0 && left.reset_ms == T0 + 60000);
    assert_int_equal(enter(l, "id", &who, 1, T0 + 59999, &hit), LIMITS_FULL);
    assert_true(!hit.concurrency && hit.what == LIMITED_REQUESTS && hit.period == PERIOD_MINUTE &&
                hit.limit == 3);
    assert_int_equal(hit.again_ms, T0 + 60000);
    assert_ptr_equal(hit.who, who.name);
    assert_int_equal(enter(l, "id", &other, 1, T0 + 59999, &hit), LIMITS_ADMITTED); /* is not in its way */
    leave(l, "id", &other, 1, T0 + 59999, &nothing);
    /* When it says, and not before; then the day's limit comes. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(enter(l, "id", &who, 1, T0 + 60000, &hit), LIMITS_ADMITTED);
        leave(l, "id", &who, 1, T0 + 60000, &nothing);
    }
    assert_int_equal(enter(l, "id", &who, 1, T0 + 60000, &hit), LIMITS_FULL);
    assert_true(hit.period == PERIOD_DAY && hit.limit == 5 && hit.again_ms == period_end(PERIOD_DAY, T0));
    assert_int_equal(enter(l, "id", &who, 1, hit.again_ms - 1, &hit), LIMITS_FULL);
    assert_int_equal(enter(l, "id", &who, 1, period_end(PERIOD_DAY, T0), &hit), LIMITS_ADMITTED);
    counters_close(l);
}

static void each_used(int kind)
{
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
        struct counters *l = place(kind);
        struct limit_hit hit;
        struct usage less = uses[i].u;
        assert_int_equal(enter(l, "id", &who, 1, T0, &hit), LIMITS_ADMITTED);
        assert_int_equal(enter(l, "id", &who, 1, T0, &hit), LIMITS_ADMITTED); /* nothing is used yet */
        leave(l, "id", &who, 1, T0, &nothing);
        less.prompt_tokens -= less.prompt_tokens > 0; /* one less than the limit */
        leave(l, "id", &who, 1, T0, &uses[i].u);
        assert_int_equal(enter(l, "id", &who, 1, T0, &hit), LIMITS_FULL);
        assert_true(hit.what == uses[i].what && hit.period == uses[i].period &&
                    hit.again_ms == period_end(uses[i].period, T0));
        struct limit_left left = left_of(l, &who, 1, uses[i].what, T0);
        assert_true(left.remaining == 0 && left.limit == hit.limit && left.reset_ms == hit.again_ms);
        assert_int_equal(enter(l, "id", &who, 1, hit.again_ms, &hit), LIMITS_ADMITTED);
        leave(l, "id", &who, 1, hit.again_ms, &less);
        counters_close(l);
    }
    struct counters *l = place(kind);
    assert_int_equal(left_of(l, &who, 1, LIMITED_REQUESTS, T0).limit, 0);
    counters_close(l);
}

static void each_concurrency(int kind)
{
    const struct limit_rules r = rules("concurrency=2");
    const struct limited_one who = { "key:a", &r };
    struct limit_hit hit;
    struct counters *l = place(kind);
    assert_int_equal(enter(l, "a", &who, 1, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(enter(l, "b", &who, 1, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(enter(l, "c", &who, 1, T0, &hit), LIMITS_FULL);
    assert_true(hit.concurrency && hit.limit == 2 && hit.again_ms == T0 + 1000);
    leave(l, "a", &who, 1, T0, &nothing);
    assert_int_equal(enter(l, "d", &who, 1, T0, &hit), LIMITS_ADMITTED);
    counters_close(l);
}

/* One of several refuses: nothing is counted against the others. */
static void each_all_or_none(int kind)
{
    const struct limit_rules key = rules("requests/minute=2"), project = rules("requests/minute=3"),
                             none = rules("");
    const struct limited_one a[] = { { "key:a", &key }, { "address:1", &none }, { "project:p", &project } },
                             b[] = { { "key:b", &key }, { "address:1", &none }, { "project:p", &project } };
    struct limit_hit hit;
    struct counters *l = place(kind);
    for (int i = 0; i < 2; i++) assert_int_equal(enter(l, "id", a, 3, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(enter(l, "id", b, 3, T0, &hit), LIMITS_ADMITTED);
    assert_int_equal(enter(l, "id", b, 3, T0, &hit), LIMITS_FULL);
    assert_string_equal(hit.who, "project:p");
    assert_int_equal(left_of(l, b, 1, LIMITED_REQUESTS, T0).remaining, 1); /* of the key alone */
    const struct limit_left least = left_of(l, b, 3, LIMITED_REQUESTS, T0);
    assert_true(least.limit == 3 && least.remaining == 0);
    /* Of two that are alike the first is named; one without rules has nothing to give back. */
    const struct limited_one alike[] = { { "key:c", &key }, { "key:d", &key } }, free_of = { "key:e", &none };
    const struct limit_left same = left_of(l, alike, 2, LIMITED_REQUESTS, T0);
    assert_true(same.limit == 2 && same.remaining == 2 && same.reset_ms == T0 + 60000);
    limits_leave(l, "id", &free_of, 1, T0, &nothing);
    assert_int_equal(left_of(l, &free_of, 1, LIMITED_REQUESTS, T0).limit, 0);
    counters_close(l);
}

static void each_clock(int kind)
{
    const struct limit_rules r = rules("requests/day=1,requests/month=9");
    const struct limited_one who = { "key:a", &r };
    const int64_t midnight = period_end(PERIOD_MONTH, T0); /* of a month too */
    struct limit_hit hit;
    struct counters *l = place(kind);
    assert_int_equal(enter(l, "id", &who, 1, midnight + 5, &hit), LIMITS_ADMITTED);
    /* Set back over midnight and the month's end: the window stays, and so does when it ends. */
    assert_int_equal(enter(l, "id", &who, 1, midnight - 5, &hit), LIMITS_FULL);
    assert_int_equal(hit.again_ms, midnight + 86400000);
    assert_int_equal(left_of(l, &who, 1, LIMITED_REQUESTS, midnight - 5).remaining, 0);
    assert_int_equal(enter(l, "id", &who, 1, midnight + 6, &hit), LIMITS_FULL);
    /* A year ahead by mistake, and put right: nobody waits a year. */
    assert_int_equal(enter(l, "id", &who, 1, midnight + INT64_C(31536000000), &hit), LIMITS_ADMITTED);
    assert_int_equal(enter(l, "id", &who, 1, midnight + 7, &hit), LIMITS_ADMITTED);
    counters_close(l);
}

struct worker {
    struct counters *l;
    const struct limited_one *who;
    atomic_int *admitted, *running, *most;
    int nth;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 200; i++) {
        struct limit_hit hit;
        char id[30];
        snprintf(id, sizeof id, "%d-%d", w->nth, i);
        if (enter(w->l, id, w->who, 1, T0, &hit) != LIMITS_ADMITTED) continue;
        atomic_fetch_add(w->admitted, 1);
        const int now = atomic_fetch_add(w->running, 1) + 1;
        for (int most = atomic_load(w->most);
             now > most && !atomic_compare_exchange_weak(w->most, &most, now);) {
        }
        atomic_fetch_sub(w->running, 1);
        limits_leave(w->l, id, w->who, 1, T0, &(struct usage){ .prompt_tokens = 1 });
    }
    return NULL;
}

static void each_threads(int kind)
{
    const struct limit_rules r = rules("requests/month=1000,concurrency=5,prompt-tokens/month=1000000");
    const struct limited_one who = { "key:a", &r };
    atomic_int admitted = 0, running = 0, most = 0;
    struct worker w[16];
    struct counters *l = place(kind);
    for (int i = 0; i < 16; i++) {
        w[i] = (struct worker){ l, &who, &admitted, &running, &most, i, 0 };
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 16; i++) pthread_join(w[i].thread, NULL);
    assert_in_range(admitted, 1, 1000);
    assert_in_range(most, 1, 5);
    /* One more, so that a shared place says what the others used. */
    const int used = admitted;
    struct limit_hit hit;
    leave(l, "none", &who, 1, T0, &nothing);
    if (enter(l, "last", &who, 1, T0, &hit) == LIMITS_ADMITTED) admitted++;
    assert_int_equal(left_of(l, &who, 1, LIMITED_PROMPT, T0).remaining, 1000000 - used);
    assert_int_equal(left_of(l, &who, 1, LIMITED_REQUESTS, T0).remaining, 1000 - admitted);
    counters_close(l);
}

static void test_requests(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_PLACES; kind++) each_requests(kind);
}

static void test_used(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_PLACES; kind++) each_used(kind);
}

static void test_concurrency(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_PLACES; kind++) each_concurrency(kind);
}

static void test_all_or_none(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_PLACES; kind++) each_all_or_none(kind);
}

static void test_clock(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_PLACES; kind++) each_clock(kind);
}

static void test_threads(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_PLACES; kind++) each_threads(kind);
}

static void test_away(void **state)
{
    (void)state;
    const struct limit_rules r = rules("requests/minute=2"), none = rules("");
    const struct limited_one who = { "key:a", &r }, free_of = { "key:b", &none };
    struct limit_left left[N_LIMITED];
    struct limit_hit hit;
    struct err e = { ERR_NONE, "" };
    struct counters *l = place(PLACE_REDIS);
    assert_int_equal(enter(l, "a", &who, 1, T0, &hit), LIMITS_ADMITTED);
    redis_kill(&shared.redis);
    assert_int_equal(limits_enter(l, "b", &who, 1, T0, left, &hit, &e), LIMITS_AWAY);
    assert_true(e.code == ERR_BUSY && *e.msg);
    assert_true(left[LIMITED_REQUESTS].limit == 2 &&
                left[LIMITED_REQUESTS].remaining == 1); /* as it was heard last */
    assert_int_equal(limits_enter(l, "c", &free_of, 1, T0, left, &hit, &e),
                     LIMITS_ADMITTED); /* needs no counting */
    redis_start(&shared.redis);
    for (int i = 0; limits_enter(l, "d", &who, 1, T0, left, &hit, &e) == LIMITS_AWAY; i++) {
        assert_true(i < REDIS_PATIENCE_S * 100);
        redis_sleep_ms(10);
    }
    counters_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),    cmocka_unit_test(test_used),  cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_all_or_none), cmocka_unit_test(test_clock), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_away),
    };
    return cmocka_run_group_tests(tests, start_redis, stop_redis);
}
