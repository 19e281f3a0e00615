#include "text/sampler.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "device/cpu/each_isa.h"
#include "text/sampler_kern.h"

static const struct sampler_params off = {
    .temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n_top_logprobs = -1
};

static unsigned isa(void)
{
    unsigned sets;
    struct err e;
    if (!isa_choose(&sets, &e)) fail_msg("%s", e.msg);
    return sets;
}

static struct sampler *make(struct sampler_params p, int n)
{
    struct sampler *s;
    struct err e;
    if (!sampler_new(&s, &p, n, isa(), &e)) fail_msg("%s", e.msg);
    return s;
}

/* Roughly normal logits, the shape of a language model's: a few likely tokens and a long tail. */
static void fill(float *x, size_t n, uint64_t seed, float spread)
{
    for (size_t i = 0; i < n; i++) {
        double s = 0;
        for (uint64_t k = 0; k < 4; k++) s += philox_uniform(seed, k, i) - 0.5;
        x[i] = (float)(s * (double)spread);
    }
}

/* --- the reference: f64, full sorts, the order of sampler.h ------------------------------------------------- */

struct entry {
    double p, rank;
    int id;
    bool in;
};

static int by_rank(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->rank != y->rank) return x->rank > y->rank ? -1 : 1;
    return x->id - y->id;
}

static void keep_first(struct entry *t, int n, double mass)
{
    double sum = 0;
    bool first = true;
    qsort(t, (size_t)n, sizeof *t, by_rank);
    for (int i = 0; i < n; i++) {
        if (!t[i].in) continue;
        if (sum >= mass && !first) t[i].in = false;
        sum += t[i].p;
        first = false;
    }
}

static void renormalise(struct entry *t, int n)
{
    double z = 0;
    for (int i = 0; i < n; i++) z += t[i].in ? t[i].p : 0;
    for (int i = 0; i < n; i++) t[i].p = t[i].in ? t[i].p / z : 0;
}

/* prob[n]: the probability of each id under `p` for these (already penalised) logits. */
static void reference(const struct sampler_params *p, const float *l, int n, double *prob)
{
    struct entry *t = calloc((size_t)n, sizeof *t);
    double max = -INFINITY;
    for (int i = 0; i < n; i++)
        if ((double)l[i] > max) max = (double)l[i];
    for (int i = 0; i < n; i++) {
        t[i].id = i;
        t[i].in = l[i] > -INFINITY;
        t[i].p = t[i].in ? exp(((double)l[i] - max) / (double)p->temperature) : 0;
        t[i].rank = t[i].p;
    }
    renormalise(t, n);
    if (p->top_k > 0) {
        qsort(t, (size_t)n, sizeof *t, by_rank);
        for (int i = p->top_k; i < n; i++) t[i].in = false;
        renormalise(t, n);
    }
    if (p->typical_p < 1) {
        double h = 0;
        for (int i = 0; i < n; i++) h -= t[i].p > 0 ? t[i].p * log(t[i].p) : 0;
        for (int i = 0; i < n; i++) t[i].rank = t[i].in ? -fabs(-log(t[i].p) - h) : -INFINITY;
        keep_first(t, n, (double)p->typical_p);
        for (int i = 0; i < n; i++) t[i].rank = t[i].p;
        renormalise(t, n);
    }
    if (p->top_p < 1) {
        for (int i = 0; i < n; i++) t[i].rank = t[i].p;
        keep_first(t, n, (double)p->top_p);
        renormalise(t, n);
    }
    double best = 0;
    for (int i = 0; i < n; i++) best = fmax(best, t[i].p);
    for (int i = 0; i < n; i++) t[i].in = t[i].in && t[i].p >= (double)p->min_p * best;
    renormalise(t, n);
    for (int i = 0; i < n; i++) prob[t[i].id] = t[i].p;
    free(t);
}

/* Draws `n_draws` tokens and compares with prob[n]: nothing outside the support, and chi-square per degree of freedom
 * (classes expected under 8 times merged) below 1.5 for many classes. The seeds are fixed: no flakiness. */
