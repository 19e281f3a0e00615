/* jinja_exec.c - statements, scopes, loops and macros.
 *
 * Scopes  jinja2 decides when it compiles which scope a name belongs to; here a scope is a list of bindings with a
 *         parent, which gives the same answers: set writes to the innermost scope, loops open one for each round, if
 *         opens none, macros run in a child of the scope that defined them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"

struct jscope *jscope_new(struct jvm *vm, struct jscope *parent)
{
    struct jscope *s = vm_new(vm, struct jscope, 1);
    if (s) s->parent = parent;
    return s;
}

static void jscope_set(struct jvm *vm, struct jscope *s, const struct jstr *name, struct jval v)
{
    if (vm->failed) return;
    if (!vm_step(vm, s->n / 8)) return;
    for (size_t i = 0; i < s->n; i++) {
        if (s->b[i].name != name && !jstr_eq(s->b[i].name, name)) continue;
        s->b[i].v = v;
        return;
    }
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 4;
        struct jbinding *b = vm_new(vm, struct jbinding, cap);
        if (!b) return;
        if (s->n) memcpy(b, s->b, s->n * sizeof *b);
        s->b = b;
        s->cap = cap;
    }
    s->b[s->n++] = (struct jbinding){ name, v };
}

struct jval jscope_get(struct jvm *vm, const struct jscope *s, const struct jstr *name)
{
    for (; s; s = s->parent) {
        if (!vm_step(vm, s->n / 8)) return j_none();
        for (size_t i = 0; i < s->n; i++)
            if (s->b[i].name == name || jstr_eq(s->b[i].name, name)) return s->b[i].v;
    }
    const struct jval *v = jdict_gets(vm, vm->context, name->p, name->len);
    if (v) return *v;
    if (jstr_is(name, "self")) { /* the template's blocks as attributes; nothing here calls them that way */
        struct jval self = j_dict(vm);
        self.t = J_NS;
        return self;
    }
    const struct jfunc *f = jfunc_find(name);
    if (f) return (struct jval){ .t = J_FUNC, .func = f };
    return j_undef(vm, "'%.*s' is undefined", name->len > 60 ? 60 : (int)name->len, name->p);
}

/* --- targets ----------------------------------------------------------------------------------------------------------- */

static void assign(struct jvm *vm, struct jscope *s, const struct node *target, struct jval v)
{
    if (vm->failed) return;
    if (target->kind == N_NAME) {
        jscope_set(vm, s, target->name, v);
    } else if (target->kind == N_NSREF) {
        const struct jval ns = jscope_get(vm, s, target->name);
        if (ns.t != J_NS)
            vm_fail(vm, ERR_REQUEST, "cannot assign attribute on non-namespace object");
        else if (target->attr->len && target->attr->p[0] == '_')
            vm_fail(vm, ERR_REQUEST, "a namespace cannot store attributes that begin with an underscore");
        else
            jdict_set(vm, ns.d, (struct jval){ .t = J_STR, .s = (struct jstr *)target->attr }, v);
    } else {
        const struct jval items = j_items(vm, v);
        if (vm->failed) return;
        if (items.seq->n != target->n_kids) {
            vm_type_error(vm, "cannot unpack %zu values into %zu names", items.seq->n, target->n_kids);
            return;
        }
        for (size_t i = 0; i < target->n_kids; i++) assign(vm, s, target->kids[i], items.seq->v[i]);
    }
}

/* Whether what this node prints is escaped. */
static bool escapes(const struct jvm *vm, const struct node *n)
{
    return n->escape & ESCAPE_RUN && !n->folded ? vm->autoescape : n->escape & ESCAPE_ON;
}

static struct jval apply_filters(struct jvm *vm, struct jscope *s, const struct node *n, struct jval v)
{
    if (!n) return v;
    return japply_filter(vm, s, n, n->a ? apply_filters(vm, s, n->a, v) : v);
}

/* Runs statements with their output caught. */
static struct jval capture(struct jvm *vm, struct jscope *s, struct node *const *body, size_t n)
{
    struct jbuf out = jbuf_new(vm), *const outer = vm->out;
    out.max_bytes = vm->max_output_bytes;
    vm->out = &out;
    jexec(vm, s, body, n);
    vm->out = outer;
    return jbuf_take(&out);
}

