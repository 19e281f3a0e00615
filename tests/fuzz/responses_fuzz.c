/* Any bytes as a request for a response, and any turns of thoughts, texts and calls as its answer: a refusal is JSON that says why, and an answer, whole and
 * as a stream, is what the API allows: events numbered without a gap, items one after the other, parts inside, and the last event what the deltas said
 * together. The first byte says which. */
#include <stdio.h>
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
        if (!w.gen.model || !last || json_object_get(last, "tool_calls") || !json_is_object(w.echo)) abort();
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
    json_int_t next;
    char item[80], part[80]; /* that are open, or "" */
    json_int_t items;
    struct buf said; /* deltas of the open item */
    bool over;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    if (!s) abort();
    return s;
}

static bool ends(const char *type, const char *with)
{
    const size_t n = strlen(type), m = strlen(with);
    return n >= m && !strcmp(type + n - m, with);
}

static void check_content(struct order *o, const char *type, const json_t *event)
{
    if (!*o->item || strcmp(text_of(event, "item_id"), o->item) != 0 ||
        json_integer_value(json_object_get(event, "output_index")) != o->items - 1)
        abort();
    if (ends(type, "_part.added")) {
        if (*o->part) abort();
        snprintf(o->part, sizeof o->part, "%s", text_of(json_object_get(event, "part"), "type"));
    } else if (ends(type, "_part.done")) {
        if (strcmp(o->part, text_of(json_object_get(event, "part"), "type")) != 0) abort();
        o->part[0] = 0;
    } else if (ends(type, ".delta")) {
        if (!*o->part != ends(type, "arguments.delta")) abort();
        buf_puts(&o->said, text_of(event, "delta"));
    } else {
        const char *all = text_of(event, ends(type, "arguments.done") ? "arguments" : "text");
        if (!ends(type, ".done") || strcmp(all, o->said.data ? o->said.data : "") != 0) abort();
        buf_clear(&o->said);
        if (o->said.data) o->said.data[0] = 0;
    }
}

static void check_event(struct order *o, const char *name, const json_t *event)
{
    const char *type = text_of(event, "type");
    const json_t *item = json_object_get(event, "item");
    if (strcmp(type, name) != 0 || o->over ||
        json_integer_value(json_object_get(event, "sequence_number")) != o->next)
        abort();
    if ((o->next == 0) != !strcmp(type, "response.created") ||
        (o->next == 1) != !strcmp(type, "response.in_progress"))
        abort();
    if (o->next++ < 2) return;
    if (!strcmp(type, "response.output_item.added")) {
        if (*o->item || json_integer_value(json_object_get(event, "output_index")) != o->items++) abort();
        snprintf(o->item, sizeof o->item, "%s", text_of(item, "id"));
    } else if (!strcmp(type, "response.output_item.done")) {
        if (*o->part || strcmp(text_of(item, "id"), o->item) != 0) abort();
        o->item[0] = 0;
    } else if (json_object_get(event, "response")) {
        const json_t *output = json_object_get(json_object_get(event, "response"), "output");
        if (*o->item || (json_int_t)json_array_size(output) != o->items) abort();
        o->over = true;
    } else {
        check_content(o, type, event);
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
    struct wire_request w = { .style = &responses_style, .chat = true };
    struct wire_reply r = { .request = &w, .model = "m", .id = "resp_0123456789abcdef" };
    const struct wire_printer *printer = responses_style.printer;
    w.echo = size % 2 ? json_pack("{s:{s:s}}", "reasoning", "summary", "auto") : json_object();
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
    if (!o.over || o.items != said.n_parts) abort();
    json_error_t e;
    printer->full(&whole, &r, &said, 1, &u);
    json_t *v = json_loadb(whole.data, whole.len, 0, &e);
    if (!v || (json_int_t)json_array_size(json_object_get(v, "output")) != o.items) abort();
    json_decref(v);
    json_decref(w.echo);
    buf_free(&o.said);
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
        request((const char *)data + 1, size - 1, data[0] % 3 ? &responses_count_style : &responses_style);
    return 0;
}
