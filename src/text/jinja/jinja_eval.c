#include "text/jinja/jinja_eval.h"

#include <math.h>
#include <string.h>

/* --- arguments ---------------------------------------------------------------------------------------------------- */

bool jeval_args(struct jvm *vm, struct jscope *s, const struct jargs_ast *ast, struct jargs *out)
{
    *out = (struct jargs){ 0 };
    if (!ast) return true;
    struct jval star = ast->star ? j_items(vm, jeval(vm, s, ast->star)) : j_none();
    const size_t n_star = ast->star ? star.seq->n : 0;
    out->pos = vm_new(vm, struct jval, ast->n_pos + n_star + 1);
    if (!out->pos) return false;
    for (size_t i = 0; i < ast->n_pos; i++) out->pos[out->n_pos++] = jeval(vm, s, ast->pos[i]);
    for (size_t i = 0; i < n_star; i++) out->pos[out->n_pos++] = star.seq->v[i];
    const struct jval star2 = ast->star2 ? jeval(vm, s, ast->star2) : j_none();
    if (ast->star2 && star2.t != J_DICT) return vm_type_error(vm, "argument after ** must be a mapping");
    const size_t n_star2 = ast->star2 ? star2.d->n : 0;
    if (!ast->n_kw && !n_star2) return !vm->failed;
    out->kw = vm_new(vm, struct jkw, ast->n_kw + n_star2);
    if (!out->kw) return false;
    for (size_t i = 0; i < ast->n_kw; i++)
        out->kw[out->n_kw++] = (struct jkw){ ast->kw[i].name, jeval(vm, s, ast->kw[i].val) };
    for (size_t i = 0; i < n_star2; i++) {
        const struct jentry *e = &star2.d->e[i];
        if (e->key.t != J_STR) return vm_type_error(vm, "keywords must be strings");
        for (size_t k = 0; k < ast->n_kw; k++)
            if (jstr_eq(ast->kw[k].name, e->key.s)) return vm_type_error(vm, "keyword argument repeated");
        out->kw[out->n_kw++] = (struct jkw){ e->key.s, e->val };
    }
    return !vm->failed;
}

bool jbind(struct jvm *vm, const char *what, const struct jargs *args, const char *params, struct jval *out)
{
    size_t n = 0, used_kw = 0;
    const bool positional = params[0] == '/';
    for (const char *p = positional ? params + 2 : params; *p;) {
        size_t len = strcspn(p, " ");
        const size_t name_len = p[len - 1] == '?' ? len - 1 : len;
        struct jval v = jv(J_MISSING);
        if (n < args->n_pos) v = args->pos[n];
        for (size_t i = 0; i < args->n_kw && !positional; i++) {
            const struct jstr *name = args->kw[i].name;
            if (name->len != name_len || memcmp(name->p, p, name_len) != 0) continue;
            if (v.t != J_MISSING)
                return vm_type_error(vm, "%s: argument '%.*s' given twice", what, (int)name_len, p);
            v = args->kw[i].val;
            used_kw++;
        }
        if (v.t == J_MISSING && name_len == len)
            return vm_type_error(vm, "%s: argument '%.*s' is missing", what, (int)name_len, p);
        out[n++] = v;
        p += len;
        while (*p == ' ') p++;
    }
    if (args->n_pos > n) return vm_type_error(vm, "%s: too many arguments", what);
    if (used_kw < args->n_kw) return vm_type_error(vm, "%s: unknown keyword argument", what);
    return !vm->failed;
}

int64_t jarg_int(struct jvm *vm, const char *what, struct jval v, int64_t otherwise)
{
    int64_t i;
    if (v.t == J_MISSING) return otherwise;
    if (j_to_int(v, &i)) return i;
    vm_type_error(vm, "%s: '%s' object cannot be interpreted as an integer", what, j_type_name(v));
    return otherwise;
}

struct jstr *jarg_str(struct jvm *vm, const char *what, struct jval v)
{
    if (v.t == J_STR) return v.s;
    vm_type_error(vm, "%s: needs a string, not '%s'", what, j_type_name(v));
    return NULL;
}

