/* dates.c - see dates.h. */
#include "base/dates.h"

#include <string.h>
#include <time.h>

static bool from_now(const char *text, int64_t now_ms, int64_t *ms)
{
    static const char units[] = "smhd";
    static const int64_t unit_s[] = { 1, 60, 3600, 86400 };
    int64_t n = 0;
    const bool ago = *text == '-';
    const char *begin = text + ago, *p = begin;
    for (; *p >= '0' && *p <= '9' && n < 1000000; p++) n = n * 10 + (*p - '0');
    const char *u = *p && p > begin ? strchr(units, *p) : NULL;
    if (!u || p[1]) return false;
    *ms = now_ms + (ago ? -1 : 1) * n * unit_s[u - units] * 1000;
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

static bool bound(const char *name, const char *text, int64_t now_ms, int64_t *ms, struct err *e)
{
    return !*text || dates_parse(text, now_ms, ms) ||
           err_set(e, ERR_REQUEST,
                   "--%s \"%.40s\": a date such as 2026-01-31, or so long ago, such as -12h or -30d", name,
                   text);
}

bool dates_span(const char *since, const char *until, int64_t now_ms, int64_t *from_ms, int64_t *to_ms,
                struct err *e)
{
    *from_ms = INT64_MIN;
    *to_ms = INT64_MAX;
    return bound("since", since, now_ms, from_ms, e) && bound("until", until, now_ms, to_ms, e);
}

const char *dates_print(int64_t ms, char out[DATES_TEXT])
{
    const time_t t = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, DATES_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}
