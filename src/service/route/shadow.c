/* shadow.c - requests that go to a second place as well, whose answer is written down and seen by no client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "format/json_memory.h"
#include "service/account/money.h"
#include "service/route/router_inside.h"

void router_shadow(struct router *r, const struct routed *route, const struct call_request *q)
{
    struct err e;
    struct call *c;
    if (route->shadow.upstream < 0 || router_draw() >= route->shadow_share) return;
    if (atomic_fetch_add(&r->shadows, 1) >= SHADOWS_MOST) {
        atomic_fetch_sub(&r->shadows, 1);
        atomic_fetch_add(&r->left_out, 1);
        return;
    }
    struct call_request own = *q;
    own.stop = NULL;
    own.ready = own.wake = NULL;
    own.arg = NULL;
    const struct plan p = { .route = route, .to = { &route->shadow }, .n = 1 };
    if (call_start(&c, r, &p, &own, &e)) return;
    atomic_fetch_sub(&r->shadows, 1);
    log_warn("%s has no shadow: %s", q->id, e.msg);
}

static char *line_of(const struct call *c, const char *name, const char *answer, size_t len, bool ok,
                     const char *why, double seconds, const struct usage *u, int64_t cost)
{
    char dollars[MONEY_TEXT];
    json_t *said = json_stringn(answer, len); /* NULL: it is no text */
    json_t *v = json_pack("{s:I,s:s,s:s,s:s,s:s,s:b,s:f,s:i,s:i,s:s}", "at_ms", (json_int_t)clock_unix_ms(),
                          "request", c->q.id, "model", c->q.model, "endpoint", c->q.endpoint, "route", name,
                          "ok", ok, "seconds", seconds, "prompt_tokens", u->prompt_tokens,
                          "completion_tokens", u->completion_tokens, "cost", money_print(cost, dollars));
    if (v && why) json_object_set_new(v, "error", json_string(why));
    if (v && ok) json_object_set_new(v, "answer", said ? json_incref(said) : json_null());
    char *text = v ? json_memory_dumps(v, JSON_COMPACT) : NULL;
    json_decref(said);
    json_decref(v);
    return text;
}

void shadow_record(struct router *r, const struct call *c, const char *answer, size_t len, bool ok,
                   const char *why, double seconds)
{
    const struct target *t = &c->plan.route->shadow;
    struct usage u;
    struct price price;
    call_used((struct call *)c, &u, &price);
    pthread_mutex_lock(&r->lock);
    c->in->state[t->upstream]->is.shadows++;
    c->in->state[t->upstream]->is.shadow_failed += !ok;
    pthread_mutex_unlock(&r->lock);
    if (r->shadow_fd < 0) return;
    char *line =
        line_of(c, c->in->up->v[t->upstream].name, answer, len, ok, why, seconds, &u, price_cost(&price, &u));
    struct buf b = BUF_INIT(0);
    /* One write a line: others may write to the same file. */
    if (!line || !buf_printf(&b, "%s\n", line) || write(r->shadow_fd, b.data, b.len) != (ssize_t)b.len)
        log_warn("what a shadow of %s answered could not be written down", c->q.id);
    buf_free(&b);
    free(line);
}
