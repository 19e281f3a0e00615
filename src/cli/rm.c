/* rm.c - `hearth rm NAME...`: installed models leave the model folder, and so do names that `hearth alias` gave.
 *
 * Only what the folder's scan lists as a model is touched, and nothing outside that folder: a link is removed, not what it points to. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "format/shards.h"
#include "service/models/aliases.h"
#include "service/models/catalog.h"
#include "service/models/model_folder.h"

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* A file with the parts that belong to it, then its folder if that is empty now; or a whole folder. */
static bool remove_model(const struct installed *m, const char *models_dir, struct err *e)
{
    struct stat st;
    if (lstat(m->path, &st)) return err_set(e, ERR_IO, "%s: %s", m->path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        if (nftw(m->path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0) return true;
        return err_set(e, ERR_IO, "%s: %s", m->path, strerror(errno));
    }
    int count;
    size_t stem = shards_stem(m->path, &count);
    const char *dot = strrchr(m->path, '.'), *slash = strrchr(m->path, '/');
    for (int i = 1; i <= count; i++) {
        char *part;
        if (asprintf(&part, "%.*s-%05d-of-%05d%s", (int)stem, m->path, i, count, dot ? dot : "") < 0)
            return err_set(e, ERR_NOMEM, "out of memory");
        bool gone = !remove(part) || errno == ENOENT || err_set(e, ERR_IO, "%s: %s", part, strerror(errno));
        free(part);
        if (!gone) return false;
    }
    if (remove(m->path) && errno != ENOENT) return err_set(e, ERR_IO, "%s: %s", m->path, strerror(errno));
    char *dir = slash ? strndup(m->path, (size_t)(slash - m->path)) : NULL;
    if (dir && strcmp(dir, models_dir) != 0) rmdir(dir);
    free(dir);
    return true;
}

/* The installed model that a name means: as the folder calls it, or as the catalog does. NULL when none or, with *several, more than one
 * is. */
static const struct installed *find(const struct installed_list *have, const struct catalog *c,
                                    const char *name, bool *several)
{
    const struct catalog_model *known = catalog_find(c, name);
    const struct installed *found = NULL;
    int len;
    const char *bare = catalog_bare_name(name, &len);
    *several = false;
    for (int i = 0; i < have->n; i++) {
        const struct installed *m = &have->v[i];
        bool same = (int)strlen(m->name) == len && !memcmp(m->name, bare, (size_t)len);
        bool owned = known && installed_is(m, known);
        if (!same && !owned) continue;
        if (found) *several = true;
        found = m;
    }
    return *several ? NULL : found;
}

int cmd_rm(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    struct catalog *catalog = NULL;
    struct installed_list have = { 0 };
    int rc = options_parse(&o, CMD_RM, argc, argv);
    if (rc >= 0) goto done;
    if (!o.args.n) {
        fprintf(stderr, "hearth rm: name a model; `hearth models` lists them\n");
        rc = 2;
        goto done;
    }
    rc = 0;
    if (!catalog_load(&catalog, o.catalog, &e) || !model_folder_scan(o.registry.models_dir, &have, &e)) {
        fprintf(stderr, "hearth rm: %s\n", e.msg);
        rc = 1;
    }
    for (int i = 0; i < o.args.n && !rc; i++) {
        bool several;
        struct err no_alias = { 0 };
        if (aliases_remove(o.registry.models_dir, o.args.v[i], &no_alias)) {
            printf("%s\n", o.args.v[i]);
            continue;
        }
        const struct installed *m = find(&have, catalog, o.args.v[i], &several);
        if (!m) {
            fprintf(stderr,
                    several ? "hearth rm: several installed models are called \"%s\"; name a file as `hearth "
                              "models` shows it\n"
                            : "hearth rm: no installed model is called \"%s\"; `hearth models` lists them\n",
                    o.args.v[i]);
            rc = 1;
        } else if (!remove_model(m, o.registry.models_dir, &e)) {
            fprintf(stderr, "hearth rm: %s\n", e.msg);
            rc = 1;
        } else {
            printf("%s\n", m->path);
        }
    }
done:
    installed_list_free(&have);
    catalog_free(catalog);
    options_free(&o);
    return rc;
}
