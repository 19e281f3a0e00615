/* jinja_content.c - what a template does with the messages it is given, read from its tree before anything runs.
 *
 * The API's clients send a message's content as one string or as a list of parts, and templates expect one or the other: one that
 * walks through parts prints nothing of a string, one that prints a string prints a list's brackets. The rule is vLLM's: a template
 * takes parts when it loops over message.content (or over a variable called content). Loops over what is derived from a content (a
 * variable of another name, a macro's parameter), subscripts and filters by attribute count too when what they find is used as a part. */
#include <string.h>

#include "text/jinja/jinja_ast.h"

enum { MAX_NAMES = 64, MAX_ROUNDS = 16 };

/* A variable, or an attribute of a namespace. */
struct var {
    const struct jstr *name, *attr;
};
struct vars {
    struct var v[MAX_NAMES];
    size_t n;
};

struct facts {
    const struct node *macro[MAX_NAMES];
    size_t n_macros;
    struct vars lists, messages, contents; /* may hold: the messages, one of them, the content of one */
    struct vars looped;                    /* messages by vLLM's rule: targets of loops over the messages */
    bool changed, parts, string_test;
};

/* --- walking ---------------------------------------------------------------------------------------------------------- */

typedef void visitor(const struct node *n, void *arg);

static void walk(const struct node *n, visitor *visit, void *arg);

static void walk_all(struct node *const *v, size_t n, visitor *visit, void *arg)
{
    for (size_t i = 0; i < n; i++) walk(v[i], visit, arg);
}

static void walk(const struct node *n, visitor *visit, void *arg)
{
    if (!n) return;
    visit(n, arg);
    walk(n->a, visit, arg);
    walk(n->b, visit, arg);
    walk(n->c, visit, arg);
    walk_all(n->kids, n->n_kids, visit, arg);
    if (n->args) {
        walk_all(n->args->pos, n->args->n_pos, visit, arg);
        for (size_t i = 0; i < n->args->n_kw; i++) walk(n->args->kw[i].val, visit, arg);
        walk(n->args->star, visit, arg);
        walk(n->args->star2, visit, arg);
    }
    walk_all(n->defaults, n->n_defaults, visit, arg);
    walk_all(n->body, n->n_body, visit, arg);
    walk_all(n->else_, n->n_else, visit, arg);
}

/* --- what an expression may hold ---------------------------------------------------------------------------------------- */

static bool same(const struct jstr *a, const struct jstr *b) { return a && b ? jstr_eq(a, b) : a == b; }

/* An expression that is just a variable; false when it is more. */
static bool as_var(const struct node *n, struct var *out)
{
    if (n->kind == N_NAME || n->kind == N_NSREF)
        *out = (struct var){ n->name, n->attr };
    else if (n->kind == N_ATTR && n->a->kind == N_NAME)
        *out = (struct var){ n->a->name, n->name };
    else
        return false;
    return true;
}

static bool is_among(const struct vars *s, const struct node *n)
{
    struct var v;
    if (!as_var(n, &v)) return false;
    for (size_t i = 0; i < s->n; i++)
        if (jstr_eq(s->v[i].name, v.name) && same(s->v[i].attr, v.attr)) return true;
    return false;
}

static void add(struct facts *f, struct vars *s, const struct node *target)
{
    struct var v;
    if (s->n == MAX_NAMES || is_among(s, target) || !as_var(target, &v)) return;
    s->v[s->n++] = v;
    f->changed = true;
}

static bool is_filter(const struct node *n, const char *const *names)
{
    for (; n->kind == N_FILTER && n->a && *names; names++)
        if (jstr_is(n->name, *names)) return true;
    return false;
}

static bool is_subscript(const struct node *n) { return n->kind == N_ITEM && n->b->kind != N_SLICE; }

static bool is_const_str(const struct node *n, const char *text)
{
    return n->kind == N_CONST && n->cst.t == J_STR && (!text || jstr_is(n->cst.s, text));
}

