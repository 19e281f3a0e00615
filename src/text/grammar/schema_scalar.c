/* schema_scalar.c - what a schema says of strings, numbers and the three literals: there every combination of schemas is a combination of
 * languages, and nothing has to be multiplied out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/format.h"
#include "text/grammar/number.h"
#include "text/grammar/schema_internal.h"

enum { MAX_DEPTH = 300, MAX_LENGTH = 1 << 20 };

static const char *const types[] = { "null",   "boolean", "object",  "array",
                                     "number", "string",  "integer", "any" };

static bool one_type(struct compile *c, int sub, const json_t *t, const char *type, bool *allows,
                     struct err *e)
{
    const char *s = json_string_value(t);
    bool known = false;
    for (size_t i = 0; s && i < sizeof types / sizeof *types; i++) known |= !strcmp(s, types[i]);
    if (!known)
        return schema_refuse(&c->doc, sub, ERR_REQUEST, "type", e, "%s is no type of JSON Schema",
                             s ? s : "this");
    *allows |= !strcmp(s, type) || !strcmp(s, "any") || (!strcmp(s, "number") && !strcmp(type, "integer"));
    return true;
}

bool type_allows(struct compile *c, int sub, const char *type, bool *allows, struct err *e)
{
    const json_t *t = schema_key(&c->doc, sub, "type");
    *allows = !t;
    if (!t) return true;
    if (json_is_array(t)) {
        if (!compile_burn(c, 2 * (long)json_array_size(t), e)) return false;
        for (size_t i = 0; i < json_array_size(t); i++)
            if (!one_type(c, sub, json_array_get(t, i), type, allows, e)) return false;
    } else if (!one_type(c, sub, t, type, allows, e)) {
        return false;
    }
    if (!strcmp(type, "null") && json_is_true(schema_key(&c->doc, sub, "nullable"))) *allows = true;
    return true;
}

static struct scalars *info(struct compile *c, int sub, struct err *e)
{
    if (sub >= c->n_scalar) {
        const int n = c->doc.n_sub + 64;
        struct scalars *q = realloc(c->scalar, (size_t)n * sizeof *q);
        if (!q) return err_set(e, ERR_NOMEM, "no memory for a schema"), NULL;
        memset(q + c->n_scalar, 0, (size_t)(n - c->n_scalar) * sizeof *q);
        c->scalar = q;
        c->n_scalar = n;
    }
    return &c->scalar[sub];
}

/* Strings and numbers go the same way: a language of a literal, from its keywords. */
struct scalar_kind {
    const char *type;
    /* Joins to *acc what the keywords of this kind say. */
    bool (*own)(struct compile *c, int sub, bool neg, struct lengths *len, rx *acc, struct err *e);
    bool strings;
};

static rx all_of(const struct compile *c, const struct scalar_kind *k)
{
    return k->strings ? c->any_text : c->numbers;
}

/* Positive: and; negative: or. */
static void join(struct compile *c, bool neg, rx *acc, rx part)
{
    *acc = neg ? rx_or(c->pool, *acc, part) : rx_and(c->pool, *acc, part);
}

static rx without(struct compile *c, const struct scalar_kind *k, rx part)
{
    return rx_and(c->pool, all_of(c, k), rx_not(c->pool, part));
}

static bool language(struct compile *c, const struct scalar_kind *k, int lit, struct lengths *len, rx *out,
                     struct err *e);

static bool of_list(struct compile *c, const struct scalar_kind *k, int sub, const char *key, bool neg,
                    rx **part, int *n, struct err *e)
{
    const json_t *list;
    *n = 0;
    *part = NULL;
    if (!list_key(c, sub, key, &list, e)) return false;
    if (!list) return true;
    *n = (int)json_array_size(list);
    *part = compile_alloc(c, false, (size_t)*n + 1, sizeof **part, e);
    if (!*part) return false;
    for (int i = 0; i < *n; i++) {
        const int s = sub_in(c, sub, json_array_get(list, (size_t)i), key, i, e);
        if (s < 0 || !language(c, k, LITERAL(s, neg), NULL, &(*part)[i], e)) return false;
    }
    return true;
}

