/* Any bytes as a request for a response, and any turns of thoughts, texts and calls as its answer: a refusal is JSON that says why, and an answer, whole and
 * as a stream, is what the API allows: events numbered without a gap, items one after the other, parts inside, and the last event what the deltas said
 * together. The first byte says which. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text_dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void good(const struct wire_request *w)
{
    if (!json_is_object(w->echo)) abort();
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

static void check_event(void *arg, const char *name, const json_t *event)
{
    struct order *o = arg;
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

static void answer(const uint8_t *data, size_t size)
{
    struct wire_request w = { .style = &responses_style, .chat = true };
    const struct wire_reply r = { .request = &w, .model = "m", .id = "resp_0123456789abcdef" };
    w.echo = size % 2 ? json_pack("{s:{s:s}}", "reasoning", "summary", "auto") : json_object();
    struct buf stream = BUF_INIT(0);
    struct order o = { 0 };
    json_int_t n_parts;
    dialect_answer(data, size, &r, &stream, "output", &n_parts);
    dialect_events(&stream, check_event, &o);
    if (!o.over || o.items != n_parts) abort();
    json_decref(w.echo);
    buf_free(&o.said);
    buf_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    if (data[0] % 3 == 2)
        answer(data + 1, size - 1);
    else
        dialect_request((const char *)data + 1, size - 1,
                        data[0] % 3 ? &responses_count_style : &responses_style, good);
    return 0;
}
