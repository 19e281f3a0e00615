/* audit.h - what administrators did, for good: who, when, from where, to what, and how it was before and after.
 *
 * Rows are only ever added, each in the transaction of the act that it tells of: there is no act without its row, and no row without its act.
 * They are chained as the ledger's are (chain.h). Rows that were there before that have no hash of their own, but are in the first one behind
 * them. */
#ifndef HEARTH_SERVICE_ACCOUNT_AUDIT_H
#define HEARTH_SERVICE_ACCOUNT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/account/chain.h"
#include "store/store.h"

/* Who does it: a key's id, or "cli:" and the name of a user of this machine; from: an address, "" at a terminal. */
struct actor {
    const char *who, *from;
};

/* Texts until the function that is given the row returns. before and after: JSON, "" where there was or is nothing. */
struct audit_row {
    int64_t seq; /* from 1, without a gap */
    int64_t at_ms;
    const char *who, *from;
    const char *act, *target; /* "key.rotated", "key_1234" */
    const char *before, *after;
    const char *hash; /* "" of rows from before there was a chain */
};

/* Inside a transaction of the writer. seq and hash are not read. */
bool audit_add(struct session *c, const struct audit_row *row, struct err *e);
/* Up to `most` rows behind `after` (0: from the first), in order. */
bool audit_each(struct store *s, int64_t after, int most,
                bool (*fn)(void *arg, const struct audit_row *row, struct err *e), void *arg, struct err *e);

/* ERR_FORMAT names the first row that is not as it was written. noted: "SEQ:HASH" of an earlier head that must be in the chain, or "". *head:
 * the one to note. */
bool audit_verify(struct store *s, const char *noted, struct chain_head *head, struct err *e);

#endif
