/* drawing_test.c - a drawing from its request to its end, and one whose thread cannot be had. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "service/drawing.h"
#include "service/ending.h"

/* ---- a system without threads ------------------------------------------------------------------------------ */

static atomic_bool no_threads;

/* In the place of the system's for the whole program. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (atomic_load(&no_threads)) return EAGAIN;
    void *found = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&real, &found, sizeof real);
    return real(thread, attr, run, arg);
}

/* ---- a folder with one image model ------------------------------------------------------------------------- */

struct place {
    struct pool *pool;
    struct device *dev;
    struct catalog *catalog;
    struct registry *registry;
    struct safety *safety;
    struct model *model;
};

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct err e = { 0 };
    const struct registry_options o = { .models_dir = "tests/golden/none" };
    if (!p || !pool_new(&p->pool, 2, &e) || !device_cpu_open(&p->dev, p->pool, ~0U, &e) ||
        !catalog_load(&p->catalog, NULL, &e) ||
        !registry_new(&p->registry, &o, p->catalog, p->dev, p->dev, &e) ||
        !registry_add(p->registry, "tests/golden/pipelines/sdxl", &p->model, &e) ||
        !safety_load(&p->safety, NULL, p->dev, &e))
        fail_msg("%s", e.msg);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    struct place *p = *state;
    registry_free(p->registry); /* waits for drawings that were left */
    safety_free(p->safety);
    catalog_free(p->catalog);
    device_close(p->dev);
    pool_free(p->pool);
    free(p);
    return 0;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rang;
    int n;
};

static void ring(void *arg)
{
    struct bell *b = arg;
    pthread_mutex_lock(&b->lock);
    b->n++;
    pthread_cond_broadcast(&b->rang);
    pthread_mutex_unlock(&b->lock);
}

/* Outside the bell's lock: notices come under the drawing's. */
static void next_event(struct drawing *d, struct bell *b, struct reply_event *ev)
{
    while (!drawing_next(d, ev)) {
        pthread_mutex_lock(&b->lock);
        while (!b->n) pthread_cond_wait(&b->rang, &b->lock);
        b->n = 0;
        pthread_mutex_unlock(&b->lock);
    }
}

static struct picture_request two_small_ones(void)
{
    struct picture_request q;
    picture_request_init(&q);
    q.prompt = strdup("a red square");
    q.width = q.height = 32;
    q.n = 2;
    q.steps = 2;
    q.has_seed = true;
    q.seed = 7;
    return q;
}

static void test_events(void **state)
{
    struct place *p = *state;
    struct bell b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct picture_request q = two_small_ones();
    struct reply_event ev = { 0 };
    struct fault f = { 0 };
    struct drawing *d;
    if (!drawing_start(p->registry, p->model, p->safety, &q, ring, &b, &d, &f)) fail_msg("%s", f.err.msg);
    picture_request_free(&q);
    int steps = 0, pictures = 0;
    while (ev.type != REPLY_DONE) {
        next_event(d, &b, &ev);
        if (ev.type == REPLY_ERROR) fail_msg("%s", ev.error.msg);
        if (ev.type == REPLY_PROGRESS) assert_int_equal(ev.picture.steps, 2), steps++;
        if (ev.type == REPLY_PICTURE) {
            assert_int_equal(ev.index, pictures);
            assert_int_equal(ev.picture.seed, 7 + pictures++);
            assert_int_equal(ev.picture.width, 32);
            assert_memory_equal(ev.picture.bytes, "\x89PNG", 4);
        }
        reply_event_free(&ev);
    }
    assert_int_equal(steps, 4);
    assert_int_equal(pictures, 2);
    assert_int_equal(ev.usage.steps, 4);
    assert_int_equal(ev.usage.pictures, 2);
    assert_int_equal(ev.usage.pixels, 2 * 32 * 32);
    assert_true(ev.usage.total_s >= ev.usage.queue_s && ev.usage.queue_s >= 0);
    drawing_free(d);
}