/* --- loops -------------------------------------------------------------------------------------------------------------- */

/* What a target's names were bound to, as one value again. */
static struct jval rebuild(struct jvm *vm, const struct jscope *s, const struct node *target)
{
    if (target->kind == N_NAME) return jscope_get(vm, s, target->name);
    struct jval t = j_seq(vm, J_TUPLE, target->n_kids);
    for (size_t i = 0; i < target->n_kids; i++) jseq_push(vm, t, rebuild(vm, s, target->kids[i]));
    return t;
}

/* The next item that passes the loop's condition. Lazily, as jinja2 does: the condition may depend on the body. */
static bool advance(struct jvm *vm, struct jloop *l, struct jval *out)
{
    while (l->pos < l->n_items && vm_step(vm, 1)) {
        *out = l->items[l->pos++];
        if (!l->test) return true;
        struct jscope *s = jscope_new(vm, l->outer);
        if (!s) return false;
        assign(vm, s, l->n->a, *out);
        if (!j_truth(vm, jeval(vm, s, l->test)) || vm->failed) continue;
        if (l->n->a->kind == N_TUPLE)
            *out = rebuild(vm, s, l->n->a); /* a list unpacked by jinja2 comes back a tuple */
        return true;
    }
    return false;
}

static bool peek(struct jvm *vm, struct jloop *l)
{
    if (!l->has_after) l->has_after = advance(vm, l, &l->after);
    return l->has_after;
}

static int64_t loop_length(struct jvm *vm, struct jloop *l)
{
    if (l->length >= 0) return l->length;
    struct jval rest = j_seq(vm, J_LIST, 0), item;
    while (advance(vm, l, &item)) jseq_push(vm, rest, item);
    l->items = rest.seq->v;
    l->n_items = rest.seq->n;
    l->pos = 0;
    l->test = NULL;
    l->length = l->index0 + 1 + l->has_after + (int64_t)l->n_items;
    return l->length;
}

static struct jval loop_cycle(struct jvm *vm, struct jval self, const struct jargs *args)
{
    if (!args->n_pos) {
        vm_type_error(vm, "no items for cycling given");
        return j_none();
    }
    return args->pos[self.loop->index0 % (int64_t)args->n_pos];
}

static struct jval loop_changed(struct jvm *vm, struct jval self, const struct jargs *args)
{
    struct jval now = j_seq(vm, J_TUPLE, args->n_pos);
    for (size_t i = 0; i < args->n_pos; i++) jseq_push(vm, now, args->pos[i]);
    const bool changed = self.loop->changed.t == J_MISSING || !j_eq(vm, self.loop->changed, now);
    self.loop->changed = now;
    return j_bool(changed);
}

struct jval jloop_attr(struct jvm *vm, struct jval loop, const struct jstr *name)
{
    static const struct jmethod_def cycle = { "cycle", loop_cycle }, changed = { "changed", loop_changed };
    struct jloop *l = loop.loop;
    if (jstr_is(name, "index")) return j_int(l->index0 + 1);
    if (jstr_is(name, "index0")) return j_int(l->index0);
    if (jstr_is(name, "first")) return j_bool(l->index0 == 0);
    if (jstr_is(name, "last")) return j_bool(!peek(vm, l));
    if (jstr_is(name, "length")) return j_int(loop_length(vm, l));
    if (jstr_is(name, "revindex")) return j_int(loop_length(vm, l) - l->index0);
    if (jstr_is(name, "revindex0")) return j_int(loop_length(vm, l) - l->index0 - 1);
    if (jstr_is(name, "depth")) return j_int(l->depth0 + 1);
    if (jstr_is(name, "depth0")) return j_int(l->depth0);
    if (jstr_is(name, "previtem"))
        return l->has_before ? l->before : j_undef(vm, "there is no previous item");
    if (jstr_is(name, "nextitem")) return peek(vm, l) ? l->after : j_undef(vm, "there is no next item");
    if (jstr_is(name, "cycle") || jstr_is(name, "changed")) {
        struct jmethod *m = vm_new(vm, struct jmethod, 1);
        if (!m) return j_none();
        *m = (struct jmethod){ loop, jstr_is(name, "cycle") ? &cycle : &changed };
        return (struct jval){ .t = J_METHOD, .method = m };
    }
    return jv(J_MISSING);
}

