/* spelling.c - see spelling.h. */
#include "service/tools/spelling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"

/* A literal of GBNF. */
static void put_literal(struct buf *b, const char *s)
{
    buf_puts(b, " \"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_printf(b, "\\%c", *s);
        else if (*s == '\n')
            buf_puts(b, "\\n");
        else
            buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

static void put_if(struct buf *b, const char *s)
{
    if (*s) put_literal(b, s);
}

/* The schema of a tool's arguments: an object, also where it does not say so; without parameters an empty one. */
static bool add_schema(const struct tool *t, const char *name, json_t *schemas)
{
    json_t *s =
        t->parameters ? json_copy((json_t *)t->parameters) : json_pack("{s:b}", "additionalProperties", 0);
    if (s && !json_object_get(s, "type") && json_object_set_new(s, "type", json_string("object"))) {
        json_decref(s);
        return false;
    }
    return s && !json_object_set_new(schemas, name, s);
}

/* What can be called, in spelling k. */
static bool put_calls(const struct spelling *s, int k, const struct tool_set *set, struct buf *gbnf)
{
    const char *bar = "";
    buf_printf(gbnf, "call-%d ::=", k);
    put_if(gbnf, s->before_name);
    buf_puts(gbnf, " (");
    for (int i = 0; i < set->n; i++) {
        if (!tool_set_allows(set, i)) continue;
        buf_puts(gbnf, bar);
        put_literal(gbnf, set->tool[i].name);
        put_if(gbnf, s->before_arguments);
        buf_printf(gbnf, " arguments-%d", i);
        bar = " |";
    }
    buf_puts(gbnf, " )");
    put_if(gbnf, s->behind);
    return buf_putc(gbnf, '\n');
}

bool spelling_grammar(const struct spelling *s, int n, const struct tool_set *set, struct buf *gbnf,
                      json_t *schemas)
{
    char name[32];
    const bool one = set->one || set->choice == TOOL_NAMED;
    buf_puts(gbnf, "root ::=");
    for (int k = 0; k < n; k++) {
        if (k) buf_puts(gbnf, " |");
        if (s[k].space) buf_puts(gbnf, " \" \"?");
        put_if(gbnf, s[k].open);
        buf_printf(gbnf, " call-%d", k);
        if (!one && !s[k].single) {
            buf_puts(gbnf, " (");
            put_if(gbnf, s[k].between);
            buf_printf(gbnf, " call-%d )*", k);
        }
        put_if(gbnf, s[k].close);
    }
    buf_putc(gbnf, '\n');
    for (int k = 0; k < n; k++) put_calls(&s[k], k, set, gbnf);
    for (int i = 0; i < set->n; i++) {
        if (!tool_set_allows(set, i)) continue;
        snprintf(name, sizeof name, "arguments-%d", i);
        if (!add_schema(&set->tool[i], name, schemas)) return false;
    }
    return !gbnf->failed;
}

bool spelling_rewrite(const struct spelling *s, const json_t *calls, struct buf *out)
{
    size_t i;
    const json_t *call;
    buf_puts(out, s->mark ? s->mark : "");
    if (s->space) buf_putc(out, ' ');
    buf_puts(out, s->open);
    json_array_foreach(calls, i, call)
    {
        const json_t *f = json_object_get(call, "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        const json_t *arguments = json_object_get(f, "arguments");
        char *text = json_is_object(arguments) ? json_memory_dumps(arguments, 0) : strdup("{}");
        if (!text) return false;
        if (i) buf_puts(out, s->between);
        buf_puts(out, s->before_name);
        buf_puts(out, name ? name : "");
        buf_puts(out, s->before_arguments);
        buf_puts(out, text);
        buf_puts(out, s->behind);
        free(text);
    }
    return buf_puts(out, s->close);
}

bool spelling_list(const struct tool_set *set, const char *before, const char *behind, struct buf *out)
{
    buf_puts(out, before);
    for (int i = 0; i < set->n; i++) {
        if (!tool_set_allows(set, i)) continue;
        char *text = json_memory_dumps(json_array_get(set->list, (size_t)i), 0);
        if (!text) return false;
        buf_puts(out, text);
        buf_putc(out, '\n');
        free(text);
    }
    return buf_puts(out, behind);
}
