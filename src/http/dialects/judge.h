/* judge.h - what a chat model that judges texts is asked, and what is read from its answer: one of the judge's labels, or none, and how sure it is. The
 * answer is bound to a schema, and greedy: the same text is judged the same each time. */
#ifndef HEARTH_HTTP_DIALECTS_JUDGE_H
#define HEARTH_HTTP_DIALECTS_JUDGE_H

#include <jansson.h>

#include "base/err.h"
#include "service/safety/policy.h"

struct judged {
    int category; /* or CATEGORY_NONE */
    double score; /* 0 to 1 */
};
/* A body for chat completions; NULL: no memory, or the text is no UTF-8. */
json_t *judge_question(const struct word_judge *j, const char *text, size_t len);
/* Of what chat completions answered. False: it is no judgement, and *e says why. */
bool judge_answer(const struct word_judge *j, int status, const char *body, size_t len, struct judged *out,
                  struct err *e);

#endif
