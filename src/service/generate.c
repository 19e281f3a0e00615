/* generate.c - see generate.h. */
#include "service/generate.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "service/answer_filter.h"
#include "service/context.h"
#include "service/ending.h"
#include "service/steering.h"

struct held { /* an event kept back until the best choices are known */
    struct held *next;
    struct lm_event ev;
};

struct candidate { /* one of best_of */
    struct held *first, **last;
    double logprob_sum;
    int n_tokens;
};

struct part { /* one prompt */
    struct lm_job *job;
    struct fitted prompt;
    bool done;
    struct candidate *candidates; /* best_of of them when some will be left out; else NULL */
};

struct generation {
    struct registry *registry;
    struct model *model;
    struct lm *lm;
    struct part *part;
    int n_parts, n, best_of, n_running;
    int turn; /* whose event is looked for first, so that prompts take turns */
    struct lm_usage usage;
    struct held *ready, **ready_last; /* chosen candidates' events */
    bool over;
    struct steering steering;
    struct reply *reply;          /* reads what the engine says */
    bool unread;                  /* it has failed: nothing more is said */
    struct answer_filter *filter; /* NULL: everything may be said */
};

void gen_request_init(struct gen_request *q)
{
    *q = (struct gen_request){ .max_tokens = -1, .n = 1, .best_of = 1, .think_budget = -1 };
    q->sampling = (struct sampler_params){ .temperature = 1,
                                           .top_p = 1,
                                           .typical_p = 1,
                                           .repetition_penalty = 1,
                                           .n_top_logprobs = -1,
                                           .mirostat_lr = 0.1F };
}

void gen_request_free(struct gen_request *q)
{
    free(q->model);
    json_decref(q->messages);
    for (int i = 0; i < q->n_pictures; i++) {
        free(q->picture[i].bytes);
        free(q->picture[i].url);
    }
    free(q->picture);
    json_decref(q->template_vars);
    for (int i = 0; i < q->n_prompts; i++) {
        free(q->prompts[i].text);
        free(q->prompts[i].ids);
    }
    free(q->prompts);
    free(q->bias);
    json_decref(q->answer.schema);
    free(q->answer.text);
    tool_set_free(&q->tools);
    for (int i = 0; i < q->n_stop; i++) free(q->stop[i]);
    free(q->predicted.text);
    free(q->predicted.ids);
    gen_request_init(q);
}

void gen_request_isolate(struct gen_request *q, const char *key, size_t len)
{
    if (q->isolated) return;
    q->isolated = true;
    crypto_generichash(q->isolation, sizeof q->isolation, (const unsigned char *)key, len, NULL, 0);
}

/* Whose prefixes: one name for key and isolation together. */
void gen_request_space(const struct gen_request *q, unsigned char out[REQUEST_HASH])
{
    unsigned char both[PRINCIPAL_HASH + REQUEST_HASH + 1] = { 0 };
    if (q->apart) memcpy(both, q->who.hash, PRINCIPAL_HASH);
    memcpy(both + PRINCIPAL_HASH, q->isolation, REQUEST_HASH);
    both[PRINCIPAL_HASH + REQUEST_HASH] = q->isolated;
    crypto_generichash(out, REQUEST_HASH, both, sizeof both, NULL, 0);
}

/* ---- best_of ------------------------------------------------------------------------------------------------------- */

static void free_held(struct held *h)
{
    while (h) {
        struct held *next = h->next;
        lm_event_free(&h->ev);
        free(h);
        h = next;
    }
}

static bool hold(struct generation *g, struct candidate *c, struct lm_event *ev)
{
    (void)g;
    struct held *h = malloc(sizeof *h);
    if (!h) return false;
    for (int i = 0; i < ev->n_tokens; i++) {
        if (ev->tokens[i].from_prompt) continue;
        c->logprob_sum += (double)ev->tokens[i].pick.logprob;
        c->n_tokens++;
    }
    *h = (struct held){ .ev = *ev };
    *c->last = h;
    c->last = &h->next;
    return true;
}

/* The API's measure: highest log-probability per token. */
static double merit(const struct candidate *c)
{
    return c->n_tokens ? c->logprob_sum / c->n_tokens : -DBL_MAX;
}

