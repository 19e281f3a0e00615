/* jinja_parse.c - tokens to tree, by recursive descent over jinja2's grammar. The statements are in jinja_stmt.c. */
#include "text/jinja/jinja_parse.h"

#include <stdio.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"

/* --- tools -------------------------------------------------------------------------------------------------------- */

const struct token *jparse_cur(const struct jparser *p) { return &p->tok[p->at]; }
static const struct token *look(const struct jparser *p) { return &p->tok[p->at + (p->at + 1 < p->n)]; }

const struct token *jparse_next(struct jparser *p)
{
    const struct token *t = &p->tok[p->at];
    if (p->at + 1 < p->n) p->at++; /* the end of the file stays */
    return t;
}

bool jparse_fail(struct jparser *p, int line, const char *what)
{
    if (!p->failed) err_set(p->e, ERR_FORMAT, "line %d: %s", line, what);
    p->failed = true;
    return false;
}

static void *jparse_alloc(struct jparser *p, size_t n, size_t size)
{
    void *r = p->failed ? NULL : jarena_alloc(p->mem, n, size);
    if (!r) jparse_fail(p, jparse_cur(p)->line, "the template is too large");
    return r;
}

bool jparse_is_name(const struct token *t, const char *name)
{
    return t->type == TOK_NAME && t->len == strlen(name) && memcmp(t->p, name, t->len) == 0;
}

bool jparse_is_op(const struct token *t, int op) { return t->type == TOK_OP && t->op == op; }

bool jparse_skip_name(struct jparser *p, const char *name)
{
    if (!jparse_is_name(jparse_cur(p), name)) return false;
    jparse_next(p);
    return true;
}

bool jparse_skip_op(struct jparser *p, int op)
{
    if (!jparse_is_op(jparse_cur(p), op)) return false;
    jparse_next(p);
    return true;
}

static void describe(const struct token *t, char *out, size_t n)
{
    switch (t->type) {
    case TOK_EOF: snprintf(out, n, "end of template"); break;
    case TOK_DATA: snprintf(out, n, "text"); break;
    case TOK_VAR_BEGIN: snprintf(out, n, "'{{'"); break;
    case TOK_VAR_END: snprintf(out, n, "'}}'"); break;
    case TOK_BLOCK_BEGIN: snprintf(out, n, "'{%%'"); break;
    case TOK_BLOCK_END: snprintf(out, n, "'%%}'"); break;
    case TOK_NAME: snprintf(out, n, "'%.*s'", (int)(t->len > 40 ? 40 : t->len), t->p); break;
    case TOK_STRING: snprintf(out, n, "a string"); break;
    case TOK_INT:
    case TOK_FLOAT: snprintf(out, n, "a number"); break;
    case TOK_OP: {
        const char op[3] = { (char)t->op, (char)(t->op >> 8), 0 };
        snprintf(out, n, "'%s'", op);
    }
    }
}

bool jparse_expected(struct jparser *p, const char *what)
{
    char got[64], msg[160];
    describe(jparse_cur(p), got, sizeof got);
    snprintf(msg, sizeof msg, "expected %s, got %s", what, got);
    return jparse_fail(p, jparse_cur(p)->line, msg);
}

bool jparse_expect_op(struct jparser *p, int op)
{
    if (jparse_skip_op(p, op)) return true;
    const char name[5] = { '\'', (char)op, '\'', 0, 0 };
    return jparse_expected(p, name);
}

struct node *jparse_node(struct jparser *p, enum node_kind kind, int line)
{
    struct node *n = jparse_alloc(p, 1, sizeof *n);
    if (!n) return NULL;
    n->kind = kind;
    n->line = line;
    n->escape = (unsigned char)p->escape;
    n->depth = 1;
    return n;
}

/* Accounts for a child in its parent's depth. */
void jparse_own(struct jparser *p, struct node *n, const struct node *child)
{
    if (!n || !child || child->depth < n->depth) return;
    n->depth = (uint16_t)(child->depth + 1);
    if (n->depth > 2 * JINJA_MAX_DEPTH) jparse_fail(p, n->line, "nested too deep");
}