static bool one_of(struct compile *c, const struct scalar_kind *k, int sub, bool neg, rx *acc, struct err *e)
{
    rx *yes, *no;
    int n;
    if (!of_list(c, k, sub, "oneOf", false, &yes, &n, e) || !of_list(c, k, sub, "oneOf", true, &no, &n, e))
        return false;
    if (!yes) return true;
    if (!compile_burn(c, (long)n * n, e)) return false;
    /* none[i]: none of the first i; one[i]: exactly one of them */
    rx none = all_of(c, k), one = RX_NONE, two = RX_NONE;
    for (int i = 0; i < n; i++) {
        two = rx_or(c->pool, rx_and(c->pool, two, all_of(c, k)), rx_and(c->pool, one, yes[i]));
        one = rx_or(c->pool, rx_and(c->pool, one, no[i]), rx_and(c->pool, none, yes[i]));
        none = rx_and(c->pool, none, no[i]);
    }
    join(c, neg, acc, neg ? rx_or(c->pool, none, two) : one);
    return true;
}

static bool conditions(struct compile *c, const struct scalar_kind *k, int sub, bool neg, rx *acc,
                       struct err *e)
{
    const json_t *ji = schema_key(&c->doc, sub, "if"), *jt = schema_key(&c->doc, sub, "then"),
                 *je = schema_key(&c->doc, sub, "else");
    if (!ji || (!jt && !je)) return true;
    const int si = sub_of(c, sub, ji, "if", e), st = jt ? sub_of(c, sub, jt, "then", e) : DOC_TRUE,
              se = je ? sub_of(c, sub, je, "else", e) : DOC_TRUE;
    rx yes, no, then, other;
    if (si < 0 || st < 0 || se < 0 || !language(c, k, LITERAL(si, false), NULL, &yes, e) ||
        !language(c, k, LITERAL(si, true), NULL, &no, e) ||
        !language(c, k, LITERAL(st, neg), NULL, &then, e) ||
        !language(c, k, LITERAL(se, neg), NULL, &other, e))
        return false;
    join(c, neg, acc, rx_or(c->pool, rx_and(c->pool, yes, then), rx_and(c->pool, no, other)));
    return true;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Whole numbers beyond 64 bits come as reals, which do not hold all of their digits. From 2^63 on the real's own value counts, and 2^64
 * stands for the number before it, the largest without a sign: programs print it as a bound, and hardly 2^64 itself. */
static void decimal_from(struct decimal *d, const json_t *v)
{
    char digits[32];
    const double two63 = 9223372036854775808.0, x = fabs(json_number_value(v));
    if (json_is_integer(v)) {
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(v));
        decimal_read(d, digits);
    } else if (x >= two63 && x <= 2 * two63) {
        snprintf(digits, sizeof digits, "%s%.0f", json_real_value(v) < 0 ? "-" : "", x);
        decimal_read(d, x == 2 * two63 && json_real_value(v) > 0 ? "18446744073709551615" : digits);
    } else {
        decimal_of(d, json_real_value(v));
    }
}

/* The constants of enum and const. */
static bool constants(struct compile *c, const struct scalar_kind *k, int sub, bool neg, rx *acc,
                      struct err *e)
{
    const json_t *list, *one = schema_key(&c->doc, sub, "const");
    if (!list_key(c, sub, "enum", &list, e)) return false;
    for (int which = 0; which < 2; which++) {
        const json_t *from = which ? one : list;
        if (!from) continue;
        const size_t n = which ? 1 : json_array_size(from);
        rx *part = compile_alloc(c, false, n + 1, sizeof *part, e);
        const char **text = compile_alloc(c, false, n + 1, sizeof *text, e);
        size_t n_part = 0, n_text = 0;
        long sorting = 4; /* of each: the more there are, the farther apart they lie */
        for (size_t half = n; half > 1; half /= 2) sorting += 2;
        if (!part || !text || !compile_burn(c, (long)n * sorting, e)) return false;
        for (size_t i = 0; i < n; i++) {
            const json_t *v = which ? from : json_array_get(from, i);
            struct decimal d;
            if (k->strings && json_is_string(v)) {
                if (strlen(json_string_value(v)) != json_string_length(v))
                    return schema_refuse(&c->doc, sub, ERR_UNSUPPORTED, which ? "const" : "enum", e,
                                         "a string with a NUL");
                text[n_text++] = json_string_value(v);
            } else if (!k->strings && json_is_number(v)) {
                decimal_from(&d, v);
                if (!compile_burn(c, 100, e)) return false;
                part[n_part++] = neg ? number_equal(c->pool, &d) : number_written(c->pool, &d, true);
            }
        }
        if (n_text > 0) { /* ascending and distinct */
            size_t kept = 0;
            qsort(text, n_text, sizeof *text, by_text);
            for (size_t i = 0; i < n_text; i++)
                if (!i || strcmp(text[i], text[kept - 1])) text[kept++] = text[i];
            part[n_part++] = rx_texts(c->pool, text, (int)kept);
        }
        rx r = rx_or_all(c->pool, part, n_part);
        join(c, neg, acc, neg ? without(c, k, r) : r);
    }
    return true;
}

