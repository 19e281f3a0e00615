/* calls.h - the calls of tools that one reply makes, put together from their pieces.
 *
 * Ownership  everything is the struct's own; a zeroed one is empty, calls_clear() makes it so again. */
#ifndef HEARTH_CLI_CALLS_H
#define HEARTH_CLI_CALLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct call {
    char *id, *name;
    struct buf arguments; /* JSON of an object, once it is whole */
};
struct calls {
    struct call *v;
    int n;
    bool failed; /* there was no memory for all of them */
};

/* As talk_sink.call has them; calls come in the order of their numbers. */
void calls_add(struct calls *c, int call, const char *id, const char *name, const char *piece, size_t len);
void calls_clear(struct calls *c);

/* The assistant's message that makes them, text before them included. NULL: one of them is not whole, *e says which. */
json_t *calls_message(const struct calls *c, const char *text, size_t len, struct err *e);

#endif