static struct node *node2(struct jparser *p, enum node_kind kind, int line, struct node *a, struct node *b)
{
    struct node *n = jparse_node(p, kind, line);
    if (!n) return NULL;
    n->a = a;
    n->b = b;
    jparse_own(p, n, a);
    jparse_own(p, n, b);
    return n;
}

const struct jstr *jparse_str(struct jparser *p, const char *s, size_t len)
{
    struct jstr *r = jparse_alloc(p, 1, sizeof *r);
    static const struct jstr empty;
    if (!r) return &empty;
    *r = (struct jstr){ .p = s, .len = len, .n_chars = 0 };
    for (size_t i = 0; i < len; i++)
        r->n_chars += ((unsigned char)s[i] & 0xC0) != 0x80; /* shared by threads: no lazy */
    return r;
}

void jparse_push(struct jparser *p, struct nodes *l, struct node *n)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 4;
        struct node **v = jparse_alloc(p, cap, sizeof(struct node *));
        if (!v) return;
        if (l->n) memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = n;
}

static struct node *with_kids(struct jparser *p, struct node *n, struct nodes l)
{
    if (!n) return NULL;
    n->kids = l.v;
    n->n_kids = l.n;
    for (size_t i = 0; i < l.n; i++) jparse_own(p, n, l.v[i]);
    return n;
}

static bool enter(struct jparser *p)
{
    if (p->failed) return false;
    if (p->depth >= JINJA_MAX_DEPTH) return jparse_fail(p, jparse_cur(p)->line, "nested too deep");
    p->depth++;
    return true;
}

static void leave(struct jparser *p) { p->depth--; }

/* --- primaries ------------------------------------------------------------------------------------------------------ */

static struct node *constant(struct jparser *p, int line, struct jval v)
{
    struct node *n = jparse_node(p, N_CONST, line);
    if (n) n->cst = v;
    return n;
}

static void note_special_name(struct jparser *p, const struct token *t)
{
    for (struct jmacro_scope *m = p->macro; m; m = m->outer) {
        m->uses_varargs |= jparse_is_name(t, "varargs");
        m->uses_kwargs |= jparse_is_name(t, "kwargs");
        m->uses_caller |= jparse_is_name(t, "caller");
    }
}

static struct node *parse_strings(struct jparser *p)
{
    const struct token *first = jparse_next(p);
    size_t total = first->len;
    size_t count = 1;
    for (size_t i = p->at; p->tok[i].type == TOK_STRING; i++, count++) total += p->tok[i].len;
    const char *text = first->p;
    if (count > 1) { /* adjacent literals are one */
        char *all = jparse_alloc(p, total ? total : 1, 1);
        if (!all) return NULL;
        memcpy(all, first->p, first->len);
        for (size_t at = first->len; jparse_cur(p)->type == TOK_STRING;) {
            const struct token *t = jparse_next(p);
            memcpy(all + at, t->p, t->len);
            at += t->len;
        }
        text = all;
    }
    return constant(p, first->line,
                    (struct jval){ .t = J_STR, .s = (struct jstr *)jparse_str(p, text, total) });
}

static struct node *parse_list(struct jparser *p)
{
    struct node *n = jparse_node(p, N_LIST, jparse_next(p)->line);
    struct nodes l = { 0 };
    while (!p->failed && !jparse_is_op(jparse_cur(p), ']')) {
        if (l.n && !jparse_expect_op(p, ',')) return NULL;
        if (jparse_is_op(jparse_cur(p), ']')) break;
        jparse_push(p, &l, jparse_expr(p, true));
    }
    jparse_expect_op(p, ']');
    return p->failed ? NULL : with_kids(p, n, l);
}

