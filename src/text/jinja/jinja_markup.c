/* jinja_markup.c - strings that are markup already, as MarkupSafe has them: what |safe and |escape give, what autoescape leaves alone,
 * and what escapes all that is joined to it. */
#include <string.h>

#include "text/jinja/jinja_eval.h"

struct jval j_markup(struct jvm *vm, const struct jstr *s, bool on)
{
    static const struct jstr empty[2] = { { .markup = false }, { .markup = true } };
    if (s->markup == on) return (struct jval){ .t = J_STR, .s = (struct jstr *)s };
    if (!s->len) return (struct jval){ .t = J_STR, .s = (struct jstr *)&empty[on] };
    struct jstr *copy = vm_new(vm, struct jstr, 1);
    if (!copy) return (struct jval){ .t = J_STR, .s = (struct jstr *)&empty[on] };
    *copy = *s; /* the bytes are shared */
    copy->markup = on;
    return (struct jval){ .t = J_STR, .s = copy };
}

struct jval j_str(struct jvm *vm, struct jval v) { return j_markup(vm, j_to_str(vm, v).s, false); }

struct jval j_like(struct jvm *vm, const struct jstr *model, struct jval v)
{
    return v.t == J_STR ? j_markup(vm, v.s, model->markup) : v;
}

struct jval j_escape(struct jvm *vm, struct jval v)
{
    static const char special[] = "&<>'\"";
    static const char *const text[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
    const struct jstr *s = j_to_str(vm, v).s;
    if (v.t == J_STR && s->markup) return v;
    struct jbuf b = jbuf_new(vm);
    if (!vm_text(vm, s->len)) return j_none();
    size_t from = 0;
    for (size_t i = 0; i < s->len && !vm->failed; i++) {
        const char *hit = s->p[i] ? strchr(special, s->p[i]) : NULL;
        if (!hit) continue;
        jbuf_sub(&b, s, from, i - from);
        jbuf_add(&b, text[hit - special], strlen(text[hit - special]), jstr_data(s, i));
        from = i + 1;
    }
    if (!from) return j_markup(vm, s, true);
    jbuf_sub(&b, s, from, s->len - from);
    return j_markup(vm, jbuf_take(&b).s, true);
}

struct jval j_markup_join(struct jvm *vm, const struct jstr *sep, struct jval list)
{
    struct jval all = j_seq(vm, J_LIST, list.seq->n);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++)
        jseq_push(vm, all, j_escape(vm, list.seq->v[i]));
    return vm->failed ? j_none() : j_markup(vm, jstr_join(vm, sep, all, true).s, true);
}

/* --- the way back ------------------------------------------------------------------------------------------------- */

/* Names that people write; the standard's two thousand others stay as they are. */
static const struct {
    const char *name;
    uint32_t c;
} entities[] = {
    { "amp", '&' },      { "lt", '<' },       { "gt", '>' },       { "quot", '"' },     { "apos", '\'' },
    { "nbsp", 0xA0 },    { "copy", 0xA9 },    { "reg", 0xAE },     { "laquo", 0xAB },   { "raquo", 0xBB },
    { "deg", 0xB0 },     { "plusmn", 0xB1 },  { "middot", 0xB7 },  { "para", 0xB6 },    { "sect", 0xA7 },
    { "times", 0xD7 },   { "divide", 0xF7 },  { "frac12", 0xBD },  { "euro", 0x20AC },  { "pound", 0xA3 },
    { "yen", 0xA5 },     { "cent", 0xA2 },    { "ndash", 0x2013 }, { "mdash", 0x2014 }, { "lsquo", 0x2018 },
    { "rsquo", 0x2019 }, { "ldquo", 0x201C }, { "rdquo", 0x201D }, { "bull", 0x2022 },  { "hellip", 0x2026 },
    { "trade", 0x2122 }, { "larr", 0x2190 },  { "rarr", 0x2192 },  { "auml", 0xE4 },    { "ouml", 0xF6 },
    { "uuml", 0xFC },    { "szlig", 0xDF },   { "eacute", 0xE9 },  { "egrave", 0xE8 },
};

/* "&#39;", "&#x27;": digits at p, how many characters they take in *used; 0 when there are none. */
static uint32_t numeric(const char *p, size_t len, size_t *used)
{
    size_t i = 2;
    const bool hex = len > 2 && (p[2] | 32) == 'x';
    uint32_t c = 0, base = hex ? 16 : 10;
    if (hex) i++;
    const size_t from = i;
    for (; i < len; i++) {
        const unsigned d = (unsigned char)p[i] - '0', h = ((unsigned char)p[i] | 32u) - 'a';
        if (d > 9 && !(hex && h < 6)) break;
        if (c < 0x110000) c = c * base + (d <= 9 ? d : h + 10);
    }
    *used = i == from ? 0 : i + (i < len && p[i] == ';');
    return c;
}

