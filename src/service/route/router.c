/* router.c - see router.h: plans and counts. Transfers are carrier.c and call.c. */
#include "service/route/router.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "service/account/money.h"
#include "service/route/router_inside.h"

const struct upstreams *router_upstreams(const struct router *r) { return atomic_load(&r->now)->up; }

const struct routed *router_find(const struct router *r, const char *name, const char *bare, size_t n_bare)
{
    const struct upstreams *up = router_upstreams(r);
    const struct routed *exact = upstreams_route(up, name, strlen(name));
    return exact ? exact : upstreams_route(up, bare, n_bare);
}

const struct routing *router_reading(const struct router *r, const struct routed *route)
{
    const struct routing *t = atomic_load(&r->now);
    while (t->older && !(route >= t->up->route && route < t->up->route + t->up->n_routes)) t = t->older;
    return t;
}

double router_draw(void)
{
    uint64_t bits;
    rng_os(&bits, sizeof bits);
    return (double)(bits >> 11) * 0x1p-53;
}

/* ---- plans --------------------------------------------------------------------------------------------------------- */

static int64_t cost_of(const struct target *t, const struct usage *worst, int64_t here_cost)
{
    return t->upstream < 0 ? here_cost : price_cost(&t->model->price, worst);
}

/* By weight: each place in turn is drawn among those that are left. */
static void shuffle(struct plan *p)
{
    for (int i = 0; i < p->n - 1; i++) {
        double sum = 0;
        for (int k = i; k < p->n; k++) sum += p->to[k]->weight;
        double at = router_draw() * sum;
        int k = i;
        while (k < p->n - 1 && at >= p->to[k]->weight) at -= p->to[k++]->weight;
        const struct target *t = p->to[k];
        p->to[k] = p->to[i];
        p->to[i] = t;
    }
}

/* Of the same price in the file's order. */
static void sort_by_cost(struct plan *p, const struct usage *worst, int64_t here_cost)
{
    for (int i = 1; i < p->n; i++) {
        const struct target *t = p->to[i];
        int k = i;
        for (; k && cost_of(p->to[k - 1], worst, here_cost) > cost_of(t, worst, here_cost); k--)
            p->to[k] = p->to[k - 1];
        p->to[k] = t;
    }
}

void router_plan(struct router *r, const struct routed *route, const struct usage *worst, bool here,
                 int64_t here_cost, struct plan *out, int *again_s)
{
    const struct routing *in = router_reading(r, route);
    const double now = clock_seconds();
    double soonest = INFINITY;
    *out = (struct plan){ .route = route };
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < route->n; i++) {
        const struct target *t = &route->to[i];
        const bool may = t->upstream < 0 ? here : breaker_would(&in->state[t->upstream]->breaker, now);
        if (may) {
            out->to[out->n++] = t;
            if (cost_of(t, worst, here_cost) > out->worst) out->worst = cost_of(t, worst, here_cost);
        } else if (t->upstream >= 0) {
            const struct breaker *b = &in->state[t->upstream]->breaker;
            soonest = fmin(soonest, b->state == BREAKER_OPEN ? b->until - now : 1);
        }
    }
    pthread_mutex_unlock(&r->lock);
    *again_s = isfinite(soonest) ? (int)fmax(1, ceil(soonest)) : 1;
    if (route->choice == CHOICE_WEIGHTED) shuffle(out);
    if (route->choice == CHOICE_CHEAPEST) sort_by_cost(out, worst, here_cost);
}

/* ---- counts -------------------------------------------------------------------------------------------------------- */

/* Of the upstream that it is at. */
static struct state *state_of(struct call *c) { return c->in->state[c->plan.to[c->at]->upstream]; }

void router_sent(struct call *c, bool again)
{
    pthread_mutex_lock(&c->router->lock);
    struct state *s = state_of(c);
    s->is.tries++;
    s->is.retries += again;
    s->is.running++;
    pthread_mutex_unlock(&c->router->lock);
}

void router_news(struct call *c, enum router_news news, double first_s, double whole_s, const char *error)
{
    const struct upstream *u = &c->in->up->v[c->plan.to[c->at]->upstream];
    const double now = clock_seconds();
    pthread_mutex_lock(&c->router->lock);
    struct state *s = state_of(c);
    s->is.running--;
    switch (news) {
    case NEWS_ANSWERED:
        s->is.answered++;
        breaker_passed(&s->breaker);
        retry_budget_earn(&s->budget, u->retry_share);
        s->window[s->n_samples++ % WINDOW] = (struct sample){ now, first_s, whole_s };
        break;
    case NEWS_FAILED:
        s->is.failed++;
        breaker_failed(&s->breaker, u->breaker_failures, u->breaker_open_s, now);
        break;
    case NEWS_REFUSED: /* it is there, and says no */
        s->is.refused++;
        breaker_passed(&s->breaker);
        break;
    case NEWS_CANCELLED:
        s->is.cancelled++;
        breaker_unknown(&s->breaker, now);
        break;
    }
    if (error) snprintf(s->is.error, sizeof s->is.error, "%s", error);
    pthread_mutex_unlock(&c->router->lock);
}

void router_spent(struct call *c, const struct usage *u, int64_t cost)
{
    pthread_mutex_lock(&c->router->lock);
    struct upstream_counts *is = &state_of(c)->is;
    is->prompt_tokens += (uint64_t)u->prompt_tokens;
    is->completion_tokens += (uint64_t)u->completion_tokens;
    is->cost = is->cost > MONEY_MAX - cost ? MONEY_MAX : is->cost + cost;
    pthread_mutex_unlock(&c->router->lock);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The least that is not below this share of them. */
static double quantile(const double *sorted, int n, double share)
{
    const int at = (int)ceil(share * n) - 1;
    return n ? sorted[at > 0 ? at : 0] : -1;
}

void router_counts(struct router *r, const struct upstreams *of, int upstream, struct upstream_counts *out)
{
    const struct routing *t = atomic_load(&r->now);
    while (t->older && t->up != of) t = t->older;
    double first[WINDOW], whole[WINDOW];
    const double now = clock_seconds();
    int n = 0;
    pthread_mutex_lock(&r->lock);
    const struct state *s = t->state[upstream];
    *out = s->is;
    out->breaker = s->breaker.state;
    for (unsigned i = 0; i < WINDOW && i < s->n_samples; i++) {
        if (now - s->window[i].at > WINDOW_S) continue;
        first[n] = s->window[i].first_s;
        whole[n++] = s->window[i].whole_s;
    }
    pthread_mutex_unlock(&r->lock);
    qsort(first, (size_t)n, sizeof *first, ascending);
    qsort(whole, (size_t)n, sizeof *whole, ascending);
    out->n_window = n;
    out->first_p50_s = quantile(first, n, 0.5);
    out->first_p99_s = quantile(first, n, 0.99);
    out->p50_s = quantile(whole, n, 0.5);
    out->p99_s = quantile(whole, n, 0.99);
}

uint64_t router_shadows_left_out(struct router *r) { return atomic_load(&r->left_out); }
