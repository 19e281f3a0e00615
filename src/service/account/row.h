/* row.h - a row of the ledger as a list of named fields: for the statements that write it, the hash over it, and the journal.
 *
 * Packed  "name\0value\0" for every field that is neither 0 nor "", in the columns' order. A reader leaves out names that it does not know and
 *         finds 0 or "" for those that are not there, so that a journal outlives a change of columns. */
#ifndef HEARTH_SERVICE_ACCOUNT_ROW_H
#define HEARTH_SERVICE_ACCOUNT_ROW_H

#include "service/account/ledger.h"

struct row_field {
    const char *name;
    size_t at, size; /* in struct ledger_row; size 0: a number */
};
extern const struct row_field row_fields[];
extern const int n_row_fields;

struct store_value row_value(const struct ledger_row *r, const struct row_field *f);
void row_take(struct ledger_row *r, const struct row_field *f, const struct store_value *v);

/* src as far as it fits and is UTF-8, which databases insist on: what is not becomes '?', and no character is cut. */
void row_text(char *out, size_t cap, const char *src);

enum { ROW_PACKED = 2000 /* the most that any row takes */ };
size_t row_pack(const struct ledger_row *r, char out[ROW_PACKED]); /* bytes */
/* False: these are not the bytes of a row. */
bool row_unpack(struct ledger_row *r, const char *in, size_t len);

#endif
