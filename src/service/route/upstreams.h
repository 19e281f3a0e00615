/* upstreams.h - the file of --routes: other servers that models are served by, and which of them a model's requests go to.
 *
 * File   version: 1
 *        upstreams:
 *          - name: east
 *            base_url: https://api.example.com/inference/v1
 *            key: secret:east
 *            models:
 *              - { name: llama-big, theirs: accounts/x/models/llama-v3p1-405b, input: 3, output: 3, context: 131072 }
 *        routes:
 *          - model: llama-big
 *            choice: order
 *            to: [ { at: here }, { at: east } ]
 *        docs/routing.md says what each key means. A model of an upstream without a route of its own is served here where it is
 *        installed, else by its upstreams in the file's order.
 * Threads  read-only after upstreams_load(). */
#ifndef HEARTH_SERVICE_ROUTE_UPSTREAMS_H
#define HEARTH_SERVICE_ROUTE_UPSTREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/account/prices.h"

enum { UPSTREAMS_MOST = 64, UPSTREAM_HERE = -1, UPSTREAM_NONE = -2 };

struct upstream_model {
    char *name, *theirs; /* as clients call it, and as the upstream does */
    struct price price;
    int context; /* tokens of a sequence */
    bool image;
};

struct upstream {
    char *name, *base_url; /* without a slash at its end */
    bool whole_path;       /* base_url has no path: the client's own is taken */
    char *key_setting;     /* "secret:NAME", or "" */
    char *key;             /* what it stands for, set by whoever may know; NULL: none is sent */
    double connect_s, first_s, between_s, whole_s;
    int tries; /* of one request, the first among them */
    double backoff_s, backoff_most_s;
    double retry_share; /* retries to successes */
    int breaker_failures;
    double breaker_open_s;
    struct upstream_model *model;
    int n_models;
};

struct target {
    int upstream;                       /* its place, UPSTREAM_HERE or UPSTREAM_NONE */
    const struct upstream_model *model; /* NULL: here */
    double weight;
};

enum choice { CHOICE_ORDER, CHOICE_WEIGHTED, CHOICE_CHEAPEST };

struct routed {
    char *model;
    enum choice choice;
    struct target *to;
    int n;
    int spill_at;         /* as many wait here, or there is no room: others are asked first; 0: never */
    struct target shadow; /* of UPSTREAM_NONE: there is none */
    double shadow_share;
};

struct upstreams {
    struct upstream *v;
    int n;
    struct routed *route; /* one for each name of a model */
    int n_routes;
};

bool upstreams_load(struct upstreams **out, const char *path, struct err *e);
bool upstreams_parse(struct upstreams **out, const char *name, const char *text, size_t len, struct err *e);
void upstreams_free(struct upstreams *u); /* NULL: nothing happens; keys are wiped */

/* The route of a model by its name; NULL: it has none. */
const struct routed *upstreams_route(const struct upstreams *u, const char *name, size_t len);

#endif
