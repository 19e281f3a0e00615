/* health.c - `hearth health`: whether a server is alive and ready, for probes of places that have no other client. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/options.h"

int cmd_health(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    int rc = options_parse(&o, CMD_HEALTH, argc, argv);
    if (rc < 0 && o.args.n) {
        fprintf(stderr, "hearth health: expected no arguments, got %d; see hearth help health\n", o.args.n);
        rc = 2;
    }
    if (rc < 0) {
        struct buf body = BUF_INIT(1 << 16);
        const bool ok = fetch_get(*o.url ? o.url : FETCH_USUAL_URL, "", "/ready", &body, &e);
        if (ok)
            printf("%.*s\n", (int)body.len, body.data);
        else
            fprintf(stderr, "hearth health: %s\n", e.msg);
        buf_free(&body);
        rc = ok ? 0 : 1;
    }
    options_free(&o);
    return rc;
}
