/* jinja_filters.c - filters on single values; those on sequences are in jinja_seqfilters.c. Absent because no chat template
 * can need them: pprint, random, urlize, wordwrap, xmlattr. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"

#define FILTER(name) static struct jval name(struct jvm *vm, struct jval v, const struct jargs *args)

static bool no_args(struct jvm *vm, const char *what, const struct jargs *args)
{
    struct jval none[1];
    return jbind(vm, what, args, "", none);
}

/* --- text --------------------------------------------------------------------------------------------------------------- */

FILTER(f_upper) { return no_args(vm, "upper", args) ? jstr_upper(vm, j_to_str(vm, v).s) : j_none(); }
FILTER(f_lower) { return no_args(vm, "lower", args) ? jstr_lower(vm, j_to_str(vm, v).s) : j_none(); }
FILTER(f_capitalize)
{
    return no_args(vm, "capitalize", args) ? jstr_capitalize(vm, j_to_str(vm, v).s) : j_none();
}
FILTER(f_string) { return no_args(vm, "string", args) ? j_to_str(vm, v) : j_none(); }

FILTER(f_trim)
{
    struct jval chars;
    if (!jbind(vm, "trim", args, "chars?", &chars)) return j_none();
    const struct jstr *c = chars.t == J_MISSING || chars.t == J_NONE ? NULL : jarg_str(vm, "trim", chars);
    return vm->failed ? j_none() : jstr_strip(vm, j_to_str(vm, v).s, c, STRIP_LEFT | STRIP_RIGHT);
}

/* Not str.title(): words begin after space, hyphen or an opening bracket only. */
FILTER(f_title)
{
    if (!no_args(vm, "title", args)) return j_none();
    const struct jstr *s = j_str(vm, v).s;
    struct jbuf b = jbuf_new(vm);
    bool begin = true;
    for (size_t i = 0; i < s->len && vm_step(vm, 1);) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const struct jval one = j_str_sub(vm, s, i, (size_t)n);
        jbuf_str(&b, (begin ? jstr_upper(vm, one.s) : jstr_lower(vm, one.s)).s);
        begin = uni_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
        i += (size_t)n;
    }
    return jbuf_take(&b);
}

FILTER(f_replace)
{
    struct jval a[3];
    if (!jbind(vm, "replace", args, "old new count?", a)) return j_none();
    const int64_t max = a[2].t == J_NONE ? -1 : jarg_int(vm, "replace", a[2], -1);
    if (vm->failed) return j_none();
    if (!vm->autoescape) return jstr_replace(vm, j_str(vm, v).s, j_str(vm, a[0]).s, j_str(vm, a[1]).s, max);
    const struct jval old = j_to_str(vm, a[0]);
    struct jval s = j_to_str(vm, v), by = j_to_str(vm, a[1]);
    if (old.s->markup || (by.s->markup && !s.s->markup)) s = j_escape(vm, v);
    if (vm->failed) return j_none();
    if (s.s->markup) by = j_escape(vm, by);
    return vm->failed ? j_none() : jstr_replace(vm, s.s, old.s, by.s, max);
}

static struct jval plus(struct jvm *vm, struct jval a, struct jval b)
{
    return vm->failed ? j_none() : j_binary(vm, '+', a, b);
}

static struct jval join(struct jvm *vm, struct jval sep, struct jval list)
{
    if (vm->failed) return j_none();
    return sep.s->markup ? j_markup_join(vm, sep.s, list) : jstr_join(vm, sep.s, list, false);
}

