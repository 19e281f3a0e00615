/* count_tokens.h - the tokens of a chat's prompt as its model would get it, without running it. */
#ifndef HEARTH_HTTP_COUNT_TOKENS_H
#define HEARTH_HTTP_COUNT_TOKENS_H

#include "http/dialects/wire.h"

struct exchange;

/* A whole handler: the body is read as the style has it, its model loaded, and `print` says the number. */
void count_tokens(struct exchange *x, const struct wire_style *style,
                  void (*print)(struct buf *b, int64_t tokens));

#endif
