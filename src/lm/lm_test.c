/* The engine through its door, on a tiny random model: promises, sharing, preemption, cancelling, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "device/guard/guard.h"
#include "lm/job.h"
#include "lm/test_engine.h"

#define MODEL "tests/golden/lm/chat/model.safetensors"

static void start(struct engine *g, int n_threads, const struct lm_options *o)
{
    start_model(g, MODEL, n_threads, o);
}

/* ---- the promise ---------------------------------------------------------------------------------------------------- */

static void test_same_bytes_in_any_company(void **state)
{
    (void)state;
    static const struct {
        int threads, chunk, others;
    } way[] = {
        { 1, 256, 0 }, { 2, 256, 0 }, { 1, 16, 15 }, { 2, 37, 15 }, { 2, 256, 15 },
    };
    int32_t prompt[150], other[15][90];
    prompt_of(prompt, 150, 1);
    char *first = NULL;
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        struct engine g;
        struct lm_job *crowd[15];
        start(&g, way[i].threads,
              &(struct lm_options){ .prefill_chunk = way[i].chunk, .kv_bytes = 64 << 20 });
        for (int k = 0; k < way[i].others; k++) {
            prompt_of(other[k], 90, 100 + (uint64_t)k);
            struct lm_request r = request(other[k], 20 + 4 * k, 30 + 3 * k);
            crowd[k] = submit(&g, &r);
        }
        struct lm_request r = request(prompt, 150, 60);
        struct seen s, c;
        collect(submit(&g, &r), &s);
        assert_int_equal(s.usage.completion_tokens, 60);
        if (!first) first = strdup(s.out[0].data);
        if (strcmp(first, s.out[0].data) != 0)
            fail_msg("%d threads, chunk %d, %d others: other bytes", way[i].threads, way[i].chunk,
                     way[i].others);
        for (int k = 0; k < way[i].others; k++) {
            collect(crowd[k], &c);
            seen_free(&c);
        }
        seen_free(&s);
        /* Once more, now from the prefix cache. */
        collect(submit(&g, &r), &s);
        assert_int_equal(s.usage.cached_tokens, 149);
        assert_string_equal(first, s.out[0].data);
        seen_free(&s);
        stop(&g);
    }
    free(first);
}

/* Holds the scheduler's thread at a request's first news, and at a later one, until the gate is opened: what must be so by then is. */
struct gate {
    sem_t open;
    int later, news; /* the scheduler's thread only */
};

static void wait_at(void *arg)
{
    struct gate *gate = arg;
    if (gate->news == 0 || gate->news == gate->later) sem_wait(&gate->open);
    gate->news++;
}

/* Streams leave, several at a step, and are freed; two long ones go on over two threads. Behind the last draw of such a step lie
 * draws of an earlier one, and a thread that took them for this one's would draw twice for a sequence or read one that is gone. */
static void test_streams_leave_together(void **state)
{
    (void)state;
    enum { ALL = 5, CHOICES = 4, MOST = 2 + (ALL - 2) * CHOICES };
    struct engine g;
    struct err e;
    int32_t prompt[ALL][8];
    struct lm_request r[ALL];
    struct seen alone[ALL], s;
    struct lm_job *job[ALL];
    const struct lm_options o = { .max_batch = MOST };
    start(&g, 1, &o);
    for (int k = 0; k < ALL; k++) { /* the first and the last are long */
        const bool is_long = k % (ALL - 1) == 0;
        prompt_of(prompt[k], 8, 500 + (uint64_t)k);
        r[k] = request(prompt[k], 8, is_long ? 200 : 5 * k);
        if (!is_long) r[k].n = CHOICES; /* of one length: they end at one step */
        collect(submit(&g, &r[k]), &alone[k]);
    }
    stop(&g);

    /* All are there when the first begins to write; the short ones have ended long before its fortieth piece of text. */
    struct gate gate = { .later = 40 };
    sem_init(&gate.open, 0, 0);
    start(&g, 2, &o);
    if (!lm_submit(g.lm, &r[0], wait_at, &gate, &job[0], &e)) fail_msg("%s", e.msg);
    for (int k = 1; k < ALL; k++) job[k] = submit(&g, &r[k]);
    sem_post(&gate.open);
    for (int i = 1; i <= ALL; i++) {
        const int k = i % ALL;
        if (k == ALL - 1) sem_post(&gate.open); /* what was collected until now is freed at the next step */
        collect(job[k], &s);
        assert_int_equal(s.ends, r[k].n);
        for (int c = 0; c < r[k].n; c++) {
            assert_int_equal(s.finish[c], LM_FINISH_LENGTH);
            assert_string_equal(s.out[c].data, alone[k].out[c].data);
        }
        seen_free(&s);
        seen_free(&alone[k]);
    }
    stop(&g);
    assert_true(gate.news > gate.later);
    sem_destroy(&gate.open);
}

