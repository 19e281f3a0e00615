/* responses_parse.c - the body of a request for a response: one table of fields, each honoured or refused by its name. */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/fields.h"
#include "http/dialects/parse.h"
#include "http/dialects/responses.h"
#include "http/json_in.h"

enum form { CREATE = FIELDS_CREATE, COUNT = FIELDS_COUNT, BOTH = CREATE | COUNT };

struct body { /* its members, as they stand; NULL: not given */
    const json_t *model, *input, *instructions, *max_output_tokens, *temperature, *top_p, *tools,
        *tool_choice, *parallel_tool_calls, *text, *reasoning, *stream, *stream_options, *truncation,
        *metadata, *store, *previous_response_id, *include, *max_tool_calls;
};

enum kind {
    K_HERE,
    K_TAG,    /* a string that changes nothing, repeated in the reply */
    K_REFUSE, /* not offered, but for the value that asks for nothing */
    K_ZERO    /* a number that may be 0 */
};

static const struct field {
    struct json_member member; /* forms: enum form */
    size_t offset;
    enum kind kind;
} fields[] = {
#define F(name, forms, shape)                                                                                \
    {                                                                                                        \
        { #name, forms, shape }, offsetof(struct body, name), K_HERE                                         \
    }
    F(model, BOTH, "!text"),
    F(input, BOTH, "!text|[any]"),
    F(instructions, BOTH, "text"),
    F(max_output_tokens, CREATE, "int 1.."),
    F(temperature, CREATE, "num 0..2"),
    F(top_p, CREATE, "num 0..1"),
    F(tools, BOTH, "[object]"),
    F(tool_choice, BOTH, "text|object"),
    F(parallel_tool_calls, BOTH, "bool"),
    F(text, BOTH, "object"),
    F(reasoning, BOTH, "object"),
    F(stream, CREATE, "bool"),
    F(stream_options, CREATE, "object"),
    F(truncation, BOTH, "'auto'|'disabled'"),
    F(metadata, CREATE, "{text} ..16"),
    F(store, CREATE, "bool"),
    F(previous_response_id, BOTH, "text"),
    F(include, CREATE, "[text]"),
    F(max_tool_calls, CREATE, "int 0.."), /* of hosted tools, of which there are none */
#undef F
    { { "user", CREATE, "text" }, 0, K_TAG },
    { { "safety_identifier", CREATE, "text" }, 0, K_TAG },
    { { "prompt_cache_key", CREATE, "text" }, 0, K_TAG },
    { { "prompt_cache_retention", CREATE, "text" }, 0, K_TAG },
    { { "service_tier", CREATE, "text" }, 0, K_TAG },
    { { "background", CREATE, "none" }, 0, K_REFUSE },
    { { "conversation", BOTH, "none" }, 0, K_REFUSE },
    { { "prompt", CREATE, "none" }, 0, K_REFUSE },
    { { "context_management", CREATE, "none" }, 0, K_REFUSE },
    { { "moderation", CREATE, "none" }, 0, K_REFUSE },
    { { "top_logprobs", CREATE, "none" }, 0, K_ZERO },
};

static bool take_field(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct field *d = row;
    const char *s;
    f->param = d->member.name;
    switch (d->kind) {
    case K_HERE: *(const json_t **)((char *)reader + d->offset) = v; return true;
    case K_TAG: return json_in_str(v, d->member.name, &s, f);
    case K_ZERO:
        if (json_is_integer(v) && !json_integer_value(v)) return true;
        break;
    case K_REFUSE:
        if (json_is_false(v) || (json_is_array(v) && !json_array_size(v))) return true;
        break;
    }
    return err_set(&f->err, ERR_UNSUPPORTED, "%s is not supported by this server; leave it out",
                   d->member.name);
}

const struct json_table responses_fields = JSON_TABLE(fields, take_field);

static bool complete(enum form form, const json_t *body, struct fault *f)
{
    const char *name = json_in_missing(&responses_fields, form, body);
    if (!name) return true;
    f->param = name;
    return err_set(&f->err, ERR_REQUEST, "Missing required parameter: '%s'.", name);
}

/* ---- what stands alone --------------------------------------------------------------------------------------------- */

static bool read_float(const json_t *v, const char *name, double max, float *out, struct fault *f)
{
    double x;
    if (!v) return true;
    if (!json_in_num(v, name, 0, max, &x, f)) return false;
    *out = (float)x;
    return true;
}

static bool read_include(const json_t *v, struct fault *f)
{
    size_t i;
    const json_t *one;
    if (!v) return true;
    if (!json_is_array(v)) return json_in_bad(v, "include", "an array of strings", f);
    json_array_foreach(v, i, one)
    {
        const char *s = json_string_value(one);
        if (!s) return json_in_bad(v, "include", "an array of strings", f);
        f->param = "include";
        if (!strcmp(s, "message.output_text.logprobs"))
            return err_set(&f->err, ERR_UNSUPPORTED,
                           "include: log-probabilities are given by /v1/chat/completions only");
    }
    return true;
}

static bool read_metadata(const json_t *v, struct fault *f)
{
    const char *key;
    json_t *value;
    if (!v) return true;
    if (!json_is_object(v)) return json_in_bad(v, "metadata", "an object of strings", f);
    f->param = "metadata";
    if (json_object_size(v) > 16)
        return err_set(&f->err, ERR_REQUEST, "metadata holds %zu pairs; at most 16 are taken",
                       json_object_size(v));
    json_object_foreach((json_t *)v, key, value)
    {
        if (!json_is_string(value)) return json_in_bad(value, "metadata", "an object of strings", f);
    }
    return true;
}

static bool read_numbers(struct wire_request *w, const struct body *in, struct fault *f)
{
    struct gen_request *q = &w->gen;
    int64_t n = 0;
    bool flag;
    q->max_tokens_is_default = !in->max_output_tokens;
    if (in->max_output_tokens) {
        if (!json_in_int(in->max_output_tokens, "max_output_tokens", 1, INT64_MAX, &n, f)) return false;
        q->max_tokens = n > INT_MAX ? INT_MAX : n;
    }
    if (in->max_tool_calls && !json_in_int(in->max_tool_calls, "max_tool_calls", 0, INT64_MAX, &n, f))
        return false;
    if (in->store && !json_in_bool(in->store, "store", &flag, f)) return false;
    if (in->stream && !json_in_bool(in->stream, "stream", &w->stream, f)) return false;
    if (in->stream_options) {
        if (!json_is_object(in->stream_options))
            return json_in_bad(in->stream_options, "stream_options", "an object", f);
        if (!json_in_members(in->stream_options, "include_obfuscation", "stream_options.", w->strict,
                             "stream_options", f))
            return false;
    }
    return read_float(in->temperature, "temperature", 2, &q->sampling.temperature, f) &&
           read_float(in->top_p, "top_p", 1, &q->sampling.top_p, f) && read_include(in->include, f) &&
           read_metadata(in->metadata, f);
}

static bool read_truncation(struct wire_request *w, const json_t *v, struct fault *f)
{
    const char *s = json_string_value(v);
    if (!v) return true;
    if (!s || !words_have("auto|disabled", s, NULL))
        return json_in_bad(v, "truncation", "\"auto\" or \"disabled\"", f);
    w->gen.overflow = *s == 'a' ? OVERFLOW_TRUNCATE : OVERFLOW_ERROR;
    return true;
}

/* ---- tools --------------------------------------------------------------------------------------------------------- */

/* A tool without its type, which is said here: as functions are written on their own. New, or NULL. */
static json_t *one_tool(const json_t *v, size_t i, struct fault *f)
{
    const char *type = json_string_value(json_object_get(v, "type")), *key;
    json_t *m, *out = json_object();
    bool ok = out != NULL;
    f->param = "tools";
    if (!type || strcmp(type, "function") != 0) {
        json_decref(out);
        err_set(&f->err, type ? ERR_UNSUPPORTED : ERR_REQUEST,
                type ? "tools[%zu].type: \"%.60s\" is a tool that this server does not have; it offers the "
                       "client's own, \"function\""
                     : "tools[%zu].type is required and must be \"function\"%s",
                i, type ? type : "");
        return NULL;
    }
    json_object_foreach((json_t *)v, key, m)
    {
        const bool passed = strcmp(key, "type") != 0 && strcmp(key, "defer_loading") != 0;
        if (ok && passed && !json_is_null(m)) ok = !json_object_set(out, key, m);
    }
    if (ok) return out;
    json_decref(out);
    parse_no_memory(f);
    return NULL;
}

static bool read_tools(struct wire_request *w, const struct body *in, struct fault *f)
{
    size_t i;
    const json_t *t;
    bool several = true;
    if (in->tools && !json_is_array(in->tools))
        return json_in_bad(in->tools, "tools", "an array of tools", f);
    json_t *list = json_array();
    bool ok = list || parse_no_memory(f);
    json_array_foreach(in->tools, i, t)
    {
        json_t *one = ok ? one_tool(t, i, f) : NULL;
        ok = one && (!json_array_append_new(list, one) || parse_no_memory(f));
        if (!ok) break;
    }
    f->param = "tools";
    ok = ok && tool_set_read(&w->gen.tools, list, "tools", true, w->strict, &f->err);
    w->gen.tools.legacy = false;
    json_decref(list);
    f->param = "tool_choice";
    ok = ok && tool_set_choose(&w->gen.tools, in->tool_choice, "tool_choice", &f->err);
    if (ok && in->parallel_tool_calls)
        ok = json_in_bool(in->parallel_tool_calls, "parallel_tool_calls", &several, f);
    w->gen.tools.one = !several;
    return ok;
}

/* ---- thinking and the answer's form -------------------------------------------------------------------------------- */

/* The field of chat completions that says the same, read by who reads it there. */
static bool read_as(struct wire_request *w, const char *field, json_t *value,
                    bool (*read)(struct wire_request *w, const json_t *body, struct fault *f),
                    struct fault *f)
{
    json_t *body = value ? json_pack("{s:o}", field, value) : NULL;
    const bool ok = body ? read(w, body, f) : parse_no_memory(f);
    json_decref(body);
    return ok;
}

static bool read_reasoning(struct wire_request *w, const json_t *v, struct fault *f)
{
    static const char *const summaries[] = { "summary", "generate_summary" };
    w->gen.thought_form = THOUGHT_SPLIT;
    if (!v) return true;
    if (!json_is_object(v)) return json_in_bad(v, "reasoning", "an object", f);
    if (!json_in_members(v, "effort summary generate_summary", "reasoning.", w->strict, "reasoning", f))
        return false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *s = parse_given(v, summaries[i]);
        if (s && (!json_is_string(s) || !words_have("auto|concise|detailed", json_string_value(s), NULL)))
            return json_in_bad(s, "reasoning.summary", "one of auto, concise, detailed", f);
    }
    const json_t *effort = parse_given(v, "effort");
    if (effort && !json_is_string(effort))
        return json_in_bad(effort, "reasoning.effort", "one of none, minimal, low, medium, high, xhigh", f);
    if (effort && !read_as(w, "reasoning_effort", json_incref((json_t *)effort), parse_thinking, f)) {
        responses_rename(&f->err, "reasoning_effort", "reasoning.effort");
        f->param = "reasoning";
        return false;
    }
    w->gen.thinking_from = "reasoning.effort";
    return true;
}

