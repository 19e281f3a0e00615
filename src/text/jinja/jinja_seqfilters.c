/* jinja_seqfilters.c - filters on sequences. What jinja2 gives as a generator is computed at once here but stays a
 * generator to the template: no length, iterated once. */
#include <string.h>

#include "text/jinja/jinja_eval.h"

#define FILTER(name) static struct jval name(struct jvm *vm, struct jval v, const struct jargs *args)

static bool no_args(struct jvm *vm, const char *what, const struct jargs *args)
{
    struct jval none[1];
    return jbind(vm, what, args, "", none);
}

static bool flag(struct jvm *vm, struct jval v) { return v.t != J_MISSING && j_truth(vm, v); }

static struct jval lower_case(struct jvm *vm, struct jval v)
{
    return v.t == J_STR ? jstr_lower(vm, v.s) : v;
}

/* What failed while making a generator fails in jinja2 only when that item is asked for, which may be never. */
static struct jval lazily(struct jvm *vm, struct jval gen)
{
    if (!vm->failed || vm->code != ERR_REQUEST || vm->raised || !gen.seq->name)
        return gen; /* nameless: no memory for it */
    vm->failed = false;
    char *copy = vm_alloc(vm, sizeof vm->msg, 1);
    if (!copy) return gen;
    memcpy(copy, vm->msg, sizeof vm->msg);
    gen.seq->error = copy;
    return gen;
}

/* item.a.0.b by the path "a.0.b"; `otherwise` (J_MISSING: none) stands in for what is undefined. */
static struct jval attr_path(struct jvm *vm, struct jval item, const char *p, size_t len,
                             struct jval otherwise)
{
    for (size_t from = 0; from <= len && !vm->failed;) {
        size_t end = from;
        while (end < len && p[end] != '.') end++;
        const struct jstr part = { .p = p + from, .len = end - from };
        int64_t i;
        const bool number = part.len && jstr_digits(part.p, part.len) && j_parse_int(&part, 10, &i);
        item = j_getitem(vm, item, number ? j_int(i) : j_str_copy(vm, part.p, part.len, PROV_TRUSTED));
        if (item.t == J_UNDEF && otherwise.t != J_MISSING && otherwise.t != J_NONE) item = otherwise;
        from = end + 1;
    }
    return item;
}

/* An attribute argument: missing or None (the item itself), an index, or a path. */
static struct jval attr_of(struct jvm *vm, struct jval item, struct jval attr, struct jval otherwise)
{
    int64_t i;
    if (attr.t == J_MISSING || attr.t == J_NONE) return item;
    if (attr.t == J_STR) return attr_path(vm, item, attr.s->p ? attr.s->p : "", attr.s->len, otherwise);
    if (j_to_int(attr, &i)) {
        item = j_getitem(vm, item, attr);
        return item.t == J_UNDEF && otherwise.t != J_MISSING && otherwise.t != J_NONE ? otherwise : item;
    }
    vm_type_error(vm, "an attribute must be a string or an index");
    return j_none();
}

/* --- sorting ---------------------------------------------------------------------------------------------------------------- */

struct keyed {
    struct jval key, val;
};

/* Stable merge sort; only < is asked, as Python does. reverse keeps equal items in order, too. */
static void merge_sort(struct jvm *vm, struct keyed *a, struct keyed *tmp, size_t n, bool reverse)
{
    if (n < 2 || vm->failed) return;
    const size_t half = n / 2;
    merge_sort(vm, a, tmp, half, reverse);
    merge_sort(vm, a + half, tmp, n - half, reverse);
    memcpy(tmp, a, half * sizeof *a);
    size_t i = 0, j = half, o = 0;
    while (i < half && j < n && vm_step(vm, 1)) {
        const bool right =
            reverse ? j_less(vm, tmp[i].key, a[j].key, false) : j_less(vm, a[j].key, tmp[i].key, false);
        a[o++] = right ? a[j++] : tmp[i++];
    }
    memcpy(a + o, tmp + i, (half - i) * sizeof *a);
}

