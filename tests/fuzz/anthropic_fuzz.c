/* Any bytes as a request for messages, and any turns of thoughts, texts and calls as its answer: a refusal is JSON that says why, and an answer, whole and
 * as a stream, is what the API allows: blocks one after the other, numbered in order, each with deltas of its own kind. The first byte says which. */
#include <stdlib.h>
#include <string.h>

#include "text_dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void good(const struct wire_request *w)
{
    if (w->gen.think_budget >= 0 && (w->gen.thinking != THINKING_ON || w->gen.effort[0])) abort();
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

static void check_event(void *arg, const char *name, const json_t *event)
{
    struct order *o = arg;
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

static void answer(const uint8_t *data, size_t size)
{
    static const struct wire_request w = { .style = &anthropic_style, .chat = true };
    const struct wire_reply r = { .request = &w, .model = "m", .id = "msg_1" };
    struct buf stream = BUF_INIT(0);
    struct order o = { 0 };
    json_int_t n_parts;
    dialect_answer(data, size, &r, &stream, "content", &n_parts);
    dialect_events(&stream, check_event, &o);
    if (!o.stopped || o.begun != n_parts) abort();
    buf_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    if (data[0] % 3 == 2)
        answer(data + 1, size - 1);
    else
        dialect_request((const char *)data + 1, size - 1,
                        data[0] % 3 ? &anthropic_count_style : &anthropic_style, good);
    return 0;
}
