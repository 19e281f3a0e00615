/* inner.c - see inner.h. The transport of an exchange whose other end is a handler. Its turns are taken on the LOOKUP lane, one at a time: it
 * is resumed only while it sleeps. */
#include "http/inner.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "http/exchange_inside.h"
#include "http/preflight.h"

struct inner {
    struct exchange *x;
    char id[72], authorization[1024], api_key[1024], host[300],
        trace[80];                       /* what outer's headers say; "": nothing */
    struct principal who;                /* of a line of a batch */
    atomic_int holders;                  /* the owner, and the exchange until it is over */
    pthread_mutex_t lock;                /* guards what follows */
    void (*woken)(void *arg, bool over); /* NULL: nobody waits */
    void *arg;
    struct buf came;
    bool over; /* nothing more comes */
    bool admitted;
    bool closed; /* x must not be touched any more */
    int status;
    char cost[64];
    bool streams; /* whose turn it is: the answer is a stream */
};

static void let_go(struct inner *in)
{
    if (atomic_fetch_sub(&in->holders, 1) > 1) return;
    buf_free(&in->came);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

/* ---- the transport ------------------------------------------------------------------------------------------------- */

static const char *header_in(const struct exchange *x, const char *name)
{
    const struct inner *in = x->connection;
    const struct {
        const char *name, *value;
    } has[] = { { "Authorization", in->authorization },
                { "X-Api-Key", in->api_key },
                { "Host", in->host },
                { "traceparent", in->trace },
                { "X-Request-Id", in->id },
                { "Content-Type", "application/json" } };
    for (size_t i = 0; i < sizeof has / sizeof *has; i++)
        if (!strcasecmp(has[i].name, name) && *has[i].value) return has[i].value;
    return NULL;
}

static const char *query_in(const struct exchange *x, const char *name)
{
    (void)x;
    (void)name;
    return NULL;
}

static void each_query(const struct exchange *x, void (*fn)(void *arg, const char *name, const char *value),
                       void *arg)
{
    (void)x;
    (void)fn;
    (void)arg;
}

static void suspend(struct exchange *x) { (void)x; }

static void take_turns(struct exchange *x);

/* Without memory for the task it waits for some: there is nobody else to go on with x. */
static void resume(struct exchange *x)
{
    atomic_fetch_add(&x->refs, 1);
    while (!lanes_push(x->server->lanes, LANE_LOOKUP, take_turns, x))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static const struct exchange_transport by_hand = { header_in, query_in, each_query, suspend, resume };

/* ---- its answer ---------------------------------------------------------------------------------------------------- */

/* Under the lock. */
static void wake(struct inner *in)
{
    if (in->woken) in->woken(in->arg, in->over);
}

static void note_cost(void *arg, const char *name, const char *value)
{
    struct inner *in = arg;
    if (!strcasecmp(name, "X-Hearth-Cost")) snprintf(in->cost, sizeof in->cost, "%s", value);
}

static void add(struct inner *in, const char *bytes, size_t n)
{
    pthread_mutex_lock(&in->lock);
    if (in->woken) buf_append(&in->came, bytes, n);
    wake(in);
    pthread_mutex_unlock(&in->lock);
}

/* x is over. Whoever cancels holds the lock, and is through with x before it is closed. */
static void finish(struct exchange *x, bool sent)
{
    struct inner *in = x->connection;
    pthread_mutex_lock(&in->lock);
    in->closed = true;
    pthread_mutex_unlock(&in->lock);
    const int status = x->status;
    in->admitted = x->ending != NULL;
    exchange_over(x, sent, NULL);
    pthread_mutex_lock(&in->lock);
    in->status = sent ? status : 499;
    in->over = true;
    wake(in);
    pthread_mutex_unlock(&in->lock);
    let_go(in);
}

/* Until it sleeps, when it may be awake again on another thread, or is over. */
static void read_stream(struct exchange *x)
{
    char piece[16384];
    for (;;) {
        const ssize_t n = exchange_stream(x, piece, sizeof piece);
        if (n == 0) return;
        if (n < 0) {
            finish(x, n == EXCHANGE_STREAM_END);
            return;
        }
        add(x->connection, piece, (size_t)n);
    }
}

static void take_turns(struct exchange *x)
{
    struct inner *in = x->connection;
    bool done = false;
    while (!done) {
        if (in->streams) {
            read_stream(x);
            break;
        }
        switch (exchange_turn(x)) {
        case TURN_WAIT: done = true; break;
        case TURN_REPLY:
            exchange_each_header(x, note_cost, in);
            add(in, x->reply.data, x->reply.len);
            exchange_set_state(x, EXCHANGE_SENT);
            finish(x, true);
            done = true;
            break;
        case TURN_STREAM:
            in->streams = true;
            x->status = 200;
            break;
        case TURN_CLOSE:
        case TURN_SENT:
            finish(x, false);
            done = true;
            break;
        }
    }
    exchange_unref(x);
}

/* ---- the owner's side ---------------------------------------------------------------------------------------------- */

static void copy_header(struct exchange *outer, const char *name, char *out, size_t cap)
{
    const char *v = exchange_header_in(outer, name);
    snprintf(out, cap, "%s", v && strlen(v) < cap ? v : "");
}

static struct inner *inner_new(void (*woken)(void *arg, bool over), void *arg)
{
    struct inner *in = calloc(1, sizeof *in);
    if (!in) return NULL;
    pthread_mutex_init(&in->lock, NULL);
    atomic_init(&in->holders, 2);
    in->woken = woken;
    in->arg = arg;
    return in;
}

/* in->x may be NULL: no memory. */
static bool begin(struct inner *in, const char *path, const struct buf *body, struct err *e)
{
    struct exchange *x = in->x;
    if (!x || !preflight(x, path, "POST")) {
        if (x) exchange_unref(x);
        atomic_store(&in->holders, 1);
        let_go(in);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    exchange_take_body(x, body->data, body->len);
    x->whole = clock_seconds();
    return true;
}

static bool start(struct inner **out, struct exchange *outer, int number, const char *path, bool unread,
                  const struct buf *body, void (*woken)(void *arg, bool over), void *arg, struct err *e)
{
    struct inner *in = inner_new(woken, arg);
    if (!in) return err_set(e, ERR_NOMEM, "out of memory");
    snprintf(in->id, sizeof in->id, "%.58s.%d", exchange_id(outer), number);
    copy_header(outer, "Authorization", in->authorization, sizeof in->authorization);
    copy_header(outer, "X-Api-Key", in->api_key, sizeof in->api_key);
    copy_header(outer, "Host", in->host, sizeof in->host);
    copy_header(outer, "traceparent", in->trace, sizeof in->trace);
    in->x = exchange_new(outer->server, &by_hand, in, NULL, &outer->peer);
    if (in->x) in->x->unread = unread;
    if (!begin(in, path, body, e)) return false;
    *out = in;
    resume(in->x);
    return true;
}

bool inner_start(struct inner **out, struct exchange *outer, int number, const char *path,
                 const struct buf *body, void (*woken)(void *arg, bool over), void *arg, struct err *e)
{
    return start(out, outer, number, path, false, body, woken, arg, e);
}

bool inner_ask_judge(struct inner **out, struct exchange *outer, int number, const struct buf *body,
                     void (*woken)(void *arg, bool over), void *arg, struct err *e)
{
    return start(out, outer, number, "/v1/chat/completions", true, body, woken, arg, e);
}

bool inner_start_line(struct inner **out, struct server *s, const struct inner_line *l, const char *path,
                      const struct buf *body, void (*woken)(void *arg, bool over), void *arg, struct err *e)
{
    struct inner *in = inner_new(woken, arg);
    if (!in) return err_set(e, ERR_NOMEM, "out of memory");
    snprintf(in->id, sizeof in->id, "%s", l->id);
    in->who = *l->who;
    in->x = exchange_new(s, &by_hand, in, NULL, l->from);
    if (in->x) in->x->as = &in->who;
    if (!begin(in, path, body, e)) return false;
    snprintf(in->x->is.batch, sizeof in->x->is.batch, "%s", l->batch);
    in->x->is.line = l->line;
    *out = in;
    resume(in->x);
    return true;
}

bool inner_take(struct inner *in, struct buf *to)
{
    pthread_mutex_lock(&in->lock);
    if (in->came.len) buf_append(to, in->came.data, in->came.len);
    if (in->came.failed) to->failed = true;
    buf_clear(&in->came);
    const bool over = in->over;
    pthread_mutex_unlock(&in->lock);
    return over;
}

int inner_status(const struct inner *in) { return in->status; }
bool inner_admitted(const struct inner *in) { return in->admitted; }
const char *inner_id(const struct inner *in) { return in->id; }
const char *inner_cost(const struct inner *in) { return in->cost; }

void inner_cancel(struct inner *in)
{
    pthread_mutex_lock(&in->lock);
    if (!in->closed) exchange_abandon(in->x, true);
    pthread_mutex_unlock(&in->lock);
}

void inner_free(struct inner *in)
{
    if (!in) return;
    pthread_mutex_lock(&in->lock);
    in->woken = NULL;
    buf_free(&in->came);
    if (!in->closed) exchange_abandon(in->x, true);
    pthread_mutex_unlock(&in->lock);
    let_go(in);
}
