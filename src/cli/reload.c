/* reload.c - see reload.h. */
#include "cli/reload.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "cli/route_file.h"
#include "http/access_log.h"
#include "http/server.h"
#include "http/tls.h"
#include "service/account/account.h"
#include "service/account/gate.h"
#include "service/models/catalog.h"
#include "service/route/router.h"
#include "service/safety/policy.h"

char **reload_args(int argc, char *const *argv)
{
    char **copy = calloc((size_t)argc + 1, sizeof *copy);
    for (int i = 0; copy && i < argc; i++) {
        if ((copy[i] = strdup(argv[i]))) continue;
        reload_args_free(copy);
        return NULL;
    }
    return copy;
}

void reload_args_free(char **argv)
{
    for (int i = 0; argv && argv[i]; i++) free(argv[i]);
    free(argv);
}

/* ---- files that have a name of their own --------------------------------------------------------------------------- */

static void certificate(struct tls *t)
{
    struct err e;
    if (tls_reload(t, &e))
        log_info("new connections get the certificate that tls-cert names");
    else
        log_error("%s; the old certificate is kept", e.msg);
    tls_warn(t);
}

/* ---- settings ------------------------------------------------------------------------------------------------------ */

static void keys(const struct reload *r, const struct options *o)
{
    struct keys k = { 0 };
    struct err e;
    if (keys_collect(&k, &o->keys, o->key_file, *r->new_key, &e) &&
        (!*r->new_key || *o->key_file || keys_add(&k, r->new_key, strlen(r->new_key), "--new-key", &e)) &&
        server_set_keys(r->server, &(struct str_list){ k.v, k.n }, &e)) {
        if (k.n) log_info("%d key%s configured", k.n, k.n == 1 ? "" : "s");
    } else {
        log_error("%s; the old keys are kept", e.msg);
    }
    keys_free(&k);
}

struct reload_kept {
    struct reload_kept *older;
    struct catalog *catalog;
    struct word_rules *words;
};

/* NULL: no memory, which is said. */
static struct reload_kept *keep(struct reload *r)
{
    struct reload_kept *k = calloc(1, sizeof *k);
    if (!k) {
        log_error("out of memory; the file is not read again");
        return NULL;
    }
    k->older = r->kept;
    r->kept = k;
    return k;
}

/* The catalog is read again for its prices: its models are those of the start. */
static void prices(struct reload *r, const struct options *o)
{
    struct err e;
    struct reload_kept *k = keep(r);
    if (!k) return;
    if (!catalog_load(&k->catalog, o->catalog, &e) ||
        !account_set_prices(r->account, k->catalog, o->prices, &e))
        log_error("%s; the old prices are kept", e.msg);
    else if (*o->prices || *o->catalog)
        log_info("prices of %s hold for requests from now on", *o->prices ? o->prices : o->catalog);
}

static void routes(struct reload *r, const struct options *o)
{
    struct err e;
    struct upstreams *u = NULL;
    const bool ok = *o->routes ? route_file_load(&u, o, r->account, &e)
                               : err_set(&e, ERR_REQUEST, "routes names no file any more");
    if (ok && router_set(r->router, u, &e)) {
        log_info("routes of %s hold for requests from now on", o->routes);
        return;
    }
    upstreams_free(u);
    log_error("%s; the old routes are kept", e.msg);
}

static void words(struct reload *r, const struct options *o)
{
    struct err e;
    struct reload_kept *k = keep(r);
    if (!k) return;
    if (!word_rules_load(&k->words, o->safety_policy, &e) ||
        !word_rules_find(k->words, r->started_with->server.policy, &e) ||
        !word_rules_may_hold(k->words, r->account != NULL, &e)) {
        log_error("%s; the old safety policies are kept", e.msg);
        return;
    }
    server_set_words(r->server, k->words);
    if (*o->safety_policy) log_info("safety policies of %s hold for requests from now on", o->safety_policy);
}

void reload_end(struct reload *r)
{
    for (struct reload_kept *k = r->kept, *older; k; k = older) {
        older = k->older;
        if (k->catalog) catalog_free(k->catalog);
        word_rules_free(k->words);
        free(k);
    }
    r->kept = NULL;
}

static void limits(const struct reload *r, const struct options *o)
{
    struct err e;
    if (!gate_set_limits(r->gate, o->address_limits, o->endpoint_limits, &e))
        log_error("%s; the old limits are kept", e.msg);
}

/* Options that hold at once. */
static const char *const live[] = { "keys",      "key-file", "prices", "address-limits", "endpoint-limits",
                                    "log-level", "routes",   "safety", "catalog",        "upstream-key" };

static void tell_change(void *arg, const char *name)
{
    (void)arg;
    for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
        if (strcmp(live[i], name)) continue;
        log_info("%s has changed", name);
        return;
    }
    log_warn("%s has changed, and holds from the next start on", name);
}

static void settings(struct reload *r)
{
    struct options o;
    struct err e;
    char **argv = r->argv ? reload_args(r->argc, r->argv) : NULL;
    if (!argv) {
        log_error("out of memory; the configuration is not read again");
        return;
    }
    if (options_again(&o, CMD_SERVE, r->argc, argv, &e)) {
        options_differ(r->started_with, &o, CMD_SERVE, tell_change, NULL);
        keys(r, &o);
        if (r->account) prices(r, &o);
        if (r->gate) limits(r, &o);
        if (r->router) routes(r, &o);
        words(r, &o);
        log_set_level(o.log_level);
    } else {
        log_error("%s; the configuration stays as it was", e.msg);
    }
    options_free(&o);
    reload_args_free(argv);
}

void reload_now(struct reload *r)
{
    log_info("hang-up: looking at files again");
    if (r->access_log) access_log_reopen(r->access_log);
    if (r->tls) certificate(r->tls);
    settings(r);
    log_info("hang-up: done");
}
