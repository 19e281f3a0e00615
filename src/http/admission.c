/* admission.c - see admission.h. */
#include "http/admission.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "http/exchange_inside.h"
#include "http/routes.h"
#include "service/account/account.h"
#include "service/account/gate.h"
#include "service/models/registry.h"

enum { LONGEST_RETRY_S = 31 * 86400 };

/* Seconds until then, rounded up: who comes back after them does not come too early. */
static int seconds_until(int64_t ms, int64_t now_ms)
{
    if (ms <= now_ms) return 1;
    const int64_t s = (ms - now_ms + 999) / 1000;
    return s > LONGEST_RETRY_S ? 0 : (int)s;
}

/* ---- headers ------------------------------------------------------------------------------------------------------- */

static void pair(struct exchange *x, const char *what, const struct limit_left *left)
{
    char name[80];
    if (!left->limit) return;
    snprintf(name, sizeof name, "x-ratelimit-limit-%s", what);
    exchange_header(x, name, "%" PRId64, left->limit);
    snprintf(name, sizeof name, "x-ratelimit-remaining-%s", what);
    exchange_header(x, name, "%" PRId64, left->remaining);
}

/* "1s", "6m0s": as OpenAI writes how long it is until then. */
static void reset(struct exchange *x, const char *what, const struct limit_left *left, int64_t now_ms)
{
    char name[80], hours[40] = "";
    if (!left->limit) return;
    const int64_t ms = left->reset_ms > now_ms ? left->reset_ms - now_ms : 0, s = (ms + 999) / 1000;
    snprintf(name, sizeof name, "x-ratelimit-reset-%s", what);
    if (s >= 3600) snprintf(hours, sizeof hours, "%" PRId64 "h", s / 3600);
    if (s >= 60)
        exchange_header(x, name, "%s%" PRId64 "m%" PRId64 "s", hours, s / 60 % 60, s % 60);
    else
        exchange_header(x, name, "%" PRId64 "s", s);
}

/* What is left, as each dialect says it. */
static void say_left(struct exchange *x, const struct limit_left left[N_LIMITED])
{
    const int64_t now = clock_unix_ms();
    const struct limit_left requests = left[LIMITED_REQUESTS], prompt = left[LIMITED_PROMPT],
                            generated = left[LIMITED_GENERATED];
    if (x->dialect == DIALECT_SHARED) return; /* it is said when it is known which API this is */
    if (x->dialect == DIALECT_FIREMOON || x->dialect == DIALECT_EXPRESS_IMAGE ||
        x->dialect == DIALECT_EXPRESS_CHAT) {
        if (!requests.limit) return;
        exchange_header(x, "X-RateLimit-Limit", "%" PRId64, requests.limit);
        exchange_header(x, "X-RateLimit-Remaining", "%" PRId64, requests.remaining);
        exchange_header(x, "X-RateLimit-Reset", "%" PRId64, (requests.reset_ms + 999) / 1000);
        return;
    }
    pair(x, "requests", &requests);
    if (x->dialect == DIALECT_FIREWORKS) {
        pair(x, "tokens-prompt", &prompt);
        pair(x, "tokens-generated", &generated);
        return;
    }
    /* One limit of tokens is known there: the one of which less is left. */
    const bool prompt_is_less = prompt.limit && (!generated.limit || prompt.remaining < generated.remaining);
    const struct limit_left *tokens = prompt_is_less ? &prompt : &generated;
    reset(x, "requests", &requests, now);
    pair(x, "tokens", tokens);
    reset(x, "tokens", tokens, now);
}

/* ---- admission ----------------------------------------------------------------------------------------------------- */

static bool refuse(struct exchange *x, enum fault_kind kind, const char *why, int64_t again_ms)
{
    struct fault f = { .retry_after_s = again_ms ? seconds_until(again_ms, clock_unix_ms()) : 0,
                       .again_ms = again_ms };
    x->refused = kind;
    if (kind == FAULT_BUSY && f.retry_after_s)
        err_set(&f.err, ERR_BUSY, "%s. Try again in %d second%s. (%s)",
                x->dialect == DIALECT_FIREWORKS ? "rate limit exceeded, please try again later"
                                                : "Rate limit exceeded",
                f.retry_after_s, f.retry_after_s == 1 ? "" : "s", why);
    else
        err_set(&f.err, ERR_BUSY, "%s", why);
    exchange_fault_from(x, &f);
    return false;
}

