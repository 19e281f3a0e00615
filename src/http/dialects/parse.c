/* parse.c - from a JSON object to a wire_request: one table of fields, then what several fields say together.
 *
 * null always means "not given". A field that an API documents and this server does not offer is refused by its name, unless its value
 * is the one that asks for nothing. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/fields.h"
#include "http/dialects/parse.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "http/shape.h"

enum where { CHAT = FIELDS_CHAT, TEXT = FIELDS_TEXT, BOTH = CHAT | TEXT };
enum kind {
    K_FLOAT,  /* float */
    K_INT,    /* int */
    K_LONG,   /* int64_t */
    K_BOOL,   /* bool */
    K_CUSTOM, /* parse() */
    K_GROUP,  /* read together with others (parse.h), behind all that stand alone */
    K_TAG,    /* a string that changes nothing */
    K_FLAG,   /* a boolean that changes nothing */
    K_COUNT,  /* a number that changes nothing */
    K_REFUSE  /* not offered: only empty values and those in `harmless` pass */
};

struct field {
    struct json_member member; /* forms: enum where */
    enum kind kind;
    size_t offset;
    bool (*parse)(struct wire_request *w, const json_t *v, const char *name, struct fault *f);
    const char *harmless; /* K_REFUSE: "a|b" */
};

const json_t *parse_given(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

bool parse_no_memory(struct fault *f) { return err_set(&f->err, ERR_NOMEM, "out of memory"); }

/* ---- fields with a form of their own ------------------------------------------------------------------------------ */

static char *copy_string(const json_t *v, struct fault *f)
{
    char *s = strndup(json_string_value(v), json_string_length(v));
    if (!s) err_set(&f->err, ERR_NOMEM, "out of memory");
    return s;
}

static bool parse_model(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    const char *s;
    if (!json_in_str(v, name, &s, f)) return false;
    free(w->gen.model);
    return (w->gen.model = copy_string(v, f)) != NULL;
}

static bool parse_messages(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    (void)name;
    return wire_messages(v, w->strict, w->style->dialect == DIALECT_OPENAI, &w->gen, f);
}

static bool token_array(const json_t *v, struct prompt *p, struct fault *f)
{
    size_t n = json_array_size(v);
    p->ids = malloc((n ? n : 1) * sizeof *p->ids);
    if (!p->ids) return err_set(&f->err, ERR_NOMEM, "out of memory");
    p->n_ids = n;
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        if (!json_in_int(json_array_get(v, i), "prompt", 0, INT32_MAX, &id, f)) return false;
        p->ids[i] = (int32_t)id;
    }
    return true;
}

static bool one_prompt(const json_t *v, struct prompt *p, struct fault *f)
{
    if (json_is_array(v)) return token_array(v, p, f);
    if (!json_is_string(v))
        return json_in_bad(v, "prompt",
                           "a string, an array of strings, an array of token ids, or an array of those", f);
    p->len = json_string_length(v);
    return (p->text = copy_string(v, f)) != NULL;
}

static bool parse_prompt(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    f->param = name;
    bool several = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    size_t n = several ? json_array_size(v) : 1;
    if (several && !n) return err_set(&f->err, ERR_REQUEST, "prompt must not be an empty array");
    if (n > REQUEST_MAX_PROMPTS)
        return err_set(&f->err, ERR_REQUEST, "prompt holds %zu prompts; at most %d are taken", n,
                       REQUEST_MAX_PROMPTS);
    w->gen.prompts = calloc(n, sizeof *w->gen.prompts);
    if (!w->gen.prompts) return err_set(&f->err, ERR_NOMEM, "out of memory");
    for (; (size_t)w->gen.n_prompts < n; w->gen.n_prompts++) {
        size_t i = (size_t)w->gen.n_prompts;
        if (one_prompt(several ? json_array_get(v, i) : v, &w->gen.prompts[i], f)) continue;
        w->gen.n_prompts++; /* so that what it holds is freed */
        return false;
    }
    return true;
}

static bool parse_stop(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    f->param = name;
    if (n > REQUEST_MAX_STOP)
        return err_set(&f->err, ERR_REQUEST, "stop holds %zu strings; at most %d are taken", n,
                       REQUEST_MAX_STOP);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s)) return json_in_bad(s, name, "a string or an array of strings", f);
        if (!json_string_length(s))
            return err_set(&f->err, ERR_REQUEST, "stop must not hold an empty string");
        if (!(w->gen.stop[w->gen.n_stop] = copy_string(s, f))) return false;
        w->gen.n_stop++;
    }
    return true;
}

