/* fairness_test.c - several shares ask one model: a flood of one leaves another its part, by weight and priority, and nobody's bytes change.
 * Time is counted in the scheduler's steps. */
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "lm/test_engine.h"

#define MODEL "tests/golden/lm/chat/model.safetensors"

enum { PROMPT = 40, MOST = 64 };

/* A model whose thread stands still at chosen events of one job, so that who asks when does not depend on time. */
struct stage {
    struct engine g;
    sem_t stands, go;
    int at[2], n_at, news; /* events of the first job at which it stands */
    int32_t prompt[MOST][PROMPT];
    struct lm_job *job[MOST];
    struct told {
        struct stage *stage;
        uint64_t steps; /* when it ended */
        int nth;        /* of those that ended */
    } told[MOST];
    int n, n_ended;
};

static void stand(void *arg)
{
    struct stage *s = arg;
    for (int i = 0; i < s->n_at; i++)
        if (s->news == s->at[i]) {
            sem_post(&s->stands);
            while (sem_wait(&s->go)) {
            }
        }
    s->news++;
}

static void ended(void *arg, const struct lm_usage *u)
{
    struct told *t = arg;
    struct lm_stats st;
    (void)u;
    lm_stats(t->stage->g.lm, &st);
    t->steps = st.steps;
    t->nth = t->stage->n_ended++;
}

static void set(struct stage *s, const struct lm_options *o)
{
    memset(s, 0, sizeof *s);
    sem_init(&s->stands, 0, 0);
    sem_init(&s->go, 0, 0);
    start_model(&s->g, MODEL, 2, o);
    for (int i = 0; i < MOST; i++) prompt_of(s->prompt[i], PROMPT, 300 + (uint64_t)i);
}

/* Every prompt is another, and the first job is the one that the thread stands at. */
static int ask(struct stage *s, struct share_claim who, int max_tokens)
{
    const int i = s->n++;
    struct lm_request r = request(s->prompt[i], PROMPT, max_tokens);
    struct err e = { 0 };
    r.share = who;
    s->told[i].stage = s;
    r.ended = ended;
    r.ended_arg = &s->told[i];
    if (!lm_submit(s->g.lm, &r, i ? NULL : stand, s, &s->job[i], &e)) fail_msg("%s", e.msg);
    return i;
}

static uint64_t steps_now(struct stage *s)
{
    struct lm_stats st;
    lm_stats(s->g.lm, &st);
    return st.steps;
}

static void wait_until_it_stands(struct stage *s)
{
    while (sem_wait(&s->stands)) {
    }
}

/* All that was asked ends, and says what it says alone. */
static void strike(struct stage *s, const int *max_tokens)
{
    struct seen seen, alone;
    struct buf out[MOST];
    for (int i = 0; i < s->n; i++) {
        collect(s->job[i], &seen);
        assert_int_equal(seen.error.code, ERR_NONE);
        out[i] = seen.out[0];
        seen.out[0] = (struct buf){ 0 };
        seen_free(&seen);
    }
    stats_at_rest(&s->g);
    for (int i = 0; i < s->n; i++) {
        struct lm_request r = request(s->prompt[i], PROMPT, max_tokens[i]);
        collect(submit(&s->g, &r), &alone);
        assert_string_equal(out[i].data, alone.out[0].data);
        seen_free(&alone);
        buf_free(&out[i]);
    }
    stop(&s->g);
    sem_destroy(&s->stands);
    sem_destroy(&s->go);
}

static const struct share_claim flood = { .id = 1 }, other = { .id = 2 };

/* Steps from when it asks to its end, of a request of another share: alone, and in a flood that has every place and thrice as many waiting. */
static void test_flood(void **state)
{
    (void)state;
    enum { PLACES = 4, WAIT = 12, TOKENS = 100, MINE = 60 };
    const struct lm_options o = { .max_batch = PLACES, .prefill_chunk = 16 };
    struct stage s;
    uint64_t took[2];
    for (int flooded = 0; flooded < 2; flooded++) {
        int tokens[MOST];
        set(&s, &o);
        s.at[s.n_at++] = 0;
        s.at[s.n_at++] = 30;
        tokens[ask(&s, flood, TOKENS)] = TOKENS;
        wait_until_it_stands(&s);
        for (int i = 0; flooded && i < PLACES - 1 + WAIT; i++) tokens[ask(&s, flood, TOKENS)] = TOKENS;
        sem_post(&s.go);
        wait_until_it_stands(&s); /* the flood has all places, and its first is in its middle */
        const uint64_t asked = steps_now(&s);
        const int mine = ask(&s, other, MINE);
        tokens[mine] = MINE;
        sem_post(&s.go);
        strike(&s, tokens);
        took[flooded] = s.told[mine].steps - asked;
        if (flooded) assert_true(s.told[mine].nth < PLACES); /* and not behind those that waited */
    }
    print_message("%d tokens: %d steps beside one, %d in a flood\n", (int)MINE, (int)took[0], (int)took[1]);
    assert_true(took[0] >= MINE && took[1] * 2 <= took[0] * 3);
}