static void put_numeric(struct jbuf *b, uint32_t c, bool data)
{
    /* What old pages meant by the codes of C1, as the standard tells. */
    static const uint16_t c1[32] = { 0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                     0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
                                     0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                     0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178 };
    if (c == 0 || (c >= 0xD800 && c < 0xE000) || c > 0x10FFFF)
        jbuf_char(b, 0xFFFD, data);
    else if (c >= 0x80 && c < 0xA0)
        jbuf_char(b, c1[c - 0x80], data);
    else if ((c >= 0x20 && c != 0x7F && c != 0xB && (c < 0xFDD0 || c > 0xFDEF) && (c & 0xFFFE) != 0xFFFE) ||
             c == '\t' || c == '\n' || c == '\f' || c == '\r')
        jbuf_char(b, c, data);
}

static struct jval j_unescape(struct jvm *vm, const struct jstr *s)
{
    struct jbuf b = jbuf_new(vm);
    if (!vm_text(vm, s->len)) return j_none();
    for (size_t i = 0; i < s->len && !vm->failed;) {
        const char *amp = memchr(s->p + i, '&', s->len - i);
        const size_t at = amp ? (size_t)(amp - s->p) : s->len;
        jbuf_sub(&b, s, i, at - i);
        i = at;
        if (!amp || !vm_step(vm, 1)) break;
        size_t used = 0;
        const size_t rest = s->len - at;
        if (rest > 2 && amp[1] == '#') {
            const uint32_t c = numeric(amp, rest, &used);
            if (used) put_numeric(&b, c, jstr_data(s, at));
        }
        for (size_t k = 0; k < sizeof entities / sizeof *entities && !used; k++) {
            const size_t n = strlen(entities[k].name);
            /* The five of XML but apos, and Latin-1's, are known without their semicolon, too. */
            const bool loose = k < 4 || (entities[k].c >= 0xA0 && entities[k].c < 0x100);
            if (rest <= n || memcmp(amp + 1, entities[k].name, n) != 0) continue;
            const bool ended = rest > n + 1 && amp[n + 1] == ';';
            if (!ended && !loose) continue;
            used = n + 1 + ended;
            jbuf_char(&b, entities[k].c, jstr_data(s, at));
        }
        if (!used) jbuf_sub(&b, s, at, used = 1);
        i = at + used;
    }
    return jbuf_take(&b);
}

struct jval j_striptags(struct jvm *vm, const struct jstr *s)
{
    struct jbuf b = jbuf_new(vm);
    size_t from = 0;
    if (!vm_text(vm, s->len)) return j_none();
    while (from < s->len && vm_step(vm, 1)) { /* what has no end stays, and so does all behind it */
        const char *open = memchr(s->p + from, '<', s->len - from), *end;
        if (!open) break;
        const size_t at = (size_t)(open - s->p), rest = s->len - at;
        const bool comment = rest >= 4 && memcmp(open, "<!--", 4) == 0;
        end = comment ? memmem(open + 4, rest - 4, "-->", 3) : memchr(open, '>', rest);
        if (!end) break;
        jbuf_sub(&b, s, from, at - from);
        from = (size_t)(end - s->p) + (comment ? 3 : 1);
    }
    jbuf_sub(&b, s, from, s->len - from);
    const struct jargs none = { 0 };
    const struct jval words =
        jmethod_find(J_STR, &(struct jstr){ .p = "split", .len = 5 })->call(vm, jbuf_take(&b), &none);
    return vm->failed ? j_none() : j_unescape(vm, jstr_join(vm, j_cstr(vm, " ").s, words, false).s);
}

/* --- the methods that plain strings do not have -------------------------------------------------------------------- */

static bool no_args(struct jvm *vm, const char *what, const struct jargs *args)
{
    struct jval none[1];
    return jbind(vm, what, args, "", none);
}

static struct jval m_striptags(struct jvm *vm, struct jval self, const struct jargs *args)
{
    return no_args(vm, "striptags", args) ? j_striptags(vm, self.s) : j_none();
}

static struct jval m_unescape(struct jvm *vm, struct jval self, const struct jargs *args)
{
    return no_args(vm, "unescape", args) ? j_unescape(vm, self.s) : j_none();
}

static struct jval m_escape(struct jvm *vm, struct jval self, const struct jargs *args)
{
    struct jval v;
    (void)self;
    return jbind(vm, "escape", args, "s", &v) ? j_escape(vm, v) : j_none();
}

const struct jmethod_def *jmarkup_method(const struct jstr *name)
{
    static const struct jmethod_def striptags = { "striptags", m_striptags },
                                    unescape = { "unescape", m_unescape }, escape = { "escape", m_escape };
    return jstr_is(name, "striptags")  ? &striptags
           : jstr_is(name, "unescape") ? &unescape
           : jstr_is(name, "escape")   ? &escape
                                       : NULL;
}
