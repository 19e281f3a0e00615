/* tool_messages.c - a conversation with tools, as a template takes it; see tool_format.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "service/tools/tool_format.h"

static bool no_memory(struct err *e) { return err_set(e, ERR_NOMEM, "out of memory"); }

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static bool has_role(const json_t *message, const char *role)
{
    return !strcmp(text_of(message, "role"), role);
}

static bool set_new(json_t *object, const char *key, json_t *value)
{
    return value && !json_object_set_new(object, key, value);
}

/* ---- one form of calls ----------------------------------------------------------------------------------------------- */

/* An id of nine letters and digits for any other, the same one each time. */
static void short_id(const char *id, char out[10])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const size_t n = strspn(id, letters);
    unsigned long long h = 14695981039346656037u; /* FNV-1a, mixed once more below */
    if (n == 9 && !id[9]) {
        memcpy(out, id, 10);
        return;
    }
    for (const char *p = id; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    h ^= h >> 29;
    for (int i = 0; i < 9; i++, h /= 62) out[i] = letters[h % 62];
    out[9] = 0;
}

static bool set_id(json_t *object, const char *key, const char *id, const struct tool_format *format)
{
    char nine[10];
    if (format->reader->short_ids) short_id(id, nine);
    return set_new(object, key, json_string(format->reader->short_ids ? nine : id));
}

/* The arguments as an object. */
static json_t *arguments_of(const json_t *function, size_t message, size_t call, struct err *e)
{
    const json_t *in = json_object_get(function, "arguments");
    json_error_t why;
    if (json_is_object(in)) return json_incref((json_t *)in);
    if (!in || json_is_null(in) || (json_is_string(in) && !json_string_length(in))) return json_object();
    json_t *j = json_is_string(in)
                    ? json_memory_load(json_string_value(in), json_string_length(in), JSON_ALLOW_NUL, &why)
                    : NULL;
    if (json_is_object(j)) return j;
    json_decref(j);
    err_set(e, ERR_REQUEST,
            "messages[%zu].tool_calls[%zu].function.arguments: expected a JSON object as text", message,
            call);
    return NULL;
}

/* Call k of message i, with its arguments as an object. Its id, where there is none, is made of the two numbers. */
static json_t *plain_call(const json_t *call, size_t i, size_t k, const struct tool_format *format,
                          struct err *e)
{
    char id[48];
    const json_t *f = json_object_get(call, "function");
    snprintf(id, sizeof id, "call_%zu_%zu", i, k);
    json_t *arguments = arguments_of(f, i, k, e);
    if (!arguments) return NULL;
    json_t *out = json_pack("{s:s, s:s, s:{s:s, s:O}}", "id", "", "type", "function", "function", "name",
                            text_of(f, "name"), "arguments", arguments);
    json_decref(arguments);
    if (out && set_id(out, "id", *text_of(call, "id") ? text_of(call, "id") : id, format)) return out;
    json_decref(out);
    no_memory(e);
    return NULL;
}

/* The calls so far, by id and by name: the last one of each. */
struct calls_so_far {
    json_t *by_id, *by_name;
};

static bool calls_note(struct calls_so_far *c, const json_t *message)
{
    const json_t *calls = json_object_get(message, "tool_calls");
    json_t *call;
    size_t k;
    bool ok = true;
    json_array_foreach(calls, k, call)
    {
        const char *id = text_of(call, "id"), *name = text_of(json_object_get(call, "function"), "name");
        if (*id) ok = ok && json_object_set(c->by_id, id, call) == 0;
        if (*name) ok = ok && json_object_set(c->by_name, name, call) == 0;
    }
    return ok;
}

/* The one with that id, or else of that name; NULL: none. */
static const json_t *find_call(const struct calls_so_far *c, const char *id, const char *name)
{
    return *id ? json_object_get(c->by_id, id) : json_object_get(c->by_name, name);
}