static void check_distribution(struct sampler_params p, const float *l, int n, const double *prob,
                               int n_draws, const uint32_t *allowed)
{
    int *hits = calloc((size_t)n, sizeof *hits);
    float *scratch = malloc((size_t)n * sizeof *scratch);
    struct sampler *s = make(p, n);
    for (int d = 0; d < n_draws; d++) {
        struct pick out;
        memcpy(scratch, l, (size_t)n * sizeof *l);
        sampler_pick(s, scratch, n, allowed, &out);
        assert_in_range(out.id, 0, n - 1);
        if (prob[out.id] <= 0) fail_msg("drew %d, which the filters drop", (int)out.id);
        hits[out.id]++;
    }
    double chi = 0, rest_want = 0, rest_got = 0;
    int classes = 0;
    for (int i = 0; i < n; i++) {
        const double want = prob[i] * n_draws;
        if (want >= 8) {
            chi += (hits[i] - want) * (hits[i] - want) / want;
            classes++;
        } else {
            rest_want += want;
            rest_got += hits[i];
        }
    }
    if (rest_want >= 8) {
        chi += (rest_got - rest_want) * (rest_got - rest_want) / rest_want;
        classes++;
    }
    const double free_classes = classes - 1, bound = free_classes + 4 * sqrt(2 * free_classes) + 4;
    if (chi > bound) fail_msg("chi-square %.1f for %d classes, at most %.1f expected", chi, classes, bound);
    sampler_free(s);
    free(scratch);
    free(hits);
}

static void distributions(void **state)
{
    (void)state;
    const struct {
        float temperature, top_p, min_p, typical_p;
        int top_k;
        float spread;
    } cases[] = {
        { 1, 1, 0, 1, 0, 6 },       { 0.7f, 1, 0, 1, 0, 6 },      { 1.6f, 1, 0, 1, 0, 6 },
        { 1, 0.9f, 0, 1, 0, 6 },    { 1, 0.5f, 0, 1, 0, 1 },      { 1, 0.99f, 0, 1, 0, 1 },
        { 1, 1, 0, 1, 40, 6 },      { 0.8f, 0.95f, 0, 1, 40, 6 }, { 1, 1, 0.1f, 1, 0, 6 },
        { 1, 1, 0, 0.5f, 0, 6 },    { 1, 1, 0, 0.9f, 20, 6 },     { 0.8f, 0.9f, 0.05f, 0.95f, 100, 6 },
        { 1, 0, 0, 1, 0, 6 },       { 1, 1, 0, 1, 1, 6 },         { 0.05f, 0.9f, 0, 1, 40, 6 },
        { 1, 1, 1, 1, 0, 6 },       { 1, 0.3f, 0, 1, 0, 0 },      { 1, 1, 0, 1, 500, 0 },
        { 2, 0.999f, 0, 1, 0, 30 },
    };
    const int sizes[] = { 17, 300, 2503 };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (size_t z = 0; z < 3; z++) {
            const int n = sizes[z];
            float *l = malloc((size_t)n * sizeof *l);
            double *prob = malloc((size_t)n * sizeof *prob);
            fill(l, (size_t)n, 10 * c + z, cases[c].spread);
            struct sampler_params p = off;
            p.temperature = cases[c].temperature;
            p.top_p = cases[c].top_p;
            p.min_p = cases[c].min_p;
            p.typical_p = cases[c].typical_p;
            p.top_k = cases[c].top_k;
            p.seed = 1234 + c;
            p.stream = z;
            reference(&p, l, n, prob);
            check_distribution(p, l, n, prob, 4000, NULL);
            free(l);
            free(prob);
        }
    }
}

static void ties_rank_by_id(void **state)
{
    (void)state;
    float l[2000];
    for (int i = 0; i < 2000; i++) l[i] = i % 2 ? 3.0f : 2.0f;
    double prob[2000];
    struct sampler_params p = off;
    p.top_k = 7;
    reference(&p, l, 2000, prob);
    assert_true(prob[1] > 0 && prob[13] > 0 && !(prob[15] > 0));
    check_distribution(p, l, 2000, prob, 2000, NULL);
    p.top_k = 1003; /* all the odd ones and three even ones */
    reference(&p, l, 2000, prob);
    check_distribution(p, l, 2000, prob, 4000, NULL);
}