static struct jval sort_keyed(struct jvm *vm, struct keyed *a, size_t n, bool reverse)
{
    struct keyed *tmp = vm_new(vm, struct keyed, n / 2 + 1);
    struct jval list = j_seq(vm, J_LIST, n);
    if (!a || !tmp || vm->failed) return list;
    merge_sort(vm, a, tmp, n, reverse);
    for (size_t i = 0; i < n; i++) jseq_push(vm, list, a[i].val);
    return list;
}

FILTER(f_sort)
{
    struct jval a[3];
    if (!jbind(vm, "sort", args, "reverse? case_sensitive? attribute?", a)) return j_none();
    const struct jval list = j_items(vm, v);
    const size_t n = list.seq->n;
    struct keyed *keyed = vm_new(vm, struct keyed, n + 1);
    const bool cased = flag(vm, a[1]);
    for (size_t i = 0; keyed && i < n && vm_step(vm, 1); i++) {
        /* Several attributes, separated by commas, make a list of keys. */
        struct jval key = j_seq(vm, J_LIST, 1);
        const struct jval none = jv(J_MISSING), item = list.seq->v[i];
        if (a[2].t == J_STR) {
            const struct jstr *s = a[2].s;
            for (size_t from = 0; from <= s->len && !vm->failed;) {
                size_t end = from;
                while (end < s->len && s->p[end] != ',') end++;
                const struct jval k = attr_path(vm, item, s->len ? s->p + from : "", end - from, none);
                jseq_push(vm, key, cased ? k : lower_case(vm, k));
                from = end + 1;
            }
        } else {
            const struct jval k = attr_of(vm, item, a[2], none);
            jseq_push(vm, key, cased ? k : lower_case(vm, k));
        }
        keyed[i] = (struct keyed){ key, item };
    }
    return vm->failed ? j_none() : sort_keyed(vm, keyed, n, flag(vm, a[0]));
}

FILTER(f_dictsort)
{
    struct jval a[3];
    if (!jbind(vm, "dictsort", args, "case_sensitive? by? reverse?", a)) return j_none();
    const bool by_value = a[1].t == J_STR && jstr_is(a[1].s, "value");
    if (a[1].t != J_MISSING && !by_value && !(a[1].t == J_STR && jstr_is(a[1].s, "key"))) {
        vm_type_error(vm, "You can only sort by either \"key\" or \"value\"");
        return j_none();
    }
    if (v.t != J_DICT) {
        if (v.t == J_UNDEF)
            vm_type_error(vm, "%s", v.undef->msg);
        else
            vm_type_error(vm, "dictsort: needs a mapping, not '%s'", j_type_name(v));
        return j_none();
    }
    struct keyed *keyed = vm_new(vm, struct keyed, v.d->n + 1);
    for (size_t i = 0; keyed && i < v.d->n && vm_step(vm, 1); i++) {
        const struct jval k = by_value ? v.d->e[i].val : v.d->e[i].key;
        keyed[i] = (struct keyed){ flag(vm, a[0]) ? k : lower_case(vm, k),
                                   j_pair(vm, v.d->e[i].key, v.d->e[i].val) };
    }
    return vm->failed ? j_none() : sort_keyed(vm, keyed, v.d->n, flag(vm, a[2]));
}

FILTER(f_groupby)
{
    struct jval a[3];
    if (!jbind(vm, "groupby", args, "attribute default? case_sensitive?", a)) return j_none();
    const struct jval list = j_items(vm, v);
    const size_t n = list.seq->n;
    struct keyed *keyed = vm_new(vm, struct keyed, n + 1), *tmp = vm_new(vm, struct keyed, n + 1);
    const bool cased = flag(vm, a[2]);
    for (size_t i = 0; keyed && i < n && vm_step(vm, 1); i++) {
        const struct jval k = attr_of(vm, list.seq->v[i], a[0], a[1]);
        keyed[i] = (struct keyed){ cased ? k : lower_case(vm, k), list.seq->v[i] };
    }
    if (vm->failed) return j_none();
    merge_sort(vm, keyed, tmp, n, false);
    struct jval out = j_seq(vm, J_LIST, 0);
    for (size_t i = 0; i < n && !vm->failed;) {
        struct jval members = j_seq(vm, J_LIST, 0);
        const size_t from = i;
        for (; i < n && vm_step(vm, 1) && j_eq(vm, keyed[from].key, keyed[i].key); i++)
            jseq_push(vm, members, keyed[i].val);
        struct jval group = j_pair(vm, attr_of(vm, keyed[from].val, a[0], a[1]), members);
        if (!vm->failed) group.seq->group = true;
        jseq_push(vm, out, group);
    }
    return out;
}