/* Too few pages for three long sequences: the youngest give way and come back, and nobody notices. */
static void test_preemption_does_not_show(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[6][100];
    char *alone[6];
    struct lm_options o = { .n_ctx = 256, .max_batch = 8 };
    start(&g, 2, &o);
    for (int k = 0; k < 6; k++) {
        prompt_of(prompt[k], 100, 50 + (uint64_t)k);
        struct lm_request r = request(prompt[k], 40 + 9 * k, 120);
        struct seen s;
        collect(submit(&g, &r), &s);
        alone[k] = strdup(s.out[0].data);
        seen_free(&s);
    }
    const size_t page = lm_info(g.lm)->kv_bytes / (9 * 4);
    stop(&g);
    o.kv_bytes = 14 * page;
    start(&g, 2, &o);
    struct lm_job *job[6];
    for (int k = 0; k < 6; k++) {
        struct lm_request r = request(prompt[k], 40 + 9 * k, 120);
        job[k] = submit(&g, &r);
    }
    for (int k = 0; k < 6; k++) {
        struct seen s;
        collect(job[k], &s);
        assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
        assert_string_equal(s.out[0].data, alone[k]);
        seen_free(&s);
        free(alone[k]);
    }
    struct lm_stats st;
    lm_stats(g.lm, &st);
    assert_int_equal(st.kv_pages_total, 14);
    print_message("preemptions: %llu\n", (unsigned long long)st.preemptions);
    assert_true(st.preemptions > 0);
    stop(&g);
}

/* Counted on the scheduler's own thread, where notify is called: no timing. */
struct pair {
    struct engine g;
    struct lm_request slow;
    struct lm_job *slow_job;
    int quick_events, when_slow_began;
};

static void slow_news(void *arg)
{
    struct pair *p = arg;
    if (!p->when_slow_began) p->when_slow_began = p->quick_events;
}

static void quick_news(void *arg)
{
    struct pair *p = arg;
    struct err e = { 0 };
    if (p->quick_events++ == 0 && !lm_submit(p->g.lm, &p->slow, slow_news, p, &p->slow_job, &e))
        p->slow_job = NULL;
}

/* Whoever decodes goes on decoding while a long prompt is processed. */
static void test_long_prompts_do_not_stall(void **state)
{
    (void)state;
    struct pair p = { 0 };
    struct err e = { 0 };
    struct lm_job *quick_job;
    struct seen s;
    int32_t prompt[400];
    start(&p.g, 1, &(struct lm_options){ .prefill_chunk = 16 });
    prompt_of(prompt, 400, 21);
    struct lm_request quick = request(prompt, 10, 200);
    p.slow = request(prompt + 1, 390, 2);
    if (!lm_submit(p.g.lm, &quick, quick_news, &p, &quick_job, &e)) fail_msg("%s", e.msg);
    collect(quick_job, &s);
    seen_free(&s);
    assert_non_null(p.slow_job);
    collect(p.slow_job, &s);
    seen_free(&s);
    stop(&p.g);
    assert_true(p.when_slow_began >= 390 / 16 - 1); /* a token a step, and 16 rows of the other's prompt */
}

static void test_rounded_cache(void **state)
{
    (void)state;
    static const int threads[] = { 1, 2 };
    int32_t prompt[100];
    char *first = NULL;
    prompt_of(prompt, 100, 22);
    for (int i = 0; i < 2; i++) {
        struct engine g;
        struct seen s;
        start(&g, threads[i], &(struct lm_options){ .kv_type = KV_Q8_0, .prefill_chunk = i ? 13 : 64 });
        struct lm_request r = request(prompt, 100, 40);
        collect(submit(&g, &r), &s);
        if (!first) first = strdup(s.out[0].data);
        assert_string_equal(first, s.out[0].data);
        seen_free(&s);
        stop(&g);
    }
    free(first);
}

