/* answer.h - what an upstream answers: bytes of a stranger, taken to pieces under limits before anything of them goes on.
 *
 * A stream is cut into events (struct event_reader); an event's or a plain answer's JSON is parsed whole, so that half a document, two, or
 * text that is not UTF-8 are errors; what it says of use and of its end is read (answer_read()); and it is spelled for the client
 * (answer_spell()), where every byte that need not change stays.
 * Threads  one owner at a time. */
#ifndef HEARTH_SERVICE_ROUTE_ANSWER_H
#define HEARTH_SERVICE_ROUTE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "service/usage.h"

enum { ANSWER_EVENT = 8 << 20 /* bytes of one event */ };

/* Server-sent events: what stands behind "data:". Comments and other fields are passed over. */
struct event_reader {
    struct buf line, data;
    bool has_data, after_return;
};
void event_reader_init(struct event_reader *r, size_t most);
void event_reader_free(struct event_reader *r);
/* Calls fn for every event that is whole with these bytes, until it says no. False: that, or an event is too long; *e says which. */
bool event_reader_feed(struct event_reader *r, const char *bytes, size_t n,
                       bool (*fn)(void *arg, const char *data, size_t len, struct err *e), void *arg,
                       struct err *e);

struct answer {
    bool has_usage;
    struct usage usage;
    int n_choices;  /* pieces of a choice, or choices */
    int n_finished; /* those of them that say why they ended */
    int n_said;     /* and those that say something: about a token each, in a stream */
    int n_pictures;
    bool failed;       /* it is an error */
    char message[300]; /* of the error; "" where it says none */
};
/* ERR_FORMAT: no JSON object. */
bool answer_read(struct answer *a, const char *json, size_t len, struct err *e);

struct answer_spelling {
    const char *model; /* as the client calls it; NULL: as it stands */
    const char *cost;  /* dollars, where usage says a cost; NULL: as it stands */
    bool no_usage;     /* the client did not ask for it */
};
/* Appends it to *out. */
bool answer_spell(struct buf *out, const char *json, size_t len, const struct answer_spelling *s);

/* The words of an upstream for a client: without what it is called and what opens it. */
void answer_hide(char *message, const char *secret);

#endif
