/* signer.c - see signer.h. */
#include "service/c2pa/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "service/c2pa/algorithm.h"

enum { FILE_BYTES = 1 << 20, DAY_S = 86400, YEARS = 30 };

struct c2pa_signer {
    pthread_mutex_t lock; /* one signature at a time */
    gnutls_privkey_t key;
    const struct c2pa_algorithm *algorithm;
    gnutls_x509_crt_t *chain; /* as they stood in the file */
    unsigned n;
    gnutls_datum_t der[C2PA_CHAIN];
    int n_der;
};

static bool no_memory(struct err *e) { return err_set(e, ERR_NOMEM, "out of memory"); }

/* ---- files --------------------------------------------------------------------------------------------------------- */

/* The file may not be there where there is a folder for it: ERR_NOT_FOUND. */
static bool read_file(struct buf *out, const char *path, struct err *e)
{
    char block[4096];
    FILE *f = fopen(path, "re");
    *out = BUF_INIT(FILE_BYTES);
    if (!f) return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    for (size_t n; (n = fread(block, 1, sizeof block, f));) buf_append(out, block, n);
    const int why = ferror(f) ? errno : 0;
    fclose(f);
    bool ok = !why || err_set(e, ERR_IO, "%s: %s", path, strerror(why));
    ok = ok && (!out->failed || err_set(e, ERR_REQUEST, "%s: larger than a file in PEM form can be", path));
    if (!ok) buf_free(out);
    return ok;
}

/* A name that nobody else has, then the right one, unless it was taken meanwhile: a file is there whole or not at all. */
static bool write_file(const char *path, const struct buf *b, mode_t mode, struct err *e)
{
    char made[4200];
    snprintf(made, sizeof made, "%s.%ld", path, (long)getpid());
    const int fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return err_set(e, ERR_IO, "%s: %s", made, strerror(errno));
    bool ok = write(fd, b->data, b->len) == (ssize_t)b->len && !fsync(fd);
    ok = !close(fd) && ok;
    ok = ok && (!link(made, path) || errno == EEXIST);
    if (!ok) err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    unlink(made);
    return ok;
}

/* ---- a certificate of one's own ------------------------------------------------------------------------------------ */

struct identity {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
};

static int set_name(gnutls_x509_crt_t c, const char *name)
{
    int rc = gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, "hearth", 6);
    return rc ? rc
              : gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                              (unsigned)strlen(name));
}

/* What C2PA asks of a certificate: version 3, a key's use and purpose, the ids of its key and of its issuer's. by NULL: a root. */
static int make_identity(struct identity *me, const struct identity *by, const char *name)
{
    unsigned char serial[16], id[20];
    size_t id_len = sizeof id;
    const time_t now = time(NULL);
    int rc = gnutls_x509_privkey_init(&me->key);
    if (!rc) rc = gnutls_x509_privkey_generate(me->key, GNUTLS_PK_EDDSA_ED25519, 256, 0);
    if (!rc) rc = gnutls_x509_crt_init(&me->crt);
    if (!rc) rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    if (rc) return rc;
    gnutls_x509_crt_t c = me->crt;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    rc = gnutls_x509_crt_set_version(c, 3);
    if (!rc) rc = gnutls_x509_crt_set_serial(c, serial, sizeof serial);
    if (!rc) rc = gnutls_x509_crt_set_activation_time(c, now - DAY_S);
    if (!rc) rc = gnutls_x509_crt_set_expiration_time(c, now + (time_t)YEARS * 365 * DAY_S);
    if (!rc) rc = set_name(c, name);
    if (!rc) rc = gnutls_x509_crt_set_key(c, me->key);
    if (!rc) rc = gnutls_x509_crt_set_basic_constraints(c, by == NULL, -1);
    if (!rc)
        rc = gnutls_x509_crt_set_key_usage(c, by ? GNUTLS_KEY_DIGITAL_SIGNATURE : GNUTLS_KEY_KEY_CERT_SIGN);
    if (!rc && by) rc = gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_EMAIL_PROTECTION, 0);
    if (!rc) rc = gnutls_x509_crt_get_key_id(c, 0, id, &id_len);
    if (!rc) rc = gnutls_x509_crt_set_subject_key_id(c, id, id_len);
    if (!rc && by) {
        id_len = sizeof id;
        rc = gnutls_x509_crt_get_key_id(by->crt, 0, id, &id_len);
        if (!rc) rc = gnutls_x509_crt_set_authority_key_id(c, id, id_len);
    }
    return rc ? rc : gnutls_x509_crt_sign2(c, by ? by->crt : c, by ? by->key : me->key, GNUTLS_DIG_SHA512, 0);
}

