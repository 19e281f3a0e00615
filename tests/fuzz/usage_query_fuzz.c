/* Any bytes as the query of a report of usage: lines of NAME=VALUE after a first byte that says which report. What is taken keeps to its bounds,
 * what is refused says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/usage_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct usage_query q;
    struct fault f = { 0 };
    char *text = malloc(size + 1), *line, *rest;
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    usage_query_init(&q, size ? (enum usage_kind)(data[0] % 3) : USAGE_OF_TEXT);
    bool ok = true;
    for (rest = size ? text + 1 : text; ok && (line = strsep(&rest, "\n"));) {
        char *equal = strchr(line, '=');
        if (!equal) continue;
        *equal = 0;
        ok = usage_query_take(&q, line, equal + 1, &f);
    }
    ok = ok && usage_query_whole(&q, INT64_C(1750000000), &f);
    if (ok &&
        (q.start_s < 0 || q.end_s <= q.start_s || q.page_s < q.start_s || q.limit < 1 || q.limit > 1440))
        abort();
    if (ok) usage_query_wants(&q, BY_MODEL, "m");
    if (!ok && (f.err.code == ERR_NONE || !*f.err.msg)) abort();
    usage_query_free(&q);
    free(text);
    return 0;
}
