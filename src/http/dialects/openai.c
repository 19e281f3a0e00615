/* openai.c - what is OpenAI's own on /v1: ids, defaults, members of replies. */
#include "http/dialects/wire.h"

static void print_id(struct buf *b, bool chat, const unsigned char random[16])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    buf_puts(b, chat ? "chatcmpl-" : "cmpl-");
    for (int i = 0; i < 28; i++) { /* two letters a byte; the modulo's bias does not matter for a name */
        unsigned v = random[i % 16] + 7U * (unsigned)i * random[(i + 5) % 16];
        buf_putc(b, letters[v % (sizeof letters - 1)]);
    }
}

static void message_extras(struct buf *b) { buf_puts(b, ",\"refusal\":null,\"annotations\":[]"); }

/* Clients join what they get: "" and nothing more is a text, null and nothing more is none. */
static void first_delta(struct buf *b, bool calls)
{
    buf_printf(b, "{\"role\":\"assistant\",\"content\":%s,\"refusal\":null}", calls ? "null" : "\"\"");
}

static void reply_extras(struct buf *b)
{
    buf_puts(b, ",\"service_tier\":\"default\",\"system_fingerprint\":null");
}

static void usage_details(struct buf *b, const struct usage *u)
{
    buf_printf(b,
               ",\"completion_tokens_details\":{\"reasoning_tokens\":%d,\"audio_tokens\":0,\"accepted_"
               "prediction_tokens\":%d,\"rejected_prediction_tokens\":%d}",
               u->reasoning_tokens, u->foreseen_tokens, u->unforeseen_tokens);
}

const struct wire_style openai_style = {
    .dialect = DIALECT_OPENAI,
    .parse = wire_parse,
    .printer = &chunk_printer,
    .chat_max_tokens = -1,
    .overflow = OVERFLOW_ERROR,
    .stop_when_named = true,
    .id = print_id,
    .message_extras = message_extras,
    .first_delta = first_delta,
    .reply_extras = reply_extras,
    .usage_details = usage_details,
};
