/* exchange.c - what handlers do with a request; its transport's side is exchange_turn.c. */
#include "http/exchange_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/paths.h"
#include "http/routes.h"
#include "http/upload.h"

struct server *exchange_server(const struct exchange *x) { return x->server; }
const char *exchange_path(const struct exchange *x) { return x->path; }
const char *exchange_tail(const struct exchange *x) { return x->tail; }
enum api_dialect exchange_dialect(const struct exchange *x) { return x->dialect; }
const char *exchange_id(const struct exchange *x) { return x->is.id; }
const struct principal *exchange_who(const struct exchange *x) { return &x->is.who; }
const char *exchange_address(const struct exchange *x) { return x->is.address; }
struct ending *exchange_ending(const struct exchange *x) { return x->ending; }
double exchange_started(const struct exchange *x) { return x->is.started; }
const char *exchange_header_in(const struct exchange *x, const char *name) { return x->via->header(x, name); }
const char *exchange_query(const struct exchange *x, const char *name) { return x->via->query(x, name); }

void exchange_each_query(const struct exchange *x, void (*fn)(void *arg, const char *name, const char *value),
                         void *arg)
{
    x->via->each_query(x, fn, arg);
}

const char *exchange_body(const struct exchange *x, size_t *len)
{
    *len = x->body.len;
    return x->body.data ? x->body.data : "";
}

struct upload *exchange_upload(const struct exchange *x) { return x->upload; }

/* They wait until the body is known. */
void exchange_header(struct exchange *x, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    buf_append(&x->headers, name, strlen(name) + 1);
    buf_append(&x->headers, value, strlen(value) + 1);
}

void exchange_note(struct exchange *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(x->note, sizeof x->note, fmt, ap);
    va_end(ap);
}

const struct word_rules *exchange_words(struct exchange *x)
{
    if (x->unread) return NULL;
    if (!x->words) x->words = atomic_load(&x->server->o.words);
    return x->words;
}

void exchange_drop_header(struct exchange *x, const char *name)
{
    struct buf kept = BUF_INIT(x->headers.max);
    const char *end = x->headers.data + x->headers.len;
    for (const char *at = x->headers.data, *next; at && at < end; at = next) {
        const char *value = at + strlen(at) + 1;
        next = value + strlen(value) + 1;
        if (strcasecmp(at, name) != 0) buf_append(&kept, at, (size_t)(next - at));
    }
    if (kept.failed) {
        buf_free(&kept);
        return;
    }
    buf_free(&x->headers);
    x->headers = kept;
}

enum exchange_place exchange_place(const struct exchange *x) { return x->place; }
void exchange_set_place(struct exchange *x, enum exchange_place p) { x->place = p; }
void exchange_lines(struct exchange *x) { x->lines = true; }

void exchange_free_body(struct exchange *x) { buf_free(&x->body); }

void exchange_drop_body(struct exchange *x)
{
    buf_free(&x->body);
    bodies_give(&x->server->bodies, &x->peer, x->body_taken);
    x->body_taken = 0;
    upload_free(x->upload);
    x->upload = NULL;
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
    exchange_set_state(x, EXCHANGE_READY);
}

void exchange_reply_file(struct exchange *x, const char *content_type, int fd, int64_t start, int64_t bytes)
{
    struct buf none = BUF_INIT(0);
    x->file = fd;
    x->file_start = start;
    x->file_bytes = bytes;
    exchange_reply(x, 200, content_type, &none);
}

ssize_t exchange_read_file(const struct exchange *x, uint64_t at, char *out, size_t max)
{
    if (at >= (uint64_t)x->file_bytes) return 0;
    const uint64_t left = (uint64_t)x->file_bytes - at;
    const ssize_t n = pread(x->file, out, left < max ? (size_t)left : max, x->file_start + (off_t)at);
    return n > 0 ? n : -1; /* one that was cut short is not whole */
}

void exchange_at_work(struct exchange *x) { x->at_work = true; }

void exchange_tell(struct exchange *x, const char *msg, char *out, size_t cap)
{
    registry_tell(x->server->registry, msg, out, cap);
    if (x->server->o.loras) paths_hide(out, x->server->o.loras);
}

void exchange_told(struct exchange *x, const char *msg, char *out, size_t cap)
{
    if (x->at_work)
        exchange_tell(x, msg, out, cap);
    else
        snprintf(out, cap, "%s", msg);
}

/* Why, for an API whose bodies have no place for it. */
static void say_reason(struct exchange *x, char *told)
{
    for (char *p = told; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?'; /* no line may end here, and a header is ASCII */
    exchange_header(x, "X-Hearth-Error", "%s", told);
}

/* again_ms 0: as many seconds from now as Retry-After says. */
static void tell_fault(struct exchange *x, enum fault_kind kind, const char *param, int retry_after_s,
                       int64_t again_ms, const char *message)
{
    struct buf b = BUF_INIT(0);
    char told[600];
    exchange_told(x, message, told, sizeof told);
    if (!again_ms && retry_after_s) again_ms = clock_unix_ms() + INT64_C(1000) * retry_after_s;
    fault_print_again(&b, x->dialect, kind, param, told, kind == FAULT_BUSY ? again_ms : 0);
    if (retry_after_s) exchange_header(x, "Retry-After", "%d", retry_after_s);
    if (kind == FAULT_KEY) exchange_header(x, "WWW-Authenticate", "Bearer");
    if (x->dialect == DIALECT_EXPRESS_CHAT) say_reason(x, told);
    exchange_note(x, "%.150s", message);
    x->blame = kind;
    exchange_reply(x, fault_status_in(x->dialect, kind), fault_media_type(x->dialect, kind), &b);
}

void exchange_fault(struct exchange *x, enum fault_kind kind, const char *param, const char *fmt, ...)
{
    char message[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    tell_fault(x, kind, param, fault_retry_after(kind), 0, message);
}

void exchange_refused(struct exchange *x, enum fault_kind kind) { x->refused = kind; }

enum fault_kind exchange_kind(const struct exchange *x, const struct fault *f)
{
    return x->refused != FAULT_NONE ? x->refused : fault_of(f->err.code);
}

void exchange_fault_from(struct exchange *x, const struct fault *f)
{
    enum fault_kind early;
    if (f->err.code == ERR_CANCELLED && atomic_load(&x->stop)) {
        const char *why = exchange_early_end(x, NULL, &early);
        if (why)
            exchange_fault(x, early, NULL, "%s", why);
        else /* for the log: nobody reads it */
            exchange_fault(x, FAULT_UNAVAILABLE, NULL, "the client left while its request was prepared");
        return;
    }
    const enum fault_kind kind = exchange_kind(x, f);
    tell_fault(x, kind, kind == FAULT_MODEL ? "model" : f->param,
               f->retry_after_s ? f->retry_after_s : fault_retry_after(kind), f->again_ms, f->err.msg);
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
        x->via->resume(x);
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

const char *exchange_early_end(struct exchange *x, const struct err *failed, enum fault_kind *kind)
{
    if (exchange_timed_out(x)) {
        bool stopping = atomic_load(&x->server->draining);
        x->blame = *kind = stopping ? FAULT_UNAVAILABLE : FAULT_TIMEOUT;
        return stopping ? "the server is stopping; the request was cancelled"
                        : "the request took longer than this server allows";
    }
    if (!failed) return NULL;
    x->blame = *kind = fault_of(failed->code);
    return failed->msg;
}
