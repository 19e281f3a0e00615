/* faults_test.c - the account while memory cannot be had, or the database or the files fail, at every place in turn: each function reports it, nothing
 * is left behind, and when the fault is over the ledger is whole, holds the row of every request that began, and the budget is not overspent.
 *
 * The program is linked so that calls of malloc, sqlite3_step, pread ... come here first (Makefile). */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "format/json_memory.h"
#include "service/account/account.h"
#include "service/account/budgets.h"
#include "service/account/essence.h"
#include "service/account/gate.h"
#include "service/account/ledger.h"
#include "service/account/record.h"
#include "service/account/projects.h"
#include "service/models/catalog.h"

/* ---- faults -------------------------------------------------------------------------------------------------------- */

enum fault_kind { NO_MEMORY, NO_DATABASE, NO_FILES, NO_START };
static enum fault_kind kind;
static atomic_long left; /* calls until the one that fails; 0 and below: none will */
static atomic_bool happened;
static atomic_bool all_fail; /* every call of the database */
static atomic_int refused;   /* how many have */

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
    if (atomic_load(&all_fail)) {
        atomic_fetch_add(&refused, 1);
        return SQLITE_IOERR;
    }
    return fails(NO_DATABASE) ? SQLITE_IOERR : __real_sqlite3_step(st);
}

/* Files of ours alone: those of SQLite are its own. errno as a disk that is full or broken has it. The names end in 64 as the
 * compiler's do where an off_t has 64 bits by definition of _FILE_OFFSET_BITS; test_files() sees whether all of them are called. */
enum { F_OPEN, F_PREAD, F_PWRITE, F_FSTAT, F_FALLOCATE, F_FLOCK, F_RENAME, F_MKDIR, F_OPENDIR, N_FILE_CALLS };
static atomic_int broken[N_FILE_CALLS]; /* how often each has failed */
static atomic_bool gone;                /* the next file that is opened is there no more */

#define FILE_FAULT(call, ...)                                                                                \
    do {                                                                                                     \
        if (!fails(NO_FILES)) break;                                                                         \
        atomic_fetch_add(&broken[call], 1);                                                                  \
        errno = ENOSPC;                                                                                      \
        return __VA_ARGS__;                                                                                  \
    } while (0)

int __real_open64(const char *path, int flags, ...);
ssize_t __real_pread64(int fd, void *to, size_t n, off_t at);
ssize_t __real_pwrite64(int fd, const void *from, size_t n, off_t at);
int __real_fstat64(int fd, struct stat *st);
int __real_posix_fallocate64(int fd, off_t at, off_t n);
int __real_flock(int fd, int how);
int __real_rename(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);
DIR *__real_opendir(const char *path);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t n, off_t at);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_posix_fallocate64(int fd, off_t at, off_t n);
int __wrap_flock(int fd, int how);
int __wrap_rename(const char *from, const char *to);
int __wrap_mkdir(const char *path, mode_t mode);
DIR *__wrap_opendir(const char *path);