static void greedy_is_the_first_maximum(void **state)
{
    (void)state;
    enum { N = 1000 };
    for (uint64_t seed = 0; seed < 200; seed++) {
        float l[N], scratch[N];
        fill(l, N, seed, 8);
        for (int i = 0; i < N; i++) l[i] = floorf(l[i]); /* many ties */
        const int n_valid = 1 + (int)(seed * 37 % N);
        int best = 0;
        for (int i = 1; i < n_valid; i++)
            if (l[i] > l[best]) best = i;
        struct sampler_params p = off;
        p.temperature = 0;
        struct sampler *s = make(p, N);
        struct pick out;
        memcpy(scratch, l, sizeof l);
        sampler_pick(s, scratch, n_valid, NULL, &out);
        assert_int_equal(out.id, best);
        sampler_free(s);
    }
}

static void one_finite_logit_wins(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++) {
        struct sampler_params p = off;
        p.temperature = (float)t;
        p.top_p = 0.5f;
        p.top_k = 5;
        p.n_top_logprobs = 3;
        struct sampler *s = make(p, 100);
        float l[100];
        for (int i = 0; i < 100; i++) l[i] = -INFINITY;
        l[63] = -4;
        struct pick out;
        sampler_pick(s, l, 100, NULL, &out);
        assert_int_equal(out.id, 63);
        assert_float_equal(out.logprob, 0, 1e-6);
        assert_int_equal(out.n_top, 1);
        assert_int_equal(out.top[0].id, 63);
        sampler_free(s);
    }
}

static void broken_logits_end_in_some_valid_id(void **state)
{
    (void)state;
    const float kinds[] = { NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX };
    for (int kind = 0; kind < 5; kind++) {
        for (int cfg = 0; cfg < 16; cfg++) {
            for (int mixed = 0; mixed < 2; mixed++) {
                struct sampler_params p = off;
                p.temperature = cfg & 1 ? 0 : 0.9f;
                if (cfg & 2) p.top_k = 3;
                if (cfg & 4) p.top_p = 0.8f, p.typical_p = 0.9f;
                if (cfg & 8) p.mirostat_target = 5, p.mirostat_lr = 0.1f, p.repetition_penalty = 1.3f;
                p.n_top_logprobs = 5;
                struct sampler *s = make(p, 150);
                uint32_t allowed[5] = { 0, 0, 1u << 9, 0, 0 };
                for (int round = 0; round < 3; round++) {
                    float l[150];
                    for (int i = 0; i < 150; i++) l[i] = mixed && i % 3 ? (float)i / 50 : kinds[kind];
                    struct pick out;
                    sampler_pick(s, l, 140, round == 2 ? allowed : NULL, &out);
                    assert_in_range(out.id, 0, 139);
                    assert_in_range(out.n_top, 0, 5);
                    if (round == 2) assert_int_equal(out.id, 73);
                }
                sampler_free(s);
            }
        }
    }
}

static void bias_bans_and_forces(void **state)
{
    (void)state;
    float l[64];
    fill(l, 64, 5, 4);
    l[20] = 150; /* a ban holds against any logit */
    const struct logit_bias bias[] = { { 20, -100 }, { 7, 100 }, { -1, 5 }, { 64, 5 }, { INT32_MAX, 5 } };
    struct sampler_params p = off;
    p.bias = bias;
    p.n_bias = 5;
    struct sampler *s = make(p, 64);
    for (int i = 0; i < 500; i++) {
        float x[64];
        memcpy(x, l, sizeof l);
        struct pick out;
        sampler_pick(s, x, 64, NULL, &out);
        assert_int_equal(out.id, 7);
    }
    sampler_free(s);
}

