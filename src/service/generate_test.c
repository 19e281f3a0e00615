/* generate_test.c - a generation's replies and what it tells its ending, on a tiny random model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pool.h"
#include "service/ending.h"
#include "service/generate.h"

struct place {
    struct pool *pool;
    struct device *dev;
    struct catalog *catalog;
    struct registry *registry;
    struct model *model;
};

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct err e = { 0 };
    const struct registry_options o = { .models_dir = "tests/golden/none",
                                        .lm = { .max_batch = 4, .queue_limit = 5 } };
    if (!p || !pool_new(&p->pool, 2, &e) || !device_cpu_open(&p->dev, p->pool, ~0U, &e) ||
        !catalog_load(&p->catalog, NULL, &e) ||
        !registry_new(&p->registry, &o, p->catalog, p->dev, p->dev, &e) ||
        !registry_add(p->registry, "tests/golden/lm/chat", &p->model, &e))
        fail_msg("%s", e.msg);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    struct place *p = *state;
    registry_free(p->registry);
    catalog_free(p->catalog);
    device_close(p->dev);
    pool_free(p->pool);
    free(p);
    return 0;
}

/* ---- what is asked and told ----------------------------------------------------------------------------------------- */

struct told {
    atomic_int n;
    struct usage usage;
};

static void tell(void *arg, const struct ending *e)
{
    struct told *t = arg;
    t->usage = e->usage;
    atomic_fetch_add(&t->n, 1);
}

static void nothing(void *arg) { (void)arg; }

static struct gen_request prompts(int n, int max_tokens)
{
    struct gen_request q;
    gen_request_init(&q);
    q.prompts = calloc((size_t)n, sizeof *q.prompts);
    q.n_prompts = n;
    for (int i = 0; i < n; i++) q.prompts[i] = (struct prompt){ .text = strdup("one two three"), .len = 13 };
    q.max_tokens = max_tokens;
    q.ignore_end = true;
    q.has_seed = true;
    return q;
}

static struct generation *start(struct place *p, const struct gen_request *q)
{
    struct generation *g;
    struct fault f = { 0 };
    if (!generation_start(p->registry, p->model, q, NULL, nothing, NULL, &g, &f)) fail_msg("%s", f.err.msg);
    return g;
}

static void next(struct generation *g, struct reply_event *ev)
{
    while (!generation_next(g, ev)) usleep(500);
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

/* The last event and the ending say the same, of several prompts with choices that are left out. */
static void test_whole(void **state)
{
    struct place *p = *state;
    struct told told = { 0 };
    struct ending_sinks sinks = { .v = { { tell, &told } }, .n = 1 };
    struct gen_request q = prompts(3, 5);
    q.n = 2;
    q.best_of = 3;
    struct ending *e = q.ending = ending_open(&sinks, &(struct identity){ .endpoint = "test" }, "/");
    struct generation *g = start(p, &q);
    struct reply_event ev;
    int ends = 0;
    for (enum reply_type type = REPLY_TEXT; type != REPLY_DONE;) {
        next(g, &ev);
        type = ev.type;
        assert_true(type == REPLY_TEXT || type == REPLY_CHOICE_END || type == REPLY_DONE);
        assert_in_range(ev.index, 0, 5);
        ends += type == REPLY_CHOICE_END;
        if (type == REPLY_CHOICE_END) assert_int_equal(ev.finish, REPLY_LENGTH);
        reply_event_free(&ev);
    }
    assert_false(generation_next(g, &ev));
    assert_int_equal(ends, 6);
    assert_int_equal(ev.usage.completion_tokens, 3 * 3 * 5);
    assert_int_equal(told.n, 0); /* the connection still holds it */
    ending_let_go(e);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.usage.completion_tokens, 3 * 3 * 5);
    assert_int_equal(told.usage.prompt_tokens, ev.usage.prompt_tokens);
    generation_free(g);
    gen_request_free(&q);
}

/* Nobody takes the events any more: the ending comes when the engine has stopped, with what it had made. */
static void test_left(void **state)
{
    struct place *p = *state;
    struct told told = { 0 };
    struct ending_sinks sinks = { .v = { { tell, &told } }, .n = 1 };
    struct gen_request q = prompts(1, 4000);
    q.n = q.best_of = 3;
    struct ending *e = q.ending = ending_open(&sinks, &(struct identity){ .endpoint = "test" }, "/");
    struct generation *g = start(p, &q);
    struct reply_event ev;
    next(g, &ev);
    assert_int_equal(ev.type, REPLY_TEXT);
    reply_event_free(&ev);
    generation_free(g);
    ending_let_go(e);
    while (atomic_load(&sinks.open)) usleep(500);
    assert_int_equal(told.n, 1);
    assert_in_range(told.usage.completion_tokens, 1, 3 * 4000 - 1);
    gen_request_free(&q);
}

/* A queue that is full keeps nothing of who was sent away, and says when to come again. */
static void test_refused(void **state)
{
    struct place *p = *state;
    struct told told = { 0 };
    struct ending_sinks sinks = { .v = { { tell, &told } }, .n = 1 };
    struct gen_request q = prompts(1, 4000), more = prompts(3, 4);
    q.n = q.best_of = 4;
    more.n = more.best_of = 2;
    struct generation *running = start(p, &q), *none = NULL;
    struct reply_event ev;
    next(running, &ev);
    reply_event_free(&ev);
    struct fault f = { 0 };
    struct ending *e = more.ending = ending_open(&sinks, &(struct identity){ .endpoint = "test" }, "/");
    assert_false(generation_start(p->registry, p->model, &more, NULL, nothing, NULL, &none, &f));
    assert_int_equal(f.err.code, ERR_BUSY);
    assert_in_range(f.retry_after_s, 1, 60);
    assert_int_equal(told.n, 0);
    ending_let_go(e);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.usage.prompt_tokens, 0);
    generation_free(running);
    gen_request_free(&q);
    gen_request_free(&more);
}

static void test_when_to_come_again(void **state)
{
    (void)state;
    struct lm_stats s = {
        .requests = 10, .completion_tokens = 1000, .steps = 500, .step_seconds = 50, .running = 4
    };
    assert_int_equal(generation_retry_s(&s), 3); /* 100 tokens of 0.1 s, one of four ends after 2.5 s */
    s.running = 1;
    assert_int_equal(generation_retry_s(&s), 10);
    s.step_seconds = 5000;
    assert_int_equal(generation_retry_s(&s), 60);
    s.step_seconds = 1e-3;
    assert_int_equal(generation_retry_s(&s), 1);
    assert_int_equal(generation_retry_s(&(struct lm_stats){ 0 }), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_when_to_come_again),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}
