/* jinja_eval.h - running a template's tree: what its parts need of each other.
 *
 * jinja_eval.c     expressions, attribute access, operators
 * jinja_exec.c     statements, loops, macros, scopes
 * jinja_markup.c   escaping
 * jinja_filters.c, jinja_seqfilters.c, jinja_tests.c, jinja_methods.c, jinja_globals.c   the libraries */
#ifndef HEARTH_TEXT_JINJA_JINJA_EVAL_H
#define HEARTH_TEXT_JINJA_JINJA_EVAL_H

#include "text/jinja/jinja_ast.h"
#include "text/jinja/jinja_value.h"

/* Evaluated arguments. */
struct jargs {
    struct jval *pos;
    size_t n_pos;
    struct jkw {
        const struct jstr *name;
        struct jval val;
    } * kw;
    size_t n_kw;
};

/* Sorts arguments into parameters: `params` is a list like "old new count?", where ? may be left out (J_MISSING in out)
 * and "/ " in front means that no keywords are taken.
 * Fails on too many, too few and unknown ones, naming `what`. */
bool jbind(struct jvm *vm, const char *what, const struct jargs *args, const char *params, struct jval *out);
/* A bound argument as an int (fails on others), or `otherwise` when missing. */
int64_t jarg_int(struct jvm *vm, const char *what, struct jval v, int64_t otherwise);
/* A bound argument that must be a string; NULL after failing. */
struct jstr *jarg_str(struct jvm *vm, const char *what, struct jval v);

struct jfunc {
    const char *name;
    struct jval (*call)(struct jvm *vm, const struct jargs *args);
};
struct jfilter {
    const char *name;
    struct jval (*call)(struct jvm *vm, struct jval v, const struct jargs *args);
};
struct jtest {
    const char *name;
    bool (*call)(struct jvm *vm, struct jval v, const struct jargs *args);
};
struct jmethod_def {
    const char *name;
    struct jval (*call)(struct jvm *vm, struct jval self, const struct jargs *args);
};
struct jmethod {
    struct jval self;
    const struct jmethod_def *def;
};

/* NULL when there is none by that name. Filters live in two tables. */
const struct jfilter *jfilter_find(const struct jstr *name);
const struct jfilter *jseqfilter_find(const struct jstr *name);
const struct jtest *jtest_find(const struct jstr *name);
const struct jfunc *jfunc_find(const struct jstr *name);
const struct jmethod_def *jmethod_find(enum jtype type, const struct jstr *name);
const struct jmethod_def *jcycler_method(const struct jstr *name);
/* Attributes that Python's types have and the immutable sandbox hides. */
bool jmethod_is_unsafe(enum jtype type, const struct jstr *name);

struct jscope {
    struct jscope *parent;
    struct jbinding {
        const struct jstr *name;
        struct jval v;
    } * b;
    size_t n, cap;
};
struct jscope *jscope_new(struct jvm *vm, struct jscope *parent); /* NULL after failing */
struct jval jscope_get(struct jvm *vm, const struct jscope *s, const struct jstr *name);

struct jmacro {
    const struct node *n;
    struct jscope *scope; /* where it was defined */
};

struct jloop {
    const struct node *n;
    struct jscope *outer;
    struct jval *items;
    size_t n_items, pos;
    const struct node *test;
    bool has_before, has_after;
    struct jval current, before, after, changed;
    int64_t index0, length, depth0; /* length -1: not known yet */
};

struct jval jeval(struct jvm *vm, struct jscope *s, const struct node *n);
void jexec(struct jvm *vm, struct jscope *s, struct node *const *list, size_t n);
/* One N_FILTER node on a value, whatever its own operand is. */
struct jval japply_filter(struct jvm *vm, struct jscope *s, const struct node *n, struct jval v);
bool jeval_args(struct jvm *vm, struct jscope *s, const struct jargs_ast *ast, struct jargs *out);

struct jval jcall(struct jvm *vm, struct jval callee, const struct jargs *args);
struct jval jmacro_call(struct jvm *vm, const struct jmacro *m, const struct jargs *args);
struct jval jloop_call(struct jvm *vm, const struct jloop *l, const struct jargs *args);
struct jval jloop_attr(struct jvm *vm, struct jval loop, const struct jstr *name);
void jmacro_repr(struct jbuf *b, const struct jmacro *m);
void jloop_repr(struct jbuf *b, struct jloop *l);

struct jval j_getattr(struct jvm *vm, struct jval obj, const struct jstr *name);
struct jval j_getitem(struct jvm *vm, struct jval obj, struct jval key);
struct jval j_binary(struct jvm *vm, int op, struct jval a, struct jval b);

/* Markup. j_markup(): the same text, marked or not. j_str(): Python's str(), which unmarks. j_like(): v, if it is a string, marked as
 * `model` is. j_escape(): markup of any value, escaped unless it is markup. */
struct jval j_markup(struct jvm *vm, const struct jstr *s, bool on);
struct jval j_str(struct jvm *vm, struct jval v);
struct jval j_like(struct jvm *vm, const struct jstr *model, struct jval v);
struct jval j_escape(struct jvm *vm, struct jval v);
/* sep.join(list) for a sep that is markup. */
struct jval j_markup_join(struct jvm *vm, const struct jstr *sep, struct jval list);
struct jval j_striptags(struct jvm *vm, const struct jstr *s);
const struct jmethod_def *jmarkup_method(const struct jstr *name);

/* "%d and %s" % args. */
struct jval j_percent(struct jvm *vm, const struct jstr *fmt, struct jval args);
/* "{} and {x!r:>8}".format(...) */
struct jval j_format(struct jvm *vm, const struct jstr *fmt, const struct jargs *args);
/* json.dumps() as transformers' tojson filter calls it. */
struct jval j_tojson(struct jvm *vm, struct jval v, const struct jargs *args);
/* Python's round(v, digits) for floats. */
double j_round(double f, int64_t digits);
/* float(text), int(text, base): false when the text is no number. */
bool j_parse_float(const struct jstr *s, double *out);
bool j_parse_int(const struct jstr *s, int base, int64_t *out);

/* String operations that filters and methods share. chars NULL: white space. */
enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 };
struct jval jstr_strip(struct jvm *vm, const struct jstr *s, const struct jstr *chars, int sides);
struct jval jstr_replace(struct jvm *vm, const struct jstr *s, const struct jstr *old, const struct jstr *by,
                         int64_t max);
struct jval jstr_upper(struct jvm *vm, const struct jstr *s);
struct jval jstr_lower(struct jvm *vm, const struct jstr *s);
struct jval jstr_capitalize(struct jvm *vm, const struct jstr *s);
struct jval jstr_swapcase(struct jvm *vm, const struct jstr *s);
struct jval jstr_casefold(struct jvm *vm, const struct jstr *s);
struct jval jstr_title(struct jvm *vm, const struct jstr *s);
struct jval jstr_splitlines(struct jvm *vm, const struct jstr *s, bool keep_ends);
struct jval jstr_reverse(struct jvm *vm, const struct jstr *s);
struct jval jstr_center(struct jvm *vm, struct jstr *s, int64_t width);
struct jval jstr_join(struct jvm *vm, const struct jstr *sep, struct jval list, bool any_type);
bool jstr_is_cased(struct jvm *vm, const struct jstr *s, bool upper);
/* Bytes before the i-th code point (0 <= i <= length). */
size_t jstr_offset(struct jvm *vm, struct jstr *s, int64_t i);
/* True when all of p[0..n) are digits 0 to 9. */
bool jstr_digits(const char *p, size_t n);

#endif
