/* compute.h - where a command computes: the row `device` of the options. */
#ifndef HEARTH_CLI_COMPUTE_H
#define HEARTH_CLI_COMPUTE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/pool.h"
#include "device/device.h"

/* "cpu"; "cuda" and "cuda:N": that GPU, or an error that says why not; "auto": the first GPU where there is one, else the processor, and the
 * log says which and why. The caller closes it. */
bool compute_open(struct device **out, struct pool *pool, const char *where, struct err *e);

#endif
