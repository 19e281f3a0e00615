/* responses.c - what is Responses' own on /v1/responses: an answer as items, whole and as events of a stream, which are numbered. */
#include "http/dialects/responses.h"

#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/json_out.h"

static void print_id(struct buf *b, bool chat, const unsigned char random[16])
{
    (void)chat;
    buf_puts(b, "resp_");
    for (int i = 0; i < 16; i++) buf_printf(b, "%02x", random[i]);
}

/* Both APIs that have responses have their own names for the counts. */
static void put_usage(struct buf *b, const struct wire_reply *r, const struct usage *u)
{
    const int in = u->prompt_tokens, out = u->completion_tokens;
    buf_printf(
        b,
        "{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":%d,\"cache_write_tokens\":0},"
        "\"output_tokens\":%d,\"output_tokens_details\":{\"reasoning_tokens\":%d},\"total_tokens\":%d,"
        "\"prompt_tokens\":%d,\"completion_tokens\":%d",
        in, u->cached_tokens, out, u->reasoning_tokens, in + out, in, out);
    cost_put(b, r->price, u);
    buf_putc(b, '}');
}

static const char *bytes_of(const struct buf *b) { return b->data ? b->data : ""; }

static bool summarised(const struct wire_reply *r)
{
    const json_t *how = json_object_get(r->request->echo, "reasoning");
    return json_is_string(json_object_get(how, "summary")) ||
           json_is_string(json_object_get(how, "generate_summary"));
}

/* ---- items --------------------------------------------------------------------------------------------------------- */

static const char *prefix_of(enum reply_type type)
{
    return type == REPLY_CALL ? "fc" : type == REPLY_THOUGHT ? "rs" : "msg";
}

/* "msg_", the response's digits, and the item's place. */
static void put_item_id(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int i)
{
    buf_printf(b, "\"%s_%s%02x\"", prefix_of(c->parts[i].type), strlen(r->id) > 5 ? r->id + 5 : r->id,
               (unsigned)i);
}

/* The text of a part's own kind, as far as it is said; a call's arguments. */
static void put_said(struct buf *b, const struct wire_choice *c, const struct wire_part *p, bool empty)
{
    if (empty) {
        buf_puts(b, "\"\"");
    } else if (p->type == REPLY_CALL) {
        json_out_str(b, bytes_of(&c->calls[p->from].arguments), c->calls[p->from].arguments.len);
    } else {
        json_out_str(b, bytes_of(p->type == REPLY_THOUGHT ? &c->thought : &c->text) + p->from, p->len);
    }
}

/* What an item's content is made of. */
static void put_part(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int i,
                     bool empty)
{
    const struct wire_part *p = &c->parts[i];
    buf_puts(b, p->type == REPLY_TEXT ? "{\"type\":\"output_text\",\"text\":"
                : summarised(r)       ? "{\"type\":\"summary_text\",\"text\":"
                                      : "{\"type\":\"reasoning_text\",\"text\":");
    put_said(b, c, p, empty);
    buf_puts(b, p->type == REPLY_TEXT ? ",\"annotations\":[],\"logprobs\":[]}" : "}");
}

/* opening: nothing of it is said. */
static void put_item(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int i,
                     const char *status, bool opening)
{
    const struct wire_part *p = &c->parts[i];
    buf_puts(b, "{\"id\":");
    put_item_id(b, r, c, i);
    if (p->type == REPLY_CALL) {
        buf_puts(b, ",\"type\":\"function_call\",\"call_id\":");
        json_out_cstr(b, c->calls[p->from].id);
        buf_puts(b, ",\"name\":");
        json_out_cstr(b, c->calls[p->from].name);
        buf_puts(b, ",\"arguments\":");
        put_said(b, c, p, opening);
    } else {
        const bool thought = p->type == REPLY_THOUGHT, summary = thought && summarised(r);
        buf_puts(b, !thought  ? ",\"type\":\"message\",\"role\":\"assistant\",\"content\":["
                    : summary ? ",\"type\":\"reasoning\",\"summary\":["
                              : ",\"type\":\"reasoning\",\"summary\":[],\"content\":[");
        if (!opening) put_part(b, r, c, i, false);
        buf_putc(b, ']');
    }
    buf_printf(b, ",\"status\":\"%s\"}", status);
}

