/* scheduler_guess.c - guesses at the tokens to come, which a step computes behind a sequence's last token (scheduler_inside.h).
 *
 * Guesses are rows like any other. What is drawn from a row behind a guess counts when the guess was drawn itself, and is then what a step of its own
 * would have drawn; keys and values of refused guesses are written over by the tokens that come in their place. */
#include <stdlib.h>

#include "lm/ngram.h"
#include "lm/scheduler_inside.h"

/* What a sequence, and all of them, keep of their odds from step to step. */
#define KEEP_OWN 0.997f
#define KEEP_ALL 0.9995f

static struct ahead *ahead_new(void)
{
    struct ahead *a = calloc(1, sizeof *a);
    if (a && !(a->text = ngram_new())) {
        free(a);
        a = NULL;
    }
    return a;
}

void ahead_free(struct ahead *a)
{
    if (!a) return;
    ngram_free(a->text);
    free(a);
}

/* What the client foresees counts as so many tokens that matched, before any has come. */
enum { FORESEEN = 4 };

/* The sequence's memory for guesses: where the client foresees the answer, its text comes first. NULL: none. */
static struct ahead *ahead_of(struct seq *q)
{
    const struct terms *t = q->job->terms;
    if (q->ahead || !(q->ahead = ahead_new())) return q->ahead;
    for (int i = 0; i < t->n_predicted; i++)
        if (!ngram_push(q->ahead->text, t->predicted[i])) break;
    if (t->n_predicted) ngram_push(q->ahead->text, NGRAM_BORDER);
    return q->ahead;
}

/* Guesses that the sequence may have: within its limit, and in pages that it has or that nobody will miss. */
static int room_for(const struct scheduler *s, const struct seq *q, bool pages)
{
    int room = q->n_limit - q->n_token - 1;
    if (room > GUESS_MAX) room = GUESS_MAX;
    for (int g = 0; g < s->kv->n_group && !pages; g++) {
        const int have = q->page[g].n * KV_PAGE - q->n_token;
        if (have < room) room = have;
    }
    return room > 0 ? room : 0;
}

/* What may follow the sequence's text, with its odds. */
static void look_up(struct scheduler *s, struct seq *q, int room, struct guess_offer *o)
{
    struct ahead *a = ahead_of(q);
    if (!a) return; /* without memory it goes without guesses */
    while (a->n_seen < q->n_token && ngram_push(a->text, q->token[a->n_seen])) a->n_seen++;
    if (a->n_seen < q->n_token) return;
    guess_odds_fade(&a->odds, KEEP_OWN);
    int n = ngram_guess(a->text, a->guess, room, &a->match);
    if (q->predicted.run + FORESEEN > a->match && q->predicted.at < q->predicted.n) {
        const int foreseen = predicted_guess(&q->predicted, a->guess, room);
        if (foreseen) n = foreseen, a->match = q->predicted.run + FORESEEN;
    }
    while (o->n < n && !scheduler_ends(s, q->job->terms, a->guess[o->n])) {
        o->odds[o->n] = guess_odds_of(&a->odds, &s->odds, a->match + o->n);
        o->n++;
    }
}

void scheduler_guess(struct scheduler *s, int n_plain)
{
    struct guess_offer *offer = s->offer;
    if (s->c.speculate == LM_SPECULATE_OFF || n_plain == 0 || s->n_running >= s->max_rows) return;
    if (s->c.guess_rows == 0 && n_plain >= COST_ROWS) return;
    guess_odds_fade(&s->odds, KEEP_ALL);
    const bool pages =
        kvcache_n_free(s->c.cache) + kvcache_n_idle(s->c.cache) > 2 * s->n_running * s->kv->n_group;
    for (int i = 0; i < s->n_running; i++) {
        struct seq *q = s->running[i];
        offer[i] = (struct guess_offer){ .n = 0 };
        if (s->plan[i] == 1 && q->complete && q->n_token > q->job->n_prompt)
            look_up(s, q, room_for(s, q, pages), &offer[i]);
    }
    int left =
        s->max_rows - s->n_running; /* who draws from logits that are kept needs a row of logits, too */
    if (left > GUESS_ROWS) left = GUESS_ROWS;
    if (s->c.guess_rows == 0) guess_choose(offer, s->n_running, n_plain, n_plain + left, &s->costs);
    for (int i = 0; i < s->n_running; i++) {
        int take = offer[i].take;
        if (s->c.guess_rows) take = offer[i].n < s->c.guess_rows ? offer[i].n : s->c.guess_rows;
        if (take > left) take = left;
        if (take == 0) continue;
        left -= take;
        s->running[i]->ahead->n = take;
        s->running[i]->ahead->base = s->running[i]->n_token;
    }
}

int scheduler_row_ahead(const struct seq *q)
{
    const struct ahead *a = q->ahead;
    if (!a || a->n == 0) return -1;
    const int row = q->n_token - a->base;
    if (row > a->n) return -1;
    for (int k = 0; k < row; k++)
        if (q->token[a->base + k] != a->guess[k]) return -1;
    return row;
}

int scheduler_settle(struct scheduler *s, struct seq *q)
{
    struct ahead *a = q->ahead;
    const int came = q->n_token - a->base; /* tokens since */
    int right = 0;
    while (right < a->n && right < came && q->token[a->base + right] == a->guess[right]) right++;
    for (int k = 0; k < a->n && k <= right && k < came; k++) {
        guess_odds_learn(&a->odds, a->match + k, k < right);
        guess_odds_learn(&s->odds, a->match + k, k < right);
    }
    s->count.guesses_right += (uint64_t)right;
    s->count.guesses_wrong += (uint64_t)(a->n - right);
    a->n = 0;
    a->n_right = right;
    return right;
}
