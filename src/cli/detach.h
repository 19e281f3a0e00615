/* detach.h - a server that goes on when its terminal is gone, and how `hearth stop` finds it.
 *
 * The file "serve.pid" of the state folder has its process id and is locked for as long as it runs, so that a number that was
 * left behind by a machine that fell over is never taken for a server's. What it writes goes to "serve.log" beside it. */
#ifndef HEARTH_CLI_DETACH_H
#define HEARTH_CLI_DETACH_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct detached {
    int lock, ready; /* descriptors of the server; -1: none */
};

/* Before there are threads. In the server-to-be: true, and *status is -1. In the process that was called, once that one is ready or has ended:
 * true with the exit status to return. false: it could not begin; one that runs already is ERR_BUSY. */
bool detach_begin(struct detached *d, int *status, struct err *e);
/* The server is up: whoever called it may go, and the terminal is let go of. */
void detach_ready(struct detached *d);

/* The process id of the detached server; 0: none runs. */
pid_t detached_pid(void);
/* Waits until that one has ended. */
void detached_wait(void);

#endif
