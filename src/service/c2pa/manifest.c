/* manifest.c - see manifest.h. */
#include "service/c2pa/manifest.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "format/cbor.h"
#include "format/embedded.h"
#include "service/c2pa/jumbf.h"

#define SOURCE_TYPE "http://cv.iptc.org/newscodes/digitalsourcetype/"

enum { HASH = crypto_hash_sha256_BYTES, MANIFEST_BYTES = 1 << 20, UUID_TEXT = 37, TRIES = 4 };

struct writer {
    struct c2pa_signer *signer;
    const struct c2pa_made *made;
    struct embedded_span span;
    unsigned char hash[HASH]; /* of the file without the manifest */
    char label[80], instance[80];
    unsigned char actions_hash[HASH], binding_hash[HASH];
};

bool c2pa_to_sign(struct buf *out, const void *head, size_t head_len, const void *claim, size_t claim_len)
{
    cbor_put(out, CBOR_ARRAY, 4);
    cbor_put_text(out, "Signature1");
    cbor_put_bytes(out, head, head_len);
    cbor_put_bytes(out, "", 0);
    cbor_put_bytes(out, claim, claim_len);
    return !out->failed;
}

/* A UUID (RFC 9562, version 8) of a hash and a word. */
static void make_uuid(const unsigned char hash[HASH], const char *word, char out[UUID_TEXT])
{
    unsigned char h[HASH];
    crypto_hash_sha256_state st;
    crypto_hash_sha256_init(&st);
    crypto_hash_sha256_update(&st, hash, HASH);
    crypto_hash_sha256_update(&st, (const unsigned char *)word, strlen(word));
    crypto_hash_sha256_final(&st, h);
    h[6] = (h[6] & 0x0f) | 0x80;
    h[8] = (h[8] & 0x3f) | 0x80;
    char *at = out;
    for (int i = 0; i < 16; i++)
        at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", h[i]);
}

/* What hashes of boxes go over: all behind the box's own head. */
static void hash_box(const struct buf *b, size_t begun, unsigned char out[HASH])
{
    if (!b->failed) crypto_hash_sha256(out, (const unsigned char *)b->data + begun + 8, b->len - begun - 8);
}

static size_t open_cbor(struct buf *b, const char *kind, const char *label, size_t *content)
{
    const size_t at = jumbf_open(b, kind, label);
    *content = jumbf_begin(b, "cbor");
    return at;
}

static void put_generator(struct buf *b)
{
    cbor_put(b, CBOR_MAP, 2);
    cbor_put_text(b, "name");
    cbor_put_text(b, "hearth");
    cbor_put_text(b, "version");
    cbor_put_text(b, hearth_version);
}

static void put_actions(struct writer *w, struct buf *b)
{
    char description[200];
    size_t content;
    const size_t box = open_cbor(b, "cbor", C2PA_ACTIONS, &content);
    snprintf(description, sizeof description, "drawn by the model %.150s", w->made->model);
    cbor_put(b, CBOR_MAP, 1);
    cbor_put_text(b, "actions");
    cbor_put(b, CBOR_ARRAY, 1);
    cbor_put(b, CBOR_MAP, 4);
    cbor_put_text(b, "action");
    cbor_put_text(b, "c2pa.created");
    cbor_put_text(b, "description");
    cbor_put_text(b, description);
    cbor_put_text(b, "softwareAgent");
    put_generator(b);
    cbor_put_text(b, "digitalSourceType");
    cbor_put_text(b, w->made->composite ? SOURCE_TYPE "compositeWithTrainedAlgorithmicMedia"
                                        : SOURCE_TYPE "trainedAlgorithmicMedia");
    jumbf_end(b, content);
    jumbf_end(b, box);
    hash_box(b, box, w->actions_hash);
}

