/* admin_projects.c - projects over HTTP: what `hearth projects` does. A body has limits and budgets, as that of a key has them (key_body.h); what it
 * does not name stays. */
#include <stdio.h>

#include "base/clock.h"
#include "base/dates.h"
#include "http/admin.h"
#include "http/dialects/key_body.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "service/account/account.h"
#include "service/account/budgets.h"
#include "service/account/money.h"
#include "service/account/projects.h"

/* ---- answers ------------------------------------------------------------------------------------------------------- */

/* What is spent of each budget. NULL: *e says why. */
static json_t *spending(struct store *s, const struct project_record *p, struct err *e)
{
    struct budget_rules rules;
    char owner[260], limit[MONEY_TEXT], spent[MONEY_TEXT], reserved[MONEY_TEXT];
    struct budget_states now = { .owner = owner, .now_ms = clock_unix_ms() };
    snprintf(owner, sizeof owner, "project:%s", p->name);
    if (!budget_rules_parse(&rules, p->budgets, e) || !store_read(s, budget_read_all, &now, e)) return NULL;
    json_t *all = json_object();
    bool ok = all != NULL;
    for (int i = 0; ok && i < N_PERIODS; i++)
        if (rules.most[i] >= 0)
            ok = !json_object_set_new(
                all, period_name((enum period)i),
                json_pack("{s:s, s:s, s:s, s:b}", "limit", money_print(rules.most[i], limit), "spent",
                          money_print(now.state[i].spent, spent), "reserved",
                          money_print(now.state[i].reserved, reserved), "soft", rules.soft[i]));
    if (ok) return all;
    err_set(e, ERR_NOMEM, "out of memory");
    json_decref(all);
    return NULL;
}

static json_t *project_json(struct store *s, const struct project_record *p, struct err *e)
{
    char made[DATES_TEXT];
    json_t *spent = spending(s, p, e);
    if (!spent) return NULL;
    err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", p->name, "limits", p->limits, "budgets",
                     p->budgets, "keys", (json_int_t)p->n_keys, "created", dates_print(p->made_ms, made),
                     "spending", spent);
}

static void reply_project(struct exchange *x, const char *name)
{
    struct err e = { ERR_NONE, "" };
    struct project_list l;
    if (!project_list(admin_store(x), name, &l, &e)) {
        admin_fault(x, &e);
        return;
    }
    json_t *o = project_json(admin_store(x), l.v, &e);
    project_list_free(&l);
    if (o)
        admin_reply(x, 200, o);
    else
        admin_fault(x, &e);
}

void admin_projects_list(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct project_list l;
    if (!project_list(admin_store(x), NULL, &l, &e)) {
        admin_fault(x, &e);
        return;
    }
    json_t *data = json_array();
    bool ok = data || err_set(&e, ERR_NOMEM, "out of memory");
    for (int i = 0; ok && i < l.n; i++)
        ok = !json_array_append_new(data, project_json(admin_store(x), &l.v[i], &e));
    project_list_free(&l);
    if (ok)
        admin_reply(x, 200, json_pack("{s:s, s:O}", "object", "list", "data", data));
    else
        admin_fault(x, &e);
    json_decref(data);
}

void admin_project_get(struct exchange *x) { reply_project(x, exchange_tail(x)); }

/* ---- changes ------------------------------------------------------------------------------------------------------- */

/* Rules come with the keys, which are looked at again. */
static void refresh(struct exchange *x)
{
    struct err e;
    keyring_refresh(account_keyring(exchange_server(x)->o.account), &e);
}

/* False: answered. */
static bool read_rules(struct exchange *x, struct key_body *b)
{
    static const char *const others[] = { "name", "project", "scopes", "addresses",
                                          "tags", "expires", "weight", "priority" };
    struct fault f = { 0 };
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    bool ok = json_in_parse(len ? bytes : "{}", len ? len : 2, &exchange_server(x)->json, &body, &f);
    if (ok) {
        for (size_t i = 0; ok && i < sizeof others / sizeof *others; i++) {
            f.param = others[i];
            if (json_object_get(body, others[i]))
                ok = err_set(&f.err, ERR_REQUEST, "a project has limits and budgets, and no %s", others[i]);
        }
        ok = ok && key_body_read(b, body, &f);
        json_decref(body);
    }
    if (!ok) exchange_fault_from(x, &f);
    return ok;
}

void admin_project_set(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct key_body b;
    const struct actor by = admin_actor(x);
    if (!read_rules(x, &b)) return;
    const bool ok =
        project_set(admin_store(x), exchange_tail(x), b.limits, b.budgets, &by, clock_unix_ms(), &e);
    key_body_free(&b);
    if (!ok) {
        admin_fault(x, &e);
        return;
    }
    refresh(x);
    reply_project(x, exchange_tail(x));
}

void admin_project_remove(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(0);
    const struct actor by = admin_actor(x);
    if (!project_remove(admin_store(x), exchange_tail(x), &by, clock_unix_ms(), &e)) {
        admin_fault(x, &e);
        return;
    }
    refresh(x);
    buf_puts(&b, "{\"object\":\"project\",\"deleted\":true}");
    admin_reply_text(x, &b);
}
