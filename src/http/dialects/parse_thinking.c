/* parse_thinking.c - several spellings of one wish: whether the model thinks, for how long, and who sees it. The model's template follows or
 * refuses (service/context.c). */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/parse.h"
#include "http/json_in.h"

static bool want(struct wire_request *w, enum thinking t, const char *level, const char *name,
                 struct fault *f)
{
    struct gen_request *q = &w->gen;
    f->param = name;
    if (q->thinking != THINKING_AS_IT_IS &&
        (q->thinking != t || (level[0] && q->effort[0] && strcmp(level, q->effort) != 0)))
        return err_set(&f->err, ERR_REQUEST, "%s and %s disagree; give one of them", q->thinking_from, name);
    if (t == THINKING_ON && !w->chat)
        return err_set(&f->err, ERR_UNSUPPORTED,
                       "%s: a plain completion does not think; /chat/completions is for that", name);
    q->thinking = t;
    q->thinking_from = name;
    if (level[0]) snprintf(q->effort, sizeof q->effort, "%s", level);
    return true;
}

/* So many tokens of thought; place is the member that says so. */
static bool want_budget(struct wire_request *w, const json_t *v, int64_t least, const char *place,
                        const char *name, struct fault *f)
{
    struct gen_request *q = &w->gen;
    int64_t n;
    if (!json_in_int(v, place, least, INT64_MAX, &n, f)) return false;
    if (n > INT_MAX) n = INT_MAX;
    f->param = name;
    if (q->effort[0] || (q->think_budget >= 0 && q->think_budget != n))
        return err_set(&f->err, ERR_REQUEST, "%s and %s disagree; give one of them", q->thinking_from, place);
    if (!want(w, THINKING_ON, "", name, f)) return false;
    q->think_budget = n;
    return true;
}

static bool want_level(struct wire_request *w, const char *level, const char *name, struct fault *f)
{
    f->param = name;
    if (w->gen.think_budget >= 0)
        return err_set(&f->err, ERR_REQUEST, "%s and %s disagree; give one of them", w->gen.thinking_from,
                       name);
    return want(w, THINKING_ON, level, name, f);
}

static bool read_effort(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    static const char levels[] = "minimal|low|medium|high|xhigh|max";
    const char *s = json_string_value(v);
    if (json_is_false(v) || (s && !strcmp(s, "none"))) return want(w, THINKING_OFF, "", name, f);
    if (json_is_true(v)) return want_level(w, "medium", name, f);
    if (s && words_have(levels, s, NULL)) return want_level(w, s, name, f);
    if (json_is_number(v)) return want_budget(w, v, 1, name, name, f);
    return json_in_bad(v, name, "one of none, minimal, low, medium, high, xhigh, max", f);
}

static bool read_switch(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    bool on;
    return json_in_bool(v, name, &on, f) && want(w, on ? THINKING_ON : THINKING_OFF, "", name, f);
}

static bool read_thinking(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    if (json_is_boolean(v)) return read_switch(w, v, name, f);
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *budget = parse_given(v, "budget_tokens");
    if (!type) return json_in_bad(v, name, "an object with a type", f);
    if (!json_in_members(v, "type budget_tokens", "thinking.", w->strict, name, f)) return false;
    f->param = name;
    const bool off = !strcmp(type, "disabled");
    if (!off && strcmp(type, "enabled") != 0)
        return err_set(&f->err, ERR_REQUEST, "thinking.type must be enabled or disabled, got \"%.40s\"",
                       type);
    if (off && budget)
        return err_set(&f->err, ERR_REQUEST, "thinking.budget_tokens is only for type enabled");
    if (!off && budget) return want_budget(w, budget, 1024, "thinking.budget_tokens", name, f);
    return want(w, off ? THINKING_OFF : THINKING_ON, "", name, f);
}

/* Fireworks takes one of the two. Elsewhere they may both be there when they agree, as with any two spellings. */
static bool only_one(const struct wire_request *w, const json_t *body, struct fault *f)
{
    if (w->style->dialect != DIALECT_FIREWORKS || !parse_given(body, "thinking") ||
        !parse_given(body, "reasoning_effort"))
        return true;
    f->param = "thinking";
    return err_set(&f->err, ERR_REQUEST,
                   "thinking and reasoning_effort cannot be given together; they may "
                   "disagree, so give one of them");
}

static bool show(struct wire_request *w, bool shown, const char *name, struct fault *f)
{
    const enum thought_form form = shown ? THOUGHT_AS_SET : THOUGHT_HIDDEN;
    f->param = name;
    if (w->shown_given && w->gen.thought_form != form)
        return err_set(&f->err, ERR_REQUEST,
                       "reasoning.exclude and include_reasoning disagree; give one of "
                       "them");
    w->gen.thought_form = form;
    w->shown_given = true;
    return true;
}

/* {"effort" or "max_tokens", "enabled", "exclude"}, as routers of several providers write it. */
static bool read_reasoning(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    static const char *const refused[] = { "summary", "generate_summary" };
    const json_t *effort = parse_given(v, "effort"), *enabled = parse_given(v, "enabled"),
                 *max = parse_given(v, "max_tokens"), *exclude = parse_given(v, "exclude");
    bool hide;
    if (!json_is_object(v)) return json_in_bad(v, name, "an object with an effort", f);
    if (!json_in_members(v, "effort enabled exclude summary generate_summary max_tokens", "reasoning.",
                         w->strict, name, f))
        return false;
    f->param = name;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (parse_given(v, refused[i]))
            return err_set(&f->err, ERR_UNSUPPORTED, "reasoning.%s is not supported by this server yet",
                           refused[i]);
    w->thought_name = "reasoning"; /* who asks in this form reads it by this name */
    if (exclude && (!json_in_bool(exclude, "reasoning.exclude", &hide, f) || !show(w, !hide, name, f)))
        return false;
    if (enabled && !read_switch(w, enabled, name, f)) return false;
    if (max && !want_budget(w, max, 1, "reasoning.max_tokens", name, f)) return false;
    return !effort || read_effort(w, effort, name, f);
}

static bool read_include(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    bool shown;
    w->thought_name = "reasoning";
    return json_in_bool(v, name, &shown, f) && show(w, shown, name, f);
}

static bool read_history(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    int at;
    const char *s = json_string_value(v);
    if (!s || !words_have("disabled|interleaved|preserved", s, &at))
        return json_in_bad(v, name, "one of disabled, interleaved, preserved", f);
    w->gen.thought_history = at == 0 ? HISTORY_NONE : at == 1 ? HISTORY_INTERLEAVED : HISTORY_ALL;
    return true;
}

bool parse_thinking(struct wire_request *w, const json_t *body, struct fault *f)
{
    static const struct {
        const char *name;
        bool text; /* plain completions have it, too */
        bool (*read)(struct wire_request *w, const json_t *v, const char *name, struct fault *f);
    } fields[] = {
        { "reasoning_effort", true, read_effort },    { "thinking", false, read_thinking },
        { "enable_thinking", false, read_switch },    { "reasoning", true, read_reasoning },
        { "include_reasoning", false, read_include }, { "reasoning_history", false, read_history },
    };
    if (!only_one(w, body, f)) return false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *v = w->chat || fields[i].text ? parse_given(body, fields[i].name) : NULL;
        if (v && !fields[i].read(w, v, fields[i].name, f)) return false;
    }
    return true;
}