static json_t *as_response_format(const json_t *format)
{
    const char *type = json_string_value(json_object_get(format, "type")), *key;
    if (!type || strcmp(type, "json_schema") != 0) return json_incref((json_t *)format);
    json_t *inner = json_object(), *m;
    bool ok = inner != NULL;
    json_object_foreach((json_t *)format, key, m)
    {
        if (ok && strcmp(key, "type") != 0) ok = !json_object_set(inner, key, m);
    }
    if (ok) return json_pack("{s:s, s:o}", "type", "json_schema", "json_schema", inner);
    json_decref(inner);
    return NULL;
}

static bool read_text(struct wire_request *w, const json_t *v, struct fault *f)
{
    const json_t *format = parse_given(v, "format"), *verbosity = parse_given(v, "verbosity");
    const char *level = json_string_value(verbosity);
    if (!v) return true;
    if (!json_is_object(v)) return json_in_bad(v, "text", "an object", f);
    if (!json_in_members(v, "format verbosity", "text.", w->strict, "text", f)) return false;
    f->param = "text";
    if (verbosity && (!level || strcmp(level, "medium") != 0))
        return err_set(&f->err, ERR_UNSUPPORTED,
                       "text.verbosity is not supported by this server; leave it out");
    if (!format) return true;
    if (!json_is_object(format)) return json_in_bad(format, "text.format", "an object with a type", f);
    if (!read_as(w, "response_format", as_response_format(format), parse_answer, f)) {
        responses_rename(&f->err, "response_format.json_schema.", "text.format.");
        responses_rename(&f->err, "response_format", "text.format");
        responses_rename(&f->err, "'messages'", "'input'");
        f->param = "text";
        return false;
    }
    if (w->gen.answer.kind != FORM_ANY) w->gen.answer.from = "text.format";
    return true;
}

