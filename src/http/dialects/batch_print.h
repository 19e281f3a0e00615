/* batch_print.h - files and batches as OpenAI writes them. */
#ifndef HEARTH_HTTP_DIALECTS_BATCH_PRINT_H
#define HEARTH_HTTP_DIALECTS_BATCH_PRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct file_row;
struct batch_row;
struct batch_answer;
struct batch_fault;

void batch_print_file(struct buf *b, const struct file_row *r);
void batch_print(struct buf *b, const struct batch_row *r);
/* Lines of its files, with their ends: an answer; and a request that was never answered. */
void batch_print_answer(struct buf *b, const char *custom_id, const struct batch_answer *a);
void batch_print_unanswered(struct buf *b, const char *request, const char *custom_id, bool expired);
/* One of the errors of a batch. line 0: of none. */
void batch_print_fault(struct buf *b, const struct batch_fault *f, int64_t line);
/* What ends a list after its "data":[...; first and last: ids, "" where it has none. */
void batch_print_page_end(struct buf *b, const char *first, const char *last, bool more);

#endif
