/* store.c - `hearth store check|backup|migrate`. */
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"

static bool check(struct store *s, const char *arg, struct err *e)
{
    (void)arg;
    if (!store_check(s, e)) return false;
    printf("%s: whole, schema %d\n", store_where(s), store_version());
    return true;
}

static bool backup(struct store *s, const char *path, struct err *e)
{
    if (!store_backup(s, path, e)) return false;
    printf("%s\n", path);
    return true;
}

/* Opening has done it. */
static bool migrate(struct store *s, const char *arg, struct err *e)
{
    (void)arg, (void)e;
    printf("%s: schema %d\n", store_where(s), store_version());
    return true;
}

static const struct act {
    const char *name;
    bool (*run)(struct store *s, const char *arg, struct err *e);
    bool migrates;
    int n_args; /* its own name among them */
} acts[] = { { "check", check, false, 1 }, { "backup", backup, false, 2 }, { "migrate", migrate, true, 1 } };

static const struct act *find(const struct str_list *args)
{
    for (size_t i = 0; args->n && i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(acts[i].name, args->v[0]) && acts[i].n_args == args->n) return &acts[i];
    return NULL;
}

int cmd_store(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    int rc = options_parse(&o, CMD_STORE, argc, argv);
    if (rc >= 0) goto done;
    const struct act *act = find(&o.args);
    rc = 2;
    if (!act) {
        fprintf(stderr, "hearth store: say what to do: check, backup FILE or migrate\n");
        goto done;
    }
    if (!*o.store) {
        fprintf(stderr, "hearth store: --store names the file or the URL\n");
        goto done;
    }
    const struct store_options how = { .must_exist = true, .migrate = act->migrates };
    rc = 0;
    if (!store_open(&s, o.store, &how, &e) || !act->run(s, act->n_args > 1 ? o.args.v[1] : NULL, &e)) {
        fprintf(stderr, "hearth store: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
