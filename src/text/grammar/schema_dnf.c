/* schema_dnf.c - arrays and objects: every combination of schemas as a union of clauses, each of which demands plain things together.
 *
 * Negation goes inward until it meets a keyword, and each keyword's negation is a demand itself: not {required: [a]} forbids a; not
 * {properties: {a: S}} requires an a that is not S. oneOf is each of its schemas together with the negation of those others that it could
 * meet. What surely is nothing is dropped as soon as it shows, so that schemas told apart by a constant do not multiply. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar/schema_internal.h"

enum { MAX_DEPTH = 200, LOOK_DOWN = 3 };

/* ---- clauses ------------------------------------------------------------------------------------------------------------ */

static int by_atom(const void *a, const void *b)
{
    const struct atom *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->sub != y->sub) return x->sub < y->sub ? -1 : 1;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return (x->lit > y->lit) - (x->lit < y->lit);
}

static bool push(struct compile *c, struct clauses *list, struct clause k, struct err *e)
{
    if (list->n >= c->limits.max_clauses)
        return err_set(e, ERR_LIMIT, "schema: its alternatives multiply to more than %d",
                       c->limits.max_clauses);
    if (list->n == list->cap) {
        const int cap = list->cap ? list->cap * 2 : 4;
        struct clause *q = compile_alloc(c, false, (size_t)cap, sizeof *q, e);
        if (!q) return false;
        if (list->n) memcpy(q, list->at, (size_t)list->n * sizeof *q);
        list->at = q;
        list->cap = cap;
    }
    list->at[list->n++] = k;
    return true;
}

/* Does a demand everything that b demands? */
static bool covers(const struct clause *a, const struct clause *b)
{
    if (b->n > a->n) return false;
    for (int i = 0, k = 0; k < b->n; k++) {
        while (i < a->n && by_atom(&a->at[i], &b->at[k]) < 0) i++;
        if (i == a->n || by_atom(&a->at[i], &b->at[k]) != 0) return false;
    }
    return true;
}

/* Adds k to a union, unless one that demands less is there; those that demand more go. */
static bool add(struct compile *c, struct clauses *list, struct clause k, struct err *e)
{
    if (list->n <= 256) {
        long looks = 2 * list->n;
        for (int i = 0; i < list->n; i++) looks += (list->at[i].n < k.n ? list->at[i].n : k.n) / 2;
        if (!compile_burn(c, looks, e)) return false;
        for (int i = 0; i < list->n; i++)
            if (covers(&k, &list->at[i]) && (!c->watching || k.n == list->at[i].n)) return true;
        for (int i = 0; i < list->n && !c->watching;)
            if (covers(&list->at[i], &k))
                list->at[i] = list->at[--list->n];
            else
                i++;
    }
    return push(c, list, k, e);
}

static bool add_atom(struct compile *c, struct clauses *list, struct atom a, struct err *e)
{
    struct clause k = { compile_alloc(c, false, 1, sizeof *k.at, e), 1 };
    if (!k.at) return false;
    k.at[0] = a;
    return add(c, list, k, e);
}

static bool add_true(struct compile *c, struct clauses *list, struct err *e)
{
    return add(c, list, (struct clause){ NULL, 0 }, e);
}

static bool unite(struct compile *c, struct clauses *to, const struct clauses *from, struct err *e)
{
    for (int i = 0; i < from->n; i++)
        if (!add(c, to, from->at[i], e)) return false;
    return true;
}

static bool both(struct compile *c, const struct clause *a, const struct clause *b, struct clause *out,
                 struct err *e)
{
    out->at = compile_alloc(c, false, (size_t)(a->n + b->n) + 1, sizeof *out->at, e);
    out->n = 0;
    if (!out->at || !compile_burn(c, a->n + b->n + 1, e)) return false;
    for (int i = 0, k = 0; i < a->n || k < b->n;) {
        const int order = i == a->n ? 1 : k == b->n ? -1 : by_atom(&a->at[i], &b->at[k]);
        out->at[out->n++] = order <= 0 ? a->at[i] : b->at[k];
        i += order <= 0;
        k += order >= 0;
    }
    return true;
}