/* Behind filters, tests and slices: vLLM's idea of "the same or elements of it". */
static const struct node *elements(const struct node *n)
{
    while (n && (n->kind == N_FILTER || n->kind == N_TEST || (n->kind == N_ITEM && n->b->kind == N_SLICE)))
        n = n->a;
    return n;
}

static bool is_list(const struct facts *f, const struct node *n)
{
    n = elements(n);
    return n && ((n->kind == N_NAME && jstr_is(n->name, "messages")) || is_among(&f->lists, n));
}

static bool is_message(const struct facts *f, const struct node *n)
{
    static const char *const ends[] = { "first", "last", NULL };
    if (is_among(&f->messages, n)) return true;
    return (is_subscript(n) || is_filter(n, ends)) && is_list(f, n->a);
}

static bool is_content(const struct facts *f, const struct node *n)
{
    static const char *const keeps[] = { "selectattr", "rejectattr", "select",  "reject", "list",
                                         "default",    "d",          "reverse", "sort",   NULL };
    if (!n) return false;
    while (is_filter(n, keeps) || (n->kind == N_ITEM && n->b->kind == N_SLICE)) n = n->a;
    if (is_among(&f->contents, n)) return true;
    switch (n->kind) {
    case N_ATTR: return jstr_is(n->name, "content") && is_message(f, n->a);
    case N_ITEM: return is_const_str(n->b, "content") && is_message(f, n->a);
    case N_CALL: /* message.get('content') */
        return n->a->kind == N_ATTR && jstr_is(n->a->name, "get") && n->args && n->args->n_pos &&
               is_const_str(n->args->pos[0], "content") && is_message(f, n->a->a);
    case N_COND: return is_content(f, n->a) || is_content(f, n->c);
    case N_OR:
    case N_AND: return is_content(f, n->a) || is_content(f, n->b);
    default: return false;
    }
}

/* --- where they flow ------------------------------------------------------------------------------------------------------ */

static void flow(struct facts *f, const struct node *target, const struct node *value)
{
    if (!target || !value) return;
    if (is_list(f, value)) add(f, &f->lists, target);
    if (is_message(f, value)) add(f, &f->messages, target);
    if (is_content(f, value)) add(f, &f->contents, target);
}

static void find_macro(const struct node *n, void *arg)
{
    struct facts *f = arg;
    if (n->kind == N_MACRO && f->n_macros < MAX_NAMES) f->macro[f->n_macros++] = n;
}

/* A call's arguments flow into the parameters of the macros of that name. */
static void into_macros(struct facts *f, const struct node *call)
{
    const struct jargs_ast *args = call->args;
    for (size_t m = 0; m < f->n_macros; m++) {
        const struct node *n = f->macro[m];
        if (!jstr_eq(n->name, call->a->name)) continue;
        for (size_t i = 0; i < args->n_pos && i < n->n_params; i++) flow(f, n->params[i], args->pos[i]);
        for (size_t k = 0; k < args->n_kw; k++)
            for (size_t i = 0; i < n->n_params; i++)
                if (jstr_eq(args->kw[k].name, n->params[i]->name)) flow(f, n->params[i], args->kw[k].val);
    }
}

static void follow(const struct node *n, void *arg)
{
    struct facts *f = arg;
    switch (n->kind) {
    case N_SET: flow(f, n->a, n->b); break;
    case N_WITH:
        for (size_t i = 0; i + 1 < n->n_kids; i += 2) flow(f, n->kids[i], n->kids[i + 1]);
        break;
    case N_FOR:
        if (!is_list(f, n->b)) break;
        add(f, &f->messages, n->a);
        add(f, &f->looped, n->a);
        break;
    case N_CALL:
        if (n->a->kind == N_NAME && n->args) into_macros(f, n);
        break;
    default: break;
    }
}

/* --- what is done with contents ------------------------------------------------------------------------------------------- */

struct use {
    const struct jstr *name;
    bool as_part;
};

