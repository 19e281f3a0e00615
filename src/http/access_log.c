/* access_log.c - see access_log.h. */
#include "http/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/json_out.h"
#include "service/account/account.h"
#include "service/account/money.h"

enum { WAITING_BYTES = 16 << 20 };

struct access_log {
    char *path;
    int fd; /* the thread's */
    struct account *account;
    atomic_ullong dropped;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t some;
    struct buf waiting;
    bool reopen, closing;
};

/* ---- a line -------------------------------------------------------------------------------------------------------- */

static void print_time(struct buf *b, int64_t ms)
{
    const time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "{\"time\":\"%s.%03dZ\"", text, (int)(ms % 1000));
}

static void text(struct buf *b, const char *name, const char *value)
{
    if (!value || !*value) return;
    buf_printf(b, ",\"%s\":", name);
    json_out_cstr(b, value);
}

static void millis(struct buf *b, const char *name, double seconds)
{
    if (seconds > 0) buf_printf(b, ",\"%s\":%.3f", name, seconds * 1e3);
}

/* What was used, as far as the request has come to it. */
static void print_usage(struct buf *b, const struct access_log *a, const struct ending *e)
{
    const struct usage *u = &e->usage;
    char cost[MONEY_TEXT];
    if (u->prompt_tokens || u->completion_tokens)
        buf_printf(b, ",\"prompt_tokens\":%d,\"cached_tokens\":%d,\"completion_tokens\":%d", u->prompt_tokens,
                   u->cached_tokens, u->completion_tokens);
    if (u->pictures || u->steps) buf_printf(b, ",\"pictures\":%d,\"steps\":%d", u->pictures, u->steps);
    if (a->account && *e->model) {
        const struct price price = account_price(a->account, e->model, &e->of);
        buf_printf(b, ",\"cost\":%s", money_print(e->priced ? e->cost : price_cost(&price, u), cost));
    }
    millis(b, "queue_ms", u->queue_s);
    millis(b, "first_ms", u->ttft_s);
}

static void print_line(struct buf *b, const struct access_log *a, const struct ending *e)
{
    print_time(b, clock_unix_ms());
    text(b, "id", e->of.id);
    if (e->of.trace.known) {
        char trace[2 * TRACE_ID + 1];
        trace_context_hex(e->of.trace.trace, TRACE_ID, trace);
        text(b, "trace", trace);
    }
    text(b, "address", e->of.address);
    text(b, "key", e->of.who.id);
    text(b, "method", e->of.method);
    text(b, "path", e->path);
    text(b, "dialect", e->of.dialect);
    text(b, "endpoint", e->of.endpoint);
    text(b, "model", e->model);
    buf_printf(b, ",\"status\":%d,\"bytes\":%lld", e->status, e->bytes);
    print_usage(b, a, e);
    buf_printf(b, ",\"total_ms\":%.3f,\"end\":\"%s\"", e->seconds * 1e3, end_how_name(e->how));
    text(b, "note", e->note);
    buf_puts(b, "}\n");
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

static unsigned long long lines_in(const char *p, size_t n)
{
    unsigned long long lines = 0;
    for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++) lines++;
    return lines;
}

static void drop(struct access_log *a, unsigned long long n, const char *why)
{
    const unsigned long long before = atomic_fetch_add(&a->dropped, n);
    if (!before)
        log_error("access log %s: %s; lines are dropped (hearth_access_log_dropped_total)", a->path, why);
}

/* Whole lines, however often the system takes only a part. */
static void write_out(struct access_log *a, const struct buf *b)
{
    for (size_t at = 0; at < b->len;) {
        const ssize_t n = write(a->fd, b->data + at, b->len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            drop(a, lines_in(b->data + at, b->len - at), strerror(errno));
            return;
        }
        at += (size_t)n;
    }
}

static int open_file(const char *path)
{
    return strcmp(path, "-") ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)
                             : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
}

static void open_again(struct access_log *a)
{
    const int fd = open_file(a->path);
    if (fd < 0) {
        log_error("access log %s cannot be opened again, and the old one is kept: %s", a->path,
                  strerror(errno));
        return;
    }
    close(a->fd);
    a->fd = fd;
    log_info("access log %s opened again", a->path);
}

static void *writer_main(void *arg)
{
    struct access_log *a = arg;
    for (bool closing = false; !closing;) {
        pthread_mutex_lock(&a->lock);
        while (!a->waiting.len && !a->reopen && !a->closing) pthread_cond_wait(&a->some, &a->lock);
        struct buf b = a->waiting;
        const bool reopen = a->reopen;
        closing = a->closing;
        a->waiting = BUF_INIT(WAITING_BYTES);
        a->reopen = false;
        pthread_mutex_unlock(&a->lock);
        write_out(a, &b);
        buf_free(&b);
        if (reopen) open_again(a);
    }
    return NULL;
}

void access_log_take(void *arg, const struct ending *e)
{
    struct access_log *a = arg;
    struct buf line = BUF_INIT(0);
    print_line(&line, a, e);
    pthread_mutex_lock(&a->lock);
    const bool room = !line.failed && line.len <= WAITING_BYTES - a->waiting.len &&
                      buf_append(&a->waiting, line.data, line.len);
    a->waiting.failed = false; /* what it has is whole */
    pthread_cond_signal(&a->some);
    pthread_mutex_unlock(&a->lock);
    buf_free(&line);
    if (!room) drop(a, 1, "lines come faster than they can be written");
}

void access_log_reopen(struct access_log *a)
{
    pthread_mutex_lock(&a->lock);
    a->reopen = true;
    pthread_cond_signal(&a->some);
    pthread_mutex_unlock(&a->lock);
}

unsigned long long access_log_dropped(const struct access_log *a) { return atomic_load(&a->dropped); }

bool access_log_open(struct access_log **out, const char *path, struct account *account, struct err *e)
{
    struct access_log *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->some, NULL);
    a->account = account;
    a->waiting = BUF_INIT(WAITING_BYTES);
    a->fd = -1;
    bool ok = (a->path = strdup(path)) || err_set(e, ERR_NOMEM, "out of memory");
    if (ok && (a->fd = open_file(path)) < 0)
        ok = err_set(e, ERR_IO, "access-log %s: %s", path, strerror(errno));
    if (ok && !(a->running = !pthread_create(&a->thread, NULL, writer_main, a)))
        ok = err_set(e, ERR_NOMEM, "no thread could be started for the access log");
    if (ok)
        *out = a;
    else
        access_log_close(a);
    return ok;
}

void access_log_close(struct access_log *a)
{
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_signal(&a->some);
    pthread_mutex_unlock(&a->lock);
    if (a->running) pthread_join(a->thread, NULL);
    if (a->fd >= 0) close(a->fd);
    buf_free(&a->waiting);
    pthread_cond_destroy(&a->some);
    pthread_mutex_destroy(&a->lock);
    free(a->path);
    free(a);
}