/* ---- sharing --------------------------------------------------------------------------------------------------------- */

static void test_choices_share_the_prompt(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[100];
    start(&g, 2, NULL);
    prompt_of(prompt, 100, 3);
    struct lm_request r = request(prompt, 100, 20);
    r.n = 5;
    struct seen s;
    collect(submit(&g, &r), &s);
    assert_int_equal(s.ends, 5);
    assert_int_equal(s.usage.prompt_tokens, 100);
    assert_int_equal(s.usage.completion_tokens, 100);
    assert_int_equal(s.usage.cached_tokens, 0);
    for (int c = 1; c < 5; c++)
        assert_string_not_equal(s.out[0].data, s.out[c].data); /* streams of their own */
    const struct lm_stats st = stats_at_rest(&g);
    assert_int_equal(st.step_rows - st.guesses_wrong,
                     100 + 5 * 19); /* the prompt once, its last token too; nothing follows the last one */
    seen_free(&s);
    stop(&g);
}

/* Choices draw their first token from logits that another one's prompt left: what each says is what its sampler says of the logits
 * that are computed anew for every token. */
static void test_choices_are_those_computed_alone(void **state)
{
    (void)state;
    enum { N = 4, NEW = 6, PROMPT = 70 };
    struct engine g;
    struct err e;
    int32_t ids[PROMPT + NEW];
    for (int places = 1; places <= 5; places += 2) { /* one after the other, some at once, all at once */
        start(&g, 2, &(struct lm_options){ .max_batch = places });
        prompt_of(ids, PROMPT, 31);
        struct lm_request r = request(ids, PROMPT, NEW);
        r.n = N;
        struct seen s;
        collect(submit(&g, &r), &s);
        const int n_vocab = lm_info(g.lm)->n_vocab, n_valid = tokenizer_n_vocab(lm_tokenizer(g.lm));
        float *logits = malloc((size_t)(PROMPT + NEW) * (size_t)n_vocab * sizeof *logits);
        for (int c = 0; c < N; c++) {
            struct sampler *sampler;
            struct pick pick;
            struct sampler_params p = r.sampling;
            const char *at = s.out[c].data;
            p.stream = (uint64_t)c;
            assert_true(sampler_new(&sampler, &p, n_vocab, device_isa(g.dev), &e));
            for (int i = 0; i < NEW; i++) {
                assert_true(lm_logits(g.lm, ids, PROMPT + i, logits, &e));
                sampler_pick(sampler, logits + (size_t)(PROMPT + i - 1) * (size_t)n_vocab, n_valid, NULL,
                             &pick);
                char want[64];
                snprintf(want, sizeof want, "[%d %a ", pick.id, (double)pick.logprob);
                at = strstr(at, want);
                assert_non_null(at);
                ids[PROMPT + i] = pick.id;
            }
            sampler_free(sampler);
        }
        free(logits);
        seen_free(&s);
        stop(&g);
    }
}

static void test_more_choices_than_places(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[70];
    start(&g, 2, &(struct lm_options){ .max_batch = 3 });
    prompt_of(prompt, 70, 23);
    struct lm_request r = request(prompt, 70, 12);
    r.n = 8;
    struct seen s;
    collect(submit(&g, &r), &s);
    assert_int_equal(s.ends, 8);
    assert_int_equal(s.usage.completion_tokens, 8 * 12);
    seen_free(&s);
    stop(&g);
}

