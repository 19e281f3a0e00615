/* json_stream.c - see json_stream.h. */
#include "service/tools/json_stream.h"

#include <string.h>

#include "service/mark.h"

enum at {
    AT_VALUE,      /* a value */
    AT_FIRST_ITEM, /* a value or ] */
    AT_FIRST_KEY,  /* a key or } */
    AT_KEY,
    AT_COLON,
    AT_NEXT, /* a comma, or what closes */
    AT_STRING,
    AT_ESCAPE,
    AT_HEX,
    AT_LOW_ESCAPE, /* the \ of a low surrogate */
    AT_LOW_U,
    AT_NUMBER,
    AT_WORD
};

enum { NUM_SIGN, NUM_ZERO, NUM_INT, NUM_POINT, NUM_FRACTION, NUM_E, NUM_E_SIGN, NUM_EXPONENT };

void json_stream_begin(struct json_stream *j)
{
    const struct buf held = j->held;
    *j = (struct json_stream){ .held = held };
    buf_clear(&j->held);
}

void json_stream_free(struct json_stream *j) { buf_free(&j->held); }

static bool in_object(const struct json_stream *j)
{
    return j->depth && (j->in_object[(j->depth - 1) / 8] >> (j->depth - 1) % 8 & 1);
}

static enum json_step keep(struct json_stream *j, char c)
{
    buf_putc(&j->held, c);
    j->n_held++;
    return JSON_MORE;
}

static enum json_step hand_on(struct json_stream *j, struct buf *out)
{
    if (j->held.failed) out->failed = true;
    if (j->held.len) buf_append(out, j->held.data, j->held.len);
    buf_clear(&j->held);
    j->n_held = 0;
    return JSON_MORE;
}

/* A value has ended with the bytes that are held. */
static enum json_step ended(struct json_stream *j, struct buf *out)
{
    hand_on(j, out);
    j->at = AT_NEXT;
    return j->depth ? JSON_MORE : JSON_WHOLE;
}

static enum json_step open_group(struct json_stream *j, char c, struct buf *out)
{
    if (j->depth == JSON_STREAM_DEPTH) return JSON_WRONG;
    const unsigned char bit = (unsigned char)(1u << j->depth % 8);
    if (c == '{')
        j->in_object[j->depth / 8] |= bit;
    else
        j->in_object[j->depth / 8] &= (unsigned char)~bit;
    j->depth++;
    j->at = c == '{' ? AT_FIRST_KEY : AT_FIRST_ITEM;
    keep(j, c);
    return hand_on(j, out);
}

static enum json_step close_group(struct json_stream *j, char c, struct buf *out)
{
    if (c != (in_object(j) ? '}' : ']')) return JSON_WRONG;
    j->depth--;
    keep(j, c);
    return ended(j, out);
}

static enum json_step begin_value(struct json_stream *j, char c, struct buf *out)
{
    switch (c) {
    case '{':
    case '[': return open_group(j, c, out);
    case '"':
        j->at = AT_STRING;
        j->key = false;
        keep(j, c);
        return hand_on(j, out);
    case 't': j->word = "rue"; break;
    case 'f': j->word = "alse"; break;
    case 'n': j->word = "ull"; break;
    default:
        if (c != '-' && (c < '0' || c > '9')) return JSON_WRONG;
        j->at = AT_NUMBER;
        j->num = c == '-' ? NUM_SIGN : c == '0' ? NUM_ZERO : NUM_INT;
        return keep(j, c);
    }
    j->at = AT_WORD;
    return keep(j, c);
}

/* In a number; false: the byte is none of it. */
static bool number_goes_on(struct json_stream *j, char c)
{
    const bool digit = c >= '0' && c <= '9', e = c == 'e' || c == 'E';
    switch (j->num) {
    case NUM_SIGN: j->num = c == '0' ? NUM_ZERO : NUM_INT; return digit;
    case NUM_ZERO: j->num = c == '.' ? NUM_POINT : NUM_E; return c == '.' || e;
    case NUM_INT:
        if (!digit) j->num = c == '.' ? NUM_POINT : NUM_E;
        return digit || c == '.' || e;
    case NUM_POINT: j->num = NUM_FRACTION; return digit;
    case NUM_FRACTION:
        if (e) j->num = NUM_E;
        return digit || e;
    case NUM_E: j->num = digit ? NUM_EXPONENT : NUM_E_SIGN; return digit || c == '+' || c == '-';
    case NUM_E_SIGN: j->num = NUM_EXPONENT; return digit;
    default: return digit;
    }
}

static bool number_may_end(unsigned char num)
{
    return num == NUM_ZERO || num == NUM_INT || num == NUM_FRACTION || num == NUM_EXPONENT;
}

/* Inside a string's value what is held could be closed; a key's waits for its value. */
static enum json_step in_string(struct json_stream *j, struct buf *out)
{
    j->at = AT_STRING;
    return j->key ? JSON_MORE : hand_on(j, out);
}