/* ---- together ------------------------------------------------------------------------------------------------------ */

static bool echo_one(json_t *echo, const char *name, const json_t *given, json_t *otherwise)
{
    const bool ok = !json_object_set(echo, name, given ? (json_t *)given : otherwise);
    json_decref(otherwise);
    return ok;
}

/* The reply repeats the request, and what it was taken for where it said nothing. */
static bool make_echo(struct wire_request *w, const json_t *body, const struct body *in, struct fault *f)
{
    static const char *const tags[] = { "user", "safety_identifier", "prompt_cache_key",
                                        "prompt_cache_retention" };
    json_t *e = w->echo = json_object(), *text = in->text ? json_copy((json_t *)in->text) : json_object();
    bool ok = e && text &&
              (parse_given(text, "format") ||
               !json_object_set_new(text, "format", json_pack("{s:s}", "type", "text")));
    ok = ok && echo_one(e, "instructions", in->instructions, json_null()) &&
         echo_one(e, "max_output_tokens", in->max_output_tokens, json_null()) &&
         echo_one(e, "max_tool_calls", in->max_tool_calls, json_null()) &&
         echo_one(e, "metadata", in->metadata, json_object()) &&
         echo_one(e, "parallel_tool_calls", in->parallel_tool_calls, json_true()) &&
         echo_one(e, "previous_response_id", in->previous_response_id, json_null()) &&
         echo_one(e, "reasoning", in->reasoning, json_pack("{s:n, s:n}", "effort", "summary")) &&
         echo_one(e, "store", in->store, json_true()) &&
         echo_one(e, "temperature", in->temperature, json_real(1)) &&
         echo_one(e, "text", text, json_null()) &&
         echo_one(e, "tool_choice", in->tool_choice, json_string("auto")) &&
         echo_one(e, "tools", in->tools, json_array()) && echo_one(e, "top_p", in->top_p, json_real(1)) &&
         echo_one(e, "truncation", in->truncation, json_string("disabled")) &&
         echo_one(e, "service_tier", NULL, json_string("default"));
    for (size_t i = 0; ok && i < sizeof tags / sizeof *tags; i++) {
        const json_t *v = parse_given(body, tags[i]);
        ok = !v || !json_object_set(e, tags[i], (json_t *)v);
    }
    json_decref(text);
    return ok || parse_no_memory(f);
}

