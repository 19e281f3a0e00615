/* route_file.h - the file of --routes with the keys of its upstreams, for a server that starts and for one that reads it again. */
#ifndef HEARTH_CLI_ROUTE_FILE_H
#define HEARTH_CLI_ROUTE_FILE_H

#include "cli/options.h"
#include "service/route/upstreams.h"

struct account;

/* Keys come from --upstream-key or are sealed in the account's store (NULL: there is none). */
bool route_file_load(struct upstreams **out, const struct options *o, struct account *account, struct err *e);

#endif
