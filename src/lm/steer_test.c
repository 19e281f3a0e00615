/* Choices that are steered: constraints, thoughts and calls through the engine's door, on a tiny model of random weights. */
#include "lm/test_engine.h"

#include <jansson.h>
#include <stdio.h>

#define MODEL "tests/golden/lm/chat"

static void start(struct engine *g, int threads, int chunk)
{
    start_model(g, MODEL, threads, &(struct lm_options){ .prefill_chunk = chunk, .kv_bytes = 64 << 20 });
}

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

static struct guide_plan *plan(struct engine *g, const struct guide_spec *s)
{
    struct err e = { 0 };
    struct guide_plan *p;
    if (!guide_plan_new(&p, s, lm_constraints(g->lm), &e)) fail_msg("%s", e.msg);
    return p;
}

static struct lm_request steered(const int32_t *prompt, int n, int max_tokens, struct guide_plan *p)
{
    struct lm_request r = request(prompt, n, max_tokens);
    r.guide = p;
    r.ignore_end = false;
    r.sampling.n_top_logprobs = -1;
    r.sampling.temperature = 1.5f;
    return r;
}

static const char person[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"enum\":[\"Ada Lovelace\",\"Grace "
    "Hopper\"]},\"born\":{\"type\":\"integer\","
    "\"minimum\":1800,\"maximum\":1999},\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"math\",\"navy\"]}"
    ",\"minItems\":1,"
    "\"maxItems\":2}},\"required\":[\"name\",\"born\",\"tags\"],\"additionalProperties\":false}";

static void check_person(const char *text)
{
    json_error_t why;
    json_t *j = json_loads(text ? text : "", 0, &why);
    if (!j) fail_msg("%s: %s", text, why.text);
    const char *name = json_string_value(json_object_get(j, "name"));
    const double born = json_number_value(json_object_get(j, "born")); /* 1.9e3 is a whole number, too */
    const json_t *tags = json_object_get(j, "tags");
    assert_true(name && (!strcmp(name, "Ada Lovelace") || !strcmp(name, "Grace Hopper")));
    assert_true(born >= 1800 && born <= 1999);
    assert_true(json_array_size(tags) >= 1 && json_array_size(tags) <= 2);
    assert_int_equal(json_object_size(j), 3);
    json_decref(j);
}

static void test_the_answer_meets_its_schema_in_any_company(void **state)
{
    (void)state;
    static const struct {
        int threads, chunk, others;
    } way[] = { { 1, 256, 0 }, { 2, 16, 12 }, { 2, 256, 12 } };
    int32_t prompt[40], other[12][30];
    char *first[3] = { NULL };
    prompt_of(prompt, 40, 1);
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        struct engine g;
        struct lm_job *crowd[12];
        start(&g, way[i].threads, way[i].chunk);
        struct constraint *h = schema(&g, person);
        struct guide_plan *p = plan(&g, &(struct guide_spec){ .answer = h });
        for (int k = 0; k < way[i].others; k++) { /* every other one is steered, too */
            prompt_of(other[k], 30, 100 + (uint64_t)k);
            struct lm_request r = steered(other[k], 10 + k, 120, k % 2 ? p : NULL);
            crowd[k] = submit(&g, &r);
        }
        struct lm_request r = steered(prompt, 40, 400, p);
        struct seen s, c;
        r.n = 3;
        collect(submit(&g, &r), &s);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(s.finish[k], LM_FINISH_STOP);
            check_person(s.out[k].data);
            if (!first[k]) first[k] = strdup(s.out[k].data);
            if (strcmp(first[k], s.out[k].data) != 0) fail_msg("%s is not %s", s.out[k].data, first[k]);
        }
        for (int k = 0; k < way[i].others; k++) {
            collect(crowd[k], &c);
            if (k % 2 && c.finish[0] == LM_FINISH_STOP) check_person(c.out[0].data);
            seen_free(&c);
        }
        seen_free(&s);
        guide_plan_unref(p);
        constraint_free(h);
        stop(&g);
    }
    for (int k = 0; k < 3; k++) free(first[k]);
}