static struct node *parse_dict(struct jparser *p)
{
    struct node *n = jparse_node(p, N_DICT, jparse_next(p)->line);
    struct nodes l = { 0 };
    while (!p->failed && !jparse_is_op(jparse_cur(p), '}')) {
        if (l.n && !jparse_expect_op(p, ',')) return NULL;
        if (jparse_is_op(jparse_cur(p), '}')) break;
        jparse_push(p, &l, jparse_expr(p, true));
        if (!jparse_expect_op(p, ':')) return NULL;
        jparse_push(p, &l, jparse_expr(p, true));
    }
    jparse_expect_op(p, '}');
    return p->failed ? NULL : with_kids(p, n, l);
}

struct node *jparse_primary(struct jparser *p, bool with_namespace)
{
    const struct token *t = jparse_cur(p);
    if (t->type == TOK_STRING) return parse_strings(p);
    if (t->type == TOK_NAME) {
        jparse_next(p);
        if (jparse_is_name(t, "true") || jparse_is_name(t, "True")) return constant(p, t->line, j_bool(true));
        if (jparse_is_name(t, "false") || jparse_is_name(t, "False"))
            return constant(p, t->line, j_bool(false));
        if (jparse_is_name(t, "none") || jparse_is_name(t, "None")) return constant(p, t->line, j_none());
        const bool ns = with_namespace && jparse_is_op(jparse_cur(p), '.');
        struct node *n = jparse_node(p, ns ? N_NSREF : N_NAME, t->line);
        if (!n) return NULL;
        n->name = jparse_str(p, t->p, t->len);
        note_special_name(p, t);
        if (ns) {
            jparse_next(p);
            const struct token *attr = jparse_cur(p);
            if (attr->type != TOK_NAME) {
                jparse_expected(p, "a name");
                return NULL;
            }
            jparse_next(p);
            n->attr = jparse_str(p, attr->p, attr->len);
        }
        return n;
    }
    if (t->type == TOK_INT) return constant(p, jparse_next(p)->line, j_int(t->i));
    if (t->type == TOK_FLOAT) return constant(p, jparse_next(p)->line, j_float(t->f));
    struct node *n = NULL;
    if (!enter(p)) return NULL;
    if (jparse_skip_op(p, '(')) {
        n = jparse_tuple(p, JTUPLE_COND | JTUPLE_PARENS, NULL);
        jparse_expect_op(p, ')');
    } else if (jparse_is_op(t, '[')) {
        n = parse_list(p);
    } else if (jparse_is_op(t, '{')) {
        n = parse_dict(p);
    } else {
        jparse_expected(p, "an expression");
    }
    leave(p);
    return p->failed ? NULL : n;
}

static bool tuple_ends(const struct jparser *p, const char *end_name)
{
    const struct token *t = jparse_cur(p);
    return t->type == TOK_VAR_END || t->type == TOK_BLOCK_END || jparse_is_op(t, ')') ||
           (end_name && jparse_is_name(t, end_name));
}

struct node *jparse_tuple(struct jparser *p, unsigned how, const char *end_name)
{
    const int line = jparse_cur(p)->line;
    struct nodes l = { 0 };
    bool is_tuple = false;
    while (!p->failed) {
        if (l.n && !jparse_expect_op(p, ',')) return NULL;
        if (tuple_ends(p, end_name)) break;
        jparse_push(p, &l,
                    how & JTUPLE_SIMPLE ? jparse_primary(p, how & JTUPLE_NS)
                                        : jparse_expr(p, (how & JTUPLE_COND) != 0));
        if (!jparse_is_op(jparse_cur(p), ',')) break;
        is_tuple = true;
    }
    if (p->failed) return NULL;
    if (!is_tuple) {
        if (l.n) return l.v[0];
        if (!(how & JTUPLE_PARENS)) {
            jparse_expected(p, "an expression");
            return NULL;
        }
    }
    return with_kids(p, jparse_node(p, N_TUPLE, line), l);
}

/* --- calls, subscripts, filters, tests --------------------------------------------------------------------------------- */

