/* framing.c - see framing.h. */
#include "http/framing.h"

#include <string.h>
#include <strings.h>

struct text {
    const char *p;
    size_t n;
};

/* Headers of which one reader takes the first and another the last: a second one is refused. */
#define SINGLE(name)                                                                                         \
    {                                                                                                        \
        name, "there is more than one " name " header"                                                       \
    }
static const struct {
    const char *name, *twice;
} single[] = { SINGLE("Host"),         SINGLE("Content-Length"), SINGLE("Transfer-Encoding"),
               SINGLE("Content-Type"), SINGLE("Authorization"),  SINGLE("X-Api-Key"),
               SINGLE("Origin") };
enum { N_SINGLE = sizeof single / sizeof *single };

/* What the headers say that matters here. */
struct seen {
    bool single[N_SINGLE];
    int headers;
    bool old; /* HTTP/1.0 */
    struct text method, target;
};

static enum framing bad(struct framing_fault *f, enum fault_kind kind, const char *why)
{
    *f = (struct framing_fault){ kind, why };
    return FRAMING_BAD;
}

static bool is_token(struct text t)
{
    static const char also[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && !(c && strchr(also, c))) return false;
    }
    return t.n > 0;
}

static bool equals(struct text t, const char *s) { return t.n == strlen(s) && !strncasecmp(t.p, s, t.n); }

/* The line at p[from..n): its text, and where the next one begins. A line feed alone is not an end that everybody sees. */
static enum framing next_line(const char *p, size_t n, size_t from, struct text *line, size_t *next)
{
    const char *lf = memchr(p + from, '\n', n - from);
    if (!lf) return FRAMING_MORE;
    const size_t at = (size_t)(lf - p);
    if (at == from || p[at - 1] != '\r') return FRAMING_BAD;
    *line = (struct text){ p + from, at - 1 - from };
    *next = at + 1;
    return FRAMING_DONE;
}

static const char *const BARE_LINE = "every line of a request must end in CR LF";

static bool has_nul_escape(struct text t)
{
    for (size_t i = 0; i + 2 < t.n; i++)
        if (!memcmp(t.p + i, "%00", 3)) return true;
    return false;
}

static enum framing request_line(struct framing_head *h, struct seen *s, struct text line)
{
    struct framing_fault *f = &h->fault;
    const char *a = memchr(line.p, ' ', line.n), *b = memrchr(line.p, ' ', line.n);
    if (!a || a == b)
        return bad(f, FAULT_INVALID,
                   "a request begins with a line METHOD PATH HTTP/1.1, one space between them");
    struct text method = { line.p, (size_t)(a - line.p) }, target = { a + 1, (size_t)(b - a - 1) },
                version = { b + 1, (size_t)(line.p + line.n - b - 1) };
    if (!is_token(method) || method.n > 32)
        return bad(f, FAULT_INVALID, "the request's method is not a word");
    size_t parts = 0;
    for (size_t i = 0; i < target.n; i++) {
        unsigned char c = (unsigned char)target.p[i];
        if (c <= ' ' || c == 0x7f)
            return bad(f, FAULT_INVALID, "the request's path has a space or a control character in it");
        parts += c == '&';
    }
    if (!target.n || !(target.p[0] == '/' || equals(target, "*") || memmem(target.p, target.n, "://", 3)))
        return bad(f, FAULT_INVALID, "the request's path must begin with a slash");
    if (has_nul_escape(target)) return bad(f, FAULT_INVALID, "the request's path has a NUL (%00) in it");
    if (parts >= FRAMING_MAX_QUERY)
        return bad(f, FAULT_URI_TOO_LONG, "the query behind the path has too many parts");
    s->method = method; /* from here on the answer is in the dialect of the path */
    s->target = target;
    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) || version.p[6] != '.')
        return bad(f, FAULT_INVALID,
                   "a request begins with a line METHOD PATH HTTP/1.1, one space between them");
    if (memcmp(version.p + 5, "1.0", 3) && memcmp(version.p + 5, "1.1", 3))
        return bad(f, FAULT_VERSION, "this server speaks HTTP/1.1");
    s->old = version.p[7] == '0';
    return FRAMING_DONE;
}

