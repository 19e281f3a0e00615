/* store_test.c - the same promises of every database: what was reported as written is there, what failed is not, a store that is away
 * comes back by itself, and what cannot be used says why. */
#include "store/test_places.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "store/backend.h"
#include "store/schema.h"

static bool add_meta(void *arg, struct session *c, struct err *e)
{
    return session_run(c, "INSERT INTO meta (name, value) VALUES ($1, $2)",
                       STORE_ARGS(STORE_V((const char *)arg), STORE_V(1)), NULL, NULL, e);
}

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool sum_of(void *arg, struct session *c, struct err *e)
{
    return session_run(c, "SELECT sum(value) FROM meta WHERE name LIKE 'n%'", STORE_NO_ARGS, take_number, arg,
                       e);
}

static int64_t sum(struct store *s)
{
    int64_t v = -1;
    struct err e;
    assert_true(store_read(s, sum_of, &v, &e));
    return v;
}

/* ---- reading and writing ------------------------------------------------------------------------------------------- */

struct look {
    int n;
    char text[40];
    int64_t number, null;
};

static bool look_row(void *arg, const struct store_row *r, struct err *e)
{
    struct look *l = arg;
    if (l->n++) return err_set(e, ERR_REQUEST, "one row is enough");
    assert_int_equal(r->n, 3);
    assert_null(r->v[1].text);
    snprintf(l->text, sizeof l->text, "%s", r->v[0].text);
    l->number = r->v[1].number;
    l->null = r->v[2].number;
    return true;
}

static bool look_fn(void *arg, struct session *c, struct err *e)
{
    return session_run(
        c, "SELECT name, value, NULL FROM meta WHERE name = $1 OR (name = $2 AND value = $3) ORDER BY name",
        STORE_ARGS(STORE_V("n-\xc3\xa9'\"\\"), STORE_V("n2"), STORE_V(INT64_C(1))), look_row, arg, e);
}

static bool write_many(void *arg, struct session *c, struct err *e)
{
    (void)arg;
    if (!session_run(c, "INSERT INTO meta (name, value) VALUES ($1, $2)",
                     STORE_ARGS(STORE_V("n-\xc3\xa9'\"\\"), STORE_V(INT64_MIN)), NULL, NULL, e))
        return false;
    if (!session_run(c, "UPDATE meta SET value = value + $1 WHERE name = $2",
                     STORE_ARGS(STORE_V(INT64_MAX), STORE_V("n-\xc3\xa9'\"\\")), NULL, NULL, e))
        return false;
    assert_int_equal(session_changed(c), 1);
    if (!session_run(c, "UPDATE meta SET value = 0 WHERE name = 'none'", STORE_NO_ARGS, NULL, NULL, e))
        return false;
    assert_int_equal(session_changed(c), 0);
    return true;
}

static void each_read_write(struct places *p, enum place kind)
{
    char where[200];
    struct err e = { ERR_NONE, "" };
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    struct look l = { 0 };
    assert_string_equal(store_name(s), kind == PLACE_SQLITE ? "sqlite" : "postgresql");
    assert_true(store_write(s, write_many, NULL, &e));
    assert_true(store_read(s, look_fn, &l, &e));
    assert_int_equal(l.n, 1);
    assert_string_equal(l.text, "n-\xc3\xa9'\"\\");
    assert_int_equal(l.number, -1);
    assert_int_equal(l.null, 0);
    assert_true(store_write(s, add_meta, "n2", &e));
    l.n = 0;
    assert_false(store_read(s, look_fn, &l, &e)); /* two rows: the second is refused */
    assert_string_equal(e.msg, "one row is enough");
    assert_true(store_check(s, &e));
    store_close(s);
    s = places_store(where); /* there again */
    assert_int_equal(sum(s), 0);
    store_close(s);
}

static bool refuse(void *arg, struct session *c, struct err *e)
{
    return add_meta(arg, c, e) && err_set(e, ERR_REQUEST, "no");
}

static bool bad_sql(void *arg, struct session *c, struct err *e)
{
    return add_meta(arg, c, e) && session_run(c, "SELEKT 1", STORE_NO_ARGS, NULL, NULL, e);
}

struct writer {
    struct store *s;
    int i, n_ok;
    pthread_t thread;
};

/* Good ones and bad ones meet in one transaction. */
static void *mixed_writer(void *arg)
{
    struct writer *w = arg;
    for (int k = 0; k < 20; k++) {
        char name[40];
        struct err e = { ERR_NONE, "" };
        snprintf(name, sizeof name, "n%d-%d", w->i, k);
        store_fn *fn = k % 5 == 1 ? refuse : k % 5 == 3 ? bad_sql : add_meta;
        const bool ok = store_write(w->s, fn, name, &e);
        if (ok != (fn == add_meta)) return NULL;
        if (!ok && e.code == ERR_BUSY) return NULL;
        w->n_ok += ok;
    }
    return w;
}