int __wrap_open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (atomic_exchange(&gone, false)) {
        errno = ENOENT;
        return -1;
    }
    FILE_FAULT(F_OPEN, -1);
    return __real_open64(path, flags, mode);
}
/* Broken off, then as much as fits, then nothing more, then broken. */
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at)
{
    static atomic_int turn;
    if (!fails(NO_FILES)) return __real_pread64(fd, to, n, at);
    atomic_fetch_add(&broken[F_PREAD], 1);
    switch (atomic_fetch_add(&turn, 1) % 4) {
    case 0: errno = EINTR; return -1;
    case 1: return __real_pread64(fd, to, n / 2, at);
    case 2: return 0;
    default: errno = EIO; return -1;
    }
}
ssize_t __wrap_pwrite64(int fd, const void *from, size_t n, off_t at)
{
    FILE_FAULT(F_PWRITE, -1);
    return __real_pwrite64(fd, from, n, at);
}
int __wrap_fstat64(int fd, struct stat *st)
{
    FILE_FAULT(F_FSTAT, -1);
    return __real_fstat64(fd, st);
}
int __wrap_posix_fallocate64(int fd, off_t at, off_t n)
{
    FILE_FAULT(F_FALLOCATE, ENOSPC);
    return __real_posix_fallocate64(fd, at, n);
}
int __wrap_flock(int fd, int how)
{
    FILE_FAULT(F_FLOCK, -1);
    return __real_flock(fd, how);
}
int __wrap_rename(const char *from, const char *to)
{
    FILE_FAULT(F_RENAME, -1);
    return __real_rename(from, to);
}
int __wrap_mkdir(const char *path, mode_t mode)
{
    FILE_FAULT(F_MKDIR, -1);
    return __real_mkdir(path, mode);
}
DIR *__wrap_opendir(const char *path)
{
    FILE_FAULT(F_OPENDIR, NULL);
    return __real_opendir(path);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __real_sodium_init(void);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_sodium_init(void);

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return fails(NO_START) ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}
int __wrap_sodium_init(void) { return fails(NO_START) ? -1 : __real_sodium_init(); }

/* ---- what an account does ------------------------------------------------------------------------------------------ */

#define MODEL "accounts/fireworks/models/deepseek-v3" /* 900 nano-dollars a token */

#define LEFT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* the request of a killed server */

static struct catalog *catalog;
/* In memory where that is to be had: hundreds of stores are made, and none needs to outlive the machine. */
static char dir[60];
static char where[80], journal[80], lines[80];
static double ran; /* seconds that the accounts' clocks have gone on */

static int64_t unix_now(void *arg)
{
    (void)arg;
    return clock_unix_ms() + (int64_t)(ran * 1000);
}
static double seconds_now(void *arg)
{
    (void)arg;
    return clock_seconds() + ran;
}

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
    const struct account_options o = { .store = where,
                                       .journal = journal,
                                       .prices = "",
                                       .reserved_s = 7200,
                                       .catalog = catalog,
                                       .tracker = lines,
                                       .time = { unix_now, seconds_now, NULL } };
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
                                .budgets = "total=1,day=0:soft",
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
    e->recording = recording_new();
    if (e->recording) {
        e->recording->headers = strdup("{}");
        strcpy(e->recording->type, "image/png");
    }
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
    s = (struct search){ LEFT, false };
    assert_true(ledger_each(account_store(again.account), 0, INT64_MAX, look, &s, &e));
    if (!s.found) fail_msg("what a killed server left is lost");
    close_all(&again);
}

/* The place as a killed server left it: with a request under way. */
static void start_over(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s/[aj]*; cp -r %s/left/. %s", dir, dir, dir);
    assert_int_equal(system(command), 0);
}

static bool leave_behind(void)
{
    char command[300];
    int status;
    const pid_t pid = fork();
    if (!pid) {
        struct day d = { 0 };
        struct identity is = { .dialect = "openai", .endpoint = "chat", .started = clock_seconds() };
        struct ending_sinks sinks = { 0 };
        if (!open_all(&d)) _exit(1);
        account_name(d.account, &is);
        memset(is.uid, 'a', 32);
        struct ending *e = ending_open(&sinks, &is, "/");
        if (!e) _exit(1);
        account_begun(d.account, e);
        _exit(e->slot < 0);
    }
    waitpid(pid, &status, 0);
    snprintf(command, sizeof command, "mkdir %s/left && mv %s/[aj]* %s/left", dir, dir, dir);
    return WIFEXITED(status) && !WEXITSTATUS(status) && !system(command);
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
    assert_true(n > 4); /* there were places */
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

static void test_files(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) each_place(NO_FILES); /* each time a read breaks in another way */
    for (int i = 0; i < N_FILE_CALLS; i++)
        if (!atomic_load(&broken[i])) fail_msg("no call %d has failed: does it come here first?", i);
}