/* Moves the n best candidates of a finished prompt to the ready events, the best one first. */
static void release_best(struct generation *g, int part)
{
    struct part *p = &g->part[part];
    for (int k = 0; k < g->n; k++) {
        struct candidate *best = NULL;
        for (int i = 0; i < g->best_of; i++) {
            struct candidate *c = &p->candidates[i];
            if (c->first && (!best || merit(c) > merit(best))) best = c;
        }
        if (!best) break;
        for (struct held *h = best->first; h; h = h->next) h->ev.choice = part * g->n + k;
        *g->ready_last = best->first;
        g->ready_last = best->last;
        best->first = NULL;
        best->last = &best->first;
    }
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

void generation_free(struct generation *g)
{
    if (!g) return;
    for (int i = 0; i < g->n_parts; i++) {
        struct part *p = &g->part[i];
        if (p->job) lm_job_free(p->job);
        fitted_free(&p->prompt);
        for (int k = 0; p->candidates && k < g->best_of; k++) free_held(p->candidates[k].first);
        free(p->candidates);
    }
    free_held(g->ready);
    reply_free(g->reply);
    answer_filter_free(g->filter);
    steering_free(&g->steering);
    free(g->part);
    if (g->lm) registry_release(g->registry, g->model);
    free(g);
}

void generation_cancel(struct generation *g)
{
    for (int i = 0; i < g->n_parts; i++)
        if (g->part[i].job) lm_cancel(g->part[i].job);
}

static void job_ended(void *arg, const struct lm_usage *u)
{
    const struct usage used = reply_usage(u);
    ending_use(arg, &used);
    ending_let_go(arg);
}

int generation_retry_s(const struct lm_stats *s)
{
    if (!s->requests || !s->steps || !s->running) return 1;
    const double tokens = (double)s->completion_tokens / (double)s->requests,
                 step_s = s->step_seconds / (double)s->steps;
    const double wait = ceil(tokens * step_s / s->running);
    return wait < 1 ? 1 : wait > 60 ? 60 : (int)wait;
}

/* The tokens of what the client foresees, as many as an answer can have; ids is the caller's. */
static bool foresee(const struct lm *lm, const struct gen_request *q, struct token_list *ids, struct fault *f)
{
    const struct prompt *p = &q->predicted;
    const struct tokenizer *t = lm_tokenizer(lm);
    *ids = (struct token_list){ 0 };
    f->param = "prediction";
    if (p->text && !tokenizer_encode(t, p->text, p->len, NULL, false, 0, ids, &f->err)) {
        token_list_free(ids);
        return false;
    }
    if (p->n_ids) {
        ids->id = malloc(p->n_ids * sizeof *ids->id);
        if (!ids->id) return err_set(&f->err, ERR_NOMEM, "out of memory");
        memcpy(ids->id, p->ids, p->n_ids * sizeof *ids->id);
        ids->n = p->n_ids;
    }
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] >= tokenizer_n_vocab(t)) {
            err_set(&f->err, ERR_REQUEST, "token %zu is %d, outside the model's vocabulary of %d", i,
                    ids->id[i], tokenizer_n_vocab(t));
            token_list_free(ids);
            return false;
        }
    if (ids->n > (size_t)lm_info(lm)->n_ctx) ids->n = (size_t)lm_info(lm)->n_ctx;
    f->param = NULL;
    return true;
}

/* All prompts at once: they are queued together or not at all. */
static bool submit(struct generation *g, const struct gen_request *q, void (*notify)(void *), void *arg,
                   struct fault *f)
{
    struct lm_request r = {
        .n = q->best_of,
        .sampling = q->sampling,
        .stop = (const char *const *)q->stop,
        .n_stop = q->n_stop,
        .stop_ids = q->stop_ids,
        .n_stop_ids = q->n_stop_ids,
        .ignore_end = q->ignore_end,
        .echo = q->echo,
        .echo_last = q->echo_last,
        .want_token_ids = q->return_token_ids,
        .guide = g->steering.plan,
        .share = q->who.share,
        .ended = job_ended,
        .ended_arg = q->ending,
    };
    struct token_list foreseen;
    if (!foresee(g->lm, q, &foreseen, f)) return false;
    r.predicted = foreseen.id;
    r.n_predicted = (int)foreseen.n;
    gen_request_space(q, r.space);
    r.sampling.bias = q->bias;
    if (!q->has_seed) rng_os(&r.sampling.seed, sizeof r.sampling.seed);
    ending_seed(q->ending, r.sampling.seed);
    if (q->best_of > q->n && r.sampling.n_top_logprobs < 0)
        r.sampling.n_top_logprobs = 0; /* choosing needs them */
    for (int i = 0; q->best_of > q->n && i < g->n_parts; i++) {
        struct part *p = &g->part[i];
        p->candidates = calloc((size_t)q->best_of, sizeof *p->candidates);
        if (!p->candidates) {
            token_list_free(&foreseen);
            return err_set(&f->err, ERR_NOMEM, "out of memory");
        }
        for (int k = 0; k < q->best_of; k++) p->candidates[k].last = &p->candidates[k].first;
    }
    struct lm_prompt *prompt = calloc((size_t)g->n_parts, sizeof *prompt);
    struct lm_job **job = calloc((size_t)g->n_parts, sizeof *job);
    bool ok = prompt && job;
    if (!ok) err_set(&f->err, ERR_NOMEM, "out of memory");
    for (int i = 0; ok && i < g->n_parts; i++) {
        const struct fitted *p = &g->part[i].prompt;
        prompt[i] = (struct lm_prompt){ .ids = p->ids.id,
                                        .n = p->ids.n,
                                        .max_tokens = p->max_tokens,
                                        .picture = p->at,
                                        .n_pictures = p->n_at };
    }
    /* Held before: a job may have ended before lm_submit_all() returns. */
    for (int i = 0; ok && i < g->n_parts; i++) ending_hold(q->ending);
    if (ok && !lm_submit_all(g->lm, &r, prompt, g->n_parts, notify, arg, job, &f->err)) {
        for (int i = 0; i < g->n_parts; i++) ending_let_go(q->ending);
        struct lm_stats s;
        lm_stats(g->lm, &s);
        if (f->err.code == ERR_BUSY) f->retry_after_s = generation_retry_s(&s);
        ok = false;
    }
    for (int i = 0; ok && i < g->n_parts; i++) g->part[i].job = job[i];
    token_list_free(&foreseen);
    free(prompt);
    free(job);
    return ok;
}

