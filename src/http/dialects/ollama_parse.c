/* ollama_parse.c - what clients of Ollama send, brought to the form of a chat completion. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/fields.h"
#include "http/dialects/ollama.h"
#include "http/dialects/parse.h"
#include "http/json_in.h"

/* Its own defaults, which its clients count on; what the context leaves is what an answer may take. */
enum { TOP_K = 40 };
static const double temperature = 0.8, top_p = 0.9;

static void no_id(struct buf *b, bool chat, const unsigned char random[16])
{
    (void)b, (void)chat, (void)random;
}
static void no_delta(struct buf *b, bool calls) { (void)b, (void)calls; }
static void no_details(struct buf *b, const struct usage *u) { (void)b, (void)u; }

static const struct wire_style ollama_style = {
    .dialect = DIALECT_OLLAMA,
    .chat_max_tokens = -1,
    .overflow = OVERFLOW_TRUNCATE,
    .id = no_id,
    .first_delta = no_delta,
    .usage_details = no_details,
};

static bool bad(struct fault *f, const char *param, const char *what)
{
    f->param = param;
    return err_set(&f->err, ERR_REQUEST, "%s", what);
}

static bool refused(struct fault *f, const char *param, const char *instead)
{
    f->param = param;
    return err_set(&f->err, ERR_UNSUPPORTED, "%s is not supported by this server; %s", param, instead);
}

/* Takes over v. */
static bool put(json_t *o, const char *key, json_t *v, struct fault *f)
{
    return !json_object_set_new(o, key, v) || parse_no_memory(f);
}

static bool put_same(json_t *o, const char *key, const json_t *v, struct fault *f)
{
    return put(o, key, json_incref((json_t *)v), f);
}

static const char *text_of(const json_t *v) { return json_is_string(v) ? json_string_value(v) : ""; }

/* ---- keep_alive ---------------------------------------------------------------------------------------------------- */

/* "1h30m", "-1m", "300ms". */
static bool read_duration(const char *s, double *out)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = { { "ns", 1e-9 }, { "us", 1e-6 }, { "ms", 1e-3 }, { "s", 1 }, { "m", 60 }, { "h", 3600 } };
    const double sign = *s == '-' ? -1 : 1;
    double sum = 0;
    if (*s == '-' || *s == '+') s++;
    if (!*s) return false;
    while (*s) {
        char *end;
        if ((*s < '0' || *s > '9') && *s != '.') return false; /* strtod() knows more than that */
        const double n = strtod(s, &end);
        if (end == s) return false;
        if (!*end) { /* a number alone counts seconds */
            sum += n;
            break;
        }
        const size_t len = strspn(end, "nsumh");
        size_t i = 0;
        while (i < sizeof units / sizeof *units &&
               (strlen(units[i].name) != len || strncmp(end, units[i].name, len) != 0))
            i++;
        if (i == sizeof units / sizeof *units) return false;
        sum += n * units[i].seconds;
        s = end + len;
    }
    *out = sign * sum;
    return isfinite(*out);
}

bool ollama_keep_alive(const json_t *v, double *seconds, struct fault *f)
{
    f->param = "keep_alive";
    if (json_is_number(v)) {
        *seconds = json_number_value(v);
        return true;
    }
    if (json_is_string(v) && read_duration(json_string_value(v), seconds)) return true;
    return json_in_bad(v, "keep_alive", "a number of seconds or a duration such as \"5m\"", f);
}

char *ollama_bare_name(const char *name)
{
    static const char latest[] = ":latest";
    const size_t n = strlen(name), tail = sizeof latest - 1;
    return strndup(name, n > tail && !strcmp(name + n - tail, latest) ? n - tail : n);
}

/* ---- options ------------------------------------------------------------------------------------------------------- */

enum option_kind { SAME, TOKENS, SEED, MIROSTAT, IGNORED };

