#include "service/steering.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "service/thoughts.h"
#include "service/tools/tool_format.h"
#include "text/grammar/schema.h"
#include "text/grammar/schema_strict.h"

void steering_free(struct steering *s)
{
    guide_plan_unref(s->plan);
    free(s->ignored);
    s->plan = NULL;
    s->ignored = NULL;
}

/* ---- thoughts --------------------------------------------------------------------------------------------------------- */

/* The marks around a thought, as far as the model's template or the catalog tells. */
static void find_marks(const struct lm *lm, const struct catalog_model *m, struct reply_style *s)
{
    const struct chat_template *t = lm_chat_template(lm);
    struct thought_marks marks = { NULL, NULL };
    if (t) marks = thoughts_marks(t);
    if (!marks.open && m && m->reasoning != THOUGHTS_NONE)
        marks = (struct thought_marks){ "<think>", "</think>" };
    s->think_open = marks.open;
    s->think_close = marks.close;
}

/* But for white space behind it. */
static bool ends_in(const char *prompt, const char *mark)
{
    size_t n = strlen(prompt), k = strlen(mark);
    while (n && strchr(" \n\t\r", prompt[n - 1])) n--;
    return n >= k && !memcmp(prompt + n - k, mark, k);
}

static enum thought_form form_of(const struct gen_request *q, const struct catalog_model *m)
{
    if (q->thinking == THINKING_OFF) return THOUGHT_HIDDEN; /* should one come all the same, it is empty */
    if (q->thought_form != THOUGHT_AS_SET) return q->thought_form;
    return m && m->reasoning == THOUGHTS_INLINE ? THOUGHT_INLINE : THOUGHT_SPLIT;
}

static int64_t budget_of(const struct gen_request *q, const struct catalog_model *m)
{
    if (q->thinking == THINKING_OFF) return 0;
    if (q->think_budget >= 0 || q->thinking != THINKING_ON) return q->think_budget;
    return catalog_think_budget(m, q->effort);
}

/* ---- constraints ------------------------------------------------------------------------------------------------------- */

static bool compile(const struct lm *lm, const struct constraint_source *s, struct constraint **out,
                    const char *param, struct fault *f)
{
    if (constraint_cache_get(lm_constraints(lm), s, out, &f->err)) return true;
    f->param = param;
    return f->err.code == ERR_CANCELLED || f->err.code == ERR_NOMEM ? false : err_wrap(&f->err, "%s", param);
}

/* What its schemas hold that decides nothing. */
static char *ignored_by(const struct constraint *h)
{
    enum { MOST = 400 };
    struct buf b = BUF_INIT(0);
    const struct schema *s;
    for (int i = 0; h && (s = constraint_schema(h, i)) != NULL; i++)
        for (int k = 0; k < s->n_ignored && b.len < MOST; k++)
            buf_printf(&b, "%s%.100s", b.len ? ", " : "", s->ignored[k]);
    if (b.len >= MOST) buf_puts(&b, ", ...");
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] < ' ' || b.data[i] > '~') b.data[i] = '?';
    if (b.len && !b.failed) return buf_take(&b);
    buf_free(&b);
    return NULL;
}

/* The form that the answer was asked for in: a schema, or a grammar's or an expression's text. */
static bool answer_source(const struct answer_form *a, struct constraint_source *s, json_t **any_object,
                          struct fault *f)
{
    switch (a->kind) {
    case FORM_ANY: break;
    case FORM_JSON:
        *any_object = json_pack("{s:s}", "type", "object");
        if (!*any_object) return err_set(&f->err, ERR_NOMEM, "out of memory");
        s->schema = *any_object;
        break;
    case FORM_SCHEMA:
        if (a->strict && !schema_strict_check(a->schema, a->from, &f->err)) {
            f->param = a->from;
            return false;
        }
        s->schema = a->schema;
        s->closed = a->closed;
        break;
    case FORM_GRAMMAR:
    case FORM_REGEX:
        s->kind = a->kind == FORM_GRAMMAR ? CONSTRAINT_GRAMMAR : CONSTRAINT_REGEX;
        s->text = a->text;
        s->len = a->len;
        break;
    }
    return true;
}

/* The format's grammar with its first rule under another name, and a first rule that lets an answer in the other form pass as well. */
static bool either(struct buf *gbnf, json_t *schemas, const struct constraint_source *answer, struct err *e)
{
    static const char root[] = "root ::=", calls[] = "hearth-calls ::=";
    const char *at = strstr(gbnf->data, root);
    if (!at || answer->kind != CONSTRAINT_SCHEMA)
        return err_set(
            e, ERR_UNSUPPORTED,
            "an answer that is a call or meets a grammar is not supported; give tools or the grammar");
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "root ::= hearth-calls | hearth-answer\n");
    buf_append(&b, gbnf->data, (size_t)(at - gbnf->data));
    buf_puts(&b, calls);
    buf_puts(&b, at + strlen(root));
    buf_free(gbnf);
    *gbnf = b;
    if (!b.failed && !json_object_set(schemas, "hearth-answer", (json_t *)answer->schema)) return true;
    return err_set(e, ERR_NOMEM, "out of memory");
}

