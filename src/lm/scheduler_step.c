/* scheduler_step.c - what goes into one step of the scheduler, and what is drawn from its logits (scheduler_inside.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm/scheduler_inside.h"
#include "lm/sight.h"

/* What a chunk of a prompt may add to a step in which others decode: 50 ms is a gap that a reader does not see. A step that
 * takes longer than that by itself, reading a large model's weights, may take twice its time. */
#define CHUNK_TARGET_S 0.05

static bool is_prompt(const struct scheduler *s, int i) { return rows_left(s->running[i]) > 1; }

/* Of `budget` rows for the prompts of one share (NULL: all), half to the oldest, then the shortest first, and what is left to the oldest. What
 * nobody needs comes back. */
static int plan_share(struct scheduler *s, const struct job_share *h, int budget)
{
    int oldest = -1;
    for (int i = 0; i < s->n_running && oldest < 0; i++)
        if (is_prompt(s, i) && (!h || s->running[i]->job->share == h)) oldest = i;
    if (oldest < 0 || budget <= 0) return budget;
    int left = rows_left(s->running[oldest]);
    s->plan[oldest] = left < (budget + 1) / 2 ? left : (budget + 1) / 2;
    budget -= s->plan[oldest];
    while (budget > 0) { /* the shortest next */
        int best = -1;
        for (int i = 0; i < s->n_running; i++)
            if (s->plan[i] == 0 && rows_left(s->running[i]) > 0 && (!h || s->running[i]->job->share == h) &&
                (best < 0 || rows_left(s->running[i]) < rows_left(s->running[best])))
                best = i;
        if (best < 0) break;
        left = rows_left(s->running[best]);
        s->plan[best] = left < budget ? left : budget;
        budget -= s->plan[best];
    }
    left = rows_left(s->running[oldest]) - s->plan[oldest];
    const int more = left < budget ? left : budget;
    s->plan[oldest] += more;
    return budget - more;
}

/* Whether running[i] is the first of its share that has a prompt. */
static bool first_prompt(const struct scheduler *s, int i)
{
    if (!is_prompt(s, i)) return false;
    for (int k = 0; k < i; k++)
        if (is_prompt(s, k) && s->running[k]->job->share == s->running[i]->job->share) return false;
    return true;
}

/* Shares of the highest priority by weight; what they do not need, and only that, goes to whoever is there, in order. */
static void plan_shares(struct scheduler *s, int budget)
{
    int top = 0, weights = 0, n = 0;
    for (int i = 0; i < s->n_running; i++) {
        const struct share *h = &s->running[i]->job->share->s;
        if (!first_prompt(s, i)) continue;
        if (n++ == 0 || h->priority > top) top = h->priority, weights = 0;
        if (h->priority == top) weights += h->weight;
    }
    if (n == 1) {
        plan_share(s, NULL, budget);
        return;
    }
    int left = budget;
    for (int i = 0; i < s->n_running; i++) {
        const struct job_share *h = s->running[i]->job->share;
        if (!first_prompt(s, i) || h->s.priority != top) continue;
        int part = (int)((int64_t)budget * h->s.weight / weights);
        if (part < 1) part = 1;
        if (part > left) part = left;
        left -= part - plan_share(s, h, part);
    }
    for (int i = 0; i < s->n_running && left > 0; i++) {
        const int want = is_prompt(s, i) ? rows_left(s->running[i]) - s->plan[i] : 0;
        const int more = want < left ? want : left;
        s->plan[i] += more;
        left -= more;
    }
}

/* Texts that go in whole. The oldest always fits: no context is longer than a step. */
static void plan_whole(struct scheduler *s)
{
    int budget = s->max_rows;
    for (int i = 0; i < s->n_running; i++) {
        const int left = rows_left(s->running[i]);
        s->plan[i] = left <= budget ? left : 0;
        budget -= s->plan[i];
    }
}

