/* anthropic_blocks.c - a conversation of blocks brought to the one form that request.h has: a result of a tool becomes a message of its own, calls
 * and thoughts members of the assistant's, and turns of one role in a row become one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "format/json_memory.h"
#include "http/dialects/anthropic.h"
#include "http/json_in.h"

enum { MAX_MESSAGES = 100000 };

struct talk {
    bool strict;
    struct gen_request *q;
    json_t *out;   /* what it becomes */
    json_t *waits; /* ids of the calls that the message before has: true, and false once there is a result */
    struct fault *f;
};

/* One message, while its blocks are read. */
struct turn {
    size_t i;
    bool user, system;     /* or the assistant's */
    json_t *parts, *calls; /* [] */
    struct buf thought;
    bool said; /* a block that is no result was there */
};

static bool no_memory(struct talk *c) { return err_set(&c->f->err, ERR_NOMEM, "out of memory"); }

static bool bad(struct talk *c, size_t i, size_t k, const char *what)
{
    return err_set(&c->f->err, ERR_REQUEST, "messages[%zu].content[%zu]%s", i, k, what);
}

static bool add(struct talk *c, json_t *array, json_t *new_one)
{
    return new_one ? !json_array_append_new(array, new_one) || no_memory(c) : no_memory(c);
}

static json_t *text_part(const json_t *text) { return json_pack("{s:s, s:O}", "type", "text", "text", text); }

static const char *type_of(const json_t *block)
{
    const char *type = json_string_value(json_object_get(block, "type"));
    return type ? type : "";
}

/* Alone, a text is a string: what most templates print. */
static json_t *plain(json_t *parts)
{
    json_t *first = json_array_get(parts, 0);
    const bool text = json_array_size(parts) == 1 && !strcmp(type_of(first), "text");
    return json_incref(text ? json_object_get(first, "text") : parts);
}

static bool text_block(struct talk *c, const json_t *b, size_t i, size_t k, json_t *parts)
{
    char where[60];
    const json_t *text = json_object_get(b, "text");
    snprintf(where, sizeof where, "messages[%zu].content[%zu].", i, k);
    if (!json_in_members(b, "type text cache_control citations", where, c->strict, "messages", c->f))
        return false;
    if (!json_is_string(text)) return bad(c, i, k, ".text is required and must be a string");
    return add(c, parts, text_part(text));
}

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

static json_t *data_url(const json_t *source)
{
    const json_t *media = json_object_get(source, "media_type"), *data = json_object_get(source, "data");
    if (!json_is_string(media) || !json_is_string(data)) return NULL;
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "data:");
    buf_puts(&b, json_string_value(media));
    buf_puts(&b, ";base64,");
    buf_append(&b, json_string_value(data), json_string_length(data));
    json_t *url = b.failed ? NULL : json_stringn(b.data, b.len);
    buf_free(&b);
    return url;
}

static bool image_block(struct talk *c, const json_t *b, size_t i, size_t k, json_t *parts)
{
    char where[60];
    const json_t *source = json_object_get(b, "source"), *given = json_object_get(source, "url");
    const char *type = type_of(source);
    int kind;
    snprintf(where, sizeof where, "messages[%zu].content[%zu].", i, k);
    if (!json_in_members(b, "type source cache_control", where, c->strict, "messages", c->f)) return false;
    if (!words_have("base64|url", type, &kind)) {
        bad(c, i, k, ".source must be an object of the type base64 or url");
        if (!strcmp(type, "file")) c->f->err.code = ERR_UNSUPPORTED;
        return false;
    }
    snprintf(where, sizeof where, "messages[%zu].content[%zu].source.", i, k);
    if (!json_in_members(source, kind ? "type url" : "type media_type data", where, c->strict, "messages",
                         c->f))
        return false;
    if (kind ? !json_is_string(given)
             : !json_is_string(json_object_get(source, "media_type")) ||
                   !json_is_string(json_object_get(source, "data")))
        return bad(c, i, k,
                   kind ? ".source.url is required and must be a string"
                        : ".source must have media_type and data as strings");
    json_t *url = kind ? json_incref((json_t *)given) : data_url(source);
    json_t *part = url ? json_pack("{s:s, s:o}", "type", "image_url", "image_url", url) : NULL;
    if (!part) return no_memory(c);
    json_t *picture = wire_picture(part, i, k, c->strict, c->q, c->f);
    json_decref(part);
    return picture && add(c, parts, picture);
}

