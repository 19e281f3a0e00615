/* chain.h - rows that each have the hash of the one before in their own, so that one that was changed, moved or taken out is found.
 *
 * BLAKE2b-256 over the hash before, the row's number and its fields, each with its length in front, so that no two rows have the same bytes.
 * The last row's number and hash are kept apart, in a table of their own with one row, so that rows missing at the end are found too. */
#ifndef HEARTH_SERVICE_ACCOUNT_CHAIN_H
#define HEARTH_SERVICE_ACCOUNT_CHAIN_H

#include <sodium.h>

#include "base/err.h"
#include "store/store.h"

enum { CHAIN_HASH = 65 /* hexadecimal, and the 0 */ };

struct chain {
    crypto_generichash_state h;
};
void chain_begin(struct chain *c, const char *before, int64_t seq);
void chain_text(struct chain *c, const char *text);
void chain_number(struct chain *c, int64_t number);
void chain_end(struct chain *c, char out[CHAIN_HASH]);

/* The last row: seq 0 and "" before there is one. */
struct chain_head {
    int64_t seq;
    char hash[CHAIN_HASH];
};
/* Takes a row of (seq, hash); arg: a struct chain_head. */
bool chain_head_row(void *arg, const struct store_row *r, struct err *e);
/* "SEQ:HASH" as a verification prints it; "" is none, and leaves *out. ERR_REQUEST. */
bool chain_head_parse(const char *text, struct chain_head *out, struct err *e);

#endif