static const struct option {
    const char *name, *as;
    enum option_kind kind;
} options[] = {
    { "num_predict", "max_tokens", TOKENS },
    { "temperature", "temperature", SAME },
    { "top_k", "top_k", SAME },
    { "top_p", "top_p", SAME },
    { "min_p", "min_p", SAME },
    { "typical_p", "typical_p", SAME },
    { "seed", "seed", SEED },
    { "stop", "stop", SAME },
    { "repeat_penalty", "repetition_penalty", SAME },
    { "presence_penalty", "presence_penalty", SAME },
    { "frequency_penalty", "frequency_penalty", SAME },
    { "mirostat", NULL, MIROSTAT },
    { "mirostat_tau", NULL, MIROSTAT },
    { "mirostat_eta", NULL, MIROSTAT },
    /* How the server runs a model is its operator's business. */
    { "num_ctx", NULL, IGNORED },
    { "num_keep", NULL, IGNORED },
    { "num_batch", NULL, IGNORED },
    { "num_gpu", NULL, IGNORED },
    { "main_gpu", NULL, IGNORED },
    { "num_thread", NULL, IGNORED },
    { "numa", NULL, IGNORED },
    { "low_vram", NULL, IGNORED },
    { "f16_kv", NULL, IGNORED },
    { "logits_all", NULL, IGNORED },
    { "vocab_only", NULL, IGNORED },
    { "use_mmap", NULL, IGNORED },
    { "use_mlock", NULL, IGNORED },
    { "embedding_only", NULL, IGNORED },
    { "rope_frequency_base", NULL, IGNORED },
    { "rope_frequency_scale", NULL, IGNORED },
    { "repeat_last_n", NULL, IGNORED },
    { "tfs_z", NULL, IGNORED },
    { "penalize_newline", NULL, IGNORED },
    { "draft_num_predict", NULL, IGNORED },
};

static void ignore(struct ollama_request *q, const char *name)
{
    const size_t n = strlen(q->ignored);
    snprintf(q->ignored + n, sizeof q->ignored - n, "%s%.40s", n ? ", " : "", name);
}

/* Version 2 is what this server has. */
static bool read_mirostat(const json_t *given, json_t *out, struct fault *f)
{
    const json_t *which = parse_given(given, "mirostat"), *tau = parse_given(given, "mirostat_tau"),
                 *eta = parse_given(given, "mirostat_eta");
    if (!which || (json_is_integer(which) && !json_integer_value(which))) return true;
    if (!json_is_integer(which) || json_integer_value(which) != 2)
        return json_in_bad(which, "options.mirostat", "0 or 2 (version 1 is not supported by this server)",
                           f);
    return (tau ? put_same(out, "mirostat_target", tau, f) : put(out, "mirostat_target", json_real(5), f)) &&
           (!eta || put_same(out, "mirostat_lr", eta, f));
}

static bool read_option(struct ollama_request *q, const char *name, const json_t *v, json_t *out,
                        struct fault *f)
{
    size_t i = 0;
    while (i < sizeof options / sizeof *options && strcmp(options[i].name, name) != 0) i++;
    if (i == sizeof options / sizeof *options) {
        ignore(q, name);
        return true;
    }
    const bool below = json_is_integer(v) && json_integer_value(v) < 0;
    switch (options[i].kind) {
    case SAME: return put_same(out, options[i].as, v, f);
    case TOKENS: /* 0 and below: to the model's end or that of the context */
        if (!json_is_integer(v)) return json_in_bad(v, "options.num_predict", "a whole number", f);
        return json_integer_value(v) <= 0 || put_same(out, options[i].as, v, f);
    case SEED: return below || put_same(out, options[i].as, v, f); /* -1: a new one */
    case MIROSTAT: return true;
    case IGNORED: ignore(q, name); return true;
    }
    return true;
}

static bool read_options(struct ollama_request *q, const json_t *body, json_t *out, struct fault *f)
{
    const json_t *given = parse_given(body, "options");
    const char *name;
    json_t *v;
    if (!put(out, "temperature", json_real(temperature), f) || !put(out, "top_p", json_real(top_p), f) ||
        !put(out, "top_k", json_integer(TOP_K), f) || !put(out, "max_tokens", json_integer(-1), f))
        return false;
    if (!given) return true;
    if (!json_is_object(given)) return json_in_bad(given, "options", "an object", f);
    json_object_foreach((json_t *)given, name, v)
    {
        if (!json_is_null(v) && !read_option(q, name, v, out, f)) return false;
    }
    return read_mirostat(given, out, f);
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

/* Content and pictures as parts; v: an array of files in base64. New, or NULL. */
static json_t *parts_of(const char *text, const json_t *pictures, struct fault *f)
{
    json_t *parts = json_array();
    size_t i;
    const json_t *v;
    bool ok = parts && (!*text ||
                        !json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "text", "text", text)));
    json_array_foreach(pictures, i, v)
    {
        char *url = NULL;
        if (!json_is_string(v)) {
            json_decref(parts);
            json_in_bad(v, "images", "an array of files in base64", f);
            return NULL;
        }
        const bool whole = !strncmp(json_string_value(v), "data:", 5);
        ok = ok && asprintf(&url, "%s%s", whole ? "" : "data:image/png;base64,", json_string_value(v)) >= 0;
        ok = ok && !json_array_append_new(
                       parts, json_pack("{s:s, s:{s:s}}", "type", "image_url", "image_url", "url", url));
        free(url);
    }
    if (ok) return parts;
    json_decref(parts);
    parse_no_memory(f);
    return NULL;
}

