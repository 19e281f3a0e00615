/* talk.h - asking a model from the command line: one loaded here, or one behind a running server's /v1.
 *
 * Threads   one owner; *stop may be set from a signal handler and ends the reply within a step. */
#ifndef HEARTH_CLI_TALK_H
#define HEARTH_CLI_TALK_H

#include <jansson.h>
#include <stdatomic.h>

#include "base/err.h"
#include "cli/options.h"

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

/* Asks with a conversation (messages, an array of {role, content}) or, with messages NULL, continues `prompt`. on_text gets the reply
 * piece by piece, whole characters only. Sampling is that of the options given to talk_open(). */
bool talk_ask(struct talk *t, const json_t *messages, const char *prompt,
              void (*on_text)(void *arg, const char *text, size_t len), void *arg, const atomic_bool *stop,
              struct talk_stats *stats, struct err *e);

#endif
