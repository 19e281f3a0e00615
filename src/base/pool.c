#include "base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/machine.h"
#include "base/mem.h"

/* Rounds of `pause` before a waiting thread sleeps: about 150 us on current cores, several times the gap between
 * two jobs of a decode step. A thread never yields its core instead: beside a busy neighbour that gives a whole slice of milliseconds
 * away, and the core is not given back when the work comes, as it is to one that slept. */
#define SPIN_ROUNDS 4000
/* Rounds after which the owner does the parts of workers that have not begun: a worker that is awake has begun by then. */
#define SPIN_LATE 50

/* What an image may use of the pool after each time that others cut into its work: this share of what they took, at most so long.
 * A share of 0.1 and the changes of hands keep a stream's tokens within 1.5 times their distance (docs/benchmarks.md has the figure). */
#define IMAGE_SHARE 0.1
#define IMAGE_SHARE_MOST 0.05 /* seconds */

/* The jobs of one owner, one at a time. */
struct level {
    void (*fn)(void *arg, int ith, int nth);
    void *arg;
    _Alignas(64) atomic_uint generation; /* counts jobs; workers wait for it to change */
    _Alignas(64) atomic_int remaining;   /* parts of the present job that are not done, but the owner's own */
    _Alignas(64) atomic_int master_sleeps;
};

enum { HOLDER, CUTTER, LEVELS }; /* who acquired the pool, and who cut into its work */

/* The last job whose part i somebody took, on a line of its own. Every job's every part is taken once, so that a thread that comes late
 * to a job finds the number moved on. */
struct part {
    _Alignas(64) atomic_uint taken[LEVELS];
};

struct pool {
    int n_threads;
    pthread_t *thread;
    struct part *part; /* [n_threads] */
    struct level level[LEVELS];
    _Alignas(64) atomic_uint bell;    /* changes with everything that workers wait for */
    _Alignas(64) atomic_int sleepers; /* workers asleep on `bell` */
    _Alignas(64) atomic_int cut_in;   /* 1: the holder's job is to stand still */
    atomic_bool stop;
    _Atomic(const atomic_bool *) given_up; /* the holder's flag, or NULL */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t freed;
    bool held[LEVELS];
    enum pool_lane lane; /* the holder's */
    int waiting[POOL_IMAGE_LOAD + 1];
    double cut_began, next_cut; /* seconds */
};

struct worker {
    struct pool *pool;
    int ith;
    unsigned seen[LEVELS];
};