/* --- attributes and items ------------------------------------------------------------------------------------------- */

static struct jval undef_attr(struct jvm *vm, struct jval obj, const struct jstr *name)
{
    const int n = name->len > 60 ? 60 : (int)name->len;
    if (obj.t == J_NONE) return j_undef(vm, "'None' has no attribute '%.*s'", n, name->p);
    return j_undef(vm, "'%s object' has no attribute '%.*s'", j_type_name(obj), n, name->p);
}

static struct jval undef_unsafe(struct jvm *vm, struct jval obj, const struct jstr *name)
{
    struct jval u = j_undef(vm, "access to attribute '%.*s' of '%s' object is unsafe.",
                            name->len > 60 ? 60 : (int)name->len, name->p, j_type_name(obj));
    if (u.t == J_UNDEF) u.undef->unsafe = true;
    return u;
}

/* Python's getattr(): false when the object has no such attribute. */
static bool attribute(struct jvm *vm, struct jval obj, const struct jstr *name, struct jval *out)
{
    const bool dunder =
        name->len > 4 && memcmp(name->p, "__", 2) == 0 && memcmp(name->p + name->len - 2, "__", 2) == 0;
    if (obj.t == J_NS) { /* its attributes are its entries, and nothing else */
        const struct jval *v = jdict_gets(vm, obj.d, name->p, name->len);
        if (v) *out = *v;
        return v != NULL;
    }
    if (dunder || jmethod_is_unsafe(obj.t, name)) {
        *out = undef_unsafe(vm, obj, name);
        return true;
    }
    if (obj.t == J_LOOP) {
        *out = jloop_attr(vm, obj, name);
        return out->t != J_MISSING;
    }
    if (obj.t == J_TUPLE && obj.seq->group && obj.seq->n == 2 &&
        (jstr_is(name, "grouper") || jstr_is(name, "list"))) {
        *out = obj.seq->v[jstr_is(name, "list")];
        return true;
    }
    if (obj.t == J_MACRO && jstr_is(name, "name")) {
        *out = obj.macro->n->name ? (struct jval){ .t = J_STR, .s = (struct jstr *)obj.macro->n->name }
                                  : j_none();
        return true;
    }
    if (obj.t == J_CYCLER && jstr_is(name, "current")) {
        *out = obj.cycler->v[obj.cycler->pos];
        return true;
    }
    const struct jmethod_def *def = jmethod_find(obj.t, name);
    if (!def && obj.t == J_STR && obj.s->markup) def = jmarkup_method(name);
    if (!def) return false;
    struct jmethod *m = vm_new(vm, struct jmethod, 1);
    if (!m) return false;
    *m = (struct jmethod){ obj, def };
    *out = (struct jval){ .t = J_METHOD, .method = m };
    return true;
}

struct jval j_getattr(struct jvm *vm, struct jval obj, const struct jstr *name)
{
    struct jval v;
    if (obj.t == J_UNDEF) {
        vm_fail(vm, ERR_REQUEST, "%s", obj.undef->msg);
        return j_none();
    }
    if (attribute(vm, obj, name, &v)) return v;
    if (obj.t == J_DICT) {
        const struct jval *item = jdict_gets(vm, obj.d, name->p, name->len);
        if (item) return *item;
    }
    return undef_attr(vm, obj, name);
}

size_t jstr_offset(struct jvm *vm, struct jstr *s, int64_t i)
{
    const int64_t n = jstr_chars(vm, s);
    if (n == (int64_t)s->len) return (size_t)i; /* ASCII */
    if (i >= n || !vm_text(vm, (size_t)i)) return s->len;
    size_t at = 0;
    for (; i > 0; i--) {
        int k;
        utf8_at(s->p + at, s->len - at, &k);
        at += (size_t)k;
    }
    return at;
}

