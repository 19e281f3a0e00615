/* verify.c - see verify.h. */
#include "service/c2pa/verify.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "format/cbor.h"
#include "format/embedded.h"
#include "service/c2pa/jumbf.h"
#include "service/c2pa/manifest.h"
#include "service/c2pa/signer.h"

enum { MANIFEST_BYTES = 64 << 20, MAX_HASH = 64, MAX_CUTS = 16, MAX_URL = 400 };

struct reading {
    const unsigned char *file;
    size_t n;
    struct embedded_span span;
    struct jumbf_box manifest, assertions;
    struct cbor_item claim;
    struct c2pa_bytes claim_bytes;
    struct c2pa_report *report;
    bool bound;  /* the file's bytes were held against a hash */
    size_t left; /* bytes of assertions that may still be hashed: each is named once */
};

static bool broken(struct err *e, const char *what)
{
    return err_set(e, ERR_FORMAT, "has a C2PA manifest that is broken: %s", what);
}

/* What strangers wrote, as far as it can be printed. */
static void copy_text(char *out, size_t cap, const struct cbor_item *it)
{
    size_t n = it->type == CBOR_TEXT ? it->len : 0;
    if (n >= cap) n = cap - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(it->data[i] < ' ' || it->data[i] > '~' ? '?' : it->data[i]);
    out[n] = 0;
}

/* The one value in a box of CBOR. */
static bool cbor_of(const struct jumbf_box *in, struct cbor_item *out, struct c2pa_bytes *bytes)
{
    struct jumbf_box box;
    if (!jumbf_typed(&in->boxes, "cbor", &box)) return false;
    struct cbor c = { box.content.at, box.content.end };
    if (bytes) *bytes = (struct c2pa_bytes){ c.at, (size_t)(c.end - c.at) };
    return cbor_next(&c, out) && c.at == c.end;
}

/* ---- hashes -------------------------------------------------------------------------------------------------------- */

static bool algorithm_of(const struct reading *r, const struct cbor_item *map, gnutls_digest_algorithm_t *out,
                         struct err *e)
{
    static const struct {
        const char *name;
        gnutls_digest_algorithm_t d;
    } known[] = { { "sha256", GNUTLS_DIG_SHA256 },
                  { "sha384", GNUTLS_DIG_SHA384 },
                  { "sha512", GNUTLS_DIG_SHA512 } };
    struct cbor_item name;
    *out = GNUTLS_DIG_SHA256;
    if (!cbor_get(map, "alg", &name) && !cbor_get(&r->claim, "alg", &name)) return true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!cbor_is_text(&name, known[i].name)) continue;
        *out = known[i].d;
        return true;
    }
    return broken(e, "a hash of a kind that C2PA does not allow");
}

static bool hash_is(const struct cbor_item *want, gnutls_digest_algorithm_t d, const unsigned char *got)
{
    const size_t len = gnutls_hash_get_len(d);
    return want->type == CBOR_BYTES && want->len == len && !memcmp(want->data, got, len);
}

struct cut {
    size_t start, end;
};

/* What the hash leaves out: the manifest and nothing else, or whoever liked could change it. */
static bool read_cuts(const struct reading *r, const struct cbor_item *binding, struct cut cuts[MAX_CUTS],
                      int *n, struct err *e)
{
    struct cbor_item list, one, start, len;
    int64_t from, size;
    *n = 0;
    if (!cbor_get(binding, "exclusions", &list)) return true;
    struct cbor c = list.inside;
    if (list.type != CBOR_ARRAY) return broken(e, "the ranges that its hash leaves out");
    while (cbor_next(&c, &one)) {
        if (!cbor_get(&one, "start", &start) || !cbor_get(&one, "length", &len) || !cbor_int(&start, &from) ||
            !cbor_int(&len, &size) || from < 0 || size < 0 || *n == MAX_CUTS ||
            (*n && (size_t)from < cuts[*n - 1].end))
            return broken(e, "the ranges that its hash leaves out");
        if ((size_t)from < r->span.start || (size_t)from - r->span.start > r->span.len ||
            (size_t)size > r->span.len - ((size_t)from - r->span.start))
            return err_set(e, ERR_FORMAT,
                           "cannot be relied on: the hash of its C2PA manifest leaves out other bytes than "
                           "the manifest itself");
        cuts[(*n)++] = (struct cut){ (size_t)from, (size_t)(from + size) };
    }
    return c.at == c.end || broken(e, "the ranges that its hash leaves out");
}

