/* statement.h - what one key is told of its own account: what is left of its budgets, and its pictures one by one.
 *
 * Threads  any. */
#ifndef HEARTH_SERVICE_ACCOUNT_STATEMENT_H
#define HEARTH_SERVICE_ACCOUNT_STATEMENT_H

#include "service/account/keyring.h"

/* The least that is left of a hard budget of the key or its project, in nano-dollars; below 0 when a budget was lowered. *any false: it has none. */
bool statement_balance(struct store *s, const struct key_record *k, int64_t now_ms, bool *any, int64_t *nano,
                       struct err *e);

/* One request of a dialect. Texts until the function that is given it returns. */
struct statement_line {
    const char *id, *path, *how;
    int64_t cost, total_us, ended_ms, pictures;
};
struct statement_sum {
    int64_t n, cost;
};
/* Those of a key (its id in the ledger) to one path ("": any), the newest first; *sum is over all of them, whatever the page. */
bool statement_lines(struct store *s, const char *key, const char *dialect, const char *path, int64_t limit,
                     int64_t offset, bool (*fn)(void *arg, const struct statement_line *l, struct err *e),
                     void *arg, struct statement_sum *sum, struct err *e);

#endif
