/* thoughts.h - thoughts as a model's chat template has them: the marks around one, and which of earlier turns the model sees again.
 *
 * Threads  pure functions. */
#ifndef HEARTH_SERVICE_THOUGHTS_H
#define HEARTH_SERVICE_THOUGHTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "service/request.h"
#include "text/jinja/chat_template.h"

struct thought_marks { /* string constants; NULL: nothing in the template tells that the model thinks */
    const char *open, *close;
};
struct thought_marks thoughts_marks(const struct chat_template *t);

/* Templates differ in where they look for a thought that is to be shown, and some show none but in these ways. */
enum thought_way {
    THOUGHTS_AS_THEY_CAME,
    THOUGHTS_IN_TEXT_ALONE, /* between marks in content, and an empty reasoning_content, so that content is not searched for thoughts */
    THOUGHTS_IN_TEXT, /* between marks in content */
    THOUGHT_WAYS
};
/* The messages (a gen_request's) with the thoughts of earlier turns that `history` lets through, in this way; new. With HISTORY_AS_TEMPLATE
 * they are as they came. NULL: no memory. */
json_t *thoughts_of_history(const json_t *messages, enum thought_history history,
                            const struct thought_marks *m, enum thought_way way);
/* Whether the prompt holds all the thoughts that `history` keeps. */
bool thoughts_held(const json_t *messages, enum thought_history history, const struct thought_marks *m,
                   const char *prompt);

#endif