/* --- one out of many ---------------------------------------------------------------------------------------------------------- */

static struct jval extreme(struct jvm *vm, struct jval v, const struct jargs *args, bool want_max)
{
    struct jval a[2];
    if (!jbind(vm, want_max ? "max" : "min", args, "case_sensitive? attribute?", a)) return j_none();
    const struct jval list = j_items(vm, v), none = jv(J_MISSING);
    struct jval best = j_none(), best_key = j_none();
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
        struct jval key = attr_of(vm, list.seq->v[i], a[1], none);
        if (!flag(vm, a[0])) key = lower_case(vm, key);
        if (i && !(want_max ? j_less(vm, best_key, key, false) : j_less(vm, key, best_key, false))) continue;
        best = list.seq->v[i];
        best_key = key;
    }
    return list.seq->n || vm->failed ? best : j_undef(vm, "No aggregated item, sequence was empty.");
}
FILTER(f_min) { return extreme(vm, v, args, false); }
FILTER(f_max) { return extreme(vm, v, args, true); }

FILTER(f_sum)
{
    struct jval a[2];
    if (!jbind(vm, "sum", args, "attribute? start?", a)) return j_none();
    struct jval total = a[1].t == J_MISSING ? j_int(0) : a[1];
    if (total.t == J_STR) vm_type_error(vm, "sum() can't sum strings");
    const struct jval list = j_items(vm, v), none = jv(J_MISSING);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++)
        total = j_binary(vm, '+', total, attr_of(vm, list.seq->v[i], a[0], none));
    return total;
}

FILTER(f_first)
{
    if (!no_args(vm, "first", args)) return j_none();
    if (v.t == J_GEN && v.seq->pos < v.seq->n) return v.seq->v[v.seq->pos++];
    if (v.t == J_STR && v.s->len) return j_getitem(vm, j_str(vm, v), j_int(0));
    const struct jval list = j_items(vm, v);
    return list.seq->n ? list.seq->v[0] : j_undef(vm, "No first item, sequence was empty.");
}

FILTER(f_last)
{
    if (!no_args(vm, "last", args)) return j_none();
    if (v.t == J_GEN) vm_type_error(vm, "'generator' object is not reversible");
    if (v.t == J_STR && v.s->len) return j_getitem(vm, v, j_int(-1));
    const struct jval list = j_items(vm, v);
    return list.seq->n ? list.seq->v[list.seq->n - 1] : j_undef(vm, "No last item, sequence was empty.");
}

/* --- reshaping ------------------------------------------------------------------------------------------------------------------ */

static struct jval copy(struct jvm *vm, struct jval list, enum jtype t, const char *name)
{
    struct jval out = j_seq(vm, t, list.seq->n);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) jseq_push(vm, out, list.seq->v[i]);
    if (!vm->failed) out.seq->name = name;
    return out;
}

FILTER(f_list) { return no_args(vm, "list", args) ? copy(vm, j_items(vm, v), J_LIST, "list") : j_none(); }

FILTER(f_items)
{
    if (!no_args(vm, "items", args)) return j_none();
    struct jval out = j_seq(vm, J_GEN, 0);
    if (v.t != J_DICT && v.t != J_UNDEF) vm_type_error(vm, "Can only get item pairs from a mapping.");
    for (size_t i = 0; v.t == J_DICT && i < v.d->n && vm_step(vm, 1); i++)
        jseq_push(vm, out, j_pair(vm, v.d->e[i].key, v.d->e[i].val));
    return lazily(vm, out);
}

