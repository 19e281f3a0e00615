/* answer_filter.c - see answer_filter.h. */
#include "service/answer_filter.h"

#include <stdlib.h>

struct held {
    struct held *next;
    struct reply_event ev;
    size_t end; /* bytes of the choice's text of this kind up to its end */
};

struct queue {
    struct held *first, **last;
};

struct choice {
    struct queue held;
    enum reply_type kind; /* of what is held, and for calls which one */
    int call;
    struct buf window; /* the text that is not settled */
    size_t fed, settled;
    struct phrase_context context;
    bool filtered, ended;
};

struct answer_filter {
    const struct word_rules *rules;
    const struct word_policy *policy;
    struct choice *choice;
    int n_choices;
    struct queue ready;
};

static void put(struct queue *q, struct held *h)
{
    h->next = NULL;
    *q->last = h;
    q->last = &h->next;
}

static struct held *take(struct queue *q)
{
    struct held *h = q->first;
    if (!h) return NULL;
    q->first = h->next;
    if (!q->first) q->last = &q->first;
    return h;
}

static void clear(struct queue *q)
{
    for (struct held *h; (h = take(q));) {
        reply_event_free(&h->ev);
        free(h);
    }
}

bool answer_filter_new(struct answer_filter **out, const struct word_rules *r, const struct word_policy *p,
                       int n_choices, struct err *e)
{
    struct answer_filter *f = calloc(1, sizeof *f);
    if (f) f->choice = calloc((size_t)n_choices, sizeof *f->choice);
    if (!f || !f->choice) {
        free(f);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    f->rules = r;
    f->policy = p;
    f->n_choices = n_choices;
    f->ready.last = &f->ready.first;
    for (int i = 0; i < n_choices; i++) f->choice[i].held.last = &f->choice[i].held.first;
    *out = f;
    return true;
}

void answer_filter_free(struct answer_filter *f)
{
    if (!f) return;
    clear(&f->ready);
    for (int i = 0; i < f->n_choices; i++) {
        clear(&f->choice[i].held);
        buf_free(&f->choice[i].window);
    }
    free(f->choice);
    free(f);
}

/* Looks at what has come of this kind; what is settled may go. */
static bool look(struct answer_filter *f, struct choice *c, bool more, struct err *e)
{
    struct phrase_hit hit;
    size_t settled;
    bool found;
    if (!phrases_find_growing(word_rules_phrases(f->rules), f->policy->refuse,
                              c->window.data ? c->window.data : "", c->window.len, more, &c->context, &found,
                              &hit, &settled, e))
        return false;
    c->settled += settled;
    buf_drop(&c->window, settled);
    while (c->held.first && c->held.first->end <= c->settled) put(&f->ready, take(&c->held));
    if (!found) return true;
    clear(&c->held);
    c->filtered = true;
    return true;
}

/* Nothing more comes of the kind that is held. */
static bool close_kind(struct answer_filter *f, struct choice *c, struct err *e)
{
    if (!look(f, c, false, e)) return false;
    buf_clear(&c->window);
    c->fed = c->settled = 0;
    c->context = (struct phrase_context){ 0 };
    return true;
}

static void drop(struct held *h)
{
    reply_event_free(&h->ev);
    free(h);
}

static bool take_piece(struct answer_filter *f, struct choice *c, struct held *h, struct err *e)
{
    const struct reply_event *ev = &h->ev;
    if (ev->type != c->kind || (ev->type == REPLY_CALL && ev->call.index != c->call)) {
        if (!close_kind(f, c, e)) {
            drop(h);
            return false;
        }
        c->kind = ev->type;
        c->call = ev->call.index;
    }
    if (c->filtered) {
        drop(h);
        return true;
    }
    const bool room = buf_append(&c->window, ev->text ? ev->text : "", ev->len);
    c->fed += ev->len;
    h->end = c->fed;
    put(&c->held, h);
    return room ? look(f, c, true, e) : err_set(e, ERR_NOMEM, "out of memory");
}

static bool take_end(struct answer_filter *f, struct choice *c, struct held *h, struct err *e)
{
    const bool ok = c->filtered || close_kind(f, c, e);
    c->ended = true;
    if (c->filtered) {
        h->ev.finish = REPLY_FILTERED;
        h->ev.stop_hit = NULL;
    }
    put(&f->ready, h);
    return ok;
}

/* A cancelled job may end without a word on its choices. */
static bool end_filtered(struct answer_filter *f, const struct usage *u, struct err *e)
{
    for (int i = 0; i < f->n_choices; i++) {
        if (!f->choice[i].filtered || f->choice[i].ended) continue;
        struct held *h = calloc(1, sizeof *h);
        if (!h) return err_set(e, ERR_NOMEM, "out of memory");
        h->ev = (struct reply_event){ .type = REPLY_CHOICE_END, .index = i, .usage = *u };
        if (!take_end(f, &f->choice[i], h, e)) return false;
    }
    return true;
}

bool answer_filter_take(struct answer_filter *f, struct reply_event *ev, struct err *e)
{
    struct held *h = calloc(1, sizeof *h);
    if (!h) {
        reply_event_free(ev);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    h->ev = *ev;
    switch (ev->type) {
    case REPLY_TEXT:
    case REPLY_THOUGHT:
    case REPLY_CALL: {
        struct choice *c = &f->choice[ev->index];
        if (!c->filtered) return take_piece(f, c, h, e);
        drop(h);
        return true;
    }
    case REPLY_CHOICE_END: return take_end(f, &f->choice[ev->index], h, e);
    default: break;
    }
    const bool ok = ev->type != REPLY_DONE || end_filtered(f, &h->ev.usage, e);
    put(&f->ready, h);
    return ok;
}

bool answer_filter_next(struct answer_filter *f, struct reply_event *ev)
{
    struct held *h = take(&f->ready);
    if (!h) return false;
    *ev = h->ev;
    free(h);
    return true;
}

bool answer_filter_over(const struct answer_filter *f)
{
    for (int i = 0; i < f->n_choices; i++)
        if (!f->choice[i].filtered && !f->choice[i].ended) return false;
    return true;
}
