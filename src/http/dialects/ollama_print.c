/* ollama_print.c - a reply as Ollama's clients read it: lines of JSON, or one object. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include <jansson.h>

#include "http/dialects/ollama.h"
#include "http/json_out.h"

void ollama_print_time(struct buf *b, int64_t unix_ms)
{
    const time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[40];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "\"%s.%06dZ\"", text, (int)(unix_ms % 1000) * 1000);
}

static void put_head(struct buf *b, const struct ollama_request *q)
{
    buf_puts(b, "{\"model\":");
    json_out_cstr(b, q->name);
    buf_puts(b, ",\"created_at\":");
    ollama_print_time(b, clock_unix_ms());
}

/* Arguments are an object: what the model left open when its tokens ran out is none. Numbers may be larger than ours. */
static bool is_whole(const struct wire_call *c)
{
    json_error_t why;
    if (!c->arguments.len) return true;
    json_t *v =
        json_loadb(c->arguments.data, c->arguments.len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
    const bool whole = json_is_object(v) || (!v && json_error_code(&why) == json_error_numeric_overflow);
    json_decref(v);
    return whole;
}

static void put_call(struct buf *b, const struct wire_call *c, int index)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, c->id);
    buf_printf(b, ",\"function\":{\"index\":%d,\"name\":", index);
    json_out_cstr(b, c->name);
    buf_puts(b, ",\"arguments\":");
    if (c->arguments.len)
        buf_append(b, c->arguments.data, c->arguments.len);
    else
        buf_puts(b, "{}");
    buf_puts(b, "}}");
}

/* The calls from `first` on, as a member behind another; nothing where there is none. */
static void put_calls(struct buf *b, const struct wire_choice *c, int first, int end)
{
    bool any = false;
    for (int i = first; i < end; i++) {
        if (!is_whole(&c->calls[i])) continue;
        buf_puts(b, any ? "," : ",\"tool_calls\":[");
        put_call(b, &c->calls[i], i);
        any = true;
    }
    if (any) buf_putc(b, ']');
}

/* ,"message":{...} of a chat; ,"response":... of /api/generate. Calls from `first` to before `end`. */
static void put_said(struct buf *b, const struct ollama_reply *r, const char *text, size_t len,
                     const char *thought, size_t thought_len, int first, int end)
{
    const bool chat = r->request->chat;
    buf_puts(b, chat ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"response\":");
    json_out_str(b, text, len);
    if (thought_len) {
        buf_puts(b, ",\"thinking\":");
        json_out_str(b, thought, thought_len);
    }
    put_calls(b, &r->said, first, end);
    if (chat) buf_putc(b, '}');
}

/* Calls that are whole by now: all of them, or all but the one that grows. */
static void tell_calls(struct buf *b, struct ollama_reply *r, int end)
{
    bool any = false;
    for (int i = r->n_told; i < end; i++) any |= is_whole(&r->said.calls[i]);
    if (any) {
        put_head(b, r->request);
        put_said(b, r, "", 0, "", 0, r->n_told, end);
        buf_puts(b, ",\"done\":false}\n");
    }
    r->n_told = end;
}

bool ollama_print_piece(struct buf *b, struct ollama_reply *r, const struct reply_event *ev)
{
    if (ev->type == REPLY_CALL) {
        if (!wire_choice_take(&r->said, ev)) return false;
        tell_calls(b, r, r->said.n_calls - 1);
        return true;
    }
    const bool thought = ev->type == REPLY_THOUGHT;
    if (!ev->len) return true;
    tell_calls(b, r, r->said.n_calls);
    put_head(b, r->request);
    put_said(b, r, ev->text, thought ? 0 : ev->len, ev->text, thought ? ev->len : 0, 0, 0);
    buf_puts(b, ",\"done\":false}\n");
    return true;
}

static long long ns(double seconds) { return seconds > 0 ? (long long)(seconds * 1e9) : 0; }

void ollama_print_end(struct buf *b, struct ollama_reply *r, const struct usage *u, bool full)
{
    const struct wire_choice *c = &r->said;
    if (!full) tell_calls(b, r, c->n_calls);
    put_head(b, r->request);
    put_said(b, r, full && c->text.data ? c->text.data : "", full ? c->text.len : 0,
             c->thought.data ? c->thought.data : "", full ? c->thought.len : 0, 0, full ? c->n_calls : 0);
    buf_printf(b,
               ",\"done\":true,\"done_reason\":\"%s\",\"total_duration\":%lld,\"load_duration\":%lld,"
               "\"prompt_eval_count\":%d,\"prompt_eval_duration\":%lld,\"eval_count\":%d,"
               "\"eval_duration\":%lld}",
               c->finish == REPLY_LENGTH ? "length" : "stop", ns(r->total_s), ns(r->load_s), u->prompt_tokens,
               ns(u->prefill_s), u->completion_tokens, ns(u->total_s - u->ttft_s));
    if (!full) buf_putc(b, '\n');
}

void ollama_print_loaded(struct buf *b, const struct ollama_request *q, bool unloaded)
{
    put_head(b, q);
    buf_puts(b, q->chat ? ",\"message\":{\"role\":\"assistant\",\"content\":\"\"}" : ",\"response\":\"\"");
    buf_printf(b, ",\"done\":true,\"done_reason\":\"%s\"}", unloaded ? "unload" : "load");
}
