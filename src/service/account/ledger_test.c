/* ledger_test.c - rows that are there for good: chained, in order, once each, whatever is killed; and every way to touch them is found. */
#include "store/test_places.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/log.h"
#include "service/account/ledger.h"

static struct ledger_row make(int i)
{
    struct ledger_row r = { .ended_ms = INT64_C(1750000000000) + i * INT64_C(3600000),
                            .prompt = i,
                            .cached = i / 2,
                            .completion = 2 * i,
                            .steps = i % 5,
                            .pictures = i % 3,
                            .cost = INT64_C(1000000007) * i,
                            .total_us = i,
                            .status = 200 };
    ledger_uid(r.uid);
    snprintf(r.request, sizeof r.request, "req_%d", i);
    snprintf(r.key_id, sizeof r.key_id, "key_%d", i % 3);
    snprintf(r.model, sizeof r.model, "accounts/a/models/m%d", i % 2);
    strcpy(r.path, "/v1/x'\"\xc3\xa9");
    strcpy(r.how, "done");
    return r;
}

static bool append(void *arg, struct session *c, struct err *e)
{
    bool added;
    return ledger_append(c, arg, &added, e);
}

static void add(struct store *s, int from, int n)
{
    struct err e = { ERR_NONE, "" };
    for (int i = from; i < from + n; i++) {
        struct ledger_row r = make(i);
        if (!store_write(s, append, &r, &e)) fail_msg("%s", e.msg);
        assert_int_equal(strlen(r.hash), 64);
    }
}

static bool same_rows(void *arg, const struct ledger_row *r, struct err *e)
{
    int *n = arg;
    struct ledger_row want = make((int)r->prompt);
    (void)e;
    assert_int_equal(r->prompt, *n);
    assert_int_equal(r->seq, *n + 1);
    memcpy(want.uid, r->uid, sizeof want.uid); /* a new one each time */
    memcpy(want.hash, r->hash, sizeof want.hash);
    want.seq = r->seq;
    assert_string_equal(r->path, want.path);
    assert_string_equal(r->request, want.request);
    assert_int_equal(r->cost, want.cost);
    ++*n;
    return true;
}

static void each_whole(struct places *p, enum place kind)
{
    char where[200], noted[100];
    struct err e = { ERR_NONE, "" };
    struct ledger_sum sum;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(ledger_verify(s, "", &sum, &e)); /* an empty one is whole */
    assert_int_equal(sum.rows, 0);
    add(s, 0, 40);
    assert_true(ledger_verify(s, "", &sum, &e));
    assert_int_equal(sum.rows, 40);
    assert_int_equal(sum.prompt, 780);
    assert_int_equal(sum.completion, 1560);
    assert_true(sum.cost == 780 * INT64_C(1000000007));
    snprintf(noted, sizeof noted, "40:%s", sum.head);
    add(s, 40, 2);
    assert_true(ledger_verify(s, noted, &sum, &e));
    int n = 0;
    assert_true(ledger_each(s, 0, INT64_MAX, same_rows, &n, &e));
    assert_int_equal(n, 42);
    /* The same row again is not a second one: a commit may have been done although nobody heard of it. */
    struct ledger_row again = make(99);
    assert_true(store_write(s, append, &again, &e));
    assert_true(store_write(s, append, &again, &e));
    assert_true(ledger_verify(s, noted, &sum, &e));
    assert_int_equal(sum.rows, 43);
    static const char *const bad[] = { "x", "0:00", "40", "40:12", "-1:" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(ledger_verify(s, bad[i], &sum, &e));
        assert_int_equal(e.code, ERR_REQUEST);
    }
    noted[5] = noted[5] == 'a' ? 'b' : 'a';
    assert_false(ledger_verify(s, noted, &sum, &e));
    assert_non_null(strstr(e.msg, "noted"));
    snprintf(noted, sizeof noted, "400:%064d", 0);
    assert_false(ledger_verify(s, noted, &sum, &e));
    store_close(s);
}

