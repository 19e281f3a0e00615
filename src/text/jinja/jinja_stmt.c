/* jinja_stmt.c - the statements of the grammar, and what jinja2's compiler checks before anything runs. */
#include <stdio.h>
#include <string.h>

#include "text/jinja/jinja_parse.h"

/* Tags that end some block; parse_body() stops at those its caller names. */
typedef const char *const end_tags[4];

static bool parse_body(struct jparser *p, const char *const *ends, struct node *owner, bool is_else);

static bool expect_block_end(struct jparser *p)
{
    if (jparse_cur(p)->type != TOK_BLOCK_END) return jparse_expected(p, "'%}'");
    jparse_next(p);
    return true;
}

/* After a statement's head: an optional colon, the end of the tag, the body up to one of `ends` (its name is then the
 * current token). */
static bool parse_statements(struct jparser *p, const char *const *ends, struct node *owner, bool is_else)
{
    if (p->failed) return false;
    jparse_skip_op(p, ':');
    if (!expect_block_end(p) || !parse_body(p, ends, owner, is_else)) return false;
    if (jparse_cur(p)->type == TOK_EOF) {
        char msg[160];
        snprintf(msg, sizeof msg, "Unexpected end of template: the block opened in line %d needs '%s'",
                 owner->line, ends[0]);
        return jparse_fail(p, jparse_cur(p)->line, msg);
    }
    return true;
}

/* A body that only one tag can end. */
static bool parse_until(struct jparser *p, const char *end, struct node *owner)
{
    const char *const ends[] = { end, NULL };
    if (!parse_statements(p, ends, owner, false)) return false;
    jparse_next(p);
    return true;
}

static bool check_target(struct jparser *p, const struct node *n, bool in_for)
{
    if (n->kind == N_TUPLE) {
        for (size_t i = 0; i < n->n_kids; i++)
            if (!check_target(p, n->kids[i], in_for)) return false;
        return true;
    }
    if (n->kind == N_NSREF) return true;
    if (n->kind != N_NAME) return jparse_fail(p, n->line, "can't assign to this expression");
    if (in_for && jstr_is(n->name, "loop"))
        return jparse_fail(p, n->line, "Can't assign to special loop variable in for-loop target");
    return true;
}

static struct node *parse_target(struct jparser *p, unsigned how, const char *end_name)
{
    struct node *n = jparse_tuple(p, JTUPLE_SIMPLE | how, end_name);
    return n && check_target(p, n, end_name != NULL) ? n : NULL;
}

static struct node *parse_name(struct jparser *p)
{
    if (jparse_cur(p)->type != TOK_NAME) {
        jparse_expected(p, "a name");
        return NULL;
    }
    struct node *n = jparse_primary(p, false);
    if (n && n->kind != N_NAME) {
        jparse_fail(p, n->line, "can't assign to a constant");
        return NULL;
    }
    return n;
}

static bool parse_signature(struct jparser *p, struct node *macro)
{
    struct nodes params = { 0 }, defaults = { 0 };
    if (!jparse_expect_op(p, '(')) return false;
    while (!p->failed && !jparse_is_op(jparse_cur(p), ')')) {
        if (params.n && !jparse_expect_op(p, ',')) return false;
        struct node *name = parse_name(p);
        if (!name) return false;
        if (params.n == JINJA_MAX_ARGS) return jparse_fail(p, name->line, "a macro has too many parameters");
        for (size_t i = 0; i < params.n; i++)
            if (jstr_eq(params.v[i]->name, name->name))
                return jparse_fail(p, name->line, "a parameter is named twice");
        if (jparse_skip_op(p, '='))
            jparse_push(p, &defaults, jparse_expr(p, true));
        else if (defaults.n)
            return jparse_fail(p, name->line, "non-default argument follows default argument");
        jparse_push(p, &params, name);
    }
    if (p->failed || !jparse_expect_op(p, ')')) return false;
    macro->params = params.v;
    macro->n_params = params.n;
    macro->defaults = defaults.v;
    macro->n_defaults = defaults.n;
    for (size_t i = 0; i < defaults.n; i++) jparse_own(p, macro, defaults.v[i]);
    return true;
}

