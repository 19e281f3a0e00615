/* The starter model's real weights against transformers (tests/golden/lm/smollm2.json, tools/reference/lm_smollm2.py).
 * Skipped when the model is not installed: looked for in HEARTH_MODELS, then in the user's model folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lm/lm.h"

#define FILE_NAME "SmolLM2-135M-Instruct.Q4_1.gguf"

/* Both sides round activations to 8 bits, differently: near ties fall either way now and then. */
enum { TEXT = 560, CASES = 20, SAME_TOKENS = 48, SAME_CASES = 18 };
static const double MEAN_LOGPROB_BOUND = 0.02;

struct fixture {
    struct pool *pool;
    struct device *dev;
    struct lm *lm;
    json_t *golden;
};

static bool find_model(char *path, size_t cap)
{
    const char *models = getenv("HEARTH_MODELS"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    static const char *const under[] = { "", "smollm2-135m-instruct/", "starter/" };
    char base[500];
    if (models)
        snprintf(base, sizeof base, "%s", models);
    else if (data && *data)
        snprintf(base, sizeof base, "%s/hearth/models", data);
    else
        snprintf(base, sizeof base, "%s/.local/share/hearth/models", home ? home : "");
    for (size_t i = 0; i < sizeof under / sizeof *under; i++) {
        snprintf(path, cap, "%s/%s" FILE_NAME, base, under[i]);
        if (access(path, R_OK) == 0) return true;
    }
    return false;
}

static int setup(void **state)
{
    char path[700];
    struct err e = { 0 };
    *state = NULL;
    if (!find_model(path, sizeof path)) return 0;
    struct fixture *f = calloc(1, sizeof *f);
    const struct lm_options o = { .n_ctx = 2048, .max_batch = CASES };
    f->golden = json_load_file("tests/golden/lm/smollm2.json", 0, NULL);
    if (!f->golden || !pool_new(&f->pool, 0, &e) || !device_cpu_open(&f->dev, f->pool, ~0u, &e) ||
        !lm_load(&f->lm, path, &o, f->dev, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (!f) return 0;
    lm_free(f->lm);
    device_close(f->dev);
    pool_free(f->pool);
    json_decref(f->golden);
    free(f);
    return 0;
}

static struct fixture *installed(void **state)
{
    if (!*state) fail_msg("%s is not installed: make starter", FILE_NAME);
    return *state;
}

static int ids_of(const json_t *list, int32_t *ids, int cap)
{
    int n = (int)json_array_size(list);
    assert_true(n <= cap);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

/* A greedy continuation begins. */
static struct lm_job *begin(struct lm *m, const int32_t *prompt, int n_prompt, int max)
{
    struct err e = { 0 };
    struct lm_job *j;
    const struct lm_request r = {
        .prompt = { .ids = prompt, .n = (size_t)n_prompt, .max_tokens = max },
        .n = 1,
        .want_token_ids = true,
        .sampling = { .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n_top_logprobs = -1 }
    };
    if (!lm_submit(m, &r, NULL, NULL, &j, &e)) fail_msg("%s", e.msg);
    return j;
}

/* Its tokens; their number. */
static int finish(struct lm_job *j, int32_t *out)
{
    struct lm_event ev;
    int n = 0;
    while (lm_wait(j, &ev)) {
        for (int i = 0; i < ev.n_tokens; i++) out[n++] = ev.tokens[i].id;
        lm_event_free(&ev);
    }
    lm_job_free(j);
    return n;
}

/* All together: in plain C a weight's unpacking costs more than its products, and the tokens are the same. */
static void test_greedy(void **state)
{
    struct fixture *f = installed(state);
    const json_t *cases = json_object_get(f->golden, "cases");
    int32_t prompt[256], want[64], got[64];
    struct lm_job *job[CASES];
    int same = 0;
    assert_int_equal(json_array_size(cases), CASES);
    for (size_t c = 0; c < CASES; c++) {
        int n_prompt = ids_of(json_object_get(json_array_get(cases, c), "prompt"), prompt, 256);
        job[c] = begin(f->lm, prompt, n_prompt, 64);
    }
    for (size_t c = 0; c < CASES; c++) {
        int n_want = ids_of(json_object_get(json_array_get(cases, c), "out"), want, 64);
        int n = finish(job[c], got), k = 0;
        while (k < n && k < n_want && got[k] == want[k]) k++;
        /* The reference lists the end token, we stop before it. */
        const bool ended = k == n && n_want == n + 1 && tokenizer_is_end(lm_tokenizer(f->lm), want[n]);
        same += k >= SAME_TOKENS || ended;
        if (k < n_want && !ended) print_message("prompt %zu: equal for %d tokens\n", c, k);
    }
    print_message("%d of %d continuations equal for %d tokens\n", same, CASES, SAME_TOKENS);
    assert_true(same >= SAME_CASES);
}

static void test_logprobs(void **state)
{
    struct fixture *f = installed(state);
    static int32_t text[2048];
    ids_of(json_object_get(f->golden, "text"), text, 2048);
    const int n = TEXT; /* of some 2,000: plain C takes a tenth of a second for each */
    const int start = (int)json_integer_value(json_object_get(f->golden, "start"));
    const json_t *lp = json_object_get(f->golden, "logprobs");
    struct lm_request r = { .prompt = { .ids = text, .n = (size_t)n },
                            .n = 1,
                            .echo = true,
                            .sampling = {
                                .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n_top_logprobs = 0 } };
    struct lm_job *j;
    struct lm_event ev;
    struct err e = { 0 };
    if (!lm_submit(f->lm, &r, NULL, NULL, &j, &e)) fail_msg("%s", e.msg);
    double sum = 0, bias = 0;
    int seen = 0;
    while (lm_wait(j, &ev)) {
        for (int i = 0; i < ev.n_tokens; i++, seen++) {
            if (seen < start) continue;
            double want = json_number_value(json_array_get(lp, (size_t)(seen - start)));
            sum += fabs((double)ev.tokens[i].pick.logprob - want);
            bias += (double)ev.tokens[i].pick.logprob - want;
        }
        lm_event_free(&ev);
    }
    lm_job_free(j);
    assert_int_equal(seen, n);
    print_message("mean |log-probability difference| %.4f over %d tokens (signed %.4f)\n", sum / (n - start),
                  n - start, bias / (n - start));
    assert_true(sum / (n - start) < MEAN_LOGPROB_BOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_greedy), cmocka_unit_test(test_logprobs) };
    return cmocka_run_group_tests_name("starter model", tests, setup, teardown);
}
