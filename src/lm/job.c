#include "lm/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#define MAX_CHOICES 128

/* ---- making and freeing ------------------------------------------------------------------------------------------- */

static bool check(const struct lm_request *r, int n_ctx, int n_vocab, struct err *e)
{
    if (r->n_prompt == 0) return err_set(e, ERR_REQUEST, "the prompt is empty");
    if (r->n < 1 || r->n > MAX_CHOICES)
        return err_set(e, ERR_REQUEST, "n is %d, expected 1 to %d", r->n, MAX_CHOICES);
    if (r->max_tokens < 0) return err_set(e, ERR_REQUEST, "max_tokens is %d", r->max_tokens);
    const size_t need = r->n_prompt + (r->max_tokens > 0);
    if (need > (size_t)n_ctx)
        return err_set(e, ERR_CONTEXT,
                       "the prompt has %zu tokens, but the model's context holds %d including the answer",
                       r->n_prompt, n_ctx);
    for (size_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || r->prompt[i] >= n_vocab)
            return err_set(e, ERR_REQUEST, "token %zu of the prompt is %d, the vocabulary has %d", i,
                           r->prompt[i], n_vocab);
    return true;
}

static bool copy_request(struct lm_job *j, const struct lm_request *r)
{
    j->sampling = r->sampling;
    j->sampling.bias = NULL;
    if (r->sampling.n_bias > 0) {
        j->bias = malloc((size_t)r->sampling.n_bias * sizeof *j->bias);
        if (!j->bias) return false;
        memcpy(j->bias, r->sampling.bias, (size_t)r->sampling.n_bias * sizeof *j->bias);
        j->sampling.bias = j->bias;
    }
    if (r->n_stop > 0) {
        j->stop = calloc((size_t)r->n_stop, sizeof *j->stop);
        if (!j->stop) return false;
        for (; j->n_stop < r->n_stop; j->n_stop++)
            if (!(j->stop[j->n_stop] = strdup(r->stop[j->n_stop]))) return false;
    }
    if (r->cache_isolation && !(j->key = strdup(r->cache_isolation))) return false;
    j->ignore_end = r->ignore_end;
    j->want_tokens = r->want_token_ids || r->sampling.n_top_logprobs >= 0;
    j->echo_from = j->score_from = j->n_prompt;
    if (r->echo) {
        j->echo_from = r->echo_last > 0 && r->echo_last < j->n_prompt ? j->n_prompt - r->echo_last : 0;
        if (r->sampling.n_top_logprobs >= 0) j->score_from = j->echo_from ? j->echo_from : 1;
        if (j->score_from > j->n_prompt) j->score_from = j->n_prompt;
        j->echo_token = calloc((size_t)(j->n_prompt - j->echo_from) + 1, sizeof *j->echo_token);
        if (!j->echo_token) return false;
    }
    return true;
}

static bool make_seq(struct lm_job *j, int choice, const struct lm_request *r, const struct tokenizer *tok,
                     int n_vocab, unsigned isa, struct err *e)
{
    struct seq *s = &j->seq[choice];
    s->job = j;
    s->choice = choice;
    s->n_token = j->n_prompt;
    s->n_limit = j->n_prompt + j->max_tokens;
    s->token = malloc((size_t)s->n_limit * sizeof *s->token);
    s->cap_page = s->n_limit / 32 + 1;
    s->page = malloc((size_t)s->cap_page * sizeof *s->page);
    if (!s->token || !s->page) return err_set(e, ERR_NOMEM, "no memory for %d tokens", s->n_limit);
    memcpy(s->token, r->prompt, r->n_prompt * sizeof *s->token);
    struct sampler_params p = j->sampling;
    p.stream = (uint64_t)choice;
    if (!sampler_new(&s->sampler, &p, n_vocab, isa, e)) return false;
    if (p.repetition_penalty != 1 && !sampler_prompt(s->sampler, r->prompt, r->n_prompt, e)) return false;
    return detok_new(&s->detok, tok, (const char *const *)j->stop, j->n_stop, false, e);
}

