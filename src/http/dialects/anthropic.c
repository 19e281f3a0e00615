/* anthropic.c - what is Anthropic's own on /v1/messages: an answer as blocks, whole and as events of a stream. */
#include "http/dialects/anthropic.h"

#include <sodium.h>
#include <string.h>

#include "http/json_out.h"

static void print_id(struct buf *b, bool chat, const unsigned char random[16])
{
    (void)chat;
    buf_puts(b, "msg_");
    for (int i = 0; i < 16; i++) buf_printf(b, "%02x", random[i]);
}

/* Tokens that came out of the cache are not counted as input there. */
static void put_usage(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    buf_printf(b,
               "{\"input_tokens\":%d,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%d,"
               "\"output_tokens\":%d,\"output_tokens_details\":{\"thinking_tokens\":%d}",
               u->prompt_tokens - u->cached_tokens, u->cached_tokens, u->completion_tokens,
               u->reasoning_tokens);
    cost_put(b, r->price, u);
    buf_putc(b, '}');
}

static const char *stop_reason(enum reply_finish finish, const char *stop_hit)
{
    switch (finish) {
    case REPLY_LENGTH: return "max_tokens";
    case REPLY_CALLS: return "tool_use";
    case REPLY_FILTERED:
    case REPLY_FAILED: return "refusal"; /* nobody is to take it for whole */
    default: return stop_hit ? "stop_sequence" : "end_turn";
    }
}

static void put_stop(struct buf *b, enum reply_finish finish, const char *stop_hit)
{
    buf_printf(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_reason(finish, stop_hit));
    json_out_cstr(b, stop_hit);
}

/* What clients send back with a thought: here it says only which text it belongs to. */
static void put_signature(struct buf *b, const char *thought, size_t len)
{
    unsigned char hash[32];
    crypto_generichash(hash, sizeof hash, (const unsigned char *)thought, len, NULL, 0);
    buf_putc(b, '"');
    json_out_base64(b, hash, sizeof hash);
    buf_putc(b, '"');
}

static const char *bytes_of(const struct buf *b) { return b->data ? b->data : ""; }

/* Arguments as the object that they are; of a call that was cut off, the empty one. */
static void put_input(struct buf *b, const struct buf *arguments)
{
    json_error_t why;
    json_t *v = json_loadb(bytes_of(arguments), arguments->len, JSON_DECODE_INT_AS_REAL, &why);
    const bool whole =
        json_is_object(v) || (!v && json_error_code(&why) == json_error_numeric_overflow && arguments->len);
    json_decref(v);
    if (whole)
        buf_append(b, arguments->data, arguments->len);
    else
        buf_puts(b, "{}");
}

/* ---- full replies -------------------------------------------------------------------------------------------------- */

static void put_block(struct buf *b, const struct wire_choice *c, const struct wire_part *p)
{
    if (p->type == REPLY_CALL) {
        buf_puts(b, "{\"type\":\"tool_use\",\"id\":");
        json_out_cstr(b, c->calls[p->from].id);
        buf_puts(b, ",\"name\":");
        json_out_cstr(b, c->calls[p->from].name);
        buf_puts(b, ",\"input\":");
        put_input(b, &c->calls[p->from].arguments);
    } else if (p->type == REPLY_THOUGHT) {
        const char *thought = bytes_of(&c->thought) + p->from;
        buf_puts(b, "{\"type\":\"thinking\",\"thinking\":");
        json_out_str(b, thought, p->len);
        buf_puts(b, ",\"signature\":");
        put_signature(b, thought, p->len);
    } else {
        buf_puts(b, "{\"type\":\"text\",\"text\":");
        json_out_str(b, bytes_of(&c->text) + p->from, p->len);
    }
    buf_putc(b, '}');
}

static void put_message(struct buf *b, const struct wire_reply *r)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, r->id);
    buf_puts(b, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    json_out_cstr(b, r->model);
    buf_puts(b, ",\"content\":[");
}

static void print_full(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int n,
                       const struct usage *u)
{
    (void)n;
    put_message(b, r);
    for (int i = 0; i < c->n_parts; i++) {
        if (i) buf_putc(b, ',');
        put_block(b, c, &c->parts[i]);
    }
    buf_puts(b, "],");
    put_stop(b, c->finish, c->stop_hit);
    buf_puts(b, ",\"usage\":");
    put_usage(b, r, u);
    buf_putc(b, '}');
}

/* ---- streams ------------------------------------------------------------------------------------------------------- */

