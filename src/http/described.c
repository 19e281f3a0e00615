/* described.c - see described.h. */
#include "http/described.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "format/json_memory.h"
#include "http/dialects/embeddings.h"
#include "http/dialects/picture_dialect.h"
#include "http/shape.h"

static const struct described described[] = {
#define DESCRIBED(...) { __VA_ARGS__ },
#include "http/described.def"
#undef DESCRIBED
    { .path = NULL },
};

static const char *const bases[] = { "", "/v1", "/inference/v1" };
enum { N_BASES = sizeof bases / sizeof *bases, MOST_PATH = 200 };

static const char *method_name(enum http_method m)
{
    return m == METHOD_GET ? "get" : m == METHOD_POST ? "post" : m == METHOD_DELETE ? "delete" : "patch";
}

/* A path under a base: the route that answers it, or NULL where that base has none. */
static const struct route *route_under(const char *base, const char *path, enum http_method m,
                                       char full[MOST_PATH])
{
    unsigned allowed;
    const char *tail;
    snprintf(full, MOST_PATH, "%s%s", base, path);
    const struct route *r = routes_find(m, full, &tail, &allowed);
    return r && (r->base == BASE_ROOT) == !*base ? r : NULL;
}

/* ---- as OpenAPI ---------------------------------------------------------------------------------------------------- */

struct writer {
    json_t *paths, *schemas;
    struct described_server server;
    bool ok;
};

/* Takes over v. */
static void put(struct writer *w, json_t *o, const char *key, json_t *v)
{
    w->ok = o && v && !json_object_set_new(o, key, v) && w->ok;
}

static void add(struct writer *w, json_t *array, json_t *v)
{
    w->ok = array && v && !json_array_append_new(array, v) && w->ok;
}

/* "v1_chat_completions" */
static void as_name(const char *path, char out[MOST_PATH])
{
    size_t n = 0;
    for (const char *p = path; *p && n < MOST_PATH - 1; p++) {
        const bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (letter)
            out[n++] = *p;
        else if (n && out[n - 1] != '_')
            out[n++] = '_';
    }
    while (n && out[n - 1] == '_') n--;
    out[n] = 0;
}

static json_t *reference(const char *name)
{
    char at[MOST_PATH + 32];
    snprintf(at, sizeof at, "#/components/schemas/%s", name);
    return json_pack("{s:s}", "$ref", at);
}

/* A field may be null, which is as if it was not there. */
static json_t *field_schema(const struct json_member *m)
{
    json_t *one = shape_schema(m->shape);
    if (!json_object_size(one)) return one;
    return json_pack("{s:[o, {s:s}]}", "anyOf", one, "type", "null");
}

static json_t *body_schema(struct writer *w, const struct described *d)
{
    json_t *o = json_pack("{s:s}", "type", "object"), *properties = json_object(), *required = json_array(),
           *refused = json_array();
    for (size_t i = 0; i < d->fields->n; i++) {
        const struct json_member *m = (const void *)((const char *)d->fields->rows + i * d->fields->size);
        if (!(m->forms & d->form)) continue;
        if (shape_refused(m->shape)) {
            add(w, refused, json_string(m->name));
            continue;
        }
        put(w, properties, m->name, shape_required(m->shape) ? shape_schema(m->shape) : field_schema(m));
        if (shape_required(m->shape)) add(w, required, json_string(m->name));
    }
    /* Refused but for the values that ask for nothing. */
    const bool some = json_array_size(refused) > 0, must = json_array_size(required) > 0;
    put(w, o, "properties", properties);
    if (must)
        put(w, o, "required", required);
    else
        json_decref(required);
    if (w->server.strict && !some) put(w, o, "additionalProperties", json_false());
    if (some)
        put(w, o, "x-refused", refused);
    else
        json_decref(refused);
    return o;
}

/* The name of the schema of a row's body, which the first row with that body gives it. */
static void body_name(const struct described *d, char out[MOST_PATH])
{
    const struct described *first = described;
    while (first->fields != d->fields || first->form != d->form) first++;
    as_name(first->path, out);
}

static json_t *body_of(struct writer *w, const struct described *d)
{
    char name[MOST_PATH];
    if (!d->fields) return json_pack("{s:s}", "type", "object");
    body_name(d, name);
    if (!json_object_get(w->schemas, name)) put(w, w->schemas, name, body_schema(w, d));
    return reference(name);
}

