/* server.c - connections: libmicrohttpd's callbacks around an exchange.
 *
 * A request goes READING -> PREPARING (suspended, on a lane) -> READY, or COLLECTING or STREAMING while its model works -> SENT. The
 * library calls on_request() again after every resume, so on_request() is a step of that machine. */
#include "http/server.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "http/exchange.h"
#include "http/preflight.h"
#include "http/routes.h"

#define LAST_WORD_S 0.7 /* for the error that ends a stream to reach its reader */

enum {
    DISCARD_LIMIT =
        64 << 20,         /* bytes of a refused body that are read so that the client can read the refusal */
    OTHER_FILES = 256,    /* that are not connections: models, pictures, what loading needs */
    LONG_BODY = 64 << 10, /* bytes of a body whose text is long work; below, thousands of tokens at most */
    /* What the library keeps beside a block of headers: an entry for each header and each part of a query, and a reply's headers. */
    LIBRARY_BYTES = 32 << 10,
};

/* ---- suspending ---------------------------------------------------------------------------------------------------- */

/* On the event loop, when x has nothing to do: false when something arrived meanwhile, else the connection sleeps until
 * exchange_wake(). */
static bool sleep_until_woken(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool sleeps = !x->woken;
    x->woken = false;
    if (sleeps) {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
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

static void set_state(struct exchange *x, enum exchange_state s)
{
    pthread_mutex_lock(&x->lock);
    x->state = s;
    pthread_mutex_unlock(&x->lock);
}

/* ---- sending ------------------------------------------------------------------------------------------------------- */

static enum MHD_Result copy_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    MHD_add_response_header(arg, name, value);
    return MHD_YES;
}

static enum MHD_Result queue(struct exchange *x, int status, struct MHD_Response *r, enum exchange_state next)
{
    if (!r) return MHD_NO;
    if (x->prepared) MHD_get_response_headers(x->prepared, copy_header, r);
    MHD_add_response_header(r, "X-Request-Id", x->id);
    if (x->content_type) MHD_add_response_header(r, "Content-Type", x->content_type);
    if (*x->origin) {
        MHD_add_response_header(r, "Access-Control-Allow-Origin", x->origin);
        MHD_add_response_header(r, "Access-Control-Expose-Headers", "*, x-request-id, retry-after");
        MHD_add_response_header(r, "Vary", "Origin");
    }
    x->status = status;
    set_state(x, next);
    atomic_store(&x->link->replying, true);
    enum MHD_Result ok = MHD_queue_response(x->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result send_reply(struct exchange *x)
{
    if (x->discard && x->announced > DISCARD_LIMIT) exchange_header(x, "Connection", "close");
    size_t len = x->reply.len;
    char *text = buf_take(&x->reply);
    if (!text) return MHD_NO;
    return queue(x, x->status, MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE),
                 EXCHANGE_SENT);
}

/* The library asks for bytes of the stream: whole events as far as they fit, so that none is split between two writes. */
static ssize_t stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
    struct exchange *x = arg;
    (void)pos;
    for (;;) {
        size_t left = x->pending.len - x->pending_at;
        if (left) {
            size_t n = left < max ? left : max;
            memcpy(out, x->pending.data + x->pending_at, n);
            x->pending_at += n;
            pthread_mutex_lock(&x->lock);
            x->last_write = clock_seconds();
            x->ping = false;
            pthread_mutex_unlock(&x->lock);
            return (ssize_t)n;
        }
        if (x->ended) return MHD_CONTENT_READER_END_OF_STREAM;
        buf_clear(&x->pending);
        x->pending_at = 0;
        enum produced p = x->ops->produce(x, x->work, &x->pending);
        if (x->pending.failed) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (p == PRODUCED_END) x->ended = true;
        if (p != PRODUCED_NOTHING) continue;
        pthread_mutex_lock(&x->lock);
        bool ping = x->ping, gone = x->gone;
        x->ping = false;
        pthread_mutex_unlock(&x->lock);
        if (gone) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (ping) {
            buf_puts(&x->pending, ": ping\n\n");
            continue;
        }
        if (sleep_until_woken(x)) return 0;
    }
}

static enum MHD_Result send_stream(struct exchange *x)
{
    x->content_type = "text/event-stream; charset=utf-8";
    exchange_header(x, "Cache-Control", "no-cache");
    exchange_header(x, "X-Accel-Buffering", "no");
    return queue(x, 200, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, stream_read, x, NULL),
                 EXCHANGE_STREAMING);
}

