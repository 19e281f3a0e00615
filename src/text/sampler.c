/* Log-probabilities are those of the penalised and masked logits before temperature: they say what the model thought of
 * a token among those the request allowed, and stay comparable between requests that differ only in how they draw
 * (after top_k = 1 every token would have probability 1).
 *
 * Nothing here sorts the vocabulary. After temperature the logits become weights exp((l - max) / T); a filter is a
 * threshold on them ("keep the 40 largest", "keep the largest until 95 % of the mass"), found by counting and weighing
 * what lies above four thresholds at a time in vectorised passes, until the rest is small enough to sort. What a filter
 * drops gets weight 0, and the draw walks the weights in id order. The cost is the same for peaked and flat
 * distributions. Equal weights rank by id, lowest first. */
#include "text/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "text/sampler_kern.h"

/* Below this the weights of all but exact ties vanish: the same as greedy, and 1/T stays far from overflow. */
#define MIN_TEMPERATURE 1e-4f
/* How many undecided candidates are sorted at last; a pass over the vocabulary costs about as much as sorting 100. */
#define SORT_BELOW 128
/* Once so small a part of the entries is undecided, it is copied out and searched alone. */
#define PART 8
/* OpenAI's range for logit_bias ends at -100, which is to ban the token. */
#define BAN_BIAS (-100.0f)

/* What a token did so far, for the penalties. Open addressing, linear probing; id -1 is a free slot. */
struct seen {
    int32_t id;
    int32_t n_out; /* times in the output; 0 for a token of the prompt alone */
};

struct sampler {
    struct sampler_params p;
    const struct sampler_kern *k;
    struct seen *seen; /* NULL until needed */
    size_t n_seen, cap_seen;
    int32_t n_vocab;
    uint64_t n_picked;
    float mu;     /* mirostat: the surprise allowed now, in bits */
    int32_t *idx; /* [n_vocab] scratch for gathering */
    int32_t *id;  /* [n_vocab] tokens of the candidates once they are few */
    float *part;  /* [2, n_vocab / PART + 1] keys and weights around a threshold */
    float *key;   /* [n_vocab], only with typical_p */
};

static bool penalises(const struct sampler_params *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f || p->frequency_penalty != 0.0f;
}

static bool is_typical(const struct sampler_params *p) { return p->typical_p < 1.0f && p->typical_p > 0.0f; }

bool sampler_check(const struct sampler_params *p, struct err *e)
{
    if (!(p->temperature >= 0) || !isfinite(p->temperature) || !(p->repetition_penalty > 0) ||
        !isfinite(p->repetition_penalty) || !isfinite(p->presence_penalty) ||
        !isfinite(p->frequency_penalty) || isnan(p->top_p) || isnan(p->min_p) || isnan(p->typical_p) ||
        !isfinite(p->mirostat_target) || !isfinite(p->mirostat_lr))
        return err_set(e, ERR_REQUEST,
                       "sampler: temperature and penalties must be finite numbers in their range");
    return true;
}

bool sampler_new(struct sampler **out, const struct sampler_params *p, int32_t n_vocab, unsigned isa,
                 struct err *e)
{
    if (n_vocab < 1) return err_set(e, ERR_REQUEST, "sampler: the vocabulary is empty");
    if (!sampler_check(p, e)) return false;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "sampler: out of memory");
    s->p = *p;
    if (s->p.n_top_logprobs > SAMPLER_MAX_TOP) s->p.n_top_logprobs = SAMPLER_MAX_TOP;
    s->k = sampler_kern_pick(isa);
    s->n_vocab = n_vocab;
    s->mu = 2 * p->mirostat_target;
    s->idx = malloc((size_t)n_vocab * sizeof *s->idx);
    s->id = malloc((size_t)n_vocab * sizeof *s->id);
    s->part = malloc(2 * ((size_t)n_vocab / PART + 1) * sizeof *s->part);
    if (is_typical(p)) s->key = malloc((size_t)n_vocab * sizeof *s->key);
    if (!s->idx || !s->id || !s->part || (is_typical(p) && !s->key)) {
        sampler_free(s);
        return err_set(e, ERR_NOMEM, "sampler: no memory for a vocabulary of %d", (int)n_vocab);
    }
    *out = s;
    return true;
}

