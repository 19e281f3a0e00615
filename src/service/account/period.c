/* period.c - see period.h. */
#include "service/account/period.h"

#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    int64_t ms; /* 0: not of one length */
} periods[N_PERIODS] = {
    [PERIOD_MINUTE] = { "minute", 60000 }, [PERIOD_QUARTER] = { "15-minutes", 900000 },
    [PERIOD_DAY] = { "day", 86400000 },    [PERIOD_MONTH] = { "month", 0 },
    [PERIOD_TOTAL] = { "total", 0 },
};

const char *period_name(enum period p) { return periods[p].name; }

bool period_parse(const char *name, enum period *out)
{
    for (int i = 0; i < N_PERIODS; i++)
        if (!strcmp(periods[i].name, name)) return *out = (enum period)i, true;
    return false;
}

static int64_t month_start(int64_t ms, int months_later)
{
    const time_t t = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    tm = (struct tm){ .tm_year = tm.tm_year, .tm_mon = tm.tm_mon + months_later, .tm_mday = 1 };
    return (int64_t)timegm(&tm) * 1000;
}

int64_t period_start(enum period p, int64_t ms)
{
    if (p == PERIOD_TOTAL) return 0;
    if (p == PERIOD_MONTH) return month_start(ms, 0);
    return ms - ms % periods[p].ms;
}

int64_t period_end(enum period p, int64_t ms)
{
    if (p == PERIOD_TOTAL) return INT64_MAX;
    if (p == PERIOD_MONTH) return month_start(ms, 1);
    return period_start(p, ms) + periods[p].ms;
}