/* Hashes made by another program: rows from before the later columns have theirs still, and what a later one holds counts. */
static void each_hashed(struct places *p, enum place kind)
{
    char where[200];
    struct err e = { ERR_NONE, "" };
    struct ledger_row r = { .ended_ms = INT64_C(1750000000000),
                            .prompt = 7,
                            .cached = 3,
                            .completion = 5,
                            .cost = -9,
                            .queue_us = 1,
                            .first_us = 2,
                            .total_us = 3,
                            .status = 200 };
    strcpy(r.uid, "0123456789abcdef0123456789abcdef");
    strcpy(r.request, "req_1");
    strcpy(r.key_id, "key_1");
    strcpy(r.project, "web");
    strcpy(r.address, "127.0.0.1");
    strcpy(r.dialect, "openai");
    strcpy(r.endpoint, "chat");
    strcpy(r.path, "/v1/x");
    strcpy(r.model, "m");
    strcpy(r.how, "done");
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(store_write(s, append, &r, &e));
    assert_string_equal(r.hash, "b3d8df9030d0dbd34b2dc6f1a0f86ae47df1a8653d43fc6f105f0b8b5d922763");
    strcpy(r.uid, "11111111111111111111111111111111");
    strcpy(r.seed, "42");
    assert_true(store_write(s, append, &r, &e));
    assert_string_equal(r.hash, "f1d68045fe41b4e3ebe2370f5d17611addcdf5d0c1116e12d4546ed2ab6d4516");
    strcpy(r.uid, "22222222222222222222222222222222");
    strcpy(r.route, "east");
    assert_true(store_write(s, append, &r, &e));
    assert_string_equal(r.hash, "0c437935d9eb0f9f056ebf8ec99af952c0c26c68ab4cfe54464cc80354f0ee7c");
    struct ledger_sum sum;
    assert_true(ledger_verify(s, "", &sum, &e));
    store_close(s);
}

static bool run_sql(void *arg, struct session *c, struct err *e)
{
    return session_run(c, arg, STORE_NO_ARGS, NULL, NULL, e);
}

/* Every hand in it is found, and the first row that is touched is named. */
static void each_touched(struct places *p, enum place kind)
{
    static const struct {
        const char *sql, *again, *says;
    } touch[] = {
        { "UPDATE ledger SET cost = cost + 1 WHERE seq = 5",
          "UPDATE ledger SET cost = cost - 1 WHERE seq = 5", "row 5 " },
        { "UPDATE ledger SET key_id = 'key_x' WHERE seq = 1",
          "UPDATE ledger SET key_id = 'key_0' WHERE seq = 1", "row 1 " },
        { "UPDATE ledger SET cached = reasoning, reasoning = cached WHERE seq = 9",
          "UPDATE ledger SET cached = reasoning, reasoning = cached WHERE seq = 9", "row 9 " },
        { "UPDATE ledger SET model = model || 'x' WHERE seq = 10",
          "UPDATE ledger SET model = 'accounts/a/models/m1' WHERE seq = 10", "row 10 " },
        { "UPDATE ledger SET seed = '7' WHERE seq = 11", "UPDATE ledger SET seed = '' WHERE seq = 11",
          "row 11 " },
        { "UPDATE ledger SET seq = 12 - seq + 1000 WHERE seq IN (5, 7)", NULL, "row 5 is missing" },
        { "UPDATE ledger SET seq = 12 - (seq - 1000) + 1000 - 1000 WHERE seq > 1000", NULL, "" },
        { "UPDATE ledger SET seq = 1000 + seq WHERE seq IN (5, 7)", NULL, "row 5 is missing" },
        { "UPDATE ledger SET seq = 1012 - seq WHERE seq > 1000", NULL, "row 5 " },
        { "UPDATE ledger SET seq = 1000 + seq WHERE seq IN (5, 7)", NULL, "row 5 is missing" },
        { "UPDATE ledger SET seq = 1012 - seq WHERE seq > 1000", NULL, "" },
        { "UPDATE ledger_head SET seq = 19", "UPDATE ledger_head SET seq = 20", "ends at row 20" },
        { "UPDATE ledger_head SET hash = 'x' || hash", "UPDATE ledger_head SET hash = substr(hash, 2)",
          "ends at row 20" },
        { "DELETE FROM ledger WHERE seq = 20", NULL, "row 20 was written last" },
        { "DELETE FROM ledger WHERE seq = 1", NULL, "row 1 is missing" },
        { "DELETE FROM ledger_head", NULL, "row 1 is missing" },
    };
    char where[200];
    struct err e = { ERR_NONE, "" };
    struct ledger_sum sum;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    add(s, 0, 20);
    for (size_t i = 0; i < sizeof touch / sizeof *touch; i++) {
        if (!store_write(s, run_sql, (void *)touch[i].sql, &e)) fail_msg("%s: %s", touch[i].sql, e.msg);
        const bool whole = ledger_verify(s, "", &sum, &e);
        if (*touch[i].says && (whole || !strstr(e.msg, touch[i].says)))
            fail_msg("%s: %s", touch[i].sql, whole ? "not found" : e.msg);
        if (*touch[i].says) assert_int_equal(e.code, ERR_FORMAT);
        if (!*touch[i].says && !whole) fail_msg("%s: %s", touch[i].sql, e.msg);
        if (!touch[i].again) continue;
        assert_true(store_write(s, run_sql, (void *)touch[i].again, &e));
        if (!ledger_verify(s, "", &sum, &e)) fail_msg("%s: %s", touch[i].again, e.msg);
    }
    struct ledger_row r = make(1);
    assert_false(store_write(s, append, &r, &e)); /* without a head nothing is added */
    assert_int_equal(e.code, ERR_FORMAT);
    store_close(s);
}