void sampler_free(struct sampler *s)
{
    if (!s) return;
    free(s->seen);
    free(s->idx);
    free(s->id);
    free(s->part);
    free(s->key);
    free(s);
}

static struct seen *seen_slot(struct seen *t, size_t cap, int32_t id)
{
    size_t i = ((uint32_t)id * 2654435761u) & (cap - 1);
    while (t[i].id >= 0 && t[i].id != id) i = (i + 1) & (cap - 1);
    return &t[i];
}

/* The slot of `id`, made when missing; NULL when there is no memory. */
static struct seen *seen_add(struct sampler *s, int32_t id)
{
    if (2 * s->n_seen >= s->cap_seen) {
        size_t cap = s->cap_seen ? 2 * s->cap_seen : 256;
        struct seen *t = malloc(cap * sizeof *t);
        if (!t) return NULL;
        for (size_t i = 0; i < cap; i++) t[i] = (struct seen){ .id = -1 };
        for (size_t i = 0; i < s->cap_seen; i++)
            if (s->seen[i].id >= 0) *seen_slot(t, cap, s->seen[i].id) = s->seen[i];
        free(s->seen);
        s->seen = t;
        s->cap_seen = cap;
    }
    struct seen *slot = seen_slot(s->seen, s->cap_seen, id);
    if (slot->id < 0) {
        *slot = (struct seen){ .id = id };
        s->n_seen++;
    }
    return slot;
}

bool sampler_prompt(struct sampler *s, const int32_t *ids, size_t n, struct err *e)
{
    if (s->p.repetition_penalty == 1.0f) return true;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= s->n_vocab) continue;
        if (!seen_add(s, ids[i])) return err_set(e, ERR_NOMEM, "sampler: no memory to record the prompt");
    }
    return true;
}

static void apply_bias_and_penalties(const struct sampler *s, float *l, int32_t n)
{
    for (int i = 0; i < s->p.n_bias; i++) {
        const struct logit_bias *b = &s->p.bias[i];
        if (b->id < 0 || b->id >= n) continue;
        l[b->id] = b->bias <= BAN_BIAS ? -INFINITY : l[b->id] + b->bias;
    }
    if (!s->seen || !penalises(&s->p)) return;
    for (size_t i = 0; i < s->cap_seen; i++) {
        const struct seen *t = &s->seen[i];
        if (t->id < 0 || t->id >= n) continue;
        float x = l[t->id];
        x = x > 0 ? x / s->p.repetition_penalty : x * s->p.repetition_penalty;
        if (t->n_out) x -= s->p.presence_penalty + s->p.frequency_penalty * (float)t->n_out;
        l[t->id] = x;
    }
}

static void apply_mask(float *l, int32_t n, const uint32_t *allowed)
{
    for (int32_t i = 0; i < n; i += 32) {
        const uint32_t bits = allowed[i / 32];
        if (bits == UINT32_MAX) continue;
        const int32_t end = n - i < 32 ? n : i + 32;
        for (int32_t j = i; j < end; j++) l[j] = bits >> (j - i) & 1 ? l[j] : -INFINITY;
    }
}

/* The n_top largest finite logits, best first, equal ones by id. */
static void top_logits(const struct sampler_kern *k, const float *l, size_t n, int n_top, struct pick *out)
{
    out->n_top = 0;
    if (n_top <= 0) return;
    float worst = -FLT_MAX;
    for (size_t i = k->first_ge(l, 0, n, worst); i < n; i = k->first_ge(l, i + 1, n, worst)) {
        int at = out->n_top < n_top ? out->n_top++ : n_top - 1;
        for (; at > 0 && out->top[at - 1].logprob < l[i]; at--) out->top[at] = out->top[at - 1];
        out->top[at] = (struct token_prob){ .id = (int32_t)i, .logprob = l[i] };
        if (out->n_top == n_top) worst = nextafterf(out->top[n_top - 1].logprob, INFINITY);
    }
}