static void penalties_follow_their_formulas(void **state)
{
    (void)state;
    struct sampler_params p = off;
    p.temperature = 0;
    p.repetition_penalty = 2;
    p.presence_penalty = 0.5f;
    p.frequency_penalty = 0.25f;
    p.n_top_logprobs = 4;
    struct sampler *s = make(p, 6);
    const int32_t prompt[] = { 1, 3, 3, 99, -5 };
    struct err e;
    assert_true(sampler_prompt(s, prompt, 5, &e));
    const float base[6] = { 3, 4, -1, -2, 2.9f, -50 };
    /* Prompt tokens: 4/2 and -2*2; then id 0 wins twice: 3/2 - 0.5 - 0.25k. */
    const float want[3][6] = { { 3, 2, -1, -4, 2.9f, -50 },
                               { 1.5f - 0.75f, 2, -1, -4, 2.9f, -50 },
                               { 0.75f, 2, -1, -4, 1.45f - 0.75f, -50 } };
    const int id[3] = { 0, 4, 1 };
    for (int step = 0; step < 3; step++) {
        float x[6];
        memcpy(x, base, sizeof x);
        struct pick out;
        sampler_pick(s, x, 6, NULL, &out);
        assert_int_equal(out.id, id[step]);
        assert_memory_equal(x, want[step], sizeof x); /* greedy leaves the penalised logits */
        double z = 0;
        for (int i = 0; i < 6; i++) z += exp((double)want[step][i]);
        assert_float_equal(out.logprob, (double)want[step][id[step]] - log(z), 1e-6);
        assert_int_equal(out.n_top, 4);
        assert_int_equal(out.top[0].id, id[step]);
        for (int i = 0; i < 4; i++)
            assert_float_equal(out.top[i].logprob, (double)want[step][out.top[i].id] - log(z), 1e-6);
    }
    sampler_free(s);
}

static void mask_is_obeyed(void **state)
{
    (void)state;
    enum { N = 333 };
    float l[N];
    fill(l, N, 77, 5);
    uint32_t allowed[(N + 31) / 32];
    for (size_t i = 0; i < sizeof allowed / 4; i++)
        philox_uniform(1, 2, i) < 0.2 ? (allowed[i] = UINT32_MAX)
                                      : (allowed[i] = (uint32_t)(i * 2654435761u));
    float masked[N];
    for (int i = 0; i < N; i++) masked[i] = allowed[i / 32] >> (i % 32) & 1 ? l[i] : -INFINITY;
    double prob[N];
    struct sampler_params p = off;
    p.top_p = 0.97f;
    reference(&p, masked, N, prob);
    check_distribution(p, l, N, prob, 4000, allowed);
}

static void logprobs_do_not_depend_on_the_draw(void **state)
{
    (void)state;
    enum { N = 5000 };
    float *l = malloc(N * sizeof *l), *x = malloc(N * sizeof *x);
    fill(l, N, 3, 10);
    const float temps[] = { 0, 0.3f, 1, 1.9f };
    for (int t = 0; t < 4; t++) {
        struct sampler_params p = off;
        p.temperature = temps[t];
        p.top_k = 30;
        p.n_top_logprobs = 20;
        p.seed = 9;
        struct sampler *s = make(p, N);
        for (int i = 0; i < 20; i++) {
            memcpy(x, l, N * sizeof *l);
            struct pick out, score;
            sampler_pick(s, x, N, NULL, &out);
            sampler_score(isa(), l, N, out.id, 20, &score);
            assert_float_equal(out.logprob, score.logprob, 2e-5);
            assert_int_equal(out.n_top, 20);
            for (int k = 0; k < 20; k++) {
                assert_int_equal(out.top[k].id, score.top[k].id);
                assert_float_equal(out.top[k].logprob, score.top[k].logprob, 1e-6);
                if (k) assert_true(out.top[k].logprob <= out.top[k - 1].logprob);
            }
        }
        sampler_free(s);
    }
    double z = 0;
    for (int i = 0; i < N; i++) z += exp((double)l[i]);
    struct pick score;
    sampler_score(isa(), l, N, 42, 0, &score);
    assert_float_equal(score.logprob, (double)l[42] - log(z), 1e-5);
    assert_int_equal(score.n_top, 0);
    free(l);
    free(x);
}