/* Two floods: what is served goes by weight. */
static void test_weights(void **state)
{
    (void)state;
    enum { EACH = 24, TOKENS = 40 };
    struct stage s;
    int tokens[MOST], light = 0, last = -1;
    set(&s, &(struct lm_options){ .max_batch = 4, .prefill_chunk = 64 });
    s.at[s.n_at++] = 0;
    tokens[ask(&s, (struct share_claim){ .id = 1, .weight = 3 }, TOKENS)] = TOKENS;
    wait_until_it_stands(&s);
    for (int i = 1; i < 2 * EACH; i++)
        tokens[ask(&s, (struct share_claim){ .id = i < EACH ? 1 : 2, .weight = i < EACH ? 3 : 1 }, TOKENS)] =
            TOKENS;
    sem_post(&s.go);
    strike(&s, tokens);
    for (int i = 0; i < EACH; i++)
        if (s.told[i].nth > last) last = s.told[i].nth;
    for (int i = EACH; i < 2 * EACH; i++) light += s.told[i].nth < last;
    /* When the heavy one has had all of its 24, the light one has had 8, or as many as are on the way. */
    print_message("%d of the light share's beside all %d of the heavy one's\n", light, (int)EACH);
    assert_in_range(light, EACH / 3 - 3, EACH / 3 + 3);
}

/* One place: a higher priority has it at once, and a share that had its turn gives way to one that waits. */
static void test_one_place(void **state)
{
    (void)state;
    struct stage s;
    int tokens[MOST];
    set(&s, &(struct lm_options){ .max_batch = 1, .prefill_chunk = 64 });
    s.at[s.n_at++] = 0;
    s.at[s.n_at++] = 20;
    tokens[ask(&s, flood, 440)] = 440;
    tokens[ask(&s, flood, 20)] = 20;
    wait_until_it_stands(&s);
    sem_post(&s.go);
    wait_until_it_stands(&s);
    const uint64_t asked = steps_now(&s);
    const int waits = ask(&s, other, 20);
    const int first = ask(&s, (struct share_claim){ .id = 3, .priority = 1 }, 20);
    const int last = ask(&s, (struct share_claim){ .id = 4, .priority = -1 }, 20);
    tokens[waits] = tokens[first] = tokens[last] = 20;
    sem_post(&s.go);
    strike(&s, tokens);
    assert_int_equal(s.told[first].nth, 0);
    assert_true(s.told[first].steps - asked <= 25);
    assert_int_equal(s.told[waits].nth, 1); /* before the long one, which came before it */
    assert_int_equal(s.told[last].nth, s.n - 1);
}

/* Where pages are short the share that has most gives them up, not the one that came last. */
static void test_pages(void **state)
{
    (void)state;
    enum { TOKENS = 90 };
    struct stage s;
    struct engine g;
    int tokens[MOST];
    struct lm_options o = { .max_batch = 8, .prefill_chunk = 32, .n_ctx = 256 };
    start_model(&g, MODEL, 1, &o);
    o.kv_bytes = lm_info(g.lm)->kv_bytes / 2; /* four contexts it has by itself */
    stop(&g);
    set(&s, &o);
    s.at[s.n_at++] = 0;
    tokens[ask(&s, flood, TOKENS)] = TOKENS;
    wait_until_it_stands(&s);
    for (int i = 0; i < 16; i++) tokens[ask(&s, flood, TOKENS)] = TOKENS;
    const int mine = ask(&s, other, TOKENS);
    tokens[mine] = TOKENS;
    sem_post(&s.go);
    strike(&s, tokens);
    assert_in_range(s.told[mine].nth, 0, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_flood), cmocka_unit_test(test_weights),
                                        cmocka_unit_test(test_one_place), cmocka_unit_test(test_pages) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