/* Turns logits into log-probabilities: x - max - log z, where z = sum exp(l - max). */
static float log_prob(float x, float max, double log_z) { return (float)((double)x - (double)max - log_z); }

static void finish_top(struct pick *out, float max, double log_z)
{
    for (int i = 0; i < out->n_top; i++) out->top[i].logprob = log_prob(out->top[i].logprob, max, log_z);
}

/* Floats as integers of the same order, so that halving an interval of floats always ends. */
static int32_t order_of(float x)
{
    int32_t b;
    memcpy(&b, &x, 4);
    return b < 0 ? (int32_t)(0x80000000u - (uint32_t)b) : b;
}

static float float_of(int32_t o)
{
    uint32_t b = o < 0 ? 0x80000000u - (uint32_t)o : (uint32_t)o;
    float x;
    memcpy(&x, &b, 4);
    return x;
}

/* What is still in the draw: weights, zero for what a filter dropped. */
struct cands {
    float *w;
    float *key;        /* what the filter at work ranks by; == w but for typical_p */
    const int32_t *id; /* the token of each entry, ascending; NULL while entry i is token i */
    size_t n;
};

/* Leaves only the entries with key >= least, which are few: later passes then cost next to nothing. */
static void compact(struct sampler *s, struct cands *c, float least)
{
    const size_t m = s->k->gather(c->key, c->n, least, INFINITY, s->idx);
    for (size_t i = 0; i < m; i++) {
        const size_t from = (size_t)s->idx[i]; /* >= i */
        c->w[i] = c->w[from];
        if (c->key != c->w) c->key[i] = c->key[from];
        s->id[i] = c->id ? c->id[from] : s->idx[i];
    }
    c->id = s->id;
    c->n = m;
}

/* Keeps the highest-ranking entries (key descending, id ascending) until their mass reaches `target`, at least one, and
 * drops the others. Entries whose key is below `floor` count as dropped already. by_count: every entry weighs 1 instead
 * of w. first: thresholds to begin with, descending. */
static void keep_head(struct sampler *s, struct cands *cs, double target, bool by_count, float floor,
                      const float first[SAMPLER_CUTS])
{
    const float *key = cs->key,
                *w = by_count ? NULL : cs->w; /* what is searched: all, then the undecided part */
    size_t n = cs->n, n_base = 0;             /* n_base, base: what lies above that part */
    double base = 0;
    double above = 0; /* mass of key >= hi, below target */
    size_t n_above = 0, n_lo = cs->n;
    int32_t lo = order_of(floor), hi = order_of(INFINITY);
    float t[SAMPLER_CUTS];
    memcpy(t, first, sizeof t);
    for (;;) {
        double mass[SAMPLER_CUTS];
        size_t count[SAMPLER_CUTS];
        s->k->cut(key, w, n, t, mass, count);
        for (int c = 0; c < SAMPLER_CUTS; c++) {
            mass[c] += base;
            count[c] += n_base;
            const int32_t o = order_of(t[c]);
            if (o == lo && mass[c] < target) return; /* all of them together do not reach the target */
            if (o <= lo || o >= hi) continue;
            if (mass[c] < target) {
                hi = o;
                above = mass[c];
                n_above = count[c];
            } else {
                lo = o;
                n_lo = count[c];
                break;
            }
        }
        if (n == cs->n && n_lo < n / 4) {
            compact(s, cs, float_of(lo));
            n = cs->n;
        }
        if (n_lo - n_above <= SORT_BELOW || (int64_t)hi - lo <= 1) break;
        if (n == cs->n && n_lo - n_above < n / PART) {
            n = s->k->gather(cs->key, cs->n, float_of(lo), float_of(hi), s->idx);
            float *part_key = s->part, *part_w = s->part + (size_t)s->n_vocab / PART + 1;
            for (size_t i = 0; i < n; i++) {
                part_key[i] = cs->key[s->idx[i]];
                part_w[i] = cs->w[s->idx[i]];
            }
            key = part_key;
            w = by_count ? NULL : part_w;
            base = above;
            n_base = n_above;
        }
        for (int c = 0; c < SAMPLER_CUTS; c++)
            t[c] = float_of((int32_t)(hi - ((int64_t)hi - lo) * (c + 1) / (SAMPLER_CUTS + 1)));
    }

    /* The boundary lies between lo and hi. Insertion sort: few entries, or equal keys already in order of id. */
    key = cs->key;
    const size_t m = s->k->gather(key, cs->n, float_of(lo), float_of(hi), s->idx);
    for (size_t i = 1; i < m; i++) {
        const int32_t at = s->idx[i];
        size_t j = i;
        for (; j > 0 && key[s->idx[j - 1]] < key[at]; j--) s->idx[j] = s->idx[j - 1];
        s->idx[j] = at;
    }
    size_t kept = 0;
    for (; kept < m && (above < target || (kept == 0 && n_above == 0)); kept++)
        above += by_count ? 1.0 : (double)cs->w[s->idx[kept]];
    s->k->zero_below(key, cs->w, cs->n, float_of(lo));
    for (size_t i = kept; i < m; i++) cs->w[s->idx[i]] = 0;
}