static bool read(struct wire_request *w, json_t *body, const json_t *before, enum form form, bool strict,
                 const struct wire_style *style, struct fault *f)
{
    const struct json_place place = { .path = "", .form = form, .strict = strict };
    struct body in = { 0 };
    const char *s;
    *w = (struct wire_request){
        .style = style, .chat = true, .strict = strict, .max_completion_tokens = -1, .top_logprobs = -1
    };
    gen_request_init(&w->gen);
    w->gen.overflow = style->overflow;
    w->gen.loose_vars = !strict;
    bool ok = json_in_extra_body(body, f) && json_in_object(&responses_fields, &place, &in, body, f) &&
              complete(form, body, f) && json_in_str(in.model, "model", &s, f);
    if (ok && !(w->gen.model = strdup(s))) ok = parse_no_memory(f);
    if (ok && in.instructions) ok = json_in_str(in.instructions, "instructions", &s, f);
    if (ok && in.previous_response_id)
        ok = json_in_str(in.previous_response_id, "previous_response_id", &s, f);
    ok = ok && responses_conversation(in.instructions, before, in.input, strict, &w->gen, f) &&
         (form == COUNT || read_numbers(w, &in, f)) && read_truncation(w, in.truncation, f) &&
         read_tools(w, &in, f) && read_reasoning(w, in.reasoning, f) && read_text(w, in.text, f) &&
         make_echo(w, body, &in, f);
    if (!ok)
        wire_free(w);
    else
        f->param = NULL;
    return ok;
}

bool responses_read(struct wire_request *w, json_t *body, const json_t *before, bool strict,
                    const struct wire_style *style, struct fault *f)
{
    return read(w, body, before, CREATE, strict, style, f);
}

static bool goes_on(const json_t *body, struct fault *f)
{
    if (!parse_given(body, "previous_response_id")) return false;
    f->param = "previous_response_id";
    err_set(&f->err, ERR_UNSUPPORTED,
            "previous_response_id is followed by POST /v1/responses only; send the items");
    return true;
}

bool responses_parse(struct wire_request *w, json_t *body, bool chat, bool strict,
                     const struct wire_style *style, struct fault *f)
{
    (void)chat;
    return !goes_on(body, f) && read(w, body, NULL, CREATE, strict, style, f);
}

bool responses_parse_count(struct wire_request *w, json_t *body, bool chat, bool strict,
                           const struct wire_style *style, struct fault *f)
{
    (void)chat;
    return !goes_on(body, f) && read(w, body, NULL, COUNT, strict, style, f);
}
