/* reload.c - see reload.h. */
#include "cli/reload.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "http/access_log.h"
#include "http/server.h"
#include "http/tls.h"
#include "service/account/account.h"
#include "service/account/gate.h"

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

static void prices(const struct reload *r, const struct options *o)
{
    struct err e;
    if (!account_set_prices(r->account, r->catalog, o->prices, &e))
        log_error("%s; the old prices are kept", e.msg);
    else if (*o->prices)
        log_info("prices of %s hold for requests from now on", o->prices);
}

static void limits(const struct reload *r, const struct options *o)
{
    struct err e;
    if (!gate_set_limits(r->gate, o->address_limits, o->endpoint_limits, &e))
        log_error("%s; the old limits are kept", e.msg);
}

/* Options that hold at once. */
static const char *const live[] = { "keys",           "key-file",        "prices",
                                    "address-limits", "endpoint-limits", "log-level" };

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

static void settings(const struct reload *r)
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
        log_set_level(o.log_level);
    } else {
        log_error("%s; the configuration stays as it was", e.msg);
    }
    options_free(&o);
    reload_args_free(argv);
}

void reload_now(const struct reload *r)
{
    log_info("hang-up: looking at files again");
    if (r->access_log) access_log_reopen(r->access_log);
    if (r->tls) certificate(r->tls);
    settings(r);
    log_info("hang-up: done");
}
