/* loading.c - see loading.h. */
#include "http/loading.h"

#include <pthread.h>
#include <stdlib.h>

#include "http/admission.h"
#include "http/exchange_inside.h"
#include "service/models/registry.h"

struct wanted { /* a model that is being loaded, and who waits */
    struct wanted *next;
    struct model *model;
    struct exchange *first, **last; /* by x->next_waiting */
};

struct loading {
    struct registry *registry;
    struct lanes *lanes;
    pthread_mutex_t lock;
    struct wanted *wanted;
};

bool loading_new(struct loading **out, struct registry *r, struct lanes *lanes, struct err *e)
{
    struct loading *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_NOMEM, "out of memory");
    l->registry = r;
    l->lanes = lanes;
    pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return true;
}

void loading_free(struct loading *l)
{
    if (!l) return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void loading_end(struct exchange *x)
{
    if (x->holds_model) registry_release(x->server->registry, x->model);
    x->holds_model = false;
}

/* On the lane that the request came from. */
static void go_on(struct exchange *x)
{
    x->later(x, x->later_arg, &x->load_error);
    exchange_wake(x);
    exchange_unref(x);
}

static struct exchange *take_waiting(struct loading *l, struct model *m)
{
    pthread_mutex_lock(&l->lock);
    struct wanted **at = &l->wanted;
    while (*at && (*at)->model != m) at = &(*at)->next;
    struct wanted *w = *at;
    struct exchange *first = w ? w->first : NULL;
    if (w) *at = w->next;
    pthread_mutex_unlock(&l->lock);
    free(w);
    return first;
}

/* On the LOAD lane; x is the first of those who wait. */
static void load(struct exchange *x)
{
    struct loading *l = x->server->loading;
    struct registry *r = l->registry;
    struct model *m = x->model;
    struct err e = { ERR_NONE, "" };
    bool ok = atomic_load(&x->server->stopping)
                  ? err_set(&e, ERR_CANCELLED, "the server is stopping; the request was cancelled")
                  : registry_take(r, m, &e);
    for (struct exchange *w = take_waiting(l, m), *next; w; w = next) {
        next = w->next_waiting;
        w->holds_model = ok && registry_hold(r, m);
        if (!ok) w->load_error = e;
        if (!lanes_push(l->lanes, w->lane, go_on, w)) go_on(w);
    }
    if (ok) registry_release(r, m);
}

/* Under the lock: x waits for m. *new: nobody did before. */
static bool enlist(struct loading *l, struct exchange *x, struct model *m, bool *new)
{
    struct wanted *w = l->wanted;
    while (w && w->model != m) w = w->next;
    *new = !w;
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w) return false;
        *w = (struct wanted){ .next = l->wanted, .model = m };
        w->last = &w->first;
        l->wanted = w;
    }
    x->next_waiting = NULL;
    *w->last = x;
    w->last = &x->next_waiting;
    return true;
}

void loading_on(struct exchange *x, loading_next *fn, void *arg)
{
    x->load_error.code = ERR_NONE;
    x->later = fn;
    x->later_arg = arg;
    atomic_fetch_add(&x->refs, 1);
    if (!lanes_push(x->server->lanes, x->lane, go_on, x)) go_on(x);
}

void loading_on_long(struct exchange *x, loading_next *fn, void *arg)
{
    x->lane = LANE_LONG;
    loading_on(x, fn, arg);
}

void loading_wait(struct exchange *x, loading_next *fn, void *arg)
{
    x->load_error.code = ERR_NONE;
    x->later = fn;
    x->later_arg = arg;
    atomic_fetch_add(&x->refs, 1);
}

void loading_wait_not(struct exchange *x) { atomic_fetch_sub(&x->refs, 1); /* the lane's is left */ }

void loading_resume(struct exchange *x)
{
    if (!lanes_push(x->server->lanes, x->lane, go_on, x)) go_on(x);
}

void loading_then(struct exchange *x, struct model *m, loading_next *fn, void *arg)
{
    struct loading *l = x->server->loading;
    x->model = m;
    x->load_error.code = ERR_NONE;
    if (!admission_model(x, m, &x->load_error)) {
        fn(x, arg, &x->load_error);
        return;
    }
    admission_begun(x);
    x->holds_model = registry_hold(l->registry, m);
    if (x->holds_model) {
        fn(x, arg, &x->load_error);
        return;
    }
    x->later = fn;
    x->later_arg = arg;
    atomic_fetch_add(&x->refs, 1);
    bool new, ok;
    pthread_mutex_lock(&l->lock);
    ok = enlist(l, x, m, &new);
    pthread_mutex_unlock(&l->lock);
    if (ok && (!new || lanes_push(l->lanes, LANE_LOAD, load, x))) return;
    const struct err e = { ERR_NOMEM, "out of memory" };
    struct exchange *w = ok ? take_waiting(l, m) : x;
    for (struct exchange *next; w; w = next) { /* those who came between the two are refused with it */
        next = ok ? w->next_waiting : NULL;
        w->load_error = e;
        go_on(w);
    }
}
