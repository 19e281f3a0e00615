/* responses_items.c - a conversation of items brought to the one form that request.h has: an item is read as the message of a chat that it stands for,
 * then calls and thoughts are put to the assistant's turn that they belong to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/responses.h"
#include "http/json_in.h"

enum { MAX_ITEMS = 100000 };

struct talk {
    bool strict;
    struct gen_request *q;
    json_t *out;        /* what it becomes */
    json_t *calls;      /* their ids: true, and false once there is a result */
    struct buf thought; /* of reasoning items whose turn has not come */
    bool thinks;        /* there were some */
    struct fault *f;
};

struct item {
    const json_t *v;
    char where[40]; /* "input[3]" */
};

static bool no_memory(struct talk *c) { return err_set(&c->f->err, ERR_NOMEM, "out of memory"); }

static bool bad(struct talk *c, const struct item *it, const char *what)
{
    return err_set(&c->f->err, ERR_REQUEST, "%s%s", it->where, what);
}

void responses_rename(struct err *e, const char *from, const char *to)
{
    const size_t cap = sizeof e->msg - 1;
    const char *at = strstr(e->msg, from);
    if (!at) return;
    struct buf b = BUF_INIT(cap); /* what goes beyond is cut off */
    buf_append(&b, e->msg, (size_t)(at - e->msg));
    buf_puts(&b, to);
    const size_t rest = strlen(at + strlen(from)), room = cap - b.len;
    buf_append(&b, at + strlen(from), rest < room ? rest : room);
    if (b.data) memcpy(e->msg, b.data, b.len + 1);
    buf_free(&b);
}

static bool known(struct talk *c, const struct item *it, const char *names)
{
    char where[48];
    snprintf(where, sizeof where, "%s.", it->where);
    return json_in_members(it->v, names, where, c->strict, "input", c->f);
}

/* The message as a chat would have it, which is taken over. New, or NULL. */
static json_t *as_message(struct talk *c, const struct item *it, json_t *message)
{
    const int first = c->q->n_pictures;
    json_t *one = message ? json_pack("[o]", message) : NULL, *out = NULL;
    if (!one) return no_memory(c), NULL;
    if (wire_messages(one, c->strict, false, c->q, c->f)) {
        out = json_incref(json_array_get(c->q->messages, 0));
        for (int i = first; i < c->q->n_pictures; i++) c->q->picture[i].message = json_array_size(c->out);
    } else {
        c->f->param = "input";
        responses_rename(&c->f->err, "messages[0].tool_calls[0].function", it->where);
        responses_rename(&c->f->err, "messages[0]", it->where);
    }
    json_decref(one);
    return out;
}

/* The assistant's message takes what was thought before it. */
static bool with_thought(struct talk *c, json_t *message)
{
    if (!c->thinks) return true;
    json_t *text = json_stringn(c->thought.data ? c->thought.data : "", c->thought.len);
    buf_clear(&c->thought);
    c->thinks = false;
    return (text && !json_object_set_new(message, "reasoning_content", text)) || no_memory(c);
}

static bool put(struct talk *c, json_t *message)
{
    if (!message) return false;
    const char *role = json_string_value(json_object_get(message, "role"));
    const bool ok = strcmp(role, "assistant") != 0 || with_thought(c, message);
    if (ok) return !json_array_append_new(c->out, message) || no_memory(c);
    json_decref(message);
    return false;
}

/* ---- items --------------------------------------------------------------------------------------------------------- */

static bool message_item(struct talk *c, const struct item *it)
{
    const json_t *content = json_object_get(it->v, "content");
    const char *role = json_string_value(json_object_get(it->v, "role"));
    if (!role || !words_have("user|assistant|system|developer", role, NULL))
        return bad(c, it, ".role must be one of user, assistant, system, developer");
    if (!known(c, it, "type role content id status phase")) return false;
    if (!json_is_string(content) && !json_is_array(content))
        return bad(c, it, ".content must be a string or an array of parts");
    return put(c, as_message(c, it, json_pack("{s:s, s:O}", "role", role, "content", content)));
}

static const json_t *call_id(struct talk *c, const struct item *it)
{
    const json_t *id = json_object_get(it->v, "call_id");
    if (json_string_length(id)) return id;
    bad(c, it, ".call_id is required and must be a string");
    return NULL;
}

/* The call joins the assistant's turn that it belongs to: the one just before, if that is its. */
static bool call_item(struct talk *c, const struct item *it)
{
    const json_t *id = call_id(c, it), *name = json_object_get(it->v, "name"),
                 *arguments = json_object_get(it->v, "arguments");
    if (!id || !known(c, it, "type id call_id name arguments status namespace caller")) return false;
    if (!json_string_length(name)) return bad(c, it, ".name is required and must be a string");
    if (!json_is_string(arguments)) return bad(c, it, ".arguments is required and must be a string");
    json_t *m = as_message(c, it,
                           json_pack("{s:s, s:n, s:[{s:O, s:s, s:{s:O, s:O}}]}", "role", "assistant",
                                     "content", "tool_calls", "id", id, "type", "function", "function",
                                     "name", name, "arguments", arguments));
    if (!m) return false;
    if (json_object_set_new(c->calls, json_string_value(id), json_true())) {
        json_decref(m);
        return no_memory(c);
    }
    json_t *last = json_array_get(c->out, json_array_size(c->out) - 1),
           *before = json_object_get(last, "tool_calls"), *now = json_object_get(m, "tool_calls");
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "assistant") != 0 || (c->thinks && before)) return put(c, m);
    const bool ok = with_thought(c, last) &&
                    !(before ? json_array_extend(before, now) : json_object_set(last, "tool_calls", now));
    json_decref(m);
    return ok || no_memory(c);
}

