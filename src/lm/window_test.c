/* The engine through its door, with layers that see a window or a chunk: what is given back and shared does not show. */
#include "lm/test_engine.h"

#include <stdlib.h>

struct model {
    const char *path;
    int pages;      /* a sequence of 500 tokens takes, and one of each group for the copy of a shared page */
    int few, fewer; /* so many that eight sequences of 256 tokens set each other back */
};

/* Six layers, of which five see 40 tokens. At 32 rows a step at most four pages of each of those, and 16 of the one that sees all. */
static struct model windowed = { "tests/golden/lm/gemma3_chat/model.safetensors", 16 + 5 * 4 + 6, 60, 45 };
/* Eight layers in groups of two, of which three see chunks of 48 tokens. */
static struct model chunked = { "tests/golden/lm/llama4_chat/model.safetensors", 16 + 3 * 4 + 4, 40, 34 };

static size_t page_bytes(const struct engine *g)
{
    struct lm_stats st;
    lm_stats(g->lm, &st);
    return lm_info(g->lm)->kv_bytes / (size_t)st.kv_pages_total;
}

/* What a request answers in an engine of its own. */
static char *answer_alone(const struct model *m, const struct lm_request *r, const struct lm_options *o,
                          size_t *page)
{
    struct engine g;
    struct seen s;
    start_model(&g, m->path, 1, o);
    if (page) *page = page_bytes(&g);
    collect(submit(&g, r), &s);
    assert_int_equal(s.usage.cached_tokens, 0);
    char *text = strdup(s.out[0].data);
    seen_free(&s);
    stop(&g);
    return text;
}

/* Sequences that part from each other at several places, whose pages behind the window are given back, that are set back when pages run out
 * and start from what the tree has kept: each answers as alone. */
static void test_windows_do_not_show(void **state)
{
    const struct model *m = *state;
    enum { ALL = 9 };
    static const int from[ALL] = {
        0, 0, 0, 0, 33, 64, 90, 120, 120
    }; /* where prompt k parts from the first */
    int32_t prompt[ALL][150];
    struct lm_request r[ALL];
    char *alone[ALL];
    size_t page;
    for (int k = 0; k < ALL; k++) {
        prompt_of(prompt[k], 150, 80 + (uint64_t)k);
        memcpy(prompt[k], prompt[0], (size_t)from[k] * sizeof prompt[k][0]);
        const bool grows = k >= 1 && k <= 4; /* from a page of each layer to what can be seen of 240 tokens */
        r[k] = grows ? request(prompt[k], 25 + 5 * k, 200) : request(prompt[k], 150 - 3 * k, 60 + 5 * k);
        alone[k] = answer_alone(m, &r[k], &(struct lm_options){ .n_ctx = 256, .prefill_chunk = 256 }, &page);
    }
    const struct {
        int chunk, pages;
        bool scarce;
    } way[] = { { 256, 1000, false }, { 16, 1000, false }, { 32, m->few, true }, { 37, m->fewer, true } };
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        struct engine g;
        const struct lm_options o = { .n_ctx = 256,
                                      .max_batch = 8,
                                      .prefill_chunk = way[i].chunk,
                                      .kv_bytes = (size_t)way[i].pages * page };
        start_model(&g, m->path, 2, &o);
        int cached = 0;
        uint64_t set_back = 0; /* it depends on when requests come: they come again until it happens */
        for (int again = 0; again < 3 || (way[i].scarce && !set_back && again < 30); again++) {
            struct lm_job *job[ALL];
            for (int k = 0; k < ALL; k++) job[k] = submit(&g, &r[k]);
            for (int k = 0; k < ALL; k++) {
                struct seen s;
                collect(job[k], &s);
                assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
                if (strcmp(s.out[0].data, alone[k]) != 0)
                    fail_msg("chunk %d, %d pages, round %d: prompt %d answers otherwise than alone",
                             way[i].chunk, way[i].pages, again, k);
                cached += s.usage.cached_tokens;
                seen_free(&s);
            }
            set_back = stats_at_rest(&g).preemptions;
        }
        const struct lm_stats st = stats_at_rest(&g);
        assert_int_equal(st.kv_pages_total, way[i].pages);
        print_message("%d pages: %d of %d prompt tokens known, %llu preemptions\n", way[i].pages, cached,
                      (int)st.prompt_tokens, (unsigned long long)st.preemptions);
        assert_true(cached > 0);
        assert_int_equal(st.preemptions > 0, way[i].scarce);
        stop(&g);
    }
    for (int k = 0; k < ALL; k++) free(alone[k]);
}

/* The next turn of a conversation starts where the last one ended, however long it is by then. */
static void test_a_conversation_behind_its_window(void **state)
{
    const struct model *m = *state;
    struct engine g;
    struct seen s;
    int32_t turn[480];
    const struct lm_options o = { .n_ctx = 512, .prefill_chunk = 64 };
    prompt_of(turn, 480, 31);
    start_model(&g, m->path, 1, &o);
    for (int n = 60; n <= 480; n += 60) {
        struct lm_request r = request(turn, n, 4);
        collect(submit(&g, &r), &s);
        assert_int_equal(s.usage.cached_tokens, n - 60);
        char *alone = answer_alone(m, &r, &o, NULL);
        assert_string_equal(s.out[0].data, alone);
        free(alone);
        seen_free(&s);
    }
    stop(&g);
}

/* 500 tokens in all. If all layers saw all, they would take 16 pages of each group. */
static void test_layers_take_what_they_see(void **state)
{
    const struct model *m = *state;
    struct engine g;
    struct seen s;
    int32_t prompt[440];
    size_t page;
    struct lm_options o = { .n_ctx = 512, .prefill_chunk = 32, .max_batch = 2 };
    prompt_of(prompt, 440, 33);
    struct lm_request r = request(prompt, 440, 60);
    char *alone = answer_alone(m, &r, &o, &page);
    o.kv_bytes = (size_t)m->pages * page;
    start_model(&g, m->path, 1, &o);
    for (int i = 0; i < 2; i++) {
        collect(submit(&g, &r), &s);
        assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
        assert_string_equal(s.out[0].data, alone);
        seen_free(&s);
    }
    const struct lm_stats st = stats_at_rest(&g);
    assert_int_equal(st.preemptions, 0);
    assert_int_equal(st.kv_pages_total, m->pages);
    stop(&g);
    struct err e;
    struct lm *lm;
    struct pool *pool;
    struct device *dev;
    assert_true(pool_new(&pool, 1, &e) && device_cpu_open(&dev, pool, ~0u, &e));
    o.kv_bytes = (size_t)(m->pages - 1) * page;
    assert_false(lm_load(&lm, m->path, &o, dev, &e)); /* said, not found out in the middle */
    assert_int_equal(e.code, ERR_LIMIT);
    device_close(dev);
    pool_free(pool);
    free(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_windows_do_not_show, &windowed),
        cmocka_unit_test_prestate(test_a_conversation_behind_its_window, &windowed),
        cmocka_unit_test_prestate(test_layers_take_what_they_see, &windowed),
        cmocka_unit_test_prestate(test_windows_do_not_show, &chunked),
        cmocka_unit_test_prestate(test_a_conversation_behind_its_window, &chunked),
        cmocka_unit_test_prestate(test_layers_take_what_they_see, &chunked),
    };
    return cmocka_run_group_tests_name("layers with a window or a chunk", tests, NULL, NULL);
}
