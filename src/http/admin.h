/* admin.h - what the routes of administrators and of the account have in common: the store behind them, their answers, who asks. */
#ifndef HEARTH_HTTP_ADMIN_H
#define HEARTH_HTTP_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/account/audit.h"

struct buf;
struct err;
struct exchange;

/* The account's store; the preflight has refused who asks a server without one. */
struct store *admin_store(const struct exchange *x);
/* For the audit: the key that asks, and its address. */
struct actor admin_actor(const struct exchange *x);

enum { ADMIN_PAGE_MOST = 1000, ADMIN_PAGE_USUAL = 100 }; /* rows of a list, for its `limit` */
/* A number of the query, within its bounds. False: answered. */
bool admin_number(struct exchange *x, const char *name, int64_t min, int64_t max, int64_t otherwise,
                  int64_t *out);

/* Takes over *o; NULL: no memory. */
void admin_reply(struct exchange *x, int status, json_t *o);
void admin_reply_text(struct exchange *x, struct buf *b);
/* A key that is not there is 404, a store that is away 503. */
void admin_fault(struct exchange *x, const struct err *e);

#endif
