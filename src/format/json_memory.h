/* json_memory.h - jansson where memory runs out.
 *
 * Alone it drops bytes when a buffer of its lexer or of json_dumps() cannot grow, and goes on: "rope_theta" becomes "rope_thta", a prompt
 * loses a letter, and nothing says so. These fail instead.
 * Threads  json_memory_init() before there are any; the others from any thread. */
#ifndef HEARTH_FORMAT_JSON_MEMORY_H
#define HEARTH_FORMAT_JSON_MEMORY_H

#include <jansson.h>
#include <stddef.h>

/* Makes jansson allocate through this file. Without it json_memory_load() is json_loadb(). */
void json_memory_init(void);

/* json_loadb(): NULL, and json_error_out_of_memory in *why, when any allocation failed on the way. `why` may be NULL. */
json_t *json_memory_load(const char *text, size_t len, size_t flags, json_error_t *why);

/* json_dumps(): the caller's, from malloc(); NULL when there was no memory for all of it. */
char *json_memory_dumps(const json_t *v, size_t flags);

/* json_deep_copy(), which leaves out what it has no memory for; this is NULL then. */
json_t *json_memory_copy(const json_t *v);

#endif