void jloop_repr(struct jbuf *b, struct jloop *l)
{
    char text[80];
    snprintf(text, sizeof text, "<LoopContext %" PRId64 "/%" PRId64 ">", l->index0 + 1,
             loop_length(b->vm, l));
    jbuf_puts(b, text);
}

static const struct jstr loop_name = { .p = "loop", .len = 4, .n_chars = 4 };

static void exec_for(struct jvm *vm, struct jscope *outer, const struct node *n, struct jval iterable,
                     int64_t depth0)
{
    const struct jval items = j_items(vm, iterable);
    struct jloop *l = vm_new(vm, struct jloop, 1);
    if (!l || vm->failed) return;
    *l = (struct jloop){
        .n = n, .outer = outer, .items = items.seq->v, .n_items = items.seq->n, .test = n->c
    };
    l->index0 = -1;
    l->length = n->c ? -1 : (int64_t)l->n_items;
    l->depth0 = depth0;
    bool completed = false; /* jinja2 runs else when no round came to its end, be it by break or continue */
    while (peek(vm, l) && !vm->failed) {
        l->before = l->current;
        l->has_before = l->index0 >= 0;
        l->current = l->after;
        l->has_after = false;
        l->index0++;
        struct jscope *s = jscope_new(vm, outer);
        if (!s) return;
        jscope_set(vm, s, &loop_name, (struct jval){ .t = J_LOOP, .loop = l });
        assign(vm, s, n->a, l->current);
        jexec(vm, s, n->body, n->n_body);
        completed |= !vm->unwinding_continue && !vm->unwinding_break;
        vm->unwinding_continue = false;
        if (vm->unwinding_break) break;
    }
    vm->unwinding_break = false;
    if (!completed) {
        struct jscope *s = jscope_new(vm, outer);
        if (s) jexec(vm, s, n->else_, n->n_else);
    }
}

struct jval jloop_call(struct jvm *vm, const struct jloop *l, const struct jargs *args)
{
    struct jval iterable;
    if (!l->n->recursive) {
        vm_type_error(vm, "The loop must have the 'recursive' marker to be called recursively.");
        return j_none();
    }
    if (!jbind(vm, "loop", args, "iterable", &iterable) || !vm_enter(vm)) return j_none();
    struct jbuf out = jbuf_new(vm), *const outer = vm->out;
    out.max_bytes = vm->max_output_bytes;
    vm->out = &out;
    exec_for(vm, l->outer, l->n, iterable, l->depth0 + 1);
    vm->out = outer;
    vm_leave(vm);
    return j_markup(vm, jbuf_take(&out).s, escapes(vm, l->n));
}

/* --- macros -------------------------------------------------------------------------------------------------------------- */

static const struct jstr caller_name = { .p = "caller", .len = 6, .n_chars = 6 };
static const struct jstr varargs_name = { .p = "varargs", .len = 7, .n_chars = 7 };
static const struct jstr kwargs_name = { .p = "kwargs", .len = 6, .n_chars = 6 };

void jmacro_repr(struct jbuf *b, const struct jmacro *m)
{
    jbuf_puts(b, m->n->name ? "<Macro '" : "<Macro anonymous");
    if (m->n->name) jbuf_str(b, m->n->name);
    jbuf_puts(b, m->n->name ? "'>" : ">");
}

