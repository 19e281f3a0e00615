/* period.h - the spans of time that limits and budgets speak of. Days and months are those of UTC. */
#ifndef HEARTH_SERVICE_ACCOUNT_PERIOD_H
#define HEARTH_SERVICE_ACCOUNT_PERIOD_H

#include <stdbool.h>
#include <stdint.h>

enum period {
    PERIOD_MINUTE,
    PERIOD_QUARTER /* 15 minutes */,
    PERIOD_DAY,
    PERIOD_MONTH,
    PERIOD_TOTAL,
    N_PERIODS
};

const char *period_name(enum period p); /* "minute", "15-minutes", "day", "month", "total" */
bool period_parse(const char *name, enum period *out);

/* Where the one that holds this moment begins and ends, in Unix milliseconds; "total" begins at 0 and ends at INT64_MAX. */
int64_t period_start(enum period p, int64_t ms);
int64_t period_end(enum period p, int64_t ms);

#endif
