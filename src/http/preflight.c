/* preflight.c - see preflight.h. The order matters: a foreign page learns nothing, a stranger does not learn which paths exist behind
 * the key, and only then is a body worth reading. */
#include "http/preflight.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "http/admission.h"
#include "http/exchange_inside.h"
#include "http/routes.h"

static const char *header(struct exchange *x, const char *name) { return exchange_header_in(x, name); }

/* One slash between parts and none at the end, so that a base URL with a slash too many works. A whole URL, as programs that
 * take us for a proxy send it, stands for its path. */
static char *normalise(const char *url)
{
    const char *host = !strncasecmp(url, "http://", 7)    ? url + 7
                       : !strncasecmp(url, "https://", 8) ? url + 8
                                                          : NULL;
    if (host) url = strchr(host, '/') ? strchr(host, '/') : "/";
    char *out = malloc(strlen(url) + 2), *p = out;
    if (!out) return NULL;
    for (const char *s = url; *s; s++)
        if (*s != '/' || p == out || p[-1] != '/') *p++ = *s;
    while (p > out + 1 && p[-1] == '/') p--;
    *p = 0;
    return out;
}

/* The client's own id when it is harmless in a log, else a new one. */
static void set_id(struct exchange *x)
{
    const char *given = header(x, "X-Request-Id");
    static const char harmless[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:";
    if (given && *given && strlen(given) <= 64 && strspn(given, harmless) == strlen(given)) {
        snprintf(x->is.id, sizeof x->is.id, "%s", given);
        return;
    }
    unsigned char r[12];
    rng_os(r, sizeof r);
    int n = snprintf(x->is.id, sizeof x->is.id, "req_");
    for (size_t i = 0; i < sizeof r; i++)
        n += snprintf(x->is.id + n, sizeof x->is.id - (size_t)n, "%02x", r[i]);
}

/* The trace that the client's request is part of. With a collector every request has one, and the answer says which. */
static void set_trace(struct exchange *x)
{
    char value[TRACEPARENT];
    trace_context_parse(&x->is.trace, header(x, "traceparent"));
    if (!x->server->o.traces) return;
    trace_context_begin(&x->is.trace);
    trace_context_print(&x->is.trace, value);
    exchange_header(x, "traceparent", "%s", value);
}

static bool has_media_type(const char *value, const char *type)
{
    size_t n = strlen(type);
    return value && !strncasecmp(value, type, n);
}

/* Answers the browser's question whether a page may call; true when it was one. */
static bool answer_options(struct exchange *x, unsigned allowed)
{
    struct buf none = BUF_INIT(0);
    char allow[64];
    routes_allow(allowed, allow);
    if (*x->origin && header(x, "Access-Control-Request-Method")) {
        const char *wanted = header(x, "Access-Control-Request-Headers");
        exchange_header(x, "Access-Control-Allow-Methods", "%s", *allow ? allow : "GET, POST");
        exchange_header(x, "Access-Control-Allow-Headers", "%s",
                        wanted && strlen(wanted) < 1000 ? wanted : "authorization, content-type");
        exchange_header(x, "Access-Control-Max-Age", "600");
    } else {
        exchange_header(x, "Allow", "%s%sOPTIONS", allow, *allow ? ", " : "");
    }
    exchange_reply(x, 204, NULL, &none);
    return true;
}

void preflight_misframed(struct exchange *x)
{
    const struct framing_fault *f = &x->link->intake.fault;
    exchange_header(x, "Connection", "close");
    exchange_fault(x, f->kind, NULL, "%s", f->why);
}

void preflight_too_large(struct exchange *x)
{
    exchange_fault(x, FAULT_TOO_LARGE, NULL, "the request body is larger than the limit of %zu bytes",
                   x->server->o.max_body);
}

bool preflight_expects_continue(struct exchange *x)
{
    const char *v = header(x, "Expect");
    return v && !strcasecmp(v, "100-continue");
}

/* Where it leads and who asks, said here and nowhere else. `may`: with a key of the server's, where it asks for one. */
static void identify(struct exchange *x, enum http_method m, unsigned *allowed, bool *may)
{
    x->dialect = routes_dialect(x->path, header(x, "anthropic-version") != NULL);
    x->route = routes_find(m, x->path, &x->tail, allowed);
    x->is.dialect = dialect_name(x->dialect);
    x->is.endpoint = x->route ? x->route->endpoint : NULL;
    x->is.route = routes_row(x->route);
    inet_ntop(x->peer.v6 ? AF_INET6 : AF_INET, x->peer.address + (x->peer.v6 ? 0 : 12), x->is.address,
              sizeof x->is.address);
    if (x->as) x->is.who = *x->as;
    *may = x->as ||
           auth_principal(&x->server->auth, header(x, "Authorization"), header(x, "x-api-key"), &x->is.who);
}

bool preflight_key(struct exchange *x)
{
    const struct key_record *k = x->is.who.key;
    const char *from = x->is.address;
    if (!k) return true;
    switch (key_may(k, clock_unix_ms(), from, x->is.endpoint)) {
    case KEY_GOOD: return true;
    case KEY_EXPIRED:
        exchange_fault(x, FAULT_KEY, NULL, "The API key you provided is invalid: it has expired.");
        break;
    case KEY_REVOKED:
        exchange_fault(x, FAULT_KEY, NULL, "The API key you provided is invalid: it was revoked.");
        break;
    case KEY_ELSEWHERE:
        exchange_fault(x, FAULT_FORBIDDEN, NULL, "this key may not be used from your address, %s", from);
        break;
    case KEY_NOT_FOR_THIS:
        exchange_fault(x, FAULT_FORBIDDEN, NULL, "this key may not be used for \"%s\"", x->is.endpoint);
        break;
    }
    return false;
}

static bool may_administer(struct exchange *x)
{
    const struct key_record *k = x->is.who.key;
    if (!x->server->o.account)
        exchange_fault(x, FAULT_URL, NULL,
                       "this server has no store, and so nothing to administer; --store names one");
    else if (!k || !k->scopes.admin)
        exchange_fault(x, FAULT_FORBIDDEN, NULL,
                       "this key may not administer: that takes one of the store with the scope admin "
                       "(hearth keys new --scope admin)");
    else
        return true;
    return false;
}

static void check(struct exchange *x, const char *method)
{
    struct server *s = x->server;
    const char *origin = header(x, "Origin"), *host = header(x, "Host"),
               *length = header(x, "Content-Length");
    unsigned allowed;
    bool may;
    enum http_method m = routes_method(method);
    x->head = !strcmp(method, "HEAD");
    x->announced = length ? (size_t)strtoull(length, NULL, 10) : 0;
    identify(x, m, &allowed, &may);

    if (x->link && link_refused(x->link)) {
        preflight_misframed(x);
        return;
    }
    if (!auth_host_ok(&s->auth, host)) {
        exchange_fault(x, FAULT_FORBIDDEN, NULL,
                       "this server has no key and answers to loopback names only, not to \"%.100s\"; "
                       "--allow-host lets a name in",
                       host);
        return;
    }
    switch (auth_origin(&s->auth, origin, host)) {
    case ORIGIN_FOREIGN:
        exchange_fault(x, FAULT_FORBIDDEN, NULL,
                       "pages of %.100s may not use this server; --allow-origin lets them", origin);
        return;
    case ORIGIN_ALLOWED: snprintf(x->origin, sizeof x->origin, "%s", origin); break;
    default: break;
    }
    if (m == METHOD_OPTIONS && (allowed || *x->origin)) {
        answer_options(x, allowed);
        return;
    }
    const bool open_to_all = x->route && x->route->access == ACCESS_PUBLIC;
    if (!may && !open_to_all) {
        exchange_fault(
            x, FAULT_KEY, NULL,
            header(x, "Authorization") || header(x, "x-api-key")
                ? "The API key you provided is invalid."
                : "You did not provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY");
        return;
    }
    if (!open_to_all && !preflight_key(x)) return;
    if (!x->route && allowed) {
        char allow[64];
        routes_allow(allowed, allow);
        exchange_header(x, "Allow", "%s", allow);
        exchange_fault(x, FAULT_METHOD, NULL, "%.20s is not possible here; %s is", method, allow);
        return;
    }
    if (!x->route) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at %.20s %.200s", method, x->path);
        return;
    }
    if (x->route->access == ACCESS_ADMIN && !may_administer(x)) return;
    if (atomic_load(&s->draining) && x->route->lane != LANE_INLINE) {
        exchange_header(x, "Connection", "close");
        exchange_fault(x, FAULT_UNAVAILABLE, NULL, "the server is stopping; try again later");
        return;
    }
    if (x->route->limit == BODY_JSON && has_media_type(header(x, "Content-Type"), "multipart/")) {
        exchange_fault(x, FAULT_MEDIA, NULL, "this endpoint takes application/json");
        return;
    }
    const char *coding = header(x, "Content-Encoding");
    if (coding && strcasecmp(coding, "identity")) {
        exchange_fault(x, FAULT_MEDIA, NULL,
                       "a body with Content-Encoding %.40s is not accepted; send it plain", coding);
        return;
    }
    if (x->route->limit != BODY_FILE && x->announced > s->o.max_body) preflight_too_large(x);
}

bool preflight(struct exchange *x, const char *url, const char *method)
{
    x->path = normalise(url);
    if (!x->path) return false;
    set_id(x);
    snprintf(x->is.method, sizeof x->is.method, "%s", method);
    set_trace(x);
    check(x, method);
    if (x->status || !x->is.endpoint) admission_say_left(x); /* the others are told when they are admitted */
    x->discard = x->status != 0 || x->route->limit == BODY_NONE;
    return true;
}