static bool parse_seed(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    int64_t seed;
    if (!json_in_int(v, name, INT64_MIN, INT64_MAX, &seed, f)) return false;
    w->gen.sampling.seed = (uint64_t)seed;
    w->gen.has_seed = true;
    return true;
}

static bool parse_logit_bias(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) return json_in_bad(v, name, "an object of token ids and numbers", f);
    w->gen.bias = calloc(json_object_size(v) + 1, sizeof *w->gen.bias);
    if (!w->gen.bias) return err_set(&f->err, ERR_NOMEM, "out of memory");
    json_object_foreach((json_t *)v, key, value)
    {
        char *end;
        long id = strtol(key, &end, 10);
        double bias;
        f->param = name;
        if (end == key || *end || id < 0 || id > INT32_MAX)
            return err_set(&f->err, ERR_REQUEST, "logit_bias: \"%.40s\" is not a token id", key);
        if (!json_in_num(value, name, -100, 100, &bias, f)) return false;
        w->gen.bias[w->gen.sampling.n_bias++] = (struct logit_bias){ (int32_t)id, (float)bias };
    }
    return true;
}

static bool take_stream_option(void *reader, const void *row, const json_t *v, struct fault *f)
{
    struct wire_request *w = reader;
    const struct json_member *m = row;
    const bool usage = !strcmp(m->name, "include_usage");
    bool on;
    if (!json_in_bool(v, usage ? "stream_options.include_usage" : "stream_options.include_obfuscation", &on,
                      f))
        return false;
    if (usage) w->stream_usage = on ? USAGE_ON : USAGE_OFF;
    return true;
}

static bool parse_stream_options(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    static const struct json_member rows[] = { { "include_usage", 1, "bool" },
                                               { "include_obfuscation", 1, "bool" } };
    static const struct json_table table = JSON_TABLE(rows, take_stream_option);
    const struct json_place place = {
        .path = "stream_options.", .param = name, .form = 1, .strict = w->strict
    };
    if (!json_is_object(v)) return json_in_bad(v, name, "an object", f);
    return json_in_object(&table, &place, w, v, f);
}

/* Chat: a boolean, or Fireworks' older number. Completions: a number, or Fireworks' newer boolean. */
static bool parse_logprobs(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    int64_t top = 0;
    if (json_is_boolean(v)) {
        w->logprobs_wanted = json_is_true(v);
        w->logprobs = !json_is_true(v) ? LOGPROBS_NONE : w->chat ? LOGPROBS_CONTENT : LOGPROBS_LEGACY;
        return true;
    }
    if (!json_is_number(v))
        return json_in_bad(v, name, w->chat ? "true, false, or a number from 0 to 5" : "a number from 0 to 5",
                           f);
    if (!json_in_int(v, name, 0, 5, &top, f)) return false;
    w->logprobs = LOGPROBS_LEGACY;
    w->gen.sampling.n_top_logprobs = (int)top;
    return true;
}

static bool parse_overflow(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    const char *s;
    if (!json_in_str(v, name, &s, f)) return false;
    if (strcmp(s, "truncate") && strcmp(s, "error"))
        return json_in_bad(v, name, "\"truncate\" or \"error\"", f);
    w->gen.overflow = *s == 't' ? OVERFLOW_TRUNCATE : OVERFLOW_ERROR;
    return true;
}

static bool parse_cache_key(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    const char *s;
    if (!json_in_str(v, name, &s, f)) return false;
    gen_request_isolate(&w->gen, s, json_string_length(v));
    return true;
}

static bool parse_safe_tokenization(struct wire_request *w, const json_t *v, const char *name,
                                    struct fault *f)
{
    bool safe;
    if (!json_in_bool(v, name, &safe, f)) return false;
    w->gen.unsafe_tokens = !safe;
    return true;
}

