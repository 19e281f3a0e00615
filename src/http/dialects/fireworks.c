/* fireworks.c - what is Fireworks' own on /inference/v1: bare UUIDs, its defaults, usage in the last chunk. */
#include "http/dialects/wire.h"

static void print_id(struct buf *b, bool chat, const unsigned char r[16])
{
    (void)chat;
    /* RFC 9562, version 4 */
    for (int i = 0; i < 16; i++) {
        unsigned v = i == 6 ? (r[i] & 0x0FU) | 0x40U : i == 8 ? (r[i] & 0x3FU) | 0x80U : r[i];
        buf_printf(b, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", v);
    }
}

static void first_delta(struct buf *b, bool calls)
{
    (void)calls;
    buf_puts(b, "{\"role\":\"assistant\"}");
}

static void usage_details(struct buf *b, const struct usage *u)
{
    if (u->reasoning_tokens)
        buf_printf(b, ",\"completion_tokens_details\":{\"reasoning_tokens\":%d}", u->reasoning_tokens);
}

const struct wire_style fireworks_style = {
    .dialect = DIALECT_FIREWORKS,
    .parse = wire_parse,
    .printer = &chunk_printer,
    .chat_max_tokens = 2048, /* its documents moved from 200 over 2000 to this */
    .overflow = OVERFLOW_LOWER,
    .stop_may_stay = true,
    .thoughts_in_text = true,
    .usage_in_last_chunk = true,
    .extra_token_fields = true,
    .id = print_id,
    .first_delta = first_delta,
    .usage_details = usage_details,
};
