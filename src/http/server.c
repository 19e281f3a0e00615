/* server.c - connections: libmicrohttpd's callbacks around an exchange (exchange_inside.h). The library calls on_request() again after
 * every resume, so on_request() is a turn of the exchange. */
#include "http/server.h"

#include <errno.h>
#include <microhttpd.h>
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
#include "http/batch_runner.h"
#include "http/endings.h"
#include "http/exchange_inside.h"
#include "http/preflight.h"
#include "http/redirect.h"
#include "http/routes.h"
#include "service/kept_responses.h"
#include "http/tls.h"
#include "service/account/account.h"

#define LAST_WORD_S 0.7 /* for the error that ends a stream to reach its reader */

enum {
    DISCARD_LIMIT =
        64 << 20,          /* bytes of a refused body that are read so that the client can read the refusal */
    FILE_PIECE = 64 << 10, /* of a file, read and sent at a time */
    OTHER_FILES = 256,     /* that are not connections: models, pictures, what loading needs */
    /* What the library keeps beside a block of headers: an entry for each header and each part of a query, and a reply's headers. */
    LIBRARY_BYTES = 32 << 10,
};

/* ---- the transport ------------------------------------------------------------------------------------------------- */

static const char *header_in(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static const char *query_in(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct each_query {
    void (*fn)(void *arg, const char *name, const char *value);
    void *arg;
};

static enum MHD_Result each_value(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    const struct each_query *q = arg;
    (void)kind;
    q->fn(q->arg, name, value ? value : "");
    return MHD_YES;
}

static void each_query(const struct exchange *x, void (*fn)(void *arg, const char *name, const char *value),
                       void *arg)
{
    struct each_query q = { fn, arg };
    MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, each_value, &q);
}

static void suspend(struct exchange *x) { MHD_suspend_connection(x->connection); }
static void resume(struct exchange *x) { MHD_resume_connection(x->connection); }

static const struct exchange_transport connections = { header_in, query_in, each_query, suspend, resume };

static void add_header(void *arg, const char *name, const char *value)
{
    MHD_add_response_header(arg, name, value);
}

static enum MHD_Result queue(struct exchange *x, int status, struct MHD_Response *r, enum exchange_state next)
{
    if (!r) return MHD_NO;
    exchange_each_header(x, add_header, r);
    x->status = status;
    exchange_set_state(x, next);
    atomic_store(&x->link->replying, true);
    enum MHD_Result ok = MHD_queue_response(x->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

static ssize_t file_read(void *arg, uint64_t pos, char *out, size_t max)
{
    const ssize_t n = exchange_read_file(arg, pos, out, max);
    return n > 0 ? n : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static enum MHD_Result send_reply(struct exchange *x)
{
    if (x->discard && x->announced > DISCARD_LIMIT) exchange_header(x, "Connection", "close");
    /* Read by us and not sent by the system, which would send it as it stands where connections are encrypted. */
    if (x->file >= 0)
        return queue(
            x, x->status,
            MHD_create_response_from_callback((uint64_t)x->file_bytes, FILE_PIECE, file_read, x, NULL),
            EXCHANGE_SENT);
    size_t len = x->reply.len;
    char *text = buf_take(&x->reply);
    if (!text) return MHD_NO;
    return queue(x, x->status, MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE),
                 EXCHANGE_SENT);
}

static ssize_t stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
    (void)pos;
    ssize_t n = exchange_stream(arg, out, max);
    return n == EXCHANGE_STREAM_END      ? MHD_CONTENT_READER_END_OF_STREAM
           : n == EXCHANGE_STREAM_BROKEN ? MHD_CONTENT_READER_END_WITH_ERROR
                                         : n;
}

static enum MHD_Result send_stream(struct exchange *x)
{
    return queue(x, 200, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, stream_read, x, NULL),
                 EXCHANGE_STREAMING);
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

static enum MHD_Result step(struct exchange *x)
{
    switch (exchange_turn(x)) {
    case TURN_REPLY: return send_reply(x);
    case TURN_STREAM: return send_stream(x);
    case TURN_CLOSE: return MHD_NO;
    case TURN_WAIT:
    case TURN_SENT: break;
    }
    return MHD_YES;
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
        exchange_take_body(x, data, *size);
        *size = 0;
        return MHD_YES;
    }
    struct link *l = link_of(c);
    /* Fails closed: a library that reads past the intake has not been checked. */
    if (!l || ++l->n_requests > l->intake.n_heads) {
        log_error("the HTTP library reads in a way that this build does not know: a connection is closed");
        return MHD_NO;
    }
    *state = x = exchange_new(s, &connections, c, l, &l->peer);
    if (!x || !preflight(x, url, method)) return MHD_NO;
    /* A refused request's body is read and thrown away, so that the client gets to read why; not when that would take long. */
    if (x->discard && (x->announced > DISCARD_LIMIT || preflight_expects_continue(x))) return send_reply(x);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)arg;
    struct exchange *x = *state;
    struct link *l = link_of(c);
    const char *closed = l ? atomic_load(&l->closed) : NULL;
    if (l) {
        atomic_store(&l->replying, false);
        intake_set_phase(&l->intake, INTAKE_IDLE); /* the next one, if there is one */
    }
    if (!x) return;
    *state = NULL;
    exchange_over(x, why == MHD_REQUEST_TERMINATED_COMPLETED_OK, closed);
}