static bool names_part(const struct jstr *s)
{
    static const char *const keys[] = { "type", "text", "image", "image_url", "video", "audio" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (jstr_is(s, keys[i])) return true;
    return false;
}

/* item.text, item['type'], 'image' in item */
static void find_use(const struct node *n, void *arg)
{
    struct use *u = arg;
    const struct node *of = n->a;
    if (n->kind == N_COMPARE && n->n_kids == 1 && n->ops[0] == OP_IN && is_const_str(n->a, NULL) &&
        names_part(n->a->cst.s))
        of = n->kids[0];
    else if (!(n->kind == N_ATTR && names_part(n->name)) &&
             !(n->kind == N_ITEM && is_const_str(n->b, NULL) && names_part(n->b->cst.s)))
        return;
    u->as_part |= of && of->kind == N_NAME && jstr_eq(of->name, u->name);
}

static bool body_uses_parts(const struct node *loop)
{
    struct use u = { .name = loop->a->name };
    walk(loop->c, find_use, &u);
    walk_all(loop->body, loop->n_body, find_use, &u);
    return u.as_part;
}

static bool loops_over_parts(const struct facts *f, const struct node *n)
{
    const struct node *over = elements(n->b);
    if (!over || n->a->kind != N_NAME) return false;
    if (over->kind == N_NAME && jstr_is(over->name, "content")) return true;
    const bool direct = (over->kind == N_ATTR && jstr_is(over->name, "content")) ||
                        (over->kind == N_ITEM && is_const_str(over->b, "content"));
    if (direct && over->a->kind == N_NAME && is_among(&f->looped, over->a)) return true;
    return is_content(f, n->b) && body_uses_parts(n);
}

static void judge(const struct node *n, void *arg)
{
    static const char *const by_attr[] = { "selectattr", "rejectattr", "map", "groupby", NULL },
                             *const ends[] = { "first", "last", NULL };
    struct facts *f = arg;
    const bool member = (n->kind == N_ATTR && names_part(n->name)) ||
                        (n->kind == N_ITEM && is_const_str(n->b, NULL) && names_part(n->b->cst.s));
    if (n->kind == N_FOR && loops_over_parts(f, n)) f->parts = true;
    /* content[0].text */
    if (member && (is_subscript(n->a) || is_filter(n->a, ends)) && is_content(f, n->a->a)) f->parts = true;
    /* content | map(attribute='text') */
    if (is_filter(n, by_attr) && n->args && is_content(f, n->a))
        f->parts |= !jstr_is(n->name, "map") || (n->args->n_kw && !n->args->n_pos);
    if (n->kind == N_TEST && jstr_is(n->name, "string") && is_content(f, n->a)) f->string_test = true;
}

enum chat_content jinja_content(const struct node *root)
{
    struct facts f = { .n_macros = 0 };
    walk(root, find_macro, &f);
    for (int i = 0; i < MAX_ROUNDS; i++) {
        f.changed = false;
        walk(root, follow, &f);
        if (!f.changed) break;
    }
    walk(root, judge, &f);
    return !f.parts ? CONTENT_STRING : f.string_test ? CONTENT_EITHER : CONTENT_PARTS;
}

/* --- what else it asks for ------------------------------------------------------------------------------------------------- */

struct search {
    const char *what;
    bool found;
};

static void find_name(const struct node *n, void *arg)
{
    struct search *s = arg;
    s->found |= n->kind == N_NAME && jstr_is(n->name, s->what);
}

bool jinja_names(const struct node *root, const char *name)
{
    struct search s = { .what = name };
    walk(root, find_name, &s);
    return s.found;
}

static void find_text(const struct node *n, void *arg)
{
    struct search *s = arg;
    if ((n->kind == N_CONST || n->kind == N_DATA) && n->cst.t == J_STR && n->cst.s->len)
        s->found |= memmem(n->cst.s->p, n->cst.s->len, s->what, strlen(s->what)) != NULL;
}

bool jinja_spells(const struct node *root, const char *text)
{
    struct search s = { .what = text };
    walk(root, find_text, &s);
    return s.found;
}
