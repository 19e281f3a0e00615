/* schema.c - see schema.h. A version, once released, is never changed: what comes later is a line of its own at the end. */
#include "store/schema.h"

#include <stddef.h>

/* Times are Unix milliseconds, 0 stands for never; money is nano-dollars; hashes are hexadecimal. */
static const char *const version_1[] = {
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO meta VALUES ('version', 0)",
    "INSERT INTO meta VALUES ('keys', 0)", /* goes up with every change of keys */
    "CREATE TABLE keys (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, hint TEXT NOT NULL, name TEXT NOT "
    "NULL, "
    "project TEXT NOT NULL, scopes TEXT NOT NULL, addresses TEXT NOT NULL, limits TEXT NOT NULL, "
    "budgets TEXT NOT NULL, tags TEXT NOT NULL, made_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL, "
    "revoked_ms BIGINT NOT NULL)",
    NULL,
};

/* The ledger; its columns are ledger.h's. The head is the last row's number and hash. */
static const char *const version_2[] = {
    "CREATE TABLE ledger (seq BIGINT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, request TEXT NOT NULL, "
    "ended_ms BIGINT NOT NULL, key_id TEXT NOT NULL, project TEXT NOT NULL, address TEXT NOT NULL, "
    "dialect TEXT NOT NULL, endpoint TEXT NOT NULL, path TEXT NOT NULL, model TEXT NOT NULL, prompt "
    "BIGINT NOT NULL, cached BIGINT NOT NULL, completion BIGINT NOT NULL, reasoning BIGINT NOT NULL, "
    "pictures BIGINT NOT NULL, steps BIGINT NOT NULL, pixels BIGINT NOT NULL, cost BIGINT NOT NULL, "
    "queue_us BIGINT NOT NULL, first_us BIGINT NOT NULL, total_us BIGINT NOT NULL, status BIGINT NOT "
    "NULL, how TEXT NOT NULL, hash TEXT NOT NULL)",
    "CREATE INDEX ledger_ended ON ledger (ended_ms)",
    "CREATE TABLE ledger_head (one BIGINT PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL)",
    "INSERT INTO ledger_head VALUES (1, 0, '')",
    NULL,
};

/* Budgets: what is spent and reserved in each window of an owner, and for whom. */
static const char *const version_3[] = {
    "CREATE TABLE spending (owner TEXT NOT NULL, period TEXT NOT NULL, start_ms BIGINT NOT NULL, spent "
    "BIGINT NOT NULL, "
    "reserved BIGINT NOT NULL, PRIMARY KEY (owner, period, start_ms))",
    "CREATE TABLE reservations (id TEXT NOT NULL, owner TEXT NOT NULL, period TEXT NOT NULL, start_ms BIGINT "
    "NOT NULL, "
    "nano BIGINT NOT NULL, made_ms BIGINT NOT NULL, PRIMARY KEY (id, owner, period))",
    "CREATE INDEX reservations_made ON reservations (made_ms)",
    NULL,
};

/* What administrators did, and what others are told of it: both only ever get more. */
static const char *const version_4[] = {
    "CREATE TABLE audit (seq BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, who TEXT NOT NULL, from_address TEXT "
    "NOT NULL, act TEXT NOT NULL, target TEXT NOT NULL, before_json TEXT NOT NULL, after_json TEXT NOT NULL)",
    "CREATE TABLE events (seq BIGINT PRIMARY KEY, id TEXT NOT NULL UNIQUE, once TEXT NOT NULL UNIQUE, at_ms "
    "BIGINT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL)",
    NULL,
};

/* Projects have rules of their own; keys a place among those who wait. */
static const char *const version_5[] = {
    "CREATE TABLE projects (name TEXT PRIMARY KEY, limits TEXT NOT NULL, budgets TEXT NOT NULL, made_ms "
    "BIGINT NOT NULL)",
    "ALTER TABLE keys ADD COLUMN weight BIGINT NOT NULL DEFAULT 1",
    "ALTER TABLE keys ADD COLUMN priority BIGINT NOT NULL DEFAULT 0",
    NULL,
};

