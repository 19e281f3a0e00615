/* json_out.c - see json_out.h. */
#include "http/json_out.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at s (n bytes left), 0 when there is none (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    unsigned char c = s[0];
    size_t len = c < 0x80                 ? 1
                 : c >= 0xC2 && c <= 0xDF ? 2
                 : c >= 0xE0 && c <= 0xEF ? 3
                 : c >= 0xF0 && c <= 0xF4 ? 4
                                          : 0;
    if (!len || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (c == 0xE0 && s[1] < 0xA0) return 0;
    if (c == 0xED && s[1] > 0x9F) return 0;
    if (c == 0xF0 && s[1] < 0x90) return 0;
    if (c == 0xF4 && s[1] > 0x8F) return 0;
    return len;
}

void json_out_str(struct buf *b, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    buf_putc(b, '"');
    size_t from = 0, i = 0;
    while (i < len) {
        unsigned char c = s[i];
        size_t n = c < 0x80 ? 1 : utf8_length(s + i, len - i);
        if (n && c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) {
            i += n;
            continue;
        }
        buf_append(b, text + from, i - from);
        switch (c) {
        case '"': buf_puts(b, "\\\""); break;
        case '\\': buf_puts(b, "\\\\"); break;
        case '\n': buf_puts(b, "\\n"); break;
        case '\r': buf_puts(b, "\\r"); break;
        case '\t': buf_puts(b, "\\t"); break;
        default:
            if (n)
                buf_printf(b, "\\u%04x", c);
            else
                buf_puts(b, "\xEF\xBF\xBD");
        }
        from = ++i;
    }
    buf_append(b, text + from, len - from);
    buf_putc(b, '"');
}

void json_out_cstr(struct buf *b, const char *s)
{
    if (s)
        json_out_str(b, s, strlen(s));
    else
        buf_puts(b, "null");
}

static void put_number(struct buf *b, double v, int first, int last, bool is_float)
{
    char s[40];
    if (!isfinite(v)) v = -9999;
    for (int digits = first; digits <= last; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, v);
        if (is_float ? strtof(s, NULL) == (float)v : strtod(s, NULL) == v) break;
    }
    buf_puts(b, s);
    if (!strpbrk(s, ".e")) buf_puts(b, ".0");
}

void json_out_num(struct buf *b, double v) { put_number(b, v, 6, 17, false); }
void json_out_float(struct buf *b, float v) { put_number(b, (double)v, 6, 9, true); }

struct excerpt {
    char *s;
    size_t n, max;
};

/* Takes what fits of a piece, and ends the dump at the first that does not. */
static int keep_piece(const char *piece, size_t n, void *arg)
{
    struct excerpt *x = arg;
    size_t room = x->max - x->n, take = n < room ? n : room;
    memcpy(x->s + x->n, piece, take);
    x->n += take;
    return take < n ? -1 : 0;
}

void json_out_excerpt(struct buf *b, const json_t *v, size_t max)
{
    if (json_is_real(v)) {
        char s[40];
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(s, sizeof s, "%.*g", digits, json_real_value(v));
            if (strtod(s, NULL) == json_real_value(v)) break;
        }
        buf_puts(b, s);
        return;
    }
    /* A huge value is not printed whole just to be cut. */
    struct excerpt x = { malloc(max + 1), 0, max };
    if (!x.s) return;
    if (json_dump_callback(v, keep_piece, &x, JSON_ENCODE_ANY | JSON_COMPACT) == 0) {
        buf_append(b, x.s, x.n);
    } else {
        while (x.n && ((unsigned char)x.s[x.n - 1] & 0xC0) == 0x80)
            x.n--; /* not in the middle of a character */
        if (x.n && (unsigned char)x.s[x.n - 1] >= 0xC0) x.n--;
        buf_append(b, x.s, x.n);
        buf_puts(b, "...");
    }
    free(x.s);
}

/* Not libsodium's sodium_bin2base64(): that one takes the same time for every byte, as secrets need, and so 25 ms for 4 MiB where this
 * takes 3 ms (gcc 12, Zen 3); pictures are printed on the event loop, which others wait for. */
void json_out_base64(struct buf *b, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    char out[4096];
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v =
            (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        out[at++] = digits[v >> 18];
        out[at++] = digits[v >> 12 & 63];
        out[at++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
        out[at++] = i + 2 < n ? digits[v & 63] : '=';
        if (at == sizeof out) {
            buf_append(b, out, at);
            at = 0;
        }
    }
    buf_append(b, out, at);
}
