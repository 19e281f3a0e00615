/* exchange_turn.c - an exchange from below: its steps from a whole request to the end of the reply, whichever transport carries it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/admission.h"
#include "http/endings.h"
#include "http/exchange_inside.h"
#include "http/preflight.h"
#include "http/prompt_judge.h"
#include "http/provenance.h"
#include "http/routes.h"
#include "http/upload.h"
#include "http/upstream.h"

enum {
    FORM_ROOM = 64 << 10, /* what a form has beside its file */
    LONG_BODY = 64 << 10  /* bytes of a body whose text is long work; below, thousands of tokens at most */
};

struct exchange *exchange_new(struct server *s, const struct exchange_transport *via, void *connection,
                              struct link *link, const struct peer *peer)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->server = s;
    x->via = via;
    x->connection = connection;
    x->link = link;
    x->peer = *peer;
    x->is.started = x->last_write = clock_seconds();
    x->is.route = routes_row(NULL);
    x->body = BUF_INIT(s->o.max_body);
    x->file = -1;
    atomic_init(&x->refs, 1);
    atomic_init(&x->books, BOOKS_OPEN);
    pthread_mutex_init(&x->lock, NULL);
    return x;
}

void exchange_unref(struct exchange *x)
{
    if (atomic_fetch_sub(&x->refs, 1) > 1) return;
    if (x->ops && x->work) x->ops->free(x->work);
    exchange_drop_body(x);
    if (x->file >= 0) close(x->file);
    buf_free(&x->headers);
    buf_free(&x->reply);
    buf_free(&x->pending);
    pthread_mutex_destroy(&x->lock);
    free(x->path);
    free(x);
}

/* ---- sleeping ------------------------------------------------------------------------------------------------------ */

/* When x has nothing to do: false when something arrived meanwhile, else the connection sleeps until
 * exchange_wake(). */
static bool sleep_until_woken(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool sleeps = !x->woken;
    x->woken = false;
    if (sleeps) {
        x->suspended = true;
        x->via->suspend(x);
    }
    pthread_mutex_unlock(&x->lock);
    return sleeps;
}

static enum exchange_state state_of(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    enum exchange_state s = x->state;
    pthread_mutex_unlock(&x->lock);
    return s;
}

void exchange_set_state(struct exchange *x, enum exchange_state s)
{
    pthread_mutex_lock(&x->lock);
    x->state = s;
    pthread_mutex_unlock(&x->lock);
}

/* ---- the body ------------------------------------------------------------------------------------------------------ */

static void refuse_body(struct exchange *x, enum bodies_answer why)
{
    const struct bodies *b = &x->server->bodies;
    if (why == BODIES_FULL)
        exchange_fault(
            x, FAULT_BUSY, NULL,
            "the bodies of requests that are being sent take all of the %zu MB there are for them; "
            "try again later",
            b->total >> 20);
    else if (why == BODIES_SHARE_FULL)
        exchange_fault(x, FAULT_BUSY, NULL,
                       "the bodies of requests that are being sent from your address take all of the %zu MB "
                       "that one address may have; try again when they are through",
                       b->share >> 20);
    else
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
}

/* To the disk; the event loop writes into the system's memory, and only the lane waits for the disk itself. */
static void take_file(struct exchange *x, const char *data, size_t n)
{
    const struct server_options *o = &x->server->o;
    struct err e = { ERR_NONE, "" };
    const int64_t had = x->upload ? x->upload->bytes : 0;
    const bool too_large = (int64_t)n > o->file_limit + FORM_ROOM - had;
    if (!o->uploads) {
        exchange_fault(x, FAULT_URL, NULL,
                       "this server has no store, and so keeps no files; --store names one");
    } else if (too_large) {
        exchange_fault(x, FAULT_TOO_LARGE, NULL, "the file is larger than the limit of %lld bytes",
                       (long long)o->file_limit);
    } else if ((x->upload || upload_new(&x->upload, o->uploads, &e)) && upload_take(x->upload, data, n, &e)) {
        return;
    } else {
        exchange_fault(x, e.code == ERR_BUSY ? FAULT_UNAVAILABLE : FAULT_SERVER, NULL, "%s", e.msg);
    }
    x->discard = true;
    exchange_drop_body(x);
    admission_say_left(x);
}

