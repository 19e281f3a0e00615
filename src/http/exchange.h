/* exchange.h - one HTTP request and its reply, as handlers see it: whichever transport carries it, a connection or a test's memory.
 *
 * A handler runs once, on the lane its route names, and ends by calling exactly one of exchange_reply(), exchange_fault() or
 * exchange_run(). With exchange_run() the reply is made from events: `collect` (plain reply) or `produce` (event stream) is called on
 * the connection's event loop after every exchange_wake().
 *
 * Ownership  the exchange belongs to its transport; a lane holds a reference while it works. `work` is freed with the exchange, after the
 *            watch thread has forgotten it. */
#ifndef HEARTH_HTTP_EXCHANGE_H
#define HEARTH_HTTP_EXCHANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "http/error.h"
#include "http/server_inside.h"

struct exchange;
struct route;
struct upload;

enum produced { PRODUCED_EVENT, PRODUCED_NOTHING, PRODUCED_LAST, PRODUCED_END };

struct work_ops {
    /* Plain reply: takes what has arrived; true once a reply has been set. */
    bool (*collect)(struct exchange *x, void *work);
    /* Stream: appends one whole event to *out, or says that there is none now, or that there will be none any more. PRODUCED_LAST, once: the
     * answer is whole with this event (if *out has one) but for what says so, and nothing more will be used; it is sent when that is written
     * down. A plain reply waits by itself. */
    enum produced (*produce)(struct exchange *x, void *work, struct buf *out);
    void (*cancel)(void *work); /* from any thread; the work ends soon after, with a wake */
    void (*free)(void *work);
};

/* ---- the request --------------------------------------------------------------------------------------------------- */

struct server *exchange_server(const struct exchange *x);
/* The path as it was decoded, and what stands for its route's '*'. */
const char *exchange_path(const struct exchange *x);
const char *exchange_tail(const struct exchange *x);
enum api_dialect exchange_dialect(const struct exchange *x);
const char *exchange_id(const struct exchange *x); /* X-Request-Id, the client's or ours */
const struct principal *exchange_who(const struct exchange *x);
const char *exchange_address(const struct exchange *x); /* where it came from, without a port */
/* What a job of this request holds until it has ended; NULL where nothing is counted. */
struct ending *exchange_ending(const struct exchange *x);
double exchange_started(const struct exchange *x); /* clock_seconds() when its headers were here */
/* A header of the request, by its name in any case; a parameter behind the path's '?'. NULL: there is none. */
const char *exchange_header_in(const struct exchange *x, const char *name);
const char *exchange_query(const struct exchange *x, const char *name);
/* Every parameter in its order, also those that come several times; a value is never NULL. Texts until fn returns. */
void exchange_each_query(const struct exchange *x, void (*fn)(void *arg, const char *name, const char *value),
                         void *arg);
/* Ended by a 0 that does not count; "" when there is none. Gone with exchange_drop_body(), a reply or work. */
const char *exchange_body(const struct exchange *x, size_t *len);

/* The body of a route whose bodies go to the disk; NULL: none came. The exchange's. */
struct upload *exchange_upload(const struct exchange *x);

/* ---- the reply ----------------------------------------------------------------------------------------------------- */

void exchange_header(struct exchange *x, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What was said under this name is not said. */
void exchange_drop_header(struct exchange *x, const char *name);
/* Takes over *body. */
void exchange_reply(struct exchange *x, int status, const char *content_type, struct buf *body);
/* 200 with `bytes` of a file from `start` on, read as they are sent. Takes over fd. */
void exchange_reply_file(struct exchange *x, const char *content_type, int fd, int64_t start, int64_t bytes);
void exchange_fault(struct exchange *x, enum fault_kind kind, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What exchange_fault_from() is to say of x whatever the code of its fault. */
void exchange_refused(struct exchange *x, enum fault_kind kind);
/* What exchange_fault_from() would tell f as. */
enum fault_kind exchange_kind(const struct exchange *x, const struct fault *f);
/* The kind follows from f's code. Both say when to come again where that makes sense: as f knows, or as is usual for the kind. */
void exchange_fault_from(struct exchange *x, const struct fault *f);
/* A message as a client may read it: without the server's folders. The log keeps the whole. Faults go through this once a handler has
 * begun with the server's own files (exchange_at_work()), and so does every error event; before that a message holds nothing but what the
 * request said, which comes back as it was, so that nobody learns a folder's name by guessing it. */
void exchange_at_work(struct exchange *x);
void exchange_tell(struct exchange *x, const char *msg, char *out, size_t cap);
/* What a fault does: exchange_tell() once the handler is at work, and the message as it is before. */
void exchange_told(struct exchange *x, const char *msg, char *out, size_t cap);
/* Takes over work. Streaming when `stream`; then the status is 200 and what goes wrong later is an event. */
void exchange_run(struct exchange *x, const struct work_ops *ops, void *work, bool stream);

/* On a lane, of a path that two APIs share, once its body has said which is meant: x is of that dialect and endpoint from here on, and
 * admitted. False: answered. */
bool exchange_becomes(struct exchange *x, enum api_dialect d, const char *endpoint);
/* The rules for what prompts may say that hold for x to its end. NULL: none. On its lane. */
const struct word_rules *exchange_words(struct exchange *x);
/* Who may serve x, of a model with a route (http/relay.h): not decided; this server alone; others alone, for it has no room here. */
enum exchange_place { PLACE_OPEN, PLACE_HERE, PLACE_ELSEWHERE };
enum exchange_place exchange_place(const struct exchange *x);
void exchange_set_place(struct exchange *x, enum exchange_place p);
/* Before exchange_run() with a stream: its events are lines of JSON (application/x-ndjson). */
void exchange_lines(struct exchange *x);

/* A few words for the request's line in the log. */
void exchange_note(struct exchange *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Its bytes are not needed any more. Their share of the memory for bodies stays taken, for what was made of them: see
 * exchange_drop_body(). */
void exchange_free_body(struct exchange *x);
/* Gives the body's memory back; with a reply or work it goes by itself. */
void exchange_drop_body(struct exchange *x);

/* Before long work on a lane: says what kind of reply it prepares, and returns the flag that ends it. The flag lives as long as x. */
const atomic_bool *exchange_stop_flag(struct exchange *x, bool stream);

/* Something arrived for x, or its handler is done: any thread. */
void exchange_wake(struct exchange *x);
bool exchange_timed_out(struct exchange *x);
/* Why a reply ends before its work is done: its time is over, the server stops, or the work failed (`failed`; NULL: it did not). NULL:
 * it does not end. */
const char *exchange_early_end(struct exchange *x, const struct err *failed, enum fault_kind *kind);

#endif
