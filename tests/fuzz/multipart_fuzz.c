/* The first line is the Content-Type, the rest the body. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
    if (!nl) return 0;
    char *type = strndup((const char *)data, (size_t)(nl - data));
    size_t len = size - (size_t)(nl - data) - 1;
    char *body = malloc(len ? len : 1); /* exactly as long as it is: one byte too far is found */
    struct multipart *m = malloc(sizeof *m);
    struct err e = { 0 };
    if (type && body && m) {
        memcpy(body, nl + 1, len);
        if (multipart_parse(m, type, body, len, &e)) {
            for (int i = 0; i < m->n; i++) {
                const struct multipart_part *p = &m->part[i];
                if (p->data < body || p->data + p->len > body + len || p->name < body ||
                    p->name + p->name_len > body + len)
                    abort();
            }
        }
    }
    free(type);
    free(body);
    free(m);
    return 0;
}
