/* A traceparent header: what is taken says the same when it is written again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace_context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace_context c = { 0 }, again = { 0 };
    char out[TRACEPARENT], *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (trace_context_parse(&c, text)) {
        trace_context_begin(&c);
        trace_context_print(&c, out);
        if (!trace_context_parse(&again, out) || memcmp(c.trace, again.trace, sizeof c.trace) ||
            memcmp(c.span, again.parent, sizeof c.span) || c.sampled != again.sampled)
            abort();
    } else if (c.known) {
        abort();
    }
    free(text);
    return 0;
}
