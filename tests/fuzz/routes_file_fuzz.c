/* Any bytes as a file of routes: what is refused says where, what is taken leads somewhere. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "service/route/upstreams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct upstreams *u, const struct target *t)
{
    if (t->upstream == UPSTREAM_HERE ? t->model != NULL : t->upstream >= u->n || !t->model) abort();
    if (!(t->weight > 0)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct upstreams *u = NULL;
    struct err e = { ERR_NONE, "" };
    if (!upstreams_parse(&u, "file", (const char *)data, size, &e)) {
        if (!e.msg[0] || u) abort();
        return 0;
    }
    for (int i = 0; i < u->n; i++)
        if (strncasecmp(u->v[i].base_url, "http", 4) != 0 || !u->v[i].n_models || u->v[i].tries < 1) abort();
    for (int i = 0; i < u->n_routes; i++) {
        const struct routed *r = &u->route[i];
        if (!r->n || !upstreams_route(u, r->model, strlen(r->model))) abort();
        for (int k = 0; k < r->n; k++) check(u, &r->to[k]);
        if (r->shadow.upstream != UPSTREAM_NONE) check(u, &r->shadow);
    }
    upstreams_free(u);
    return 0;
}
