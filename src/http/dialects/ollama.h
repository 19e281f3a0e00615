/* ollama.h - Ollama's API: /api/chat and /api/generate as text requests, and their replies as lines of JSON.
 *
 * A body becomes the body of a chat completion (or, raw, of a plain completion), which wire_parse() reads: one set of checks, limits and
 * wishes for all dialects. What only Ollama says stands beside it.
 *
 * Ownership  what an ollama_request points to belongs to it and goes with ollama_free(). */
#ifndef HEARTH_HTTP_DIALECTS_OLLAMA_H
#define HEARTH_HTTP_DIALECTS_OLLAMA_H

#include "http/dialects/wire.h"

struct ollama_request {
    struct wire_request wire; /* where there is something to answer */
    char *name;               /* the model, as the client wrote it */
    bool chat;                /* of /api/chat; else of /api/generate */
    bool load_only;           /* an empty prompt: the model is loaded, or unloaded with keep_alive 0 */
    bool keeps;               /* keep_alive was given */
    double keep_s;            /* seconds that the model stays when it is idle; below 0: for ever */
    char ignored[160];        /* names of options that change nothing here, for the log; "" for none */
};

/* body: a JSON object. On failure nothing is to be freed. */
bool ollama_parse(struct ollama_request *q, json_t *body, bool chat, bool strict, struct fault *f);
void ollama_free(struct ollama_request *q);

/* Go's durations, as "5m", "1h30m", "-1", or a number of seconds. */
bool ollama_keep_alive(const json_t *v, double *seconds, struct fault *f);
/* The name without ":latest". New; NULL: no memory. */
char *ollama_bare_name(const char *name);

struct ollama_reply {
    const struct ollama_request *request;
    double load_s, total_s;  /* of the last line */
    struct wire_choice said; /* a full reply; of a stream the calls alone */
    int n_told;              /* calls of a stream that are out */
};

/* Each prints one whole line, or nothing where there is nothing to say. TEXT, THOUGHT and CALL events; a call is told when it is whole. False: no memory. */
bool ollama_print_piece(struct buf *b, struct ollama_reply *r, const struct reply_event *ev);
/* The last line of a stream, or (full) the whole reply. */
void ollama_print_end(struct buf *b, struct ollama_reply *r, const struct usage *u, bool full);
/* What a request that only loads or unloads gets. */
void ollama_print_loaded(struct buf *b, const struct ollama_request *q, bool unloaded);
/* "2025-10-23T10:30:00.123456Z", with quotes. */
void ollama_print_time(struct buf *b, int64_t unix_ms);

#endif
