/* counters_test.c - what only a Redis does: several servers over one, killed holders, a Redis that dies and comes back; and the URL that
 * names it. Windows and slots are held on every place by service/account/limits_test.c. */
#include "store/test_redis.h"

#include <pthread.h>

#include "store/redis_url.h"

#define START INT64_C(1750000020000)

static struct test_redis redis;

static struct counters *server(int database, int lease_ms)
{
    char where[100];
    struct counters *c = NULL;
    struct err e = { ERR_NONE, "" };
    redis_url(&redis, database, where, sizeof where);
    if (!counters_open(&c, where, &(struct counters_options){ lease_ms }, &e)) fail_msg("%s", e.msg);
    return c;
}

static bool take(struct counters *c, const char *id, int64_t most, int *by)
{
    struct counter v = { .who = "key:a",
                         .what = "requests/minute",
                         .start_ms = START,
                         .end_ms = START + 60000,
                         .most = 1000000,
                         .add = 1 };
    const struct slots s = { "key:a", most };
    struct err e = { ERR_NONE, "" };
    return counters_take(c, &(struct counters_ask){ id, &v, 1, &s, 1 }, by, &e);
}

static void give(struct counters *c, const char *id, int64_t add)
{
    struct counter v = { .who = "key:a",
                         .what = "steps/minute",
                         .start_ms = START,
                         .end_ms = START + 60000,
                         .most = 1000000,
                         .add = add };
    const struct slots s = { "key:a", 1 };
    counters_give(c, &(struct counters_ask){ id, &v, 1, &s, 1 });
}

static int64_t used(struct counters *c, const char *what)
{
    struct counter v = {
        .who = "key:a", .what = what, .start_ms = START, .end_ms = START + 60000, .most = INT64_MAX
    };
    struct err e = { ERR_NONE, "" };
    int by;
    if (!counters_take(c, &(struct counters_ask){ "look", &v, 1, NULL, 0 }, &by, &e)) return -1;
    return v.used;
}

