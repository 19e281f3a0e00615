/* jinja_print.c - str() and repr() as Python writes them, and what a template needs to know of Unicode. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>

#include "text/jinja/jinja_eval.h"
#include "text/jinja/jinja_value.h"

uint32_t utf8_at(const char *p, size_t len, int *n_bytes)
{
    const unsigned char *u = (const unsigned char *)p;
    *n_bytes = 1;
    if (u[0] < 0xC2 || len < 2 || (u[1] & 0xC0) != 0x80) return u[0];
    if (u[0] < 0xE0) {
        *n_bytes = 2;
        return (u[0] & 31u) << 6 | (u[1] & 63u);
    }
    if (len < 3 || (u[2] & 0xC0) != 0x80) return u[0];
    if (u[0] < 0xF0) {
        *n_bytes = 3;
        return (u[0] & 15u) << 12 | (u[1] & 63u) << 6 | (u[2] & 63u);
    }
    if (len < 4 || u[0] > 0xF4 || (u[3] & 0xC0) != 0x80) return u[0];
    *n_bytes = 4;
    return (u[0] & 7u) << 18 | (u[1] & 63u) << 12 | (u[2] & 63u) << 6 | (u[3] & 63u);
}

bool uni_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

bool uni_is_newline(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

uint32_t uni_lower(uint32_t c) { return uc_tolower(c); }
bool uni_is_upper(uint32_t c)
{
    return uc_is_property_uppercase(c) || uc_is_general_category(c, UC_TITLECASE_LETTER);
}
bool uni_is_alpha(uint32_t c) { return uc_is_general_category_withtable(c, UC_CATEGORY_MASK_L); }

bool uni_is_printable(uint32_t c)
{
    return c == ' ' || !uc_is_general_category_withtable(c, UC_CATEGORY_MASK_C | UC_CATEGORY_MASK_Z);
}

void j_float_text(double f, char out[32])
{
    if (isnan(f)) {
        strcpy(out, "nan");
        return;
    }
    if (isinf(f)) {
        strcpy(out, f < 0 ? "-inf" : "inf");
        return;
    }
    /* The shortest digits that read back as f. */
    char e[32];
    for (int digits = 0; digits < 17; digits++) {
        snprintf(e, sizeof e, "%.*e", digits, f);
        if (strtod(e, NULL) == f) break;
    }
    char *const mark = strchr(e, 'e');
    const int exp10 = (int)strtol(mark + 1, NULL, 10);
    *mark = '\0';
    char digits[24] = "0";
    int n = 0;
    const bool negative = e[0] == '-';
    for (const char *p = e; *p; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    char *o = out;
    if (negative) *o++ = '-';
    if (exp10 < -4 || exp10 >= 16) {
        *o++ = digits[0];
        if (n > 1) {
            *o++ = '.';
            memcpy(o, digits + 1, (size_t)n - 1);
            o += n - 1;
        }
        sprintf(o, "e%c%02d", exp10 < 0 ? '-' : '+', abs(exp10) % 1000);
        return;
    }
    if (exp10 < 0) {
        *o++ = '0';
        *o++ = '.';
        for (int i = -1; i > exp10; i--) *o++ = '0';
        memcpy(o, digits, (size_t)n);
        o += n;
    } else {
        for (int i = 0; i <= exp10; i++) *o++ = i < n ? digits[i] : '0';
        *o++ = '.';
        if (n <= exp10 + 1) *o++ = '0';
        for (int i = exp10 + 1; i < n; i++) *o++ = digits[i];
    }
    *o = '\0';
}

static void repr_str(struct jbuf *b, const struct jstr *s)
{
    if (!vm_step(b->vm, s->len / 4)) return; /* Unicode's tables for each character */
    const bool single = s->len && memchr(s->p, '\'', s->len), twice = s->len && memchr(s->p, '"', s->len);
    const char quote = single && !twice ? '"' : '\'';
    jbuf_add(b, &quote, 1, false);
    for (size_t i = 0; i < s->len && !b->vm->failed;) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        const bool data = jstr_data(s, i);
        char esc[16] = "";
        if (c == '\\' || c == (uint32_t)quote)
            snprintf(esc, sizeof esc, "\\%c", (char)c);
        else if (c == '\n')
            strcpy(esc, "\\n");
        else if (c == '\r')
            strcpy(esc, "\\r");
        else if (c == '\t')
            strcpy(esc, "\\t");
        else if (!uni_is_printable(c))
            snprintf(esc, sizeof esc, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        if (esc[0])
            jbuf_add(b, esc, strlen(esc), data);
        else
            jbuf_add(b, s->p + i, (size_t)n, data);
        i += (size_t)n;
    }
    jbuf_add(b, &quote, 1, false);
}

