/* provenance.c - see provenance.h. */
#include "http/provenance.h"

#include <sodium.h>

#include "base/log.h"
#include "format/json_memory.h"
#include "http/exchange.h"
#include "service/ending.h"

enum { HASH = crypto_hash_sha256_BYTES };

static bool wanted(const struct exchange *x) { return exchange_server(x)->o.account && exchange_ending(x); }

static char *headers_of(const struct exchange *x)
{
    static const char *const names[] = { "Content-Type", "Accept", "Json-Return-Image-Accept",
                                         "Jpeg-Quality" };
    json_t *h = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = exchange_header_in(x, names[i]);
        json_t *text = v ? json_string(v) : NULL; /* NULL too when it is no UTF-8 */
        if (text) json_object_set_new(h, names[i], text);
    }
    char *out = h ? json_memory_dumps(h, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(h);
    return out;
}

void provenance_begin(struct exchange *x)
{
    const struct server *s = exchange_server(x);
    size_t len;
    const char *body = exchange_body(x, &len);
    if (!s->o.record || !wanted(x)) return;
    if (len > s->o.record_limit) {
        log_info("%s is not recorded: its body has %zu bytes, and record-limit is %zu", exchange_id(x), len,
                 s->o.record_limit);
        return;
    }
    struct recording *r = recording_new();
    if (r && (r->headers = headers_of(x)) && (r->body = BUF_INIT(len + 1), buf_append(&r->body, body, len))) {
        exchange_ending(x)->recording = r;
        return;
    }
    log_warn("%s is not recorded: out of memory", exchange_id(x));
    recording_free(r);
}

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
