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

const char *wire_finish_reason(enum reply_finish finish)
{
    switch (finish) {
    case REPLY_LENGTH: return "length";
    case REPLY_CALLS: return "tool_calls";
    case REPLY_FAILED: return "error";
    default: return "stop";
    }
}

static void print_head(struct buf *b, const struct wire_reply *r, const char *object)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, r->id);
    buf_printf(b, ",\"object\":\"%s\",\"created\":%lld,\"model\":", object, (long long)r->created);
    json_out_cstr(b, r->model);
    buf_puts(b, ",\"choices\":[");
}

static void print_usage(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    buf_printf(b,
               "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,\"prompt_tokens_details\":"
               "{\"cached_tokens\":%d}",
               u->prompt_tokens, u->completion_tokens, u->prompt_tokens + u->completion_tokens,
               u->cached_tokens);
    if (r->request->style->usage_details) r->request->style->usage_details(b, u);
    buf_putc(b, '}');
}

/* Keys and values of section perf_metrics, as JSON members without braces. */
static void wire_perf_metrics(struct buf *b, const struct usage *u, bool finished)
{
    buf_printf(b, "\"prompt-tokens\":%d,\"cached-prompt-tokens\":%d,\"server-time-to-first-token\":%.4f",
               u->prompt_tokens, u->cached_tokens, u->ttft_s);
    if (finished)
        buf_printf(b,
                   ",\"server-processing-time\":%.4f,\"prefill-queue-duration\":%.4f,\"prefill-duration\":%."
                   "4f,\"generation-duration\":%.4f",
                   u->total_s, u->queue_s, u->prefill_s, u->total_s > u->ttft_s ? u->total_s - u->ttft_s : 0);
}

static void print_ids(struct buf *b, const char *name, const int32_t *ids, size_t n)
{
    buf_printf(b, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) buf_printf(b, "%s%d", i ? "," : "", ids[i]);
    buf_putc(b, ']');
}

static void print_token_ids(struct buf *b, const struct wire_reply *r, const struct wire_piece *p)
{
    if (!r->request->gen.return_token_ids) return;
    bool first = true;
    buf_puts(b, ",\"token_ids\":[");
    for (size_t i = 0; i < p->n_tokens; i++) {
        if (p->tokens[i].from_prompt) continue;
        buf_printf(b, "%s%d", first ? "" : ",", p->tokens[i].id);
        first = false;
    }
    buf_putc(b, ']');
}

/* Members that say how the prompt came to be: once a reply. */
static void print_prompt_facts(struct buf *b, const struct wire_reply *r)
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

/* What a call is, up to its arguments: {..., "function":{"name":...,"arguments": */
static void open_call(struct buf *b, const char *id, const char *name)
{
    buf_puts(b, "\"id\":");
    json_out_cstr(b, id);
    buf_puts(b, ",\"type\":\"function\",\"function\":{\"name\":");
    json_out_cstr(b, name);
    buf_puts(b, ",\"arguments\":");
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
        buf_puts(b, ",\"reasoning_content\":");
        put_text(b, &c->thought);
    }
    for (int i = 0; i < c->n_calls; i++) {
        buf_puts(b, i ? ",{" : ",\"tool_calls\":[{");
        open_call(b, c->calls[i].id, c->calls[i].name);
        put_text(b, &c->calls[i].arguments);
        buf_puts(b, "}}");
    }
    if (c->n_calls) buf_putc(b, ']');
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
    print_token_ids(b, r, &all);
    if (c->raw_output) {
        buf_puts(b, ",\"raw_output\":");
        buf_puts(b, c->raw_output);
    }
    buf_puts(b, ",\"finish_reason\":");
    json_out_cstr(b, wire_finish_reason(c->finish));
    buf_putc(b, '}');
}

void wire_print_full(struct buf *b, const struct wire_reply *r, const struct wire_choice *choice, int n,
                     const struct usage *u)
{
    const struct wire_request *w = r->request;
    print_head(b, r, w->chat ? "chat.completion" : "text_completion");
    for (int i = 0; i < n; i++) {
        if (i) buf_putc(b, ',');
        print_choice(b, r, &choice[i], i);
    }
    buf_puts(b, "],\"usage\":");
    print_usage(b, r, u);
    if (w->style->reply_extras) w->style->reply_extras(b);
    if (w->perf_in_body) {
        buf_puts(b, ",\"perf_metrics\":{");
        wire_perf_metrics(b, u, true);
        buf_putc(b, '}');
    }
    print_prompt_facts(b, r);
    buf_putc(b, '}');
}

