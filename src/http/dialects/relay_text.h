/* relay_text.h - a text request in the form of OpenAI's chat completions (or completions), for another server that is to answer it, and that
 * server's answer as reply events: whichever dialect the client speaks.
 *
 * What a request asks for is sent or refused by name: nothing of it is left out. What only decides how a context that is too small is dealt
 * with is the other server's business.
 * Threads  one owner at a time. */
#ifndef HEARTH_HTTP_DIALECTS_RELAY_TEXT_H
#define HEARTH_HTTP_DIALECTS_RELAY_TEXT_H

#include <jansson.h>

#include "http/dialects/wire.h"

/* The body, new; NULL: *f says which wish cannot be sent. */
json_t *relay_text_body(const struct wire_request *w, struct fault *f);

/* ---- answers ------------------------------------------------------------------------------------------------------- */

struct relay_choice; /* what is known of one choice */

struct relay_text {
    const struct gen_request *gen;
    struct relay_choice *choice; /* [n] */
    int n;
    bool hides; /* thoughts are not shown */
    struct reply_event *event;
    size_t n_events, cap, taken;
};
/* Of a request whose answers have n choices. gen lives as long. */
bool relay_text_init(struct relay_text *t, const struct gen_request *gen, int n, bool hides, struct err *e);
void relay_text_free(struct relay_text *t);

/* A whole answer, or what one event of a stream says; u: what has been used by then. False: it is of no use, or there is no memory. */
bool relay_text_read(struct relay_text *t, const char *json, size_t len, const struct usage *u,
                     struct err *e);
/* Nothing more comes: queues the end. False: a choice has none. */
bool relay_text_end(struct relay_text *t, const struct usage *u, struct err *e);
/* The next event that came of it, which is the caller's. */
bool relay_text_next(struct relay_text *t, struct reply_event *ev);

#endif
