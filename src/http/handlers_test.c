/* handlers_test.c - every kind of handler over the in-memory exchange: what each dialect prints, refuses and does when its client leaves. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "http/exchange_memory.h"
#include "http/json_in.h"
#include "service/advice/advice.h"
#include "service/advice/prompts.h"
#include "service/files.h"

/* Two models of a few thousand weights, of the golden vectors. */
#define CHAT "tests/golden/lm/chat"
#define DRAWS "tests/golden/pipelines/sdxl"
#define KEY "hk-of-this-test"

struct place {
    struct pool *pool;
    struct device *dev[2];
    struct catalog *catalog;
    struct registry *registry;
    struct safety *safety;
    struct blobs *files;
    struct advice *advice;
    struct styles *styles;
    struct server *server, *keyed;
    char dir[64];
};

static struct place place;

static int open_place(void **state)
{
    struct place *p = &place;
    struct err e = { 0 };
    struct model *m;
    char *keys[] = { (char *)KEY };
    const struct registry_options o = {
        .models_dir = "tests/golden/none",
        .lm = { .n_ctx = 1024, .max_batch = 4, .queue_limit = 16, .prefill_chunk = 64 },
    };
    struct server_options h = {
        .listen = "",
        .http_threads = 1,
        .prepare_threads = 1,
        .max_body = 4 << 20,
        .max_json_depth = 32,
        .max_json_values = 100000,
        .times = { .request_s = 1e6, .idle_s = 1e6, .read_s = 1e6, .run_s = 1e6, .keepalive_s = 1e6 },
        .strict_fields = true,
    };
    (void)state;
    strcpy(p->dir, "/tmp/hearth-handlers-XXXXXX");
    if (!mkdtemp(p->dir)) return -1;
    if (!pool_new(&p->pool, 2, &e) || !device_cpu_open(&p->dev[0], p->pool, ~0U, &e) ||
        !device_cpu_open(&p->dev[1], p->pool, ~0U, &e) || !catalog_load(&p->catalog, NULL, &e) ||
        !registry_new(&p->registry, &o, p->catalog, p->dev[0], p->dev[1], &e) ||
        !registry_add(p->registry, CHAT, &m, &e) || !registry_add(p->registry, DRAWS, &m, &e) ||
        !safety_load(&p->safety, NULL, p->dev[1], &e) ||
        !blobs_open(&p->files, p->dir, &(struct blobs_options){ .retention_s = 3600, .max_bytes = 1 << 20 },
                    &e) ||
        !advice_load(&p->advice, NULL, p->catalog, &e) || !styles_load(&p->styles, NULL, &e))
        fail_msg("%s", e.msg);
    h.safety = p->safety;
    h.advice = p->advice;
    h.styles = p->styles;
    h.files = p->files;
    if (!memory_server_new(&p->server, &h, p->registry, p->catalog, &e)) fail_msg("%s", e.msg);
    h.keys = (struct str_list){ keys, 1 };
    if (!memory_server_new(&p->keyed, &h, p->registry, p->catalog, &e)) fail_msg("%s", e.msg);
    return 0;
}

