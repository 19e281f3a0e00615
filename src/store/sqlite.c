/* sqlite.c - the store in one file. WAL mode: readers see the rows as they stood and wait for nobody; synchronous FULL: a commit is on the
 * disk when it returns, which the group commit pays for many at once. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/backend.h"

enum { CACHED = 32, COLUMNS = 64 };

struct connection {
    sqlite3 *db;
    char *path;
    double busy_s; /* how long a statement waits for others */
    /* Statements by their text's address: callers' SQL are constants. */
    struct cached {
        const char *sql;
        sqlite3_stmt *st;
    } cache[CACHED];
    int n_cached;
};

static bool fail(const struct connection *c, int rc, struct err *e)
{
    const char *p = c->path, *why = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(e, ERR_BUSY, "%s is locked by another program; close that one, or try again", p);
    case SQLITE_FULL: return err_set(e, ERR_BUSY, "%s: the disk is full; make room and try again", p);
    case SQLITE_IOERR: return err_set(e, ERR_BUSY, "%s: %s; is the disk full or gone?", p, why);
    case SQLITE_NOMEM: return err_set(e, ERR_NOMEM, "out of memory");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(e, ERR_FORMAT,
                       "%s is damaged or no store (%s): keep a copy of it, then put a backup in its place", p,
                       why);
    case SQLITE_CANTOPEN: return err_set(e, ERR_IO, "%s cannot be opened: %s", p, why);
    case SQLITE_READONLY: return err_set(e, ERR_IO, "%s may not be written to: %s", p, why);
    default: return err_set(e, ERR_IO, "%s: %s", p, why);
    }
}

static void close_it(void *connection)
{
    struct connection *c = connection;
    if (!c) return;
    for (int i = 0; i < c->n_cached; i++) sqlite3_finalize(c->cache[i].st);
    sqlite3_close(c->db);
    free(c->path);
    free(c);
}

/* Whether what came back busy is worth trying once more, after a short sleep. SQLite's own wait (sqlite3_busy_timeout) does not cover all: it is
 * not asked while the journal's mode changes, while the first one to open reads the log back, or while the last one to close puts it away.
 * Inside a transaction nothing is repeated: its snapshot may be what stands in the way. */
static bool try_again(const struct connection *c, int rc, double began)
{
    if ((rc & 0xff) != SQLITE_BUSY || !sqlite3_get_autocommit(c->db) || clock_seconds() - began >= c->busy_s)
        return false;
    sqlite3_sleep(5);
    return true;
}

/* NULL with an error when the text is not understood. */
static sqlite3_stmt *statement(struct connection *c, const char *sql, bool *keep, double began, struct err *e)
{
    sqlite3_stmt *st = NULL;
    *keep = true;
    for (int i = 0; i < c->n_cached; i++)
        if (c->cache[i].sql == sql && !strcmp(sqlite3_sql(c->cache[i].st), sql)) return c->cache[i].st;
    int rc;
    do rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
    while (try_again(c, rc, began));
    if (rc != SQLITE_OK) {
        fail(c, rc, e);
        err_wrap(e, "\"%.60s\"", sql);
        return NULL;
    }
    *keep = c->n_cached < CACHED;
    if (*keep) c->cache[c->n_cached++] = (struct cached){ sql, st };
    return st;
}

static bool give_row(sqlite3_stmt *st, store_row_fn *row, void *arg, struct err *e)
{
    struct store_value v[COLUMNS];
    int n = sqlite3_column_count(st);
    if (n > COLUMNS) return err_set(e, ERR_LIMIT, "a row of %d columns", n);
    for (int i = 0; i < n; i++)
        v[i] = sqlite3_column_type(st, i) == SQLITE_TEXT
                   ? store_text((const char *)sqlite3_column_text(st, i))
                   : store_number(sqlite3_column_int64(st, i));
    return row(arg, &(struct store_row){ v, n }, e);
}

static bool run(void *connection, const char *sql, const struct store_value *args, int n, store_row_fn *row,
                void *arg, int64_t *changed, struct err *e)
{
    struct connection *c = connection;
    bool keep, ok = true;
    const double began = clock_seconds();
    sqlite3_stmt *st = statement(c, sql, &keep, began, e);
    if (!st) return false;
    int rc = SQLITE_OK;
    for (int i = 0; i < n && rc == SQLITE_OK; i++)
        rc = args[i].text ? sqlite3_bind_text(st, i + 1, args[i].text, -1, SQLITE_STATIC)
                          : sqlite3_bind_int64(st, i + 1, args[i].number);
    bool given = false;
    if (rc == SQLITE_OK) do {
            sqlite3_reset(st);
            while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
                given = true;
                if (row && !(ok = give_row(st, row, arg, e))) break;
            }
        } while (ok && !given && try_again(c, rc, began));
    if (ok && rc != SQLITE_DONE) ok = fail(c, rc, e);
    *changed = sqlite3_changes64(c->db);
    sqlite3_reset(st);
    if (!keep) sqlite3_finalize(st);
    return ok;
}

