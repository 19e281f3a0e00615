/* anthropic_parse.c - the body of a request for messages: one table of fields, each honoured or refused by its name. */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/anthropic.h"
#include "http/dialects/fields.h"
#include "http/dialects/parse.h"
#include "http/json_in.h"

enum form { MESSAGES = FIELDS_CREATE, COUNT = FIELDS_COUNT, BOTH = MESSAGES | COUNT };

struct body { /* its members, as they stand; NULL: not given */
    const json_t *model, *max_tokens, *messages, *system, *tools, *tool_choice, *thinking, *output_config,
        *output_format, *temperature, *top_p, *top_k, *stop_sequences, *stream, *metadata, *service_tier;
    const json_t *label; /* of any that changes nothing */
};

enum kind { K_HERE, K_HINT /* changes nothing here */, K_REFUSE };

static const struct field {
    struct json_member member; /* forms: enum form */
    size_t offset;
    enum kind kind;
    const char *harmless; /* K_REFUSE: the value that asks for nothing */
} fields[] = {
#define F(name, forms, shape)                                                                                \
    {                                                                                                        \
        { #name, forms, shape }, offsetof(struct body, name), K_HERE, NULL                                   \
    }
    F(model, BOTH, "!text"),
    F(max_tokens, MESSAGES, "!int 1.."),
    F(messages, BOTH, "![object]"),
    F(system, BOTH, "text|[object]"),
    F(tools, BOTH, "[object]"),
    F(tool_choice, BOTH, "object"),
    F(thinking, BOTH, "object"),
    F(output_config, BOTH, "object"),
    F(output_format, BOTH, "object"),
    F(temperature, MESSAGES, "num 0..1"),
    F(top_p, MESSAGES, "num 0..1"),
    F(top_k, MESSAGES, "int 0.."),
    F(stop_sequences, MESSAGES, "[text] ..16"),
    F(stream, MESSAGES, "bool"),
    F(metadata, MESSAGES, "object"),
    F(service_tier, MESSAGES, "text"),
#undef F
    { { "cache_control", BOTH, "any" }, 0, K_HINT, NULL }, /* prefixes are cached as it is */
    { { "inference_geo", MESSAGES, "any" }, 0, K_HINT, NULL },
    { { "user_profile_id", BOTH, "any" }, 0, K_HINT, NULL },
    { { "workspace_id", BOTH, "any" }, 0, K_HINT, NULL },
    { { "betas", BOTH, "any" }, 0, K_HINT, NULL },
    { { "speed", BOTH, "none" }, 0, K_REFUSE, "standard" },
    { { "diagnostics", MESSAGES, "none" }, 0, K_REFUSE, NULL },
    { { "container", MESSAGES, "none" }, 0, K_REFUSE, NULL },
    { { "mcp_servers", BOTH, "none" }, 0, K_REFUSE, NULL },
    { { "context_management", BOTH, "none" }, 0, K_REFUSE, NULL },
};

static bool take_field(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct field *d = row;
    const char *s = json_string_value(v);
    if (d->kind == K_HERE) *(const json_t **)((char *)reader + d->offset) = v;
    if (d->kind != K_REFUSE || (s && d->harmless && !strcmp(s, d->harmless))) return true;
    if (json_is_array(v) && !json_array_size(v)) return true;
    f->param = d->member.name;
    return err_set(&f->err, ERR_UNSUPPORTED, "%s is not supported by this server; leave it out",
                   d->member.name);
}

const struct json_table anthropic_fields = JSON_TABLE(fields, take_field);

static bool required(const char *name, struct fault *f)
{
    f->param = name;
    return err_set(&f->err, ERR_REQUEST, "%s: Field required", name);
}

static bool complete(enum form form, const json_t *body, struct fault *f)
{
    const char *name = json_in_missing(&anthropic_fields, form, body);
    return !name || required(name, f);
}

static char *copy(const json_t *v, struct fault *f)
{
    char *s = strndup(json_string_value(v), json_string_length(v));
    if (!s) parse_no_memory(f);
    return s;
}

/* ---- what stands alone --------------------------------------------------------------------------------------------- */

static bool read_stops(struct gen_request *q, const json_t *v, struct fault *f)
{
    static const char name[] = "stop_sequences";
    size_t i;
    const json_t *s;
    if (!v) return true;
    if (!json_is_array(v)) return json_in_bad(v, name, "an array of strings", f);
    f->param = name;
    if (json_array_size(v) > REQUEST_MAX_STOP)
        return err_set(&f->err, ERR_REQUEST, "stop_sequences holds %zu strings; at most %d are taken",
                       json_array_size(v), REQUEST_MAX_STOP);
    json_array_foreach(v, i, s)
    {
        if (!json_is_string(s)) return json_in_bad(s, name, "an array of strings", f);
        if (!json_string_length(s))
            return err_set(&f->err, ERR_REQUEST, "stop_sequences must not hold an empty string");
        if (!(q->stop[q->n_stop] = copy(s, f))) return false;
        q->n_stop++;
    }
    return true;
}

static bool read_float(const json_t *v, const char *name, float *out, struct fault *f)
{
    double x;
    if (!v) return true;
    if (!json_in_num(v, name, 0, 1, &x, f)) return false;
    *out = (float)x;
    return true;
}

static bool read_metadata(const json_t *v, bool strict, struct fault *f)
{
    const char *user;
    if (!v) return true;
    if (!json_is_object(v)) return json_in_bad(v, "metadata", "an object", f);
    if (!json_in_members(v, "user_id", "metadata.", strict, "metadata", f)) return false;
    const json_t *id = parse_given(v, "user_id");
    return !id || json_in_str(id, "metadata.user_id", &user, f);
}

static bool read_numbers(struct wire_request *w, const struct body *in, struct fault *f)
{
    struct gen_request *q = &w->gen;
    int64_t n;
    if (!json_in_int(in->max_tokens, "max_tokens", 1, INT64_MAX, &n, f)) return false;
    q->max_tokens = n > INT_MAX ? INT_MAX : n;
    if (!read_float(in->temperature, "temperature", &q->sampling.temperature, f) ||
        !read_float(in->top_p, "top_p", &q->sampling.top_p, f))
        return false;
    if (in->top_k) {
        if (!json_in_int(in->top_k, "top_k", 0, INT64_MAX, &n, f)) return false;
        q->sampling.top_k = n > INT_MAX ? INT_MAX : (int)n;
    }
    if (in->stream && !json_in_bool(in->stream, "stream", &w->stream, f)) return false;
    const char *tier = json_string_value(in->service_tier);
    if (in->service_tier && (!tier || !words_have("auto|standard_only", tier, NULL)))
        return json_in_bad(in->service_tier, "service_tier", "\"auto\" or \"standard_only\"", f);
    return read_stops(q, in->stop_sequences, f) && read_metadata(in->metadata, w->strict, f);
}

/* ---- tools --------------------------------------------------------------------------------------------------------- */

/* A tool as functions are written elsewhere: the schema under another name. New, or NULL. */
static json_t *one_tool(const json_t *v, size_t i, bool strict, struct fault *f)
{
    char where[40];
    const json_t *type = parse_given(v, "type");
    const char *name = json_string_value(type);
    snprintf(where, sizeof where, "tools[%zu].", i);
    f->param = "tools";
    if (!json_is_object(v)) return json_in_bad(v, "tools", "an array of tools as objects", f), NULL;
    if (type && (!name || strcmp(name, "custom") != 0)) {
        err_set(&f->err, name ? ERR_UNSUPPORTED : ERR_REQUEST,
                "%stype: \"%.60s\" is a tool of the service's own, which this server does not have; it "
                "offers the "
                "client's tools, \"custom\"",
                where, name ? name : "");
        return NULL;
    }
    if (!json_in_members(v,
                         "type name description input_schema strict cache_control input_examples "
                         "defer_loading allowed_callers eager_input_streaming",
                         where, strict, "tools", f))
        return NULL;
    if (!parse_given(v, "input_schema")) {
        err_set(&f->err, ERR_REQUEST, "%sinput_schema: Field required", where);
        return NULL;
    }
    static const char *const names[][2] = { { "name", "name" },
                                            { "description", "description" },
                                            { "input_schema", "parameters" },
                                            { "strict", "strict" } };
    json_t *out = json_object();
    bool ok = out != NULL;
    for (size_t k = 0; ok && k < sizeof names / sizeof *names; k++) {
        const json_t *m = parse_given(v, names[k][0]);
        if (m) ok = !json_object_set(out, names[k][1], (json_t *)m);
    }
    if (ok) return out;
    json_decref(out);
    parse_no_memory(f);
    return NULL;
}

/* Errors of tools.h speak of parameters. */
static void in_their_words(struct err *e)
{
    static const char ours[] = ".parameters", theirs[] = ".input_schema";
    char out[sizeof e->msg];
    const char *at = strstr(e->msg, ours);
    if (!at) return;
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - e->msg), e->msg, theirs, at + strlen(ours));
    snprintf(e->msg, sizeof e->msg, "%s", out);
}