static struct jargs_ast *parse_args(struct jparser *p)
{
    struct jargs_ast *args = jparse_alloc(p, 1, sizeof *args);
    const int line = jparse_cur(p)->line;
    if (!args || !jparse_expect_op(p, '(')) return NULL;
    struct nodes pos = { 0 };
    size_t cap_kw = 0;
    bool comma = false;
    while (!p->failed && !jparse_is_op(jparse_cur(p), ')')) {
        if (comma) {
            if (!jparse_expect_op(p, ',')) return NULL;
            if (jparse_is_op(jparse_cur(p), ')')) break;
        }
        bool ok = true;
        if (jparse_skip_op(p, '*')) {
            ok = !args->star && !args->star2;
            args->star = jparse_expr(p, true);
        } else if (jparse_skip_op(p, OP_POW)) {
            ok = !args->star2;
            args->star2 = jparse_expr(p, true);
        } else if (jparse_cur(p)->type == TOK_NAME && jparse_is_op(look(p), '=')) {
            ok = !args->star2;
            if (args->n_kw == JINJA_MAX_ARGS) jparse_fail(p, line, "a call has too many keyword arguments");
            if (args->n_kw == cap_kw) {
                cap_kw = cap_kw ? 2 * cap_kw : 4;
                struct kwarg_ast *kw = jparse_alloc(p, cap_kw, sizeof *kw);
                if (!kw) return NULL;
                if (args->n_kw) memcpy(kw, args->kw, args->n_kw * sizeof *kw);
                args->kw = kw;
            }
            const struct token *name = jparse_next(p);
            jparse_next(p);
            struct kwarg_ast *k = &args->kw[args->n_kw++];
            k->name = jparse_str(p, name->p, name->len);
            k->val = jparse_expr(p, true);
            for (size_t i = 0; i + 1 < args->n_kw && !p->failed; i++)
                if (jstr_eq(args->kw[i].name, k->name))
                    jparse_fail(p, name->line, "keyword argument repeated");
        } else {
            ok = !args->star && !args->star2 && !args->n_kw;
            jparse_push(p, &pos, jparse_expr(p, true));
        }
        if (!ok) jparse_fail(p, line, "invalid syntax for function call expression");
        comma = true;
    }
    if (p->failed || !jparse_expect_op(p, ')')) return NULL;
    args->pos = pos.v;
    args->n_pos = pos.n;
    return args;
}

static void own_args(struct jparser *p, struct node *n)
{
    if (!n || !n->args) return;
    for (size_t i = 0; i < n->args->n_pos; i++) jparse_own(p, n, n->args->pos[i]);
    for (size_t i = 0; i < n->args->n_kw; i++) jparse_own(p, n, n->args->kw[i].val);
    jparse_own(p, n, n->args->star);
    jparse_own(p, n, n->args->star2);
}

static struct node *parse_call(struct jparser *p, struct node *callee)
{
    struct node *n = node2(p, N_CALL, jparse_cur(p)->line, callee, NULL);
    struct jargs_ast *args = parse_args(p);
    if (!n || p->failed) return NULL;
    n->args = args;
    own_args(p, n);
    return n;
}

/* One element between the brackets of a subscript: an expression or a slice. */
static struct node *parse_subscribed(struct jparser *p)
{
    const int line = jparse_cur(p)->line;
    struct node *start = NULL, *stop = NULL, *step = NULL;
    if (!jparse_is_op(jparse_cur(p), ':')) {
        start = jparse_expr(p, true);
        if (!jparse_is_op(jparse_cur(p), ':')) return start;
    }
    jparse_next(p);
    const struct token *t = jparse_cur(p);
    if (!jparse_is_op(t, ':') && !jparse_is_op(t, ']') && !jparse_is_op(t, ',')) stop = jparse_expr(p, true);
    if (jparse_skip_op(p, ':')) {
        t = jparse_cur(p);
        if (!jparse_is_op(t, ']') && !jparse_is_op(t, ',')) step = jparse_expr(p, true);
    }
    struct node *n = node2(p, N_SLICE, line, start, stop);
    if (!n) return NULL;
    n->c = step;
    jparse_own(p, n, step);
    return n;
}