static void put_binding(struct writer *w, struct buf *b)
{
    size_t content;
    const size_t box = open_cbor(b, "cbor", C2PA_HASH, &content);
    cbor_put(b, CBOR_MAP, 5);
    cbor_put_text(b, "exclusions");
    cbor_put(b, CBOR_ARRAY, 1);
    cbor_put(b, CBOR_MAP, 2);
    cbor_put_text(b, "start");
    cbor_put(b, CBOR_UINT, w->span.start);
    cbor_put_text(b, "length");
    cbor_put(b, CBOR_UINT, w->span.len);
    cbor_put_text(b, "name");
    cbor_put_text(b, "jumbf manifest");
    cbor_put_text(b, "alg");
    cbor_put_text(b, "sha256");
    cbor_put_text(b, "hash");
    cbor_put_bytes(b, w->hash, HASH);
    cbor_put_text(b, "pad");
    cbor_put_bytes(b, "", 0);
    jumbf_end(b, content);
    jumbf_end(b, box);
    hash_box(b, box, w->binding_hash);
}

static void put_reference(struct buf *b, const char *name, const unsigned char hash[HASH])
{
    char url[80];
    snprintf(url, sizeof url, "self#jumbf=" C2PA_ASSERTIONS "/%s", name);
    cbor_put(b, CBOR_MAP, 2);
    cbor_put_text(b, "url");
    cbor_put_text(b, url);
    cbor_put_text(b, "hash");
    cbor_put_bytes(b, hash, HASH);
}

/* The claim's bytes alone, which are what is signed. */
static void put_claim(struct writer *w, struct buf *b)
{
    char url[160];
    snprintf(url, sizeof url, "self#jumbf=/" C2PA_STORE "/%s/" C2PA_SIGNATURE, w->label);
    cbor_put(b, CBOR_MAP, 5);
    cbor_put_text(b, "instanceID");
    cbor_put_text(b, w->instance);
    cbor_put_text(b, "claim_generator_info");
    put_generator(b);
    cbor_put_text(b, "signature");
    cbor_put_text(b, url);
    cbor_put_text(b, "created_assertions");
    cbor_put(b, CBOR_ARRAY, 2);
    put_reference(b, C2PA_ACTIONS, w->actions_hash);
    put_reference(b, C2PA_HASH, w->binding_hash);
    cbor_put_text(b, "alg");
    cbor_put_text(b, "sha256");
}

static void put_head(struct writer *w, struct buf *b)
{
    const int n = c2pa_signer_certificates(w->signer);
    cbor_put(b, CBOR_MAP, 2);
    cbor_put(b, CBOR_UINT, COSE_ALGORITHM);
    cbor_put(b, CBOR_NEGATIVE, (uint64_t)(-1 - c2pa_signer_algorithm(w->signer)));
    cbor_put(b, CBOR_UINT, COSE_CHAIN);
    if (n > 1) cbor_put(b, CBOR_ARRAY, (uint64_t)n); /* one stands alone (RFC 9360, 2) */
    for (int i = 0; i < n; i++) {
        size_t len;
        const void *der = c2pa_signer_certificate(w->signer, i, &len);
        cbor_put_bytes(b, der, len);
    }
}

/* COSE_Sign1 with its content beside it: the claim's box. */
static bool put_signature(struct writer *w, struct buf *b, const struct buf *claim, bool sign, struct err *e)
{
    struct buf head = BUF_INIT(MANIFEST_BYTES), data = BUF_INIT(MANIFEST_BYTES), sig = BUF_INIT(1024);
    put_head(w, &head);
    bool ok = !head.failed && c2pa_to_sign(&data, head.data, head.len, claim->data, claim->len);
    if (!ok) err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && (!sign || c2pa_sign(w->signer, data.data, data.len, &sig, e));
    while (ok && sig.len < c2pa_signature_bytes(w->signer)) buf_putc(&sig, 0);
    cbor_put(b, CBOR_TAG, COSE_SIGN1);
    cbor_put(b, CBOR_ARRAY, 4);
    if (ok) cbor_put_bytes(b, head.data, head.len);
    cbor_put(b, CBOR_MAP, 0);
    cbor_put_null(b);
    if (ok) cbor_put_bytes(b, sig.data, sig.len);
    buf_free(&head);
    buf_free(&data);
    buf_free(&sig);
    return ok;
}