/* ---- a request, step by step --------------------------------------------------------------------------------------- */

static void dispatch(struct exchange *x, enum lane lane);

static void run_on_lane(struct exchange *x)
{
    x->route->handler(x);
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
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    atomic_fetch_add(&x->refs, 1);
    set_state(x, EXCHANGE_PREPARING);
    watch_add(x->server->watch, x, fd ? fd->connect_fd : -1);
    if (lanes_push(x->server->lanes, lane, run_on_lane, x)) return;
    exchange_unref(x);
    exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
}

static enum MHD_Result step(struct exchange *x)
{
    for (;;) {
        switch (state_of(x)) {
        case EXCHANGE_READING:
            if (link_refused(x->link))
                preflight_misframed(x);
            else if (x->route->lane == LANE_INLINE)
                x->route->handler(x);
            else
                dispatch(x, x->route->lane);
            break;
        case EXCHANGE_PREPARING:
            if (sleep_until_woken(x)) return MHD_YES;
            break;
        case EXCHANGE_READY: return send_reply(x);
        case EXCHANGE_STREAMING: return send_stream(x);
        case EXCHANGE_COLLECTING:
            pthread_mutex_lock(&x->lock);
            bool gone = x->gone;
            pthread_mutex_unlock(&x->lock);
            if (gone) {
                x->status = 499; /* nobody reads it: close */
                return MHD_NO;
            }
            if (!x->ops->collect(x, x->work) && sleep_until_woken(x)) return MHD_YES;
            break;
        case EXCHANGE_SENT: return MHD_YES;
        }
    }
}

static struct exchange *exchange_new(struct server *s, struct MHD_Connection *c, struct link *l)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->server = s;
    x->connection = c;
    x->link = l;
    x->peer = l->peer;
    x->started = x->last_write = clock_seconds();
    x->body = BUF_INIT(s->o.max_body);
    atomic_init(&x->refs, 1);
    pthread_mutex_init(&x->lock, NULL);
    return x;
}

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

static void take_body(struct exchange *x, const char *data, size_t n)
{
    if (x->discard) return;
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
    if (too_large)
        preflight_too_large(x);
    else
        refuse_body(x, why);
}

static struct link *link_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

/* The request is whole: from now on the time is ours. */
static void begin(struct exchange *x)
{
    x->whole = clock_seconds();
    intake_set_phase(&x->link->intake, INTAKE_WORKING);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct server *s = arg;
    struct exchange *x = *state;
    (void)version;
    if (x) {
        if (!*size) {
            if (x->whole <= 0) begin(x);
            return step(x);
        }
        take_body(x, data, *size);
        *size = 0;
        return MHD_YES;
    }
    struct link *l = link_of(c);
    /* Fails closed: a library that reads past the intake has not been checked. */
    if (!l || ++l->n_requests > l->intake.n_heads) {
        log_error("the HTTP library reads in a way that this build does not know: a connection is closed");
        return MHD_NO;
    }
    *state = x = exchange_new(s, c, l);
    if (!x || !preflight(x, url, method)) return MHD_NO;
    /* A refused request's body is read and thrown away, so that the client gets to read why; not when that would take long. */
    if (x->discard && (x->announced > DISCARD_LIMIT || preflight_expects_continue(x))) return send_reply(x);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct server *s = arg;
    struct exchange *x = *state;
    struct link *l = link_of(c);
    const char *closed = l ? atomic_load(&l->closed) : NULL;
    if (l) {
        atomic_store(&l->replying, false);
        intake_set_phase(&l->intake, INTAKE_IDLE); /* the next one, if there is one */
    }
    if (!x) return;
    *state = NULL;
    bool counted = x->watched.serial != 0;
    watch_remove(s->watch, x);
    if (x->ops && x->work) {
        void *work = x->work;
        pthread_mutex_lock(&x->lock);
        x->work = NULL;
        pthread_mutex_unlock(&x->lock);
        x->ops->free(work); /* after this nothing wakes x any more */
    }
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        x->status = 499;
        if (closed) snprintf(x->note, sizeof x->note, "closed: %s", closed);
    }
    double seconds = clock_seconds() - x->started;
    metrics_request(&s->metrics, routes_row(x->route), x->status);
    if (x->path)
        log_write(x->route && x->route->access == ACCESS_PUBLIC ? LOG_DEBUG : LOG_INFO,
                  "%s %s %d %.1f ms%s%s", x->id, x->path, x->status, seconds * 1e3, *x->note ? " " : "",
                  x->note);
    if (counted) atomic_fetch_sub(&s->active, 1);
    exchange_unref(x);
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *s = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        const union MHD_ConnectionInfo *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        if (fd)
            *context = watch_open(s->watch, fd->connect_fd, from ? from->client_addr : NULL, s->o.max_header);
        if (fd && !*context) shutdown(fd->connect_fd, SHUT_RDWR);
    } else {
        watch_close(s->watch, *context);
        *context = NULL;
    }
}

