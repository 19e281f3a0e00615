/* encoder_test.c - vectors and scores of encoders against sentence-transformers' (tools/reference/encoder_golden.py), and the promise of equal
 * bytes for texts that share a step. */
#include "lm/test_engine.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#define FOLDER "tests/golden/encoders/"

enum { MOST_TEXTS = 16, MOST_WIDTH = 64 };

static json_t *golden(const char *name)
{
    static json_t *root;
    json_error_t why;
    if (!root) root = json_load_file(FOLDER "golden.json", 0, &why);
    if (!root) fail_msg("%s", why.text);
    const json_t *rows = json_object_get(root, name);
    assert_true(json_array_size(rows) > 0 && json_array_size(rows) <= MOST_TEXTS);
    return root;
}

static const json_t *row_of(const char *name, size_t i)
{
    return json_array_get(json_object_get(golden(name), name), i);
}

static size_t n_rows(const char *name) { return json_array_size(json_object_get(golden(name), name)); }

static struct token_list ids_of(struct engine *g, const char *text, unsigned flags)
{
    struct token_list l = { 0 };
    struct err e = { 0 };
    if (!tokenizer_encode(lm_tokenizer(g->lm), text, strlen(text), NULL, true, flags, &l, &e))
        fail_msg("%s", e.msg);
    return l;
}

static struct lm_job *ask(struct engine *g, const struct token_list *ids, size_t second)
{
    struct lm_request r = request(ids->id, (int)ids->n, 0);
    r.prompt.second = second;
    r.pool = lm_info(g->lm)->pooling;
    r.sampling.n_top_logprobs = -1;
    return submit(g, &r);
}

static void take(struct lm_job *j, int n, float *out)
{
    struct lm_event ev;
    int vectors = 0;
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
        if (ev.type == LM_EV_VECTOR) {
            memcpy(out, ev.vector, (size_t)n * sizeof *out);
            vectors++;
        }
        lm_event_free(&ev);
    }
    assert_int_equal(vectors, 1);
    lm_job_free(j);
}

static struct lm_job *ask_text(struct engine *g, const char *name, size_t i)
{
    const json_t *row = row_of(name, i);
    struct token_list l = ids_of(g, json_string_value(json_object_get(row, "text")), TOK_BOS);
    tokenizer_cut(lm_tokenizer(g->lm), &l, (size_t)lm_info(g->lm)->n_ctx);
    const json_t *want = json_object_get(row, "ids");
    if (l.n != json_array_size(want)) fail_msg("%s, text %zu: %zu tokens", name, i, l.n);
    for (size_t k = 0; k < l.n; k++) assert_int_equal(l.id[k], json_integer_value(json_array_get(want, k)));
    struct lm_job *j = ask(g, &l, 0);
    token_list_free(&l);
    return j;
}

static void check_vectors(const char *file, const char *name, double most_off)
{
    char path[120];
    struct engine g;
    struct lm_job *job[MOST_TEXTS];
    float v[MOST_WIDTH];
    snprintf(path, sizeof path, FOLDER "%s", file);
    start_model(&g, path, 2, NULL);
    const struct lm_info *info = lm_info(g.lm);
    assert_true(info->encoder);
    assert_int_equal(info->n_score, 0);
    assert_in_range(info->n_vector, 1, MOST_WIDTH);
    for (size_t i = 0; i < n_rows(name); i++) job[i] = ask_text(&g, name, i);
    for (size_t i = 0; i < n_rows(name); i++) {
        const json_t *want = json_object_get(row_of(name, i), "vector");
        double off = 0, length = 0;
        assert_int_equal(json_array_size(want), info->n_vector);
        take(job[i], info->n_vector, v);
        for (int k = 0; k < info->n_vector; k++) {
            const double x = json_number_value(json_array_get(want, (size_t)k));
            if (!(fabs(x - v[k]) <= off)) off = fabs(x - v[k]);
            length += x * x;
        }
        if (!(off <= most_off * sqrt(length)))
            fail_msg("%s, text %zu: off by %g of %g", file, i, off, sqrt(length));
    }
    stop(&g);
}

static void vectors_of_f32(void **state)
{
    (void)state;
    check_vectors("bert", "bert", 1e-5);
    check_vectors("bert_first", "bert_first", 1e-5);
    check_vectors("xlm_roberta", "xlm_roberta", 1e-5);
    check_vectors("distilbert", "distilbert", 1e-5);
    check_vectors("nomic_bert", "nomic_bert", 1e-5);
    check_vectors("wide", "wide", 1e-5);
}

