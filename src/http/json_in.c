/* json_in.c - see json_in.h. */
#include "http/json_in.h"

#include <math.h>
#include <string.h>

#include "format/json_memory.h"
#include "format/json_read.h"
#include "http/json_out.h"
#include "http/shape.h"

/* Depth and number of values, by the structural bytes outside strings. Not a validator: the parser is. */
static bool within_limits(const char *s, size_t len, const struct json_limits *l, struct fault *f)
{
    int depth = 0;
    int64_t values = 1;
    for (size_t i = 0; i < len; i++) {
        switch (s[i]) {
        case '"':
            for (i++; i < len && s[i] != '"'; i++)
                if (s[i] == '\\') i++;
            break;
        case '{':
        case '[':
            values++;
            if (++depth > l->depth)
                return err_set(&f->err, ERR_REQUEST, "the JSON body is nested deeper than %d", l->depth);
            break;
        case '}':
        case ']': depth--; break;
        case ',':
        case ':': values++; break;
        default: break;
        }
        if (values > l->values)
            return err_set(&f->err, ERR_REQUEST, "the JSON body has more than %lld values",
                           (long long)l->values);
    }
    return true;
}

/* ---- whole numbers beyond 64 bits, in schemas ------------------------------------------------------------------------ */

/* Does digits[n] (no sign, no leading zeros) lie beyond what a negative, or another, 64-bit number can be? */
static bool beyond(const char *digits, size_t n, bool negative)
{
    static const char *const last[] = { "9223372036854775807", "9223372036854775808" };
    return n > 19 || (n == 19 && memcmp(digits, last[negative], 19) > 0);
}

/* Is key[n] the name of a member that holds a schema? */
static bool holds_schema(const char *key, size_t n)
{
    static const char *const names[] = { "schema", "json_schema", "parameters", "input_schema" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (n == strlen(names[i]) && !memcmp(key, names[i], n)) return true;
    return false;
}

/* The text again, where whole numbers beyond 64 bits that stand in schemas are written with ".0", as the JSON library reads reals alone at
 * that size. Not a parser: of text that is no JSON it makes other text that is none. */
static bool widen(const char *s, size_t len, struct buf *out)
{
    int depth = 0, inside = 0; /* inside: the depth of the outermost schema around, or 0 */
    bool named = false;        /* the value that comes is a schema */
    size_t copied = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"') {
            const size_t first = ++i;
            for (; i < len && s[i] != '"'; i++)
                if (s[i] == '\\') i++;
            if (i >= len) break;
            size_t k = i + 1;
            while (k < len && strchr(" \t\r\n", s[k])) k++;
            named = k < len && s[k] == ':' && holds_schema(s + first, i - first);
            if (k < len && s[k] == ':') i = k;
        } else if (s[i] == '{' || s[i] == '[') {
            depth++;
            if (named && !inside) inside = depth;
            named = false;
        } else if (s[i] == '}' || s[i] == ']') {
            if (depth == inside) inside = 0;
            depth--;
        } else if (s[i] == '-' || (s[i] >= '0' && s[i] <= '9')) {
            const bool negative = s[i] == '-';
            const size_t first = i + negative;
            for (i = first; i < len && s[i] >= '0' && s[i] <= '9';) i++;
            const bool whole = i == len || !strchr(".eE", s[i]);
            if (inside && whole && beyond(s + first, i - first, negative)) {
                buf_append(out, s + copied, i - copied);
                buf_puts(out, ".0");
                copied = i;
            }
            while (i < len && strchr("0123456789.eE+-", s[i])) i++;
            i--;
        }
    }
    return buf_append(out, s + copied, len - copied);
}

/* NULL: it is no JSON, and *je says where; or (*f set) there was no memory. */
static json_t *load(const char *s, size_t len, json_error_t *je, struct fault *f)
{
    json_t *v = json_memory_load(s, len, JSON_REJECT_DUPLICATES, je);
    if (v || json_error_code(je) != json_error_numeric_overflow) return v;
    struct buf wide = BUF_INIT(2 * len + 8);
    if (!widen(s, len, &wide))
        err_set(&f->err, ERR_NOMEM, "out of memory");
    else if (wide.len > len)
        v = json_memory_load(wide.data, wide.len, JSON_REJECT_DUPLICATES, je);
    buf_free(&wide);
    return v;
}

bool json_in_parse(const char *s, size_t len, const struct json_limits *l, json_t **out, struct fault *f)
{
    json_error_t je;
    f->param = NULL;
    if (!len) return err_set(&f->err, ERR_REQUEST, "the request has no body; a JSON object is expected");
    if (!within_limits(s, len, l, f)) return false;
    f->err.code = ERR_NONE;
    json_t *v = load(s, len, &je, f);
    if (!v) {
        if (f->err.code == ERR_NOMEM) return false;
        if (json_read_no_memory(&je, s, len, &f->err)) return false;
        if (json_error_code(&je) == json_error_null_character)
            return err_set(
                &f->err, ERR_REQUEST,
                "the body holds the character \\u0000 (line %d, column %d), which no text may hold", je.line,
                je.column);
        if (json_error_code(&je) == json_error_numeric_overflow)
            return err_set(&f->err, ERR_REQUEST,
                           "the body holds a number that is too large (line %d, column %d); whole numbers go "
                           "from -2^63 to 2^63-1",
                           je.line, je.column);
        return err_set(&f->err, ERR_REQUEST, "the body is not valid JSON: %s (line %d, column %d)", je.text,
                       je.line, je.column);
    }
    if (!json_is_object(v)) {
        json_decref(v);
        return err_set(&f->err, ERR_REQUEST, "the body must be a JSON object");
    }
    *out = v;
    return true;
}

