/* gate.h - who is limited in what a request is, and whether it may come in: the limits of its key, of the key's project, of its address, and of
 * its address at this endpoint, all together.
 *
 * A server has one whether it has a store or not: keys and projects are of a store, addresses are not.
 * Threads  any, but gate_open() and gate_close(). Where gate_waits(), gate_enter() waits for a Redis; the others never do. */
#ifndef HEARTH_SERVICE_ACCOUNT_GATE_H
#define HEARTH_SERVICE_ACCOUNT_GATE_H

#include "base/clock.h"
#include "service/account/limits.h"
#include "service/ending.h"

struct gate;

/* What a page without keys lets an address draw and say: those of the Express servers that its clients were written for. */
#define GATE_ENDPOINT_LIMITS "express-image:requests/15-minutes=50,express-chat:requests/15-minutes=100"

struct gate_options {
    const char *counters;        /* where counts are: store/counters.h */
    const char *address_limits;  /* of each address, as rules.h reads them, or "" */
    const char *endpoint_limits; /* of each address at an endpoint: ENDPOINT:LIMIT, ...; or "" */
    struct time_source time;
};

bool gate_open(struct gate **out, const struct gate_options *o, struct err *e);
/* Other rules for requests that come from now on. One caller at a time. On failure those that hold go on. */
bool gate_set_limits(struct gate *g, const char *address_limits, const char *endpoint_limits, struct err *e);
void gate_close(struct gate *g); /* NULL: nothing happens */
const char *gate_where(const struct gate *g);
bool gate_waits(const struct gate *g);
/* Why counts cannot be had now, for /ready; false when they can. */
bool gate_away(struct gate *g, struct err *why);

struct gate_refusal {
    enum { GATE_FULL, GATE_AWAY } why;
    char msg[500];    /* for the client */
    int64_t again_ms; /* Unix; 0: nobody knows */
};

/* is->uid is its own. What has entered is due a gate_ended() or a gate_undo(). left: what remains, also of one that is refused. */
bool gate_enter(struct gate *g, const struct identity *is, struct limit_left left[N_LIMITED],
                struct gate_refusal *r);
void gate_undo(struct gate *g, const struct identity *is);
/* What remains, as far as this server has heard, for answers to what is not counted. */
void gate_left(struct gate *g, const struct identity *is, struct limit_left left[N_LIMITED]);
/* A sink of endings. arg: the gate. */
void gate_ended(void *arg, const struct ending *e);

#endif
