/* exchange.c - what handlers do with a request; the connection's side is server.c. */
#include "http/exchange.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/paths.h"
#include "http/routes.h"

void exchange_unref(struct exchange *x)
{
    if (atomic_fetch_sub(&x->refs, 1) > 1) return;
    if (x->ops && x->work) x->ops->free(x->work);
    if (x->prepared) MHD_destroy_response(x->prepared);
    exchange_drop_body(x);
    buf_free(&x->reply);
    buf_free(&x->pending);
    pthread_mutex_destroy(&x->lock);
    free(x->path);
    free(x);
}

/* Headers wait on a response object of their own until the body is known. */
void exchange_header(struct exchange *x, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    if (!x->prepared) x->prepared = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    if (x->prepared) MHD_add_response_header(x->prepared, name, value);
}

void exchange_drop_body(struct exchange *x)
{
    buf_free(&x->body);
    bodies_give(&x->server->bodies, &x->peer, x->body_taken);
    x->body_taken = 0;
}

static void set_state(struct exchange *x, enum exchange_state s)
{
    pthread_mutex_lock(&x->lock);
    x->state = s;
    pthread_mutex_unlock(&x->lock);
}

void exchange_reply(struct exchange *x, int status, const char *content_type, struct buf *body)
{
    exchange_drop_body(x);
    buf_free(&x->reply);
    x->status = status;
    x->content_type = content_type;
    x->reply = *body;
    *body = (struct buf){ 0 };
    if (x->reply
            .failed) { /* no memory for the answer; where there is none for the error either, an empty one is still an answer */
        buf_free(&x->reply);
        x->status = 500;
        x->content_type = "application/json";
        fault_print(&x->reply, x->dialect, FAULT_SERVER, NULL, "out of memory");
        if (x->reply.failed) buf_free(&x->reply);
    }
    set_state(x, EXCHANGE_READY);
}

void exchange_at_work(struct exchange *x) { x->at_work = true; }

void exchange_tell(struct exchange *x, const char *msg, char *out, size_t cap)
{
    registry_tell(x->server->registry, msg, out, cap);
    if (x->server->o.loras) paths_hide(out, x->server->o.loras);
}

void exchange_fault(struct exchange *x, enum fault_kind kind, const char *param, const char *fmt, ...)
{
    struct buf b = BUF_INIT(0);
    char message[600], told[sizeof message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (x->at_work) exchange_tell(x, message, told, sizeof told);
    fault_print(&b, x->dialect, kind, param, x->at_work ? told : message);
    if (kind == FAULT_BUSY || kind == FAULT_UNAVAILABLE)
        exchange_header(x, "Retry-After", "%d", kind == FAULT_BUSY ? 1 : 5);
    if (kind == FAULT_KEY) exchange_header(x, "WWW-Authenticate", "Bearer");
    snprintf(x->note, sizeof x->note, "%.150s", message);
    exchange_reply(x, fault_status(kind), "application/json", &b);
}

void exchange_fault_from(struct exchange *x, const struct fault *f)
{
    if (f->err.code == ERR_CANCELLED && atomic_load(&x->stop)) {
        const bool stopping = atomic_load(&x->server->draining), late = exchange_timed_out(x);
        exchange_fault(
            x, stopping || !late ? FAULT_UNAVAILABLE : FAULT_TIMEOUT, NULL, "%s",
            !late      ? "the client left while its request was prepared" /* for the log: nobody reads it */
            : stopping ? "the server is stopping; the request was cancelled"
                       : "the request took longer than this server allows");
        return;
    }
    enum fault_kind kind = fault_of(f->err.code);
    exchange_fault(x, kind, kind == FAULT_MODEL ? "model" : f->param, "%s", f->err.msg);
}

void exchange_run(struct exchange *x, const struct work_ops *ops, void *work, bool stream)
{
    exchange_drop_body(x);
    pthread_mutex_lock(&x->lock);
    x->ops = ops;
    x->work = work;
    x->state = stream ? EXCHANGE_STREAMING : EXCHANGE_COLLECTING;
    if (x->half_closed) {
        x->ping = stream;
        x->gone |= !stream;
    }
    bool late = x->gone || x->timed_out;
    pthread_mutex_unlock(&x->lock);
    if (late) ops->cancel(work);
}

const atomic_bool *exchange_stop_flag(struct exchange *x, bool stream)
{
    pthread_mutex_lock(&x->lock);
    x->plain = !stream;
    if (x->gone || x->timed_out || (x->half_closed && !stream)) atomic_store(&x->stop, true);
    pthread_mutex_unlock(&x->lock);
    return &x->stop;
}

void exchange_wake(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    if (x->suspended) {
        x->suspended = false;
        MHD_resume_connection(x->connection);
    } else {
        x->woken = true;
    }
    pthread_mutex_unlock(&x->lock);
}

bool exchange_timed_out(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool yes = x->timed_out;
    pthread_mutex_unlock(&x->lock);
    return yes;
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
