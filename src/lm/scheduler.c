#include "lm/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "lm/scheduler_inside.h"
#include "lm/sight.h"

_Static_assert((int)LM_SPACE == (int)RADIX_SPACE, "a request's space is the tree's");

/* ---- pages ---------------------------------------------------------------------------------------------------------- */

/* The sequence's tables as the tree takes them. */
static void tables(const struct scheduler *s, struct seq *q, int32_t *page[KV_GROUPS])
{
    for (int g = 0; g < s->kv->n_group; g++) page[g] = q->page[g].at;
}

/* Pages of group g before page `end`. */
static void give_back(struct scheduler *s, struct seq *q, int g, int end)
{
    struct seq_pages *p = &q->page[g];
    for (; p->first < end && p->first < p->n; p->first++) {
        kvcache_unref(s->c.cache, p->at[p->first]);
        p->at[p->first] = -1;
    }
}

void scheduler_give_up_pages(struct scheduler *s, struct seq *q)
{
    for (int g = 0; g < s->kv->n_group; g++) {
        give_back(s, q, g, q->page[g].n);
        q->page[g].n = q->page[g].first = 0;
    }
    q->n_past = q->n_known = 0;
}

void scheduler_tell_tree(struct scheduler *s, struct seq *q, int n)
{
    int32_t *page[KV_GROUPS];
    q->n_known = n;
    if (s->c.arch->engine->whole) return; /* nothing is kept */
    tables(s, q, page);
    radix_insert(s->radix, q->job->terms->space, q->token, n, page);
}

static void remember(struct scheduler *s, struct seq *q)
{
    if (q->n_past > q->n_known) scheduler_tell_tree(s, q, q->n_past);
}

int32_t scheduler_new_page(struct scheduler *s)
{
    int32_t page = kvcache_alloc(s->c.cache);
    if (page < 0 && radix_evict(s->radix)) page = kvcache_alloc(s->c.cache);
    return page;
}

static void go_again(struct scheduler *s, struct seq *q)
{
    struct seq **p = &s->again;
    while (*p && (*p)->ticket < q->ticket) p = &(*p)->next;
    q->next = *p;
    *p = q;
    s->n_again++;
}

static void leave_batch(struct scheduler *s, int i)
{
    s->running[i]->job->share->n_running--;
    memmove(s->plan + i, s->plan + i + 1, (size_t)(s->n_running - i - 1) * sizeof *s->plan);
    memmove(s->running + i, s->running + i + 1, (size_t)(s->n_running - i - 1) * sizeof *s->running);
    s->n_running--;
    s->full = false;
}

static void preempt(struct scheduler *s, int i)
{
    struct seq *q = s->running[i];
    leave_batch(s, i);
    remember(s, q);
    scheduler_give_up_pages(s, q);
    go_again(s, q);
    free(q->kept_logits); /* they are computed again */
    q->kept_logits = NULL;
    s->count.preemptions++;
}

/* Of running[from ..], which had better give way: the youngest of the share that has most by its weight, among those of the lowest priority. For
 * `to`, only where that is entitled to its place; -1: nobody is to. */
static int most_over(const struct scheduler *s, int from, const struct job_share *to)
{
    int best = -1;
    for (int i = s->n_running - 1; i >= from; i--) {
        const struct job_share *h = s->running[i]->job->share;
        const struct job_share *b = best < 0 ? NULL : s->running[best]->job->share;
        if (to && !shares_entitled(&to->s, to->n_running, &h->s, h->n_running, TURN_ROWS)) continue;
        const bool more = !b || h->s.priority < b->s.priority ||
                          (h->s.priority == b->s.priority &&
                           (int64_t)h->n_running * b->s.weight > (int64_t)b->n_running * h->s.weight);
        if (more) best = i;
    }
    return best;
}

bool scheduler_make_room(struct scheduler *s, int i, int n_rows)
{
    struct seq *q = s->running[i];
    const int need = kv_pages_for(q->n_past + n_rows);
    for (int g = 0; g < s->kv->n_group;) {
        struct seq_pages *p = &q->page[g];
        if (p->n >= need) {
            g++;
            continue;
        }
        int32_t page = scheduler_new_page(s);
        if (page >= 0) {
            p->at[p->n++] = page;
            continue;
        }
        const int last = most_over(s, i, NULL);
        preempt(s, last);
        if (last == i) return false;
    }
    return true;
}

/* ---- the queue -------------------------------------------------------------------------------------------------------- */

