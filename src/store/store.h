/* store.h - where rows are kept: one interface, one schema, over a table of databases (backend.h).
 *
 * A store is a file (SQLite, in WAL mode) or a URL (postgresql://..., which several servers may share). The SQL that callers write is
 * what all of them understand: arguments are $1, $2 ... in the order of their first use, numbers are BIGINT, all else is TEXT.
 *
 * Writing    one thread. It takes all that waits into one transaction (a group commit), so that a thousand writers pay for one sync.
 *            Writers of several programs take turns: what a function has read in its transaction stays so until the end of it.
 * Reading    on the caller's thread, over connections of their own, as the rows stood when the reading began.
 * Durable    what a call reported as written survives kill -9 and, with a file system that keeps its word, a power cut.
 * Errors     ERR_BUSY: it cannot be reached, is locked or full: try again, it heals by itself. ERR_FORMAT: it is damaged, or not of this
 *            program's version. ERR_IO: the place is wrong. Anything else comes from the caller's own function.
 * Threads    any, but store_open() and store_close(). */
#ifndef HEARTH_STORE_STORE_H
#define HEARTH_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct store;
struct session; /* a connection lent to one function, inside a transaction */

/* ---- values -------------------------------------------------------------------------------------------------------- */

struct store_value {
    const char *text; /* NULL: a number */
    int64_t number;
};
static inline struct store_value store_text(const char *s)
{
    return (struct store_value){ .text = s ? s : "" };
}
static inline struct store_value store_number(int64_t v) { return (struct store_value){ .number = v }; }
#define STORE_V(x) (_Generic((x), char * : store_text, const char * : store_text, default : store_number)(x))
/* The arguments of a statement: STORE_ARGS(STORE_V(id), STORE_V(7)). */
#define STORE_ARGS(...)                                                                                      \
    (const struct store_value[]){ __VA_ARGS__ },                                                             \
        (int)(sizeof((const struct store_value[]){ __VA_ARGS__ }) / sizeof(struct store_value))
#define STORE_NO_ARGS NULL, 0

/* A row of a result. A text is never NULL and lives until the function returns; a number's text is NULL; SQL's NULL is 0. */
struct store_row {
    const struct store_value *v;
    int n;
};
/* False ends the statement with *e. */
typedef bool store_row_fn(void *arg, const struct store_row *r, struct err *e);

/* ---- opening ------------------------------------------------------------------------------------------------------- */

struct store_options {
    bool migrate; /* an older store is brought to this program's version; without it that is an error */
    bool must_exist;
    double busy_s; /* how long a lock of another process is waited for; 0: five seconds */
};

/* An empty place gets the schema. A password in a URL does not come back in messages. */
bool store_open(struct store **out, const char *where, const struct store_options *o, struct err *e);
/* Waits until everything posted is written, but no longer than a few seconds for a store that is away. NULL: nothing happens. */
void store_close(struct store *s);
const char *store_name(const struct store *s);  /* "sqlite", "postgresql" */
const char *store_where(const struct store *s); /* as it may be shown */

/* ---- statements ---------------------------------------------------------------------------------------------------- */

/* One statement; row (NULL: none is expected) gets each row. */
bool session_run(struct session *c, const char *sql, const struct store_value *args, int n, store_row_fn *row,
                 void *arg, struct err *e);
int64_t
session_changed(const struct session *c); /* rows that the last statement inserted, changed or removed */

typedef bool store_fn(void *arg, struct session *c, struct err *e);

bool store_read(struct store *s, store_fn *fn, void *arg, struct err *e);

/* Runs fn in the writer's next transaction and waits until it is durable. False: nothing of it is there, but for ERR_BUSY where it is not
 * known. fn may run more than once and must give the same result each time; it sees what the functions before it wrote. */
bool store_write(struct store *s, store_fn *fn, void *arg, struct err *e);

/* The same without waiting: done(arg, NULL) is called from the writer once it is durable, and done(arg, error) when fn itself failed or
 * the store was closed while it was away. While the store is away it waits, and so do all behind it: fn must know itself when it has
 * been written before. False: STORE_WAITING already wait, or memory is short; nothing is called. */
enum { STORE_WAITING = 100000 };
/* late(arg), at most once and before done: the store is away, and nobody should wait for this. NULL: who posts does not care. */
bool store_post_late(struct store *s, store_fn *fn, void (*done)(void *arg, const struct err *e),
                     void (*late)(void *arg), void *arg, struct err *e);
bool store_post(struct store *s, store_fn *fn, void (*done)(void *arg, const struct err *e), void *arg,
                struct err *e);
/* Why the last transaction could not be written; false when it could. For /ready. */
bool store_away(struct store *s, struct err *why);

/* What the writer has done and what waits for it, for counters. bucket[i]: commits that took up to store_bounds[i] seconds and no less than the one
 * before; the last: all that took longer. */
enum { STORE_BUCKETS = 12 };
extern const double store_bounds[STORE_BUCKETS];
struct store_counts {
    bool away;
    int waiting;
    uint64_t written,
        failures; /* functions whose writing is durable; transactions that could not be written */
    uint64_t bucket[STORE_BUCKETS + 1];
    double commit_s; /* of all commits together */
};
void store_count(struct store *s, struct store_counts *out);

/* ---- keeping ------------------------------------------------------------------------------------------------------- */

int store_version(void); /* of this program's schema */
/* Reads everything that can be read for its own sake. ERR_FORMAT says what is damaged. */
bool store_check(struct store *s, struct err *e);
/* A copy of a store that is in use, into a new file. ERR_UNSUPPORTED where the database has tools of its own for that. */
bool store_backup(struct store *s, const char *path, struct err *e);

#endif