static int close_place(void **state)
{
    struct place *p = &place;
    char command[100];
    (void)state;
    memory_server_free(p->server);
    memory_server_free(p->keyed);
    registry_free(p->registry); /* waits for drawings that were left */
    blobs_close(p->files);
    safety_free(p->safety);
    styles_free(p->styles);
    advice_free(p->advice);
    catalog_free(p->catalog);
    device_close(p->dev[0]);
    device_close(p->dev[1]);
    pool_free(p->pool);
    snprintf(command, sizeof command, "rm -r %s", p->dir);
    return system(command);
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static struct memory_reply ask(const char *method, const char *path, const char *body)
{
    struct memory_reply r;
    const struct memory_request q = { .method = method, .path = path, .body = body };
    assert_true(memory_exchange(place.server, &q, &r));
    return r;
}

static struct memory_reply ask_accepting(const char *accept, const char *path, const char *body)
{
    struct memory_reply r;
    const char *const headers[][2] = { { "Accept", accept }, { NULL, NULL } };
    const struct memory_request q = { .method = "POST", .path = path, .headers = headers, .body = body };
    assert_true(memory_exchange(place.server, &q, &r));
    return r;
}

/* The reply's JSON, whose status must be this; to be decref'ed. */
static json_t *json_of(struct memory_reply r, int status)
{
    json_error_t why;
    if (r.status != status) fail_msg("status %d: %s", r.status, r.body.data ? r.body.data : "");
    assert_non_null(strstr(r.headers.data, "Content-Type: application/json\n"));
    json_t *v = json_loads(r.body.data, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!v) fail_msg("%s in %s", why.text, r.body.data);
    memory_reply_free(&r);
    return v;
}

/* The member at a path such as "error.param" or "data.0.id"; NULL: there is none. */
static const json_t *at(const json_t *v, const char *path)
{
    char part[40];
    for (const char *p = path; v && *p; p += strcspn(p, "."), p += *p == '.') {
        snprintf(part, sizeof part, "%.*s", (int)strcspn(p, "."), p);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(part)) : json_object_get(v, part);
    }
    return v;
}

static void says(const json_t *v, const char *path, const char *text)
{
    const char *s = json_string_value(at(v, path));
    if (!s) fail_msg("no text at %s", path);
    assert_string_equal(s, text);
}

static void has_keys(const json_t *v, size_t n, const char *const *keys)
{
    assert_int_equal(json_object_size(v), n);
    for (size_t i = 0; i < n; i++)
        if (!json_object_get(v, keys[i])) fail_msg("%s is missing", keys[i]);
}

/* ---- without a model ----------------------------------------------------------------------------------------------- */

static void test_health(void **state)
{
    (void)state;
    json_t *v = json_of(ask("GET", "/health", NULL), 200);
    says(v, "status", "ok");
    json_decref(v);
    v = json_of(ask("GET", "/ready", NULL), 200);
    assert_true(json_is_true(at(v, "ready")));
    json_decref(v);
    server_set_ready(place.server, false);
    v = json_of(ask("GET", "/ready", NULL), 503);
    assert_true(json_is_false(at(v, "ready")));
    json_decref(v);
    server_set_ready(place.server, true);
    struct memory_reply r = ask("GET", "/metrics", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body.data, "hearth_requests_total{route=\"/health\",status=\"200\"} 1\n"));
    memory_reply_free(&r);
}

static void test_models(void **state)
{
    (void)state;
    json_t *v = json_of(ask("GET", "/v1/models", NULL), 200);
    says(v, "object", "list");
    assert_int_equal(json_array_size(at(v, "data")), 2);
    says(v, "data.0.object", "model");
    json_decref(v);
    v = json_of(ask("GET", "/v1/models/chat", NULL), 200);
    says(v, "id", "accounts/local/models/chat");
    assert_true(json_is_true(at(v, "supports_chat")));
    json_decref(v);
    v = json_of(ask("GET", "/v1/models/sdxl", NULL), 200);
    says(v, "kind", "FLUMINA_BASE_MODEL");
    json_decref(v);
    v = json_of(ask("GET", "/v1/models/nobody", NULL), 404);
    says(v, "error.code", "model_not_found");
    says(v, "error.param", "model");
    json_decref(v);
    v = json_of(ask("GET", "/v1/accounts/fireworks/models?pageSize=1&pageToken=0", NULL), 200);
    assert_int_equal(json_integer_value(at(v, "totalSize")), 0);
    json_decref(v);
}

