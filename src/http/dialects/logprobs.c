/* logprobs.c - log-probabilities in both shapes of the API. */
#include <string.h>

#include "http/dialects/wire.h"
#include "http/json_out.h"
#include "text/unicode.h"

size_t wire_chars(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

static void print_token(struct buf *b, const struct tokenizer *t, int32_t id)
{
    size_t len;
    const char *s = tokenizer_bytes(t, id, &len);
    json_out_str(b, s ? s : "", s ? len : 0);
}

static void print_token_members(struct buf *b, const struct wire_request *w, const struct tokenizer *t,
                                int32_t id, float logprob)
{
    size_t len;
    const char *s = tokenizer_bytes(t, id, &len);
    buf_puts(b, "{\"token\":");
    print_token(b, t, id);
    buf_puts(b, ",\"logprob\":");
    json_out_float(b, logprob);
    buf_puts(b, ",\"bytes\":[");
    for (size_t i = 0; s && i < len; i++) buf_printf(b, "%s%d", i ? "," : "", (unsigned char)s[i]);
    buf_putc(b, ']');
    if (w->style->extra_token_fields) buf_printf(b, ",\"token_id\":%d", id);
}

/* The prompt's very first token follows nothing, so nothing can be said about it. */
static bool is_first_of_all(const struct wire_request *w, const struct wire_piece *p, size_t i)
{
    return i == 0 && p->tokens[0].from_prompt && !p->bytes_before && !w->gen.echo_last;
}

static size_t char_offset(const struct wire_piece *p, size_t i)
{
    size_t at = p->tokens[i].text_offset;
    at = at > p->bytes_before ? at - p->bytes_before : 0;
    return p->chars_before + wire_chars(p->text, at < p->len ? at : p->len);
}

static void print_content(struct buf *b, const struct wire_request *w, const struct tokenizer *t,
                          const struct wire_piece *p)
{
    buf_puts(b, "{\"content\":[");
    for (size_t i = 0; i < p->n_tokens; i++) {
        const struct pick *k = &p->tokens[i].pick;
        if (i) buf_putc(b, ',');
        print_token_members(b, w, t, p->tokens[i].id, is_first_of_all(w, p, i) ? 0 : k->logprob);
        if (w->style->extra_token_fields) buf_printf(b, ",\"text_offset\":%zu", char_offset(p, i));
        buf_puts(b, ",\"top_logprobs\":[");
        for (int j = 0; j < k->n_top; j++) {
            if (j) buf_putc(b, ',');
            print_token_members(b, w, t, k->top[j].id, k->top[j].logprob);
            buf_putc(b, '}');
        }
        buf_puts(b, "]}");
    }
    buf_puts(b, "],\"refusal\":null}");
}

/* The older shape has no bytes beside the text, and its top tokens are names of an object: parts of characters, which would all read
 * U+FFFD, are spelled as OpenAI spells them there: bytes:\xf0\x9f. */
static void print_name(struct buf *b, const struct tokenizer *t, int32_t id)
{
    size_t len;
    const char *s = tokenizer_bytes(t, id, &len);
    if (!s || utf8_valid(s, len) == len) {
        print_token(b, t, id);
        return;
    }
    buf_puts(b, "\"bytes:");
    for (size_t i = 0; i < len; i++) buf_printf(b, "\\\\x%02x", (unsigned char)s[i]);
    buf_putc(b, '"');
}

/* {" Paris": -0.1, ...}: the likeliest, and the one that was taken. Two tokens of the same spelling keep the first, likelier one. */
static void print_top(struct buf *b, const struct tokenizer *t, const struct pick *k, int32_t taken)
{
    bool seen = false;
    int printed = 0;
    buf_putc(b, '{');
    for (int j = 0; j <= k->n_top; j++) {
        if (j == k->n_top && seen) break;
        int32_t id = j < k->n_top ? k->top[j].id : taken;
        float logprob = j < k->n_top ? k->top[j].logprob : k->logprob;
        size_t len, other_len;
        const char *s = tokenizer_bytes(t, id, &len);
        bool again = false;
        for (int i = 0; i < j && i < k->n_top; i++) {
            const char *other = tokenizer_bytes(t, k->top[i].id, &other_len);
            again |= s && other && len == other_len && !memcmp(s, other, len);
        }
        seen |= id == taken;
        if (again) continue;
        if (printed++) buf_putc(b, ',');
        print_name(b, t, id);
        buf_putc(b, ':');
        json_out_float(b, logprob);
    }
    buf_putc(b, '}');
}

static void print_legacy(struct buf *b, const struct wire_request *w, const struct tokenizer *t,
                         const struct wire_piece *p)
{
    buf_puts(b, "{\"tokens\":[");
    for (size_t i = 0; i < p->n_tokens; i++) {
        if (i) buf_putc(b, ',');
        print_name(b, t, p->tokens[i].id);
    }
    buf_puts(b, "],\"token_logprobs\":[");
    for (size_t i = 0; i < p->n_tokens; i++) {
        if (i) buf_putc(b, ',');
        if (is_first_of_all(w, p, i))
            buf_puts(b, "null");
        else
            json_out_float(b, p->tokens[i].pick.logprob);
    }
    buf_puts(b, "],\"top_logprobs\":[");
    for (size_t i = 0; i < p->n_tokens; i++) {
        if (i) buf_putc(b, ',');
        if (is_first_of_all(w, p, i))
            buf_puts(b, "null");
        else
            print_top(b, t, &p->tokens[i].pick, p->tokens[i].id);
    }
    buf_puts(b, "],\"text_offset\":[");
    for (size_t i = 0; i < p->n_tokens; i++) buf_printf(b, "%s%zu", i ? "," : "", char_offset(p, i));
    buf_putc(b, ']');
    if (w->style->extra_token_fields) {
        buf_puts(b, ",\"token_ids\":[");
        for (size_t i = 0; i < p->n_tokens; i++) buf_printf(b, "%s%d", i ? "," : "", p->tokens[i].id);
        buf_putc(b, ']');
    }
    buf_putc(b, '}');
}

void wire_logprobs(struct buf *b, const struct wire_request *w, const struct tokenizer *t,
                   const struct wire_piece *p)
{
    switch (w->logprobs) {
    case LOGPROBS_CONTENT: print_content(b, w, t, p); break;
    case LOGPROBS_LEGACY: print_legacy(b, w, t, p); break;
    default: buf_puts(b, "null");
    }
}
