/* Any bytes as the body of a chat or a plain completion request, in both dialects: parse, and print what a refusal says. */
#include <stdlib.h>
#include <string.h>

#include "http/dialects/wire.h"
#include "http/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const char *body, size_t len, bool chat, const struct wire_style *style)
{
    static const struct json_limits limits = { 128, 100000 };
    struct fault f = { 0 };
    struct wire_request w;
    json_t *v;
    bool ok = json_in_parse(body, len, &limits, &v, &f);
    if (ok) {
        ok = wire_parse(&w, v, chat, true, style, &f);
        json_decref(v);
    }
    if (ok) {
        if (!w.gen.model || w.gen.n < 1 || w.gen.best_of < w.gen.n ||
            (chat ? !w.gen.messages : !w.gen.prompts))
            abort();
        const struct answer_form *a = &w.gen.answer;
        const struct tool_set *t = &w.gen.tools;
        if ((a->kind == FORM_SCHEMA) != (a->schema != NULL) || (a->kind != FORM_ANY && !a->from) ||
            ((a->kind == FORM_GRAMMAR || a->kind == FORM_REGEX) && !a->len))
            abort();
        if ((t->choice == TOOL_NAMED && (t->named < 0 || t->named >= t->n)) ||
            (t->choice == TOOL_REQUIRED && !t->n) || (t->n && !chat))
            abort();
        if (w.gen.think_budget >= 0 && (w.gen.thinking != THINKING_ON || w.gen.effort[0])) abort();
        wire_free(&w);
        return;
    }
    if (f.err.code == ERR_NONE || !f.err.msg[0]) abort(); /* a refusal says why */
    struct buf b = BUF_INIT(0);
    wire_event_fault(&b, &(struct wire_request){ .style = style }, fault_of(f.err.code), f.err.msg);
    json_error_t e;
    json_t *back = b.len > 8 ? json_loadb(b.data + 6, b.len - 8, 0, &e) : NULL;
    if (!back) abort(); /* whatever the client wrote, the answer is JSON */
    json_decref(back);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    one((const char *)data + 1, size - 1, data[0] & 1, data[0] & 2 ? &fireworks_style : &openai_style);
    return 0;
}
