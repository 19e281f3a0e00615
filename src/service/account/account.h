/* account.h - what stands around the models: who may ask, what it costs, what is written down. The door to this room for a server; the parts have headers of their own, which
 * commands use directly.
 *
 * Threads    any, but account_open() and account_close().
 * Ownership  whatever it gives out lives until account_close(). */
#ifndef HEARTH_SERVICE_ACCOUNT_ACCOUNT_H
#define HEARTH_SERVICE_ACCOUNT_ACCOUNT_H

#include "service/account/keyring.h"
#include "service/ending.h"

struct account;

struct account_options {
    const char *store;             /* a file or a URL */
    const char *prices;            /* a file, or "" */
    const struct catalog *catalog; /* needed until account_open() returns */
};

bool account_open(struct account **out, const struct account_options *o, struct err *e);
void account_close(struct account *a);
const char *account_where(const struct account *a);

/* A sink of endings: writes a request's row into the ledger. arg: the account. */
void account_ended(void *arg, const struct ending *e);

struct keyring *account_keyring(struct account *a);

#endif
