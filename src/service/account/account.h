/* account.h - what a store keeps around the models: who may ask, what it costs, what is written down (how much may be asked is gate.h's).
 * The door to this room for a server; the parts have headers of their own, which commands use directly.
 *
 * The life of a request: account_name() and account_enter() when it is admitted; account_begun() when it has an ending, and account_reserve()
 * when its model is known; account_book() when all that it used is known, whatever happened to it. From account_begun() on it will have its
 * row, also when the process is killed: the next start finds it in the journal.
 *
 * Threads    any, but account_open() and account_close(). account_reserve() may wait for the disk; the others do not.
 * Ownership  whatever it gives out lives until account_close(). */
#ifndef HEARTH_SERVICE_ACCOUNT_ACCOUNT_H
#define HEARTH_SERVICE_ACCOUNT_ACCOUNT_H

#include "base/clock.h"
#include "service/account/keyring.h"
#include "service/account/prices.h"
#include "service/ending.h"

struct account;
struct catalog;

struct account_options {
    const char *store;             /* a file or a URL */
    const char *journal;           /* a folder of this machine: what is under way (journal.h) */
    const char *prices;            /* a file, or "" */
    const char *tracker;           /* a file that gets a line for each answer (tracker.h); NULL, "": none */
    double reserved_s;             /* a reservation that is older is a killed server's */
    const struct catalog *catalog; /* needed until account_open() returns */
    struct time_source time;
};

bool account_open(struct account **out, const struct account_options *o, struct err *e);
void account_close(struct account *a);
/* Other prices for requests that come from now on. One caller at a time. On failure those that hold go on. */
bool account_set_prices(struct account *a, const struct catalog *c, const char *path, struct err *e);
const char *account_where(const struct account *a);

struct keyring *account_keyring(struct account *a);
struct store *account_store(const struct account *a);

struct account_refusal {
    enum { ACCOUNT_SPENT, ACCOUNT_AWAY } why;
    char msg[300];    /* for the client */
    int64_t again_ms; /* Unix; 0: nobody knows */
};

/* Its name in the ledger and the time whose prices hold for it, before anything else. a NULL: there is no account. */
void account_name(const struct account *a, struct identity *is);
/* False: its row could not be written. */
bool account_enter(struct account *a, struct account_refusal *r);
/* Reserves what it costs at most out of the budgets of its key and its project. True: r->msg is a warning, or "". */
bool account_reserve(struct account *a, const struct identity *is, const char *model,
                     const struct usage *worst, struct account_refusal *r);
/* The same of a request that costs no more than this. */
bool account_reserve_cost(struct account *a, const struct identity *is, int64_t nano,
                          struct account_refusal *r);
/* What was reserved for it is free again, for it is to be reserved anew, by another's price. False: the store is away. */
bool account_release(struct account *a, const struct identity *is);
/* Before its model is loaded, when what it costs at most is not known yet: whether there is room for the least that anything of that model
 * costs, a token of a prompt. Nothing is reserved. */
bool account_has_room(struct account *a, const struct identity *is, const char *model,
                      struct account_refusal *r);
/* What a model costs this request; NULL: one that came now. */
struct price account_price(const struct account *a, const char *model, const struct identity *is);

/* A line of a batch is another matter: its row is written with its answer (line_answer.h) and its cost in one transaction, and where that did not
 * come to be it is asked again. So it is in no journal, and what ended without an answer for good has no row. */

/* Notes in the journal that e is under way; again when more is known of it. */
void account_begun(struct account *a, struct ending *e);

/* The books of endings (struct ending_books): the request's row goes into the ledger, and its cost out of its budgets, in one transaction.
 * told(told_arg): it is durable, or the store is away and the journal has it. arg: the account. */
void account_book(void *arg, struct ending *e, void (*told)(void *told_arg), void *told_arg);

#endif
