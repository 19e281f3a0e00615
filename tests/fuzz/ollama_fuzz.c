/* Any bytes as a request of Ollama's clients, and any turns of thoughts, texts and calls as its answer: a refusal is JSON that says why; an answer, as
 * lines and whole, says the same, each line is an object, the last one alone is done, and calls come whole. The first byte says which. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/embeddings.h"
#include "http/dialects/ollama.h"
#include "http/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refusal(const struct fault *f)
{
    if (f->err.code == ERR_NONE || !f->err.msg[0]) abort();
    struct buf b = BUF_INIT(0);
    json_error_t e;
    fault_print(&b, DIALECT_OLLAMA, fault_of(f->err.code), f->param, f->err.msg);
    json_t *back = json_loadb(b.data, b.len, 0, &e);
    if (json_object_size(back) != 1 || !json_is_string(json_object_get(back, "error"))) abort();
    json_decref(back);
    buf_free(&b);
}

static void request(const char *body, size_t len, int which, bool strict)
{
    static const struct json_limits limits = { 128, 100000 };
    struct fault f = { 0 };
    struct ollama_request q;
    struct embedding_wire w;
    json_t *v;
    if (!json_in_parse(body, len, &limits, &v, &f)) {
        refusal(&f);
        return;
    }
    const bool text = which < 2;
    const bool ok = text ? ollama_parse(&q, v, which == 0, strict, &f)
                         : embedding_wire_parse(&w, v, 1U << (which - 2), DIALECT_OLLAMA, strict, &f);
    json_decref(v);
    if (!ok) {
        refusal(&f);
    } else if (text) {
        const struct gen_request *g = &q.wire.gen;
        if (!q.name || (q.keeps && !isfinite(q.keep_s)) || strlen(q.ignored) >= sizeof q.ignored) abort();
        if (!q.load_only && (!g->model || (!json_array_size(g->messages) && !g->n_prompts))) abort();
        if (g->answer.kind == FORM_SCHEMA && !g->answer.schema) abort();
        ollama_free(&q);
    } else {
        for (int i = 0; i < w.gen.n_prompts; i++)
            if (!w.gen.prompts[i].text == !w.gen.prompts[i].ids) abort();
        embedding_wire_free(&w);
    }
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

struct heard {
    struct buf text, thought, calls;
    bool done;
};

static void hear(struct heard *h, const json_t *line, bool chat, bool *done)
{
    const json_t *said = chat ? json_object_get(line, "message") : line, *call;
    const char *text = json_string_value(json_object_get(said, chat ? "content" : "response")),
               *thought = json_string_value(json_object_get(said, "thinking"));
    size_t i;
    if (!text || !json_is_boolean(json_object_get(line, "done")) || h->done) abort();
    buf_puts(&h->text, text);
    if (thought) buf_puts(&h->thought, thought);
    json_array_foreach(json_object_get(said, "tool_calls"), i, call)
    {
        const json_t *f = json_object_get(call, "function");
        if (!json_is_object(json_object_get(f, "arguments"))) abort();
        buf_printf(&h->calls, "%d ", (int)json_integer_value(json_object_get(f, "index")));
    }
    *done = json_is_true(json_object_get(line, "done"));
    if (*done && !json_string_value(json_object_get(line, "done_reason"))) abort();
}

static void hear_lines(struct heard *h, const struct buf *b, bool chat)
{
    json_error_t e;
    for (const char *p = b->data, *end; p && *p; p = end + 1) {
        bool done;
        if (!(end = strchr(p, '\n'))) abort();
        json_t *line = json_loadb(p, (size_t)(end - p), 0, &e);
        if (!json_is_object(line)) abort();
        hear(h, line, chat, &done);
        h->done = done;
        json_decref(line);
    }
    if (!h->done) abort();
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

/* Each byte is a piece of an answer: its kind, how much text it brings, and whether a call begins with it. */
static void answer(const uint8_t *data, size_t size, bool chat)
{
    char model[] = "m";
    struct ollama_request q = { .name = model, .chat = chat };
    struct ollama_reply lines = { .request = &q }, whole = { .request = &q };
    struct buf stream = BUF_INIT(0), full = BUF_INIT(0);
    struct heard a = { 0 }, b = { 0 };
    const struct usage u = { .prompt_tokens = 3, .completion_tokens = (int)size };
    int calls = 0;
    bool in_call = false; /* a call ends with what is none of its own */
    for (size_t i = 0; i < size; i++) {
        static const enum reply_type types[] = { REPLY_TEXT, REPLY_THOUGHT, REPLY_CALL, REPLY_CALL };
        struct reply_event ev = { .type = types[data[i] & 3], .len = (data[i] >> 2) % 5 };
        char text[8] = "{}\"\\\n", id[] = "call", name[] = "f";
        ev.text = text;
        text[ev.len] = 0;
        if (ev.type == REPLY_CALL && (!in_call || data[i] & 128)) {
            ev.call = (struct reply_call){ .index = calls++, .id = id, .name = name };
            ev.len = 0;
        }
        in_call = ev.type == REPLY_CALL;
        if (in_call) ev.call.index = calls - 1;
        if (!ollama_print_piece(&stream, &lines, &ev) || !wire_choice_take(&whole.said, &ev)) abort();
    }
    lines.said.finish = whole.said.finish = size % 5;
    ollama_print_end(&stream, &lines, &u, false);
    ollama_print_end(&full, &whole, &u, true);
    hear_lines(&a, &stream, chat);
    buf_putc(&full, '\n');
    hear_lines(&b, &full, chat);
    if (!same(&a.text, &b.text) || !same(&a.thought, &b.thought) || !same(&a.calls, &b.calls)) abort();
    struct buf *const all[] = {
        &stream, &full, &a.text, &a.thought, &a.calls, &b.text, &b.thought, &b.calls
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) buf_free(all[i]);
    wire_choice_free(&lines.said);
    wire_choice_free(&whole.said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    const int which = data[0] % 8;
    if (which < 5)
        request((const char *)data + 1, size - 1, which, data[0] & 8);
    else
        answer(data + 1, size - 1, which & 1);
    return 0;
}