/* ---- calls and results --------------------------------------------------------------------------------------------- */

static bool call_block(struct talk *c, struct turn *t, const json_t *b, size_t k)
{
    char where[60];
    const json_t *id = json_object_get(b, "id"), *name = json_object_get(b, "name"),
                 *input = json_object_get(b, "input");
    snprintf(where, sizeof where, "messages[%zu].content[%zu].", t->i, k);
    if (!json_in_members(b, "type id name input cache_control caller toolset_name", where, c->strict,
                         "messages", c->f))
        return false;
    if (!json_string_length(id)) return bad(c, t->i, k, ".id is required and must be a string");
    if (!json_string_length(name)) return bad(c, t->i, k, ".name is required and must be a string");
    if (!json_is_object(input)) return bad(c, t->i, k, ".input is required and must be an object");
    if (json_object_get(c->waits, json_string_value(id)))
        return bad(c, t->i, k, ".id: tool_use ids must be unique");
    char *arguments = json_memory_dumps(input, JSON_COMPACT);
    json_t *call = arguments ? json_pack("{s:O, s:s, s:{s:O, s:s}}", "id", id, "type", "function", "function",
                                         "name", name, "arguments", arguments)
                             : NULL;
    free(arguments);
    return add(c, t->calls, call) &&
           (!json_object_set_new(c->waits, json_string_value(id), json_true()) || no_memory(c));
}

/* What a result says: a string, or parts of text. New, or NULL. */
static json_t *result_content(struct talk *c, const json_t *v, size_t i, size_t k, bool failed)
{
    json_t *parts = json_array(), *out = NULL;
    const json_t *b;
    size_t n;
    bool ok = parts || no_memory(c);
    if (ok && failed) ok = add(c, parts, json_pack("{s:s, s:s}", "type", "text", "text", "Error:"));
    if (ok && json_is_string(v)) ok = add(c, parts, text_part(v));
    if (ok && v && !json_is_null(v) && !json_is_string(v) && !json_is_array(v))
        ok = bad(c, i, k, ".content must be a string or an array of blocks");
    json_array_foreach(v, n, b)
    {
        if (!ok) break;
        ok = !strcmp(type_of(b), "text")
                 ? text_block(c, b, i, k, parts)
                 : bad(c, i, k,
                       ".content: a result may have blocks of text here; pictures and "
                       "documents are not supported in one");
    }
    if (ok && !json_array_size(parts))
        out = json_string("");
    else if (ok)
        out = plain(parts);
    json_decref(parts);
    if (ok && !out) no_memory(c);
    return out;
}

