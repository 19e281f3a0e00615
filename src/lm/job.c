#include "lm/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "lm/scheduler.h"
#include "lm/sight.h"

#define MAX_CHOICES 128

/* ---- making and freeing ------------------------------------------------------------------------------------------- */

static bool check(const struct lm_request *r, const struct lm_prompt *p, int n_ctx, int n_vocab,
                  struct err *e)
{
    if (p->n == 0) return err_set(e, ERR_REQUEST, "the prompt is empty");
    if (r->n < 1 || r->n > MAX_CHOICES)
        return err_set(e, ERR_REQUEST, "n is %d, expected 1 to %d", r->n, MAX_CHOICES);
    if (p->max_tokens < 0) return err_set(e, ERR_REQUEST, "max_tokens is %d", p->max_tokens);
    const size_t need = p->n + (p->max_tokens > 0);
    if (need > (size_t)n_ctx)
        return err_set(e, ERR_CONTEXT,
                       "the prompt has %zu tokens, but the model's context holds %d including the answer",
                       p->n, n_ctx);
    for (size_t i = 0; i < p->n; i++)
        if (p->ids[i] < 0 || p->ids[i] >= n_vocab)
            return err_set(e, ERR_REQUEST, "token %zu of the prompt is %d, the vocabulary has %d", i,
                           p->ids[i], n_vocab);
    size_t end = 0;
    for (int i = 0; i < p->n_pictures; i++) {
        const struct lm_picture_at *at = &p->picture[i];
        const size_t n = lm_picture_n_tokens(at->picture);
        if (at->at < end || at->at > p->n || n > p->n - at->at)
            return err_set(e, ERR_REQUEST, "picture %d does not stand where the prompt has it", i + 1);
        end = at->at + n;
    }
    return true;
}

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

static bool take_pictures(struct lm_job *j, const struct lm_prompt *p)
{
    if (!p->n_pictures) return true;
    j->picture = calloc((size_t)p->n_pictures, sizeof *j->picture);
    if (!j->picture) return false;
    for (; j->n_pictures < p->n_pictures; j->n_pictures++) {
        j->picture[j->n_pictures] = p->picture[j->n_pictures];
        sight_ref(p->picture[j->n_pictures].picture);
    }
    return true;
}

static void name_rows(const struct lm_job *j, int32_t *token)
{
    for (int i = 0; i < j->n_pictures; i++) {
        const struct lm_picture_at *at = &j->picture[i];
        const size_t n = lm_picture_n_tokens(at->picture);
        int tile, row;
        for (size_t k = 0; k < n; k++)
            if (sight_place(at->picture, k, &tile, &row)) token[at->at + k] = sight_name(at->picture);
    }
}

const struct lm_picture *job_row(const struct lm_job *j, int pos, int *tile, int *row)
{
    int i = 0;
    while (i + 1 < j->n_pictures && j->picture[i + 1].at <= (size_t)pos) i++;
    const struct lm_picture_at *at = &j->picture[i];
    sight_place(at->picture, (size_t)pos - at->at, tile, row);
    return at->picture;
}

bool terms_new(struct terms **out, const struct lm_request *r, struct err *e)
{
    if (!sampler_check(&r->sampling, e)) return false;
    struct terms *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory for a request");
    atomic_init(&t->refs, 1);
    t->sampling = r->sampling;
    t->sampling.bias = NULL;
    t->ignore_end = r->ignore_end;
    t->want_tokens = r->want_token_ids || r->sampling.n_top_logprobs >= 0;
    t->guide = guide_plan_ref(r->guide);
    memcpy(t->space, r->space, sizeof t->space);
    t->share = r->share;
    bool ok = true;
    if (r->sampling.n_bias > 0) {
        t->bias = malloc((size_t)r->sampling.n_bias * sizeof *t->bias);
        if (t->bias) memcpy(t->bias, r->sampling.bias, (size_t)r->sampling.n_bias * sizeof *t->bias);
        t->sampling.bias = t->bias;
        ok = t->bias || err_set(e, ERR_NOMEM, "no memory for a request");
    }
    if (r->n_stop_ids > 0) {
        t->stop_ids = malloc((size_t)r->n_stop_ids * sizeof *t->stop_ids);
        if (t->stop_ids) memcpy(t->stop_ids, r->stop_ids, (size_t)r->n_stop_ids * sizeof *t->stop_ids);
        t->n_stop_ids = t->stop_ids ? r->n_stop_ids : 0;
        ok = ok && (t->stop_ids || err_set(e, ERR_NOMEM, "no memory for a request"));
    }
    if (r->n_predicted > 0) {
        t->predicted = malloc((size_t)r->n_predicted * sizeof *t->predicted);
        if (t->predicted) memcpy(t->predicted, r->predicted, (size_t)r->n_predicted * sizeof *t->predicted);
        t->n_predicted = t->predicted ? r->n_predicted : 0;
        ok = ok && (t->predicted || err_set(e, ERR_NOMEM, "no memory for a request"));
    }
    ok = ok && (r->n_stop == 0 || stop_set_new(&t->stops, r->stop, r->n_stop, e));
    if (!ok) {
        terms_unref(t);
        return false;
    }
    *out = t;
    return true;
}

