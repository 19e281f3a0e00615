/* lanes.c - see lanes.h. */
#include "http/lanes.h"

#include <pthread.h>
#include <stdlib.h>

struct task {
    struct task *next;
    void (*run)(struct exchange *x);
    struct exchange *x;
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct task *first, **last;
    bool closing;
    pthread_t *thread;
    int n_threads;
};

struct lanes {
    struct queue queue[N_LANES]; /* LANE_INLINE has no threads */
};

enum { LOOKUP_THREADS = 2, STORE_THREADS = 2, LOAD_THREADS = 4, WAITING_THREADS = 14 };

static void *worker(void *arg)
{
    struct queue *q = arg;
    for (;;) {
        pthread_mutex_lock(&q->lock);
        while (!q->first && !q->closing) pthread_cond_wait(&q->filled, &q->lock);
        struct task *t = q->first;
        if (t && !(q->first = t->next)) q->last = &q->first;
        pthread_mutex_unlock(&q->lock);
        if (!t) return NULL;
        t->run(t->x);
        free(t);
    }
}

static bool queue_start(struct queue *q, int n_threads)
{
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    q->thread = calloc((size_t)n_threads + 1, sizeof *q->thread);
    while (q->thread && q->n_threads < n_threads) {
        if (pthread_create(&q->thread[q->n_threads], NULL, worker, q)) break;
        q->n_threads++;
    }
    return q->n_threads == n_threads;
}

static void queue_stop(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->lock);
    for (int i = 0; i < q->n_threads; i++) pthread_join(q->thread[i], NULL);
    free(q->thread);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->filled);
}

bool lanes_new(struct lanes **out, int text_threads, bool waits, struct err *e)
{
    struct lanes *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_NOMEM, "out of memory");
    const int threads[N_LANES] = { [LANE_LOOKUP] = LOOKUP_THREADS,
                                   [LANE_STORE] = STORE_THREADS,
                                   [LANE_TEXT] = text_threads + (waits ? WAITING_THREADS : 0),
                                   [LANE_LONG] = text_threads,
                                   [LANE_LOAD] = LOAD_THREADS };
    bool ok = true;
    for (int i = 0; i < N_LANES; i++) ok = queue_start(&l->queue[i], threads[i]) && ok;
    if (!ok) {
        lanes_free(l);
        return err_set(e, ERR_NOMEM, "threads could not be started");
    }
    *out = l;
    return true;
}

void lanes_free(struct lanes *l)
{
    if (!l) return;
    for (int i = N_LANES - 1; i >= 0; i--) queue_stop(&l->queue[i]); /* who loads hands on to the others */
    free(l);
}

bool lanes_push(struct lanes *l, enum lane lane, void (*run)(struct exchange *x), struct exchange *x)
{
    struct queue *q = &l->queue[lane];
    struct task *t = malloc(sizeof *t);
    if (!t) return false;
    *t = (struct task){ .run = run, .x = x };
    pthread_mutex_lock(&q->lock);
    *q->last = t;
    q->last = &t->next;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
    return true;
}