static void on_log(void *arg, const char *fmt, va_list ap)
{
    char line[300];
    (void)arg;
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    log_debug("http: %s", line);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------ */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, a, sizeof v6);
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* "host:port", "[v6]:port", ":port", "port". */
static bool resolve(const char *listen, struct addrinfo **out, char *host, size_t host_size, struct err *e)
{
    const char *colon = strrchr(listen, ':'), *port = colon ? colon + 1 : listen;
    size_t n = colon ? (size_t)(colon - listen) : 0;
    if (!*port || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atoi(port) > 65535)
        return err_set(e, ERR_REQUEST, "listen must be ADDRESS:PORT, got \"%s\"", listen);
    if (n > 1 && listen[0] == '[' && listen[n - 1] == ']')
        snprintf(host, host_size, "%.*s", (int)n - 2, listen + 1);
    else
        snprintf(host, host_size, "%.*s", (int)n, listen);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                              .ai_family = *host ? AF_UNSPEC : AF_INET };
    int rc = getaddrinfo(*host ? host : NULL, port, &hints, out);
    if (rc) return err_set(e, ERR_REQUEST, "listen %s: %s", listen, gai_strerror(rc));
    return true;
}

static bool open_socket(struct server *s, int *out, struct err *e)
{
    struct addrinfo *all = NULL;
    char host[200];
    int fd = -1, on = 1;
    bool ok = false;
    if (!resolve(s->o.listen, &all, host, sizeof host, e)) return false;
    const struct addrinfo *a = all; /* of a name with several addresses, the kind that clients try first */
    while (a->ai_family != AF_INET && a->ai_next) a = a->ai_next;
    if (a->ai_family != AF_INET) a = all;
    if (!s->o.n_keys && !is_loopback(a->ai_addr)) {
        err_set(e, ERR_REQUEST,
                "without a key the server listens on loopback only, and %s is open to others; give --keys, "
                "--key-file or --new-key",
                s->o.listen);
        goto end;
    }
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 1024)) {
        err_set(e, ERR_IO, "listen %s: %s", s->o.listen, strerror(errno));
        goto end;
    }
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char name[100] = "", port[16] = "0";
    getsockname(fd, (struct sockaddr *)&bound, &len);
    getnameinfo((struct sockaddr *)&bound, len, name, sizeof name, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    bool v6 = strchr(name, ':') != NULL;
    snprintf(s->url, sizeof s->url, "http://%s%s%s:%s", v6 ? "[" : "", name, v6 ? "]" : "", port);
    *out = fd;
    ok = true;
end:
    if (!ok && fd >= 0) close(fd);
    freeaddrinfo(all);
    return ok;
}

/* Connections are files. At the system's limit the library would ask for one more without end, and models and pictures could not be
 * opened, so that some are left for them. */