static struct node *parse_subscript(struct jparser *p, struct node *obj)
{
    const struct token *t = jparse_next(p);
    if (t->op == '.') {
        const struct token *attr = jparse_next(p);
        if (attr->type == TOK_NAME) {
            struct node *n = node2(p, N_ATTR, t->line, obj, NULL);
            if (n) n->name = jparse_str(p, attr->p, attr->len);
            return n;
        }
        if (attr->type == TOK_INT)
            return node2(p, N_ITEM, t->line, obj, constant(p, attr->line, j_int(attr->i)));
        jparse_fail(p, attr->line, "expected name or number after '.'");
        return NULL;
    }
    struct nodes l = { 0 };
    while (!p->failed && !jparse_is_op(jparse_cur(p), ']')) {
        if (l.n && !jparse_expect_op(p, ',')) return NULL;
        jparse_push(p, &l, parse_subscribed(p));
    }
    if (p->failed || !jparse_expect_op(p, ']')) return NULL;
    if (l.n == 1) return node2(p, N_ITEM, t->line, obj, l.v[0]);
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i]->kind == N_SLICE) jparse_fail(p, t->line, "a slice cannot be part of a tuple");
    return node2(p, N_ITEM, t->line, obj, with_kids(p, jparse_node(p, N_TUPLE, t->line), l));
}

static struct node *parse_postfix(struct jparser *p, struct node *n)
{
    while (!p->failed) {
        const struct token *t = jparse_cur(p);
        if (jparse_is_op(t, '.') || jparse_is_op(t, '['))
            n = parse_subscript(p, n);
        else if (jparse_is_op(t, '('))
            n = parse_call(p, n);
        else
            break;
    }
    return p->failed ? NULL : n;
}

/* A name with dots, as filters and tests may have; none of ours does, but the error should name it whole. */
static const struct jstr *dotted_name(struct jparser *p)
{
    const struct token *t = jparse_cur(p);
    if (t->type != TOK_NAME) {
        jparse_expected(p, "a name");
        return NULL;
    }
    jparse_next(p);
    const char *end = t->p + t->len;
    while (jparse_is_op(jparse_cur(p), '.') && look(p)->type == TOK_NAME) {
        jparse_next(p);
        const struct token *more = jparse_next(p);
        end = more->p + more->len;
    }
    return jparse_str(p, t->p, (size_t)(end - t->p));
}

struct node *jparse_filter(struct jparser *p, struct node *n, bool start_inline)
{
    while (!p->failed && (start_inline || jparse_is_op(jparse_cur(p), '|'))) {
        if (!start_inline) jparse_next(p);
        start_inline = false;
        struct node *f = node2(p, N_FILTER, jparse_cur(p)->line, n, NULL);
        const struct jstr *name = dotted_name(p);
        if (!f || !name) return NULL;
        f->name = name;
        f->impl = jfilter_find(name);
        if (jparse_is_op(jparse_cur(p), '(')) f->args = parse_args(p);
        own_args(p, f);
        if (!p->failed) jparse_fold(f);
        n = f;
    }
    return p->failed ? NULL : n;
}

static bool is_constant(const struct node *n, bool filters);

static bool all_constant(struct node *const *v, size_t n, bool filters)
{
    for (size_t i = 0; i < n; i++)
        if (!is_constant(v[i], filters)) return false;
    return true;
}

/* Nothing but constants below n; whether filters and tests are let through, too. */
static bool is_constant(const struct node *n, bool filters)
{
    if (!n) return true;
    switch (n->kind) {
    case N_CONST: return true;
    case N_FILTER:
    case N_TEST:
        if (!filters || !n->impl || (n->kind == N_FILTER && !n->a)) return false;
        if (n->args &&
            (n->args->star || n->args->star2 || !all_constant(n->args->pos, n->args->n_pos, filters)))
            return false;
        for (size_t i = 0; n->args && i < n->args->n_kw; i++)
            if (!is_constant(n->args->kw[i].val, filters)) return false;
        return is_constant(n->a, filters);
    case N_NAME:
    case N_CALL:
    case N_NSREF: return false;
    default:
        return is_constant(n->a, filters) && is_constant(n->b, filters) && is_constant(n->c, filters) &&
               all_constant(n->kids, n->n_kids, filters);
    }
}