static void same_seed_same_tokens(void **state)
{
    (void)state;
    enum { N = 3000 };
    float *l = malloc(N * sizeof *l), *x = malloc(N * sizeof *x);
    int first[64], differ = 0;
    for (int round = 0; round < 3; round++) {
        struct sampler_params p = off;
        p.seed = round == 2 ? 8 : 7;
        p.top_p = 0.95f;
        struct sampler *s = make(p, N);
        for (int i = 0; i < 64; i++) {
            fill(l, N, (uint64_t)i, 5);
            memcpy(x, l, N * sizeof *l);
            struct pick out;
            sampler_pick(s, x, N, NULL, &out);
            if (round == 0) first[i] = out.id;
            if (round == 1) assert_int_equal(out.id, first[i]);
            if (round == 2) differ += out.id != first[i];
        }
        sampler_free(s);
    }
    assert_true(differ > 40);
    free(l);
    free(x);
}

static void mirostat_holds_its_target(void **state)
{
    (void)state;
    enum { N = 20000 };
    float *l = malloc(N * sizeof *l), *x = malloc(N * sizeof *x);
    fill(l, N, 4, 8);
    const float targets[] = { 3, 6 };
    for (int t = 0; t < 2; t++) {
        struct sampler_params p = off;
        p.mirostat_target = targets[t];
        p.mirostat_lr = 0.1f;
        p.seed = 2;
        struct sampler *s = make(p, N);
        double bits = 0;
        for (int i = 0; i < 1200; i++) {
            memcpy(x, l, N * sizeof *l);
            struct pick out;
            sampler_pick(s, x, N, NULL, &out);
            /* The surprise is measured among what mirostat kept, which the weights left in x tell. */
            double kept = 0;
            for (int k = 0; k < N; k++) kept += (double)x[k];
            if (i >= 200) bits += log2(kept / (double)x[out.id]) / 1000;
        }
        assert_float_equal(bits, (double)targets[t], 0.25);
        sampler_free(s);
    }
    free(l);
    free(x);
}

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    struct sampler *s;
    struct err e;
    struct sampler_params p = off;
    p.temperature = NAN;
    assert_false(sampler_new(&s, &p, 10, 0, &e));
    p = off;
    p.repetition_penalty = 0;
    assert_false(sampler_new(&s, &p, 10, 0, &e));
    p = off;
    assert_false(sampler_new(&s, &p, 0, 0, &e));
}

/* Every variant gives the plain one's bits, ragged tails included; the plain one agrees with libm. */
static void variants_agree(unsigned mask)
{
    const struct sampler_kern *k[2] = { &sampler_kern_plain, sampler_kern_pick(mask) };
    const int n_k = 2;
    const size_t sizes[] = { 1, 7, 15, 16, 17, 63, 64, 100, 1023, 1024, 1025, 3000, 5555 };
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++) {
        const size_t n = sizes[z];
        float *x = malloc(n * sizeof *x), *w[2];
        int32_t *idx[2];
        fill(x, n, z, 20);
        for (size_t i = 0; i < n; i += 97) x[i] = i % 2 ? NAN : -INFINITY;
        for (int v = 0; v < n_k; v++) {
            w[v] = malloc(n * sizeof **w);
            idx[v] = malloc(n * sizeof **idx);
            const float max = k[v]->max(x, n);
            const double sum = k[v]->exp_sum(x, n, max, 0.7f, w[v]);
            assert_true(k[v]->exp_sum(x, n, max, 0.7f, NULL) == sum);
            const float t[SAMPLER_CUTS] = { 0.5f, 0.1f, 0.01f, 0 };
            double mass[SAMPLER_CUTS], mass0[SAMPLER_CUTS];
            size_t count[SAMPLER_CUTS], count0[SAMPLER_CUTS];
            k[v]->cut(w[v], w[v], n, t, mass, count);
            k[0]->cut(w[0], w[0], n, t, mass0, count0);
            assert_memory_equal(mass, mass0, sizeof mass);
            assert_memory_equal(count, count0, sizeof count);
            assert_memory_equal(w[v], w[0], n * sizeof **w);
            const size_t m = k[v]->gather(x, n, -3, 2, idx[v]);
            assert_int_equal(m, k[0]->gather(x, n, -3, 2, idx[0]));
            assert_memory_equal(idx[v], idx[0], m * sizeof **idx);
            assert_int_equal(k[v]->first_ge(x, n / 3, n, 2), k[0]->first_ge(x, n / 3, n, 2));
            for (int d = 0; d < 20 && sum > 0; d++)
                assert_int_equal(k[v]->draw(w[v], n, sum * d / 19), k[0]->draw(w[0], n, sum * d / 19));
            if (v == 0) {
                float want_max = -INFINITY;
                for (size_t i = 0; i < n; i++)
                    if (x[i] > want_max) want_max = x[i];
                assert_true(max == want_max);
                for (size_t i = 0; i < n && max > -INFINITY; i++) {
                    const double want = exp(((double)x[i] - (double)max) * (double)0.7f);
                    if (isnan(want))
                        assert_true(!(w[0][i] > 0));
                    else if (fabs((double)w[0][i] - want) > want * 2e-7 * (2 + fabs(log(want))) + 1e-37)
                        fail_msg("exp: %g for %g", (double)w[0][i], want);
                }
            }
        }
        for (int v = 0; v < n_k; v++) {
            k[v]->zero_below(x, w[v], n, 1);
            assert_memory_equal(w[v], w[0], n * sizeof **w);
            assert_true(k[v]->sum(w[v], n) == k[0]->sum(w[0], n));
        }
        for (int v = 0; v < n_k; v++) {
            free(w[v]);
            free(idx[v]);
        }
        free(x);
    }
}