/* Under the lock. */
static void queue_put(struct scheduler *s, struct lm_job *j, bool in_front)
{
    struct job_share *h = j->share;
    j->prev = in_front ? NULL : h->queue_last;
    j->next = in_front ? h->queue : NULL;
    *(j->prev ? &j->prev->next : &h->queue) = j;
    *(j->next ? &j->next->prev : &h->queue_last) = j;
    j->queued = true;
    s->n_waiting++;
    atomic_store(&h->head, h->queue->number);
}

static void queue_take(struct scheduler *s, struct lm_job *j)
{
    struct job_share *h = j->share;
    *(j->prev ? &j->prev->next : &h->queue) = j->next;
    *(j->next ? &j->next->prev : &h->queue_last) = j->prev;
    j->queued = false;
    j->next = j->prev = NULL;
    s->n_waiting--;
    atomic_store(&h->head, h->queue ? h->queue->number : h->next_number);
}

static void queue_say_gone(struct scheduler *s, struct lm_job *j)
{
    s->n_queued -= j->n_choices - j->n_begun;
    j->n_begun = j->n_choices;
    j->next = s->gone;
    s->gone = j;
    s->woken = true;
}

void scheduler_cancel(struct scheduler *s, struct lm_job *j)
{
    pthread_mutex_lock(&s->mu);
    if (j->queued) {
        queue_take(s, j);
        queue_say_gone(s, j);
    }
    s->woken = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mu);
}

void scheduler_forget(struct scheduler *s, struct lm_job *j)
{
    pthread_mutex_lock(&s->mu);
    shares_let_go(&s->shares, &j->share->s);
    pthread_mutex_unlock(&s->mu);
}

int scheduler_place(const struct scheduler *s, const struct lm_job *j)
{
    (void)s;
    const uint64_t head = atomic_load(&j->share->head);
    return j->number < head ? 1 : (int)(j->number - head) + 1;
}

static void open_choices(struct scheduler *s, struct lm_job *j)
{
    struct lm_job **p = &s->open;
    if (j->n_begun == j->n_choices || j->open) return;
    while (*p && (*p)->ticket < j->ticket) p = &(*p)->next;
    j->next = *p;
    *p = j;
    j->open = true;
}

static void close_choices(struct scheduler *s, struct lm_job *j)
{
    if (!j->open) return;
    struct lm_job **p = &s->open;
    while (*p != j) p = &(*p)->next;
    *p = j->next;
    j->next = NULL;
    j->open = false;
}

/* `n` choices of a job in our hands are so no longer. */
static void let_go(struct lm_job *j, int n)
{
    struct scheduler *s = j->sched;
    j->n_held -= n;
    if (n == 0 || j->n_held > 0) return;
    pthread_mutex_lock(&s->mu);
    shares_ask(&s->shares, &j->share->s, -1);
    pthread_mutex_unlock(&s->mu);
    job_unref(j);
}

/* Those that have not begun will not. The job may be gone after this. */
static void drop_rest(struct scheduler *s, struct lm_job *j)
{
    close_choices(s, j);
    const int n = j->n_choices - j->n_begun;
    j->n_begun = j->n_choices;
    pthread_mutex_lock(&s->mu);
    s->n_queued -= n;
    pthread_mutex_unlock(&s->mu);
    let_go(j, n);
}

/* ---- ends ----------------------------------------------------------------------------------------------------------- */

static bool is_over(const struct lm_job *j) { return j->ended || atomic_load(&j->cancelled); }

/* Before its own end: because it was cancelled, or because the model failed. */
static void end_early(struct scheduler *s, struct lm_job *j)
{
    if (j->ended) return;
    if (s->failure.code != ERR_NONE) {
        job_end(j, &s->failure);
        return;
    }
    s->count.cancelled++;
    for (int c = 0; c < j->n_choices; c++) job_end_choice(&j->seq[c], LM_FINISH_CANCELLED, NULL);
}

static void drop_seq(struct scheduler *s, struct seq *q)
{
    struct lm_job *j = q->job;
    scheduler_give_up_pages(s, q);
    if (!q->finished) end_early(s, j);
    masks_forget(s->masks, &q->mask);
    job_drop(q);
    if (is_over(j)) { /* also the last of its choices */
        atomic_fetch_add(&j->refs, 1);
        drop_rest(s, j);
        let_go(j, 1);
        job_unref(j);
    } else {
        let_go(j, 1);
    }
}