/* Whose job this thread runs, or owns the pool for; and what it is when it is one of the pool's. */
static _Thread_local int my_level;
static _Thread_local struct worker *my_worker;

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(void *addr, unsigned value)
{
    syscall(SYS_futex, addr, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(void *addr, int n) { syscall(SYS_futex, addr, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

static void ring(struct pool *p)
{
    atomic_fetch_add(&p->bell, 1);
    if (atomic_load(&p->sleepers)) futex_wake(&p->bell, p->n_threads);
}

static bool has_job(const struct worker *w, int level)
{
    return atomic_load_explicit(&w->pool->level[level].generation, memory_order_acquire) != w->seen[level];
}

/* Part i of the level's job number `job`; false when it is taken, perhaps long ago. */
static bool take_part(struct pool *p, int level, int i, unsigned job)
{
    unsigned before = job - 1;
    return atomic_compare_exchange_strong(&p->part[i].taken[level], &before, job);
}

static void serve(struct worker *w, int level)
{
    struct level *l = &w->pool->level[level];
    const int outer = my_level;
    w->seen[level] = atomic_load_explicit(&l->generation, memory_order_acquire);
    if (!take_part(w->pool, level, w->ith, w->seen[level])) return;
    my_level = level;
    l->fn(l->arg, w->ith, w->pool->n_threads);
    my_level = outer;
    if (atomic_fetch_sub(&l->remaining, 1) == 1 && atomic_load(&l->master_sleeps))
        futex_wake(&l->remaining, 1);
}

/* Runs jobs: those of whoever cut in until it is gone, from inside a job of the holder; or all, until the pool stops. */
static void serve_while(struct worker *w, bool cut_in)
{
    struct pool *p = w->pool;
    for (int spins = 0;;) {
        const unsigned bell = atomic_load(&p->bell);
        if (has_job(w, CUTTER)) {
            serve(w, CUTTER);
            spins = 0;
        } else if (cut_in ? !atomic_load(&p->cut_in) : atomic_load(&p->stop)) {
            return;
        } else if (!cut_in && !atomic_load(&p->cut_in) && has_job(w, HOLDER)) {
            serve(w, HOLDER);
            spins = 0;
        } else if (++spins < SPIN_ROUNDS) {
            relax();
        } else {
            atomic_fetch_add(&p->sleepers, 1);
            futex_wait(&p->bell, bell); /* returns at once when it has rung since */
            atomic_fetch_sub(&p->sleepers, 1);
            spins = 0;
        }
    }
}

static void *worker_main(void *arg)
{
    my_worker = arg;
    serve_while(my_worker, false);
    free(my_worker);
    return NULL;
}

bool pool_checkpoint(struct pool *p)
{
    if (my_level != HOLDER) return true;
    if (atomic_load_explicit(&p->cut_in, memory_order_relaxed)) {
        if (my_worker) serve_while(my_worker, true);
        while (!my_worker && atomic_load(&p->cut_in))
            futex_wait(&p->cut_in, 1); /* the owner's own thread: the one that cut in is awake in its place */
    }
    const atomic_bool *flag = atomic_load_explicit(&p->given_up, memory_order_relaxed);
    return !flag || !atomic_load_explicit(flag, memory_order_relaxed);
}

void pool_stop_on(struct pool *p, const atomic_bool *flag) { atomic_store(&p->given_up, flag); }

bool pool_new(struct pool **out, int n_threads, struct err *e)
{
    if (n_threads <= 0) n_threads = machine_processors();
    struct pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for the thread pool");
    *p = (struct pool){ .n_threads = n_threads };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->freed, NULL);
    p->thread = calloc((size_t)n_threads, sizeof *p->thread);
    p->part = mem_aligned((size_t)n_threads, sizeof *p->part, true);
    if (!p->thread || !p->part) {
        free(p->thread);
        mem_free(p->part);
        free(p);
        return err_set(e, ERR_NOMEM, "no memory for %d threads", n_threads);
    }
    for (int i = 1; i < n_threads; i++) {
        struct worker *w = malloc(sizeof *w);
        if (w) *w = (struct worker){ .pool = p, .ith = i };
        if (!w || pthread_create(&p->thread[i], NULL, worker_main, w) != 0) {
            free(w);
            p->n_threads = i;
            pool_free(p);
            return err_set(e, ERR_NOMEM, "cannot start compute thread %d of %d", i + 1, n_threads);
        }
    }
    *out = p;
    return true;
}

void pool_free(struct pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, true);
    ring(p);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->freed);
    free(p->thread);
    mem_free(p->part);
    free(p);
}

int pool_threads(const struct pool *p) { return p->n_threads; }

/* The parts that nobody has begun. */
static void do_late_parts(struct pool *p, struct level *l, unsigned job)
{
    for (int i = 1; i < p->n_threads; i++) {
        if (!take_part(p, my_level, i, job)) continue;
        l->fn(l->arg, i, p->n_threads);
        atomic_fetch_sub(&l->remaining, 1);
    }
}

void pool_run(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg)
{
    if (!pool_checkpoint(p)) return;
    if (p->n_threads == 1) {
        fn(arg, 0, 1);
        return;
    }
    struct level *l = &p->level[my_level];
    l->fn = fn;
    l->arg = arg;
    atomic_store(&l->remaining, p->n_threads - 1);
    const unsigned job = atomic_fetch_add(&l->generation, 1) + 1;
    take_part(p, my_level, 0, job);
    ring(p);
    fn(arg, 0, p->n_threads);
    int spins = 0, left;
    while ((left = atomic_load_explicit(&l->remaining, memory_order_acquire)) != 0) {
        pool_checkpoint(p);
        if (++spins == SPIN_LATE) do_late_parts(p, l, job);
        if (spins < SPIN_ROUNDS) {
            relax();
            continue;
        }
        atomic_store(&l->master_sleeps, 1);
        left = atomic_load(&l->remaining);
        if (left) futex_wait(&l->remaining, (unsigned)left);
        atomic_store(&l->master_sleeps, 0);
        spins = SPIN_LATE;
    }
}

/* ---- owners -------------------------------------------------------------------------------------------------------- */

static bool shorter_waits(const struct pool *p, enum pool_lane lane)
{
    for (int l = 0; l < (int)lane; l++)
        if (p->waiting[l]) return true;
    return false;
}

/* Whether an owner of this lane can have the pool now, and at which level; *until: when it can, 0 if that is not known. */
static bool may_have(const struct pool *p, enum pool_lane lane, int *level, double *until)
{
    *until = 0;
    *level = HOLDER;
    /* An image need not wait for shorter work: that cuts in. */
    if (lane == POOL_IMAGE) return !p->held[HOLDER];
    if (shorter_waits(p, lane)) return false;
    if (!p->held[HOLDER]) return !p->held[CUTTER] && (lane > POOL_IMAGE || !p->waiting[POOL_IMAGE]);
    if (p->lane != POOL_IMAGE || lane > POOL_IMAGE || p->held[CUTTER]) return false;
    *level = CUTTER;
    *until = p->next_cut;
    return clock_seconds() >= p->next_cut;
}

void pool_acquire(struct pool *p, enum pool_lane lane)
{
    int level;
    double until;
    pthread_mutex_lock(&p->lock);
    p->waiting[lane]++;
    while (!may_have(p, lane, &level, &until)) {
        if (until > 0) {
            const struct timespec ts = { (time_t)until, (long)((until - (double)(time_t)until) * 1e9) };
            pthread_cond_clockwait(&p->freed, &p->lock, CLOCK_MONOTONIC, &ts);
        } else {
            pthread_cond_wait(&p->freed, &p->lock);
        }
    }
    p->waiting[lane]--;
    p->held[level] = true;
    if (level == HOLDER) {
        p->lane = lane;
        p->next_cut = 0;
    } else {
        p->cut_began = clock_seconds();
        atomic_store(&p->cut_in, 1);
    }
    pthread_cond_broadcast(&p->freed); /* those who may cut into what now runs */
    pthread_mutex_unlock(&p->lock);
    my_level = level;
}

void pool_release(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    if (my_level == CUTTER) {
        const double now = clock_seconds(), share = IMAGE_SHARE * (now - p->cut_began);
        p->next_cut = now + (share < IMAGE_SHARE_MOST ? share : IMAGE_SHARE_MOST);
        atomic_store(&p->cut_in, 0);
        futex_wake(&p->cut_in, 1);
        ring(p);
    }
    if (my_level == HOLDER) atomic_store(&p->given_up, NULL);
    p->held[my_level] = false;
    my_level = HOLDER;
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
}

void pool_offer(struct pool *p, enum pool_lane lane)
{
    pthread_mutex_lock(&p->lock);
    const bool wanted = shorter_waits(p, lane);
    pthread_mutex_unlock(&p->lock);
    if (!wanted) return;
    pool_release(p);
    pool_acquire(p, lane);
}