static bool check_binding(struct reading *r, const struct cbor_item *binding, struct err *e)
{
    struct cut cuts[MAX_CUTS];
    unsigned char got[MAX_HASH];
    gnutls_digest_algorithm_t d;
    gnutls_hash_hd_t h;
    struct cbor_item want;
    int n;
    size_t at = 0;
    if (r->bound) return broken(e, "it is bound to the file twice");
    if (!cbor_get(binding, "hash", &want)) return broken(e, "no hash of the file");
    if (!algorithm_of(r, binding, &d, e) || !read_cuts(r, binding, cuts, &n, e)) return false;
    if (gnutls_hash_init(&h, d)) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i <= n; i++) {
        const size_t end = i < n ? cuts[i].start : r->n;
        gnutls_hash(h, r->file + at, end - at);
        if (i < n) at = cuts[i].end;
    }
    gnutls_hash_deinit(h, got);
    r->bound = true;
    return hash_is(&want, d, got) ||
           err_set(e, ERR_FORMAT,
                   "was changed after it was signed: its bytes are not those of its C2PA manifest");
}

/* ---- assertions ---------------------------------------------------------------------------------------------------- */

static void read_actions(struct reading *r, const struct cbor_item *actions)
{
    struct cbor_item list, one, text;
    char source[200] = "";
    if (!cbor_get(actions, "actions", &list) || list.type != CBOR_ARRAY) return;
    struct cbor c = list.inside;
    if (!cbor_next(&c, &one)) return;
    if (cbor_get(&one, "description", &text) || cbor_get(&one, "action", &text))
        copy_text(r->report->made, sizeof r->report->made, &text);
    if (cbor_get(&one, "digitalSourceType", &text)) copy_text(source, sizeof source, &text);
    const char *last = strrchr(source, '/');
    snprintf(r->report->source, sizeof r->report->source, "%.79s", last ? last + 1 : source);
}

/* What a reference names below this manifest, "c2pa.assertions/NAME": "self#jumbf=" and that, or the same from the store's root. */
static bool local_name(const struct reading *r, const struct cbor_item *url, char out[MAX_URL])
{
    char text[MAX_URL], root[MAX_URL];
    static const char self[] = "self#jumbf=";
    if (url->type != CBOR_TEXT || url->len >= sizeof text || memchr(url->data, 0, url->len)) return false;
    memcpy(text, url->data, url->len);
    text[url->len] = 0;
    if (strncmp(text, self, sizeof self - 1) != 0) return false;
    const char *at = text + sizeof self - 1;
    const int n = snprintf(root, sizeof root, "/" C2PA_STORE "/%.300s/", r->manifest.label);
    if (!strncmp(at, root, (size_t)n)) at += n;
    strcpy(out, at);
    return true;
}

static bool find_assertion(const struct reading *r, const struct cbor_item *url, struct jumbf_box *out)
{
    char name[MAX_URL];
    static const char folder[] = C2PA_ASSERTIONS "/";
    return local_name(r, url, name) && !strncmp(name, folder, sizeof folder - 1) &&
           jumbf_labelled(&r->assertions.boxes, name + sizeof folder - 1, out);
}