static bool complain(const json_t *v, const char *name, const char *what, struct fault *f)
{
    struct buf b = BUF_INIT(512);
    json_out_excerpt(&b, v, 80);
    f->param = name;
    err_set(&f->err, ERR_REQUEST, "%s must be %s, got %s", name, what, b.data ? b.data : "?");
    buf_free(&b);
    return false;
}

/* Refuses a member that no row has, or passes it over when not strict. */
static bool unknown(const char *path, const char *key, const json_t *v, bool strict, const char *param,
                    struct fault *f)
{
    struct buf b = BUF_INIT(400);
    if (!strict) return true;
    json_out_excerpt(&b, v, 100);
    f->param = param;
    err_set(&f->err, ERR_REQUEST, "Extra inputs are not permitted, field: '%.80s%.100s', value: %s", path,
            key, b.data ? b.data : "");
    buf_free(&b);
    return false;
}

/* A reader says best what is wrong with a value; what it would let pass and its row does not is refused here. */
static bool in_shape(const struct json_member *m, const json_t *v, struct fault *f)
{
    if (shape_allows(m->shape, v)) return true;
    struct buf place = BUF_INIT(200), words = BUF_INIT(600), got = BUF_INIT(512);
    json_out_excerpt(&got, shape_wrong(m->shape, v, &place, &words), 80);
    f->param = m->name;
    err_set(&f->err, ERR_REQUEST, "%s%s must be %s, got %s", m->name, place.data ? place.data : "",
            words.data ? words.data : "something else", got.data ? got.data : "?");
    buf_free(&place);
    buf_free(&words);
    buf_free(&got);
    return false;
}

bool json_in_member(const struct json_table *t, const struct json_place *p, void *reader, const char *key,
                    const json_t *v, struct fault *f)
{
    for (size_t i = 0; i < t->n; i++) {
        const void *row = (const char *)t->rows + i * t->size;
        const struct json_member *m = row;
        if ((m->forms & p->form) && !strcmp(m->name, key))
            return json_is_null(v) || (t->take(reader, row, v, f) && in_shape(m, v, f));
    }
    return unknown(p->path, key, v, p->strict, p->param, f);
}

const char *json_in_missing(const struct json_table *t, unsigned form, const json_t *object)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct json_member *m = (const void *)((const char *)t->rows + i * t->size);
        const json_t *v = json_object_get(object, m->name);
        if ((m->forms & form) && shape_required(m->shape) && (!v || json_is_null(v))) return m->name;
    }
    return NULL;
}

bool json_in_object(const struct json_table *t, const struct json_place *p, void *reader,
                    const json_t *object, struct fault *f)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v)
    {
        if (!json_in_member(t, p, reader, key, v, f)) return false;
    }
    return true;
}

static bool is_listed(const char *names, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = names; n && (p = strstr(p, key)); p += n)
        if ((p == names || p[-1] == ' ') && (!p[n] || p[n] == ' ')) return true;
    return false;
}

bool json_in_members(const json_t *object, const char *known, const char *path, bool strict,
                     const char *param, struct fault *f)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v)
    {
        if (strchr(key, ' ') || !is_listed(known, key))
            if (!unknown(path, key, v, strict, param, f)) return false;
    }
    return true;
}

bool json_in_extra_body(json_t *body, struct fault *f)
{
    json_t *extra = json_object_get(body, "extra_body");
    if (!extra) return true;
    if (!json_is_null(extra) && !json_is_object(extra))
        return json_in_bad(extra, "extra_body", "an object", f);
    if (json_is_object(extra) && json_object_update_missing(body, extra))
        return err_set(&f->err, ERR_NOMEM, "out of memory");
    json_object_del(body, "extra_body");
    return true;
}

bool json_in_bad(const json_t *v, const char *name, const char *what, struct fault *f)
{
    return complain(v, name, what, f);
}

bool json_in_int(const json_t *v, const char *name, int64_t min, int64_t max, int64_t *out, struct fault *f)
{
    char what[96];
    int64_t x = json_integer_value(v);
    bool whole = json_is_integer(v);
    if (json_is_real(v) && json_real_value(v) == floor(json_real_value(v)) &&
        fabs(json_real_value(v)) < 9e15) {
        x = (int64_t)json_real_value(v); /* 5.0 is a whole number too */
        whole = true;
    }
    if (!whole) return complain(v, name, "a whole number", f);
    if (x >= min && x <= max) {
        *out = x;
        return true;
    }
    if (max == INT64_MAX)
        snprintf(what, sizeof what, "at least %lld", (long long)min);
    else
        snprintf(what, sizeof what, "between %lld and %lld", (long long)min, (long long)max);
    return complain(v, name, what, f);
}

bool json_in_num(const json_t *v, const char *name, double min, double max, double *out, struct fault *f)
{
    char what[96];
    if (!json_is_number(v)) return complain(v, name, "a number", f);
    double x = json_number_value(v);
    if (x >= min && x <= max) {
        *out = x;
        return true;
    }
    if (isinf(max))
        snprintf(what, sizeof what, "at least %g", min);
    else
        snprintf(what, sizeof what, "between %g and %g", min, max);
    return complain(v, name, what, f);
}

bool json_in_bool(const json_t *v, const char *name, bool *out, struct fault *f)
{
    if (!json_is_boolean(v)) return complain(v, name, "true or false", f);
    *out = json_is_true(v);
    return true;
}

bool json_in_str(const json_t *v, const char *name, const char **out, struct fault *f)
{
    if (!json_is_string(v)) return complain(v, name, "a string", f);
    *out = json_string_value(v);
    return true;
}
