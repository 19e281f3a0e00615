#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_ast.h"

struct lexer {
    const char *src;
    size_t len, pos;
    struct jarena *mem;
    struct token *tok;
    size_t n, cap;
    size_t line_pos; /* up to where `line` has been counted */
    int line;
    bool line_starting; /* what was last read ended with a newline */
    struct err *e;
};

static int line_at(struct lexer *x, size_t pos)
{
    for (; x->line_pos < pos; x->line_pos++) x->line += x->src[x->line_pos] == '\n';
    return x->line;
}

static bool fail(struct lexer *x, const char *what)
{
    return err_set(x->e, ERR_FORMAT, "line %d: %s", line_at(x, x->pos), what);
}

static struct token *push(struct lexer *x, enum tok_type type)
{
    if (x->n == x->cap) {
        const size_t cap = x->cap ? 2 * x->cap : 256;
        struct token *t = jarena_alloc(x->mem, cap, sizeof *t);
        if (!t) {
            err_set(x->e, ERR_LIMIT, "the template is too large");
            return NULL;
        }
        if (x->n) memcpy(t, x->tok, x->n * sizeof *t);
        x->tok = t;
        x->cap = cap;
    }
    struct token *t = &x->tok[x->n++];
    *t = (struct token){ .type = type, .line = line_at(x, x->pos) };
    return t;
}

static bool at(const struct lexer *x, size_t pos, const char *s)
{
    const size_t n = strlen(s);
    return pos <= x->len && x->len - pos >= n && memcmp(x->src + pos, s, n) == 0;
}

/* The position after any white space at `pos`. */
static size_t skip_space(const struct lexer *x, size_t pos)
{
    while (pos < x->len) {
        int n;
        if (!uni_is_space(utf8_at(x->src + pos, x->len - pos, &n))) break;
        pos += (size_t)n;
    }
    return pos;
}

/* The length of p[0..len) without white space at its end. */
static size_t rtrim(const char *p, size_t len)
{
    while (len) {
        size_t k = len - 1;
        while (k > 0 && ((unsigned char)p[k] & 0xC0) == 0x80 && len - k < 4) k--;
        int n;
        if (!uni_is_space(utf8_at(p + k, len - k, &n)) || k + (size_t)n != len) break;
        len = k;
    }
    return len;
}

/* Ends a block tag or comment whose closing mark stands at pos: where the text goes on after it. sign: '-', '+' or 0. */
static size_t after_block_end(const struct lexer *x, size_t pos, char sign)
{
    if (sign == '-') return skip_space(x, pos);
    if (sign == 0 && pos < x->len && x->src[pos] == '\n') pos++; /* trim_blocks */
    return pos;
}

/* Emits text before a tag, with what the tag's sign and lstrip_blocks take off its end. */
static bool push_data(struct lexer *x, size_t from, size_t to, char sign, bool is_var)
{
    const char *p = x->src + from;
    size_t len = to - from;
    if (sign == '-') {
        len = rtrim(p, len);
    } else if (sign != '+' && !is_var) {
        size_t l = len;
        while (l > 0 && p[l - 1] != '\n') l--;
        if ((l > 0 || x->line_starting) && l < len && rtrim(p + l, len - l) == 0) len = l;
    }
    if (!len) return true;
    x->pos = from;
    struct token *t = push(x, TOK_DATA);
    if (!t) return false;
    t->p = p;
    t->len = len;
    x->pos = to;
    return true;
}

/* `{%- raw -%}` at pos: true, and where the raw text begins. */
static bool raw_begin(const struct lexer *x, size_t pos, size_t *begin)
{
    pos += 2;
    if (pos < x->len && (x->src[pos] == '-' || x->src[pos] == '+')) pos++;
    pos = skip_space(x, pos);
    if (!at(x, pos, "raw")) return false;
    pos = skip_space(x, pos + 3);
    if (at(x, pos, "-%}")) {
        *begin = skip_space(x, pos + 3);
        return true;
    }
    if (at(x, pos, "%}")) {
        *begin = pos + 2;
        return true;
    }
    return false;
}

/* The text up to endraw. */
static bool lex_raw(struct lexer *x)
{
    const size_t from = x->pos;
    for (size_t p = from; p + 1 < x->len; p++) {
        if (!at(x, p, "{%")) continue;
        size_t q = p + 2;
        char sign = 0;
        if (q < x->len && (x->src[q] == '-' || x->src[q] == '+')) sign = x->src[q++];
        q = skip_space(x, q);
        if (!at(x, q, "endraw")) continue;
        q = skip_space(x, q + 6);
        char end_sign = 0;
        if (q < x->len && (x->src[q] == '-' || x->src[q] == '+')) end_sign = x->src[q++];
        if (!at(x, q, "%}")) continue;
        if (!push_data(x, from, p, sign, false)) return false;
        x->pos = after_block_end(x, q + 2, end_sign);
        return true;
    }
    return x->pos >= x->len ||
           fail(x, "Missing end of raw directive"); /* jinja2 does not mind at the very end */
}