static void begin_event(struct buf *b, const char *type)
{
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(struct buf *b) { buf_puts(b, "}\n\n"); }

static void stream_open(struct buf *b, const struct wire_reply *r, struct wire_growing *g, int choice)
{
    (void)g;
    (void)choice;
    const struct usage u = { .prompt_tokens = (int)r->n_prompt_ids };
    begin_event(b, "message_start");
    buf_puts(b, ",\"message\":");
    put_message(b, r);
    buf_puts(b, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    put_usage(b, r, &u);
    buf_putc(b, '}');
    end_event(b);
    begin_event(b, "ping");
    end_event(b);
}

static void begin_block_event(struct buf *b, const char *type, const struct wire_growing *g)
{
    begin_event(b, type);
    buf_printf(b, ",\"index\":%d", g->n_parts - 1);
}

static void close_block(struct buf *b, struct wire_growing *g)
{
    if (!g->in_part) return;
    g->in_part = false;
    const struct wire_part *p = &g->said->parts[g->n_parts - 1];
    if (p->type == REPLY_THOUGHT) {
        begin_block_event(b, "content_block_delta", g);
        buf_puts(b, ",\"delta\":{\"type\":\"signature_delta\",\"signature\":");
        put_signature(b, bytes_of(&g->said->thought) + p->from, p->len);
        buf_putc(b, '}');
        end_event(b);
    }
    begin_block_event(b, "content_block_stop", g);
    end_event(b);
}

static void open_block(struct buf *b, struct wire_growing *g)
{
    const struct wire_part *p = &g->said->parts[g->n_parts++];
    g->in_part = true;
    begin_block_event(b, "content_block_start", g);
    buf_puts(b, ",\"content_block\":{\"type\":");
    if (p->type == REPLY_CALL) {
        buf_puts(b, "\"tool_use\",\"id\":");
        json_out_cstr(b, g->said->calls[p->from].id);
        buf_puts(b, ",\"name\":");
        json_out_cstr(b, g->said->calls[p->from].name);
        buf_puts(b, ",\"input\":{}}");
    } else {
        buf_puts(b, p->type == REPLY_THOUGHT ? "\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"
                                             : "\"text\",\"text\":\"\"}");
    }
    end_event(b);
}

static void stream_piece(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                         const struct reply_event *ev)
{
    (void)r;
    if (g->said->n_parts > g->n_parts) {
        close_block(b, g);
        open_block(b, g);
    }
    if (!ev->len || !g->in_part) return;
    begin_block_event(b, "content_block_delta", g);
    buf_puts(b, ev->type == REPLY_CALL      ? ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":"
                : ev->type == REPLY_THOUGHT ? ",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":"
                                            : ",\"delta\":{\"type\":\"text_delta\",\"text\":");
    json_out_str(b, ev->text, ev->len);
    buf_putc(b, '}');
    end_event(b);
}

static void stream_end(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                       const struct reply_event *ev, const char *raw_output)
{
    (void)raw_output;
    close_block(b, g);
    begin_event(b, "message_delta");
    buf_puts(b, ",\"delta\":{");
    put_stop(b, ev->finish, ev->stop_hit);
    buf_puts(b, "},\"usage\":");
    put_usage(b, r, &ev->usage);
    end_event(b);
}

static void stream_usage(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                         const struct usage *u)
{
    (void)b; /* said at the end of the message */
    (void)r;
    (void)g;
    (void)u;
}

static void stream_done(struct buf *b, const struct wire_reply *r, struct wire_growing *g)
{
    (void)r;
    (void)g;
    begin_event(b, "message_stop");
    end_event(b);
}

static void stream_fault(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                         enum fault_kind kind, const char *message)
{
    (void)r;
    (void)g;
    buf_puts(b, "event: error\ndata: ");
    fault_print(b, DIALECT_ANTHROPIC, kind, NULL, message);
    buf_puts(b, "\n\n");
}

static const struct wire_printer printer = { .full = print_full,
                                             .open = stream_open,
                                             .piece = stream_piece,
                                             .end = stream_end,
                                             .usage = stream_usage,
                                             .done = stream_done,
                                             .fault = stream_fault,
                                             .keeps = true };

/* A client asks for as much as the largest model of the service has, where a model here may have less: what fits is given. */
const struct wire_style anthropic_style = { .dialect = DIALECT_ANTHROPIC,
                                            .parse = anthropic_parse,
                                            .printer = &printer,
                                            .chat_max_tokens = -1,
                                            .overflow = OVERFLOW_LOWER,
                                            .id = print_id };

const struct wire_style anthropic_count_style = { .dialect = DIALECT_ANTHROPIC,
                                                  .parse = anthropic_parse_count,
                                                  .printer = &printer,
                                                  .chat_max_tokens = -1,
                                                  .overflow = OVERFLOW_LOWER,
                                                  .id = print_id };