/* Refused as the engine refuses it, under the name of the field. */
static void test_refused(void **state)
{
    struct place *p = *state;
    struct bell b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct picture_request q = two_small_ones();
    struct fault f = { 0 };
    struct drawing *d = NULL;
    q.sampler = strdup("flow_euler");
    assert_false(drawing_start(p->registry, p->model, p->safety, &q, ring, &b, &d, &f));
    assert_string_equal(f.param, "sampler");
    assert_null(d);
    picture_request_free(&q);
}

/* The job that was queued for it goes, its owner has nothing to free, and the next one is drawn. */
static void test_no_thread(void **state)
{
    struct place *p = *state;
    struct bell b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct picture_request q = two_small_ones();
    struct fault f = { 0 };
    struct drawing *d = NULL;
    struct image_model *loaded; /* or its worker's thread would be the one that fails */
    assert_true(registry_acquire_image(p->registry, p->model, &loaded, &f.err));
    atomic_store(&no_threads, true);
    bool ok = drawing_start(p->registry, p->model, p->safety, &q, ring, &b, &d, &f);
    atomic_store(&no_threads, false);
    assert_false(ok);
    assert_int_equal(f.err.code, ERR_NOMEM);
    assert_null(d);
    assert_int_equal(b.n, 0);
    registry_release(p->registry, p->model);
    picture_request_free(&q);
    test_events(state);
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

struct told { /* by the sink */
    pthread_mutex_t lock;
    pthread_cond_t rang;
    int n;
    struct usage usage;
};

static void note_ending(void *arg, const struct ending *e)
{
    struct told *t = arg;
    pthread_mutex_lock(&t->lock);
    t->n++;
    t->usage = e->usage;
    pthread_cond_broadcast(&t->rang);
    pthread_mutex_unlock(&t->lock);
}

/* Of a client that leaves after the first of a thousand steps, and of one that leaves when all is done: the ending comes once, with what
 * was used until the cancel took effect. */
static void test_left(void **state)
{
    struct place *p = *state;
    struct told told = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, { 0 } };
    struct ending_sinks sinks = { .v = { { note_ending, &told } }, .n = 1 };
    const struct identity of = { .id = "one" };
    for (int early = 0; early < 2; early++) {
        struct bell b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
        struct picture_request q = two_small_ones();
        struct ending *e = q.ending = ending_open(&sinks, &of, "/");
        struct reply_event ev = { 0 };
        struct fault f = { 0 };
        struct drawing *d;
        if (early) q.steps = 1000;
        if (!drawing_start(p->registry, p->model, p->safety, &q, ring, &b, &d, &f)) fail_msg("%s", f.err.msg);
        picture_request_free(&q);
        do {
            reply_event_free(&ev);
            next_event(d, &b, &ev);
        } while (ev.type != (early ? REPLY_PROGRESS : REPLY_DONE));
        reply_event_free(&ev);
        drawing_free(d);
        ending_let_go(e);
        pthread_mutex_lock(&told.lock);
        while (told.n == early) pthread_cond_wait(&told.rang, &told.lock);
        pthread_mutex_unlock(&told.lock);
        assert_int_equal(told.n, early + 1);
        assert_int_equal(told.usage.pictures, early ? 0 : 2);
        assert_int_equal(told.usage.pixels, early ? 0 : 2 * 32 * 32);
        if (early)
            assert_in_range(told.usage.steps, 1, 1999);
        else
            assert_int_equal(told.usage.steps, 4);
    }
    while (atomic_load(&sinks.open)) sched_yield();
}

/* ---- a full queue ------------------------------------------------------------------------------------------ */

static void test_full_queue(void **state)
{
    enum { MOST = 100 };
    struct place *p = *state;
    struct bell b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct drawing *d[MOST];
    struct picture_request q = two_small_ones();
    struct fault f = { 0 };
    int n = 0;
    q.steps = 1000;
    while (n < MOST && drawing_start(p->registry, p->model, p->safety, &q, ring, &b, &d[n], &f)) n++;
    picture_request_free(&q);
    assert_in_range(n, 64, MOST - 1);
    assert_int_equal(f.err.code, ERR_BUSY);
    assert_in_range(f.retry_after_s, 1, 60);
    while (n) drawing_free(d[--n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events), cmocka_unit_test(test_refused),    cmocka_unit_test(test_no_thread),
        cmocka_unit_test(test_left),   cmocka_unit_test(test_full_queue),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}