/* How far each address of webhooks has come, and what is kept sealed. */
static const char *const version_6[] = {
    "CREATE TABLE webhooks (url TEXT PRIMARY KEY, seq BIGINT NOT NULL, tries BIGINT NOT NULL, next_ms BIGINT "
    "NOT "
    "NULL, failing_ms BIGINT NOT NULL, holder TEXT NOT NULL, held_ms BIGINT NOT NULL)",
    "CREATE TABLE secrets (name TEXT PRIMARY KEY, sealed TEXT NOT NULL, set_ms BIGINT NOT NULL)",
    NULL,
};

/* What makes an answer again; and requests that were recorded, with the bytes of their answers. */
static const char *const version_7[] = {
    "ALTER TABLE ledger ADD COLUMN error TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE ledger ADD COLUMN seed TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE ledger ADD COLUMN request_hash TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE ledger ADD COLUMN model_hash TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE ledger ADD COLUMN answer_hash TEXT NOT NULL DEFAULT ''",
    ("CREATE TABLE records (uid TEXT PRIMARY KEY, made_ms BIGINT NOT NULL, path TEXT NOT NULL, headers TEXT "
     "NOT NULL, body TEXT NOT NULL, answer_type TEXT NOT NULL, answer TEXT NOT NULL)"),
    "CREATE INDEX ledger_request ON ledger (request)",
    NULL,
};

/* The audit is chained, as the ledger is: rows of before have no hash, but are in that of the first behind them. And when a server last said that
 * it delivers to an address, so that one that is gone does not keep events for ever. */
static const char *const version_8[] = {
    "ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE audit_head (one BIGINT PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL)",
    "INSERT INTO audit_head VALUES (1, 0, '')",
    "ALTER TABLE webhooks ADD COLUMN seen_ms BIGINT NOT NULL DEFAULT 0",
    NULL,
};

/* Files that clients sent, and batches of requests that are read from them; of each line that has been answered, the answer. A file's content
 * begins at byte `start` of what is kept under its id. */
static const char *const version_9[] = {
    "CREATE TABLE files (id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT "
    "NULL, bytes BIGINT NOT NULL, start BIGINT NOT NULL, made_ms BIGINT NOT NULL, expires_ms BIGINT NOT "
    "NULL)",
    "CREATE INDEX files_owner ON files (owner, made_ms, id)",
    "CREATE TABLE batches (id TEXT PRIMARY KEY, owner TEXT NOT NULL, asker TEXT NOT NULL, address TEXT NOT "
    "NULL, endpoint TEXT NOT NULL, input_file TEXT NOT NULL, window_s BIGINT NOT NULL, metadata TEXT NOT "
    "NULL, state TEXT NOT NULL, errors TEXT NOT NULL, output_file TEXT NOT NULL, error_file TEXT NOT NULL, "
    "total BIGINT NOT NULL, done BIGINT NOT NULL, failed BIGINT NOT NULL, made_ms BIGINT NOT NULL, "
    "expires_ms BIGINT NOT NULL, in_progress_ms BIGINT NOT NULL, finalizing_ms BIGINT NOT NULL, "
    "completed_ms BIGINT NOT NULL, failed_ms BIGINT NOT NULL, expired_ms BIGINT NOT NULL, cancelling_ms "
    "BIGINT NOT NULL, cancelled_ms BIGINT NOT NULL)",
    "CREATE INDEX batches_owner ON batches (owner, made_ms, id)",
    "CREATE INDEX batches_state ON batches (state)",
    "CREATE TABLE batch_lines (batch TEXT NOT NULL, line BIGINT NOT NULL, status BIGINT NOT NULL, request "
    "TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (batch, line))",
    NULL,
};

/* Who served a request whose model has a route: "here", or an upstream's name. */
static const char *const version_10[] = {
    "ALTER TABLE ledger ADD COLUMN route TEXT NOT NULL DEFAULT ''",
    NULL,
};