/* The filter in jinja2's own steps: which of them escapes what depends on where markup stands. */
static struct jval indent_markup(struct jvm *vm, struct jval v, struct jval pad, bool first, bool blank)
{
    struct jval newline = j_cstr(vm, "\n"), r, rest = j_seq(vm, J_LIST, 0);
    if (v.s->markup) {
        pad = j_markup(vm, pad.s, true);
        newline = j_markup(vm, newline.s, true);
    }
    const struct jval text = plus(vm, v, newline);
    if (vm->failed) return j_none();
    const struct jval lines = jstr_splitlines(vm, text.s, false);
    if (blank) {
        r = join(vm, plus(vm, newline, pad), lines);
    } else {
        for (size_t i = 1; i < lines.seq->n && vm_step(vm, 1); i++)
            jseq_push(vm, rest, lines.seq->v[i].s->len ? plus(vm, pad, lines.seq->v[i]) : lines.seq->v[i]);
        r = lines.seq->v[0];
        if (lines.seq->n > 1) r = plus(vm, r, plus(vm, newline, join(vm, newline, rest)));
    }
    return first ? plus(vm, pad, r) : r;
}

FILTER(f_indent)
{
    struct jval a[3];
    if (!jbind(vm, "indent", args, "width? first? blank?", a)) return j_none();
    if (v.t != J_STR) {
        if (v.t == J_UNDEF)
            vm_type_error(vm, "%s", v.undef->msg);
        else
            vm_type_error(vm, "indent: needs a string, not '%s'", j_type_name(v));
        return j_none();
    }
    struct jval pad = a[0];
    if (pad.t != J_STR) {
        struct jbuf spaces = jbuf_new(vm);
        jbuf_pad(&spaces, ' ', jarg_int(vm, "indent", a[0], 4));
        pad = jbuf_take(&spaces);
    }
    const bool first = a[1].t != J_MISSING && j_truth(vm, a[1]),
               blank = a[2].t != J_MISSING && j_truth(vm, a[2]);
    if (vm->failed) return j_none();
    if (v.s->markup || pad.s->markup) return indent_markup(vm, v, pad, first, blank);
    struct jbuf b = jbuf_new(vm), with_end = jbuf_new(vm);
    jbuf_str(&with_end, v.s);
    jbuf_puts(&with_end, "\n"); /* so that a newline at the end leaves an empty last line */
    const struct jval lines = jstr_splitlines(vm, jbuf_take(&with_end).s, false);
    for (size_t i = 0; i < lines.seq->n && vm_step(vm, 1); i++) {
        const struct jstr *line = lines.seq->v[i].s;
        if (i) jbuf_puts(&b, "\n");
        if (i == 0 ? first : blank || line->len) jbuf_str(&b, pad.s);
        jbuf_str(&b, line);
    }
    return jbuf_take(&b);
}

FILTER(f_center)
{
    struct jval w;
    if (!jbind(vm, "center", args, "width?", &w)) return j_none();
    const int64_t width = jarg_int(vm, "center", w, 80);
    return vm->failed ? j_none() : jstr_center(vm, j_to_str(vm, v).s, width);
}

FILTER(f_truncate)
{
    struct jval a[4];
    if (!jbind(vm, "truncate", args, "length? killwords? end? leeway?", a)) return j_none();
    const struct jval end = a[2].t == J_MISSING ? j_cstr(vm, "...") : a[2];
    if (!jarg_str(vm, "truncate", end)) return j_none();
    const int64_t length = jarg_int(vm, "truncate", a[0], 255), n_end = jstr_chars(vm, end.s),
                  n = j_len(vm, v), leeway = a[3].t == J_NONE ? 5 : jarg_int(vm, "truncate", a[3], 5);
    if (length < n_end || leeway < 0) vm_type_error(vm, "truncate: the length must hold the end mark");
    if (vm->failed) return j_none();
    if (n >= 0 && n - leeway <= length) return v; /* short enough, whatever it is */
    struct jstr *s = jarg_str(vm, "truncate", v);
    if (!s) return j_none();
    size_t cut = jstr_offset(vm, s, length - n_end);
    if (a[1].t == J_MISSING || !j_truth(vm, a[1])) {
        size_t space = cut;
        while (space > 0 && s->p[space - 1] != ' ') space--;
        if (space > 0) cut = space - 1;
    }
    return j_binary(vm, '+', j_str_sub(vm, s, 0, cut), end);
}

