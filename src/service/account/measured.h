/* measured.h - how fast models have been at this server, by the latest rows of its ledger: what advice says instead of a guess.
 *
 * Threads  any. They read the store: not for an event loop. */
#ifndef HEARTH_SERVICE_ACCOUNT_MEASURED_H
#define HEARTH_SERVICE_ACCOUNT_MEASURED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

enum { MEASURED_LEAST = 5 /* rows that are enough */ };

struct measured {
    int rows;  /* that were this server's own, done, and of this model (and size); 0: none */
    bool like; /* of pictures: they are of other sizes, and the time is scaled by pixels */
    double value;
};
/* The middle one of the latest rows. value: seconds that a step of one picture of so many pixels takes, without the queue. */
bool measured_step(struct store *s, const char *model, int64_t pixels, struct measured *out, struct err *e);
/* value: tokens a second behind the first one. */
bool measured_tokens(struct store *s, const char *model, struct measured *out, struct err *e);

#endif
