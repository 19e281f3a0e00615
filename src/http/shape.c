/* shape.c - see shape.h. */
#include "http/shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, INT, NUM, BOOL, OBJECT, ANY, NONE, WORD, LIST, MAP };

static const char *const names[] = { "text", "int", "num", "bool", "object", "any", "none" };

/* One of the alternatives. */
struct item {
    enum kind kind;
    const char *in, *end; /* WORD: its letters; LIST and MAP: the shape inside */
    double min, max;
};

/* The end of what opens at s with '[' or '{'; NULL: it does not close. */
static const char *closing(const char *s, const char *end)
{
    int depth = 0;
    for (; s < end; s++) {
        if (*s == '[' || *s == '{') depth++;
        if ((*s == ']' || *s == '}') && !--depth) return s;
    }
    return NULL;
}

static const char *read_number(const char *s, double *out)
{
    char *after;
    const double d = strtod(s, &after);
    if (after == s) return s;
    if (after[-1] == '.') after--; /* "1..5" is two numbers */
    *out = d;
    return after;
}

static const char *read_range(const char *s, const char *end, struct item *i)
{
    i->min = -HUGE_VAL;
    i->max = HUGE_VAL;
    if (s >= end || *s != ' ') return s;
    s = read_number(s + 1, &i->min);
    if (end - s < 2 || s[0] != '.' || s[1] != '.') return NULL;
    return s + 2 < end && *(s + 2) != '|' ? read_number(s + 2, &i->max) : s + 2;
}

/* The alternative at *s, which goes behind it and its '|'. False: there is none, or it is none (*bad). */
static bool next(const char **s, const char *end, struct item *i, bool *bad)
{
    const char *p = *s;
    *bad = false;
    if (p >= end) return false;
    *bad = true;
    *i = (struct item){ .kind = ANY };
    if (*p == '\'') {
        i->kind = WORD;
        i->in = p + 1;
        if (!(i->end = memchr(i->in, '\'', (size_t)(end - i->in)))) return false;
        p = i->end + 1;
    } else if (*p == '[' || *p == '{') {
        i->kind = *p == '[' ? LIST : MAP;
        i->in = p + 1;
        if (!(i->end = closing(p, end))) return false;
        p = i->end + 1;
    } else {
        size_t k = 0, n;
        while (k < sizeof names / sizeof *names &&
               (n = strlen(names[k]), (size_t)(end - p) < n || strncmp(p, names[k], n) != 0))
            k++;
        if (k == sizeof names / sizeof *names) return false;
        i->kind = (enum kind)k;
        p += strlen(names[k]);
    }
    if (!(p = read_range(p, end, i))) return false;
    if (p < end && (*p != '|' || ++p == end)) return false;
    *s = p;
    *bad = false;
    return true;
}

static const char *begin(const char *shape) { return shape + (*shape == '!'); }
static const char *finish(const char *shape) { return shape + strlen(shape); }

static bool valid(const char *s, const char *end)
{
    struct item i;
    bool bad;
    int n = 0;
    for (; next(&s, end, &i, &bad); n++)
        if ((i.kind == LIST || i.kind == MAP) && !valid(i.in, i.end)) return false;
    return n > 0 && !bad;
}

bool shape_valid(const char *shape) { return valid(begin(shape), finish(shape)); }
bool shape_required(const char *shape) { return *shape == '!'; }
bool shape_refused(const char *shape) { return !strcmp(begin(shape), "none"); }

void shape_range(const char *shape, double *min, double *max)
{
    const char *s = begin(shape);
    struct item i;
    bool bad;
    *min = -HUGE_VAL;
    *max = HUGE_VAL;
    while (next(&s, finish(shape), &i, &bad)) {
        if (i.kind != INT && i.kind != NUM && i.kind != TEXT) continue;
        *min = i.min;
        *max = i.max;
        return;
    }
}

/* ---- the reader's side --------------------------------------------------------------------------------------------- */

static bool in_range(const struct item *i, double d) { return d >= i->min && d <= i->max; }

static double characters(const json_t *v)
{
    const char *s = json_string_value(v);
    double n = 0;
    for (size_t k = 0; k < json_string_length(v); k++) n += ((unsigned char)s[k] & 0xc0) != 0x80;
    return n;
}