/* The body of a macro or call block: a function of its own. */
static bool parse_function(struct jparser *p, const char *end, struct node *n, bool has_signature)
{
    struct jmacro_scope scope = { .outer = p->macro };
    const int loops = p->loops;
    p->macro = &scope;
    p->loops = 0;
    bool ok = !has_signature || parse_signature(p, n);
    if (ok && n->kind == N_CALLBLOCK) {
        /* The call itself belongs outside, but it mentions no special names that matter there. */
        n->a = jparse_expr(p, true);
        ok = n->a && (n->a->kind == N_CALL || jparse_fail(p, n->line, "expected call"));
        jparse_own(p, n, n->a);
    }
    ok = ok && parse_until(p, end, n);
    n->uses_varargs = scope.uses_varargs;
    n->uses_kwargs = scope.uses_kwargs;
    n->uses_caller = scope.uses_caller;
    p->macro = scope.outer;
    p->loops = loops;
    return ok;
}

static struct node *parse_for(struct jparser *p, struct node *n)
{
    n->kind = N_FOR;
    n->a = parse_target(p, 0, "in");
    if (!n->a) return NULL;
    if (!jparse_skip_name(p, "in")) {
        jparse_expected(p, "'in'");
        return NULL;
    }
    n->b = jparse_tuple(p, 0, "recursive");
    if (jparse_skip_name(p, "if")) n->c = jparse_expr(p, true);
    n->recursive = jparse_skip_name(p, "recursive");
    jparse_own(p, n, n->b);
    jparse_own(p, n, n->c);
    static const char *const ends[] = { "endfor", "else", NULL }, *const end[] = { "endfor", NULL };
    p->loops++;
    const bool ok = parse_statements(p, ends, n, false);
    p->loops--;
    if (!ok) return NULL;
    if (jparse_is_name(jparse_next(p), "else")) {
        if (!parse_statements(p, end, n, true)) return NULL;
        jparse_next(p);
    }
    return n;
}

static struct node *parse_if(struct jparser *p, struct node *n)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL }, *const end[] = { "endif", NULL };
    struct nodes kids = { 0 };
    n->kind = N_IF;
    for (;;) {
        struct node *cond = jparse_tuple(p, 0, NULL), *body = jparse_node(p, N_BODY, jparse_cur(p)->line);
        if (!cond || !body || !parse_statements(p, ends, body, false)) return NULL;
        jparse_push(p, &kids, cond);
        jparse_push(p, &kids, body);
        jparse_own(p, n, cond);
        jparse_own(p, n, body);
        const struct token *t = jparse_next(p);
        if (jparse_is_name(t, "elif")) continue;
        if (jparse_is_name(t, "else")) {
            if (!parse_statements(p, end, n, true)) return NULL;
            jparse_next(p);
        }
        break;
    }
    n->kids = kids.v;
    n->n_kids = kids.n;
    return p->failed ? NULL : n;
}

static struct node *parse_set(struct jparser *p, struct node *n)
{
    n->a = parse_target(p, JTUPLE_NS, NULL);
    if (!n->a) return NULL;
    if (jparse_skip_op(p, '=')) {
        n->kind = N_SET;
        n->b = jparse_tuple(p, JTUPLE_COND, NULL);
        jparse_own(p, n, n->b);
        return p->failed ? NULL : n;
    }
    n->kind = N_SETBLOCK;
    if (jparse_is_op(jparse_cur(p), '|')) n->b = jparse_filter(p, NULL, false);
    jparse_own(p, n, n->b);
    return parse_until(p, "endset", n) ? n : NULL;
}

static struct node *parse_with(struct jparser *p, struct node *n)
{
    struct nodes kids = { 0 };
    n->kind = N_WITH;
    while (!p->failed && jparse_cur(p)->type != TOK_BLOCK_END) {
        if (kids.n && !jparse_expect_op(p, ',')) return NULL;
        /* One target, not a tuple: the comma separates assignments. */
        struct node *target = jparse_primary(p, false);
        if (!target || !check_target(p, target, false) || !jparse_expect_op(p, '=')) return NULL;
        jparse_push(p, &kids, target);
        jparse_push(p, &kids, jparse_expr(p, true));
    }
    n->kids = kids.v;
    n->n_kids = kids.n;
    for (size_t i = 0; i < kids.n; i++) jparse_own(p, n, kids.v[i]);
    return parse_until(p, "endwith", n) ? n : NULL;
}

static struct node *parse_print(struct jparser *p, struct node *n)
{
    struct nodes l = { 0 };
    n->kind = N_BODY;
    while (!p->failed && jparse_cur(p)->type != TOK_BLOCK_END) {
        if (l.n && !jparse_expect_op(p, ',')) return NULL;
        struct node *print = jparse_node(p, N_PRINT, n->line);
        if (!print) return NULL;
        print->a = jparse_expr(p, true);
        jparse_own(p, print, print->a);
        if (!p->failed) jparse_fold(print);
        jparse_own(p, n, print);
        jparse_push(p, &l, print);
    }
    n->body = l.v;
    n->n_body = l.n;
    return p->failed ? NULL : n;
}