/* ---- many at once, and killed -------------------------------------------------------------------------------------- */

struct writer {
    struct store *s;
    int i;
    bool post;
    pthread_t thread;
};

static void *write_rows(void *arg)
{
    struct writer *w = arg;
    for (int k = 0; k < 50; k++) {
        struct ledger_row r = make(w->i * 50 + k);
        struct err e = { ERR_NONE, "" };
        if (w->post ? !ledger_post(w->s, &r, NULL, NULL) : !store_write(w->s, append, &r, &e))
            return log_error("%s", e.msg), NULL;
    }
    return w;
}

/* Two servers over one store, sixteen threads each. */
static void each_many(struct places *p, enum place kind)
{
    char where[200];
    struct err e = { ERR_NONE, "" };
    struct ledger_sum sum;
    struct writer w[32];
    places_new(p, kind, where, sizeof where);
    struct store *s[2] = { places_store(where), NULL };
    assert_true(store_open(&s[1], where, &(struct store_options){ .busy_s = 30 }, &e));
    for (int i = 0; i < 32; i++) {
        /* SQLite's writers of two processes wait for each other's lock; posted rows do that by themselves. */
        w[i] = (struct writer){ .s = s[i % 2], .i = i, .post = kind == PLACE_SQLITE || i % 4 < 2 };
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_rows, &w[i]), 0);
    }
    for (int i = 0; i < 32; i++) {
        void *back;
        pthread_join(w[i].thread, &back);
        assert_ptr_equal(back, &w[i]);
    }
    store_close(s[1]);
    store_close(s[0]);
    s[0] = places_store(where);
    if (!ledger_verify(s[0], "", &sum, &e)) fail_msg("%s", e.msg);
    assert_int_equal(sum.rows, 1600);
    assert_int_equal(sum.prompt, 1600 * 1599 / 2);
    store_close(s[0]);
}

static bool add_up(void *arg, const struct ledger_row *r, struct err *e)
{
    char *seen = arg;
    (void)e;
    assert_int_equal(seen[r->prompt], 0); /* no row twice */
    seen[r->prompt] = 1;
    return true;
}

/* A child writes with eight threads and says which rows were acknowledged; it is killed, twenty times. All that it said is there, and the
 * sums are those of the rows. */
struct killed {
    struct store *s;
    int from, fd;
};

static void *say_rows(void *arg)
{
    const struct killed *k = arg;
    for (int i = k->from;; i += 8) {
        struct ledger_row r = make(i);
        struct err e;
        if (!store_write(k->s, append, &r, &e) || write(k->fd, &i, sizeof i) != sizeof i) _exit(4);
    }
}

