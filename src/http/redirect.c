/* redirect.c - see redirect.h. */
#include "http/redirect.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "http/server_inside.h"

enum { MEMORY = 8 << 10, CONNECTIONS = 256 };

struct redirect {
    struct server *server;
    struct MHD_Daemon *daemon;
    int https_port;
};

/* Letters, digits, and what stands in names and in addresses of both kinds. */
static size_t host_length(const char *host)
{
    static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_",
                      v6[] = "0123456789abcdefABCDEF:.";
    size_t n = 0;
    if (*host == '[') {
        n = 1 + strspn(host + 1, v6);
        if (n == 1 || host[n] != ']') return 0;
        n++;
    } else {
        n = strspn(host, name);
    }
    if (host[n] == ':') return strspn(host + n + 1, "0123456789") == strlen(host + n + 1) ? n : 0;
    return host[n] ? 0 : n;
}

bool redirect_location(struct buf *out, const char *host, const char *target, int https_port)
{
    const size_t n = host ? host_length(host) : 0;
    if (!n) return false;
    const char *absolute = !strncasecmp(target, "http://", 7) ? target + 7 : NULL;
    if (absolute) target = strchr(absolute, '/') ? strchr(absolute, '/') : "/";
    buf_printf(out, "https://%.*s", (int)n, host);
    if (https_port != 443) buf_printf(out, ":%d", https_port);
    buf_printf(out, "%s%s", *target == '/' ? "" : "/", target);
    return true;
}

/* ---- the library's callbacks --------------------------------------------------------------------------------------- */

static struct link *link_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

/* The target as it was sent: on_request() gets it decoded. */
static void *on_target(void *arg, const char *target, struct MHD_Connection *c)
{
    (void)arg, (void)c;
    return strdup(target);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct redirect *r = arg;
    struct link *l = link_of(c);
    struct buf location = BUF_INIT(0);
    static char none[] = "", why[] = "this port leads to HTTPS, and needs a Host header for that\n";
    (void)url, (void)method, (void)version, (void)data;
    *size = 0;
    if (!l || ++l->n_requests > l->intake.n_heads) return MHD_NO;
    const bool ok = *state && !link_refused(l) &&
                    redirect_location(&location, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host"),
                                      *state, r->https_port) &&
                    !location.failed;
    struct MHD_Response *reply =
        MHD_create_response_from_buffer(ok ? 0 : sizeof why - 1, ok ? none : why, MHD_RESPMEM_PERSISTENT);
    if (reply && ok) MHD_add_response_header(reply, "Location", location.data);
    if (reply) MHD_add_response_header(reply, "Connection", "close");
    buf_free(&location);
    const enum MHD_Result queued = reply ? MHD_queue_response(c, ok ? 308 : 400, reply) : MHD_NO;
    if (reply) MHD_destroy_response(reply);
    return queued;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)arg, (void)c, (void)why;
    free(*state);
    *state = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct redirect *r = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        const union MHD_ConnectionInfo *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        if (fd)
            *context = watch_open(r->server->watch, fd->connect_fd, from ? from->client_addr : NULL, MEMORY);
        if (fd && !*context) intake_cut(fd->connect_fd);
    } else {
        watch_close(r->server->watch, *context);
        *context = NULL;
    }
}

bool redirect_start(struct redirect **out, struct server *s, int fd, int https_port, struct err *e)
{
    struct redirect *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    r->server = s;
    r->https_port = https_port;
    r->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_TURBO, 0, NULL, NULL,
                                 on_request, r, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK,
                                 on_target, r, MHD_OPTION_NOTIFY_COMPLETED, on_completed, r,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, r, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)4 * MEMORY, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (r->daemon) {
        *out = r;
        return true;
    }
    free(r);
    return err_set(e, ERR_IO, "the port that redirects to HTTPS could not be started");
}

void redirect_stop(struct redirect *r)
{
    if (!r) return;
    MHD_stop_daemon(r->daemon);
    free(r);
}