void terms_unref(struct terms *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1) return;
    guide_plan_unref(t->guide);
    stop_set_free(t->stops);
    free(t->stop_ids);
    free(t->predicted);
    free(t->bias);
    free(t);
}

/* What the plan of its request asks for one choice. */
static bool steered(struct seq *s, int n_vocab, struct err *e)
{
    struct guide_plan *p = s->job->terms->guide;
    if (!p) return true;
    s->mask.bits = calloc(((size_t)n_vocab + 31) / 32, sizeof *s->mask.bits);
    if (!s->mask.bits) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (!guide_new(&s->mask.guide, p, e)) return false;
    detok_show(s->detok, guide_shown(p));
    if (guide_is_strict(p)) detok_keep_space(s->detok);
    detok_stops(s->detok, !guide_thinks(s->mask.guide));
    return true;
}

bool job_begin(struct seq *s, const struct tokenizer *tok, int n_vocab, int n_group, unsigned isa,
               struct err *e)
{
    const struct lm_job *j = s->job;
    if (s->token) return true;
    s->n_token = j->n_prompt;
    s->n_limit = j->n_prompt + j->max_tokens;
    const size_t cap = (size_t)s->n_limit / KV_PAGE + 1;
    struct sampler_params p = j->terms->sampling;
    p.stream = (uint64_t)s->choice;
    int32_t *token = malloc((size_t)s->n_limit * sizeof *token);
    int32_t *pages =
        malloc((size_t)(n_group ? n_group : 1) * cap * sizeof *pages); /* one piece: the first group's */
    s->page[0].at = pages; /* whose memory it is; also where there are no groups */
    for (int g = 0; g < n_group && pages; g++)
        s->page[g] = (struct seq_pages){ .at = pages + (size_t)g * cap };
    bool ok = token && pages;
    if (!ok) err_set(e, ERR_NOMEM, "no memory for %d tokens", s->n_limit);
    /* Nothing is drawn where a prompt is only looked at. */
    ok = ok && (j->max_tokens == 0 || sampler_new(&s->sampler, &p, n_vocab, isa, e)) &&
         (!s->sampler || p.repetition_penalty == 1 ||
          sampler_prompt(s->sampler, j->prompt, (size_t)j->n_prompt, e)) &&
         detok_new(&s->detok, tok, j->terms->stops, false, e) && steered(s, n_vocab, e);
    if (!ok) {
        free(token);
        job_drop(s);
        return false;
    }
    memcpy(token, j->prompt, (size_t)j->n_prompt * sizeof *token);
    s->predicted = predicted_begin(j->terms->predicted, j->terms->n_predicted);
    name_rows(j, token);
    s->token = token;
    return true;
}

void job_drop(struct seq *s)
{
    free(s->token);
    free(s->page[0].at);
    free(s->held);
    free(s->kept_logits);
    ahead_free(s->ahead);
    s->ahead = NULL;
    free(s->mask.bits);
    guide_free(s->mask.guide);
    s->kept_logits = NULL;
    s->mask.bits = NULL;
    s->mask.guide = NULL;
    s->mask.wanted = false;
    sampler_free(s->sampler);
    detok_free(s->detok);
    s->token = s->page[0].at = NULL;
    s->held = NULL;
    s->n_held = s->cap_held = 0;
    s->sampler = NULL;
    s->detok = NULL;
}

