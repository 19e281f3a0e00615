#include "format/json_scan.h"

#include <string.h>

#include "format/name_table.h"

#define MAX_DEPTH 64

/* Without a pool a string is checked and not kept. */
static void put(struct json_scan *s, unsigned c)
{
    if (s->pool) *s->pool++ = (char)c;
}

static void skip_space(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) s->p++;
}

bool json_scan_char(struct json_scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c) return false;
    s->p++;
    return true;
}

bool json_scan_end(struct json_scan *s)
{
    skip_space(s);
    return s->p == s->end;
}

static bool hex4(struct json_scan *s, uint32_t *out)
{
    if (s->end - s->p < 4) return false;
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = *s->p++;
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
            digit = (uint32_t)((c | 32) - 'a' + 10);
        } else {
            return false;
        }
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

/* \uXXXX, the `\u` consumed; a pair of surrogates is one character. At least six bytes of text, at most four out. */
static bool unicode_escape(struct json_scan *s)
{
    uint32_t c, low;
    if (!hex4(s, &c) || c == 0 || (c >= 0xdc00 && c <= 0xdfff)) return false;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u') return false;
        s->p += 2;
        if (!hex4(s, &low) || low < 0xdc00 || low > 0xdfff) return false;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c < 0x80) {
        put(s, c);
    } else if (c < 0x800) {
        put(s, 0xc0 | c >> 6);
        put(s, 0x80 | (c & 63));
    } else if (c < 0x10000) {
        put(s, 0xe0 | c >> 12);
        put(s, 0x80 | (c >> 6 & 63));
        put(s, 0x80 | (c & 63));
    } else {
        put(s, 0xf0 | c >> 18);
        put(s, 0x80 | (c >> 12 & 63));
        put(s, 0x80 | (c >> 6 & 63));
        put(s, 0x80 | (c & 63));
    }
    return true;
}

static bool escape(struct json_scan *s)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) return false;
    char c = *s->p++;
    if (c == 'u') return unicode_escape(s);
    const char *at = c ? strchr(from, c) : NULL;
    if (!at) return false;
    put(s, (unsigned char)to[at - from]);
    return true;
}

bool json_scan_string(struct json_scan *s, char **out, size_t *len)
{
    if (!json_scan_char(s, '"')) return false;
    char *start = s->pool;
    while (s->p < s->end) {
        char c = *s->p++;
        if (c == '"') {
            *len = (size_t)(s->pool - start);
            put(s, '\0'); /* the two quotes made room */
            *out = start;
            return true;
        }
        if ((unsigned char)c < 0x20) return false;
        if (c != '\\') {
            put(s, (unsigned char)c);
        } else if (!escape(s)) {
            return false;
        }
    }
    return false;
}

bool json_scan_u64(struct json_scan *s, uint64_t *out)
{
    skip_space(s);
    const char *start = s->p;
    uint64_t v = 0;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s->p - '0'), &v))
            return false;
        s->p++;
    }
    if (s->p == start || (*start == '0' && s->p > start + 1)) return false;
    if (s->p < s->end && (*s->p == '.' || *s->p == 'e' || *s->p == 'E')) return false;
    *out = v;
    return true;
}

static size_t digits(struct json_scan *s)
{
    const char *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
    return (size_t)(s->p - start);
}

static bool skip_number(struct json_scan *s)
{
    if (s->p < s->end && *s->p == '-') s->p++;
    bool zero = s->p < s->end && *s->p == '0';
    size_t n = digits(s);
    if (n == 0 || (zero && n > 1)) return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (digits(s) == 0) return false;
    }
    if (s->p < s->end && (*s->p | 32) == 'e') {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
        if (digits(s) == 0) return false;
    }
    return true;
}

static bool skip_word(struct json_scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
    s->p += n;
    return true;
}

static bool skip_string(struct json_scan *s)
{
    char *pool = s->pool, *text;
    size_t len;
    s->pool = NULL;
    bool ok = json_scan_string(s, &text, &len);
    s->pool = pool;
    return ok;
}

static bool skip_value(struct json_scan *s, int depth);

static bool skip_members(struct json_scan *s, bool object, int depth)
{
    char close = object ? '}' : ']';
    s->p++;
    if (json_scan_char(s, close)) return true;
    do {
        if (object && (!skip_string(s) || !json_scan_char(s, ':'))) return false;
        if (!skip_value(s, depth + 1)) return false;
    } while (json_scan_char(s, ','));
    return json_scan_char(s, close);
}

static bool skip_value(struct json_scan *s, int depth)
{
    skip_space(s);
    if (s->p == s->end || depth >= MAX_DEPTH) return false;
    switch (*s->p) {
    case '{': return skip_members(s, true, depth);
    case '[': return skip_members(s, false, depth);
    case '"': return skip_string(s);
    case 't': return skip_word(s, "true");
    case 'f': return skip_word(s, "false");
    case 'n': return skip_word(s, "null");
    case 'N': return s->python && skip_word(s, "NaN");
    case 'I': return s->python && skip_word(s, "Infinity");
    default: return (s->python && skip_word(s, "-Infinity")) || skip_number(s);
    }
}

bool json_scan_skip(struct json_scan *s) { return skip_value(s, 0); }

bool json_scan_valid(const char *text, size_t len)
{
    struct json_scan s = { .p = text, .end = text + len };
    return utf8_is_valid(text, len) && json_scan_skip(&s) && json_scan_end(&s);
}

bool json_scan_key(struct json_scan *s, bool *first, bool *more, char **key, size_t *len)
{
    if (json_scan_char(s, '}')) {
        *more = false;
        return true;
    }
    if (!*first && !json_scan_char(s, ',')) return false;
    *first = false;
    *more = true;
    return json_scan_string(s, key, len) && json_scan_char(s, ':');
}