/* obj[i] for sequences: false when out of range. */
static bool index_into(struct jvm *vm, struct jval obj, int64_t i, struct jval *out)
{
    const int64_t n = j_len(vm, obj);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return false;
    if (obj.t == J_STR) {
        const size_t from = jstr_offset(vm, obj.s, i);
        int k;
        if (vm->failed) return false;
        utf8_at(obj.s->p + from, obj.s->len - from, &k);
        *out = j_str_sub(vm, obj.s, from, (size_t)k);
    } else if (obj.t == J_RANGE) {
        *out = jrange_at(obj.range, i);
    } else {
        *out = obj.seq->v[i];
    }
    return true;
}

struct jval j_getitem(struct jvm *vm, struct jval obj, struct jval key)
{
    struct jval v;
    int64_t i;
    if (obj.t == J_UNDEF) {
        vm_fail(vm, ERR_REQUEST, "%s", obj.undef->msg);
        return j_none();
    }
    if (obj.t == J_DICT) {
        const struct jval *item = jdict_get(vm, obj.d, key);
        if (item) return *item;
    } else if ((obj.t == J_STR || obj.t == J_LIST || obj.t == J_TUPLE || obj.t == J_RANGE) &&
               j_to_int(key, &i)) {
        if (index_into(vm, obj, i, &v)) return v;
    }
    if (key.t == J_STR) {
        if (attribute(vm, obj, key.s, &v)) return v;
        return undef_attr(vm, obj, key.s);
    }
    struct jbuf b = jbuf_new(vm);
    j_repr(&b, key);
    return j_undef(vm, "%s object has no element %.*s", j_type_name(obj), b.len > 60 ? 60 : (int)b.len,
                   b.p ? b.p : "");
}

static struct jval too_large(struct jvm *vm)
{
    vm_fail(vm, ERR_LIMIT, "integer too large");
    return j_none();
}

static bool slice_bound(struct jvm *vm, struct jval v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.t == J_NONE || v.t == J_MISSING) return true;
    if (j_to_int(v, out)) return true;
    return vm_type_error(vm, "slice indices must be integers or None");
}

/* The i-th value of a range, 0 <= i < n, or the one before or behind them; false when that is no 64-bit number. */
static bool range_bound(const struct jrange *r, int64_t i, int64_t *out)
{
    if (i >= 0 && i < r->n) *out = jrange_at(r, i).i;
    if (i < 0) return !__builtin_sub_overflow(r->start, r->step, out);
    if (i < r->n) return true;
    *out = r->n ? jrange_at(r, r->n - 1).i : r->start;
    return !r->n || !__builtin_add_overflow(*out, r->step, out);
}

static struct jval j_slice(struct jvm *vm, struct jval obj, struct jval start, struct jval stop,
                           struct jval step_val)
{
    if (obj.t == J_UNDEF) {
        vm_fail(vm, ERR_REQUEST, "%s", obj.undef->msg);
        return j_none();
    }
    if (obj.t != J_STR && obj.t != J_LIST && obj.t != J_TUPLE && obj.t != J_RANGE) {
        vm_type_error(vm, "'%s' object cannot be sliced", j_type_name(obj));
        return j_none();
    }
    int64_t step, from, to;
    const int64_t n = j_len(vm, obj);
    if (!slice_bound(vm, step_val, 1, &step)) return j_none();
    if (step == 0) {
        vm_type_error(vm, "slice step cannot be zero");
        return j_none();
    }
    if (step == INT64_MIN) step++;
    if (!slice_bound(vm, start, step > 0 ? 0 : INT64_MAX, &from) ||
        !slice_bound(vm, stop, step > 0 ? INT64_MAX : INT64_MIN, &to))
        return j_none();
    const bool to_given = stop.t != J_NONE && stop.t != J_MISSING;
    if (from < 0) from += n;
    if (to < 0 && to_given) to += n;
    /* The limits differ with the direction, as in Python: [0, n] forwards, [-1, n - 1] backwards. */
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    from = from < low ? low : from > high ? high : from;
    to = to < low ? low : to > high ? high : to;
    int64_t count = 0;
    if (step > 0 && from < to) count = (to - from - 1) / step + 1;
    if (step < 0 && from > to) count = (from - to - 1) / -step + 1;

