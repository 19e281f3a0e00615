#include "base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rounds of `pause` before a waiting thread sleeps: about 50 us on current cores, several times the gap between
 * two jobs of a decode step. With more runnable threads than cores spinning steals the core that the other side
 * needs, so after SPIN_YIELD rounds each round also yields. */
#define SPIN_ROUNDS 4000
#define SPIN_YIELD 1000

struct pool {
    int n_threads;
    pthread_t *thread;

    void (*fn)(void *arg, int ith, int nth);
    void *arg;

    _Alignas(64) atomic_uint generation; /* counts jobs; workers wait for it to change */
    _Alignas(64) atomic_int remaining;   /* workers still inside the present job */
    _Alignas(64) atomic_int sleepers;    /* workers asleep on `generation` */
    _Alignas(64) atomic_int master_sleeps;
    _Alignas(64) atomic_int barrier_count;
    _Alignas(64) atomic_uint barrier_phase;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t freed;
    bool held;
    int waiting[POOL_LOAD + 1];
};

struct worker {
    struct pool *pool;
    int ith;
};

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

static void *worker_main(void *arg)
{
    struct worker w = *(struct worker *)arg;
    free(arg);
    struct pool *p = w.pool;
    unsigned seen = 0;
    for (;;) {
        int spins = 0;
        while (atomic_load_explicit(&p->generation, memory_order_acquire) == seen) {
            if (++spins < SPIN_ROUNDS) {
                relax();
                if (spins > SPIN_YIELD) sched_yield();
                continue;
            }
            atomic_fetch_add(&p->sleepers, 1);
            if (atomic_load(&p->generation) == seen) futex_wait(&p->generation, seen);
            atomic_fetch_sub(&p->sleepers, 1);
            spins = 0;
        }
        seen++;
        if (atomic_load(&p->stop)) return NULL;
        p->fn(p->arg, w.ith, p->n_threads);
        if (atomic_fetch_sub(&p->remaining, 1) == 1 && atomic_load(&p->master_sleeps))
            futex_wake(&p->remaining, 1);
    }
}

bool pool_new(struct pool **out, int n_threads, struct err *e)
{
    if (n_threads <= 0) {
        cpu_set_t set;
        n_threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    }
    struct pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for the thread pool");
    *p = (struct pool){ .n_threads = n_threads };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->freed, NULL);
    p->thread = calloc((size_t)n_threads, sizeof *p->thread);
    if (!p->thread) {
        free(p);
        return err_set(e, ERR_NOMEM, "no memory for %d threads", n_threads);
    }
    for (int i = 1; i < n_threads; i++) {
        struct worker *w = malloc(sizeof *w);
        if (w) *w = (struct worker){ p, i };
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
    atomic_fetch_add(&p->generation, 1);
    futex_wake(&p->generation, p->n_threads);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->freed);
    free(p->thread);
    free(p);
}

int pool_threads(const struct pool *p) { return p->n_threads; }

void pool_run(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg)
{
    if (p->n_threads == 1) {
        fn(arg, 0, 1);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    atomic_store(&p->remaining, p->n_threads - 1);
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->sleepers)) futex_wake(&p->generation, p->n_threads);
    fn(arg, 0, p->n_threads);
    int spins = 0, left;
    while ((left = atomic_load_explicit(&p->remaining, memory_order_acquire)) != 0) {
        if (++spins < SPIN_ROUNDS) {
            relax();
            if (spins > SPIN_YIELD) sched_yield();
            continue;
        }
        atomic_store(&p->master_sleeps, 1);
        left = atomic_load(&p->remaining);
        if (left) futex_wait(&p->remaining, (unsigned)left);
        atomic_store(&p->master_sleeps, 0);
        spins = 0;
    }
}

void pool_barrier(struct pool *p, int ith)
{
    (void)ith;
    if (p->n_threads == 1) return;
    unsigned phase = atomic_load(&p->barrier_phase);
    if (atomic_fetch_add(&p->barrier_count, 1) + 1 == p->n_threads) {
        atomic_store(&p->barrier_count, 0);
        atomic_fetch_add(&p->barrier_phase, 1);
        return;
    }
    int spins = 0;
    while (atomic_load_explicit(&p->barrier_phase, memory_order_acquire) == phase) {
        relax();
        if (++spins > SPIN_YIELD) sched_yield();
    }
}

void pool_acquire(struct pool *p, enum pool_lane lane)
{
    pthread_mutex_lock(&p->lock);
    p->waiting[lane]++;
    for (;;) {
        bool shorter_waits = false;
        for (int l = 0; l < (int)lane; l++) shorter_waits |= p->waiting[l] > 0;
        if (!p->held && !shorter_waits) break;
        pthread_cond_wait(&p->freed, &p->lock);
    }
    p->waiting[lane]--;
    p->held = true;
    pthread_mutex_unlock(&p->lock);
}

void pool_release(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->held = false;
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
}

void pool_offer(struct pool *p, enum pool_lane lane)
{
    pthread_mutex_lock(&p->lock);
    bool shorter_waits = false;
    for (int l = 0; l < (int)lane; l++) shorter_waits |= p->waiting[l] > 0;
    pthread_mutex_unlock(&p->lock);
    if (!shorter_waits) return;
    pool_release(p);
    pool_acquire(p, lane);
}
