/* tools.c - see tools.h. */
#include "service/tools/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"

void tool_set_free(struct tool_set *t)
{
    json_decref(t->list);
    free(t->tool);
    *t = (struct tool_set){ 0 };
}

bool tool_set_allows(const struct tool_set *t, int i)
{
    if (t->choice == TOOL_NEVER) return false;
    return t->choice == TOOL_NAMED ? i == t->named : t->tool[i].allowed;
}

/* ---- what is offered ------------------------------------------------------------------------------------------------ */

struct place { /* in the request, for errors */
    char path[64];
    bool strict_fields;
};

static bool no_memory(struct err *e) { return err_set(e, ERR_NOMEM, "out of memory"); }

/* How the value is called in an error. */
static const char *kind(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"
    };
    return v ? names[json_typeof(v)] : "nothing";
}

static bool is_name(const char *s, size_t len)
{
    if (!len || len > TOOL_NAME_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        const char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

static bool check_schema(const struct place *p, const json_t *s, struct err *e)
{
    const char *key;
    json_t *v;
    size_t i;
    if (!json_is_object(s))
        return err_set(e, ERR_REQUEST, "%s.parameters: expected a JSON Schema object, found %s", p->path,
                       kind(s));
    const json_t *type = json_object_get(s, "type"), *properties = json_object_get(s, "properties"),
                 *required = json_object_get(s, "required");
    if (type && !json_is_string(type))
        return err_set(e, ERR_REQUEST, "%s.parameters.type: must be \"object\", found %s", p->path,
                       kind(type));
    if (type && strcmp(json_string_value(type), "object") != 0)
        return err_set(e, ERR_REQUEST, "%s.parameters.type: must be \"object\", found \"%.40s\"", p->path,
                       json_string_value(type));
    if (properties && !json_is_object(properties))
        return err_set(e, ERR_REQUEST, "%s.parameters.properties: expected an object, found %s", p->path,
                       kind(properties));
    json_object_foreach((json_t *)properties, key, v)
    {
        if (!json_is_object(v) && !json_is_boolean(v))
            return err_set(e, ERR_REQUEST, "%s.parameters.properties.%.60s: expected a JSON Schema, found %s",
                           p->path, key, kind(v));
    }
    if (required && !json_is_array(required))
        return err_set(e, ERR_REQUEST, "%s.parameters.required: expected an array of names, found %s",
                       p->path, kind(required));
    json_array_foreach(required, i, v)
    {
        if (!json_is_string(v))
            return err_set(e, ERR_REQUEST, "%s.parameters.required[%zu]: expected a string, found %s",
                           p->path, i, kind(v));
    }
    return true;
}

/* One member of a function; what the template is to see of it goes into `shown`. */
static bool read_member(const struct place *p, const char *key, json_t *v, struct tool *out, json_t *shown,
                        struct err *e)
{
    if (!strcmp(key, "name")) {
        if (!json_is_string(v))
            return err_set(e, ERR_REQUEST, "%s.name: expected a string, found %s", p->path, kind(v));
        if (!is_name(json_string_value(v), json_string_length(v)))
            return err_set(e, ERR_REQUEST,
                           "%s.name: \"%.80s\" is no name for a tool; use 1 to %d of a-z, A-Z, 0-9, _ and -",
                           p->path, json_string_value(v), TOOL_NAME_MAX);
        out->name = json_string_value(v);
    } else if (!strcmp(key, "description")) {
        if (json_is_null(v)) return true;
        if (!json_is_string(v))
            return err_set(e, ERR_REQUEST, "%s.description: expected a string, found %s", p->path, kind(v));
    } else if (!strcmp(key, "parameters")) {
        if (json_is_null(v)) return true;
        if (!check_schema(p, v, e)) return false;
        out->parameters = v;
    } else if (!strcmp(key, "strict")) {
        if (!json_is_null(v) && !json_is_boolean(v))
            return err_set(e, ERR_REQUEST, "%s.strict: expected true or false, found %s", p->path, kind(v));
        out->strict = json_is_true(v);
        return true;
    } else {
        return !p->strict_fields || err_set(e, ERR_REQUEST, "%s.%.60s: unknown field", p->path, key);
    }
    return !json_object_set(shown, key, v) || no_memory(e);
}

static bool read_function(const struct place *p, json_t *f, struct tool *out, json_t *shown, struct err *e)
{
    const char *key;
    json_t *v;
    *out = (struct tool){ .allowed = true };
    if (!json_is_object(f))
        return err_set(e, ERR_REQUEST, "%s: expected an object, found %s", p->path, kind(f));
    json_object_foreach(f, key, v)
    {
        if (!read_member(p, key, v, out, shown, e)) return false;
    }
    return out->name || err_set(e, ERR_REQUEST, "%s.name: missing; every tool needs a name", p->path);
}

/* {"type": "function", "function": {...}}; a new one in *shown. */
static bool read_tool(struct place *p, json_t *in, bool legacy, struct tool *out, json_t **shown,
                      struct err *e)
{
    const char *key;
    json_t *v, *function = legacy ? in : NULL;
    const size_t at = strlen(p->path);
    bool typed = legacy;
    if (!json_is_object(in))
        return err_set(e, ERR_REQUEST, "%s: expected an object, found %s", p->path, kind(in));
    if (!legacy) {
        json_object_foreach(in, key, v)
        {
            if (!strcmp(key, "type")) {
                if (!json_is_string(v) || strcmp(json_string_value(v), "function") != 0)
                    return err_set(e, ERR_REQUEST, "%s.type: must be \"function\", found %s%.40s%s", p->path,
                                   json_is_string(v) ? "\"" : "",
                                   json_is_string(v) ? json_string_value(v) : kind(v),
                                   json_is_string(v) ? "\"" : "");
                typed = true;
            } else if (!strcmp(key, "function")) {
                function = v;
            } else if (p->strict_fields) {
                return err_set(e, ERR_REQUEST, "%s.%.60s: unknown field", p->path, key);
            }
        }
        if (!typed) return err_set(e, ERR_REQUEST, "%s.type: missing; must be \"function\"", p->path);
        if (!function)
            return err_set(e, ERR_REQUEST, "%s.function: missing; it describes the function", p->path);
        snprintf(p->path + at, sizeof p->path - at, ".function");
    }
    json_t *f = json_object();
    *shown = f ? json_pack("{s:s, s:O}", "type", "function", "function", f) : NULL;
    const bool ok = *shown ? read_function(p, function, out, f, e) : no_memory(e);
    json_decref(f);
    if (ok) return true;
    json_decref(*shown);
    *shown = NULL;
    return false;
}

bool tool_set_read(struct tool_set *t, const json_t *tools, const char *field, bool legacy,
                   bool strict_fields, struct err *e)
{
    const size_t n = json_array_size(tools);
    struct tool_set s = { .legacy = legacy };
    if (!tools || json_is_null(tools)) return true;
    if (!json_is_array(tools))
        return err_set(e, ERR_REQUEST, "%s: expected an array of tools, found %s", field, kind(tools));
    if (n > TOOLS_MAX)
        return err_set(e, ERR_REQUEST, "%s: %zu tools are offered, at most %d may be", field, n, TOOLS_MAX);
    if (!n) return true;
    s.list = json_array();
    s.tool = calloc(n, sizeof *s.tool);
    bool ok = (s.list && s.tool) || no_memory(e);
    for (size_t i = 0; ok && i < n; i++) {
        struct place p = { .strict_fields = strict_fields };
        json_t *shown = NULL;
        snprintf(p.path, sizeof p.path, "%.32s[%zu]", field, i);
        ok = read_tool(&p, json_array_get(tools, i), legacy, &s.tool[i], &shown, e);
        for (int k = 0; ok && k < s.n; k++)
            if (!strcmp(s.tool[k].name, s.tool[i].name))
                ok = err_set(e, ERR_REQUEST, "%s.name: \"%s\" is the name of %.32s[%d] already", p.path,
                             s.tool[i].name, field, k);
        if (ok && json_array_append(s.list, shown)) ok = no_memory(e);
        json_decref(shown);
        s.n++;
    }
    if (!ok) {
        tool_set_free(&s);
        return false;
    }
    *t = s;
    return true;
}

/* ---- which of them ------------------------------------------------------------------------------------------------- */

static bool find_tool(const struct tool_set *t, const json_t *name, const char *path, int *out, struct err *e)
{
    if (!json_is_string(name))
        return err_set(e, ERR_REQUEST, "%s: expected the name of a tool, found %s", path, kind(name));
    for (*out = 0; *out < t->n; ++*out)
        if (!strcmp(t->tool[*out].name, json_string_value(name))) return true;
    return err_set(e, ERR_REQUEST, "%s: no tool \"%.80s\" is offered%s", path, json_string_value(name),
                   t->n ? "" : "; tools is empty");
}

/* {"type": "function", "function": {"name": ...}} or with the name beside the type. */
static bool find_function(const struct tool_set *t, const json_t *v, const char *path, int *out,
                          struct err *e)
{
    char at[96];
    const json_t *type = json_object_get(v, "type"), *f = json_object_get(v, "function");
    if (!json_is_object(v)) return err_set(e, ERR_REQUEST, "%s: expected an object, found %s", path, kind(v));
    if (!json_is_string(type) || strcmp(json_string_value(type), "function") != 0)
        return err_set(e, ERR_REQUEST, "%s.type: must be \"function\"", path);
    if (f && !json_is_object(f))
        return err_set(e, ERR_REQUEST, "%s.function: expected an object, found %s", path, kind(f));
    snprintf(at, sizeof at, "%.64s%s.name", path, f ? ".function" : "");
    return find_tool(t, json_object_get(f ? f : v, "name"), at, out, e);
}

static bool choose_allowed(struct tool_set *t, const json_t *v, const char *field, struct err *e)
{
    const json_t *in = json_object_get(v, "allowed_tools"), *one;
    const char *inside = in ? ".allowed_tools" : "";
    bool allowed[TOOLS_MAX] = { false };
    char path[96];
    size_t i;
    int mode, at;
    if (!in) in = v;
    const json_t *tools = json_object_get(in, "tools");
    const char *how = json_string_value(json_object_get(in, "mode"));
    if (!words_have("auto|required", how ? how : "", &mode))
        return err_set(e, ERR_REQUEST, "%.40s%s.mode: must be \"auto\" or \"required\"", field, inside);
    if (!json_array_size(tools))
        return err_set(e, ERR_REQUEST, "%.40s%s.tools: expected an array with at least one tool, found %s",
                       field, inside, json_is_array(tools) ? "an empty one" : kind(tools));
    json_array_foreach(tools, i, one)
    {
        snprintf(path, sizeof path, "%.40s%s.tools[%zu]", field, inside, i);
        if (!find_function(t, one, path, &at, e)) return false;
        allowed[at] = true;
    }
    for (at = 0; at < t->n; at++) t->tool[at].allowed = allowed[at];
    t->choice = mode ? TOOL_REQUIRED : TOOL_AUTO;
    return true;
}

static bool choose_by_word(struct tool_set *t, const char *word, const char *field, struct err *e)
{
    static const enum tool_choice meant[] = { TOOL_AUTO, TOOL_NEVER, TOOL_REQUIRED, TOOL_REQUIRED };
    const char *words = t->legacy ? "auto|none" : "auto|none|required|any";
    int i;
    if (!words_have(words, word, &i))
        return err_set(e, ERR_REQUEST, "%s: \"%.40s\" is none of auto, none%s", field, word,
                       t->legacy ? " and a function's name in an object"
                                 : ", required and an object that names a function");
    if (meant[i] == TOOL_REQUIRED && !t->n)
        return err_set(e, ERR_REQUEST, "%s: \"%.40s\" needs tools, and none are offered", field, word);
    t->choice = meant[i];
    return true;
}

bool tool_set_choose(struct tool_set *t, const json_t *choice, const char *field, struct err *e)
{
    char path[96];
    int named;
    if (!choice || json_is_null(choice)) return true;
    if (json_is_string(choice)) return choose_by_word(t, json_string_value(choice), field, e);
    if (!json_is_object(choice))
        return err_set(e, ERR_REQUEST, "%s: expected a string or an object, found %s", field, kind(choice));
    const char *type = json_string_value(json_object_get(choice, "type"));
    if (!t->legacy && type && !strcmp(type, "allowed_tools")) return choose_allowed(t, choice, field, e);
    if (t->legacy) {
        snprintf(path, sizeof path, "%.64s.name", field);
        if (!find_tool(t, json_object_get(choice, "name"), path, &named, e)) return false;
    } else if (!find_function(t, choice, field, &named, e)) {
        return false;
    }
    t->choice = TOOL_NAMED;
    t->named = named;
    return true;
}
