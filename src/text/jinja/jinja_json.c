/* jinja_json.c - the tojson filter as transformers defines it: Python's json.dumps, keys in their order, no ASCII escapes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"

struct writer {
    struct jbuf b;
    const struct jstr *indent; /* NULL: all on one line */
    const struct jstr *item_sep, *key_sep;
    bool ascii, sort_keys;
    int level;
};

static void put_string(struct writer *w, const struct jstr *s)
{
    struct jbuf *b = &w->b;
    jbuf_puts(b, "\"");
    size_t from = 0, i = 0;
    while (i < s->len && !b->vm->failed) {
        int n;
        const uint32_t c = utf8_at(s->p + i, s->len - i, &n);
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7F || !w->ascii)) {
            i += (size_t)n;
            continue;
        }
        char esc[16];
        static const char from_c[] = "\"\\\n\r\t\b\f", to_c[] = "\"\\nrtbf";
        const char *known = c && c < 0x80 ? strchr(from_c, (int)c) : NULL;
        if (known)
            snprintf(esc, sizeof esc, "\\%c", to_c[known - from_c]);
        else if (c < 0x10000)
            snprintf(esc, sizeof esc, "\\u%04x", c);
        else
            snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                     0xDC00 + ((c - 0x10000) & 0x3FF));
        jbuf_sub(b, s, from, i - from);
        jbuf_add(b, esc, strlen(esc), jstr_data(s, i));
        i += (size_t)n;
        from = i;
    }
    jbuf_sub(b, s, from, s->len - from);
    jbuf_puts(b, "\"");
    vm_text(b->vm, s->len);
}

static void number_text(struct jval v, char out[40])
{
    if (v.t == J_INT)
        snprintf(out, 40, "%" PRId64, v.i);
    else if (isnan(v.f))
        strcpy(out, "NaN");
    else if (isinf(v.f))
        strcpy(out, v.f < 0 ? "-Infinity" : "Infinity");
    else
        j_float_text(v.f, out);
}

static void newline(struct writer *w)
{
    if (!w->indent) return;
    jbuf_puts(&w->b, "\n");
    for (int i = 0; i < w->level; i++) jbuf_str(&w->b, w->indent);
}

static void put_value(struct writer *w, struct jval v);

static void put_key(struct writer *w, struct jval key)
{
    char text[40];
    if (key.t == J_STR) {
        put_string(w, key.s);
        return;
    }
    switch (key.t) {
    case J_NONE: strcpy(text, "null"); break;
    case J_BOOL: strcpy(text, key.b ? "true" : "false"); break;
    case J_INT:
    case J_FLOAT: number_text(key, text); break;
    default:
        vm_type_error(w->b.vm, "keys must be str, int, float, bool or None, not %s", j_type_name(key));
        return;
    }
    jbuf_puts(&w->b, "\"");
    jbuf_puts(&w->b, text);
    jbuf_puts(&w->b, "\"");
}

/* The entries of d in order of their keys; insertion sort is stable and objects are small, merge would be longer. */
static const struct jentry **sorted(struct jvm *vm, const struct jdict *d)
{
    const struct jentry **e = vm_alloc(vm, d->n + 1, sizeof(struct jentry *));
    for (size_t i = 0; e && i < d->n; i++) {
        size_t at = i;
        for (; at > 0 && vm_step(vm, 1) && j_less(vm, d->e[i].key, e[at - 1]->key, false); at--)
            e[at] = e[at - 1];
        e[at] = &d->e[i];
    }
    return e;
}

static void put_dict(struct writer *w, const struct jdict *d)
{
    struct jvm *vm = w->b.vm;
    const struct jentry **order = w->sort_keys ? sorted(vm, d) : NULL;
    jbuf_puts(&w->b, "{");
    w->level++;
    for (size_t i = 0; i < d->n && vm_step(vm, 1); i++) {
        const struct jentry *e = order ? order[i] : &d->e[i];
        if (i) jbuf_str(&w->b, w->item_sep);
        newline(w);
        put_key(w, e->key);
        jbuf_str(&w->b, w->key_sep);
        put_value(w, e->val);
    }
    w->level--;
    if (d->n) newline(w);
    jbuf_puts(&w->b, "}");
}

static void put_list(struct writer *w, const struct jseq *s)
{
    jbuf_puts(&w->b, "[");
    w->level++;
    for (size_t i = 0; i < s->n && vm_step(w->b.vm, 1); i++) {
        if (i) jbuf_str(&w->b, w->item_sep);
        newline(w);
        put_value(w, s->v[i]);
    }
    w->level--;
    if (s->n) newline(w);
    jbuf_puts(&w->b, "]");
}

static void put_value(struct writer *w, struct jval v)
{
    char text[40];
    struct jvm *vm = w->b.vm;
    if (!vm_enter(vm)) return;
    switch (v.t) {
    case J_NONE: jbuf_puts(&w->b, "null"); break;
    case J_BOOL: jbuf_puts(&w->b, v.b ? "true" : "false"); break;
    case J_INT:
    case J_FLOAT:
        number_text(v, text);
        jbuf_puts(&w->b, text);
        break;
    case J_STR: put_string(w, v.s); break;
    case J_LIST:
    case J_TUPLE: put_list(w, v.seq); break;
    case J_DICT: put_dict(w, v.d); break;
    default: vm_type_error(vm, "Object of type %s is not JSON serializable", j_type_name(v)); break;
    }
    vm_leave(vm);
}

struct jval j_tojson(struct jvm *vm, struct jval v, const struct jargs *args)
{
    struct jval a[4];
    if (!jbind(vm, "tojson", args, "ensure_ascii? indent? separators? sort_keys?", a)) return j_none();
    struct writer w = { .b = jbuf_new(vm) };
    w.ascii = a[0].t != J_MISSING && j_truth(vm, a[0]);
    w.sort_keys = a[3].t != J_MISSING && j_truth(vm, a[3]);
    int64_t n;
    if (a[1].t == J_STR) {
        w.indent = a[1].s;
    } else if (j_to_int(a[1], &n)) {
        struct jbuf spaces = jbuf_new(vm);
        if (n > 1000)
            vm_fail(vm, ERR_LIMIT, "tojson: an indent of more than 1000");
        else
            jbuf_pad(&spaces, ' ', n);
        w.indent = jbuf_take(&spaces).s;
    } else if (a[1].t != J_MISSING && a[1].t != J_NONE) {
        vm_type_error(vm, "tojson: indent must be an integer or a string");
    }
    w.item_sep = j_cstr(vm, w.indent ? "," : ", ").s;
    w.key_sep = j_cstr(vm, ": ").s;
    if (a[2].t != J_MISSING && a[2].t != J_NONE) {
        const struct jval sep = j_items(vm, a[2]);
        if (sep.seq->n != 2 || sep.seq->v[0].t != J_STR || sep.seq->v[1].t != J_STR) {
            vm_type_error(vm, "tojson: separators must be two strings");
        } else {
            w.item_sep = sep.seq->v[0].s;
            w.key_sep = sep.seq->v[1].s;
        }
    }
    if (!vm->failed) put_value(&w, v);
    return jbuf_take(&w.b);
}
