/* server_inside.h - what a running server consists of, for the files of http/. */
#ifndef HEARTH_HTTP_SERVER_INSIDE_H
#define HEARTH_HTTP_SERVER_INSIDE_H

#include <stdatomic.h>

#include "http/auth.h"
#include "http/bodies.h"
#include "http/json_in.h"
#include "http/lanes.h"
#include "http/loading.h"
#include "http/metrics.h"
#include "http/server.h"
#include "http/watch.h"
#include "service/ending.h"

enum { SERVER_URL = 128 };

struct MHD_Daemon;
struct redirect;
struct batch_runner;

struct server {
    struct server_options o;
    struct registry *registry;
    const struct catalog *catalog;
    struct MHD_Daemon *daemon;
    struct redirect *redirect; /* NULL: none */
    struct auth auth;
    struct lanes *lanes;
    struct loading *loading;
    struct batch_runner *batches; /* NULL: nobody works on them here */
    struct kept_responses *kept;  /* responses that can be gone on from */
    struct watch *watch;
    struct metrics metrics;
    struct ending_sinks endings;
    struct bodies bodies;
    struct json_limits json;
    char url[SERVER_URL], redirect_url[SERVER_URL];
    double started;                        /* clock_seconds() */
    atomic_bool ready, draining, stopping; /* stopping: the time for draining is over */
    atomic_int active;                     /* exchanges that a lane or a model works on */
};

/* Everything but the socket and its event loops; options as in server_start(). To be closed when nothing is worked on. */
bool server_parts_open(struct server **out, const struct server_options *o, struct registry *r,
                       const struct catalog *c, struct err *e);
void server_parts_close(struct server *s);

#endif