static int print_crt(struct buf *b, gnutls_x509_crt_t c)
{
    gnutls_datum_t pem;
    const int rc = gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_PEM, &pem);
    if (rc) return rc;
    buf_append(b, pem.data, pem.size);
    gnutls_free(pem.data);
    return 0;
}

static int print_key(struct buf *b, gnutls_x509_privkey_t key)
{
    gnutls_datum_t pem;
    const int rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pem);
    if (rc) return rc;
    buf_append(b, pem.data, pem.size);
    gnutls_memset(pem.data, 0, pem.size);
    gnutls_free(pem.data);
    return 0;
}

static void forget(struct buf *b)
{
    if (b->data) gnutls_memset(b->data, 0, b->cap);
    buf_free(b);
}

static bool make_signer(const char *path, struct err *e)
{
    struct identity root = { 0 }, own = { 0 };
    struct buf pem = BUF_INIT(FILE_BYTES);
    int rc = make_identity(&root, NULL, "hearth pictures root");
    if (!rc) rc = make_identity(&own, &root, "hearth pictures");
    if (!rc) rc = print_key(&pem, own.key);
    if (!rc) rc = print_crt(&pem, own.crt);
    if (!rc) rc = print_crt(&pem, root.crt);
    bool ok = !rc || err_set(e, ERR_IO, "a certificate could not be made: %s", gnutls_strerror(rc));
    ok = ok && (!pem.failed || no_memory(e)) && write_file(path, &pem, 0600, e);
    forget(&pem);
    gnutls_x509_privkey_deinit(root.key);
    gnutls_x509_privkey_deinit(own.key);
    gnutls_x509_crt_deinit(root.crt);
    gnutls_x509_crt_deinit(own.crt);
    return ok;
}

/* ---- loading ------------------------------------------------------------------------------------------------------- */

static bool check_dates(gnutls_x509_crt_t own, const char *path, struct err *e)
{
    const time_t now = time(NULL), from = gnutls_x509_crt_get_activation_time(own),
                 to = gnutls_x509_crt_get_expiration_time(own);
    if (to != (time_t)-1 && to < now)
        return err_set(e, ERR_REQUEST, "%s: the certificate has ended; a new one is needed", path);
    return from == (time_t)-1 || from <= now ||
           err_set(e, ERR_REQUEST, "%s: the certificate does not hold yet; is this machine's clock right?",
                   path);
}

/* Programs that check pictures refuse certificates that are not made for it. */
static bool check_use(gnutls_x509_crt_t own, const char *path, struct err *e)
{
    static const char *const purposes[] = { GNUTLS_KP_EMAIL_PROTECTION, "1.3.6.1.5.5.7.3.36",
                                            "1.3.6.1.4.1.62558.2.1" };
    unsigned usage, critical, ca;
    char oid[100];
    if (gnutls_x509_crt_get_key_usage(own, &usage, &critical) < 0 || !(usage & GNUTLS_KEY_DIGITAL_SIGNATURE))
        return err_set(e, ERR_REQUEST, "%s: the certificate's key is not for digital signatures (keyUsage)",
                       path);
    if (gnutls_x509_crt_get_basic_constraints(own, &critical, &ca, NULL) >= 0 && ca)
        return err_set(e, ERR_REQUEST,
                       "%s: the first certificate is an authority's, which may not sign pictures", path);
    for (unsigned i = 0;; i++) {
        size_t len = sizeof oid;
        if (gnutls_x509_crt_get_key_purpose_oid(own, i, oid, &len, &critical) < 0) break;
        for (size_t k = 0; k < sizeof purposes / sizeof *purposes; k++)
            if (!strcmp(oid, purposes[k])) return true;
    }
    return err_set(e, ERR_REQUEST,
                   "%s: the certificate is not for signing documents (extendedKeyUsage emailProtection or "
                   "documentSigning)",
                   path);
}