static bool result_item(struct talk *c, const struct item *it)
{
    const json_t *id = call_id(c, it), *output = json_object_get(it->v, "output");
    if (!id || !known(c, it, "type id call_id output status name namespace caller")) return false;
    if (!json_object_get(c->calls, json_string_value(id)))
        return err_set(&c->f->err, ERR_REQUEST,
                       "No tool call found for function call output with call_id %.60s (%s).",
                       json_string_value(id), it->where);
    if (!json_is_string(output) && !json_is_array(output))
        return bad(c, it, ".output must be a string or an array of parts");
    if (json_object_set_new(c->calls, json_string_value(id), json_false())) return no_memory(c);
    return put(
        c, as_message(c, it,
                      json_pack("{s:s, s:O, s:O}", "role", "tool", "tool_call_id", id, "content", output)));
}

/* The texts of its content or, where it has none, of its summary. */
static bool reasoning_item(struct talk *c, const struct item *it)
{
    const json_t *content = json_object_get(it->v, "content"), *summary = json_object_get(it->v, "summary"),
                 *part;
    size_t i;
    if (!known(c, it, "type id summary content encrypted_content status")) return false;
    if (!json_array_size(content)) content = summary;
    json_array_foreach(content, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        if (!json_is_string(text)) return bad(c, it, ": every part must have its text as a string");
        if ((c->thought.len && !buf_puts(&c->thought, "\n\n")) ||
            !buf_append(&c->thought, json_string_value(text), json_string_length(text)))
            return no_memory(c);
    }
    c->thinks |= json_array_size(content) > 0;
    return true;
}

static bool one_item(struct talk *c, const struct item *it)
{
    const json_t *type = json_object_get(it->v, "type");
    const char *name = json_string_value(type);
    c->f->param = "input";
    if (!json_is_object(it->v)) return bad(c, it, " must be an object, an item of the conversation");
    if (!name && !type) name = "message";
    if (!name) return bad(c, it, ".type must be a string");
    if (!strcmp(name, "message")) return message_item(c, it);
    if (!strcmp(name, "function_call")) return call_item(c, it);
    if (!strcmp(name, "function_call_output")) return result_item(c, it);
    if (!strcmp(name, "reasoning")) return reasoning_item(c, it);
    return err_set(&c->f->err, ERR_UNSUPPORTED,
                   "%s: an item of the type \"%.40s\" is not supported by this server; it takes message, "
                   "function_call, function_call_output, reasoning",
                   it->where, name);
}

/* ---- together ------------------------------------------------------------------------------------------------------ */

static bool all_items(struct talk *c, const json_t *items, const char *field)
{
    size_t i;
    struct item it;
    json_array_foreach(items, i, it.v)
    {
        snprintf(it.where, sizeof it.where, "%s[%zu]", field, i);
        if (!one_item(c, &it)) return false;
    }
    return true;
}

static bool finish(struct talk *c)
{
    const char *id;
    json_t *waits;
    c->f->param = "input";
    json_object_foreach(c->calls, id, waits)
    {
        if (json_is_true(waits))
            return err_set(&c->f->err, ERR_REQUEST, "No tool output found for function call %.60s.", id);
    }
    if (c->thinks)
        return err_set(&c->f->err, ERR_REQUEST,
                       "input: an item of the type reasoning must be followed by the message or the call "
                       "that it led to");
    return true;
}

json_t *responses_input_items(const json_t *input)
{
    if (json_is_array(input)) return json_incref((json_t *)input);
    return json_pack("[{s:s, s:s, s:[{s:s, s:O}]}]", "type", "message", "role", "user", "content", "type",
                     "input_text", "text", input);
}

static bool read_all(struct talk *c, const json_t *instructions, const json_t *before, const json_t *input)
{
    if (!c->out || !c->calls) return no_memory(c);
    c->f->param = "input";
    if (!json_is_string(input) && !json_is_array(input))
        return json_in_bad(input, "input", "a string or an array of items", c->f);
    if (json_is_array(input) && !json_array_size(input) && !json_array_size(before))
        return err_set(&c->f->err, ERR_REQUEST, "input must hold at least one item");
    if (json_array_size(input) + json_array_size(before) > MAX_ITEMS)
        return err_set(&c->f->err, ERR_REQUEST,
                       "input holds more than %d items, which is the most that is taken", MAX_ITEMS);
    if (instructions && (json_array_append_new(c->out, json_pack("{s:s, s:O}", "role", "system", "content",
                                                                 instructions)) != 0))
        return no_memory(c);
    json_t *own = responses_input_items(input);
    const bool ok =
        own ? all_items(c, before, "previous_response_id: item ") && all_items(c, own, "input") && finish(c)
            : no_memory(c);
    json_decref(own);
    return ok;
}

bool responses_conversation(const json_t *instructions, const json_t *before, const json_t *input,
                            bool strict, struct gen_request *q, struct fault *f)
{
    struct talk c = { .strict = strict, .q = q, .out = json_array(), .calls = json_object(), .f = f };
    const bool ok = read_all(&c, instructions, before, input);
    json_decref(c.calls);
    buf_free(&c.thought);
    json_decref(q->messages); /* of the last item */
    q->messages = ok ? c.out : NULL;
    if (!ok) json_decref(c.out);
    return ok;
}