/* "NAME:SHAPE NAME:SHAPE" */
static json_t *reply_schema(struct writer *w, const char *members)
{
    json_t *o = json_pack("{s:s}", "type", "object"), *properties = json_object(), *required = json_array();
    for (const char *s = members; *s;) {
        char name[60], shape[100];
        const size_t n = strcspn(s, ":"), len = strcspn(s + n + 1, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, s);
        snprintf(shape, sizeof shape, "%.*s", (int)len, s + n + 1);
        put(w, properties, name, shape_schema(shape));
        add(w, required, json_string(name));
        s += n + 1 + len;
        s += *s == ' ';
    }
    put(w, o, "properties", properties);
    put(w, o, "required", required);
    return o;
}

static void put_type(struct writer *w, json_t *content, const char *type, json_t *schema)
{
    put(w, content, type, schema ? json_pack("{s:o}", "schema", schema) : json_object());
}

static json_t *answer_content(struct writer *w, const struct described *d)
{
    json_t *content = json_object();
    const enum answers a = d ? d->answers : ANSWERS_ANYTHING;
    static const char *const pictures[] = { "image/png", "image/jpeg", "image/webp" };
    if (a <= ANSWERS_PICTURE)
        put_type(w, content, "application/json", d->reply ? reply_schema(w, d->reply) : json_object());
    if (a == ANSWERS_EVENTS) put_type(w, content, "text/event-stream", NULL);
    if (a == ANSWERS_LINES) put_type(w, content, "application/x-ndjson", NULL);
    for (size_t i = 0; a == ANSWERS_PICTURE && i < 3; i++) put_type(w, content, pictures[i], NULL);
    if (a == ANSWERS_TEXT) put_type(w, content, "text/plain", json_pack("{s:s}", "type", "string"));
    if (a == ANSWERS_PAGE) put_type(w, content, "text/html", json_pack("{s:s}", "type", "string"));
    if (a == ANSWERS_ANYTHING) put_type(w, content, "*/*", NULL);
    return content;
}

static const char *error_schema(enum api_dialect d)
{
    switch (d) {
    case DIALECT_ANTHROPIC: return "AnthropicError";
    case DIALECT_FIREMOON: return "FiremoonError";
    case DIALECT_SHARED:
    case DIALECT_EXPRESS_IMAGE:
    case DIALECT_EXPRESS_CHAT:
    case DIALECT_OLLAMA: return "PlainError";
    default: return "Error";
    }
}

static void put_errors(struct writer *w, json_t *responses, enum api_dialect d)
{
    static const char *const ranges[][2] = { { "4XX",
                                               "The request cannot be answered; the message says why" },
                                             { "5XX", "The server cannot answer now" } };
    for (size_t i = 0; i < 2; i++) {
        json_t *content = json_object();
        put_type(w, content, "application/json", reference(error_schema(d)));
        /* One of the guides' servers says in plain text that a limit is full. */
        if (d == DIALECT_SHARED && !i)
            put_type(w, content, "text/plain", json_pack("{s:s}", "type", "string"));
        put(w, responses, ranges[i][0],
            json_pack("{s:s, s:o}", "description", ranges[i][1], "content", content));
    }
}

static void put_parameters(struct writer *w, json_t *operation, const char *path, const char *query)
{
    json_t *all = json_array();
    for (const char *p = strchr(path, '{'); p; p = strchr(p, '{')) {
        const size_t n = strcspn(++p, "}");
        add(w, all,
            json_pack("{s:s#, s:s, s:b, s:{s:s}}", "name", p, (int)n, "in", "path", "required", 1, "schema",
                      "type", "string"));
    }
    for (const char *q = query ? query : ""; *q;) {
        const size_t n = strcspn(q, " ");
        add(w, all,
            json_pack("{s:s#, s:s, s:{s:s}}", "name", q, (int)n, "in", "query", "schema", "type", "string"));
        q += n + (q[n] == ' ');
    }
    if (json_array_size(all))
        put(w, operation, "parameters", all);
    else
        json_decref(all);
}

static void put_security(struct writer *w, json_t *operation, const struct route *r)
{
    if (r->access == ACCESS_PUBLIC || (!w->server.keys && r->access == ACCESS_KEY)) return;
    put(w, operation, "security", json_pack("[{s:[]}, {s:[]}]", "bearer", "apiKey"));
}

static void put_body(struct writer *w, json_t *operation, const struct route *r, const struct described *d)
{
    json_t *content = json_object();
    if (r->limit != BODY_FILE)
        put_type(w, content, "application/json", d ? body_of(w, d) : json_pack("{s:s}", "type", "object"));
    if (r->limit == BODY_FORM || r->limit == BODY_FILE)
        put_type(w, content, "multipart/form-data", json_pack("{s:s}", "type", "object"));
    /* What asks for nothing in its body may come without one. */
    const bool needed = d && d->fields;
    put(w, operation, "requestBody", json_pack("{s:b, s:o}", "required", needed, "content", content));
}

