/* batch_parse.c - see batch_parse.h. */
#include "http/dialects/batch_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"

enum {
    LEAST_WINDOW_S = 1,
    MOST_WINDOW_S = 30 * 86400,
    METADATA = 16,
    METADATA_KEY = 64,
    METADATA_VALUE = 512
};

static const char *const endpoints[] = { "/v1/chat/completions", "/v1/completions", "/v1/embeddings",
                                         "/v1/responses", "/v1/images/generations" };

/* ---- POST /v1/batches ---------------------------------------------------------------------------------------------- */

/* "24h", "90m", "10s", "3d": a completion window; 0: it is none. */
static int64_t window_of(const char *text)
{
    static const struct {
        char unit;
        int64_t s;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    char *end;
    if (*text < '0' || *text > '9' || strlen(text) > 8) return 0;
    const long long n = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (*end == units[i].unit && !end[1]) {
            const int64_t s = n * units[i].s;
            return s >= LEAST_WINDOW_S && s <= MOST_WINDOW_S ? s : 0;
        }
    return 0;
}

static bool check_metadata(const json_t *v, struct fault *f)
{
    const char *name;
    json_t *value;
    f->param = "metadata";
    if (!json_is_object(v)) return json_in_bad(v, "metadata", "an object of strings", f);
    if (json_object_size(v) > METADATA)
        return err_set(&f->err, ERR_REQUEST, "metadata has %zu pairs, and at most %d are kept",
                       json_object_size(v), METADATA);
    json_object_foreach((json_t *)v, name, value)
    {
        if (!json_is_string(value) || strlen(name) > METADATA_KEY ||
            json_string_length(value) > METADATA_VALUE)
            return err_set(&f->err, ERR_REQUEST,
                           "metadata.%.70s: names of up to %d bytes and strings of up to %d are kept", name,
                           METADATA_KEY, METADATA_VALUE);
    }
    return true;
}

static bool needed(const json_t *body, const char *name, const char **out, struct fault *f)
{
    const json_t *v = json_object_get(body, name);
    f->param = name;
    if (!v || json_is_null(v))
        return err_set(&f->err, ERR_REQUEST, "Missing required parameter: '%s'.", name);
    return json_in_str(v, name, out, f);
}

bool batch_parse(struct batch_row *out, const json_t *body, bool strict, struct fault *f)
{
    const char *file, *endpoint, *window;
    const json_t *metadata = json_object_get(body, "metadata"),
                 *after = json_object_get(body, "output_expires_after");
    bool known = false;
    if (!json_in_members(body,
                         "input_file_id endpoint completion_window metadata output_expires_after extra_body",
                         "", strict, NULL, f) ||
        !needed(body, "input_file_id", &file, f) || !needed(body, "endpoint", &endpoint, f) ||
        !needed(body, "completion_window", &window, f))
        return false;
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
        known |= !strcmp(endpoint, endpoints[i]);
    f->param = "endpoint";
    if (!known)
        return err_set(&f->err, ERR_REQUEST,
                       "endpoint must be one of /v1/chat/completions, /v1/completions, /v1/embeddings, "
                       "/v1/responses and /v1/images/generations, got \"%.80s\"",
                       endpoint);
    f->param = "completion_window";
    out->window_s = window_of(window);
    if (!out->window_s)
        return err_set(&f->err, ERR_REQUEST,
                       "completion_window must be a number of seconds, minutes, hours or days up to thirty "
                       "days, such as \"24h\" or \"90m\", got \"%.40s\"",
                       window);
    f->param = "input_file_id";
    if (!file_folder_id_ok(file)) return err_set(&f->err, ERR_REQUEST, "\"%.60s\" is no id of a file", file);
    if (after && !json_is_null(after)) {
        f->param = "output_expires_after";
        return err_set(
            &f->err, ERR_UNSUPPORTED,
            "output_expires_after is not offered: the server keeps what batches made as long as its "
            "setting batch-keep says");
    }
    if (metadata && !json_is_null(metadata) && !check_metadata(metadata, f)) return false;
    snprintf(out->input_file, sizeof out->input_file, "%s", file);
    snprintf(out->endpoint, sizeof out->endpoint, "%s", endpoint);
    out->metadata = json_is_object(metadata) ? json_memory_dumps(metadata, JSON_COMPACT) : strdup("");
    f->param = NULL;
    return out->metadata || err_set(&f->err, ERR_NOMEM, "out of memory");
}

/* ---- a line -------------------------------------------------------------------------------------------------------- */

static bool bad(struct batch_fault *f, const char *code, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool bad(struct batch_fault *f, const char *code, const char *param, const char *fmt, ...)
{
    va_list ap;
    f->code = code;
    f->param = param;
    va_start(ap, fmt);
    vsnprintf(f->msg, sizeof f->msg, fmt, ap);
    va_end(ap);
    return false;
}

static bool text_of(const json_t *root, const char *name, const char **out, struct batch_fault *f)
{
    const json_t *v = json_object_get(root, name);
    if (!v) return bad(f, "missing_required_parameter", name, "Missing required parameter: '%s'.", name);
    *out = json_string_value(v);
    return *out || bad(f, "invalid_type", name, "Invalid type for '%s': a string is expected.", name);
}

static bool read_line(struct batch_line *out, const char *endpoint, struct batch_fault *f)
{
    static const char *const known[] = { "custom_id", "method", "url", "body" };
    const char *id, *method, *url, *name;
    json_t *v;
    if (!text_of(out->root, "custom_id", &id, f)) return false;
    if (!*id || strlen(id) >= BATCH_CUSTOM_ID - 3)
        return bad(f, "invalid_value", "custom_id", "custom_id must have 1 to %d bytes.",
                   BATCH_CUSTOM_ID - 4);
    snprintf(out->custom_id, sizeof out->custom_id, "%s", id);
    json_object_foreach(out->root, name, v)
    {
        bool is = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) is |= !strcmp(name, known[i]);
        if (!is) return bad(f, "unknown_parameter", NULL, "Unknown parameter: '%.60s'.", name);
    }
    if (!text_of(out->root, "method", &method, f)) return false;
    if (strcmp(method, "POST") != 0)
        return bad(f, "invalid_method", "method", "method must be \"POST\", got \"%.20s\".", method);
    if (!text_of(out->root, "url", &url, f)) return false;
    if (strcmp(url, endpoint) != 0)
        return bad(f, "mismatched_url", "url",
                   "The url of every line must be the endpoint of its batch, \"%s\", got \"%.80s\".",
                   endpoint, url);
    const json_t *body = json_object_get(out->root, "body");
    if (!body) return bad(f, "missing_required_parameter", "body", "Missing required parameter: 'body'.");
    if (!json_is_object(body))
        return bad(f, "invalid_type", "body", "Invalid type for 'body': an object is expected.");
    if (json_is_true(json_object_get(body, "stream")))
        return bad(f, "invalid_value", "body.stream", "A line of a batch cannot stream: leave stream out.");
    out->body = body;
    return true;
}

bool batch_parse_line(struct batch_line *out, const char *text, size_t len, const struct json_limits *l,
                      const char *endpoint, struct batch_fault *f)
{
    struct fault why = { 0 };
    *out = (struct batch_line){ .root = NULL };
    if (!json_in_parse(text, len, l, &out->root, &why))
        return bad(f, why.err.code == ERR_NOMEM ? "server_error" : "invalid_json_line", NULL,
                   "This line is not parseable as valid JSON: %.300s", why.err.msg);
    if (read_line(out, endpoint, f)) return true;
    json_decref(out->root);
    out->root = NULL;
    return false;
}
