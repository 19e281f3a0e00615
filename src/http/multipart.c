#include "http/multipart.h"

#include <string.h>
#include <strings.h>

enum { MAX_BOUNDARY = 70 }; /* RFC 2046, section 5.1.1 */

/* The value of `key` in "x; key=value; key2=\"quoted\"": *n bytes at the result; NULL when absent. */
static const char *parameter(const char *s, size_t len, const char *key, size_t *n)
{
    size_t k = strlen(key);
    const char *end = s + len;
    while (s < end && (s = memchr(s, ';', (size_t)(end - s)))) {
        s++;
        while (s < end && (*s == ' ' || *s == '\t')) s++;
        if ((size_t)(end - s) > k && !strncasecmp(s, key, k) && s[k] == '=') {
            s += k + 1;
            bool quoted = s < end && *s == '"';
            if (quoted) s++;
            const char *from = s;
            while (s < end && (quoted ? *s != '"' : *s != ';' && *s != ' ' && *s != '\t')) s++;
            if (quoted && s == end) return NULL;
            *n = (size_t)(s - from);
            return from;
        }
        /* A quoted value of another parameter may hold a semicolon. */
        const char *quote = memchr(s, '"', (size_t)(end - s)), *next = memchr(s, ';', (size_t)(end - s));
        if (quote && (!next || quote < next)) {
            const char *close = memchr(quote + 1, '"', (size_t)(end - quote - 1));
            s = close ? close : end;
        }
    }
    return NULL;
}

static bool read_headers(struct multipart_part *p, const char *s, const char *end, struct err *e)
{
    static const char disposition[] = "content-disposition:", type[] = "content-type:";
    while (s < end) {
        const char *eol = memmem(s, (size_t)(end - s), "\r\n", 2);
        if (!eol) eol = end;
        size_t n = (size_t)(eol - s);
        if (n > sizeof disposition - 1 && !strncasecmp(s, disposition, sizeof disposition - 1)) {
            p->name = parameter(s, n, "name", &p->name_len);
            p->file = parameter(s, n, "filename", &p->file_len);
        } else if (n > sizeof type - 1 && !strncasecmp(s, type, sizeof type - 1)) {
            p->type = s + sizeof type - 1;
            while (p->type < eol && *p->type == ' ') p->type++;
            p->type_len = (size_t)(eol - p->type);
        }
        s = eol < end ? eol + 2 : end;
    }
    return p->name || err_set(e, ERR_REQUEST, "multipart: a part has no name in its Content-Disposition");
}

bool multipart_parse(struct multipart *out, const char *content_type, const char *body, size_t len,
                     struct err *e)
{
    size_t n = 0;
    const char *boundary =
        content_type ? parameter(content_type, strlen(content_type), "boundary", &n) : NULL;
    char mark[MAX_BOUNDARY + 4] = "\r\n--"; /* what stands before every part but perhaps the first */
    out->n = 0;
    if (!boundary || n == 0 || n > MAX_BOUNDARY) {
        return err_set(e, ERR_REQUEST, "multipart: the Content-Type names no boundary of 1 to %d characters",
                       (int)MAX_BOUNDARY);
    }
    memcpy(mark + 4, boundary, n);
    size_t m = n + 4;
    const char *end = body + len, *at;
    if (len >= m - 2 && !memcmp(body, mark + 2, m - 2))
        at = body + m - 2;
    else if ((at = len ? memmem(body, len, mark, m) : NULL))
        at += m;
    else
        return err_set(e, ERR_REQUEST, "multipart: the boundary does not occur in the body");

    for (;;) {
        if (end - at >= 2 && at[0] == '-' && at[1] == '-') return true;
        while (at < end && (*at == ' ' || *at == '\t')) at++;
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n') {
            return err_set(e, ERR_REQUEST, "multipart: a boundary is not followed by a line end");
        }
        at += 2;
        const char *head = at, *blank;
        if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
            blank = at; /* no headers at all */
        else
            blank = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
        if (!blank) return err_set(e, ERR_REQUEST, "multipart: a part's headers do not end");
        const char *data = blank == at && at[0] == '\r' ? blank + 2 : blank + 4;
        /* An empty part's boundary may share the blank line's end. */
        const char *from = data - 2, *stop = memmem(from, (size_t)(end - from), mark, m);
        if (!stop) return err_set(e, ERR_REQUEST, "multipart: the body ends inside a part");
        if (out->n == MULTIPART_MAX_PARTS)
            return err_set(e, ERR_LIMIT, "multipart: more than %d parts", (int)MULTIPART_MAX_PARTS);
        struct multipart_part *p = &out->part[out->n];
        *p = (struct multipart_part){ .data = data, .len = stop > data ? (size_t)(stop - data) : 0 };
        if (!read_headers(p, head, blank, e)) return false;
        out->n++;
        at = stop + m;
    }
}
