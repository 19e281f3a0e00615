/* webhooks_test.c - signatures, waiting, what is given up and forgotten; deliveries to a receiver are tests/e2e/test_webhooks.py. */
#include "store/test_places.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "service/account/events.h"

#include "service/account/webhooks.h"

/* The example of the Standard Webhooks' own libraries. */
static void test_signature(void **state)
{
    char out[WEBHOOKS_SIGNATURE];
    struct webhooks_key k;
    struct err e = { ERR_NONE, "" };
    (void)state;
    assert_true(webhooks_key_parse(&k, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &e));
    assert_int_equal(k.len, 24);
    webhooks_sign(&k, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", out);
    assert_string_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void test_secrets(void **state)
{
    static const char *const bad[] = {
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqr",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS*",
        "whsec_"
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    };
    struct webhooks_key k;
    struct err e = { ERR_NONE, "" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(webhooks_key_parse(&k, bad[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_true(!*bad[i] || strlen(bad[i]) < 12 || !strstr(e.msg, bad[i]));
    }
}

/* Twice as long each time up to an hour, less up to a half by chance. */
static void test_wait(void **state)
{
    (void)state;
    for (int tries = 0; tries < 80; tries++) {
        const int64_t most = tries < 12 ? 1000LL << tries : 3600000;
        const int64_t whole = most < 3600000 ? most : 3600000;
        assert_int_equal(webhooks_wait_ms(tries, 0), whole);
        assert_int_equal(webhooks_wait_ms(tries, UINT32_MAX), whole - whole / 2);
        assert_in_range(webhooks_wait_ms(tries, UINT32_MAX / 2), whole / 2, whole);
    }
}

static void test_refused(void **state)
{
    char where[200];
    char *url[] = { (char *)"ftp://host/" };
    struct webhooks *w;
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    struct webhooks_options o = { .urls = { url, 1 },
                                  .secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                  .days = 1 };
    assert_false(webhooks_open(&w, s, &o, &e));
    assert_non_null(strstr(e.msg, "https://"));
    o.secret = "none";
    assert_false(webhooks_open(&w, s, &o, &e));
    assert_non_null(strstr(e.msg, "whsec_"));
    o.urls.n = 0;
    o.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_true(webhooks_open(&w, s, &o, &e));
    webhooks_close(w);
    store_close(s);
}

/* ---- ages, by clocks that the test sets ------------------------------------------------------------------------------ */

#define T0 INT64_C(1750000000000)
#define DAY INT64_C(86400000)
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

struct clocks {
    atomic_llong unix_ms, ran_ms;
};

static int64_t clocks_unix(void *arg) { return atomic_load(&((struct clocks *)arg)->unix_ms); }
static double clocks_seconds(void *arg)
{
    return 1e-3 * (double)atomic_load(&((struct clocks *)arg)->ran_ms);
}

static void clocks_run(struct clocks *c, int64_t ms)
{
    atomic_fetch_add(&c->unix_ms, ms);
    atomic_fetch_add(&c->ran_ms, ms);
}

static struct webhooks *open_it(struct store *s, char *url, struct clocks *c)
{
    const struct webhooks_options o = {
        .urls = { &url, *url != 0 }, .secret = SECRET, .days = 3, .time = { clocks_unix, clocks_seconds, c }
    };
    struct webhooks *w;
    struct err e;
    if (!webhooks_open(&w, s, &o, &e)) fail_msg("%s", e.msg);
    return w;
}

struct adding {
    const char *once;
    int64_t at_ms;
};

static bool add_one(void *arg, struct session *c, struct err *e)
{
    const struct adding *a = arg;
    json_t *data = json_object();
    const bool ok = events_add(c, "key.created", a->once, data, a->at_ms, e);
    json_decref(data);
    return ok;
}

static void add(struct store *s, const char *once, int64_t at_ms)
{
    struct err e;
    if (!store_write(s, add_one, &(struct adding){ once, at_ms }, &e)) fail_msg("%s", e.msg);
}

struct number {
    const char *sql;
    int64_t is;
};

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool read_number(void *arg, struct session *c, struct err *e)
{
    struct number *n = arg;
    n->is = -1;
    return session_run(c, n->sql, STORE_NO_ARGS, take_number, &n->is, e);
}

static int64_t number(struct store *s, const char *sql)
{
    struct number n = { .sql = sql };
    struct err e;
    if (!store_read(s, read_number, &n, &e)) fail_msg("%s", e.msg);
    return n.is;
}

/* Until it is so, two minutes; the clocks run on by `ms` at each look. */
static void wait_number(struct store *s, const char *sql, int64_t want, struct clocks *c, int64_t ms)
{
    for (int i = 0; number(s, sql) != want; i++) {
        if (i > 12000) fail_msg("%s is not %lld", sql, (long long)want);
        places_sleep_ms(10);
        clocks_run(c, ms);
    }
}

/* Where nobody listens: the port is taken, so that nobody else does. */
static int nobody(char url[60])
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(url, 60, "http://127.0.0.1:%d/", ntohs(at.sin_port));
    return fd;
}

/* After three days, each event by itself; not because a clock jumps by a week. */
static void each_given_up(struct places *p, enum place kind)
{
    struct clocks c = { T0, 1000 };
    char where[200], url[60];
    const int fd = nobody(url);
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    struct webhooks *w = open_it(s, url, &c);
    add(s, "", T0);
    add(s, "", T0);
    wait_number(s, "SELECT tries FROM webhooks", 3, &c, 100);
    assert_true(clocks_unix(&c) < T0 + DAY);
    atomic_fetch_add(&c.unix_ms, 7 * DAY);
    wait_number(s, "SELECT tries FROM webhooks", 6, &c, 100);
    assert_int_equal(number(s, "SELECT seq FROM webhooks"), 0);
    wait_number(s, "SELECT seq FROM webhooks", 1, &c, DAY / 24);
    const int64_t first = clocks_seconds(&c) * 1000;
    assert_true(first >= 3 * DAY);
    wait_number(s, "SELECT seq FROM webhooks", 2, &c, DAY / 24);
    assert_true(clocks_seconds(&c) * 1000 - first >= 3 * DAY);
    webhooks_close(w);
    store_close(s);
    close(fd);
}

/* What was taken long ago goes; what an address that a server names waits for stays, and so does what says that something was told once. */
static void each_forgotten(struct places *p, enum place kind)
{
    static const char count[] = "SELECT count(*) FROM events", first[] = "SELECT MIN(seq) FROM events";
    struct clocks c = { T0, 1000 };
    char where[200], url[60], none[] = "http://127.0.0.1:1/";
    const int fd = nobody(url);
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    add(s, "", T0 - 100 * DAY);
    add(s, "budget.hard_limit key:a day 0", T0 - 100 * DAY);
    add(s, "budget.hard_limit key:a total 0", T0 - 100 * DAY);
    add(s, "budget.hard_limit key:a month 0", T0 - 20 * DAY);
    add(s, "", T0 - 20 * DAY);
    add(s, "", T0 - 9 * DAY);
    struct webhooks *w = open_it(s, url, &c); /* an address that begins behind all of these */
    wait_number(s, count, 3, &c, 0);
    assert_int_equal(number(s, first), 3);
    add(s, "", T0); /* it cannot be delivered, and stays until it is given up */
    webhooks_close(w);
    clocks_run(&c, 60 * DAY);
    add(s, "", clocks_unix(&c));
    struct webhooks *other = open_it(s, none, &c); /* nobody has named the first address for long */
    wait_number(s, count, 2, &c, 0);               /* that of the total, and the last */
    assert_int_equal(number(s, "SELECT MAX(seq) FROM events"), 8);
    webhooks_close(other);
    store_close(s);
    close(fd);
}

static void test_ages(void **state)
{
    each_given_up(*state, PLACE_SQLITE);
    for (int k = 0; k < N_PLACES; k++) each_forgotten(*state, (enum place)k);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_signature), cmocka_unit_test(test_secrets),
                                        cmocka_unit_test(test_wait), cmocka_unit_test(test_refused),
                                        cmocka_unit_test(test_ages) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