bool job_new(struct lm_job **out, const struct lm_request *r, const struct lm_prompt *p, struct terms *terms,
             int n_ctx, int n_vocab, void (*notify)(void *), void *arg, struct err *e)
{
    if (!check(r, p, n_ctx, n_vocab, e)) return false;
    struct lm_job *j = calloc(1, sizeof *j);
    if (!j) return err_set(e, ERR_NOMEM, "no memory for a request");
    atomic_init(&j->refs, 1);
    pthread_mutex_init(&j->mu, NULL);
    pthread_mutex_init(&j->notify_mu, NULL);
    pthread_cond_init(&j->cond, NULL);
    j->last = &j->first;
    j->notify = notify;
    j->notify_arg = arg;
    j->told_end = r->ended;
    j->told_end_arg = r->ended_arg;
    j->terms = terms;
    atomic_fetch_add(&terms->refs, 1);
    j->n_prompt = j->echo_from = j->score_from = (int)p->n;
    j->max_tokens = p->max_tokens < n_ctx - j->n_prompt ? p->max_tokens : n_ctx - j->n_prompt;
    j->n_choices = j->n_left = r->n;
    j->pool = r->pool;
    j->second = (int)p->second;
    j->usage.prompt_tokens = j->n_prompt;
    j->t_submit = clock_seconds();
    j->seq = calloc((size_t)r->n, sizeof *j->seq);
    j->prompt = malloc(p->n * sizeof *j->prompt);
    bool ok = j->seq && j->prompt && take_pictures(j, p);
    if (ok) memcpy(j->prompt, p->ids, p->n * sizeof *j->prompt);
    for (int c = 0; ok && c < r->n; c++) j->seq[c] = (struct seq){ .job = j, .choice = c };
    if (ok && r->echo) {
        j->echo_from = r->echo_last > 0 && r->echo_last < j->n_prompt ? j->n_prompt - r->echo_last : 0;
        if (r->sampling.n_top_logprobs >= 0) j->score_from = j->echo_from ? j->echo_from : 1;
        if (j->score_from > j->n_prompt) j->score_from = j->n_prompt;
        j->echo_token = calloc((size_t)(j->n_prompt - j->echo_from) + 1, sizeof *j->echo_token);
        ok = j->echo_token != NULL;
    }
    if (!ok) {
        job_unref(j);
        return err_set(e, ERR_NOMEM, "no memory for a request");
    }
    *out = j;
    return true;
}

void lm_event_free(struct lm_event *ev)
{
    free(ev->text);
    free(ev->tokens);
    free(ev->vector);
    ev->vector = NULL;
    ev->text = NULL;
    ev->tokens = NULL;
}

void job_unref(struct lm_job *j)
{
    if (atomic_fetch_sub(&j->refs, 1) != 1) return;
    for (struct event_node *n = j->first, *next; n; n = next) {
        next = n->next;
        lm_event_free(&n->ev);
        if (n != &j->final) free(n);
    }
    for (int c = 0; j->seq && c < j->n_choices; c++) job_drop(&j->seq[c]);
    if (j->share) scheduler_forget(j->sched, j);
    terms_unref(j->terms);
    for (int i = 0; i < j->n_pictures; i++) lm_picture_unref(j->picture[i].picture);
    free(j->picture);
    free(j->prompt);
    free(j->first_logits);
    free(j->vector);
    free(j->echo_token);
    free(j->seq);
    pthread_mutex_destroy(&j->mu);
    pthread_mutex_destroy(&j->notify_mu);
    pthread_cond_destroy(&j->cond);
    free(j);
}

/* ---- events ------------------------------------------------------------------------------------------------------- */

static void push(struct lm_job *j, struct event_node *n)
{
    n->next = NULL;
    pthread_mutex_lock(&j->mu);
    *j->last = n;
    j->last = &n->next;
    pthread_cond_broadcast(&j->cond);
    pthread_mutex_unlock(&j->mu);
    pthread_mutex_lock(&j->notify_mu);
    if (j->notify) j->notify(j->notify_arg);
    pthread_mutex_unlock(&j->notify_mu);
}