void exchange_take_body(struct exchange *x, const char *data, size_t n)
{
    if (x->discard) return;
    if (x->route->limit == BODY_FILE) {
        take_file(x, data, n);
        return;
    }
    enum bodies_answer why = BODIES_TAKEN;
    bool too_large = n > x->server->o.max_body - x->body.len;
    if (!too_large) why = bodies_take(&x->server->bodies, &x->peer, n);
    if (!too_large && why == BODIES_TAKEN) {
        x->body_taken += n;
        if (buf_append(&x->body, data, n)) return;
        why = BODIES_NO_MEMORY;
    }
    x->discard = true;
    exchange_drop_body(x);
    admission_say_left(x);
    if (too_large)
        preflight_too_large(x);
    else
        refuse_body(x, why);
}

/* ---- steps --------------------------------------------------------------------------------------------------------- */

/* False: answered, with nothing counted. */
static bool admit(struct exchange *x)
{
    if (!admission_enter(x)) return false;
    if (endings_open(x)) return true;
    admission_undo(x);
    exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
    return false;
}

bool exchange_becomes(struct exchange *x, enum api_dialect d, const char *endpoint)
{
    x->dialect = d;
    x->is.dialect = dialect_name(d);
    x->is.endpoint = endpoint;
    if (!preflight_key(x) || !admit(x)) return false;
    provenance_begin(x);
    return true;
}

static void handle(struct exchange *x)
{
    if (!upstream_takes(x, x->route)) x->route->handler(x);
}

static void run_on_lane(struct exchange *x)
{
    if (x->admitted || admit(x)) {
        provenance_begin(x);
        if (!prompt_judge_takes(x, x->route, handle)) handle(x);
    }
    exchange_wake(x);
    exchange_unref(x);
}

static void dispatch(struct exchange *x, enum lane lane)
{
    if (lane == LANE_TEXT && x->body.len > LONG_BODY) lane = LANE_LONG;
    x->lane = lane;
    /* Counted before the flag is looked at, while server_stop() sets the flag before it looks at the count: either it waits for us
     * or we see that the lanes are going. */
    atomic_fetch_add(&x->server->active, 1);
    if (atomic_load(&x->server->stopping)) {
        atomic_fetch_sub(&x->server->active, 1);
        exchange_header(x, "Connection", "close");
        exchange_fault(x, FAULT_UNAVAILABLE, NULL, "the server is stopping; try again later");
        return;
    }
    x->admitted = !admission_waits(x); /* else on the lane */
    if (x->admitted && !admit(x)) {
        atomic_fetch_sub(&x->server->active, 1);
        return;
    }
    atomic_fetch_add(&x->refs, 1);
    exchange_set_state(x, EXCHANGE_PREPARING);
    watch_add(x->server->watch, x, x->link ? x->link->fd : -1);
    if (lanes_push(x->server->lanes, lane, run_on_lane, x)) return;
    atomic_fetch_sub(&x->refs, 1); /* the lane's; the transport's is left */
    exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
}

enum exchange_turn exchange_turn(struct exchange *x)
{
    for (;;) {
        switch (state_of(x)) {
        case EXCHANGE_READING:
            if (x->link && link_refused(x->link))
                preflight_misframed(x);
            else if (x->route->lane == LANE_INLINE)
                x->route->handler(x);
            else
                dispatch(x, x->route->lane);
            break;
        case EXCHANGE_PREPARING:
            if (sleep_until_woken(x)) return TURN_WAIT;
            break;
        case EXCHANGE_READY:
            if (endings_booked(x)) {
                x->bytes = x->head ? 0 : x->file >= 0 ? (long long)x->file_bytes : (long long)x->reply.len;
                return TURN_REPLY;
            }
            if (sleep_until_woken(x)) return TURN_WAIT;
            break;
        case EXCHANGE_STREAMING:
            x->content_type = x->lines ? "application/x-ndjson" : "text/event-stream; charset=utf-8";
            exchange_header(x, "Cache-Control", "no-cache");
            exchange_header(x, "X-Accel-Buffering", "no");
            return TURN_STREAM;
        case EXCHANGE_COLLECTING:
            pthread_mutex_lock(&x->lock);
            bool gone = x->gone;
            pthread_mutex_unlock(&x->lock);
            if (gone) {
                x->status = 499; /* nobody reads it: close */
                return TURN_CLOSE;
            }
            if (!x->ops->collect(x, x->work) && sleep_until_woken(x)) return TURN_WAIT;
            break;
        case EXCHANGE_SENT: return TURN_SENT;
        }
    }
}