/* Sets content, as a string or as parts. */
static bool put_content(json_t *out, const json_t *content, const json_t *images, struct fault *f)
{
    if (images && !json_is_array(images))
        return json_in_bad(images, "images", "an array of files in base64", f);
    if (content && !json_is_string(content)) return json_in_bad(content, "content", "a string", f);
    if (!json_array_size(images)) return put(out, "content", json_string(text_of(content)), f);
    json_t *parts = parts_of(text_of(content), images, f);
    return parts && put(out, "content", parts, f);
}

/* The calls of message i, whose arguments are objects; each gets the id that wire_calls() makes up too. */
static bool put_calls(json_t *out, const json_t *calls, size_t i, struct fault *f)
{
    json_t *all = json_array();
    size_t k;
    const json_t *call;
    bool ok = all || parse_no_memory(f);
    if (ok && !json_is_array(calls)) ok = json_in_bad(calls, "tool_calls", "an array of calls", f);
    json_array_foreach(calls, k, call)
    {
        const json_t *fn = json_object_get(call, "function"), *arguments = parse_given(fn, "arguments");
        char id[60];
        if (!ok) break;
        if (!json_is_string(json_object_get(fn, "name"))) {
            f->param = "messages";
            ok = err_set(&f->err, ERR_REQUEST, "messages[%zu].tool_calls[%zu].function.name must be a string",
                         i, k);
            break;
        }
        snprintf(id, sizeof id, "call_%zu_%zu", i, k);
        json_t *made = json_pack("{s:s, s:s, s:{s:O}}", "id", id, "type", "function", "function", "name",
                                 json_object_get(fn, "name"));
        ok = made && (!arguments ||
                      !json_object_set(json_object_get(made, "function"), "arguments", (json_t *)arguments));
        if (!ok) json_decref(made);
        ok = (ok && !json_array_append_new(all, made)) || parse_no_memory(f);
    }
    if (!ok) {
        json_decref(all);
        return false;
    }
    return put(out, "tool_calls", all, f);
}

/* What stands between the messages: whose results follow. */
struct results {
    size_t caller; /* the message that called */
    size_t n;      /* results that have followed it */
};

static bool put_result(json_t *out, const json_t *in, struct results *r, struct fault *f)
{
    const json_t *name = parse_given(in, "tool_name"), *id = parse_given(in, "tool_call_id");
    char made_up[60];
    if (!name) name = parse_given(in, "name");
    if (name && !json_is_string(name)) return json_in_bad(name, "tool_name", "a string", f);
    if (json_is_string(name) && json_string_length(name) && !id)
        return put(out, "role", json_string("function"), f) && put_same(out, "name", name, f);
    snprintf(made_up, sizeof made_up, "call_%zu_%zu", r->caller, r->n++);
    return put(out, "role", json_string("tool"), f) &&
           put(out, "tool_call_id", json_is_string(id) ? json_incref((json_t *)id) : json_string(made_up), f);
}

static bool put_message(json_t *out, const json_t *in, size_t i, struct results *r, bool strict,
                        struct fault *f)
{
    static const char known[] = "role content thinking images tool_calls tool_name tool_call_id name";
    char where[40];
    const json_t *role = json_object_get(in, "role"), *thinking = parse_given(in, "thinking"),
                 *calls = parse_given(in, "tool_calls");
    f->param = "messages";
    if (!json_is_object(in) || !json_is_string(role))
        return err_set(&f->err, ERR_REQUEST, "messages[%zu] must be an object with a role and a content", i);
    snprintf(where, sizeof where, "messages[%zu].", i);
    if (!json_in_members(in, known, where, strict, "messages", f)) return false;
    if (!strcmp(json_string_value(role), "tool")) {
        if (!put_result(out, in, r, f)) return false;
    } else if (!put_same(out, "role", role, f)) {
        return false;
    }
    if (json_array_size(calls)) {
        *r = (struct results){ .caller = i };
        if (!put_calls(out, calls, i, f)) return false;
    } else if (calls && !json_is_array(calls)) {
        return json_in_bad(calls, "tool_calls", "an array of calls", f);
    }
    return (!thinking || put_same(out, "reasoning_content", thinking, f)) &&
           put_content(out, parse_given(in, "content"), parse_given(in, "images"), f);
}

