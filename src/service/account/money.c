/* money.c - see money.h. */
#include "service/account/money.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool money_parse(const char *dollars, int64_t *nano)
{
    int64_t whole = 0, part = 0;
    const char *p = dollars;
    if (*p < '0' || *p > '9') return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        whole = whole * 10 + (*p - '0');
        if (whole > MONEY_MAX / MONEY_DOLLAR) return false;
    }
    if (*p == '.') {
        int64_t unit = MONEY_DOLLAR / 10;
        if (p[1] < '0' || p[1] > '9') return false;
        for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10) {
            if (!unit && *p != '0') return false; /* less than a nano-dollar */
            part += unit * (*p - '0');
        }
    }
    if (*p) return false;
    *nano = whole * MONEY_DOLLAR + part;
    return true;
}

const char *money_print(int64_t nano, char out[MONEY_TEXT])
{
    const uint64_t v = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
    int n = snprintf(out, MONEY_TEXT, "%s%" PRIu64 ".%09" PRIu64, nano < 0 ? "-" : "",
                     v / (uint64_t)MONEY_DOLLAR, v % (uint64_t)MONEY_DOLLAR);
    while (out[n - 1] == '0') out[--n] = 0;
    if (out[n - 1] == '.') out[n - 1] = 0;
    return out;
}