static bool clause_is_unsat(struct compile *c, const struct clause *k, enum json_kind kind, int depth,
                            bool *unsat, struct err *e)
{
    if (k->n == 0) return *unsat = false, true;
    return kind == KIND_OBJECT ? object_is_unsat(c, k, depth, unsat, e)
                               : array_is_unsat(c, k, depth, unsat, e);
}

/* *list = each of *list together with each of `with`; what surely is nothing is left out. */
static bool cross(struct compile *c, struct clauses *list, const struct clauses *with, enum json_kind kind,
                  struct err *e)
{
    struct clauses out = { 0 };
    if (with->n == 1 && with->at[0].n == 0) return true;
    const bool look = (long)list->n * with->n > 1;
    for (int i = 0; i < list->n; i++)
        for (int k = 0; k < with->n; k++) {
            struct clause one;
            bool unsat = false;
            if (!both(c, &list->at[i], &with->at[k], &one, e)) return false;
            if (look && !clause_is_unsat(c, &one, kind, LOOK_DOWN, &unsat, e)) return false;
            if (!unsat && !add(c, &out, one, e)) return false;
        }
    *list = out;
    return true;
}

/* ---- keywords ----------------------------------------------------------------------------------------------------------- */

static bool dnf(struct compile *c, int lit, enum json_kind kind, struct clauses *out, struct err *e);

static bool has_any(const struct compile *c, int sub, const char *const *keys, int n)
{
    for (int i = 0; i < n; i++)
        if (schema_key(&c->doc, sub, keys[i])) return true;
    return false;
}

/* The negation of an object's own keywords: a union. */
static bool object_negated(struct compile *c, int sub, struct clauses *out, struct err *e)
{
    const json_t *v, *list;
    const char *key;
    int64_t n;
    if (!list_key(c, sub, "required", &list, e)) return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        const int name = s ? compile_name(c, s, e) : -1;
        if (!s) return schema_refuse(&c->doc, sub, ERR_REQUEST, "required", e, "has to be a list of names");
        if (name < 0 || !add_atom(c, out, (struct atom){ A_FORBID, 0, name, 0 }, e)) return false;
    }
    json_object_foreach((json_t *)schema_key(&c->doc, sub, "properties"), key, v)
    {
        const int s = sub_named(c, sub, v, "properties", key, e), name = compile_name(c, key, e);
        if (s < 0 || name < 0) return false;
        if (s == DOC_TRUE) continue;
        struct atom two[] = { { A_REQUIRE, 0, name, 0 }, { A_MEMBER, 0, name, LITERAL(s, true) } };
        struct clause k = { compile_alloc(c, false, 2, sizeof *k.at, e), 2 };
        if (!k.at) return false;
        memcpy(k.at, two, sizeof two);
        if (!add(c, out, k, e)) return false;
    }
    json_object_foreach((json_t *)schema_key(&c->doc, sub, "patternProperties"), key, v)
    {
        const int s = sub_named(c, sub, v, "patternProperties", key, e), name = compile_name(c, key, e);
        if (s < 0 || name < 0) return false;
        if (s != DOC_TRUE && !add_atom(c, out, (struct atom){ A_SOME, sub, name, LITERAL(s, true) }, e))
            return false;
    }
    if ((v = schema_key(&c->doc, sub, "additionalProperties"))) {
        const int s = sub_of(c, sub, v, "additionalProperties", e);
        if (s < 0) return false;
        if (s != DOC_TRUE && !add_atom(c, out, (struct atom){ A_SOME, sub, -1, LITERAL(s, true) }, e))
            return false;
    }
    if ((v = schema_key(&c->doc, sub, "propertyNames"))) {
        const int s = sub_of(c, sub, v, "propertyNames", e);
        if (s < 0) return false;
        if (s != DOC_TRUE && !add_atom(c, out, (struct atom){ A_SOME_NAMED, sub, 0, LITERAL(s, true) }, e))
            return false;
    }
    if (!whole_key(c, sub, "minProperties", &n, e)) return false;
    if (n > 0 && !add_atom(c, out, (struct atom){ A_MAX, 0, (int)n - 1, 0 }, e)) return false;
    if (!whole_key(c, sub, "maxProperties", &n, e)) return false;
    if (n >= 0 && !add_atom(c, out, (struct atom){ A_MIN, 0, (int)n + 1, 0 }, e)) return false;
    static const char *const deps[] = { "dependentRequired", "dependencies" };
    for (int d = 0; d < 2; d++) json_object_foreach((json_t *)schema_key(&c->doc, sub, deps[d]), key, v)
        {
            const int name = compile_name(c, key, e);
            if (name < 0) return false;
            for (size_t i = 0; i < json_array_size(v); i++) {
                const char *s = json_string_value(json_array_get(v, i));
                const int other = s ? compile_name(c, s, e) : -1;
                if (!s)
                    return schema_refuse(&c->doc, sub, ERR_REQUEST, deps[d], e, "has to hold lists of names");
                struct clause k = { compile_alloc(c, false, 2, sizeof *k.at, e), 2 };
                if (other < 0 || !k.at) return false;
                k.at[0] = (struct atom){ A_REQUIRE, 0, name, 0 };
                k.at[1] = (struct atom){ A_FORBID, 0, other, 0 };
                if (!add(c, out, k, e)) return false;
            }
        }
    return true;
}

