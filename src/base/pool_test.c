/* The pool: every part of a job is done once, absent threads hold nobody up, lanes go before each other, and short work cuts into an image's. */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

enum { THREADS = 3 };

static struct pool *pool_of(int n)
{
    struct pool *p;
    struct err e;
    if (!pool_new(&p, n, &e)) fail_msg("%s", e.msg);
    return p;
}

/* Jobs one after the other: in each, every part must see that all have done the one before. */
struct phases {
    int phase;
    atomic_int done[4], wrong, runs[THREADS];
};

static void phases_part(void *arg, int ith, int nth)
{
    struct phases *j = arg;
    atomic_fetch_add(&j->runs[ith], 1);
    if (j->phase > 0 && atomic_load(&j->done[j->phase - 1]) != nth) atomic_fetch_add(&j->wrong, 1);
    atomic_fetch_add(&j->done[j->phase], 1);
}

static void run_phases(struct pool *p, int n_threads)
{
    struct phases j = { 0 };
    for (; j.phase < 4; j.phase++) {
        pool_run(p, phases_part, &j);
        assert_int_equal(j.done[j.phase], n_threads);
    }
    assert_int_equal(j.wrong, 0);
    for (int i = 0; i < THREADS; i++) assert_int_equal(j.runs[i], i < n_threads ? 4 : 0);
}

static void test_every_part_once(void **state)
{
    (void)state;
    for (int n = 1; n <= THREADS; n++) {
        struct pool *p = pool_of(n);
        assert_int_equal(pool_threads(p), n);
        pool_acquire(p, POOL_DECODE);
        for (int i = 0; i < 2000; i++) run_phases(p, n);
        pool_release(p);
        pool_free(p);
    }
}

/* A picture that is being drawn until all text is through. */
struct drawing {
    struct pool *pool;
    atomic_int text_left, holding;
    atomic_int together; /* how often a thread drew while it ran a text's job */
};

static _Thread_local bool in_text;

static void drawing_part(void *arg, int ith, int nth)
{
    (void)ith, (void)nth;
    struct drawing *j = arg;
    atomic_fetch_add(&j->holding, 1);
    while (atomic_load(&j->text_left)) {
        pool_checkpoint(j->pool);
        if (in_text) atomic_fetch_add(&j->together, 1);
    }
}

static void *draw(void *arg)
{
    struct drawing *j = arg;
    pool_acquire(j->pool, POOL_IMAGE);
    pool_run(j->pool, drawing_part, j);
    pool_release(j->pool);
    return NULL;
}

struct text {
    struct drawing *drawing;
    enum pool_lane lane;
    int steps;
};

static void text_part(void *arg, int ith, int nth)
{
    (void)ith, (void)nth;
    struct drawing *j = arg;
    in_text = true;
    for (int i = 0; i < 100; i++)
        pool_checkpoint(j->pool); /* a text's own: must not lead back to the drawing */
    in_text = false;
}

static void *write_text(void *arg)
{
    struct text *t = arg;
    for (int i = 0; i < t->steps; i++) {
        pool_acquire(t->drawing->pool, t->lane);
        for (int k = 0; k < 5; k++) pool_run(t->drawing->pool, text_part, t->drawing);
        run_phases(t->drawing->pool, pool_threads(t->drawing->pool));
        pool_release(t->drawing->pool);
        atomic_fetch_sub(&t->drawing->text_left, 1);
    }
    return NULL;
}

/* The drawing ends only after the text, so text that had to wait for it would never end. */
static void test_text_cuts_into_a_drawing(void **state)
{
    (void)state;
    for (int n = 1; n <= THREADS; n++) {
        struct drawing j = { .pool = pool_of(n), .text_left = 300 };
        struct text text[3] = { { &j, POOL_DECODE, 100 }, { &j, POOL_PREFILL, 100 }, { &j, POOL_LOAD, 100 } };
        pthread_t drawer, writer[3];
        assert_int_equal(pthread_create(&drawer, NULL, draw, &j), 0);
        while (atomic_load(&j.holding) < 1) continue; /* the others may come late */
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&writer[i], NULL, write_text, &text[i]), 0);
        for (int i = 0; i < 3; i++) pthread_join(writer[i], NULL);
        pthread_join(drawer, NULL);
        assert_int_equal(j.text_left, 0);
        assert_int_equal(j.together, 0);
        pool_free(j.pool);
    }
}

