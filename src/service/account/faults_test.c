/* faults_test.c - the account while memory cannot be had, or the database fails, at every place in turn: each function reports it, nothing
 * is left behind, and when the fault is over the ledger is whole, holds the row of every request that began, and the budget is not overspent.
 *
 * The program is linked so that calls of malloc and sqlite3_step come here first (Makefile). */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "service/account/account.h"
#include "service/account/gate.h"
#include "service/account/ledger.h"
#include "service/account/projects.h"
#include "service/models/catalog.h"

/* ---- faults -------------------------------------------------------------------------------------------------------- */

enum fault_kind { NO_MEMORY, NO_DATABASE };
static enum fault_kind kind;
static atomic_long left; /* calls until the one that fails; 0 and below: none will */
static atomic_bool happened;

static bool fails(enum fault_kind k)
{
    if (k != kind || atomic_fetch_sub(&left, 1) != 1) return false;
    atomic_store(&happened, true);
    return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
int __real_sqlite3_step(sqlite3_stmt *st);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
int __wrap_sqlite3_step(sqlite3_stmt *st);

void *__wrap_malloc(size_t n) { return fails(NO_MEMORY) ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails(NO_MEMORY) ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails(NO_MEMORY) ? NULL : __real_realloc(p, n); }
char *__wrap_strdup(const char *s) { return fails(NO_MEMORY) ? NULL : __real_strdup(s); }
int __wrap_sqlite3_step(sqlite3_stmt *st)
{
    return fails(NO_DATABASE) ? SQLITE_IOERR : __real_sqlite3_step(st);
}

/* ---- what an account does ------------------------------------------------------------------------------------------ */

#define MODEL "accounts/fireworks/models/deepseek-v3" /* 900 nano-dollars a token */

static struct catalog *catalog;
/* In memory where that is to be had: hundreds of stores are made, and none needs to outlive the machine. */
static char dir[60];
static char where[80], journal[80];

struct day {
    struct account *account;
    struct gate *gate;
    char key[KEY_TEXT], id[PRINCIPAL_ID];
    struct principal who;
    bool begun, booked; /* a request is noted in the journal; its books are closed */
    char uid[33];
};

static void is_told(const struct err *e, const char *what)
{
    if (e->code == ERR_NONE || !e->msg[0]) fail_msg("%s failed without a word", what);
}

#define TRY(what)                                                                                            \
    do {                                                                                                     \
        struct err e = { 0 };                                                                                \
        if (!(what)) {                                                                                       \
            is_told(&e, #what);                                                                              \
            return false;                                                                                    \
        }                                                                                                    \
    } while (0)

static bool open_all(struct day *d)
{
    const struct account_options o = {
        .store = where, .journal = journal, .prices = "", .reserved_s = 7200, .catalog = catalog
    };
    const struct gate_options g = { .counters = "",
                                    .address_limits = "requests/day=1000",
                                    .endpoint_limits = GATE_ENDPOINT_LIMITS };
    TRY(account_open(&d->account, &o, &e));
    TRY(gate_open(&d->gate, &g, &e));
    return true;
}

static bool administer(struct day *d)
{
    struct store *s = account_store(d->account);
    const struct actor by = { "cli:test", "" };
    const struct key_wish w = { .name = "shop",
                                .project = "web",
                                .scopes = "model:*,endpoint:chat",
                                .addresses = "127.0.0.0/8",
                                .limits = "requests/day=100,concurrency=4",
                                .budgets = "total=1",
                                .tags = "team=blue",
                                .by = &by };
    const int64_t now = clock_unix_ms();
    char second[KEY_TEXT], id[PRINCIPAL_ID];
    struct key_list l = { 0 };
    TRY(project_set(s, "web", "requests/day=1000", "month=5", &by, now, &e));
    TRY(key_new(s, &w, now, d->key, d->id, &e));
    TRY(key_new(s, &w, now, second, id, &e));
    TRY(key_change(
        s, id, &(struct key_wish){ .limits = "requests/day=5", .expires_ms = KEY_EXPIRES_KEPT, .by = &by },
        now, &e));
    TRY(key_rotate(s, id, &by, now, second, &e));
    TRY(key_revoke(s, id, &by, now, &e));
    TRY(key_list(s, NULL, &l, &e));
    key_list_free(&l);
    TRY(keyring_refresh(account_keyring(d->account), &e));
    principal_of_key(&d->who, d->key, strlen(d->key));
    d->who.key = keyring_find(account_keyring(d->account), d->who.hash);
    d->who.known = true;
    return d->who.key != NULL;
}

static void told(void *arg) { atomic_store((atomic_bool *)arg, true); }

/* What http/admission.c and http/endings.c do with a request. */
static void serve(struct day *d)
{
    struct identity is = { .method = "POST",
                           .dialect = "openai",
                           .endpoint = "chat",
                           .who = d->who,
                           .address = "127.0.0.1",
                           .started = clock_seconds() };
    struct limit_left room[N_LIMITED];
    struct gate_refusal full;
    struct account_refusal r = { 0 };
    const struct usage worst = { .prompt_tokens = 10, .completion_tokens = 100 },
                       used = { .prompt_tokens = 10, .completion_tokens = 7 };
    struct ending_sinks sinks = { 0 };
    snprintf(is.id, sizeof is.id, "req_1");
    account_name(d->account, &is);
    if (!gate_enter(d->gate, &is, room, &full)) {
        assert_true(full.msg[0]);
        return;
    }
    if (!account_enter(d->account, &r)) {
        assert_true(r.msg[0]);
        gate_undo(d->gate, &is);
        return;
    }
    struct ending *e = ending_open(&sinks, &is, "/v1/chat/completions");
    if (!e) {
        gate_undo(d->gate, &is);
        return;
    }
    account_begun(d->account, e);
    snprintf(d->uid, sizeof d->uid, "%s", is.uid);
    d->begun = e->slot >= 0;
    ending_model(e, MODEL);
    const bool reserved = account_reserve(d->account, &is, MODEL, &worst, &r);
    if (!reserved) assert_true(r.msg[0]);
    if (reserved) ending_use(e, &used);
    e->status = reserved ? 200 : 503;
    e->how = reserved ? END_DONE : END_REFUSED;
    atomic_bool written = false;
    account_book(d->account, e, told, &written);
    for (int i = 0; !atomic_load(&written); i++) { /* two minutes */
        assert_true(i < 120000);
        usleep(1000);
    }
    d->booked = true;
    gate_ended(d->gate, e);
    ending_let_go(e);
}

static void close_all(struct day *d)
{
    gate_close(d->gate);
    if (d->account) account_close(d->account);
}

static bool count_line(void *arg, const struct usage_line *l, struct err *e)
{
    (void)e;
    *(int64_t *)arg += l->requests;
    return true;
}

struct search {
    const char *uid;
    bool found;
};

static bool look(void *arg, const struct ledger_row *r, struct err *e)
{
    struct search *s = arg;
    (void)e;
    s->found |= !strcmp(r->uid, s->uid);
    return true;
}

/* With the fault behind it: opened anew, which reads the journal back. */
static void whole(const struct day *d)
{
    struct day again = { 0 };
    struct ledger_sum sum;
    struct err e = { 0 };
    int64_t requests = 0;
    if (!open_all(&again)) fail_msg("it does not open any more");
    struct search s = { d->uid, false };
    if (!ledger_verify(account_store(again.account), "", &sum, &e)) fail_msg("%s", e.msg);
    assert_true(
        ledger_usage(account_store(again.account), USAGE_BY_KEY, 0, INT64_MAX, count_line, &requests, &e));
    assert_int_equal(requests, sum.rows);
    assert_int_equal(sum.cost, 900 * (sum.prompt + sum.completion));
    assert_true(ledger_each(account_store(again.account), 0, INT64_MAX, look, &s, &e));
    if (d->begun && !s.found) fail_msg("a request that began has no row");
    close_all(&again);
}

static void start_over(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s/*", dir);
    assert_int_equal(system(command), 0);
}

static void each_place(enum fault_kind k)
{
    bool came = true;
    long n = 0;
    for (n = 1; came; n++) {
        struct day d = { 0 };
        assert_true(n < 5000);
        start_over();
        atomic_store(&happened, false);
        kind = k;
        atomic_store(&left, n);
        if (open_all(&d) && administer(&d)) serve(&d);
        close_all(&d);
        came = atomic_load(&happened);
        atomic_store(&left, 0);
        whole(&d);
    }
    assert_true(n > 20); /* there were places */
}

static void test_memory(void **state)
{
    (void)state;
    each_place(NO_MEMORY);
}

static void test_database(void **state)
{
    (void)state;
    each_place(NO_DATABASE);
}

static int set_up(void **state)
{
    struct err e;
    (void)state;
    snprintf(dir, sizeof dir, "%s/hearth-account-faults-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(dir) || !catalog_load(&catalog, NULL, &e)) return -1;
    snprintf(where, sizeof where, "%s/account.db", dir);
    snprintf(journal, sizeof journal, "%s/journal", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    start_over();
    catalog_free(catalog);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_memory), cmocka_unit_test(test_database) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