static void each_mixed(struct places *p, enum place kind)
{
    char where[200];
    struct writer w[16];
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    for (int i = 0; i < 16; i++) {
        w[i] = (struct writer){ .s = s, .i = i };
        assert_int_equal(pthread_create(&w[i].thread, NULL, mixed_writer, &w[i]), 0);
    }
    for (int i = 0; i < 16; i++) {
        void *back;
        pthread_join(w[i].thread, &back);
        assert_ptr_equal(back, &w[i]);
        assert_int_equal(w[i].n_ok, 12);
    }
    assert_int_equal(sum(s), 16 * 12);
    store_close(s);
}

/* ---- posted -------------------------------------------------------------------------------------------------------- */

static atomic_int n_done, n_failed;

static void count_done(void *arg, const struct err *e)
{
    free(arg);
    atomic_fetch_add(e ? &n_failed : &n_done, 1);
}

static void post(struct store *s, store_fn *fn, int from, int n)
{
    struct err e;
    for (int i = from; i < from + n; i++) {
        char *name = malloc(20);
        assert_non_null(name);
        snprintf(name, 20, "n%d", i);
        assert_true(store_post(s, fn, count_done, name, &e));
    }
}

static void each_posted(struct places *p, enum place kind)
{
    char where[200];
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    n_done = n_failed = 0;
    post(s, add_meta, 0, 2000);
    post(s, refuse, 2000, 10);
    post(s, add_meta, 2010, 100);
    store_close(s); /* waits for them */
    assert_int_equal(n_done, 2100);
    assert_int_equal(n_failed, 10);
    s = places_store(where);
    assert_int_equal(sum(s), 2100);
    store_close(s);
}

/* A child writes and says what was acknowledged; it is killed at a random moment, and all that it said is there. */
static void each_killed(struct places *p, enum place kind)
{
    char where[200];
    int said = 0;
    places_new(p, kind, where, sizeof where);
    store_close(places_store(where));
    for (int round = 0; round < 6; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        const pid_t pid = fork();
        if (!pid) {
            struct store *s = NULL;
            struct err e;
            if (!store_open(&s, where, &(struct store_options){ .busy_s = 120 }, &e)) _exit(3);
            for (int i = 0;; i++) {
                char name[40];
                snprintf(name, sizeof name, "n%d-%d", round, i);
                if (!store_write(s, add_meta, name, &e) || write(pipes[1], "+", 1) != 1) _exit(4);
            }
        }
        close(pipes[1]);
        char c;
        const int at_least = 1 + rand() % 40;
        for (int i = 0; i < at_least; i++, said++) assert_int_equal(read(pipes[0], &c, 1), 1);
        kill(pid, SIGKILL);
        while (read(pipes[0], &c, 1) == 1) said++;
        waitpid(pid, NULL, 0);
        close(pipes[0]);
        struct store *s = places_store(where);
        const int64_t there = sum(s);
        assert_true(there >= said &&
                    there <= said + round + 1); /* one a round may be written and not yet said */
        store_close(s);
    }
}

/* ---- versions ------------------------------------------------------------------------------------------------------ */

static const struct store_backend *const rows[] = { &sqlite_backend, &postgres_backend };

static void set_version(const struct store_backend *b, const char *where, int64_t version)
{
    void *c;
    int64_t changed;
    struct err e;
    assert_true(b->open(&c, where, &(struct store_options){ 0 }, &e));
    assert_true(b->run(c, "UPDATE meta SET value = $1 WHERE name = 'version'", STORE_ARGS(STORE_V(version)),
                       NULL, NULL, &changed, &e));
    b->close(c);
}

static void each_versions(struct places *p, enum place kind)
{
    const struct store_backend *b = rows[kind];
    char where[200];
    void *c;
    struct store *s;
    struct err e = { ERR_NONE, "" };
    for (int v = 1; v < schema_version(); v++) { /* from each older version */
        places_new(p, kind, where, sizeof where);
        assert_true(b->open(&c, where, &(struct store_options){ 0 }, &e));
        assert_true(schema_apply_to(b, c, where, false, v, &e));
        b->close(c);
        assert_false(store_open(&s, where, &(struct store_options){ 0 }, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        assert_non_null(strstr(e.msg, "hearth store migrate"));
        store_close(places_store(where)); /* migrates */
        assert_true(store_open(&s, where, &(struct store_options){ 0 }, &e));
        store_close(s);
    }
    places_new(p, kind, where, sizeof where);
    store_close(places_store(where));
    set_version(b, where, store_version() + 1);
    assert_false(store_open(&s, where, &(struct store_options){ .migrate = true }, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "newer hearth"));
}

/* Programs that start at once over an empty place: one makes the tables. */
static void *open_once(void *arg)
{
    struct store *s = NULL;
    struct err e = { ERR_NONE, "" };
    if (!store_open(&s, arg, &(struct store_options){ .busy_s = 120 }, &e))
        return log_error("%s", e.msg), NULL;
    store_close(s);
    return arg;
}

static void each_start_together(struct places *p, enum place kind)
{
    char where[200];
    pthread_t t[8];
    for (int round = 0; round < (kind == PLACE_SQLITE ? 20 : 1); round++) {
        places_new(p, kind, where, sizeof where);
        for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&t[i], NULL, open_once, where), 0);
        for (int i = 0; i < 8; i++) {
            void *ok;
            pthread_join(t[i], &ok);
            assert_non_null(ok);
        }
    }
}

