/* first.c - see first.h. */
#include "cli/first.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/version.h"
#include "cli/cli.h"
#include "cli/detach.h"
#include "cli/options.h"
#include "service/models/registry.h"

/* One that can be used, of either kind; its place among the rows, or -1. */
static int usable(const struct model_row *rows, int n, bool image)
{
    for (int i = 0; i < n; i++)
        if (rows[i].image == image && !rows[i].problem[0]) return i;
    return -1;
}

static void step(const char *command, const char *what) { printf("  %-46s %s\n", command, what); }

static void print_steps(const struct model_row *rows, int n, const char *models_dir)
{
    const int text = usable(rows, n, false), image = usable(rows, n, true);
    const pid_t server = detached_pid();
    if (text < 0 && image < 0) {
        printf("No model that can be used is in %s. To go on:\n\n", models_dir);
        step("hearth pull smollm2-135m-instruct", "fetch a small one to chat with, 0.1 GB");
        step("hearth models", "what else there is, and what each takes");
    } else {
        char talk[200];
        printf("%d model%s in %s. To go on:\n\n", n, n == 1 ? " is" : "s are", models_dir);
        snprintf(talk, sizeof talk, "hearth chat %.150s", text < 0 ? "" : catalog_last_part(rows[text].id));
        if (text >= 0) step(talk, "talk with it here");
        if (image >= 0) step("hearth image \"a red apple\"", "draw a picture");
        if (!server) step("hearth serve --detach", "serve all of them: a page in the browser, and the APIs");
        step("hearth models", "what is installed, and what else there is");
    }
    if (server) {
        step("hearth ps", "what the server that runs has in memory");
        step("hearth stop", "end it");
    }
    step("hearth help", "all commands");
}

int first_steps(void)
{
    struct options o;
    struct err e = { 0 };
    struct catalog *catalog = NULL;
    struct registry *r = NULL;
    struct model_row *rows = NULL;
    int n = 0;
    char name[] = "models", *argv[] = { name, NULL };
    int rc = options_parse(&o, CMD_MODELS, 1, argv);
    if (rc >= 0) goto done;
    printf("hearth %s - language and image models behind the APIs you already use\n\n", hearth_version);
    const bool ok = catalog_load(&catalog, o.catalog, &e) &&
                    registry_new(&r, &o.registry, catalog, NULL, NULL, &e) && registry_list(r, &rows, &n, &e);
    if (ok) print_steps(rows, n, o.registry.models_dir);
    if (!ok) fprintf(stderr, "hearth: %s\n", e.msg);
    rc = ok ? 0 : 1;
done:
    free(rows);
    registry_free(r);
    catalog_free(catalog);
    options_free(&o);
    return rc;
}