static bool plain_calls(json_t *m, size_t i, const struct tool_format *format, struct err *e)
{
    const json_t *in = json_object_get(m, "tool_calls"), *legacy = json_object_get(m, "function_call");
    json_t *calls = json_array(), *one = NULL;
    size_t n = json_array_size(in);
    bool ok = calls || no_memory(e);
    if (!n && json_is_object(legacy)) {
        one = json_pack("[{s:O}]", "function", legacy);
        ok = ok && (one || no_memory(e));
        in = one;
        n = 1;
    }
    for (size_t k = 0; ok && k < n; k++) {
        json_t *call = plain_call(json_array_get(in, k), i, k, format, e);
        ok = call && (!json_array_append_new(calls, call) || no_memory(e));
    }
    json_object_del(m, "function_call");
    json_object_del(m, "tool_calls");
    if (ok && n && json_object_set(m, "tool_calls", calls)) ok = no_memory(e);
    json_decref(one);
    json_decref(calls);
    return ok;
}

/* A result, with the id and the name of what it answers. */
static bool plain_result(json_t *m, const struct calls_so_far *before, const struct tool_format *format)
{
    char id[64] = "";
    if (*text_of(m, "tool_call_id") && !set_id(m, "tool_call_id", text_of(m, "tool_call_id"), format))
        return false;
    const json_t *call = find_call(before, text_of(m, "tool_call_id"), text_of(m, "name"));
    const char *name = text_of(json_object_get(call, "function"), "name");
    if (!set_new(m, "role", json_string("tool"))) return false;
    if (!*text_of(m, "tool_call_id")) {
        snprintf(id, sizeof id, "call_of_%.40s", text_of(m, "name"));
        if (!set_id(m, "tool_call_id", call ? text_of(call, "id") : id, format)) return false;
    }
    return *text_of(m, "name") || !call || set_new(m, "name", json_string(name));
}

/* All of them in one form, and none of the request's own objects. */
static json_t *plain_messages(const json_t *messages, const struct tool_format *format, struct err *e)
{
    struct calls_so_far calls = { json_object(), json_object() };
    json_t *out = json_array();
    bool ok = (out && calls.by_id && calls.by_name) || no_memory(e);
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        json_t *m = json_copy(json_array_get(messages, i));
        ok = m || no_memory(e);
        if (ok && has_role(m, "assistant"))
            ok = plain_calls(m, i, format, e) && (calls_note(&calls, m) || no_memory(e));
        if (ok && (has_role(m, "tool") || has_role(m, "function")))
            ok = plain_result(m, &calls, format) || no_memory(e);
        if (ok && json_array_append(out, m)) ok = no_memory(e);
        json_decref(m);
    }
    json_decref(calls.by_id);
    json_decref(calls.by_name);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* ---- what a template takes --------------------------------------------------------------------------------------------- */

struct taken {
    bool calls, results; /* as such, not as text */
    bool text_arguments; /* arguments as text, not as an object */
    bool null_content;   /* calls only where content is null */
    bool with_content;   /* text beside calls */
    bool many;           /* several calls in a message */
    bool system;         /* a system message */
};

#define PROBE_RESULT "probe result"

/* Whether the conversation can be rendered, with everything in it that `shown` lists up to a NULL. Takes over messages. */
static bool shows(const struct chat_template *t, json_t *messages, const char *const *shown)
{
    static const char tools[] =
        "[{\"type\": \"function\", \"function\": {\"name\": \"probe_a\", \"description\": \"\", "
        "\"parameters\": {\"type\": \"object\", \"properties\": {}}}}]";
    struct rendered r;
    struct err why;
    json_t *ctx = messages ? json_pack("{s:o, s:o, s:b, s:s, s:s}", "messages", messages, "tools",
                                       json_loads(tools, 0, NULL), "add_generation_prompt", 1, "bos_token",
                                       "", "eos_token", "")
                           : NULL;
    const bool ok = ctx && chat_template_render(t, ctx, &(struct render_options){ 0 }, &r, &why);
    bool all = ok;
    json_decref(ctx);
    if (!ok) return false;
    for (; all && *shown; shown++) all = strstr(r.text, *shown) != NULL;
    free(r.text);
    free(r.data);
    return all;
}

/* A content as the template prints it. */
static json_t *probe_content(const struct chat_template *t, const char *text)
{
    if (!text) return json_null();
    if (chat_template_content(t) != CONTENT_PARTS) return json_string(text);
    return json_pack("[{s:s, s:s}]", "type", "text", "text", text);
}

static json_t *probe_message(const struct chat_template *t, const char *role, const char *content)
{
    return json_pack("{s:s, s:o}", "role", role, "content", probe_content(t, content));
}