void jparse_fold(struct node *n)
{
    const bool filters = !(n->escape & ESCAPE_RUN);
    n->folded = n->kind == N_PRINT    ? is_constant(n->a, filters)
                : n->kind == N_CONCAT ? all_constant(n->kids, n->n_kids, filters)
                                      : is_constant(n, filters);
}

static struct node *parse_test(struct jparser *p, struct node *subject)
{
    const int line = jparse_next(p)->line; /* is */
    const bool negated = jparse_skip_name(p, "not");
    struct node *n = node2(p, N_TEST, line, subject, NULL);
    const struct jstr *name = dotted_name(p);
    if (!n || !name) return NULL;
    n->name = name;
    n->impl = jtest_find(name);
    const struct token *t = jparse_cur(p);
    if (jparse_is_op(t, '(')) {
        n->args = parse_args(p);
    } else if (t->type == TOK_STRING || t->type == TOK_INT || t->type == TOK_FLOAT || jparse_is_op(t, '[') ||
               jparse_is_op(t, '{') ||
               (t->type == TOK_NAME && !jparse_is_name(t, "else") && !jparse_is_name(t, "or") &&
                !jparse_is_name(t, "and"))) {
        if (jparse_is_name(t, "is")) {
            jparse_fail(p, t->line, "You cannot chain multiple tests with is");
            return NULL;
        }
        struct nodes pos = { 0 };
        jparse_push(p, &pos, parse_postfix(p, jparse_primary(p, false)));
        n->args = jparse_alloc(p, 1, sizeof *n->args);
        if (!n->args) return NULL;
        n->args->pos = pos.v;
        n->args->n_pos = pos.n;
    }
    if (p->failed) return NULL;
    own_args(p, n);
    return negated ? node2(p, N_NOT, line, n, NULL) : n;
}

static struct node *parse_filter_expr(struct jparser *p, struct node *n)
{
    while (!p->failed) {
        const struct token *t = jparse_cur(p);
        if (jparse_is_op(t, '|'))
            n = jparse_filter(p, n, false);
        else if (jparse_is_name(t, "is"))
            n = parse_test(p, n);
        else if (jparse_is_op(t, '('))
            n = parse_call(p, n);
        else
            break;
    }
    return p->failed ? NULL : n;
}

/* --- operators, loosest last ----------------------------------------------------------------------------------------------- */

static struct node *parse_unary(struct jparser *p, bool with_filter)
{
    if (!enter(p)) return NULL;
    const struct token *t = jparse_cur(p);
    struct node *n;
    if (jparse_skip_op(p, '-'))
        n = node2(p, N_NEG, t->line, parse_unary(p, false), NULL);
    else if (jparse_skip_op(p, '+'))
        n = node2(p, N_POS, t->line, parse_unary(p, false), NULL);
    else
        n = jparse_primary(p, false);
    n = parse_postfix(p, n);
    if (with_filter) n = parse_filter_expr(p, n);
    leave(p);
    return p->failed ? NULL : n;
}

static struct node *binary(struct jparser *p, int op, int line, struct node *a, struct node *b)
{
    struct node *n = node2(p, N_BIN, line, a, b);
    if (n) n->op = op;
    return n;
}

static struct node *parse_pow(struct jparser *p)
{
    struct node *n = parse_unary(p, true);
    while (!p->failed && jparse_is_op(jparse_cur(p), OP_POW)) {
        const int line = jparse_next(p)->line;
        n = binary(p, OP_POW, line, n, parse_unary(p, true));
    }
    return n;
}

static struct node *parse_math2(struct jparser *p)
{
    struct node *n = parse_pow(p);
    for (;;) {
        const struct token *t = jparse_cur(p);
        if (p->failed || t->type != TOK_OP ||
            (t->op != '*' && t->op != '/' && t->op != '%' && t->op != OP_FLOORDIV))
            return n;
        jparse_next(p);
        n = binary(p, t->op, t->line, n, parse_pow(p));
    }
}

