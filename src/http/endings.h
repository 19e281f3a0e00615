/* endings.h - where a request becomes an admitted one, and what this server does when it has ended: its line in the log, its counters. */
#ifndef HEARTH_HTTP_ENDINGS_H
#define HEARTH_HTTP_ENDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "service/ending.h"

struct exchange;
struct server;

/* The sinks of a new server. */
void endings_init(struct server *s);
/* Waits until every admitted request has ended. What still runs must have been cancelled: then it is over within a step. */
void endings_wait(struct server *s);

/* x is admitted: x->ending is set where its route has an endpoint. False: no memory. */
bool endings_open(struct exchange *x);
/* x's answer is whole but for its last bytes, or it is a fault: true when those may go. False: what it used is being written down, and x is
 * woken when that is done. Where nobody keeps books, and of faults, which tell nothing that was used, always true. The event loop's. */
bool endings_booked(struct exchange *x);
/* Bytes of x's answer, in their order: for those who record it. */
void endings_heard(struct exchange *x, const char *bytes, size_t n);
/* x is over, sent or not: says how it went and lets go. An exchange without an ending is written to the log here. */
void endings_close(struct exchange *x, bool sent);

#endif