static bool limit_connections(struct server *s, struct err *e)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur == RLIM_INFINITY) return true;
    const rlim_t kept = r.rlim_cur / 4 < OTHER_FILES ? r.rlim_cur / 4 : OTHER_FILES;
    int used = dup(STDERR_FILENO); /* the lowest free one: about as many are open */
    if (used >= 0) close(used);
    const long long left = (long long)r.rlim_cur - (long long)kept - (used > 0 ? used : 0);
    /* The library divides the number among its threads. */
    if (left < s->o.http_threads)
        return err_set(e, ERR_LIMIT, "this user may open %llu files, too few for any connection (ulimit -n)",
                       (unsigned long long)r.rlim_cur);
    if (left >= s->o.max_connections) return true;
    log_warn("at most %lld connections at a time: this user may open %llu files (ulimit -n)", left,
             (unsigned long long)r.rlim_cur);
    s->o.max_connections = (int)left;
    return true;
}

static void server_free(struct server *s)
{
    lanes_free(s->lanes);
    loading_free(s->loading);
    watch_free(s->watch);
    auth_free(&s->auth);
    bodies_free(&s->bodies);
    free(s);
}

bool server_start(struct server **out, const struct server_options *o, struct registry *r,
                  const struct catalog *c, struct err *e)
{
    struct server *s = calloc(1, sizeof *s);
    int fd = -1;
    if (!s) return err_set(e, ERR_NOMEM, "out of memory");
    s->o = *o;
    s->registry = r;
    s->catalog = c;
    s->json = (struct json_limits){ o->max_json_depth, o->max_json_values };
    s->started = clock_seconds();
    atomic_init(&s->ready, false);
    bodies_init(&s->bodies, o->body_memory, o->body_share);
    if (!auth_init(&s->auth, o->keys, o->n_keys, e) || !open_socket(s, &fd, e) || !limit_connections(s, e) ||
        !lanes_new(&s->lanes, o->prepare_threads, e) || !loading_new(&s->loading, r, s->lanes, e) ||
        !watch_new(&s->watch, &o->times, e))
        goto fail;
    s->auth.origin = o->allow_origin;
    s->auth.n_origin = o->n_allow_origin;
    s->auth.host = o->allow_host;
    s->auth.n_host = o->n_allow_host;
    unsigned pool = o->http_threads > 1 ? (unsigned)o->http_threads : 0; /* 0: one loop */
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                                     MHD_USE_TURBO | MHD_USE_ERROR_LOG,
                                 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_THREAD_POOL_SIZE,
                                 pool, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.max_connections,
                                 MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)o->max_connections_per_address,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, o->max_header + LIBRARY_BYTES,
                                 MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!s->daemon) {
        err_set(e, ERR_IO, "the HTTP server could not be started");
        goto fail;
    }
    *out = s;
    return true;
fail:
    if (fd >= 0) close(fd);
    server_free(s);
    return false;
}

const char *server_url(const struct server *s) { return s->url; }
void server_set_ready(struct server *s, bool ready) { atomic_store(&s->ready, ready); }
int server_active(const struct server *s) { return atomic_load(&s->active); }

void server_drain(struct server *s)
{
    atomic_store(&s->ready, false);
    atomic_store(&s->draining, true);
}

static void wait_idle(struct server *s, double limit_s, bool (*hurry)(void *arg), void *arg)
{
    double end = clock_seconds() + limit_s;
    while (atomic_load(&s->active) && clock_seconds() < end && !(hurry && hurry(arg)))
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

void server_stop(struct server *s, double limit_s, bool (*hurry)(void *arg), void *arg)
{
    server_drain(s);
    wait_idle(s, limit_s, hurry, arg);
    atomic_store(&s->stopping, true);
    if (atomic_load(&s->active)) {
        log_warn("%d requests are cancelled", atomic_load(&s->active));
        /* Repeated, because a request may reach its model only after the first round. Those who read are told; then nobody is
         * waited for. The event loops must not be stopped while a connection is suspended. */
        const double last = clock_seconds() + LAST_WORD_S;
        while (atomic_load(&s->active)) {
            watch_abandon_all(s->watch);
            wait_idle(s, 0.1, NULL, NULL);
            if (clock_seconds() > last) watch_close_all(s->watch);
        }
    }
    lanes_free(s->lanes);
    s->lanes = NULL;
    MHD_stop_daemon(s->daemon);
    server_free(s);
}
