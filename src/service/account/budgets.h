/* budgets.h - what a key may spend in a day, a month, in all; kept in the store, so that any number of servers together cannot overspend it.
 *
 * Before the work the most that it can cost is reserved, afterwards its true cost is settled, both inside transactions of the store's one
 * writer; what is spent and what is reserved never pass a hard budget together. A server that was killed leaves reservations behind: they
 * are released by their age, and a request that settles after that is counted all the same.
 *
 * Threads  these run in functions given to store_write() and store_post(), and may run again after a failure. */
#ifndef HEARTH_SERVICE_ACCOUNT_BUDGETS_H
#define HEARTH_SERVICE_ACCOUNT_BUDGETS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/account/ages.h"
#include "service/account/rules.h"
#include "store/store.h"

/* Whose money it is: "key:key_1234". Of several, in ascending order of their names: two transactions then never wait for each other. */
struct budget_one {
    const char *owner;
    const struct budget_rules *rules;
};

enum budget_answer {
    BUDGET_OPEN,  /* reserved */
    BUDGET_WARNS, /* reserved, and a soft budget is passed */
    BUDGET_SPENT  /* a hard one would be: nothing is reserved */
};
/* Of the budget that is passed. */
struct budget_hit {
    const char *owner; /* the caller's */
    enum period period;
    int64_t limit, spent, reserved; /* nano-dollars; before this request */
    int64_t again_ms;               /* Unix: when it begins anew; INT64_MAX: never */
};

/* Whether it would be reserved now. */
bool budget_look(struct session *c, const struct budget_one *who, int n, int64_t nano, int64_t now_ms,
                 enum budget_answer *answer, struct budget_hit *hit, struct err *e);
/* id: of the request, 32 hexadecimal digits; not twice. */
bool budget_reserve(struct session *c, const char *id, const struct budget_one *who, int n, int64_t nano,
                    int64_t now_ms, enum budget_answer *answer, struct budget_hit *hit, struct err *e);
/* Whether it had been reserved, or was released meanwhile, or never was. Once for each id. */
bool budget_settle(struct session *c, const char *id, const struct budget_one *who, int n, int64_t cost,
                   int64_t now_ms, struct err *e);
/* The same out of what was reserved for it alone: for a request of a server that is no more. */
bool budget_settle_reserved(struct session *c, const char *id, int64_t cost, struct err *e);
/* Reservations made outside of these bounds are of servers that are no more. *n of them. */
bool budget_release(struct session *c, const struct age_bounds *alive, int64_t *n, struct err *e);

struct budget_state {
    int64_t spent, reserved; /* nano-dollars */
};
/* Of the period that holds now_ms. */
bool budget_read(struct session *c, const char *owner, enum period p, int64_t now_ms,
                 struct budget_state *out, struct err *e);
/* Of every period, as store_read() asks; arg: struct budget_states, of which the first two are given. */
struct budget_states {
    const char *owner;
    int64_t now_ms;
    struct budget_state state[N_PERIODS];
};
bool budget_read_all(void *arg, struct session *c, struct err *e);

#endif