static bool pragma(struct connection *c, const char *sql, struct err *e)
{
    int64_t changed;
    return run(c, sql, STORE_NO_ARGS, NULL, NULL, &changed, e);
}

/* Hashes of keys and who asked for what are nobody else's business: a new file is its owner's alone. One that is there is only looked at:
 * closing any descriptor of it would drop the locks that this process's other connections hold (POSIX), and then another program takes
 * itself for the last one, and the log away. */
static bool make_private(const char *path, bool must_exist, struct err *e)
{
    struct stat st;
    if (stat(path, &st)) {
        if (errno != ENOENT) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        if (must_exist) return err_set(e, ERR_NOT_FOUND, "there is no store at %s", path);
        const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) return errno == EEXIST || err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        close(fd);
        return true;
    }
    return S_ISREG(st.st_mode) || err_set(e, ERR_IO, "%s is not a file", path);
}

static bool open_it(void **connection, const char *where, const struct store_options *o, struct err *e)
{
    *connection = NULL;
    if (!make_private(where, o->must_exist, e)) return false;
    struct connection *c = calloc(1, sizeof *c);
    if (!c || !(c->path = strdup(where))) {
        free(c);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    /* Never two threads on one connection: the store lends it out. */
    int rc = sqlite3_open_v2(where, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    bool ok = rc == SQLITE_OK || fail(c, rc, e);
    c->busy_s = o->busy_s > 0 ? o->busy_s : 5;
    if (ok) sqlite3_busy_timeout(c->db, (int)(c->busy_s * 1e3));
    ok = ok && pragma(c, "PRAGMA journal_mode = WAL", e) && pragma(c, "PRAGMA synchronous = FULL", e) &&
         pragma(c, "PRAGMA foreign_keys = ON", e);
    if (!ok) {
        close_it(c);
        return false;
    }
    *connection = c;
    return true;
}

static bool alive(void *connection)
{
    (void)connection;
    return true;
}

static bool set_true(void *arg, const struct store_row *r, struct err *e)
{
    (void)r, (void)e;
    *(bool *)arg = true;
    return true;
}

static bool has_table(void *connection, const char *table, bool *has, struct err *e)
{
    int64_t changed;
    *has = false;
    return run(connection, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
               STORE_ARGS(STORE_V(table)), set_true, has, &changed, e);
}

static bool check_row(void *arg, const struct store_row *r, struct err *e)
{
    const struct connection *c = arg;
    const char *said = r->v[0].text ? r->v[0].text : "";
    return !strcmp(said, "ok") || err_set(e, ERR_FORMAT, "%s is damaged: %.200s", c->path, said);
}

static bool check(void *connection, struct err *e)
{
    int64_t changed;
    return run(connection, "PRAGMA integrity_check(1)", STORE_NO_ARGS, check_row, connection, &changed, e);
}

/* Page by page, so that whoever writes meanwhile is not held up; what they write is in the copy too. */
static bool backup(void *connection, const char *path, struct err *e)
{
    struct connection *c = connection, to = { .path = (char *)path };
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return err_set(e, ERR_REQUEST, "%s is there already; a backup goes into a new file", path);
    if (fd < 0) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    close(fd);
    int rc = sqlite3_open_v2(path, &to.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(to.db, "main", c->db, "main") : NULL;
    if (b) {
        while ((rc = sqlite3_backup_step(b, 256)) == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED)
            sqlite3_sleep(rc == SQLITE_OK ? 0 : 20);
        sqlite3_backup_finish(b);
    }
    bool ok = (b && rc == SQLITE_DONE) || fail(&to, rc == SQLITE_OK ? sqlite3_errcode(to.db) : rc, e);
    sqlite3_close(to.db);
    if (!ok) unlink(path);
    return ok;
}

const struct store_backend sqlite_backend = {
    .name = "sqlite",
    .open = open_it,
    .close = close_it,
    .run = run,
    .alive = alive,
    .has_table = has_table,
    .check = check,
    .backup = backup,
    .begin_read = "BEGIN",
    .begin_write = "BEGIN IMMEDIATE",
};
