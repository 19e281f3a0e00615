/* endpoint_rules.c - see endpoint_rules.h. */
#include "service/account/endpoint_rules.h"

#include <string.h>

#include "service/account/items.h"

static int place_of(struct endpoint_rules *r, const char *name, size_t n)
{
    for (int i = 0; i < r->n; i++)
        if (strlen(r->v[i].endpoint) == n && !memcmp(r->v[i].endpoint, name, n)) return i;
    if (r->n == ENDPOINT_RULES_MAX) return -1;
    memcpy(r->v[r->n].endpoint, name, n);
    r->v[r->n].endpoint[n] = 0;
    return r->n++;
}

bool endpoint_rules_parse(struct endpoint_rules *r, const char *text, struct err *e)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz-";
    struct endpoint_rules new = { .n = 0 };
    char item[ITEM_MAX];
    bool bad;
    while (items_next(&text, item, &bad, e)) {
        const size_t n = strspn(item, good);
        if (!n || n >= ENDPOINT_NAME || item[n] != ':')
            return err_set(
                e, ERR_REQUEST,
                "\"%.80s\" is no limit of an endpoint: ENDPOINT:WHAT/PERIOD=N is, as chat:requests/minute=60",
                item);
        const int i = place_of(&new, item, n);
        if (i < 0) return err_set(e, ERR_REQUEST, "limits of more than %d endpoints", ENDPOINT_RULES_MAX);
        if (!limit_rules_add(&new.v[i].limits, item + n + 1, e)) return false;
    }
    if (bad) return false;
    *r = new;
    return true;
}

static bool same(const char *name, const char *endpoint)
{
    while (*name && (*name == *endpoint || (*name == '-' && *endpoint == ' '))) name++, endpoint++;
    return !*name && !*endpoint;
}

const struct limit_rules *endpoint_rules_of(const struct endpoint_rules *r, const char *endpoint)
{
    for (int i = 0; i < r->n; i++)
        if (same(r->v[i].endpoint, endpoint)) return &r->v[i].limits;
    return NULL;
}
