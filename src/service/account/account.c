/* account.c - see account.h. */
#include "service/account/account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/account/budgets.h"
#include "service/account/ledger.h"
#include "service/account/money.h"

/* A reservation that is older is a killed server's: no request runs so long. */
#define RESERVED_MS (2 * 3600 * INT64_C(1000))

struct account {
    struct store *store;
    struct keyring *keyring;
    struct prices *prices;
    struct limits *limits;
    struct limit_rules address_rules;
};

bool account_open(struct account **out, const struct account_options *o, struct err *e)
{
    struct account *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory");
    a->limits = limits_new();
    bool ok = a->limits || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && (limit_rules_parse(&a->address_rules, o->address_limits, e) || err_wrap(e, "address-limit"));
    if (ok && prices_open(&a->prices, o->catalog, o->prices, e) &&
        store_open(&a->store, o->store, &(struct store_options){ 0 }, e) &&
        keyring_open(&a->keyring, a->store, e)) {
        *out = a;
        return true;
    }
    account_close(a);
    return false;
}

void account_close(struct account *a)
{
    if (!a) return;
    store_close(a->store); /* writes what is waiting, which may look at keys */
    keyring_close(a->keyring);
    prices_close(a->prices);
    limits_free(a->limits);
    free(a);
}

const char *account_where(const struct account *a) { return store_where(a->store); }
struct keyring *account_keyring(struct account *a) { return a->keyring; }

/* ---- limits -------------------------------------------------------------------------------------------------------- */

/* Who is limited: the key and the address of a request. */
struct asker {
    char key[PRINCIPAL_ID + 8], address[60];
    struct limited_one v[2];
    int n;
};

static void limited_of(struct account *a, const struct identity *is, struct asker *l)
{
    const struct key_record *k = is->who.key;
    l->n = 0;
    if (k) {
        snprintf(l->key, sizeof l->key, "key:%s", k->id);
        l->v[l->n++] = (struct limited_one){ l->key, &k->limits };
    }
    snprintf(l->address, sizeof l->address, "address:%s", is->address);
    l->v[l->n++] = (struct limited_one){ l->address, &a->address_rules };
}

void account_name(struct identity *is)
{
    ledger_uid(is->uid);
    is->asked_ms = clock_unix_ms();
}

bool account_enter(struct account *a, const struct identity *is, struct account_refusal *r)
{
    struct asker who;
    struct limit_hit hit;
    struct err away;
    const int64_t now = clock_unix_ms();
    *r = (struct account_refusal){ .why = ACCOUNT_AWAY };
    if (store_away(a->store, &away)) {
        snprintf(r->msg, sizeof r->msg, "what is used cannot be written down now; try again later");
        return false;
    }
    limited_of(a, is, &who);
    const enum limits_answer answer = limits_enter(a->limits, who.v, who.n, now, &hit);
    if (answer == LIMITS_ADMITTED) return true;
    if (answer == LIMITS_NO_MEMORY) {
        snprintf(r->msg, sizeof r->msg, "out of memory");
        return false;
    }
    r->why = ACCOUNT_FULL;
    r->again_ms = hit.again_ms;
    if (hit.concurrency)
        snprintf(r->msg, sizeof r->msg, "%s: %lld requests at once", hit.who, (long long)hit.limit);
    else
        snprintf(r->msg, sizeof r->msg, "%s: %lld %s/%s", hit.who, (long long)hit.limit,
                 limited_name(hit.what), period_name(hit.period));
    return false;
}

static void leave(struct account *a, const struct identity *is, const struct usage *u)
{
    struct asker who;
    limited_of(a, is, &who);
    limits_leave(a->limits, who.v, who.n, clock_unix_ms(), u);
}

void account_undo(struct account *a, const struct identity *is) { leave(a, is, &(struct usage){ 0 }); }

struct limit_left account_left(struct account *a, const struct identity *is, enum limited what)
{
    struct asker who;
    limited_of(a, is, &who);
    return limits_left(a->limits, who.v, who.n, what, clock_unix_ms());
}

/* ---- budgets ------------------------------------------------------------------------------------------------------- */

/* A price that begins while a request runs is not its price: it costs no more than what was reserved for it. */
struct price account_price(const struct account *a, const char *model, int64_t asked_ms)
{
    return prices_of(a->prices, model, asked_ms);
}

struct reservation {
    const char *id;
    struct budget_one who;
    int64_t nano, now_ms;
    enum budget_answer answer;
    struct budget_hit hit;
};