    if (obj.t == J_RANGE) {
        struct jrange *r = vm_new(vm, struct jrange, 1);
        if (!r) return j_none();
        const struct jrange *o = obj.range;
        *r = (struct jrange){ .n = count };
        if (!range_bound(o, from, &r->start) || !range_bound(o, to, &r->stop) ||
            __builtin_mul_overflow(o->step, step, &r->step))
            return too_large(vm);
        return (struct jval){ .t = J_RANGE, .range = r };
    }
    if (obj.t == J_STR) {
        if (count == 0) return j_str_sub(vm, obj.s, 0, 0);
        if (step == 1) {
            const size_t a = jstr_offset(vm, obj.s, from), b = jstr_offset(vm, obj.s, to);
            if (vm->failed) return j_none();
            return j_str_sub(vm, obj.s, a, b - a);
        }
        const struct jval chars = j_items(vm, obj);
        struct jbuf b = jbuf_new(vm);
        for (int64_t k = 0; k < count && vm_step(vm, 1); k++) jbuf_str(&b, chars.seq->v[from + k * step].s);
        return j_like(vm, obj.s, jbuf_take(&b));
    }
    struct jval r = j_seq(vm, obj.t, (size_t)count);
    for (int64_t k = 0; k < count && vm_step(vm, 1); k++) jseq_push(vm, r, obj.seq->v[from + k * step]);
    return r;
}

/* --- arithmetic -------------------------------------------------------------------------------------------------------- */

static struct jval divided_by_zero(struct jvm *vm)
{
    vm_type_error(vm, "division by zero");
    return j_none();
}

static struct jval int_pow(struct jvm *vm, int64_t a, int64_t b)
{
    if (b < 0) return a == 0 ? divided_by_zero(vm) : j_float(pow((double)a, (double)b));
    int64_t r = 1;
    while (b) {
        if ((b & 1) && __builtin_mul_overflow(r, a, &r)) return too_large(vm);
        b >>= 1;
        if (b && __builtin_mul_overflow(a, a, &a)) return too_large(vm);
    }
    return j_int(r);
}

static struct jval int_binary(struct jvm *vm, int op, int64_t a, int64_t b)
{
    int64_t r;
    switch (op) {
    case '+': return __builtin_add_overflow(a, b, &r) ? too_large(vm) : j_int(r);
    case '-': return __builtin_sub_overflow(a, b, &r) ? too_large(vm) : j_int(r);
    case '*': return __builtin_mul_overflow(a, b, &r) ? too_large(vm) : j_int(r);
    case '/': return b == 0 ? divided_by_zero(vm) : j_float((double)a / (double)b);
    case OP_POW: return int_pow(vm, a, b);
    default: break;
    }
    if (b == 0) return divided_by_zero(vm);
    if (b == -1) return op == '%' ? j_int(0) : a == INT64_MIN ? too_large(vm) : j_int(-a);
    int64_t q = a / b;
    r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) { /* Python rounds towards minus infinity */
        q--;
        r += b;
    }
    return j_int(op == '%' ? r : q);
}

static struct jval float_binary(struct jvm *vm, int op, double a, double b)
{
    switch (op) {
    case '+': return j_float(a + b);
    case '-': return j_float(a - b);
    case '*': return j_float(a * b);
    case '/': return b == 0 ? divided_by_zero(vm) : j_float(a / b);
    case OP_POW: {
        if (a == 0 && b < 0) return divided_by_zero(vm);
        const double r = pow(a, b);
        if ((isnan(r) && !isnan(a) && !isnan(b)) || (isinf(r) && isfinite(a) && isfinite(b))) {
            vm_type_error(vm, "the result of ** is out of range");
            return j_none();
        }
        return j_float(r);
    }
    default: break;
    }
    if (b == 0) return divided_by_zero(vm);
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
            mod += b;
            div -= 1;
        }
    } else {
        mod = copysign(0, b);
    }
    if (op == '%') return j_float(mod);
    if (div == 0) return j_float(copysign(0, a / b));
    double floor_div = floor(div);
    if (div - floor_div > 0.5) floor_div += 1;
    return j_float(floor_div);
}