static void repr_seq(struct jbuf *b, const struct jseq *s, const char *open, const char *close, bool tuple)
{
    if (!vm_enter(b->vm)) return;
    jbuf_puts(b, open);
    for (size_t i = 0; i < s->n && vm_step(b->vm, 1); i++) {
        if (i) jbuf_puts(b, ", ");
        j_repr(b, s->v[i]);
    }
    jbuf_puts(b, tuple && s->n == 1 ? ",)" : close);
    vm_leave(b->vm);
}

static void repr_dict(struct jbuf *b, const struct jdict *d)
{
    if (!vm_enter(b->vm)) return;
    jbuf_puts(b, "{");
    for (size_t i = 0; i < d->n && vm_step(b->vm, 1); i++) {
        if (i) jbuf_puts(b, ", ");
        j_repr(b, d->e[i].key);
        jbuf_puts(b, ": ");
        j_repr(b, d->e[i].val);
    }
    jbuf_puts(b, "}");
    vm_leave(b->vm);
}

void j_repr(struct jbuf *b, struct jval v)
{
    char text[96]; /* a range of three 64-bit numbers */
    switch (v.t) {
    case J_MISSING:
    case J_UNDEF: jbuf_puts(b, "Undefined"); break;
    case J_NONE: jbuf_puts(b, "None"); break;
    case J_BOOL: jbuf_puts(b, v.b ? "True" : "False"); break;
    case J_INT:
        snprintf(text, sizeof text, "%" PRId64, v.i);
        jbuf_puts(b, text);
        break;
    case J_FLOAT:
        j_float_text(v.f, text);
        jbuf_puts(b, text);
        break;
    case J_STR:
        if (v.s->markup) jbuf_puts(b, "Markup(");
        repr_str(b, v.s);
        if (v.s->markup) jbuf_puts(b, ")");
        break;
    case J_LIST: repr_seq(b, v.seq, "[", "]", false); break;
    case J_TUPLE: repr_seq(b, v.seq, "(", ")", true); break;
    case J_GEN:
        /* Python adds an address, which nothing can depend on. */
        jbuf_puts(b, "<");
        jbuf_puts(b, v.seq->name);
        jbuf_puts(b, " object>");
        break;
    case J_DICT: repr_dict(b, v.d); break;
    case J_VIEW: {
        struct jval items = j_items(b->vm, v);
        jbuf_puts(b, j_type_name(v));
        repr_seq(b, items.seq, "([", "])", false);
        break;
    }
    case J_RANGE:
        snprintf(text, sizeof text,
                 v.range->step == 1 ? "range(%" PRId64 ", %" PRId64 ")"
                                    : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                 v.range->start, v.range->stop, v.range->step);
        jbuf_puts(b, text);
        break;
    case J_NS:
        jbuf_puts(b, "<Namespace ");
        repr_dict(b, v.d);
        jbuf_puts(b, ">");
        break;
    case J_MACRO: jmacro_repr(b, v.macro); break;
    case J_LOOP: jloop_repr(b, v.loop); break;
    default:
        jbuf_puts(b, "<");
        jbuf_puts(b, j_type_name(v));
        jbuf_puts(b, ">");
    }
}

void j_print(struct jbuf *b, struct jval v)
{
    if (v.t == J_STR)
        jbuf_str(b, v.s);
    else if (v.t != J_UNDEF)
        j_repr(b, v);
}

struct jval j_to_str(struct jvm *vm, struct jval v)
{
    if (v.t == J_STR) return v;
    struct jbuf b = jbuf_new(vm);
    j_print(&b, v);
    return jbuf_take(&b);
}
