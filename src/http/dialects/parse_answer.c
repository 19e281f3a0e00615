/* parse_answer.c - what the answer must be: response_format in every shape that clients send, and the fields of other servers that mean
 * the same. Whether a schema, a grammar or an expression is right is found out when it is compiled (service/generate.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/parse.h"
#include "http/json_in.h"

/* A schema that comes as a string has no more in it than a body may have that the server takes as it comes. */
static const struct json_limits text_limits = { 128, 100000 };

/* As OpenAI words it, which its clients look for. */
static bool missing(const char *place, struct fault *f)
{
    f->param = place;
    return err_set(&f->err, ERR_REQUEST, "Missing required parameter: '%s'.", place);
}

/* Two fields may say the same; they may not say two things. Takes a reference to schema, copies text. */
static bool set_form(struct wire_request *w, enum form_kind kind, json_t *schema, const char *text,
                     size_t len, const char *name, struct fault *f)
{
    struct answer_form *a = &w->gen.answer;
    if (a->kind != FORM_ANY) {
        const bool same = a->kind == kind && (!schema || json_equal(a->schema, schema)) &&
                          (!text || (a->len == len && !memcmp(a->text, text, len)));
        f->param = name;
        return same || err_set(&f->err, ERR_REQUEST, "%s and %s disagree; give one of them", a->from, name);
    }
    if (text && !(a->text = strndup(text, len))) return parse_no_memory(f);
    a->kind = kind;
    a->schema = json_incref(schema);
    a->len = len;
    a->from = name;
    return true;
}

/* A schema as an object, or as JSON in a string; `place` names it. New reference, or NULL. */
static json_t *schema_of(const json_t *v, const char *place, const char *name, struct fault *f)
{
    json_t *schema;
    if (json_is_object(v)) return json_incref((json_t *)v);
    if (!json_is_string(v)) return json_in_bad(v, place, "a JSON Schema as an object", f), NULL;
    if (json_in_parse(json_string_value(v), json_string_length(v), &text_limits, &schema, f)) return schema;
    f->param = name; /* json_in_parse() speaks of bodies */
    return err_wrap(&f->err, "%s, read as JSON", place), NULL;
}

static bool set_schema(struct wire_request *w, const json_t *v, const char *place, const char *name,
                       struct fault *f)
{
    json_t *schema = schema_of(v, place, name, f);
    const bool ok = schema && set_form(w, FORM_SCHEMA, schema, NULL, 0, name, f);
    json_decref(schema);
    return ok;
}

static bool set_text(struct wire_request *w, enum form_kind kind, const json_t *v, const char *place,
                     const char *name, struct fault *f)
{
    if (!v) return missing(place, f);
    if (json_is_string(v) && json_string_length(v))
        return set_form(w, kind, NULL, json_string_value(v), json_string_length(v), name, f);
    return json_in_bad(
        v, place, kind == FORM_GRAMMAR ? "a grammar as a string" : "a regular expression as a string", f);
}

static void put_literal(struct buf *b, const char *s, size_t len)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') buf_putc(b, '\\');
        if (c < ' ')
            buf_printf(b, "\\x%02x", c);
        else
            buf_putc(b, s[i]);
    }
    buf_putc(b, '"');
}

/* One of several texts: a grammar of its own. */
static bool set_choice(struct wire_request *w, const json_t *v, const char *place, const char *name,
                       struct fault *f)
{
    struct buf b = BUF_INIT(0);
    size_t i;
    const json_t *word;
    bool ok = json_array_size(v) > 0;
    buf_puts(&b, "root ::= ");
    json_array_foreach(v, i, word)
    {
        ok &= json_is_string(word) && json_string_length(word);
        if (!ok) break;
        if (i) buf_puts(&b, " | ");
        put_literal(&b, json_string_value(word), json_string_length(word));
    }
    if (!ok)
        json_in_bad(v, place, "an array of texts, none of them empty", f);
    else
        ok = b.failed ? parse_no_memory(f) : set_form(w, FORM_GRAMMAR, NULL, b.data, b.len, name, f);
    buf_free(&b);
    return ok;
}