static bool allows(const char *s, const char *end, const json_t *v);

static bool is_one(const struct item *i, const json_t *v)
{
    size_t k;
    const char *key;
    json_t *m;
    switch (i->kind) {
    case TEXT: return json_is_string(v) && in_range(i, characters(v));
    case INT:
        return json_is_number(v) && json_number_value(v) == floor(json_number_value(v)) &&
               in_range(i, json_number_value(v));
    case NUM: return json_is_number(v) && in_range(i, json_number_value(v));
    case BOOL: return json_is_boolean(v);
    case OBJECT: return json_is_object(v);
    case ANY:
    case NONE: return true;
    case WORD:
        return json_is_string(v) && json_string_length(v) == (size_t)(i->end - i->in) &&
               !memcmp(json_string_value(v), i->in, json_string_length(v));
    case LIST:
        if (!json_is_array(v) || !in_range(i, (double)json_array_size(v))) return false;
        json_array_foreach(v, k, m)
        {
            if (!allows(i->in, i->end, m)) return false;
        }
        return true;
    case MAP:
        if (!json_is_object(v) || !in_range(i, (double)json_object_size(v))) return false;
        json_object_foreach((json_t *)v, key, m)
        {
            if (!allows(i->in, i->end, m)) return false;
        }
        return true;
    }
    return false;
}

static bool allows(const char *s, const char *end, const json_t *v)
{
    struct item i;
    bool bad;
    while (next(&s, end, &i, &bad))
        if (is_one(&i, v)) return true;
    return false;
}

bool shape_allows(const char *shape, const json_t *v) { return allows(begin(shape), finish(shape), v); }

/* ---- in words ------------------------------------------------------------------------------------------------------ */

static void put_range(struct buf *b, const struct item *i, const char *of, bool many)
{
    const bool low = isfinite(i->min), high = isfinite(i->max);
    if (!low && !high) return;
    if (low && high && i->min == i->max)
        buf_printf(b, " of %.10g%s", i->min, of);
    else if (low && high)
        buf_printf(b, "%s%.10g to %.10g%s", *of ? " of " : " from ", i->min, i->max, of);
    else if (low && *of && i->min == 1)
        buf_puts(b, many ? ", none of them empty" : ", not empty");
    else if (low)
        buf_printf(b, "%s%.10g%s", *of ? " of at least " : " from ", i->min, of);
    else
        buf_printf(b, "%s%.10g%s", *of ? " of at most " : " up to ", i->max, of);
}

static void words(struct buf *b, const char *s, const char *end, bool many);

static void put_one(struct buf *b, const struct item *i, bool many)
{
    static const char *const one[] = { "a string",  "a whole number", "a number",   "true or false",
                                       "an object", "anything",       "not offered" };
    static const char *const more[] = { "strings", "whole numbers", "numbers", "booleans",
                                        "objects", "anything",      "nothing" };
    if (i->kind == WORD) {
        buf_printf(b, "\"%.*s\"", (int)(i->end - i->in), i->in);
    } else if (i->kind == LIST || i->kind == MAP) {
        buf_puts(b, i->kind == LIST ? many ? "arrays of " : "an array of "
                    : many          ? "objects of "
                                    : "an object of ");
        words(b, i->in, i->end, true);
        if (isfinite(i->min) && isfinite(i->max))
            buf_printf(b, " (%.10g to %.10g)", i->min, i->max);
        else if (isfinite(i->min) || isfinite(i->max))
            buf_printf(b, isfinite(i->min) ? " (at least %.10g)" : " (at most %.10g)",
                       isfinite(i->min) ? i->min : i->max);
    } else {
        buf_puts(b, many ? more[i->kind] : one[i->kind]);
        put_range(b, i, i->kind == TEXT ? " characters" : "", many);
    }
}

/* How many words it is one of; 0: it is something else too. */
static int n_words(const char *s, const char *end)
{
    struct item i;
    bool bad;
    int n = 0;
    for (; next(&s, end, &i, &bad); n++)
        if (i.kind != WORD) return 0;
    return n;
}