/* A second body for the same path: the one or the other. */
static void add_body(struct writer *w, json_t *operation, const struct described *d)
{
    json_t *media = json_object_get(json_object_get(json_object_get(operation, "requestBody"), "content"),
                                    "application/json");
    json_t *before = json_incref(json_object_get(media, "schema"));
    put(w, media, "schema", json_pack("{s:[o, o]}", "anyOf", before, body_of(w, d)));
}

/* d: NULL where only the path is known. */
static void put_operation(struct writer *w, const char *path, const struct route *r,
                          const struct described *d)
{
    char name[MOST_PATH], id[MOST_PATH + 10], status[8];
    json_t *item = json_object_get(w->paths, path);
    if (!item) {
        put(w, w->paths, path, json_object());
        item = json_object_get(w->paths, path);
    }
    json_t *before = json_object_get(item, method_name(r->method));
    if (before) {
        add_body(w, before, d);
        return;
    }
    as_name(path, name);
    snprintf(id, sizeof id, "%s_%s", method_name(r->method), name);
    snprintf(status, sizeof status, "%d", d ? d->status : 200);
    json_t *responses = json_object(), *operation = json_object();
    put(w, operation, "operationId", json_string(id));
    put(w, operation, "summary", json_string(d ? d->summary : path));
    put(w, operation, "tags", json_pack("[s]", d ? d->tag : "Other"));
    put_parameters(w, operation, path, d ? d->query : NULL);
    if (r->limit != BODY_NONE) put_body(w, operation, r, d);
    put(w, responses, status,
        json_pack("{s:s, s:o}", "description", "The answer", "content", answer_content(w, d)));
    put_errors(w, responses, routes_dialect(path, false));
    put(w, operation, "responses", responses);
    put_security(w, operation, r);
    put(w, item, method_name(r->method), operation);
}

static void put_described(struct writer *w, bool *known)
{
    char path[MOST_PATH];
    for (const struct described *d = described; d->path; d++) {
        for (int b = d->base == BASE_API; b < (d->base == BASE_API ? N_BASES : 1); b++) {
            const struct route *r = route_under(bases[b], d->path, d->method, path);
            if (!r) continue;
            known[routes_row(r)] = true;
            put_operation(w, path, r, d);
        }
    }
}

static void put_others(struct writer *w, const bool *known)
{
    char path[MOST_PATH];
    const struct route *r;
    for (int i = 0; (r = routes_at(i)) != NULL; i++) {
        if (known[i]) continue;
        const size_t n = strlen(r->path), stem = r->path[n - 1] == '*' ? n - 1 : n;
        for (int b = r->base == BASE_API; b < (r->base == BASE_API ? N_BASES : 1); b++) {
            snprintf(path, sizeof path, "%s%.*s%s", bases[b], (int)stem, r->path, stem < n ? "{rest}" : "");
            put_operation(w, path, r, NULL);
        }
    }
}

static void put_error_schemas(struct writer *w)
{
    put(w, w->schemas, "Error",
        json_pack("{s:s, s:[s], s:{s:{s:s, s:[s, s], s:{s:{s:s}, s:{s:s}, s:{s:[s, s]}, s:{s:[s, s]}}}}}",
                  "type", "object", "required", "error", "properties", "error", "type", "object", "required",
                  "message", "type", "properties", "message", "type", "string", "type", "type", "string",
                  "code", "type", "string", "null", "param", "type", "string", "null"));
    put(w, w->schemas, "AnthropicError",
        json_pack("{s:s, s:[s, s], s:{s:{s:s}, s:{s:s, s:[s, s], s:{s:{s:s}, s:{s:s}}}}}", "type", "object",
                  "required", "type", "error", "properties", "type", "const", "error", "error", "type",
                  "object", "required", "type", "message", "properties", "type", "type", "string", "message",
                  "type", "string"));
    put(w, w->schemas, "FiremoonError",
        json_pack("{s:s, s:[s, s], s:{s:{s:s}, s:{s:s}}}", "type", "object", "required", "error", "message",
                  "properties", "error", "type", "string", "message", "type", "string"));
    put(w, w->schemas, "PlainError",
        json_pack("{s:s, s:[s], s:{s:{s:s}}}", "type", "object", "required", "error", "properties", "error",
                  "type", "string"));
}