/* Locally typical sampling (Meister et al. 2022): rank by how close a token's surprise is to the expected surprise. */
static void keep_typical(struct sampler *s, struct cands *cs)
{
    const double z = s->k->sum(cs->w, cs->n), log_z = log(z);
    double entropy = 0;
    for (size_t i = 0; i < cs->n; i++)
        if (cs->w[i] > 0) entropy += (double)cs->w[i] / z * (log_z - log((double)cs->w[i]));
    for (size_t i = 0; i < cs->n; i++)
        s->key[i] = cs->w[i] > 0 ? -(float)fabs(log_z - log((double)cs->w[i]) - entropy) : -INFINITY;
    static const float cuts[SAMPLER_CUTS] = { -0.05f, -0.3f, -1.0f, -3.0f };
    cs->key = s->key;
    keep_head(s, cs, (double)s->p.typical_p * z, false, -FLT_MAX, cuts);
    cs->key = cs->w;
}

/* Mirostat v2 (Basu et al. 2021): drop what is more surprising than mu bits, draw, and move mu towards the target. */
static size_t draw_mirostat(struct sampler *s, float *w, size_t n, double z, double u)
{
    double least = z * exp2(-(double)s->mu);
    if (least > 1) least = 1; /* the best token weighs 1 and always stays */
    s->k->zero_below(w, w, n, (float)least);
    z = s->k->sum(w, n);
    const size_t id = s->k->draw(w, n, u * z);
    const double surprise = log2(z / (double)w[id]);
    s->mu -= s->p.mirostat_lr * (float)(surprise - (double)s->p.mirostat_target);
    return id;
}

/* Filters and draws from the weights w[n], whose sum is z and whose maximum is 1. *weight: that of the drawn token. */
static size_t draw(struct sampler *s, float *w, size_t n, double z, double u, float *weight)
{
    const struct sampler_params *p = &s->p;
    if (p->mirostat_target > 0) {
        const size_t id = draw_mirostat(s, w, n, z, u);
        *weight = w[id];
        return id;
    }
    struct cands c = { .w = w, .key = w, .n = n };
    const bool cut_before_top_p = p->top_k > 0 || is_typical(p);
    if (p->top_k > 0 && (size_t)p->top_k < n) {
        /* Weights that underflowed to 0 need no cutting: the first pass asks as well whether there are top_k others. */
        static const float cuts[SAMPLER_CUTS] = { 0.1f, 3e-3f, 1e-5f, FLT_MIN };
        keep_head(s, &c, (double)p->top_k, true, FLT_MIN, cuts);
    }
    if (is_typical(p)) keep_typical(s, &c);
    if (p->top_p < 1) {
        static const float cuts[SAMPLER_CUTS] = { 0.2f, 0.02f, 1e-3f, 5e-5f };
        const double mass = cut_before_top_p ? s->k->sum(c.w, c.n) : z;
        keep_head(s, &c, fmax((double)p->top_p, 0) * mass, false, 0, cuts);
    }
    if (p->min_p > 0) s->k->zero_below(c.w, c.w, c.n, fminf(p->min_p, 1) * s->k->max(c.w, c.n));
    const size_t at = s->k->draw(c.w, c.n, u * s->k->sum(c.w, c.n));
    *weight = c.w[at];
    return c.id ? (size_t)c.id[at] : at;
}

