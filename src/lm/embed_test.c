/* embed_test.c - vectors of texts against transformers' (tools/reference/embed_golden.py), and the promise of equal bytes for them. */
#include "lm/test_engine.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

enum { MOST = 256 };

struct golden {
    json_t *root;
    int32_t id[MOST];
    int n;
};

static void read_golden(struct golden *g, const char *name)
{
    json_error_t why;
    g->root = json_load_file("tests/golden/lm/embed.json", 0, &why);
    if (!g->root) fail_msg("%s", why.text);
    const json_t *ids = json_object_get(json_object_get(g->root, name), "ids");
    g->n = (int)json_array_size(ids);
    assert_in_range(g->n, 1, MOST);
    for (int i = 0; i < g->n; i++) g->id[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
}

static struct lm_job *ask(struct engine *e, const struct golden *g, int n, enum lm_pooling pool)
{
    struct lm_request r = request(g->id, n, 0);
    r.pool = pool;
    r.sampling.n_top_logprobs = -1;
    return submit(e, &r);
}

/* The vector of a job, whose only one it is. */
static void take(struct lm_job *j, int n_embd, float *out)
{
    struct lm_event ev;
    int vectors = 0, done = 0;
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
        if (ev.type == LM_EV_VECTOR) {
            memcpy(out, ev.vector, (size_t)n_embd * sizeof *out);
            vectors++;
        }
        done += ev.type == LM_EV_DONE;
        if (ev.type == LM_EV_DONE) assert_int_equal(ev.usage.completion_tokens, 0);
        lm_event_free(&ev);
    }
    assert_int_equal(vectors, 1);
    assert_int_equal(done, 1);
    lm_job_free(j);
}

static void check_case(const char *name)
{
    static const struct {
        const char *name;
        enum lm_pooling pool;
    } ways[] = { { "last", LM_POOL_LAST }, { "mean", LM_POOL_MEAN } };
    char path[120];
    struct golden g;
    struct engine e;
    float v[1024];
    read_golden(&g, name);
    snprintf(path, sizeof path, "tests/golden/lm/%s", name);
    start_model(&e, path, 2, &(struct lm_options){ .prefill_chunk = 32, .kv_bytes = 64 << 20 });
    const int n_embd = lm_info(e.lm)->n_embd;
    assert_in_range(n_embd, 1, 1024);
    for (int w = 0; w < 2; w++) {
        const json_t *want = json_object_get(json_object_get(g.root, name), ways[w].name);
        assert_int_equal(json_array_size(want), n_embd);
        take(ask(&e, &g, g.n, ways[w].pool), n_embd, v);
        double dot = 0, a = 0, b = 0;
        for (int i = 0; i < n_embd; i++) {
            const double x = json_number_value(json_array_get(want, (size_t)i));
            dot += x * v[i];
            a += x * x;
            b += (double)v[i] * v[i];
        }
        /* Keys and values are kept as f16, which transformers does not. */
        if (dot / sqrt(a * b) < 0.99999 || fabs(sqrt(b / a) - 1) > 1e-3)
            fail_msg("%s, %s: cosine %.8f, length %.6f", name, ways[w].name, dot / sqrt(a * b), sqrt(b / a));
    }
    stop(&e);
    json_decref(g.root);
}

static void as_transformers_has_them(void **state)
{
    (void)state;
    check_case("chat");
    check_case("gemma3_chat");
}

/* Alone or among others, in whatever chunks, on however many threads, also where the beginning was asked before. */
static void equal_bytes(void **state)
{
    enum { N = 5 };
    static const int chunk[] = { 512, 16, 7 };
    float want[2][N][1024], v[1024];
    struct golden g;
    (void)state;
    read_golden(&g, "chat");
    for (int c = 0; c < 3; c++) {
        struct engine e;
        start_model(
            &e, "tests/golden/lm/chat", c + 1,
            &(struct lm_options){ .prefill_chunk = chunk[c], .max_batch = c ? 4 : 1, .kv_bytes = 64 << 20 });
        const int n_embd = lm_info(e.lm)->n_embd;
        for (int w = 0; w < 2; w++) {
            struct lm_job *j[N];
            const enum lm_pooling pool = w ? LM_POOL_MEAN : LM_POOL_LAST;
            for (int i = 0; i < N; i++) j[i] = ask(&e, &g, g.n - i * 13, pool);
            for (int i = 0; i < N; i++) {
                take(j[i], n_embd, c ? v : want[w][i]);
                if (c && memcmp(v, want[w][i], (size_t)n_embd * sizeof *v) != 0)
                    fail_msg("chunks of %d, %s, text %d: another vector", chunk[c], w ? "mean" : "last", i);
            }
        }
        stop(&e);
    }
    json_decref(g.root);
}

/* One that is given up leaves nothing behind, and those beside it do not notice. */
static void given_up(void **state)
{
    struct golden g;
    struct engine e;
    float v[1024];
    (void)state;
    read_golden(&g, "chat");
    start_model(&e, "tests/golden/lm/chat", 2,
                &(struct lm_options){ .prefill_chunk = 8, .kv_bytes = 64 << 20 });
    struct lm_job *gone = ask(&e, &g, g.n, LM_POOL_MEAN), *stays = ask(&e, &g, g.n, LM_POOL_MEAN);
    lm_job_free(gone);
    take(stays, lm_info(e.lm)->n_embd, v);
    stop(&e);
    json_decref(g.root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_transformers_has_them),
        cmocka_unit_test(equal_bytes),
        cmocka_unit_test(given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