static struct event_node *new_event(enum lm_event_type type, int choice)
{
    struct event_node *n = calloc(1, sizeof *n);
    if (n) {
        n->ev.type = type;
        n->ev.choice = choice;
    }
    return n;
}

/* An event lost for want of memory ends the whole job: a gap in a text must not look like the text. */
static void out_of_memory(struct lm_job *j)
{
    struct err e;
    err_set(&e, ERR_NOMEM, "no memory for the answer");
    job_end(j, &e);
}

static void emit_text(struct seq *s, const char *text, size_t len, const struct lm_token *tokens,
                      int n_tokens)
{
    if ((len == 0 && n_tokens == 0) || s->job->ended) return;
    struct event_node *n = new_event(LM_EV_TEXT, s->choice);
    if (n) n->ev.text = malloc(len + 1);
    if (n && n_tokens) n->ev.tokens = malloc((size_t)n_tokens * sizeof *tokens);
    if (!n || !n->ev.text || (n_tokens && !n->ev.tokens)) {
        if (n) lm_event_free(&n->ev);
        free(n);
        out_of_memory(s->job);
        return;
    }
    if (len) memcpy(n->ev.text, text, len);
    n->ev.text[len] = 0;
    n->ev.len = len;
    if (n_tokens) memcpy(n->ev.tokens, tokens, (size_t)n_tokens * sizeof *tokens);
    n->ev.n_tokens = n_tokens;
    push(s->job, n);
}

static bool hold(struct seq *s, const struct lm_token *t)
{
    if (s->n_held == s->cap_held) {
        int cap = s->cap_held ? 2 * s->cap_held : 8;
        struct lm_token *p = realloc(s->held, (size_t)cap * sizeof *p);
        if (!p) return false;
        s->held = p;
        s->cap_held = cap;
    }
    s->held[s->n_held++] = *t;
    return true;
}

/* Text goes out together with the tokens that are wholly shown by it. */
static void release(struct seq *s, const char *text, size_t len, bool all)
{
    s->text_out += len;
    int n = 0;
    while (n < s->n_held && (all || s->held[n].text_offset + s->held[n].text_len <= s->text_out)) n++;
    emit_text(s, text, len, s->held, n);
    if (n) memmove(s->held, s->held + n, (size_t)(s->n_held - n) * sizeof *s->held);
    s->n_held -= n;
}

bool job_take_token(struct seq *s, const struct tokenizer *tok, const struct pick *pick)
{
    size_t bytes = 0, len;
    const char *text;
    if (!tokenizer_is_control(tok, pick->id) || guide_shows(s->job->terms->guide, pick->id))
        tokenizer_bytes(tok, pick->id, &bytes);
    if (s->job->terms->want_tokens) {
        const struct lm_token t = {
            .id = pick->id, .pick = *pick, .text_offset = s->text_made, .text_len = bytes
        };
        if (!hold(s, &t)) {
            out_of_memory(s->job);
            return false;
        }
    }
    s->text_made += bytes;
    bool stop = detok_push(s->detok, pick->id, &text, &len);
    if (detok_failed(s->detok)) {
        out_of_memory(s->job);
        return false;
    }
    release(s, text, len, false);
    return stop;
}

void job_echo(struct seq *s, const struct tokenizer *tok)
{
    struct lm_job *j = s->job;
    struct err e;
    struct detok *d;
    if (j->echo_from == j->n_prompt) return;
    if (!detok_new(&d, tok, NULL, true, &e)) {
        job_end(j, &e);
        return;
    }
    struct buf all = BUF_INIT(0);
    const char *text;
    size_t len;
    for (int i = j->echo_from; i < j->n_prompt; i++) {
        struct lm_token *t = &j->echo_token[i - j->echo_from];
        t->id = j->prompt[i];
        t->from_prompt = true;
        t->text_offset = s->text_made;
        tokenizer_bytes(tok, t->id, &t->text_len);
        s->text_made += t->text_len;
        detok_push(d, t->id, &text, &len);
        buf_append(&all, text, len);
    }
    detok_finish(d, &text, &len);
    buf_append(&all, text, len);
    all.failed |= detok_failed(d);
    detok_free(d);
    if (all.failed)
        out_of_memory(j);
    else
        emit_text(s, all.data, all.len, j->echo_token,
                  j->terms->want_tokens ? j->n_prompt - j->echo_from : 0);
    s->text_out = s->text_made; /* offsets of the answer count from the echoed text's bytes */
    buf_free(&all);
}