/* The answer is not whole, and why: NULL, it is. */
static const char *cut_by(enum reply_finish finish)
{
    switch (finish) {
    case REPLY_LENGTH:
    case REPLY_CANCELLED: return "max_output_tokens";
    case REPLY_FILTERED: return "content_filter";
    default: return NULL;
    }
}

/* ---- responses ----------------------------------------------------------------------------------------------------- */

static void put_echo(struct buf *b, const struct wire_reply *r)
{
    const char *key;
    json_t *v;
    json_object_foreach(r->request->echo, key, v)
    {
        char *text = json_memory_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_printf(b, ",\"%s\":", key);
        if (!text) b->failed = true;
        buf_puts(b, text ? text : "null");
        free(text);
    }
}

/* c NULL: it has only begun. */
static void put_response(struct buf *b, const struct wire_reply *r, const struct wire_choice *c,
                         const struct usage *u)
{
    const char *cut = c ? cut_by(c->finish) : NULL;
    const bool failed = c && c->finish == REPLY_FAILED;
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, r->id);
    buf_printf(
        b, ",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"background\":false,\"model\":",
        (long long)r->created,
        !c       ? "in_progress"
        : failed ? "failed"
        : cut    ? "incomplete"
                 : "completed");
    json_out_cstr(b, r->model);
    buf_puts(b, failed ? ",\"error\":{\"code\":\"server_error\",\"message\":\"the model could not go on\"}"
                       : ",\"error\":null");
    buf_puts(b, ",\"incomplete_details\":");
    if (cut)
        buf_printf(b, "{\"reason\":\"%s\"}", cut);
    else
        buf_puts(b, "null");
    buf_puts(b, ",\"output\":[");
    for (int i = 0; c && i < c->n_parts; i++) {
        if (i) buf_putc(b, ',');
        put_item(b, r, c, i, cut && i == c->n_parts - 1 ? "incomplete" : "completed", false);
    }
    buf_putc(b, ']');
    put_echo(b, r);
    if (r->dropped) buf_printf(b, ",\"context_truncated\":{\"dropped_messages\":%d}", r->dropped);
    buf_puts(b, ",\"usage\":");
    if (u)
        put_usage(b, r, u);
    else
        buf_puts(b, "null");
    buf_putc(b, '}');
}

static void print_full(struct buf *b, const struct wire_reply *r, const struct wire_choice *c, int n,
                       const struct usage *u)
{
    (void)n;
    put_response(b, r, c, u);
}

/* ---- streams ------------------------------------------------------------------------------------------------------- */

static void begin_event(struct buf *b, struct wire_growing *g, const char *type)
{
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%lld", type, type,
               (long long)g->sequence++);
}

static void end_event(struct buf *b) { buf_puts(b, "}\n\n"); }

static void response_event(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                           const char *type, const struct wire_choice *c, const struct usage *u)
{
    begin_event(b, g, type);
    buf_puts(b, ",\"response\":");
    put_response(b, r, c, u);
    end_event(b);
}

static void item_event(struct buf *b, const struct wire_reply *r, struct wire_growing *g, const char *type,
                       const char *status, bool opening)
{
    begin_event(b, g, type);
    buf_printf(b, ",\"output_index\":%d,\"item\":", g->n_parts - 1);
    put_item(b, r, g->said, g->n_parts - 1, status, opening);
    end_event(b);
}

/* An event about the content of the open item, up to what it says. */
static void begin_content_event(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                                const char *type)
{
    const enum reply_type kind = g->said->parts[g->n_parts - 1].type;
    begin_event(b, g, type);
    buf_puts(b, ",\"item_id\":");
    put_item_id(b, r, g->said, g->n_parts - 1);
    buf_printf(b, ",\"output_index\":%d", g->n_parts - 1);
    if (kind != REPLY_CALL)
        buf_puts(b, kind == REPLY_THOUGHT && summarised(r) ? ",\"summary_index\":0" : ",\"content_index\":0");
}

static void part_event(struct buf *b, const struct wire_reply *r, struct wire_growing *g, bool opening)
{
    const bool summary = g->said->parts[g->n_parts - 1].type == REPLY_THOUGHT && summarised(r);
    begin_content_event(
        b, r, g,
        summary ? (opening ? "response.reasoning_summary_part.added" : "response.reasoning_summary_part.done")
                : (opening ? "response.content_part.added" : "response.content_part.done"));
    buf_puts(b, ",\"part\":");
    put_part(b, r, g->said, g->n_parts - 1, opening);
    end_event(b);
}

