/* exchange_memory.c - see exchange_memory.h. */
#include "http/exchange_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "http/exchange_inside.h"
#include "http/preflight.h"

struct memory { /* the other end of one exchange */
    const struct memory_request *q;
    char *path, *query; /* cut at the '?' */
    char value[200];    /* of the parameter that was asked for last */
    pthread_cond_t woken;
};

static const char *header_in(const struct exchange *x, const char *name)
{
    const struct memory *m = x->connection;
    for (int i = 0; m->q->headers && m->q->headers[i][0]; i++)
        if (!strcasecmp(m->q->headers[i][0], name)) return m->q->headers[i][1];
    return NULL;
}

static const char *query_in(const struct exchange *x, const char *name)
{
    struct memory *m = x->connection;
    size_t n = strlen(name);
    for (const char *p = m->query; p && *p; p += strcspn(p, "&"), p += *p == '&') {
        if (strncmp(p, name, n) != 0 || p[n] != '=') continue;
        snprintf(m->value, sizeof m->value, "%.*s", (int)strcspn(p + n + 1, "&"), p + n + 1);
        return m->value;
    }
    return NULL;
}

static void each_query(const struct exchange *x, void (*fn)(void *arg, const char *name, const char *value),
                       void *arg)
{
    const struct memory *m = x->connection;
    for (const char *p = m->query; p && *p; p += strcspn(p, "&"), p += *p == '&') {
        char name[100], value[200];
        const int n = (int)strcspn(p, "&"), equal = (int)strcspn(p, "=&");
        snprintf(name, sizeof name, "%.*s", equal, p);
        snprintf(value, sizeof value, "%.*s", equal < n ? n - equal - 1 : 0, p + equal + 1);
        fn(arg, name, value);
    }
}

static void suspend(struct exchange *x) { (void)x; }
static void resume(struct exchange *x) { pthread_cond_signal(&((struct memory *)x->connection)->woken); }

static const struct exchange_transport memory = { header_in, query_in, each_query, suspend, resume };

/* ---- one request --------------------------------------------------------------------------------------------------- */

static void sleep_until_resumed(struct exchange *x)
{
    struct memory *m = x->connection;
    pthread_mutex_lock(&x->lock);
    while (x->suspended) pthread_cond_wait(&m->woken, &x->lock);
    pthread_mutex_unlock(&x->lock);
}

static void add_header(void *arg, const char *name, const char *value)
{
    buf_printf(arg, "%s: %s\n", name, value);
}

/* Reads the stream to its end, or until the client has had enough. */
static bool read_stream(struct exchange *x, struct memory_reply *out)
{
    const struct memory *m = x->connection;
    char piece[16384];
    ssize_t n;
    for (int pieces = 0;;) {
        n = exchange_stream(x, piece, sizeof piece);
        if (n < 0) return n == EXCHANGE_STREAM_END;
        if (n == 0) {
            sleep_until_resumed(x);
            continue;
        }
        buf_append(&out->body, piece, (size_t)n);
        if (++pieces == m->q->leave_after) exchange_abandon(x, true);
    }
}

static bool waits_for_model(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool yes = x->state == EXCHANGE_COLLECTING;
    pthread_mutex_unlock(&x->lock);
    return yes;
}

static void read_file(const struct exchange *x, struct buf *to)
{
    char piece[16384];
    ssize_t n;
    for (uint64_t at = 0; x->file >= 0 && (n = exchange_read_file(x, at, piece, sizeof piece)) > 0;
         at += (uint64_t)n)
        buf_append(to, piece, (size_t)n);
}

/* False: the client left. */
static bool run(struct exchange *x, struct memory_reply *out)
{
    const struct memory *m = x->connection;
    for (;;) {
        switch (exchange_turn(x)) {
        case TURN_WAIT:
            if (m->q->leave_after && waits_for_model(x)) exchange_abandon(x, true);
            sleep_until_resumed(x);
            break;
        case TURN_REPLY:
            out->status = x->status;
            exchange_each_header(x, add_header, &out->headers);
            out->body = x->reply;
            x->reply = (struct buf){ 0 };
            read_file(x, &out->body);
            exchange_set_state(x, EXCHANGE_SENT);
            return true;
        case TURN_STREAM:
            out->status = x->status = 200;
            exchange_each_header(x, add_header, &out->headers);
            return read_stream(x, out);
        case TURN_CLOSE: return false;
        case TURN_SENT: return true;
        }
    }
}

bool memory_exchange(struct server *s, const struct memory_request *q, struct memory_reply *out)
{
    struct memory m = { .q = q, .path = strdup(q->path), .woken = PTHREAD_COND_INITIALIZER };
    struct exchange *x = exchange_new(s, &memory, &m, NULL, &(struct peer){ 0 });
    *out = (struct memory_reply){ 0 };
    if (m.path && (m.query = strchr(m.path, '?'))) *m.query++ = 0;
    bool ok = x && m.path && preflight(x, m.path, q->method);
    if (ok) {
        if (q->body) exchange_take_body(x, q->body, q->len ? q->len : strlen(q->body));
        x->whole = clock_seconds();
        const bool sent = run(x, out);
        if (!sent) out->status = 499;
        exchange_over(x, sent, NULL);
    } else if (x) {
        exchange_unref(x);
    }
    free(m.path);
    pthread_cond_destroy(&m.woken);
    return ok;
}

void memory_reply_free(struct memory_reply *r)
{
    buf_free(&r->headers);
    buf_free(&r->body);
}

/* ---- a server without a socket ------------------------------------------------------------------------------------- */

bool memory_server_new(struct server **out, const struct server_options *o, struct registry *r,
                       const struct catalog *c, struct err *e)
{
    if (!server_parts_open(out, o, r, c, e)) return false;
    snprintf((*out)->url, sizeof(*out)->url, "http://memory");
    server_set_ready(*out, true);
    return true;
}

void memory_server_free(struct server *s) { server_parts_close(s); }
