/* Any bytes as a request for messages, and any turns of thoughts, texts and calls as its answer: a refusal is JSON that says why, and an answer, whole and
 * as a stream, is what the API allows: blocks one after the other, numbered in order, each with deltas of its own kind. The first byte says which. */
#include <stdlib.h>
#include <string.h>

#include "http/dialects/wire.h"
#include "http/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void request(const char *body, size_t len, const struct wire_style *style)
{
    static const struct json_limits limits = { 128, 100000 };
    struct fault f = { 0 };
    struct wire_request w;
    json_t *v;
    bool ok = json_in_parse(body, len, &limits, &v, &f);
    if (ok) {
        ok = style->parse(&w, v, true, true, style, &f);
        json_decref(v);
    }
    if (ok) {
        const json_t *last = json_array_get(w.gen.messages, json_array_size(w.gen.messages) - 1);
        if (!w.gen.model || !last || json_object_get(last, "tool_calls")) abort();
        if (w.gen.think_budget >= 0 && (w.gen.thinking != THINKING_ON || w.gen.effort[0])) abort();
        if (w.gen.answer.kind == FORM_SCHEMA && !w.gen.answer.schema) abort();
        wire_free(&w);
        return;
    }
    if (f.err.code == ERR_NONE || !f.err.msg[0]) abort(); /* a refusal says why */
    struct buf b = BUF_INIT(0);
    json_error_t e;
    fault_print(&b, style->dialect, fault_of(f.err.code), f.param, f.err.msg);
    json_t *back = json_loadb(b.data, b.len, 0, &e);
    if (!json_is_object(json_object_get(back, "error"))) abort();
    json_decref(back);
    buf_free(&b);
}

/* ---- the order of events ------------------------------------------------------------------------------------------- */

struct order {
    bool started, stopped, delta;
    const char *open; /* the kind of the block that is, or NULL */
    int begun;
};

static const char *const kinds[][3] = { { "text", "text_delta", "text_delta" },
                                        { "thinking", "thinking_delta", "signature_delta" },
                                        { "tool_use", "input_json_delta", "input_json_delta" } };

static const char *text_at(const json_t *event, const char *object, const char *key)
{
    const char *s = json_string_value(json_object_get(json_object_get(event, object), key));
    if (!s) abort();
    return s;
}

static void check_event(struct order *o, const char *name, const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    if (!type || strcmp(type, name) != 0 || o->stopped) abort();
    if (!strcmp(type, "message_start")) {
        if (o->started) abort();
        o->started = true;
        return;
    }
    if (!o->started) abort();
    const json_int_t index = json_integer_value(json_object_get(event, "index"));
    if (!strcmp(type, "content_block_start")) {
        if (o->open || o->delta || index != o->begun++) abort();
        const char *kind = text_at(event, "content_block", "type");
        for (size_t i = 0; i < 3; i++)
            if (!strcmp(kind, kinds[i][0])) o->open = kinds[i][0];
        if (!o->open) abort();
    } else if (!strcmp(type, "content_block_delta")) {
        const char *kind = text_at(event, "delta", "type");
        bool ours = false;
        for (size_t i = 0; i < 3; i++)
            ours |= o->open == kinds[i][0] && (!strcmp(kind, kinds[i][1]) || !strcmp(kind, kinds[i][2]));
        if (!ours || index != o->begun - 1) abort();
    } else if (!strcmp(type, "content_block_stop")) {
        if (!o->open || index != o->begun - 1) abort();
        o->open = NULL;
    } else if (!strcmp(type, "message_delta")) {
        if (o->open || o->delta) abort();
        text_at(event, "delta", "stop_reason");
        o->delta = true;
    } else if (!strcmp(type, "message_stop")) {
        if (!o->delta) abort();
        o->stopped = true;
    } else if (strcmp(type, "ping") != 0) {
        abort();
    }
}

static void check_stream(const struct buf *b, struct order *o)
{
    json_error_t e;
    for (const char *p = b->data, *end; p && *p; p = end + 2) {
        const char *line = strchr(p, '\n');
        end = strstr(p, "\n\n");
        if (!line || !end || strncmp(p, "event: ", 7) != 0 || strncmp(line, "\ndata: ", 7) != 0) abort();
        char *name = strndup(p + 7, (size_t)(line - p - 7));
        json_t *event = json_loadb(line + 7, (size_t)(end - line - 7), 0, &e);
        if (!event || !name) abort();
        check_event(o, name, event);
        json_decref(event);
        free(name);
    }
}

/* Each byte is a piece of an answer: its kind, how much text it brings, and whether a call begins with it. */
static void answer(const uint8_t *data, size_t size)
{
    static const struct wire_request w = { .style = &anthropic_style, .chat = true };
    struct wire_reply r = { .request = &w, .model = "m", .id = "msg_1" };
    const struct wire_printer *printer = anthropic_style.printer;
    struct wire_choice said = { 0 };
    struct wire_growing g = { .said = &said };
    struct buf stream = BUF_INIT(0), whole = BUF_INIT(0);
    struct usage u = { .prompt_tokens = 3, .completion_tokens = (int)size };
    struct order o = { 0 };
    int calls = 0;
    enum reply_type before = REPLY_DONE; /* a call ends where something else is said */
    printer->open(&stream, &r, &g, 0);
    for (size_t i = 0; i < size; i++) {
        static const enum reply_type types[] = { REPLY_TEXT, REPLY_THOUGHT, REPLY_CALL, REPLY_CALL };
        struct reply_event ev = { .type = types[data[i] & 3], .len = (data[i] >> 2) % 5 };
        char text[8] = "\"\\\n{}", id[] = "call", name[] = "f";
        const bool begins = ev.type == REPLY_CALL && (before != REPLY_CALL || data[i] & 128);
        ev.text = text;
        text[ev.len] = 0;
        if (begins) {
            ev.call = (struct reply_call){ .index = calls++, .id = id, .name = name };
            ev.len = 0;
        }
        if (ev.type == REPLY_CALL) ev.call.index = calls - 1;
        before = ev.type;
        if (!wire_choice_take(&said, &ev)) abort();
        printer->piece(&stream, &r, &g, &ev);
    }
    const struct reply_event end = { .type = REPLY_CHOICE_END, .finish = size % 6, .usage = u };
    if (!wire_choice_take(&said, &end)) abort();
    printer->end(&stream, &r, &g, &end, NULL);
    printer->usage(&stream, &r, &g, &u);
    printer->done(&stream, &r, &g);
    check_stream(&stream, &o);
    if (!o.stopped || o.begun != said.n_parts) abort();
    json_error_t e;
    printer->full(&whole, &r, &said, 1, &u);
    json_t *v = json_loadb(whole.data, whole.len, 0, &e);
    if (!v || json_array_size(json_object_get(v, "content")) != (size_t)o.begun) abort();
    json_decref(v);
    buf_free(&stream);
    buf_free(&whole);
    wire_choice_free(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    if (data[0] % 3 == 2)
        answer(data + 1, size - 1);
    else
        request((const char *)data + 1, size - 1, data[0] % 3 ? &anthropic_count_style : &anthropic_style);
    return 0;
}