/* `sampler_test bench`: microseconds a token, best of many. */
static int bench(void)
{
    const struct {
        const char *name;
        float temperature, top_p;
        int top_k, n_top;
    } cases[] = { { "greedy", 0, 1, 0, -1 },
                  { "temperature", 0.8f, 1, 0, -1 },
                  { "temperature, top_p", 0.8f, 0.95f, 0, -1 },
                  { "temperature, top_k 40", 0.8f, 1, 40, -1 },
                  { "top_k 40, top_p", 0.8f, 0.95f, 40, -1 },
                  { "top_p, 5 logprobs", 0.8f, 0.95f, 0, 5 } };
    const int sizes[] = { 49152, 151936 };
    for (int z = 0; z < 2; z++) {
        for (int spread = 2; spread <= 8; spread += 6) {
            float *l = malloc((size_t)sizes[z] * sizeof *l), *x = malloc((size_t)sizes[z] * sizeof *x);
            fill(l, (size_t)sizes[z], 1, (float)spread);
            for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
                struct sampler_params p = off;
                p.temperature = cases[c].temperature;
                p.top_p = cases[c].top_p;
                p.top_k = cases[c].top_k;
                p.n_top_logprobs = cases[c].n_top;
                struct sampler *s = make(p, sizes[z]);
                double best = 1e9;
                for (int i = 0; i < 300; i++) {
                    struct pick out;
                    memcpy(x, l, (size_t)sizes[z] * sizeof *x);
                    const double t0 = clock_seconds();
                    sampler_pick(s, x, sizes[z], NULL, &out);
                    best = fmin(best, clock_seconds() - t0);
                }
                printf("%6d logits, spread %d, %-22s %7.1f us\n", sizes[z], spread, cases[c].name,
                       best * 1e6);
                sampler_free(s);
            }
            free(l);
            free(x);
        }
    }
    return 0;
}

static const void *pick(unsigned sets) { return sampler_kern_pick(sets); }

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "bench") == 0) return bench();
    static const struct each_isa_test each[] = { { "variants_agree", variants_agree } };
    const struct CMUnitTest once[] = {
        cmocka_unit_test(distributions),
        cmocka_unit_test(ties_rank_by_id),
        cmocka_unit_test(greedy_is_the_first_maximum),
        cmocka_unit_test(one_finite_logit_wins),
        cmocka_unit_test(broken_logits_end_in_some_valid_id),
        cmocka_unit_test(bias_bans_and_forces),
        cmocka_unit_test(penalties_follow_their_formulas),
        cmocka_unit_test(mask_is_obeyed),
        cmocka_unit_test(logprobs_do_not_depend_on_the_draw),
        cmocka_unit_test(same_seed_same_tokens),
        cmocka_unit_test(mirostat_holds_its_target),
        cmocka_unit_test(bad_parameters_are_refused),
    };
    return each_isa("sampler", each, 1, ISA_AVX2 | ISA_AVX512 | ISA_NEON, pick, once,
                    sizeof once / sizeof *once);
}