static struct node *parse_block(struct jparser *p, struct node *n)
{
    n->kind = N_BLOCK;
    struct node *name = parse_name(p);
    if (!name) return NULL;
    n->name = name->name;
    jparse_skip_name(p, "scoped");
    jparse_skip_name(p, "required");
    const int loops = p->loops;
    p->loops = 0;
    const bool ok = parse_until(p, "endblock", n);
    p->loops = loops;
    if (ok && jparse_cur(p)->type == TOK_NAME &&
        jstr_eq(&(struct jstr){ .p = jparse_cur(p)->p, .len = jparse_cur(p)->len }, n->name))
        jparse_next(p);
    return ok ? n : NULL;
}

static struct node *parse_autoescape(struct jparser *p, struct node *n)
{
    const enum escape_mode outer = p->escape;
    n->kind = N_AUTOESCAPE;
    n->a = jparse_expr(p, true);
    if (!n->a) return NULL;
    jparse_own(p, n, n->a);
    const struct jval v = n->a->cst;
    const bool on = (v.t == J_BOOL && v.b) || (v.t == J_INT && v.i) || (v.t == J_FLOAT && v.f != 0) ||
                    (v.t == J_STR && v.s->len);
    if (n->a->kind != N_CONST)
        p->escape |= ESCAPE_RUN;
    else
        p->escape = (outer & ESCAPE_RUN) | (on ? ESCAPE_ON : ESCAPE_OFF);
    const bool ok = parse_until(p, "endautoescape", n);
    p->escape = outer;
    return ok ? n : NULL;
}

static struct node *parse_statement(struct jparser *p)
{
    const struct token *t = jparse_cur(p);
    if (t->type != TOK_NAME) {
        jparse_fail(p, t->line, "tag name expected");
        return NULL;
    }
    jparse_next(p);
    struct node *n = jparse_node(p, N_BODY, t->line);
    if (!n) return NULL;
    if (jparse_is_name(t, "for")) return parse_for(p, n);
    if (jparse_is_name(t, "if")) return parse_if(p, n);
    if (jparse_is_name(t, "set")) return parse_set(p, n);
    if (jparse_is_name(t, "with")) return parse_with(p, n);
    if (jparse_is_name(t, "print")) return parse_print(p, n);
    if (jparse_is_name(t, "block")) return parse_block(p, n);
    if (jparse_is_name(t, "macro")) {
        struct node *name = parse_name(p);
        if (!name) return NULL;
        n->kind = N_MACRO;
        n->name = name->name;
        return parse_function(p, "endmacro", n, true) ? n : NULL;
    }
    if (jparse_is_name(t, "call")) {
        n->kind = N_CALLBLOCK;
        return parse_function(p, "endcall", n, jparse_is_op(jparse_cur(p), '(')) ? n : NULL;
    }
    if (jparse_is_name(t, "filter")) {
        n->kind = N_FILTERBLOCK;
        n->b = jparse_filter(p, NULL, true);
        jparse_own(p, n, n->b);
        return parse_until(p, "endfilter", n) ? n : NULL;
    }
    if (jparse_is_name(t,
                       "generation")) { /* marks what the assistant wrote, for training; here only a scope */
        n->kind = N_SCOPE;
        const int loops = p->loops;
        p->loops = 0;
        const bool ok = parse_until(p, "endgeneration", n);
        p->loops = loops;
        return ok ? n : NULL;
    }
    if (jparse_is_name(t, "break") || jparse_is_name(t, "continue")) {
        n->kind = jparse_is_name(t, "break") ? N_BREAK : N_CONTINUE;
        if (!p->loops) jparse_fail(p, t->line, "break or continue outside of a loop");
        return n;
    }
    if (jparse_is_name(t, "autoescape")) return parse_autoescape(p, n);
    static const char *const refused[] = { "include", "import", "from", "extends" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (!jparse_is_name(t, refused[i])) continue;
        char msg[80];
        snprintf(msg, sizeof msg, "the tag '%s' is not supported in chat templates", refused[i]);
        jparse_fail(p, t->line, msg);
        return NULL;
    }
    char msg[120];
    snprintf(msg, sizeof msg, "Encountered unknown tag '%.*s'", (int)(t->len > 60 ? 60 : t->len), t->p);
    jparse_fail(p, t->line, msg);
    return NULL;
}

