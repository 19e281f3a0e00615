#include "text/grammar/schema_strict.h"

#include <string.h>

#include "base/buf.h"

enum { MAX_PROPERTIES = 5000, MAX_LEVELS = 10, MAX_ENUM = 1000, MAX_TEXT = 120000, MAX_DEPTH = 400 };

struct step { /* of the way from the root */
    const struct step *up;
    const char *key;
    int index; /* key NULL: an item of a list */
};

struct check {
    const char *what;
    int n_properties, n_enum;
    size_t text; /* bytes of names and constants */
    struct err *e;
};

static int write_steps(struct buf *b, const struct step *s)
{
    if (!s) return 0;
    const int n = write_steps(b, s->up);
    if (n) buf_puts(b, ", ");
    if (s->key)
        buf_printf(b, "'%.60s'", s->key);
    else
        buf_printf(b, "'%d'", s->index);
    return n + 1;
}

/* The rule that is broken, and where, as a Python tuple. */
static bool refuse(struct check *k, const struct step *at, const char *rule, const char *name)
{
    struct buf b = BUF_INIT(4096);
    const int n = write_steps(&b, at);
    err_set(k->e, ERR_REQUEST, "Invalid schema for %.80s: In context=(%.120s%s), %s%.80s%s", k->what,
            b.data ? b.data : "", n == 1 ? "," : "", rule, name ? name : "", name ? "'." : "");
    buf_free(&b);
    return false;
}

static bool check(struct check *k, const json_t *s, const struct step *at, int levels, int depth);

/* Each schema of an object of schemas. */
static bool check_map(struct check *k, const json_t *map, const char *key, const struct step *at, int levels,
                      int depth)
{
    const char *name;
    json_t *v;
    const struct step in = { at, key, 0 };
    json_object_foreach((json_t *)map, name, v)
    {
        k->text += strlen(name);
        if (!check(k, v, &(struct step){ &in, name, 0 }, levels, depth)) return false;
    }
    return true;
}

static bool is_type(const json_t *s, const char *type)
{
    const json_t *t = json_object_get(s, "type");
    bool is = json_is_string(t) && !strcmp(json_string_value(t), type);
    for (size_t i = 0; i < json_array_size(t); i++) {
        const char *one = json_string_value(json_array_get(t, i));
        is |= one && !strcmp(one, type);
    }
    return is;
}

static bool check_object(struct check *k, const json_t *s, const struct step *at, int levels, int depth)
{
    const json_t *properties = json_object_get(s, "properties"), *required = json_object_get(s, "required");
    const char *name;
    json_t *v;
    if (!json_is_false(json_object_get(s, "additionalProperties")))
        return refuse(k, at, "'additionalProperties' is required to be supplied and to be false.", NULL);
    if (properties && !json_is_object(properties))
        return refuse(k, at, "'properties' has to be an object.", NULL);
    k->n_properties += (int)json_object_size(properties);
    if (k->n_properties > MAX_PROPERTIES)
        return refuse(k, at, "there are more than 5000 properties in the whole schema.", NULL);
    json_t *has = json_object(); /* a set, so that a long list is no square */
    for (size_t i = 0; i < json_array_size(required); i++)
        if (json_is_string(json_array_get(required, i)))
            json_object_set_new(has, json_string_value(json_array_get(required, i)), json_true());
    const char *missing = NULL;
    json_object_foreach((json_t *)properties, name, v)
    {
        if (!missing && !json_object_get(has, name)) missing = name;
    }
    const bool extra = !missing && json_object_size(has) > json_object_size(properties);
    json_decref(has);
    if (missing)
        return refuse(
            k, at,
            "'required' is required to be supplied and to be an array including every key in properties. "
            "Missing '",
            missing);
    if (extra) return refuse(k, at, "'required' names what 'properties' does not have.", NULL);
    return check_map(k, properties, "properties", at, levels, depth);
}

static bool check_constants(struct check *k, const json_t *s, const struct step *at)
{
    const json_t *list = json_object_get(s, "enum"), *one = json_object_get(s, "const");
    for (size_t i = 0; i < json_array_size(list); i++) k->text += json_string_length(json_array_get(list, i));
    k->text += json_string_length(one);
    k->n_enum += (int)json_array_size(list);
    if (k->n_enum > MAX_ENUM)
        return refuse(k, at, "there are more than 1000 enum values in the whole schema.", NULL);
    if (k->text > MAX_TEXT)
        return refuse(k, at, "names and constants are longer than 120000 bytes in the whole schema.", NULL);
    return true;
}

static bool check(struct check *k, const json_t *s, const struct step *at, int levels, int depth)
{
    static const char *const not_strict[] = { "allOf",
                                              "oneOf",
                                              "not",
                                              "if",
                                              "then",
                                              "else",
                                              "dependencies",
                                              "dependentRequired",
                                              "dependentSchemas",
                                              "patternProperties",
                                              "propertyNames",
                                              "minProperties",
                                              "maxProperties",
                                              "unevaluatedProperties",
                                              "unevaluatedItems",
                                              "prefixItems",
                                              "additionalItems",
                                              "contains",
                                              "minContains",
                                              "maxContains",
                                              "uniqueItems" };
    if (!json_is_object(s)) return refuse(k, at, "a schema has to be an object.", NULL);
    if (depth > MAX_DEPTH) return refuse(k, at, "schemas nest too deep.", NULL);
    for (size_t i = 0; i < sizeof not_strict / sizeof *not_strict; i++)
        if (json_object_get(s, not_strict[i])) {
            char rule[64] = "'";
            strcat(strcat(rule, not_strict[i]), "' is not permitted.");
            return refuse(k, at, rule, NULL);
        }
    if (!json_object_get(s, "type") && !json_object_get(s, "anyOf") && !json_object_get(s, "$ref") &&
        !json_object_get(s, "enum") && !json_object_get(s, "const"))
        return refuse(k, at, "schema must have a 'type' key.", NULL);
    const bool object = is_type(s, "object") || json_object_get(s, "properties");
    const json_t *items = json_object_get(s, "items"), *any = json_object_get(s, "anyOf");
    levels += object || items;
    if (levels > MAX_LEVELS) return refuse(k, at, "there are more than 10 levels of nesting.", NULL);
    if (!check_constants(k, s, at) || (object && !check_object(k, s, at, levels, depth + 1))) return false;
    if (is_type(s, "array") && !items) return refuse(k, at, "array schema missing items.", NULL);
    if (items && !check(k, items, &(struct step){ at, "items", 0 }, levels, depth + 1)) return false;
    const struct step in = { at, "anyOf", 0 };
    for (size_t i = 0; i < json_array_size(any); i++)
        if (!check(k, json_array_get(any, i), &(struct step){ &in, NULL, (int)i }, levels, depth + 1))
            return false;
    return check_map(k, json_object_get(s, "$defs"), "$defs", at, 0, depth + 1) &&
           check_map(k, json_object_get(s, "definitions"), "definitions", at, 0, depth + 1);
}

bool schema_strict_check(const json_t *schema, const char *what, struct err *e)
{
    struct check k = { .what = what, .e = e };
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (json_object_get(schema, "anyOf")) return refuse(&k, NULL, "'anyOf' is not permitted.", NULL);
    if (!type || strcmp(type, "object") != 0)
        return err_set(e, ERR_REQUEST,
                       "Invalid schema for %.80s: schema must be a JSON Schema of 'type: \"object\"', got "
                       "'type: \"%.40s\"'.",
                       what, type ? type : "None");
    return check(&k, schema, NULL, 0, 0);
}