void job_vector(struct seq *s, int n_embd, const struct vector_head *head)
{
    struct lm_job *j = s->job;
    struct event_node *n = j->ended ? NULL : new_event(LM_EV_VECTOR, s->choice);
    if (j->ended) return;
    if (!n || !j->vector) {
        free(n);
        out_of_memory(j);
        return;
    }
    for (int i = 0; j->pool == LM_POOL_MEAN && i < n_embd; i++) j->vector[i] /= (float)j->n_prompt;
    if (head && !vector_head_run(head, &j->vector)) {
        free(n);
        out_of_memory(j);
        return;
    }
    n->ev.vector = j->vector;
    j->vector = NULL;
    push(j, n);
}

static void finish_usage(struct lm_job *j)
{
    double now = clock_seconds();
    j->usage.queue_s = (j->t_admit > 0 ? j->t_admit : now) - j->t_submit;
    j->usage.prefill_s = j->t_first > 0 ? j->t_first - j->t_admit : 0;
    j->usage.ttft_s = j->t_first > 0 ? j->t_first - j->t_submit : 0;
    j->usage.total_s = now - j->t_submit;
}

void job_end_choice(struct seq *s, enum lm_finish finish, const char *stop_hit)
{
    struct lm_job *j = s->job;
    if (s->finished) return;
    s->finished = true;
    if (!s->detok) { /* it has not begun: nothing was said */
    } else if (!stop_hit) {
        const char *text;
        size_t len;
        detok_finish(s->detok, &text, &len);
        if (detok_failed(s->detok)) out_of_memory(j);
        release(s, text, len, true);
    } else { /* tokens of which something was shown; those of the stop string are not the answer's */
        int n = 0;
        while (n < s->n_held && s->held[n].text_offset < s->text_out) n++;
        emit_text(s, NULL, 0, s->held, n);
        s->n_held = 0;
    }
    if (j->ended) return; /* there was no memory for its text */
    j->usage.foreseen_tokens += s->predicted.accepted;
    j->usage.unforeseen_tokens += j->terms->n_predicted - s->predicted.accepted;
    struct event_node *n = new_event(LM_EV_CHOICE_END, s->choice);
    if (!n) {
        out_of_memory(j);
        return;
    }
    finish_usage(j);
    n->ev.finish = finish;
    n->ev.stop_hit = stop_hit;
    n->ev.usage = j->usage;
    push(j, n);
    if (--j->n_left == 0) job_end(j, NULL);
}

void job_end(struct lm_job *j, const struct err *error)
{
    if (j->ended) return;
    j->ended = true;
    for (int c = 0; c < j->n_choices; c++) j->seq[c].finished = true;
    finish_usage(j);
    j->final.ev.type = error ? LM_EV_ERROR : LM_EV_DONE;
    j->final.ev.usage = j->usage;
    if (error) j->final.ev.error = *error;
    if (j->told_end) j->told_end(j->told_end_arg, &j->usage);
    push(j, &j->final);
}

static bool take(struct lm_job *j, struct lm_event *ev, bool wait)
{
    pthread_mutex_lock(&j->mu);
    while (wait && !j->first && !j->closed) pthread_cond_wait(&j->cond, &j->mu);
    struct event_node *n = j->first;
    if (n) {
        *ev = n->ev;
        j->first = n->next;
        if (!j->first) j->last = &j->first;
        if (n == &j->final) j->closed = true;
    }
    pthread_mutex_unlock(&j->mu);
    if (n && n != &j->final) free(n);
    return n != NULL;
}

bool lm_next(struct lm_job *j, struct lm_event *ev) { return take(j, ev, false); }

bool lm_wait(struct lm_job *j, struct lm_event *ev) { return take(j, ev, true); }