FILTER(f_wordcount)
{
    if (!no_args(vm, "wordcount", args)) return j_none();
    const struct jstr *s = j_to_str(vm, v).s;
    int64_t words = 0;
    bool in_word = false;
    for (size_t i = 0; i < s->len && vm_step(vm, 1);) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool word = c == '_' || (c >= '0' && c <= '9') || uni_is_alpha(c);
        words += word && !in_word;
        in_word = word;
        i += (size_t)n;
    }
    return j_int(words);
}

FILTER(f_escape) { return no_args(vm, "escape", args) ? j_escape(vm, v) : j_none(); }
FILTER(f_forceescape) { return no_args(vm, "forceescape", args) ? j_escape(vm, j_str(vm, v)) : j_none(); }
FILTER(f_striptags) { return no_args(vm, "striptags", args) ? j_striptags(vm, j_str(vm, v).s) : j_none(); }

static void url_quote(struct jbuf *b, struct jval v, bool query)
{
    const struct jstr *s = j_to_str(b->vm, v).s;
    for (size_t i = 0; i < s->len && vm_step(b->vm, 1); i++) {
        const unsigned char c = (unsigned char)s->p[i];
        const bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                           (c && strchr("_.-~", c)) || (c == '/' && !query);
        char hex[4];
        snprintf(hex, sizeof hex, "%%%02X", c);
        if (plain)
            jbuf_sub(b, s, i, 1);
        else if (c == ' ' && query)
            jbuf_add(b, "+", 1, jstr_data(s, i));
        else
            jbuf_add(b, hex, 3, jstr_data(s, i));
    }
}

FILTER(f_urlencode)
{
    struct jbuf b = jbuf_new(vm);
    if (!no_args(vm, "urlencode", args)) return j_none();
    if (v.t == J_STR || !j_iterable(v)) {
        url_quote(&b, v, false);
        return jbuf_take(&b);
    }
    struct jview view = { v.d, VIEW_ITEMS };
    const struct jval pairs = j_items(vm, v.t == J_DICT ? (struct jval){ .t = J_VIEW, .view = &view } : v);
    for (size_t i = 0; i < pairs.seq->n && !vm->failed; i++) {
        const struct jval pair = j_items(vm, pairs.seq->v[i]);
        if (pair.seq->n != 2) {
            vm_type_error(vm, "urlencode: needs pairs");
            break;
        }
        if (i) jbuf_puts(&b, "&");
        url_quote(&b, pair.seq->v[0], true);
        jbuf_puts(&b, "=");
        url_quote(&b, pair.seq->v[1], true);
    }
    return jbuf_take(&b);
}

FILTER(f_format)
{
    if (args->n_pos && args->n_kw) {
        vm_type_error(vm, "can't handle positional and keyword arguments at the same time");
        return j_none();
    }
    struct jval values = args->n_kw ? j_dict(vm) : j_seq(vm, J_TUPLE, args->n_pos);
    for (size_t i = 0; i < args->n_pos; i++) jseq_push(vm, values, args->pos[i]);
    for (size_t i = 0; i < args->n_kw; i++)
        jdict_set(vm, values.d, (struct jval){ .t = J_STR, .s = (struct jstr *)args->kw[i].name },
                  args->kw[i].val);
    return vm->failed ? j_none() : j_percent(vm, j_to_str(vm, v).s, values);
}