/* Text of a string, or of an array of parts, into *out, which is empty. */
static bool foreseen_text(struct prompt *out, const json_t *v, const char *name, struct fault *f)
{
    struct buf b = BUF_INIT(0);
    const json_t *part;
    size_t i;
    bool ok = true;
    if (json_is_string(v)) buf_append(&b, json_string_value(v), json_string_length(v));
    json_array_foreach(v, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        ok = ok && (json_is_string(text) || json_in_bad(part, name, "text, or an array of text parts", f));
        if (ok) buf_append(&b, json_string_value(text), json_string_length(text));
    }
    ok = ok && (json_is_string(v) || json_is_array(v) ||
                json_in_bad(v, name, "text, or an array of text parts", f));
    if (ok && b.failed) ok = err_set(&f->err, ERR_NOMEM, "out of memory");
    if (ok) {
        out->len = b.len;
        out->text = b.data;
        b = (struct buf)BUF_INIT(0);
    }
    buf_free(&b);
    return ok;
}

static bool foreseen_ids(struct prompt *out, const json_t *v, const char *name, struct fault *f)
{
    const json_t *id;
    size_t i;
    out->ids = malloc(json_array_size(v) * sizeof *out->ids);
    if (!out->ids) return err_set(&f->err, ERR_NOMEM, "out of memory");
    json_array_foreach(v, i, id)
    {
        int64_t n;
        if (!json_in_int(id, name, 0, INT32_MAX, &n, f)) return false;
        out->ids[i] = (int32_t)n;
    }
    out->n_ids = json_array_size(v);
    return true;
}

/* The answer as the client foresees it: it saves time where it comes true, and never changes the result. */
static bool parse_prediction(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    struct prompt *out = &w->gen.predicted;
    const json_t *content = v;
    f->param = name;
    if (json_is_object(v)) {
        if (!json_in_members(v, "type content", "prediction.", w->strict, name, f)) return false;
        content = json_object_get(v, "content");
        if (!content || json_is_null(content)) return true;
    } else if (!json_is_string(v) && !json_is_array(v)) {
        return json_in_bad(v, name, "a string or an object", f);
    }
    if (out->text || out->ids) return true; /* the same was said by its other name */
    return json_is_integer(json_array_get(content, 0)) ? foreseen_ids(out, content, name, f)
                                                       : foreseen_text(out, content, name, f);
}

/* A limit of tokens, or -1: to the end of the context. */
static bool parse_max_tokens(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    int64_t n;
    if (!json_in_int(v, name, -1, INT64_MAX, &n, f)) return false;
    if (n < 0)
        w->max_tokens_open = true;
    else if (strcmp(name, "max_tokens") != 0)
        w->max_completion_tokens = n > INT_MAX ? INT_MAX : n;
    else
        w->gen.max_tokens = n > INT_MAX ? INT_MAX : n;
    return true;
}

static bool parse_stop_ids(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    int64_t id;
    f->param = name;
    if (!json_is_array(v)) return json_in_bad(v, name, "an array of token ids", f);
    if (json_array_size(v) > REQUEST_MAX_STOP_IDS)
        return err_set(&f->err, ERR_REQUEST, "stop_token_ids holds %zu tokens; at most %d are taken",
                       json_array_size(v), REQUEST_MAX_STOP_IDS);
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (!json_in_int(json_array_get(v, i), name, 0, INT32_MAX, &id, f)) return false;
        w->gen.stop_ids[w->gen.n_stop_ids++] = (int32_t)id;
    }
    return true;
}

/* Names that a template must find as the server or the language means them. */
static bool is_reserved(const char *name)
{
    static const char names[] =
        "messages|tools|documents|add_generation_prompt|continue_final_message|bos_token|eos_token|"
        "chat_template|tokenize|conversation|range|dict|namespace|cycler|joiner|lipsum|raise_exception|"
        "strftime_now|loop|self|caller|varargs|kwargs";
    return words_have(names, name, NULL);
}

static bool parse_template_vars(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) return json_in_bad(v, name, "an object", f);
    f->param = name;
    if (json_object_size(v) > REQUEST_MAX_VARS)
        return err_set(&f->err, ERR_REQUEST, "chat_template_kwargs holds %zu variables; at most %d are taken",
                       json_object_size(v), REQUEST_MAX_VARS);
    w->gen.template_vars = json_object();
    json_object_foreach((json_t *)v, key, value)
    {
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
        const size_t n = strlen(key);
        if (!n || n > 64 || strspn(key, letters) < n || (key[0] >= '0' && key[0] <= '9'))
            return err_set(&f->err, ERR_REQUEST, "chat_template_kwargs: \"%.40s\" is no name of a variable",
                           key);
        if (is_reserved(key))
            return err_set(&f->err, ERR_REQUEST,
                           "chat_template_kwargs: '%s' is set by the server and cannot be given", key);
        if (!json_is_null(value) && json_object_set(w->gen.template_vars, key, value))
            return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    return w->gen.template_vars || err_set(&f->err, ERR_NOMEM, "out of memory");
}

