/* Guesses at the next tokens, through the engine's door: they change no byte, whatever the request asks and whoever else is there. */
#include "lm/test_engine.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define CHAT "tests/golden/lm/chat"

enum { PROMPT = 60, MAX = 90, CROWD = 31 };

static struct constraint *schema(struct engine *g, const char *text)
{
    struct err e = { 0 };
    struct constraint *h;
    json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
    const struct constraint_source s = { .kind = CONSTRAINT_SCHEMA, .schema = j };
    assert_non_null(j);
    if (!constraint_cache_get(lm_constraints(g->lm), &s, &h, &e)) fail_msg("%s", e.msg);
    json_decref(j);
    return h;
}

static const char list[] = "{\"type\":\"array\",\"minItems\":3,\"maxItems\":6,\"items\":{\"type\":\"object\","
                           "\"properties\":{\"colour\":{\"enum\":[\"red\",\"green\"]},\"number\":{\"type\":"
                           "\"integer\",\"minimum\":0,\"maximum\":99}},"
                           "\"required\":[\"colour\",\"number\"],\"additionalProperties\":false}}";

/* What a request may ask that guesses must not touch. */
static const struct kind {
    const char *name;
    bool schema, stops, choices, foreseen;
    float temperature, repetition, presence, mirostat;
    int top; /* log-probabilities */
} kinds[] = {
    { "greedy", .repetition = 1, .top = 2 },
    { "greedy, foreseen", .foreseen = true, .repetition = 1, .top = -1 },
    { "drawn", .temperature = 0.9f, .repetition = 1, .top = 3 },
    { "drawn, foreseen", .foreseen = true, .temperature = 1.0f, .repetition = 1, .top = 3 },
    { "penalties, foreseen", .foreseen = true, .temperature = 0.7f, .repetition = 1.3f, .presence = 0.6f,
      .top = 1 },
    { "mirostat, foreseen", .foreseen = true, .temperature = 1, .repetition = 1, .mirostat = 4, .top = -1 },
    { "schema", .schema = true, .temperature = 1.2f, .repetition = 1, .top = -1 },
    { "schema, log-probabilities, foreseen", .schema = true, .foreseen = true, .temperature = 1.2f,
      .repetition = 1, .top = 2 },
    { "stop string, foreseen", .stops = true, .foreseen = true, .temperature = 0.9f, .repetition = 1,
      .top = 0 },
    { "three choices", .choices = true, .temperature = 0.3f, .repetition = 1, .top = -1 },
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

struct answer { /* of the first choice, as a client sees it, and its tokens */
    char *seen[3];
    int32_t id[512];
    int n;
    struct lm_usage usage;
};

/* Two tokens' text of an earlier answer: a stop string that comes. */
static char stop_text[64];

/* A request of the kind; its answer is complete when this returns. */
static void ask(struct engine *g, const struct kind *k, struct guide_plan *plan,
                const struct answer *foreseen, struct lm_job **job)
{
    static int32_t prompt[PROMPT];
    prompt_of(prompt, PROMPT, 7);
    struct lm_request r = request(prompt, PROMPT, k->schema ? 300 : MAX);
    const char *stop[] = { stop_text };
    r.sampling.temperature = k->temperature;
    r.sampling.repetition_penalty = k->repetition;
    r.sampling.presence_penalty = k->presence;
    r.sampling.mirostat_target = k->mirostat;
    r.sampling.mirostat_lr = 0.1f;
    r.sampling.n_top_logprobs = k->top;
    r.want_token_ids = true;
    r.ignore_end = !k->schema;
    r.guide = k->schema ? plan : NULL;
    r.n = k->choices ? 3 : 1;
    if (k->stops && *stop_text) r.stop = stop, r.n_stop = 1;
    if (foreseen && k->foreseen) r.predicted = foreseen->id, r.n_predicted = foreseen->n;
    *job = submit(g, &r);
}

static void take_answer(struct lm_job *j, struct answer *a)
{
    struct buf out[3] = { BUF_INIT(0), BUF_INIT(0), BUF_INIT(0) };
    struct lm_event ev;
    memset(a, 0, sizeof *a);
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
        if (ev.type == LM_EV_DONE) a->usage = ev.usage;
        if (ev.type == LM_EV_CHOICE_END)
            buf_printf(&out[ev.choice], " end %d %s", (int)ev.finish, ev.stop_hit ? ev.stop_hit : "");
        if (ev.type == LM_EV_TEXT) buf_append(&out[ev.choice], ev.text, ev.len);
        for (int i = 0; i < ev.n_tokens && ev.type == LM_EV_TEXT; i++) {
            const struct lm_token *t = &ev.tokens[i];
            if (ev.choice == 0 && a->n < 512) a->id[a->n++] = t->id;
            buf_printf(&out[ev.choice], "[%d %a %zu+%zu", t->id, (double)t->pick.logprob, t->text_offset,
                       t->text_len);
            for (int m = 0; m < t->pick.n_top; m++)
                buf_printf(&out[ev.choice], " %d:%a", t->pick.top[m].id, (double)t->pick.top[m].logprob);
            buf_puts(&out[ev.choice], "]");
        }
        lm_event_free(&ev);
    }
    for (int c = 0; c < 3; c++) a->seen[c] = out[c].data ? out[c].data : strdup("");
    lm_job_free(j);
}

static void forget(struct answer *a)
{
    for (int c = 0; c < 3; c++) free(a->seen[c]);
}

