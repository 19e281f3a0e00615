/* embed.c - see embed.h. */
#include "service/embed.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "service/ending.h"
#include "service/generate.h"
#include "service/reply.h"

struct text {
    struct token_list ids;
    size_t second; /* of a pair: where tokens of the second type begin */
    struct lm_job *job;
    float *vector;
    bool over;
};

struct embedding {
    struct registry *registry;
    struct model *model;
    struct lm *lm;
    struct text *text;
    int n, n_over, n_vector;
    struct usage usage;
    struct err error; /* of the first text that failed */
};

void embedding_free(struct embedding *g)
{
    if (!g) return;
    for (int i = 0; g->text && i < g->n; i++) {
        lm_job_free(g->text[i].job);
        token_list_free(&g->text[i].ids);
        free(g->text[i].vector);
    }
    free(g->text);
    if (g->lm) registry_release(g->registry, g->model);
    free(g);
}

void embedding_cancel(struct embedding *g)
{
    for (int i = 0; i < g->n; i++)
        if (g->text[i].job) lm_cancel(g->text[i].job);
}

static bool bad_token(const struct prompt *p, int i, int32_t n_vocab, struct fault *f)
{
    for (size_t k = 0; k < p->n_ids; k++)
        if (p->ids[k] < 0 || p->ids[k] >= n_vocab)
            return !err_set(&f->err, ERR_REQUEST,
                            "input[%d]: token %d at position %zu is outside the model's vocabulary of %d", i,
                            p->ids[k], k, n_vocab);
    return false;
}

static bool take_ids(const struct prompt *p, struct token_list *out)
{
    out->id = malloc((p->n_ids ? p->n_ids : 1) * sizeof *out->id);
    if (!out->id) return false;
    for (size_t k = 0; k < p->n_ids; k++) out->id[k] = p->ids[k];
    out->n = out->cap = p->n_ids;
    return true;
}

/* The ids of one text; flags as tokenizer_encode() has them. An encoder's files make their special tokens of a text that spells them, as the
 * reference has it: there is nothing that they could command. */
static bool encode(const struct embedding *g, const struct prompt *p, unsigned flags,
                   const atomic_bool *cancel, struct token_list *ids, struct fault *f)
{
    const bool special = lm_info(g->lm)->encoder;
    ids->cancel = cancel;
    const bool ok =
        p->ids ? take_ids(p, ids) || err_set(&f->err, ERR_NOMEM, "out of memory")
               : tokenizer_encode(lm_tokenizer(g->lm), p->text, p->len, NULL, special, flags, ids, &f->err);
    ids->cancel = NULL;
    return ok;
}

static bool tokenise(struct embedding *g, const struct prompt *p, int i, bool cut, const atomic_bool *cancel,
                     struct fault *f)
{
    const struct tokenizer *t = lm_tokenizer(g->lm);
    const size_t n_ctx = (size_t)lm_info(g->lm)->n_ctx;
    struct token_list *ids = &g->text[i].ids;
    f->param = "input";
    if (p->ids && bad_token(p, i, tokenizer_n_vocab(t), f)) return false;
    if (!encode(g, p, TOK_BOS, cancel, ids, f)) return false;
    if (!ids->n) return err_set(&f->err, ERR_REQUEST, "input[%d] must not be empty", i);
    if (ids->n <= n_ctx) return true;
    if (!cut)
        return err_set(&f->err, ERR_CONTEXT,
                       "input[%d] has %zu tokens, but the model's context holds %zu; shorten it", i, ids->n,
                       n_ctx);
    if (p->ids)
        ids->n = n_ctx;
    else
        tokenizer_cut(t, ids, n_ctx);
    return true;
}

/* The query with each document: q->prompts[0] with the others. */
static bool pair(struct embedding *g, const struct gen_request *q, const atomic_bool *cancel, struct fault *f)
{
    const size_t n_ctx = (size_t)lm_info(g->lm)->n_ctx;
    struct token_list query = { 0 };
    f->param = "query";
    bool ok = encode(g, &q->prompts[0], 0, cancel, &query, f);
    for (int i = 0; ok && i < g->n; i++) {
        struct token_list document = { 0 };
        f->param = "documents";
        ok = encode(g, &q->prompts[i + 1], 0, cancel, &document, f) &&
             tokenizer_pair(lm_tokenizer(g->lm), &query, &document, n_ctx, &g->text[i].ids,
                            &g->text[i].second, &f->err);
        token_list_free(&document);
    }
    token_list_free(&query);
    return ok;
}

static void job_ended(void *arg, const struct lm_usage *u)
{
    const struct usage used = reply_usage(u);
    ending_use(arg, &used);
    ending_let_go(arg);
}

static bool submit(struct embedding *g, const struct gen_request *q, void (*notify)(void *), void *arg,
                   struct fault *f)
{
    struct lm_request r = {
        .n = 1,
        .sampling = { .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n_top_logprobs = -1 },
        .pool = lm_info(g->lm)->pooling,
        .share = q->who.share,
        .ended = job_ended,
        .ended_arg = q->ending,
    };
    gen_request_space(q, r.space);
    struct lm_prompt *prompt = calloc((size_t)g->n, sizeof *prompt);
    struct lm_job **job = calloc((size_t)g->n, sizeof *job);
    bool ok = (prompt && job) || err_set(&f->err, ERR_NOMEM, "out of memory");
    for (int i = 0; ok && i < g->n; i++)
        prompt[i] = (struct lm_prompt){ .ids = g->text[i].ids.id,
                                        .n = g->text[i].ids.n,
                                        .second = g->text[i].second };
    /* Held before: a job may have ended before lm_submit_all() returns. */
    for (int i = 0; ok && i < g->n; i++) ending_hold(q->ending);
    if (ok && !lm_submit_all(g->lm, &r, prompt, g->n, notify, arg, job, &f->err)) {
        struct lm_stats s;
        for (int i = 0; i < g->n; i++) ending_let_go(q->ending);
        lm_stats(g->lm, &s);
        if (f->err.code == ERR_BUSY) f->retry_after_s = generation_retry_s(&s);
        ok = false;
    }
    for (int i = 0; ok && i < g->n; i++) g->text[i].job = job[i];
    free(prompt);
    free(job);
    return ok;
}