static void test_start(void **state)
{
    (void)state;
    each_place(NO_START);
}

/* Another server that starts at the same moment has read what was left, and removed it: this one starts too. */
static void test_gone(void **state)
{
    struct day d = { 0 };
    (void)state;
    start_over();
    atomic_store(&gone, true);
    if (!open_all(&d)) fail_msg("a file that is gone is in the way");
    assert_false(atomic_load(&gone)); /* it was looked for */
    close_all(&d);
    whole(&d);
}

static void each_fault(enum fault_kind k, bool (*act)(void *arg, struct err *e), void *arg)
{
    bool came = true;
    for (long n = 1; came; n++) {
        struct err e = { ERR_NONE, "" };
        assert_true(n < 5000);
        atomic_store(&happened, false);
        kind = k;
        atomic_store(&left, n);
        const bool ok = act(arg, &e);
        came = atomic_load(&happened);
        atomic_store(&left, 0);
        if (ok) continue;
        is_told(&e, "it");
        if (!came) fail_msg("%s", e.msg);
    }
}

/* A budget that killed servers have reserved all of, again and again: it is found to be free once their reservations are old enough, or
 * it is said that nothing could be looked at. */
static bool pay(void *arg, struct err *e)
{
    struct day *d = arg;
    const struct usage all = { .prompt_tokens = 1111111 }, none = { 0 }; /* 0.9999999 of a dollar */
    struct identity is = { .who = d->who, .asked_ms = clock_unix_ms(), .started = clock_seconds() };
    for (int i = 0; i < 4; i++) {
        struct account_refusal r = { .msg = "" };
        const bool spent = i == 2; /* the others come when what is reserved has grown old */
        if (!spent) ran += 8000;
        ledger_uid(is.uid);
        const bool ok = i % 2 ? account_reserve(d->account, &is, MODEL, &all, &r)
                              : account_has_room(d->account, &is, MODEL, &r) &&
                                    account_reserve(d->account, &is, MODEL, &none, &r);
        if (!ok && r.why == ACCOUNT_AWAY) return err_set(e, ERR_IO, "%s", r.msg);
        if (ok == spent) fail_msg("%d: %s", i, r.msg);
    }
    return true;
}

static void test_pay(void **state)
{
    struct day d = { 0 };
    (void)state;
    start_over();
    assert_true(open_all(&d) && administer(&d));
    each_fault(NO_DATABASE, pay, &d);
    close_all(&d);
    ran = 0;
}

/* Without memory for the booking the row is written all the same, and who waits is told. */
static void test_bare_booking(void **state)
{
    struct day d = { 0 };
    struct ending_sinks sinks = { 0 };
    struct err err;
    (void)state;
    start_over();
    assert_true(open_all(&d) && administer(&d));
    char uid[2][33];
    atomic_bool was_told = false;
    for (int i = 0; i < 2; i++) {
        struct identity is = { .dialect = "openai", .endpoint = "chat", .started = clock_seconds() };
        if (i) is.who = d.who;
        account_name(d.account, &is);
        memcpy(uid[i], is.uid, sizeof is.uid);
        struct ending *e = ending_open(&sinks, &is, "/");
        assert_non_null(e);
        ending_model(e, MODEL);
        ending_use(e, &(struct usage){ .prompt_tokens = 10 });
        kind = NO_MEMORY;
        atomic_store(&happened, false);
        atomic_store(&left, 1);
        account_book(d.account, e, i ? told : NULL, &was_told);
        assert_true(atomic_load(&happened));
        ending_let_go(e);
    }
    assert_true(atomic_load(&was_told));
    close_all(&d);
    assert_true(open_all(&d));
    for (int i = 0; i < 2; i++) {
        struct ledger_row row;
        if (!ledger_find(account_store(d.account), uid[i], &row, &err)) fail_msg("%s", err.msg);
        assert_int_equal(row.cost, 9000);
    }
    close_all(&d);
}

