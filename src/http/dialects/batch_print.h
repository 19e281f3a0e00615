/* batch_print.h - files and batches as OpenAI writes them. */
#ifndef HEARTH_HTTP_DIALECTS_BATCH_PRINT_H
#define HEARTH_HTTP_DIALECTS_BATCH_PRINT_H

#include <stdbool.h>

#include "base/buf.h"

struct file_row;
struct batch_row;

void batch_print_file(struct buf *b, const struct file_row *r);
void batch_print(struct buf *b, const struct batch_row *r);
/* What ends a list after its "data":[...; first and last: ids, "" where it has none. */
void batch_print_page_end(struct buf *b, const char *first, const char *last, bool more);

#endif