static json_t *probe_call(const char *name, const char *id, const char *value, bool text_arguments)
{
    char text[64];
    snprintf(text, sizeof text, "{\"probe_key\": \"%s\"}", value);
    return json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function", "function", "name", name,
                     "arguments",
                     text_arguments ? json_string(text) : json_pack("{s:s}", "probe_key", value));
}

static json_t *probe_result(const struct chat_template *t, const char *name, const char *id)
{
    return json_pack("{s:s, s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "name", name, "content",
                     probe_content(t, PROBE_RESULT));
}

/* user, assistant with one call or two, their results. */
static json_t *probe(const struct chat_template *t, const struct taken *k, const char *content, bool two)
{
    json_t *calls = json_array(), *m = json_array();
    int bad = json_array_append_new(calls, probe_call("probe_a", "abcdefghi", "first", k->text_arguments));
    if (two)
        bad |= json_array_append_new(calls, probe_call("probe_b", "jklmnopqr", "second", k->text_arguments));
    bad |= json_array_append_new(m, probe_message(t, "user", "Hi"));
    bad |= json_array_append_new(m, json_pack("{s:s, s:o, s:O}", "role", "assistant", "content",
                                              probe_content(t, content), "tool_calls", calls));
    if (k->results) bad |= json_array_append_new(m, probe_result(t, "probe_a", "abcdefghi"));
    if (k->results && two) bad |= json_array_append_new(m, probe_result(t, "probe_b", "jklmnopqr"));
    json_decref(calls);
    if (!bad) return m;
    json_decref(m);
    return NULL;
}

/* Marks with which the format writes calls have to be in what the template prints of them: the published template of DeepSeek V3 leaves out
 * the last one. */
static void find_marks(const struct tool_format *format, const char *shown[], size_t room)
{
    json_t *calls = json_pack("[o]", probe_call("probe_a", "abcdefghi", "first", false));
    struct buf b = BUF_INIT(0);
    size_t n = 0;
    if (calls && format->rewrite(calls, &b))
        for (const char *const *mark = format->control; mark && *mark && n + 1 < room; mark++)
            if (strstr(b.data, *mark)) shown[n++] = *mark;
    shown[n] = NULL;
    buf_free(&b);
    json_decref(calls);
}

enum { MARKS = 8, SHOWN = MARKS + 5 };

/* Calls in one of four ways: arguments as an object or as text, content empty or null. */
static void try_way(const struct chat_template *t, int way, const char *shown[SHOWN], struct taken *k)
{
    size_t n = 0;
    while (shown[n]) n++;
    k->text_arguments = way & 1;
    k->null_content = way & 2;
    const char *content = k->null_content ? NULL : "";
    k->results = true; /* most know results only behind calls, and their names by the way */
    shown[n] = PROBE_RESULT;
    k->calls = shows(t, probe(t, k, content, false), shown);
    if (!k->calls) {
        k->results = false;
        shown[n] = NULL;
        k->calls = shows(t, probe(t, k, content, false), shown);
    }
    shown[n] = "\"probe_key\": \"second\"";
    k->many = k->calls && shows(t, probe(t, k, content, true), shown);
    shown[n] = "probe content";
    k->with_content = k->calls && shows(t, probe(t, k, shown[n], false), shown);
    shown[n] = NULL;
}

static struct taken find_out(const struct chat_template *t, const struct tool_format *format, bool used)
{
    struct taken best = { 0 };
    const char *shown[SHOWN] = { "probe_a", "\"probe_key\": \"first\"" };
    /* A template that prints any role prints "tool", too, and means nothing by it. */
    const bool knows = chat_template_spells(t, "tool");
    find_marks(format, shown + 2, MARKS);
    for (int way = 0; used && knows && !best.many && way < 4; way++) {
        struct taken k = { 0 };
        try_way(t, way, shown, &k);
        if (k.calls && (k.many || !best.calls)) best = k;
    }
    if (used && knows && !best.calls)
        best.results =
            shows(t,
                  json_pack("[o, o, o]", probe_message(t, "user", "Hi"), probe_message(t, "assistant", "Ho"),
                            probe_result(t, "probe_a", "abcdefghi")),
                  (const char *const[]){ PROBE_RESULT, NULL });
    best.system = shows(
        t, json_pack("[o, o]", probe_message(t, "system", "probe system"), probe_message(t, "user", "Hi")),
        (const char *const[]){ "probe system", NULL });
    return best;
}