static bool language_of(struct compile *c, const struct scalar_kind *k, int sub, bool neg,
                        struct lengths *len, rx *out, struct err *e)
{
    rx acc = neg ? RX_NONE : all_of(c, k), part, *list;
    bool allows;
    int n;
    if (!compile_burn(c, 20, e)) return false;
    if (!schema_doc_check(&c->doc, sub, e) || !type_allows(c, sub, k->type, &allows, e)) return false;
    if (!allows && k->strings) return *out = neg ? c->any_text : RX_NONE, true;
    if (!constants(c, k, sub, neg, &acc, e) || !k->own(c, sub, neg, len, &acc, e)) return false;
    for (int at = 0, to; (to = schema_doc_next_ref(&c->doc, sub, &at, e)) != DOC_NO_REF;) {
        if (to < 0 || !language(c, k, LITERAL(to, neg), neg ? NULL : len, &part, e)) return false;
        join(c, neg, &acc, part);
    }
    const json_t *all;
    if (!list_key(c, sub, "allOf", &all, e)) return false;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const int s = sub_in(c, sub, json_array_get(all, i), "allOf", (int)i, e);
        if (s < 0 || !language(c, k, LITERAL(s, neg), neg ? NULL : len, &part, e)) return false;
        join(c, neg, &acc, part);
    }
    if (!of_list(c, k, sub, "anyOf", neg, &list, &n, e)) return false;
    if (list) {
        part = neg ? all_of(c, k) : RX_NONE;
        for (int i = 0; i < n; i++)
            part = neg ? rx_and(c->pool, part, list[i]) : rx_or(c->pool, part, list[i]);
        join(c, neg, &acc, part);
    }
    if (!one_of(c, k, sub, neg, &acc, e)) return false;
    const json_t *not = schema_key(&c->doc, sub, "not");
    if (not ) {
        const int s = sub_of(c, sub, not, "not", e);
        if (s < 0 || !language(c, k, LITERAL(s, !neg), NULL, &part, e)) return false;
        join(c, neg, &acc, part);
    }
    if (!conditions(c, k, sub, neg, &acc, e)) return false;
    *out = acc;
    return true;
}

static bool language(struct compile *c, const struct scalar_kind *k, int lit, struct lengths *len, rx *out,
                     struct err *e)
{
    const int sub = lit / 2;
    const bool neg = lit & 1;
    if (sub <= DOC_FALSE) return *out = (sub == DOC_TRUE) == !neg ? all_of(c, k) : RX_NONE, true;
    struct scalars *s = info(c, sub, e);
    if (!s || !compile_burn(c, 2, e)) return false;
    struct memo_rx *m = k->strings ? &s->string : &s->number;
    if (!len && m->known[neg]) return *out = m->is[neg], true;
    if (m->busy)
        return schema_refuse(&c->doc, sub, ERR_REQUEST, "$ref", e,
                             "refers to itself, with no value in between");
    if (++c->depth > MAX_DEPTH) {
        c->depth--;
        return schema_refuse(&c->doc, sub, ERR_LIMIT, "", e, "schemas inside schemas deeper than %d",
                             MAX_DEPTH);
    }
    m->busy = true;
    const bool ok = language_of(c, k, sub, neg, len, out, e);
    c->depth--;
    s = info(c, sub, e); /* it may have moved */
    if (!s) return false;
    m = k->strings ? &s->string : &s->number;
    m->busy = false;
    if (ok && !len) m->is[neg] = *out, m->known[neg] = true;
    return ok && rx_ok(c->pool, e);
}

/* ---- strings ------------------------------------------------------------------------------------------------------------ */

static rx characters(struct compile *c, int64_t min, int64_t max)
{
    return rx_repeat(c->pool, rx_chars(c->pool, 0, 0x10ffff), (int)min, (int)max);
}