static struct jval repeat(struct jvm *vm, struct jval v, int64_t times)
{
    if (times < 0) times = 0;
    if (v.t == J_STR) {
        struct jbuf b = jbuf_new(vm);
        for (int64_t i = 0; i < times && v.s->len && vm_step(vm, 1); i++) jbuf_str(&b, v.s);
        return j_like(vm, v.s, jbuf_take(&b));
    }
    struct jval r = j_seq(vm, v.t, 0);
    for (int64_t i = 0; i < times && v.seq->n && !vm->failed; i++)
        for (size_t k = 0; k < v.seq->n && vm_step(vm, 1); k++) jseq_push(vm, r, v.seq->v[k]);
    return r;
}

static bool is_seq(struct jval v) { return v.t == J_STR || v.t == J_LIST || v.t == J_TUPLE; }

struct jval j_binary(struct jvm *vm, int op, struct jval a, struct jval b)
{
    int64_t x, y;
    if (op == '%' && a.t == J_STR) return j_percent(vm, a.s, b);
    if (j_to_int(a, &x) && j_to_int(b, &y)) return int_binary(vm, op, x, y);
    if (j_is_number(a) && j_is_number(b)) return float_binary(vm, op, j_to_double(a), j_to_double(b));
    if (op == '+' && a.t == b.t && is_seq(a)) {
        if (a.t == J_STR && (a.s->markup || b.s->markup)) {
            const struct jval l = j_escape(vm, a), r = j_escape(vm, b);
            return vm->failed ? j_none() : j_markup(vm, jstr_concat(vm, l.s, r.s).s, true);
        }
        if (a.t == J_STR) return jstr_concat(vm, a.s, b.s);
        struct jval r = j_seq(vm, a.t, a.seq->n + b.seq->n);
        for (size_t i = 0; i < a.seq->n && vm_step(vm, 1); i++) jseq_push(vm, r, a.seq->v[i]);
        for (size_t i = 0; i < b.seq->n && vm_step(vm, 1); i++) jseq_push(vm, r, b.seq->v[i]);
        return r;
    }
    if (op == '*' && is_seq(a) && j_to_int(b, &y)) return repeat(vm, a, y);
    if (op == '*' && is_seq(b) && j_to_int(a, &x)) return repeat(vm, b, x);
    if (a.t == J_UNDEF || b.t == J_UNDEF) {
        vm_fail(vm, ERR_REQUEST, "%s", (a.t == J_UNDEF ? a : b).undef->msg);
        return j_none();
    }
    const char name[3] = { (char)op, (char)(op >> 8), 0 };
    vm_type_error(vm, "unsupported operand type(s) for %s: '%s' and '%s'", name, j_type_name(a),
                  j_type_name(b));
    return j_none();
}

static struct jval negate(struct jvm *vm, struct jval v, bool minus)
{
    int64_t i;
    if (j_to_int(v, &i)) return !minus ? j_int(i) : i == INT64_MIN ? too_large(vm) : j_int(-i);
    if (v.t == J_FLOAT) return j_float(minus ? -v.f : v.f);
    if (v.t == J_UNDEF)
        vm_fail(vm, ERR_REQUEST, "%s", v.undef->msg);
    else
        vm_type_error(vm, "bad operand type for unary %c: '%s'", minus ? '-' : '+', j_type_name(v));
    return j_none();
}

static bool compare(struct jvm *vm, int op, struct jval a, struct jval b)
{
    switch (op) {
    case OP_EQ: return j_eq(vm, a, b);
    case OP_NE: return !j_eq(vm, a, b);
    case OP_IN: return j_contains(vm, b, a);
    case OP_NOT_IN: return !j_contains(vm, b, a);
    case '<': return j_less(vm, a, b, false);
    case OP_LE: return j_less(vm, a, b, true);
    case '>': return j_less(vm, b, a, false);
    default: return j_less(vm, b, a, true);
    }
}

