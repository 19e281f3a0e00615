#include "service/files.h"

#include <stdio.h>

#include "base/rng.h"

enum { DIGITS = 32 };

bool files_put(struct blobs *b, const void *data, size_t len, const char *extension, char name[BLOBS_NAME],
               struct err *e)
{
    unsigned char random[DIGITS / 2];
    rng_os(random, sizeof random);
    for (int i = 0; i < DIGITS / 2; i++) snprintf(name + 2 * i, 3, "%02x", random[i]);
    snprintf(name + DIGITS, BLOBS_NAME - DIGITS, ".%.5s", extension);
    return blobs_put(b, name, data, len, e);
}
