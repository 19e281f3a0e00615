/* events.h - what others are told of the account: kept in the store in the order in which it happened, each in the transaction of what it tells
 * of, until webhooks.h has delivered it. */
#ifndef HEARTH_SERVICE_ACCOUNT_EVENTS_H
#define HEARTH_SERVICE_ACCOUNT_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

/* Inside a transaction of the writer. type: "key.created". once: two of the same name are one event; "" where each is its own. data is the
 * caller's. */
bool events_add(struct session *c, const char *type, const char *once, const json_t *data, int64_t now_ms,
                struct err *e);

/* Whether there is one of this name already. */
bool events_has(struct session *c, const char *once, bool *has, struct err *e);

struct event {
    int64_t seq; /* from 1; deliveries are in this order */
    int64_t at_ms;
    char id[40]; /* "evt_" and 32 hexadecimal digits: the same at each try */
    char type[40];
    char *body; /* {"type":..., "timestamp":..., "data":{...}}; malloc'ed */
};
/* The first behind `after`. *found false: there is none. */
bool events_next(struct session *c, int64_t after, struct event *out, bool *found, struct err *e);
/* The number of the last one, 0 where there is none. */
bool events_last(struct session *c, int64_t *seq, struct err *e);
/* Those of before then that every address has taken, of the addresses that a server has named since (webhooks.h). The last one stays, for the
 * next one's number, and so do names of once: for as long as the window of a budget may last. */
bool events_forget(struct session *c, int64_t before_ms, struct err *e);
void event_free(struct event *ev);

#endif