static bool choose_algorithm(struct c2pa_signer *s, gnutls_x509_privkey_t key, const char *path,
                             struct err *e)
{
    gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;
    const int kind = gnutls_x509_privkey_get_pk_algorithm(key);
    if (kind == GNUTLS_PK_ECDSA && gnutls_x509_privkey_export_ecc_raw(key, &curve, NULL, NULL, NULL))
        curve = GNUTLS_ECC_CURVE_INVALID;
    s->algorithm = c2pa_algorithm_of(kind, curve);
    return s->algorithm ||
           err_set(e, ERR_REQUEST, "%s: the key is neither Ed25519 nor ECDSA with P-256, P-384 or P-521",
                   path);
}

static bool matches(gnutls_x509_privkey_t key, gnutls_x509_crt_t own)
{
    unsigned char a[64], b[64];
    size_t n = sizeof a, m = sizeof b;
    return !gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, a, &n) &&
           !gnutls_x509_crt_get_key_id(own, GNUTLS_KEYID_USE_SHA256, b, &m) && n == m && !memcmp(a, b, n);
}

static bool import_key(struct c2pa_signer *s, const struct buf *pem, const char *path, struct err *e)
{
    const gnutls_datum_t d = { (unsigned char *)pem->data, (unsigned)pem->len };
    gnutls_x509_privkey_t key;
    if (gnutls_x509_privkey_init(&key)) return no_memory(e);
    const int rc = gnutls_x509_privkey_import2(key, &d, GNUTLS_X509_FMT_PEM, NULL, 0);
    bool ok = !rc || err_set(e, ERR_REQUEST, "%s: %s", path,
                             rc == GNUTLS_E_DECRYPTION_FAILED
                                 ? "the key is encrypted; `openssl pkey` writes it without a password"
                                 : "no private key in PEM form");
    ok = ok && (matches(key, s->chain[0]) ||
                err_set(e, ERR_REQUEST, "%s is not the key of the first certificate", path));
    ok = ok && choose_algorithm(s, key, path, e);
    ok = ok && ((!gnutls_privkey_init(&s->key) &&
                 !gnutls_privkey_import_x509(s->key, key, GNUTLS_PRIVKEY_IMPORT_COPY)) ||
                no_memory(e));
    gnutls_x509_privkey_deinit(key);
    return ok;
}

static bool import_chain(struct c2pa_signer *s, const struct buf *pem, const char *path, struct err *e)
{
    const gnutls_datum_t d = { (unsigned char *)pem->data, (unsigned)pem->len };
    const int rc = gnutls_x509_crt_list_import2(&s->chain, &s->n, &d, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0 || !s->n)
        return err_set(e, ERR_REQUEST, "%s: no certificate in PEM form: %s", path, gnutls_strerror(rc));
    for (unsigned i = 0; i < s->n; i++) {
        if (i && gnutls_x509_crt_check_issuer(s->chain[i], s->chain[i]))
            continue; /* a root: who believes it has it */
        if (s->n_der == C2PA_CHAIN)
            return err_set(e, ERR_REQUEST, "%s: more than %d certificates", path, C2PA_CHAIN);
        if (gnutls_x509_crt_export2(s->chain[i], GNUTLS_X509_FMT_DER, &s->der[s->n_der])) return no_memory(e);
        s->n_der++;
    }
    return check_dates(s->chain[0], path, e) && check_use(s->chain[0], path, e);
}

bool c2pa_signer_load(struct c2pa_signer **out, const char *cert, const char *key, struct err *e)
{
    struct buf certs = BUF_INIT(0), secret = BUF_INIT(0);
    struct stat st;
    struct c2pa_signer *s = calloc(1, sizeof *s);
    if (!s) return no_memory(e);
    pthread_mutex_init(&s->lock, NULL);
    if (!stat(key, &st) && S_ISREG(st.st_mode) && st.st_mode & 077)
        log_warn("%s can be read or written by others (mode %03o); `chmod 600` keeps it to you", key,
                 (unsigned)st.st_mode & 0777);
    const bool ok = read_file(&certs, cert, e) && read_file(&secret, key, e) &&
                    import_chain(s, &certs, cert, e) && import_key(s, &secret, key, e);
    forget(&certs); /* may be one file with the key */
    forget(&secret);
    if (ok)
        *out = s;
    else
        c2pa_signer_free(s);
    return ok;
}