static bool check_assertion(struct reading *r, const struct cbor_item *reference, struct err *e)
{
    struct cbor_item url, want, content;
    struct jumbf_box box;
    unsigned char got[MAX_HASH];
    gnutls_digest_algorithm_t d;
    if (!cbor_get(reference, "url", &url) || !cbor_get(reference, "hash", &want))
        return broken(e, "a reference of the claim");
    if (!find_assertion(r, &url, &box)) return broken(e, "the claim names an assertion that is not there");
    const size_t len = (size_t)(box.content.end - box.content.at);
    if (!algorithm_of(r, reference, &d, e)) return false;
    if (len > r->left) return broken(e, "the claim names an assertion again and again");
    r->left -= len;
    if (gnutls_hash_fast(d, box.content.at, len, got)) return err_set(e, ERR_NOMEM, "out of memory");
    if (!hash_is(&want, d, got))
        return err_set(e, ERR_FORMAT,
                       "has a C2PA manifest that was changed: %.60s is not what the claim was made of",
                       box.label);
    if (!strncmp(box.label, "c2pa.hash.", 10)) {
        if (strcmp(box.label, C2PA_HASH) != 0)
            return err_set(e, ERR_FORMAT,
                           "is bound to its C2PA manifest in a way that is not known here (%.60s)",
                           box.label);
        return cbor_of(&box, &content, NULL) ? check_binding(r, &content, e) : broken(e, C2PA_HASH);
    }
    if ((!strcmp(box.label, C2PA_ACTIONS) || !strcmp(box.label, "c2pa.actions")) &&
        cbor_of(&box, &content, NULL))
        read_actions(r, &content);
    return true;
}

static bool check_assertions(struct reading *r, struct err *e)
{
    static const char *const lists[] = { "created_assertions", "gathered_assertions", "assertions" };
    struct cbor_item list, one;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (!cbor_get(&r->claim, lists[i], &list)) continue;
        struct cbor c = list.inside;
        if (list.type != CBOR_ARRAY) return broken(e, "the claim's list of assertions");
        while (cbor_next(&c, &one))
            if (!check_assertion(r, &one, e)) return false;
    }
    return r->bound ||
           err_set(e, ERR_FORMAT,
                   "has a C2PA manifest that is not bound to its bytes, and could be any picture's");
}

/* ---- the signature ------------------------------------------------------------------------------------------------- */

static bool get_chain(const struct cbor_item *head, struct cbor_item *out)
{
    return cbor_get_int(head, COSE_CHAIN, out) || cbor_get(head, "x5chain", out);
}

static bool read_chain(const struct cbor_item *it, struct c2pa_bytes chain[C2PA_CHAIN], int *n)
{
    struct cbor_item one;
    struct cbor c = it->inside;
    *n = 0;
    if (it->type == CBOR_BYTES) {
        chain[(*n)++] = (struct c2pa_bytes){ it->data, it->len };
        return true;
    }
    if (it->type != CBOR_ARRAY) return false;
    while (cbor_next(&c, &one)) {
        if (*n == C2PA_CHAIN || one.type != CBOR_BYTES) return false;
        chain[(*n)++] = (struct c2pa_bytes){ one.data, one.len };
    }
    return *n > 0;
}

static bool check_signature(struct reading *r, const struct c2pa_trust *t, struct err *e)
{
    struct jumbf_box box;
    char name[MAX_URL];
    struct cbor_item url, sign1, head, open, payload, sig, protected, algorithm, certs;
    struct c2pa_bytes chain[C2PA_CHAIN];
    int64_t number;
    int n;
    if (!cbor_get(&r->claim, "signature", &url) || !local_name(r, &url, name) ||
        strcmp(name, C2PA_SIGNATURE) != 0)
        return broken(e, "the claim names another signature");
    if (!jumbf_labelled(&r->manifest.boxes, C2PA_SIGNATURE, &box)) return broken(e, "there is no signature");
    if (!cbor_of(&box, &sign1, NULL)) return broken(e, "the signature");
    if (sign1.type == CBOR_TAG && (sign1.value != COSE_SIGN1 ||
                                   !cbor_next(&(struct cbor){ sign1.inside.at, sign1.inside.end }, &sign1)))
        return broken(e, "the signature");
    struct cbor c = sign1.inside;
    if (sign1.type != CBOR_ARRAY || !cbor_next(&c, &head) || !cbor_next(&c, &open) ||
        !cbor_next(&c, &payload) || !cbor_next(&c, &sig) || head.type != CBOR_BYTES || sig.type != CBOR_BYTES)
        return broken(e, "the signature");
    if (payload.type == CBOR_BYTES &&
        (payload.len != r->claim_bytes.len || memcmp(payload.data, r->claim_bytes.data, payload.len) != 0))
        return broken(e, "what is signed is not the claim");
    c = (struct cbor){ head.data, head.data + head.len };
    if (!cbor_next(&c, &protected) || !cbor_get_int(&protected, COSE_ALGORITHM, &algorithm) ||
        !cbor_int(&algorithm, &number))
        return broken(e, "the signature does not say what kind it is of");
    if ((!get_chain(&protected, &certs) && !get_chain(&open, &certs)) || !read_chain(&certs, chain, &n))
        return broken(e, "the signature brings no certificate");
    struct buf data = BUF_INIT(MANIFEST_BYTES);
    const bool ok =
        (c2pa_to_sign(&data, head.data, head.len, r->claim_bytes.data, r->claim_bytes.len) ||
         err_set(e, ERR_NOMEM, "out of memory")) &&
        (c2pa_check(t, number, chain, n, &(struct c2pa_bytes){ (const unsigned char *)data.data, data.len },
                    &(struct c2pa_bytes){ sig.data, sig.len }, r->report->signer, &r->report->known, e) ||
         err_wrap(e, "has a C2PA manifest that is not to be relied on"));
    buf_free(&data);
    return ok;
}