static bool parse_metadata(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    (void)w;
    const char *key;
    json_t *value;
    if (!json_is_object(v)) return json_in_bad(v, name, "an object of strings", f);
    f->param = name;
    if (json_object_size(v) > 16)
        return err_set(&f->err, ERR_REQUEST, "metadata holds %zu pairs; at most 16 are taken",
                       json_object_size(v));
    json_object_foreach((json_t *)v, key, value) if (!json_is_string(value)) return json_in_bad(
        value, name, "an object of strings", f);
    return true;
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

#define G(field) offsetof(struct wire_request, gen.field)
#define S(field) offsetof(struct wire_request, gen.sampling.field)
#define W(field) offsetof(struct wire_request, field)

/* clang-format off */
static const struct field fields[] = {
    /* { name, where, shape }, kind, offset, parse, harmless */
    { { "model", BOTH, "!text" }, K_CUSTOM, 0, parse_model, NULL },
    { { "messages", CHAT, "![object]" }, K_CUSTOM, 0, parse_messages, NULL },
    { { "prompt", TEXT, "!text|[text] ..2048|[int]|[[int]] ..2048" }, K_CUSTOM, 0, parse_prompt, NULL },
    { { "max_tokens", BOTH, "int -1.." }, K_CUSTOM, 0, parse_max_tokens, NULL },
    { { "max_completion_tokens", CHAT, "int -1.." }, K_CUSTOM, 0, parse_max_tokens, NULL },
    { { "temperature", BOTH, "num 0..2" }, K_FLOAT, S(temperature), NULL, NULL },
    { { "top_p", BOTH, "num 0..1" }, K_FLOAT, S(top_p), NULL, NULL },
    { { "top_k", BOTH, "int -1.." }, K_INT, S(top_k), NULL, NULL },
    { { "min_p", BOTH, "num 0..1" }, K_FLOAT, S(min_p), NULL, NULL },
    { { "typical_p", BOTH, "num 0..1" }, K_FLOAT, S(typical_p), NULL, NULL },
    { { "frequency_penalty", BOTH, "num -2..2" }, K_FLOAT, S(frequency_penalty), NULL, NULL },
    { { "presence_penalty", BOTH, "num -2..2" }, K_FLOAT, S(presence_penalty), NULL, NULL },
    { { "repetition_penalty", BOTH, "num 0.01..2" }, K_FLOAT, S(repetition_penalty), NULL, NULL },
    { { "mirostat_target", BOTH, "num 0..1000" }, K_FLOAT, S(mirostat_target), NULL, NULL },
    { { "mirostat_lr", BOTH, "num 0..1" }, K_FLOAT, S(mirostat_lr), NULL, NULL },
    { { "n", BOTH, "int 1..128" }, K_INT, G(n), NULL, NULL },
    { { "best_of", BOTH, "int 1..20" }, K_INT, G(best_of), NULL, NULL },
    { { "stop", BOTH, "text|[text] ..16" }, K_CUSTOM, 0, parse_stop, NULL },
    { { "stop_token_ids", BOTH, "[int] ..64" }, K_CUSTOM, 0, parse_stop_ids, NULL },
    { { "seed", BOTH, "int" }, K_CUSTOM, 0, parse_seed, NULL },
    { { "stream", BOTH, "bool" }, K_BOOL, W(stream), NULL, NULL },
    { { "stream_options", BOTH, "object" }, K_CUSTOM, 0, parse_stream_options, NULL },
    { { "logprobs", BOTH, "bool|int 0..5" }, K_CUSTOM, 0, parse_logprobs, NULL },
    { { "top_logprobs", BOTH, "int 0..20" }, K_LONG, W(top_logprobs), NULL, NULL },
    { { "logit_bias", BOTH, "{num -100..100}" }, K_CUSTOM, 0, parse_logit_bias, NULL },
    { { "context_length_exceeded_behavior", BOTH, "'truncate'|'error'" }, K_CUSTOM, 0, parse_overflow, NULL },
    { { "prompt_truncate_len", BOTH, "int 0.." }, K_LONG, G(prompt_truncate_len), NULL, NULL },
    { { "prompt_truncate_length", BOTH, "int 0.." }, K_LONG, G(prompt_truncate_len), NULL, NULL }, /* one proxy's spelling */
    { { "ignore_eos", BOTH, "bool" }, K_BOOL, G(ignore_end), NULL, NULL },
    { { "echo", BOTH, "bool" }, K_BOOL, G(echo), NULL, NULL },
    { { "echo_last", BOTH, "int 0..2147483647" }, K_LONG, W(echo_last), NULL, NULL },
    { { "raw_output", BOTH, "bool" }, K_BOOL, W(raw_output), NULL, NULL },
    { { "return_token_ids", BOTH, "bool" }, K_BOOL, G(return_token_ids), NULL, NULL },
    { { "safe_tokenization", BOTH, "bool" }, K_CUSTOM, 0, parse_safe_tokenization, NULL },
    { { "perf_metrics_in_response", BOTH, "bool" }, K_BOOL, W(perf_in_body), NULL, NULL },
    { { "prompt_cache_isolation_key", BOTH, "text" }, K_CUSTOM, 0, parse_cache_key, NULL },
    { { "prediction", BOTH, "object|text|[any]" }, K_CUSTOM, 0, parse_prediction, NULL },
    { { "speculation", BOTH, "object|text|[any]" }, K_CUSTOM, 0, parse_prediction, NULL },
    { { "metadata", BOTH, "{text} ..16" }, K_CUSTOM, 0, parse_metadata, NULL },
    { { "response_format", BOTH, "object" }, K_GROUP, 0, NULL, NULL },
    { { "guided_json", BOTH, "object|text" }, K_GROUP, 0, NULL, NULL },
    { { "guided_regex", BOTH, "text" }, K_GROUP, 0, NULL, NULL },
    { { "guided_choice", BOTH, "[text 1..] 1.." }, K_GROUP, 0, NULL, NULL },
    { { "guided_grammar", BOTH, "text" }, K_GROUP, 0, NULL, NULL },
    { { "structured_outputs", BOTH, "object" }, K_GROUP, 0, NULL, NULL },
    { { "json_schema", BOTH, "object|text" }, K_GROUP, 0, NULL, NULL },
    { { "grammar", BOTH, "text" }, K_GROUP, 0, NULL, NULL },
    { { "reasoning_effort", BOTH, "text|bool|num" }, K_GROUP, 0, NULL, NULL },
    { { "reasoning", BOTH, "object" }, K_GROUP, 0, NULL, NULL },
    { { "thinking", CHAT, "object|bool" }, K_GROUP, 0, NULL, NULL },
    { { "enable_thinking", CHAT, "bool" }, K_GROUP, 0, NULL, NULL },
    { { "include_reasoning", CHAT, "bool" }, K_GROUP, 0, NULL, NULL },
    { { "reasoning_history", CHAT, "'disabled'|'interleaved'|'preserved'" }, K_GROUP, 0, NULL, NULL },
    { { "tools", CHAT, "[object]" }, K_GROUP, 0, NULL, NULL },
    { { "tool_choice", CHAT, "text|object" }, K_GROUP, 0, NULL, NULL },
    { { "parallel_tool_calls", CHAT, "bool" }, K_GROUP, 0, NULL, NULL },
    { { "functions", CHAT, "[object]" }, K_GROUP, 0, NULL, NULL },
    { { "function_call", CHAT, "text|object" }, K_GROUP, 0, NULL, NULL },
    { { "chat_template_kwargs", CHAT, "object" }, K_CUSTOM, 0, parse_template_vars, NULL },
    /* hints and labels that change nothing here */
    { { "user", BOTH, "text" }, K_TAG, 0, NULL, NULL },
    { { "safety_identifier", BOTH, "text" }, K_TAG, 0, NULL, NULL },
    { { "prompt_cache_key", BOTH, "text" }, K_TAG, 0, NULL, NULL },
    { { "prompt_cache_retention", BOTH, "text" }, K_TAG, 0, NULL, NULL },
    { { "service_tier", BOTH, "'auto'|'default'|'flex'|'priority'|'scale'" }, K_TAG, 0, NULL, NULL },
    { { "request_id", BOTH, "text" }, K_TAG, 0, NULL, NULL },
    { { "cache_prompt", BOTH, "bool" }, K_FLAG, 0, NULL, NULL },
    { { "store", CHAT, "bool" }, K_FLAG, 0, NULL, NULL },
    { { "prompt_cache_max_len", BOTH, "int 0.." }, K_COUNT, 0, NULL, NULL },
    /* documented by the APIs, not offered here */
    { { "modalities", CHAT, "none" }, K_REFUSE, 0, NULL, "text" },
    { { "audio", CHAT, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "web_search_options", CHAT, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "verbosity", CHAT, "none" }, K_REFUSE, 0, NULL, "medium" },
    { { "moderation", BOTH, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "suffix", TEXT, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "images", TEXT, "none" }, K_REFUSE, 0, NULL, NULL },
    /* other servers' own, which their clients send with the values that they come with */
    { { "use_beam_search", BOTH, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "length_penalty", BOTH, "none" }, K_REFUSE, 0, NULL, "1" },
    { { "early_stopping", BOTH, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "min_tokens", BOTH, "none" }, K_REFUSE, 0, NULL, "0" },
    { { "skip_special_tokens", BOTH, "none" }, K_REFUSE, 0, NULL, "true" },
    { { "spaces_between_special_tokens", BOTH, "none" }, K_REFUSE, 0, NULL, "true" },
    { { "include_stop_str_in_output", BOTH, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "add_generation_prompt", CHAT, "none" }, K_REFUSE, 0, NULL, "true" },
    { { "continue_final_message", CHAT, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "chat_template", CHAT, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "documents", CHAT, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "truncate_prompt_tokens", BOTH, "none" }, K_REFUSE, 0, NULL, "-1" },
    { { "prompt_logprobs", BOTH, "none" }, K_REFUSE, 0, NULL, NULL },
    { { "priority", BOTH, "none" }, K_REFUSE, 0, NULL, "0" },
};
/* clang-format on */

/* An empty object asks for something: web_search_options {} is a search with the settings that it comes with. */
static bool asks_for_nothing(const json_t *v, const char *harmless)
{
    char number[32];
    if (json_is_boolean(v)) return json_is_true(v) == words_have(harmless, "true", NULL);
    if (json_is_number(v)) {
        snprintf(number, sizeof number, "%g", json_number_value(v));
        return words_have(harmless, number, NULL);
    }
    if (json_is_string(v)) return !json_string_length(v) || words_have(harmless, json_string_value(v), NULL);
    if (!json_is_array(v)) return false;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)) ||
            !words_have(harmless, json_string_value(json_array_get(v, i)), NULL))
            return false;
    return true;
}