static void test_isolation(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[80];
    start(&g, 1, NULL);
    prompt_of(prompt, 80, 4);
    static const struct {
        int space, cached;
    } turn[] = { { 1, 0 }, { 1, 79 }, { 2, 0 }, { 0, 0 }, { 2, 79 } };
    for (size_t i = 0; i < sizeof turn / sizeof *turn; i++) {
        struct lm_request r = request(prompt, 80, 4);
        r.space[0] = (unsigned char)turn[i].space;
        struct seen s;
        collect(submit(&g, &r), &s);
        assert_int_equal(s.usage.cached_tokens, turn[i].cached);
        seen_free(&s);
    }
    stop(&g);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------ */

static void test_stop_strings_and_lengths(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[30];
    struct seen s;
    start(&g, 1, NULL);
    prompt_of(prompt, 30, 6);
    struct lm_request r = request(prompt, 30, 40);
    r.sampling.n_top_logprobs = -1;
    collect(submit(&g, &r), &s);
    char *whole = strdup(s.out[0].data);
    assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
    seen_free(&s);
    /* Three characters out of its middle stop it there. */
    const size_t at = strlen(whole) / 2;
    char cut[4] = { 0 };
    memcpy(cut, whole + at, 3);
    const char *stops[] = { "never said", cut };
    r.stop = stops;
    r.n_stop = 2;
    struct lm_event ev;
    struct lm_job *j = submit(&g, &r);
    struct buf text = BUF_INIT(0);
    const char *hit = NULL;
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_TEXT) buf_append(&text, ev.text, ev.len);
        if (ev.type == LM_EV_CHOICE_END) {
            hit = ev.stop_hit;
            assert_int_equal(ev.finish, LM_FINISH_STOP);
        }
        lm_event_free(&ev);
    }
    assert_non_null(hit);
    assert_string_equal(hit, cut);
    const size_t expected = (size_t)(strstr(whole, cut) - whole);
    assert_int_equal(text.len, expected);
    if (expected) assert_memory_equal(text.data, whole, expected);
    buf_free(&text);
    lm_job_free(j);
    free(whole);
    stop(&g);
}

static void test_echo_scores_the_prompt(void **state)
{
    (void)state;
    struct engine g;
    struct err e;
    int32_t prompt[70];
    start(&g, 2, &(struct lm_options){ .prefill_chunk = 32 });
    prompt_of(prompt, 70, 8);
    const int n_vocab = lm_info(g.lm)->n_vocab;
    float *logits = malloc(70 * (size_t)n_vocab * sizeof *logits);
    assert_true(lm_logits(g.lm, prompt, 70, logits, &e));
    struct lm_request r = request(prompt, 70, 0);
    r.echo = true;
    struct lm_job *j = submit(&g, &r);
    struct lm_event ev;
    int seen = 0;
    while (lm_wait(j, &ev)) {
        for (int i = 0; i < ev.n_tokens; i++, seen++) {
            assert_int_equal(ev.tokens[i].id, prompt[seen]);
            assert_true(ev.tokens[i].from_prompt);
            if (seen == 0) continue;
            struct pick p;
            sampler_score(0, logits + (size_t)(seen - 1) * (size_t)n_vocab,
                          tokenizer_n_vocab(lm_tokenizer(g.lm)), prompt[seen], 3, &p);
            assert_true(p.logprob == ev.tokens[i].pick.logprob);
        }
        lm_event_free(&ev);
    }
    assert_int_equal(seen, 70);
    lm_job_free(j);
    free(logits);
    r.echo_last = 5;
    r.prompt.max_tokens = 2;
    struct seen s;
    collect(submit(&g, &r), &s);
    assert_int_equal(s.n_tokens, 7);
    assert_int_equal(s.usage.cached_tokens,
                     64); /* what comes before the scored part is taken from the tree */
    seen_free(&s);
    stop(&g);
}

