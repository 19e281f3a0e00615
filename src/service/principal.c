/* principal.c - see principal.h. */
#include "service/principal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

void principal_of_key(struct principal *out, const char *key, size_t len)
{
    *out = (struct principal){ .known = false };
    crypto_generichash(out->hash, PRINCIPAL_HASH, (const unsigned char *)(key ? key : ""), key ? len : 0,
                       NULL, 0);
    memcpy(&out->share.id, out->hash, sizeof out->share.id);
    if (!key) {
        memcpy(out->id, "anonymous", sizeof "anonymous");
        return;
    }
    int n = snprintf(out->id, sizeof out->id, "key_");
    for (int i = 0; i < 5; i++) n += snprintf(out->id + n, sizeof out->id - (size_t)n, "%02x", out->hash[i]);
}