/* ---- the keyring ----------------------------------------------------------------------------------------------------- */

/* While the store fails the keys that are known go on, which the log has once; afterwards those that were made meanwhile are found. */
static void test_looks(void **state)
{
    struct day d = { 0 };
    char log[80], text[4000] = "", made[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { 0 };
    (void)state;
    start_over();
    assert_true(open_all(&d) && administer(&d));
    snprintf(log, sizeof log, "%s/a_log", dir);
    const int err = dup(2), to = __real_open64(log, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(err >= 0 && to >= 0 && dup2(to, 2) == 2);
    atomic_store(&refused, 0);
    atomic_store(&all_fail, true);
    for (int i = 0; atomic_load(&refused) < 6;
         i++) { /* more than one look, each of which asks a few times at most */
        assert_true(i < 120000);
        usleep(1000);
    }
    assert_non_null(keyring_find(account_keyring(d.account), d.who.hash));
    atomic_store(&all_fail, false);
    const struct key_wish w = {
        .name = "later", .project = "", .scopes = "", .addresses = "", .limits = "", .budgets = "", .tags = ""
    };
    for (int i = 0; !key_new(account_store(d.account), &w, clock_unix_ms(), made, id, &e);
         i++) { /* it heals by itself */
        assert_true(i < 120000);
        usleep(1000);
    }
    struct principal p;
    principal_of_key(&p, made, strlen(made));
    for (int i = 0; !keyring_find(account_keyring(d.account), p.hash); i++) {
        assert_true(i < 120000);
        usleep(1000);
    }
    dup2(err, 2);
    close(err);
    assert_true(__real_pread64(to, text, sizeof text - 1, 0) > 0);
    close(to);
    const char *said = strstr(text, "keys cannot be looked up");
    assert_non_null(said);
    assert_null(strstr(said + 1, "keys cannot be looked up"));
    close_all(&d);
}

/* ---- records and essences -------------------------------------------------------------------------------------------- */

#define JSON "application/json"
#define STREAM "text/event-stream"
static const struct {
    const char *type, *before, *now;
} answers[] = {
    { JSON, "{\"id\":1,\"choices\":[{\"text\":\"abc\"},[1,true]],\"z\":{\"y\":2}}",
      "{\"choices\":[{\"text\":\"abd\"},[1,true]],\"z\":{\"y\":2}}" },
    { JSON, "{\"a\":1}", "{\"b\":{\"c\":1}}" },
    { STREAM,
      "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"a\",\"x\":[1]}}],\"n\":1}\n\n"
      "data: "
      "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\",\"x\":[{\"y\":1}]}},{\"index\":0,\"delta\":{}}"
      "]}\n\n",
      "data: {\"type\":\"image.completed\",\"b64_json\":\"x\"}\n\ndata: "
      "{\"type\":\"image.completed\",\"i\":1}\n\n" },
    { "image/png", "abc", "abd" },
};

/* An essence is what it always is, or it says why it cannot be told; a difference is found whatever happens. */
static bool tell_essences(void *arg, struct err *e)
{
    struct buf *right = arg;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof answers / sizeof *answers; i++) {
        struct buf a = BUF_INIT(ESSENCE_MOST), b = BUF_INIT(ESSENCE_MOST);
        char differs[200] = "";
        ok = essence_of(answers[i].type, answers[i].before, strlen(answers[i].before), &a, e) &&
             essence_of(answers[i].type, answers[i].now, strlen(answers[i].now), &b, e);
        if (ok) {
            if (!right[i].len) buf_append(&right[i], a.data, a.len);
            assert_int_equal(a.len, right[i].len);
            assert_memory_equal(a.data, right[i].data, a.len);
            assert_true(essence_differ(&a, &b, differs, sizeof differs));
            assert_true(*differs);
        }
        buf_free(&a);
        buf_free(&b);
    }
    return ok;
}

static void test_essences(void **state)
{
    struct buf right[sizeof answers / sizeof *answers] = { 0 };
    struct err e;
    (void)state;
    assert_true(tell_essences(right, &e));
    each_fault(NO_MEMORY, tell_essences, right);
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) buf_free(&right[i]);
}