/* Takes out every sequence whose choice has ended, or whose job was cancelled. */
static void sweep(struct scheduler *s, bool stopping)
{
    struct seq *gone = NULL;
    for (int i = 0; i < s->n_running;) {
        struct seq *q = s->running[i];
        if (!(stopping || q->finished || is_over(q->job))) {
            i++;
            continue;
        }
        leave_batch(s, i);
        remember(s, q);
        q->next = gone;
        gone = q;
    }
    for (struct seq **p = &s->again; *p;) {
        struct seq *q = *p;
        s->count.queue_looks++;
        if (!(stopping || q->finished || is_over(q->job))) {
            p = &q->next;
            continue;
        }
        *p = q->next;
        s->n_again--;
        q->next = gone;
        gone = q;
    }
    while (gone) {
        struct seq *q = gone;
        gone = q->next;
        drop_seq(s, q);
    }
    for (struct lm_job *j = s->open, *next; j; j = next) {
        next = j->next;
        s->count.queue_looks++;
        if (!(stopping || is_over(j))) continue;
        end_early(s, j);
        drop_rest(s, j);
    }
}

/* Those that were cancelled while they waited; all that wait, when the thread stops. */
static void end_gone(struct scheduler *s, struct lm_job *gone)
{
    while (gone) {
        struct lm_job *j = gone;
        gone = j->next;
        s->count.queue_looks++;
        s->full = false;
        end_early(s, j);
        let_go(j, j->n_choices);
    }
}

/* ---- admission ------------------------------------------------------------------------------------------------------ */

/* Pages that a sequence will hold at most while what it has of tokens is processed, and does not hold yet; one for its next token is among
 * them. */
static int pages_to_come(const struct scheduler *s, const struct seq *q)
{
    int n = 0, rows = q->n_token + 1 - q->n_past; /* of a step, at most */
    if (rows > s->c.prefill_chunk) rows = s->c.prefill_chunk;
    for (int g = 0; g < s->kv->n_group; g++) {
        const int need = kv_group_pages(s->kv, g, q->n_token + 1, rows);
        const int held = q->page[g].n - q->page[g].first;
        n += need > held ? need - held : 0;
    }
    return n;
}

/* Pages that running prompts have been promised and do not hold yet, and one for each sequence that decodes. */
static int promised(const struct scheduler *s)
{
    int n = 0;
    for (int i = 0; i < s->n_running; i++) n += pages_to_come(s, s->running[i]);
    return n;
}

static bool admit_one(struct scheduler *s, struct seq *q)
{
    scheduler_start_from_prefix(s, q);
    const int need = pages_to_come(s, q);
    const int have = kvcache_n_free(s->c.cache) + kvcache_n_idle(s->c.cache);
    if (s->n_running > 0 && have < need + promised(s)) {
        scheduler_give_up_pages(s, q);
        return false;
    }
    q->n_known = q->n_past;
    if (q->choice == 0 && !q->admitted) {
        struct lm_job *j = q->job;
        j->t_admit = clock_seconds();
        j->usage.cached_tokens = q->n_past;
        s->count.cached_tokens += (uint64_t)q->n_past;
        atomic_store(&j->waits, false);
    }
    q->admitted = true;
    q->job->share->n_running++;
    int at = s->n_running++;
    for (; at > 0 && s->running[at - 1]->ticket > q->ticket; at--) s->running[at] = s->running[at - 1];
    s->running[at] = q;
    return true;
}

static void wake(void *arg)
{
    struct scheduler *s = arg;
    pthread_mutex_lock(&s->mu);
    s->woken = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mu);
}

/* Asks what may be drawn next. A token that is forced where its logits are wanted, or where the sequence has not begun to draw, is a mask of
 * its own; take_token() sees to the others. */
static bool steer(struct scheduler *s, struct seq *q, struct err *e)
{
    enum guide_next next;
    const int32_t *ids;
    int n;
    if (!q->mask.guide) return true;
    if (!guide_next(q->mask.guide, &next, &ids, &n, e)) return false;
    if (next == GUIDE_ANY) return true;
    if (next == GUIDE_FORCED) {
        memset(q->mask.bits, 0, ((size_t)s->c.shape->n_vocab + 31) / 32 * sizeof *q->mask.bits);
        q->mask.bits[ids[0] / 32] |= UINT32_C(1) << (ids[0] % 32);
        q->mask.over = q->mask.failed = false;
        q->mask.wanted = true;
        atomic_store(&q->mask.ready, true);
        return true;
    }
    if (scheduler_row_ahead(q) >= 0) { /* the next token's logits are there: it does not wait for a step */
        if (!guide_mask(q->mask.guide, q->mask.bits, &q->mask.over, e)) return false;
        q->mask.failed = false;
        q->mask.wanted = true;
        atomic_store(&q->mask.ready, true);
        return true;
    }
    if (!s->masks && !masks_new(&s->masks, wake, s, e)) return false;
    masks_ask(s->masks, &q->mask);
    return true;
}

