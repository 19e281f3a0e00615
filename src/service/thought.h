/* thought.h - takes thoughts out of a choice's text before its reader sees it, in the forms of reply.h's struct reply_style.
 *
 * Threads  a struct thought has one user at a time. */
#ifndef HEARTH_SERVICE_THOUGHT_H
#define HEARTH_SERVICE_THOUGHT_H

#include "base/buf.h"
#include "service/reply.h"

struct thought { /* of one choice; zeroed before the first feed, freed by thought_free() */
    enum {
        THOUGHT_NEW,   /* nothing has come */
        THOUGHT_AHEAD, /* white space, behind which a thought or the answer begins */
        THOUGHT_INSIDE,
        THOUGHT_OVER
    } at;
    struct buf held; /* seen and not said */
    size_t passed;   /* bytes of the choice's text that are settled: said, or known to be marks */
    bool had;        /* a thought has been opened */
    bool said;       /* and said something */
};

void thought_free(struct thought *t);
/* Text of the choice; what is behind the thought goes to the style's reader with its state. false: no memory. */
bool thought_feed(struct thought *t, const struct reply_style *style, void *state, const char *text,
                  size_t len, struct reply_out *out);
/* The choice ends; cut as in struct reply_reader. */
bool thought_flush(struct thought *t, const struct reply_style *style, void *state, bool cut,
                   struct reply_out *out);

#endif