static bool own_strings(struct compile *c, int sub, bool neg, struct lengths *len, rx *acc, struct err *e)
{
    int64_t min, max;
    rx part;
    if (!whole_key(c, sub, "minLength", &min, e) || !whole_key(c, sub, "maxLength", &max, e)) return false;
    if (min > 0 && len) {
        if (min > len->min) len->min = min;
    } else if (min > 0) {
        if (min > MAX_LENGTH)
            return schema_refuse(&c->doc, sub, ERR_LIMIT, "minLength", e, "above %d", MAX_LENGTH);
        join(c, neg, acc, neg ? characters(c, 0, min - 1) : characters(c, min, -1));
    }
    if (max >= 0 && len) {
        if (len->max < 0 || max < len->max) len->max = max;
    } else if (max >= 0) {
        if (max > MAX_LENGTH)
            return schema_refuse(&c->doc, sub, ERR_LIMIT, "maxLength", e, "above %d", MAX_LENGTH);
        join(c, neg, acc, neg ? characters(c, max + 1, -1) : characters(c, 0, max));
    }
    const json_t *pattern = schema_key(&c->doc, sub, "pattern");
    if (pattern) {
        if (!json_is_string(pattern))
            return schema_refuse(&c->doc, sub, ERR_REQUEST, "pattern", e, "has to be a string");
        const int name = compile_name(c, json_string_value(pattern), e);
        if (name < 0 || !compile_pattern(c, sub, "pattern", name, &part, e)) return false;
        join(c, neg, acc, neg ? rx_and(c->pool, c->any_text, rx_not(c->pool, part)) : part);
    }
    const char *format = json_string_value(schema_key(&c->doc, sub, "format"));
    if (format && format_known(format)) {
        int most;
        if (!format_texts(c->pool, format, neg, &part, &most, e)) return false;
        if (neg) part = rx_and(c->pool, c->any_text, rx_not(c->pool, part));
        if (most >= 0 && len) {
            if (len->max < 0 || most < len->max) len->max = most;
        } else if (most >= 0) {
            part = rx_and(c->pool, part, characters(c, 0, most));
        }
        join(c, neg, acc, part);
    }
    return true;
}

static const struct scalar_kind of_strings = { "string", own_strings, true };

