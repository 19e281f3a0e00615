/* budgets_test.c - what is spent and reserved never passes a hard budget: sixty-four threads, three servers over one store, killed at
 * random; and what was spent is, to the nano-dollar, what the requests that ended cost. */
#include "store/test_places.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "service/account/budgets.h"
#include "service/account/ledger.h"
#include "service/account/money.h"

#define NOW INT64_C(1750000000000)

static struct budget_rules rules(const char *text)
{
    struct budget_rules r;
    struct err e = { ERR_NONE, "" };
    if (!budget_rules_parse(&r, text, &e)) fail_msg("%s", e.msg);
    return r;
}

struct job {
    char id[33];
    const struct budget_one *who;
    int n;
    int64_t nano, now_ms;
    enum budget_answer answer;
    struct budget_hit hit;
};

static bool reserve_fn(void *arg, struct session *c, struct err *e)
{
    struct job *j = arg;
    return budget_reserve(c, j->id, j->who, j->n, j->nano, j->now_ms, &j->answer, &j->hit, e);
}

static bool settle_fn(void *arg, struct session *c, struct err *e)
{
    const struct job *j = arg;
    return budget_settle(c, j->id, j->who, j->n, j->nano, j->now_ms, e);
}

static bool release_fn(void *arg, struct session *c, struct err *e)
{
    struct job *j = arg;
    return budget_release(c, &(struct age_bounds){ j->now_ms, INT64_MAX }, &j->nano, e);
}

static enum budget_answer reserve(struct store *s, struct job *j, const struct budget_one *who, int n,
                                  int64_t nano, int64_t now_ms)
{
    struct err e = { ERR_NONE, "" };
    *j = (struct job){ .who = who, .n = n, .nano = nano, .now_ms = now_ms };
    ledger_uid(j->id);
    if (!store_write(s, reserve_fn, j, &e)) fail_msg("%s", e.msg);
    return j->answer;
}

static void settle(struct store *s, const struct job *j, int64_t cost, int64_t now_ms)
{
    struct job k = *j;
    struct err e = { ERR_NONE, "" };
    k.nano = cost;
    k.now_ms = now_ms;
    if (!store_write(s, settle_fn, &k, &e)) fail_msg("%s", e.msg);
}

static int64_t release(struct store *s, int64_t before_ms)
{
    struct job k = { .now_ms = before_ms };
    struct err e = { ERR_NONE, "" };
    if (!store_write(s, release_fn, &k, &e)) fail_msg("%s", e.msg);
    return k.nano;
}

struct read {
    const char *owner;
    enum period p;
    int64_t now_ms;
    struct budget_state state;
};

static bool read_fn(void *arg, struct session *c, struct err *e)
{
    struct read *r = arg;
    return budget_read(c, r->owner, r->p, r->now_ms, &r->state, e);
}

static void state_is(struct store *s, const char *owner, enum period p, int64_t now_ms, int64_t spent,
                     int64_t reserved)
{
    struct read r = { owner, p, now_ms, { -1, -1 } };
    struct err e = { ERR_NONE, "" };
    assert_true(store_read(s, read_fn, &r, &e));
    assert_int_equal(r.state.spent, spent);
    assert_int_equal(r.state.reserved, reserved);
}

