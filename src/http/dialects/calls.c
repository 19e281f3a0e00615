/* calls.c - calls of tools and their results in a conversation that a client sends back: the older names brought to the newer ones, arguments
 * checked, and, where an API asks for it, each result held against its call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/dialects/wire.h"
#include "http/json_in.h"

static bool bad(struct fault *f, const char *where, const char *what)
{
    f->param = "messages";
    return err_set(&f->err, ERR_REQUEST, "%s%s", where, what);
}

/* Arguments as JSON in a string; an object is taken, too, and "" is none. New, or NULL. */
static json_t *arguments_of(const json_t *v, const char *where, struct fault *f)
{
    static const struct json_limits limits = { 128, 100000 };
    json_t *parsed = NULL, *out;
    if (json_is_object(v)) {
        char *text = json_memory_dumps(v, JSON_COMPACT);
        out = text ? json_string(text) : NULL;
        free(text);
    } else if (!v || (json_is_string(v) && !json_string_length(v))) {
        out = json_string("{}");
    } else if (!json_is_string(v)) {
        return bad(f, where, "arguments must be a JSON object in a string"), NULL;
    } else if (!json_in_parse(json_string_value(v), json_string_length(v), &limits, &parsed, f)) {
        f->param = "messages"; /* json_in_parse() speaks of bodies */
        return err_wrap(&f->err, "%sarguments, read as JSON", where), NULL;
    } else {
        json_decref(parsed);
        out = json_incref((json_t *)v);
    }
    if (!out) err_set(&f->err, ERR_NOMEM, "out of memory");
    return out;
}

/* {"name", "arguments"} as {"id", "type": "function", "function": {...}}. New, or NULL. */
static json_t *one_function(const json_t *v, const char *id, const char *where, bool strict, struct fault *f)
{
    const json_t *name = json_object_get(v, "name");
    if (!json_is_object(v))
        return bad(f, where, "name: there must be an object with name and arguments"), NULL;
    if (!json_is_string(name) || !json_string_length(name))
        return bad(f, where, "name is required and must be a string"), NULL;
    if (!json_in_members(v, "name arguments", where, strict, "messages", f)) return NULL;
    json_t *arguments = arguments_of(json_object_get(v, "arguments"), where, f);
    json_t *call = arguments ? json_pack("{s:s, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function",
                                         "name", name, "arguments", arguments)
                             : NULL;
    if (arguments && !call) err_set(&f->err, ERR_NOMEM, "out of memory");
    json_decref(arguments);
    return call;
}

/* Clients that send a stream's deltas back leave the index in. */
static json_t *one_call(const json_t *v, size_t i, size_t k, bool strict, bool paired, struct fault *f)
{
    char where[80], made_up[40];
    const json_t *id = json_object_get(v, "id"), *type = json_object_get(v, "type");
    snprintf(where, sizeof where, "messages[%zu].tool_calls[%zu]", i, k);
    if (!json_is_object(v)) return bad(f, where, " must be an object with id, type and function"), NULL;
    if (type && !json_is_null(type) &&
        (!json_is_string(type) || strcmp(json_string_value(type), "function") != 0))
        return bad(f, where, ".type must be \"function\""), NULL;
    if ((paired || (id && !json_is_null(id))) && (!json_is_string(id) || !json_string_length(id)))
        return bad(f, where, ".id is required and must be a string"), NULL;
    snprintf(where, sizeof where, "messages[%zu].tool_calls[%zu].", i, k);
    if (!json_in_members(v, "id type function index", where, strict, "messages", f)) return NULL;
    snprintf(where, sizeof where, "messages[%zu].tool_calls[%zu].function.", i, k);
    snprintf(made_up, sizeof made_up, "call_%zu_%zu", i, k);
    return one_function(json_object_get(v, "function"), json_is_string(id) ? json_string_value(id) : made_up,
                        where, strict, f);
}

