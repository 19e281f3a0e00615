/* items.c - see items.h. */
#include "service/account/items.h"

#include <string.h>

static const char blank[] = " \t\r\n";

bool items_next(const char **list, char item[ITEM_MAX], bool *bad, struct err *e)
{
    const char *p = *list + strspn(*list, blank);
    *bad = false;
    if (!*p) return false;
    const size_t all = strcspn(p, ",");
    size_t n = all;
    while (n && strchr(blank, p[n - 1])) n--;
    const char *behind = p + all + (p[all] == ',');
    const bool hangs = p[all] == ',' && !behind[strspn(behind, blank)];
    if (!n || hangs) {
        *bad = true;
        return err_set(e, ERR_REQUEST, "\"%.100s\": nothing stands between two commas", *list);
    }
    if (n >= ITEM_MAX) {
        *bad = true;
        return err_set(e, ERR_REQUEST, "\"%.40s...\" is longer than %d characters", p, ITEM_MAX - 1);
    }
    memcpy(item, p, n);
    item[n] = 0;
    *list = behind;
    return true;
}

bool items_number(const char *text, long long max, long long *out)
{
    long long v = 0;
    if (!*text) return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9') return false;
        v = v * 10 + (*p - '0');
        if (v > max) return false;
    }
    if (!v) return false;
    *out = v;
    return true;
}