/* The job's next choice, which has not begun, takes its memory and its place. */
static bool begin(struct scheduler *s, struct lm_job *j)
{
    struct seq *q = &j->seq[j->n_begun];
    struct err e;
    q->ticket = j->ticket + (uint64_t)j->n_begun;
    if (!job_begin(q, s->c.tok, s->c.shape->n_vocab, s->kv->n_group, device_isa(s->c.dev), &e)) {
        job_end(j, &e);
        drop_rest(s, j);
        return true;
    }
    if (!admit_one(s, q)) return false;
    if (!q->mask.wanted && !steer(s, q, &e)) job_end(j, &e);
    if (++j->n_begun == j->n_choices) close_choices(s, j);
    pthread_mutex_lock(&s->mu);
    s->n_queued--;
    pthread_mutex_unlock(&s->mu);
    return true;
}

/* What could begin or go on next: a sequence that gave way, another choice of a job, or a job; at most one of them is not NULL. */
struct next {
    struct job_share *share;
    uint64_t ticket;
    struct seq *again;
    struct lm_job *open, *first;
};

/* Of two of one share, and of two shares of which none goes before the other, the older. */
static void prefer(struct next *best, const struct next *n)
{
    const bool same = best->share == n->share;
    if (best->share && (same || !shares_before(&n->share->s, &best->share->s)) &&
        ((!same && shares_before(&best->share->s, &n->share->s)) || best->ticket < n->ticket))
        return;
    *best = *n;
}

/* Lists are in the order of tickets: with one share, each one's first is all that counts. */
static struct next find_next(struct scheduler *s)
{
    struct next best = { .share = NULL };
    pthread_mutex_lock(&s->mu);
    const bool one = s->shares.first && !s->shares.first->next;
    for (struct seq *q = s->again; q; q = one ? NULL : q->next, s->count.queue_looks++)
        prefer(&best, &(struct next){ .share = q->job->share, .ticket = q->ticket, .again = q });
    for (struct lm_job *j = s->open; j; j = one ? NULL : j->next, s->count.queue_looks++)
        prefer(&best, &(struct next){ .share = j->share, .ticket = j->ticket, .open = j });
    for (struct share *h = s->shares.first; h; h = h->next, s->count.queue_looks++) {
        struct job_share *of = (struct job_share *)h;
        if (of->queue)
            prefer(&best, &(struct next){ .share = of, .ticket = of->queue->ticket, .first = of->queue });
    }
    pthread_mutex_unlock(&s->mu);
    return best;
}

/* The first job of a queue begins, or waits on. True: it needs no place any more, which a cancelled one does not either. */
static bool begin_first(struct scheduler *s, struct lm_job *j)
{
    pthread_mutex_lock(&s->mu);
    const bool waits = j->queued; /* a cancelled one is the thread's to end */
    if (waits) queue_take(s, j);
    pthread_mutex_unlock(&s->mu);
    if (!waits || begin(s, j)) return true;
    pthread_mutex_lock(&s->mu);
    if (atomic_load(&j->cancelled)) /* meanwhile */
        queue_say_gone(s, j);
    else
        queue_put(s, j, true);
    pthread_mutex_unlock(&s->mu);
    return false;
}

static bool go_on(struct scheduler *s, struct seq *q)
{
    if (!admit_one(s, q)) return false;
    struct seq **p = &s->again;
    while (*p != q) p = &(*p)->next;
    *p = q->next;
    s->n_again--;
    return true;
}

/* In the order of shares, and of arrival within one: a small request does not overtake one that waits for pages. Where there is no place, or no
 * page, one that has more than its part makes room. */
static void admit(struct scheduler *s)
{
    for (;;) {
        const struct next n = find_next(s);
        if (!n.share) return;
        for (bool in = false; !in;) {
            const bool room = s->n_running < s->c.max_batch && !(s->full && s->full_for == n.share);
            in = room && (n.again ? go_on(s, n.again) : n.open ? begin(s, n.open) : begin_first(s, n.first));
            if (in) break;
            if (room) {
                s->full = true;
                s->full_for = n.share;
            }
            const int over = most_over(s, 0, n.share);
            if (over < 0) return;
            preempt(s, over);
        }
    }
}

/* ---- one step ------------------------------------------------------------------------------------------------------- */

