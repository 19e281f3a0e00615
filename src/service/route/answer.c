/* answer.c - see answer.h. Events as the HTML standard has them (9.2.6). */
#include "service/route/answer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "service/route/json_splice.h"

/* ---- events -------------------------------------------------------------------------------------------------------- */

void event_reader_init(struct event_reader *r, size_t most)
{
    *r = (struct event_reader){ .line = BUF_INIT(most), .data = BUF_INIT(most) };
}

void event_reader_free(struct event_reader *r)
{
    buf_free(&r->line);
    buf_free(&r->data);
}

static bool take_line(struct event_reader *r, struct err *e)
{
    const char *s = r->line.data;
    size_t n = r->line.len;
    if (n < 5 || memcmp(s, "data:", 5) != 0) return true;
    s += 5, n -= 5;
    if (n && *s == ' ') s++, n--;
    if (r->has_data) buf_putc(&r->data, '\n');
    r->has_data = true;
    buf_append(&r->data, s, n);
    return !r->data.failed || err_set(e, ERR_LIMIT, "an event of more than %zu bytes", r->data.max);
}

bool event_reader_feed(struct event_reader *r, const char *bytes, size_t n,
                       bool (*fn)(void *arg, const char *data, size_t len, struct err *e), void *arg,
                       struct err *e)
{
    const char *end = bytes + n;
    while (bytes < end) {
        if (r->after_return && *bytes == '\n') bytes++; /* of one end of a line the second byte */
        r->after_return = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r') stop++;
        if (stop > bytes && !buf_append(&r->line, bytes, (size_t)(stop - bytes)))
            return err_set(e, ERR_LIMIT, "a line of more than %zu bytes", r->line.max);
        if (stop == end) break;
        r->after_return = *stop == '\r';
        bytes = stop + 1;
        if (r->line.len) {
            if (!take_line(r, e)) return false;
            buf_clear(&r->line);
            continue;
        }
        if (!r->has_data) continue;
        r->has_data = false;
        const bool go = fn(arg, r->data.data ? r->data.data : "", r->data.len, e);
        buf_clear(&r->data);
        if (!go) return false;
    }
    return true;
}

/* ---- what it says -------------------------------------------------------------------------------------------------- */

static int count(const json_t *of, const char *name)
{
    const json_t *v = json_object_get(of, name);
    const json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    return n < 0 ? 0 : n > INT_MAX / 4 ? INT_MAX / 4 : (int)n;
}

/* Names of chat completions, and of those APIs that say input and output. */
static void read_usage(struct answer *a, const json_t *u)
{
    const json_t *details = json_object_get(u, "prompt_tokens_details"),
                 *thought = json_object_get(u, "completion_tokens_details");
    if (!json_is_object(u)) return;
    a->has_usage = true;
    a->usage.prompt_tokens = count(u, "prompt_tokens") + count(u, "input_tokens");
    a->usage.completion_tokens = count(u, "completion_tokens") + count(u, "output_tokens");
    a->usage.cached_tokens = count(details, "cached_tokens");
    if (a->usage.cached_tokens > a->usage.prompt_tokens) a->usage.cached_tokens = a->usage.prompt_tokens;
    a->usage.reasoning_tokens = count(thought, "reasoning_tokens");
}

static bool says_something(const json_t *choice)
{
    const json_t *delta = json_object_get(choice, "delta"), *text = json_object_get(choice, "text");
    if (json_is_string(text)) return json_string_length(text) > 0;
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)delta, name, v)
    {
        const bool empty = json_is_null(v) || (json_is_string(v) && !json_string_length(v));
        if (strcmp(name, "role") != 0 && !empty) return true;
    }
    return false;
}

static void read_error(struct answer *a, const json_t *error)
{
    if (!error || json_is_null(error)) return;
    const json_t *m = json_object_get(error, "message");
    const char *text = json_string_value(m ? m : error);
    a->failed = true;
    snprintf(a->message, sizeof a->message, "%s", text ? text : "");
}

bool answer_read(struct answer *a, const char *json, size_t len, struct err *e)
{
    json_error_t why;
    json_t *root = json_memory_load(json, len, 0, &why);
    *a = (struct answer){ .has_usage = false };
    if (!json_is_object(root)) {
        const bool parsed = root != NULL;
        json_decref(root);
        return err_set(e, ERR_FORMAT, "%s", parsed ? "JSON that is no object" : "no whole JSON");
    }
    const json_t *choices = json_object_get(root, "choices"), *data = json_object_get(root, "data");
    read_usage(a, json_object_get(root, "usage"));
    read_error(a, json_object_get(root, "error"));
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *c = json_array_get(choices, i);
        a->n_choices++;
        a->n_finished += json_is_string(json_object_get(c, "finish_reason"));
        a->n_said += says_something(c);
    }
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *d = json_array_get(data, i);
        a->n_pictures += json_object_get(d, "b64_json") || json_object_get(d, "url");
    }
    json_decref(root);
    return true;
}

/* ---- for the client ------------------------------------------------------------------------------------------------ */

static bool quoted(struct buf *out, const char *s)
{
    json_t *v = json_string(s);
    char *text = v ? json_memory_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    const bool ok = text && buf_puts(out, text);
    free(text);
    json_decref(v);
    return ok;
}

/* usage with our price in place of theirs. */
static bool price_usage(struct buf *out, const char *json, size_t len, const char *cost)
{
    struct json_span usage, theirs;
    struct buf ours = BUF_INIT(0);
    if (!json_splice_find(json, len, "usage", &usage) ||
        !json_splice_find(json + usage.value, usage.end - usage.value, "cost", &theirs))
        return buf_append(out, json, len);
    const bool ok =
        json_splice_set(&ours, json + usage.value, usage.end - usage.value, "cost", cost, strlen(cost)) &&
        json_splice_set(out, json, len, "usage", ours.data, ours.len);
    buf_free(&ours);
    return ok;
}

bool answer_spell(struct buf *out, const char *json, size_t len, const struct answer_spelling *s)
{
    struct buf name = BUF_INIT(0), a = BUF_INIT(0), b = BUF_INIT(0);
    struct json_span m;
    bool ok = true;
    if (s->model && json_splice_find(json, len, "model", &m)) {
        ok = quoted(&name, s->model) && json_splice_set(&a, json, len, "model", name.data, name.len);
        json = a.data, len = a.len;
    }
    if (ok && s->cost) {
        ok = price_usage(&b, json, len, s->cost);
        json = b.data, len = b.len;
    }
    ok = ok && (s->no_usage ? json_splice_drop(out, json, len, "usage") : buf_append(out, json, len));
    buf_free(&name);
    buf_free(&a);
    buf_free(&b);
    return ok;
}

void answer_hide(char *message, const char *secret)
{
    const size_t n = secret ? strlen(secret) : 0;
    for (char *at = message; n > 3 && (at = strstr(at, secret));) {
        at[0] = at[1] = at[2] = '.';
        memmove(at + 3, at + n, strlen(at + n) + 1);
        at += 3;
    }
}
