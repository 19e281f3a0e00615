/* choice.c - a choice of a full reply, put together from its events. */
#include <stdlib.h>
#include <string.h>

#include "http/dialects/wire.h"

void wire_place_tokens(struct reply_event *ev, struct wire_growing *g)
{
    g->mixed |= ev->type != REPLY_TEXT;
    for (int i = 0; g->mixed && i < ev->n_tokens; i++) ev->tokens[i].text_offset = g->bytes;
}

bool wire_choice_keep_tokens(struct wire_choice *c, const struct reply_event *ev)
{
    size_t need = c->n_tokens + (size_t)ev->n_tokens;
    if (need > c->cap_tokens) {
        size_t cap = c->cap_tokens ? 2 * c->cap_tokens : 64;
        while (cap < need) cap *= 2;
        struct reply_token *grown = realloc(c->tokens, cap * sizeof *grown);
        if (!grown) return false;
        c->tokens = grown;
        c->cap_tokens = cap;
    }
    if (ev->n_tokens) memcpy(c->tokens + c->n_tokens, ev->tokens, (size_t)ev->n_tokens * sizeof *ev->tokens);
    c->n_tokens = need;
    return true;
}

static bool take_call(struct wire_choice *c, const struct reply_event *ev)
{
    if (ev->call.index == c->n_calls) {
        struct wire_call *grown = realloc(c->calls, ((size_t)c->n_calls + 1) * sizeof *grown);
        if (!grown) return false;
        c->calls = grown;
        grown[c->n_calls++] = (struct wire_call){ strdup(ev->call.id), strdup(ev->call.name), BUF_INIT(0) };
    }
    struct wire_call *call = &c->calls[ev->call.index];
    return call->id && call->name && buf_append(&call->arguments, ev->text, ev->len);
}

/* Where the event goes on with the part before it, or begins one. */
static bool take_part(struct wire_choice *c, const struct reply_event *ev, size_t from)
{
    struct wire_part *last = c->n_parts ? &c->parts[c->n_parts - 1] : NULL;
    if (last && last->type == ev->type && (ev->type != REPLY_CALL || last->from == from)) {
        last->len += ev->len;
        return true;
    }
    if (!ev->len && ev->type != REPLY_CALL) return true;
    struct wire_part *grown = realloc(c->parts, ((size_t)c->n_parts + 1) * sizeof *grown);
    if (!grown) return false;
    c->parts = grown;
    grown[c->n_parts++] = (struct wire_part){ ev->type, from, ev->len };
    return true;
}

static bool take_text(struct wire_choice *c, struct buf *text, const struct reply_event *ev)
{
    return take_part(c, ev, text->len) && buf_append(text, ev->text, ev->len) &&
           wire_choice_keep_tokens(c, ev);
}

bool wire_choice_take(struct wire_choice *c, const struct reply_event *ev)
{
    switch (ev->type) {
    case REPLY_TEXT: return take_text(c, &c->text, ev);
    case REPLY_THOUGHT: return take_text(c, &c->thought, ev);
    case REPLY_CALL:
        return take_part(c, ev, (size_t)ev->call.index) && take_call(c, ev) && wire_choice_keep_tokens(c, ev);
    case REPLY_CHOICE_END:
        c->finish = ev->finish;
        c->stop_hit = ev->stop_hit;
        return true;
    default: return true; /* of the whole request, or of pictures */
    }
}

void wire_choice_free(struct wire_choice *c)
{
    buf_free(&c->text);
    buf_free(&c->thought);
    free(c->tokens);
    for (int i = 0; i < c->n_calls; i++) {
        free(c->calls[i].id);
        free(c->calls[i].name);
        buf_free(&c->calls[i].arguments);
    }
    free(c->calls);
    free(c->parts);
    free(c->raw_output);
    *c = (struct wire_choice){ 0 };
}