/* The device failed: whoever was in the step ends with its error, and the next step begins anew. */
static void end_failed(struct scheduler *s, struct err *e)
{
    log_error("%s: %s", s->c.name, e->msg);
    for (int i = 0; i < s->n_piece; i++) job_end(s->piece[i].seq->job, e);
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->draws) job_end(s->running[i]->job, e);
}

static void end_broken(struct scheduler *s, struct lm_job *j)
{
    struct err e;
    err_set(
        &e, ERR_FORMAT,
        "%.100s computes numbers that are infinite or NaN: its weights are damaged, or need more range than "
        "this build computes with; fetch them again",
        s->c.name);
    job_end(j, &e);
}

static void prompt_complete(struct scheduler *s, struct seq *q)
{
    struct lm_job *j = q->job;
    if (q->complete) return;
    q->complete = true;
    if (j->broken) {
        end_broken(s, j);
        return;
    }
    if (q->choice == 0) {
        j->prompt_ready = true;
        j->t_first = clock_seconds();
        s->count.prompt_tokens += (uint64_t)j->n_prompt;
        open_choices(s, j);
    }
    if (++j->n_first == j->n_choices) {
        free(j->first_logits);
        j->first_logits = NULL;
    }
    remember(s, q);
    job_echo(q, s->c.tok);
    if (q->choice == 0 && j->pool != LM_POOL_NONE) job_vector(q, s->c.shape->n_embd, s->c.vector_head);
    if (j->max_tokens == 0) job_end_choice(q, LM_FINISH_LENGTH, NULL);
}

bool scheduler_ends(const struct scheduler *s, const struct terms *t, int32_t id)
{
    for (int i = 0; i < t->n_stop_ids; i++)
        if (t->stop_ids[i] == id) return true;
    return !t->ignore_end && tokenizer_is_end(s->c.tok, id);
}

/* The sequence's next token; false: its choice ends with it. */
static bool append(struct scheduler *s, struct seq *q, const struct pick *pick)
{
    struct lm_job *j = q->job;
    struct guide *g = q->mask.guide;
    struct err e;
    q->token[q->n_token++] = pick->id;
    j->usage.completion_tokens++;
    s->count.completion_tokens++;
    predicted_take(&q->predicted, pick->id);
    if (g && !guide_take(g, pick->id, &e)) {
        job_end(j, &e);
        return false;
    }
    if (g) {
        j->usage.reasoning_tokens += guide_thought_tokens(g) - q->n_thought;
        q->n_thought = guide_thought_tokens(g);
        detok_stops(q->detok, !guide_thinks(g));
    }
    const bool full = q->n_token == q->n_limit;
    if (job_take_token(q, s->c.tok, pick))
        job_end_choice(q, LM_FINISH_STOP, detok_stop_hit(q->detok));
    else if (full)
        job_end_choice(q, LM_FINISH_LENGTH, NULL);
    return !q->finished;
}

/* Takes what can only come so, without a pass for each token, and asks what may come then. */
static void follow(struct scheduler *s, struct seq *q)
{
    enum guide_next next = GUIDE_ANY;
    const int32_t *ids;
    int n;
    struct err e;
    if (!q->mask.guide) return;
    for (;;) {
        if (!guide_next(q->mask.guide, &next, &ids, &n, &e)) {
            job_end(q->job, &e);
            return;
        }
        if (next != GUIDE_FORCED || q->job->terms->sampling.n_top_logprobs >= 0) break;
        const struct pick pick = { .id = ids[0] };
        sampler_take(q->sampler, pick.id);
        if (!append(s, q, &pick)) return;
    }
    if (!steer(s, q, &e)) job_end(q->job, &e);
}

static void take_token(struct scheduler *s, struct seq *q, const struct pick *pick)
{
    struct lm_job *j = q->job;
    if (q->finished) return;
    if (q->mask.wanted && q->mask.failed) {
        job_end(j, &q->mask.why);
        return;
    }
    if (pick->broken) {
        end_broken(s, j);
        return;
    }
    if ((q->mask.wanted && q->mask.over) || scheduler_ends(s, j->terms, pick->id)) {
        job_end_choice(q, LM_FINISH_STOP, NULL);
        return;
    }
    q->mask.wanted = false;
    if (append(s, q, pick)) follow(s, q);
}

