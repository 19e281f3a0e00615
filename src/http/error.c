/* error.c - see error.h. Names of types and codes: OpenAI's API reference; Fireworks' as its service answered in mid 2025, where `code`
 * repeated `type`. A context that is too small and a refused prompt keep their own codes
 * everywhere, because clients look for them. */
#include "http/error.h"

#include <time.h>

#include "http/json_out.h"

static const struct {
    int status;
    const char *openai_type, *openai_code;
    const char *fireworks_type;
    const char *title; /* Firemoon's short name */
    int retry_after_s;
} faults[] = {
    [FAULT_NONE] = { 200, "", NULL, "", "", 0 },
    [FAULT_INVALID] = { 400, "invalid_request_error", NULL, "invalid_request_error", "Invalid input", 0 },
    [FAULT_UNSUPPORTED] = { 400, "invalid_request_error", "unsupported_value", "invalid_request_error",
                            "Invalid input", 0 },
    [FAULT_CONTEXT] = { 400, "invalid_request_error", "context_length_exceeded", "invalid_request_error",
                        "Invalid input", 0 },
    [FAULT_POLICY] = { 400, "invalid_request_error", "content_policy_violation", "invalid_request_error",
                       "Content policy violation", 0 },
    [FAULT_KEY] = { 401, "invalid_request_error", "invalid_api_key", "authentication_error",
                    "Invalid API key", 0 },
    [FAULT_PAYMENT] = { 402, "insufficient_quota", "insufficient_quota", "invalid_request_error",
                        "Insufficient credits", 0 },
    [FAULT_FORBIDDEN] = { 403, "invalid_request_error", "forbidden", "permission_error", "Access denied", 0 },
    [FAULT_URL] = { 404, "invalid_request_error", "unknown_url", "not_found_error", "Not found", 0 },
    [FAULT_MODEL] = { 404, "invalid_request_error", "model_not_found", "invalid_request_error",
                      "Model not found", 0 },
    [FAULT_NOT_FOUND] = { 404, "invalid_request_error", "not_found", "not_found_error", "Not found", 0 },
    [FAULT_METHOD] = { 405, "invalid_request_error", "method_not_allowed", "invalid_request_error",
                       "Method not allowed", 0 },
    [FAULT_ACCEPT] = { 406, "invalid_request_error", NULL, "invalid_request_error", "Invalid input", 0 },
    [FAULT_TIMEOUT] = { 408, "timeout_error", "timeout", "timeout_error", "Timeout", 0 },
    [FAULT_HELD] = { 409, "invalid_request_error", "held_for_review", "invalid_request_error",
                     "Held for review", 10 },
    [FAULT_TOO_LARGE] = { 413, "invalid_request_error", "request_too_large", "invalid_request_error",
                          "Request too large", 0 },
    [FAULT_URI_TOO_LONG] = { 414, "invalid_request_error", "uri_too_long", "invalid_request_error",
                             "Request too large", 0 },
    [FAULT_MEDIA] = { 415, "invalid_request_error", "unsupported_media_type", "invalid_request_error",
                      "Unsupported media type", 0 },
    [FAULT_BUSY] = { 429, "requests", "rate_limit_exceeded", "invalid_request_error", "Rate limit exceeded",
                     1 },
    [FAULT_HEADERS] = { 431, "invalid_request_error", "headers_too_large", "invalid_request_error",
                        "Request too large", 0 },
    [FAULT_SERVER] = { 500, "server_error", NULL, "server_error", "Generation failed", 0 },
    [FAULT_UNAVAILABLE] = { 503, "server_error", "service_unavailable", "server_error", "Service unavailable",
                            5 },
    [FAULT_GATEWAY] = { 502, "server_error", "bad_gateway", "server_error", "Bad gateway", 0 },
    [FAULT_GATEWAY_TIME] = { 504, "server_error", "gateway_timeout", "server_error", "Gateway timeout", 0 },
    [FAULT_VERSION] = { 505, "invalid_request_error", "http_version", "invalid_request_error",
                        "Invalid input", 0 },
};

const char *dialect_name(enum api_dialect d)
{
    static const char *const name[] = {
        [DIALECT_OPENAI] = "openai",         [DIALECT_FIREWORKS] = "fireworks",
        [DIALECT_FIREMOON] = "firemoon",     [DIALECT_SHARED] = "shared",
        [DIALECT_EXPRESS_IMAGE] = "express", [DIALECT_EXPRESS_CHAT] = "express",
        [DIALECT_ANTHROPIC] = "anthropic",   [DIALECT_OLLAMA] = "ollama"
    };
    return name[d];
}

const char *fault_name(enum fault_kind kind)
{
    return faults[kind].openai_code ? faults[kind].openai_code : faults[kind].openai_type;
}

enum fault_kind fault_of(enum err_code code)
{
    switch (code) {
    case ERR_REQUEST:
    case ERR_LIMIT: return FAULT_INVALID;
    case ERR_UNSUPPORTED: return FAULT_UNSUPPORTED;
    case ERR_CONTEXT: return FAULT_CONTEXT;
    case ERR_NOT_FOUND: return FAULT_MODEL;
    case ERR_BUSY: return FAULT_BUSY;
    case ERR_CANCELLED:
    case ERR_UPSTREAM_BUSY: return FAULT_UNAVAILABLE;
    case ERR_UPSTREAM: return FAULT_GATEWAY;
    case ERR_UPSTREAM_LATE: return FAULT_GATEWAY_TIME;
    case ERR_NONE: return FAULT_NONE;
    default: return FAULT_SERVER;
    }
}