/* --- calls -------------------------------------------------------------------------------------------------------------- */

struct jval jcall(struct jvm *vm, struct jval callee, const struct jargs *args)
{
    switch (callee.t) {
    case J_FUNC: return callee.func->call(vm, args);
    case J_METHOD: return callee.method->def->call(vm, callee.method->self, args);
    case J_MACRO: return jmacro_call(vm, callee.macro, args);
    case J_LOOP: return jloop_call(vm, callee.loop, args);
    case J_JOINER: { /* nothing the first time, the separator afterwards */
        struct jval none[1];
        jbind(vm, "joiner", args, "", none);
        return callee.cycler->pos++ ? callee.cycler->v[0] : j_cstr(vm, "");
    }
    case J_UNDEF: vm_fail(vm, ERR_REQUEST, "%s", callee.undef->msg); return j_none();
    default: vm_type_error(vm, "'%s' object is not callable", j_type_name(callee)); return j_none();
    }
}

struct jval japply_filter(struct jvm *vm, struct jscope *s, const struct node *n, struct jval v)
{
    const struct jfilter *f = n->impl;
    struct jargs args;
    if (!f) {
        vm_fail(vm, ERR_REQUEST, "No filter named '%.*s' found.",
                (int)(n->name->len > 60 ? 60 : n->name->len), n->name->p);
        return j_none();
    }
    if (!jeval_args(vm, s, n->args, &args) || vm->failed) return j_none();
    vm->line = n->line;
    const bool outer = vm->autoescape;
    if (n->folded) vm->autoescape = n->escape & ESCAPE_ON;
    const struct jval r = f->call(vm, v, &args);
    vm->autoescape = outer;
    return r;
}

static struct jval eval_test(struct jvm *vm, struct jscope *s, const struct node *n)
{
    const struct jval v = jeval(vm, s, n->a);
    const struct jtest *t = n->impl;
    struct jargs args;
    if (!t) {
        vm_fail(vm, ERR_REQUEST, "No test named '%.*s' found.", (int)(n->name->len > 60 ? 60 : n->name->len),
                n->name->p);
        return j_none();
    }
    if (!jeval_args(vm, s, n->args, &args) || vm->failed) return j_none();
    vm->line = n->line;
    return j_bool(t->call(vm, v, &args));
}

static struct jval eval_call(struct jvm *vm, struct jscope *s, const struct node *n)
{
    const struct jval callee = jeval(vm, s, n->a);
    struct jargs args;
    if (!jeval_args(vm, s, n->args, &args) || vm->failed) return j_none();
    vm->line = n->line;
    return jcall(vm, callee, &args);
}

static struct jval eval_compare(struct jvm *vm, struct jscope *s, const struct node *n)
{
    struct jval left = jeval(vm, s, n->a);
    for (size_t i = 0; i < n->n_kids && !vm->failed; i++) {
        const struct jval right = jeval(vm, s, n->kids[i]);
        if (vm->failed || !compare(vm, n->ops[i], left, right)) return j_bool(false);
        left = right;
    }
    return j_bool(!vm->failed);
}

/* Escapes only where the template says so, and only once it meets markup: what came before is taken as it is unless it turns up. */
static struct jval concat(struct jvm *vm, struct jscope *s, const struct node *n)
{
    struct jbuf b = jbuf_new(vm);
    if (n->escape != ESCAPE_ON || n->folded) {
        for (size_t i = 0; i < n->n_kids && !vm->failed; i++) j_print(&b, jeval(vm, s, n->kids[i]));
        return jbuf_take(&b);
    }
    struct jval all = j_seq(vm, J_LIST, n->n_kids);
    bool marked = false;
    for (size_t i = 0; i < n->n_kids && !vm->failed; i++) {
        const struct jval v = jeval(vm, s, n->kids[i]);
        marked |= v.t == J_STR && v.s->markup;
        jseq_push(vm, all, v);
    }
    if (vm->failed) return j_none();
    return marked ? j_markup_join(vm, j_cstr(vm, "").s, all) : jstr_join(vm, j_cstr(vm, "").s, all, true);
}

