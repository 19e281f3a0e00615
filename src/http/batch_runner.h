/* batch_runner.h - works on the batches of a store, on a thread of its own: their lines are requests of this server (inner.h), a few at a time, behind
 * all that does not come from a batch (BATCH_PRIORITY in every queue, and a share of their own beside their key's other requests).
 *
 * Of the processes that share a folder of uploads one works; another takes over when it ends. What it was at when it was killed is in the
 * store: a line has its answer, its row in the ledger and its cost, or none of them (account/line_answer.h), and those without are asked again. */
#ifndef HEARTH_HTTP_BATCH_RUNNER_H
#define HEARTH_HTTP_BATCH_RUNNER_H

#include <stdbool.h>

#include "base/err.h"
#include "service/account/keyring.h"

struct batch_runner;
struct server;

/* Below that of any key. */
enum { BATCH_PRIORITY = -KEY_PRIORITY_MAX - 1 };

/* The server has a store and a folder of uploads, and outlives it. */
bool batch_runner_start(struct batch_runner **out, struct server *s, struct err *e);
/* A batch was made or cancelled. NULL: nothing happens. */
void batch_runner_poke(struct batch_runner *b);
/* Lines that are under way are given up, unpaid. NULL: nothing happens. */
void batch_runner_stop(struct batch_runner *b);

#endif
