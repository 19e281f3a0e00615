/* budget_events.c - see budget_events.h. */
#include "service/account/budget_events.h"

#include <inttypes.h>
#include <stdio.h>

#include "service/account/events.h"
#include "service/account/money.h"

static bool tell(struct session *c, const char *type, const struct budget_hit *h, int64_t now_ms,
                 struct err *e)
{
    char once[400], limit[MONEY_TEXT], spent[MONEY_TEXT], reserved[MONEY_TEXT];
    bool known;
    snprintf(once, sizeof once, "%s %s %s %" PRId64, type, h->owner, period_name(h->period),
             period_start(h->period, now_ms));
    if (!events_has(c, once, &known, e)) return false;
    if (known) return true;
    json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:s}", "owner", h->owner, "period", period_name(h->period),
                             "limit", money_print(h->limit, limit), "spent", money_print(h->spent, spent),
                             "reserved", money_print(h->reserved, reserved));
    const bool ok = data ? events_add(c, type, once, data, now_ms, e)
                         : err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
    json_decref(data);
    return ok;
}

bool budget_events_refused(struct session *c, const struct budget_hit *h, int64_t now_ms, struct err *e)
{
    return tell(c, "budget.hard_limit", h, now_ms, e);
}

bool budget_events_settled(struct session *c, const struct budget_one *who, int n, int64_t now_ms,
                           struct err *e)
{
    for (int i = 0; i < n; i++)
        for (int p = 0; p < N_PERIODS; p++) {
            const int64_t most = who[i].rules->most[p];
            struct budget_state s;
            if (most < 0 || !who[i].rules->soft[p]) continue;
            if (!budget_read(c, who[i].owner, (enum period)p, now_ms, &s, e)) return false;
            const struct budget_hit h = { .owner = who[i].owner,
                                          .period = (enum period)p,
                                          .limit = most,
                                          .spent = s.spent,
                                          .reserved = s.reserved };
            if (s.spent > most && !tell(c, "budget.soft_limit", &h, now_ms, e)) return false;
        }
    return true;
}