/* What killed servers have left is looked at when it stands in the way. */
static bool reserve(void *arg, struct session *c, struct err *e)
{
    struct reservation *j = arg;
    int64_t released;
    if (!budget_reserve(c, j->id, &j->who, 1, j->nano, j->now_ms, &j->answer, &j->hit, e)) return false;
    if (j->answer != BUDGET_SPENT) return true;
    if (!budget_release(c, j->now_ms - RESERVED_MS, &released, e)) return false;
    return !released || budget_reserve(c, j->id, &j->who, 1, j->nano, j->now_ms, &j->answer, &j->hit, e);
}

static void describe(const struct reservation *j, char *out, size_t cap)
{
    const struct budget_hit *h = &j->hit;
    char limit[MONEY_TEXT], spent[MONEY_TEXT], reserved[MONEY_TEXT], nano[MONEY_TEXT];
    snprintf(out, cap,
             "%s: the budget of %s dollars (%s) has %s spent and %s reserved, and this may cost up to %s",
             h->owner, money_print(h->limit, limit), period_name(h->period), money_print(h->spent, spent),
             money_print(h->reserved, reserved), money_print(j->nano, nano));
}

bool account_reserve(struct account *a, const struct identity *is, const char *model,
                     const struct usage *worst, struct account_refusal *r)
{
    const struct key_record *k = is->who.key;
    char owner[PRINCIPAL_ID + 8];
    struct err e;
    *r = (struct account_refusal){ .why = ACCOUNT_AWAY };
    if (!k || !budget_rules_any(&k->budgets)) return true;
    const int64_t now = clock_unix_ms();
    const struct price price = account_price(a, model, is->asked_ms);
    snprintf(owner, sizeof owner, "key:%s", k->id);
    struct reservation j = {
        .id = is->uid, .who = { owner, &k->budgets }, .nano = price_cost(&price, worst), .now_ms = now
    };
    if (!store_write(a->store, reserve, &j, &e)) {
        snprintf(r->msg, sizeof r->msg, "the budget cannot be looked at now; try again later");
        return false;
    }
    if (j.answer != BUDGET_OPEN) describe(&j, r->msg, sizeof r->msg);
    if (j.answer != BUDGET_SPENT) return true;
    r->why = ACCOUNT_SPENT;
    r->again_ms = j.hit.again_ms;
    return false;
}

/* In the transaction of its row, so that the two never say different things. */
static bool settle(const void *key, const struct ledger_row *row, struct session *c, struct err *e)
{
    const struct key_record *k = key;
    char owner[PRINCIPAL_ID + 8];
    snprintf(owner, sizeof owner, "key:%s", k->id);
    return budget_settle(c, row->uid, &(struct budget_one){ owner, &k->budgets }, 1, row->cost, row->ended_ms,
                         e);
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

static int64_t micros(double seconds) { return seconds > 0 ? (int64_t)(seconds * 1e6) : 0; }

int64_t account_cost(const struct account *a, const char *model, const struct usage *u)
{
    const struct price price = prices_of(a->prices, model, clock_unix_ms());
    return price_cost(&price, u);
}

void account_ended(void *arg, const struct ending *e)
{
    struct account *a = arg;
    const struct usage *u = &e->usage;
    const struct key_record *k = e->of.who.key;
    struct ledger_row r = { .ended_ms = clock_unix_ms(),
                            .prompt = u->prompt_tokens,
                            .cached = u->cached_tokens,
                            .completion = u->completion_tokens,
                            .reasoning = u->reasoning_tokens,
                            .pictures = u->pictures,
                            .steps = u->steps,
                            .pixels = u->pixels,
                            .queue_us = micros(u->queue_s),
                            .first_us = micros(u->ttft_s),
                            .total_us = micros(e->seconds),
                            .status = e->status };
    const struct price price = account_price(a, e->model, e->of.asked_ms);
    r.cost = price_cost(&price, u);
    memcpy(r.uid, e->of.uid, sizeof r.uid);
    snprintf(r.request, sizeof r.request, "%s", e->of.id);
    snprintf(r.key_id, sizeof r.key_id, "%s", e->of.who.id);
    snprintf(r.project, sizeof r.project, "%s", k ? k->project : "");
    snprintf(r.address, sizeof r.address, "%s", e->of.address);
    snprintf(r.dialect, sizeof r.dialect, "%s", e->of.dialect);
    snprintf(r.endpoint, sizeof r.endpoint, "%s", e->of.endpoint);
    snprintf(r.path, sizeof r.path, "%s", e->path);
    snprintf(r.model, sizeof r.model, "%s", e->model);
    snprintf(r.how, sizeof r.how, "%s", end_how_name(e->how));
    leave(a, &e->of, u);
    ledger_post(a->store, &r, k && budget_rules_any(&k->budgets) ? settle : NULL, k);
}
