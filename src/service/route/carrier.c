/* carrier.c - the thread that carries every call: libcurl's multi interface, and the calls' own times. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/route/router_inside.h"

enum {
    TICK_MS = 50,    /* how late a client's leaving or a time that is over may be seen */
    IDLE_MS = 60000, /* with nothing under way */
    KEPT_CONNECTIONS = 64
};

static void take_new(struct router *r, bool *stopping)
{
    pthread_mutex_lock(&r->lock);
    struct call *new = r->queue;
    r->queue = NULL;
    *stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    while (new) {
        struct call *c = new;
        new = c->next;
        c->next = r->active;
        r->active = c;
        call_try(c);
    }
}

static void take_ended(struct router *r)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(r->multi, &left))) {
        char *of = NULL;
        const CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &of);
        call_ended((struct call *)(void *)of, code);
    }
}

static void look_at_all(struct router *r, bool stopping)
{
    const double now = clock_seconds();
    for (struct call **at = &r->active; *at;) {
        struct call *c = *at;
        if (stopping && c->phase != PHASE_OVER)
            call_fail(c, ERR_CANCELLED, "the server is stopping; the request was cancelled");
        if (c->phase != PHASE_OVER) call_tick(c, now);
        if (c->phase != PHASE_OVER) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        call_unref(c);
    }
}

static void *carrier_main(void *arg)
{
    struct router *r = arg;
    bool stopping = false;
    int running;
    for (;;) {
        take_new(r, &stopping);
        curl_multi_perform(r->multi, &running);
        take_ended(r);
        look_at_all(r, stopping);
        if (stopping && !r->active) return NULL;
        curl_multi_poll(r->multi, NULL, 0, r->active ? TICK_MS : IDLE_MS, NULL);
    }
}

/* ---- readings of the file ------------------------------------------------------------------------------------------ */

static void reading_free(struct routing *t)
{
    if (!t) return;
    upstreams_free(t->up);
    free(t->state);
    free(t);
}

/* What is known of this upstream: from an earlier reading, or new. NULL: no memory. */
static struct state *state_for(struct router *r, const struct upstream *u)
{
    const struct routing *t = atomic_load(&r->now);
    for (int i = 0; t && i < t->up->n; i++)
        if (!strcmp(t->up->v[i].name, u->name) && !strcmp(t->up->v[i].base_url, u->base_url))
            return t->state[i];
    struct state *new = calloc(1, sizeof *new);
    if (!new) return NULL;
    new->budget.has = RETRY_SAVED;
    new->next = r->states;
    r->states = new;
    return new;
}

bool router_set(struct router *r, struct upstreams *u, struct err *e)
{
    struct routing *t = calloc(1, sizeof *t);
    bool ok = t && (t->state = calloc((size_t)u->n + 1, sizeof(struct state *))) != NULL;
    for (int i = 0; ok && i < u->n; i++) ok = (t->state[i] = state_for(r, &u->v[i])) != NULL;
    if (!ok) {
        reading_free(t);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    t->up = u;
    t->older = atomic_load(&r->now);
    atomic_store(&r->now, t);
    return true;
}

/* ---- its life ------------------------------------------------------------------------------------------------------ */

bool router_open(struct router **out, struct upstreams *u, const struct router_options *o, struct err *e)
{
    struct router *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    r->shadow_fd = -1;
    pthread_mutex_init(&r->lock, NULL);
    r->multi = curl_multi_init();
    bool ok = r->multi || err_set(e, ERR_NOMEM, "out of memory");
    if (ok && *o->shadow_log) {
        r->shadow_fd = open(o->shadow_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        ok = r->shadow_fd >= 0 || err_set(e, ERR_IO, "%.200s: %s", o->shadow_log, strerror(errno));
    }
    ok = ok && router_set(r, u, e);
    if (ok) {
        curl_multi_setopt(r->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
        r->running = !pthread_create(&r->thread, NULL, carrier_main, r);
        ok = r->running || err_set(e, ERR_IO, "the thread of the upstreams could not be started");
    }
    if (ok) {
        *out = r;
        return true;
    }
    struct routing *t = atomic_load(&r->now);
    if (t) t->up = NULL; /* the caller's still */
    router_close(r);
    return false;
}

void router_close(struct router *r)
{
    if (!r) return;
    if (r->running) {
        pthread_mutex_lock(&r->lock);
        r->stopping = true;
        pthread_mutex_unlock(&r->lock);
        curl_multi_wakeup(r->multi);
        pthread_join(r->thread, NULL);
    }
    if (r->multi) curl_multi_cleanup(r->multi);
    if (r->shadow_fd >= 0) close(r->shadow_fd);
    for (struct routing *t = atomic_load(&r->now), *older; t; t = older) {
        older = t->older;
        reading_free(t);
    }
    for (struct state *s = r->states, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}