bool job_new(struct lm_job **out, const struct lm_request *r, const struct tokenizer *tok, int n_ctx,
             int n_vocab, unsigned isa, void (*notify)(void *), void *arg, struct err *e)
{
    if (!check(r, n_ctx, n_vocab, e)) return false;
    struct lm_job *j = calloc(1, sizeof *j);
    if (!j) return err_set(e, ERR_NOMEM, "no memory for a request");
    atomic_init(&j->refs, 1);
    pthread_mutex_init(&j->mu, NULL);
    pthread_mutex_init(&j->notify_mu, NULL);
    pthread_cond_init(&j->cond, NULL);
    j->last = &j->first;
    j->notify = notify;
    j->notify_arg = arg;
    j->n_prompt = (int)r->n_prompt;
    j->max_tokens = r->max_tokens < n_ctx - j->n_prompt ? r->max_tokens : n_ctx - j->n_prompt;
    j->n_choices = j->n_left = r->n;
    j->usage.prompt_tokens = j->n_prompt;
    j->t_submit = clock_seconds();
    j->seq = calloc((size_t)r->n, sizeof *j->seq);
    bool ok = j->seq && copy_request(j, r);
    if (!ok) err_set(e, ERR_NOMEM, "no memory for a request");
    for (int c = 0; ok && c < r->n; c++) ok = make_seq(j, c, r, tok, n_vocab, isa, e);
    if (!ok) {
        job_unref(j);
        return false;
    }
    *out = j;
    return true;
}

void lm_event_free(struct lm_event *ev)
{
    free(ev->text);
    free(ev->tokens);
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
    for (int c = 0; j->seq && c < j->n_choices; c++) {
        struct seq *s = &j->seq[c];
        free(s->token);
        free(s->page);
        free(s->held);
        if (s->sampler) sampler_free(s->sampler);
        if (s->detok) detok_free(s->detok);
    }
    for (int i = 0; i < j->n_stop; i++) free(j->stop[i]);
    free(j->stop);
    free(j->bias);
    free(j->key);
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
    if (len == 0 && n_tokens == 0) return;
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
    if (!tokenizer_is_control(tok, pick->id)) tokenizer_bytes(tok, pick->id, &bytes);
    if (s->job->want_tokens) {
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
    release(s, text, len, false);
    return stop;
}

void job_echo(struct seq *s, const struct tokenizer *tok)
{
    struct lm_job *j = s->job;
    struct err e;
    struct detok *d;
    if (j->echo_from == j->n_prompt) return;
    if (!detok_new(&d, tok, NULL, 0, true, &e)) {
        job_end(j, &e);
        return;
    }
    struct buf all = BUF_INIT(0);
    const char *text;
    size_t len;
    for (int i = j->echo_from; i < j->n_prompt; i++) {
        struct lm_token *t = &j->echo_token[i - j->echo_from];
        t->id = s->token[i];
        t->from_prompt = true;
        t->text_offset = s->text_made;
        tokenizer_bytes(tok, t->id, &t->text_len);
        s->text_made += t->text_len;
        detok_push(d, t->id, &text, &len);
        buf_append(&all, text, len);
    }
    detok_finish(d, &text, &len);
    buf_append(&all, text, len);
    detok_free(d);
    if (all.failed)
        out_of_memory(j);
    else
        emit_text(s, all.data, all.len, j->echo_token, j->want_tokens ? j->n_prompt - j->echo_from : 0);
    s->text_out = s->text_made; /* offsets of the answer count from the echoed text's bytes */
    buf_free(&all);
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
    if (!stop_hit) {
        const char *text;
        size_t len;
        detok_finish(s->detok, &text, &len);
        release(s, text, len, true);
    } else { /* tokens of which something was shown; those of the stop string are not the answer's */
        int n = 0;
        while (n < s->n_held && s->held[n].text_offset < s->text_out) n++;
        emit_text(s, NULL, 0, s->held, n);
        s->n_held = 0;
    }
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

double lm_progress(const struct lm_job *j, int *queue_place)
{
    if (queue_place) *queue_place = atomic_load(&j->queue_place);
    return (double)atomic_load(&j->prompt_done) / j->n_prompt;
}