/* The sequence goes on behind n more tokens, whose keys and values are there. */
static void advance(struct scheduler *s, struct seq *q, int n)
{
    q->n_past += n;
    if (q->n_past / KV_PAGE > q->n_known / KV_PAGE)
        scheduler_tell_tree(
            s, q, q->n_past / KV_PAGE * KV_PAGE); /* whole pages as they fill, the rest at the end */
    for (int g = 0; g < s->kv->n_group; g++) give_back(s, q, g, kv_first_page(s->kv, g, q->n_past));
}

/* What was drawn for a sequence: the token behind its last one, and while guesses are right, those behind them. */
static void take_draw(struct scheduler *s, struct draw *d)
{
    struct seq *q = d->seq;
    const size_t n_vocab = (size_t)s->c.shape->n_vocab;
    take_token(s, q, &q->pick);
    for (int k = 1; k < d->n_pick; k++) take_token(s, q, &q->ahead->pick[k - 1]);
    if (!q->ahead || q->ahead->n == 0) return;
    for (int row; q->mask.guide && !q->finished && (row = scheduler_row_ahead(q)) >= 0;) {
        sampler_pick(q->sampler, d->logits + (size_t)row * n_vocab, scheduler_n_valid(s),
                     q->mask.wanted ? q->mask.bits : NULL, &q->pick);
        take_token(s, q, &q->pick);
    }
    advance(s, q, scheduler_settle(s, q));
}

static void smooth(double *mean, double v) { *mean = *mean > 0 ? 0.7 * *mean + 0.3 * v : v; }

/* Learns from a step what the next ones will cost. Rows of a prompt hide behind the reading of the weights as long as they are
 * few, so a row's cost is never taken for less than an eighth of its share. */
static void measure(struct scheduler *s, double took, int decode_rows, int prompt_rows)
{
    if (prompt_rows == 0) {
        smooth(&s->decode_s, took);
    } else if (prompt_rows >= MIN_CHUNK && (!decode_rows || s->decode_s > 0 || s->row_cost_s == 0)) {
        const double share = took / (decode_rows + prompt_rows);
        const double cost = decode_rows ? (took - s->decode_s) / prompt_rows : share;
        smooth(&s->row_cost_s, cost > share / 8 ? cost : share / 8);
    }
}

/* What the step's rows were for. */
static void charge(struct scheduler *s)
{
    pthread_mutex_lock(&s->mu);
    for (int i = 0; i < s->n_piece; i++) { /* a refused guess was nobody's wish */
        const struct piece *p = &s->piece[i];
        const int rows = p->n_rows - p->n_guess + (p->n_guess ? p->seq->ahead->n_right : 0);
        shares_served(&p->seq->job->share->s, rows);
    }
    pthread_mutex_unlock(&s->mu);
}

/* All that runs waits for masks. */
static void wait_for_news(struct scheduler *s)
{
    pthread_mutex_lock(&s->mu);
    while (!s->stop && !s->woken && s->n_running > 0) pthread_cond_wait(&s->cond, &s->mu);
    pthread_mutex_unlock(&s->mu);
}

static void step(struct scheduler *s)
{
    struct lm_batch b;
    const int rows = scheduler_compose(s, &b);
    int without_rows = 0;
    for (int i = 0; i < s->n_running; i++) {
        struct seq *q = s->running[i];
        q->draws = rows_left(q) == 0 && (!q->mask.wanted || mask_ready(&q->mask));
        without_rows += q->draws;
    }
    if (rows + without_rows == 0) {
        wait_for_news(s);
        return;
    }
    const double t0 = clock_seconds();
    device_acquire(s->c.dev, b.lane);
    struct err failure;
    int n_draws = 0;
    bool held = false; /* draws behind guesses read logits of the device while tokens are taken */
    bool ok = scheduler_look(s, &b, &failure);
    const double t1 = clock_seconds(); /* what looking takes says nothing of rows */
    ok = ok && (!rows || s->c.arch->engine->step(s->c.net, &b, kvcache_layers(s->c.cache), &failure));
    for (int i = 0; ok && i < s->n_piece; i++)
        ok = scheduler_score(s, &s->piece[i], &failure) && scheduler_pool(s, &s->piece[i], &failure);
    if (ok) ok = scheduler_draw(s, &n_draws, &failure);
    for (int i = 0; i < s->n_piece; i++) held |= s->piece[i].n_guess > 0;
    if (!held) device_release(s->c.dev);
    const double now = clock_seconds();
    if (!ok) {
        if (held) device_release(s->c.dev);
        end_failed(s, &failure);
        return;
    }
    if (!weights_intact(s->c.weights, &failure) ||
        (s->c.sight && !sight_intact(s->c.sight, &failure))) { /* what was computed may be of anything */
        pthread_mutex_lock(&s->mu);
        s->failure = failure;
        pthread_mutex_unlock(&s->mu);
        log_error("%s: %s%s", s->c.name, weights_dir(s->c.weights), failure.msg);
        if (held) device_release(s->c.dev);
        return;
    }

    int prompt_rows = 0, guess_rows = 0;
    for (int i = 0; i < s->n_running && without_rows; i++)
        if (s->running[i]->draws) prompt_complete(s, s->running[i]);
    for (int i = 0; i < s->n_piece; i++) {
        const struct piece *p = &s->piece[i];
        struct seq *q = p->seq;
        const bool was_prompt = q->n_past < q->job->n_prompt;
        const int own = p->n_rows - p->n_guess;
        if (own > 1) prompt_rows += own;
        guess_rows += p->n_guess;
        advance(s, q, own);
        if (q->choice == 0)
            atomic_store(&q->job->prompt_done, q->n_past < q->job->n_prompt ? q->n_past : q->job->n_prompt);
        if (was_prompt && q->n_past >= q->job->n_prompt && q->n_token == q->job->n_prompt)
            prompt_complete(s, q);
    }
    for (int i = 0; i < n_draws; i++) take_draw(s, &s->draw[i]);
    if (held) device_release(s->c.dev);
    charge(s);
    if (rows && prompt_rows == 0) step_costs_learn(&s->costs, rows, now - t1);
    if (rows && guess_rows == 0) measure(s, now - t1, rows - prompt_rows, prompt_rows);
    s->count.steps++;
    s->count.step_rows += (uint64_t)rows;
    s->count.step_seconds += now - t0;
}

