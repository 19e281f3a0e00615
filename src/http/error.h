/* error.h - what can go wrong with a request, its HTTP status, and its body in each dialect. One table. */
#ifndef HEARTH_HTTP_ERROR_H
#define HEARTH_HTTP_ERROR_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum api_dialect {
    DIALECT_OPENAI,        /* /v1 */
    DIALECT_FIREWORKS,     /* /inference/v1 */
    DIALECT_FIREMOON,      /* /api */
    DIALECT_SHARED,        /* /api/generate and /api/chat, until the body says which of two APIs is meant */
    DIALECT_EXPRESS_IMAGE, /* dialects/express.h: there */
    DIALECT_EXPRESS_CHAT,
    DIALECT_OLLAMA,   /* there too, and its own paths below /api */
    DIALECT_ANTHROPIC /* /v1/messages, and /v1/models for its clients */
};

const char *dialect_name(
    enum api_dialect d); /* "openai", "fireworks", "firemoon", "shared", "express", "anthropic", "ollama" */

enum fault_kind {
    FAULT_NONE,
    FAULT_INVALID,      /* 400 */
    FAULT_UNSUPPORTED,  /* 400: a valid wish that is not offered */
    FAULT_CONTEXT,      /* 400 */
    FAULT_POLICY,       /* 400: the safety policy refuses it */
    FAULT_KEY,          /* 401 */
    FAULT_PAYMENT,      /* 402 */
    FAULT_FORBIDDEN,    /* 403 */
    FAULT_URL,          /* 404 */
    FAULT_MODEL,        /* 404 */
    FAULT_NOT_FOUND,    /* 404: something else that was named */
    FAULT_METHOD,       /* 405 */
    FAULT_ACCEPT,       /* 406 */
    FAULT_TIMEOUT,      /* 408 */
    FAULT_HELD,         /* 409: a person has to see it first */
    FAULT_TOO_LARGE,    /* 413 */
    FAULT_URI_TOO_LONG, /* 414 */
    FAULT_MEDIA,        /* 415 */
    FAULT_BUSY,         /* 429 */
    FAULT_HEADERS,      /* 431 */
    FAULT_SERVER,       /* 500 */
    FAULT_GATEWAY,      /* 502: another server that was asked failed */
    FAULT_UNAVAILABLE,  /* 503 */
    FAULT_GATEWAY_TIME, /* 504 */
    FAULT_VERSION,      /* 505 */
};

enum fault_kind fault_of(enum err_code code);
const char *
fault_name(enum fault_kind
               kind); /* "rate_limit_exceeded": its code, or its type where it has none; "" for FAULT_NONE */
int fault_status(enum fault_kind kind);
/* As a dialect has it: the Express servers answer 500 to whatever their models refuse, and say that a limit is full in plain text. */
int fault_status_in(enum api_dialect d, enum fault_kind kind);
const char *fault_media_type(enum api_dialect d, enum fault_kind kind);
/* Seconds after which to come again when nobody knows better; 0: not at all. */
int fault_retry_after(enum fault_kind kind);
/* The body: {"error": {...}} for OpenAI and Fireworks, {"type": "error", "error": {...}} for Anthropic, a flat object for the others. param may be NULL. */
void fault_print(struct buf *b, enum api_dialect d, enum fault_kind kind, const char *param,
                 const char *message);
/* The same with the time (Unix) from which on it may be tried again, which Firemoon's body has as `resetAt`; 0: without. */
void fault_print_again(struct buf *b, enum api_dialect d, enum fault_kind kind, const char *param,
                       const char *message, int64_t again_ms);

#endif
