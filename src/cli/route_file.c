/* route_file.c - see route_file.h. */
#include "cli/route_file.h"

#include <stdlib.h>
#include <string.h>

#include "service/account/account.h"
#include "service/account/secrets.h"

/* --upstream-key NAME=KEY; NULL: there is none for this one. */
static const char *given_key(const struct options *o, const char *name)
{
    const size_t n = strlen(name);
    for (int i = 0; i < o->upstream_keys.n; i++)
        if (!strncmp(o->upstream_keys.v[i], name, n) && o->upstream_keys.v[i][n] == '=')
            return o->upstream_keys.v[i] + n + 1;
    return NULL;
}

static bool find_key(const struct options *o, struct account *account, struct upstream *u, struct err *e)
{
    const char *given = given_key(o, u->name);
    if (*u->key_setting) {
        if (!account)
            return err_set(e, ERR_REQUEST,
                           "%s: the upstream \"%s\" has a secret of a store for a key; --store names one",
                           o->routes, u->name);
        if (!secrets_resolve(account_store(account), u->key_setting, o->master_key_file, o->master_key,
                             &u->key, e))
            return err_wrap(e, "%s: the key of the upstream \"%s\"", o->routes, u->name);
    } else if (given) {
        u->key = strdup(given);
        if (!u->key) return err_set(e, ERR_NOMEM, "out of memory");
    }
    for (const char *p = u->key; p && *p; p++)
        if (*p <= ' ' || *p > '~')
            return err_set(e, ERR_REQUEST,
                           "the key of the upstream \"%s\" has white space or other bytes that no key has",
                           u->name);
    return true;
}

/* Every --upstream-key is that of an upstream. */
static bool all_known(const struct options *o, const struct upstreams *u, struct err *e)
{
    for (int i = 0; i < o->upstream_keys.n; i++) {
        const size_t n = strcspn(o->upstream_keys.v[i], "=");
        bool known = false;
        for (int k = 0; k < u->n; k++)
            known |= strlen(u->v[k].name) == n && !strncmp(u->v[k].name, o->upstream_keys.v[i], n);
        if (!known)
            return err_set(e, ERR_REQUEST,
                           "upstream-key: %s has no upstream of the name before its '='; expected NAME=KEY",
                           o->routes);
    }
    return true;
}

bool route_file_load(struct upstreams **out, const struct options *o, struct account *account, struct err *e)
{
    struct upstreams *u;
    if (!upstreams_load(&u, o->routes, e)) return false;
    bool ok = true;
    for (int i = 0; ok && i < u->n; i++) ok = find_key(o, account, &u->v[i], e);
    if (ok && all_known(o, u, e)) {
        *out = u;
        return true;
    }
    upstreams_free(u);
    return false;
}