static bool array_negated(struct compile *c, int sub, struct clauses *out, struct err *e)
{
    int64_t n, most;
    const char *key;
    const json_t *list = first_items(c, sub, &key), *v;
    if (!whole_key(c, sub, "minItems", &n, e)) return false;
    if (n > 0 && !add_atom(c, out, (struct atom){ A_MAX, 0, (int)n - 1, 0 }, e)) return false;
    if (!whole_key(c, sub, "maxItems", &n, e)) return false;
    if (n >= 0 && !add_atom(c, out, (struct atom){ A_MIN, 0, (int)n + 1, 0 }, e)) return false;
    if (json_is_true(schema_key(&c->doc, sub, "uniqueItems")))
        return schema_refuse(&c->doc, sub, ERR_UNSUPPORTED, "uniqueItems", e, "cannot be negated here");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const int s = sub_in(c, sub, json_array_get(list, i), key, (int)i, e);
        if (s < 0) return false;
        if (s != DOC_TRUE && !add_atom(c, out, (struct atom){ A_ITEM, 0, (int)i, LITERAL(s, true) }, e))
            return false;
    }
    const char *rest = list && !strcmp(key, "items") ? "additionalItems" : "items";
    if ((v = schema_key(&c->doc, sub, rest)) && !json_is_array(v)) {
        const int s = sub_of(c, sub, v, rest, e);
        if (s < 0) return false;
        const struct atom a = { A_SOME_ITEM, 0, (int)json_array_size(list), LITERAL(s, true) };
        if (s != DOC_TRUE && !add_atom(c, out, a, e)) return false;
    }
    if ((v = schema_key(&c->doc, sub, "contains"))) {
        const int s = sub_of(c, sub, v, "contains", e);
        if (s < 0 || !whole_key(c, sub, "minContains", &n, e) || !whole_key(c, sub, "maxContains", &most, e))
            return false;
        if (n < 0) n = 1;
        if (n == 1 && !add_atom(c, out, (struct atom){ A_EACH, 0, 0, LITERAL(s, true) }, e)) return false;
        if (n > 1 && !add_atom(c, out, (struct atom){ A_COUNT_MAX, 0, (int)n - 1, LITERAL(s, false) }, e))
            return false;
        if (most >= 0 && !add_atom(c, out, (struct atom){ A_COUNT, 0, (int)most + 1, LITERAL(s, false) }, e))
            return false;
    }
    return true;
}

