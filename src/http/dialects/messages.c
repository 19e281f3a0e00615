/* messages.c - a conversation as clients send it, brought to one form: a role, and its content as a string or as parts, texts and pictures. */
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/wire.h"
#include "http/json_in.h"

enum { MAX_MESSAGES = 100000 };

/* What all messages have in common. */
struct talk {
    bool strict, paired;
    json_t *called;        /* the id of each function's latest call so far, by name */
    struct gen_request *q; /* takes the pictures */
};

static bool bad(struct fault *f, size_t i, const char *what)
{
    f->param = "messages";
    return err_set(&f->err, ERR_REQUEST, "messages[%zu]%s", i, what);
}

static bool not_offered(struct fault *f, size_t i, const char *what)
{
    bad(f, i, what);
    f->err.code = ERR_UNSUPPORTED;
    return false;
}

/* One part in its plain form, a text's or a picture's; NULL with the fault set when it is none. */
static json_t *one_part(const json_t *part, size_t i, size_t k, const char *role, const struct talk *c,
                        struct fault *f)
{
    static const char known[] =
        "type text refusal annotations logprobs id cache_control prompt_cache_breakpoint";
    char where[64];
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type) return bad(f, i, ".content: every part must be an object with a type"), NULL;
    const json_t *text = json_object_get(part, !strcmp(type, "refusal") ? "refusal" : "text");
    if (!strcmp(type, "text") || !strcmp(type, "refusal") || !strcmp(type, "input_text") ||
        !strcmp(type, "output_text")) {
        if (!json_is_string(text))
            return bad(f, i, ".content: a text part must have its text as a string"), NULL;
        snprintf(where, sizeof where, "messages[%zu].content[%zu].", i, k);
        if (!json_in_members(part, known, where, c->strict, "messages", f)) return NULL;
        json_t *out = json_pack("{s:s, s:O}", "type", "text", "text", text);
        if (!out) err_set(&f->err, ERR_NOMEM, "out of memory");
        return out;
    }
    if (wire_is_picture(type) && strcmp(role, "user") != 0)
        return bad(f, i, ".content: pictures belong in a user's message"), NULL;
    if (wire_is_picture(type)) return wire_picture(part, i, k, c->strict, c->q, f);
    if (!strcmp(type, "video_url") || !strcmp(type, "input_audio") || !strcmp(type, "file") ||
        !strcmp(type, "input_file"))
        return not_offered(f, i,
                           ".content: video, audio and files are not supported by this server yet; send text "
                           "parts and pictures"),
               NULL;
    return bad(f, i, ".content: a part has an unknown type; text and image_url are what this server takes"),
           NULL;
}

/* An array of parts, or one part alone, as one bot framework sends it. Whether the model's template takes parts is known later. */
static json_t *content_parts(const json_t *content, size_t i, const char *role, const struct talk *c,
                             struct fault *f)
{
    size_t n = json_is_array(content) ? json_array_size(content) : 1;
    json_t *out = json_array();
    for (size_t k = 0; out && k < n; k++) {
        json_t *part =
            one_part(json_is_array(content) ? json_array_get(content, k) : content, i, k, role, c, f);
        if (part && !json_array_append_new(out, part)) continue;
        json_decref(out);
        out = NULL;
    }
    if (!out && !f->err.code) err_set(&f->err, ERR_NOMEM, "out of memory");
    return out;
}