/* ---- response_format ----------------------------------------------------------------------------------------------- */

static bool check_name(const struct wire_request *w, const json_t *spec, struct fault *f)
{
    static const char place[] = "response_format.json_schema.name",
                      letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    const json_t *v = parse_given(spec, "name");
    const char *s = json_string_value(v);
    if (w->style->dialect != DIALECT_OPENAI && (!v || s)) return true;
    if (!v) return missing(place, f);
    const size_t n = json_string_length(v);
    if (s && n >= 1 && n <= 64 && strspn(s, letters) == n) return true;
    return json_in_bad(v, place, "1 to 64 letters, digits, _ and -", f);
}

/* {"name", "description", "schema", "strict"}; or the schema itself, which has no "schema" in it; or either as a string. */
static bool read_json_schema(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    static const char place[] = "response_format.json_schema", inner[] = "response_format.json_schema.schema";
    json_t *spec = schema_of(v, place, name, f);
    const json_t *schema = parse_given(spec, "schema"), *about = parse_given(spec, "description");
    bool strict = false, ok = spec != NULL;
    if (ok && !schema && (json_object_get(spec, "name") || !json_object_size(spec))) {
        ok = missing(inner, f);
    } else if (ok && !schema) {
        ok = set_form(w, FORM_SCHEMA, spec, NULL, 0, name, f);
    } else if (ok) {
        ok = json_in_members(spec, "name description schema strict", "response_format.json_schema.",
                             w->strict, name, f) &&
             check_name(w, spec, f);
        if (ok && about && !json_is_string(about))
            ok = json_in_bad(about, "response_format.json_schema.description", "a string", f);
        if (ok && parse_given(spec, "strict"))
            ok = json_in_bool(parse_given(spec, "strict"), "response_format.json_schema.strict", &strict, f);
        ok = ok && set_schema(w, schema, inner, name, f);
    }
    /* Enforced to the letter either way; OpenAI's strict schemas must be of a narrow kind besides. */
    w->gen.answer.strict = strict && w->style->dialect == DIALECT_OPENAI;
    json_decref(spec);
    return ok;
}

static bool read_response_format(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    static const char path[] = "response_format.";
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *schema = parse_given(v, "schema"), *named = parse_given(v, "json_schema");
    if (!type) return json_in_bad(v, name, "an object with a type", f);
    f->param = name;
    if (!strcmp(type, "text")) return json_in_members(v, "type", path, w->strict, name, f);
    if (!strcmp(type, "grammar")) {
        return json_in_members(v, "type grammar", path, w->strict, name, f) &&
               set_text(w, FORM_GRAMMAR, json_object_get(v, "grammar"), "response_format.grammar", name, f);
    }
    if (!strcmp(type, "regex")) {
        const json_t *pattern = parse_given(v, "pattern");
        return json_in_members(v, "type pattern regex", path, w->strict, name, f) &&
               set_text(w, FORM_REGEX, pattern ? pattern : json_object_get(v, "regex"),
                        "response_format.pattern", name, f);
    }
    if (strcmp(type, "json_object") != 0 && strcmp(type, "json_schema") != 0)
        return err_set(&f->err, strcmp(type, "structural_tag") ? ERR_REQUEST : ERR_UNSUPPORTED,
                       "response_format.type must be one of text, json_object, json_schema, grammar, regex, "
                       "got \"%.40s\"",
                       type);
    if (!json_in_members(v, "type schema json_schema", path, w->strict, name, f)) return false;
    /* Fireworks' objects that list properties admit no others. */
    w->gen.answer.closed = (schema || named) && w->style->dialect == DIALECT_FIREWORKS;
    if (schema && !set_schema(w, schema, "response_format.schema", name, f)) return false;
    if (named && !read_json_schema(w, named, name, f)) return false;
    if (schema || named) return true;
    if (!strcmp(type, "json_schema")) return missing("response_format.json_schema", f);
    return set_form(w, FORM_JSON, NULL, NULL, 0, name, f);
}

/* ---- other servers' spellings -------------------------------------------------------------------------------------- */

