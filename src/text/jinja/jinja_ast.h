/* jinja_ast.h - a template as a tree, and the two steps that make it.
 *
 * Memory   the tree lives in the arena given to jinja_parse(); literals point into the source, which must outlive it, or
 *          into the arena.
 * Errors   ERR_FORMAT with the line: what jinja2 calls a TemplateSyntaxError or TemplateAssertionError. */
#ifndef HEARTH_TEXT_JINJA_JINJA_AST_H
#define HEARTH_TEXT_JINJA_JINJA_AST_H

#include "text/jinja/chat_template.h"
#include "text/jinja/jinja_value.h"

/* --- tokens ---------------------------------------------------------------------------------------------------- */

enum tok_type {
    TOK_EOF,
    TOK_DATA,
    TOK_VAR_BEGIN,
    TOK_VAR_END,
    TOK_BLOCK_BEGIN,
    TOK_BLOCK_END,
    TOK_NAME,
    TOK_STRING,
    TOK_INT,
    TOK_FLOAT,
    TOK_OP,
};

/* Operators by their characters; two-character ones packed. */
#define OP2(a, b) ((a) | (b) << 8)
enum {
    OP_POW = OP2('*', '*'),
    OP_FLOORDIV = OP2('/', '/'),
    OP_EQ = OP2('=', '='),
    OP_NE = OP2('!', '='),
    OP_GE = OP2('>', '='),
    OP_LE = OP2('<', '='),
    OP_IN = OP2('i', 'n'),
    OP_NOT_IN = OP2('n', 'i')
};

struct token {
    enum tok_type type;
    int line;
    int op;        /* TOK_OP */
    const char *p; /* TOK_NAME, TOK_DATA, TOK_STRING (unescaped) */
    size_t len;
    int64_t i; /* TOK_INT */
    double f;  /* TOK_FLOAT */
};

/* Cuts the template text into tokens, whitespace control (trim_blocks, lstrip_blocks, - and +) applied. The source has
 * had its line ends normalised to \n and one trailing newline removed. The array ends with TOK_EOF. */
bool jinja_lex(const char *src, size_t len, struct jarena *mem, struct token **tokens, size_t *n,
               struct err *e);

/* --- the tree --------------------------------------------------------------------------------------------------- */

enum node_kind {
    /* expressions */
    N_CONST,   /* cst */
    N_NAME,    /* name */
    N_LIST,    /* kids */
    N_TUPLE,   /* kids */
    N_DICT,    /* kids: key, value, key, value ... */
    N_COND,    /* a if b else c; c may be NULL */
    N_OR,      /* a, b */
    N_AND,     /* a, b */
    N_NOT,     /* a */
    N_NEG,     /* a */
    N_POS,     /* a */
    N_BIN,     /* a op b */
    N_CONCAT,  /* kids */
    N_COMPARE, /* a, then kids with ops[i] */
    N_ATTR,    /* a.name */
    N_ITEM,    /* a[b] */
    N_SLICE,   /* [a:b:c], any of them NULL; only as b of N_ITEM */
    N_CALL,    /* a(args) */
    N_FILTER,  /* a | name(args); a NULL in a filter block */
    N_TEST,    /* a is name(args) */
    N_NSREF,   /* name.attr as a target of set */
    /* statements */
    N_DATA,        /* cst */
    N_PRINT,       /* a */
    N_SET,         /* a = b */
    N_SETBLOCK,    /* a; filters b or NULL; body */
    N_FOR,         /* a in b if c: body, else_; recursive */
    N_IF,          /* kids: condition, N_BODY, condition, N_BODY ... ; else_ */
    N_BODY,        /* body: a list of statements without a scope of its own */
    N_SCOPE,       /* body in a scope of its own: generation */
    N_AUTOESCAPE,  /* a: on or off; body in a scope of its own */
    N_MACRO,       /* name; params (N_NAME kids), defaults for the last of them; body */
    N_CALLBLOCK,   /* a: the call; params, defaults, body: the caller */
    N_FILTERBLOCK, /* b: filters; body */
    N_WITH,        /* kids: target, value ...; body */
    N_BLOCK,       /* name, body */
    N_BREAK,
    N_CONTINUE,
};

/* What autoescape blocks around a node say. Where one's setting is an expression only the run decides, except for what jinja2 computes
 * when it compiles, which goes by the last setting that it could read (`folded`). */
enum escape_mode { ESCAPE_OFF, ESCAPE_ON, ESCAPE_RUN, ESCAPE_RUN_CONST_ON };

struct jargs_ast { /* the arguments of a call, filter or test */
    struct node **pos;
    size_t n_pos;
    struct kwarg_ast {
        const struct jstr *name;
        struct node *val;
    } * kw;
    size_t n_kw;
    struct node *star, *star2; /* *args, **kwargs */
};

struct node {
    enum node_kind kind;
    int line;
    int op;
    uint16_t depth;       /* of the tree below, so that walking it cannot exhaust the stack */
    unsigned char escape; /* enum escape_mode: what the autoescape blocks around it say */
    bool
        folded; /* N_PRINT, N_CONCAT, N_FILTER: nothing but constants below; in ESCAPE_RUN no filters or tests either */
    bool recursive, uses_varargs, uses_kwargs, uses_caller;
    struct node *a, *b, *c;
    const struct jstr *name, *attr;
    struct jval cst;
    struct node **kids;
    size_t n_kids;
    int *ops;
    struct jargs_ast *args;
    struct node **params, **defaults;
    size_t n_params, n_defaults;
    struct node **body, **else_;
    size_t n_body, n_else;
    const void *impl; /* N_FILTER, N_TEST: the function, NULL when there is none by that name */
};

#define JINJA_MAX_DEPTH 200 /* of nesting in a template; jinja2 itself gives up at about 90 parentheses */

/* The whole template: an N_BODY. */
struct node *jinja_parse(const char *src, size_t len, struct jarena *mem, struct err *e);

/* --- what can be read from it (jinja_content.c) ------------------------------------------------------------------ */

enum chat_content jinja_content(const struct node *root);
/* Whether a variable of that name is mentioned, and whether a text stands somewhere in what may be printed. */
bool jinja_names(const struct node *root, const char *name);
bool jinja_spells(const struct node *root, const char *text);

#endif
