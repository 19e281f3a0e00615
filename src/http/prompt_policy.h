/* prompt_policy.h - a request's words held against the policy of its key, its project or the server (service/safety/policy.h). */
#ifndef HEARTH_HTTP_PROMPT_POLICY_H
#define HEARTH_HTTP_PROMPT_POLICY_H

#include <jansson.h>
#include <stdbool.h>

struct exchange;
struct fault;
struct gen_request;
struct word_policy;

/* The one that holds for x; never NULL on success. False: the server's file has none of that name. */
bool prompt_policy_of(struct exchange *x, const struct word_policy **out, struct fault *f);
/* All that a text request says, earlier turns too. False: refused, f says why, and x knows that it is
 * the policy's doing. What is to be reviewed passes with a header, or is held until a person approves it. q
 * learns what its answer may not say. */
bool prompt_policy_text(struct exchange *x, struct gen_request *q, struct fault *f);
/* The body of a request that another server is to answer: what is refused counts, and what is held for a person. */
bool prompt_policy_body(struct exchange *x, const json_t *body, struct fault *f);
bool prompt_policy_picture(struct exchange *x, const char *prompt, struct fault *f);

#endif