/* A copy of the members that are texts; `names` ends with NULL. */
static bool pass_texts(const json_t *in, size_t i, const char *const *names, json_t *out, struct fault *f)
{
    for (; *names; names++) {
        char what[60];
        json_t *v = json_object_get(in, *names);
        if (!v || json_is_null(v)) continue;
        snprintf(what, sizeof what, ".%s must be a string", *names);
        if (!json_is_string(v)) return bad(f, i, what);
        if (json_object_set(out, *names, v)) return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    return true;
}

/* Content as a string, as parts, or null where an assistant's turn is calls and no text. New, or NULL. */
static json_t *content_of(const json_t *in, size_t i, const char *role, bool calls, const struct talk *c,
                          struct fault *f)
{
    const json_t *content = json_object_get(in, "content"), *refusal = json_object_get(in, "refusal");
    const bool none = !content || json_is_null(content);
    json_t *out;
    if (refusal && !json_is_null(refusal) && !json_is_string(refusal))
        return bad(f, i, ".refusal must be a string"), NULL;
    if (json_is_string(content))
        return json_incref((json_t *)content);
    else if (json_is_array(content) || json_is_object(content))
        return content_parts(content, i, role, c, f);
    else if (none && !strcmp(role, "assistant"))
        out = json_is_string(refusal) ? json_incref((json_t *)refusal)
              : calls                 ? json_null()
                                      : json_string("");
    else if (none && !strcmp(role, "function"))
        out = json_string("");
    else
        return bad(f, i, ".content must be a string or an array of parts"), NULL;
    if (!out) err_set(&f->err, ERR_NOMEM, "out of memory");
    return out;
}

/* What a result answers: the call's id or, in the older form, the latest call of that name. */
static bool answered_call(const json_t *in, size_t i, bool function, const json_t *called, json_t *out,
                          struct fault *f)
{
    const json_t *key = json_object_get(in, function ? "name" : "tool_call_id");
    char made_up[40];
    if (!json_is_string(key) || !json_string_length(key))
        return bad(f, i,
                   function ? ".name is required and must be the function's"
                            : ".tool_call_id is required and must be a string");
    const char *id = json_string_value(function ? json_object_get(called, json_string_value(key)) : key);
    snprintf(made_up, sizeof made_up, "call_%zu", i);
    return !json_object_set_new(out, "tool_call_id", json_string(id ? id : made_up)) ||
           err_set(&f->err, ERR_NOMEM, "out of memory");
}

static bool one_message(const json_t *in, size_t i, const struct talk *c, json_t *out, struct fault *f)
{
    static const char known[] = "role content name tool_calls tool_call_id reasoning_content refusal audio "
                                "function_call annotations id reasoning";
    static const char *const passed[] = { "name", "reasoning_content", NULL };
    char where[40];
    json_t *calls = NULL;
    int kind;
    if (!json_is_object(in)) return bad(f, i, " must be an object with role and content");
    const char *role = json_string_value(json_object_get(in, "role"));
    if (!role) return bad(f, i, ".role is required and must be a string");
    if (!words_have("system|developer|user|assistant|tool|function", role, &kind))
        return bad(f, i, ".role must be one of system, developer, user, assistant, tool, function");
    snprintf(where, sizeof where, "messages[%zu].", i);
    if (!json_in_members(in, known, where, c->strict, "messages", f)) return false;
    const json_t *audio = json_object_get(in, "audio");
    if (audio && !json_is_null(audio))
        return not_offered(f, i, ".audio: audio is not supported by this server yet");

    if (!wire_calls(in, i, c->strict, c->paired, &calls, f)) return false;
    if (calls && strcmp(role, "assistant") != 0) {
        json_decref(calls);
        return bad(f, i, ".tool_calls: only an assistant's message may have calls");
    }
    json_t *text = content_of(in, i, role, calls != NULL, c, f);
    static const char *const as[] = { "system", "system", "user", "assistant", "tool", "tool" };
    int lost = !text || json_object_set_new(out, "role", json_string(as[kind]));
    lost |= !text || json_object_set(out, "content", text);
    lost |= calls && json_object_set(out, "tool_calls", calls);
    lost |= calls && !wire_calls_note(c->called, calls, f);
    json_decref(text);
    json_decref(calls);
    if (lost) return f->err.code ? false : err_set(&f->err, ERR_NOMEM, "out of memory");
    if (kind >= 4 && !answered_call(in, i, kind == 5, c->called, out, f)) return false;
    if (!pass_texts(in, i, passed, out, f)) return false;
    /* Another server's name for reasoning_content. */
    json_t *reasoning = json_object_get(in, "reasoning");
    if (reasoning && !json_is_null(reasoning) && !json_is_string(reasoning))
        return bad(f, i, ".reasoning must be a string");
    if (json_is_string(reasoning) && !json_object_get(out, "reasoning_content") &&
        json_object_set(out, "reasoning_content", reasoning))
        return err_set(&f->err, ERR_NOMEM, "out of memory");
    return true;
}

bool wire_messages(const json_t *in, bool strict, bool paired, struct gen_request *q, struct fault *f)
{
    f->param = "messages";
    if (!json_is_array(in)) return json_in_bad(in, "messages", "an array of messages", f);
    size_t n = json_array_size(in);
    if (!n) return err_set(&f->err, ERR_REQUEST, "messages must hold at least one message");
    if (n > MAX_MESSAGES)
        return err_set(&f->err, ERR_REQUEST, "messages holds %zu messages; at most %d are taken", n,
                       MAX_MESSAGES);
    json_t *a = json_array();
    const struct talk c = { strict, paired, json_object(), q };
    bool ok = a && c.called;
    for (size_t i = 0; ok && i < n; i++) {
        json_t *m = json_object();
        ok = m && one_message(json_array_get(in, i), i, &c, m, f) && !json_array_append(a, m);
        json_decref(m);
    }
    json_decref(c.called);
    ok = ok && (!paired || wire_calls_paired(in, a, f));
    if (!ok) {
        json_decref(a);
        return f->err.code ? false : err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    json_decref(q->messages); /* of a body that says it twice */
    q->messages = a;
    return true;
}