/* ---- the ledger ------------------------------------------------------------------------------------------------------ */

struct reading {
    struct store *s;
    int64_t rows;
};

static bool count_row(void *arg, const struct ledger_row *r, struct err *e)
{
    (void)r, (void)e;
    ++*(int64_t *)arg;
    return true;
}

static bool count_also(const void *arg, const struct ledger_row *row, struct session *c, struct err *e)
{
    (void)row, (void)c, (void)e;
    ++*(int *)(uintptr_t)arg;
    return true;
}

static void take_news(void *arg, enum ledger_news news) { *(enum ledger_news *)arg = news; }

/* What is read is what is there, all of it, or it is said that it cannot be read. */
static bool read_ledger(void *arg, struct err *e)
{
    const struct reading *r = arg;
    struct ledger_row row;
    struct ledger_sum sum;
    int64_t n = 0;
    if (!ledger_find(r->s, "named", &row, e) || !ledger_verify(r->s, "", &sum, e) ||
        !ledger_each(r->s, 0, INT64_MAX, count_row, &n, e))
        return false;
    assert_int_equal(row.cost, 17);
    assert_int_equal(sum.rows, r->rows);
    assert_int_equal(n, r->rows);
    return true;
}

static void test_ledger(void **state)
{
    struct reading r = { .rows = 3 };
    struct ledger_row row = { .ended_ms = 5, .cost = 17 };
    struct err e;
    (void)state;
    start_over();
    assert_true(store_open(&r.s, where, &(struct store_options){ 0 }, &e));
    for (int i = 0; i < 2; i++) {
        ledger_uid(row.uid);
        snprintf(row.request, sizeof row.request, "%s", i ? "second" : "named");
        assert_true(ledger_post(r.s, &row, NULL, NULL));
    }
    /* A row that is there already changes nothing else again: what goes with it was done with the first. */
    int also = 0;
    ledger_uid(row.uid);
    for (int i = 0; i < 2; i++) assert_true(ledger_post(r.s, &row, count_also, &also));
    /* Without memory nothing is posted, and who waits is told, where somebody does. */
    enum ledger_news news = LEDGER_KEPT;
    ledger_uid(row.uid);
    kind = NO_MEMORY;
    atomic_store(&left, 1);
    assert_false(ledger_post(r.s, &row, NULL, NULL));
    atomic_store(&left, 1);
    assert_false(ledger_post_told(r.s, &row, NULL, NULL, take_news, &news));
    assert_int_equal(news, LEDGER_LOST);
    store_close(r.s); /* writes what was posted */
    assert_int_equal(also, 1);
    assert_true(store_open(&r.s, where, &(struct store_options){ 0 }, &e));
    each_fault(NO_DATABASE, read_ledger, &r);
    store_close(r.s);
}

/* ---- budgets --------------------------------------------------------------------------------------------------------- */

struct budgeting {
    struct store *s;
    char id[33];
    struct budget_rules rules;
    enum budget_answer answer;
    struct budget_hit hit;
    int64_t n;
};

static bool reserve_one(void *arg, struct session *c, struct err *e)
{
    struct budgeting *b = arg;
    const struct budget_one who = { "key:a", &b->rules };
    return budget_reserve(c, b->id, &who, 1, 5, 1000, &b->answer, &b->hit, e);
}

static bool release_all(void *arg, struct session *c, struct err *e)
{
    return budget_release(c, &(struct age_bounds){ 2000, INT64_MAX }, &((struct budgeting *)arg)->n, e);
}