/* "response.output_text.delta" and the like. */
static const char *text_event(const struct wire_reply *r, enum reply_type kind, bool done)
{
    if (kind == REPLY_CALL)
        return done ? "response.function_call_arguments.done" : "response.function_call_arguments.delta";
    if (kind == REPLY_TEXT) return done ? "response.output_text.done" : "response.output_text.delta";
    if (summarised(r))
        return done ? "response.reasoning_summary_text.done" : "response.reasoning_summary_text.delta";
    return done ? "response.reasoning_text.done" : "response.reasoning_text.delta";
}

static void open_item(struct buf *b, const struct wire_reply *r, struct wire_growing *g)
{
    g->n_parts++;
    g->in_part = true;
    item_event(b, r, g, "response.output_item.added", "in_progress", true);
    if (g->said->parts[g->n_parts - 1].type != REPLY_CALL) part_event(b, r, g, true);
}

static void close_item(struct buf *b, const struct wire_reply *r, struct wire_growing *g, const char *status)
{
    if (!g->in_part) return;
    g->in_part = false;
    const struct wire_part *p = &g->said->parts[g->n_parts - 1];
    begin_content_event(b, r, g, text_event(r, p->type, true));
    if (p->type == REPLY_CALL) {
        buf_puts(b, ",\"name\":");
        json_out_cstr(b, g->said->calls[p->from].name);
    }
    buf_puts(b, p->type == REPLY_CALL ? ",\"arguments\":" : ",\"text\":");
    put_said(b, g->said, p, false);
    if (p->type == REPLY_TEXT) buf_puts(b, ",\"logprobs\":[]");
    end_event(b);
    if (p->type != REPLY_CALL) part_event(b, r, g, false);
    item_event(b, r, g, "response.output_item.done", status, false);
}

static void stream_open(struct buf *b, const struct wire_reply *r, struct wire_growing *g, int choice)
{
    (void)choice;
    response_event(b, r, g, "response.created", NULL, NULL);
    response_event(b, r, g, "response.in_progress", NULL, NULL);
}

static void stream_piece(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                         const struct reply_event *ev)
{
    if (g->said->n_parts > g->n_parts) {
        close_item(b, r, g, "completed");
        open_item(b, r, g);
    }
    if (!ev->len || !g->in_part) return;
    begin_content_event(b, r, g, text_event(r, ev->type, false));
    buf_puts(b, ",\"delta\":");
    json_out_str(b, ev->text, ev->len);
    if (ev->type == REPLY_TEXT) buf_puts(b, ",\"logprobs\":[]");
    end_event(b);
}

static void stream_end(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                       const struct reply_event *ev, const char *raw_output)
{
    (void)raw_output;
    close_item(b, r, g, cut_by(ev->finish) ? "incomplete" : "completed");
}

static void stream_usage(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                         const struct usage *u)
{
    const enum reply_finish finish = g->said->finish;
    response_event(b, r, g,
                   cut_by(finish)           ? "response.incomplete"
                   : finish == REPLY_FAILED ? "response.failed"
                                            : "response.completed",
                   g->said, u);
}

static void stream_done(struct buf *b, const struct wire_reply *r, struct wire_growing *g)
{
    (void)b; /* the last event has said it */
    (void)r;
    (void)g;
}

static void stream_fault(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                         enum fault_kind kind, const char *message)
{
    (void)r;
    begin_event(b, g, "error");
    buf_puts(b, ",\"code\":");
    json_out_cstr(b, fault_name(kind));
    buf_puts(b, ",\"message\":");
    json_out_cstr(b, message);
    buf_puts(b, ",\"param\":null");
    end_event(b);
}

static const struct wire_printer printer = { .full = print_full,
                                             .open = stream_open,
                                             .piece = stream_piece,
                                             .end = stream_end,
                                             .usage = stream_usage,
                                             .done = stream_done,
                                             .fault = stream_fault,
                                             .keeps = true };

const struct wire_style responses_style = { .dialect = DIALECT_OPENAI,
                                            .parse = responses_parse,
                                            .printer = &printer,
                                            .chat_max_tokens = -1,
                                            .overflow = OVERFLOW_ERROR,
                                            .id = print_id };

const struct wire_style responses_count_style = { .dialect = DIALECT_OPENAI,
                                                  .parse = responses_parse_count,
                                                  .printer = &printer,
                                                  .chat_max_tokens = -1,
                                                  .overflow = OVERFLOW_ERROR,
                                                  .id = print_id };
