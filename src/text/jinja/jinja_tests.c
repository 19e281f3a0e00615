/* jinja_tests.c - what may stand after `is`. */
#include <string.h>

#include "text/jinja/jinja_eval.h"

#define TEST(name) static bool name(struct jvm *vm, struct jval v, const struct jargs *args)

static bool none_left(struct jvm *vm, const struct jargs *args)
{
    struct jval none[1];
    return jbind(vm, "test", args, "", none);
}

/* Tests of a value alone. */
#define SIMPLE(name, expr)                                                                                   \
    TEST(name) { return none_left(vm, args) && (expr); }
SIMPLE(t_defined, v.t != J_UNDEF)
SIMPLE(t_undefined, v.t == J_UNDEF)
SIMPLE(t_none, v.t == J_NONE)
SIMPLE(t_boolean, v.t == J_BOOL)
SIMPLE(t_true, v.t == J_BOOL && v.b)
SIMPLE(t_false, v.t == J_BOOL && !v.b)
SIMPLE(t_integer, v.t == J_INT)
SIMPLE(t_float, v.t == J_FLOAT)
SIMPLE(t_number, j_is_number(v))
SIMPLE(t_string, v.t == J_STR)
SIMPLE(t_mapping, v.t == J_DICT)
SIMPLE(t_iterable, j_iterable(v))
/* What has a length and can be subscripted; Undefined has both, in its way. */
SIMPLE(t_sequence,
       v.t == J_STR || v.t == J_LIST || v.t == J_TUPLE || v.t == J_DICT || v.t == J_RANGE || v.t == J_UNDEF)
SIMPLE(t_callable, v.t == J_FUNC || v.t == J_METHOD || v.t == J_MACRO || v.t == J_LOOP || v.t == J_JOINER ||
                       v.t == J_UNDEF)
SIMPLE(t_lower, jstr_is_cased(vm, j_to_str(vm, v).s, false))
SIMPLE(t_upper, jstr_is_cased(vm, j_to_str(vm, v).s, true))
SIMPLE(t_escaped, v.t == J_STR && v.s->markup)
SIMPLE(t_odd, j_eq(vm, j_binary(vm, '%', v, j_int(2)), j_int(1)))
SIMPLE(t_even, j_eq(vm, j_binary(vm, '%', v, j_int(2)), j_int(0)))

TEST(t_divisibleby)
{
    struct jval n;
    return jbind(vm, "divisibleby", args, "num", &n) && j_eq(vm, j_binary(vm, '%', v, n), j_int(0));
}

TEST(t_eq)
{
    struct jval o;
    return jbind(vm, "eq", args, "other", &o) && j_eq(vm, v, o);
}

TEST(t_ne)
{
    struct jval o;
    return jbind(vm, "ne", args, "other", &o) && !j_eq(vm, v, o);
}

TEST(t_lt)
{
    struct jval o;
    return jbind(vm, "lt", args, "other", &o) && j_less(vm, v, o, false);
}

TEST(t_le)
{
    struct jval o;
    return jbind(vm, "le", args, "other", &o) && j_less(vm, v, o, true);
}

TEST(t_gt)
{
    struct jval o;
    return jbind(vm, "gt", args, "other", &o) && j_less(vm, o, v, false);
}

TEST(t_ge)
{
    struct jval o;
    return jbind(vm, "ge", args, "other", &o) && j_less(vm, o, v, true);
}

TEST(t_in)
{
    struct jval seq;
    return jbind(vm, "in", args, "seq", &seq) && j_contains(vm, seq, v);
}

/* Identity. Python keeps one object for each small int and each literal, so scalars are compared by value. */
TEST(t_sameas)
{
    struct jval o;
    if (!jbind(vm, "sameas", args, "other", &o) || v.t != o.t) return false;
    if (v.t == J_LIST || v.t == J_TUPLE || v.t == J_GEN) return v.seq == o.seq;
    if (v.t == J_DICT) return v.d == o.d;
    return j_eq(vm, v, o);
}

/* A name, looked up as in a dictionary. */
static bool is_name(struct jvm *vm, struct jval v, const struct jargs *args)
{
    if (!j_hashable(vm, v)) vm_type_error(vm, "unhashable type: '%s'", j_type_name(v));
    return none_left(vm, args) && v.t == J_STR;
}
TEST(t_filter) { return is_name(vm, v, args) && jfilter_find(v.s); }
TEST(t_test) { return is_name(vm, v, args) && jtest_find(v.s); }

static const struct jtest table[] = {
    { "!=", t_ne },
    { "<", t_lt },
    { "<=", t_le },
    { "==", t_eq },
    { ">", t_gt },
    { ">=", t_ge },
    { "boolean", t_boolean },
    { "callable", t_callable },
    { "defined", t_defined },
    { "divisibleby", t_divisibleby },
    { "eq", t_eq },
    { "equalto", t_eq },
    { "escaped", t_escaped },
    { "even", t_even },
    { "false", t_false },
    { "filter", t_filter },
    { "float", t_float },
    { "ge", t_ge },
    { "greaterthan", t_gt },
    { "gt", t_gt },
    { "in", t_in },
    { "integer", t_integer },
    { "iterable", t_iterable },
    { "le", t_le },
    { "lessthan", t_lt },
    { "lower", t_lower },
    { "lt", t_lt },
    { "mapping", t_mapping },
    { "ne", t_ne },
    { "none", t_none },
    { "number", t_number },
    { "odd", t_odd },
    { "sameas", t_sameas },
    { "sequence", t_sequence },
    { "string", t_string },
    { "test", t_test },
    { "true", t_true },
    { "undefined", t_undefined },
    { "upper", t_upper },
};

const struct jtest *jtest_find(const struct jstr *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (jstr_is(name, table[i].name)) return &table[i];
    return NULL;
}