static enum json_step string_byte(struct json_stream *j, char c, struct buf *out)
{
    static const char escapes[] = "btn\0fr";
    if (c == '"') {
        keep(j, c);
        if (!j->key) return ended(j, out);
        j->at = AT_COLON;
        return JSON_MORE;
    }
    if (c == '\\') {
        j->at = AT_ESCAPE;
        return keep(j, c);
    }
    if ((unsigned char)c >= ' ') {
        keep(j, c);
        return in_string(j, out);
    }
    if (c >= '\b' && c <= '\r' && c != '\v')
        buf_printf(&j->held, "\\%c", escapes[c - '\b']);
    else
        buf_printf(&j->held, "\\u%04x", (unsigned char)c);
    j->n_held++;
    return in_string(j, out);
}

static enum json_step hex_digit(struct json_stream *j, char c, struct buf *out)
{
    const int v = c >= '0' && c <= '9'   ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                         : -1;
    if (v < 0) return JSON_WRONG;
    const unsigned unit = j->unit << 4 | (unsigned)v;
    /* Half a pair of surrogates is no character: the other half has to follow, and none comes without the first. */
    const bool is_low = j->hex == 1 && (unit & 0xfc00) == 0xdc00,
               is_high = j->hex == 1 && (unit & 0xfc00) == 0xd800;
    if (j->hex == 1 && is_low != j->low) return JSON_WRONG;
    j->unit = unit;
    keep(j, c);
    if (--j->hex) return JSON_MORE;
    j->low = is_high;
    if (!is_high) return in_string(j, out);
    j->at = AT_LOW_ESCAPE;
    return JSON_MORE;
}

static enum json_step escape_byte(struct json_stream *j, char c, struct buf *out)
{
    if (j->at == AT_HEX) return hex_digit(j, c, out);
    if (j->at == AT_LOW_ESCAPE) {
        if (c != '\\') return JSON_WRONG;
        j->at = AT_LOW_U;
        return keep(j, c);
    }
    if (c == 'u') {
        j->at = AT_HEX;
        j->hex = 4;
        j->unit = 0;
        return keep(j, c);
    }
    if (j->at == AT_LOW_U || !c || !strchr("\"\\/bfnrt", c)) return JSON_WRONG;
    keep(j, c);
    return in_string(j, out);
}

static enum json_step word_byte(struct json_stream *j, char c, struct buf *out)
{
    if (c != *j->word) return JSON_WRONG;
    j->word++;
    keep(j, c);
    return *j->word ? JSON_MORE : ended(j, out);
}

static enum json_step between(struct json_stream *j, char c, struct buf *out)
{
    if (mark_is_space(c)) return keep(j, c);
    switch ((enum at)j->at) {
    case AT_FIRST_ITEM:
        if (c == ']') return close_group(j, c, out);
        return begin_value(j, c, out);
    case AT_FIRST_KEY:
        if (c == '}') return close_group(j, c, out);
        /* fallthrough */
    case AT_KEY:
        if (c != '"') return JSON_WRONG;
        j->at = AT_STRING;
        j->key = true;
        return keep(j, c);
    case AT_COLON:
        if (c != ':') return JSON_WRONG;
        j->at = AT_VALUE;
        return keep(j, c);
    case AT_NEXT:
        if (c != ',') return close_group(j, c, out);
        j->at = in_object(j) ? AT_KEY : AT_VALUE;
        return keep(j, c);
    default: return begin_value(j, c, out);
    }
}

enum json_step json_stream_feed(struct json_stream *j, char c, struct buf *out)
{
    switch ((enum at)j->at) {
    case AT_STRING: return string_byte(j, c, out);
    case AT_ESCAPE:
    case AT_HEX:
    case AT_LOW_ESCAPE:
    case AT_LOW_U: return escape_byte(j, c, out);
    case AT_WORD: return word_byte(j, c, out);
    case AT_NUMBER: {
        const unsigned char num = j->num;
        if (number_goes_on(j, c)) return keep(j, c);
        j->num = num;
        if (!number_may_end(num)) return JSON_WRONG;
        if (ended(j, out) == JSON_WHOLE) return JSON_WHOLE_BEFORE;
        return between(j, c, out);
    }
    default: return j->at == AT_NEXT && !j->depth ? JSON_WRONG : between(j, c, out);
    }
}

void json_stream_close(struct json_stream *j, struct buf *out)
{
    const bool string = j->at >= AT_STRING && j->at <= AT_LOW_U && !j->key;
    if (string) buf_putc(out, '"');
    for (; j->depth; j->depth--) buf_putc(out, in_object(j) ? '}' : ']');
    buf_clear(&j->held);
    j->n_held = 0;
    j->at = AT_NEXT;
}