static void each_life(struct places *p, enum place kind)
{
    const struct budget_rules r = rules("day=100,total=150"), soft = rules("month=50:soft"), none = rules("");
    const int64_t dollar = MONEY_DOLLAR, tomorrow = NOW + 86400000;
    const struct budget_one who[] = { { "key:a", &r }, { "project:p", &soft } }, free_of = { "key:b", &none };
    char where[200];
    struct job a, b, c;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_int_equal(reserve(s, &a, who, 1, 60 * dollar, NOW), BUDGET_OPEN);
    assert_int_equal(reserve(s, &b, who, 1, 60 * dollar, NOW), BUDGET_SPENT); /* 60 are promised */
    assert_true(b.hit.period == PERIOD_DAY && b.hit.limit == 100 * dollar && b.hit.spent == 0 &&
                b.hit.reserved == 60 * dollar);
    assert_true(b.hit.owner == who[0].owner && b.hit.again_ms == period_end(PERIOD_DAY, NOW));
    state_is(s, "key:a", PERIOD_TOTAL, NOW, 0, 60 * dollar);
    settle(s, &a, 7, NOW + 1);
    state_is(s, "key:a", PERIOD_DAY, NOW, 7, 0);
    state_is(s, "key:a", PERIOD_TOTAL, NOW, 7, 0);
    /* To the nano-dollar, and not one more. */
    assert_int_equal(reserve(s, &b, who, 1, 100 * dollar - 6, NOW), BUDGET_SPENT);
    assert_int_equal(reserve(s, &b, who, 1, 100 * dollar - 7, NOW), BUDGET_OPEN);
    assert_int_equal(reserve(s, &c, who, 1, 1, NOW), BUDGET_SPENT);
    assert_int_equal(reserve(s, &c, who, 1, 0, NOW), BUDGET_OPEN); /* what is free may go on */
    settle(s, &c, 0, NOW);
    /* It ends after midnight: paid out of the day that it was reserved in. */
    settle(s, &b, 20 * dollar, tomorrow);
    state_is(s, "key:a", PERIOD_DAY, NOW, 20 * dollar + 7, 0);
    state_is(s, "key:a", PERIOD_DAY, tomorrow, 0, 0);
    /* A new day has a budget of its own, the total does not. */
    assert_int_equal(reserve(s, &a, who, 1, 100 * dollar, tomorrow), BUDGET_OPEN);
    settle(s, &a, 100 * dollar, tomorrow);
    assert_int_equal(reserve(s, &a, who, 1, 40 * dollar, tomorrow + 86400000), BUDGET_SPENT);
    assert_true(a.hit.period == PERIOD_TOTAL && a.hit.again_ms == INT64_MAX);
    /* A soft one warns, and a hard one beside it still holds. */
    assert_int_equal(reserve(s, &a, who, 2, 5 * dollar, NOW), BUDGET_OPEN);
    settle(s, &a, 5 * dollar, NOW);
    assert_int_equal(reserve(s, &a, &who[1], 1, 60 * dollar, NOW), BUDGET_WARNS);
    assert_true(a.hit.period == PERIOD_MONTH && a.hit.owner == who[1].owner && a.hit.spent == 5 * dollar);
    settle(s, &a, 60 * dollar, NOW);
    assert_int_equal(reserve(s, &b, who, 2, 90 * dollar, NOW), BUDGET_SPENT);
    assert_ptr_equal(b.hit.owner, who[0].owner);
    state_is(s, "project:p", PERIOD_MONTH, NOW, 65 * dollar, 0); /* nothing stays of one that was refused */
    assert_int_equal(reserve(s, &a, &free_of, 1, MONEY_MAX, NOW), BUDGET_OPEN);
    /* Of two soft ones that are passed the first is told of. */
    const struct budget_rules softer = rules("day=1:soft,month=1:soft");
    const struct budget_one both = { "key:c", &softer };
    assert_int_equal(reserve(s, &a, &both, 1, 2 * dollar, NOW), BUDGET_WARNS);
    assert_true(a.hit.period == PERIOD_DAY && a.hit.owner == both.owner);
    struct budget_states all = { .owner = "key:c", .now_ms = NOW };
    struct err e = { ERR_NONE, "" };
    assert_true(store_read(s, budget_read_all, &all, &e));
    for (int i = 0; i < N_PERIODS; i++)
        assert_int_equal(all.state[i].reserved, i == PERIOD_DAY || i == PERIOD_MONTH ? 2 * dollar : 0);
    store_close(s);
}

