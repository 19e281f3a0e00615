/* trust.c - see trust.h. */
#include "service/c2pa/trust.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "service/c2pa/algorithm.h"
#include "service/c2pa/signer.h"

enum { FILE_BYTES = 16 << 20 };

struct c2pa_trust {
    gnutls_x509_crt_t *v;
    unsigned n;
};

bool c2pa_trust_read(struct c2pa_trust **out, const char *name, const char *pem, size_t len, struct err *e)
{
    const gnutls_datum_t d = { (unsigned char *)pem, (unsigned)len };
    struct c2pa_trust *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory");
    const int rc = gnutls_x509_crt_list_import2(&t->v, &t->n, &d, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0 || !t->n) {
        free(t);
        return err_set(e, ERR_REQUEST, "%s: no certificate in PEM form: %s", name, gnutls_strerror(rc));
    }
    *out = t;
    return true;
}

bool c2pa_trust_load(struct c2pa_trust **out, const char *path, struct err *e)
{
    char block[4096];
    struct buf pem = BUF_INIT(FILE_BYTES);
    FILE *f = fopen(path, "re");
    if (!f) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    for (size_t n; (n = fread(block, 1, sizeof block, f));) buf_append(&pem, block, n);
    const int why = ferror(f) ? errno : 0;
    fclose(f);
    bool ok = !why || err_set(e, ERR_IO, "%s: %s", path, strerror(why));
    ok = ok && (!pem.failed ||
                err_set(e, ERR_LIMIT, "%s: more than %d MB of certificates", path, FILE_BYTES >> 20));
    ok = ok && c2pa_trust_read(out, path, pem.data ? pem.data : "", pem.len, e);
    buf_free(&pem);
    return ok;
}

void c2pa_trust_free(struct c2pa_trust *t)
{
    if (!t) return;
    for (unsigned i = 0; i < t->n; i++) gnutls_x509_crt_deinit(t->v[i]);
    gnutls_free(t->v);
    free(t);
}

/* "NAME (ORGANIZATION)": what a certificate says of its owner. Strangers wrote it, so only what can be printed is left. */
static void name_of(gnutls_x509_crt_t c, char out[C2PA_NAME])
{
    char name[80] = "", org[60] = "";
    size_t n = sizeof name, m = sizeof org;
    if (gnutls_x509_crt_get_dn_by_oid(c, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &n) < 0) name[0] = 0;
    if (gnutls_x509_crt_get_dn_by_oid(c, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, 0, org, &m) < 0) org[0] = 0;
    snprintf(out, C2PA_NAME, "%s%s%s%s", *name ? name : "a signer without a name", *org ? " (" : "", org,
             *org ? ")" : "");
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~') *p = '?';
}

/* The two numbers of an ECDSA signature, side by side in COSE, as X.509 has them. */
static int verify(gnutls_pubkey_t key, const struct c2pa_algorithm *a, const struct c2pa_bytes *data,
                  const struct c2pa_bytes *signature)
{
    const gnutls_datum_t d = { (unsigned char *)data->data, (unsigned)data->len };
    gnutls_datum_t sig = { (unsigned char *)signature->data, (unsigned)signature->len };
    if (a->key != GNUTLS_PK_ECDSA) return gnutls_pubkey_verify_data2(key, a->sign, 0, &d, &sig);
    const gnutls_datum_t r = { sig.data, (unsigned)(a->bytes / 2) },
                         s = { sig.data + a->bytes / 2, (unsigned)(a->bytes / 2) };
    int rc = gnutls_encode_rs_value(&sig, &r, &s);
    if (rc) return rc;
    rc = gnutls_pubkey_verify_data2(key, a->sign, 0, &d, &sig);
    gnutls_free(sig.data);
    return rc;
}

static bool check_signature(gnutls_x509_crt_t own, const struct c2pa_algorithm *a,
                            const struct c2pa_bytes *data, const struct c2pa_bytes *signature, struct err *e)
{
    gnutls_pubkey_t key;
    if (gnutls_pubkey_init(&key)) return err_set(e, ERR_NOMEM, "out of memory");
    bool ok = !gnutls_pubkey_import_x509(key, own, 0) &&
              gnutls_pubkey_get_pk_algorithm(key, NULL) == (int)a->key &&
              (!a->bytes || signature->len == a->bytes) && verify(key, a, data, signature) >= 0;
    gnutls_pubkey_deinit(key);
    return ok ||
           err_set(
               e, ERR_FORMAT,
               "the signature is not that of its certificate's key over this manifest: somebody changed it");
}

static enum c2pa_known look_up(const struct c2pa_trust *t, gnutls_x509_crt_t *chain, int n)
{
    unsigned status = 0;
    if (!t || gnutls_x509_crt_list_verify(chain, (unsigned)n, t->v, t->n, NULL, 0,
                                          GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS, &status))
        return C2PA_UNKNOWN;
    if (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED) &&
        !(status & ~(unsigned)(GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED | GNUTLS_CERT_INVALID)))
        return C2PA_ENDED;
    return status ? C2PA_UNKNOWN : C2PA_KNOWN;
}

bool c2pa_check(const struct c2pa_trust *t, int64_t algorithm, const struct c2pa_bytes *chain, int n,
                const struct c2pa_bytes *data, const struct c2pa_bytes *signature, char name[C2PA_NAME],
                enum c2pa_known *known, struct err *e)
{
    gnutls_x509_crt_t v[C2PA_CHAIN];
    const struct c2pa_algorithm *a = c2pa_algorithm_numbered(algorithm);
    if (!a)
        return err_set(e, ERR_FORMAT, "the signature's algorithm %lld is not one that C2PA allows",
                       (long long)algorithm);
    if (n < 1 || n > C2PA_CHAIN)
        return err_set(e, ERR_FORMAT, "the signature brings %d certificates, and 1 to %d are read", n,
                       C2PA_CHAIN);
    int have = 0;
    bool ok = true;
    for (; ok && have < n; have++) {
        const gnutls_datum_t der = { (unsigned char *)chain[have].data, (unsigned)chain[have].len };
        if (gnutls_x509_crt_init(&v[have])) {
            ok = err_set(e, ERR_NOMEM, "out of memory");
            break;
        }
        if (gnutls_x509_crt_import(v[have], &der, GNUTLS_X509_FMT_DER))
            ok = err_set(e, ERR_FORMAT, "a certificate of the signature cannot be read");
    }
    ok = ok && check_signature(v[0], a, data, signature, e);
    if (ok) {
        name_of(v[0], name);
        *known = look_up(t, v, n);
    }
    while (have--) gnutls_x509_crt_deinit(v[have]);
    return ok;
}