static bool at_end_tag(const struct jparser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (jparse_is_name(jparse_cur(p), *ends)) return true;
    return false;
}

/* Statements until one of `ends` or the end of the template, into owner's body or else branch. */
static bool parse_body(struct jparser *p, const char *const *ends, struct node *owner, bool is_else)
{
    struct nodes l = { 0 };
    if (p->depth >= JINJA_MAX_DEPTH) return jparse_fail(p, jparse_cur(p)->line, "blocks nested too deep");
    p->depth++;
    while (!p->failed) {
        const struct token *t = jparse_cur(p);
        struct node *n = NULL;
        if (t->type == TOK_EOF) break;
        if (t->type == TOK_DATA) {
            jparse_next(p);
            n = jparse_node(p, N_DATA, t->line);
            if (n) n->cst = (struct jval){ .t = J_STR, .s = (struct jstr *)jparse_str(p, t->p, t->len) };
        } else if (t->type == TOK_VAR_BEGIN) {
            jparse_next(p);
            n = jparse_node(p, N_PRINT, t->line);
            struct node *expr = jparse_tuple(p, JTUPLE_COND, NULL);
            if (n) n->a = expr;
            jparse_own(p, n, expr);
            if (!p->failed) jparse_fold(n);
            if (!p->failed && jparse_cur(p)->type != TOK_VAR_END) jparse_expected(p, "'}}'");
            jparse_next(p);
        } else { /* the lexer leaves only the begin of a block here */
            jparse_next(p);
            if (at_end_tag(p, ends)) break;
            n = parse_statement(p);
            if (!p->failed) expect_block_end(p);
        }
        if (p->failed) break;
        jparse_push(p, &l, n);
        jparse_own(p, owner, n);
    }
    p->depth--;
    if (is_else) {
        owner->else_ = l.v;
        owner->n_else = l.n;
    } else {
        owner->body = l.v;
        owner->n_body = l.n;
    }
    return !p->failed;
}

/* jinja2 refuses unknown filters and tests when it compiles, except inside if (statement or expression), where code may
 * ask first whether they exist; a new function or loop inside ends that leniency. */
static bool check(const struct node *n, bool soft, struct err *e);

static bool check_all(struct node *const *v, size_t n, bool soft, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!check(v[i], soft, e)) return false;
    return true;
}

static bool check(const struct node *n, bool soft, struct err *e)
{
    if (!n) return true;
    if ((n->kind == N_FILTER || n->kind == N_TEST) && !n->impl && !soft)
        return err_set(e, ERR_FORMAT, "line %d: No %s named '%.*s'.", n->line,
                       n->kind == N_FILTER ? "filter" : "test", (int)(n->name->len > 60 ? 60 : n->name->len),
                       n->name->p);
    if (n->kind == N_IF || n->kind == N_COND) soft = true;
    const bool inner = n->kind == N_FOR || n->kind == N_SETBLOCK || n->kind == N_FILTERBLOCK ||
                       n->kind == N_MACRO || n->kind == N_CALLBLOCK || n->kind == N_WITH ||
                       n->kind == N_SCOPE || n->kind == N_AUTOESCAPE || n->kind == N_BLOCK;
    if (!check(n->a, soft, e) ||
        !check(n->b, soft && !(n->kind == N_SETBLOCK || n->kind == N_FILTERBLOCK), e) ||
        !check(n->c, soft && !inner, e) || !check_all(n->kids, n->n_kids, soft, e))
        return false;
    if (n->args) {
        if (!check_all(n->args->pos, n->args->n_pos, soft, e) || !check(n->args->star, soft, e) ||
            !check(n->args->star2, soft, e))
            return false;
        for (size_t i = 0; i < n->args->n_kw; i++)
            if (!check(n->args->kw[i].val, soft, e)) return false;
    }
    if (inner) soft = false;
    return check_all(n->defaults, n->n_defaults, soft, e) && check_all(n->body, n->n_body, soft, e) &&
           check_all(n->else_, n->n_else, soft, e);
}

struct node *jinja_parse(const char *src, size_t len, struct jarena *mem, struct err *e)
{
    struct token *tok;
    size_t n;
    if (!jinja_lex(src, len, mem, &tok, &n, e)) return NULL;
    struct jparser p = { .tok = tok, .n = n, .mem = mem, .e = e };
    struct node *root = jparse_node(&p, N_BODY, 1);
    if (!root || !parse_body(&p, NULL, root, false)) return NULL;
    return check(root, false, e) ? root : NULL;
}