/* plan[i]: rows for running[i]. */
static void plan_rows(struct scheduler *s)
{
    if (s->c.arch->engine->whole) {
        plan_whole(s);
        return;
    }
    int n_decode = 0, n_prompt = 0, budget = s->c.prefill_chunk;
    for (int i = 0; i < s->n_running; i++) {
        const int left = rows_left(s->running[i]); /* 0: it draws from logits that are there */
        s->plan[i] = left == 1;
        n_decode += s->plan[i];
        n_prompt += left > 1;
        if (s->running[i]->ahead) s->running[i]->ahead->n = 0;
    }
    if (!n_prompt) {
        scheduler_guess(s, n_decode);
        return;
    }
    if (n_decode && s->row_cost_s > 0) {
        double rows = (s->decode_s > CHUNK_TARGET_S ? s->decode_s : CHUNK_TARGET_S) / s->row_cost_s;
        if (rows < budget) budget = rows < MIN_CHUNK ? MIN_CHUNK : (int)rows;
        if (budget > s->c.prefill_chunk) budget = s->c.prefill_chunk;
    }
    plan_shares(s, budget);
}

/* A tile that a step looks at. */
struct tile {
    const struct lm_picture *picture; /* NULL: none yet */
    int number;
};

/* Of the next n tokens of the sequence those before a second tile that has to be looked at. */
static int seen_rows(const struct scheduler *s, const struct seq *q, int n, struct tile *fresh)
{
    int tile, row;
    for (int k = 0; k < n; k++) {
        if (q->token[q->n_past + k] > LM_ROW_GIVEN) continue;
        const struct lm_picture *p = job_row(q->job, q->n_past + k, &tile, &row);
        if (sight_has(s->c.sight, p, tile) || (fresh->picture == p && fresh->number == tile)) continue;
        if (fresh->picture) return k;
        *fresh = (struct tile){ p, tile };
    }
    return n;
}

bool scheduler_look(struct scheduler *s, struct lm_batch *b, struct err *e)
{
    const size_t embd = (size_t)s->c.shape->n_embd;
    for (int i = 0; i < s->n_piece; i++) {
        const struct piece *p = &s->piece[i];
        for (int k = 0; k < p->n_rows; k++) {
            int tile, row;
            if (s->ids[p->row + k] >= 0) continue;
            const struct lm_picture *picture = job_row(p->seq->job, p->seq->n_past + k, &tile, &row);
            const float *rows = sight_rows(s->c.sight, picture, tile, e);
            if (!rows) return false;
            memcpy(s->embd + (size_t)(p->row + k) * embd, rows + (size_t)row * embd, embd * sizeof *rows);
            b->embd = s->embd;
        }
    }
    return true;
}

int scheduler_compose(struct scheduler *s, struct lm_batch *b)
{
    int row = 0;
    bool decodes = false;
    struct tile fresh = { 0 };
    plan_rows(s);
    s->n_piece = 0;
    for (int i = 0; i < s->n_running; i++) {
        struct seq *q = s->running[i];
        int n = s->plan[i];
        if (q->job->n_pictures) n = seen_rows(s, q, n, &fresh);
        if (n == 0) continue;
        const int own = n;
        n += q->ahead ? q->ahead->n : 0;
        if (!scheduler_make_room(s, i, n)) { /* it had to go itself, and the next is in its place */
            i--;
            continue;
        }
        s->piece[s->n_piece++] = (struct piece){ q, row, n, n - own };
        for (int k = 0; k < n; k++) {
            const int32_t id = k < own ? q->token[q->n_past + k] : q->ahead->guess[k - own];
            s->ids[row + k] = id < 0 ? LM_ROW_GIVEN : id;
            s->pos[row + k] = q->n_past + k;
        }
        row += n;
        decodes |= own == 1;
    }
    for (int g = 0, at = 0; g == 0 || g < s->kv->n_group; g++)
        for (int i = 0; i < s->n_piece; i++) {
            const struct piece *p = &s->piece[i];
            s->attn[at++] = (struct lm_seq){ .row = p->row,
                                             .n = p->n_rows,
                                             .pos0 = p->seq->n_past,
                                             .page = p->seq->page[g].at,
                                             .second = p->seq->job->second };
        }
    *b = (struct lm_batch){ .n_rows = row,
                            .ids = s->ids,
                            .pos = s->pos,
                            .seq = s->attn,
                            .n_seq = s->n_piece,
                            .group = s->kv->group_of,
                            .lane = decodes || row == 0 ? POOL_DECODE : POOL_PREFILL };
    return row;
}

