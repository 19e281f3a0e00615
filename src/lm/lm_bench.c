#include "lm/lm_bench.h"

#include "base/clock.h"
#include "base/rng.h"

static bool start(struct lm_bench *b, int n_prompt, int n_new, struct lm_job **out, struct err *e)
{
    int32_t ids[LM_BENCH_MAX_PROMPT];
    if (n_prompt < 1 || n_prompt > LM_BENCH_MAX_PROMPT)
        return err_set(e, ERR_REQUEST, "a prompt of %d tokens, expected 1 to %d", n_prompt,
                       LM_BENCH_MAX_PROMPT);
    int32_t n_vocab = tokenizer_n_vocab(lm_tokenizer(b->lm));
    if (n_vocab > lm_info(b->lm)->n_vocab) n_vocab = lm_info(b->lm)->n_vocab;
    b->round++;
    for (int i = 0; i < n_prompt; i++)
        ids[i] = (int32_t)(philox_uniform(b->round, 0, (uint64_t)i) * (n_vocab < 4096 ? n_vocab : 4096));
    struct lm_request r = { .prompt = { .ids = ids, .n = (size_t)n_prompt, .max_tokens = n_new },
                            .n = 1,
                            .ignore_end = true };
    r.sampling.top_p = r.sampling.typical_p = r.sampling.repetition_penalty = 1;
    r.sampling.n_top_logprobs = -1;
    return lm_submit(b->lm, &r, NULL, NULL, out, e);
}

/* Waits for the job's end and frees it. */
static bool finish(struct lm_job *j, struct lm_usage *u, struct err *e)
{
    struct lm_event ev;
    bool ok = true;
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_DONE) *u = ev.usage;
        if (ev.type == LM_EV_ERROR) {
            *e = ev.error;
            ok = false;
        }
        lm_event_free(&ev);
    }
    lm_job_free(j);
    return ok;
}

bool lm_bench_prompt(struct lm_bench *b, int n_prompt, double *rate, struct err *e)
{
    *rate = 0;
    for (int i = 0; i < b->repetitions; i++) {
        struct lm_job *j;
        struct lm_usage u = { 0 };
        if (!start(b, n_prompt, 1, &j, e) || !finish(j, &u, e)) return false;
        if (n_prompt / u.prefill_s > *rate) *rate = n_prompt / u.prefill_s;
    }
    return true;
}

bool lm_bench_generate(struct lm_bench *b, int n_new, double *rate, struct err *e)
{
    *rate = 0;
    for (int i = 0; i < b->repetitions; i++) {
        struct lm_job *j;
        struct lm_usage u = { 0 };
        if (!start(b, 32, n_new, &j, e) || !finish(j, &u, e)) return false;
        const double r = (u.completion_tokens - 1) / (u.total_s - u.ttft_s);
        if (r > *rate) *rate = r;
    }
    return true;
}

bool lm_bench_long(struct lm_bench *b, int n_prompt, int n_new, double *prompt, double *generate,
                   struct err *e)
{
    *prompt = *generate = 0;
    for (int i = 0; i < b->repetitions; i++) {
        struct lm_job *j;
        struct lm_usage u = { 0 };
        if (!start(b, n_prompt, n_new, &j, e) || !finish(j, &u, e)) return false;
        const double p = n_prompt / u.prefill_s, g = (u.completion_tokens - 1) / (u.total_s - u.ttft_s);
        if (p > *prompt) *prompt = p;
        if (g > *generate) *generate = g;
    }
    return true;
}

bool lm_bench_streams(struct lm_bench *b, int n, int n_prompt, int n_new, double *rate, struct err *e)
{
    if (n < 1 || n > LM_BENCH_MAX_STREAMS)
        return err_set(e, ERR_REQUEST, "%d streams, expected 1 to %d", n, LM_BENCH_MAX_STREAMS);
    *rate = 0;
    for (int i = 0; i < b->repetitions; i++) {
        struct lm_job *job[LM_BENCH_MAX_STREAMS];
        const double t0 = clock_seconds();
        int started = 0, tokens = 0;
        bool ok = true;
        while (started < n && ok) {
            ok = start(b, n_prompt, n_new, &job[started], e);
            started += ok;
        }
        for (int k = 0; k < started; k++) {
            struct lm_usage u = { 0 };
            ok = finish(job[k], &u, e) && ok;
            tokens += u.completion_tokens;
        }
        if (!ok) return false;
        const double r = tokens / (clock_seconds() - t0);
        if (r > *rate) *rate = r;
    }
    return true;
}