/* Threads that are elsewhere, here in long parts of a drawing that never look whether text waits, hold no text up: the one who runs a job
 * does their parts too. */
struct stuck {
    struct pool *pool;
    sem_t go_on, written;
    atomic_int inside;
};

static void stuck_part(void *arg, int ith, int nth)
{
    (void)ith, (void)nth;
    struct stuck *j = arg;
    atomic_fetch_add(&j->inside, 1);
    while (sem_wait(&j->go_on) != 0) continue;
}

static void *draw_stuck(void *arg)
{
    struct stuck *j = arg;
    pool_acquire(j->pool, POOL_IMAGE);
    pool_run(j->pool, stuck_part, j);
    pool_release(j->pool);
    return NULL;
}

static void *write_meanwhile(void *arg)
{
    struct stuck *j = arg;
    pool_acquire(j->pool, POOL_DECODE);
    for (int i = 0; i < 100; i++) run_phases(j->pool, THREADS);
    pool_release(j->pool);
    sem_post(&j->written);
    return NULL;
}

static void test_absent_threads_hold_nobody_up(void **state)
{
    (void)state;
    struct stuck j = { .pool = pool_of(THREADS) };
    pthread_t drawer, writer;
    struct timespec limit;
    sem_init(&j.go_on, 0, 0);
    sem_init(&j.written, 0, 0);
    assert_int_equal(pthread_create(&drawer, NULL, draw_stuck, &j), 0);
    while (atomic_load(&j.inside) < 1) sched_yield();
    assert_int_equal(pthread_create(&writer, NULL, write_meanwhile, &j), 0);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 120; /* the test fails instead of never ending */
    int late;
    while ((late = sem_timedwait(&j.written, &limit)) != 0 && errno == EINTR) continue;
    for (int i = 0; i < THREADS; i++) sem_post(&j.go_on);
    pthread_join(writer, NULL);
    pthread_join(drawer, NULL);
    assert_int_equal(late, 0);
    assert_int_equal(j.inside, THREADS);
    pool_free(j.pool);
    sem_destroy(&j.go_on);
    sem_destroy(&j.written);
}

/* Owners of every lane in turn, none together: what they count without a lock adds up. */
struct counting {
    struct pool *pool;
    enum pool_lane lane;
    int64_t *count;
};

static void *count(void *arg)
{
    struct counting *c = arg;
    for (int i = 0; i < 2000; i++) {
        pool_acquire(c->pool, c->lane);
        ++*c->count;
        pool_offer(c->pool, c->lane);
        ++*c->count;
        pool_release(c->pool);
    }
    return NULL;
}

static void test_one_owner_at_a_time(void **state)
{
    (void)state;
    static const enum pool_lane lanes[] = { POOL_DECODE, POOL_DECODE, POOL_PREFILL, POOL_LOAD,
                                            POOL_IMAGE_LOAD };
    enum { N = sizeof lanes / sizeof *lanes };
    struct pool *p = pool_of(2);
    struct counting c[N];
    pthread_t thread[N];
    int64_t total = 0;
    for (int i = 0; i < N; i++) {
        c[i] = (struct counting){ p, lanes[i], &total };
        assert_int_equal(pthread_create(&thread[i], NULL, count, &c[i]), 0);
    }
    for (int i = 0; i < N; i++) pthread_join(thread[i], NULL);
    assert_int_equal(total, N * 4000);
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_once),
        cmocka_unit_test(test_text_cuts_into_a_drawing),
        cmocka_unit_test(test_absent_threads_hold_nobody_up),
        cmocka_unit_test(test_one_owner_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