/* What a safety policy holds for a person, and what was decided. */
static const char *const version_11[] = {
    "CREATE TABLE reviews (id TEXT PRIMARY KEY, made_ms BIGINT NOT NULL, state TEXT NOT NULL, who TEXT NOT "
    "NULL, project TEXT NOT NULL, address TEXT NOT NULL, endpoint TEXT NOT NULL, policy TEXT NOT NULL, words "
    "TEXT NOT NULL, text TEXT NOT NULL, reason TEXT NOT NULL, decided_ms BIGINT NOT NULL, decided_by TEXT "
    "NOT "
    "NULL)",
    "CREATE INDEX reviews_state ON reviews (state, made_ms, id)",
    NULL,
};

/* Responses that can be asked for again and gone on from, each its owner's. */
static const char *const version_12[] = {
    "CREATE TABLE responses (id TEXT PRIMARY KEY, owner TEXT NOT NULL, previous TEXT NOT NULL, made_ms "
    "BIGINT "
    "NOT NULL, input TEXT NOT NULL, response TEXT NOT NULL)",
    "CREATE INDEX responses_owner ON responses (owner, made_ms, id)",
    "CREATE INDEX responses_made ON responses (made_ms)",
    NULL,
};

static const char *const *const versions[] = { version_1, version_2,  version_3,  version_4,
                                               version_5, version_6,  version_7,  version_8,
                                               version_9, version_10, version_11, version_12 };
enum { N_VERSIONS = sizeof versions / sizeof *versions };

int schema_version(void) { return N_VERSIONS; }

struct at {
    const struct store_backend *b;
    void *c;
};

static bool run(const struct at *s, const char *sql, const struct store_value *args, int n, store_row_fn *row,
                void *arg, struct err *e)
{
    int64_t changed;
    return s->b->run(s->c, sql, args, n, row, arg, &changed, e);
}

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool found_version(const struct at *s, int64_t *version, struct err *e)
{
    bool has;
    *version = 0;
    if (!s->b->has_table(s->c, "meta", &has, e)) return false;
    return !has ||
           run(s, "SELECT value FROM meta WHERE name = 'version'", STORE_NO_ARGS, take_number, version, e);
}

static bool step(const struct at *s, int64_t version, struct err *e)
{
    for (const char *const *sql = versions[version]; *sql; sql++)
        if (!run(s, *sql, STORE_NO_ARGS, NULL, NULL, e))
            return err_wrap(e, "version %d of the schema", (int)version + 1);
    return run(s, "UPDATE meta SET value = $1 WHERE name = 'version'", STORE_ARGS(STORE_V(version + 1)), NULL,
               NULL, e);
}

static bool bring(const struct at *s, const char *where, bool migrate, int to, struct err *e)
{
    int64_t is;
    if (s->b->lock_schema && !run(s, s->b->lock_schema, STORE_NO_ARGS, NULL, NULL, e)) return false;
    if (!found_version(s, &is, e)) return false;
    if (is > to)
        return err_set(
            e, ERR_FORMAT,
            "%s was made by a newer hearth (schema %d, this one knows %d): run that one, or restore "
            "a backup from before",
            where, (int)is, to);
    if (is && is < to && !migrate)
        return err_set(e, ERR_FORMAT,
                       "%s has schema %d, this hearth needs %d: back it up, then run `hearth store migrate`",
                       where, (int)is, to);
    for (; is < to; is++)
        if (!step(s, is, e)) return false;
    return true;
}

bool schema_apply_to(const struct store_backend *b, void *connection, const char *where, bool migrate,
                     int version, struct err *e)
{
    const struct at s = { b, connection };
    int64_t is;
    /* Most often there is nothing to do, and then no lock is worth waiting for. */
    if (!found_version(&s, &is, e)) return false;
    if (is == version) return true;
    if (!run(&s, b->begin_write, STORE_NO_ARGS, NULL, NULL, e)) return false;
    if (bring(&s, where, migrate, version, e)) return run(&s, "COMMIT", STORE_NO_ARGS, NULL, NULL, e);
    run(&s, "ROLLBACK", STORE_NO_ARGS, NULL, NULL, NULL);
    return false;
}

bool schema_apply(const struct store_backend *b, void *connection, const char *where, bool migrate,
                  struct err *e)
{
    return schema_apply_to(b, connection, where, migrate, N_VERSIONS, e);
}