/* Binds a macro's parameters in its scope; what is left over goes to varargs and kwargs if the body asks for them. */
static bool bind_macro(struct jvm *vm, const struct node *n, const struct jargs *args, struct jscope *s)
{
    const int name_len = n->name ? (int)(n->name->len > 60 ? 60 : n->name->len) : 0;
    const char *const name = n->name ? n->name->p : "";
    bool has_caller = false;
    struct jval kwargs = j_dict(vm), caller = jv(J_MISSING);
    for (size_t i = 0; i < args->n_kw; i++)
        jdict_set(vm, kwargs.d, (struct jval){ .t = J_STR, .s = (struct jstr *)args->kw[i].name },
                  args->kw[i].val);
    size_t n_named = 0;
    for (size_t i = 0; i < n->n_params; i++) {
        const struct jstr *param = n->params[i]->name;
        const struct jval *kw = i < args->n_pos ? NULL : jdict_gets(vm, kwargs.d, param->p, param->len);
        has_caller |= jstr_is(param, "caller");
        if (i < args->n_pos) {
            jscope_set(vm, s, param, args->pos[i]);
        } else if (kw) {
            n_named++;
            jscope_set(vm, s, param, *kw);
        } else if (i + n->n_defaults >= n->n_params) {
            jscope_set(vm, s, param, jeval(vm, s, n->defaults[i + n->n_defaults - n->n_params]));
        } else {
            jscope_set(vm, s, param,
                       j_undef(vm, "parameter '%.*s' was not provided",
                               param->len > 60 ? 60 : (int)param->len, param->p));
        }
    }
    struct jval rest = j_dict(vm);
    for (size_t i = 0; i < kwargs.d->n; i++) {
        const struct jentry *e = &kwargs.d->e[i];
        bool named = false;
        if (!vm_step(vm, n->n_params / 8)) return false;
        for (size_t k = args->n_pos; k < n->n_params; k++) named |= jstr_eq(n->params[k]->name, e->key.s);
        if (named) continue;
        if (n->uses_caller && !has_caller && jstr_is(e->key.s, "caller"))
            caller = e->val;
        else
            jdict_set(vm, rest.d, e->key, e->val);
    }
    if (n->uses_caller && !has_caller)
        jscope_set(vm, s, &caller_name, caller.t == J_MISSING ? j_undef(vm, "No caller defined") : caller);
    if (n->uses_kwargs)
        jscope_set(vm, s, &kwargs_name, rest);
    else if (rest.d->n)
        return vm_type_error(vm, "macro '%.*s' takes no keyword argument '%.*s'", name_len, name,
                             rest.d->e[0].key.s->len > 60 ? 60 : (int)rest.d->e[0].key.s->len,
                             rest.d->e[0].key.s->p);
    if (n->uses_varargs) {
        struct jval more = j_seq(vm, J_TUPLE, 0);
        for (size_t i = n->n_params; i < args->n_pos; i++) jseq_push(vm, more, args->pos[i]);
        jscope_set(vm, s, &varargs_name, more);
    } else if (args->n_pos > n->n_params) {
        return vm_type_error(vm, "macro '%.*s' takes not more than %zu argument(s)", name_len, name,
                             n->n_params);
    }
    return !vm->failed;
}

struct jval jmacro_call(struct jvm *vm, const struct jmacro *m, const struct jargs *args)
{
    struct jscope *s = jscope_new(vm, m->scope);
    if (!s || !vm_enter(vm)) return j_none();
    struct jval r = j_none();
    const bool marked = vm->autoescape; /* the caller's, whatever the body does */
    if (bind_macro(vm, m->n, args, s)) r = j_markup(vm, capture(vm, s, m->n->body, m->n->n_body).s, marked);
    vm_leave(vm);
    return r;
}

static struct jval make_macro(struct jvm *vm, struct jscope *s, const struct node *n)
{
    struct jmacro *m = vm_new(vm, struct jmacro, 1);
    if (!m) return j_none();
    *m = (struct jmacro){ n, s };
    return (struct jval){ .t = J_MACRO, .macro = m };
}

static void exec_call_block(struct jvm *vm, struct jscope *s, const struct node *n)
{
    const struct jval callee = jeval(vm, s, n->a->a);
    struct jargs args;
    if (!jeval_args(vm, s, n->a->args, &args)) return;
    struct jkw *kw = vm_new(vm, struct jkw, args.n_kw + 1);
    if (!kw) return;
    if (args.n_kw) memcpy(kw, args.kw, args.n_kw * sizeof *kw);
    kw[args.n_kw] = (struct jkw){ &caller_name, make_macro(vm, s, n) };
    args.kw = kw;
    args.n_kw++;
    vm->line = n->line;
    j_print(vm->out, jcall(vm, callee, &args));
}

/* --- statements ----------------------------------------------------------------------------------------------------------- */

