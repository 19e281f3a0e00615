/* parse.h - the parts of wire_parse(): fields that say one thing together are read together, each group in a file of its own.
 *
 * Each takes the whole body once the table of single fields is through (parse.c), so that the order of members means nothing. All return
 * false with the fault set. */
#ifndef HEARTH_HTTP_DIALECTS_PARSE_H
#define HEARTH_HTTP_DIALECTS_PARSE_H

#include "http/dialects/wire.h"

/* parse_answer.c: response_format, and other servers' guided_*, structured_outputs, grammar, json_schema. */
bool parse_answer(struct wire_request *w, const json_t *body, struct fault *f);
/* parse_thinking.c: reasoning_effort, thinking, reasoning, enable_thinking, include_reasoning, reasoning_history. */
bool parse_thinking(struct wire_request *w, const json_t *body, struct fault *f);
/* parse_tools.c: tools, tool_choice, parallel_tool_calls, functions, function_call. */
bool parse_tools(struct wire_request *w, const json_t *body, struct fault *f);

/* The member, or NULL where it is missing or null, which means "not given". */
const json_t *parse_given(const json_t *object, const char *key);
bool parse_no_memory(struct fault *f); /* sets the fault; false */

#endif
