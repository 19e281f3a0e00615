/* recording.h - a request as it came and its answer as it went, kept while it is under way: what a ledger with --record has beside its row. */
#ifndef HEARTH_SERVICE_RECORDING_H
#define HEARTH_SERVICE_RECORDING_H

#include <stddef.h>

#include "base/buf.h"

enum { RECORDING_MOST = 256 << 20 /* bytes of an answer */ };

struct recording {
    char *headers;     /* a JSON object of those that the answer depends on; never a key */
    struct buf body;   /* the request's */
    char type[100];    /* the answer's Content-Type */
    struct buf answer; /* its bytes, of a stream every event; failed: too long, or no memory */
};

struct recording *recording_new(void); /* NULL: no memory */
void recording_free(struct recording *r);

#endif
