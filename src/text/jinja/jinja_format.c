/* jinja_format.c - numbers from text and back: int(), float(), round(), "%" and str.format(). */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"

#define MAX_PRECISION 1000 /* digits a template may ask for */
#define NUMBER_BYTES (MAX_PRECISION + 400)

double j_round(double f, int64_t digits)
{
    if (!isfinite(f) || digits > 330) return f;
    if (digits < 0) {
        if (digits < -310) return copysign(0, f);
        const double p = pow(10, (double)-digits);
        return nearbyint(f / p) * p;
    }
    char text[NUMBER_BYTES]; /* the C library rounds the exact binary value, half to even, as Python does */
    snprintf(text, sizeof text, "%.*f", (int)digits, f);
    return strtod(text, NULL);
}

/* Text without the white space around it and without underscores between digits; false when it has others or is long. */
static bool plain_number(const struct jstr *s, char *out, size_t n_out)
{
    size_t from = 0, to = s->len, n = 0;
    int k;
    while (from < to && uni_is_space(utf8_at(s->p + from, to - from, &k))) from += (size_t)k;
    while (to > from && (unsigned char)s->p[to - 1] < 0x80 && uni_is_space((unsigned char)s->p[to - 1])) to--;
    for (size_t i = from; i < to; i++) {
        const char c = s->p[i];
        if (c == '_') {
            if (i == from || i + 1 == to ||
                !((unsigned)(s->p[i - 1] - '0') < 10 || (unsigned)((s->p[i - 1] | 32) - 'a') < 26) ||
                s->p[i + 1] == '_')
                return false;
            continue;
        }
        if (n + 1 >= n_out || c == '\0') return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return n > 0;
}

bool j_parse_float(const struct jstr *s, double *out)
{
    char text[400], *end;
    if (!plain_number(s, text, sizeof text)) return false;
    const char *p = text + (text[0] == '-' || text[0] == '+');
    if ((p[0] | 32) == 'n' || (p[0] | 32) == 'i') {
        static const char *const words[] = { "nan", "inf", "infinity" };
        for (size_t i = 0; i < 3; i++) {
            size_t k = 0;
            while (words[i][k] && (p[k] | 32) == words[i][k]) k++;
            if (words[i][k] || p[k]) continue;
            *out = i == 0 ? NAN : text[0] == '-' ? -INFINITY : INFINITY;
            return true;
        }
        return false;
    }
    if (strpbrk(p, "xXpP(")) return false; /* hexadecimal floats are C's */
    *out = strtod(text, &end);
    return end != text && *end == '\0';
}

bool j_parse_int(const struct jstr *s, int base, int64_t *out)
{
    char text[100], *end;
    if (!plain_number(s, text, sizeof text)) return false;
    const bool minus = text[0] == '-';
    const char *p = text + (minus || text[0] == '+');
    if (*p == '0' && p[1]) {
        const char kind = (char)(p[1] | 32);
        const int prefix = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
        if (prefix && (base == prefix || base == 0)) {
            p += 2;
            base = prefix;
        } else if (base == 0 && strspn(p, "0") != strlen(p)) {
            return false;
        }
    }
    if (base == 0) base = 10;
    if (!((unsigned)(*p - '0') < 10 || (unsigned)((*p | 32) - 'a') < 26)) return false;
    if (base != 16 && strpbrk(p, "xX") && base <= 33) return false;
    errno = 0;
    const unsigned long long v = strtoull(p, &end, base);
    if (*end || errno == ERANGE || v > (unsigned long long)INT64_MAX + minus) return false;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* --- one number, one string ------------------------------------------------------------------------------------------- */

struct spec {
    uint32_t fill;
    char align; /* < > ^ = or 0 */
    char sign;  /* + - or space */
    bool alt, comma;
    char group;               /* , or _ */
    int64_t width, precision; /* precision -1: none */
    char type;                /* 0: none */
};

/* Digits (sign apart) padded as the spec says. */
static void put_padded(struct jbuf *b, const struct spec *s, const char *sign, const char *digits,
                       char default_align)
{
    const int64_t room = s->width - (int64_t)(strlen(sign) + strlen(digits));
    const char align = s->align ? s->align : default_align;
    const int64_t left = room <= 0 || align == '<' || align == '=' ? 0 : align == '^' ? room / 2 : room;
    if (align == '=') jbuf_puts(b, sign);
    for (int64_t i = 0; i < (align == '=' ? room : left) && vm_step(b->vm, 1); i++)
        jbuf_char(b, s->fill, false);
    if (align != '=') jbuf_puts(b, sign);
    jbuf_puts(b, digits);
    for (int64_t i = align == '=' ? room : left; i < room && vm_step(b->vm, 1); i++)
        jbuf_char(b, s->fill, false);
}

/* Separators into the integer part of digits. */
static void group_digits(char *digits, size_t n_buf, char sep, int every)
{
    const size_t whole = strcspn(digits, ".eE%"), len = strlen(digits);
    const size_t seps = whole ? (whole - 1) / (size_t)every : 0;
    if (len + seps + 1 > n_buf) return;
    memmove(digits + whole + seps, digits + whole, len - whole + 1);
    for (size_t i = whole, o = whole + seps, k = 0; i > 0 && o > i;) {
        digits[--o] = digits[--i];
        if (++k % (size_t)every == 0) digits[--o] = sep;
    }
}

static void put_float(struct jbuf *b, const struct spec *s, double f)
{
    char digits[NUMBER_BYTES], type = s->type ? s->type : 'r';
    const char *sign = signbit(f) && !isnan(f) ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
    f = fabs(f);
    int64_t precision = s->precision < 0 ? 6 : s->precision;
    if (precision > MAX_PRECISION) {
        vm_fail(b->vm, ERR_LIMIT, "a precision of more than %d digits", MAX_PRECISION);
        return;
    }
    if (type == 'r' && s->precision < 0) {
        j_float_text(f, digits);
    } else if (isnan(f) || isinf(f)) {
        strcpy(digits, isnan(f) ? "nan" : "inf");
        if (type == 'F' || type == 'E' || type == 'G') strcpy(digits, isnan(f) ? "NAN" : "INF");
        if (type == '%') strcat(digits, "%");
    } else if (type == '%') {
        snprintf(digits, sizeof digits, "%.*f%%", (int)precision, f * 100);
    } else {
        if (precision == 0 && (type == 'g' || type == 'G' || type == 'r')) precision = 1;
        const char fmt[] = { '%',
                             s->alt ? '#' : '.',
                             s->alt ? '.' : '*',
                             s->alt        ? '*'
                             : type == 'r' ? 'g'
                                           : type,
                             s->alt ? (type == 'r' ? 'g' : type) : 0,
                             0 };
        snprintf(digits, sizeof digits, fmt, (int)precision, f);
        if (type == 'r' && !strpbrk(digits, ".e")) strcat(digits, ".0");
    }
    if (s->group) group_digits(digits, sizeof digits, s->group, 3);
    put_padded(b, s, sign, digits, '>');
}

static void put_int(struct jbuf *b, const struct spec *s, int64_t v)
{
    char digits[300];
    const char *sign = v < 0 ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
    const uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    const char *prefix = "";
    switch (s->type) {
    case 'x':
    case 'X':
        snprintf(digits, sizeof digits, s->type == 'x' ? "%" PRIx64 : "%" PRIX64, u);
        prefix = s->alt ? (s->type == 'x' ? "0x" : "0X") : "";
        break;
    case 'o':
        snprintf(digits, sizeof digits, "%" PRIo64, u);
        prefix = s->alt ? "0o" : "";
        break;
    case 'b': {
        int n = 0;
        for (int i = 63; i >= 0; i--)
            if (n || i == 0 || (u >> i & 1)) digits[n++] = u >> i & 1 ? '1' : '0';
        digits[n] = '\0';
        prefix = s->alt ? "0b" : "";
        break;
    }
    default: snprintf(digits, sizeof digits, "%" PRIu64, u);
    }
    if (s->group)
        group_digits(digits, sizeof digits, s->group,
                     s->type == 'x' || s->type == 'X' || s->type == 'o' || s->type == 'b' ? 4 : 3);
    if (s->precision > 0 && (int64_t)strlen(digits) < s->precision && s->precision < 200) { /* "%.5d" */
        const size_t n = strlen(digits), zeros = (size_t)s->precision - n;
        memmove(digits + zeros, digits, n + 1);
        memset(digits, '0', zeros);
    }
    char head[8];
    snprintf(head, sizeof head, "%s%s", sign, prefix);
    put_padded(b, s, head, digits, '>');
}

static void put_string(struct jbuf *b, const struct spec *sp, struct jstr *s, char default_align)
{
    size_t len = s->len;
    int64_t n = jstr_chars(b->vm, s);
    if (sp->precision >= 0 && sp->precision < n) {
        n = sp->precision;
        len = jstr_offset(b->vm, s, n);
    }
    const int64_t room = sp->width - n;
    const char align = sp->align ? sp->align : default_align;
    const int64_t left = room <= 0 || align == '<' ? 0 : align == '^' ? room / 2 : room;
    for (int64_t i = 0; i < left && vm_step(b->vm, 1); i++) jbuf_char(b, sp->fill, false);
    jbuf_sub(b, s, 0, len);
    for (int64_t i = left; i < room && vm_step(b->vm, 1); i++) jbuf_char(b, sp->fill, false);
}

/* --- "%" ----------------------------------------------------------------------------------------------------------------- */

struct percent {
    struct jvm *vm;
    struct jval args;
    size_t next;
    bool markup;
};

static struct jval percent_arg(struct percent *p)
{
    if (p->args.t == J_TUPLE) {
        if (p->next < p->args.seq->n) return p->args.seq->v[p->next++];
    } else if (p->next++ == 0) {
        return p->args;
    }
    vm_type_error(p->vm, "not enough arguments for format string");
    return j_none();
}

static int64_t read_number(const struct jstr *f, size_t *i, struct percent *p, bool *minus)
{
    int64_t n = 0;
    if (*i < f->len && f->p[*i] == '*' && p) {
        (*i)++;
        n = jarg_int(p->vm, "%", percent_arg(p), 0);
        if (n < 0 && minus) *minus = true;
        return n == INT64_MIN ? INT64_MAX : n < 0 ? -n : n;
    }
    for (; *i < f->len && f->p[*i] >= '0' && f->p[*i] <= '9'; (*i)++)
        if (n < 1 << 28) n = n * 10 + (f->p[*i] - '0');
    return n;
}

/* What markup makes of a value before it is formatted: it escapes texts and takes numbers from them, too. */
static struct jval percent_markup(struct jvm *vm, char type, struct jval v)
{
    double f;
    int64_t i;
    if (type == 's') return j_escape(vm, v);
    if (type == 'r' || type == 'a') {
        struct jbuf text = jbuf_new(vm);
        j_repr(&text, v);
        return j_escape(vm, jbuf_take(&text));
    }
    if (type && strchr("xXoc", type)) {
        vm_type_error(vm, "%%%c format: an integer is required", type);
    } else if (type && strchr("diu", type)) {
        if (v.t == J_STR && vm_text(vm, v.s->len) && j_parse_int(v.s, 10, &i)) return j_int(i);
    } else if (v.t == J_STR && vm_text(vm, v.s->len) && j_parse_float(v.s, &f)) {
        return j_float(f);
    }
    return v;
}

static void percent_one(struct jbuf *b, struct percent *p, struct spec *s, struct jval v)
{
    struct jvm *vm = b->vm;
    int64_t i;
    struct jbuf text = jbuf_new(vm);
    if (p->markup) {
        v = percent_markup(vm, s->type, v);
        if (s->type == 'r' || s->type == 'a') s->type = 's';
        if (vm->failed) return;
    }
    switch (s->type) {
    case 's': put_string(b, s, j_to_str(vm, v).s, '>'); return;
    case 'r':
    case 'a':
        j_repr(&text, v);
        put_string(b, s, jbuf_take(&text).s, '>');
        return;
    case 'c':
        if (v.t == J_STR && jstr_chars(vm, v.s) == 1) {
            put_string(b, s, v.s, '>');
        } else if (j_to_int(v, &i) && i >= 0 && i < 0x110000 && !(i >= 0xD800 && i < 0xE000)) {
            jbuf_char(&text, (uint32_t)i, false);
            put_string(b, s, jbuf_take(&text).s, '>');
        } else {
            vm_type_error(vm, "%%c requires int or char");
        }
        return;
    case 'd':
    case 'i':
    case 'u':
        s->type = 'd';
        if (v.t == J_FLOAT && isfinite(v.f) && fabs(v.f) < 9e18) v = j_int((int64_t)v.f);
        /* fall through */
    case 'x':
    case 'X':
    case 'o':
        if (j_to_int(v, &i))
            put_int(b, s, i);
        else if (v.t == J_UNDEF)
            vm_type_error(vm, "%s", v.undef->msg);
        else
            vm_type_error(vm, "%%%c format: a number is required, not %s", s->type, j_type_name(v));
        return;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (s->precision < 0) s->precision = 6;
        if (j_is_number(v))
            put_float(b, s, j_to_double(v));
        else if (v.t == J_UNDEF)
            vm_type_error(vm, "%s", v.undef->msg);
        else
            vm_type_error(vm, "must be real number, not %s", j_type_name(v));
        return;
    default: vm_type_error(vm, "unsupported format character"); return;
    }
}

struct jval j_percent(struct jvm *vm, const struct jstr *f, struct jval args)
{
    struct jbuf b = jbuf_new(vm);
    struct percent p = { .vm = vm, .args = args, .markup = f->markup };
    bool used_mapping = false;
    if (!vm_text(vm, f->len)) return j_none();
    for (size_t i = 0; i < f->len && !vm->failed;) {
        const char *pct = memchr(f->p + i, '%', f->len - i);
        const size_t at = pct ? (size_t)(pct - f->p) : f->len;
        jbuf_sub(&b, f, i, at - i);
        i = at + 1;
        if (at == f->len) break;
        struct spec s = { .fill = ' ', .precision = -1 };
        struct jval named = jv(J_MISSING);
        if (i < f->len && f->p[i] == '(') {
            size_t depth = 1, end = i + 1;
            for (; end < f->len && depth; end++)
                depth += f->p[end] == '(' ? 1 : f->p[end] == ')' ? (size_t)-1 : 0;
            if (args.t != J_DICT)
                vm_type_error(vm, "format requires a mapping");
            else if (depth)
                vm_type_error(vm, "incomplete format key");
            if (vm->failed) break;
            const struct jval *v = jdict_gets(vm, args.d, f->p + i + 1, end - i - 2);
            if (!v)
                vm_type_error(vm, "a key of the format string is missing");
            else
                named = *v;
            used_mapping = true;
            i = end;
        }
        bool minus = false, zero = false;
        for (; i < f->len && strchr("-+ #0", f->p[i]) && f->p[i]; i++) {
            minus |= f->p[i] == '-';
            zero |= f->p[i] == '0';
            s.alt |= f->p[i] == '#';
            if (f->p[i] == '+')
                s.sign = '+';
            else if (f->p[i] == ' ' && !s.sign)
                s.sign = ' ';
        }
        s.width = read_number(f, &i, &p, &minus);
        if (i < f->len && f->p[i] == '.') {
            i++;
            s.precision = read_number(f, &i, &p, NULL);
        }
        while (i < f->len && (f->p[i] == 'l' || f->p[i] == 'h' || f->p[i] == 'L')) i++;
        if (i >= f->len) {
            vm_type_error(vm, "incomplete format");
            break;
        }
        s.type = f->p[i++];
        if (s.type == '%') {
            jbuf_puts(&b, "%");
            continue;
        }
        if (minus)
            s.align = '<';
        else if (zero && !strchr("src", s.type))
            s.align = '=', s.fill = '0';
        if (vm->failed) break;
        const struct jval v = named.t != J_MISSING ? named : percent_arg(&p);
        if (!vm->failed) percent_one(&b, &p, &s, v);
    }
    const size_t n_args = args.t == J_TUPLE ? args.seq->n : 1;
    /* A mapping, or anything with items, may go unused; a plain value may not. */
    const bool may_ignore = args.t == J_DICT || args.t == J_LIST || args.t == J_NS || args.t == J_RANGE ||
                            used_mapping || args.t == J_UNDEF;
    if (!vm->failed && p.next < n_args && !may_ignore)
        vm_type_error(vm, "not all arguments converted during string formatting");
    return j_like(vm, f, jbuf_take(&b));
}

/* --- str.format() ------------------------------------------------------------------------------------------------------------ */

static bool parse_spec(struct jvm *vm, const struct jstr *t, struct spec *s)
{
    size_t i = 0;
    int n = 1;
    *s = (struct spec){ .fill = ' ', .precision = -1 };
    if (t->len) {
        const uint32_t c = utf8_at(t->p, t->len, &n);
        if ((size_t)n < t->len && t->p[n] && strchr("<>^=", t->p[n])) {
            s->fill = c;
            s->align = t->p[n];
            i = (size_t)n + 1;
        } else if (t->p[0] && strchr("<>^=", t->p[0])) {
            s->align = t->p[i++];
        }
    }
    if (i < t->len && t->p[i] && strchr("+- ", t->p[i])) s->sign = t->p[i++];
    if (i < t->len && t->p[i] == '#') s->alt = t->p[i++] != 0;
    if (i < t->len && t->p[i] == '0' && !s->align) {
        s->align = '=';
        s->fill = '0';
        i++;
    }
    s->width = read_number(t, &i, NULL, NULL);
    if (i < t->len && (t->p[i] == ',' || t->p[i] == '_')) s->group = t->p[i++];
    if (i < t->len && t->p[i] == '.') {
        i++;
        if (i >= t->len || t->p[i] < '0' || t->p[i] > '9')
            return vm_type_error(vm, "Format specifier missing precision");
        s->precision = read_number(t, &i, NULL, NULL);
    }
    if (i < t->len) s->type = t->p[i++];
    return i == t->len || vm_type_error(vm, "Invalid format specifier");
}

static void format_value(struct jbuf *b, struct jval v, const struct jstr *spec_text)
{
    struct jvm *vm = b->vm;
    struct spec s;
    int64_t i;
    if (!spec_text->len) {
        j_print(b, v);
        return;
    }
    if (!parse_spec(vm, spec_text, &s)) return;
    if (v.t == J_STR) {
        if ((s.type && s.type != 's') || s.align == '=' || s.sign || s.group || s.alt)
            vm_type_error(vm, "Invalid format specifier for a string");
        else
            put_string(b, &s, v.s, '<');
    } else if (j_to_int(v, &i) && (!s.type || strchr("dxXobnc", s.type))) {
        if (s.precision >= 0) {
            vm_type_error(vm, "Precision not allowed in integer format specifier");
            return;
        }
        if (s.type == 'c') {
            struct jbuf one = jbuf_new(vm);
            if (i < 0 || i >= 0x110000 || (i >= 0xD800 && i < 0xE000))
                vm_type_error(vm, "%%c arg not in range");
            else
                jbuf_char(&one, (uint32_t)i, false);
            put_string(b, &s, jbuf_take(&one).s, '<');
        } else {
            put_int(b, &s, i);
        }
    } else if (j_is_number(v) && (!s.type || strchr("eEfFgGn%", s.type))) {
        if (s.type == 'n') s.type = 'g';
        put_float(b, &s, j_to_double(v));
    } else {
        vm_type_error(vm, "unsupported format specifier for '%s'", j_type_name(v));
    }
}

static void format_escaped(struct jbuf *b, struct jval v, const struct jstr *spec)
{
    struct jvm *vm = b->vm;
    struct jbuf text = jbuf_new(vm);
    if (v.t == J_STR && v.s->markup) {
        if (spec->len) vm_type_error(vm, "Unsupported format specification for Markup.");
        jbuf_str(b, v.s);
        return;
    }
    format_value(&text, v, spec);
    if (!vm->failed) j_print(b, j_escape(vm, jbuf_take(&text)));
}

struct formatter {
    struct jvm *vm;
    const struct jargs *args;
    bool markup;
    int64_t auto_index; /* -1 once fields are numbered by hand */
    bool any_auto;
};

/* The value that a replacement field names: "", "0", "name", then .attr and [item]. */
static struct jval field_value(struct formatter *fm, const char *p, size_t len)
{
    struct jvm *vm = fm->vm;
    size_t n = 0;
    while (n < len && p[n] != '.' && p[n] != '[') n++;
    int64_t index = -1;
    struct jval v = jv(J_MISSING);
    const struct jstr first = { .p = p, .len = n };
    if (n == 0) {
        if (fm->auto_index < 0)
            vm_type_error(vm, "cannot switch from manual field specification to automatic numbering");
        index = fm->auto_index++;
        fm->any_auto = true;
    } else if (jstr_digits(p, n)) {
        if (fm->any_auto)
            vm_type_error(vm, "cannot switch from automatic field numbering to manual specification");
        fm->auto_index = -1;
        if (!j_parse_int(&first, 10, &index)) index = INT64_MAX;
    }
    if (index >= 0) {
        if ((uint64_t)index < fm->args->n_pos)
            v = fm->args->pos[index];
        else
            vm_type_error(vm, "Replacement index out of range");
    } else {
        for (size_t i = 0; i < fm->args->n_kw; i++)
            if (jstr_eq(fm->args->kw[i].name, &first)) v = fm->args->kw[i].val;
        if (v.t == J_MISSING) vm_type_error(vm, "format: no argument '%.*s'", n > 60 ? 60 : (int)n, p);
    }
    while (n < len && !vm->failed) {
        const bool attr = p[n] == '.';
        const size_t from = ++n;
        while (n < len && (attr ? p[n] != '.' && p[n] != '[' : p[n] != ']')) n++;
        const struct jval name = j_str_copy(vm, p + from, n - from, PROV_TRUSTED);
        int64_t i;
        if (!attr && n >= len) vm_type_error(vm, "Missing ']' in format string");
        if (n == from) vm_type_error(vm, "Empty attribute in format string");
        if (vm->failed) break;
        if (attr) {
            v = j_getattr(vm, v, name.s);
        } else {
            v = j_getitem(vm, v,
                          jstr_digits(p + from, n - from) && j_parse_int(name.s, 10, &i) ? j_int(i) : name);
            n++;
            if (n < len && p[n] != '.' && p[n] != '[')
                vm_type_error(vm, "Only '.' or '[' may follow ']' in format string");
        }
    }
    return v;
}

static void format_into(struct jbuf *b, struct formatter *fm, const struct jstr *f, int depth)
{
    struct jvm *vm = fm->vm;
    if (depth > 1) {
        vm_type_error(vm, "Max string recursion exceeded");
        return;
    }
    if (!vm_text(vm, f->len)) return;
    for (size_t i = 0; i < f->len && vm_step(vm, 1);) {
        const char c = f->p[i];
        if (c != '{' && c != '}') {
            size_t end = i;
            while (end < f->len && f->p[end] != '{' && f->p[end] != '}') end++;
            jbuf_sub(b, f, i, end - i);
            i = end;
            continue;
        }
        if (i + 1 < f->len && f->p[i + 1] == c) {
            jbuf_sub(b, f, i, 1);
            i += 2;
            continue;
        }
        if (c == '}') {
            vm_type_error(vm, "Single '}' encountered in format string");
            return;
        }
        size_t open = 1, end = i + 1;
        for (; end < f->len && open; end++) open += f->p[end] == '{' ? 1 : f->p[end] == '}' ? (size_t)-1 : 0;
        if (open) {
            vm_type_error(vm, "expected '}' before end of string");
            return;
        }
        const size_t from = i + 1, close = end - 1;
        size_t name_end = from;
        while (name_end < close && f->p[name_end] != '!' && f->p[name_end] != ':') {
            if (f->p[name_end] == '[')
                while (name_end < close && f->p[name_end] != ']') name_end++;
            if (name_end < close) name_end++;
        }
        if (memchr(f->p + from, '{', name_end - from)) {
            vm_type_error(vm, "unexpected '{' in field name");
            return;
        }
        struct jval v = field_value(fm, f->p + from, name_end - from);
        size_t at = name_end;
        if (at < close && f->p[at] == '!') {
            const char conv = at + 1 < close ? f->p[at + 1] : 0;
            if ((conv != 'r' && conv != 's' && conv != 'a') || (at + 2 < close && f->p[at + 2] != ':')) {
                vm_type_error(vm, "Unknown conversion specifier in format string");
                return;
            }
            if (conv == 's') {
                v = j_str(vm, v);
            } else {
                struct jbuf text = jbuf_new(vm);
                j_repr(&text, v);
                v = jbuf_take(&text);
            }
            at += 2;
        }
        struct jval spec = j_cstr(vm, "");
        if (at < close) {
            struct jbuf text = jbuf_new(vm);
            const struct jval raw = j_str_sub(vm, f, at + 1, close - at - 1);
            if (!vm->failed) format_into(&text, fm, raw.s, depth + 1);
            spec = jbuf_take(&text);
        }
        if (!vm->failed && fm->markup) format_escaped(b, v, spec.s);
        if (!vm->failed && !fm->markup) format_value(b, v, spec.s);
        i = end;
    }
}

struct jval j_format(struct jvm *vm, const struct jstr *f, const struct jargs *args)
{
    struct jbuf b = jbuf_new(vm);
    struct formatter fm = { .vm = vm, .args = args, .markup = f->markup };
    format_into(&b, &fm, f, 0);
    return j_like(vm, f, jbuf_take(&b));
}