#define EVENTUALLY(condition)                                                                                \
    for (int i_ = 0; !(condition); i_++) {                                                                   \
        if (i_ > REDIS_PATIENCE_S * 50) fail_msg("never: %s", #condition);                                   \
        redis_sleep_ms(20);                                                                                  \
    }

static void test_servers_share(void **state)
{
    (void)state;
    struct counters *a = server(1, 0), *b = server(1, 0), *other = server(2, 0);
    int by;
    assert_string_equal(counters_name(a), "redis");
    assert_true(counters_shared(a) && strstr(counters_where(a), "127.0.0.1"));
    assert_true(take(a, "1", 2, &by) && by == -1);
    assert_true(take(b, "2", 2, &by) && by == -1);
    assert_true(take(a, "3", 2, &by) && by == 1); /* the slots stand behind the one counter */
    assert_true(take(other, "3", 2, &by) && by == -1);
    give(b, "1", 7); /* whoever gives */
    EVENTUALLY(take(a, "3", 2, &by) && by == -1);
    EVENTUALLY(used(a, "steps/minute") == 7);
    assert_int_equal(used(a, "requests/minute"), 3); /* what was refused did not count */
    counters_close(a);
    counters_close(b);
    counters_close(other);
}

/* Slots of a server that is killed are free when their lease is over, and those of one that lives are not. */
static void test_killed_holder(void **state)
{
    (void)state;
    enum { LEASE_MS = 1500 };
    int ready[2], by;
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = fork();
    if (!pid) {
        struct counters *c = server(3, LEASE_MS);
        if (!take(c, "child", 1, &by) || by != -1 || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    struct counters *c = server(3, LEASE_MS);
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do redis_sleep_ms(100), clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec - begun.tv_sec < 4);
    /* Longer than its lease, and it is renewed: on a machine that stood still it may have run out, and then it is taken anew. */
    EVENTUALLY(take(c, "look", 1, &by) && (by == 1 || (give(c, "look", 0), false)));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    EVENTUALLY(take(c, "mine", 1, &by) && by == -1);
    counters_close(c);
    close(ready[0]);
    close(ready[1]);
}

static void test_dies_and_comes_back(void **state)
{
    (void)state;
    struct counters *a = server(4, 0), *b = server(4, 0);
    struct err e = { ERR_NONE, "" };
    int by;
    assert_true(take(a, "1", 1, &by) && by == -1);
    assert_false(counters_away(a, &e));
    redis_kill(&redis);
    assert_false(take(a, "2", 1, &by));
    assert_true(counters_away(a, &e) && e.code == ERR_BUSY && strstr(e.msg, "Redis"));
    EVENTUALLY(counters_away(b, &e)); /* without being asked */
    give(b, "x", 5);                  /* waits */
    assert_false(counters_settled(b));
    redis_start(&redis);
    EVENTUALLY(!counters_away(a, &e) && counters_settled(b));
    EVENTUALLY(used(a, "steps/minute") == 5);
    EVENTUALLY(take(a, "3", 1, &by) &&
               (by == 1 || (give(a, "3", 0), false))); /* the slot that it forgot is held again */
    give(a, "1", 0);
    EVENTUALLY(take(b, "4", 1, &by) && by == -1);
    counters_close(a);
    counters_close(b);
}

static void test_away_from_the_start(void **state)
{
    (void)state;
    struct counters *c = NULL;
    struct err e = { ERR_NONE, "" };
    char where[100];
    int by;
    redis_kill(&redis);
    c = server(5, 0);
    assert_true(counters_away(c, &e));
    assert_false(take(c, "1", 1, &by));
    give(c, "gone", 1); /* is lost with the server, which ends all the same */
    counters_close(c);
    redis_start(&redis);
    /* A password that it has not. */
    snprintf(where, sizeof where, "redis://:wrong@127.0.0.1:%d/0", redis.port);
    assert_true(counters_open(&c, where, &(struct counters_options){ 0 }, &e));
    assert_true(counters_away(c, &e) && strstr(e.msg, "AUTH"));
    assert_null(strstr(counters_where(c), "wrong"));
    counters_close(c);
    assert_false(counters_open(&c, "http://127.0.0.1/", &(struct counters_options){ 0 }, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_false(counters_open(&c, "redis://", &(struct counters_options){ 0 }, &e));
}

/* What is over makes room, and what is not stays. */
static void test_memory_forgets(void **state)
{
    (void)state;
    struct counters *c = NULL;
    struct err e = { ERR_NONE, "" };
    char who[20];
    int by;
    assert_true(counters_open(&c, "", &(struct counters_options){ 0 }, &e));
    assert_false(counters_shared(c) || counters_away(c, &e));
    struct counter month = { .who = "key:a",
                             .what = "requests/month",
                             .start_ms = 0,
                             .end_ms = INT64_C(1) << 50,
                             .most = 2,
                             .add = 1 };
    const struct slots held = { "key:a", 1 };
    assert_true(counters_take(c, &(struct counters_ask){ "1", &month, 1, &held, 1 }, &by, &e) && by == -1);
    for (int i = 0; i < 20000; i++) {
        snprintf(who, sizeof who, "address:%d", i);
        struct counter v = { .who = who,
                             .what = "requests/minute",
                             .start_ms = START + i * 100,
                             .end_ms = START + i * 100 + 100,
                             .most = 1,
                             .add = 1 };
        assert_true(counters_take(c, &(struct counters_ask){ who, &v, 1, NULL, 0 }, &by, &e) && by == -1);
        assert_true(counters_take(c, &(struct counters_ask){ who, &v, 1, NULL, 0 }, &by, &e) && by == 0);
    }
    assert_true(counters_take(c, &(struct counters_ask){ "2", &month, 1, &held, 1 }, &by, &e) && by == 1);
    counters_give(c, &(struct counters_ask){ "1", NULL, 0, &held, 1 });
    assert_true(counters_take(c, &(struct counters_ask){ "3", &month, 1, &held, 1 }, &by, &e) && by == -1 &&
                month.used == 2);
    counters_close(c);
}

static void test_urls(void **state)
{
    (void)state;
    const struct {
        const char *text, *host, *user, *password;
        int port, database;
    } good[] = {
        { "redis://h", "h", "", "", 6379, 0 },
        { "redis://h/", "h", "", "", 6379, 0 },
        { "redis://redis.example.org:7000/15", "redis.example.org", "", "", 7000, 15 },
        { "redis://:p%40ss%2f@127.0.0.1/2", "127.0.0.1", "", "p@ss/", 6379, 2 },
        { "redis://user:pass:word@[::1]:6380", "::1", "user", "pass:word", 6380, 0 },
    };
    static const char *const bad[] = { "",
                                       "redis:/h",
                                       "redis://",
                                       "redis://h:",
                                       "redis://h:0",
                                       "redis://h:65536",
                                       "redis://h:6379x",
                                       "redis://h/x",
                                       "redis://h/1/2",
                                       "redis://h/99999",
                                       "redis://user@h",
                                       "redis://user:@h",
                                       "redis://:%4@h",
                                       "redis://:%00@h",
                                       "redis://[::1",
                                       "redis://[g]",
                                       "redis://[::1]6379",
                                       "redis://h h" };
    struct redis_url u;
    struct err e = { ERR_NONE, "" };
    char shown[REDIS_URL_SHOWN], longest[600];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!redis_url_parse(&u, good[i].text, &e)) fail_msg("%s: %s", good[i].text, e.msg);
        assert_string_equal(u.host, good[i].host);
        assert_string_equal(u.user, good[i].user);
        assert_string_equal(u.password, good[i].password);
        assert_true(u.port == good[i].port && u.database == good[i].database);
    }
    assert_string_equal(redis_url_show(&u, shown), "redis://[::1]:6380/0");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (redis_url_parse(&u, bad[i], &e)) fail_msg("%s was taken", bad[i]);
        assert_int_equal(e.code, ERR_REQUEST);
    }
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "redis://", 8);
    longest[sizeof longest - 1] = 0;
    assert_false(redis_url_parse(&u, longest, &e));
    memcpy(longest, "redis://:", 9);
    longest[500] = '@';
    assert_false(redis_url_parse(&u, longest, &e));
}

static int setup(void **state)
{
    (void)state;
    redis_open(&redis);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    redis_close(&redis);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_servers_share),       cmocka_unit_test(test_killed_holder),
        cmocka_unit_test(test_dies_and_comes_back), cmocka_unit_test(test_away_from_the_start),
        cmocka_unit_test(test_memory_forgets),      cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
