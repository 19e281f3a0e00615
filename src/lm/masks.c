#include "lm/masks.h"

#include <pthread.h>
#include <stdlib.h>

struct masks {
    pthread_t thread;
    void (*news)(void *arg);
    void *arg;
    pthread_mutex_t mu; /* guards what follows */
    pthread_cond_t cond, done;
    struct mask *first, **last;
    struct mask *now; /* that is worked out */
    bool stop;
};

static void *run(void *arg)
{
    struct masks *s = arg;
    pthread_mutex_lock(&s->mu);
    for (;;) {
        while (!s->first && !s->stop) pthread_cond_wait(&s->cond, &s->mu);
        struct mask *m = s->first;
        if (!m) break;
        s->first = m->next;
        if (!s->first) s->last = &s->first;
        s->now = m;
        pthread_mutex_unlock(&s->mu);
        m->failed = !guide_mask(m->guide, m->bits, &m->over, &m->why);
        pthread_mutex_lock(&s->mu);
        s->now = NULL;
        atomic_store_explicit(&m->ready, true, memory_order_release);
        pthread_cond_broadcast(&s->done);
        pthread_mutex_unlock(&s->mu);
        s->news(s->arg);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

bool masks_new(struct masks **out, void (*news)(void *arg), void *arg, struct err *e)
{
    struct masks *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for the thread of constraints");
    s->news = news;
    s->arg = arg;
    s->last = &s->first;
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->cond, NULL);
    pthread_cond_init(&s->done, NULL);
    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        free(s);
        return err_set(e, ERR_NOMEM, "cannot start the thread of constraints");
    }
    *out = s;
    return true;
}

void masks_free(struct masks *s)
{
    if (!s) return;
    pthread_mutex_lock(&s->mu);
    s->stop = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mu);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->mu);
    pthread_cond_destroy(&s->cond);
    pthread_cond_destroy(&s->done);
    free(s);
}

void masks_ask(struct masks *s, struct mask *m)
{
    atomic_store(&m->ready, false);
    m->wanted = true;
    m->next = NULL;
    pthread_mutex_lock(&s->mu);
    *s->last = m;
    s->last = &m->next;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mu);
}

void masks_forget(struct masks *s, struct mask *m)
{
    if (!m->wanted || !s) return;
    pthread_mutex_lock(&s->mu);
    for (struct mask **p = &s->first; *p; p = &(*p)->next) {
        if (*p != m) continue;
        *p = m->next;
        if (!*p) s->last = p;
        break;
    }
    while (s->now == m) pthread_cond_wait(&s->done, &s->mu);
    pthread_mutex_unlock(&s->mu);
    m->wanted = false;
}
