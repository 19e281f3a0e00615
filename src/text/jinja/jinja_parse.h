/* jinja_parse.h - what jinja_parse.c (expressions) and jinja_stmt.c (statements) share.
 *
 * Errors  the first one is kept (failed, e); every function may be called after it and returns NULL or false. */
#ifndef HEARTH_TEXT_JINJA_JINJA_PARSE_H
#define HEARTH_TEXT_JINJA_JINJA_PARSE_H

#include "text/jinja/jinja_ast.h"

enum {
    JINJA_MAX_ARGS = 1000
}; /* parameters of a macro, keywords of a call: each is compared with all others */

struct nodes {
    struct node **v;
    size_t n, cap;
};

/* The macro or call block being parsed: whether its body mentions these names decides what it accepts. */
struct jmacro_scope {
    struct jmacro_scope *outer;
    bool uses_varargs, uses_kwargs, uses_caller;
};

struct jparser {
    const struct token *tok;
    size_t n, at;
    struct jarena *mem;
    struct err *e;
    bool failed;
    int depth;
    int loops; /* enclosing for bodies in the same function: break and continue need one */
    struct jmacro_scope *macro;
    enum escape_mode escape;
};

const struct token *jparse_cur(const struct jparser *p);
const struct token *jparse_next(struct jparser *p); /* returns the current one and steps past it */
bool jparse_fail(struct jparser *p, int line, const char *what);
bool jparse_expected(struct jparser *p, const char *what); /* fails, naming what came instead */
bool jparse_is_name(const struct token *t, const char *name);
bool jparse_is_op(const struct token *t, int op);
bool jparse_skip_name(struct jparser *p, const char *name);
bool jparse_skip_op(struct jparser *p, int op);
bool jparse_expect_op(struct jparser *p, int op);
struct node *jparse_node(struct jparser *p, enum node_kind kind, int line);
void jparse_own(struct jparser *p, struct node *n, const struct node *child);
const struct jstr *jparse_str(struct jparser *p, const char *s, size_t len);
void jparse_push(struct jparser *p, struct nodes *l, struct node *n);

/* Sets n->folded once the node is whole. */
void jparse_fold(struct node *n);
struct node *jparse_expr(struct jparser *p, bool with_cond);
struct node *jparse_primary(struct jparser *p, bool with_namespace);
/* How jparse_tuple() reads its elements. */
enum {
    JTUPLE_COND = 1 /* conditional expressions */,
    JTUPLE_SIMPLE = 2 /* names and literals only */,
    JTUPLE_NS = 4 /* and ns.attr */,
    JTUPLE_PARENS = 8 /* () is one */
};
struct node *jparse_tuple(struct jparser *p, unsigned how, const char *end_name);
/* `| filter | filter ...` on n (NULL in a filter block). start_inline: the first name comes without its bar. */
struct node *jparse_filter(struct jparser *p, struct node *n, bool start_inline);

#endif
