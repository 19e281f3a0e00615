/* keys_command.c - `hearth keys new|list|show|rotate|revoke`: the keys of a store. (keys.c reads those that serve is given by itself.) */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/actor.h"
#include "cli/cli.h"
#include "base/dates.h"
#include "cli/options.h"
#include "service/account/key_json.h"
#include "service/account/keyring.h"

/* ---- new ----------------------------------------------------------------------------------------------------------- */

/* The items of a repeated flag as one list. NULL: no memory. */
static char *joined(const struct str_list *l)
{
    struct buf b = BUF_INIT(64 << 10);
    for (int i = 0; i < l->n; i++) buf_printf(&b, "%s%s", i ? "," : "", l->v[i]);
    char *s = buf_take(&b);
    buf_free(&b);
    return s;
}

static bool new_key(struct store *s, const struct options *o, struct err *e)
{
    char *scopes = joined(&o->account.scope), *addresses = joined(&o->account.address),
         *limits = joined(&o->account.limit), *budgets = joined(&o->account.budget),
         *tags = joined(&o->account.tag);
    struct key_wish w = { .name = o->account.name,
                          .project = o->account.project,
                          .scopes = scopes,
                          .addresses = addresses,
                          .limits = limits,
                          .budgets = budgets,
                          .tags = tags,
                          .weight = (int)o->key_weight,
                          .priority = (int)o->key_priority };
    const int64_t now = clock_unix_ms();
    char key[KEY_TEXT], id[PRINCIPAL_ID], user[ACTOR_USER];
    const struct actor by = actor_user(user);
    w.by = &by;
    bool ok = (scopes && addresses && limits && budgets && tags) ||
              err_set(e, ERR_NOMEM, "out of memory or too long a list");
    ok = ok &&
         (!*o->account.expires || dates_parse(o->account.expires, now, &w.expires_ms) ||
          err_set(e, ERR_REQUEST,
                  "--expires \"%.40s\": a date such as 2030-12-31, or a time from now such as 12h or 30d",
                  o->account.expires));
    ok = ok && key_new(s, &w, now, key, id, e);
    if (ok) printf("%s\n", key);
    if (ok) fprintf(stderr, "hearth keys: this is %s; its key is not shown again\n", id);
    free(scopes);
    free(addresses);
    free(limits);
    free(budgets);
    free(tags);
    return ok;
}

/* ---- list and show ------------------------------------------------------------------------------------------------- */

static bool print_json(const struct key_list *l, bool one, int64_t now, struct err *e)
{
    json_t *all = json_array();
    bool ok = all != NULL;
    for (int i = 0; ok && i < l->n; i++) ok = !json_array_append_new(all, key_json(l->v[i], now));
    ok = ok && !json_dumpf(one ? json_array_get(all, 0) : all, stdout, JSON_INDENT(2));
    if (ok) printf("\n");
    json_decref(all);
    return ok || err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
}

static void print_one(const struct key_record *k, int64_t now)
{
    char made[DATES_TEXT], expires[DATES_TEXT], revoked[DATES_TEXT];
    const struct {
        const char *name, *value;
    } lines[] = {
        { "id", k->id },
        { "name", k->name },
        { "project", k->project },
        { "state", key_state(k, now) },
        { "key", k->hint },
        { "scopes", k->scopes.text },
        { "addresses", k->addresses_text },
        { "limits", k->limits_text },
        { "budgets", k->budgets_text },
        { "tags", k->tags },
        { "created", dates_print(k->made_ms, made) },
        { "expires", k->expires_ms ? dates_print(k->expires_ms, expires) : "" },
        { "revoked", k->revoked_ms ? dates_print(k->revoked_ms, revoked) : "" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (*lines[i].value)
            printf("%-10s %s%s\n", lines[i].name, !strcmp(lines[i].name, "key") ? "hk-..." : "",
                   lines[i].value);
}

static void print_table(const struct key_list *l, int64_t now)
{
    if (l->n) printf("%-16s %-8s %-10s %-10s %-16s %s\n", "ID", "STATE", "KEY", "CREATED", "PROJECT", "NAME");
    for (int i = 0; i < l->n; i++) {
        const struct key_record *k = l->v[i];
        char made[DATES_TEXT];
        printf("%-16s %-8s hk-...%-4s %.10s %-16s %s\n", k->id, key_state(k, now), k->hint,
               dates_print(k->made_ms, made), k->project, k->name);
    }
}

static bool list_keys(struct store *s, const struct options *o, struct err *e)
{
    const char *id = o->args.n > 1 ? o->args.v[1] : NULL;
    const int64_t now = clock_unix_ms();
    struct key_list l;
    if (!key_list(s, id, &l, e)) return false;
    bool ok = true;
    if (o->json)
        ok = print_json(&l, id != NULL, now, e);
    else if (id)
        print_one(l.v[0], now);
    else
        print_table(&l, now);
    key_list_free(&l);
    return ok;
}

/* ---- rotate and revoke --------------------------------------------------------------------------------------------- */

static bool rotate(struct store *s, const struct options *o, struct err *e)
{
    char key[KEY_TEXT], user[ACTOR_USER];
    const struct actor by = actor_user(user);
    if (!key_rotate(s, o->args.v[1], &by, clock_unix_ms(), key, e)) return false;
    printf("%s\n", key);
    return true;
}

static bool revoke(struct store *s, const struct options *o, struct err *e)
{
    char user[ACTOR_USER];
    const struct actor by = actor_user(user);
    return key_revoke(s, o->args.v[1], &by, clock_unix_ms(), e);
}

static const struct act {
    const char *name;
    bool (*run)(struct store *s, const struct options *o, struct err *e);
    int n_args; /* its own name among them */
} acts[] = { { "new", new_key, 1 },
             { "list", list_keys, 1 },
             { "show", list_keys, 2 },
             { "rotate", rotate, 2 },
             { "revoke", revoke, 2 } };

int cmd_keys(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    const struct act *act = NULL;
    int rc = options_parse(&o, CMD_KEYS, argc, argv);
    if (rc >= 0) goto done;
    for (size_t i = 0; o.args.n && i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(acts[i].name, o.args.v[0]) && acts[i].n_args == o.args.n) act = &acts[i];
    rc = 2;
    if (!act) {
        fprintf(stderr, "hearth keys: say what to do: new, list, show ID, rotate ID or revoke ID\n");
        goto done;
    }
    if (!*o.store) {
        fprintf(stderr, "hearth keys: --store names the file or the URL that keeps them\n");
        goto done;
    }
    rc = 0;
    const struct store_options how = { .must_exist = act->run != new_key };
    if (!store_open(&s, o.store, &how, &e) || !act->run(s, &o, &e)) {
        fprintf(stderr, "hearth keys: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
