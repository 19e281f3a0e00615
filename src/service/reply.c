/* reply.c - see reply.h. */
#include "service/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "lm/lm.h"
#include "service/thought.h"

struct said { /* an event that nobody has taken yet */
    struct said *next;
    struct reply_event ev;
};

struct reading { /* of one choice */
    struct thought thought;
    void *state;
    struct reply_token *tokens; /* of what was fed, not handed out yet */
    int n_tokens;
    int n_calls;
    bool in_call; /* the last of them has not ended */
};

struct reply {
    struct reply_style style;
    struct reading *choice;
    int n_choices;
    struct said *first, **last;
    struct said end; /* of the last event: always to be had */
    bool over;       /* it has been said */
    uint64_t n_ids;  /* of calls, made so far */
};

struct reply_out {
    struct reply *reply;
    int choice;
};

/* ---- events -------------------------------------------------------------------------------------------------------- */

void reply_event_free(struct reply_event *ev)
{
    free(ev->text);
    free(ev->tokens);
    free(ev->call.id);
    free(ev->call.name);
    free(ev->picture.bytes);
    ev->text = NULL;
    ev->tokens = NULL;
    ev->call.id = ev->call.name = NULL;
    ev->picture.bytes = NULL;
}

static void put(struct reply *r, struct said *s)
{
    s->next = NULL;
    *r->last = s;
    r->last = &s->next;
}

static bool say_last(struct reply *r, const struct reply_event *ev)
{
    r->over = true;
    r->end.ev = *ev;
    put(r, &r->end);
    return true;
}

/* Takes over what *ev points to. */
static bool say(struct reply *r, struct reply_event *ev)
{
    struct said *s = malloc(sizeof *s);
    if (!s) {
        reply_event_free(ev);
        return false;
    }
    s->ev = *ev;
    put(r, s);
    return true;
}

bool reply_next(struct reply *r, struct reply_event *ev)
{
    struct said *s = r->first;
    if (!s) return false;
    *ev = s->ev;
    r->first = s->next;
    if (!r->first) r->last = &r->first;
    if (s != &r->end) free(s);
    return true;
}

/* ---- what readers say ----------------------------------------------------------------------------------------------- */

/* A piece of the choice with those of the tokens that wait which begin before `end` in its text. */
static bool say_piece(struct reply_out *out, struct reply_event *ev, const char *text, size_t len, size_t end)
{
    struct reading *c = &out->reply->choice[out->choice];
    int n = 0;
    while (n < c->n_tokens && c->tokens[n].text_offset < end) n++;
    struct reply_token *rest = NULL;
    if (n < c->n_tokens) {
        rest = malloc((size_t)(c->n_tokens - n) * sizeof *rest);
        if (rest) memcpy(rest, c->tokens + n, (size_t)(c->n_tokens - n) * sizeof *rest);
    }
    ev->index = out->choice;
    ev->text = malloc(len + 1);
    if (!ev->text || (!rest && n < c->n_tokens)) {
        free(rest);
        reply_event_free(ev);
        return false;
    }
    if (len) memcpy(ev->text, text, len);
    ev->text[len] = 0;
    ev->len = len;
    ev->tokens = c->tokens;
    ev->n_tokens = n;
    c->tokens = rest;
    c->n_tokens -= n;
    return say(out->reply, ev);
}

bool reply_say(struct reply_out *out, const char *text, size_t len)
{
    struct reply_event ev = { .type = REPLY_TEXT };
    if (!len && !out->reply->choice[out->choice].n_tokens) return true;
    return say_piece(out, &ev, text, len, SIZE_MAX);
}

bool reply_think(struct reply_out *out, const char *text, size_t len, size_t end)
{
    struct reading *c = &out->reply->choice[out->choice];
    struct reply_event ev = { .type = REPLY_THOUGHT };
    if (out->reply->style.form == THOUGHT_HIDDEN) {
        int n = 0;
        while (n < c->n_tokens && c->tokens[n].text_offset < end) n++;
        if (n) memmove(c->tokens, c->tokens + n, (size_t)(c->n_tokens - n) * sizeof *c->tokens);
        c->n_tokens -= n;
        return true;
    }
    if (!len && !(c->n_tokens && c->tokens->text_offset < end)) return true;
    return say_piece(out, &ev, text, len, end);
}

/* Of 62^24 a reply's few calls meet no two the same; of 62^9 neither. */
static char *new_id(struct reply *r)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const bool short_ids = r->style.reader->short_ids;
    const size_t n = short_ids ? 9 : 24;
    char id[32];
    size_t at = 0;
    if (!short_ids) at = (size_t)snprintf(id, sizeof id, "call_");
    for (size_t i = 0; i < n; i++)
        id[at++] = letters[(size_t)(philox_uniform(r->style.id_seed, r->n_ids, i) * 62)];
    id[at] = 0;
    r->n_ids++;
    return strdup(id);
}

bool reply_call(struct reply_out *out, const char *name)
{
    struct reading *c = &out->reply->choice[out->choice];
    struct reply_event ev = { .type = REPLY_CALL, .call = { c->n_calls, new_id(out->reply), strdup(name) } };
    if (!ev.call.id || !ev.call.name) {
        reply_event_free(&ev);
        return false;
    }
    c->n_calls++;
    c->in_call = true;
    return say_piece(out, &ev, "", 0, SIZE_MAX);
}

