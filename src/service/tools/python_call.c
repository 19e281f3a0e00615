/* python_call.c - see python_call.h. */
#include "service/tools/python_call.h"

#include <stdint.h>
#include <string.h>

enum { DEPTH_LIMIT = 64, ARGUMENTS_LIMIT = 256 };

struct text {
    const char *p, *end;
    struct buf *out;
    int depth;
};

static bool value(struct text *t);

static void skip_space(struct text *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t' || *t->p == '\r')) t->p++;
}

static bool take(struct text *t, char c)
{
    skip_space(t);
    if (t->p == t->end || *t->p != c) return false;
    t->p++;
    return true;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* ---- strings --------------------------------------------------------------------------------------------------------- */

static void put_character(struct buf *b, uint32_t u)
{
    if (u > 0x10ffff || (u >= 0xd800 && u < 0xe000)) u = 0xfffd;
    if (u == '"' || u == '\\') {
        buf_printf(b, "\\%c", (char)u);
    } else if (u == '\n') {
        buf_puts(b, "\\n");
    } else if (u < ' ') {
        buf_printf(b, "\\u%04x", u);
    } else if (u < 0x80) {
        buf_putc(b, (char)u);
    } else if (u < 0x800) {
        buf_putc(b, (char)(0xc0 | u >> 6));
        buf_putc(b, (char)(0x80 | (u & 0x3f)));
    } else if (u < 0x10000) {
        buf_putc(b, (char)(0xe0 | u >> 12));
        buf_putc(b, (char)(0x80 | (u >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (u & 0x3f)));
    } else {
        buf_putc(b, (char)(0xf0 | u >> 18));
        buf_putc(b, (char)(0x80 | (u >> 12 & 0x3f)));
        buf_putc(b, (char)(0x80 | (u >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (u & 0x3f)));
    }
}

static bool hex(struct text *t, int digits, uint32_t *out)
{
    uint32_t u = 0;
    for (; digits; digits--, t->p++) {
        const char c = t->p < t->end ? *t->p : 0;
        const int v = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (v < 0) return false;
        u = u << 4 | (uint32_t)v;
    }
    *out = u;
    return true;
}

/* JSON writes what is beyond 16 bits as two escapes. */
static bool unicode_escape(struct text *t)
{
    uint32_t u, low;
    if (!hex(t, 4, &u)) return false;
    if ((u & 0xfc00) == 0xd800 && t->end - t->p > 1 && t->p[0] == '\\' && t->p[1] == 'u') {
        t->p += 2;
        if (!hex(t, 4, &low)) return false;
        if ((low & 0xfc00) == 0xdc00)
            u = 0x10000 + ((u & 0x3ff) << 10 | (low & 0x3ff));
        else {
            put_character(t->out, u);
            u = low;
        }
    }
    put_character(t->out, u);
    return true;
}

static bool escape(struct text *t)
{
    static const char from[] = "ntrbfav0\\'\"/", to[] = "\n\t\r\b\f\a\v\0\\'\"/";
    uint32_t u;
    if (t->p == t->end) return false;
    const char c = *t->p++, *at = c ? strchr(from, c) : NULL;
    if (at) {
        put_character(t->out, (unsigned char)to[at - from]);
        return true;
    }
    if (c == '\n') return true; /* the string goes on in the next line */
    if (c == 'u') return unicode_escape(t);
    if (c == 'x' || c == 'U') {
        if (!hex(t, c == 'x' ? 2 : 8, &u)) return false;
        put_character(t->out, u);
        return true;
    }
    put_character(t->out, '\\'); /* as Python keeps what it does not know */
    t->p--;
    return true;
}

static bool string(struct text *t)
{
    const char quote = *t->p++;
    buf_putc(t->out, '"');
    while (t->p < t->end && *t->p != quote) {
        const char c = *t->p++;
        if (c == '\\') {
            if (!escape(t)) return false;
        } else if ((unsigned char)c < 0x80) {
            put_character(t->out, (unsigned char)c);
        } else {
            buf_putc(t->out, c);
        }
    }
    if (t->p == t->end) return false;
    t->p++;
    buf_putc(t->out, '"');
    return true;
}

/* ---- other values ------------------------------------------------------------------------------------------------------ */

static size_t digits(struct text *t)
{
    size_t n = 0;
    for (; t->p < t->end && (is_digit(*t->p) || (*t->p == '_' && n)); t->p++) {
        if (*t->p == '_') continue;
        buf_putc(t->out, *t->p);
        n++;
    }
    return n;
}

/* Python has .5, 5. and 1_000; JSON has not. */
static bool number(struct text *t)
{
    if (*t->p == '+' || *t->p == '-')
        if (*t->p++ == '-') buf_putc(t->out, '-');
    const char *first = t->p;
    size_t whole = 0, fraction = 0;
    if (t->p < t->end && *t->p == '.')
        buf_putc(t->out, '0');
    else
        whole = digits(t);
    if (whole > 1 && *first == '0') return false;
    if (t->p < t->end && *t->p == '.') {
        t->p++;
        buf_putc(t->out, '.');
        fraction = digits(t);
        if (!fraction) buf_putc(t->out, '0');
    }
    if (!whole && !fraction) return false;
    if (t->p < t->end && (*t->p == 'e' || *t->p == 'E')) {
        buf_putc(t->out, *t->p++);
        if (t->p < t->end && (*t->p == '+' || *t->p == '-')) buf_putc(t->out, *t->p++);
        if (!digits(t)) return false;
    }
    return t->p == t->end || !(is_letter(*t->p) || is_digit(*t->p) || *t->p == '.');
}

static bool word(struct text *t)
{
    static const struct {
        const char *python, *json;
    } words[] = { { "True", "true" }, { "False", "false" }, { "None", "null" },
                  { "true", "true" }, { "false", "false" }, { "null", "null" } };
    const char *from = t->p;
    while (t->p < t->end && (is_letter(*t->p) || is_digit(*t->p))) t->p++;
    const size_t n = (size_t)(t->p - from);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i].python) == n && !memcmp(words[i].python, from, n))
            return buf_puts(t->out, words[i].json);
    return false;
}