static void words(struct buf *b, const char *s, const char *end, bool many)
{
    struct item i;
    bool bad, first = true;
    if (n_words(s, end) > 2) {
        for (buf_puts(b, "one of "); next(&s, end, &i, &bad); first = false)
            buf_printf(b, "%s%.*s", first ? "" : ", ", (int)(i.end - i.in), i.in);
        return;
    }
    while (next(&s, end, &i, &bad)) {
        if (!first) buf_puts(b, s == end ? " or " : ", ");
        put_one(b, &i, many);
        first = false;
    }
}

void shape_words(struct buf *b, const char *shape) { words(b, begin(shape), finish(shape), false); }

/* Of an array that is of no wrong length the item is told of that is. */
static const json_t *wrong(const char *s, const char *end, const json_t *v, struct buf *place,
                           struct buf *out)
{
    const char *from = s;
    struct item i;
    bool bad;
    size_t k;
    const json_t *m;
    while (json_is_array(v) && next(&s, end, &i, &bad)) {
        if (i.kind != LIST || !in_range(&i, (double)json_array_size(v))) continue;
        json_array_foreach(v, k, m)
        {
            if (allows(i.in, i.end, m)) continue;
            if (next(&s, end, &i, &bad)) break; /* it may have been meant as another */
            buf_printf(place, "[%zu]", k);
            return wrong(i.in, i.end, m, place, out);
        }
        break;
    }
    words(out, from, end, false);
    return v;
}

const json_t *shape_wrong(const char *shape, const json_t *v, struct buf *place, struct buf *out)
{
    return wrong(begin(shape), finish(shape), v, place, out);
}

/* ---- as JSON Schema ------------------------------------------------------------------------------------------------ */

static bool put_end(json_t *o, const char *name, double end)
{
    if (!isfinite(end)) return true;
    return !json_object_set_new(
        o, name, end == floor(end) && fabs(end) < 9e15 ? json_integer((json_int_t)end) : json_real(end));
}

static json_t *schema(const char *s, const char *end);

static json_t *schema_of(const struct item *i)
{
    static const char *const type[] = { "string", "integer", "number", "boolean", "object" };
    json_t *o, *inner = NULL;
    if (i->kind == ANY || i->kind == NONE) return json_object();
    if (i->kind == WORD) return json_pack("{s:s#}", "const", i->in, (int)(i->end - i->in));
    if (i->kind == LIST || i->kind == MAP) {
        if (!(inner = schema(i->in, i->end))) return NULL;
        o = json_pack("{s:s, s:o}", "type", i->kind == LIST ? "array" : "object",
                      i->kind == LIST ? "items" : "additionalProperties", inner);
    } else {
        o = json_pack("{s:s}", "type", type[i->kind]);
    }
    const char *min = i->kind == TEXT   ? "minLength"
                      : i->kind == LIST ? "minItems"
                      : i->kind == MAP  ? "minProperties"
                                        : "minimum",
               *max = i->kind == TEXT   ? "maxLength"
                      : i->kind == LIST ? "maxItems"
                      : i->kind == MAP  ? "maxProperties"
                                        : "maximum";
    if (o && put_end(o, min, i->min) && put_end(o, max, i->max)) return o;
    json_decref(o);
    return NULL;
}

/* Words are one enumeration. */
static json_t *schema(const char *s, const char *end)
{
    struct item i;
    bool bad, ok = true;
    json_t *all = json_array(), *named = json_array(), *out;
    while (next(&s, end, &i, &bad)) {
        if (i.kind == WORD)
            ok = !json_array_append_new(named, json_stringn(i.in, (size_t)(i.end - i.in))) && ok;
        else
            ok = !json_array_append_new(all, schema_of(&i)) && ok;
    }
    if (json_array_size(named))
        ok = !json_array_append_new(all, json_pack("{s:s, s:O}", "type", "string", "enum", named)) && ok;
    out = json_array_size(all) == 1 ? json_incref(json_array_get(all, 0)) : json_pack("{s:O}", "anyOf", all);
    json_decref(all);
    json_decref(named);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

json_t *shape_schema(const char *shape) { return schema(begin(shape), finish(shape)); }
