/* principal.c - see principal.h. */
#include "service/principal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static void name_it(struct principal *p)
{
    int n = snprintf(p->id, sizeof p->id, "key_");
    for (int i = 0; i < 5; i++) n += snprintf(p->id + n, sizeof p->id - (size_t)n, "%02x", p->hash[i]);
}

void principal_of_key(struct principal *out, const char *key, size_t len)
{
    *out = (struct principal){ .known = false };
    crypto_generichash(out->hash, PRINCIPAL_HASH, (const unsigned char *)(key ? key : ""), key ? len : 0,
                       NULL, 0);
    memcpy(&out->share.id, out->hash, sizeof out->share.id);
    if (key)
        name_it(out);
    else
        memcpy(out->id, "anonymous", sizeof "anonymous");
}

void principal_of_hash(struct principal *out, const unsigned char hash[PRINCIPAL_HASH])
{
    struct principal none;
    principal_of_key(&none, NULL, 0);
    *out = (struct principal){ .known = false };
    if (!memcmp(none.hash, hash, PRINCIPAL_HASH)) {
        *out = none;
        return;
    }
    memcpy(out->hash, hash, PRINCIPAL_HASH);
    memcpy(&out->share.id, out->hash, sizeof out->share.id);
    name_it(out);
}
