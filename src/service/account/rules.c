/* rules.c - see rules.h. */
#include "service/account/rules.h"

#include <stdio.h>
#include <string.h>

#include "service/account/items.h"
#include "service/account/money.h"

#define MOST INT64_C(1000000000000000)

static const char *const limited_names[N_LIMITED] = {
    [LIMITED_REQUESTS] = "requests",          [LIMITED_PROMPT] = "prompt-tokens",
    [LIMITED_GENERATED] = "generated-tokens", [LIMITED_STEPS] = "steps",
    [LIMITED_PICTURES] = "pictures",
};

const char *limited_name(enum limited what) { return limited_names[what]; }

static bool limited_parse(const char *name, enum limited *out)
{
    for (int i = 0; i < N_LIMITED; i++)
        if (!strcmp(limited_names[i], name)) return *out = (enum limited)i, true;
    return false;
}

/* "name=value" in two, inside item. */
static char *value_of(char *item)
{
    char *equal = strchr(item, '=');
    if (!equal) return NULL;
    *equal = 0;
    return equal + 1;
}

bool limit_rules_add(struct limit_rules *r, const char *whole, struct err *e)
{
    char item[ITEM_MAX];
    snprintf(item, sizeof item, "%s", whole);
    long long n;
    enum limited what;
    enum period period;
    const char *value = value_of(item);
    char *slash = strchr(item, '/');
    int64_t *field = NULL;
    if (slash) *slash = 0;
    if (!slash && !strcmp(item, "concurrency")) field = &r->concurrency;
    if (slash && limited_parse(item, &what) && period_parse(slash + 1, &period) && period != PERIOD_TOTAL)
        field = &r->most[what][period];
    if (!field || !value || !items_number(value, MOST, &n))
        return err_set(
            e, ERR_REQUEST,
            "\"%.80s\" is no limit: WHAT/PERIOD=N with WHAT one of requests, prompt-tokens, "
            "generated-tokens, steps, "
            "pictures and PERIOD one of minute, 15-minutes, day, month; or concurrency=N; N from 1 on",
            whole);
    if (*field) return err_set(e, ERR_REQUEST, "\"%.80s\": this limit is there twice", whole);
    *field = n;
    return true;
}

bool limit_rules_parse(struct limit_rules *r, const char *text, struct err *e)
{
    char item[ITEM_MAX];
    bool bad;
    struct limit_rules new = { .concurrency = 0 };
    while (items_next(&text, item, &bad, e))
        if (!limit_rules_add(&new, item, e)) return false;
    if (bad) return false;
    *r = new;
    return true;
}

static bool add_budget(struct budget_rules *r, const char *whole, char *item, struct err *e)
{
    enum period period;
    int64_t nano;
    char *value = value_of(item), *colon = value ? strchr(value, ':') : NULL;
    const bool kind_ok = !colon || !strcmp(colon, ":soft") || !strcmp(colon, ":hard");
    const bool soft = colon && !strcmp(colon, ":soft");
    if (colon) *colon = 0;
    const bool period_ok = period_parse(item, &period) && period != PERIOD_MINUTE && period != PERIOD_QUARTER;
    if (!value || !kind_ok || !period_ok || !money_parse(value, &nano))
        return err_set(e, ERR_REQUEST,
                       "\"%.80s\" is no budget: day=DOLLARS, month=DOLLARS or total=DOLLARS, with :soft "
                       "behind it for one that only warns",
                       whole);
    if (r->most[period] >= 0) return err_set(e, ERR_REQUEST, "\"%.80s\": this budget is there twice", whole);
    r->most[period] = nano;
    r->soft[period] = soft;
    return true;
}

bool budget_rules_parse(struct budget_rules *r, const char *text, struct err *e)
{
    char item[ITEM_MAX], whole[ITEM_MAX];
    bool bad;
    struct budget_rules new = { .soft = { false } };
    for (int p = 0; p < N_PERIODS; p++) new.most[p] = -1;
    while (items_next(&text, item, &bad, e)) {
        memcpy(whole, item, sizeof whole);
        if (!add_budget(&new, whole, item, e)) return false;
    }
    if (bad) return false;
    *r = new;
    return true;
}

bool limit_rules_any(const struct limit_rules *r)
{
    bool any = r->concurrency > 0;
    for (int w = 0; w < N_LIMITED; w++)
        for (int p = 0; p < PERIOD_TOTAL; p++) any |= r->most[w][p] > 0;
    return any;
}

bool budget_rules_any(const struct budget_rules *r)
{
    bool any = false;
    for (int p = 0; p < N_PERIODS; p++) any |= r->most[p] >= 0;
    return any;
}
