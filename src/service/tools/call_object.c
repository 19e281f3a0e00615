/* call_object.c - see call_object.h. */
#include "service/tools/call_object.h"

#include <jansson.h>
#include <string.h>

#include "base/words.h"
#include "format/json_memory.h"
#include "service/mark.h"

enum at {
    AT_OPEN,      /* { */
    AT_FIRST_KEY, /* a key or } */
    AT_KEY,
    AT_IN_KEY,
    AT_COLON,
    AT_VALUE,
    AT_IN_VALUE,
    AT_IN_ARGUMENTS,
    AT_NEXT /* a comma or } */
};

/* Some write "function" for "name" and "parameters" for "arguments". */
static const char keys[] = "name|function|arguments|parameters|type|id|index";
enum { KEY_NAME, KEY_FUNCTION, KEY_ARGUMENTS, KEY_PARAMETERS, KEY_TYPE, KEY_ID, KEY_INDEX, KEY_OTHER };

enum { NAME_LIMIT = 256 };

static bool failed(const struct call_object *o)
{
    return o->json.held.failed || o->token.failed || o->name.failed || o->ready.failed;
}

void call_object_begin(struct call_object *o, bool marked)
{
    json_stream_begin(&o->json);
    buf_clear(&o->token);
    buf_clear(&o->name);
    buf_clear(&o->ready);
    o->at = AT_OPEN;
    o->marked = marked;
    o->named = o->begun = o->ended = o->called = false;
    o->back = 0;
}

bool call_object_begin_arguments(struct call_object *o, const char *name, size_t len)
{
    call_object_begin(o, true);
    o->named = o->begun = true;
    o->at = AT_IN_ARGUMENTS;
    return buf_append(&o->name, name, len);
}

void call_object_free(struct call_object *o)
{
    json_stream_free(&o->json);
    buf_free(&o->token);
    buf_free(&o->name);
    buf_free(&o->ready);
}

/* Says the call once name and arguments are there. */
static bool say_call(struct call_object *o, struct reply_out *out)
{
    if (o->called || !o->named || !o->begun) return true;
    o->called = true;
    if (!reply_call(out, o->name.data)) return false;
    if (!o->ended) return true;
    if (!call_object_settle(o, false, out)) return false;
    reply_call_end(out);
    return true;
}

static bool end_arguments(struct call_object *o, struct reply_out *out)
{
    o->ended = true;
    if (!o->called) return say_call(o, out);
    if (!call_object_settle(o, false, out)) return false;
    reply_call_end(out);
    return true;
}

bool call_object_settle(struct call_object *o, bool whole, struct reply_out *out)
{
    if (failed(o)) return false;
    if (!o->called) return true;
    if (whole && o->begun && !o->ended && o->json.held.len &&
        !buf_append(&o->ready, o->json.held.data, o->json.held.len))
        return false;
    const bool ok = reply_arguments(out, o->ready.data ? o->ready.data : "", o->ready.len);
    buf_clear(&o->ready);
    return ok;
}