bool scheduler_score(struct scheduler *s, const struct piece *p, struct err *e)
{
    struct seq *q = p->seq;
    struct lm_job *j = q->job;
    if (q->choice != 0 || j->prompt_ready || (!j->raw_logits && j->score_from == j->n_prompt)) return true;
    const size_t n_vocab = (size_t)s->c.shape->n_vocab;
    const int n_valid = scheduler_n_valid(s);
    for (int k = 0; k < p->n_rows;) {
        int n = 0;
        for (; n < s->max_draws && k + n < p->n_rows; n++) s->out_row[n] = p->row + k + n;
        const int pos = q->n_past + k; /* row `pos` predicts token pos + 1 */
        const bool scores = pos + n >= j->score_from;
        if ((j->raw_logits || scores) && !s->c.arch->engine->head(s->c.net, s->out_row, n, s->logits, e))
            return false;
        if (j->raw_logits) {
            device_download(s->c.dev, j->raw_logits + (size_t)pos * n_vocab, s->logits, (size_t)n * n_vocab);
        } else if (scores) {
            const float *logits = device_read(s->c.dev, s->logits, (size_t)n * n_vocab);
            for (int r = 0; r < n; r++) {
                const int i = pos + r + 1;
                if (i < j->score_from || i >= j->n_prompt) continue;
                struct pick *pick = &j->echo_token[i - j->echo_from].pick;
                sampler_score(device_isa(s->c.dev), logits + (size_t)r * n_vocab, n_valid, j->prompt[i],
                              j->terms->sampling.n_top_logprobs, pick);
                j->broken |= pick->broken;
            }
        }
        k += n;
    }
    return true;
}

/* The sum goes by position, so that it is the same however the prompt was cut; one that was set back begins anew. */
bool scheduler_pool(struct scheduler *s, const struct piece *p, struct err *e)
{
    struct seq *q = p->seq;
    struct lm_job *j = q->job;
    const size_t embd = (size_t)s->c.shape->n_embd;
    const bool all = j->pool == LM_POOL_MEAN || j->pool == LM_POOL_MAX;
    const int end = q->n_past + p->n_rows, first = all ? q->n_past : j->pool == LM_POOL_FIRST ? 0 : end - 1;
    const int stop = j->pool == LM_POOL_FIRST ? 1 : end;
    if (j->pool == LM_POOL_NONE || q->choice != 0 || j->prompt_ready) return true;
    if (j->pool == LM_POOL_LAST && end < j->n_prompt) return true;
    if (j->pool == LM_POOL_FIRST && q->n_past > 0) return true;
    if (!s->hidden && !(s->hidden = malloc((size_t)s->max_rows * embd * sizeof *s->hidden)))
        return err_set(e, ERR_NOMEM, "no memory for a step's hidden states");
    if (!j->vector && !(j->vector = malloc(embd * sizeof *j->vector)))
        return err_set(e, ERR_NOMEM, "no memory for a vector");
    if (first == 0 || !all)
        for (size_t k = 0; k < embd; k++) j->vector[k] = j->pool == LM_POOL_MAX ? -INFINITY : 0;
    for (int pos = first; pos < stop; pos += s->max_draws) {
        const int n = stop - pos < s->max_draws ? stop - pos : s->max_draws;
        for (int i = 0; i < n; i++) s->out_row[i] = p->row + pos - q->n_past + i;
        if (!s->c.arch->engine->hidden(s->c.net, s->out_row, n, s->hidden, e)) return false;
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < embd; k++) {
                const float x = s->hidden[(size_t)i * embd + k];
                if (j->pool != LM_POOL_MAX)
                    j->vector[k] += x;
                else if (!(x <= j->vector[k])) /* also what is no number */
                    j->vector[k] = x;
            }
    }
    for (size_t k = 0; end == j->n_prompt && k < embd; k++) j->broken |= !isfinite(j->vector[k]);
    return true;
}

