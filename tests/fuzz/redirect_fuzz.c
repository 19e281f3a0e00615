/* A Host header and a target, a line each: what comes of them leads to HTTPS at that host and nowhere else. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/redirect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = BUF_INIT(0);
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    char *target = strchr(text, '\n');
    if (target) *target++ = 0;
    if (!target) target = text + size;
    if (redirect_location(&out, text, target, 8443)) {
        const char *host = out.data + 8, *port = strstr(host, ":8443/");
        if (strncmp(out.data, "https://", 8) || !port || port == host) abort();
        /* The host is what came, up to its port, and has nothing of a path or a user in it. */
        if (strncmp(host, text, (size_t)(port - host))) abort();
        if (strcspn(host, "/@\\?#% ") < (size_t)(port - host)) abort();
    } else if (out.len) {
        abort();
    }
    buf_free(&out);
    free(text);
    return 0;
}