/* Whether the model makes what is wanted of it. */
static bool can(const struct embedding *g, bool pairs, struct fault *f)
{
    const bool scores = lm_info(g->lm)->n_score > 0;
    if (pairs == scores) return true;
    f->param = "model";
    return err_set(&f->err, ERR_REQUEST,
                   pairs ? "%s does not score documents for a query: /v1/rerank takes a cross-encoder (a "
                           "...ForSequenceClassification model)"
                         : "%s scores documents for a query (/v1/rerank) and makes no vectors of texts",
                   model_id(g->model));
}

static bool start(struct registry *r, struct model *m, const struct gen_request *q, bool pairs, bool cut,
                  const atomic_bool *cancel, void (*notify)(void *arg), void *arg, struct embedding **out,
                  struct fault *f)
{
    struct embedding *g = calloc(1, sizeof *g);
    int64_t tokens = 0;
    if (!g) return err_set(&f->err, ERR_NOMEM, "out of memory");
    *g = (struct embedding){ .registry = r, .model = m, .n = q->n_prompts - pairs };
    g->text = calloc((size_t)g->n, sizeof *g->text);
    bool ok = g->text || err_set(&f->err, ERR_NOMEM, "out of memory");
    if (ok && !registry_acquire(r, m, &g->lm, &f->err)) {
        g->lm = NULL;
        ok = false;
    }
    ok = ok && can(g, pairs, f);
    if (ok) g->n_vector = pairs ? lm_info(g->lm)->n_score : lm_info(g->lm)->n_vector;
    if (pairs) ok = ok && pair(g, q, cancel, f);
    for (int i = 0; ok && !pairs && i < g->n; i++) ok = tokenise(g, &q->prompts[i], i, cut, cancel, f);
    for (int i = 0; ok && i < g->n; i++) tokens += (int64_t)g->text[i].ids.n;
    const struct usage most = { .prompt_tokens = tokens < INT_MAX ? (int)tokens : INT_MAX };
    ok = ok && (!q->may || q->may(q->may_arg, &most, &f->err)) && submit(g, q, notify, arg, f);
    if (ok)
        *out = g;
    else
        embedding_free(g);
    return ok;
}

bool embedding_start(struct registry *r, struct model *m, const struct gen_request *q, bool cut,
                     const atomic_bool *cancel, void (*notify)(void *arg), void *arg, struct embedding **out,
                     struct fault *f)
{
    return start(r, m, q, false, cut, cancel, notify, arg, out, f);
}

bool rerank_start(struct registry *r, struct model *m, const struct gen_request *q, const atomic_bool *cancel,
                  void (*notify)(void *arg), void *arg, struct embedding **out, struct fault *f)
{
    return start(r, m, q, true, true, cancel, notify, arg, out, f);
}

static void take(struct embedding *g, struct text *t, struct lm_event *ev)
{
    if (ev->type == LM_EV_VECTOR) {
        free(t->vector);
        t->vector = ev->vector;
        ev->vector = NULL;
    }
    if (ev->type == LM_EV_ERROR && g->error.code == ERR_NONE) g->error = ev->error;
    if (ev->type != LM_EV_DONE && ev->type != LM_EV_ERROR) return;
    const struct usage used = reply_usage(&ev->usage);
    usage_add(&g->usage, &used);
    t->over = true;
    g->n_over++;
    if (t->vector || g->error.code != ERR_NONE) return;
    err_set(&g->error, ERR_CANCELLED, "the request was cancelled");
}

bool embedding_over(struct embedding *g, struct err *e)
{
    struct lm_event ev;
    for (int i = 0; i < g->n; i++)
        while (!g->text[i].over && lm_next(g->text[i].job, &ev)) {
            take(g, &g->text[i], &ev);
            lm_event_free(&ev);
        }
    *e = g->error;
    return g->n_over == g->n;
}

const float *embedding_vector(const struct embedding *g, int i, int *n)
{
    *n = g->n_vector;
    return g->text[i].vector;
}

double rerank_score(const struct embedding *g, int i)
{
    const double x = g->text[i].vector[0];
    return lm_info(g->lm)->score_sigmoid ? 1 / (1 + exp(-x)) : x;
}

void embedding_usage(const struct embedding *g, struct usage *out) { *out = g->usage; }

int embedding_shape(const float *v, int n, int dimensions, bool normalize, float *out)
{
    double sum = 0;
    if (dimensions > 0 && dimensions < n) n = dimensions;
    for (int i = 0; i < n; i++) sum += (double)v[i] * v[i];
    const double scale = normalize && sum > 0 ? 1 / sqrt(sum) : 1;
    for (int i = 0; i < n; i++) out[i] = (float)(v[i] * scale);
    return n;
}