static bool read_tools(struct wire_request *w, const json_t *v, struct fault *f)
{
    size_t i;
    const json_t *t;
    if (!v) return true;
    if (!json_is_array(v)) return json_in_bad(v, "tools", "an array of tools", f);
    json_t *list = json_array();
    bool ok = list || parse_no_memory(f);
    json_array_foreach(v, i, t)
    {
        json_t *one = ok ? one_tool(t, i, w->strict, f) : NULL;
        ok = one && (!json_array_append_new(list, one) || parse_no_memory(f));
        if (!ok) break;
    }
    ok = ok && tool_set_read(&w->gen.tools, list, "tools", true, w->strict, &f->err);
    if (!ok) in_their_words(&f->err);
    w->gen.tools.legacy = false;
    json_decref(list);
    return ok;
}

static bool read_choice(struct wire_request *w, const json_t *v, struct fault *f)
{
    static const char name[] = "tool_choice";
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *single = parse_given(v, "disable_parallel_tool_use");
    int kind;
    bool one = false;
    if (!v) return true;
    f->param = name;
    if (!type || !words_have("auto|any|none|tool", type, &kind))
        return json_in_bad(v, name, "an object with a type, one of auto, any, tool, none", f);
    if (!json_in_members(v,
                         kind == 3   ? "type name disable_parallel_tool_use"
                         : kind == 2 ? "type"
                                     : "type disable_parallel_tool_use",
                         "tool_choice.", w->strict, name, f))
        return false;
    if (single && !json_in_bool(single, "tool_choice.disable_parallel_tool_use", &one, f)) return false;
    const json_t *named = json_object_get(v, "name");
    if (kind == 3 && !json_is_string(named)) return required("tool_choice.name", f);
    json_t *choice = kind == 3 ? json_pack("{s:s, s:O}", "type", "function", "name", named)
                               : json_string(kind == 1 ? "required" : type);
    const bool ok = choice ? tool_set_choose(&w->gen.tools, choice, name, &f->err) : parse_no_memory(f);
    json_decref(choice);
    w->gen.tools.one = one;
    return ok;
}