int fault_status(enum fault_kind kind) { return faults[kind].status; }
int fault_retry_after(enum fault_kind kind) { return faults[kind].retry_after_s; }

/* ---- the Express servers ------------------------------------------------------------------------------------------- */

static bool is_express(enum api_dialect d) { return d == DIALECT_EXPRESS_IMAGE || d == DIALECT_EXPRESS_CHAT; }

/* What their model's service refused or failed at, which is one thing to them. */
static bool failed_behind(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_INVALID:
    case FAULT_UNSUPPORTED:
    case FAULT_CONTEXT:
    case FAULT_MODEL:
    case FAULT_NOT_FOUND:
    case FAULT_SERVER: return true;
    default: return false;
    }
}

int fault_status_in(enum api_dialect d, enum fault_kind kind)
{
    return is_express(d) && failed_behind(kind) ? 500 : faults[kind].status;
}

const char *fault_media_type(enum api_dialect d, enum fault_kind kind)
{
    return is_express(d) && kind == FAULT_BUSY ? "text/plain; charset=utf-8" : "application/json";
}

/* ---- Anthropic ----------------------------------------------------------------------------------------------------- */

static const char *anthropic_type(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_KEY: return "authentication_error";
    case FAULT_PAYMENT: return "billing_error";
    case FAULT_FORBIDDEN: return "permission_error";
    case FAULT_URL:
    case FAULT_MODEL:
    case FAULT_NOT_FOUND: return "not_found_error";
    case FAULT_TIMEOUT: return "timeout_error";
    case FAULT_TOO_LARGE: return "request_too_large";
    case FAULT_BUSY: return "rate_limit_error";
    case FAULT_SERVER: return "api_error";
    case FAULT_UNAVAILABLE: return "overloaded_error";
    default: return "invalid_request_error";
    }
}

static void print_anthropic(struct buf *b, enum fault_kind kind, const char *message)
{
    buf_printf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", anthropic_type(kind));
    json_out_cstr(b, message);
    buf_puts(b, "}}");
}

static void print_express(struct buf *b, enum api_dialect d, enum fault_kind kind, const char *message)
{
    const bool image = d == DIALECT_EXPRESS_IMAGE, behind = is_express(d) && failed_behind(kind);
    if (is_express(d) && kind == FAULT_BUSY) {
        buf_printf(b, "Too many %srequests, please try again later.", image ? "image generation " : "");
        return;
    }
    buf_puts(b, "{\"error\":");
    json_out_cstr(b, !behind ? message : image ? "Image generation failed" : "Internal server error");
    if (behind && image) {
        buf_puts(b, ",\"message\":");
        json_out_cstr(b, message);
    }
    buf_putc(b, '}');
}

/* "2025-10-23T10:30:00.000Z" */
static void print_time(struct buf *b, int64_t ms)
{
    const time_t t = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "\"%s.%03dZ\"", text, (int)(ms % 1000));
}

void fault_print(struct buf *b, enum api_dialect d, enum fault_kind kind, const char *param,
                 const char *message)
{
    fault_print_again(b, d, kind, param, message, 0);
}

void fault_print_again(struct buf *b, enum api_dialect d, enum fault_kind kind, const char *param,
                       const char *message, int64_t again_ms)
{
    if (d == DIALECT_FIREMOON) {
        buf_puts(b, "{\"error\":");
        json_out_cstr(b, faults[kind].title);
        buf_puts(b, ",\"message\":");
        json_out_cstr(b, message);
        if (again_ms) buf_puts(b, ",\"resetAt\":"), print_time(b, again_ms);
        buf_putc(b, '}');
        return;
    }
    if (d == DIALECT_ANTHROPIC) {
        print_anthropic(b, kind, message);
        return;
    }
    if (d == DIALECT_SHARED || is_express(d)) {
        print_express(b, d, kind, message);
        return;
    }
    if (d == DIALECT_OLLAMA) {
        buf_puts(b, "{\"error\":");
        json_out_cstr(b, message);
        buf_putc(b, '}');
        return;
    }
    bool fireworks = d == DIALECT_FIREWORKS;
    const char *type = fireworks ? faults[kind].fireworks_type : faults[kind].openai_type;
    const char *code = !fireworks || kind == FAULT_CONTEXT || kind == FAULT_POLICY || kind == FAULT_HELD
                           ? faults[kind].openai_code
                           : type;
    buf_puts(b, "{\"error\":{\"object\":\"error\",\"type\":");
    json_out_cstr(b, type);
    buf_puts(b, ",\"code\":");
    json_out_cstr(b, code);
    buf_puts(b, ",\"param\":");
    json_out_cstr(b, param);
    buf_puts(b, ",\"message\":");
    json_out_cstr(b, message);
    buf_puts(b, "}}");
}
