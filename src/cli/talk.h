/* talk.h - asking a model from the command line: one loaded here, or one behind a running server's /v1.
 *
 * Threads   one owner; *stop may be set from a signal handler and ends the reply within a step. */
#ifndef HEARTH_CLI_TALK_H
#define HEARTH_CLI_TALK_H

#include <jansson.h>
#include <stdatomic.h>

#include "base/err.h"
#include "cli/options.h"
#include "cli/wishes.h"

struct talk;

/* model: a path, an installed or catalog name, or NULL for the only one there is (the first one of a server). */
bool talk_open(struct talk **out, const struct options *o, const char *model, struct err *e);
void talk_close(struct talk *t);
const char *talk_model(const struct talk *t); /* its id */

/* Is this the name of a model rather than a text: a path that is there, an installed one, one of the catalog or, with --url, of that
 * server? Loads nothing. */
bool talk_names_model(const struct options *o, const char *name);

struct talk_stats {
    int prompt_tokens, cached_tokens, completion_tokens;
    double first_s, total_s; /* to the first text; to the end */
    bool hit_length, stopped;
};

/* What is asked: a conversation (an array of messages as requests have them) or, with messages NULL, the continuation of `prompt`. Sampling
 * is that of the options given to talk_open(). */
struct talk_question {
    const json_t *messages;
    const char *prompt;
    const struct wishes *wishes;
    bool choose; /* the choice of a tool is kept to (wishes.h) */
};

/* What comes, piece by piece, whole characters only. */
struct talk_sink {
    void (*text)(void *arg, const char *text, size_t len);
    void (*thought)(void *arg, const char *text, size_t len); /* NULL: left out */
    /* A piece of the arguments of a call of a tool, numbered from 0. id and name, where the piece has them, are the call's, else NULL;
     * this NULL: left out. */
    void (*call)(void *arg, int call, const char *id, const char *name, const char *piece, size_t len);
    void *arg;
};

bool talk_ask(struct talk *t, const struct talk_question *question, const struct talk_sink *sink,
              const atomic_bool *stop, struct talk_stats *stats, struct err *e);

#endif
