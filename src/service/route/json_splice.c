/* json_splice.c - see json_splice.h. */
#include "service/route/json_splice.h"

#include <string.h>

static size_t space(const char *s, size_t len, size_t at)
{
    while (at < len && (s[at] == ' ' || s[at] == '\t' || s[at] == '\n' || s[at] == '\r')) at++;
    return at;
}

/* Behind the string that begins at `at`; len where it has no end. */
static size_t string(const char *s, size_t len, size_t at)
{
    for (at++; at < len && s[at] != '"'; at++)
        if (s[at] == '\\') at++;
    return at < len ? at + 1 : len;
}

/* Behind the value that begins at `at`. */
static size_t value(const char *s, size_t len, size_t at)
{
    size_t depth = 0;
    while (at < len) {
        const char c = s[at];
        if (c == '"') {
            at = string(s, len, at);
            if (!depth) return at;
            continue;
        }
        if (!depth && (c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            return at;
        if (c == '{' || c == '[') depth++;
        at++;
        if ((c == '}' || c == ']') && --depth == 0) return at;
    }
    return len;
}

bool json_splice_find(const char *s, size_t len, const char *key, struct json_span *out)
{
    const size_t n_key = strlen(key);
    size_t at = space(s, len, 0), comma = 0; /* where the comma before the member is; 0: none */
    if (at >= len || s[at] != '{') return false;
    at++;
    for (;;) {
        const size_t name = space(s, len, at);
        if (name >= len || s[name] != '"') return false;
        const size_t behind = string(s, len, name), colon = space(s, len, behind);
        if (colon >= len || s[colon] != ':') return false;
        const size_t from = space(s, len, colon + 1), end = value(s, len, from), next = space(s, len, end);
        if (end == from || next >= len) return false;
        if (behind - name == n_key + 2 && !memcmp(s + name + 1, key, n_key)) {
            const bool more = s[next] == ',';
            *out = (struct json_span){
                .from = comma ? comma : name, .to = !comma && more ? next + 1 : end, .value = from, .end = end
            };
            return true;
        }
        if (s[next] != ',') return false;
        comma = next;
        at = next + 1;
    }
}

bool json_splice_set(struct buf *out, const char *s, size_t len, const char *key, const char *v, size_t n)
{
    struct json_span m;
    if (json_splice_find(s, len, key, &m)) {
        buf_append(out, s, m.value);
        buf_append(out, v, n);
        buf_append(out, s + m.end, len - m.end);
        return !out->failed;
    }
    const size_t open = space(s, len, 0);
    if (open >= len || s[open] != '{') return false;
    const size_t first = space(s, len, open + 1);
    buf_append(out, s, open + 1);
    buf_printf(out, "\"%s\":", key);
    buf_append(out, v, n);
    if (first < len && s[first] != '}') buf_putc(out, ',');
    buf_append(out, s + open + 1, len - open - 1);
    return !out->failed;
}

bool json_splice_drop(struct buf *out, const char *s, size_t len, const char *key)
{
    struct json_span m;
    if (!json_splice_find(s, len, key, &m)) return buf_append(out, s, len);
    buf_append(out, s, m.from);
    buf_append(out, s + m.to, len - m.to);
    return !out->failed;
}