static bool put_messages(const json_t *body, json_t *out, bool strict, struct fault *f)
{
    const json_t *given = parse_given(body, "messages"), *m;
    struct results r = { 0 };
    json_t *all = json_array();
    size_t i;
    bool ok = (all && !json_object_set(out, "messages", all)) || parse_no_memory(f);
    json_decref(all); /* out has it */
    json_array_foreach(given, i, m)
    {
        json_t *one = ok ? json_object() : NULL;
        ok = one && put_message(one, m, i, &r, strict, f);
        ok = ok && (!json_array_append(all, one) || parse_no_memory(f));
        json_decref(one);
        if (!ok) break;
    }
    return ok || f->err.code != ERR_NONE ? ok : parse_no_memory(f);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

static bool put_form(const json_t *body, json_t *out, struct fault *f)
{
    const json_t *format = parse_given(body, "format");
    if (!format || (json_is_string(format) && !json_string_length(format))) return true;
    if (json_is_object(format)) return put_same(out, "json_schema", format, f);
    if (json_is_string(format) && !strcmp(json_string_value(format), "json"))
        return put(out, "response_format", json_pack("{s:s}", "type", "json_object"), f);
    return json_in_bad(format, "format", "\"json\" or a JSON Schema", f);
}

static bool put_thinking(const json_t *body, bool chat, json_t *out, struct fault *f)
{
    const json_t *think = parse_given(body, "think");
    if (!think || (json_is_string(think) && !json_string_length(think))) return true;
    if (!chat)
        return json_is_false(think) || bad(f, "think", "think: a raw prompt is completed without thoughts");
    if (json_is_boolean(think)) return put_same(out, "enable_thinking", think, f);
    if (json_is_string(think)) return put_same(out, "reasoning_effort", think, f);
    return json_in_bad(think, "think", "true, false, \"low\", \"medium\" or \"high\"", f);
}

/* What Ollama documents and this server does not offer. */
static bool check_refused(const json_t *body, struct fault *f)
{
    const json_t *v = parse_given(body, "suffix");
    if (v && *text_of(v)) return refused(f, "suffix", "put both parts into a raw prompt");
    v = parse_given(body, "template");
    if (v && *text_of(v)) return refused(f, "template", "the model's own is used; a raw prompt goes without");
    v = parse_given(body, "context");
    if (v && (!json_is_array(v) || json_array_size(v)))
        return refused(f, "context", "send the turns so far to /api/chat");
    v = parse_given(body, "logprobs");
    if (v && !json_is_false(v)) return refused(f, "logprobs", "/v1/chat/completions has them");
    static const char *const pictures[] = { "width", "height", "steps" };
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++)
        if ((v = parse_given(body, pictures[i])) && !(json_is_integer(v) && !json_integer_value(v)))
            return refused(f, pictures[i], "/v1/images/generations draws");
    return true;
}

/* system and prompt as two messages; the pictures go with the prompt. */
static bool put_prompt(const json_t *body, json_t *out, struct fault *f)
{
    const json_t *system = parse_given(body, "system");
    json_t *all = json_array(), *user = json_pack("{s:s}", "role", "user");
    bool ok = (all && user) || parse_no_memory(f);
    if (ok && system && !json_is_string(system)) ok = json_in_bad(system, "system", "a string", f);
    if (ok && *text_of(system))
        ok = !json_array_append_new(all, json_pack("{s:s, s:O}", "role", "system", "content", system)) ||
             parse_no_memory(f);
    ok = ok && put_content(user, parse_given(body, "prompt"), parse_given(body, "images"), f) &&
         (!json_array_append(all, user) || parse_no_memory(f));
    ok = ok && put_same(out, "messages", all, f);
    json_decref(user);
    json_decref(all);
    return ok;
}

static bool put_body(struct ollama_request *q, const json_t *body, bool raw, bool strict, json_t *out,
                     struct fault *f)
{
    const json_t *stream = parse_given(body, "stream"), *tools = parse_given(body, "tools");
    bool streams = true;
    char *name = ollama_bare_name(q->name);
    const bool named = name && put(out, "model", json_string(name), f);
    free(name);
    if (!named) return f->err.code != ERR_NONE ? false : parse_no_memory(f);
    if ((stream && !json_in_bool(stream, "stream", &streams, f)) ||
        !put(out, "stream", json_boolean(streams), f) || !read_options(q, body, out, f) ||
        !put_form(body, out, f) || !put_thinking(body, !raw, out, f))
        return false;
    if (tools && !put_same(out, "tools", tools, f)) return false;
    if (q->chat) return put_messages(body, out, strict, f);
    if (!raw) return put_prompt(body, out, f);
    if (json_array_size(parse_given(body, "images")))
        return bad(f, "images", "images: a raw prompt shows no pictures; leave raw out");
    return put_same(out, "prompt", json_object_get(body, "prompt"), f);
}