/* dependentSchemas, and dependencies whose value is a schema. */
static bool dependent_schemas(struct compile *c, int sub, bool neg, struct clauses *acc, struct err *e)
{
    static const char *const keys[] = { "dependentSchemas", "dependencies" };
    for (int d = 0; d < 2; d++) {
        const json_t *v;
        const char *key;
        json_object_foreach((json_t *)schema_key(&c->doc, sub, keys[d]), key, v)
        {
            if (json_is_array(v)) continue;
            struct clauses part = { 0 }, then = { 0 };
            const int s = sub_named(c, sub, v, keys[d], key, e), name = compile_name(c, key, e);
            if (s < 0 || name < 0 || !dnf(c, LITERAL(s, neg), KIND_OBJECT, &then, e)) return false;
            struct clauses there = { 0 };
            if (!add_atom(c, &there, (struct atom){ A_REQUIRE, 0, name, 0 }, e) ||
                !cross(c, &there, &then, KIND_OBJECT, e))
                return false;
            if (neg) {
                if (!unite(c, acc, &there, e)) return false;
            } else if (!add_atom(c, &part, (struct atom){ A_FORBID, 0, name, 0 }, e) ||
                       !unite(c, &part, &there, e) || !cross(c, acc, &part, KIND_OBJECT, e)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- combinations ------------------------------------------------------------------------------------------------------- */

/* Positive: and; negative: or. */
static bool join(struct compile *c, bool neg, struct clauses *acc, const struct clauses *part,
                 enum json_kind kind, struct err *e)
{
    return neg ? unite(c, acc, part, e) : cross(c, acc, part, kind, e);
}

static bool join_literal(struct compile *c, bool neg, struct clauses *acc, int lit, enum json_kind kind,
                         struct err *e)
{
    struct clauses part = { 0 };
    return dnf(c, lit, kind, &part, e) && join(c, neg, acc, &part, kind, e);
}

static bool any_of(struct compile *c, int sub, bool neg, struct clauses *acc, enum json_kind kind,
                   struct err *e)
{
    const json_t *list;
    struct clauses part = { 0 };
    if (!list_key(c, sub, "anyOf", &list, e)) return false;
    if (!list) return true;
    if (neg && !add_true(c, &part, e)) return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const int s = sub_in(c, sub, json_array_get(list, i), "anyOf", (int)i, e);
        struct clauses more = { 0 };
        if (s < 0) return false;
        if (c->watching && !neg && /* together with each of those before: that evaluates more */
            (!unite(c, &more, &part, e) || !join_literal(c, false, &more, LITERAL(s, false), kind, e)))
            return false;
        if (!join_literal(c, !neg, &part, LITERAL(s, neg), kind, e) || !unite(c, &part, &more, e))
            return false;
    }
    return join(c, neg, acc, &part, kind, e);
}

/* Those of `list` that can be, together with some of `other`? */
static bool meets(struct compile *c, const struct clause *k, const struct clauses *other, enum json_kind kind,
                  bool *meet, struct err *e)
{
    *meet = false;
    for (int i = 0; i < other->n && !*meet; i++) {
        struct clause one;
        bool unsat = false;
        if (!both(c, k, &other->at[i], &one, e) || !clause_is_unsat(c, &one, kind, LOOK_DOWN, &unsat, e))
            return false;
        *meet = !unsat;
    }
    return true;
}

static bool one_of(struct compile *c, int sub, bool neg, struct clauses *acc, enum json_kind kind,
                   struct err *e)
{
    const json_t *list;
    struct clauses part = { 0 };
    if (!list_key(c, sub, "oneOf", &list, e)) return false;
    if (!list) return true;
    const int n = (int)json_array_size(list);
    int *s = compile_alloc(c, false, (size_t)n + 1, sizeof *s, e);
    struct clauses *yes = compile_alloc(c, false, (size_t)n + 1, sizeof *yes, e);
    if (!s || !yes) return false;
    for (int i = 0; i < n; i++) {
        s[i] = sub_in(c, sub, json_array_get(list, (size_t)i), "oneOf", i, e);
        if (s[i] < 0 || !dnf(c, LITERAL(s[i], false), kind, &yes[i], e)) return false;
    }
    if (neg) { /* none of them, or two */
        struct clauses none = { 0 };
        if (!add_true(c, &none, e)) return false;
        for (int i = 0; i < n; i++)
            if (!join_literal(c, false, &none, LITERAL(s[i], true), kind, e)) return false;
        if (!unite(c, &part, &none, e)) return false;
        for (int i = 0; i < n; i++)
            for (int k = i + 1; k < n; k++) {
                struct clauses two = { 0 };
                if (!unite(c, &two, &yes[i], e) || !cross(c, &two, &yes[k], kind, e) ||
                    !unite(c, &part, &two, e))
                    return false;
            }
        return join(c, true, acc, &part, kind, e);
    }
    for (int i = 0; i < n; i++)
        for (int a = 0; a < yes[i].n; a++) {
            struct clauses only = { 0 };
            if (!add(c, &only, yes[i].at[a], e)) return false;
            for (int k = 0; k < n; k++) {
                bool meet;
                if (k == i) continue;
                if (!meets(c, &yes[i].at[a], &yes[k], kind, &meet, e)) return false;
                if (meet && !join_literal(c, false, &only, LITERAL(s[k], true), kind, e)) return false;
            }
            if (!unite(c, &part, &only, e)) return false;
        }
    return join(c, false, acc, &part, kind, e);
}

static bool conditions(struct compile *c, int sub, bool neg, struct clauses *acc, enum json_kind kind,
                       struct err *e)
{
    const json_t *ji = schema_key(&c->doc, sub, "if"), *jt = schema_key(&c->doc, sub, "then"),
                 *je = schema_key(&c->doc, sub, "else");
    if (!ji || (!jt && !je && !c->watching)) return true;
    const int si = sub_of(c, sub, ji, "if", e), st = jt ? sub_of(c, sub, jt, "then", e) : DOC_TRUE,
              se = je ? sub_of(c, sub, je, "else", e) : DOC_TRUE;
    if (si < 0 || st < 0 || se < 0) return false;
    struct clauses yes = { 0 }, no = { 0 };
    if (!dnf(c, LITERAL(si, false), kind, &yes, e) ||
        !join_literal(c, false, &yes, LITERAL(st, neg), kind, e) ||
        !dnf(c, LITERAL(si, true), kind, &no, e) || !join_literal(c, false, &no, LITERAL(se, neg), kind, e) ||
        !unite(c, &yes, &no, e))
        return false;
    return join(c, neg, acc, &yes, kind, e);
}

/* A schema that only this constant meets, in words of every draft. */
static int constant(struct compile *c, int sub, const json_t *v, struct err *e)
{
    const size_t parts = json_is_object(v) ? json_object_size(v) : json_array_size(v);
    if (!compile_burn(c, 80 + 200 * (long)parts, e) || !budget_bytes(&c->budget, 1000 + 600 * parts))
        return budget_ok(&c->budget, e), -1;
    json_t *made = json_object(), *inner = json_is_object(v) ? json_object() : json_array(),
           *names = json_array();
    const char *key;
    const json_t *x;
    if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, x)
        {
            json_object_set_new(inner, key, json_pack("{s:[O]}", "enum", x));
            json_array_append_new(names, json_string(key));
        }
        json_object_set_new(made, "type", json_string("object"));
        json_object_set_new(made, "properties", inner);
        json_object_set_new(made, "required", names);
        json_object_set_new(made, "additionalProperties", json_false());
        return schema_doc_add(&c->doc, sub, made, e);
    }
    json_decref(names);
    for (size_t i = 0; i < json_array_size(v); i++)
        json_array_append_new(inner, json_pack("{s:[O]}", "enum", json_array_get(v, i)));
    json_object_set_new(made, "type", json_string("array"));
    json_object_set_new(made, "items", inner); /* as every draft understands it */
    json_object_set_new(made, "additionalItems", json_false());
    json_object_set_new(made, "minItems", json_integer((json_int_t)json_array_size(v)));
    json_object_set_new(made, "maxItems", json_integer((json_int_t)json_array_size(v)));
    return schema_doc_add(&c->doc, sub, made, e);
}

static bool constants(struct compile *c, int sub, bool neg, struct clauses *acc, enum json_kind kind,
                      struct err *e)
{
    const json_t *list, *one = schema_key(&c->doc, sub, "const");
    if (!list_key(c, sub, "enum", &list, e)) return false;
    for (int which = 0; which < 2; which++) {
        const json_t *from = which ? one : list;
        struct clauses part = { 0 };
        if (!from) continue;
        if (neg && !add_true(c, &part, e)) return false;
        for (size_t i = 0; i < (which ? 1 : json_array_size(from)); i++) {
            const json_t *v = which ? from : json_array_get(from, i);
            if (kind == KIND_OBJECT ? !json_is_object(v) : !json_is_array(v)) continue;
            const int s = constant(c, sub, v, e);
            if (s < 0 || !join_literal(c, !neg, &part, LITERAL(s, neg), kind, e)) return false;
        }
        if (!join(c, neg, acc, &part, kind, e)) return false;
    }
    return true;
}

/* To each way in which a schema holds, what its unevaluatedProperties, or unevaluatedItems, then demands: of whatever the groups of this
 * way do not evaluate. A text that meets the schema meets it in the way of all groups that it meets. */
static bool unevaluated(struct compile *c, int sub, const char *key, enum json_kind kind, struct clauses *acc,
                        struct err *e)
{
    struct clauses out = { 0 };
    const int s = sub_of(c, sub, schema_key(&c->doc, sub, key), key, e);
    if (s < 0) return false;
    for (int i = 0; i < acc->n; i++) {
        const struct clause *k = &acc->at[i];
        struct groups g = { compile_alloc(c, false, (size_t)k->n + 1, sizeof *g.sub, e), 0 };
        bool all = false; /* is everything evaluated? */
        if (!g.sub) return false;
        for (int a = 0; a < k->n; a++) {
            all |= k->at[a].kind == A_UNEVALUATED;
            if (k->at[a].kind != A_GROUP || k->at[a].a) continue;
            if (kind == KIND_ARRAY && c->doc.draft != DRAFT_2019 &&
                schema_key(&c->doc, k->at[a].sub, "contains"))
                return schema_refuse(&c->doc, sub, ERR_UNSUPPORTED, key, e,
                                     "beside contains, whose items count as evaluated, is not supported");
            g.sub[g.n++] = k->at[a].sub;
        }
        if (c->n_evaluated == c->cap_evaluated) {
            const int cap = c->cap_evaluated ? c->cap_evaluated * 2 : 16;
            struct groups *q = realloc(c->evaluated, (size_t)cap * sizeof *q);
            if (!q) return err_set(e, ERR_NOMEM, "no memory for a schema");
            c->evaluated = q;
            c->cap_evaluated = cap;
        }
        struct clause rest = { compile_alloc(c, false, 1, sizeof *rest.at, e), 1 }, one;
        if (!rest.at) return false;
        rest.at[0] = (struct atom){ A_UNEVALUATED, sub, c->n_evaluated, LITERAL(s, false) };
        c->evaluated[c->n_evaluated++] = g;
        if (all) {
            one = *k;
        } else if (!both(c, k, &rest, &one, e)) {
            return false;
        }
        if (!add(c, &out, one, e)) return false;
    }
    *acc = out;
    return true;
}

static bool dnf_of(struct compile *c, int sub, bool neg, enum json_kind kind, struct clauses *acc,
                   struct err *e);

/* A schema, and its unevaluated... when it has one. */
static bool dnf_watched(struct compile *c, int sub, bool neg, enum json_kind kind, struct clauses *acc,
                        struct err *e)
{
    const char *key = kind == KIND_OBJECT ? "unevaluatedProperties" : "unevaluatedItems";
    const json_t *v = schema_key(&c->doc, sub, key);
    if (!v || (json_is_true(v) && !c->watching)) return dnf_of(c, sub, neg, kind, acc, e);
    if (neg || (c->watching && c->silent > 0))
        return schema_refuse(&c->doc, sub, ERR_UNSUPPORTED, key, e,
                             "under not, or in oneOf or if, is not supported");
    const int silent = c->silent;
    c->silent = 0;
    c->watching++;
    const bool ok = dnf_of(c, sub, false, kind, acc, e) && unevaluated(c, sub, key, kind, acc, e);
    c->watching--;
    c->silent = silent;
    return ok;
}

static bool dnf_of(struct compile *c, int sub, bool neg, enum json_kind kind, struct clauses *acc,
                   struct err *e)
{
    static const char *const of_object[] = { "properties",    "patternProperties", "additionalProperties",
                                             "propertyNames", "required",          "minProperties",
                                             "maxProperties", "dependentRequired", "dependencies" };
    static const char *const of_array[] = { "items",    "prefixItems", "minItems",       "maxItems",
                                            "contains", "uniqueItems", "additionalItems" };
    bool allows;
    if (!schema_doc_check(&c->doc, sub, e) ||
        !type_allows(c, sub, kind == KIND_OBJECT ? "object" : "array", &allows, e))
        return false;
    if (!allows) return neg ? add_true(c, acc, e) : true;
    if (!neg && !add_true(c, acc, e)) return false;
    for (int at = 0, to; (to = schema_doc_next_ref(&c->doc, sub, &at, e)) != DOC_NO_REF;)
        if (to < 0 || !join_literal(c, neg, acc, LITERAL(to, neg), kind, e)) return false;
    const bool own = kind == KIND_OBJECT ? has_any(c, sub, of_object, 9) : has_any(c, sub, of_array, 7);
    struct clauses part = { 0 };
    if (own && neg && !(kind == KIND_OBJECT ? object_negated(c, sub, acc, e) : array_negated(c, sub, acc, e)))
        return false;
    if (own && !neg &&
        (!add_atom(c, &part, (struct atom){ A_GROUP, sub, c->watching && c->silent, 0 }, e) ||
         !cross(c, acc, &part, kind, e)))
        return false;
    c->silent++; /* a constant evaluates nothing */
    const bool ok = constants(c, sub, neg, acc, kind, e);
    c->silent--;
    if (!ok) return false;
    const json_t *all;
    if (!list_key(c, sub, "allOf", &all, e)) return false;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const int s = sub_in(c, sub, json_array_get(all, i), "allOf", (int)i, e);
        if (s < 0 || !join_literal(c, neg, acc, LITERAL(s, neg), kind, e)) return false;
    }
    if (!any_of(c, sub, neg, acc, kind, e) || !one_of(c, sub, neg, acc, kind, e)) return false;
    const json_t *not = schema_key(&c->doc, sub, "not");
    if (not ) {
        const int s = sub_of(c, sub, not, "not", e);
        if (s < 0 || !join_literal(c, neg, acc, LITERAL(s, !neg), kind, e)) return false;
    }
    return conditions(c, sub, neg, acc, kind, e) &&
           (kind == KIND_ARRAY || dependent_schemas(c, sub, neg, acc, e));
}