/* ---- chunks -------------------------------------------------------------------------------------------------------- */

static void open_chunk(struct buf *b, const struct wire_reply *r)
{
    buf_puts(b, "data: ");
    print_head(b, r, r->request->chat ? "chat.completion.chunk" : "text_completion");
}

/* Behind the choices: usage, or where it would be. */
static void close_chunk(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    const struct wire_request *w = r->request;
    buf_putc(b, ']');
    if (u) {
        buf_puts(b, ",\"usage\":");
        print_usage(b, r, u);
    } else if (w->stream_usage == USAGE_ON ||
               (w->style->usage_in_last_chunk && w->stream_usage != USAGE_OFF)) {
        buf_puts(b, ",\"usage\":null");
    }
}

static void end_event(struct buf *b) { buf_puts(b, "}\n\n"); }

void wire_event_open(struct buf *b, const struct wire_reply *r, int choice)
{
    bool first = choice == 0, has_facts = r->dropped || r->request->gen.return_token_ids;
    if (!r->request->chat && !(first && has_facts)) return;
    open_chunk(b, r);
    if (r->request->chat) {
        buf_printf(b, "{\"index\":%d,\"delta\":", choice);
        r->request->style->first_delta(b);
        buf_puts(b, ",\"logprobs\":null,\"finish_reason\":null}");
    }
    close_chunk(b, r, NULL);
    if (first) print_prompt_facts(b, r);
    end_event(b);
}

static void print_delta(struct buf *b, const struct reply_event *ev, const struct wire_piece *p)
{
    if (ev->type != REPLY_CALL) {
        buf_puts(b, ev->type == REPLY_THOUGHT ? "{\"reasoning_content\":" : "{\"content\":");
        json_out_str(b, p->text, p->len);
        buf_putc(b, '}');
        return;
    }
    /* Clients join what they get, so that id and name are said once. */
    buf_printf(b, "{\"tool_calls\":[{\"index\":%d,", ev->call.index);
    if (ev->call.name)
        open_call(b, ev->call.id, ev->call.name);
    else
        buf_puts(b, "\"function\":{\"arguments\":");
    json_out_str(b, p->text, p->len);
    buf_puts(b, "}}]}");
}

void wire_event_piece(struct buf *b, const struct wire_reply *r, const struct reply_event *ev,
                      const struct wire_piece *p)
{
    open_chunk(b, r);
    buf_printf(b, "{\"index\":%d,", ev->index);
    if (r->request->chat) {
        buf_puts(b, "\"delta\":");
        print_delta(b, ev, p);
    } else {
        buf_puts(b, "\"text\":");
        json_out_str(b, p->text, p->len);
    }
    buf_puts(b, ",\"logprobs\":");
    wire_logprobs(b, r->request, r->tokenizer, p);
    print_token_ids(b, r, p);
    buf_puts(b, ",\"finish_reason\":null}");
    close_chunk(b, r, NULL);
    end_event(b);
}

void wire_event_end(struct buf *b, const struct wire_reply *r, int choice, const char *finish_reason,
                    const char *raw_output, const struct usage *u)
{
    const struct wire_request *w = r->request;
    open_chunk(b, r);
    buf_printf(b, "{\"index\":%d,%s,\"logprobs\":null,", choice, w->chat ? "\"delta\":{}" : "\"text\":\"\"");
    if (raw_output) {
        buf_puts(b, "\"raw_output\":");
        buf_puts(b, raw_output);
        buf_putc(b, ',');
    }
    buf_puts(b, "\"finish_reason\":");
    json_out_cstr(b, finish_reason);
    buf_putc(b, '}');
    close_chunk(b, r, w->style->usage_in_last_chunk && w->stream_usage != USAGE_OFF ? u : NULL);
    if (w->perf_in_body) {
        buf_puts(b, ",\"perf_metrics\":{");
        wire_perf_metrics(b, u, true);
        buf_putc(b, '}');
    }
    end_event(b);
}

void wire_event_usage(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    if (r->request->stream_usage != USAGE_ON) return;
    open_chunk(b, r);
    close_chunk(b, r, u);
    end_event(b);
}

void wire_event_done(struct buf *b) { buf_puts(b, "data: [DONE]\n\n"); }

void wire_event_fault(struct buf *b, const struct wire_request *w, enum fault_kind kind, const char *message)
{
    buf_puts(b, "data: ");
    fault_print(b, w->style->dialect, kind, NULL, message);
    buf_puts(b, "\n\n");
}
