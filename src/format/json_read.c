#include "format/json_read.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "format/filemap.h"
#include "format/json_memory.h"
#include "format/json_scan.h"
#include "format/name_table.h"

static const struct {
    const char *word;
    double value;
} words[] = { { "NaN", NAN }, { "Infinity", INFINITY }, { "-Infinity", -INFINITY } };
#define N_WORDS (sizeof words / sizeof *words)

double json_read_number(const json_t *v, double otherwise)
{
    if (json_is_number(v)) return json_number_value(v);
    const char *s = json_string_value(v);
    for (size_t i = 0; s && i < N_WORDS; i++)
        if (strcmp(s, words[i].word) == 0) return words[i].value;
    return otherwise;
}

bool json_read_no_memory(const json_error_t *why, const char *text, size_t len, struct err *e)
{
    /* jansson reports a string that it had no memory for as an invalid token, and some failures not at all. */
    const enum json_error_code code = json_error_code(why);
    const bool unsure = code == json_error_unknown || code == json_error_invalid_syntax ||
                        code == json_error_premature_end_of_input || why->text[0] == '\0';
    size_t at = 0;
    while (at < len && (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n')) at++;
    const bool tree =
        at < len && (text[at] == '{' || text[at] == '['); /* other values are refused as a whole */
    if (code != json_error_out_of_memory && !(unsure && tree && json_scan_valid(text, len))) return false;
    err_set(e, ERR_NOMEM, "no memory to read %zu bytes of JSON", len);
    return true;
}

/* ---- what RFC 8259 does not know ---------------------------------------------------------------------------------- */

/* Length of the string at s (a quote), closing quote included. */
static size_t string_length(const char *s, const char *end)
{
    const char *p = s + 1;
    while (p < end && *p != '"') p += *p == '\\' && p + 1 < end ? 2 : 1;
    return (size_t)((p < end ? p + 1 : end) - s);
}

/* Length of the run of characters that numbers and words are made of. */
static size_t atom_length(const char *s, const char *end)
{
    const char *p = s;
    while (p < end && ((*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') || *p == '-' ||
                       *p == '+' || *p == '.'))
        p++;
    return (size_t)(p - s);
}

static bool is_word(const char *s, size_t n)
{
    for (size_t i = 0; i < N_WORDS; i++)
        if (strlen(words[i].word) == n && memcmp(words[i].word, s, n) == 0) return true;
    return false;
}

/* A whole number that does not fit 64 bits. */
static bool is_long_integer(const char *s, size_t n)
{
    const char *last = s[0] == '-' ? "9223372036854775808" : "9223372036854775807";
    const size_t digits = n - (s[0] == '-');
    s += n - digits;
    if (strspn(s, "0123456789") < digits) return false;
    return digits > strlen(last) || (digits == strlen(last) && memcmp(s, last, digits) > 0);
}

/* The text in plain JSON, or nothing in `out` when it is that already. */
static void translate(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len, *done = text;
    for (const char *p = text; p < end;) {
        size_t n = *p == '"' ? string_length(p, end) : atom_length(p, end);
        if (n == 0) {
            p++;
            continue;
        }
        const bool word = *p != '"' && is_word(p, n);
        if (word || (*p != '"' && n > 18 && p + n < end && is_long_integer(p, n))) {
            buf_append(out, done, (size_t)(p - done));
            if (word) buf_putc(out, '"');
            buf_append(out, p, n);
            buf_puts(out, word ? "\"" : ".0");
            done = p + n;
        }
        p += n;
    }
    if (done > text) buf_append(out, done, (size_t)(end - done));
}

/* ---- the door ----------------------------------------------------------------------------------------------------- */

bool json_read_text(json_t **out, const char *text, size_t len, struct err *e)
{
    if (len > JSON_READ_MAX)
        return err_set(e, ERR_LIMIT, "%zu bytes of JSON, more than the limit of %u", len, JSON_READ_MAX);
    struct buf plain = BUF_INIT(0);
    translate(&plain, text, len);
    if (plain.failed) {
        buf_free(&plain);
        return err_set(e, ERR_NOMEM, "no memory to read %zu bytes of JSON", len);
    }
    if (plain.len) text = plain.data, len = plain.len;
    json_error_t why;
    json_t *v = json_memory_load(text, len, JSON_ALLOW_NUL, &why);
    bool ok = json_is_object(v);
    if (ok) {
        *out = v;
    } else if (v) {
        err_set(e, ERR_FORMAT, "expected an object");
    } else if (!json_read_no_memory(&why, text, len, e)) {
        err_set(e, ERR_FORMAT, "line %d: %s", why.line, why.text);
    }
    if (!ok) json_decref(v);
    buf_free(&plain);
    return ok;
}

bool json_read_file(json_t **out, const char *path, struct err *e)
{
    struct filemap m;
    if (!filemap_open(&m, path, e)) return false;
    const char *slash = strrchr(path, '/');
    bool ok = json_read_text(out, (const char *)m.data, m.size, e) ||
              err_wrap(e, "%.200s", slash ? slash + 1 : path);
    filemap_close(&m);
    return ok;
}
