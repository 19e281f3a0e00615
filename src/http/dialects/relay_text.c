/* relay_text.c - answers of another server as reply events: see relay_text.h. Bytes of a stranger, so that what they say is held against what
 * events may say: choices that there are, calls one after the other. */
#include "http/dialects/relay_text.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"

enum { CALLS_MOST = 128 };

struct relay_choice {
    int n_calls;
    bool ended;
};

bool relay_text_init(struct relay_text *t, const struct gen_request *gen, int n, bool hides, struct err *e)
{
    *t = (struct relay_text){ .gen = gen, .n = n, .hides = hides };
    t->choice = calloc((size_t)n, sizeof *t->choice);
    return t->choice || err_set(e, ERR_NOMEM, "out of memory");
}

void relay_text_free(struct relay_text *t)
{
    for (size_t i = t->taken; i < t->n_events; i++) reply_event_free(&t->event[i]);
    free(t->event);
    free(t->choice);
    *t = (struct relay_text){ 0 };
}

/* ---- the queue ----------------------------------------------------------------------------------------------------- */

/* Takes over what ev points to. */
static bool push(struct relay_text *t, struct reply_event *ev, struct err *e)
{
    if (t->taken == t->n_events) t->taken = t->n_events = 0;
    if (t->n_events == t->cap) {
        const size_t cap = t->cap ? 2 * t->cap : 16;
        struct reply_event *grown = realloc(t->event, cap * sizeof *grown);
        if (!grown) {
            reply_event_free(ev);
            return err_set(e, ERR_NOMEM, "out of memory");
        }
        t->event = grown;
        t->cap = cap;
    }
    t->event[t->n_events++] = *ev;
    return true;
}

bool relay_text_next(struct relay_text *t, struct reply_event *ev)
{
    if (t->taken == t->n_events) return false;
    *ev = t->event[t->taken++];
    return true;
}

