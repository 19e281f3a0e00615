/* rules.h - how much a key or a project may use: limits ("requests/minute=60, generated-tokens/day=100000, concurrency=4") and budgets
 * ("day=1.50, month=20:soft, total=100", in dollars). */
#ifndef HEARTH_SERVICE_ACCOUNT_RULES_H
#define HEARTH_SERVICE_ACCOUNT_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/account/period.h"

enum limited {
    LIMITED_REQUESTS,
    LIMITED_PROMPT,    /* tokens */
    LIMITED_GENERATED, /* tokens */
    LIMITED_STEPS,
    LIMITED_PICTURES,
    N_LIMITED
};
const char *limited_name(enum limited what); /* "requests", "prompt-tokens", ... */

/* 0: no limit. Totals have none: a budget is what ends for good. */
struct limit_rules {
    int64_t most[N_LIMITED][PERIOD_TOTAL];
    int64_t concurrency;
};

/* nano-dollars; -1: no budget. Soft ones warn and go on. */
struct budget_rules {
    int64_t most[N_PERIODS];
    bool soft[N_PERIODS];
};

/* ERR_REQUEST names the item that is wrong, also one that comes twice. "" has no rules. */
bool limit_rules_parse(struct limit_rules *r, const char *text, struct err *e);
/* One item more, "requests/minute=60". */
bool limit_rules_add(struct limit_rules *r, const char *item, struct err *e);
bool budget_rules_parse(struct budget_rules *r, const char *text, struct err *e);
bool limit_rules_any(const struct limit_rules *r);
bool budget_rules_any(const struct budget_rules *r);

#endif
