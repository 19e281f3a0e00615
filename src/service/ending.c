/* ending.c - see ending.h. */
#include "service/ending.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char *end_how_name(enum end_how how)
{
    static const char *const name[N_END_HOW] = { "done", "refused", "error", "timeout", "cancelled", "left" };
    return name[how];
}

struct ending *ending_open(struct ending_sinks *s, const struct identity *of, const char *path)
{
    struct ending *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->of = *of;
    e->path = strdup(path);
    if (!e->path) {
        free(e);
        return NULL;
    }
    e->sinks = s;
    e->slot = -1;
    atomic_init(&e->holders, 1);
    pthread_mutex_init(&e->lock, NULL);
    atomic_fetch_add(&s->open, 1);
    return e;
}

void ending_hold(struct ending *e)
{
    if (e) atomic_fetch_add(&e->holders, 1);
}

static void book(struct ending *e, void (*told)(void *), void *arg)
{
    const struct ending_books *b = &e->sinks->books;
    e->seconds = clock_seconds() - e->of.started;
    e->booked = true;
    b->take(b->arg, e, told, arg);
}

/* The end of a request: nobody works for it any more, so that nothing of it changes. */
static void request_end(struct ending *e)
{
    struct ending_sinks *s = e->sinks;
    if (s->books.take && !e->booked) book(e, NULL, NULL);
    e->seconds = clock_seconds() - e->of.started;
    for (int i = 0; i < s->n; i++) s->v[i].take(s->v[i].arg, e);
    pthread_mutex_destroy(&e->lock);
    recording_free(e->recording);
    buf_free(&e->answer);
    free(e->path);
    free(e);
    atomic_fetch_sub(&s->open, 1);
}

void ending_let_go(struct ending *e)
{
    if (e && atomic_fetch_sub(&e->holders, 1) == 1) request_end(e);
}

void ending_model(struct ending *e, const char *id)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    snprintf(e->model, sizeof e->model, "%s", id);
    pthread_mutex_unlock(&e->lock);
}

void ending_seed(struct ending *e, uint64_t seed)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    snprintf(e->seed, sizeof e->seed, "%" PRId64, (int64_t)seed); /* as JSON's integers have it */
    pthread_mutex_unlock(&e->lock);
}

void ending_hashes(struct ending *e, const char *request, const char *model)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    if (request) snprintf(e->request_hash, sizeof e->request_hash, "%s", request);
    if (model) snprintf(e->model_hash, sizeof e->model_hash, "%s", model);
    pthread_mutex_unlock(&e->lock);
}

void ending_route(struct ending *e, const char *name)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    snprintf(e->route, sizeof e->route, "%s", name);
    pthread_mutex_unlock(&e->lock);
}

void ending_error(struct ending *e, const char *name)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    e->error = name;
    pthread_mutex_unlock(&e->lock);
}

void ending_may_use(struct ending *e, const struct usage *worst)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    e->worst = *worst;
    e->bounded = true;
    pthread_mutex_unlock(&e->lock);
}

bool ending_worst(struct ending *e, struct usage *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->worst;
    const bool said = e->bounded;
    pthread_mutex_unlock(&e->lock);
    return said;
}

void ending_use(struct ending *e, const struct usage *u)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    usage_add(&e->usage, u);
    pthread_mutex_unlock(&e->lock);
}

void ending_cost(struct ending *e, int64_t nano)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    e->priced = true;
    e->cost = nano;
    pthread_mutex_unlock(&e->lock);
}

void ending_went(struct ending *e, enum end_how how, int status, const char *note)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    e->how = how;
    e->status = status;
    snprintf(e->note, sizeof e->note, "%s", note);
    pthread_mutex_unlock(&e->lock);
}

void ending_sent(struct ending *e, long long bytes)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    e->bytes = bytes;
    pthread_mutex_unlock(&e->lock);
}

void ending_unadmitted(const struct ending_sinks *s, const struct ending *e)
{
    for (int i = 0; i < s->n_unadmitted; i++) s->unadmitted[i].take(s->unadmitted[i].arg, e);
}

bool ending_book(struct ending *e, enum end_how how, int status, const char *note, void (*told)(void *arg),
                 void *arg)
{
    if (!e || !e->sinks->books.take || e->booked || atomic_load(&e->holders) > 1) return false;
    ending_went(e, how, status, note);
    book(e, told, arg);
    return true;
}