static bool take_field(void *reader, const void *row, const json_t *v, struct fault *f)
{
    struct wire_request *w = reader;
    const struct field *d = row;
    const char *name = d->member.name;
    char *at = (char *)w + d->offset;
    double x, min, max;
    int64_t i;
    bool b;
    const char *s;
    shape_range(d->member.shape, &min, &max);
    switch (d->kind) {
    case K_FLOAT:
        if (!json_in_num(v, name, min, max, &x, f)) return false;
        *(float *)at = (float)x;
        return true;
    case K_INT:
        /* Without an upper end, larger values mean the same as the largest. */
        if (!json_in_int(v, name, (int64_t)min, isinf(max) ? INT64_MAX : (int64_t)max, &i, f)) return false;
        *(int *)at = i > INT_MAX ? INT_MAX : (int)i;
        return true;
    case K_LONG:
        if (!json_in_int(v, name, (int64_t)min, isinf(max) ? INT64_MAX : (int64_t)max, &i, f)) return false;
        *(int64_t *)at = i > INT_MAX ? INT_MAX : i;
        return true;
    case K_BOOL: return json_in_bool(v, name, (bool *)at, f);
    case K_CUSTOM: return d->parse(w, v, name, f);
    case K_GROUP: return true;
    case K_TAG: return json_in_str(v, name, &s, f);
    case K_FLAG: return json_in_bool(v, name, &b, f);
    case K_COUNT: return json_in_int(v, name, (int64_t)min, INT64_MAX, &i, f);
    case K_REFUSE:
        if (asks_for_nothing(v, d->harmless)) return true;
        f->param = name;
        return err_set(&f->err, ERR_UNSUPPORTED, "%s %s not supported by this server yet", name,
                       name[strlen(name) - 1] == 's' ? "are" : "is");
    }
    return false;
}