/* What is past counting is larger than any limit all the same. */
static bool parse_length(struct text v, uint64_t *out)
{
    const uint64_t most = UINT64_MAX / 16;
    uint64_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return false;
        n = n > most ? n : n * 10 + (uint64_t)(v.p[i] - '0');
    }
    *out = n < most ? n : most;
    return v.n > 0;
}

static void put(struct buf *out, struct text name, struct text value)
{
    buf_append(out, name.p, name.n);
    buf_append(out, ": ", 2);
    buf_append(out, value.p, value.n);
    buf_append(out, "\r\n", 2);
}

static enum framing split_header(struct framing_fault *f, struct text line, struct text *name,
                                 struct text *value)
{
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return bad(f, FAULT_INVALID, "a header must stand on one line");
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon) return bad(f, FAULT_INVALID, "a header is a line NAME: VALUE, and one of them has no colon");
    *name = (struct text){ line.p, (size_t)(colon - line.p) };
    *value = (struct text){ colon + 1, line.n - name->n - 1 };
    if (!is_token(*name)) {
        const char last = name->n ? name->p[name->n - 1] : 0;
        return bad(f, FAULT_INVALID,
                   last == ' ' || last == '\t' ? "nothing may stand between a header's name and its colon"
                                               : "a header's name is not a word");
    }
    while (value->n && (value->p[0] == ' ' || value->p[0] == '\t')) value->p++, value->n--;
    while (value->n && (value->p[value->n - 1] == ' ' || value->p[value->n - 1] == '\t')) value->n--;
    for (size_t i = 0; i < value->n; i++) {
        unsigned char c = (unsigned char)value->p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return bad(f, FAULT_INVALID, "a header's value has a control character in it");
    }
    return FRAMING_DONE;
}

static enum framing header(struct framing_head *h, struct seen *s, struct text line, struct buf *out)
{
    struct framing_fault *f = &h->fault;
    struct text name, value;
    if (split_header(f, line, &name, &value) == FRAMING_BAD) return FRAMING_BAD;
    if (++s->headers > FRAMING_MAX_HEADERS)
        return bad(f, FAULT_HEADERS, "the request has more headers than this server reads");
    for (int i = 0; i < N_SINGLE; i++) {
        if (!equals(name, single[i].name)) continue;
        if (s->single[i]) return bad(f, FAULT_INVALID, single[i].twice);
        s->single[i] = true;
    }
    if (equals(name, "Content-Length")) {
        if (!parse_length(value, &h->length))
            return bad(f, FAULT_INVALID, "Content-Length is not a number of bytes");
        buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)h->length);
        return FRAMING_DONE;
    }
    if (equals(name, "Transfer-Encoding")) {
        if (!equals(value, "chunked"))
            return bad(f, FAULT_INVALID, "the only Transfer-Encoding that is understood here is chunked");
        h->chunked = true;
        buf_puts(out, "Transfer-Encoding: chunked\r\n");
        return FRAMING_DONE;
    }
    if (equals(name, "Host")) {
        for (size_t i = 0; i < value.n; i++)
            if (strchr(" \t,/@?#\\", value.p[i])) return bad(f, FAULT_INVALID, "Host is not a name");
    }
    if (!equals(name, "Cookie")) put(out, name, value); /* nobody here reads cookies */
    return FRAMING_DONE;
}

static enum framing block(struct framing_head *h, const char *p, size_t from, struct seen *s, struct buf *out)
{
    struct framing_fault *f = &h->fault;
    struct text line;
    size_t at = from;
    next_line(p, h->used, at, &line, &at);
    if (request_line(h, s, line) == FRAMING_BAD) return FRAMING_BAD;
    buf_append(out, line.p, line.n);
    buf_append(out, "\r\n", 2);
    while (next_line(p, h->used, at, &line, &at) == FRAMING_DONE && line.n)
        if (header(h, s, line, out) == FRAMING_BAD) return FRAMING_BAD;
    buf_append(out, "\r\n", 2);
    const bool host = s->single[0], length = s->single[1], coding = s->single[2];
    if (!host && !s->old) return bad(f, FAULT_INVALID, "a Host header is needed");
    if (length && coding)
        return bad(f, FAULT_INVALID, "Content-Length and Transfer-Encoding exclude each other");
    if (coding && s->old) return bad(f, FAULT_INVALID, "HTTP/1.0 knows no Transfer-Encoding");
    return out->failed ? bad(f, FAULT_SERVER, "out of memory") : FRAMING_DONE;
}