static struct link *open_link(struct server *s, int fd, const struct sockaddr *from)
{
    struct link *l = watch_open(s->watch, fd, from, s->o.max_header);
    if (!l || !s->o.tls) return l;
    struct tls_session *t = tls_session_new(s->o.tls, fd);
    if (t) {
        intake_use_tls(&l->intake, t);
        return l;
    }
    watch_close(s->watch, l);
    return NULL;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *s = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        const union MHD_ConnectionInfo *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        if (fd) *context = open_link(s, fd->connect_fd, from ? from->client_addr : NULL);
        if (fd && !*context) intake_cut(fd->connect_fd);
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

/* "host:port", "[v6]:port", ":port" for every address, "port" for this machine. other_port: in place of that one, which may then be
 * missing; -1: none. */
static bool resolve(const char *listen, int other_port, struct addrinfo **out, char *host, size_t host_size,
                    struct err *e)
{
    const bool bare = *listen && strspn(listen, "0123456789") == strlen(listen);
    const char *colon = strrchr(listen, ':'), *port = colon ? colon + 1 : bare ? listen : "";
    size_t n = colon ? (size_t)(colon - listen) : bare ? 0 : strlen(listen);
    char number[16];
    snprintf(number, sizeof number, "%d", other_port);
    if (other_port >= 0) port = number;
    if (!*port || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atoi(port) > 65535)
        return err_set(e, ERR_REQUEST, "listen must be ADDRESS:PORT, got \"%s\"", listen);
    const bool bracketed = n > 1 && listen[0] == '[' && listen[n - 1] == ']';
    if (n >= host_size) return err_set(e, ERR_REQUEST, "listen: the address is too long");
    snprintf(host, host_size, "%.*s", (int)n - 2 * bracketed, listen + bracketed);
    if (bare) snprintf(host, host_size, "127.0.0.1");
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                              .ai_family = *host ? AF_UNSPEC : AF_INET };
    int rc = getaddrinfo(*host ? host : NULL, port, &hints, out);
    if (rc) return err_set(e, ERR_REQUEST, "listen %s: %s", listen, gai_strerror(rc));
    return true;
}