static void each_killed(struct places *p, enum place kind)
{
    enum { ROUNDS = 20, SPAN = 20000 };
    char where[200];
    static char said[ROUNDS * SPAN], seen[ROUNDS * SPAN];
    struct err e = { ERR_NONE, "" };
    memset(said, 0, sizeof said);
    memset(seen, 0, sizeof seen);
    places_new(p, kind, where, sizeof where);
    store_close(places_store(where));
    int n_said = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int pipes[2], i;
        assert_int_equal(pipe(pipes), 0);
        const pid_t pid = fork();
        if (!pid) {
            struct store *s = NULL;
            struct killed k[8];
            pthread_t t;
            if (!store_open(&s, where, &(struct store_options){ 0 }, &e)) _exit(3);
            for (i = 0; i < 8; i++) {
                k[i] = (struct killed){ s, round * SPAN + i, pipes[1] };
                if (pthread_create(&t, NULL, say_rows, &k[i])) _exit(5);
            }
            for (;;) pause();
        }
        close(pipes[1]);
        const int at_least = 1 + rand() % 60;
        for (int got = 0; read(pipes[0], &i, sizeof i) == sizeof i;) {
            assert_in_range(i, 0, sizeof said - 1);
            said[i] = 1;
            n_said++;
            if (++got == at_least) kill(pid, SIGKILL);
        }
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        close(pipes[0]);
    }
    struct store *s = places_store(where);
    struct ledger_sum sum;
    if (!ledger_verify(s, "", &sum, &e)) fail_msg("%s", e.msg);
    assert_true(ledger_each(s, 0, INT64_MAX, add_up, seen, &e));
    int64_t prompt = 0, cost = 0;
    int rows = 0;
    for (size_t i = 0; i < sizeof said; i++) {
        assert_true(!said[i] || seen[i]);
        if (!seen[i]) continue;
        const struct ledger_row r = make((int)i);
        rows++;
        prompt += r.prompt;
        cost += r.cost;
    }
    assert_int_equal(sum.rows, rows);
    assert_int_equal(sum.prompt, prompt);
    assert_true(sum.cost == cost);
    assert_in_range(rows, n_said, n_said + 8 * ROUNDS);
    store_close(s);
}

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

struct sums {
    char by[10][64];
    int64_t requests[10], cost;
    int n;
};

static bool take_sum(void *arg, const struct usage_line *l, struct err *e)
{
    struct sums *s = arg;
    (void)e;
    assert_true(s->n < 10);
    snprintf(s->by[s->n], sizeof s->by[0], "%s", l->by);
    s->requests[s->n++] = l->requests;
    s->cost += l->cost;
    return true;
}

static void each_usage(struct places *p, enum place kind)
{
    char where[200];
    struct err e = { ERR_NONE, "" };
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    add(s, 0, 60); /* an hour apart, from 2025-06-15T15:06:40Z on */
    struct sums by = { .n = 0 };
    assert_true(ledger_usage(s, USAGE_BY_DAY, 0, INT64_MAX, take_sum, &by, &e));
    assert_int_equal(by.n, 4);
    assert_string_equal(by.by[0], "2025-06-15");
    assert_int_equal(by.requests[0], 9);
    assert_int_equal(by.requests[1], 24);
    assert_int_equal(by.requests[2], 24);
    assert_int_equal(by.requests[3], 3);
    assert_true(by.cost == INT64_C(1000000007) * 1770);
    by = (struct sums){ .n = 0 };
    assert_true(ledger_usage(s, USAGE_BY_KEY, 0, INT64_MAX, take_sum, &by, &e));
    assert_int_equal(by.n, 3);
    assert_string_equal(by.by[2], "key_2");
    by = (struct sums){ .n = 0 };
    assert_true(ledger_usage(s, USAGE_BY_MODEL, INT64_C(1750000000000), INT64_C(1750000000000) + 10 * 3600000,
                             take_sum, &by, &e));
    assert_int_equal(by.n, 2);
    assert_int_equal(by.requests[0] + by.requests[1], 10);
    for (int k = USAGE_BY_PROJECT; k < N_USAGE_BY; k++) {
        by = (struct sums){ .n = 0 };
        assert_true(ledger_usage(s, (enum usage_by)k, 0, INT64_MAX, take_sum, &by, &e));
        assert_int_equal(by.n, 1);
        assert_string_equal(by.by[0], "");
        assert_int_equal(by.requests[0], 60);
    }
    store_close(s);
}

static void test_each(void **state)
{
    static void (*const each[])(struct places *, enum place) = { each_whole, each_hashed, each_touched,
                                                                 each_many,  each_killed, each_usage };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int k = 0; k < N_PLACES; k++) each[i](*state, (enum place)k);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_each) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