/* Reservations of a server that is no more; and one that comes back late. */
static void each_released(struct places *p, enum place kind)
{
    const struct budget_rules r = rules("day=10,total=10");
    const struct budget_one who = { "key:a", &r };
    char where[200];
    struct job a, b, c;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_int_equal(reserve(s, &a, &who, 1, 6, NOW), BUDGET_OPEN);
    assert_int_equal(reserve(s, &b, &who, 1, 3, NOW + 10), BUDGET_OPEN);
    assert_int_equal(release(s, NOW), 0);
    assert_int_equal(release(s, NOW + 1), 2); /* a day's and the total's */
    state_is(s, "key:a", PERIOD_DAY, NOW, 0, 3);
    state_is(s, "key:a", PERIOD_TOTAL, NOW, 0, 3);
    settle(s, &a, 5, NOW + 20); /* it lived after all */
    state_is(s, "key:a", PERIOD_DAY, NOW, 5, 3);
    settle(s, &b, 1, NOW + 20);
    state_is(s, "key:a", PERIOD_TOTAL, NOW, 6, 0);
    c = (struct job){ .who = &who, .n = 1 };
    ledger_uid(c.id);
    settle(s, &c, 2, NOW + 30); /* never reserved */
    state_is(s, "key:a", PERIOD_DAY, NOW, 8, 0);
    assert_int_equal(release(s, INT64_MAX), 0);
    store_close(s);
}

/* A clock that is set back over midnight and a month's end, with the key and its project: each window keeps what it had, and a request is
 * settled in the window that it was reserved in, wherever the clock is by then. */
static void each_set_back(struct places *p, enum place kind)
{
    const struct budget_rules key = rules("day=10,month=15"), project = rules("month=12,total=100");
    const struct budget_one who[] = { { "key:a", &key }, { "project:p", &project } };
    const int64_t dollar = MONEY_DOLLAR, midnight = period_end(PERIOD_MONTH, NOW), after = midnight + 5,
                  before = midnight - 5;
    char where[200];
    struct job a, b, c;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_int_equal(reserve(s, &a, who, 2, 8 * dollar, before), BUDGET_OPEN);
    assert_int_equal(reserve(s, &b, who, 2, 9 * dollar, after), BUDGET_OPEN); /* another day and month */
    settle(s, &a, 7 * dollar, after);
    /* Set back: the old windows, with what they had. */
    assert_int_equal(reserve(s, &c, who, 2, 4 * dollar, before), BUDGET_SPENT);
    assert_true(c.hit.owner == who[0].owner && c.hit.period == PERIOD_DAY && c.hit.spent == 7 * dollar &&
                c.hit.again_ms == midnight);
    assert_int_equal(reserve(s, &c, who, 2, 6 * dollar, before - 86400000),
                     BUDGET_SPENT); /* the day before has room, the project's month not */
    assert_true(c.hit.owner == who[1].owner && c.hit.period == PERIOD_MONTH && c.hit.spent == 7 * dollar);
    settle(s, &b, 9 * dollar, before);
    state_is(s, "key:a", PERIOD_DAY, before, 7 * dollar, 0);
    state_is(s, "key:a", PERIOD_DAY, after, 9 * dollar, 0);
    /* Put right: nothing was won by it. */
    assert_int_equal(reserve(s, &c, who, 2, 2 * dollar, after), BUDGET_SPENT);
    assert_true(c.hit.period == PERIOD_DAY && c.hit.spent == 9 * dollar);
    assert_int_equal(reserve(s, &c, who, 2, dollar, after), BUDGET_OPEN);
    settle(s, &c, dollar, after);
    state_is(s, "project:p", PERIOD_MONTH, after, 10 * dollar, 0);
    state_is(s, "project:p", PERIOD_TOTAL, after, 17 * dollar, 0);
    store_close(s);
}

/* ---- never overspent ----------------------------------------------------------------------------------------------- */

#define LIMIT INT64_C(1000000)

struct spender {
    struct store *s;
    unsigned seed;
    int64_t spent;
    int refused;
    pthread_t thread;
};

static struct budget_rules spender_rules;
static const struct budget_one spender_who = { "key:spender", &spender_rules };

