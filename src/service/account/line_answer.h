/* line_answer.h - what a line of a batch was answered, written in the transaction of the line's row in the ledger: so that no kill, whenever it
 * comes, leaves one without the other. The row's uid follows from batch and line, and is there once. */
#ifndef HEARTH_SERVICE_ACCOUNT_LINE_ANSWER_H
#define HEARTH_SERVICE_ACCOUNT_LINE_ANSWER_H

#include "service/ending.h"
#include "store/store.h"

struct line_answer {
    char batch[40], request[72];
    int64_t line, status;
    char *body; /* JSON on one line */
};

void line_uid(const char *batch, int64_t line, char uid[33]);
/* Whether a line is answered by a reply of this status, or is to be asked again: when there is room, or by the server that comes after this one. */
bool line_is_final(int status);
/* JSON on one line: an end of a line in it is nothing but space. */
void line_flatten(struct buf *json);
/* Takes over the ending's answer. */
void line_answer_take(struct line_answer *out, struct ending *e);
/* And counts it with its batch. One that is there already stays. */
bool line_answer_put(const struct line_answer *a, struct session *c, struct err *e);
void line_answer_free(struct line_answer *a);

#endif
