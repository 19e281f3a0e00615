/* messages.c - a conversation as clients send it, brought to the one form that templates get: a role and a string. */
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

/* The text of one part; NULL with the fault set when it is none. */
static const char *part_text(const json_t *part, size_t i, size_t *len, struct fault *f)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type) return bad(f, i, ".content: every part must be an object with a type"), NULL;
    const json_t *text = json_object_get(part, !strcmp(type, "refusal") ? "refusal" : "text");
    if (!strcmp(type, "text") || !strcmp(type, "refusal") || !strcmp(type, "input_text") ||
        !strcmp(type, "output_text")) {
        if (!json_is_string(text))
            return bad(f, i, ".content: a text part must have its text as a string"), NULL;
        *len = json_string_length(text);
        return json_string_value(text);
    }
    if (!strcmp(type, "image_url") || !strcmp(type, "video_url") || !strcmp(type, "input_audio") ||
        !strcmp(type, "file"))
        return not_offered(f, i,
                           ".content: images, video, audio and files are not supported by this server yet; "
                           "send text parts"),
               NULL;
    return bad(f, i, ".content: a part has an unknown type; text is what this server takes"), NULL;
}

/* Parts are joined by line breaks, as other servers of open models do for templates that take strings. */
static json_t *content_text(const json_t *content, size_t i, struct fault *f)
{
    struct buf b = BUF_INIT(0);
    size_t n = json_is_array(content) ? json_array_size(content) : 1;
    json_t *out = NULL;
    for (size_t k = 0; k < n; k++) {
        size_t len;
        const char *s = part_text(json_is_array(content) ? json_array_get(content, k) : content, i, &len, f);
        if (!s) goto end;
        if (k) buf_putc(&b, '\n');
        buf_append(&b, s, len);
    }
    out = json_stringn(b.data ? b.data : "", b.len);
    if (!out) err_set(&f->err, ERR_NOMEM, "out of memory");
end:
    buf_free(&b);
    return out;
}

static bool one_message(const json_t *in, size_t i, json_t *out, struct fault *f)
{
    static const char *const known[] = { "role",          "content",           "name",    "tool_calls",
                                         "tool_call_id",  "reasoning_content", "refusal", "audio",
                                         "function_call", "annotations" };
    const char *key;
    json_t *value;
    if (!json_is_object(in)) return bad(f, i, " must be an object with role and content");
    const char *role = json_string_value(json_object_get(in, "role"));
    if (!role) return bad(f, i, ".role is required and must be a string");
    if (!strcmp(role, "tool") || !strcmp(role, "function"))
        return not_offered(f, i, ".role: tools are not supported by this server yet");
    if (strcmp(role, "system") && strcmp(role, "developer") && strcmp(role, "user") &&
        strcmp(role, "assistant"))
        return bad(f, i, ".role must be one of system, developer, user, assistant");
    json_object_foreach((json_t *)in, key, value)
    {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) found |= !strcmp(known[k], key);
        if (found) continue;
        f->param = "messages";
        return err_set(&f->err, ERR_REQUEST, "Extra inputs are not permitted, field: 'messages[%zu].%.80s'",
                       i, key);
    }
    const json_t *calls = json_object_get(in, "tool_calls"), *call = json_object_get(in, "function_call");
    if ((calls && !json_is_null(calls) && json_array_size(calls)) || (call && !json_is_null(call)))
        return not_offered(f, i, ".tool_calls: tools are not supported by this server yet");

    const json_t *content = json_object_get(in, "content");
    json_t *text;
    if (json_is_string(content))
        text = json_incref((json_t *)content);
    else if (json_is_array(content) ||
             json_is_object(content)) /* the bare object comes from one bot framework */
        text = content_text(content, i, f);
    else if (!strcmp(role, "assistant") && (!content || json_is_null(content)))
        text = json_string("");
    else
        return bad(f, i, ".content must be a string or an array of parts");
    if (!text) return false;
    json_object_set_new(out, "role", json_string(!strcmp(role, "developer") ? "system" : role));
    json_object_set_new(out, "content", text);
    static const char *const passed[] = { "name", "reasoning_content" };
    for (size_t k = 0; k < 2; k++) {
        json_t *v = json_object_get(in, passed[k]);
        if (!v || json_is_null(v)) continue;
        if (!json_is_string(v))
            return bad(f, i, k ? ".reasoning_content must be a string" : ".name must be a string");
        json_object_set(out, passed[k], v);
    }
    return true;
}

bool wire_messages(const json_t *in, json_t **out, struct fault *f)
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
        bool ok = m && one_message(json_array_get(in, i), i, m, f);
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