bool admission_waits(const struct exchange *x)
{
    return x->is.endpoint && x->server->o.gate && gate_waits(x->server->o.gate);
}

bool admission_enter(struct exchange *x)
{
    struct account *a = x->server->o.account;
    struct gate *g = x->server->o.gate;
    struct limit_left left[N_LIMITED];
    struct account_refusal away;
    struct gate_refusal r;
    if (!x->is.endpoint) return true;
    account_name(a, &x->is);
    if (a && !account_enter(a, &away)) {
        admission_say_left(x);
        return refuse(x, FAULT_UNAVAILABLE, away.msg, 0);
    }
    if (!g) return true;
    const bool may = gate_enter(g, &x->is, left, &r);
    say_left(x, left);
    return may || refuse(x, r.why == GATE_FULL ? FAULT_BUSY : FAULT_UNAVAILABLE, r.msg, r.again_ms);
}

void admission_undo(struct exchange *x)
{
    if (x->server->o.gate && x->is.endpoint) gate_undo(x->server->o.gate, &x->is);
}

void admission_say_left(struct exchange *x)
{
    struct limit_left left[N_LIMITED];
    if (!x->server->o.gate) return;
    gate_left(x->server->o.gate, &x->is, left);
    say_left(x, left);
}

static bool may_pay(struct exchange *x, bool may, const struct account_refusal *r, struct err *e)
{
    if (!may) {
        x->refused = r->why == ACCOUNT_SPENT ? FAULT_PAYMENT : FAULT_UNAVAILABLE;
        return err_set(e, ERR_IO, "%s", r->msg); /* what it is, x->refused says */
    }
    if (*r->msg) exchange_header(x, "X-Hearth-Budget", "%s", r->msg);
    return true;
}

/* A model that a key may not ask is none to it. */
static bool may_ask(const struct exchange *x, const char *model, struct err *e)
{
    const struct key_record *k = x->is.who.key;
    return !k || scopes_model(&k->scopes, model) ||
           err_set(e, ERR_NOT_FOUND,
                   "Model not found, inaccessible, and/or not deployed: this key may not ask \"%.150s\"",
                   model);
}

bool admission_reserve(struct exchange *x, const struct usage *most, struct err *e)
{
    struct account *a = x->server->o.account;
    struct account_refusal r;
    return !a || !x->ending || x->reserved ||
           may_pay(x, account_reserve(a, &x->is, model_id(x->model), most, &r), &r, e);
}

bool admission_model(struct exchange *x, struct model *m, struct err *e)
{
    struct account *a = x->server->o.account;
    struct account_refusal r;
    struct usage worst;
    if (!may_ask(x, model_id(m), e)) return false;
    if (!a || !x->ending || x->reserved) return true;
    if (ending_worst(x->ending, &worst)) return admission_reserve(x, &worst, e);
    return may_pay(x, account_has_room(a, &x->is, model_id(m), &r), &r, e);
}

bool admission_route(struct exchange *x, const char *model, int64_t nano, struct err *e)
{
    struct account *a = x->server->o.account;
    struct account_refusal r;
    if (!may_ask(x, model, e)) return false;
    if (!a || !x->ending) return true;
    x->reserved = may_pay(x, account_reserve_cost(a, &x->is, nano, &r), &r, e);
    if (x->reserved) admission_begun(x);
    return x->reserved;
}

bool admission_release(struct exchange *x, struct err *e)
{
    struct account *a = x->server->o.account;
    x->reserved = false;
    return !a || !x->ending || account_release(a, &x->is) ||
           err_set(e, ERR_CANCELLED, "the budget cannot be looked at now; try again later");
}

void admission_begun(struct exchange *x)
{
    if (x->ending && x->server->o.account) account_begun(x->server->o.account, x->ending);
}