static bool result_block(struct talk *c, struct turn *t, const json_t *b, size_t k)
{
    char where[60];
    const json_t *id = json_object_get(b, "tool_use_id"), *error = json_object_get(b, "is_error");
    const char *key = json_string_value(id);
    snprintf(where, sizeof where, "messages[%zu].content[%zu].", t->i, k);
    if (!json_in_members(b, "type tool_use_id content is_error cache_control toolset_name", where, c->strict,
                         "messages", c->f))
        return false;
    if (!json_string_length(id)) return bad(c, t->i, k, ".tool_use_id is required and must be a string");
    if (error && !json_is_boolean(error) && !json_is_null(error))
        return bad(c, t->i, k, ".is_error must be true or false");
    if (t->said)
        return bad(c, t->i, k, ": blocks of tool_result come before all others in the content of a message");
    if (!json_is_true(json_object_get(c->waits, key)))
        return err_set(&c->f->err, ERR_REQUEST,
                       "messages[%zu].content[%zu]: unexpected `tool_use_id` found in `tool_result` blocks: "
                       "%.60s. Each `tool_result` block must have a corresponding `tool_use` block in the "
                       "previous message.",
                       t->i, k, key);
    if (json_object_set_new(c->waits, key, json_false())) return no_memory(c);
    json_t *content = result_content(c, json_object_get(b, "content"), t->i, k, json_is_true(error));
    return content &&
           add(c, c->out,
               json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", id, "content", content));
}

/* Every call of the message before needs its result in this one, or in none that follows. */
static bool all_answered(struct talk *c, size_t i)
{
    const char *id;
    json_t *waits;
    json_object_foreach(c->waits, id, waits)
    {
        if (json_is_true(waits))
            return err_set(
                &c->f->err, ERR_REQUEST,
                "messages[%zu]: `tool_use` ids were found without `tool_result` blocks immediately "
                "after: %.60s. Each `tool_use` block must have a corresponding `tool_result` block "
                "in the next message.",
                i, id);
    }
    json_object_clear(c->waits);
    return true;
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

static bool thought_block(struct talk *c, struct turn *t, const json_t *b, size_t k)
{
    char where[60];
    const json_t *text = json_object_get(b, "thinking");
    snprintf(where, sizeof where, "messages[%zu].content[%zu].", t->i, k);
    if (!json_in_members(b, "type thinking signature", where, c->strict, "messages", c->f)) return false;
    if (!json_is_string(text)) return bad(c, t->i, k, ".thinking is required and must be a string");
    return buf_append(&t->thought, json_string_value(text), json_string_length(text)) || no_memory(c);
}

static bool one_block(struct talk *c, struct turn *t, const json_t *b, size_t k)
{
    const char *type = type_of(b);
    if (!*type) return bad(c, t->i, k, " must be an object with a type");
    if (t->user && !strcmp(type, "tool_result")) return result_block(c, t, b, k);
    t->said = true;
    if (!strcmp(type, "text")) return text_block(c, b, t->i, k, t->parts);
    if (t->user && !strcmp(type, "image")) return image_block(c, b, t->i, k, t->parts);
    if (!t->user && !t->system && !strcmp(type, "tool_use")) return call_block(c, t, b, k);
    if (!t->user && !t->system && !strcmp(type, "thinking")) return thought_block(c, t, b, k);
    c->f->param = "messages";
    return err_set(
        &c->f->err, ERR_UNSUPPORTED,
        "messages[%zu].content[%zu]: a block of the type \"%.40s\" is not supported in a message of the %s; "
        "it may have %s",
        t->i, k, type,
        t->user     ? "user"
        : t->system ? "system"
                    : "assistant",
        t->user     ? "text, image and tool_result"
        : t->system ? "text"
                    : "text, thinking and tool_use");
}

/* A turn behind one of the same role is more of it: some templates take no two in a row. */
static bool join(struct talk *c, const char *role, json_t *parts, bool *joined)
{
    json_t *last = json_array_get(c->out, json_array_size(c->out) - 1), *have;
    const char *before = json_string_value(json_object_get(last, "role"));
    *joined = before && !strcmp(before, role) && !json_object_get(last, "tool_calls") &&
              !json_object_get(last, "reasoning_content");
    if (!*joined) return true;
    have = json_object_get(last, "content");
    json_t *all = json_is_array(have) ? json_incref(have) : json_array();
    bool ok = all && (json_is_array(have) || !json_array_append_new(all, text_part(have))) &&
              !json_array_extend(all, parts) && !json_object_set(last, "content", all);
    json_decref(all);
    return ok || no_memory(c);
}

static bool finish_turn(struct talk *c, struct turn *t)
{
    const char *role = t->user ? "user" : t->system ? "system" : "assistant";
    const bool calls = json_array_size(t->calls), thought = t->thought.len;
    bool joined = false;
    if (!json_array_size(t->parts) && !calls && !thought) return true; /* results alone, or nothing */
    if (!calls && !thought && !join(c, role, t->parts, &joined)) return false;
    if (joined) return true;
    json_t *content = json_array_size(t->parts) ? plain(t->parts) : calls ? json_null() : json_string("");
    json_t *m = content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
    bool ok = m && (!calls || !json_object_set(m, "tool_calls", t->calls)) &&
              (!thought ||
               !json_object_set_new(m, "reasoning_content", json_stringn(t->thought.data, t->thought.len)));
    if (ok) return add(c, c->out, m);
    json_decref(m);
    return no_memory(c);
}

static bool read_turn(struct talk *c, struct turn *t, const json_t *in)
{
    char where[40];
    const json_t *content = json_object_get(in, "content"), *b;
    size_t k;
    snprintf(where, sizeof where, "messages[%zu].", t->i);
    if (!json_in_members(in, "role content id type model stop_reason stop_sequence usage", where, c->strict,
                         "messages", c->f))
        return false;
    bool ok = t->parts && t->calls ? true : no_memory(c);
    if (ok && json_is_string(content)) {
        t->said = true;
        ok = !json_string_length(content) || add(c, t->parts, text_part(content));
    } else if (ok && !json_is_array(content)) {
        ok = err_set(&c->f->err, ERR_REQUEST, "%scontent must be a string or an array of blocks", where);
    }
    json_array_foreach(content, k, b) { ok = ok && one_block(c, t, b, k); }
    if (ok && t->user) ok = all_answered(c, t->i ? t->i - 1 : 0);
    return ok && finish_turn(c, t);
}

static bool one_message(struct talk *c, const json_t *in, size_t i)
{
    const char *role = json_string_value(json_object_get(in, "role"));
    struct turn t = { .i = i };
    c->f->param = "messages";
    if (!json_is_object(in))
        return err_set(&c->f->err, ERR_REQUEST, "messages[%zu] must be an object with role and content", i);
    if (!role || !words_have("user|assistant|system", role, NULL))
        return err_set(&c->f->err, ERR_REQUEST, "messages[%zu].role must be one of user, assistant, system",
                       i);
    t.user = *role == 'u';
    t.system = *role == 's';
    if (!t.user && json_object_size(c->waits)) return all_answered(c, i - 1);
    t.parts = json_array();
    t.calls = json_array();
    const bool ok = read_turn(c, &t, in);
    json_decref(t.parts);
    json_decref(t.calls);
    buf_free(&t.thought);
    return ok;
}

static bool read_system(struct talk *c, const json_t *v)
{
    const json_t *b;
    size_t k;
    json_t *parts = json_array();
    bool ok = parts || no_memory(c);
    c->f->param = "system";
    if (ok && json_is_string(v))
        ok = !json_string_length(v) || add(c, parts, text_part(v));
    else if (ok && !json_is_array(v))
        ok = json_in_bad(v, "system", "a string or an array of blocks of text", c->f);
    json_array_foreach(v, k, b)
    {
        char where[40];
        const json_t *text = json_object_get(b, "text");
        snprintf(where, sizeof where, "system[%zu].", k);
        if (!ok) break;
        if (strcmp(type_of(b), "text") != 0 || !json_is_string(text))
            ok = err_set(&c->f->err, ERR_REQUEST,
                         "system[%zu] must be a block of the type text with its text", k);
        else
            ok = json_in_members(b, "type text cache_control citations", where, c->strict, "system", c->f) &&
                 add(c, parts, text_part(text));
    }
    if (ok && json_array_size(parts))
        ok = add(c, c->out, json_pack("{s:s, s:o}", "role", "system", "content", plain(parts)));
    json_decref(parts);
    return ok;
}

static bool read_all(struct talk *c, const json_t *system, const json_t *messages)
{
    const size_t n = json_array_size(messages);
    if (!c->out || !c->waits) return no_memory(c);
    if (system && !read_system(c, system)) return false;
    c->f->param = "messages";
    if (!json_is_array(messages)) return json_in_bad(messages, "messages", "an array of messages", c->f);
    if (!n) return err_set(&c->f->err, ERR_REQUEST, "messages: at least one message is required");
    if (n > MAX_MESSAGES)
        return err_set(&c->f->err, ERR_REQUEST, "messages holds %zu messages; at most %d are taken", n,
                       MAX_MESSAGES);
    for (size_t i = 0; i < n; i++)
        if (!one_message(c, json_array_get(messages, i), i)) return false;
    if (!all_answered(c, n - 1)) return false;
    const json_t *last = json_array_get(c->out, json_array_size(c->out) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || !strcmp(role, "system"))
        return err_set(&c->f->err, ERR_REQUEST, "messages: at least one message must have content");
    return strcmp(role, "assistant") != 0 ||
           err_set(
               &c->f->err, ERR_UNSUPPORTED,
               "messages[%zu]: this server does not go on with an assistant's turn that is begun; the last "
               "message must be the user's",
               n - 1);
}

bool anthropic_conversation(const json_t *system, const json_t *messages, bool strict, struct gen_request *q,
                            struct fault *f)
{
    struct talk c = { strict, q, json_array(), json_object(), f };
    const bool ok = read_all(&c, system, messages);
    json_decref(c.waits);
    if (ok) {
        json_decref(q->messages);
        q->messages = c.out;
    } else {
        json_decref(c.out);
    }
    return ok;
}
