/* account.c - see account.h. */
#include "service/account/account.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "service/account/ledger.h"
#include "service/account/prices.h"

struct account {
    struct store *store;
    struct keyring *keyring;
    struct prices *prices;
};

bool account_open(struct account **out, const struct account_options *o, struct err *e)
{
    struct account *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory");
    if (prices_open(&a->prices, o->catalog, o->prices, e) &&
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
    keyring_close(a->keyring);
    store_close(a->store);
    prices_close(a->prices);
    free(a);
}

static int64_t micros(double seconds) { return seconds > 0 ? (int64_t)(seconds * 1e6) : 0; }

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
    const struct price price = prices_of(a->prices, e->model, r.ended_ms);
    r.cost = price_cost(&price, u);
    ledger_uid(r.uid);
    snprintf(r.request, sizeof r.request, "%s", e->of.id);
    snprintf(r.key_id, sizeof r.key_id, "%s", e->of.who.id);
    snprintf(r.project, sizeof r.project, "%s", k ? k->project : "");
    snprintf(r.address, sizeof r.address, "%s", e->of.address);
    snprintf(r.dialect, sizeof r.dialect, "%s", e->of.dialect);
    snprintf(r.endpoint, sizeof r.endpoint, "%s", e->of.endpoint);
    snprintf(r.path, sizeof r.path, "%s", e->path);
    snprintf(r.model, sizeof r.model, "%s", e->model);
    snprintf(r.how, sizeof r.how, "%s", end_how_name(e->how));
    ledger_post(a->store, &r);
}

const char *account_where(const struct account *a) { return store_where(a->store); }
struct keyring *account_keyring(struct account *a) { return a->keyring; }