const struct json_table chat_fields = JSON_TABLE(fields, take_field);

/* ---- what fields say together -------------------------------------------------------------------------------------- */

static bool settle(struct wire_request *w, struct fault *f)
{
    struct gen_request *q = &w->gen;
    bool fireworks = w->style->dialect == DIALECT_FIREWORKS;
    if (q->sampling.top_k < 0) q->sampling.top_k = 0; /* -1 turns it off, too */
    q->loose_vars = !w->strict;
    if (w->max_completion_tokens >= 0) {
        f->param = "max_completion_tokens";
        if (w->max_tokens_open || (q->max_tokens >= 0 && q->max_tokens != w->max_completion_tokens))
            return err_set(&f->err, ERR_REQUEST,
                           "max_tokens and max_completion_tokens are two names of one limit and disagree; "
                           "give one of them");
        q->max_tokens = w->max_completion_tokens;
    }
    f->param = "max_tokens";
    if (w->max_tokens_open && q->max_tokens >= 0)
        return err_set(&f->err, ERR_REQUEST,
                       "max_tokens and max_completion_tokens disagree; give one of them");
    if (w->echo_last > 0) q->echo = true;
    q->echo_last = (int)w->echo_last;
    f->param = "max_tokens";
    if (!q->max_tokens && !q->echo) {
        if (w->chat || !fireworks)
            return err_set(&f->err, ERR_REQUEST,
                           "max_tokens must be at least 1, got 0 (0 is possible together with echo)");
    }
    if (q->max_tokens < 0 && !w->max_tokens_open) {
        q->max_tokens = w->chat ? w->style->chat_max_tokens : 16;
        q->max_tokens_is_default = true;
    }
    f->param = "top_logprobs";
    if (w->top_logprobs > 0 && w->logprobs == LOGPROBS_NONE)
        return err_set(&f->err, ERR_REQUEST, "top_logprobs needs logprobs to be true");
    if (w->logprobs != LOGPROBS_NONE && q->sampling.n_top_logprobs < 0) q->sampling.n_top_logprobs = 0;
    if (w->top_logprobs >= 0 && w->logprobs != LOGPROBS_NONE)
        q->sampling.n_top_logprobs = (int)w->top_logprobs;
    if (w->raw_output) q->return_token_ids = true;
    f->param = "stream_options";
    if (!w->stream && w->stream_usage != USAGE_DEFAULT && !fireworks)
        return err_set(&f->err, ERR_REQUEST, "stream_options is only allowed when stream is true");
    f->param = "best_of";
    if (q->best_of < q->n) {
        if (w->best_of_given)
            return err_set(&f->err, ERR_REQUEST, "best_of must be at least n, got best_of %d with n %d",
                           q->best_of, q->n);
        q->best_of = q->n;
    }
    if (q->best_of > q->n && w->stream)
        return err_set(&f->err, ERR_REQUEST, "best_of above n cannot be streamed");
    f->param = "prompt";
    if (!w->chat && (int64_t)q->n_prompts * q->best_of > REQUEST_MAX_PROMPTS)
        return err_set(&f->err, ERR_REQUEST, "%d prompts with %d choices each are more than %d", q->n_prompts,
                       q->best_of, REQUEST_MAX_PROMPTS);
    f->param = NULL;
    return true;
}

void wire_free(struct wire_request *w)
{
    gen_request_free(&w->gen);
    json_decref(w->echo);
    w->echo = NULL;
}

bool wire_parse(struct wire_request *w, json_t *body, bool chat, bool strict, const struct wire_style *style,
                struct fault *f)
{
    const struct json_place place = { .path = "", .form = chat ? CHAT : TEXT, .strict = strict };
    *w = (struct wire_request){
        .style = style, .chat = chat, .strict = strict, .max_completion_tokens = -1, .top_logprobs = -1
    };
    gen_request_init(&w->gen);
    w->gen.overflow = style->overflow;
    if (!json_in_extra_body(body, f)) return false;
    w->best_of_given = json_is_integer(json_object_get(body, "best_of"));
    bool ok = json_in_object(&chat_fields, &place, w, body, f);
    if (ok && (f->param = json_in_missing(&chat_fields, place.form, body)))
        ok = err_set(&f->err, ERR_REQUEST, "%s is required", f->param);
    ok = ok && parse_answer(w, body, f) && parse_thinking(w, body, f) && parse_tools(w, body, f) &&
         settle(w, f);
    if (!ok) wire_free(w);
    return ok;
}