bool scalar_strings(struct compile *c, int lit, struct lengths *len, rx *out, struct err *e)
{
    return language(c, &of_strings, lit, len, out, e);
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------ */

static bool bound(struct compile *c, int sub, const json_t *v, bool low, bool strictly, bool neg, rx *acc)
{
    struct decimal d;
    (void)sub;
    decimal_from(&d, v);
    /* not (x >= d) is x < d */
    const bool up = low != neg, strict = strictly != neg;
    join(c, neg, acc, up ? number_at_least(c->pool, &d, strict) : number_at_most(c->pool, &d, strict));
    return true;
}

static bool own_numbers(struct compile *c, int sub, bool neg, struct lengths *len, rx *acc, struct err *e)
{
    bool number, integer;
    const json_t *v, *exclusive;
    (void)len;
    if (!type_allows(c, sub, "number", &number, e) || !type_allows(c, sub, "integer", &integer, e))
        return false;
    if (!number) {
        const rx part =
            neg ? rx_and(c->pool, c->numbers, rx_not(c->pool, integer ? number_integral(c->pool) : RX_NONE))
            : integer ? number_integers(c->pool, c->doc.draft != DRAFT_4)
                      : RX_NONE;
        join(c, neg, acc, part);
    }
    for (int low = 0; low < 2; low++) {
        const char *key = low ? "minimum" : "maximum", *other = low ? "exclusiveMinimum" : "exclusiveMaximum";
        exclusive = schema_key(&c->doc, sub, other);
        if (!decimal_key(c, sub, key, &v, e)) return false;
        if (v && !bound(c, sub, v, low, json_is_true(exclusive), neg, acc)) return false;
        if (json_is_boolean(exclusive)) continue; /* draft 4: said of the bound */
        if (!decimal_key(c, sub, other, &v, e)) return false;
        if (v && !bound(c, sub, v, low, true, neg, acc)) return false;
    }
    if (!decimal_key(c, sub, "multipleOf", &v, e)) return false;
    if (v) {
        struct decimal d;
        rx part;
        decimal_from(&d, v);
        if (d.n == 0 || d.negative)
            return schema_refuse(&c->doc, sub, ERR_REQUEST, "multipleOf", e, "has to be above 0");
        struct err why;
        if (!number_multiples(c->pool, &d, &part, &why))
            return schema_refuse(&c->doc, sub, why.code, "multipleOf", e, "%s", why.msg);
        join(c, neg, acc, neg ? rx_and(c->pool, c->plain_numbers, rx_not(c->pool, part)) : part);
    }
    return true;
}

static const struct scalar_kind of_numbers = { "number", own_numbers, false };

bool scalar_numbers(struct compile *c, int lit, rx *out, struct err *e)
{
    return language(c, &of_numbers, lit, NULL, out, e);
}

/* ---- null, true, false -------------------------------------------------------------------------------------------------- */

static bool holds(struct compile *c, int sub, const json_t *v, int depth, bool *is, struct err *e);

static bool count(struct compile *c, int sub, const char *key, const json_t *v, int depth, int *n, int *total,
                  struct err *e)
{
    const json_t *list;
    *n = *total = 0;
    if (!list_key(c, sub, key, &list, e)) return false;
    *total = list ? (int)json_array_size(list) : -1;
    for (int i = 0; i < *total; i++) {
        bool is;
        const int s = sub_in(c, sub, json_array_get(list, (size_t)i), key, i, e);
        if (s < 0 || !holds(c, s, v, depth + 1, &is, e)) return false;
        *n += is;
    }
    return true;
}

static bool holds(struct compile *c, int sub, const json_t *v, int depth, bool *is, struct err *e)
{
    bool allows;
    int n, total;
    const json_t *j;
    if (sub <= DOC_FALSE) return *is = sub == DOC_TRUE, true;
    if (depth > MAX_DEPTH)
        return schema_refuse(&c->doc, sub, ERR_REQUEST, "$ref", e,
                             "refers to itself, with no value in between");
    if (!schema_doc_check(&c->doc, sub, e) || !compile_burn(c, 12, e)) return false;
    if (!type_allows(c, sub, json_is_null(v) ? "null" : "boolean", &allows, e)) return false;
    bool all = allows;
    if (!list_key(c, sub, "enum", &j, e)) return false;
    if (j) {
        bool found = false;
        if (!compile_burn(c, (long)json_array_size(j), e)) return false;
        for (size_t i = 0; i < json_array_size(j); i++) found |= json_equal(json_array_get(j, i), v);
        all &= found;
    }
    if ((j = schema_key(&c->doc, sub, "const"))) all &= json_equal(j, v);
    for (int at = 0, to; all && (to = schema_doc_next_ref(&c->doc, sub, &at, e)) != DOC_NO_REF;) {
        if (to < 0 || !holds(c, to, v, depth + 1, is, e)) return false;
        all &= *is;
    }
    if (all) {
        if (!count(c, sub, "allOf", v, depth, &n, &total, e)) return false;
        if (total >= 0) all &= n == total;
    }
    if (all) {
        if (!count(c, sub, "anyOf", v, depth, &n, &total, e)) return false;
        if (total >= 0) all &= n > 0;
    }
    if (all) {
        if (!count(c, sub, "oneOf", v, depth, &n, &total, e)) return false;
        if (total >= 0) all &= n == 1;
    }
    if (all && (j = schema_key(&c->doc, sub, "not"))) {
        const int s = sub_of(c, sub, j, "not", e);
        if (s < 0 || !holds(c, s, v, depth + 1, is, e)) return false;
        all &= !*is;
    }
    const json_t *test = schema_key(&c->doc, sub, "if");
    if (all && test) {
        int s = sub_of(c, sub, test, "if", e);
        if (s < 0 || !holds(c, s, v, depth + 1, is, e)) return false;
        const char *key = *is ? "then" : "else";
        if ((j = schema_key(&c->doc, sub, key))) {
            s = sub_of(c, sub, j, key, e);
            if (s < 0 || !holds(c, s, v, depth + 1, is, e)) return false;
            all &= *is;
        }
    }
    *is = all;
    return true;
}

bool scalar_holds(struct compile *c, int lit, const json_t *value, bool *is, struct err *e)
{
    if (!holds(c, lit / 2, value, 0, is, e)) return false;
    *is = *is != (lit & 1);
    return true;
}