/* What the prompts are, and every choice as long as it may get. */
static struct usage most_of(const struct generation *g, const struct gen_request *q)
{
    const int64_t choices = q->best_of > q->n ? q->best_of : q->n;
    int64_t prompt = 0, completion = 0;
    for (int i = 0; i < g->n_parts; i++) {
        prompt += (int64_t)g->part[i].prompt.ids.n;
        completion += g->part[i].prompt.max_tokens * choices;
    }
    return (struct usage){ .prompt_tokens = prompt < INT_MAX ? (int)prompt : INT_MAX,
                           .completion_tokens = completion < INT_MAX ? (int)completion : INT_MAX };
}

bool generation_start(struct registry *r, struct model *m, const struct gen_request *q,
                      const atomic_bool *cancel, void (*notify)(void *arg), void *arg,
                      struct generation **out, struct fault *f)
{
    struct generation *g = calloc(1, sizeof *g);
    f->param = NULL;
    if (!g) return err_set(&f->err, ERR_NOMEM, "out of memory");
    g->registry = r;
    g->model = m;
    g->n = q->n;
    g->best_of = q->best_of;
    g->ready_last = &g->ready;
    int n_parts = q->messages ? 1 : q->n_prompts;
    g->part = calloc((size_t)n_parts, sizeof *g->part);
    if (!g->part) {
        err_set(&f->err, ERR_NOMEM, "out of memory");
        goto fail;
    }
    if (!registry_acquire(r, m, &g->lm, &f->err)) {
        g->lm = NULL;
        goto fail;
    }
    if (lm_info(g->lm)->encoder) {
        f->param = "model";
        err_set(&f->err, ERR_REQUEST, "%s is an encoder: it makes no text, but %s", model_id(m),
                lm_info(g->lm)->n_score ? "scores of documents for a query (/v1/rerank)"
                                        : "vectors of texts (/v1/embeddings)");
        goto fail;
    }
    int32_t n_vocab = tokenizer_n_vocab(lm_tokenizer(g->lm));
    for (int i = 0; i < q->sampling.n_bias; i++) {
        if (q->bias[i].id < n_vocab) continue;
        f->param = "logit_bias";
        err_set(&f->err, ERR_REQUEST, "logit_bias: token %d is outside the model's vocabulary of %d",
                q->bias[i].id, n_vocab);
        goto fail;
    }
    for (int i = 0; i < q->n_stop_ids; i++) {
        if (q->stop_ids[i] < n_vocab) continue;
        f->param = "stop_token_ids";
        err_set(&f->err, ERR_REQUEST, "stop_token_ids: token %d is outside the model's vocabulary of %d",
                q->stop_ids[i], n_vocab);
        goto fail;
    }
    /* Everything is checked before anything runs. */
    for (g->n_parts = 0; g->n_parts < n_parts; g->n_parts++)
        if (!context_fit(g->lm, q, g->n_parts, cancel, &g->part[g->n_parts].prompt, f)) goto fail;
    if (!steering_make(&g->steering, g->lm, model_catalog(m), q, g->part[0].prompt.text, cancel, f))
        goto fail;
    if (!reply_new(&g->reply, &g->steering.style, n_parts * q->n, &f->err)) goto fail;
    const struct usage most = most_of(g, q);
    if (q->may && !q->may(q->may_arg, &most, &f->err)) goto fail;
    if (q->words && !answer_filter_new(&g->filter, q->words, q->policy, n_parts * q->n, &f->err)) goto fail;
    if (!submit(g, q, notify, arg, f)) goto fail;
    g->n_running = n_parts;
    *out = g;
    return true;
fail:
    generation_free(g);
    return false;
}