/* ---- as the template takes them ------------------------------------------------------------------------------------------ */

struct rewriting {
    const struct tool_format *format;
    struct taken take;
    const json_t *in;
    json_t *out;
};

/* The text of a content, be it a string or parts. */
static void put_content(struct buf *b, const json_t *content)
{
    const json_t *part;
    size_t i;
    if (json_is_string(content)) buf_append(b, json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        if (i) buf_putc(b, '\n');
        if (json_is_string(text)) buf_append(b, json_string_value(text), json_string_length(text));
    }
}

static bool has_content(const json_t *m)
{
    const json_t *c = json_object_get(m, "content");
    return json_string_length(c) || json_array_size(c);
}

static bool set_text(json_t *m, struct buf *b)
{
    const bool ok = !b->failed && set_new(m, "content", json_stringn(b->data ? b->data : "", b->len));
    buf_free(b);
    return ok;
}

/* Arguments as the template wants them. */
static json_t *call_for(const struct rewriting *w, const json_t *call)
{
    json_t *out = json_deep_copy(call), *f = json_object_get(out, "function");
    if (!w->take.text_arguments || !f) return out;
    char *text = json_memory_dumps(json_object_get(f, "arguments"), 0);
    const bool ok = text && set_new(f, "arguments", json_string(text));
    free(text);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* A message of the calls [from, to) of m; first: with all else that m has, too. */
static bool add_calls(struct rewriting *w, const json_t *m, size_t from, size_t to, bool first)
{
    const json_t *calls = json_object_get(m, "tool_calls");
    json_t *some = json_array(),
           *out = first ? json_copy((json_t *)m) : json_pack("{s:s}", "role", "assistant");
    bool ok = some && out;
    for (; ok && from < to; from++)
        ok = !json_array_append_new(some, call_for(w, json_array_get(calls, from)));
    if (ok && (!first || !has_content(m)))
        ok = set_new(out, "content", w->take.null_content ? json_null() : json_string(""));
    ok = ok && !json_object_set(out, "tool_calls", some) && !json_array_append(w->out, out);
    json_decref(some);
    json_decref(out);
    return ok;
}

/* Calls as text behind the content. */
static bool add_as_text(struct rewriting *w, const json_t *m)
{
    struct buf b = BUF_INIT(0);
    json_t *out = json_copy((json_t *)m);
    put_content(&b, json_object_get(m, "content"));
    if (b.len) buf_putc(&b, '\n');
    bool ok = out && w->format->rewrite(json_object_get(m, "tool_calls"), &b);
    if (out) json_object_del(out, "tool_calls");
    if (!ok) buf_free(&b);
    ok = ok && set_text(out, &b) && !json_array_append(w->out, out);
    json_decref(out);
    return ok;
}

static bool add_result(struct rewriting *w, const json_t *m)
{
    struct buf b = BUF_INIT(0);
    if (w->take.results) return !json_array_append(w->out, (json_t *)m);
    /* One turn of the user's for all results, and for what he says behind them: many templates want the roles to alternate. */
    json_t *last = json_array_get(w->out, json_array_size(w->out) - 1);
    const bool more = json_array_size(w->out) && json_is_true(json_object_get(last, "of_results"));
    if (more) {
        put_content(&b, json_object_get(last, "content"));
        buf_putc(&b, '\n');
    }
    const bool result = has_role(m, "tool");
    buf_puts(&b, result ? w->format->result_open : "");
    put_content(&b, json_object_get(m, "content"));
    buf_puts(&b, result ? w->format->result_close : "");
    if (more) return set_text(last, &b);
    json_t *out = json_pack("{s:s, s:b}", "role", "user", "of_results", 1);
    const bool ok = out && set_text(out, &b) && !json_array_append(w->out, out);
    if (!out) buf_free(&b);
    json_decref(out);
    return ok;
}

/* Message i, an assistant's with calls; its results follow each call where a message takes one only. *done: the messages behind it that
 * were taken along, by their place. */
static bool add_message_with_calls(struct rewriting *w, size_t i, bool *done)
{
    const json_t *m = json_array_get(w->in, i), *calls = json_object_get(m, "tool_calls");
    const size_t n = json_array_size(calls);
    if (!w->take.calls) return add_as_text(w, m);
    bool first = true;
    if (has_content(m) && !w->take.with_content) {
        json_t *alone = json_copy((json_t *)m);
        if (alone) json_object_del(alone, "tool_calls");
        const bool ok = alone && !json_array_append(w->out, alone);
        json_decref(alone);
        if (!ok) return false;
        first = false;
    }
    if (w->take.many || n < 2) return add_calls(w, m, 0, n, first);
    for (size_t k = 0; k < n; k++) {
        if (!add_calls(w, m, k, k + 1, first && !k)) return false;
        const char *id = text_of(json_array_get(calls, k), "id");
        for (size_t r = i + 1; r < json_array_size(w->in) && has_role(json_array_get(w->in, r), "tool");
             r++) {
            if (done[r] || strcmp(text_of(json_array_get(w->in, r), "tool_call_id"), id) != 0) continue;
            done[r] = true;
            if (!add_result(w, json_array_get(w->in, r))) return false;
        }
    }
    return true;
}

static bool add_all(struct rewriting *w)
{
    const size_t n = json_array_size(w->in);
    bool *done = calloc(n + 1, sizeof *done), ok = done != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        json_t *m = json_array_get(w->in, i);
        const json_t *last = json_array_get(w->out, json_array_size(w->out) - 1);
        if (done[i]) continue;
        if (json_array_size(json_object_get(m, "tool_calls")))
            ok = add_message_with_calls(w, i, done);
        else if (has_role(m, "tool") ||
                 (has_role(m, "user") && json_is_true(json_object_get(last, "of_results"))))
            ok = add_result(w, m);
        else
            ok = !json_array_append(w->out, m);
    }
    free(done);
    for (size_t i = 0; i < json_array_size(w->out); i++)
        json_object_del(json_array_get(w->out, i), "of_results");
    return ok;
}

