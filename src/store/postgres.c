/* postgres.c - the store in a PostgreSQL, which several servers may share. */
#include <libpq-fe.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/backend.h"

enum { ARGS = 64, COLUMNS = 64, NUMBER = 24 /* characters of a number, its sign and the 0 */ };
/* Types of columns that hold numbers: pg_type.dat. sum() of BIGINT is NUMERIC, and whole. */
enum { OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_NUMERIC = 1700 };

/* Its messages end in a new line, and later lines are hints. */
static void first_line(const char *msg, char *out, size_t cap)
{
    snprintf(out, cap, "%.*s", (int)strcspn(msg, "\n"), msg);
}

/* By class of SQLSTATE (PostgreSQL's appendix A): connections, resources, an operator's shutdown, and what a second try gets past. */
static bool fail(PGconn *c, const PGresult *r, struct err *e)
{
    char why[200];
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    first_line(r && state ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : PQerrorMessage(c), why,
               sizeof why);
    if (!state || PQstatus(c) != CONNECTION_OK)
        return err_set(e, ERR_BUSY, "PostgreSQL cannot be reached: %s", why);
    static const char *const again[] = { "08", "40", "53", "57", "55P03" };
    for (size_t i = 0; i < sizeof again / sizeof *again; i++)
        if (!strncmp(state, again[i], strlen(again[i]))) return err_set(e, ERR_BUSY, "PostgreSQL: %s", why);
    if (!strncmp(state, "XX", 2) || !strncmp(state, "58", 2))
        return err_set(e, ERR_FORMAT, "PostgreSQL reports damage: %s", why);
    return err_set(e, ERR_IO, "PostgreSQL: %s (%s)", why, state);
}

static void close_it(void *connection) { PQfinish(connection); }

static void quiet(void *arg, const PGresult *r) { (void)arg, (void)r; }

static bool open_it(void **connection, const char *where, const struct store_options *o, struct err *e)
{
    (void)o;
    *connection = NULL;
    char *wrong = NULL;
    PQconninfoOption *parts = PQconninfoParse(where, &wrong);
    if (!parts) {
        char why[200];
        first_line(wrong ? wrong : "out of memory", why, sizeof why);
        PQfreemem(wrong);
        return err_set(e, ERR_REQUEST, "the store's URL is not understood: %s", why);
    }
    PQconninfoFree(parts);
    /* A machine that does not answer is noticed, both when connecting and in the middle of a statement. */
    const char *names[] = { "dbname",
                            "connect_timeout",
                            "keepalives_idle",
                            "keepalives_interval",
                            "fallback_application_name",
                            "client_encoding",
                            NULL },
               *values[] = { where, "5", "10", "5", "hearth", "UTF8", NULL };
    PGconn *c = PQconnectdbParams(names, values, 1);
    if (!c) return err_set(e, ERR_NOMEM, "out of memory");
    if (PQstatus(c) != CONNECTION_OK) {
        char why[300];
        first_line(PQerrorMessage(c), why, sizeof why);
        PQfinish(c);
        return err_set(e, ERR_BUSY, "PostgreSQL cannot be reached: %s", why);
    }
    PQsetNoticeReceiver(c, quiet, NULL);
    *connection = c;
    return true;
}

static bool give_row(const PGresult *r, int i, store_row_fn *row, void *arg, struct err *e)
{
    struct store_value v[COLUMNS];
    const int n = PQnfields(r);
    if (n > COLUMNS) return err_set(e, ERR_LIMIT, "a row of %d columns", n);
    for (int k = 0; k < n; k++) {
        const Oid type = PQftype(r, k);
        const bool number = type == OID_INT8 || type == OID_INT4 || type == OID_INT2 || type == OID_NUMERIC;
        const char *s = PQgetvalue(r, i, k);
        v[k] = PQgetisnull(r, i, k) ? store_number(0)
               : number             ? store_number(strtoll(s, NULL, 10))
                                    : store_text(s);
    }
    return row(arg, &(struct store_row){ v, n }, e);
}

static bool run(void *connection, const char *sql, const struct store_value *args, int n, store_row_fn *row,
                void *arg, int64_t *changed, struct err *e)
{
    PGconn *c = connection;
    char number[ARGS][NUMBER];
    const char *value[ARGS];
    if (n > ARGS) return err_set(e, ERR_LIMIT, "a statement of %d arguments", n);
    for (int i = 0; i < n; i++) {
        snprintf(number[i], NUMBER, "%" PRId64, args[i].number);
        value[i] = args[i].text ? args[i].text : number[i];
    }
    PGresult *r = PQexecParams(c, sql, n, NULL, n ? value : NULL, NULL, NULL, 0);
    const ExecStatusType status = PQresultStatus(r);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || fail(c, r, e);
    *changed = ok ? strtoll(PQcmdTuples(r), NULL, 10) : 0;
    for (int i = 0; ok && row && i < PQntuples(r); i++) ok = give_row(r, i, row, arg, e);
    PQclear(r);
    return ok;
}

static bool alive(void *connection) { return PQstatus(connection) == CONNECTION_OK; }

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
    return run(
        connection,
        "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1",
        STORE_ARGS(STORE_V(table)), set_true, has, &changed, e);
}

/* Every row of every table is read once, whole. */
static bool check(void *connection, struct err *e)
{
    static const char *const all[] = {
        "SELECT count(t::text) FROM meta t",     "SELECT count(t::text) FROM keys t",
        "SELECT count(t::text) FROM ledger t",   "SELECT count(t::text) FROM ledger_head t",
        "SELECT count(t::text) FROM spending t", "SELECT count(t::text) FROM reservations t",
        "SELECT count(t::text) FROM projects t"
    };
    int64_t changed;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!run(connection, all[i], STORE_NO_ARGS, NULL, NULL, &changed, e)) return false;
    return true;
}

static bool backup(void *connection, const char *path, struct err *e)
{
    (void)connection, (void)path;
    return err_set(e, ERR_UNSUPPORTED,
                   "a PostgreSQL is backed up with its own tools: pg_dump --format=custom --file=FILE URL");
}

const struct store_backend postgres_backend = {
    .name = "postgresql",
    .open = open_it,
    .close = close_it,
    .run = run,
    .alive = alive,
    .has_table = has_table,
    .check = check,
    .backup = backup,
    .begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    .begin_write = "BEGIN ISOLATION LEVEL READ COMMITTED",
    .lock_schema = "SELECT pg_advisory_xact_lock(736872)",
    .lock_writers = "SELECT pg_advisory_xact_lock(736873)",
};