FILTER(f_reverse)
{
    if (!no_args(vm, "reverse", args)) return j_none();
    if (v.t == J_STR) return jstr_reverse(vm, v.s);
    const struct jval list = j_items(vm, v);
    /* Python reverses a generator by making a list of it first. */
    struct jval out = j_seq(vm, v.t == J_GEN ? J_LIST : J_GEN, list.seq->n);
    for (size_t i = list.seq->n; i > 0 && vm_step(vm, 1); i--) jseq_push(vm, out, list.seq->v[i - 1]);
    if (!vm->failed) out.seq->name = v.t == J_LIST ? "list_reverseiterator" : "reversed";
    return out;
}

FILTER(f_join)
{
    struct jval a[2];
    if (!jbind(vm, "join", args, "d? attribute?", a)) return j_none();
    const struct jval none = jv(J_MISSING);
    struct jval list = j_items(vm, v);
    if (a[1].t != J_MISSING && a[1].t != J_NONE) {
        struct jval attrs = j_seq(vm, J_LIST, list.seq->n);
        for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++)
            jseq_push(vm, attrs, attr_of(vm, list.seq->v[i], a[1], none));
        list = attrs;
    }
    struct jval sep = a[0].t == J_MISSING ? j_cstr(vm, "") : j_to_str(vm, a[0]);
    bool marked = vm->autoescape && sep.s->markup;
    for (size_t i = 0; vm->autoescape && i < list.seq->n && vm_step(vm, 1); i++)
        marked |= list.seq->v[i].t == J_STR && list.seq->v[i].s->markup;
    if (marked) sep = j_escape(vm, sep);
    if (vm->failed) return j_none();
    return marked ? j_markup_join(vm, sep.s, list) : jstr_join(vm, sep.s, list, true);
}

FILTER(f_unique)
{
    struct jval a[2];
    if (!jbind(vm, "unique", args, "case_sensitive? attribute?", a)) return j_none();
    struct jval out = j_seq(vm, J_GEN, 0), seen = j_dict(vm);
    const struct jval list = j_items(vm, v), none = jv(J_MISSING);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
        struct jval key = attr_of(vm, list.seq->v[i], a[1], none);
        if (!flag(vm, a[0])) key = lower_case(vm, key);
        const size_t before = seen.d->n;
        jdict_set(vm, seen.d, key, j_none());
        if (seen.d->n > before) jseq_push(vm, out, list.seq->v[i]);
    }
    return lazily(vm, out);
}

FILTER(f_batch)
{
    struct jval a[2];
    if (!jbind(vm, "batch", args, "linecount fill_with?", a)) return j_none();
    struct jval out = j_seq(vm, J_GEN, 0), row = j_seq(vm, J_LIST, 0);
    const struct jval list = j_items(vm, v);
    const int64_t n = jarg_int(vm, "batch", a[0], 1);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
        if ((int64_t)row.seq->n == n) {
            jseq_push(vm, out, row);
            row = j_seq(vm, J_LIST, 0);
        }
        jseq_push(vm, row, list.seq->v[i]);
    }
    if (!vm->failed && row.seq->n) {
        while (a[1].t != J_MISSING && a[1].t != J_NONE && (int64_t)row.seq->n < n && vm_step(vm, 1))
            jseq_push(vm, row, a[1]);
        jseq_push(vm, out, row);
    }
    return lazily(vm, out);
}

FILTER(f_slice)
{
    struct jval a[2];
    if (!jbind(vm, "slice", args, "slices fill_with?", a)) return j_none();
    struct jval out = j_seq(vm, J_GEN, 0);
    const struct jval list = j_items(vm, v);
    const int64_t n = jarg_int(vm, "slice", a[0], 1), len = (int64_t)list.seq->n;
    if (n == 0) vm_type_error(vm, "integer division or modulo by zero");
    int64_t at = 0;
    for (int64_t k = 0; k < n && vm_step(vm, 1); k++) {
        struct jval part = j_seq(vm, J_LIST, 0);
        const int64_t end = at + len / n + (k < len % n);
        for (; at < end && vm_step(vm, 1); at++) jseq_push(vm, part, list.seq->v[at]);
        if (a[1].t != J_MISSING && a[1].t != J_NONE && k >= len % n) jseq_push(vm, part, a[1]);
        jseq_push(vm, out, part);
    }
    return lazily(vm, out);
}