static bool dnf(struct compile *c, int lit, enum json_kind kind, struct clauses *out, struct err *e)
{
    const int sub = lit / 2;
    const bool neg = lit & 1;
    if (sub <= DOC_FALSE) return (sub == DOC_TRUE) != neg ? add_true(c, out, e) : true;
    if (!compile_burn(c, 30, e)) return false;
    if (++c->depth > MAX_DEPTH) {
        c->depth--;
        return schema_refuse(&c->doc, sub, ERR_REQUEST, "$ref", e,
                             "refers to itself with no value in between, or schemas nest deeper than %d",
                             MAX_DEPTH);
    }
    c->silent += neg;
    const bool ok = dnf_watched(c, sub, neg, kind, out, e);
    c->silent -= neg;
    c->depth--;
    return ok;
}

bool dnf_of_set(struct compile *c, const int *lit, int n, enum json_kind kind, struct clauses *out,
                struct err *e)
{
    const int watching = c->watching,
              silent = c->silent; /* of the value around, when this one is only looked at */
    c->watching = c->silent = 0;
    bool ok = add_true(c, out, e);
    for (int i = 0; i < n && ok; i++) ok = join_literal(c, false, out, lit[i], kind, e);
    c->watching = watching;
    c->silent = silent;
    return ok;
}

