/* budget_events.h - tells others of budgets: a soft one that is passed by what was spent, a hard one that a request was refused for. Once for each
 * window of each budget, whatever the number of requests.
 *
 * Inside the transactions that reserve and settle. */
#ifndef HEARTH_SERVICE_ACCOUNT_BUDGET_EVENTS_H
#define HEARTH_SERVICE_ACCOUNT_BUDGET_EVENTS_H

#include "service/account/budgets.h"

/* budget.hard_limit: of the budget that stood in the way. */
bool budget_events_refused(struct session *c, const struct budget_hit *h, int64_t now_ms, struct err *e);
/* budget.soft_limit: of those that are passed. */
bool budget_events_settled(struct session *c, const struct budget_one *who, int n, int64_t now_ms,
                           struct err *e);

#endif