static void vectors_of_narrow_weights(void **state)
{
    (void)state;
    check_vectors("bert_bf16", "bert_bf16", 1e-2); /* what meets them is rounded to bf16 as well */
    check_vectors("nomic_bert.gguf", "nomic_bert", 1e-4);
    check_vectors("wide.gguf", "wide", 2e-3);
}

static void check_scores(const char *file, const char *name, bool sigmoid)
{
    char path[120];
    struct engine g;
    struct err e = { 0 };
    snprintf(path, sizeof path, FOLDER "%s", file);
    start_model(&g, path, 2, NULL);
    const struct tokenizer *t = lm_tokenizer(g.lm);
    assert_int_equal(lm_info(g.lm)->n_score, 1);
    assert_int_equal(lm_info(g.lm)->score_sigmoid, sigmoid);
    for (size_t i = 0; i < n_rows(name); i++) {
        const json_t *row = row_of(name, i);
        struct token_list q = ids_of(&g, json_string_value(json_object_get(row, "query")), 0), both = { 0 };
        struct token_list d = ids_of(&g, json_string_value(json_object_get(row, "document")), 0);
        const double want = json_number_value(json_object_get(row, "score"));
        size_t second;
        float v;
        if (!tokenizer_pair(t, &q, &d, (size_t)lm_info(g.lm)->n_ctx, &both, &second, &e))
            fail_msg("%s", e.msg);
        take(ask(&g, &both, second), 1, &v);
        const double got = sigmoid ? 1 / (1 + exp(-(double)v)) : (double)v;
        if (!(fabs(got - want) < 1e-5)) fail_msg("%s, pair %zu: %g, not %g", file, i, got, want);
        token_list_free(&q);
        token_list_free(&d);
        token_list_free(&both);
    }
    stop(&g);
}

static void scores_of_pairs(void **state)
{
    (void)state;
    check_scores("cross", "cross", false);
    check_scores("cross_roberta", "cross_roberta", true);
}

/* Alone or in a step with others, on however many threads. */
static void equal_bytes(void **state)
{
    static const char *const names[] = { "bert", "nomic_bert" };
    (void)state;
    for (size_t m = 0; m < 2; m++)
        for (int threads = 1; threads <= 3; threads++) {
            float alone[MOST_TEXTS][MOST_WIDTH], v[MOST_WIDTH];
            char path[120];
            struct engine g;
            struct lm_job *job[8 * MOST_TEXTS];
            snprintf(path, sizeof path, FOLDER "%s", names[m]);
            start_model(&g, path, threads, NULL);
            const size_t n = n_rows(names[m]), bytes = (size_t)lm_info(g.lm)->n_vector * sizeof *v;
            for (size_t i = 0; i < n; i++) take(ask_text(&g, names[m], i), lm_info(g.lm)->n_vector, alone[i]);
            for (size_t i = 0; i < 8 * n; i++) job[i] = ask_text(&g, names[m], i % n);
            for (size_t i = 0; i < 8 * n; i++) {
                take(job[i], lm_info(g.lm)->n_vector, v);
                assert_memory_equal(v, alone[i % n], bytes);
            }
            stop(&g);
        }
}

/* What is not a vector is refused by name; one that is given up leaves nothing behind. */
static void refusals(void **state)
{
    struct engine g;
    struct err e = { 0 };
    struct lm_job *j;
    float v[MOST_WIDTH];
    (void)state;
    start_model(&g, FOLDER "bert", 2, NULL);
    struct token_list l = ids_of(&g, "the cat", TOK_BOS);
    struct lm_request r = request(l.id, (int)l.n, 4);
    assert_false(lm_submit(g.lm, &r, NULL, NULL, &j, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "encoder"));
    assert_false(lm_logits(g.lm, l.id, (int)l.n, v, &e));
    for (int i = 0; i < 20; i++) lm_job_free(ask(&g, &l, 0));
    take(ask(&g, &l, 0), lm_info(g.lm)->n_vector, v);
    token_list_free(&l);
    stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_f32),  cmocka_unit_test(vectors_of_narrow_weights),
        cmocka_unit_test(scores_of_pairs), cmocka_unit_test(equal_bytes),
        cmocka_unit_test(refusals),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden("bert"));
    return failed;
}