/* The request that stands for one that was refused. */
static enum framing replace(const struct seen *s, struct buf *out)
{
    buf_clear(out);
    if (s->method.n)
        buf_printf(out, "%.*s %.*s", (int)s->method.n, s->method.p, (int)s->target.n, s->target.p);
    else
        buf_puts(out, "GET /");
    buf_puts(out, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return FRAMING_BAD;
}

enum framing framing_head(struct framing_head *h, const char *p, size_t n, size_t limit, struct buf *out)
{
    struct seen s = { 0 };
    struct text line;
    size_t from = 0, next;
    h->fault = (struct framing_fault){ FAULT_NONE, NULL };
    h->length = 0;
    h->chunked = false;
    while (from + 1 < n && p[from] == '\r' && p[from + 1] == '\n')
        from += 2; /* some send one behind a body */
    if (h->line < from) h->line = from;
    for (;; h->line = next) {
        enum framing got = next_line(p, n, h->line, &line, &next);
        if (got == FRAMING_BAD) {
            bad(&h->fault, FAULT_INVALID, BARE_LINE);
            return replace(&s, out);
        }
        const size_t end = got == FRAMING_DONE ? next : n;
        if (end - from > limit || from > limit) {
            if (h->line == from)
                bad(&h->fault, FAULT_URI_TOO_LONG,
                    "the request's path is longer than this server reads (max-header)");
            else
                bad(&h->fault, FAULT_HEADERS,
                    "the request's headers are longer than this server reads (max-header)");
            if (h->line > from) {
                next_line(p, n, from, &line, &next);
                struct framing_head first = { 0 };
                request_line(&first, &s, line);
            }
            return replace(&s, out);
        }
        if (got == FRAMING_MORE) return FRAMING_MORE;
        if (!line.n) break;
    }
    h->used = next;
    buf_clear(out);
    return block(h, p, from, &s, out) == FRAMING_BAD ? replace(&s, out) : FRAMING_DONE;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

enum framing framing_chunk(const char *p, size_t n, size_t *used, uint64_t *size, struct framing_fault *fault)
{
    struct text line;
    enum framing got = next_line(p, n, 0, &line, used);
    if (got == FRAMING_BAD) return bad(fault, FAULT_INVALID, BARE_LINE);
    if ((got == FRAMING_MORE ? n : *used) > FRAMING_CHUNK_LINE)
        return bad(fault, FAULT_INVALID, "the line in front of a chunk of the body is too long");
    if (got == FRAMING_MORE) return FRAMING_MORE;
    size_t i = 0;
    *size = 0;
    for (; i < line.n && hex(line.p[i]) >= 0; i++) {
        if (*size >> 56) return bad(fault, FAULT_TOO_LARGE, "a chunk of the body is too large");
        *size = *size << 4 | (uint64_t)hex(line.p[i]);
    }
    size_t digits = i;
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t')) i++;
    if (!digits || (i < line.n && line.p[i] != ';') || (i > digits && i == line.n))
        return bad(fault, FAULT_INVALID, "a chunk of the body does not begin with its length in hexadecimal");
    for (; i < line.n; i++)
        if ((unsigned char)line.p[i] < ' ' && line.p[i] != '\t')
            return bad(fault, FAULT_INVALID, "the line in front of a chunk has a control character in it");
    return FRAMING_DONE;
}

enum framing framing_trailer(const char *p, size_t n, size_t *used, struct framing_fault *fault)
{
    struct text line, name, value;
    enum framing got = next_line(p, n, 0, &line, used);
    if (got == FRAMING_BAD) return bad(fault, FAULT_INVALID, BARE_LINE);
    if ((got == FRAMING_MORE ? n : *used) > FRAMING_CHUNK_LINE)
        return bad(fault, FAULT_HEADERS, "a line behind the body is too long");
    if (got == FRAMING_MORE || !line.n) return got;
    return split_header(fault, line, &name, &value);
}