/* ---- thinking and the answer's form -------------------------------------------------------------------------------- */

static bool read_thinking(struct wire_request *w, const json_t *v, struct fault *f)
{
    static const char name[] = "thinking";
    struct gen_request *q = &w->gen;
    const char *type = json_string_value(json_object_get(v, "type")),
               *display = json_string_value(parse_given(v, "display"));
    const json_t *budget = parse_given(v, "budget_tokens");
    int kind;
    q->thought_form = THOUGHT_SPLIT;
    q->thinking = THINKING_OFF; /* unless it is asked for */
    q->thinking_from = name;
    f->param = name;
    if (!v) return true;
    if (!type || !words_have("disabled|enabled|adaptive", type, &kind))
        return json_in_bad(v, name, "an object with a type, one of enabled, disabled, adaptive", f);
    if (!json_in_members(v, "type budget_tokens display", "thinking.", w->strict, name, f)) return false;
    if (kind == 1 && !budget) return required("thinking.budget_tokens", f);
    if (kind != 1 && budget)
        return err_set(&f->err, ERR_REQUEST, "thinking.budget_tokens is only for type enabled");
    if (kind == 0) return true;
    q->thinking = THINKING_ON;
    if (parse_given(v, "display") && (!display || !words_have("summarized|omitted", display, NULL)))
        return json_in_bad(parse_given(v, "display"), "thinking.display", "\"summarized\" or \"omitted\"", f);
    if (display && !strcmp(display, "omitted")) q->thought_form = THOUGHT_HIDDEN;
    if (!budget) return true;
    if (!json_in_int(budget, "thinking.budget_tokens", 1024, INT64_MAX, &q->think_budget, f)) return false;
    if (q->think_budget > INT_MAX) q->think_budget = INT_MAX;
    if (q->max_tokens >= 0 && q->max_tokens <= q->think_budget)
        return err_set(&f->err, ERR_REQUEST, "max_tokens must be greater than thinking.budget_tokens");
    return true;
}

