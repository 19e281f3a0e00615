/* jinja_globals.c - the functions every template can call. */
#include <string.h>
#include <time.h>

#include "text/jinja/jinja_eval.h"

#define FUNC(name) static struct jval name(struct jvm *vm, const struct jargs *args)

#define MAX_RANGE 100000 /* jinja2's sandbox has the same */

FUNC(g_range)
{
    struct jval a[3];
    if (!jbind(vm, "range", args, "start stop? step?", a)) return j_none();
    int64_t start = jarg_int(vm, "range", a[0], 0), stop = jarg_int(vm, "range", a[1], 0);
    const int64_t step = jarg_int(vm, "range", a[2], 1);
    if (a[1].t == J_MISSING) {
        stop = start;
        start = 0;
    }
    if (step == 0) vm_type_error(vm, "range() arg 3 must not be zero");
    struct jrange *r = vm_new(vm, struct jrange, 1);
    if (!r || vm->failed) return j_none();
    uint64_t n = 0; /* in unsigned arithmetic the distance cannot overflow */
    if (step > 0 && start < stop) n = ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1;
    if (step < 0 && start > stop) n = ((uint64_t)start - (uint64_t)stop - 1) / (0 - (uint64_t)step) + 1;
    if (n > MAX_RANGE) {
        vm_fail(vm, ERR_LIMIT, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                MAX_RANGE);
        return j_none();
    }
    *r = (struct jrange){ start, stop, step, (int64_t)n };
    return (struct jval){ .t = J_RANGE, .range = r };
}

static struct jval kw_name(const struct jkw *kw)
{
    return (struct jval){ .t = J_STR, .s = (struct jstr *)kw->name };
}

/* dict(mapping or pairs, **more) */
FUNC(g_dict)
{
    struct jval d = j_dict(vm);
    if (args->n_pos > 1) {
        vm_type_error(vm, "dict expected at most 1 argument");
    } else if (args->n_pos && args->pos[0].t == J_DICT) {
        const struct jdict *from = args->pos[0].d;
        for (size_t i = 0; i < from->n && vm_step(vm, 1); i++)
            jdict_set(vm, d.d, from->e[i].key, from->e[i].val);
    } else if (args->n_pos) {
        const struct jval list = j_items(vm, args->pos[0]);
        for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++) {
            const struct jval pair = j_items(vm, list.seq->v[i]);
            if (pair.seq->n != 2)
                vm_type_error(vm, "dictionary update sequence element #%zu has no length of 2", i);
            else
                jdict_set(vm, d.d, pair.seq->v[0], pair.seq->v[1]);
        }
    }
    for (size_t i = 0; i < args->n_kw && !vm->failed; i++)
        jdict_set(vm, d.d, kw_name(&args->kw[i]), args->kw[i].val);
    return d;
}

FUNC(g_namespace)
{
    struct jval ns = g_dict(vm, args);
    for (size_t i = 0; ns.t == J_DICT && i < ns.d->n && !vm->failed; i++) {
        const struct jval key = ns.d->e[i].key;
        if (key.t == J_STR && key.s->len && key.s->p[0] == '_')
            vm_fail(vm, ERR_REQUEST, "a namespace cannot store attributes that begin with an underscore");
    }
    ns.t = J_NS;
    return ns;
}

/* A value of its own, or nothing after failing. */
static struct jval make_cycler(struct jvm *vm, enum jtype t, const struct jval *v, size_t n)
{
    struct jcycler *c = vm_new(vm, struct jcycler, 1);
    struct jval *copy = vm_new(vm, struct jval, n);
    if (!c || !copy) return j_none();
    memcpy(copy, v, n * sizeof *v);
    *c = (struct jcycler){ copy, n, 0 };
    return (struct jval){ .t = t, .cycler = c };
}

FUNC(g_cycler)
{
    if (args->n_kw || !args->n_pos) {
        vm_type_error(vm, "at least one item has to be provided");
        return j_none();
    }
    return make_cycler(vm, J_CYCLER, args->pos, args->n_pos);
}

static struct jval cycler_next(struct jvm *vm, struct jval self, const struct jargs *args)
{
    struct jval none[1];
    if (!jbind(vm, "next", args, "", none)) return j_none();
    const struct jval v = self.cycler->v[self.cycler->pos];
    self.cycler->pos = (self.cycler->pos + 1) % self.cycler->n;
    return v;
}

static struct jval cycler_reset(struct jvm *vm, struct jval self, const struct jargs *args)
{
    struct jval none[1];
    if (jbind(vm, "reset", args, "", none)) self.cycler->pos = 0;
    return j_none();
}

const struct jmethod_def *jcycler_method(const struct jstr *name)
{
    static const struct jmethod_def next = { "next", cycler_next }, reset = { "reset", cycler_reset };
    return jstr_is(name, "next") ? &next : jstr_is(name, "reset") ? &reset : NULL;
}

FUNC(g_joiner)
{
    struct jval sep;
    if (!jbind(vm, "joiner", args, "sep?", &sep)) return j_none();
    if (sep.t == J_MISSING) sep = j_cstr(vm, ", ");
    return make_cycler(vm, J_JOINER, &sep, 1);
}

FUNC(g_raise_exception)
{
    struct jval message;
    if (!jbind(vm, "raise_exception", args, "message", &message)) return j_none();
    const struct jstr *s = j_to_str(vm, message).s;
    if (vm->failed) return j_none();
    vm->raised = true;
    size_t n = s->len < sizeof vm->msg - 1 ? s->len : sizeof vm->msg - 1;
    while (n < s->len && n > 0 && ((unsigned char)s->p[n] & 0xC0) == 0x80) n--; /* no half character */
    vm_fail(vm, ERR_REQUEST, "%.*s", (int)n, s->len ? s->p : "");
    return j_none();
}

FUNC(g_strftime_now)
{
    struct jval format;
    if (!jbind(vm, "strftime_now", args, "format", &format)) return j_none();
    const struct jstr *f = jarg_str(vm, "strftime_now", format);
    char fmt[256], text[1024];
    if (!f) return j_none();
    if (f->len >= sizeof fmt - 2) {
        vm_fail(vm, ERR_LIMIT, "strftime_now: the format is too long");
        return j_none();
    }
    /* A mark at the end tells an empty result from one that did not fit. */
    if (f->len) memcpy(fmt, f->p, f->len);
    memcpy(fmt + f->len, "|", 2);
    const time_t t = (time_t)vm->now_unix;
    struct tm tm;
    size_t n = localtime_r(&t, &tm) ? strftime(text, sizeof text, fmt, &tm) : 0;
    if (n == 0) {
        vm_fail(vm, ERR_LIMIT, "strftime_now: the result is too long");
        return j_none();
    }
    return j_str_copy(vm, text, n - 1, f->prov == PROV_TRUSTED ? PROV_TRUSTED : PROV_DATA);
}

static const struct jfunc table[] = {
    { "cycler", g_cycler },
    { "dict", g_dict },
    { "joiner", g_joiner },
    { "namespace", g_namespace },
    { "raise_exception", g_raise_exception },
    { "range", g_range },
    { "strftime_now", g_strftime_now },
};

const struct jfunc *jfunc_find(const struct jstr *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (jstr_is(name, table[i].name)) return &table[i];
    return NULL;
}
