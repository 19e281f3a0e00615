/* anthropic_messages.c - POST /v1/messages, and how many tokens the prompt of one would have. */
#include <stdlib.h>
#include <string.h>

#include "http/count_tokens.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/text.h"

/* An older version of the API has other events; what newer ones add is refused by its name where it is not known. */
static bool version_is_known(struct exchange *x)
{
    static const char first[] = "2023-06-01";
    const char *version = exchange_header_in(x, "anthropic-version");
    if (!version || (strlen(version) == strlen(first) && strcmp(version, first) >= 0)) return true;
    exchange_fault(x, FAULT_INVALID, NULL,
                   "anthropic-version: \"%.40s\" is not a version that this server speaks; it speaks %s and "
                   "what came after it",
                   version, first);
    return false;
}

void messages_post(struct exchange *x)
{
    if (version_is_known(x)) text_post(x, true, &anthropic_style);
}

static void print_count(struct buf *b, int64_t tokens)
{
    buf_printf(b, "{\"input_tokens\":%lld}", (long long)tokens);
}

void messages_count_post(struct exchange *x)
{
    if (version_is_known(x)) count_tokens(x, &anthropic_count_style, print_count);
}