/* Without `sign` zeros stand for the signature, which always has the same length. */
static bool write_manifest(struct writer *w, struct buf *b, bool sign, struct err *e)
{
    char uuid[UUID_TEXT];
    struct buf claim = BUF_INIT(MANIFEST_BYTES);
    size_t content;
    make_uuid(w->hash, "manifest", uuid);
    snprintf(w->label, sizeof w->label, "urn:c2pa:%s", uuid);
    make_uuid(w->hash, "picture", uuid);
    snprintf(w->instance, sizeof w->instance, "xmp:iid:%s", uuid);
    buf_clear(b);
    const size_t store = jumbf_open(b, "c2pa", C2PA_STORE), manifest = jumbf_open(b, "c2ma", w->label),
                 assertions = jumbf_open(b, "c2as", C2PA_ASSERTIONS);
    put_actions(w, b);
    put_binding(w, b);
    jumbf_end(b, assertions);
    put_claim(w, &claim);
    size_t box = open_cbor(b, "c2cl", C2PA_CLAIM, &content);
    if (!claim.failed) buf_append(b, claim.data, claim.len);
    jumbf_end(b, content);
    jumbf_end(b, box);
    box = open_cbor(b, "c2cs", C2PA_SIGNATURE, &content);
    bool ok =
        (!claim.failed || err_set(e, ERR_NOMEM, "out of memory")) && put_signature(w, b, &claim, sign, e);
    jumbf_end(b, content);
    jumbf_end(b, box);
    jumbf_end(b, manifest);
    jumbf_end(b, store);
    buf_free(&claim);
    return ok && (!b->failed || err_set(e, ERR_NOMEM, "out of memory"));
}

static void hash_file(struct writer *w, const struct buf *file)
{
    const unsigned char *d = (const unsigned char *)file->data;
    const size_t behind = w->span.start + w->span.len;
    crypto_hash_sha256_state st;
    crypto_hash_sha256_init(&st);
    crypto_hash_sha256_update(&st, d, w->span.start);
    crypto_hash_sha256_update(&st, d + behind, file->len - behind);
    crypto_hash_sha256_final(&st, w->hash);
}

bool c2pa_put(struct c2pa_signer *s, const struct c2pa_made *made, struct buf *file, struct err *e)
{
    struct writer w = { .signer = s, .made = made };
    struct buf m = BUF_INIT(MANIFEST_BYTES);
    /* How long it is depends on how many digits its own place has, but hardly: with the place that a manifest of this length takes,
     * it is this long or a few bytes longer, and then that long. */
    bool ok = write_manifest(&w, &m, false, e);
    size_t len = 0;
    const size_t plain = file->len;
    for (int i = 0; ok && len != m.len && i < TRIES; i++) {
        len = m.len;
        struct buf copy = BUF_INIT(0);
        ok = (buf_append(&copy, file->data, plain) || err_set(e, ERR_NOMEM, "out of memory")) &&
             embedded_put(&copy, m.data, len, &w.span, e);
        if (ok) hash_file(&w, &copy);
        ok = ok && write_manifest(&w, &m, false, e);
        if (ok && m.len == len) {
            buf_free(file);
            *file = copy;
        } else {
            buf_free(&copy);
        }
    }
    ok = ok && (m.len == len || err_set(e, ERR_FORMAT, "a manifest's length does not come to rest"));
    ok = ok && write_manifest(&w, &m, true, e);
    if (ok) embedded_fill(file, &w.span, m.data, m.len);
    buf_free(&m);
    return ok;
}