bool c2pa_signer_root(const struct c2pa_signer *s, struct buf *out, struct err *e)
{
    return (!print_crt(out, s->chain[s->n - 1]) && !out->failed) || no_memory(e);
}

/* The root beside it, for others: made of what is there, whenever it is missing. */
static void write_root(const struct c2pa_signer *s, const char *path)
{
    struct buf pem = BUF_INIT(FILE_BYTES);
    struct err e;
    if (access(path, F_OK) && !(c2pa_signer_root(s, &pem, &e) && write_file(path, &pem, 0644, &e)))
        log_warn("%s", e.msg);
    buf_free(&pem);
}

bool c2pa_signer_open(struct c2pa_signer **out, const char *dir, bool make, struct err *e)
{
    char path[4160], root[4160];
    if (strlen(dir) > 4096)
        return err_set(e, ERR_REQUEST, "the path of the folder for a certificate is too long");
    snprintf(path, sizeof path, "%s/signer.pem", dir);
    snprintf(root, sizeof root, "%s/root.pem", dir);
    if (access(path, F_OK)) {
        if (!make) return err_set(e, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
        if (mkdir(dir, 0700) && errno != EEXIST) return err_set(e, ERR_IO, "%s: %s", dir, strerror(errno));
        if (!make_signer(path, e)) return false;
        log_info("made a certificate that pictures are signed with: %s; others know them by %s", path, root);
    }
    if (!c2pa_signer_load(out, path, path, e)) return false;
    if (make) write_root(*out, root);
    return true;
}

void c2pa_signer_free(struct c2pa_signer *s)
{
    if (!s) return;
    for (unsigned i = 0; i < s->n; i++) gnutls_x509_crt_deinit(s->chain[i]);
    gnutls_free(s->chain);
    for (int i = 0; i < s->n_der; i++) gnutls_free(s->der[i].data);
    gnutls_privkey_deinit(s->key);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- signing ------------------------------------------------------------------------------------------------------- */

int c2pa_signer_algorithm(const struct c2pa_signer *s) { return s->algorithm->number; }
size_t c2pa_signature_bytes(const struct c2pa_signer *s) { return s->algorithm->bytes; }
int c2pa_signer_certificates(const struct c2pa_signer *s) { return s->n_der; }

const void *c2pa_signer_certificate(const struct c2pa_signer *s, int i, size_t *len)
{
    *len = s->der[i].size;
    return s->der[i].data;
}

/* The two numbers of an ECDSA signature as COSE has them: each with the same width (RFC 9053, 2.1). */
static bool append_number(struct buf *out, const gnutls_datum_t *number, size_t width)
{
    const unsigned char *p = number->data;
    size_t n = number->size;
    while (n && !*p) p++, n--;
    if (n > width) return false;
    for (size_t i = n; i < width; i++) buf_putc(out, 0);
    return buf_append(out, p, n);
}

bool c2pa_sign(struct c2pa_signer *s, const void *data, size_t n, struct buf *out, struct err *e)
{
    const gnutls_datum_t d = { (unsigned char *)data, (unsigned)n };
    const bool pair = s->algorithm->key == GNUTLS_PK_ECDSA;
    gnutls_datum_t sig = { 0 }, r = { 0 }, t = { 0 };
    pthread_mutex_lock(&s->lock);
    int rc = gnutls_privkey_sign_data2(s->key, s->algorithm->sign,
                                       pair ? GNUTLS_PRIVKEY_FLAG_REPRODUCIBLE : 0, &d, &sig);
    pthread_mutex_unlock(&s->lock);
    if (!rc && pair) rc = gnutls_decode_rs_value(&sig, &r, &t);
    bool ok = !rc || err_set(e, ERR_IO, "the picture could not be signed: %s", gnutls_strerror(rc));
    if (ok && pair)
        ok = (append_number(out, &r, s->algorithm->bytes / 2) &&
              append_number(out, &t, s->algorithm->bytes / 2)) ||
             no_memory(e);
    else if (ok)
        ok = buf_append(out, sig.data, sig.size) || no_memory(e);
    gnutls_free(sig.data);
    gnutls_free(r.data);
    gnutls_free(t.data);
    return ok;
}
