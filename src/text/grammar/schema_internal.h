/* schema_internal.h - what the files of the schema compiler share.
 *
 * A literal is a subschema or its negation, as an int: twice its number, plus 1 when negated. A value is a set of literals that hold
 * together. */
#ifndef HEARTH_TEXT_GRAMMAR_SCHEMA_INTERNAL_H
#define HEARTH_TEXT_GRAMMAR_SCHEMA_INTERNAL_H

#include "text/grammar/schema.h"
#include "text/grammar/schema_doc.h"

enum { VALUE_NONE, VALUE_ANY };
enum json_kind { KIND_ARRAY, KIND_OBJECT };
#define LITERAL(sub, neg) ((sub)*2 + ((neg) ? 1 : 0))

struct set_of_literals {
    int *lit; /* ascending */
    int n;
};

struct memo_rx {
    rx is[2]; /* by polarity */
    bool known[2], busy;
};

struct scalars { /* of a subschema */
    struct memo_rx string, number;
};

struct compile {
    struct schema_doc doc;
    struct rx_pool *pool;
    struct schema_limits limits;
    struct budget budget;
    struct chunk *chunk; /* memory that goes with the compilation */
    struct chunk *kept;  /* memory of the schema that comes out */
    rx any_text, numbers, plain_numbers;

    struct scalars *scalar; /* by subschema */
    int n_scalar;

    char **name; /* strings by number: names of members, patterns */
    int n_name, cap_name, *name_bucket, n_name_bucket;
    rx *pattern; /* by name's number; 0: not made */
    int n_pattern;

    struct set_of_literals *set; /* by value */
    struct value **value;
    int n_value, cap_value, *value_bucket, n_value_bucket;
    signed char
        *unsat; /* by value: 0 unknown, 1 surely nothing, 2 perhaps something; at the depth that was asked */

    struct dfa **dfa; /* those made, by expression */
    rx *dfa_of;
    int n_dfa, cap_dfa, *dfa_bucket, n_dfa_bucket;
    int depth;

    struct groups { /* those whose annotations an unevaluated... of one clause sees */
        int *sub, n;
    } * evaluated;
    int n_evaluated, cap_evaluated;
    int watching; /* schemas around that have unevaluated...: every way to hold counts, not only the least */
    int silent;   /* negations and constants around, within the innermost of them */
};

/* Memory that lives as long as the compilation, or (keep) as long as the schema. Zeroed; NULL: none, and *e says so. */
void *compile_alloc(struct compile *c, bool keep, size_t n, size_t size, struct err *e);
bool compile_burn(struct compile *c, long steps, struct err *e);   /* false: the budget is used up */
int compile_name(struct compile *c, const char *s, struct err *e); /* a string's number; -1 */
/* A pattern as texts; refused with the keyword's path when it cannot be. */
bool compile_pattern(struct compile *c, int sub, const char *key, int name, rx *out, struct err *e);
/* The value in which all these literals hold (sorted and normalised here; lit is scratch); -1 on error. */
int compile_value(struct compile *c, int *lit, int n, struct err *e);
/* An automaton of an expression, one for equal ones. */
const struct dfa *compile_dfa(struct compile *c, rx r, struct err *e);
/* Does the text lie in the language? */
bool compile_matches(struct compile *c, rx r, const char *s);

/* A subschema at a keyword of another; -1 on error. */
int sub_of(struct compile *c, int sub, const json_t *json, const char *key, struct err *e);
int sub_in(struct compile *c, int sub, const json_t *json, const char *key, int index, struct err *e);
int sub_named(struct compile *c, int sub, const json_t *json, const char *key, const char *name,
              struct err *e);
/* The number of a keyword that must be a whole one; absent: -1 in *v. */
bool whole_key(struct compile *c, int sub, const char *key, int64_t *v, struct err *e);
/* The list of a keyword, which must be one; absent: NULL. */
bool list_key(struct compile *c, int sub, const char *key, const json_t **list, struct err *e);
/* The keyword's number as a decimal; *has false: absent. */
bool decimal_key(struct compile *c, int sub, const char *key, const json_t **v, struct err *e);

/* What describes an array's first items one by one: prefixItems, or items where that is a list; *key says which. NULL: nothing. */
const json_t *first_items(struct compile *c, int sub, const char **key);
int compile_by_number(const void *a, const void *b); /* for qsort() of ints */

/* schema_scalar.c: does `type` let this kind of value pass? */
bool type_allows(struct compile *c, int sub, const char *type, bool *allows, struct err *e);
struct lengths {
    int64_t min, max; /* max -1: no end */
};
/* Strings of a literal; with len, lengths that simply hold are left to it. */
bool scalar_strings(struct compile *c, int lit, struct lengths *len, rx *out, struct err *e);
bool scalar_numbers(struct compile *c, int lit, rx *out, struct err *e);
/* Is the literal true of null, true or false? */
bool scalar_holds(struct compile *c, int lit, const json_t *value, bool *holds, struct err *e);

/* schema_dnf.c */
enum atom_kind {
    A_GROUP, /* the object's, or the array's, keywords of subschema `sub`, as they stand; a 1: under a negation, so that it evaluates nothing */
    A_REQUIRE, /* member `a` is there */
    A_FORBID,  /* it is not */
    A_MEMBER,  /* if member `a` is there it meets literal `lit` */
    A_SOME, /* some member that group `sub` calls additional (a -1), or whose name pattern `a` takes, meets `lit` */
    A_SOME_NAMED,  /* some member's name is refused by subschema lit/2, used as propertyNames */
    A_MIN,         /* at least `a` members or items */
    A_MAX,         /* at most */
    A_ITEM,        /* there is item `a`, and it meets `lit` */
    A_EACH,        /* all items meet `lit` */
    A_SOME_ITEM,   /* some item from `a` on meets `lit` */
    A_COUNT,       /* `a` items or more meet `lit` */
    A_COUNT_MAX,   /* at most `a` do */
    A_UNEVALUATED, /* members, or items, that the groups of list `a` say nothing of meet `lit` */
};
struct atom {
    enum atom_kind kind;
    int sub, a, lit;
};
struct clause {
    struct atom *at; /* ascending, distinct */
    int n;
};
struct clauses {
    struct clause *at;
    int n, cap;
};
bool dnf_of_set(struct compile *c, const int *lit, int n, enum json_kind kind, struct clauses *out,
                struct err *e);
/* Surely nothing: looks `depth` values down. */
bool value_is_unsat(struct compile *c, int value, int depth, bool *unsat, struct err *e);

/* schema_form.c: *out NULL: nothing can be so. */
bool object_form_of(struct compile *c, const struct clause *k, struct object_form **out, struct err *e);
bool array_form_of(struct compile *c, const struct clause *k, struct array_form **out, struct err *e);
/* The members that an object of this clause has to have, and the values they have: for value_is_unsat(). Stops and says *unsat when they
 * contradict each other. */
bool object_is_unsat(struct compile *c, const struct clause *k, int depth, bool *unsat, struct err *e);
bool array_is_unsat(struct compile *c, const struct clause *k, int depth, bool *unsat, struct err *e);

#endif
