/* own_server.h - a server of this command's own, for as long as it needs one: the same program as `hearth serve` in a process below this one,
 * on a free port of this machine, behind a key that nobody else knows. It keeps no store and reads no configuration file; of the environment's
 * settings it has those that answers depend on.
 *
 * Threads  none are started; the process ends with this one, however that ends. */
#ifndef HEARTH_CLI_OWN_SERVER_H
#define HEARTH_CLI_OWN_SERVER_H

#include <sys/types.h>

#include "base/err.h"

struct own_server {
    pid_t pid;
    char url[200], key[40];
    char dir[64]; /* what it writes, its log too; goes with it */
};

/* Serves what is in models_dir, or, where path is not "", that one model alone under this name, with what is kept beside models_dir. Waits until it listens. On failure *e has the
 * last line of its log, and nothing is left. */
bool own_server_start(struct own_server *s, const char *models_dir, const char *path, const char *name,
                      struct err *e);
void own_server_stop(struct own_server *s); /* one that was not started: nothing happens */

#endif
