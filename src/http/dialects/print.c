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

const char *wire_finish_reason(enum lm_finish finish)
{
    switch (finish) {
    case LM_FINISH_LENGTH: return "length";
    case LM_FINISH_ERROR: return "error";
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

static void print_usage(struct buf *b, const struct wire_reply *r, const struct lm_usage *u)
{
    buf_printf(b,
               "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,\"prompt_tokens_details\":"
               "{\"cached_tokens\":%d}",
               u->prompt_tokens, u->completion_tokens, u->prompt_tokens + u->completion_tokens,
               u->cached_tokens);
    if (r->request->style->usage_details) r->request->style->usage_details(b, u);
    buf_putc(b, '}');
}

void wire_perf_metrics(struct buf *b, const struct lm_usage *u, bool finished)
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

static void print_choice(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int i)
{
    const struct wire_request *w = r->request;
    buf_printf(b, "{\"index\":%d,", i);
    if (w->chat) {
        buf_puts(b, "\"message\":{\"role\":\"assistant\",\"content\":");
        json_out_str(b, c->all.text, c->all.len);
        if (w->style->message_extras) w->style->message_extras(b);
        buf_putc(b, '}');
    } else {
        buf_puts(b, "\"text\":");
        json_out_str(b, c->all.text, c->all.len);
    }
    buf_puts(b, ",\"logprobs\":");
    wire_logprobs(b, w, r->tokenizer, &c->all);
    print_token_ids(b, r, &c->all);
    if (c->raw_output) {
        buf_puts(b, ",\"raw_output\":");
        buf_puts(b, c->raw_output);
    }
    buf_puts(b, ",\"finish_reason\":");
    json_out_cstr(b, c->finish_reason);
    buf_putc(b, '}');
}

void wire_print_full(struct buf *b, const struct wire_reply *r, const struct wire_choice *choice, int n,
                     const struct lm_usage *u)
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
static void close_chunk(struct buf *b, const struct wire_reply *r, const struct lm_usage *u)
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

void wire_event_text(struct buf *b, const struct wire_reply *r, int choice, const struct wire_piece *p)
{
    open_chunk(b, r);
    buf_printf(b, "{\"index\":%d,%s", choice, r->request->chat ? "\"delta\":{\"content\":" : "\"text\":");
    json_out_str(b, p->text, p->len);
    if (r->request->chat) buf_putc(b, '}');
    buf_puts(b, ",\"logprobs\":");
    wire_logprobs(b, r->request, r->tokenizer, p);
    print_token_ids(b, r, p);
    buf_puts(b, ",\"finish_reason\":null}");
    close_chunk(b, r, NULL);
    end_event(b);
}

void wire_event_end(struct buf *b, const struct wire_reply *r, int choice, const char *finish_reason,
                    const char *raw_output, const struct lm_usage *u)
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

void wire_event_usage(struct buf *b, const struct wire_reply *r, const struct lm_usage *u)
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
