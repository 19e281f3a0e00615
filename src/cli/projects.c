/* projects.c - `hearth projects set|list|show|rm`: what the keys of a project may use together. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/dates.h"
#include "cli/actor.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "service/account/budgets.h"
#include "service/account/money.h"
#include "service/account/projects.h"

/* The items of a repeated flag as one list; NULL: none was given, which leaves a project's as they are. */
static bool joined(const struct str_list *l, char **out, struct err *e)
{
    struct buf b = BUF_INIT(64 << 10);
    *out = NULL;
    if (!l->n) return true;
    for (int i = 0; i < l->n; i++) buf_printf(&b, "%s%s", i ? "," : "", l->v[i]);
    *out = buf_take(&b);
    buf_free(&b);
    return *out || err_set(e, ERR_NOMEM, "out of memory or too long a list");
}

static bool set(struct store *s, const struct options *o, struct err *e)
{
    char *limits = NULL, *budgets = NULL, user[ACTOR_USER];
    const struct actor by = actor_user(user);
    const bool ok = joined(&o->account.limit, &limits, e) && joined(&o->account.budget, &budgets, e) &&
                    project_set(s, o->args.v[1], limits, budgets, &by, clock_unix_ms(), e);
    free(limits);
    free(budgets);
    return ok;
}

static bool drop(struct store *s, const struct options *o, struct err *e)
{
    char user[ACTOR_USER];
    const struct actor by = actor_user(user);
    return project_remove(s, o->args.v[1], &by, clock_unix_ms(), e);
}

/* ---- what there is ------------------------------------------------------------------------------------------------- */

/* Calls fn for each budget of the project, with what is spent and reserved of it. */
static bool each_budget(struct store *s, const struct project_record *p, int64_t now_ms,
                        void (*fn)(void *arg, const char *period, int64_t most, bool soft,
                                   const struct budget_state *state),
                        void *arg, struct err *e)
{
    struct budget_rules rules;
    char owner[260];
    snprintf(owner, sizeof owner, "project:%s", p->name);
    struct budget_states spent = { .owner = owner, .now_ms = now_ms };
    if (!budget_rules_parse(&rules, p->budgets, e) || !store_read(s, budget_read_all, &spent, e))
        return false;
    for (int i = 0; i < N_PERIODS; i++)
        if (rules.most[i] >= 0)
            fn(arg, period_name((enum period)i), rules.most[i], rules.soft[i], &spent.state[i]);
    return true;
}

static void print_budget(void *arg, const char *period, int64_t most, bool soft,
                         const struct budget_state *state)
{
    char limit[MONEY_TEXT], spent[MONEY_TEXT], reserved[MONEY_TEXT];
    (void)arg;
    printf("%-10s %s of %s dollars spent, %s reserved%s\n", period, money_print(state->spent, spent),
           money_print(most, limit), money_print(state->reserved, reserved), soft ? " (soft)" : "");
}

static void add_budget(void *arg, const char *period, int64_t most, bool soft,
                       const struct budget_state *state)
{
    char limit[MONEY_TEXT], spent[MONEY_TEXT], reserved[MONEY_TEXT];
    json_object_set_new(arg, period,
                        json_pack("{s:s, s:s, s:s, s:b}", "limit", money_print(most, limit), "spent",
                                  money_print(state->spent, spent), "reserved",
                                  money_print(state->reserved, reserved), "soft", soft));
}

static json_t *as_json(struct store *s, const struct project_record *p, int64_t now_ms, struct err *e)
{
    char made[DATES_TEXT];
    json_t *spending = json_object();
    if (!spending || !each_budget(s, p, now_ms, add_budget, spending, e)) {
        json_decref(spending);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", p->name, "limits", p->limits, "budgets",
                     p->budgets, "keys", (json_int_t)p->n_keys, "created", dates_print(p->made_ms, made),
                     "spending", spending);
}

static bool print_json(struct store *s, const struct project_list *l, bool one, int64_t now_ms, struct err *e)
{
    json_t *all = json_array();
    bool ok = all != NULL;
    err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
    for (int i = 0; ok && i < l->n; i++) ok = !json_array_append_new(all, as_json(s, &l->v[i], now_ms, e));
    ok = ok && !json_dumpf(one ? json_array_get(all, 0) : all, stdout, JSON_INDENT(2));
    if (ok) printf("\n");
    json_decref(all);
    return ok;
}

static bool print_one(struct store *s, const struct project_record *p, int64_t now_ms, struct err *e)
{
    char made[DATES_TEXT];
    printf("%-10s %s\n", "name", p->name);
    if (*p->limits) printf("%-10s %s\n", "limits", p->limits);
    if (*p->budgets) printf("%-10s %s\n", "budgets", p->budgets);
    printf("%-10s %lld\n%-10s %s\n", "keys", (long long)p->n_keys, "created", dates_print(p->made_ms, made));
    return each_budget(s, p, now_ms, print_budget, NULL, e);
}

static bool list(struct store *s, const struct options *o, struct err *e)
{
    const char *name = o->args.n > 1 ? o->args.v[1] : NULL;
    const int64_t now = clock_unix_ms();
    struct project_list l;
    bool ok = true;
    if (!project_list(s, name, &l, e)) return false;
    if (o->json)
        ok = print_json(s, &l, name != NULL, now, e);
    else if (name)
        ok = print_one(s, l.v, now, e);
    else if (l.n)
        printf("%-24s %5s  %s\n", "PROJECT", "KEYS", "LIMITS AND BUDGETS");
    for (int i = 0; ok && !name && !o->json && i < l.n; i++)
        printf("%-24s %5lld  %s%s%s\n", l.v[i].name, (long long)l.v[i].n_keys, l.v[i].limits,
               *l.v[i].limits && *l.v[i].budgets ? "; " : "", l.v[i].budgets);
    project_list_free(&l);
    return ok;
}

static const struct act {
    const char *name;
    bool (*run)(struct store *s, const struct options *o, struct err *e);
    int n_args; /* its own name among them */
} acts[] = { { "set", set, 2 }, { "list", list, 1 }, { "show", list, 2 }, { "rm", drop, 2 } };

int cmd_projects(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    const struct act *act = NULL;
    int rc = options_parse(&o, CMD_PROJECTS, argc, argv);
    if (rc >= 0) goto done;
    for (size_t i = 0; o.args.n && i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(acts[i].name, o.args.v[0]) && acts[i].n_args == o.args.n) act = &acts[i];
    rc = 2;
    if (!act) {
        fprintf(stderr, "hearth projects: say what to do: set NAME, list, show NAME or rm NAME\n");
        goto done;
    }
    if (!*o.store) {
        fprintf(stderr, "hearth projects: --store names the file or the URL that keeps them\n");
        goto done;
    }
    rc = 0;
    const struct store_options how = { .must_exist = act->run != set };
    if (!store_open(&s, o.store, &how, &e) || !act->run(s, &o, &e)) {
        fprintf(stderr, "hearth projects: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