bool wire_calls(const json_t *message, size_t i, bool strict, bool paired, json_t **out, struct fault *f)
{
    const json_t *calls = json_object_get(message, "tool_calls"),
                 *function = json_object_get(message, "function_call");
    char where[60];
    *out = NULL;
    if (json_is_null(calls) || (json_is_array(calls) && !json_array_size(calls))) calls = NULL;
    if (json_is_null(function)) function = NULL;
    if (!calls && !function) return true;
    snprintf(where, sizeof where, "messages[%zu].", i);
    if (calls && function) return bad(f, where, "tool_calls and function_call cannot both be there");
    if (calls && !json_is_array(calls)) return bad(f, where, "tool_calls must be an array of calls");
    json_t *all = json_array();
    bool ok = all != NULL;
    if (function) {
        char id[40];
        snprintf(id, sizeof id, "call_%zu", i);
        snprintf(where, sizeof where, "messages[%zu].function_call.", i);
        json_t *call = ok ? one_function(function, id, where, strict, f) : NULL;
        ok = call && !json_array_append_new(all, call);
    }
    for (size_t k = 0; ok && k < json_array_size(calls); k++) {
        json_t *call = one_call(json_array_get(calls, k), i, k, strict, paired, f);
        ok = call && !json_array_append_new(all, call);
    }
    if (ok) {
        *out = all;
        return true;
    }
    json_decref(all);
    return f->err.code ? false : err_set(&f->err, ERR_NOMEM, "out of memory");
}

bool wire_calls_note(json_t *called, const json_t *calls, struct fault *f)
{
    size_t k;
    const json_t *call;
    json_array_foreach(calls, k, call)
    {
        const char *name = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
        if (json_object_set(called, name, json_object_get(call, "id")))
            return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    return true;
}

static bool is_role(const json_t *message, const char *role)
{
    const char *s = json_string_value(json_object_get(message, "role"));
    return s && !strcmp(s, role);
}

/* The results behind the assistant's message i: every call needs one, and every one a call. In OpenAI's words, its spelling included.
 * open: an empty object, which is filled with the ids that wait. */
static bool check_turn(const json_t *in, const json_t *messages, size_t i, json_t *open, struct fault *f)
{
    const json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls"), *call;
    const char *id;
    json_t *waits;
    size_t k;
    f->param = "messages";
    json_array_foreach(calls, k, call)
    {
        id = json_string_value(json_object_get(call, "id"));
        if (json_object_set_new(open, id, json_true())) return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    for (size_t end = i + 1; is_role(json_array_get(in, end), "tool"); end++) {
        id = json_string_value(json_object_get(json_array_get(messages, end), "tool_call_id"));
        if (!json_object_get(open, id))
            return err_set(
                &f->err, ERR_REQUEST,
                "Invalid parameter: 'tool_call_id' of '%.60s' not found in 'tool_calls' of previous "
                "message (messages[%zu]).",
                id, end);
        if (json_object_set_new(open, id, json_false())) return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    json_object_foreach(open, id, waits)
    {
        if (json_is_true(waits))
            return err_set(&f->err, ERR_REQUEST,
                           "An assistant message with 'tool_calls' must be followed by tool messages "
                           "responding to each 'tool_call_id'. The following tool_call_ids did not have "
                           "response messages: %.60s (messages[%zu])",
                           id, i);
    }
    return true;
}

bool wire_calls_paired(const json_t *in, const json_t *messages, struct fault *f)
{
    bool after = false; /* a turn with calls, or a result */
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *calls = json_object_get(json_array_get(in, i), "tool_calls");
        const bool result = is_role(json_array_get(in, i), "tool");
        if (result && !after) {
            f->param = "messages";
            return err_set(&f->err, ERR_REQUEST,
                           "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                           "message with 'tool_calls' (messages[%zu]).",
                           i);
        }
        if (json_array_size(calls)) {
            json_t *open = json_object();
            const bool ok =
                open ? check_turn(in, messages, i, open, f) : err_set(&f->err, ERR_NOMEM, "out of memory");
            json_decref(open);
            if (!ok) return false;
        }
        after = result || json_array_size(calls);
    }
    return true;
}