/* ---- nothing ------------------------------------------------------------------------------------------------------------ */

static bool surely_empty(struct compile *c, rx r, bool *empty, struct err *e)
{
    struct err ignored;
    *empty = r == RX_NONE;
    if (*empty) return true;
    const struct dfa *d = compile_dfa(c, r, &ignored);
    if (d) *empty = d->n == 0;
    return compile_burn(c, 1, e);
}

bool value_is_unsat(struct compile *c, int value, int depth, bool *unsat, struct err *e)
{
    if (value == VALUE_NONE || value == VALUE_ANY) return *unsat = value == VALUE_NONE, true;
    if (c->unsat[value] == 1) return *unsat = true, true;
    if (c->unsat[value] >= 2 + depth || depth <= 0) return *unsat = false, true;
    const struct set_of_literals *set = &c->set[value];
    const int *lit = set->lit, n = set->n;
    bool is = true;
    *unsat = false;
    if (!compile_burn(c, 20 + 10 * n, e)) return false;
    for (int v = 0; v < 3; v++) {
        const json_t *j = v == 0 ? json_null() : v == 1 ? json_true() : json_false();
        bool all = true;
        for (int i = 0; i < n && all; i++)
            if (!scalar_holds(c, lit[i], j, &all, e)) return false;
        if (all) goto something;
    }
    rx s = c->any_text, m = c->numbers;
    struct lengths len = { 0, -1 };
    for (int i = 0; i < n; i++) {
        rx part;
        if (!scalar_strings(c, lit[i], &len, &part, e)) return false;
        s = rx_and(c->pool, s, part);
        if (!scalar_numbers(c, lit[i], &part, e)) return false;
        m = rx_and(c->pool, m, part);
    }
    if (len.max >= 0 && len.min > len.max) s = RX_NONE;
    if (!surely_empty(c, s, &is, e)) return false;
    if (!is) goto something;
    if (!surely_empty(c, m, &is, e)) return false;
    if (!is) goto something;
    for (int kind = KIND_ARRAY; kind <= KIND_OBJECT; kind++) {
        struct clauses k = { 0 };
        if (!dnf_of_set(c, lit, n, (enum json_kind)kind, &k, e)) return false;
        for (int i = 0; i < k.n; i++) {
            if (!clause_is_unsat(c, &k.at[i], (enum json_kind)kind, depth - 1, &is, e)) return false;
            if (!is) goto something;
        }
    }
    *unsat = true;
    c->unsat[value] = 1;
    return true;
something:
    c->unsat[value] = (signed char)(2 + depth);
    return true;
}
