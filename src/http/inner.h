/* inner.h - a request that a handler makes of this server, in the name of whoever made the handler's own: an admitted request like any other,
 * with its limits, its budget, its ending and its row in the ledger. It is an exchange that no connection carries.
 *
 * What it is answered is brought together by the LOOKUP lane as it comes; the owner is woken, and takes it when it likes.
 * Ownership  whoever made it; an inner request that is given up ends by itself, soon after.
 * Threads    inner_cancel() from any; the others one at a time. */
#ifndef HEARTH_HTTP_INNER_H
#define HEARTH_HTTP_INNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct exchange;
struct inner;
struct peer;
struct principal;
struct server;

/* POST path, with a JSON body, by the key and from the address of `outer`, which lives as long as the inner request is owned. Its id is that
 * of outer with ".number" behind it. woken(arg, over), from any thread, also before this returns: there is something new; over, once and last:
 * and there will be nothing more. It must not block, nor take from the inner request or free it. */
bool inner_start(struct inner **out, struct exchange *outer, int number, const char *path,
                 const struct buf *body, void (*woken)(void *arg, bool over), void *arg, struct err *e);
/* The same to ask a chat model about what somebody said: no policy holds its words. */
bool inner_ask_judge(struct inner **out, struct exchange *outer, int number, const struct buf *body,
                     void (*woken)(void *arg, bool over), void *arg, struct err *e);
/* The same for a line of a batch, for which there is no outer request (any more): in the name of `who`, from where the batch came, with this
 * X-Request-Id. All that is given is copied. */
struct inner_line {
    const struct principal *who;
    const struct peer *from;
    const char *id, *batch;
    int64_t line;
};
bool inner_start_line(struct inner **out, struct server *s, const struct inner_line *l, const char *path,
                      const struct buf *body, void (*woken)(void *arg, bool over), void *arg, struct err *e);
/* Moves what has come since the last time to the end of *to: the bytes of a plain reply, or of a stream. True: that was all. */
bool inner_take(struct inner *in, struct buf *to);

/* Once inner_take() has said that it is over. */
int inner_status(const struct inner *in);       /* 499: it was given up */
bool inner_admitted(const struct inner *in);    /* false: it was refused before anything was counted */
const char *inner_id(const struct inner *in);   /* X-Request-Id */
const char *inner_cost(const struct inner *in); /* X-Hearth-Cost; "" where there is none */

void inner_cancel(struct inner *in);
void inner_free(struct inner *in); /* after this woken() is not called any more; NULL: nothing happens */

#endif
