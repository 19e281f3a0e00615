/* account_test.c - a request's whole life with the account, on every kind of store: what is reserved, written, settled and recorded, with the
 * store away at the end, and with the process killed in the middle. */
#include "store/test_places.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "service/account/account.h"
#include "service/account/budgets.h"
#include "service/account/gate.h"
#include "service/account/ledger.h"
#include "service/account/line_answer.h"
#include "service/account/record.h"
#include "service/models/catalog.h"

static const char prices[] = "prices:\n  - { model: m, input: 2, cached_input: 1, output: 3 }\n";
static const struct usage used = { .prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 5 };
enum { COST = 6 * 2000 + 4 * 1000 + 5 * 3000 };

/* The clocks that the account is given: Unix milliseconds, and seconds that only go on. */
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

struct fixture {
    struct clocks *clocks; /* NULL: the system's */
    char where[200], journal[260], prices[260];
    struct catalog *catalog;
    struct account *a;
    struct ending_sinks sinks;
    const struct key_record *key;
};

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct time_source time_of(const struct fixture *f)
{
    return f->clocks ? (struct time_source){ clocks_unix, clocks_seconds, f->clocks }
                     : (struct time_source){ 0 };
}

static int64_t now_of(const struct fixture *f)
{
    const struct time_source t = time_of(f);
    return time_unix_ms(&t);
}

static bool try_open(struct fixture *f, struct err *e)
{
    return account_open(&f->a,
                        &(struct account_options){ .store = f->where,
                                                   .journal = f->journal,
                                                   .prices = f->prices,
                                                   .reserved_s = 7200,
                                                   .catalog = f->catalog,
                                                   .time = time_of(f) },
                        e);
}

static void reopen(struct fixture *f, const char *key)
{
    struct err e;
    unsigned char hash[PRINCIPAL_HASH];
    if (!try_open(f, &e)) fail_msg("%s", e.msg);
    f->sinks = (struct ending_sinks){ .books = { account_book, f->a } };
    crypto_generichash(hash, sizeof hash, (const unsigned char *)key, strlen(key), NULL, 0);
    f->key = keyring_find(account_keyring(f->a), hash);
    assert_non_null(f->key);
}

static void fixture_open(struct fixture *f, struct places *p, enum place kind, const char *budgets,
                         char key[KEY_TEXT])
{
    struct err e = { ERR_NONE, "" };
    char id[PRINCIPAL_ID];
    *f = (struct fixture){ .clocks = f->clocks };
    places_new(p, kind, f->where, sizeof f->where);
    snprintf(f->journal, sizeof f->journal, "%s/journal%d", p->dir, p->n);
    snprintf(f->prices, sizeof f->prices, "%s/prices%d.yaml", p->dir, p->n);
    write_text(f->prices, prices);
    assert_true(catalog_load(&f->catalog, "", &e));
    struct store *s = places_store(f->where);
    const struct key_wish wish = { .name = "n",
                                   .project = "web",
                                   .scopes = "",
                                   .addresses = "",
                                   .limits = "",
                                   .budgets = budgets,
                                   .tags = "",
                                   .weight = 1 };
    if (!key_new(s, &wish, now_of(f), key, id, &e)) fail_msg("%s", e.msg);
    store_close(s);
    reopen(f, key);
}

static void fixture_close(struct fixture *f)
{
    account_close(f->a);
    catalog_free(f->catalog);
}

/* An admitted request of the key's; of a batch, its line. */
static struct ending *begin_line(struct fixture *f, const char *name, const char *path, const char *batch,
                                 int64_t line)
{
    const struct time_source now = time_of(f);
    struct identity is = {
        .dialect = "openai", .endpoint = "chat", .started = time_seconds(&now), .line = line
    };
    struct account_refusal r;
    snprintf(is.batch, sizeof is.batch, "%s", batch);
    snprintf(is.id, sizeof is.id, "%s", name);
    snprintf(is.address, sizeof is.address, "127.0.0.1");
    is.who.key = f->key;
    memcpy(is.who.id, f->key->id, sizeof is.who.id);
    account_name(f->a, &is);
    assert_true(account_enter(f->a, &r));
    struct ending *e = ending_open(&f->sinks, &is, path);
    assert_non_null(e);
    ending_model(e, "m");
    account_begun(f->a, e);
    return e;
}