/* What is reserved and released again leaves nothing, wherever it was broken off. */
static bool reserve_and_release(void *arg, struct err *e)
{
    struct budgeting *b = arg;
    struct budget_states all = { .owner = "key:a", .now_ms = 1000 };
    ledger_uid(b->id);
    if (!store_write(b->s, reserve_one, b, e) || !store_write(b->s, release_all, b, e) ||
        !store_read(b->s, budget_read_all, &all, e))
        return false;
    for (int i = 0; i < N_PERIODS; i++) assert_true(!all.state[i].reserved && !all.state[i].spent);
    return true;
}

static void test_budgets(void **state)
{
    struct budgeting b = { .n = 0 };
    struct err e;
    (void)state;
    start_over();
    assert_true(store_open(&b.s, where, &(struct store_options){ 0 }, &e));
    assert_true(budget_rules_parse(&b.rules, "day=1,total=1", &e));
    each_fault(NO_DATABASE, reserve_and_release, &b);
    store_close(b.s);
}

#define FORM "--x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--x--\r\n"
static const struct {
    const char *headers, *body, *again; /* again: with the seed 7 */
    bool too_long;                      /* the answer */
} asked[] = {
    { "{\"Content-Type\":\"application/json\"}", "{\"a\":1}", "{\"a\":1,\"seed\":7}", false },
    { "{\"Content-Type\":\"application/json\"}", "{}", "{\"seed\":7}", true },
    { "{\"Content-Type\":\"multipart/form-data; boundary=x\"}", FORM,
      "--x\r\nContent-Disposition: form-data; name=\"seed\"\r\n\r\n7\r\n" FORM, false },
};

static bool put_it(void *arg, struct session *c, struct err *e) { return record_put(arg, c, e); }

/* What is got back is what was put, with its seed, or there is a word about it. */
static bool keep_records(void *arg, struct err *e)
{
    struct store *s = arg;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof asked / sizeof *asked; i++) {
        struct recording from = { .body = BUF_INIT(0), .answer = BUF_INIT(0) };
        struct record r, back = { .made_ms = 0 };
        struct buf again = BUF_INIT(0);
        char uid[33], hash[65];
        ledger_uid(uid);
        from.headers = strdup(asked[i].headers);
        from.answer.failed = asked[i].too_long;
        strcpy(from.type, JSON);
        ok = (from.headers && buf_puts(&from.body, asked[i].body) &&
              (asked[i].too_long || buf_puts(&from.answer, "{\"b\":2}")) &&
              record_make(&r, uid, 5, "/v1/x", &from, hash)) ||
             err_set(e, ERR_NOMEM, "out of memory");
        if (ok) {
            ok = store_write(s, put_it, &r, e) && record_get(s, uid, &back, e) &&
                 record_with_seed(&back, "7", &again, e);
            if (ok) {
                assert_string_equal(again.data, asked[i].again);
                assert_string_equal(back.answer,
                                    *hash ? "{\"b\":2}" : ""); /* without memory it is not told */
            }
            record_free(&back);
            record_free(&r);
        }
        free(from.headers);
        buf_free(&from.body);
        buf_free(&from.answer);
        buf_free(&again);
    }
    return ok;
}

static void test_records(void **state)
{
    struct store *s;
    struct err e;
    (void)state;
    start_over();
    assert_true(store_open(&s, where, &(struct store_options){ 0 }, &e));
    each_fault(NO_MEMORY, keep_records, s);
    each_fault(NO_DATABASE, keep_records, s);
    store_close(s);
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
    snprintf(lines, sizeof lines, "%s/a_lines.log", dir);
    json_memory_init();
    return leave_behind() ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    catalog_free(catalog);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_memory),   cmocka_unit_test(test_database),
                                        cmocka_unit_test(test_files),    cmocka_unit_test(test_start),
                                        cmocka_unit_test(test_pay),      cmocka_unit_test(test_bare_booking),
                                        cmocka_unit_test(test_looks),    cmocka_unit_test(test_gone),
                                        cmocka_unit_test(test_essences), cmocka_unit_test(test_records),
                                        cmocka_unit_test(test_ledger),   cmocka_unit_test(test_budgets) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
