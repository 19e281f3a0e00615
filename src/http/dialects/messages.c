/* messages.c - a conversation as clients send it, brought to one form: a role, and its content as a string or as text parts. */
#include <stdio.h>
#include <string.h>

#include "http/dialects/wire.h"
#include "http/json_in.h"

enum { MAX_MESSAGES = 100000 };

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

/* One part in its plain form {"type": "text", "text": ...}; NULL with the fault set when it is none. */
static json_t *one_part(const json_t *part, size_t i, size_t k, bool strict, struct fault *f)
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
        if (!json_in_members(part, known, where, strict, "messages", f)) return NULL;
        json_t *out = json_pack("{s:s, s:O}", "type", "text", "text", text);
        if (!out) err_set(&f->err, ERR_NOMEM, "out of memory");
        return out;
    }
    if (!strcmp(type, "image_url") || !strcmp(type, "video_url") || !strcmp(type, "input_audio") ||
        !strcmp(type, "file"))
        return not_offered(f, i,
                           ".content: images, video, audio and files are not supported by this server yet; "
                           "send text parts"),
               NULL;
    return bad(f, i, ".content: a part has an unknown type; text is what this server takes"), NULL;
}

/* An array of parts, or one part alone, as one bot framework sends it. Whether the model's template takes parts is known later. */
static json_t *content_parts(const json_t *content, size_t i, bool strict, struct fault *f)
{
    size_t n = json_is_array(content) ? json_array_size(content) : 1;
    json_t *out = json_array();
    for (size_t k = 0; out && k < n; k++) {
        json_t *part =
            one_part(json_is_array(content) ? json_array_get(content, k) : content, i, k, strict, f);
        if (part && !json_array_append_new(out, part)) continue;
        json_decref(out);
        out = NULL;
    }
    if (!out && !f->err.code) err_set(&f->err, ERR_NOMEM, "out of memory");
    return out;
}

static bool one_message(const json_t *in, size_t i, bool strict, json_t *out, struct fault *f)
{
    static const char known[] = "role content name tool_calls tool_call_id reasoning_content refusal audio "
                                "function_call annotations id reasoning";
    char where[40];
    if (!json_is_object(in)) return bad(f, i, " must be an object with role and content");
    const char *role = json_string_value(json_object_get(in, "role"));
    if (!role) return bad(f, i, ".role is required and must be a string");
    if (!strcmp(role, "tool") || !strcmp(role, "function"))
        return not_offered(f, i, ".role: tools are not supported by this server yet");
    if (strcmp(role, "system") && strcmp(role, "developer") && strcmp(role, "user") &&
        strcmp(role, "assistant"))
        return bad(f, i, ".role must be one of system, developer, user, assistant");
    snprintf(where, sizeof where, "messages[%zu].", i);
    if (!json_in_members(in, known, where, strict, "messages", f)) return false;
    const json_t *calls = json_object_get(in, "tool_calls"), *call = json_object_get(in, "function_call");
    if ((calls && !json_is_null(calls) && json_array_size(calls)) || (call && !json_is_null(call)))
        return not_offered(f, i, ".tool_calls: tools are not supported by this server yet");

    const json_t *audio = json_object_get(in, "audio"), *refusal = json_object_get(in, "refusal");
    if (audio && !json_is_null(audio))
        return not_offered(f, i, ".audio: audio is not supported by this server yet");
    if (refusal && !json_is_null(refusal) && !json_is_string(refusal))
        return bad(f, i, ".refusal must be a string");

    const json_t *content = json_object_get(in, "content");
    json_t *text;
    if (json_is_string(content))
        text = json_incref((json_t *)content);
    else if (json_is_array(content) || json_is_object(content))
        text = content_parts(content, i, strict, f);
    else if (!strcmp(role, "assistant") && (!content || json_is_null(content)))
        text = json_is_string(refusal) ? json_incref((json_t *)refusal) : json_string("");
    else
        return bad(f, i, ".content must be a string or an array of parts");
    if (!text) return f->err.code ? false : err_set(&f->err, ERR_NOMEM, "out of memory");
    int lost = json_object_set_new(out, "role", json_string(!strcmp(role, "developer") ? "system" : role));
    lost |= json_object_set_new(out, "content", text);
    static const char *const passed[] = { "name", "reasoning_content" };
    for (size_t k = 0; k < 2; k++) {
        json_t *v = json_object_get(in, passed[k]);
        if (!v || json_is_null(v)) continue;
        if (!json_is_string(v))
            return bad(f, i, k ? ".reasoning_content must be a string" : ".name must be a string");
        lost |= json_object_set(out, passed[k], v);
    }
    /* Another server's name for reasoning_content. */
    json_t *reasoning = json_object_get(in, "reasoning");
    if (reasoning && !json_is_null(reasoning) && !json_is_string(reasoning))
        return bad(f, i, ".reasoning must be a string");
    if (json_is_string(reasoning) && !json_object_get(out, "reasoning_content"))
        lost |= json_object_set(out, "reasoning_content", reasoning);
    return !lost || err_set(&f->err, ERR_NOMEM, "out of memory");
}

bool wire_messages(const json_t *in, bool strict, json_t **out, struct fault *f)
{
    f->param = "messages";
    if (!json_is_array(in)) return json_in_bad(in, "messages", "an array of messages", f);
    size_t n = json_array_size(in);
    if (!n) return err_set(&f->err, ERR_REQUEST, "messages must hold at least one message");
    if (n > MAX_MESSAGES)
        return err_set(&f->err, ERR_REQUEST, "messages holds %zu messages; at most %d are taken", n,
                       MAX_MESSAGES);
    json_t *a = json_array();
    for (size_t i = 0; a && i < n; i++) {
        json_t *m = json_object();
        bool ok = m && one_message(json_array_get(in, i), i, strict, m, f);
        if (ok && !json_array_append(a, m)) {
            json_decref(m);
            continue;
        }
        if (!f->err.code) err_set(&f->err, ERR_NOMEM, "out of memory");
        json_decref(m);
        json_decref(a);
        return false;
    }
    if (!a) return err_set(&f->err, ERR_NOMEM, "out of memory");
    *out = a;
    return true;
}