FILTER(f_filesizeformat)
{
    struct jval binary;
    if (!jbind(vm, "filesizeformat", args, "binary?", &binary)) return j_none();
    const bool two = binary.t != J_MISSING && j_truth(vm, binary);
    double bytes;
    if (j_is_number(v))
        bytes = j_to_double(v);
    else if (v.t != J_STR || !vm_text(vm, v.s->len) || !j_parse_float(v.s, &bytes)) {
        vm_type_error(vm, "filesizeformat: needs a number");
        return j_none();
    }
    const double base = two ? 1024 : 1000;
    char text[64];
    if (bytes == 1) return j_cstr(vm, "1 Byte");
    if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes) + 0.0);
    } else {
        static const char *const unit[] = { "k", "M", "G", "T", "P", "E", "Z", "Y" };
        int i = 0;
        double size = base * base;
        while (i < 7 && !(bytes < size)) {
            i++;
            size *= base;
        }
        snprintf(text, sizeof text, "%.1f %s%s", base * bytes / size, two && i == 0 ? "K" : unit[i],
                 two ? "iB" : "B");
    }
    return j_str_copy(vm, text, strlen(text), PROV_TRUSTED);
}

/* --- numbers --------------------------------------------------------------------------------------------------------------- */

FILTER(f_abs)
{
    int64_t i;
    if (!no_args(vm, "abs", args)) return j_none();
    if (v.t == J_FLOAT) return j_float(fabs(v.f));
    if (j_to_int(v, &i)) {
        if (i != INT64_MIN) return j_int(i < 0 ? -i : i);
        vm_fail(vm, ERR_LIMIT, "integer too large");
    } else if (v.t == J_UNDEF) {
        vm_type_error(vm, "%s", v.undef->msg);
    } else {
        vm_type_error(vm, "bad operand type for abs(): '%s'", j_type_name(v));
    }
    return j_none();
}

FILTER(f_int)
{
    struct jval a[2];
    int64_t i;
    double f = NAN;
    if (!jbind(vm, "int", args, "default? base?", a)) return j_none();
    const int64_t base = jarg_int(vm, "int", a[1], 10);
    if (j_to_int(v, &i)) return j_int(i);
    if (v.t == J_STR) {
        vm_text(vm, v.s->len);
        if ((base == 0 || (base >= 2 && base <= 36)) && j_parse_int(v.s, (int)base, &i)) return j_int(i);
        if (!j_parse_float(v.s, &f)) f = NAN;
        if (isinf(f)) f = NAN; /* an overflow, which means the default too */
    } else if (v.t == J_FLOAT) {
        f = v.f;
        if (isinf(f)) vm_type_error(vm, "cannot convert float infinity to integer");
    } else if (v.t == J_UNDEF) {
        vm_type_error(vm, "%s", v.undef->msg);
    }
    if (vm->failed) return j_none();
    if (isnan(f)) return a[0].t == J_MISSING ? j_int(0) : a[0];
    if (fabs(f) < 9.2e18) return j_int((int64_t)f);
    vm_fail(vm, ERR_LIMIT, "integer too large");
    return j_none();
}

FILTER(f_float)
{
    struct jval otherwise;
    double f;
    if (!jbind(vm, "float", args, "default?", &otherwise)) return j_none();
    if (j_is_number(v)) return j_float(j_to_double(v));
    if (v.t == J_STR && vm_text(vm, v.s->len) && j_parse_float(v.s, &f)) return j_float(f);
    if (v.t == J_UNDEF) vm_type_error(vm, "%s", v.undef->msg);
    return otherwise.t == J_MISSING ? j_float(0) : otherwise;
}