/* --- with a filter or test for each item --------------------------------------------------------------------------------------- */

/* False for an empty or undefined input, whose generator is empty whatever its arguments. */
static bool has_items(struct jvm *vm, struct jval v) { return !vm->failed && j_truth(vm, v); }

FILTER(f_map)
{
    struct jval out = j_seq(vm, J_GEN, 0), attr = jv(J_MISSING), otherwise = jv(J_MISSING);
    if (!has_items(vm, v)) return lazily(vm, out);
    const struct jfilter *f = NULL;
    struct jargs rest = *args;
    if (args->n_pos == 0) {
        for (size_t i = 0; i < args->n_kw; i++) {
            if (jstr_is(args->kw[i].name, "attribute"))
                attr = args->kw[i].val;
            else if (jstr_is(args->kw[i].name, "default"))
                otherwise = args->kw[i].val;
            else
                vm_type_error(vm, "map: unexpected keyword argument");
        }
        if (attr.t == J_MISSING) vm_type_error(vm, "map requires a filter argument");
    } else {
        const struct jstr *name = jarg_str(vm, "map", args->pos[0]);
        if (!name) return lazily(vm, out);
        f = jfilter_find(name);
        if (!f) vm_type_error(vm, "No filter named '%.*s'.", name->len > 60 ? 60 : (int)name->len, name->p);
        rest.pos++;
        rest.n_pos--;
    }
    const struct jval list = vm->failed ? out : j_items(vm, v);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
        const struct jval item = list.seq->v[i];
        jseq_push(vm, out, f ? f->call(vm, item, &rest) : attr_of(vm, item, attr, otherwise));
    }
    return lazily(vm, out);
}

static struct jval choose(struct jvm *vm, struct jval v, const struct jargs *args, bool by_attr, bool keep)
{
    struct jval out = j_seq(vm, J_GEN, 0);
    if (!has_items(vm, v)) return lazily(vm, out);
    struct jargs rest = *args;
    struct jval attr = jv(J_MISSING);
    if (by_attr) {
        if (!rest.n_pos) {
            vm_type_error(vm, "Missing parameter for attribute name");
            return lazily(vm, out);
        }
        attr = *rest.pos++;
        rest.n_pos--;
    }
    const struct jtest *test = NULL;
    if (rest.n_pos) {
        const struct jstr *name = jarg_str(vm, "select", *rest.pos++);
        rest.n_pos--;
        test = name ? jtest_find(name) : NULL;
        if (name && !test)
            vm_type_error(vm, "No test named '%.*s'.", name->len > 60 ? 60 : (int)name->len, name->p);
    }
    const struct jval list = vm->failed ? out : j_items(vm, v), none = jv(J_MISSING);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
        const struct jval x = attr_of(vm, list.seq->v[i], attr, none);
        const bool yes = test ? test->call(vm, x, &rest) : j_truth(vm, x);
        if (yes == keep) jseq_push(vm, out, list.seq->v[i]);
    }
    return lazily(vm, out);
}
FILTER(f_select) { return choose(vm, v, args, false, true); }
FILTER(f_reject) { return choose(vm, v, args, false, false); }
FILTER(f_selectattr) { return choose(vm, v, args, true, true); }
FILTER(f_rejectattr) { return choose(vm, v, args, true, false); }

static const struct jfilter table[] = {
    { "batch", f_batch },
    { "dictsort", f_dictsort },
    { "first", f_first },
    { "groupby", f_groupby },
    { "items", f_items },
    { "join", f_join },
    { "last", f_last },
    { "list", f_list },
    { "map", f_map },
    { "max", f_max },
    { "min", f_min },
    { "reject", f_reject },
    { "rejectattr", f_rejectattr },
    { "reverse", f_reverse },
    { "select", f_select },
    { "selectattr", f_selectattr },
    { "slice", f_slice },
    { "sort", f_sort },
    { "sum", f_sum },
    { "unique", f_unique },
};

const struct jfilter *jseqfilter_find(const struct jstr *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (jstr_is(name, table[i].name)) return &table[i];
    return NULL;
}