static struct node *parse_concat(struct jparser *p)
{
    const int line = jparse_cur(p)->line;
    struct nodes l = { 0 };
    jparse_push(p, &l, parse_math2(p));
    while (!p->failed && jparse_skip_op(p, '~')) jparse_push(p, &l, parse_math2(p));
    if (p->failed) return NULL;
    if (l.n == 1) return l.v[0];
    struct node *concat = with_kids(p, jparse_node(p, N_CONCAT, line), l);
    if (concat) jparse_fold(concat);
    return concat;
}

static struct node *parse_math1(struct jparser *p)
{
    struct node *n = parse_concat(p);
    for (;;) {
        const struct token *t = jparse_cur(p);
        if (p->failed || t->type != TOK_OP || (t->op != '+' && t->op != '-')) return n;
        jparse_next(p);
        n = binary(p, t->op, t->line, n, parse_concat(p));
    }
}

/* The comparison operator at the current token, consumed; 0 when there is none. */
static int compare_op(struct jparser *p)
{
    const struct token *t = jparse_cur(p);
    int op = 0;
    if (t->type == TOK_OP && (t->op == OP_EQ || t->op == OP_NE || t->op == OP_LE || t->op == OP_GE ||
                              t->op == '<' || t->op == '>'))
        op = t->op;
    else if (jparse_is_name(t, "in"))
        op = OP_IN;
    else if (jparse_is_name(t, "not") && jparse_is_name(look(p), "in")) {
        jparse_next(p);
        op = OP_NOT_IN;
    }
    if (op) jparse_next(p);
    return op;
}

static struct node *parse_compare(struct jparser *p)
{
    const int line = jparse_cur(p)->line;
    struct node *first = parse_math1(p);
    struct nodes l = { 0 };
    int ops[JINJA_MAX_DEPTH], op;
    while (!p->failed && (op = compare_op(p)) != 0) {
        if (l.n == JINJA_MAX_DEPTH) {
            jparse_fail(p, line, "comparison too long");
            return NULL;
        }
        ops[l.n] = op;
        jparse_push(p, &l, parse_math1(p));
    }
    if (p->failed || !l.n) return p->failed ? NULL : first;
    struct node *n = with_kids(p, node2(p, N_COMPARE, line, first, NULL), l);
    if (!n) return NULL;
    n->ops = jparse_alloc(p, l.n, sizeof *ops);
    if (!n->ops) return NULL;
    memcpy(n->ops, ops, l.n * sizeof *ops);
    return n;
}

static struct node *parse_not(struct jparser *p)
{
    const struct token *t = jparse_cur(p);
    if (!jparse_is_name(t, "not")) return parse_compare(p);
    if (!enter(p)) return NULL;
    jparse_next(p);
    struct node *n = node2(p, N_NOT, t->line, parse_not(p), NULL);
    leave(p);
    return n;
}

static struct node *parse_and(struct jparser *p)
{
    struct node *n = parse_not(p);
    while (!p->failed && jparse_is_name(jparse_cur(p), "and")) {
        const int line = jparse_next(p)->line;
        n = node2(p, N_AND, line, n, parse_not(p));
    }
    return n;
}

static struct node *parse_or(struct jparser *p)
{
    struct node *n = parse_and(p);
    while (!p->failed && jparse_is_name(jparse_cur(p), "or")) {
        const int line = jparse_next(p)->line;
        n = node2(p, N_OR, line, n, parse_and(p));
    }
    return n;
}

struct node *jparse_expr(struct jparser *p, bool with_cond)
{
    if (!enter(p)) return NULL;
    struct node *n = parse_or(p);
    while (with_cond && !p->failed && jparse_is_name(jparse_cur(p), "if")) {
        const int line = jparse_next(p)->line;
        struct node *cond = node2(p, N_COND, line, n, parse_or(p));
        if (!cond) break;
        if (jparse_skip_name(p, "else")) {
            cond->c = jparse_expr(p, true);
            jparse_own(p, cond, cond->c);
        }
        n = cond;
    }
    leave(p);
    return p->failed ? NULL : n;
}