/* One fault as each dialect wraps it, told apart by the path alone. */
static void test_envelopes(void **state)
{
    (void)state;
    json_t *v = json_of(ask("GET", "/v1/nothing", NULL), 404);
    says(v, "error.type", "invalid_request_error");
    says(v, "error.code", "unknown_url");
    says(v, "error.message", "there is nothing at GET /v1/nothing");
    assert_true(json_is_null(at(v, "error.param")));
    json_decref(v);
    v = json_of(ask("GET", "/inference/v1/nothing", NULL), 404);
    says(v, "error.type", "not_found_error");
    says(v, "error.code", "not_found_error");
    json_decref(v);
    v = json_of(ask("GET", "/api/nothing", NULL), 404);
    says(v, "error", "Not found");
    says(v, "message", "there is nothing at GET /api/nothing");
    assert_int_equal(json_object_size(v), 2);
    json_decref(v);
    struct memory_reply r = ask("GET", "/v1/chat/completions", NULL);
    assert_int_equal(r.status, 405);
    assert_non_null(strstr(r.headers.data, "Allow: POST\n"));
    memory_reply_free(&r);
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        int status;
    } tries[] = { { "authorization", "Bearer " KEY, 200 },
                  { "Authorization", "Bearer another", 401 },
                  { "X-Other", "", 401 } };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct memory_reply r;
        const char *const headers[][2] = { { tries[i].name, tries[i].value }, { NULL, NULL } };
        const struct memory_request q = { .method = "GET", .path = "/v1/models", .headers = headers };
        assert_true(memory_exchange(place.keyed, &q, &r));
        assert_int_equal(r.status, tries[i].status);
        assert_int_equal(strstr(r.headers.data, "WWW-Authenticate: Bearer\n") != NULL, r.status == 401);
        memory_reply_free(&r);
    }
}

static void test_request_ids(void **state)
{
    (void)state;
    static const char *const ids[][2] = { { "mine-1", "X-Request-Id: mine-1\n" },
                                          { "no spaces", "X-Request-Id: req_" } };
    for (size_t i = 0; i < 2; i++) {
        struct memory_reply r;
        const char *const headers[][2] = { { "x-request-id", ids[i][0] }, { NULL, NULL } };
        const struct memory_request q = { .method = "GET", .path = "/health", .headers = headers };
        assert_true(memory_exchange(place.server, &q, &r));
        assert_non_null(strstr(r.headers.data, ids[i][1]));
        memory_reply_free(&r);
    }
}

static void test_too_large(void **state)
{
    (void)state;
    const size_t n = (4 << 20) + 1;
    char *body = malloc(n);
    struct memory_reply r;
    memset(body, ' ', n);
    const struct memory_request q = {
        .method = "POST", .path = "/v1/chat/completions", .body = body, .len = n
    };
    assert_true(memory_exchange(place.server, &q, &r));
    json_t *v = json_of(r, 413);
    says(v, "error.code", "request_too_large");
    json_decref(v);
    free(body);
}

/* ---- text ---------------------------------------------------------------------------------------------------------- */

#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}],\"max_tokens\":4,\"temperature\":0"

static void test_chat(void **state)
{
    (void)state;
    json_t *v =
        json_of(ask("POST", "/v1/chat/completions", "{\"model\":\"chat\",\"shape\":1," HELLO "}"), 400);
    says(v, "error.message", "Extra inputs are not permitted, field: 'shape', value: 1");
    json_decref(v);
    v = json_of(ask("POST", "/v1/chat/completions", "{\"model\":\"chat\"," HELLO), 400);
    json_decref(v);
    v = json_of(ask("POST", "/v1/chat/completions", "{\"model\":\"chat\"," HELLO "}"), 200);
    says(v, "object", "chat.completion");
    says(v, "choices.0.message.role", "assistant");
    char *whole = strdup(json_string_value(at(v, "choices.0.message.content")));
    assert_int_equal(json_integer_value(at(v, "usage.completion_tokens")), 4);
    json_decref(v);
    /* The stream's pieces are the same text. */
    struct memory_reply r =
        ask("POST", "/v1/chat/completions", "{\"model\":\"chat\",\"stream\":true," HELLO "}");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.headers.data, "Content-Type: text/event-stream"));
    assert_string_equal(r.body.data + r.body.len - strlen("data: [DONE]\n\n"), "data: [DONE]\n\n");
    struct buf said = BUF_INIT(0);
    for (const char *p = r.body.data; (p = strstr(p, "data: {")); p++) {
        json_t *event = json_loadb(p + 6, strcspn(p + 6, "\n"), 0, NULL);
        const char *piece = json_string_value(at(event, "choices.0.delta.content"));
        if (piece) buf_puts(&said, piece);
        json_decref(event);
    }
    assert_string_equal(said.data, whole);
    buf_free(&said);
    memory_reply_free(&r);
    free(whole);
}