/* ---- the tools in a system message ----------------------------------------------------------------------------------------- */

/* The text behind what the message at `at` says, or in front of it; a copy takes the message's place. */
static bool join(json_t *messages, size_t at, const char *text, bool behind)
{
    json_t *m = json_copy(json_array_get(messages, at));
    struct buf b = BUF_INIT(0);
    const json_t *content = json_object_get(m, "content");
    if (!behind) buf_printf(&b, "%s\n\n", text);
    put_content(&b, content);
    if (behind && b.len) buf_puts(&b, "\n\n");
    if (behind) buf_puts(&b, text);
    const bool ok = m && set_text(m, &b) && !json_array_set(messages, at, m);
    if (!m) buf_free(&b);
    json_decref(m);
    return ok;
}

static bool add_instructions(struct rewriting *w, const struct tool_set *set)
{
    struct buf b = BUF_INIT(0);
    bool ok = w->format->instructions(set, &b);
    const json_t *first = json_array_get(w->out, 0);
    if (ok && (has_role(first, "system") || has_role(first, "developer")))
        ok = join(w->out, 0, b.data, true);
    else if (ok && (w->take.system || !first))
        ok = !json_array_insert_new(w->out, 0, json_pack("{s:s, s:s}", "role", "system", "content", b.data));
    else if (ok) /* a template without system messages */
        ok = join(w->out, 0, b.data, false);
    buf_free(&b);
    return ok;
}

bool tools_messages(const json_t *messages, const struct tool_set *set, const struct tool_format *format,
                    const struct chat_template *t, json_t **out, struct err *e)
{
    const bool instruct = set->n && set->choice != TOOL_NEVER && !chat_template_names(t, "tools");
    bool used = false;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        used |= has_role(m, "tool") || has_role(m, "function") || json_object_get(m, "tool_calls") ||
                json_object_get(m, "function_call");
    }
    if (!used && !instruct) {
        *out = json_incref((json_t *)messages);
        return true;
    }
    json_t *plain = plain_messages(messages, format, e);
    if (!plain) return false;
    struct rewriting w = {
        .format = format, .take = find_out(t, format, used), .in = plain, .out = json_array()
    };
    const bool ok = w.out && add_all(&w) && (!instruct || add_instructions(&w, set));
    json_decref(plain);
    if (ok) {
        *out = w.out;
        return true;
    }
    json_decref(w.out);
    return no_memory(e);
}