static void count_up(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

struct told { /* of ends */
    atomic_int n, tokens;
};

static void tell_end(void *arg, const struct lm_usage *u)
{
    struct told *t = arg;
    atomic_fetch_add(&t->n, 1);
    atomic_fetch_add(&t->tokens, u->completion_tokens);
}

static void test_cancel_anywhere(void **state)
{
    (void)state;
    struct engine g;
    struct told told[6] = { 0 };
    struct gate gate = { .later = 0 };
    sem_init(&gate.open, 0, 0);
    struct err e;
    int32_t prompt[400];
    start(&g, 2, &(struct lm_options){ .max_batch = 2, .prefill_chunk = 16 });
    prompt_of(prompt, 400, 9);
    struct lm_job *j[6];
    atomic_int notified = 0;
    for (int k = 0; k < 6; k++) { /* two run, the others wait */
        struct lm_request r = request(prompt + k, 300, 100);
        r.ended = tell_end;
        r.ended_arg = &told[k];
        if (!lm_submit(g.lm, &r, k ? count_up : wait_at, k ? (void *)&notified : &gate, &j[k], &e))
            fail_msg("%s", e.msg);
    }
    struct seen s;
    struct lm_event ev;
    assert_true(lm_wait(j[0], &ev) && ev.type == LM_EV_TEXT);
    lm_event_free(&ev);
    lm_cancel(j[0]); /* decoding */
    lm_cancel(j[1]); /* in its prompt, or barely behind it */
    lm_cancel(j[4]); /* in the queue */
    sem_post(&gate.open);
    const int cancelled[] = { 4, 1, 0 };
    for (int k = 0; k < 3; k++) {
        collect(j[cancelled[k]], &s);
        assert_int_equal(s.finish[0], LM_FINISH_CANCELLED);
        seen_free(&s);
    }
    lm_job_free(j[5]); /* nobody waits for it */
    for (int k = 2; k < 4; k++) {
        collect(j[k], &s);
        assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
        assert_int_equal(s.usage.completion_tokens, 100);
        seen_free(&s);
    }
    assert_true(atomic_load(&notified) > 200);
    /* All pages are free or idle again. */
    struct lm_stats st;
    for (int i = 0; i < 100; i++) {
        lm_stats(g.lm, &st);
        if (st.running == 0 && st.waiting == 0 && st.cancelled == 4) break;
        usleep(10000);
    }
    assert_int_equal(st.running + st.waiting, 0);
    assert_int_equal(st.cancelled, 4);
    int tokens = 0;
    for (int k = 0; k < 6; k++) { /* each end is told once, that of a job whose owner left too */
        assert_int_equal(told[k].n, 1);
        tokens += told[k].tokens;
    }
    assert_true(told[0].tokens > 0);
    assert_int_equal(told[4].tokens, 0);
    assert_int_equal(tokens, st.completion_tokens);
    stop(&g);
    sem_destroy(&gate.open);
}

static void test_queue_limit_and_bad_requests(void **state)
{
    (void)state;
    struct engine g;
    struct err e = { 0 };
    int32_t prompt[600];
    start(&g, 1, &(struct lm_options){ .max_batch = 1, .queue_limit = 3 });
    prompt_of(prompt, 600, 10);
    struct lm_job *j[8];
    int n = 0;
    struct lm_request r = request(prompt, 300, 150);
    while (n < 8 && lm_submit(g.lm, &r, NULL, NULL, &j[n], &e)) n++;
    assert_true(n >= 4 && n < 8); /* three wait, and one runs, or will as soon as the thread sees it */
    assert_int_equal(e.code, ERR_BUSY);
    for (int k = 0; k < n; k++) lm_job_free(j[k]);

    static const struct {
        int n_prompt, n, bad_id;
        enum err_code code;
    } bad[] = {
        { 0, 1, 0, ERR_REQUEST },   { 10, 0, 0, ERR_REQUEST },       { 10, 129, 0, ERR_REQUEST },
        { 10, 1, -1, ERR_REQUEST }, { 10, 1, 1 << 20, ERR_REQUEST }, { 512, 1, 0, ERR_CONTEXT },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t keep = prompt[5];
        prompt[5] = bad[i].bad_id;
        struct lm_request q = request(prompt, bad[i].n_prompt, 5);
        q.n = bad[i].n;
        assert_false(lm_submit(g.lm, &q, NULL, NULL, &j[0], &e));
        assert_int_equal(e.code, bad[i].code);
        prompt[5] = keep;
    }
    struct lm_request q = request(prompt, 511, 50); /* room for one token */
    struct seen s;
    for (int tries = 0; tries < 500; tries++) { /* the cancelled ones may still count for a moment */
        if (lm_submit(g.lm, &q, NULL, NULL, &j[0], &e)) break;
        usleep(10000);
    }
    collect(j[0], &s);
    assert_int_equal(s.usage.completion_tokens, 1);
    assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
    seen_free(&s);
    stop(&g);
}

/* The scheduler's thread stands at its first news until the gate is opened, so that nothing but the callers changes the queue. */
static struct lm_job *hold_at_gate(struct engine *g, struct gate *gate, const int32_t *prompt)
{
    struct lm_request r = request(prompt, 8, 4);
    struct err e;
    struct lm_event ev;
    struct lm_job *j;
    *gate = (struct gate){ .later = -1 };
    sem_init(&gate->open, 0, 0);
    if (!lm_submit(g->lm, &r, wait_at, gate, &j, &e)) fail_msg("%s", e.msg);
    assert_true(lm_wait(j, &ev)); /* now it stands there */
    lm_event_free(&ev);
    return j;
}

static void open_gate(struct gate *gate, struct lm_job *j)
{
    struct seen s;
    sem_post(&gate->open);
    collect(j, &s);
    seen_free(&s);
    sem_destroy(&gate->open);
}

/* However long the queue is, a step looks at its head. */
static void test_long_queue_costs_a_step_nothing(void **state)
{
    (void)state;
    enum { JOBS = 200, CHOICES = 8 };
    struct engine g;
    struct gate gate;
    struct lm_job *job[JOBS];
    struct lm_stats st;
    struct seen s;
    int32_t prompt[8];
    start(&g, 1, &(struct lm_options){ .max_batch = 2 });
    prompt_of(prompt, 8, 77);
    struct lm_job *first = hold_at_gate(&g, &gate, prompt);
    struct lm_request r = request(prompt, 8, 3);
    r.n = CHOICES;
    for (int k = 0; k < JOBS; k++) job[k] = submit(&g, &r);
    int place;
    lm_progress(job[JOBS - 1], &place);
    assert_int_equal(place, JOBS);
    open_gate(&gate, first);
    for (int k = 0; k < JOBS; k++) {
        collect(job[k], &s);
        assert_int_equal(s.ends, CHOICES);
        seen_free(&s);
    }
    st = stats_at_rest(&g);
    assert_true(st.steps >= JOBS * CHOICES * 3 / 2);
    assert_true(st.queue_looks <= 4 * st.steps + 4 * JOBS * CHOICES);
    stop(&g);
}

/* The limit counts choices, a request's prompts are taken together or not at all, and who cancels has left when lm_cancel() returns. */
static void test_queue_counts_choices(void **state)
{
    (void)state;
    enum { LIMIT = 20 };
    struct engine g;
    struct gate gate;
    struct err e = { 0 };
    struct lm_job *job[4], *many[30];
    int32_t prompt[8];
    struct seen s;
    start(&g, 1, &(struct lm_options){ .max_batch = 1, .queue_limit = LIMIT });
    prompt_of(prompt, 8, 78);
    struct lm_job *first = hold_at_gate(&g, &gate, prompt);
    struct lm_request r = request(prompt, 8, 2);
    struct lm_prompt p[30];
    for (int i = 0; i < 30; i++) p[i] = r.prompt;
    assert_false(lm_submit_all(g.lm, &r, p, 30, NULL, NULL, many, &e));
    assert_int_equal(e.code, ERR_LIMIT); /* never */
    r.n = 8;
    job[0] = submit(&g, &r);
    job[1] = submit(&g, &r);
    assert_false(lm_submit(g.lm, &r, NULL, NULL, &job[2], &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_false(lm_submit_all(g.lm, &r, p, 2, NULL, NULL, many, &e));
    assert_int_equal(e.code, ERR_BUSY);
    lm_cancel(job[0]); /* the thread stands still */
    job[2] = submit(&g, &r);
    r.n = 1;
    assert_true(lm_submit_all(g.lm, &r, p, 4, NULL, NULL, many, &e));
    assert_false(lm_submit(g.lm, &r, NULL, NULL, &job[3], &e));
    open_gate(&gate, first);
    for (int k = 0; k < 3; k++) {
        collect(job[k], &s);
        assert_int_equal(s.ends, 8);
        assert_int_equal(s.finish[7], k ? LM_FINISH_LENGTH : LM_FINISH_CANCELLED);
        seen_free(&s);
    }
    for (int k = 0; k < 4; k++) {
        collect(many[k], &s);
        assert_int_equal(s.finish[0], LM_FINISH_LENGTH);
        seen_free(&s);
    }
    stop(&g);
}

/* A megabyte of stop string is there once, with its automaton of four, for all prompts and choices of a request. */
static void test_what_choices_share_is_kept_once(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20, PROMPTS = 10 };
    struct engine g;
    struct gate gate;
    struct err e;
    struct lm_job *job[PROMPTS];
    int32_t prompt[8];
    char *stop_text = malloc(BYTES + 1);
    assert_non_null(stop_text);
    memset(stop_text, 'x', BYTES);
    stop_text[BYTES] = 0;
    start(&g, 1, NULL);
    prompt_of(prompt, 8, 79);
    struct lm_job *first = hold_at_gate(&g, &gate, prompt);
    struct lm_request r = request(prompt, 8, 2);
    struct lm_prompt p[PROMPTS];
    for (int i = 0; i < PROMPTS; i++) p[i] = r.prompt;
    r.stop = (const char *const *)&stop_text;
    r.n_stop = 1;
    r.n = 100;
    const struct mallinfo2 before = mallinfo2();
    if (!lm_submit_all(g.lm, &r, p, PROMPTS, NULL, NULL, job, &e)) fail_msg("%s", e.msg);
    const struct mallinfo2 after = mallinfo2();
    const size_t grown = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    print_message("%d prompts of %d choices and a stop string of 1 MB: %zu KB\n", PROMPTS, r.n, grown >> 10);
    assert_true(grown < 8 * (size_t)BYTES);
    for (int i = 0; i < PROMPTS; i++) lm_job_free(job[i]);
    open_gate(&gate, first);
    free(stop_text);
    stop(&g);
}

static void copy_file(const char *from, const char *to)
{
    char block[4096];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;)
        assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* A model file that shrinks or is written to while it is served: what runs and what waits ends with an error that names the file, other
 * models go on, and the model can be loaded again once its file is right. One that is replaced by renaming goes on as it was. */
static void test_changed_files_fail_the_model_alone(void **state)
{
    (void)state;
    enum { CUT, WRITTEN, RENAMED, WAYS };
    static const char *const files[] = { "config.json", "tokenizer.json", "tokenizer_config.json",
                                         "model.safetensors" };
    for (int way = 0; way < WAYS; way++) {
        char dir[] = "/tmp/lm_test_XXXXXX", from[200], to[200], weights[200], new[200];
        assert_non_null(mkdtemp(dir));
        for (int i = 0; i < 4; i++) {
            snprintf(from, sizeof from, "tests/golden/lm/chat/%s", files[i]);
            snprintf(to, sizeof to, "%s/%s", dir, files[i]);
            copy_file(from, to);
        }
        snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
        snprintf(new, sizeof new, "%s/new", dir);
        static const struct timespec long_ago[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
        assert_int_equal(utimensat(AT_FDCWD, weights, long_ago, 0),
                         0); /* any write shows, however coarse the clock */

        struct engine g, other;
        struct gate gate;
        struct err e = { 0 };
        struct seen s;
        int32_t prompt[20];
        start(&other, 1, NULL);
        if (!pool_new(&g.pool, 1, &e) || !device_cpu_open(&g.dev, g.pool, ~0u, &e) ||
            !lm_load(&g.lm, dir, &(struct lm_options){ .max_batch = 2 }, g.dev, &e))
            fail_msg("%s", e.msg);
        prompt_of(prompt, 20, 12);
        struct lm_job *job[4];
        job[0] = hold_at_gate(&g, &gate, prompt);
        struct lm_request r = request(prompt, 20, 5);
        r.n = 3;
        for (int k = 1; k < 4; k++) job[k] = submit(&g, &r);
        if (way == CUT) {
            assert_int_equal(truncate(weights, 1000), 0);
        } else if (way == WRITTEN) {
            const int fd = open(weights, O_WRONLY);
            assert_int_equal(pwrite(fd, "?", 1, 100000), 1);
            close(fd);
        } else {
            copy_file("tests/golden/lm/chat/model.safetensors", new);
            assert_int_equal(rename(new, weights), 0);
        }
        assert_int_equal(lm_intact(g.lm, &e), way == RENAMED);
        sem_post(&gate.open);
        for (int k = 0; k < 4; k++) {
            collect(job[k], &s);
            assert_int_equal(s.error.code, way == RENAMED ? ERR_NONE : ERR_IO);
            if (way != RENAMED) {
                assert_non_null(strstr(s.error.msg, "model.safetensors was changed"));
                assert_null(strstr(s.error.msg, dir));
            }
            seen_free(&s);
        }
        assert_int_equal(lm_submit(g.lm, &r, NULL, NULL, &job[0], &e), way == RENAMED);
        if (way == RENAMED) {
            collect(job[0], &s);
            seen_free(&s);
        }
        collect(submit(&other, &r), &s);
        assert_int_equal(s.ends, 3);
        seen_free(&s);
        sem_destroy(&gate.open);
        stop(&g);
        stop(&other);
        for (int i = 0; i < 4; i++) {
            snprintf(to, sizeof to, "%s/%s", dir, files[i]);
            unlink(to);
        }
        rmdir(dir);
    }
}

static void test_unload_while_running(void **state)
{
    (void)state;
    struct engine g;
    int32_t prompt[64];
    start(&g, 2, NULL);
    prompt_of(prompt, 64, 11);
    struct lm_request r = request(prompt, 64, 400);
    struct told told = { 0 };
    r.ended = tell_end;
    r.ended_arg = &told;
    struct lm_job *a = submit(&g, &r), *b = submit(&g, &r);
    lm_job_free(a);
    lm_job_free(b); /* the scheduler may hold both still */
    stop(&g);
    assert_int_equal(told.n, 2);
}

/* An operation fails inside a step: its requests end with the device's error, and the next ones are served as if nothing had been. */
static void test_a_failing_step(void **state)
{
    (void)state;
    struct engine g;
    struct device *guard;
    struct err e = { 0 };
    struct lm *lm;
    if (!pool_new(&g.pool, 2, &e) || !device_cpu_open(&g.dev, g.pool, ~0u, &e) ||
        !device_guard_open(&guard, g.dev, &e) || !lm_load(&lm, MODEL, NULL, guard, &e))
        fail_msg("%s", e.msg);
    const int32_t prompt[] = { 5, 9, 17, 3 };
    const int n = sizeof prompt / sizeof *prompt, n_vocab = lm_info(lm)->n_vocab;
    const size_t size = (size_t)n * (size_t)n_vocab;
    float *before = malloc(size * sizeof *before), *after = calloc(size, sizeof *after);
    assert_true(before && after && lm_logits(lm, prompt, n, before, &e));
    static const int at[] = { 1, 2, 7, 14 }; /* the upload, operations of the step, the head */
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        device_guard_fail(guard, at[i]);
        assert_false(lm_logits(lm, prompt, n, after, &e));
        if (!strstr(e.msg, "an operation failed on guard")) fail_msg("%s", e.msg);
        assert_true(lm_logits(lm, prompt, n, after, &e));
        assert_memory_equal(after, before, size * sizeof *before);
    }
    free(before);
    free(after);
    lm_free(lm);
    device_close(guard);
    device_close(g.dev);
    pool_free(g.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failing_step),
        cmocka_unit_test(test_same_bytes_in_any_company),
        cmocka_unit_test(test_streams_leave_together),
        cmocka_unit_test(test_preemption_does_not_show),
        cmocka_unit_test(test_long_prompts_do_not_stall),
        cmocka_unit_test(test_rounded_cache),
        cmocka_unit_test(test_more_choices_than_places),
        cmocka_unit_test(test_choices_share_the_prompt),
        cmocka_unit_test(test_choices_are_those_computed_alone),
        cmocka_unit_test(test_long_queue_costs_a_step_nothing),
        cmocka_unit_test(test_queue_counts_choices),
        cmocka_unit_test(test_what_choices_share_is_kept_once),
        cmocka_unit_test(test_isolation),
        cmocka_unit_test(test_stop_strings_and_lengths),
        cmocka_unit_test(test_echo_scores_the_prompt),
        cmocka_unit_test(test_cancel_anywhere),
        cmocka_unit_test(test_queue_limit_and_bad_requests),
        cmocka_unit_test(test_changed_files_fail_the_model_alone),
        cmocka_unit_test(test_unload_while_running),
    };
    return cmocka_run_group_tests_name("lm", tests, NULL, NULL);
}
