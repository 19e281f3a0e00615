/* call_reader.c - see call_reader.h. Each state of the reading is a function that takes what it can of the text that is there. */
#include "service/tools/call_reader.h"

#include <string.h>

#include "service/mark.h"
#include "service/tools/python_call.h"

enum at {
    AT_TEXT,
    AT_BODY,      /* behind a mark, or in front of everything */
    AT_LIST,      /* behind [ */
    AT_OBJECT,    /* in a call that is an object */
    AT_PYTHON,    /* in one as Python writes it */
    AT_NEXT,      /* behind a call in a list */
    AT_ELEMENT,   /* behind the comma there */
    AT_MORE,      /* behind a call out of a list */
    AT_FUNCTION,  /* in NAME> */
    AT_TYPED,     /* in TYPE separator NAME */
    AT_NAMED,     /* in NAME[ARGS] */
    AT_ARGUMENTS, /* in front of bare arguments */
    AT_BARE,      /* in them */
    AT_FENCE      /* behind them, where a fence may close */
};

enum { NAME_LIMIT = 256 };

enum go { GO_ON, GO_WAIT, GO_FAILED };

static const char *here(const struct call_reader *r) { return r->in.data + r->pos; }
static size_t left(const struct call_reader *r) { return r->in.len - r->pos; }