static void *spend(void *arg)
{
    struct spender *w = arg;
    for (int i = 0; i < 60; i++) {
        struct job j = { .who = &spender_who, .n = 1, .nano = 1 + rand_r(&w->seed) % 4000, .now_ms = NOW };
        struct err e = { ERR_NONE, "" };
        ledger_uid(j.id);
        while (!store_write(w->s, reserve_fn, &j, &e))
            if (e.code != ERR_BUSY) return log_error("%s", e.msg), NULL;
        if (j.answer == BUDGET_SPENT) {
            w->refused++;
            continue;
        }
        j.nano = rand_r(&w->seed) % (j.nano + 1); /* the true cost */
        while (!store_write(w->s, settle_fn, &j, &e))
            if (e.code != ERR_BUSY) return log_error("%s", e.msg), NULL;
        w->spent += j.nano;
    }
    return w;
}

static void *watch(void *arg)
{
    struct store *s = arg;
    for (int i = 0; i < 100; i++) {
        struct read r = { "key:spender", PERIOD_DAY, NOW, { 0, 0 } };
        struct err e;
        if (store_read(s, read_fn, &r, &e) && r.state.spent + r.state.reserved > LIMIT) return NULL;
        places_sleep_ms(2);
    }
    return arg;
}

static void each_threads(struct places *p, enum place kind)
{
    char where[200];
    struct store *s[3];
    struct spender w[64];
    pthread_t watcher;
    spender_rules = rules("day=0.001");
    assert_int_equal(spender_rules.most[PERIOD_DAY], LIMIT);
    places_new(p, kind, where, sizeof where);
    for (int i = 0; i < 3; i++) { /* as three servers have it */
        struct err e = { ERR_NONE, "" };
        if (!store_open(&s[i], where, &(struct store_options){ .busy_s = 30 }, &e)) fail_msg("%s", e.msg);
    }
    assert_int_equal(pthread_create(&watcher, NULL, watch, s[0]), 0);
    for (int i = 0; i < 64; i++) {
        w[i] = (struct spender){ .s = s[i % 3], .seed = (unsigned)i + 1 };
        assert_int_equal(pthread_create(&w[i].thread, NULL, spend, &w[i]), 0);
    }
    int64_t spent = 0;
    int refused = 0;
    void *ok;
    for (int i = 0; i < 64; i++) {
        pthread_join(w[i].thread, &ok);
        assert_non_null(ok);
        spent += w[i].spent;
        refused += w[i].refused;
    }
    pthread_join(watcher, &ok);
    assert_non_null(ok);
    assert_true(refused > 0); /* the limit was reached */
    assert_in_range(spent, LIMIT * 9 / 10, LIMIT);
    state_is(s[0], "key:spender", PERIOD_DAY, NOW, spent, 0);
    for (int i = 0; i < 3; i++) store_close(s[i]);
}

/* A request as a server has it: reserved, then its row and its cost in one transaction. */
struct request {
    struct job job;
    struct ledger_row row;
};

static bool end_fn(void *arg, struct session *c, struct err *e)
{
    struct request *q = arg;
    bool added;
    return ledger_append(c, &q->row, &added, e) &&
           (!added || budget_settle(c, q->row.uid, &spender_who, 1, q->row.cost, q->row.ended_ms, e));
}

static void *serve(void *arg)
{
    struct spender *w = arg;
    for (bool on = true; on;) {
        struct request q = {
            .job = { .who = &spender_who, .n = 1, .nano = 1 + rand_r(&w->seed) % 3000, .now_ms = NOW }
        };
        struct err e;
        ledger_uid(q.job.id);
        if (!store_write(w->s, reserve_fn, &q.job, &e) || q.job.answer == BUDGET_SPENT) {
            places_sleep_ms(1);
            continue;
        }
        memcpy(q.row.uid, q.job.id, sizeof q.row.uid);
        q.row.ended_ms = NOW + 1;
        q.row.cost = rand_r(&w->seed) % (q.job.nano + 1);
        while (!store_write(w->s, end_fn, &q, &e)) places_sleep_ms(1);
    }
    return NULL;
}