static char *text_of(struct engine *g, struct lm_request *r, struct lm_usage *u)
{
    struct buf all = BUF_INIT(0);
    struct lm_event ev;
    struct lm_job *j = submit(g, r);
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
        if (ev.type == LM_EV_TEXT) buf_append(&all, ev.text, ev.len);
        if (ev.type == LM_EV_DONE) *u = ev.usage;
        lm_event_free(&ev);
    }
    lm_job_free(j);
    buf_putc(&all, 0);
    return buf_take(&all);
}

/* Asking for log-probabilities has every token computed; the text stays what it is where some are taken without. */
static void test_log_probabilities_change_nothing(void **state)
{
    (void)state;
    struct engine g;
    struct lm_usage u, v;
    int32_t prompt[20];
    prompt_of(prompt, 20, 3);
    start(&g, 2, 64);
    struct constraint *h = schema(&g, person);
    for (int i = 0; i < 4; i++) {
        struct guide_plan *p = plan(&g, &(struct guide_spec){ .answer = h,
                                                              .think_open = "<think>",
                                                              .think_close = "</think>",
                                                              .inside = i > 0,
                                                              .budget = i > 0 ? 5 : -1 });
        struct lm_request r = steered(prompt, 20, 300, p);
        r.sampling.mirostat_target = i == 3 ? 3 : 0;
        r.sampling.mirostat_lr = 0.1f;
        r.sampling.presence_penalty = i == 2 ? 0.5f : 0;
        char *plain = text_of(&g, &r, &u);
        /* What can only come so took no pass of its own. */
        r.sampling.n_top_logprobs = 2;
        char *scored = text_of(&g, &r, &v);
        assert_string_equal(plain, scored);
        assert_int_equal(u.completion_tokens, v.completion_tokens);
        assert_int_equal(u.reasoning_tokens, v.reasoning_tokens);
        free(plain);
        free(scored);
        guide_plan_unref(p);
    }
    constraint_free(h);
    stop(&g);
}

/* What can only come so is said without asking, but for the last token, which what follows may be part of. */
static void test_what_can_only_come_so(void **state)
{
    (void)state;
    static const char head[] = "{\"n", rest[] = "ame\"";
    struct engine g;
    struct guide *guide;
    struct err e;
    enum guide_next next;
    const int32_t *ids;
    int n, len = 0;
    start(&g, 1, 64);
    struct constraint *h = schema(&g, person);
    struct guide_plan *p = plan(&g, &(struct guide_spec){ .answer = h });
    assert_true(guide_new(&guide, p, &e));
    for (const char *c = head; *c; c++) { /* each of these is a choice of its own: white space, other names */
        assert_true(guide_next(guide, &next, &ids, &n, &e) && next == GUIDE_MASK);
        assert_true(guide_take(guide, *c - '!', &e)); /* the vocabulary begins so */
    }
    while (guide_next(guide, &next, &ids, &n, &e) && next == GUIDE_FORCED) {
        size_t bytes;
        const char *s = tokenizer_bytes(lm_tokenizer(g.lm), ids[0], &bytes);
        assert_memory_equal(s, rest + len, bytes);
        len += (int)bytes;
        assert_true(guide_take(guide, ids[0], &e));
    }
    assert_in_range(len, 1, 3);
    guide_free(guide);
    guide_plan_unref(p);
    constraint_free(h);
    stop(&g);
}

static int tokens_in(struct engine *g, const char *text)
{
    struct token_list l = { 0 };
    struct err e;
    assert_true(tokenizer_encode(lm_tokenizer(g->lm), text, strlen(text), NULL, true, 0, &l, &e));
    const int n = (int)l.n;
    token_list_free(&l);
    return n;
}