/* A piece of text as an event of its own. */
static bool say(struct relay_text *t, struct reply_event ev, const json_t *text, struct err *e)
{
    ev.len = json_string_length(text);
    ev.text = malloc(ev.len + 1);
    if (!ev.text) {
        reply_event_free(&ev);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    memcpy(ev.text, ev.len ? json_string_value(text) : "", ev.len);
    ev.text[ev.len] = 0;
    return push(t, &ev, e);
}

/* ---- one choice ---------------------------------------------------------------------------------------------------- */

static char *new_id(void)
{
    unsigned char random[12];
    char hex[2 * sizeof random + 1], *id = malloc(sizeof hex + 5);
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(hex, sizeof hex, random, sizeof random);
    if (id) snprintf(id, sizeof hex + 5, "call_%s", hex);
    return id;
}

static bool open_call(struct relay_text *t, int index, const json_t *call, const json_t *function,
                      struct reply_event *ev, struct err *e)
{
    const json_t *id = json_object_get(call, "id"), *name = json_object_get(function, "name");
    if (!json_is_string(name) || !json_string_length(name) || t->choice[index].n_calls == CALLS_MOST)
        return err_set(e, ERR_UPSTREAM, "the upstream's answer has a call of no function, or too many calls");
    t->choice[index].n_calls++;
    ev->call.id = json_is_string(id) && json_string_length(id) ? strdup(json_string_value(id)) : new_id();
    ev->call.name = strdup(json_string_value(name));
    if (ev->call.id && ev->call.name) return true;
    reply_event_free(ev);
    return err_set(e, ERR_NOMEM, "out of memory");
}

/* place: in the list; a stream's pieces say theirs. */
static bool read_call(struct relay_text *t, int index, const json_t *call, size_t place, bool whole,
                      struct err *e)
{
    const json_t *says = json_object_get(call, "index"), *function = json_object_get(call, "function");
    struct reply_event ev = { .type = REPLY_CALL, .index = index };
    const json_int_t at = !whole && json_is_integer(says) ? json_integer_value(says) : (json_int_t)place;
    if (!json_is_object(function) || at < 0 || at > t->choice[index].n_calls)
        return err_set(e, ERR_UPSTREAM, "the upstream's answer has a call out of its turn");
    ev.call.index = (int)at;
    if (at == t->choice[index].n_calls && !open_call(t, index, call, function, &ev, e)) return false;
    return say(t, ev, json_object_get(function, "arguments"), e);
}

static bool read_text(struct relay_text *t, int index, enum reply_type type, const json_t *text,
                      struct err *e)
{
    if (!json_is_string(text) || !json_string_length(text)) return true;
    if (type == REPLY_THOUGHT && t->hides) return true;
    return say(t, (struct reply_event){ .type = type, .index = index }, text, e);
}

static enum reply_finish finish_of(const char *s)
{
    if (!strcmp(s, "length")) return REPLY_LENGTH;
    if (!strcmp(s, "tool_calls") || !strcmp(s, "function_call")) return REPLY_CALLS;
    if (!strcmp(s, "content_filter")) return REPLY_FILTERED;
    return !strcmp(s, "error") ? REPLY_FAILED : REPLY_STOP;
}

static bool read_end(struct relay_text *t, int index, const json_t *why, const struct usage *u, struct err *e)
{
    if (!json_is_string(why)) return true;
    t->choice[index].ended = true;
    struct reply_event ev = {
        .type = REPLY_CHOICE_END, .index = index, .usage = *u, .finish = finish_of(json_string_value(why))
    };
    if (ev.finish == REPLY_STOP && t->choice[index].n_calls) ev.finish = REPLY_CALLS;
    return push(t, &ev, e);
}

static bool read_message(struct relay_text *t, int index, const json_t *m, bool whole, struct err *e)
{
    const json_t *thought = json_object_get(m, "reasoning_content"),
                 *calls = json_object_get(m, "tool_calls"), *call;
    size_t i;
    bool ok = true;
    if (!json_is_string(thought)) thought = json_object_get(m, "reasoning");
    ok = read_text(t, index, REPLY_THOUGHT, thought, e) &&
         read_text(t, index, REPLY_TEXT, json_object_get(m, "content"), e) &&
         read_text(t, index, REPLY_TEXT, json_object_get(m, "refusal"), e);
    json_array_foreach(calls, i, call) { ok = ok && read_call(t, index, call, i, whole, e); }
    return ok;
}

static bool read_choice(struct relay_text *t, const json_t *c, size_t place, const struct usage *u,
                        struct err *e)
{
    const json_t *says = json_object_get(c, "index"), *whole = json_object_get(c, "message");
    const json_int_t at = json_is_integer(says) ? json_integer_value(says) : (json_int_t)place;
    if (!json_is_object(c) || at < 0 || at >= t->n)
        return err_set(e, ERR_UPSTREAM, "the upstream's answer has a choice that was not asked for");
    if (t->choice[at].ended) return err_set(e, ERR_UPSTREAM, "the upstream's answer goes on behind its end");
    return read_text(t, (int)at, REPLY_TEXT, json_object_get(c, "text"), e) &&
           read_message(t, (int)at, whole ? whole : json_object_get(c, "delta"), whole != NULL, e) &&
           read_end(t, (int)at, json_object_get(c, "finish_reason"), u, e);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

bool relay_text_read(struct relay_text *t, const char *json, size_t len, const struct usage *u, struct err *e)
{
    json_error_t why;
    json_t *root = json_memory_load(json, len, JSON_ALLOW_NUL, &why);
    const json_t *choices = json_object_get(root, "choices"), *c;
    size_t i;
    bool ok = json_is_object(root) || err_set(e, ERR_UPSTREAM, "the upstream's answer is no JSON object");
    json_array_foreach(choices, i, c) { ok = ok && read_choice(t, c, i, u, e); }
    json_decref(root);
    return ok;
}

bool relay_text_end(struct relay_text *t, const struct usage *u, struct err *e)
{
    for (int i = 0; i < t->n; i++)
        if (!t->choice[i].ended)
            return err_set(e, ERR_UPSTREAM, "the upstream's answer ended without saying why");
    return push(t, &(struct reply_event){ .type = REPLY_DONE, .usage = *u }, e);
}