/* ---- the thread ----------------------------------------------------------------------------------------------------- */

static void publish(struct scheduler *s)
{
    s->count.running = s->n_running;
    s->count.kv_pages_total = kvcache_total(s->c.cache);
    s->count.kv_pages_used = s->count.kv_pages_total - kvcache_n_free(s->c.cache);
    pthread_mutex_lock(&s->mu);
    s->count.waiting = s->n_queued + s->n_again;
    s->count.requests = s->stats.requests;
    s->stats = s->count;
    pthread_mutex_unlock(&s->mu);
}

static void *run(void *arg)
{
    struct scheduler *s = arg;
    for (bool stop = false; !stop;) {
        pthread_mutex_lock(&s->mu);
        while (!s->stop && !s->woken && !s->n_waiting && !s->again && !s->open && s->n_running == 0)
            pthread_cond_wait(&s->cond, &s->mu);
        stop = s->stop;
        for (struct share *h = s->shares.first; h && (stop || s->failure.code != ERR_NONE); h = h->next)
            for (struct lm_job *j; (j = ((struct job_share *)h)->queue) != NULL;) {
                queue_take(s, j);
                queue_say_gone(s, j);
            }
        struct lm_job *gone = s->gone;
        s->gone = NULL;
        s->woken = false;
        pthread_mutex_unlock(&s->mu);
        end_gone(s, gone);
        sweep(s, stop);
        if (!stop) {
            admit(s);
            publish(s);
            step(s);
            sweep(s, s->failure.code != ERR_NONE);
        }
        publish(s);
    }
    return NULL;
}

bool scheduler_submit(struct scheduler *s, struct lm_job *const *jobs, int n_jobs, struct err *e)
{
    int n = 0;
    for (int i = 0; i < n_jobs; i++) n += jobs[i]->n_choices;
    const int limit = s->c.queue_limit;
    if (n > limit + s->c.max_batch)
        return err_set(e, ERR_LIMIT, "the request has %d choices; this server takes at most %d", n,
                       limit + s->c.max_batch);
    pthread_mutex_lock(&s->mu);
    if (s->failure.code != ERR_NONE) {
        *e = s->failure;
        pthread_mutex_unlock(&s->mu);
        return false;
    }
    /* Those for whom there is a place already do not count as waiting, though the thread has not seen them yet. */
    const int places = s->stats.waiting ? 0 : s->c.max_batch - s->stats.running;
    if (s->stop || s->n_queued + n > limit + places) {
        const int waiting = s->n_queued;
        const bool stop = s->stop;
        pthread_mutex_unlock(&s->mu);
        return stop ? err_set(e, ERR_CANCELLED, "the model is being unloaded")
                    : err_set(e, ERR_BUSY,
                              "%d choices of other requests are waiting already, and this one has %d, "
                              "where %d may wait; try again later",
                              waiting, n, limit);
    }
    /* A request's jobs are of one share. Before anything is queued, for this may fail. */
    struct job_share *h = NULL;
    for (int i = 0; i < n_jobs; i++) {
        h = (struct job_share *)shares_hold(&s->shares, &jobs[i]->terms->share);
        if (!h) {
            while (i-- > 0) shares_let_go(&s->shares, &jobs[i]->share->s), jobs[i]->share = NULL;
            pthread_mutex_unlock(&s->mu);
            return err_set(e, ERR_NOMEM, "no memory for the request");
        }
        jobs[i]->share = h;
        jobs[i]->sched = s;
    }
    s->n_queued += n;
    s->stats.requests += (uint64_t)n_jobs;
    for (int i = 0; i < n_jobs; i++) {
        struct lm_job *j = jobs[i];
        shares_ask(&s->shares, &h->s, 1);
        j->ticket = s->next_ticket;
        j->number = h->next_number++;
        j->n_held = j->n_choices;
        s->next_ticket += (uint64_t)j->n_choices;
        atomic_store(&j->waits, true);
        atomic_fetch_add(&j->refs, 1);
        queue_put(s, j, false);
    }
    s->woken = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mu);
    return true;
}