/* A grammar knows a tool's schema by its own name for it; the client knows its place in the request. */
static void name_tool(const struct gen_request *q, struct err *e)
{
    static const char mark[] = "the schema of arguments-";
    const char *at = strstr(e->msg, mark);
    int i, used = 0;
    if (!at || sscanf(at + strlen(mark), "%d: %n", &i, &used) != 1 || !used) return;
    const struct err why = *e;
    err_set(e, why.code,
            q->tools.legacy ? "functions[%d].parameters: %s" : "tools[%d].function.parameters: %s", i,
            why.msg + (at - e->msg) + strlen(mark) + used);
}

/* Calls: of the whole answer where there has to be one, or where the answer has another form to meet; else from a call's opening on. */
static bool constrain_calls(const struct lm *lm, const struct gen_request *q,
                            const struct tool_format *format, const struct constraint_source *answer,
                            struct guide_spec *spec, const atomic_bool *cancel, struct fault *f)
{
    struct buf gbnf = BUF_INIT(0);
    json_t *schemas = json_object();
    struct constraint *h = NULL;
    const char *forced = NULL;
    const bool must = q->tools.choice == TOOL_REQUIRED || q->tools.choice == TOOL_NAMED;
    const bool both = !must && q->answer.kind != FORM_ANY;
    bool ok = (schemas && format->grammar(&q->tools, &gbnf, schemas, &forced) && !gbnf.failed) ||
              err_set(&f->err, ERR_NOMEM, "out of memory");
    if (ok && both && forced)
        ok = err_set(&f->err, ERR_UNSUPPORTED, "%s together with tools is not supported for this model",
                     q->answer.from);
    if (ok && both) ok = either(&gbnf, schemas, answer, &f->err);
    const struct constraint_source s = { .kind = CONSTRAINT_GRAMMAR,
                                         .schema = schemas,
                                         .text = gbnf.data,
                                         .len = gbnf.len,
                                         .marks = true,
                                         /* a function takes the arguments that it lists, and no others */
                                         .closed = !both || answer->closed,
                                         .cancel = cancel };
    f->param = "tools";
    ok = ok && compile(lm, &s, &h, "tools", f);
    buf_free(&gbnf);
    json_decref(schemas);
    if (!ok) name_tool(q, &f->err);
    if (!ok) return false;
    if (must || both) {
        spec->answer = h;
        spec->first = forced;
    } else {
        spec->call = h;
        spec->opens = format->opens;
        spec->opens_before = format->opens_before;
        spec->opens_first = format->opens_first;
    }
    return true;
}

static bool constrain(const struct lm *lm, const struct gen_request *q, const struct tool_format *format,
                      struct guide_spec *spec, const atomic_bool *cancel, struct fault *f)
{
    struct constraint_source answer = { .kind = CONSTRAINT_SCHEMA, .cancel = cancel };
    json_t *any_object = NULL;
    const bool offers = format && q->tools.n > 0 && q->tools.choice != TOOL_NEVER;
    bool ok = answer_source(&q->answer, &answer, &any_object, f);
    if (ok && offers)
        ok = constrain_calls(lm, q, format, &answer, spec, cancel, f);
    else if (ok && q->answer.kind != FORM_ANY)
        ok = compile(lm, &answer, &spec->answer, q->answer.from ? q->answer.from : "response_format", f);
    json_decref(any_object);
    return ok;
}

bool steering_make(struct steering *out, const struct lm *lm, const struct catalog_model *m,
                   const struct gen_request *q, const char *prompt, const atomic_bool *cancel,
                   struct fault *f)
{
    const bool offers = q->messages && q->tools.n > 0 && q->tools.choice != TOOL_NEVER;
    const struct tool_format *format = !offers          ? NULL
                                       : q->tool_format ? q->tool_format
                                                        : tool_format_of(lm_chat_template(lm));
    struct steering s = { .style = { .reader = format ? format->reader : &reply_plain,
                                     .form = form_of(q, m) } };
    struct guide_spec spec = { .budget = -1,
                               .ignore_end = q->ignore_end,
                               .control = format ? format->control : NULL };
    if (q->messages) find_marks(lm, m, &s.style);
    s.style.begins_inside = s.style.think_open && prompt && ends_in(prompt, s.style.think_open);
    spec.think_open = s.style.think_open;
    spec.think_close = s.style.think_close;
    spec.inside = s.style.begins_inside;
    spec.budget = budget_of(q, m);
    bool ok = constrain(lm, q, format, &spec, cancel, f);
    if (ok && (spec.think_open || spec.answer || spec.call || spec.control))
        ok = guide_plan_new(&s.plan, &spec, lm_constraints(lm), &f->err);
    if (ok) s.ignored = ignored_by(spec.answer ? spec.answer : spec.call);
    constraint_free(spec.answer);
    constraint_free(spec.call);
    if (ok) *out = s;
    return ok;
}
