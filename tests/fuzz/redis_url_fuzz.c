/* Any text as the URL of a Redis. What is taken keeps to its limits and is shown without its password; what is refused says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/redis_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { ERR_NONE, "" };
    struct redis_url u, again;
    char shown[REDIS_URL_SHOWN], *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (!redis_url_parse(&u, text, &e)) {
        if (e.code != ERR_REQUEST || !*e.msg) abort();
    } else {
        if (u.port < 1 || u.port > 65535 || u.database < 0 || !*u.host) abort();
        if (!redis_url_parse(&again, redis_url_show(&u, shown), &e)) abort();
        if (strcmp(again.host, u.host) != 0 || again.port != u.port || again.database != u.database ||
            *again.password)
            abort();
    }
    free(text);
    return 0;
}