/* The string in o->token. false: there is no memory, or it is none that a name may be. */
static bool decode(const struct buf *token, struct buf *to)
{
    json_t *j = json_memory_load(token->data, token->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const size_t n = json_string_length(j);
    const bool ok = json_is_string(j) && !memchr(json_string_value(j), 0, n);
    buf_clear(to);
    if (ok) buf_append(to, json_string_value(j), n);
    json_decref(j);
    return ok && !to->failed;
}

static int key_of(const struct buf *token)
{
    struct buf key = BUF_INIT(0);
    int at;
    if (!decode(token, &key) || !words_have(keys, key.data ? key.data : "", &at)) at = KEY_OTHER;
    buf_free(&key);
    return at;
}

static bool is_key_of_call(const struct call_object *o)
{
    return o->key != KEY_OTHER || o->marked || o->called;
}

/* Arguments that stand in a string, as some write them: only once they are whole. */
static enum object_step take_text(struct call_object *o)
{
    struct buf text = BUF_INIT(0);
    struct json_stream json = { 0 };
    enum json_step step = JSON_WRONG;
    size_t i = 0;
    if (decode(&o->token, &text)) {
        while (i < text.len && mark_is_space(text.data[i])) i++;
        if (i < text.len && text.data[i] == '{') step = JSON_MORE;
        for (; i < text.len && step == JSON_MORE; i++)
            step = json_stream_feed(&json, text.data[i], &o->ready);
        while (i < text.len && mark_is_space(text.data[i])) i++;
    }
    const bool ok = step == JSON_WHOLE && i == text.len;
    json_stream_free(&json);
    buf_free(&text);
    if (!ok) buf_clear(&o->ready);
    return ok ? OBJECT_MORE : OBJECT_NONE;
}

/* A member's value is whole. */
static enum object_step take_value(struct call_object *o)
{
    o->at = AT_NEXT;
    if (o->key == KEY_NAME || o->key == KEY_FUNCTION) {
        if (o->called) return OBJECT_MORE;
        if (o->named || o->token.len > NAME_LIMIT || !decode(&o->token, &o->name) || !o->name.len)
            return OBJECT_NONE;
        o->named = true;
    } else if ((o->key == KEY_ARGUMENTS || o->key == KEY_PARAMETERS) && !o->called &&
               o->token.data[0] == '"') {
        if (o->begun || take_text(o) == OBJECT_NONE) return OBJECT_NONE;
        o->begun = o->ended = true;
    }
    return OBJECT_MORE;
}

static enum object_step begin_value(struct call_object *o, char c)
{
    const bool arguments = o->key == KEY_ARGUMENTS || o->key == KEY_PARAMETERS,
               name = o->key == KEY_NAME || o->key == KEY_FUNCTION;
    o->at = AT_IN_VALUE;
    if (o->called) return OBJECT_MORE;
    if (name && c != '"') return OBJECT_NONE;
    if (arguments && c != '{' && c != '"' && c != 'n') return OBJECT_NONE;
    if (arguments && c == '{') {
        if (o->begun) return OBJECT_NONE;
        o->begun = true;
        o->at = AT_IN_ARGUMENTS;
    }
    return OBJECT_MORE;
}

static enum object_step between(struct call_object *o, char c)
{
    if (mark_is_space(c)) return OBJECT_MORE;
    switch ((enum at)o->at) {
    case AT_OPEN: o->at = AT_FIRST_KEY; return c == '{' ? OBJECT_MORE : OBJECT_NONE;
    case AT_COLON: o->at = AT_VALUE; return c == ':' ? OBJECT_MORE : OBJECT_NONE;
    case AT_NEXT:
        if (c == '}') return OBJECT_CALL;
        o->at = AT_KEY;
        return c == ',' ? OBJECT_MORE : OBJECT_NONE;
    case AT_FIRST_KEY:
        if (c == '}') return OBJECT_CALL;
        /* fallthrough */
    default: o->at = AT_IN_KEY; return c == '"' ? OBJECT_MORE : OBJECT_NONE;
    }
}

/* In a key, or in a value that is none of the arguments; *again: the byte is for what comes behind. */
static enum object_step in_token(struct call_object *o, char c, bool *again)
{
    const enum json_step step = json_stream_feed(&o->json, c, &o->token);
    *again = step == JSON_WHOLE_BEFORE;
    if (step == JSON_MORE) return OBJECT_MORE;
    if (step == JSON_WRONG) return OBJECT_NONE;
    if (o->at == AT_IN_VALUE) return take_value(o);
    o->at = AT_COLON;
    o->key = key_of(&o->token);
    return is_key_of_call(o) ? OBJECT_MORE : OBJECT_NONE;
}

/* What is there is no call, or no more of it than has been said. */
static bool give_up(struct call_object *o, enum object_step *step, struct reply_out *out)
{
    *step = o->called ? OBJECT_CALL_BEFORE : OBJECT_NONE;
    o->back = 0;
    if (!o->called || o->ended) return true;
    o->back = o->json.n_held;
    json_stream_close(&o->json, &o->ready);
    return end_arguments(o, out);
}

/* The closing brace. */
static bool finish(struct call_object *o, enum object_step *step, struct reply_out *out)
{
    if (!o->called && o->named && !o->begun && o->marked) {
        o->begun = o->ended = true;
        buf_puts(&o->ready, "{}");
        if (!say_call(o, out)) return false;
    }
    *step = o->called ? OBJECT_CALL : OBJECT_NONE;
    return true;
}

static bool in_arguments(struct call_object *o, char c, enum object_step *step, struct reply_out *out)
{
    switch (json_stream_feed(&o->json, c, &o->ready)) {
    case JSON_MORE: return say_call(o, out);
    case JSON_WHOLE: o->at = AT_NEXT; return end_arguments(o, out);
    default: return give_up(o, step, out);
    }
}

bool call_object_feed(struct call_object *o, char c, enum object_step *step, struct reply_out *out)
{
    bool again = true;
    *step = OBJECT_MORE;
    if (o->at == AT_IN_ARGUMENTS) return in_arguments(o, c, step, out) && !failed(o);
    if (o->at == AT_IN_KEY || o->at == AT_IN_VALUE) *step = in_token(o, c, &again);
    if (again && *step == OBJECT_MORE) {
        if (o->at == AT_VALUE && !mark_is_space(c)) {
            *step = begin_value(o, c);
            json_stream_begin(&o->json);
            buf_clear(&o->token);
            if (*step == OBJECT_MORE) return call_object_feed(o, c, step, out);
        } else {
            *step = between(o, c);
            if (o->at == AT_IN_KEY) {
                json_stream_begin(&o->json);
                buf_clear(&o->token);
                if (*step == OBJECT_MORE) json_stream_feed(&o->json, c, &o->token);
            }
        }
    }
    if (failed(o)) return false;
    if (*step == OBJECT_NONE) return give_up(o, step, out);
    if (*step == OBJECT_CALL) return finish(o, step, out);
    return say_call(o, out);
}
