/* text_dialect.h - what the fuzz targets of the dialects of text have in common: bytes as a request, which is refused in the API's own words or good; and
 * bytes as the pieces of an answer, printed whole and as a stream whose events are looked at one by one. */
#ifndef HEARTH_FUZZ_TEXT_DIALECT_H
#define HEARTH_FUZZ_TEXT_DIALECT_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/wire.h"
#include "http/json_in.h"

/* good: looks at what was understood. */
static void dialect_request(const char *body, size_t len, const struct wire_style *style,
                            void (*good)(const struct wire_request *w))
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
        if (w.gen.answer.kind == FORM_SCHEMA && !w.gen.answer.schema) abort();
        good(&w);
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

/* Each event has a name and JSON. */
static void dialect_events(const struct buf *b, void (*see)(void *arg, const char *name, const json_t *event),
                           void *arg)
{
    json_error_t e;
    for (const char *p = b->data, *end; p && *p; p = end + 2) {
        const char *line = strchr(p, '\n');
        end = strstr(p, "\n\n");
        if (!line || !end || strncmp(p, "event: ", 7) != 0 || strncmp(line, "\ndata: ", 7) != 0) abort();
        char *name = strndup(p + 7, (size_t)(line - p - 7));
        json_t *event = json_loadb(line + 7, (size_t)(end - line - 7), 0, &e);
        if (!event || !name) abort();
        see(arg, name, event);
        json_decref(event);
        free(name);
    }
}

/* Each byte is a piece of an answer: its kind, how much text it brings, and whether a call begins with it. The stream is printed into *stream, the answer
 * as it is whole into what is returned (its list `list` has a member for each of *n_parts). */
static void dialect_answer(const uint8_t *data, size_t size, const struct wire_reply *r, struct buf *stream,
                           const char *list, json_int_t *n_parts)
{
    const struct wire_printer *printer = r->request->style->printer;
    struct wire_choice said = { 0 };
    struct wire_growing g = { .said = &said };
    struct buf whole = BUF_INIT(0);
    const struct usage u = { .prompt_tokens = 3, .completion_tokens = (int)size };
    int calls = 0;
    enum reply_type before = REPLY_DONE; /* a call ends where something else is said */
    printer->open(stream, r, &g, 0);
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
        printer->piece(stream, r, &g, &ev);
    }
    const struct reply_event end = { .type = REPLY_CHOICE_END, .finish = size % 6, .usage = u };
    if (!wire_choice_take(&said, &end)) abort();
    printer->end(stream, r, &g, &end, NULL);
    printer->usage(stream, r, &g, &u);
    printer->done(stream, r, &g);
    json_error_t e;
    printer->full(&whole, r, &said, 1, &u);
    json_t *v = json_loadb(whole.data, whole.len, 0, &e);
    *n_parts = said.n_parts;
    if (!v || (json_int_t)json_array_size(json_object_get(v, list)) != *n_parts) abort();
    json_decref(v);
    buf_free(&whole);
    wire_choice_free(&said);
}

#endif