/* ---- the reply ----------------------------------------------------------------------------------------------------- */

void exchange_each_header(const struct exchange *x,
                          void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
    for (const char *p = x->headers.data, *end = p + x->headers.len; p && p < end;) {
        const char *value = p + strlen(p) + 1;
        fn(arg, p, value);
        p = value + strlen(value) + 1;
    }
    fn(arg, "X-Request-Id", x->is.id);
    if (x->dialect == DIALECT_ANTHROPIC) fn(arg, "request-id", x->is.id);
    if (x->content_type) fn(arg, "Content-Type", x->content_type);
    if (!*x->origin) return;
    fn(arg, "Access-Control-Allow-Origin", x->origin);
    fn(arg, "Access-Control-Expose-Headers", "*, x-request-id, retry-after");
    fn(arg, "Vary", "Origin");
}

ssize_t exchange_stream(struct exchange *x, char *out, size_t max)
{
    for (;;) {
        if (x->held && !endings_booked(x)) {
            if (sleep_until_woken(x)) return 0;
            continue;
        }
        x->held = false;
        size_t left = x->pending.len - x->pending_at;
        if (left) {
            size_t n = left < max ? left : max;
            memcpy(out, x->pending.data + x->pending_at, n);
            x->pending_at += n;
            x->bytes += (long long)n;
            pthread_mutex_lock(&x->lock);
            x->last_write = clock_seconds();
            x->ping = false;
            pthread_mutex_unlock(&x->lock);
            return (ssize_t)n;
        }
        if (x->ended) return EXCHANGE_STREAM_END;
        buf_clear(&x->pending);
        x->pending_at = 0;
        enum produced p = x->ops->produce(x, x->work, &x->pending);
        pthread_mutex_lock(&x->lock);
        const bool gone = x->gone, ping = x->ping && p == PRODUCED_NOTHING;
        if (ping) x->ping = false;
        pthread_mutex_unlock(&x->lock);
        /* Also when this is the end: nobody is there to be sent it. */
        if (gone || x->pending.failed) return EXCHANGE_STREAM_BROKEN;
        endings_heard(x, x->pending.data, x->pending.len);
        if (p == PRODUCED_END) x->ended = true;
        if (p == PRODUCED_LAST) x->held = true;
        if (p != PRODUCED_NOTHING) continue;
        if (ping) {
            buf_puts(&x->pending, x->lines ? " " : ": ping\n\n"); /* a blank before a line is no part of it */
            continue;
        }
        if (sleep_until_woken(x)) return 0;
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

void exchange_over(struct exchange *x, bool sent, const char *closed)
{
    struct server *s = x->server;
    bool counted = x->watched.serial != 0;
    watch_remove(s->watch, x);
    if (x->ops && x->work) {
        void *work = x->work;
        pthread_mutex_lock(&x->lock);
        x->work = NULL;
        pthread_mutex_unlock(&x->lock);
        x->ops->free(work); /* after this nothing wakes x any more */
    }
    if (!sent) {
        x->status = 499;
        if (closed) snprintf(x->note, sizeof x->note, "closed: %s", closed);
    }
    metrics_request(&s->metrics, x->is.route, x->status);
    if (x->blame != FAULT_NONE) metrics_fault(&s->metrics, x->blame, x->refused);
    endings_close(x, sent);
    if (counted) atomic_fetch_sub(&s->active, 1);
    exchange_unref(x);
}

void exchange_abandon(struct exchange *x, bool gone)
{
    pthread_mutex_lock(&x->lock);
    x->gone |= gone;
    x->timed_out |= !gone;
    atomic_store(&x->stop, true);
    /* While a lane prepares the request there is nothing to cancel yet; exchange_run() sees the flags. */
    bool preparing = x->state == EXCHANGE_PREPARING;
    void *work = x->work;
    pthread_mutex_unlock(&x->lock);
    if (work) x->ops->cancel(work);
    if (!preparing) exchange_wake(x);
}

void exchange_half_closed(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    enum exchange_state s = x->state;
    x->half_closed = true;
    if (s == EXCHANGE_PREPARING && x->plain) atomic_store(&x->stop, true);
    if (s == EXCHANGE_STREAMING) x->ping = true;
    pthread_mutex_unlock(&x->lock);
    if (s == EXCHANGE_STREAMING)
        exchange_wake(x);
    else if (s == EXCHANGE_COLLECTING)
        exchange_abandon(x, true);
}