bool described_openapi(struct buf *b, const struct described_server *s)
{
    struct writer w = { json_object(), json_object(), *s, true };
    int n = 0;
    while (routes_at(n)) n++;
    bool *known = calloc((size_t)n + 1, sizeof *known);
    w.ok = known && w.paths && w.schemas;
    if (w.ok) {
        put_error_schemas(&w);
        put_described(&w, known);
        put_others(&w, known);
    }
    json_t *all = json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:O, s:{s:O, s:{s:{s:s, s:s}, s:{s:s, s:s, s:s}}}}", "openapi", "3.1.0",
        "info", "title", "hearth", "version", hearth_version, "description",
        "A self-hosted inference server for text and pictures. Paths under /v1 answer as OpenAI's service "
        "does "
        "(/v1/messages as Anthropic's), those under /inference/v1 as Fireworks', those under /api as "
        "Ollama's "
        "and Firemoon's. x-refused names fields that are known and not offered.",
        "paths", w.paths, "components", "schemas", w.schemas, "securitySchemes", "bearer", "type", "http",
        "scheme", "bearer", "apiKey", "type", "apiKey", "in", "header", "name", "x-api-key");
    char *text = w.ok && all ? json_memory_dumps(all, JSON_COMPACT) : NULL;
    const bool ok = text && buf_puts(b, text);
    free(text);
    free(known);
    json_decref(all);
    json_decref(w.paths);
    json_decref(w.schemas);
    return ok;
}

/* ---- as a document ------------------------------------------------------------------------------------------------- */

static void put_tag(struct buf *b, const char *tag)
{
    buf_printf(b, "\n## %s\n\n| endpoint | what it does | body |\n|---|---|---|\n", tag);
    for (const struct described *d = described; d->path; d++) {
        if (strcmp(d->tag, tag) != 0) continue;
        const bool api = d->base == BASE_API;
        char method[8], name[MOST_PATH];
        snprintf(method, sizeof method, "%s", method_name(d->method));
        for (char *m = method; *m; m++) *m = (char)(*m - 'a' + 'A');
        buf_printf(b, "| `%s %s%s` | %s%s | ", method, api ? "/v1" : "", d->path, d->summary,
                   d->answers == ANSWERS_EVENTS  ? "; streams events"
                   : d->answers == ANSWERS_LINES ? "; streams lines"
                                                 : "");
        if (d->fields) {
            body_name(d, name);
            buf_printf(b, "[%s](#%s)", name, name);
        }
        buf_puts(b, " |\n");
    }
}

static void put_fields(struct buf *b, const struct described *d)
{
    char name[MOST_PATH];
    bool any = false;
    body_name(d, name);
    buf_printf(b, "\n### %s\n\n| field | may be |\n|---|---|\n", name);
    for (size_t i = 0; i < d->fields->n; i++) {
        const struct json_member *m = (const void *)((const char *)d->fields->rows + i * d->fields->size);
        if (!(m->forms & d->form) || shape_refused(m->shape)) continue;
        buf_printf(b, "| `%s`%s | ", m->name, shape_required(m->shape) ? ", required" : "");
        shape_words(b, m->shape);
        buf_puts(b, " |\n");
    }
    for (size_t i = 0; i < d->fields->n; i++) {
        const struct json_member *m = (const void *)((const char *)d->fields->rows + i * d->fields->size);
        if (!(m->forms & d->form) || !shape_refused(m->shape)) continue;
        buf_printf(b, "%s`%s`", any ? ", " : "\nRefused unless the value asks for nothing: ", m->name);
        any = true;
    }
    if (any) buf_puts(b, ".\n");
}

static bool is_first(const struct described *d, bool by_tag)
{
    for (const struct described *e = described; e < d; e++)
        if (by_tag ? !strcmp(e->tag, d->tag) : e->fields == d->fields && e->form == d->form) return false;
    return true;
}

bool described_markdown(struct buf *b)
{
    buf_puts(
        b,
        "# Endpoints and their fields\n\n"
        "Printed by `hearth help --api-markdown` from the rows of `src/http/routes.def` and "
        "`src/http/described.def` and from the tables that requests are read by; a server gives the same as "
        "OpenAPI 3.1 at `/openapi.json`. Paths under `/v1` are under `/inference/v1` too. `null` is as if a "
        "field was not there.\n");
    for (const struct described *d = described; d->path; d++)
        if (is_first(d, true)) put_tag(b, d->tag);
    buf_puts(b, "\n## Fields\n");
    for (const struct described *d = described; d->path; d++)
        if (d->fields && is_first(d, false)) put_fields(b, d);
    return !b->failed;
}