static void test_each(void **state)
{
    static void (*const each[])(struct places *, enum place) = { each_read_write, each_mixed,
                                                                 each_posted,     each_killed,
                                                                 each_versions,   each_start_together };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int k = 0; k < N_PLACES; k++) each[i](*state, (enum place)k);
}

/* ---- faults of SQLite ---------------------------------------------------------------------------------------------- */

static void test_locked(void **state)
{
    char where[200];
    void *other;
    int64_t changed;
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store_busy(where, 0.5);
    assert_true(sqlite_backend.open(&other, where, &(struct store_options){ 0 }, &e));
    assert_true(sqlite_backend.run(other, "BEGIN IMMEDIATE", STORE_NO_ARGS, NULL, NULL, &changed, &e));
    n_done = n_failed = 0;
    post(s, add_meta, 0, 3);
    assert_false(store_write(s, add_meta, "n9", &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.msg, "locked by another program"));
    assert_true(store_away(s, &e));
    assert_int_equal(sum(s), 0); /* readers go on */
    assert_int_equal(n_done, 0);
    assert_true(sqlite_backend.run(other, "COMMIT", STORE_NO_ARGS, NULL, NULL, &changed, &e));
    sqlite_backend.close(other);
    store_close(s);
    assert_int_equal(n_done, 3); /* nothing that was posted is lost */
}

/* Other programs come and go: none of them may take itself for the last one and the log away, also when this one has opened more
 * connections meanwhile. */
static void test_others_come_and_go(void **state)
{
    char where[200];
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    for (int i = 0; i < 4; i++) {
        char name[20];
        snprintf(name, sizeof name, "n%d", i);
        assert_true(store_write(s, add_meta, name, &e)); /* the first one opens the writer's */
        char script[400];
        snprintf(script, sizeof script,
                 "import sqlite3; c = sqlite3.connect('%s'); c.execute(\"INSERT INTO meta VALUES ('n%d', "
                 "1)\"); c.commit(); c.close()",
                 where, 100 + i);
        const pid_t pid =
            fork(); /* a program of its own: a child alone would share what this one knows of its locks */
        if (!pid) {
            execlp("python3", "python3", "-c", script, (char *)NULL);
            _exit(127);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        assert_int_equal(sum(s), 2 * (i + 1));
    }
    store_close(s);
}

static void damage(const char *path, long at, const char *with, size_t n)
{
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(with, 1, n, f), n);
    fclose(f);
}

