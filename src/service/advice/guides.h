/* guides.h - the small functions that programs copy from a hosted service's guides: what tokens or pictures cost, messages cut to a window, tools
 * checked before they are sent, waits between tries, and a DALL-E request in this server's words. A question is a JSON object, and so is its
 * answer; over HTTP and on the command line they are the same.
 *
 *   GUIDE_COST      {"model", "prompt_tokens", "completion_tokens"} or {"model", "steps", "n"}    {"model", "cost"}
 *   GUIDE_TRUNCATE  {"messages", "max_tokens"}: words, as the guide counts them                    {"messages", "dropped", "words"}
 *   GUIDE_TOOLS     {"tools"}                                                                      {"valid", "errors"}
 *   GUIDE_RETRY     {"max_retries", "base_delay", "max_delay", "status", "retry_after"}: seconds   {"retry", "waits": [{"least", "most"}]}
 *   GUIDE_DALLE     {"request"}                                                                    {"request", "changed"}
 *
 * Each takes "mode": seed, the guides' functions to the letter, or best, without their holes (docs/advice.md). */
#ifndef HEARTH_SERVICE_ADVICE_GUIDES_H
#define HEARTH_SERVICE_ADVICE_GUIDES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "service/models/catalog.h"

enum guide_function { GUIDE_COST, GUIDE_TRUNCATE, GUIDE_TOOLS, GUIDE_RETRY, GUIDE_DALLE };

/* *answer is new. ERR_REQUEST or ERR_NOT_FOUND: *param is the member that is wrong, a constant. */
bool guide_answer(enum guide_function g, const struct catalog *c, const json_t *question, json_t **answer,
                  const char **param, struct err *e);

#endif