static pid_t start_server(const char *where, unsigned seed)
{
    const pid_t pid = fork();
    if (pid) return pid;
    struct store *s;
    struct err e;
    pthread_t t;
    static struct spender w[22]; /* three servers: sixty-six clients */
    if (!store_open(&s, where, &(struct store_options){ .busy_s = 30 }, &e)) _exit(3);
    for (unsigned i = 0; i < 22; i++) {
        w[i] = (struct spender){ .s = s, .seed = seed * 100 + i };
        if (pthread_create(&t, NULL, serve, &w[i])) _exit(5);
    }
    for (;;) pause();
}

static bool count_row(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool count_fn(void *arg, struct session *c, struct err *e)
{
    return session_run(c, "SELECT seq FROM ledger_head", STORE_NO_ARGS, count_row, arg, e);
}

static int64_t n_rows(struct store *s)
{
    int64_t n = -1;
    struct err e = { ERR_NONE, "" };
    if (!store_read(s, count_fn, &n, &e)) fail_msg("%s", e.msg);
    return n;
}

/* Until the servers have ended so many requests, or nothing is left to spend. */
static void wait_for_rows(struct store *s, int64_t rows)
{
    for (int i = 0; n_rows(s) < rows; i++) {
        struct read r = { "key:spender", PERIOD_DAY, NOW, { 0, 0 } };
        struct err e = { ERR_NONE, "" };
        if (!store_read(s, read_fn, &r, &e)) fail_msg("%s", e.msg);
        if (r.state.spent + r.state.reserved > LIMIT - 3000) return;
        assert_true(i < 60000);
        places_sleep_ms(1);
    }
}

static void each_killed(struct places *p, enum place kind)
{
    char where[200];
    pid_t server[3];
    unsigned seed = 1;
    int64_t rows = 0;
    spender_rules = rules("day=0.001,total=0.002");
    places_new(p, kind, where, sizeof where);
    store_close(places_store(where));
    /* Nothing of a store is open while a server is started: its child must not inherit threads. */
    for (int i = 0; i < 3; i++) server[i] = start_server(where, seed++);
    for (int round = 0; round < 20; round++) {
        struct store *s = places_store(where);
        wait_for_rows(s, rows + 1 + rand() % 30);
        const int i = rand() % 3;
        kill(server[i], SIGKILL);
        waitpid(server[i], NULL, 0);
        struct read r = { "key:spender", PERIOD_DAY, NOW, { 0, 0 } };
        struct err e = { ERR_NONE, "" };
        if (!store_read(s, read_fn, &r, &e)) fail_msg("%s", e.msg);
        assert_true(r.state.spent + r.state.reserved <= LIMIT);
        rows = n_rows(s);
        store_close(s);
        server[i] = start_server(where, seed++);
    }
    for (int i = 0; i < 3; i++) {
        kill(server[i], SIGKILL);
        waitpid(server[i], NULL, 0);
    }
    for (int i = 0; kind == PLACE_POSTGRES && i < 20; i++)
        places_sleep_ms(10); /* what the killed had sent is done or undone */
    struct store *s = places_store(where);
    struct ledger_sum sum;
    struct err e = { ERR_NONE, "" };
    if (!ledger_verify(s, "", &sum, &e)) fail_msg("%s", e.msg);
    assert_true(sum.rows >= rows && rows > 0 && sum.cost > 0 && sum.cost <= LIMIT);
    release(s, NOW + 1);
    state_is(s, "key:spender", PERIOD_DAY, NOW, sum.cost, 0);
    state_is(s, "key:spender", PERIOD_TOTAL, NOW, sum.cost, 0);
    store_close(s);
}

static void test_each(void **state)
{
    static void (*const each[])(struct places *, enum place) = { each_life, each_released, each_set_back,
                                                                 each_threads, each_killed };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int k = 0; k < N_PLACES; k++) each[i](*state, (enum place)k);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_each) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