/* port: in place of the one in `listen`, or -1. url: what clients call it, made of scheme and the port that was taken. */
static bool open_socket(struct server *s, int port_wanted, const char *scheme, int *out, int *port_taken,
                        char url[SERVER_URL], struct err *e)
{
    struct addrinfo *all = NULL;
    char host[200];
    int fd = -1, on = 1;
    bool ok = false;
    if (!resolve(s->o.listen, port_wanted, &all, host, sizeof host, e)) return false;
    const struct addrinfo *a = all; /* of a name with several addresses, the kind that clients try first */
    while (a->ai_family != AF_INET && a->ai_next) a = a->ai_next;
    if (a->ai_family != AF_INET) a = all;
    if (!s->o.keys.n && !s->o.account && !is_loopback(a->ai_addr)) {
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
    snprintf(url, SERVER_URL, "%s://%s%s%s:%s", scheme, v6 ? "[" : "", name, v6 ? "]" : "", port);
    *port_taken = atoi(port);
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

static bool size_bodies(struct server *s, struct err *e)
{
    if (!s->o.body_memory) s->o.body_memory = 8 * s->o.max_body;
    if (!s->o.body_share) s->o.body_share = s->o.body_memory / 2;
    if (s->o.body_memory < s->o.max_body || s->o.body_share < s->o.max_body)
        return err_set(
            e, ERR_REQUEST,
            "max-body lets a body have %zu bytes, but body-memory has %zu for all and "
            "body-memory-per-address %zu: no such body could ever be sent; lower the one or raise the others",
            s->o.max_body, s->o.body_memory, s->o.body_share);
    bodies_init(&s->bodies, s->o.body_memory, s->o.body_share);
    return true;
}

/* The service that has them keeps them for thirty days. */
static const struct kept_limits kept_limits = { .bytes = 64 << 20,
                                                .count = 10000,
                                                .age_ms = INT64_C(30) * 24 * 3600 * 1000 };

void server_parts_close(struct server *s)
{
    endings_wait(s);
    lanes_free(s->lanes);
    loading_free(s->loading);
    watch_free(s->watch);
    auth_free(&s->auth);
    bodies_free(&s->bodies);
    kept_responses_free(s->kept);
    free(s);
}

bool server_parts_open(struct server **out, const struct server_options *o, struct registry *r,
                       const struct catalog *c, struct err *e)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "out of memory");
    s->o = *o;
    s->registry = r;
    s->catalog = c;
    s->json = (struct json_limits){ o->max_json_depth, o->max_json_values };
    s->started = clock_seconds();
    atomic_init(&s->ready, false);
    endings_init(s);
    if (!size_bodies(s, e) ||
        !kept_responses_new(&s->kept, &kept_limits, o->account ? account_store(o->account) : NULL, e) ||
        !auth_init(&s->auth, (const char *const *)o->keys.v, o->keys.n,
                   o->account ? account_keyring(o->account) : NULL, e) ||
        !lanes_new(&s->lanes, o->prepare_threads, o->account != NULL, e) ||
        !loading_new(&s->loading, r, s->lanes, e) || !watch_new(&s->watch, &o->times, e)) {
        server_parts_close(s);
        return false;
    }
    s->auth.origin = (const char *const *)o->allow_origin.v;
    s->auth.n_origin = o->allow_origin.n;
    s->auth.host = (const char *const *)o->allow_host.v;
    s->auth.n_host = o->allow_host.n;
    *out = s;
    return true;
}

static bool open_redirect(struct server *s, int https_port, struct err *e)
{
    int fd = -1, port;
    if (!open_socket(s, s->o.redirect_port, "http", &fd, &port, s->redirect_url, e)) return false;
    if (redirect_start(&s->redirect, s, fd, https_port, e)) return true;
    close(fd);
    return false;
}

bool server_start(struct server **out, const struct server_options *o, struct registry *r,
                  const struct catalog *c, struct err *e)
{
    struct server *s;
    int fd = -1;
    if (!server_parts_open(&s, o, r, c, e)) return false;
    int port = 0;
    if (!open_socket(s, s->o.port, s->o.tls ? "https" : "http", &fd, &port, s->url, e) ||
        !limit_connections(s, e))
        goto fail;
    if (s->o.account && s->o.uploads && !batch_runner_start(&s->batches, s, e)) goto fail;
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
    fd = -1; /* the library's now */
    if (s->o.tls && s->o.redirect_port >= 0 && !open_redirect(s, port, e)) goto fail;
    *out = s;
    return true;
fail:
    batch_runner_stop(s->batches);
    if (s->daemon) MHD_stop_daemon(s->daemon);
    if (fd >= 0) close(fd);
    server_parts_close(s);
    return false;
}

const char *server_url(const struct server *s) { return s->url; }
const char *server_redirect_url(const struct server *s) { return s->redirect_url; }
bool server_set_keys(struct server *s, const struct str_list *keys, struct err *e)
{
    if (!keys->n && auth_n_keys(&s->auth) && !s->o.account)
        return err_set(e, ERR_REQUEST,
                       "no key is left, and a server does not become open to everybody while it runs");
    return auth_set_keys(&s->auth, (const char *const *)keys->v, keys->n, e);
}

void server_set_words(struct server *s, const struct word_rules *words) { atomic_store(&s->o.words, words); }

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
    batch_runner_stop(s->batches);
    lanes_free(s->lanes);
    s->lanes = NULL;
    redirect_stop(s->redirect);
    MHD_stop_daemon(s->daemon);
    server_parts_close(s);
}