static void draw_some(void *arg, int ith, int nth)
{
    (void)ith, (void)nth;
    struct scheduler *s = arg;
    const int n_vocab = s->c.shape->n_vocab, n_valid = scheduler_n_valid(s);
    for (int i; (i = atomic_fetch_add(&s->next_draw, 1)) < s->n_draw;) {
        struct draw *d = &s->draw[i];
        struct seq *q = d->seq;
        for (int k = 0;; k++) {
            struct pick *p = k == 0 ? &q->pick : &q->ahead->pick[k - 1];
            sampler_pick(q->sampler, d->logits + (size_t)k * (size_t)n_vocab, n_valid,
                         q->mask.wanted ? q->mask.bits : NULL, p);
            d->n_pick = k + 1;
            /* What steers a sequence has to see a token before the next one is drawn. */
            if (k == d->n_guess || q->mask.guide || p->broken || p->id != q->ahead->guess[k]) break;
        }
    }
}

static bool draws_first(const struct seq *q) { return q->n_token == q->job->n_prompt && !q->job->raw_logits; }

/* For the other choices, while the sampler has not touched them. Without memory they compute them again. */
static void keep_first_logits(const struct scheduler *s, struct lm_job *j, const float *logits)
{
    const size_t n = (size_t)s->c.shape->n_vocab;
    if (j->n_choices == 1 || j->first_logits) return;
    j->first_logits = malloc(n * sizeof *logits);
    if (j->first_logits) memcpy(j->first_logits, logits, n * sizeof *logits);
}

/* Of the first n_head draws of n, those whose mask is not there yet are left for a later step, with their logits. The number of those that
 * stay. */
static int keep_late(const struct scheduler *s, int n_head, int n)
{
    const size_t bytes = (size_t)s->c.shape->n_vocab * sizeof(float);
    int stay = 0;
    for (int i = 0; i < n; i++) {
        struct seq *q = s->draw[i].seq;
        if (i >= n_head || !q->mask.wanted || mask_ready(&q->mask)) {
            s->draw[stay++] = s->draw[i];
            continue;
        }
        if (q->ahead) q->ahead->n = 0; /* its guesses are lost */
        struct err e;
        q->kept_logits = malloc(bytes);
        if (q->kept_logits)
            memcpy(q->kept_logits, s->draw[i].logits, bytes);
        else
            err_set(&e, ERR_NOMEM, "no memory for a step's logits"), job_end(q->job, &e);
    }
    return stay;
}

bool scheduler_draw(struct scheduler *s, int *n_draws, struct err *e)
{
    const size_t n_vocab = (size_t)s->c.shape->n_vocab;
    int n = 0, n_head, rows = 0;
    for (int i = 0; i < s->n_piece; i++) {
        const struct piece *p = &s->piece[i];
        const int own = p->n_rows - p->n_guess;
        if (p->seq->n_past + own < p->seq->n_token || p->seq->job->max_tokens == 0) continue;
        s->draw[n++] = (struct draw){ .seq = p->seq, .row = rows, .n_guess = p->n_guess };
        for (int k = 0; k <= p->n_guess; k++) s->out_row[rows++] = p->row + own - 1 + k;
    }
    n_head = n;
    const int head_rows = rows;
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->draws && s->running[i]->job->max_tokens != 0)
            s->draw[n++] = (struct draw){ .seq = s->running[i], .row = rows++ };
    *n_draws = n;
    if (n == 0) return true;
    if (head_rows > 0 && !s->c.arch->engine->head(s->c.net, s->out_row, head_rows, s->logits, e))
        return false;
    float *logits = device_take(s->c.dev, s->logits, (size_t)rows * n_vocab);
    for (int i = 0; i < n; i++) s->draw[i].logits = logits + (size_t)s->draw[i].row * n_vocab;
    for (int i = 0; i < n_head; i++)
        if (s->draw[i].seq->choice == 0 && draws_first(s->draw[i].seq))
            keep_first_logits(s, s->draw[i].seq->job, s->draw[i].logits);
    for (int i = n_head; i < n; i++) {
        struct seq *q = s->draw[i].seq;
        memcpy(s->draw[i].logits, q->kept_logits ? q->kept_logits : q->job->first_logits,
               n_vocab * sizeof(float));
        free(q->kept_logits);
        q->kept_logits = NULL;
    }
    *n_draws = n = keep_late(s, n_head, n);
    if (n == 0) return true;
    s->n_draw = n; /* what lies behind is of an earlier step, its sequences perhaps gone */
    atomic_store(&s->next_draw, 0);
    if (n == 1)
        draw_some(s, 0, 1);
    else
        device_run_host(s->c.dev, draw_some, s);
    return true;
}
