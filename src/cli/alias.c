/* alias.c - `hearth alias [NAME MODEL]`: names of one's own for models (service/models/aliases.h). */
#include "cli/alias.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "service/models/registry.h"

static bool list(struct registry *r, bool json, struct err *e)
{
    struct aliases a;
    if (!registry_aliases(r, &a, e)) return false;
    json_t *all = json_object();
    for (int i = 0; i < a.n; i++) {
        if (json)
            json_object_set_new(all, a.v[i].name, json_string(a.v[i].model));
        else
            printf("%-40s  %s\n", a.v[i].name, a.v[i].model);
    }
    if (json)
        json_dumpf(all, stdout, JSON_INDENT(1)), printf("\n");
    else if (!a.n)
        fprintf(stderr, "hearth alias: there is none; `hearth alias NAME MODEL` makes one\n");
    json_decref(all);
    aliases_free(&a);
    return true;
}

int alias_command(enum command_bit command, int model_at, bool may_list, int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct catalog *catalog = NULL;
    struct registry *registry = NULL;
    int rc = options_parse(&o, command, argc, argv);
    if (rc >= 0) goto done;
    if (o.args.n != 2 && (o.args.n || !may_list)) {
        fprintf(stderr, "hearth %s: expected a name and a model, got %d arguments; see hearth help %s\n",
                argv[0], o.args.n, argv[0]);
        rc = 2;
        goto done;
    }
    struct registry_options how = o.registry;
    how.lister = "`hearth models`";
    bool ok = catalog_load(&catalog, o.catalog, &e) &&
              registry_new(&registry, &how, catalog, NULL, NULL, &e); /* nothing is loaded: no device */
    if (ok && !o.args.n)
        ok = list(registry, o.json, &e);
    else if (ok)
        ok = registry_alias(registry, o.args.v[1 - model_at], o.args.v[model_at], &e);
    if (!ok) fprintf(stderr, "hearth %s: %s\n", argv[0], e.msg);
    rc = ok ? 0 : 1;
done:
    registry_free(registry);
    catalog_free(catalog);
    options_free(&o);
    return rc;
}

int cmd_alias(int argc, char **argv) { return alias_command(CMD_ALIAS, 1, true, argc, argv); }
