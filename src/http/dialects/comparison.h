/* comparison.h - POST /v1/comparisons: one prompt, asked of several candidates, and what each of them made of it. Parse and print alone; the
 * requests are made by http/comparisons.c.
 *
 *   {"prompt": "...", "models": ["a", "b"], "parameters": {"max_tokens": 100}}
 *   {"prompt": "...", "model": "a", "styles": ["cinematic", "anime"], "parameters": {"seed": 1}}
 *   {"messages": [...], "candidates": [{"name": "cool", "model": "a", "temperature": 0.1}, {"name": "warm", "model": "a", "temperature": 1}]}
 *
 * A candidate is a chat completion, or a request for pictures where its model draws. Its own members win over `parameters`. */
#ifndef HEARTH_HTTP_DIALECTS_COMPARISON_H
#define HEARTH_HTTP_DIALECTS_COMPARISON_H

#include <jansson.h>

#include "base/buf.h"
#include "http/error.h"
#include "http/json_in.h"

enum { COMPARISON_MOST = 16 /* candidates */ };

struct compared { /* a candidate */
    char *name;
    json_t *request; /* what is sent for it */
    /* ---- as it goes */
    struct buf text, thought;
    json_t *usage, *images, *error; /* NULL: not there (yet) */
    char finish[32], id[72], cost[64];
    double began, first, ended; /* clock_seconds(); 0: not yet */
    int status;
};

struct comparison {
    bool draws, stream, together;
    struct compared *v;
    int n;
};

/* draws(arg, name): whether a model of this name is one for pictures. body stays the caller's. What was read goes with comparison_free(), also
 * after a refusal. */
bool comparison_read(struct comparison *c, const json_t *body, bool (*draws)(void *arg, const char *model),
                     void *arg, bool strict, struct fault *f);
void comparison_free(struct comparison *c);

/* One event of a candidate's stream ("data: ..." and what follows it), len bytes; what is new in it goes behind *out (NULL: nowhere) as an
 * event of the comparison's own. */
void comparison_event(struct comparison *c, int i, const char *event, size_t len, struct buf *out);
/* Its plain reply: pictures, or a refusal. */
void comparison_reply(struct comparison *c, int i, const char *body, size_t len);

/* {"object": "comparison", ...}: all of it. whole: with texts and pictures. */
void comparison_print(struct buf *b, const struct comparison *c, bool whole);
/* Events of the stream: a candidate is at its end; all are; something went wrong with the whole. */
void comparison_print_end(struct buf *b, const struct comparison *c, int i);
void comparison_print_done(struct buf *b, const struct comparison *c);
void comparison_print_fault(struct buf *b, enum fault_kind kind, const char *message);

#endif