/* ---- the manifest -------------------------------------------------------------------------------------------------- */

static void read_program(struct reading *r)
{
    struct cbor_item info, text;
    char name[60] = "", version[50] = "";
    if (cbor_get(&r->claim, "claim_generator_info", &info)) {
        struct cbor c = info.inside;
        if (info.type == CBOR_ARRAY && !cbor_next(&c, &info)) return;
        if (cbor_get(&info, "name", &text)) copy_text(name, sizeof name, &text);
        if (cbor_get(&info, "version", &text)) copy_text(version, sizeof version, &text);
    } else if (cbor_get(&r->claim, "claim_generator", &text)) {
        copy_text(name, sizeof name, &text);
    }
    snprintf(r->report->program, sizeof r->report->program, "%s%s%s", name, *version ? " " : "", version);
}

/* The last manifest of the store is the file's; those before it are of what it was made from. */
static bool open_manifest(struct reading *r, const struct buf *m, struct err *e)
{
    struct jumbf j = { (const unsigned char *)m->data, (const unsigned char *)m->data + m->len };
    struct jumbf_box store, box;
    bool found = false;
    if (!jumbf_labelled(&j, C2PA_STORE, &store)) return broken(e, "it is no store of manifests");
    j = store.boxes;
    while (jumbf_next(&j, &box)) {
        if (strcmp(box.kind, "c2ma") != 0 && strcmp(box.kind, "c2um") != 0) continue;
        r->manifest = box;
        found = true;
    }
    if (j.at != j.end || !found) return broken(e, "its boxes");
    if (!jumbf_labelled(&r->manifest.boxes, C2PA_ASSERTIONS, &r->assertions))
        return broken(e, "there are no assertions");
    if (!jumbf_labelled(&r->manifest.boxes, C2PA_CLAIM, &box) &&
        !jumbf_labelled(&r->manifest.boxes, "c2pa.claim", &box))
        return broken(e, "there is no claim");
    return (cbor_of(&box, &r->claim, &r->claim_bytes) && r->claim.type == CBOR_MAP) || broken(e, "the claim");
}

bool c2pa_verify(const struct c2pa_trust *t, const void *file, size_t n, struct c2pa_report *report,
                 struct err *e)
{
    struct reading r = { .file = file, .n = n, .report = report };
    struct buf m = BUF_INIT(MANIFEST_BYTES);
    *report = (struct c2pa_report){ .known = C2PA_UNKNOWN };
    bool ok = embedded_find(file, n, &m, &r.span, e) &&
              (r.span.len ||
               err_set(e, ERR_NOT_FOUND,
                       "carries no C2PA manifest: it was never signed, or the manifest was taken out"));
    r.left = m.len;
    ok = ok && open_manifest(&r, &m, e) && check_signature(&r, t, e) && check_assertions(&r, e);
    if (ok) read_program(&r);
    buf_free(&m);
    return ok;
}