static void test_a_thought_is_closed_at_its_budget(void **state)
{
    (void)state;
    static const char closing[] = "\n</think>\n\n";
    struct engine g;
    int32_t prompt[20];
    prompt_of(prompt, 20, 4);
    start(&g, 2, 64);
    struct constraint *h = schema(&g, person);
    for (int budget = 0; budget < 12; budget += 4) {
        struct lm_usage u;
        struct guide_plan *p = plan(&g, &(struct guide_spec){ .answer = h,
                                                              .think_open = "<think>",
                                                              .think_close = "</think>",
                                                              .inside = true,
                                                              .budget = budget });
        struct lm_request r = steered(prompt, 20, 300, p);
        /* Stop strings count in the answer alone. */
        static const char *const stops[] = { "a", "e", "i", "o", "u", "\n", "t", ">" };
        r.stop = stops;
        r.n_stop = 8;
        char *text = text_of(&g, &r, &u);
        const char *end = strstr(text, closing);
        if (!end) fail_msg("%s", text);
        /* "</think>" is several tokens here; those in front of its last one, and it, are the thought's. */
        assert_in_range(u.reasoning_tokens, budget + tokens_in(&g, "\n</think>"),
                        budget + tokens_in(&g, closing));
        end += strlen(closing);
        assert_null(strpbrk(end + strspn(end, "\n \t\r"), "aeiou\nt>"));
        free(text);
        guide_plan_unref(p);
    }
    constraint_free(h);
    stop(&g);
}

/* A free answer until the text that opens a call stands there: here a quote, and a call is one of two strings. */
static void test_a_call_is_held_once_it_is_open(void **state)
{
    (void)state;
    static const char *const opens[] = { "\"", NULL };
    struct engine g;
    int32_t prompt[30];
    int calls = 0, free_ones = 0;
    start(&g, 2, 64);
    struct constraint *h = schema(&g, "{\"enum\":[\"left turn\",\"right turn\"]}");
    for (int i = 0; i < 40; i++) {
        struct lm_usage u;
        struct guide_plan *p =
            plan(&g, &(struct guide_spec){ .call = h, .opens = opens, .opens_first = i % 2 });
        prompt_of(prompt, 30, 50 + (uint64_t)i);
        struct lm_request r = steered(prompt, 30, 150, p);
        r.sampling.seed = (uint64_t)i;
        char *text = text_of(&g, &r, &u);
        const char *quote = strchr(text, '"');
        const bool first = quote && strspn(text, " \n\t\r") == (size_t)(quote - text);
        if (quote && (first || i % 2 == 0) && u.completion_tokens < 150) {
            calls++;
            json_t *said = json_loads(quote, JSON_DECODE_ANY, NULL); /* it may have escapes */
            const char *turn = json_string_value(said);
            if (!turn || (strcmp(turn, "left turn") != 0 && strcmp(turn, "right turn") != 0))
                fail_msg("%s", text);
            json_decref(said);
        } else {
            free_ones++;
        }
        free(text);
        guide_plan_unref(p);
    }
    assert_true(calls > 2 && free_ones > 2);
    constraint_free(h);
    stop(&g);
}

static void test_constraints_are_kept_by_content(void **state)
{
    (void)state;
    struct engine g;
    start(&g, 1, 64);
    struct constraint *a = schema(&g, person), *b = schema(&g, person),
                      *c = schema(&g, "{\"type\":\"null\"}");
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    constraint_free(b);
    constraint_free(c);
    for (int i = 0; i < 300; i++) { /* more than are kept: what is held stays */
        char text[40];
        snprintf(text, sizeof text, "{\"const\":%d}", i);
        constraint_free(schema(&g, text));
    }
    struct matcher *m;
    struct err e;
    size_t taken;
    assert_true(matcher_new(&m, a, &e));
    assert_true(matcher_take_bytes(m, "{\"name\"", 7, &taken, &e) && taken == 7);
    matcher_free(m);
    constraint_free(a);
    stop(&g);
}

