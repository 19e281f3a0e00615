/* Any bytes as an answer: what is told of it is JSON that tells the same of itself, and where it differs from another one is said within bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "service/account/essence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = { "application/json", "text/event-stream", "image/png" };
    struct buf out[3] = { { .max = 1 << 24 }, { .max = 1 << 24 }, { .max = 1 << 24 } };
    char where[64];
    for (int i = 0; i < 3; i++) {
        struct err e = { ERR_NONE, "" };
        if (!essence_of(types[i], (const char *)data, size, &out[i], &e)) {
            if (e.code == ERR_NONE) abort();
            buf_clear(&out[i]);
            continue;
        }
        json_t *v = json_memory_load(out[i].data, out[i].len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        if (!v) abort();
        json_decref(v);
    }
    for (int i = 0; i < 3; i++)
        if (essence_differ(&out[i], &out[(i + 1) % 3], where, sizeof where) && strlen(where) >= sizeof where)
            abort();
    for (int i = 0; i < 3; i++) buf_free(&out[i]);
    return 0;
}
