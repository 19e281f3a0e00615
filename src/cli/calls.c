#include "cli/calls.h"

#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"

enum { MAX_CALLS = 4096, MAX_ARGUMENTS = 16 << 20 };

static bool grow(struct calls *c)
{
    struct call *v = c->n < MAX_CALLS ? realloc(c->v, ((size_t)c->n + 1) * sizeof *v) : NULL;
    if (!v) return false;
    c->v = v;
    v[c->n++] = (struct call){ .arguments = BUF_INIT(MAX_ARGUMENTS) };
    return true;
}

static void keep(char **field, const char *value, bool *failed)
{
    if (!value || *field) return;
    *field = strdup(value);
    if (!*field) *failed = true;
}

void calls_add(struct calls *c, int call, const char *id, const char *name, const char *piece, size_t len)
{
    if (c->failed) return;
    if (call < 0 || call > c->n || (call == c->n && !grow(c))) {
        c->failed = true;
        return;
    }
    struct call *one = &c->v[call];
    keep(&one->id, id, &c->failed);
    keep(&one->name, name, &c->failed);
    c->failed |= !buf_append(&one->arguments, piece, len);
}

void calls_clear(struct calls *c)
{
    for (int i = 0; i < c->n; i++) {
        free(c->v[i].id);
        free(c->v[i].name);
        buf_free(&c->v[i].arguments);
    }
    free(c->v);
    *c = (struct calls){ 0 };
}

static json_t *message_call(const struct call *one)
{
    const char *arguments = one->arguments.data ? one->arguments.data : "";
    json_t *object = json_memory_load(arguments, one->arguments.len, 0, NULL), *out = NULL;
    if (one->name && json_is_object(object))
        out = json_pack("{s:s, s:s, s:{s:s, s:s%}}", "id", one->id ? one->id : "", "type", "function",
                        "function", "name", one->name, "arguments", arguments, one->arguments.len);
    json_decref(object);
    return out;
}

json_t *calls_message(const struct calls *c, const char *text, size_t len, struct err *e)
{
    json_t *list = json_array();
    for (int i = 0; i < c->n && !c->failed; i++) {
        json_t *one = message_call(&c->v[i]);
        if (one && !json_array_append_new(list, one)) continue;
        json_decref(list);
        err_set(e, ERR_FORMAT, "the call of %s is not whole: its arguments are %.100s",
                c->v[i].name ? c->v[i].name : "a tool",
                c->v[i].arguments.data ? c->v[i].arguments.data : "missing");
        return NULL;
    }
    json_t *m = c->failed ? NULL
                          : json_pack("{s:s, s:s%, s:O}", "role", "assistant", "content", text ? text : "",
                                      len, "tool_calls", list);
    json_decref(list);
    if (!m) err_set(e, ERR_NOMEM, "out of memory");
    return m;
}
