/* print.c - replies and chunks, as far as both dialects agree; where they do not, their wire_style is asked. */
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "http/dialects/wire.h"
#include "http/json_out.h"

void wire_reply_init(struct wire_reply *r, const struct wire_request *w, const char *model,
                     const struct tokenizer *t)
{
    unsigned char random[16];
    struct buf id = BUF_INIT(sizeof r->id - 1);
    *r = (struct wire_reply){
        .request = w, .model = model, .tokenizer = t, .created = clock_unix_ms() / 1000
    };
    rng_os(random, sizeof random);
    w->style->id(&id, w->chat, random);
    if (id.data) memcpy(r->id, id.data, id.len + 1);
    buf_free(&id);
}

const char *wire_finish_reason(const struct wire_request *w, enum reply_finish finish)
{
    const struct tool_set *t = &w->gen.tools;
    switch (finish) {
    case REPLY_LENGTH: return "length";
    case REPLY_CALLS:
        if (t->choice == TOOL_NAMED && w->style->stop_when_named) return "stop";
        return t->legacy ? "function_call" : "tool_calls";
    case REPLY_FAILED: return "error";
    case REPLY_FILTERED: return "content_filter";
    default: return "stop";
    }
}

void wire_put_head(struct buf *b, const struct wire_reply *r, const char *object)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, r->id);
    buf_printf(b, ",\"object\":\"%s\",\"created\":%lld,\"model\":", object, (long long)r->created);
    json_out_cstr(b, r->model);
    buf_puts(b, ",\"choices\":[");
}

void wire_put_usage(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    buf_printf(b,
               "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,\"prompt_tokens_details\":"
               "{\"cached_tokens\":%d}",
               u->prompt_tokens, u->completion_tokens, u->prompt_tokens + u->completion_tokens,
               u->cached_tokens);
    if (r->request->style->usage_details) r->request->style->usage_details(b, u);
    cost_put(b, r->price, u);
    buf_putc(b, '}');
}

void wire_put_perf(struct buf *b, const struct usage *u)
{
    buf_printf(b,
               ",\"perf_metrics\":{\"prompt-tokens\":%d,\"cached-prompt-tokens\":%d,\"server-time-to-first-"
               "token\":%.4f,\"server-processing-time\":%.4f,\"prefill-queue-duration\":%.4f,\"prefill-"
               "duration\":%.4f,\"generation-duration\":%.4f}",
               u->prompt_tokens, u->cached_tokens, u->ttft_s, u->total_s, u->queue_s, u->prefill_s,
               u->total_s > u->ttft_s ? u->total_s - u->ttft_s : 0);
}

static void print_ids(struct buf *b, const char *name, const int32_t *ids, size_t n)
{
    buf_printf(b, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) buf_printf(b, "%s%d", i ? "," : "", ids[i]);
    buf_putc(b, ']');
}

void wire_put_token_ids(struct buf *b, const struct wire_reply *r, const struct reply_token *t, size_t n)
{
    if (!r->request->gen.return_token_ids) return;
    bool first = true;
    buf_puts(b, ",\"token_ids\":[");
    for (size_t i = 0; i < n; i++) {
        if (t[i].from_prompt) continue;
        buf_printf(b, "%s%d", first ? "" : ",", t[i].id);
        first = false;
    }
    buf_putc(b, ']');
}

/* Members that say how the prompt came to be: once a reply. */
void wire_put_prompt_facts(struct buf *b, const struct wire_reply *r)
{
    if (r->dropped) buf_printf(b, ",\"context_truncated\":{\"dropped_messages\":%d}", r->dropped);
    if (r->request->gen.return_token_ids && r->prompt_ids)
        print_ids(b, "prompt_token_ids", r->prompt_ids, r->n_prompt_ids);
}

/* ---- full replies -------------------------------------------------------------------------------------------------- */

static void put_text(struct buf *b, const struct buf *text)
{
    json_out_str(b, text->data ? text->data : "", text->len);
}

void wire_open_function(struct buf *b, const char *name)
{
    buf_puts(b, "{\"name\":");
    json_out_cstr(b, name);
    buf_puts(b, ",\"arguments\":");
}

/* What a call is, up to its arguments: ..., "function":{"name":...,"arguments": */
void wire_open_call(struct buf *b, const char *id, const char *name)
{
    buf_puts(b, "\"id\":");
    json_out_cstr(b, id);
    buf_puts(b, ",\"type\":\"function\",\"function\":");
    wire_open_function(b, name);
}

const char *wire_thought_name(const struct wire_request *w)
{
    return w->thought_name ? w->thought_name : "reasoning_content";
}

static void print_calls(struct buf *b, const struct wire_choice *c, bool legacy)
{
    if (legacy) {
        buf_puts(b, ",\"function_call\":");
        wire_open_function(b, c->calls[0].name);
        put_text(b, &c->calls[0].arguments);
        buf_putc(b, '}');
        return;
    }
    for (int i = 0; i < c->n_calls; i++) {
        buf_puts(b, i ? ",{" : ",\"tool_calls\":[{");
        wire_open_call(b, c->calls[i].id, c->calls[i].name);
        put_text(b, &c->calls[i].arguments);
        buf_puts(b, "}}");
    }
    buf_putc(b, ']');
}

/* Members that are not there do not appear: clients ask whether there is a "tool_calls" and then walk through it. */
static void print_message(struct buf *b, const struct wire_reply *r, const struct wire_choice *c)
{
    buf_puts(b, "\"message\":{\"role\":\"assistant\",\"content\":");
    if (c->n_calls && !c->text.len)
        buf_puts(b, "null");
    else
        put_text(b, &c->text);
    if (c->thought.len) {
        buf_printf(b, ",\"%s\":", wire_thought_name(r->request));
        put_text(b, &c->thought);
    }
    if (c->n_calls) print_calls(b, c, r->request->gen.tools.legacy);
    if (r->request->style->message_extras) r->request->style->message_extras(b);
    buf_putc(b, '}');
}

static void print_choice(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int i)
{
    const struct wire_request *w = r->request;
    const struct wire_piece all = { .text = c->text.data ? c->text.data : "",
                                    .len = c->text.len,
                                    .tokens = c->tokens,
                                    .n_tokens = c->n_tokens };
    buf_printf(b, "{\"index\":%d,", i);
    if (w->chat) {
        print_message(b, r, c);
    } else {
        buf_puts(b, "\"text\":");
        put_text(b, &c->text);
    }
    buf_puts(b, ",\"logprobs\":");
    wire_logprobs(b, w, r->tokenizer, &all);
    wire_put_token_ids(b, r, c->tokens, c->n_tokens);
    if (c->raw_output) {
        buf_puts(b, ",\"raw_output\":");
        buf_puts(b, c->raw_output);
    }
    buf_puts(b, ",\"finish_reason\":");
    json_out_cstr(b, wire_finish_reason(w, c->finish));
    buf_putc(b, '}');
}

void wire_print_full(struct buf *b, const struct wire_reply *r, const struct wire_choice *choice, int n,
                     const struct usage *u)
{
    const struct wire_request *w = r->request;
    wire_put_head(b, r, w->chat ? "chat.completion" : "text_completion");
    for (int i = 0; i < n; i++) {
        if (i) buf_putc(b, ',');
        print_choice(b, r, &choice[i], i);
    }
    buf_puts(b, "],\"usage\":");
    wire_put_usage(b, r, u);
    if (w->style->reply_extras) w->style->reply_extras(b);
    if (w->perf_in_body) wire_put_perf(b, u);
    wire_put_prompt_facts(b, r);
    buf_putc(b, '}');
}