static struct jval eval_kids(struct jvm *vm, struct jscope *s, const struct node *n)
{
    if (n->kind == N_CONCAT) return concat(vm, s, n);
    if (n->kind == N_DICT) {
        struct jval d = j_dict(vm);
        for (size_t i = 0; i + 1 < n->n_kids && !vm->failed; i += 2) {
            const struct jval key = jeval(vm, s, n->kids[i]);
            jdict_set(vm, d.d, key, jeval(vm, s, n->kids[i + 1]));
        }
        return d;
    }
    struct jval list = j_seq(vm, n->kind == N_LIST ? J_LIST : J_TUPLE, n->n_kids);
    for (size_t i = 0; i < n->n_kids && !vm->failed; i++) jseq_push(vm, list, jeval(vm, s, n->kids[i]));
    return list;
}

static struct jval eval_item(struct jvm *vm, struct jscope *s, const struct node *n)
{
    const struct jval obj = jeval(vm, s, n->a);
    if (n->b->kind != N_SLICE) {
        const struct jval key = jeval(vm, s, n->b);
        return vm->failed ? j_none() : j_getitem(vm, obj, key);
    }
    const struct jval start = n->b->a ? jeval(vm, s, n->b->a) : j_none();
    const struct jval stop = n->b->b ? jeval(vm, s, n->b->b) : j_none();
    const struct jval step = n->b->c ? jeval(vm, s, n->b->c) : j_none();
    return vm->failed ? j_none() : j_slice(vm, obj, start, stop, step);
}

static struct jval eval_inner(struct jvm *vm, struct jscope *s, const struct node *n)
{
    switch (n->kind) {
    case N_NOT: return j_bool(!j_truth(vm, jeval(vm, s, n->a)));
    case N_NEG:
    case N_POS: return negate(vm, jeval(vm, s, n->a), n->kind == N_NEG);
    case N_AND: {
        const struct jval v = jeval(vm, s, n->a);
        return j_truth(vm, v) ? jeval(vm, s, n->b) : v;
    }
    case N_OR: {
        const struct jval v = jeval(vm, s, n->a);
        return j_truth(vm, v) ? v : jeval(vm, s, n->b);
    }
    case N_COND:
        if (j_truth(vm, jeval(vm, s, n->b))) return jeval(vm, s, n->a);
        if (n->c) return jeval(vm, s, n->c);
        return j_undef(
            vm, "the inline if-expression on line %d evaluated to false and no else section was defined.",
            n->line);
    case N_BIN: {
        const struct jval a = jeval(vm, s, n->a), b = jeval(vm, s, n->b);
        vm->line = n->line;
        return vm->failed ? j_none() : j_binary(vm, n->op, a, b);
    }
    case N_LIST:
    case N_TUPLE:
    case N_DICT:
    case N_CONCAT: return eval_kids(vm, s, n);
    case N_COMPARE: return eval_compare(vm, s, n);
    case N_ATTR: {
        const struct jval obj = jeval(vm, s, n->a);
        vm->line = n->line;
        return vm->failed ? j_none() : j_getattr(vm, obj, n->name);
    }
    case N_ITEM: return eval_item(vm, s, n);
    case N_CALL: return eval_call(vm, s, n);
    case N_FILTER: return japply_filter(vm, s, n, jeval(vm, s, n->a));
    case N_TEST: return eval_test(vm, s, n);
    default: vm_fail(vm, ERR_FORMAT, "this cannot be evaluated"); return j_none();
    }
}

struct jval jeval(struct jvm *vm, struct jscope *s, const struct node *n)
{
    if (n->kind == N_CONST || n->kind == N_DATA) return n->cst;
    vm->line = n->line;
    if (!vm_step(vm, 1)) return j_none();
    if (n->kind == N_NAME) return jscope_get(vm, s, n->name);
    if (!vm_enter(vm)) return j_none();
    const struct jval v = eval_inner(vm, s, n);
    vm_leave(vm);
    return v;
}