static void same(const struct kind *k, const char *how, const struct answer *is, const struct answer *was)
{
    for (int c = 0; c < 3; c++)
        if (strcmp(is->seen[c], was->seen[c]) != 0)
            fail_msg("%s, %s: choice %d is\n%s\nand was\n%s", k->name, how, c, is->seen[c], was->seen[c]);
    assert_int_equal(is->usage.completion_tokens, was->usage.completion_tokens);
    assert_int_equal(is->usage.foreseen_tokens, was->usage.foreseen_tokens);
    assert_int_equal(is->usage.unforeseen_tokens, was->usage.unforeseen_tokens);
}

/* Every kind of request on the model: without guesses; with them, alone and then, its beginning found in the tree, among 31 others. */
static void check_model(const char *path, enum kv_type kv, uint64_t *right)
{
    static struct answer first[N_KINDS], plain[N_KINDS], a;
    struct lm_options o = {
        .kv_bytes = 256 << 20, .kv_type = kv, .prefill_chunk = 64, .speculate = LM_SPECULATE_OFF
    };
    struct engine g;
    struct lm_job *j;
    start_model(&g, path, 2, &o);
    struct constraint *h = schema(&g, list);
    struct guide_plan *p;
    struct err e = { 0 };
    if (!guide_plan_new(&p, &(struct guide_spec){ .answer = h }, lm_constraints(g.lm), &e))
        fail_msg("%s", e.msg);
    *stop_text = 0;
    for (int i = 0; i < N_KINDS; i++) { /* what is foreseen: the answer itself */
        ask(&g, &kinds[i], p, NULL, &j);
        take_answer(j, &first[i]);
        for (int m = 0; kinds[i].stops && m < 2 && first[i].n > 40; m++) {
            size_t len;
            const char *bytes = tokenizer_bytes(lm_tokenizer(g.lm), first[i].id[40 + m], &len);
            if (len < 20) strncat(stop_text, bytes, len);
        }
        ask(&g, &kinds[i], p, &first[i], &j);
        take_answer(j, &plain[i]);
    }
    assert_int_equal(stats_at_rest(&g).guesses_right + stats_at_rest(&g).guesses_wrong, 0);
    guide_plan_unref(p);
    constraint_free(h);
    stop(&g);

    o.speculate = LM_SPECULATE_AUTO;
    for (int rows = 0; rows <= 16; rows = rows ? rows * 4 : 1) {
        if ((rows == 1 || rows == 16) && strcmp(path, CHAT) != 0)
            continue; /* one model in every way will do */
        o.guess_rows = rows;
        start_model(&g, path, 2, &o);
        h = schema(&g, list);
        if (!guide_plan_new(&p, &(struct guide_spec){ .answer = h }, lm_constraints(g.lm), &e))
            fail_msg("%s", e.msg);
        for (int i = 0; i < N_KINDS; i++) {
            ask(&g, &kinds[i], p, &first[i], &j);
            take_answer(j, &a);
            same(&kinds[i], "alone", &a, &plain[i]);
            forget(&a);
        }
        *right += stats_at_rest(&g).guesses_right;
        struct lm_job *crowd[CROWD + 1];
        const bool crowded = rows == 0 || rows == 4;
        for (int k = 0; crowded && k <= CROWD; k++)
            ask(&g, &kinds[k % N_KINDS], p, &first[k % N_KINDS], &crowd[k]);
        for (int k = 0; crowded && k <= CROWD; k++) {
            take_answer(crowd[k], &a);
            same(&kinds[k % N_KINDS], "among 32", &a, &plain[k % N_KINDS]);
            forget(&a);
        }
        guide_plan_unref(p);
        constraint_free(h);
        stop(&g);
    }
    for (int i = 0; i < N_KINDS; i++) forget(&first[i]), forget(&plain[i]);
}

static void test_guesses_change_no_byte(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum kv_type kv;
    } model[] = {
        { CHAT, KV_F16 },
        { CHAT, KV_Q8_0 },
        { "tests/golden/lm/gemma3_chat", KV_F16 },   /* sliding windows */
        { "tests/golden/lm/llama4_chat", KV_F16 },   /* chunks, experts */
        { "tests/golden/lm/deepseek_chat", KV_F16 }, /* a cache of latents */
        { "tests/golden/lm/deepseek_chat", KV_Q8_0 },
    };
    for (size_t i = 0; i < sizeof model / sizeof *model; i++) {
        uint64_t right = 0;
        check_model(model[i].path, model[i].kv, &right);
        assert_true(right > 100); /* foreseen answers came by guesses */
    }
}

/* An answer that comes as foreseen takes far fewer steps than it has tokens, and the counters say so. */
static void test_a_foreseen_answer_takes_few_steps(void **state)
{
    (void)state;
    struct engine g;
    struct lm_job *j;
    static struct answer first, again;
    const struct kind k = { "foreseen", .foreseen = true, .temperature = 0.9f, .repetition = 1, .top = -1 };
    start_model(&g, CHAT, 1, &(struct lm_options){ .kv_bytes = 64 << 20, .guess_rows = 8 });
    ask(&g, &k, NULL, NULL, &j);
    take_answer(j, &first);
    const struct lm_stats before = stats_at_rest(&g);
    ask(&g, &k, NULL, &first, &j);
    take_answer(j, &again);
    const struct lm_stats after = stats_at_rest(&g);
    assert_string_equal(first.seen[0], again.seen[0]);
    assert_int_equal(again.usage.foreseen_tokens, MAX);
    assert_int_equal(again.usage.unforeseen_tokens, 0);
    const uint64_t steps = after.steps - before.steps;
    if (steps > 20) fail_msg("%d tokens took %d steps", MAX, (int)steps);
    assert_true(after.guesses_right - before.guesses_right >= MAX - 20);
    assert_int_equal(after.completion_tokens - before.completion_tokens, MAX);
    forget(&first);
    forget(&again);
    stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_change_no_byte),
        cmocka_unit_test(test_a_foreseen_answer_takes_few_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