static void skip_space(struct call_reader *r)
{
    while (left(r) && mark_is_space(*here(r))) r->pos++;
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static enum go go_to(struct call_reader *r, enum at at)
{
    r->at = at;
    return GO_ON;
}

/* It is no call: text from where it began. */
static enum go no_call(struct call_reader *r)
{
    r->pos = r->start;
    r->list = 0;
    r->tried = true;
    return go_to(r, AT_TEXT);
}

static enum go call_was_said(struct call_reader *r, enum at next)
{
    r->called = true;
    r->start = r->pos;
    return go_to(r, r->list ? AT_NEXT : next);
}

/* ---- text ---------------------------------------------------------------------------------------------------------- */

/* n bytes of text, of which white space at the end waits unless it is the last; a mark behind it (closed) drops it. */
static bool say_text(struct call_reader *r, size_t n, bool closed, struct reply_out *out)
{
    const char *s = here(r);
    size_t from = 0, to = n;
    const bool keep_end = r->end && !closed && !r->called;
    while (!keep_end && to && mark_is_space(s[to - 1])) to--;
    if (!r->said && r->called)
        while (from < to && mark_is_space(s[from])) from++;
    if (to > from) {
        if (!reply_say(out, s + from, to - from)) return false;
        r->said = true;
    }
    r->pos += closed || r->end ? n : to;
    return true;
}

static enum go open_mark(struct call_reader *r, const struct call_mark *m)
{
    r->called = true; /* what comes around a mark is no longer the text's own white space */
    if (m->is == CALL_DROPPED) return GO_ON;
    r->start = r->name = r->pos;
    r->n_name = 0;
    r->marked = true;
    return go_to(r, m->is == CALL_FUNCTION ? AT_FUNCTION : m->is == CALL_TYPED ? AT_TYPED : AT_BODY);
}

static enum go read_text(struct call_reader *r, const struct call_family *f, struct reply_out *out)
{
    const char *s = here(r);
    const size_t n = left(r);
    const struct call_mark *found = NULL;
    size_t at = n, begun = 0, space = 0;
    while (space < n && mark_is_space(s[space])) space++;
    if (!r->said && !r->tried && f->first) {
        if (space == n && !r->end) return GO_WAIT;
        if (space < n && (s[space] == '{' || s[space] == '[')) {
            const unsigned bodies = s[space] == '{' ? CALL_OBJECT : CALL_ARRAY | CALL_PYTHON;
            r->tried = true;
            r->start = r->pos;
            r->pos += space;
            r->marked = false;
            if (f->first & bodies) return go_to(r, AT_BODY);
            r->pos = r->start;
        }
    }
    for (const struct call_mark *m = f->marks; m->text; m++) {
        const size_t i = mark_find(s, at, m->text), b = mark_begun(s, n, m->text);
        if (i < at) {
            at = i;
            found = m;
        }
        if (b > begun) begun = b;
    }
    if (!found) {
        if (!say_text(r, r->end && !r->cut ? n : n - begun, false, out)) return GO_FAILED;
        return GO_WAIT;
    }
    if (!say_text(r, at, true, out)) return GO_FAILED;
    r->pos += strlen(found->text);
    return open_mark(r, found);
}

/* ---- where a call begins --------------------------------------------------------------------------------------------- */

static enum go begin_object(struct call_reader *r)
{
    call_object_begin(&r->object, r->marked);
    return go_to(r, AT_OBJECT);
}

static enum go begin_python(struct call_reader *r)
{
    r->name = r->pos;
    r->quote = 0;
    r->depth = 0;
    return go_to(r, AT_PYTHON);
}

static enum go read_body(struct call_reader *r, const struct call_family *f)
{
    const unsigned bodies = r->marked ? f->bodies : f->first;
    skip_space(r);
    if (!left(r)) return GO_WAIT;
    const char c = *here(r);
    if (c == '{' && (bodies & CALL_OBJECT)) return begin_object(r);
    if (c == '[' && (bodies & (CALL_ARRAY | CALL_PYTHON))) {
        r->pos++;
        return go_to(r, AT_LIST);
    }
    if (is_name_byte(c) && (bodies & CALL_METHOD)) return begin_python(r);
    if (is_name_byte(c) && (bodies & CALL_NAME_ARGUMENTS)) {
        r->name = r->pos;
        return go_to(r, AT_NAMED);
    }
    return no_call(r);
}

static enum go read_list(struct call_reader *r, const struct call_family *f)
{
    const unsigned bodies = r->marked ? f->bodies : f->first;
    skip_space(r);
    if (!left(r)) return GO_WAIT;
    if (*here(r) == '{' && (bodies & CALL_ARRAY)) {
        r->list = CALL_ARRAY;
        return begin_object(r);
    }
    if (is_name_byte(*here(r)) && (bodies & CALL_PYTHON)) {
        r->list = CALL_PYTHON;
        return begin_python(r);
    }
    return no_call(r);
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

static enum go read_object(struct call_reader *r, struct reply_out *out)
{
    enum object_step step = OBJECT_MORE;
    while (step == OBJECT_MORE && left(r)) {
        if (!call_object_feed(&r->object, *here(r), &step, out)) return GO_FAILED;
        if (step == OBJECT_MORE || step == OBJECT_CALL) r->pos++;
    }
    switch (step) {
    case OBJECT_NONE: return no_call(r);
    case OBJECT_CALL_BEFORE: r->pos -= r->object.back; return call_was_said(r, AT_MORE);
    case OBJECT_CALL: return call_was_said(r, AT_MORE);
    case OBJECT_MORE: break;
    }
    return call_object_settle(&r->object, false, out) ? GO_WAIT : GO_FAILED;
}

/* The arguments of a call whose name stood in front of them. */
static enum go read_bare(struct call_reader *r, struct reply_out *out)
{
    enum object_step step = OBJECT_MORE;
    while (step == OBJECT_MORE && left(r) && !r->object.ended) {
        if (!call_object_feed(&r->object, *here(r), &step, out)) return GO_FAILED;
        if (step == OBJECT_MORE) r->pos++;
    }
    if (step != OBJECT_MORE) r->pos -= r->object.back;
    if (step != OBJECT_MORE || r->object.ended) return call_was_said(r, AT_FENCE);
    return call_object_settle(&r->object, false, out) ? GO_WAIT : GO_FAILED;
}

/* NAME(...), up to the bracket that closes; said when it is whole. */
static enum go read_python(struct call_reader *r, struct reply_out *out)
{
    bool whole = false;
    for (; left(r) && !whole; r->pos++) {
        const char c = *here(r);
        if (r->quote) {
            if (c == '\\' && left(r) < 2) return GO_WAIT;
            if (c == '\\')
                r->pos++;
            else if (c == r->quote)
                r->quote = 0;
        } else if (!r->depth) {
            if (c != '(' && !is_name_byte(c)) return no_call(r);
            r->depth = c == '(';
        } else if (c == '"' || c == '\'') {
            r->quote = c;
        } else if (c == '(' || c == '[' || c == '{') {
            r->depth++;
        } else if (c == ')' || c == ']' || c == '}') {
            whole = !--r->depth;
        }
    }
    if (!whole) return GO_WAIT;
    struct python_call call = { 0 };
    bool memory = true;
    const bool ok = python_call_read(&call, r->in.data + r->name, r->pos - r->name, r->list == 0, &memory);
    const bool said = ok && reply_call(out, call.name.data) &&
                      reply_arguments(out, call.arguments.data, call.arguments.len);
    if (said) reply_call_end(out);
    python_call_free(&call);
    if (!memory || (ok && !said)) return GO_FAILED;
    return ok ? call_was_said(r, AT_TEXT) : no_call(r);
}

/* ---- between calls --------------------------------------------------------------------------------------------------- */

static enum go read_next(struct call_reader *r)
{
    skip_space(r);
    if (!left(r)) return GO_WAIT;
    const char c = *here(r);
    if (c == ',' || c == ']') r->pos++;
    r->start = r->pos;
    if (c == ',') return go_to(r, AT_ELEMENT);
    r->list = 0;
    return go_to(r, AT_TEXT);
}

static enum go read_element(struct call_reader *r)
{
    skip_space(r);
    if (!left(r)) return GO_WAIT;
    if (r->list == CALL_ARRAY && *here(r) == '{') return begin_object(r);
    if (r->list == CALL_PYTHON && is_name_byte(*here(r))) return begin_python(r);
    return no_call(r);
}

static enum go read_more(struct call_reader *r)
{
    size_t i = 0;
    const char *s = here(r);
    while (i < left(r) && (mark_is_space(s[i]) || s[i] == ';' || s[i] == ',')) i++;
    if (i == left(r)) {
        if (r->end) r->pos += i;
        return GO_WAIT;
    }
    if (s[i] != '{') return go_to(r, AT_TEXT);
    r->start = r->pos;
    r->pos += i;
    return begin_object(r);
}

/* ---- names in front of arguments --------------------------------------------------------------------------------------- */

static enum go named(struct call_reader *r, size_t from, size_t to, enum at next)
{
    while (from < to && mark_is_space(r->in.data[from])) from++;
    while (to > from && mark_is_space(r->in.data[to - 1])) to--;
    r->name = from;
    r->n_name = to - from;
    if (!r->n_name || r->n_name > NAME_LIMIT || memchr(r->in.data + from, 0, r->n_name)) return no_call(r);
    return go_to(r, next);
}

static enum go read_function(struct call_reader *r)
{
    const size_t at = mark_find(here(r), left(r), ">"), line = mark_find(here(r), at, "\n");
    if (line < at || at > NAME_LIMIT) return no_call(r);
    if (at == left(r)) return GO_WAIT;
    const size_t from = r->pos;
    r->pos += at + 1;
    return named(r, from, from + at, AT_ARGUMENTS);
}

static enum go read_named(struct call_reader *r)
{
    static const char arguments[] = "[ARGS]";
    const size_t n = left(r);
    const char *s = here(r);
    size_t i = 0;
    while (i < n && is_name_byte(s[i])) i++;
    if (i > NAME_LIMIT) return no_call(r);
    if (i == n) return GO_WAIT;
    if (s[i] == '{') { /* some leave the mark out */
        r->pos += i;
        return named(r, r->pos - i, r->pos, AT_ARGUMENTS);
    }
    if (s[i] != '[') return no_call(r);
    /* [CALL_ID] and an id may stand in front of it. */
    const size_t mark = mark_find(s, n, arguments);
    if (mark == n) return n - i > NAME_LIMIT ? no_call(r) : GO_WAIT;
    if (mark > i && strncmp(s + i, "[CALL_ID]", strlen("[CALL_ID]")) != 0) return no_call(r);
    r->pos += mark + strlen(arguments);
    return named(r, r->pos - strlen(arguments) - mark, r->pos - strlen(arguments) - mark + i, AT_ARGUMENTS);
}

static enum go read_typed(struct call_reader *r, const struct call_family *f)
{
    const size_t n = left(r), at = mark_find(here(r), n, f->separator);
    if (at > NAME_LIMIT) return no_call(r);
    if (at == n) return GO_WAIT;
    const char *s = here(r) + at + strlen(f->separator);
    const size_t behind = n - at - strlen(f->separator);
    size_t i = 0;
    while (i < behind && mark_is_space(s[i])) i++;
    if (i == behind) return GO_WAIT;
    const size_t from = r->pos;
    if (s[i] == '{' || s[i] == '`') { /* no type: the name stood in front */
        r->pos = (size_t)(s - r->in.data);
        return named(r, from, from + at, AT_ARGUMENTS);
    }
    for (; i < behind; i++) {
        if (s[i] != '\n' && s[i] != '{' && s[i] != '`') continue;
        r->pos = (size_t)(s - r->in.data) + i;
        return named(r, (size_t)(s - r->in.data), r->pos, AT_ARGUMENTS);
    }
    return behind > NAME_LIMIT ? no_call(r) : GO_WAIT;
}

/* ```json may stand in front of them. */
static enum go read_arguments(struct call_reader *r)
{
    skip_space(r);
    size_t i = 0;
    const size_t n = left(r);
    const char *s = here(r);
    while (i < n && i < 3 && s[i] == '`') i++;
    const bool fence = i == 3;
    while (fence && i < n && is_name_byte(s[i])) i++;
    while (fence && i < n && mark_is_space(s[i])) i++;
    if (i == n) return GO_WAIT;
    if (s[i] != '{' || (i && !fence)) return no_call(r);
    r->pos += i;
    if (!call_object_begin_arguments(&r->object, r->in.data + r->name, r->n_name)) return GO_FAILED;
    return go_to(r, AT_BARE);
}

static enum go read_fence(struct call_reader *r)
{
    size_t i = 0, ticks = 0;
    const size_t n = left(r);
    while (i < n && mark_is_space(here(r)[i])) i++;
    while (i + ticks < n && ticks < 3 && here(r)[i + ticks] == '`') ticks++;
    if (ticks < 3 && i + ticks == n && !r->end) return GO_WAIT;
    if (ticks == 3 || i + ticks == n) r->pos += i + ticks;
    return go_to(r, AT_TEXT);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static enum go step(struct call_reader *r, const struct call_family *f, struct reply_out *out)
{
    switch ((enum at)r->at) {
    case AT_TEXT: return read_text(r, f, out);
    case AT_BODY: return read_body(r, f);
    case AT_LIST: return read_list(r, f);
    case AT_OBJECT: return read_object(r, out);
    case AT_PYTHON: return read_python(r, out);
    case AT_NEXT: return read_next(r);
    case AT_ELEMENT: return read_element(r);
    case AT_MORE: return read_more(r);
    case AT_FUNCTION: return read_function(r);
    case AT_TYPED: return read_typed(r, f);
    case AT_NAMED: return read_named(r);
    case AT_ARGUMENTS: return read_arguments(r);
    case AT_BARE: return read_bare(r, out);
    case AT_FENCE: return read_fence(r);
    }
    return GO_FAILED;
}

static bool go_on(struct call_reader *r, const struct call_family *f, struct reply_out *out)
{
    enum go go = GO_ON;
    if (!r->in.len) return true;
    while (go == GO_ON) go = step(r, f, out);
    return go == GO_WAIT;
}

/* Whether a call has been said and is not whole. */
static bool in_call(const struct call_reader *r)
{
    return (r->at == AT_OBJECT || r->at == AT_BARE) && r->object.called;
}

/* Of the text, what is settled need not be kept: all that a call which has been said consists of, and text. */
static void forget(struct call_reader *r)
{
    const bool settled = r->at == AT_TEXT || r->at == AT_NEXT || r->at == AT_MORE || r->at == AT_FENCE;
    if (settled || in_call(r)) {
        /* What the arguments hold back goes back to the text when they break. */
        const size_t keep = in_call(r) && !r->object.ended ? r->object.json.n_held : 0;
        r->start = r->pos - keep;
    }
    const size_t n = r->start;
    buf_drop(&r->in, n);
    r->start -= n;
    r->pos -= n;
    r->name = r->name > n ? r->name - n : 0;
}

bool call_reader_feed(struct call_reader *r, const struct call_family *f, const char *text, size_t len,
                      struct reply_out *out)
{
    if (!buf_append(&r->in, text, len)) return false;
    if (!go_on(r, f, out)) return false;
    forget(r);
    return true;
}

bool call_reader_flush(struct call_reader *r, const struct call_family *f, bool cut, struct reply_out *out)
{
    r->end = true;
    r->cut = cut;
    if (in_call(r)) return call_object_settle(&r->object, true, out);
    /* A call that has only begun is text, unless it was not the model that ended here. */
    while (r->in.len) {
        const enum at before = r->at;
        if (!go_on(r, f, out)) return false;
        if (in_call(r)) return call_object_settle(&r->object, true, out);
        if (r->at == AT_TEXT || r->at == AT_NEXT || r->at == AT_MORE || cut) return true;
        if (before == AT_TEXT && r->at == AT_TEXT) return true;
        no_call(r);
    }
    return true;
}

void call_reader_free(struct call_reader *r)
{
    buf_free(&r->in);
    call_object_free(&r->object);
}
