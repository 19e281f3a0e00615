/* Any bytes as the body of a request that makes a key: what is taken is text with an end, what is refused says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/key_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_limits limits = { 16, 1000 };
    struct fault f = { 0 };
    struct key_body b;
    json_t *body;
    if (!json_in_parse((const char *)data, size, &limits, &body, &f)) return 0;
    if (key_body_read(&b, body, &f)) {
        const char *const texts[] = { b.name, b.project, b.scopes, b.addresses, b.limits, b.budgets, b.tags };
        size_t n = 0;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) n += texts[i] ? strlen(texts[i]) : 0;
        if (n > 8 * size + 64) abort();
        key_body_free(&b);
    } else if (f.err.code == ERR_NONE || !*f.err.msg) {
        abort();
    }
    json_decref(body);
    return 0;
}