FILTER(f_round)
{
    struct jval a[2];
    if (!jbind(vm, "round", args, "precision? method?", a)) return j_none();
    const int64_t digits = jarg_int(vm, "round", a[0], 0);
    const struct jval method = a[1].t == J_MISSING ? j_cstr(vm, "common") : a[1];
    const bool ceiling = method.t == J_STR && jstr_is(method.s, "ceil"),
               flooring = method.t == J_STR && jstr_is(method.s, "floor");
    if (!ceiling && !flooring && !(method.t == J_STR && jstr_is(method.s, "common"))) {
        vm_type_error(vm, "method must be common, ceil or floor");
        return j_none();
    }
    if (!j_is_number(v)) {
        if (v.t == J_UNDEF)
            vm_type_error(vm, "%s", v.undef->msg);
        else
            vm_type_error(vm, "round: needs a number, not '%s'", j_type_name(v));
        return j_none();
    }
    if (ceiling || flooring) {
        const double p = pow(10, (double)digits), x = j_to_double(v) * p;
        if (!isfinite(x)) {
            vm_type_error(vm, "cannot round this number");
            return j_none();
        }
        return j_float(((ceiling ? ceil(x) : floor(x)) + 0.0) / p); /* Python's are ints, which have no -0 */
    }
    if (v.t == J_FLOAT) return j_float(j_round(v.f, digits));
    int64_t i = 0;
    j_to_int(v, &i);
    if (digits >= 0) return j_int(i);
    if (digits < -18) return j_int(0);
    int64_t p = 1;
    for (int64_t k = digits; k < 0; k++) p *= 10;
    int64_t q = i / p, rest = i % p;
    const int64_t twice = rest < 0 ? -2 * rest : 2 * rest; /* p <= 10^18, so this fits */
    if (twice > p || (twice == p && (q & 1))) q += i < 0 ? -1 : 1;
    if (!__builtin_mul_overflow(q, p, &i)) return j_int(i);
    vm_fail(vm, ERR_LIMIT, "integer too large");
    return j_none();
}

/* --- anything ---------------------------------------------------------------------------------------------------------------- */

FILTER(f_default)
{
    struct jval a[2];
    if (!jbind(vm, "default", args, "default_value? boolean?", a)) return j_none();
    const bool falsy_too = a[1].t != J_MISSING && j_truth(vm, a[1]);
    if (v.t != J_UNDEF && !(falsy_too && !j_truth(vm, v))) return v;
    return a[0].t == J_MISSING ? j_cstr(vm, "") : a[0];
}

FILTER(f_length)
{
    if (!no_args(vm, "length", args)) return j_none();
    const int64_t n = j_len(vm, v);
    if (n < 0) vm_type_error(vm, "object of type '%s' has no len()", j_type_name(v));
    return j_int(n);
}

FILTER(f_attr)
{
    struct jval name;
    if (!jbind(vm, "attr", args, "name", &name)) return j_none();
    const struct jstr *n = jarg_str(vm, "attr", name);
    if (!n) return j_none();
    if (v.t == J_DICT && !jmethod_find(J_DICT, n)) /* attributes only, no items */
        return j_undef(vm, "'dict object' has no attribute '%.*s'", n->len > 60 ? 60 : (int)n->len, n->p);
    return j_getattr(vm, v, n);
}

FILTER(f_safe) { return no_args(vm, "safe", args) ? j_markup(vm, j_to_str(vm, v).s, true) : j_none(); }

static const struct jfilter table[] = {
    { "abs", f_abs },
    { "attr", f_attr },
    { "capitalize", f_capitalize },
    { "center", f_center },
    { "count", f_length },
    { "d", f_default },
    { "default", f_default },
    { "e", f_escape },
    { "escape", f_escape },
    { "filesizeformat", f_filesizeformat },
    { "float", f_float },
    { "forceescape", f_forceescape },
    { "format", f_format },
    { "indent", f_indent },
    { "int", f_int },
    { "length", f_length },
    { "lower", f_lower },
    { "replace", f_replace },
    { "round", f_round },
    { "safe", f_safe },
    { "string", f_string },
    { "striptags", f_striptags },
    { "title", f_title },
    { "tojson", j_tojson },
    { "trim", f_trim },
    { "truncate", f_truncate },
    { "upper", f_upper },
    { "urlencode", f_urlencode },
    { "wordcount", f_wordcount },
};

const struct jfilter *jfilter_find(const struct jstr *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (jstr_is(name, table[i].name)) return &table[i];
    return jseqfilter_find(name);
}
