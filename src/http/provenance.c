/* provenance.c - see provenance.h. */
#include "http/provenance.h"

#include <sodium.h>

#include "http/exchange.h"
#include "service/ending.h"

enum { HASH = crypto_hash_sha256_BYTES };

static bool wanted(const struct exchange *x) { return exchange_server(x)->o.account && exchange_ending(x); }

static void note(struct exchange *x, const unsigned char hash[HASH])
{
    char hex[2 * HASH + 1];
    sodium_bin2hex(hex, sizeof hex, hash, HASH);
    ending_hashes(exchange_ending(x), hex, NULL);
}

static int feed(const char *bytes, size_t n, void *h)
{
    return crypto_hash_sha256_update(h, (const unsigned char *)bytes, n);
}

void provenance_json(struct exchange *x, const json_t *body)
{
    crypto_hash_sha256_state h;
    unsigned char hash[HASH];
    if (!wanted(x)) return;
    crypto_hash_sha256_init(&h);
    if (json_dump_callback(body, feed, &h, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)) return;
    crypto_hash_sha256_final(&h, hash);
    note(x, hash);
}

void provenance_bytes(struct exchange *x, const char *body, size_t len)
{
    unsigned char hash[HASH];
    if (!wanted(x)) return;
    crypto_hash_sha256(hash, (const unsigned char *)body, len);
    note(x, hash);
}

void provenance_model(struct exchange *x, struct model *m)
{
    char print[FINGERPRINT];
    if (wanted(x) && registry_fingerprint(exchange_server(x)->registry, m, print))
        ending_hashes(exchange_ending(x), NULL, print);
}