static void exec_if(struct jvm *vm, struct jscope *s, const struct node *n)
{
    for (size_t i = 0; i + 1 < n->n_kids; i += 2) {
        if (!j_truth(vm, jeval(vm, s, n->kids[i]))) continue;
        jexec(vm, s, n->kids[i + 1]->body, n->kids[i + 1]->n_body);
        return;
    }
    jexec(vm, s, n->else_, n->n_else);
}

static void exec_with(struct jvm *vm, struct jscope *s, const struct node *n)
{
    struct jscope *inner = jscope_new(vm, s);
    if (!inner) return;
    for (size_t i = 0; i + 1 < n->n_kids; i += 2) assign(vm, inner, n->kids[i], jeval(vm, s, n->kids[i + 1]));
    jexec(vm, inner, n->body, n->n_body);
}

/* Output caught in a scope of its own and filtered: block set, filter block. */
static struct jval filtered_block(struct jvm *vm, struct jscope *s, const struct node *n)
{
    struct jscope *inner = jscope_new(vm, s);
    if (!inner) return j_none();
    const struct jval text = j_markup(vm, capture(vm, inner, n->body, n->n_body).s, n->b && escapes(vm, n));
    return vm->failed || vm->unwinding_break || vm->unwinding_continue ? text
                                                                       : apply_filters(vm, s, n->b, text);
}

static void exec_one(struct jvm *vm, struct jscope *s, const struct node *n)
{
    switch (n->kind) {
    case N_DATA: jbuf_str(vm->out, n->cst.s); break;
    case N_PRINT: {
        const struct jval v = jeval(vm, s, n->a);
        if (!vm->failed) j_print(vm->out, escapes(vm, n) ? j_escape(vm, v) : v);
        break;
    }
    case N_SET: assign(vm, s, n->a, jeval(vm, s, n->b)); break;
    case N_SETBLOCK: {
        struct jval v = filtered_block(vm, s, n);
        if (vm->autoescape) v = j_markup(vm, j_to_str(vm, v).s, true);
        if (!vm->unwinding_break && !vm->unwinding_continue) assign(vm, s, n->a, v);
        break;
    }
    case N_FILTERBLOCK: {
        const struct jval v = filtered_block(vm, s, n);
        if (vm->unwinding_break || vm->unwinding_continue || vm->failed) break;
        if (v.t == J_STR)
            j_print(vm->out, v);
        else
            vm_type_error(vm, "the filters of a filter block must give a string, not '%s'", j_type_name(v));
        break;
    }
    case N_FOR: exec_for(vm, s, n, jeval(vm, s, n->b), 0); break;
    case N_IF: exec_if(vm, s, n); break;
    case N_BODY: jexec(vm, s, n->body, n->n_body); break;
    case N_MACRO: jscope_set(vm, s, n->name, make_macro(vm, s, n)); break;
    case N_CALLBLOCK: exec_call_block(vm, s, n); break;
    case N_WITH: exec_with(vm, s, n); break;
    case N_SCOPE:
    case N_BLOCK: { /* a block sees what the template set, not the loop around it */
        struct jscope *inner = jscope_new(vm, n->kind == N_BLOCK ? vm->root : s);
        if (inner) jexec(vm, inner, n->body, n->n_body);
        break;
    }
    case N_AUTOESCAPE: {
        const bool outer = vm->autoescape;
        struct jscope *inner = jscope_new(vm, s);
        vm->autoescape = j_truth(vm, jeval(vm, s, n->a));
        if (inner) jexec(vm, inner, n->body, n->n_body);
        /* A break or continue goes past the end of the block, where jinja2 puts the setting back. */
        if (!vm->unwinding_break && !vm->unwinding_continue) vm->autoescape = outer;
        break;
    }
    case N_BREAK: vm->unwinding_break = true; break;
    case N_CONTINUE: vm->unwinding_continue = true; break;
    default: vm_fail(vm, ERR_FORMAT, "this is no statement"); break;
    }
}

void jexec(struct jvm *vm, struct jscope *s, struct node *const *list, size_t n)
{
    if (!n || !vm_enter(vm)) return;
    for (size_t i = 0; i < n && !vm->failed && !vm->unwinding_break && !vm->unwinding_continue; i++) {
        vm->line = list[i]->line;
        if (!vm_step(vm, 1)) break;
        exec_one(vm, s, list[i]);
    }
    vm_leave(vm);
}
