/* A bucket's place and an endpoint, a line each: what is taken is a URL of the endpoint's host, or of Amazon's, and nothing else. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct s3_place p;
    struct err e = { ERR_NONE, "" };
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    char *endpoint = strchr(text, '\n');
    if (endpoint) *endpoint++ = 0;
    if (!endpoint) endpoint = text + size;
    if (!s3_place_parse(&p, text, endpoint, "eu-west-1", &e)) {
        if (e.code != ERR_REQUEST || !*e.msg) abort();
        free(text);
        return 0;
    }
    const size_t n = strlen(endpoint);
    if (*endpoint && strncmp(p.base, endpoint, n)) abort();
    if (!*endpoint && (strncmp(p.base, "https://", 8) || !strstr(p.base, ".s3.eu-west-1.amazonaws.com/")))
        abort();
    if (p.base[strlen(p.base) - 1] != '/' || strpbrk(p.base, " \r\n?#%\\@\"") || strstr(p.base + 8, ".."))
        abort();
    if (*endpoint && !strstr(p.base + 7, p.bucket)) abort();
    free(text);
    return 0;
}