static bool allows(struct constraint *h, int32_t id)
{
    uint32_t bits[(266 + 31) / 32];
    struct matcher *m;
    struct err e;
    assert_true(matcher_new(&m, h, &e) && matcher_mask(m, bits, &e));
    matcher_free(m);
    return bits[id / 32] >> (id % 32) & 1;
}

/* A control token is allowed where the server's own grammar spells it, and there its text is not; nowhere else. */
static void test_control_tokens_in_grammars(void **state)
{
    (void)state;
    static const char text[] = "root ::= \"<|im_start|>\" [a-z]+ | \"x\"";
    enum { MARK = 264, LESS = '<' - '!' };
    struct engine g;
    struct err e;
    struct constraint *with, *without;
    struct constraint_source s = {
        .kind = CONSTRAINT_GRAMMAR, .text = text, .len = sizeof text - 1, .marks = true
    };
    start(&g, 1, 64);
    assert_int_equal(tokenizer_find(lm_tokenizer(g.lm), "<|im_start|>"), MARK);
    assert_true(constraint_cache_get(lm_constraints(g.lm), &s, &with, &e));
    s.marks = false;
    assert_true(constraint_cache_get(lm_constraints(g.lm), &s, &without, &e));
    assert_ptr_not_equal(with, without);
    assert_true(allows(with, MARK) && !allows(with, LESS) && allows(with, 'x' - '!'));
    assert_true(!allows(without, MARK) && allows(without, LESS) && allows(without, 'x' - '!'));
    struct constraint *any = schema(&g, "{\"type\":\"string\"}");
    assert_true(!allows(any, MARK) && allows(any, '"' - '!'));

    /* The model says it, and it is shown where the plan says so. */
    static const char *const control[] = { "<|im_start|>", NULL };
    int32_t prompt[20];
    struct lm_usage u;
    int marks = 0;
    prompt_of(prompt, 20, 9);
    for (int i = 0; i < 8; i++) {
        struct guide_plan *p =
            plan(&g, &(struct guide_spec){ .answer = with, .control = i % 2 ? control : NULL });
        struct lm_request r = steered(prompt, 20, 30, p);
        r.sampling.seed = (uint64_t)i / 2;
        char *said = text_of(&g, &r, &u);
        if (i % 2 == 0) assert_null(strchr(said, '<'));
        if (i % 2 == 1 && !strncmp(said, "<|im_start|>", 12)) marks++;
        free(said);
        guide_plan_unref(p);
    }
    assert_true(marks > 0);
    constraint_free(with);
    constraint_free(without);
    constraint_free(any);
    stop(&g);
}

static void test_leaving_while_masks_are_made(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[20];
    prompt_of(prompt, 20, 4);
    start(&g, 2, 64);
    struct constraint *h = schema(&g, "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":5}");
    struct guide_plan *p = plan(&g, &(struct guide_spec){ .answer = h });
    for (int i = 0; i < 60; i++) {
        struct lm_request r = steered(prompt, 20, 400, p);
        struct lm_event ev;
        struct lm_job *j = submit(&g, &r);
        for (int k = 0; k < i % 7 && lm_wait(j, &ev); k++) lm_event_free(&ev);
        lm_job_free(j);
    }
    assert_int_equal(stats_at_rest(&g).running, 0);
    guide_plan_unref(p);
    constraint_free(h);
    stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_answer_meets_its_schema_in_any_company),
        cmocka_unit_test(test_log_probabilities_change_nothing),
        cmocka_unit_test(test_what_can_only_come_so),
        cmocka_unit_test(test_a_thought_is_closed_at_its_budget),
        cmocka_unit_test(test_a_call_is_held_once_it_is_open),
        cmocka_unit_test(test_constraints_are_kept_by_content),
        cmocka_unit_test(test_control_tokens_in_grammars),
        cmocka_unit_test(test_leaving_while_masks_are_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
