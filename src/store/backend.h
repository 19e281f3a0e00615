/* backend.h - what a database is to the store: a row of functions. A new one is a file with such a row, and a line in store.c's list; the
 * tests in store_test.c run on every row. */
#ifndef HEARTH_STORE_BACKEND_H
#define HEARTH_STORE_BACKEND_H

#include "store/store.h"

struct store_backend {
    const char *name;
    /* *connection is NULL again on failure. busy_s as in struct store_options. */
    bool (*open)(void **connection, const char *where, const struct store_options *o, struct err *e);
    void (*close)(void *connection);
    /* Errors by code as store.h says; ERR_BUSY also for what a second try may get past (a deadlock). */
    bool (*run)(void *connection, const char *sql, const struct store_value *args, int n, store_row_fn *row,
                void *arg, int64_t *changed, struct err *e);
    bool (*alive)(void *connection); /* false: it is of no more use, and is to be closed */
    bool (*has_table)(void *connection, const char *table, bool *has, struct err *e);
    bool (*check)(void *connection, struct err *e);
    bool (*backup)(void *connection, const char *path, struct err *e);
    const char *begin_read, *begin_write;
    /* Inside a transaction of the writer: the writers of all servers take turns, batch by batch. So none waits for a row of another while
     * that one waits for its own, and what a transaction has read stays so until its end. NULL: begin_write does it. */
    const char *lock_writers;
    const char *lock_schema; /* the same for two programs that migrate at once */
};

extern const struct store_backend sqlite_backend, postgres_backend;

#endif
