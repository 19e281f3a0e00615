/* lanes.h - threads for what may take longer than an event loop can wait. Each kind of work has its own, so that none waits behind a
 * longer kind.
 *
 * LOOKUP  what is there: models, counters, files.   TEXT  parse, template, tokenise, submit: milliseconds.
 * STORE   what the store is asked: its disk's time. LONG  the same as TEXT for long bodies: seconds.
 * LOAD    nothing but loading models: minutes (loading.h).
 * A task runs exactly once. */
#ifndef HEARTH_HTTP_LANES_H
#define HEARTH_HTTP_LANES_H

#include <stdbool.h>

#include "base/err.h"

struct exchange;
struct lanes;
enum lane { LANE_INLINE, LANE_LOOKUP, LANE_STORE, LANE_TEXT, LANE_LONG, LANE_LOAD, N_LANES };

/* waits: TEXT waits for the disk besides (a budget's reservation), so it has more threads than work for a processor needs; commits then hold
 * many requests' rows. */
bool lanes_new(struct lanes **out, int text_threads, bool waits, struct err *e);
void lanes_free(struct lanes *l); /* runs what is queued, then joins */
bool lanes_push(struct lanes *l, enum lane lane, void (*run)(struct exchange *x), struct exchange *x);

#endif