static void add_usage(struct lm_usage *sum, const struct lm_usage *u)
{
    sum->prompt_tokens += u->prompt_tokens;
    sum->cached_tokens += u->cached_tokens;
    sum->completion_tokens += u->completion_tokens;
    sum->reasoning_tokens += u->reasoning_tokens;
    sum->foreseen_tokens += u->foreseen_tokens;
    sum->unforeseen_tokens += u->unforeseen_tokens;
    if (u->queue_s > sum->queue_s) sum->queue_s = u->queue_s;
    if (u->prefill_s > sum->prefill_s) sum->prefill_s = u->prefill_s;
    if (u->ttft_s > 0 && (sum->ttft_s <= 0 || u->ttft_s < sum->ttft_s)) sum->ttft_s = u->ttft_s;
    if (u->total_s > sum->total_s) sum->total_s = u->total_s;
}

/* What one prompt's event means for the whole; true when the event is to be shown now. */
static bool take(struct generation *g, int i, struct lm_event *ev)
{
    struct part *p = &g->part[i];
    switch (ev->type) {
    case LM_EV_TEXT:
    case LM_EV_CHOICE_END:
        if (p->candidates) {
            if (ev->choice < g->best_of && hold(g, &p->candidates[ev->choice], ev)) return false;
            ev->type = LM_EV_ERROR;
            err_set(&ev->error, ERR_NOMEM, "out of memory");
            g->over = true;
            return true;
        }
        ev->choice += i * g->n;
        if (ev->type == LM_EV_CHOICE_END) { /* running totals over all prompts */
            struct lm_usage sum = g->usage;
            add_usage(&sum, &ev->usage);
            ev->usage = sum;
        }
        return true;
    case LM_EV_DONE:
        p->done = true;
        g->n_running--;
        add_usage(&g->usage, &ev->usage);
        if (p->candidates) release_best(g, i);
        lm_event_free(ev);
        return false;
    case LM_EV_ERROR: g->over = true; return true;
    case LM_EV_VECTOR: lm_event_free(ev); return false; /* not asked for */
    }
    return false;
}

/* The next event of the engine, choices numbered as the request has them. */
static bool next_raw(struct generation *g, struct lm_event *ev)
{
    if (g->over) return false;
    for (;;) {
        if (g->ready) {
            struct held *h = g->ready;
            *ev = h->ev;
            g->ready = h->next;
            if (!g->ready) g->ready_last = &g->ready;
            free(h);
            if (ev->type == LM_EV_CHOICE_END) ev->usage = g->usage;
            return true;
        }
        if (!g->n_running) {
            *ev = (struct lm_event){ .type = LM_EV_DONE, .usage = g->usage };
            g->over = true;
            return true;
        }
        bool any = false;
        for (int k = 0; k < g->n_parts && !any; k++) {
            int i = (g->turn + k) % g->n_parts;
            if (g->part[i].done || !lm_next(g->part[i].job, ev)) continue;
            any = true;
            g->turn = (i + 1) % g->n_parts;
            if (take(g, i, ev)) return true;
        }
        if (!any) return false;
    }
}

/* The next event of the answer, refused or not. */
static bool next_said(struct generation *g, struct reply_event *ev)
{
    struct lm_event raw;
    while (!reply_next(g->reply, ev)) {
        if (!next_raw(g, &raw)) return false;
        reply_feed(g->reply, &raw);
    }
    return true;
}

bool generation_next(struct generation *g, struct reply_event *ev)
{
    struct err e = { ERR_NONE, "" };
    if (!g->filter) return next_said(g, ev);
    while (!answer_filter_next(g->filter, ev)) {
        struct reply_event said;
        if (g->unread || !next_said(g, &said)) return false;
        const struct usage used = said.usage;
        const bool seen = answer_filter_over(g->filter);
        if (!answer_filter_take(g->filter, &said, &e)) {
            *ev = (struct reply_event){ .type = REPLY_ERROR, .usage = used, .error = e };
            generation_cancel(g);
            return g->unread = true;
        }
        if (!seen && answer_filter_over(g->filter)) generation_cancel(g); /* nobody sees the rest */
    }
    return true;
}

const struct tokenizer *generation_tokenizer(const struct generation *g) { return lm_tokenizer(g->lm); }

int generation_dropped(const struct generation *g)
{
    int n = 0;
    for (int i = 0; i < g->n_parts; i++) n += g->part[i].prompt.dropped;
    return n;
}

const char *generation_ignored(const struct generation *g) { return g->steering.ignored; }

const int32_t *generation_prompt(const struct generation *g, int i, size_t *n, const char **text)
{
    *n = g->part[i].prompt.ids.n;
    *text = g->part[i].prompt.text;
    return g->part[i].prompt.ids.id;
}
