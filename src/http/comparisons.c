/* comparisons.c - POST /v1/comparisons: the candidates of a comparison as requests of their own (inner.h), one after the other, so that each has the
 * machine to itself, or together; and their answers as one. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "format/json_memory.h"
#include "http/dialects/comparison.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/inner.h"
#include "http/wanted.h"

struct comparing {
    struct comparison c;
    struct buf got[COMPARISON_MOST]; /* of a candidate's answer, not looked at yet */
    int n_over;
    bool closed; /* the stream has its last event */
    struct err error;
    pthread_mutex_t lock; /* guards what follows: cancel() comes from other threads */
    struct inner *inner[COMPARISON_MOST];
    int n_started;
    bool cancelled;
};

static void work_free(void *arg)
{
    struct comparing *w = arg;
    if (!w) return;
    for (int i = 0; i < COMPARISON_MOST; i++) {
        inner_free(w->inner[i]);
        buf_free(&w->got[i]);
    }
    comparison_free(&w->c);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void work_cancel(void *arg)
{
    struct comparing *w = arg;
    pthread_mutex_lock(&w->lock);
    w->cancelled = true;
    for (int i = 0; i < w->n_started; i++) inner_cancel(w->inner[i]);
    pthread_mutex_unlock(&w->lock);
}

static void woken(void *arg, bool over)
{
    (void)over;
    exchange_wake(arg);
}

/* ---- the candidates ------------------------------------------------------------------------------------------------ */

static bool start_one(struct exchange *x, struct comparing *w, int i)
{
    struct compared *it = &w->c.v[i];
    struct buf body = BUF_INIT(0);
    char *text = json_memory_dumps(it->request, JSON_COMPACT);
    bool ok = text && buf_puts(&body, text);
    free(text);
    it->began = clock_seconds();
    if (!ok) err_set(&w->error, ERR_NOMEM, "out of memory");
    pthread_mutex_lock(&w->lock);
    if (ok && !w->cancelled) {
        ok = inner_start(&w->inner[i], x, i, w->c.draws ? "/v1/images/generations" : "/v1/chat/completions",
                         &body, woken, x, &w->error);
        if (ok) w->n_started = i + 1;
    }
    pthread_mutex_unlock(&w->lock);
    if (ok && w->inner[i]) snprintf(it->id, sizeof it->id, "%s", inner_id(w->inner[i]));
    buf_free(&body);
    return ok;
}

/* What is whole of a candidate's stream. */
static void read_events(struct comparing *w, int i, struct buf *out)
{
    struct buf *got = &w->got[i];
    size_t at = 0;
    for (const char *end; at < got->len && (end = strstr(got->data + at, "\n\n"));) {
        comparison_event(&w->c, i, got->data + at, (size_t)(end - got->data) - at, out);
        at = (size_t)(end - got->data) + 2;
    }
    buf_drop(got, at);
}

static bool is_stream(const struct comparing *w, int i)
{
    const char *s = w->got[i].data;
    return !w->c.draws && s && (!strncmp(s, "data:", 5) || s[0] == ':');
}

static void take_one(struct comparing *w, int i, struct buf *out)
{
    struct compared *it = &w->c.v[i];
    const size_t text = it->text.len + it->thought.len;
    const bool over = inner_take(w->inner[i], &w->got[i]);
    if (is_stream(w, i)) read_events(w, i, out);
    if (!it->first && it->text.len + it->thought.len > text) it->first = clock_seconds();
    if (!over) return;
    it->ended = clock_seconds();
    it->status = inner_status(w->inner[i]);
    snprintf(it->cost, sizeof it->cost, "%s", inner_cost(w->inner[i]));
    if (w->got[i].len) comparison_reply(&w->c, i, w->got[i].data, w->got[i].len);
    buf_free(&w->got[i]);
    w->n_over++;
    if (out) comparison_print_end(out, &w->c, i);
}

static bool may_start(struct comparing *w)
{
    pthread_mutex_lock(&w->lock);
    const bool cancelled = w->cancelled;
    pthread_mutex_unlock(&w->lock);
    return !cancelled && w->n_started < w->c.n && (w->c.together || w->n_over == w->n_started);
}

/* All that can be done now; what goes wrong is w->error. out: the events of a stream, or NULL. */
static void go_on(struct exchange *x, struct comparing *w, struct buf *out)
{
    for (;;) {
        for (int i = 0; i < w->n_started; i++)
            if (w->c.v[i].ended <= 0) take_one(w, i, out);
        if (!may_start(w)) return;
        if (!start_one(x, w, w->n_started)) return;
    }
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

/* Why it ends before all are through; NULL: it does not. */
static const char *early_end(struct exchange *x, const struct comparing *w, enum fault_kind *kind)
{
    return exchange_early_end(x, w->error.code != ERR_NONE ? &w->error : NULL, kind);
}

static bool collect(struct exchange *x, void *arg)
{
    struct comparing *w = arg;
    struct buf b = BUF_INIT(0);
    enum fault_kind kind;
    go_on(x, w, NULL);
    const char *why = early_end(x, w, &kind);
    if (why) {
        exchange_fault(x, kind, NULL, "%s", why);
        return true;
    }
    if (w->n_over < w->c.n) return false;
    comparison_print(&b, &w->c, true);
    exchange_reply(x, 200, "application/json", &b);
    return true;
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct comparing *w = arg;
    enum fault_kind kind;
    if (w->closed) return PRODUCED_END;
    go_on(x, w, out);
    const char *why = early_end(x, w, &kind);
    if (why) {
        comparison_print_fault(out, kind, why);
        w->closed = true;
    } else if (w->n_over == w->c.n) {
        comparison_print_done(out, &w->c);
        w->closed = true;
    }
    return out->len ? PRODUCED_EVENT : PRODUCED_NOTHING;
}

static const struct work_ops ops = { collect, produce, work_cancel, work_free };

/* ---- the request --------------------------------------------------------------------------------------------------- */

static bool draws(void *arg, const char *name)
{
    const struct server *s = exchange_server(arg);
    return wanted_draws(s->registry, s->catalog, name);
}

void comparisons_post(struct exchange *x)
{
    struct fault f = { 0 };
    size_t len;
    const char *bytes = exchange_body(x, &len);
    json_t *body = NULL;
    struct comparing *w = calloc(1, sizeof *w);
    if (!w) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    pthread_mutex_init(&w->lock, NULL);
    const bool ok = json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f) &&
                    comparison_read(&w->c, body, draws, x, exchange_server(x)->o.strict_fields, &f);
    json_decref(body);
    if (ok) {
        exchange_run(x, &ops, w, w->c.stream);
        return;
    }
    work_free(w);
    exchange_fault_from(x, &f);
}