static void record(struct sampler *s, int32_t id)
{
    if (!penalises(&s->p)) return;
    struct seen *t = seen_add(s, id); /* without memory the penalty is lost, not the request */
    if (t && t->n_out < INT32_MAX) t->n_out++;
}

void sampler_pick(struct sampler *s, float *logits, int32_t n_valid, const uint32_t *allowed,
                  struct pick *out)
{
    const int32_t n32 = n_valid < 1 ? 1 : n_valid < s->n_vocab ? n_valid : s->n_vocab;
    const size_t n = (size_t)n32;
    const uint64_t number = s->n_picked++;
    apply_bias_and_penalties(s, logits, n32);
    if (allowed) apply_mask(logits, n32, allowed);

    out->n_top = 0;
    out->logprob = 0;
    const float max = s->k->max(logits, n);
    const size_t best = s->k->first_ge(logits, 0, n, max);
    size_t id = best;
    /* Infinite maximum: no distribution to speak of. +inf wins outright; -inf means nothing is allowed at all, and the
     * lowest id that the mask names is as good as any. */
    const bool plain = isfinite(max);
    out->broken = !plain && !(allowed && max < 0);
    if (!plain) {
        if (best >= n) id = 0; /* nothing but NaN */
        if (allowed && !(max > 0))
            for (id = 0; id + 1 < n && !(allowed[id / 32] >> (id % 32) & 1);) id++;
    }
    double log_z = 0;
    const bool greedy = s->p.temperature < MIN_TEMPERATURE || !plain;
    if (s->p.n_top_logprobs >= 0 && plain) {
        if (greedy || s->p.temperature != 1.0f) log_z = log(s->k->exp_sum(logits, n, max, 1.0f, NULL));
        top_logits(s->k, logits, n, s->p.n_top_logprobs, out);
    }
    if (greedy) {
        out->logprob = s->p.n_top_logprobs >= 0 && plain ? log_prob(max, max, log_z) : 0;
    } else {
        /* The logits become weights in place; the drawn one's logit comes back from its weight. */
        float weight;
        const double z = s->k->exp_sum(logits, n, max, 1.0f / s->p.temperature, logits);
        if (s->p.temperature == 1.0f) log_z = log(z);
        id = draw(s, logits, n, z, philox_uniform(s->p.seed, s->p.stream, number), &weight);
        out->logprob = (float)(log((double)weight) * (double)s->p.temperature - log_z);
    }
    finish_top(out, max, log_z);
    for (int i = 0; i < out->n_top; i++)
        if (out->top[i].id == (int32_t)id)
            out->logprob = out->top[i].logprob; /* to the last digit the same */
    out->id = (int32_t)id;

    record(s, out->id);
}

void sampler_take(struct sampler *s, int32_t id)
{
    s->n_picked++;
    if (s->p.mirostat_target > 0 && s->p.temperature >= MIN_TEMPERATURE) /* it was no surprise */
        s->mu += s->p.mirostat_lr * s->p.mirostat_target;
    record(s, id);
}

void sampler_score(unsigned isa, const float *logits, int32_t n_valid, int32_t id, int n_top,
                   struct pick *out)
{
    const struct sampler_kern *k = sampler_kern_pick(isa);
    *out = (struct pick){ .id = id, .logprob = -INFINITY };
    if (n_valid < 1) return;
    const size_t n = (size_t)n_valid;
    const float max = k->max(logits, n);
    out->broken = !isfinite(max);
    if (out->broken) return;
    const double log_z = log(k->exp_sum(logits, n, max, 1.0f, NULL));
    if (id >= 0 && id < n_valid) out->logprob = log_prob(logits[id], max, log_z);
    top_logits(k, logits, n, n_top < SAMPLER_MAX_TOP ? n_top : SAMPLER_MAX_TOP, out);
    finish_top(out, max, log_z);
}