static bool read_format(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    struct answer_form *a = &w->gen.answer;
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *schema = parse_given(v, "schema");
    if (!type || strcmp(type, "json_schema") != 0)
        return json_in_bad(v, name, "an object of the type json_schema with a schema", f);
    if (!json_in_members(v, "type schema", "output_config.format.", w->strict, name, f)) return false;
    if (!json_is_object(schema))
        return json_in_bad(schema ? schema : json_null(), name, "an object with a JSON Schema as its schema",
                           f);
    f->param = name;
    if (a->kind != FORM_ANY)
        return err_set(&f->err, ERR_REQUEST,
                       "output_config.format and output_format say the same; give one of them");
    a->kind = FORM_SCHEMA;
    a->schema = json_incref((json_t *)schema);
    a->from = name;
    return true;
}

static bool read_output(struct wire_request *w, const struct body *in, struct fault *f)
{
    const json_t *v = in->output_config, *effort = parse_given(v, "effort"),
                 *format = parse_given(v, "format");
    const char *level = json_string_value(effort);
    if (in->output_format && !read_format(w, in->output_format, "output_format", f)) return false;
    if (!v) return true;
    if (!json_is_object(v)) return json_in_bad(v, "output_config", "an object", f);
    if (!json_in_members(v, "effort format", "output_config.", w->strict, "output_config", f)) return false;
    if (format && !read_format(w, format, "output_config.format", f)) return false;
    if (!effort) return true;
    f->param = "output_config.effort";
    if (!level || !words_have("low|medium|high|xhigh|max", level, NULL))
        return json_in_bad(effort, "output_config.effort", "one of low, medium, high, xhigh, max", f);
    if (w->gen.thinking != THINKING_ON || w->gen.think_budget >= 0) {
        /* What it is when it is not given. */
        return !strcmp(level, "high") ||
               err_set(&f->err, ERR_UNSUPPORTED,
                       "output_config.effort says how much is thought here; it goes with thinking of the "
                       "type adaptive");
    }
    snprintf(w->gen.effort, sizeof w->gen.effort, "%s", level);
    return true;
}

/* ---- together ------------------------------------------------------------------------------------------------------ */

static bool parse(struct wire_request *w, json_t *body, enum form form, bool strict,
                  const struct wire_style *style, struct fault *f)
{
    const struct json_place place = { .path = "", .form = form, .strict = strict };
    struct body in = { 0 };
    const char *model;
    *w = (struct wire_request){
        .style = style, .chat = true, .strict = strict, .max_completion_tokens = -1, .top_logprobs = -1
    };
    gen_request_init(&w->gen);
    w->gen.overflow = style->overflow;
    w->gen.loose_vars = !strict;
    bool ok = json_in_extra_body(body, f) && json_in_object(&anthropic_fields, &place, &in, body, f) &&
              complete(form, body, f) && json_in_str(in.model, "model", &model, f) &&
              (w->gen.model = copy(in.model, f)) != NULL &&
              anthropic_conversation(in.system, in.messages, strict, &w->gen, f) &&
              (form == COUNT || read_numbers(w, &in, f)) && read_tools(w, in.tools, f) &&
              read_choice(w, in.tool_choice, f) && read_thinking(w, in.thinking, f) && read_output(w, &in, f);
    if (!ok)
        wire_free(w);
    else
        f->param = NULL;
    return ok;
}

bool anthropic_parse(struct wire_request *w, json_t *body, bool chat, bool strict,
                     const struct wire_style *style, struct fault *f)
{
    (void)chat;
    return parse(w, body, MESSAGES, strict, style, f);
}

bool anthropic_parse_count(struct wire_request *w, json_t *body, bool chat, bool strict,
                           const struct wire_style *style, struct fault *f)
{
    (void)chat;
    return parse(w, body, COUNT, strict, style, f);
}
