/* test_engine.h - the engine through its door, for tests: a model with a device of its own, requests, and all that a client could see. */
#ifndef HEARTH_LM_TEST_ENGINE_H
#define HEARTH_LM_TEST_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/rng.h"
#include "lm/lm.h"

struct engine {
    struct pool *pool;
    struct device *dev;
    struct lm *lm;
};

static inline void start_model(struct engine *g, const char *path, int n_threads, const struct lm_options *o)
{
    struct err e = { 0 };
    if (!pool_new(&g->pool, n_threads, &e) || !device_cpu_open(&g->dev, g->pool, ~0u, &e))
        fail_msg("%s", e.msg);
    if (!lm_load(&g->lm, path, o, g->dev, &e)) fail_msg("%s", e.msg);
}

static inline void stop(struct engine *g)
{
    lm_free(g->lm);
    device_close(g->dev);
    pool_free(g->pool);
}

static inline struct lm_request request(const int32_t *prompt, int n, int max_tokens)
{
    return (struct lm_request){ .prompt = { .ids = prompt, .n = (size_t)n, .max_tokens = max_tokens },
                                .n = 1,
                                .ignore_end = true,
                                .sampling = { .temperature = 0.9f,
                                              .top_p = 0.95f,
                                              .typical_p = 1,
                                              .repetition_penalty = 1,
                                              .seed = 42,
                                              .n_top_logprobs = 3 } };
}

static inline void prompt_of(int32_t *ids, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++) ids[i] = (int32_t)(philox_uniform(seed, 5, (uint64_t)i) * 256);
}

static inline struct lm_job *submit(struct engine *g, const struct lm_request *r)
{
    struct err e = { 0 };
    struct lm_job *j;
    if (!lm_submit(g->lm, r, NULL, NULL, &j, &e)) fail_msg("%s", e.msg);
    return j;
}

/* Everything a client could see of choice c, in one string; frees the job when asked. */
struct seen {
    struct buf out[8];
    int ends, done, n_tokens;
    enum lm_finish finish[8];
    struct lm_usage usage;
    struct err error;
};

static inline void collect(struct lm_job *j, struct seen *s)
{
    struct lm_event ev;
    memset(s, 0, sizeof *s);
    while (lm_wait(j, &ev)) {
        struct buf *b = &s->out[ev.choice];
        if (ev.type == LM_EV_TEXT) {
            buf_append(b, ev.text, ev.len);
            for (int i = 0; i < ev.n_tokens; i++) {
                const struct lm_token *t = &ev.tokens[i];
                buf_printf(b, "[%d %a %zu+%zu", t->id, (double)t->pick.logprob, t->text_offset, t->text_len);
                for (int k = 0; k < t->pick.n_top; k++)
                    buf_printf(b, " %d:%a", t->pick.top[k].id, (double)t->pick.top[k].logprob);
                buf_puts(b, "]");
            }
            s->n_tokens += ev.n_tokens;
        } else if (ev.type == LM_EV_CHOICE_END) {
            s->ends++;
            s->finish[ev.choice] = ev.finish;
        } else {
            s->done++;
            s->usage = ev.usage;
            s->error = ev.error;
        }
        lm_event_free(&ev);
    }
    assert_int_equal(s->done, 1);
    lm_job_free(j);
}

/* The counters once nothing runs: they are published after a step's events. */
static inline struct lm_stats stats_at_rest(struct engine *g)
{
    struct lm_stats st;
    for (int i = 0; i < 6000; i++) {
        lm_stats(g->lm, &st);
        if (st.requests > 0 && st.running == 0 && st.waiting == 0) return st;
        usleep(10000);
    }
    fail_msg("something still runs");
    return st;
}

static inline void seen_free(struct seen *s)
{
    for (int i = 0; i < 8; i++) buf_free(&s->out[i]);
}

#endif