static bool is_empty(const json_t *body, bool chat, struct fault *f, bool *empty)
{
    const char *name = chat ? "messages" : "prompt";
    const json_t *v = parse_given(body, name);
    if (v && chat && !json_is_array(v)) return json_in_bad(v, name, "an array of messages", f);
    if (v && !chat && !json_is_string(v)) return json_in_bad(v, name, "a string", f);
    *empty =
        chat ? !json_array_size(v) : !json_string_length(v) && !json_array_size(parse_given(body, "images"));
    return true;
}

/* Read one by one behind this, which knows their names. */
static bool take_any(void *reader, const void *row, const json_t *v, struct fault *f)
{
    (void)reader, (void)row, (void)v, (void)f;
    return true;
}

enum { CHAT = FIELDS_OLLAMA_CHAT, GENERATE = FIELDS_OLLAMA_GENERATE, BOTH = CHAT | GENERATE };
static const struct json_member fields[] = {
    { "model", BOTH, "!text" },         { "messages", CHAT, "[object]" },
    { "tools", CHAT, "[object]" },      { "prompt", GENERATE, "text" },
    { "suffix", GENERATE, "none" },     { "system", GENERATE, "text" },
    { "template", GENERATE, "none" },   { "context", GENERATE, "any" },
    { "raw", GENERATE, "bool" },        { "images", GENERATE, "[text]" },
    { "width", GENERATE, "none" },      { "height", GENERATE, "none" },
    { "steps", GENERATE, "none" },      { "format", BOTH, "text|object" },
    { "options", BOTH, "object" },      { "stream", BOTH, "bool" },
    { "keep_alive", BOTH, "num|text" }, { "think", BOTH, "bool|text" },
    { "truncate", BOTH, "bool" },       { "shift", BOTH, "bool" },
    { "logprobs", BOTH, "bool" },       { "top_logprobs", BOTH, "int 0..20" },
};
const struct json_table ollama_fields = JSON_TABLE(fields, take_any);

static bool read_all(struct ollama_request *q, json_t *body, bool strict, struct fault *f)
{
    const struct json_place place = { .path = "", .form = q->chat ? CHAT : GENERATE, .strict = strict };
    const json_t *keep = parse_given(body, "keep_alive"), *name = parse_given(body, "model"),
                 *truncate = parse_given(body, "truncate"), *raw_given = parse_given(body, "raw"),
                 *shift = parse_given(body, "shift");
    bool raw = false, cut = true;
    if (!json_in_object(&ollama_fields, &place, NULL, body, f)) return false;
    if (!json_is_string(name) || !json_string_length(name)) return bad(f, "model", "model is required");
    if (!(q->name = strdup(json_string_value(name)))) return parse_no_memory(f);
    if (keep) {
        if (!ollama_keep_alive(keep, &q->keep_s, f)) return false;
        q->keeps = true;
    }
    if (truncate && !json_in_bool(truncate, "truncate", &cut, f)) return false;
    if (raw_given && !q->chat && !json_in_bool(raw_given, "raw", &raw, f)) return false;
    if (shift && !json_is_false(shift)) ignore(q, "shift");
    if (!check_refused(body, f) || !is_empty(body, q->chat, f, &q->load_only)) return false;
    if (q->load_only) return true;
    json_t *out = json_object();
    bool ok = (out || parse_no_memory(f)) && put_body(q, body, raw, strict, out, f) &&
              wire_parse(&q->wire, out, !raw, strict, &ollama_style, f);
    json_decref(out);
    if (!ok) return false;
    struct gen_request *g = &q->wire.gen;
    if (g->answer.kind != FORM_ANY) g->answer.from = "format";
    g->thought_form = THOUGHT_SPLIT;
    if (!cut) g->overflow = OVERFLOW_ERROR;
    g->unsafe_tokens |= raw; /* who sends a prompt as it is has written the template's marks */
    return true;
}

bool ollama_parse(struct ollama_request *q, json_t *body, bool chat, bool strict, struct fault *f)
{
    *q = (struct ollama_request){ .chat = chat };
    if (read_all(q, body, strict, f)) return true;
    free(q->name);
    q->name = NULL;
    return false;
}

void ollama_free(struct ollama_request *q)
{
    if (q->wire.style) wire_free(&q->wire);
    free(q->name);
    *q = (struct ollama_request){ 0 };
}