void scheduler_stats(struct scheduler *s, struct lm_stats *out)
{
    pthread_mutex_lock(&s->mu);
    *out = s->stats;
    pthread_mutex_unlock(&s->mu);
}

bool scheduler_new(struct scheduler **out, const struct scheduler_config *c, struct err *e)
{
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for the scheduler");
    s->c = *c;
    s->shares.size = sizeof(struct job_share);
    s->kv = kvcache_plan(c->cache);
    s->max_rows = scheduler_max_rows(c->max_batch, c->prefill_chunk);
    s->max_draws = c->max_batch + (c->speculate == LM_SPECULATE_OFF ? 0 : GUESS_ROWS);
    if (s->max_draws > s->max_rows) s->max_draws = s->max_rows;
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->cond, NULL);
    const size_t rows = (size_t)s->max_rows, batch = (size_t)c->max_batch;
    s->running = calloc(batch, sizeof *s->running);
    s->plan = calloc(batch, sizeof *s->plan);
    s->piece = calloc(batch, sizeof *s->piece);
    s->attn = calloc(batch * (size_t)(s->kv->n_group + 1), sizeof *s->attn);
    s->draw = calloc(batch, sizeof *s->draw);
    s->offer = calloc(batch, sizeof *s->offer);
    s->ids = calloc(rows, sizeof *s->ids);
    s->pos = calloc(rows, sizeof *s->pos);
    s->out_row = calloc(rows, sizeof *s->out_row);
    size_t logits, embd = 0;
    if (c->sight && mem_mul(rows, (size_t)c->shape->n_embd, &embd)) s->embd = calloc(embd, sizeof *s->embd);
    const bool draws = !c->arch->engine->whole;
    if (draws && mem_mul((size_t)s->max_draws, (size_t)c->shape->n_vocab, &logits))
        s->logits = device_floats(c->dev, logits, e);
    if (!s->running || !s->plan || !s->piece || !s->attn || !s->draw || !s->offer || !s->ids || !s->pos ||
        !s->out_row || (draws && !s->logits) || (c->sight && !s->embd)) {
        scheduler_free(s);
        return err_set(e, ERR_NOMEM, "no memory for a batch of %d sequences", c->max_batch);
    }
    s->stats.kv_pages_total = kvcache_total(c->cache);
    if (!radix_new(&s->radix, c->cache, e)) {
        scheduler_free(s);
        return false;
    }
    scheduler_keep_evicted(s);
    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        scheduler_free(s);
        return err_set(e, ERR_NOMEM, "cannot start the model's thread");
    }
    s->started = true;
    *out = s;
    return true;
}

void scheduler_free(struct scheduler *s)
{
    if (!s) return;
    if (s->started) {
        pthread_mutex_lock(&s->mu);
        s->stop = true;
        pthread_cond_signal(&s->cond);
        pthread_mutex_unlock(&s->mu);
        pthread_join(s->thread, NULL);
    }
    scheduler_keep_all(s);
    masks_free(s->masks);
    radix_free(s->radix);
    free(s->running);
    free(s->plan);
    free(s->piece);
    free(s->attn);
    free(s->draw);
    free(s->offer);
    free(s->ids);
    free(s->pos);
    free(s->out_row);
    free(s->embd);
    free(s->hidden);
    device_free(s->c.dev, s->logits);
    pthread_mutex_destroy(&s->mu);
    pthread_cond_destroy(&s->cond);
    free(s);
}