static struct ending *begin(struct fixture *f, const char *name, const char *path)
{
    return begin_line(f, name, path, "", 0);
}

static void on_told(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

static void wait_for(atomic_int *n, int want)
{
    for (int i = 0; atomic_load(n) < want; i++) {
        if (i > 60000) fail_msg("nobody was told within a minute");
        places_sleep_ms(1);
    }
}

static void wait_row(struct fixture *f, const char *name, struct ledger_row *row)
{
    struct err e;
    for (int i = 0; !ledger_find(account_store(f->a), name, row, &e); i++) {
        if (e.code != ERR_NOT_FOUND || i > 6000) fail_msg("%s", e.msg);
        places_sleep_ms(10);
    }
}

static bool read_total(void *arg, struct session *c, struct err *e)
{
    struct fixture *f = ((void **)arg)[0];
    char owner[64];
    snprintf(owner, sizeof owner, "key:%s", f->key->id);
    return budget_read(c, owner, PERIOD_TOTAL, now_of(f), ((void **)arg)[1], e);
}

static void has_budget(struct fixture *f, int64_t spent, int64_t reserved)
{
    struct budget_state s;
    struct err e;
    void *arg[] = { f, &s };
    assert_true(store_read(account_store(f->a), read_total, arg, &e));
    assert_int_equal(s.spent, spent);
    assert_int_equal(s.reserved, reserved);
}

static void each_life(struct places *p, enum place kind)
{
    struct fixture f = { .clocks = NULL };
    char key[KEY_TEXT];
    atomic_int told = 0;
    struct ledger_row row;
    struct account_refusal r;
    const struct usage worst = { .prompt_tokens = 100, .completion_tokens = 100 };
    fixture_open(&f, p, kind, "total=0.001", key);       /* a million nano-dollars: two of these at once */
    struct ending *e = begin(&f, "one", "/v1/\xff\xc3"); /* what a client may send, and no database takes */
    assert_true(account_reserve(f.a, &e->of, "m", &worst, &r));
    assert_string_equal(r.msg, "");
    has_budget(&f, 0, 500000);
    ending_use(e, &used);
    ending_seed(e, 42);
    ending_hashes(e, "r", "m");
    e->recording = recording_new();
    assert_non_null(e->recording);
    e->recording->headers = strdup("{}");
    buf_puts(&e->recording->body, "{\"a\":1}");
    strcpy(e->recording->type, "application/json");
    buf_puts(&e->recording->answer, "{\"id\":7,\"text\":\"x\"}");
    assert_true(ending_book(e, END_DONE, 200, "", on_told, &told));
    wait_for(&told, 1);
    struct err err;
    if (!ledger_find(account_store(f.a), "one", &row, &err))
        fail_msg("%s", err.msg); /* it is there: no waiting */
    assert_int_equal(row.cost, COST);
    assert_string_equal(row.path, "/v1/??");
    assert_string_equal(row.how, "done");
    assert_string_equal(row.project, "web");
    assert_string_equal(row.seed, "42");
    assert_string_equal(row.request_hash, "r");
    assert_string_equal(row.model_hash, "m");
    assert_int_equal(strlen(row.answer_hash), 64);
    struct record record;
    if (!record_get(account_store(f.a), row.uid, &record, &err)) fail_msg("%s", err.msg);
    assert_string_equal(record.answer, "{\"text\":\"x\"}");
    struct buf body = BUF_INIT(0);
    assert_true(record_with_seed(&record, row.seed, &body, &err));
    assert_string_equal(body.data, "{\"a\":1,\"seed\":42}");
    buf_free(&body);
    record_free(&record);
    ending_let_go(e);
    has_budget(&f, COST, 0);
    /* The second of two that do not fit together is refused, and what was refused has a row that costs nothing. */
    e = begin(&f, "two", "/v1/x");
    struct ending *third = begin(&f, "three", "/v1/x");
    assert_true(account_reserve(f.a, &e->of, "m", &worst, &r));
    assert_false(account_reserve(f.a, &third->of, "m", &worst, &r));
    assert_int_equal(r.why, ACCOUNT_SPENT);
    assert_non_null(strstr(r.msg, "budget"));
    ending_error(third, "insufficient_quota");
    ending_went(third, END_REFUSED, 402, "");
    ending_let_go(third);
    wait_row(&f, "three", &row);
    assert_string_equal(row.error, "insufficient_quota");
    assert_int_equal(row.cost, 0);
    ending_use(e, &used);
    ending_went(e, END_LEFT, 499, "");
    ending_let_go(e);
    wait_row(&f, "two", &row);
    assert_string_equal(row.how, "left");
    has_budget(&f, 2 * COST, 0);
    const struct price price = account_price(f.a, "m", NULL), none = account_price(f.a, "of nobody", NULL);
    assert_int_equal(price_cost(&price, &used), COST);
    assert_int_equal(price_cost(&none, &used), 0);
    assert_false(record_get(account_store(f.a), row.uid, &record, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    fixture_close(&f);
}

/* A soft budget warns; a key without one reserves nothing. */
static void each_soft(struct places *p, enum place kind)
{
    struct fixture f = { .clocks = NULL };
    char key[KEY_TEXT];
    struct account_refusal r;
    const struct usage worst = { .prompt_tokens = 100 };
    fixture_open(&f, p, kind, "day=0:soft", key);
    struct ending *e = begin(&f, "one", "/");
    assert_true(account_reserve(f.a, &e->of, "m", &worst, &r));
    assert_non_null(strstr(r.msg, "budget"));
    ending_let_go(e);
    fixture_close(&f);
    fixture_open(&f, p, kind, "", key);
    e = begin(&f, "one", "/");
    assert_true(account_reserve(f.a, &e->of, "m", &worst, &r));
    assert_string_equal(r.msg, "");
    ending_let_go(e);
    fixture_close(&f);
}

/* Killed with one request under way and one whose row did not get to the store. */
static void each_killed(struct places *p, enum place kind)
{
    struct fixture f = { .clocks = NULL };
    char key[KEY_TEXT];
    struct ledger_row row;
    struct account_refusal r;
    struct err err;
    const struct usage worst = { .prompt_tokens = 100, .completion_tokens = 100 };
    fixture_open(&f, p, kind, "total=1", key);
    account_close(f.a);
    const pid_t pid = fork();
    if (!pid) {
        reopen(&f, key);
        struct ending *e = begin(&f, "under way", "/");
        if (!account_reserve(f.a, &e->of, "m", &worst, &r)) _exit(3);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    reopen(&f, key);
    if (!ledger_find(account_store(f.a), "under way", &row, &err)) fail_msg("%s", err.msg);
    assert_string_equal(row.how, "lost");
    assert_int_equal(row.cost, 0);
    assert_string_equal(row.model, "m");
    has_budget(&f, 0, 0);
    struct ledger_sum sum;
    assert_true(ledger_verify(account_store(f.a), "", &sum, &err));
    assert_int_equal(sum.rows, 1);
    fixture_close(&f);
}

static bool take_count(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool count_answers(void *arg, struct session *c, struct err *e)
{
    return session_run(c, "SELECT count(*) FROM batch_lines WHERE batch = 'b' AND body = '{}'", STORE_NO_ARGS,
                       take_count, arg, e);
}

static void has_answers(struct fixture *f, int64_t answers, int64_t rows)
{
    struct ledger_sum sum;
    struct err e;
    int64_t n = -1;
    assert_true(store_read(account_store(f->a), count_answers, &n, &e));
    assert_true(ledger_verify(account_store(f->a), "", &sum, &e));
    assert_int_equal(n, answers);
    assert_int_equal(sum.rows, rows);
}

/* A line of a batch: killed while it is under way it leaves nothing but a reservation, which the next try takes over; answered, it has its row,
 * its cost and its answer together, once, whoever answers it again; and what is no answer for good pays nothing. */
static void each_line(struct places *p, enum place kind)
{
    struct fixture f = { .clocks = NULL };
    char key[KEY_TEXT];
    struct ledger_row row;
    struct account_refusal r;
    struct err err;
    atomic_int told = 0;
    const struct usage worst = { .prompt_tokens = 100, .completion_tokens = 100 };
    fixture_open(&f, p, kind, "total=1", key);
    account_close(f.a);
    const pid_t pid = fork();
    if (!pid) {
        reopen(&f, key);
        struct ending *e = begin_line(&f, "first", "/", "b", 7);
        if (!account_reserve(f.a, &e->of, "m", &worst, &r)) _exit(3);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    reopen(&f, key);
    has_answers(&f, 0, 0);
    has_budget(&f, 0, 500000);
    for (int i = 0; i < 2; i++) {
        struct ending *e = begin_line(&f, "again", "/", "b", 7);
        assert_true(account_reserve(f.a, &e->of, "m", &worst, &r));
        ending_use(e, &used);
        buf_puts(&e->answer, "{}");
        assert_true(ending_book(e, END_DONE, 200, "", on_told, &told));
        wait_for(&told, i + 1);
        ending_let_go(e);
        has_answers(&f, 1, 1);
    }
    if (!ledger_find(account_store(f.a), "again", &row, &err)) fail_msg("%s", err.msg);
    assert_int_equal(row.cost, COST);
    char uid[33];
    line_uid("b", 7, uid);
    assert_string_equal(row.uid, uid);

    struct ending *e = begin_line(&f, "no room", "/", "b", 8);
    assert_true(account_reserve(f.a, &e->of, "m", &worst, &r));
    ending_use(e, &used);
    ending_went(e, END_REFUSED, 429, "");
    ending_let_go(e);
    e = begin(&f, "other", "/"); /* behind it in the writer's queue */
    ending_let_go(e);
    wait_row(&f, "other", &row);
    has_answers(&f, 1, 2);
    has_budget(&f, COST, 500000); /* that of the line that was answered twice, until it is too old */
    fixture_close(&f);
}

static bool run_sql(void *arg, struct session *c, struct err *e)
{
    return session_run(c, arg, STORE_NO_ARGS, NULL, NULL, e);
}

/* A row that the store will not take stays in the journal; the next start that can take it has it, and one that cannot says why. */
static void each_refused(struct places *p, enum place kind)
{
    struct fixture f = { .clocks = NULL };
    char key[KEY_TEXT];
    struct ledger_row row;
    struct err err = { ERR_NONE, "" };
    atomic_int told = 0;
    fixture_open(&f, p, kind, "total=1", key);
    struct ending *e = begin(&f, "one", "/");
    ending_use(e, &used);
    assert_true(store_write(account_store(f.a), run_sql, "UPDATE ledger_head SET one = 2", &err));
    assert_true(ending_book(e, END_DONE, 200, "", on_told, &told));
    wait_for(&told, 1);
    ending_let_go(e);
    account_close(f.a);
    assert_false(try_open(&f, &err));
    assert_non_null(strstr(err.msg, "head is missing"));
    struct store *s = places_store(f.where);
    assert_true(store_write(s, run_sql, "UPDATE ledger_head SET one = 1", &err));
    store_close(s);
    reopen(&f, key);
    if (!ledger_find(account_store(f.a), "one", &row, &err)) fail_msg("%s", err.msg);
    assert_string_equal(row.how, "done");
    assert_int_equal(row.cost, COST);
    fixture_close(&f);
}

/* ---- clocks that are set --------------------------------------------------------------------------------------------- */

#define MIDNIGHT INT64_C(1751328000000) /* 1 July 2025: a day and a month begin */
#define DAY INT64_C(86400000)

static struct ending *paid(struct fixture *f, const char *name, const struct usage *worst,
                           const char *refusal)
{
    struct account_refusal r;
    struct ending *e = begin(f, name, "/");
    if (account_reserve(f->a, &e->of, "m", worst, &r) != !refusal) fail_msg("%s: %s", name, r.msg);
    if (refusal && !strstr(r.msg, refusal)) fail_msg("%s: %s", name, r.msg);
    return e;
}

static void finish(struct fixture *f, struct ending *e, const struct usage *u, enum end_how how)
{
    struct ledger_row row;
    char name[80];
    snprintf(name, sizeof name, "%s", e->of.id);
    if (u) ending_use(e, u);
    ending_went(e, how, how == END_DONE ? 200 : 402, "");
    ending_let_go(e);
    wait_row(f, name, &row);
    assert_int_equal(row.ended_ms, now_of(f));
}

struct spent {
    struct fixture *f;
    enum period period;
    int64_t at_ms;
    struct budget_state is;
};

static bool read_spent(void *arg, struct session *c, struct err *e)
{
    struct spent *s = arg;
    char owner[64];
    snprintf(owner, sizeof owner, "key:%s", s->f->key->id);
    return budget_read(c, owner, s->period, s->at_ms, &s->is, e);
}

static void has_spent(struct fixture *f, enum period p, int64_t at_ms, int64_t spent, int64_t reserved)
{
    struct spent s = { .f = f, .period = p, .at_ms = at_ms };
    struct err e;
    assert_true(store_read(account_store(f->a), read_spent, &s, &e));
    assert_int_equal(s.is.spent, spent);
    assert_int_equal(s.is.reserved, reserved);
}

static bool add_cost(void *arg, const struct usage_line *l, struct err *e)
{
    (void)e;
    *(int64_t *)arg += l->cost;
    return true;
}

/* The chain is whole, and sums over days are those of the chain. */
static void is_whole(struct fixture *f, int64_t rows, int64_t cost)
{
    struct ledger_sum sum;
    struct err e;
    int64_t by_day = 0;
    if (!ledger_verify(account_store(f->a), "", &sum, &e)) fail_msg("%s", e.msg);
    assert_int_equal(sum.rows, rows);
    assert_int_equal(sum.cost, cost);
    assert_true(ledger_usage(account_store(f->a), USAGE_BY_DAY, INT64_MIN, INT64_MAX, add_cost, &by_day, &e));
    assert_int_equal(by_day, cost);
}

/* Over midnight and the month's end and back, twice: each day and month has its own budget, once. */
static void each_set_back(struct places *p, enum place kind)
{
    struct clocks clocks = { MIDNIGHT - 1000, 1000 };
    struct fixture f = { .clocks = &clocks };
    const struct usage most = { .prompt_tokens = 30 }; /* 60000; a day has room for one and a half */
    char key[KEY_TEXT];
    fixture_open(&f, p, kind, "day=0.000095,month=0.00015,total=0.00022", key);
    struct ending *june = paid(&f, "june", &most, NULL);
    clocks_run(&clocks, 2000);
    struct ending *july = paid(&f, "july", &most, NULL);
    finish(&f, june, &used, END_DONE); /* paid out of the window that it was reserved in */
    has_spent(&f, PERIOD_DAY, MIDNIGHT - 1, COST, 0);
    has_spent(&f, PERIOD_MONTH, MIDNIGHT, 0, 60000);
    atomic_store(&clocks.unix_ms, MIDNIGHT - 500);
    clocks_run(&clocks, 1);
    finish(&f, july, &used, END_DONE); /* its row is of June, what it paid is July's */
    has_spent(&f, PERIOD_DAY, MIDNIGHT, COST, 0);
    struct ending *e = paid(&f, "june again", &most, NULL);
    finish(&f, e, &most, END_DONE); /* 31000 and 60000 of 95000 */
    finish(&f, paid(&f, "june is spent", &most, "(day)"), NULL, END_REFUSED);
    atomic_store(&clocks.unix_ms, MIDNIGHT + 500);
    e = paid(&f, "july again", &(struct usage){ .prompt_tokens = 25 }, NULL);
    finish(&f, e, &(struct usage){ .prompt_tokens = 25 }, END_DONE);
    finish(&f, paid(&f, "july is spent", &most, "(day)"), NULL, END_REFUSED);
    has_spent(&f, PERIOD_DAY, MIDNIGHT, COST + 50000, 0);
    has_spent(&f, PERIOD_MONTH, MIDNIGHT - 1, COST + 60000, 0);
    /* The next day has the month's rest; the total has none whatever the day is. */
    atomic_store(&clocks.unix_ms, MIDNIGHT + DAY);
    finish(&f, paid(&f, "the total", &most, "(total)"), NULL, END_REFUSED);
    has_spent(&f, PERIOD_TOTAL, 0, 2 * COST + 110000, 0);
    is_whole(&f, 7, 2 * COST + 110000);
    fixture_close(&f);
}

/* What is under way does not look as if a killed server had left it, wherever the clock goes; what one did leave is found in the end. */
static void each_jump(struct places *p, enum place kind)
{
    struct clocks clocks = { MIDNIGHT, 1000 };
    struct fixture f = { .clocks = &clocks };
    const struct usage most = { .prompt_tokens = 30 };
    static const char *const waits[] = { "soon", "later", "late" };
    char key[KEY_TEXT];
    fixture_open(&f, p, kind, "total=0.0001", key); /* room for one */
    struct ending *e = paid(&f, "one", &most, NULL);
    atomic_fetch_add(&clocks.unix_ms, 3 * DAY); /* ahead; it runs on */
    finish(&f, paid(&f, "two", &most, "(total)"), NULL, END_REFUSED);
    atomic_fetch_sub(&clocks.unix_ms, 40 * DAY); /* and back */
    finish(&f, paid(&f, "three", &most, "(total)"), NULL, END_REFUSED);
    clocks_run(&clocks, 3600000);
    finish(&f, paid(&f, "four", &most, "(total)"), NULL, END_REFUSED);
    finish(&f, e, &used, END_DONE);
    has_spent(&f, PERIOD_TOTAL, 0, COST, 0);
    /* One that nobody settles, of before the clock was set back: two hours after that it is known to be old. */
    struct ending *lost = paid(&f, "lost", &most, NULL);
    atomic_fetch_sub(&clocks.unix_ms, 40 * DAY);
    finish(&f, paid(&f, "five", &most, "(total)"), NULL, END_REFUSED);
    for (int i = 0; i < 3; i++) {
        has_spent(&f, PERIOD_TOTAL, 0, COST, 60000);
        finish(&f, paid(&f, waits[i], &most, "(total)"), NULL, END_REFUSED);
        clocks_run(&clocks, 7200001);
    }
    e = paid(&f, "six", &most, NULL);
    has_spent(&f, PERIOD_TOTAL, 0, COST, 60000);
    finish(&f, e, &used, END_DONE);
    finish(&f, lost, &used, END_DONE); /* it lived after all, and is counted */
    has_spent(&f, PERIOD_TOTAL, 0, 3 * COST, 0);
    is_whole(&f, 10, 3 * COST);
    fixture_close(&f);
}

/* Prices that were set hold for what comes then, also when the clock is set back behind the moment of it. */
static void each_prices(struct places *p, enum place kind)
{
    struct clocks clocks = { MIDNIGHT + 5, 1000 };
    struct fixture f = { .clocks = &clocks };
    char key[KEY_TEXT], dear[300];
    struct err err;
    fixture_open(&f, p, kind, "", key);
    snprintf(dear, sizeof dear, "%s.dear", f.prices);
    write_text(dear, "prices:\n  - { model: m, input: 20, cached_input: 10, output: 30 }\n");
    struct ending *before = begin(&f, "before", "/");
    clocks_run(&clocks, 10);
    assert_true(account_set_prices(f.a, f.catalog, dear, &err));
    atomic_store(&clocks.unix_ms, MIDNIGHT - 5);
    clocks_run(&clocks, 1);
    struct ending *after = begin(&f, "after", "/");
    finish(&f, before, &used, END_DONE);
    finish(&f, after, &used, END_DONE);
    is_whole(&f, 2, 11 * COST);
    fixture_close(&f);
}

/* Before the model is loaded: room for a token of a prompt. Nothing is reserved, a soft budget says nothing, and what a killed server left in the
 * way is found. */
static void each_room(struct places *p, enum place kind)
{
    struct clocks clocks = { MIDNIGHT, 1000 };
    struct fixture f = { .clocks = &clocks };
    const struct usage most = { .prompt_tokens = 49 };
    struct account_refusal r;
    char key[KEY_TEXT];
    fixture_open(&f, p, kind, "total=0.0001,day=0:soft", key);
    struct ending *lost = paid(&f, "lost", &most, NULL), *e = begin(&f, "one", "/");
    assert_true(account_has_room(f.a, &e->of, "m", &r));
    assert_string_equal(r.msg, "");
    has_spent(&f, PERIOD_TOTAL, 0, 0, 98000);
    struct ending *second = paid(&f, "two", &(struct usage){ .prompt_tokens = 1 }, NULL);
    assert_false(account_has_room(f.a, &e->of, "m", &r));
    assert_int_equal(r.why, ACCOUNT_SPENT);
    assert_non_null(strstr(r.msg, "may cost up to 0.000002"));
    assert_true(account_has_room(f.a, &e->of, "of nobody", &r)); /* it costs nothing */
    clocks_run(&clocks, 7200001);
    assert_true(account_has_room(f.a, &e->of, "m", &r));
    has_spent(&f, PERIOD_TOTAL, 0, 0, 0);
    finish(&f, lost, NULL, END_REFUSED);
    finish(&f, second, NULL, END_REFUSED);
    finish(&f, e, NULL, END_REFUSED);
    fixture_close(&f);
}

/* Limits of a key, an address and an address at an endpoint, and rules that were set at a moment that comes again. */
static void test_gate(void **state)
{
    struct clocks clocks = { MIDNIGHT - 1000, 1000 };
    const struct time_source now = { clocks_unix, clocks_seconds, &clocks };
    struct gate *g;
    struct gate_refusal r;
    struct limit_left left[N_LIMITED];
    struct err e;
    (void)state;
    assert_true(gate_open(&g,
                          &(struct gate_options){ .counters = "",
                                                  .address_limits = "requests/day=2",
                                                  .endpoint_limits = "chat:requests/month=3",
                                                  .time = now },
                          &e));
    struct identity is = {
        .endpoint = "chat", .address = "::1", .started = time_seconds(&now), .asked_ms = 1
    };
    for (int i = 0; i < 2; i++) assert_true(gate_enter(g, &is, left, &r));
    assert_false(gate_enter(g, &is, left, &r));
    assert_int_equal(r.again_ms, MIDNIGHT);
    atomic_store(&clocks.unix_ms, MIDNIGHT);
    assert_true(gate_enter(g, &is, left, &r)); /* another day and month */
    atomic_store(&clocks.unix_ms, MIDNIGHT - 1);
    assert_true(gate_enter(g, &is, left, &r)); /* set back: the window that is open stays so */
    assert_false(gate_enter(g, &is, left, &r));
    assert_int_equal(r.again_ms, MIDNIGHT + DAY);
    clocks_run(&clocks, 10);
    assert_true(gate_set_limits(g, "", "chat:requests/month=3", &e));
    atomic_store(&clocks.unix_ms, MIDNIGHT - 900); /* before those rules, by the wall's clock */
    clocks_run(&clocks, 1);
    assert_false(gate_enter(g, &is, left, &r)); /* it came before them: those of then */
    is.started = time_seconds(&now);
    assert_true(gate_enter(g, &is, left, &r));
    assert_int_equal(left[LIMITED_REQUESTS].remaining, 0);
    assert_false(gate_enter(g, &is, left, &r));
    assert_int_equal(r.again_ms, MIDNIGHT + 31 * DAY);
    atomic_store(&clocks.unix_ms, MIDNIGHT + 400 * DAY); /* far ahead, and put right: nobody waits a year */
    assert_true(gate_enter(g, &is, left, &r));
    atomic_store(&clocks.unix_ms, MIDNIGHT);
    assert_true(gate_enter(g, &is, left, &r));
    gate_close(g);
}

static void test_each(void **state)
{
    static void (*const each[])(struct places *, enum place) = { each_life,    each_soft,     each_killed,
                                                                 each_refused, each_set_back, each_jump,
                                                                 each_prices,  each_room,     each_line };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int k = 0; k < N_PLACES; k++) each[i](*state, (enum place)k);
}

static void test_wrong(void **state)
{
    struct places *p = *state;
    struct fixture f = { .a = NULL };
    struct err e = { ERR_NONE, "" };
    places_new(p, PLACE_SQLITE, f.where, sizeof f.where);
    assert_true(catalog_load(&f.catalog, "", &e));
    strcpy(f.journal, "/dev/null/journal");
    assert_false(try_open(&f, &e));
    assert_non_null(strstr(e.msg, "--journal"));
    strcpy(f.prices, "/nowhere/prices.yaml");
    assert_false(try_open(&f, &e));
    catalog_free(f.catalog);
    account_close(NULL);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_each), cmocka_unit_test(test_gate),
                                        cmocka_unit_test(test_wrong) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
