/* stream.c - a reply as events of a stream, chunk by chunk, as far as both dialects agree. */
#include "http/dialects/wire.h"
#include "http/json_out.h"

static void open_chunk(struct buf *b, const struct wire_reply *r)
{
    buf_puts(b, "data: ");
    wire_put_head(b, r, r->request->chat ? "chat.completion.chunk" : "text_completion");
}

/* Behind the choices: usage, or where it would be. */
static void close_chunk(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    const struct wire_request *w = r->request;
    buf_putc(b, ']');
    if (u) {
        buf_puts(b, ",\"usage\":");
        wire_put_usage(b, r, u);
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
        const struct tool_set *tools = &r->request->gen.tools;
        r->request->style->first_delta(b, tools->n && tools->choice != TOOL_NEVER);
        buf_puts(b, ",\"logprobs\":null,\"finish_reason\":null}");
    }
    close_chunk(b, r, NULL);
    if (first) wire_put_prompt_facts(b, r);
    end_event(b);
}

static void print_delta(struct buf *b, const struct wire_request *w, const struct reply_event *ev,
                        const struct wire_piece *p)
{
    const bool legacy = w->gen.tools.legacy, thought = ev->type == REPLY_THOUGHT;
    if (ev->type != REPLY_CALL) {
        buf_putc(b, '{');
        if (p->len || !p->n_tokens) { /* tokens may come without a text; "" would be one */
            buf_printf(b, "\"%s\":", thought ? wire_thought_name(w) : "content");
            json_out_str(b, p->text, p->len);
        }
        buf_putc(b, '}');
        return;
    }
    /* Clients join what they get, so that id and name are said once. */
    if (legacy)
        buf_puts(b, "{\"function_call\":");
    else
        buf_printf(b, "{\"tool_calls\":[{\"index\":%d,", ev->call.index);
    if (ev->call.name && legacy)
        wire_open_function(b, ev->call.name);
    else if (ev->call.name)
        wire_open_call(b, ev->call.id, ev->call.name);
    else
        buf_puts(b, legacy ? "{\"arguments\":" : "\"function\":{\"arguments\":");
    json_out_str(b, p->text, p->len);
    buf_puts(b, legacy ? "}}" : "}}]}");
}

static void put_piece(struct buf *b, const struct wire_reply *r, const struct reply_event *ev,
                      const struct wire_piece *p)
{
    open_chunk(b, r);
    buf_printf(b, "{\"index\":%d,", ev->index);
    if (r->request->chat) {
        buf_puts(b, "\"delta\":");
        print_delta(b, r->request, ev, p);
    } else {
        buf_puts(b, "\"text\":");
        json_out_str(b, p->text, p->len);
    }
    buf_puts(b, ",\"logprobs\":");
    wire_logprobs(b, r->request, r->tokenizer, p);
    wire_put_token_ids(b, r, p->tokens, p->n_tokens);
    buf_puts(b, ",\"finish_reason\":null}");
    close_chunk(b, r, NULL);
    end_event(b);
}

void wire_stream_piece(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                       const struct reply_event *ev)
{
    const struct wire_piece p = { .text = ev->text ? ev->text : "",
                                  .len = ev->len,
                                  .tokens = ev->tokens,
                                  .n_tokens = (size_t)ev->n_tokens,
                                  .bytes_before = g->bytes,
                                  .chars_before = g->chars };
    if (!p.len && !p.n_tokens && !ev->call.name) return;
    /* The older form has a place for one call. */
    if (ev->type == REPLY_CALL && ev->call.index && r->request->gen.tools.legacy) return;
    put_piece(b, r, ev, &p);
    g->answered |= ev->type == REPLY_CALL || (ev->type == REPLY_TEXT && p.len);
    if (ev->type != REPLY_TEXT) return;
    g->bytes += p.len;
    g->chars += wire_chars(p.text, p.len);
}

void wire_stream_end(struct buf *b, const struct wire_reply *r, const struct wire_growing *g,
                     const struct reply_event *ev, const char *raw_output)
{
    const struct wire_request *w = r->request;
    if (w->chat && !g->answered) { /* an empty text is not a missing one */
        const struct reply_event nothing = { .type = REPLY_TEXT, .index = ev->index };
        put_piece(b, r, &nothing, &(struct wire_piece){ .text = "" });
    }
    open_chunk(b, r);
    buf_printf(b, "{\"index\":%d,%s,\"logprobs\":null,", ev->index,
               w->chat ? "\"delta\":{}" : "\"text\":\"\"");
    if (raw_output) {
        buf_puts(b, "\"raw_output\":");
        buf_puts(b, raw_output);
        buf_putc(b, ',');
    }
    buf_puts(b, "\"finish_reason\":");
    json_out_cstr(b, wire_finish_reason(w, ev->finish));
    buf_putc(b, '}');
    close_chunk(b, r, w->style->usage_in_last_chunk && w->stream_usage != USAGE_OFF ? &ev->usage : NULL);
    if (w->perf_in_body) wire_put_perf(b, &ev->usage);
    end_event(b);
}

void wire_event_usage(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    if (r->request->stream_usage != USAGE_ON) return;
    open_chunk(b, r);
    close_chunk(b, r, u);
    end_event(b);
}

void wire_event_fault(struct buf *b, const struct wire_request *w, enum fault_kind kind, const char *message)
{
    buf_puts(b, "data: ");
    fault_print(b, w->style->dialect, kind, NULL, message);
    buf_puts(b, "\n\n");
}

/* ---- as a printer -------------------------------------------------------------------------------------------------- */

static void open_choice(struct buf *b, const struct wire_reply *r, struct wire_growing *g, int choice)
{
    (void)g;
    wire_event_open(b, r, choice);
}

static void end_choice(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                       const struct reply_event *ev, const char *raw_output)
{
    wire_stream_end(b, r, g, ev, raw_output);
}

static void say_usage(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                      const struct usage *u)
{
    (void)g;
    wire_event_usage(b, r, u);
}

static void say_done(struct buf *b, const struct wire_reply *r, struct wire_growing *g)
{
    (void)r;
    (void)g;
    buf_puts(b, "data: [DONE]\n\n");
}

static void say_fault(struct buf *b, const struct wire_reply *r, struct wire_growing *g, enum fault_kind kind,
                      const char *message)
{
    (void)g;
    wire_event_fault(b, r->request, kind, message);
}

const struct wire_printer chunk_printer = { .full = wire_print_full,
                                            .open = open_choice,
                                            .piece = wire_stream_piece,
                                            .end = end_choice,
                                            .usage = say_usage,
                                            .done = say_done,
                                            .fault = say_fault };
