/* tracker.h - a line of log for each answer that used something, as the usage trackers of the Fireworks guides write it:
 * "2026-01-31 12:00:00,123 - INFO - COMPLETION_USAGE: {...}" or IMAGE_GENERATION, a dictionary as Python prints it. Times are UTC; how long a
 * prompt was the ledger does not know (None). Threads any. */
#ifndef HEARTH_SERVICE_ACCOUNT_TRACKER_H
#define HEARTH_SERVICE_ACCOUNT_TRACKER_H

#include "base/buf.h"
#include "service/account/ledger.h"

/* Appends the row's line; nothing where it has none: it was refused, or used nothing. */
void tracker_line(struct buf *b, const struct ledger_row *r);

#endif
