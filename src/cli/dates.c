/* dates.c - see dates.h. */
#include "cli/dates.h"

#include <string.h>
#include <time.h>

static bool from_now(const char *text, int64_t now_ms, int64_t *ms)
{
    static const char units[] = "smhd";
    static const int64_t unit_s[] = { 1, 60, 3600, 86400 };
    int64_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && n < 1000000; p++) n = n * 10 + (*p - '0');
    const char *u = *p && p > text ? strchr(units, *p) : NULL;
    if (!u || p[1]) return false;
    *ms = now_ms + n * unit_s[u - units] * 1000;
    return true;
}

bool dates_parse(const char *text, int64_t now_ms, int64_t *ms)
{
    static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S",
                                         "%Y-%m-%dT%H:%M:%SZ" };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = { 0 };
        const char *end = strptime(text, forms[i], &tm);
        const int day = tm.tm_mday;
        if (!end || *end) continue;
        const time_t t = timegm(&tm);
        if (tm.tm_mday != day) return false; /* the 31st of April */
        *ms = (int64_t)t * 1000;
        return true;
    }
    return from_now(text, now_ms, ms);
}

const char *dates_print(int64_t ms, char out[DATES_TEXT])
{
    const time_t t = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, DATES_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}