static bool lex_comment(struct lexer *x)
{
    for (size_t p = x->pos; p < x->len; p++) {
        char sign = 0;
        size_t q = p;
        if ((x->src[p] == '-' || x->src[p] == '+') && at(x, p + 1, "#}"))
            sign = x->src[q++];
        else if (!at(x, p, "#}"))
            continue;
        x->pos = after_block_end(x, q + 2, sign);
        return true;
    }
    return x->pos >= x->len || fail(x, "Missing end of comment tag");
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t put_utf8(char *o, uint32_t c)
{
    if (c < 0x80) {
        o[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        o[0] = (char)(0xC0 | c >> 6);
        o[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        o[0] = (char)(0xE0 | c >> 12);
        o[1] = (char)(0x80 | (c >> 6 & 63));
        o[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    o[0] = (char)(0xF0 | c >> 18);
    o[1] = (char)(0x80 | (c >> 12 & 63));
    o[2] = (char)(0x80 | (c >> 6 & 63));
    o[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Python's unicode-escape decoding. A result is never longer than its source. */
static bool unescape(struct lexer *x, const char *p, size_t len, struct token *t)
{
    t->p = p;
    t->len = len;
    if (!len || !memchr(p, '\\', len)) return true;
    char *const out = jarena_alloc(x->mem, len, 1);
    if (!out) return err_set(x->e, ERR_LIMIT, "the template is too large");
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] != '\\' || i + 1 == len) {
            out[n++] = p[i];
            continue;
        }
        static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
        const char c = p[++i];
        const char *known = c ? strchr(from, c) : NULL;
        int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        if (known) {
            out[n++] = to[known - from];
        } else if (c == '\n') {
            continue;
        } else if (digits) {
            uint32_t v = 0;
            for (; digits; digits--) {
                const int d = i + 1 < len ? hex_digit(p[i + 1]) : -1;
                if (d < 0) return fail(x, "truncated escape in a string");
                v = v << 4 | (uint32_t)d;
                i++;
            }
            if (v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
                return fail(x, "illegal Unicode character in a string");
            n += put_utf8(out + n, v);
        } else if (c >= '0' && c <= '7') {
            uint32_t v = 0;
            int k = 0;
            for (; k < 3 && i < len && p[i] >= '0' && p[i] <= '7'; k++) v = v * 8 + (uint32_t)(p[i++] - '0');
            i--;
            n += put_utf8(out + n, v); /* at most \777, two bytes from three characters and a backslash */
        } else if (c == 'N') {
            return fail(x, "\\N{...} escapes are not supported");
        } else {
            out[n++] = '\\';
            out[n++] = c;
        }
    }
    t->p = out;
    t->len = n;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c)
{
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || (unsigned char)c >= 0x80;
}

/* (\d+_)*\d+ at p: where it ends. */
static size_t digits_end(const struct lexer *x, size_t p)
{
    while (p < x->len &&
           (is_digit(x->src[p]) || (x->src[p] == '_' && p + 1 < x->len && is_digit(x->src[p + 1]))))
        p++;
    return p;
}

static bool lex_number(struct lexer *x)
{
    const size_t from = x->pos;
    size_t end = digits_end(x, from);
    bool is_float = false;
    if (from == 0 || x->src[from - 1] != '.') {
        size_t p = end;
        if (p + 1 < x->len && x->src[p] == '.' && is_digit(x->src[p + 1])) {
            p = digits_end(x, p + 1);
            is_float = true;
            end = p;
        }
        if (p < x->len && (x->src[p] | 32) == 'e') {
            size_t q = p + 1;
            if (q < x->len && (x->src[q] == '+' || x->src[q] == '-')) q++;
            if (q < x->len && is_digit(x->src[q])) {
                is_float = true;
                end = digits_end(x, q);
            }
        }
    }
    char text[400];
    size_t n = 0;
    int base = 10;
    if (!is_float && x->src[from] == '0') {
        const char kind = from + 1 < x->len ? (char)(x->src[from + 1] | 32) : 0;
        base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
        size_t p = from + 2;
        if (base != 10) {
            for (;; p++) {
                const size_t d = p < x->len && x->src[p] == '_' ? p + 1 : p;
                const int v = d < x->len ? hex_digit(x->src[d]) : -1;
                if (v < 0 || v >= base) break;
                p = d;
            }
            if (p > from + 2)
                end = p;
            else
                base = 10;
        }
        if (base == 10) /* 0 stands alone: 012 is two tokens, which the parser refuses */
            for (end = from + 1; end < x->len && (x->src[end] == '0' || x->src[end] == '_'); end++) {
            }
    }
    for (size_t p = from + (base == 10 ? 0 : 2); p < end; p++) {
        if (x->src[p] == '_') continue;
        if (n + 1 == sizeof text) return fail(x, "number too long");
        text[n++] = x->src[p];
    }
    text[n] = '\0';
    struct token *t = push(x, is_float ? TOK_FLOAT : TOK_INT);
    if (!t) return false;
    errno = 0;
    if (is_float)
        t->f = strtod(text, NULL);
    else
        t->i = strtoll(text, NULL, base);
    if (!is_float && errno == ERANGE) return fail(x, "integer too large");
    x->pos = end;
    return true;
}

/* One tag's inside, up to and with its end. */
static bool lex_tag(struct lexer *x, bool is_var)
{
    char open[JINJA_MAX_DEPTH];
    size_t depth = 0;
    for (;;) {
        x->pos = skip_space(x, x->pos);
        if (x->pos >= x->len) return true; /* the parser reports the missing end */
        const char c = x->src[x->pos], next = x->pos + 1 < x->len ? x->src[x->pos + 1] : '\0';
        const char *const close = is_var ? "}}" : "%}";
        if (depth == 0) {
            char sign = 0;
            if (c == '-' || (c == '+' && !is_var)) sign = c;
            if (at(x, x->pos + (sign != 0), close)) {
                if (!push(x, is_var ? TOK_VAR_END : TOK_BLOCK_END)) return false;
                const size_t after = x->pos + (sign != 0) + 2;
                x->pos = is_var ? (sign ? skip_space(x, after) : after) : after_block_end(x, after, sign);
                return true;
            }
        }
        if (is_digit(c)) {
            if (!lex_number(x)) return false;
            continue;
        }
        if (is_word(c)) {
            struct token *t = push(x, TOK_NAME);
            if (!t) return false;
            t->p = x->src + x->pos;
            while (x->pos < x->len && is_word(x->src[x->pos])) x->pos++;
            t->len = (size_t)(x->src + x->pos - t->p);
            continue;
        }
        if (c == '\'' || c == '"') {
            size_t p = x->pos + 1;
            while (p < x->len && x->src[p] != c) p += x->src[p] == '\\' ? 2 : 1;
            if (p >= x->len) return fail(x, "a string has no end");
            struct token *t = push(x, TOK_STRING);
            if (!t || !unescape(x, x->src + x->pos + 1, p - x->pos - 1, t)) return false;
            x->pos = p + 1;
            continue;
        }
        const int two = OP2((unsigned char)c, (unsigned char)next);
        int op = 0;
        if (two == OP_POW || two == OP_FLOORDIV || two == OP_EQ || two == OP_NE || two == OP_GE ||
            two == OP_LE)
            op = two;
        else if (c && strchr("+-/*%~[](){}><=.:|,;", c))
            op = (unsigned char)c;
        else
            return fail(x, "unexpected character in a tag");
        if (c == '(' || c == '[' || c == '{') {
            if (depth == sizeof open) return fail(x, "brackets nested too deep");
            open[depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (!depth || open[--depth] != c) return fail(x, "unbalanced bracket");
        }
        struct token *t = push(x, TOK_OP);
        if (!t) return false;
        t->op = op;
        x->pos += op > 255 ? 2 : 1;
    }
}

bool jinja_lex(const char *src, size_t len, struct jarena *mem, struct token **tokens, size_t *n,
               struct err *e)
{
    struct lexer x = { .src = src, .len = len, .mem = mem, .line = 1, .line_starting = true, .e = e };
    while (x.pos < len) {
        const size_t from = x.pos;
        const char *p = src + from;
        do {
            p = memchr(p, '{', len - (size_t)(p - src));
            if (!p || (p + 1 < src + len && (p[1] == '%' || p[1] == '{' || p[1] == '#'))) break;
        } while (++p < src + len);
        if (!p || p >= src + len) { /* the rest is text, and nothing strips it */
            struct token *t = push(&x, TOK_DATA);
            if (!t) return false;
            t->p = src + from;
            t->len = len - from;
            x.pos = len;
            break;
        }
        const size_t tag = (size_t)(p - src);
        const char kind = p[1], sign = tag + 2 < len && (p[2] == '-' || p[2] == '+') ? p[2] : 0;
        size_t raw;
        const bool is_raw = kind == '%' && raw_begin(&x, tag, &raw);
        if (!push_data(&x, from, tag, sign, kind == '{')) return false;
        x.pos = tag;
        bool ok;
        if (is_raw) {
            x.pos = raw;
            x.line_starting = src[raw - 1] == '\n';
            ok = lex_raw(&x);
        } else if (kind == '#') {
            x.pos = tag + 2 + (sign != 0);
            ok = lex_comment(&x);
        } else {
            ok = push(&x, kind == '{' ? TOK_VAR_BEGIN : TOK_BLOCK_BEGIN) != NULL;
            x.pos = tag + 2 + (sign != 0);
            ok = ok && lex_tag(&x, kind == '{');
        }
        if (!ok) return false;
        x.line_starting = x.pos > 0 && src[x.pos - 1] == '\n';
    }
    if (!push(&x, TOK_EOF)) return false;
    *tokens = x.tok;
    *n = x.n;
    return true;
}
