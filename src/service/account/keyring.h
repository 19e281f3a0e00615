/* keyring.h - the keys of a store: made, changed and revoked there, and known in memory to those who ask at every request.
 *
 * A key is shown once, when it is made; the store has its hash. Its id stays the same when it is rotated, so that limits, budgets and the
 * ledger go on.
 *
 * Threads    any. A thread of the keyring's own looks every second whether keys have changed, here or by another program; while the
 *            store is away it goes on with those it knows.
 * Ownership  a record lives until the keyring is closed, also when its key has been changed or revoked since: requests hold it. */
#ifndef HEARTH_SERVICE_ACCOUNT_KEYRING_H
#define HEARTH_SERVICE_ACCOUNT_KEYRING_H

#include <stdbool.h>
#include <stdint.h>

#include "service/account/address_list.h"
#include "service/account/audit.h"
#include "service/account/rules.h"
#include "service/account/scopes.h"
#include "service/principal.h"
#include "store/store.h"

enum { KEY_TEXT = 64 /* of a key, its 0 too */, KEY_HASH_TEXT = 2 * PRINCIPAL_HASH + 1 };

/* What a key is to be; "" for what it has not. */
struct key_wish {
    const char *name, *project;
    const char *scopes, *addresses, *limits, *budgets, *tags; /* lists, their items separated by commas */
    int64_t expires_ms;                                       /* 0: never */
    const struct actor *by; /* who makes or changes it; NULL: the program itself */
    int weight,
        priority; /* weight: its share of what is served while others wait, 0: 1; priority: higher ones go first */
};
enum { KEY_WEIGHT_MAX = 1000, KEY_PRIORITY_MAX = 100 };

struct key_record {
    char id[PRINCIPAL_ID];
    char hint[8]; /* the key's last four characters */
    char *name, *project, *tags;
    struct scopes scopes;
    struct address_list addresses;
    struct limit_rules limits;
    struct budget_rules budgets;
    char *addresses_text, *limits_text, *budgets_text;
    int weight, priority;
    struct limit_rules
        project_limits; /* those of its project (projects.h), as they were when the record was made */
    struct budget_rules project_budgets;
    char *project_limits_text, *project_budgets_text;
    int64_t made_ms, expires_ms, revoked_ms; /* 0: never */

    char hash[KEY_HASH_TEXT]; /* the keyring's own: of the key */
    unsigned char bytes[PRINCIPAL_HASH];
};

/* ---- administration --------------------------------------------------------------------------------------------------
 *
 * Each act is written to the audit and to the events with it. by NULL: the program itself. */

/* Each of its lists is read first: a wish that cannot be read makes no key. */
bool key_new(struct store *s, const struct key_wish *w, int64_t now_ms, char key[KEY_TEXT],
             char id[PRINCIPAL_ID], struct err *e);
/* A new key under the same id; the old one is no key any more. ERR_NOT_FOUND, also when it was revoked. */
bool key_rotate(struct store *s, const char *id, const struct actor *by, int64_t now_ms, char key[KEY_TEXT],
                struct err *e);
/* What the wish has, as of key_new(), in place of what the key had; NULL, a weight of 0, KEY_EXPIRES_KEPT and KEY_PRIORITY_KEPT for what stays. ERR_NOT_FOUND, also when it
 * was revoked. */
enum { KEY_EXPIRES_KEPT = -1, KEY_PRIORITY_KEPT = KEY_PRIORITY_MAX + 1 };
bool key_change(struct store *s, const char *id, const struct key_wish *w, int64_t now_ms, struct err *e);
/* For good. One that was revoked before stays so. */
bool key_revoke(struct store *s, const char *id, const struct actor *by, int64_t now_ms, struct err *e);
/* Every key in the order in which they were made; id: only that one (NULL: all). *out is malloc'ed; key_list_free() frees it. */
struct key_list {
    struct key_record **v;
    int n;
};
bool key_list(struct store *s, const char *id, struct key_list *out, struct err *e);
/* Up to `most` of them behind the key of this id ("": from the first). ERR_NOT_FOUND: there is no such key. */
bool key_page(struct store *s, const char *after, int most, struct key_list *out, struct err *e);
void key_list_free(struct key_list *l);

/* ---- at every request ---------------------------------------------------------------------------------------------- */

struct keyring;

/* The store outlives it. */
bool keyring_open(struct keyring **out, struct store *s, struct err *e);
/* It looks at the store no more; its records stay. */
void keyring_stop(struct keyring *r);
void keyring_close(struct keyring *r);
/* NULL: no key of the store's has this hash. */
const struct key_record *keyring_find(struct keyring *r, const unsigned char hash[PRINCIPAL_HASH]);
/* The same by its id, whatever its key is now. */
const struct key_record *keyring_find_id(struct keyring *r, const char *id);
/* Looks now. False: the store is away. */
bool keyring_refresh(struct keyring *r, struct err *e);

enum key_answer {
    KEY_GOOD,
    KEY_EXPIRED,
    KEY_REVOKED,
    KEY_ELSEWHERE /* not from this address */,
    KEY_NOT_FOR_THIS /* endpoint */
};
/* address: as text, without a port; endpoint: as the routes call it, or NULL. */
enum key_answer key_may(const struct key_record *k, int64_t now_ms, const char *address,
                        const char *endpoint);

#endif
