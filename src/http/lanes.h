/* lanes.h - threads for what may take longer than an event loop can wait.
 *
 * TEXT  parse, template, tokenise, submit: milliseconds.   LOAD  the same, when the model must be loaded first: seconds.
 * A task runs exactly once. */
#ifndef HEARTH_HTTP_LANES_H
#define HEARTH_HTTP_LANES_H

#include <stdbool.h>

#include "base/err.h"

struct exchange;
struct lanes;
enum lane { LANE_INLINE, LANE_TEXT, LANE_LOAD };

bool lanes_new(struct lanes **out, int text_threads, struct err *e);
void lanes_free(struct lanes *l); /* runs what is queued, then joins */
bool lanes_push(struct lanes *l, enum lane lane, void (*run)(struct exchange *x), struct exchange *x);

#endif