/* {"json": ..., "regex": ..., "choice": [...], "grammar": ..., "json_object": true}: one of them. */
static bool read_structured_outputs(struct wire_request *w, const json_t *v, const char *name,
                                    struct fault *f)
{
    static const char known[] = "json regex choice grammar json_object structural_tag disable_fallback "
                                "disable_any_whitespace disable_additional_properties whitespace_pattern";
    static const char *const refused[] = { "structural_tag", "disable_any_whitespace", "whitespace_pattern" };
    const json_t *json = parse_given(v, "json"), *regex = parse_given(v, "regex"),
                 *choice = parse_given(v, "choice"), *grammar = parse_given(v, "grammar");
    const bool any_json = json_is_true(json_object_get(v, "json_object"));
    if (!json_is_object(v)) return json_in_bad(v, name, "an object", f);
    if (!json_in_members(v, known, "structured_outputs.", w->strict, name, f)) return false;
    f->param = name;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const json_t *r = parse_given(v, refused[i]);
        if (r && !json_is_false(r))
            return err_set(&f->err, ERR_UNSUPPORTED, "structured_outputs.%s is not supported by this server",
                           refused[i]);
    }
    if (!!json + !!regex + !!choice + !!grammar + any_json != 1)
        return err_set(&f->err, ERR_REQUEST,
                       "structured_outputs must hold one of json, regex, choice, grammar, json_object");
    if (json_is_true(json_object_get(v, "disable_additional_properties"))) w->gen.answer.closed = true;
    if (json) return set_schema(w, json, "structured_outputs.json", name, f);
    if (regex) return set_text(w, FORM_REGEX, regex, "structured_outputs.regex", name, f);
    if (choice) return set_choice(w, choice, "structured_outputs.choice", name, f);
    if (grammar) return set_text(w, FORM_GRAMMAR, grammar, "structured_outputs.grammar", name, f);
    return set_form(w, FORM_JSON, NULL, NULL, 0, name, f);
}

static bool read_schema(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    return set_schema(w, v, name, name, f);
}
static bool read_regex(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    return set_text(w, FORM_REGEX, v, name, name, f);
}
static bool read_grammar(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    /* Clients of llama.cpp send "" for none. */
    if (json_is_string(v) && !json_string_length(v)) return true;
    return set_text(w, FORM_GRAMMAR, v, name, name, f);
}
static bool read_choice(struct wire_request *w, const json_t *v, const char *name, struct fault *f)
{
    return set_choice(w, v, name, name, f);
}

/* ---- together ------------------------------------------------------------------------------------------------------ */

static bool has_json(const json_t *text)
{
    const char *s = json_string_value(text);
    return s && strcasestr(s, "json");
}

static bool mentions_json(const json_t *messages)
{
    size_t i, k;
    const json_t *m, *part;
    json_array_foreach(messages, i, m)
    {
        const json_t *content = json_object_get(m, "content");
        if (has_json(content)) return true;
        json_array_foreach(content, k, part) if (has_json(json_object_get(part, "text"))) return true;
    }
    return false;
}

bool parse_answer(struct wire_request *w, const json_t *body, struct fault *f)
{
    static const struct {
        const char *name;
        bool (*read)(struct wire_request *w, const json_t *v, const char *name, struct fault *f);
    } fields[] = {
        { "response_format", read_response_format },
        { "guided_json", read_schema },
        { "guided_regex", read_regex },
        { "guided_choice", read_choice },
        { "guided_grammar", read_grammar },
        { "structured_outputs", read_structured_outputs },
        { "json_schema", read_schema },
        { "grammar", read_grammar },
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *v = parse_given(body, fields[i].name);
        if (v && !fields[i].read(w, v, fields[i].name, f)) return false;
    }
    const struct answer_form *a = &w->gen.answer;
    /* Asked for "any JSON" a model that was not told so may write blanks until its tokens run out; OpenAI refuses it. */
    if (a->kind == FORM_JSON && !strcmp(a->from, "response_format") && w->chat &&
        w->style->dialect == DIALECT_OPENAI && !mentions_json(w->gen.messages)) {
        f->param = "messages";
        return err_set(
            &f->err, ERR_REQUEST,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.");
    }
    return true;
}