/* ---- the form of an answer, calls ---------------------------------------------------------------------------------- */

#define ASK "\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}],\"seed\":7"
#define TOOL(name)                                                                                           \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name                                                  \
    "\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"enum\":[1,2]}},\"required\":[\"x\"],"   \
    "\"additionalProperties\":false}}}"

/* The text of a choice as its stream's deltas say it: content, or, of call `call`, arguments. */
static char *joined(const struct memory_reply *r, int call)
{
    struct buf all = BUF_INIT(0);
    for (const char *p = r->body.data; (p = strstr(p, "data: {")); p++) {
        json_t *event = json_loadb(p + 6, strcspn(p + 6, "\n"), 0, NULL), *one;
        size_t i;
        const char *piece = json_string_value(at(event, "choices.0.delta.content"));
        if (piece && call < 0) buf_puts(&all, piece);
        json_array_foreach(at(event, "choices.0.delta.tool_calls"), i, one)
        {
            piece = json_string_value(at(one, "function.arguments"));
            if (piece && json_integer_value(at(one, "index")) == call) buf_puts(&all, piece);
        }
        json_decref(event);
    }
    return buf_take(&all);
}

static void test_forms(void **state)
{
    (void)state;
    static const char *const paths[] = { "/v1/chat/completions", "/inference/v1/chat/completions" };
    static const struct {
        const char *form, *right; /* what is left of the answer without white space */
    } rows[] = {
        { "\"guided_json\":{\"const\":{\"a\":[1,\"b\"]}}", "{\"a\":[1,\"b\"]}" },
        { "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{"
          "\"enum\":[\"one\"]}}}",
          "\"one\"" },
        { "\"response_format\":{\"type\":\"grammar\",\"grammar\":\"root ::= [x] \\\"yz\\\"\"}", "xyz" },
        { "\"response_format\":{\"type\":\"regex\",\"pattern\":\"ab{2}c\"}", "abbc" },
        { "\"guided_choice\":[\"only this\"]", "onlythis" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 4; k++) {
            char body[600], *said;
            snprintf(body, sizeof body, "{" ASK ",\"max_tokens\":100,\"stream\":%s,%s}",
                     k & 1 ? "true" : "false", rows[i].form);
            struct memory_reply r = ask("POST", paths[k >> 1], body);
            if (r.status != 200) fail_msg("%s: %s", body, r.body.data);
            if (k & 1) {
                said = joined(&r, -1);
                memory_reply_free(&r);
            } else {
                json_t *v = json_of(r, 200);
                says(v, "choices.0.finish_reason", "stop");
                said = strdup(json_string_value(at(v, "choices.0.message.content")));
                json_decref(v);
            }
            char *to = said;
            for (const char *p = said; *p; p++)
                if (!strchr(" \n\t\r", *p)) *to++ = *p;
            *to = 0;
            assert_string_equal(said, rows[i].right);
            free(said);
        }
    static const char *const refused[][2] = {
        { "\"guided_json\":{\"type\":\"nothing\"}", "guided_json" },
        { "\"response_format\":{\"type\":\"grammar\",\"grammar\":\"root ::= (\"}", "response_format" },
        { "\"guided_regex\":\"a(\"", "guided_regex" },
        { "\"response_format\":{\"type\":\"json_object\"}", "messages" }, /* nobody said JSON */
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char body[300];
        snprintf(body, sizeof body, "{" ASK ",%s}", refused[i][0]);
        json_t *v = json_of(ask("POST", paths[0], body), 400);
        says(v, "error.param", refused[i][1]);
        json_decref(v);
    }
}

static void test_calls(void **state)
{
    (void)state;
    static const struct {
        const char *path, *members, *name, *finish;
        bool legacy;
    } rows[] = {
        { "/v1/chat/completions", "\"tools\":[" TOOL("get") "],\"tool_choice\":\"required\"", "get",
          "tool_calls", false },
        { "/v1/chat/completions",
          "\"tools\":[" TOOL("get") "," TOOL(
              "put") "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"put\"}}",
          "put", "stop", false },
        { "/inference/v1/chat/completions",
          "\"tools\":[" TOOL("get") "," TOOL(
              "put") "],\"tool_choice\":{\"type\":\"function\",\"name\":\"put\"}",
          "put", "tool_calls", false },
        { "/v1/chat/completions",
          "\"functions\":[{\"name\":\"get\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{"
          "\"enum\":[1,2]}},\"required\":[\"x\"],\"additionalProperties\":false}}],\"function_call\":{"
          "\"name\":\"get\"}",
          "get", "stop", true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[1000];
        snprintf(body, sizeof body, "{" ASK ",\"max_tokens\":120,\"parallel_tool_calls\":false,%s}",
                 rows[i].members);
        json_t *v = json_of(ask("POST", rows[i].path, body), 200);
        const json_t *f = at(v, rows[i].legacy ? "choices.0.message.function_call"
                                               : "choices.0.message.tool_calls.0.function");
        says(f, "name", rows[i].name);
        says(v, "choices.0.finish_reason", rows[i].finish);
        assert_true(json_is_null(at(v, "choices.0.message.content")));
        json_t *arguments = json_loads(json_string_value(at(f, "arguments")), 0, NULL);
        assert_int_equal(json_object_size(arguments), 1);
        assert_in_range(json_integer_value(at(arguments, "x")), 1, 2);
        if (rows[i].legacy) {
            assert_null(at(v, "choices.0.message.tool_calls"));
        } else {
            assert_int_equal(json_array_size(at(v, "choices.0.message.tool_calls")), 1);
            /* The stream's pieces are the same arguments. */
            snprintf(body, sizeof body,
                     "{" ASK ",\"max_tokens\":120,\"stream\":true,\"parallel_tool_calls\":false,%s}",
                     rows[i].members);
            struct memory_reply r = ask("POST", rows[i].path, body);
            char *said = joined(&r, 0);
            assert_string_equal(said, json_string_value(at(f, "arguments")));
            free(said);
            memory_reply_free(&r);
        }
        json_decref(arguments);
        json_decref(v);
    }
    json_t *v = json_of(ask("POST", "/v1/chat/completions", "{" ASK ",\"tool_choice\":\"required\"}"), 400);
    says(v, "error.param", "tool_choice");
    json_decref(v);
}

static void test_tokens(void **state)
{
    (void)state;
    json_t *v = json_of(ask("POST", "/tokenize", "{\"model\":\"chat\",\"prompt\":\"a b c\"}"), 200);
    assert_int_equal(json_integer_value(at(v, "count")), json_array_size(at(v, "tokens")));
    assert_true(json_array_size(at(v, "tokens")) > 0);
    json_decref(v);
}

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

#define SMALL "\"prompt\":\"a square\",\"width\":32,\"height\":32,\"steps\":2,\"seed\":5"

/* What base64 of a PNG begins with. */
static bool is_png(const json_t *v)
{
    const char *s = json_string_value(v);
    return s && !strncmp(s, "iVBORw0KGgo", 11);
}

static void test_pictures_openai(void **state)
{
    (void)state;
    json_t *v = json_of(ask("POST", "/v1/images/generations",
                            "{\"model\":\"sdxl\",\"n\":2,\"response_format\":\"b64_json\"," SMALL "}"),
                        200);
    assert_int_equal(json_array_size(at(v, "data")), 2);
    assert_true(is_png(at(v, "data.0.b64_json")) && is_png(at(v, "data.1.b64_json")));
    assert_int_equal(json_integer_value(at(v, "data.1.seed")), 6);
    assert_true(json_integer_value(at(v, "created")) > 0);
    json_decref(v);
    v = json_of(ask("POST", "/v1/images/generations", "{\"model\":\"sdxl\"," SMALL "}"), 200);
    const char *url = json_string_value(at(v, "data.0.url"));
    assert_int_equal(strncmp(url, "http://memory/files/", 20), 0);
    struct memory_reply r = ask("GET", url + strlen("http://memory"), NULL);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body.data, "\x89PNG", 4);
    assert_non_null(strstr(r.headers.data, "Content-Type: image/png\n"));
    memory_reply_free(&r);
    json_decref(v);
    v = json_of(ask("POST", "/v1/images/generations", "{\"model\":\"sdxl\",\"colour\":1," SMALL "}"), 400);
    says(v, "error.message", "Extra inputs are not permitted, field: 'colour', value: 1");
    json_decref(v);
    static const char *const refused[][2] = {
        { "{\"model\":\"sdxl\"}", "prompt" },
        { "{\"model\":\"sdxl\",\"quality\":\"best\"," SMALL "}", "quality" },
        { "{\"model\":\"sdxl\",\"sampler\":\"flow_euler\"," SMALL "}", "sampler" },
        { "{\"model\":\"sdxl\",\"prompt\":\"a\",\"width\":33,\"height\":32}", "size" },
        { "{\"model\":\"sdxl\",\"clip_skip\":11," SMALL "}", "clip_skip" },
        { "{\"model\":\"sdxl\",\"partial_images\":2," SMALL "}", "partial_images" },
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        v = json_of(ask("POST", "/v1/images/generations", refused[i][0]), 400);
        says(v, "error.param", refused[i][1]);
        json_decref(v);
    }
}

static void test_pictures_stream(void **state)
{
    (void)state;
    struct memory_reply r =
        ask("POST", "/v1/images/generations", "{\"model\":\"sdxl\",\"stream\":true," SMALL "}");
    assert_int_equal(r.status, 200);
    const char *first = strstr(r.body.data, "event: image_generation.partial_image\ndata: {"),
               *done = strstr(r.body.data, "event: image_generation.completed\ndata: {");
    assert_true(first && done && first < done);
    json_t *v = json_loadb(done + 39, strcspn(done + 39, "\n"), 0, NULL);
    if (!v) v = json_loads(strchr(done, '{'), JSON_DISABLE_EOF_CHECK, NULL);
    says(v, "type", "image_generation.completed");
    says(v, "size", "32x32");
    assert_true(is_png(at(v, "b64_json")));
    json_decref(v);
    assert_string_equal(r.body.data + r.body.len - strlen("data: [DONE]\n\n"), "data: [DONE]\n\n");
    memory_reply_free(&r);
}

#define WORKFLOW "/inference/v1/workflows/accounts/fireworks/models/sdxl/text_to_image"
#define GENERATION "/inference/v1/image_generation/accounts/fireworks/models/sdxl"

static void test_pictures_fireworks(void **state)
{
    (void)state;
    struct memory_reply r = ask_accepting("image/jpeg", WORKFLOW, "{" SMALL "}");
    if (r.status != 200) fail_msg("%s", r.body.data);
    assert_memory_equal(r.body.data, "\xff\xd8\xff", 3);
    assert_non_null(strstr(r.headers.data, "Content-Type: image/jpeg\n"));
    assert_non_null(strstr(r.headers.data, "Seed: 5\n"));
    assert_non_null(strstr(r.headers.data, "Finish-Reason: SUCCESS\n"));
    memory_reply_free(&r);
    json_t *v = json_of(ask_accepting("application/json", WORKFLOW, "{" SMALL "}"), 200);
    static const char *const keys[] = { "id", "base64", "finishReason", "seed" };
    has_keys(v, 4, keys);
    assert_int_equal(strncmp(json_string_value(at(v, "base64.0")), "data:image/png;base64,iVBORw0KGgo", 33),
                     0);
    json_decref(v);
    v = json_of(ask_accepting("application/json", GENERATION, "{\"samples\":2," SMALL "}"), 200);
    assert_int_equal(json_array_size(v), 2);
    assert_true(is_png(at(v, "0.base64")));
    assert_int_equal(json_integer_value(at(v, "1.seed")), 6);
    json_decref(v);
    v = json_of(ask_accepting("text/html", GENERATION, "{" SMALL "}"), 406);
    says(v, "error.param", "Accept");
    json_decref(v);
    v = json_of(ask_accepting("image/png", GENERATION, "{\"samples\":2," SMALL "}"), 400);
    says(v, "error.param", "samples");
    json_decref(v);
}

static void test_firemoon(void **state)
{
    (void)state;
    json_t *v = json_of(ask("GET", "/api/v1/flux/dev", NULL), 200);
    says(v, "endpoint", "/api/v1/flux/dev");
    assert_int_equal(json_array_size(at(v, "input_schema.properties.image_size.enum")), 6);
    json_decref(v);
    v = json_of(ask("GET", "/api/v1/providers", NULL), 200);
    says(v, "providers.0.models.1", "schnell");
    json_decref(v);
    v = json_of(ask("GET", "/api/v1/providers/flux/models", NULL), 200);
    says(v, "models.0.id", "flux/dev");
    json_decref(v);
    v = json_of(ask("POST", "/api/v1/flux/other", "{\"prompt\":\"a\"}"), 404);
    says(v, "error", "Model not found");
    json_decref(v);
    /* Every fault of a body is listed. */
    v = json_of(ask("POST", "/api/v1/flux/dev", "{\"image_size\":\"round\",\"num_images\":9,\"shape\":1}"),
                400);
    says(v, "error", "Invalid input");
    says(v, "message", "Input validation failed");
    assert_int_equal(json_array_size(at(v, "errors")), 4);
    says(v, "errors.0",
         "Invalid value for image_size: must be one of [square_hd, square, portrait_4_3, portrait_16_9, "
         "landscape_4_3, "
         "landscape_16_9]");
    says(v, "errors.1", "Invalid value for num_images: must be a whole number from 1 to 4");
    says(v, "errors.3", "Missing required field: prompt");
    json_decref(v);
    v = json_of(ask("POST", "/api/v1/flux/dev", "{\"prompt\":3}"), 400);
    assert_int_equal(json_array_size(at(v, "errors")), 1);
    says(v, "errors.0", "Invalid value for prompt: must be a string");
    json_decref(v);
}

/* ---- clients that leave -------------------------------------------------------------------------------------------- */

static void test_left(void **state)
{
    (void)state;
    struct memory_reply r;
    struct memory_request q = {
        .method = "POST",
        .path = "/v1/images/generations",
        .body = "{\"model\":\"sdxl\",\"prompt\":\"a\",\"width\":64,\"height\":64,\"steps\":1000}",
        .leave_after = 1
    };
    assert_true(memory_exchange(place.server, &q, &r)); /* long before its thousand steps are done */
    assert_int_equal(r.status, 499);
    memory_reply_free(&r);
    q.body =
        "{\"model\":\"sdxl\",\"prompt\":\"a\",\"width\":64,\"height\":64,\"steps\":1000,\"stream\":true}";
    assert_true(memory_exchange(place.server, &q, &r));
    assert_int_equal(r.status, 499);
    memory_reply_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_envelopes),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_pictures_openai),
        cmocka_unit_test(test_pictures_stream),
        cmocka_unit_test(test_pictures_fireworks),
        cmocka_unit_test(test_firemoon),
        cmocka_unit_test(test_left),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}