bool reply_arguments(struct reply_out *out, const char *piece, size_t len)
{
    const struct reading *c = &out->reply->choice[out->choice];
    struct reply_event ev = { .type = REPLY_CALL, .call = { .index = c->n_calls - 1 } };
    return !len || say_piece(out, &ev, piece, len, SIZE_MAX);
}

void reply_call_end(struct reply_out *out) { out->reply->choice[out->choice].in_call = false; }

static bool plain_feed(void *state, const char *text, size_t len, struct reply_out *out)
{
    (void)state;
    return reply_say(out, text, len);
}

const struct reply_reader reply_plain = { .family = "plain", .feed = plain_feed };

/* ---- from the engine ------------------------------------------------------------------------------------------------ */

struct usage reply_usage(const struct lm_usage *u)
{
    return (struct usage){ .prompt_tokens = u->prompt_tokens,
                           .cached_tokens = u->cached_tokens,
                           .completion_tokens = u->completion_tokens,
                           .reasoning_tokens = u->reasoning_tokens,
                           .foreseen_tokens = u->foreseen_tokens,
                           .unforeseen_tokens = u->unforeseen_tokens,
                           .queue_s = u->queue_s,
                           .prefill_s = u->prefill_s,
                           .ttft_s = u->ttft_s,
                           .total_s = u->total_s };
}

static enum reply_finish finish_of(enum lm_finish f, const struct reading *c)
{
    switch (f) {
    case LM_FINISH_LENGTH: return REPLY_LENGTH;
    case LM_FINISH_ERROR: return REPLY_FAILED;
    case LM_FINISH_CANCELLED: return REPLY_CANCELLED;
    default: return c->in_call ? REPLY_LENGTH : c->n_calls ? REPLY_CALLS : REPLY_STOP;
    }
}

static bool keep_tokens(struct reading *c, const struct lm_event *ev)
{
    if (!ev->n_tokens) return true;
    const size_t n = (size_t)c->n_tokens + (size_t)ev->n_tokens;
    struct reply_token *all = realloc(c->tokens, n * sizeof *all);
    if (!all) return false;
    c->tokens = all;
    for (int i = 0; i < ev->n_tokens; i++) {
        const struct lm_token *t = &ev->tokens[i];
        all[c->n_tokens++] =
            (struct reply_token){ t->id, t->pick, t->text_offset, t->text_len, t->from_prompt };
    }
    return true;
}

static bool end_choice(struct reply *r, const struct lm_event *ev)
{
    struct reply_out out = { r, ev->choice };
    struct reading *c = &r->choice[ev->choice];
    if (!thought_flush(&c->thought, &r->style, c->state, ev->finish != LM_FINISH_STOP, &out)) return false;
    if (!reply_say(&out, "", 0)) return false; /* tokens of which nothing was said */
    struct reply_event end = { .type = REPLY_CHOICE_END,
                               .index = ev->choice,
                               .usage = reply_usage(&ev->usage),
                               .finish = finish_of(ev->finish, c),
                               .stop_hit = ev->stop_hit };
    return say(r, &end);
}

static bool read_event(struct reply *r, const struct lm_event *ev)
{
    struct reply_out out = { r, ev->choice };
    struct reply_event last = { .usage = reply_usage(&ev->usage) };
    switch (ev->type) {
    case LM_EV_TEXT:
        return keep_tokens(&r->choice[ev->choice], ev) &&
               thought_feed(&r->choice[ev->choice].thought, &r->style, r->choice[ev->choice].state,
                            ev->text ? ev->text : "", ev->len, &out);
    case LM_EV_CHOICE_END: return end_choice(r, ev);
    case LM_EV_VECTOR: return true; /* no text */
    case LM_EV_DONE: last.type = REPLY_DONE; break;
    case LM_EV_ERROR:
        last.type = REPLY_ERROR;
        last.error = ev->error;
        break;
    }
    return say_last(r, &last);
}

void reply_feed(struct reply *r, struct lm_event *ev)
{
    if (!r->over && !read_event(r, ev)) {
        struct reply_event last = { .type = REPLY_ERROR, .usage = reply_usage(&ev->usage) };
        err_set(&last.error, ERR_NOMEM, "out of memory");
        say_last(r, &last);
    }
    lm_event_free(ev);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

bool reply_new(struct reply **out, const struct reply_style *style, int n_choices, struct err *e)
{
    struct reply *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    const size_t state_bytes = style->reader->state_bytes;
    *r = (struct reply){ .style = *style, .last = &r->first };
    while (!r->style.id_seed) rng_os(&r->style.id_seed, sizeof r->style.id_seed);
    r->choice = calloc((size_t)n_choices, sizeof *r->choice);
    bool ok = r->choice != NULL;
    for (; ok && r->n_choices < n_choices; r->n_choices++)
        ok = !state_bytes || (r->choice[r->n_choices].state = calloc(1, state_bytes)) != NULL;
    if (!ok) {
        reply_free(r);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    *out = r;
    return true;
}

void reply_free(struct reply *r)
{
    struct reply_event ev;
    if (!r) return;
    while (reply_next(r, &ev)) reply_event_free(&ev);
    for (int i = 0; i < r->n_choices; i++) {
        if (r->style.reader->release && r->choice[i].state) r->style.reader->release(r->choice[i].state);
        thought_free(&r->choice[i].thought);
        free(r->choice[i].state);
        free(r->choice[i].tokens);
    }
    free(r->choice);
    free(r);
}