static void test_damaged(void **state)
{
    char where[200], copy[220];
    struct store *s;
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    s = places_store(where);
    n_done = n_failed = 0;
    post(s, add_meta, 0, 500);
    store_close(s);
    s = places_store(where);
    snprintf(copy, sizeof copy, "%s.copy", where);
    assert_true(store_backup(s, copy, &e));
    assert_false(store_backup(s, copy, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    store_close(s);
    char garbage[3000];
    memset(garbage, 0x5a, sizeof garbage);
    struct stat st;
    assert_int_equal(stat(where, &st), 0);
    damage(where, (long)st.st_size - 4096 + 40, garbage, sizeof garbage);
    assert_true(store_open(&s, where, &(struct store_options){ 0 }, &e));
    assert_false(store_check(s, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "damaged"));
    store_close(s);
    damage(where, 0, garbage, sizeof garbage);
    assert_false(store_open(&s, where, &(struct store_options){ 0 }, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "no store"));
    s = places_store(copy); /* the backup is whole */
    assert_true(store_check(s, &e));
    assert_int_equal(sum(s), 500);
    store_close(s);
}

static bool grow(void *arg, struct session *c, struct err *e)
{
    (void)arg;
    return session_run(c, "PRAGMA max_page_count = 12", STORE_NO_ARGS, NULL, NULL, e);
}

static bool add_large(void *arg, struct session *c, struct err *e)
{
    static char large[60000];
    memset(large, 'x', sizeof large - 1);
    snprintf(large, 20, "%s", (const char *)arg);
    large[strlen(large)] = 'x';
    return session_run(c, "INSERT INTO meta (name, value) VALUES ($1, 1)",
                       STORE_ARGS(STORE_V((const char *)large)), NULL, NULL, e);
}

/* A full disk, as SQLite sees it: the file may not grow. */
static void test_full(void **state)
{
    char where[200];
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(store_write(s, grow, NULL, &e));
    assert_false(store_write(s, add_large, "n1", &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.msg, "disk is full"));
    assert_int_equal(sum(s), 0);
    assert_true(store_write(s, add_meta, "n2", &e)); /* a small one still fits */
    assert_int_equal(sum(s), 1);
    store_close(s);
}

static void test_wrong_places(void **state)
{
    const struct places *p = *state;
    char where[200];
    struct store *s;
    struct err e = { ERR_NONE, "" };
    assert_false(store_open(&s, p->dir, &(struct store_options){ 0 }, &e));
    assert_int_equal(e.code, ERR_IO);
    snprintf(where, sizeof where, "%s/no/such", p->dir);
    assert_false(store_open(&s, where, &(struct store_options){ 0 }, &e));
    assert_int_equal(e.code, ERR_IO);
    snprintf(where, sizeof where, "%s/none.db", p->dir);
    assert_false(store_open(&s, where, &(struct store_options){ .must_exist = true }, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(access(where, F_OK), -1);
    assert_false(store_open(&s, "postgresql://u:secret@/x?host=/nowhere", &(struct store_options){ 0 }, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_null(strstr(e.msg, "secret"));
    assert_false(store_open(&s, "postgresql://h/x?colour=red", &(struct store_options){ 0 }, &e));
    assert_int_equal(e.code, ERR_REQUEST);
}

static void test_private(void **state)
{
    char where[200];
    struct stat st;
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    store_close(places_store(where));
    assert_int_equal(stat(where, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char url[300];
    places_new(*state, PLACE_POSTGRES, where, sizeof where);
    snprintf(url, sizeof url, "postgresql://hearth:geheim@%s", strstr(where, "@") + 1);
    struct store *s = places_store(url);
    assert_null(strstr(store_where(s), "geheim"));
    assert_non_null(strstr(store_where(s), "hearth:***@"));
    store_close(s);
}

/* ---- PostgreSQL goes and comes back -------------------------------------------------------------------------------- */

/* A transaction in whose middle the database is killed and started again, once. */
struct midway {
    struct places *p;
    bool killed;
};

static bool write_midway(void *arg, struct session *c, struct err *e)
{
    struct midway *m = arg;
    if (!add_meta("n1", c, e)) return false;
    if (!m->killed) {
        m->killed = true;
        places_stop_postgres(m->p, SIGQUIT);
        places_start_postgres(m->p);
    }
    return add_meta("n2", c, e);
}

static void test_restarted(void **state)
{
    struct places *p = *state;
    char where[200];
    struct err e = { ERR_NONE, "" };
    places_new(p, PLACE_POSTGRES, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(store_write(s, add_meta, "n0", &e));
    assert_int_equal(sum(s), 1);
    n_done = n_failed = 0;
    for (int round = 0; round < 2; round++) {
        places_stop_postgres(p, round ? SIGQUIT : SIGINT);
        post(s, add_meta, 10 + 10 * round, 10);
        assert_false(store_write(s, add_meta, "never", &e));
        assert_int_equal(e.code, ERR_BUSY);
        assert_true(store_away(s, NULL));
        int64_t v;
        assert_false(store_read(s, sum_of, &v, &e));
        assert_int_equal(e.code, ERR_BUSY);
        places_start_postgres(p);
        for (int i = 0; n_done < 10 * (round + 1); i++) { /* by itself */
            assert_true(i < 2400);                        /* two minutes */
            places_sleep_ms(50);
        }
        assert_int_equal(sum(s), 1 + 10 * (round + 1));
        assert_false(store_away(s, NULL));
    }
    /* All of it or nothing: who waits is told to come again, and then it is there once. */
    struct midway m = { p, false };
    assert_false(store_write(s, write_midway, &m, &e));
    assert_int_equal(e.code, ERR_BUSY);
    for (int i = 0; !store_write(s, write_midway, &m, &e); i++) { /* two minutes */
        assert_int_equal(e.code, ERR_BUSY);
        assert_true(i < 2400);
        places_sleep_ms(50);
    }
    assert_int_equal(sum(s), 1 + 20 + 2); /* a part of the first would be in the way of the second */
    /* Away when it is closed: what was posted is given back, not forgotten. */
    places_stop_postgres(p, SIGINT);
    post(s, add_meta, 90, 2);
    store_close(s);
    assert_int_equal(n_failed, 2);
    places_start_postgres(p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_others_come_and_go),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_wrong_places),
        cmocka_unit_test(test_private),
        cmocka_unit_test(test_restarted),
    };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