/* A list, a tuple or a dictionary with strings for keys; a comma may stand at its end. */
static bool group(struct text *t)
{
    const char open = *t->p++, close = open == '[' ? ']' : open == '(' ? ')' : '}';
    buf_putc(t->out, open == '{' ? '{' : '[');
    for (bool first = true; !take(t, close); first = false) {
        if (!first && !take(t, ',')) return false;
        if (!first && take(t, close)) break;
        if (!first) buf_puts(t->out, ", ");
        skip_space(t);
        if (open == '{') {
            if (t->p == t->end || (*t->p != '"' && *t->p != '\'') || !string(t) || !take(t, ':'))
                return false;
            buf_puts(t->out, ": ");
        }
        if (!value(t)) return false;
    }
    buf_putc(t->out, open == '{' ? '}' : ']');
    return true;
}

static bool value(struct text *t)
{
    skip_space(t);
    if (t->p == t->end || t->depth == DEPTH_LIMIT) return false;
    const char c = *t->p;
    if (c == '"' || c == '\'') return string(t);
    if (is_letter(c)) return word(t);
    if (c != '[' && c != '(' && c != '{')
        return (is_digit(c) || c == '-' || c == '+' || c == '.') && number(t);
    t->depth++;
    const bool ok = group(t);
    t->depth--;
    return ok;
}

/* ---- the call ---------------------------------------------------------------------------------------------------------- */

static bool arguments(struct text *t)
{
    struct {
        const char *s;
        size_t n;
    } seen[ARGUMENTS_LIMIT];
    int n = 0;
    buf_putc(t->out, '{');
    for (bool first = true; !take(t, ')'); first = false) {
        if (!first && !take(t, ',')) return false;
        if (!first && take(t, ')')) break;
        skip_space(t);
        const char *from = t->p;
        while (t->p < t->end && (is_letter(*t->p) || (is_digit(*t->p) && t->p > from))) t->p++;
        const size_t len = (size_t)(t->p - from);
        if (!len || n == ARGUMENTS_LIMIT || !take(t, '=')) return false;
        for (int i = 0; i < n; i++)
            if (seen[i].n == len && !memcmp(seen[i].s, from, len)) return false;
        seen[n].s = from;
        seen[n++].n = len;
        if (!first) buf_puts(t->out, ", ");
        buf_putc(t->out, '"');
        buf_append(t->out, from, len);
        buf_puts(t->out, "\": ");
        if (!value(t)) return false;
    }
    buf_putc(t->out, '}');
    return t->p == t->end;
}

bool python_call_read(struct python_call *c, const char *s, size_t n, bool method, bool *memory)
{
    static const char call[] = ".call";
    const char *open = memchr(s, '(', n);
    size_t len = open ? (size_t)(open - s) : 0;
    if (!open || !is_letter(*s)) return false;
    if (method) {
        if (len <= strlen(call) || memcmp(s + len - strlen(call), call, strlen(call)) != 0) return false;
        len -= strlen(call);
    }
    struct text t = { open + 1, s + n, &c->arguments, 0 };
    buf_append(&c->name, s, len);
    const bool ok = arguments(&t);
    *memory = !c->name.failed && !c->arguments.failed;
    return ok && *memory;
}

void python_call_free(struct python_call *c)
{
    buf_free(&c->name);
    buf_free(&c->arguments);
}
