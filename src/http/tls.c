/* tls.c - see tls.h. */
#include "http/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/log.h"

/* Suites with forward secrecy and authenticated ciphers alone (RFC 9325, 4.2); those of TLS 1.3 are all such. */
#define SUITES                                                                                               \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:+AES-128-GCM:"   \
    "+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE"

enum {
    FILE_BYTES = 1 << 20, /* of a certificate or a key, which have thousands */
    RECORD = 16 << 10,    /* the most that one record takes */
    FIRST = 0x16,         /* the first byte of a handshake; no method of HTTP begins so */
    WARN_DAYS = 14,
    DAY_S = 86400
};

/* A certificate and its key: held by the server while it is the current one, and by every session that began with it. */
struct identity_held {
    gnutls_certificate_credentials_t credentials;
    int64_t ends;
    atomic_int holders;
};

struct tls {
    char *cert, *key;
    gnutls_priority_t suites;
    pthread_mutex_t lock; /* guards `now` */
    struct identity_held *now;
    atomic_ullong done, failed, plain;
};

struct tls_session {
    struct tls *tls;
    struct identity_held *identity;
    gnutls_session_t session;
    int fd;
    size_t begun; /* bytes of a record that the descriptor has not taken whole */
    bool looked, shaken, is_plain, heard, ended, over;
    bool dry; /* the descriptor has said EAGAIN since somebody asked */
};

/* ---- certificates -------------------------------------------------------------------------------------------------- */

static void let_go(struct identity_held *h)
{
    if (!h || atomic_fetch_sub(&h->holders, 1) > 1) return;
    gnutls_certificate_free_credentials(h->credentials);
    free(h);
}

static bool read_file(struct buf *out, const char *option, const char *path, bool secret, struct err *e)
{
    char block[4096];
    struct stat st;
    FILE *f = fopen(path, "re");
    *out = BUF_INIT(FILE_BYTES);
    if (!f) return err_set(e, ERR_IO, "%s %s: %s", option, path, strerror(errno));
    if (secret && !fstat(fileno(f), &st) && S_ISREG(st.st_mode) && st.st_mode & 077)
        log_warn("%s %s can be read or written by others (mode %03o); `chmod 600` keeps it to you", option,
                 path, (unsigned)st.st_mode & 0777);
    for (size_t n; (n = fread(block, 1, sizeof block, f));) buf_append(out, block, n);
    const int why = ferror(f) ? errno : 0;
    fclose(f);
    if (why) return err_set(e, ERR_IO, "%s %s: %s", option, path, strerror(why));
    return !out->failed ||
           err_set(e, ERR_REQUEST, "%s %s: larger than a file in PEM form can be", option, path);
}

static const char *day_of(time_t t, char out[40])
{
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 40, "%Y-%m-%d %H:%M UTC", &tm);
    return out;
}

/* Whether the first of them, the server's own, holds today. */
static bool check_dates(gnutls_x509_crt_t own, const char *path, int64_t *ends, struct err *e)
{
    const time_t now = time(NULL), from = gnutls_x509_crt_get_activation_time(own),
                 to = gnutls_x509_crt_get_expiration_time(own);
    char day[40];
    if (to != (time_t)-1 && to < now)
        return err_set(e, ERR_REQUEST, "tls-cert %s: the certificate ended on %s; a new one is needed", path,
                       day_of(to, day));
    if (from != (time_t)-1 && from > now)
        return err_set(e, ERR_REQUEST,
                       "tls-cert %s: the certificate does not hold before %s; is this machine's clock right?",
                       path, day_of(from, day));
    *ends = (int64_t)to;
    return true;
}

static bool join(struct identity_held *h, const struct tls *t, gnutls_x509_crt_t *chain, unsigned n,
                 const struct buf *key, struct err *e)
{
    const gnutls_datum_t pem = { (unsigned char *)key->data, (unsigned)key->len };
    gnutls_x509_privkey_t private;
    if (gnutls_x509_privkey_init(&private)) return err_set(e, ERR_NOMEM, "out of memory");
    int rc = gnutls_x509_privkey_import2(private, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc == GNUTLS_E_DECRYPTION_FAILED)
        err_set(e, ERR_REQUEST,
                "tls-key %s: the key is encrypted; `openssl pkey` writes it without a password", t->key);
    else if (rc)
        err_set(e, ERR_REQUEST, "tls-key %s: no private key in PEM form: %s", t->key, gnutls_strerror(rc));
    if (!rc && (rc = gnutls_certificate_set_x509_key(h->credentials, chain, (int)n, private)) < 0) {
        if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
            err_set(e, ERR_REQUEST, "tls-key %s is not the key of the certificate in tls-cert %s", t->key,
                    t->cert);
        else
            err_set(e, ERR_REQUEST, "tls-cert %s and tls-key %s cannot be used: %s", t->cert, t->key,
                    gnutls_strerror(rc));
    }
    gnutls_x509_privkey_deinit(private);
    return rc >= 0;
}

static bool parse(struct identity_held *h, const struct tls *t, const struct buf *cert, const struct buf *key,
                  struct err *e)
{
    const gnutls_datum_t pem = { (unsigned char *)cert->data, (unsigned)cert->len };
    gnutls_x509_crt_t *chain = NULL;
    unsigned n = 0;
    if (gnutls_certificate_allocate_credentials(&h->credentials))
        return err_set(e, ERR_NOMEM, "out of memory");
    const int rc = gnutls_x509_crt_list_import2(&chain, &n, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0 || !n)
        return err_set(e, ERR_REQUEST, "tls-cert %s: no certificate in PEM form: %s", t->cert,
                       gnutls_strerror(rc));
    const bool ok = check_dates(chain[0], t->cert, &h->ends, e) && join(h, t, chain, n, key, e);
    for (unsigned i = 0; i < n; i++) gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return ok;
}

bool tls_reload(struct tls *t, struct err *e)
{
    struct identity_held *h = calloc(1, sizeof *h);
    struct buf cert = { 0 }, key = { 0 };
    if (!h) return err_set(e, ERR_NOMEM, "out of memory");
    atomic_init(&h->holders, 1);
    const bool ok = read_file(&cert, "tls-cert", t->cert, false, e) &&
                    read_file(&key, "tls-key", t->key, true, e) && parse(h, t, &cert, &key, e);
    if (key.data) gnutls_memset(key.data, 0, key.len);
    buf_free(&cert);
    buf_free(&key);
    if (!ok) {
        if (h->credentials) gnutls_certificate_free_credentials(h->credentials);
        free(h);
        return false;
    }
    pthread_mutex_lock(&t->lock);
    struct identity_held *old = t->now;
    t->now = h;
    pthread_mutex_unlock(&t->lock);
    let_go(old);
    return true;
}

static struct identity_held *hold(struct tls *t)
{
    pthread_mutex_lock(&t->lock);
    struct identity_held *h = t->now;
    atomic_fetch_add(&h->holders, 1);
    pthread_mutex_unlock(&t->lock);
    return h;
}

int64_t tls_ends(struct tls *t)
{
    struct identity_held *h = hold(t);
    const int64_t ends = h->ends;
    let_go(h);
    return ends;
}

void tls_warn(struct tls *t)
{
    const int64_t left = tls_ends(t) - (int64_t)time(NULL);
    char day[40];
    if (left < 0)
        log_error("tls-cert %s: the certificate ended on %s, and clients refuse it; put a new one there and "
                  "send SIGHUP",
                  t->cert, day_of((time_t)tls_ends(t), day));
    else if (left < (int64_t)WARN_DAYS * DAY_S)
        log_warn("tls-cert %s: the certificate ends on %s, in %d days; put a new one there and send SIGHUP",
                 t->cert, day_of((time_t)tls_ends(t), day), (int)(left / DAY_S));
}

struct tls_counts tls_counts(const struct tls *t)
{
    return (struct tls_counts){ atomic_load(&t->done), atomic_load(&t->failed), atomic_load(&t->plain) };
}

bool tls_open(struct tls **out, const char *cert, const char *key, struct err *e)
{
    struct tls *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    t->cert = strdup(cert);
    t->key = strdup(key);
    bool ok = (t->cert && t->key) || err_set(e, ERR_NOMEM, "out of memory");
    if (ok && gnutls_priority_init(&t->suites, SUITES, NULL))
        ok = err_set(e, ERR_UNSUPPORTED,
                     "this machine's GnuTLS does not offer the cipher suites that are needed");
    if (ok && tls_reload(t, e))
        *out = t;
    else
        tls_close(t), ok = false;
    return ok;
}

void tls_close(struct tls *t)
{
    if (!t) return;
    let_go(t->now);
    if (t->suites) gnutls_priority_deinit(t->suites);
    pthread_mutex_destroy(&t->lock);
    free(t->cert);
    free(t->key);
    free(t);
}

/* ---- sessions ------------------------------------------------------------------------------------------------------ */

/* The library's own would call recv() and send(), which are ours (intake.c). */
static ssize_t pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
    struct tls_session *s = arg;
    const ssize_t got = recvfrom(s->fd, p, n, 0, NULL, NULL);
    if (got > 0) s->heard = true;
    if (got < 0 && errno == EAGAIN) s->dry = true;
    return got;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
    struct tls_session *s = arg;
    const ssize_t sent = sendto(s->fd, p, n, MSG_NOSIGNAL, NULL, 0);
    if (sent < 0 && errno == EAGAIN) s->dry = true;
    return sent;
}

struct tls_session *tls_session_new(struct tls *t, int fd)
{
    struct tls_session *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->tls = t;
    s->fd = fd;
    if (gnutls_init(&s->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS)) {
        free(s);
        return NULL;
    }
    s->identity = hold(t);
    const gnutls_datum_t http = { (unsigned char *)"http/1.1", 8 };
    if (gnutls_priority_set(s->session, t->suites) ||
        gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->identity->credentials) ||
        gnutls_alpn_set_protocols(s->session, &http, 1, 0)) {
        tls_session_free(s);
        return NULL;
    }
    gnutls_transport_set_ptr(s->session, s);
    gnutls_transport_set_pull_function(s->session, pull);
    gnutls_transport_set_push_function(s->session, push);
    return s;
}

void tls_session_free(struct tls_session *s)
{
    if (!s) return;
    gnutls_deinit(s->session);
    let_go(s->identity);
    free(s);
}

bool tls_is_plain(const struct tls_session *s) { return s->is_plain; }

bool tls_heard(struct tls_session *s)
{
    const bool heard = s->heard;
    s->heard = false;
    return heard;
}

static ssize_t fail(struct tls_session *s, int why)
{
    s->over = true;
    errno = why;
    return -1;
}

/* 1: it is done; else as recv(). */
static ssize_t shake(struct tls_session *s)
{
    unsigned char first;
    if (!s->looked) {
        const ssize_t n = recvfrom(s->fd, &first, 1, MSG_PEEK, NULL, NULL);
        if (n <= 0) return n;
        s->looked = true;
        s->is_plain = first != FIRST;
        if (s->is_plain) atomic_fetch_add(&s->tls->plain, 1);
    }
    if (s->is_plain) return fail(s, EPROTO);
    int rc;
    s->dry = false;
    /* The library also says "again" behind a record with a part of a message, when more may be there already. */
    do rc = gnutls_handshake(s->session);
    while (rc < 0 && !gnutls_error_is_fatal(rc) && !(rc == GNUTLS_E_AGAIN && s->dry));
    if (rc == GNUTLS_E_AGAIN) {
        errno = EAGAIN;
        return -1;
    }
    if (rc < 0) {
        atomic_fetch_add(&s->tls->failed, 1);
        log_debug("a TLS handshake failed: %s", gnutls_strerror(rc));
        gnutls_alert_send_appropriate(s->session, rc);
        return fail(s, ECONNRESET);
    }
    s->shaken = true;
    atomic_fetch_add(&s->tls->done, 1);
    return 1;
}

ssize_t tls_recv(struct tls_session *s, void *p, size_t n)
{
    if (s->ended) return 0;
    if (s->over) return fail(s, ECONNRESET);
    if (!s->shaken) {
        const ssize_t rc = shake(s);
        if (rc <= 0) return rc;
    }
    s->dry = false;
    for (;;) {
        const ssize_t got = gnutls_record_recv(s->session, p, n);
        if (got > 0) return got;
        if (got == GNUTLS_E_INTERRUPTED) continue;
        if (got == GNUTLS_E_AGAIN) {
            if (!s->dry) continue;
            errno = EAGAIN;
            return -1;
        }
        /* An end that was not announced: whether the request was whole, its framing says. */
        s->ended = got == 0 || got == GNUTLS_E_PREMATURE_TERMINATION;
        if (s->ended) return 0;
        if (got == GNUTLS_E_WARNING_ALERT_RECEIVED) continue;
        return fail(s, ECONNRESET); /* an asked-for renegotiation too */
    }
}

/* A record: its bytes, or -1 with EAGAIN; then the library keeps it and wants to be asked to go on. */
static ssize_t send_record(struct tls_session *s, const void *p, size_t n)
{
    ssize_t sent;
    if (s->begun > n) return fail(s, EPROTO); /* the caller has changed its mind about what it sends */
    do sent = s->begun ? gnutls_record_send(s->session, NULL, 0) : gnutls_record_send(s->session, p, n);
    while (sent == GNUTLS_E_INTERRUPTED);
    if (sent >= 0) {
        s->begun = 0;
        return sent;
    }
    if (sent != GNUTLS_E_AGAIN) return fail(s, EPIPE);
    if (!s->begun) s->begun = n;
    errno = EAGAIN;
    return -1;
}

ssize_t tls_send(struct tls_session *s, const void *p, size_t n)
{
    size_t at = 0;
    if (s->over || !s->shaken) return fail(s, EPIPE);
    while (at < n) {
        const size_t want = n - at < RECORD ? n - at : RECORD;
        const ssize_t sent = send_record(s, (const char *)p + at, want);
        if (sent < 0 && at && errno == EAGAIN) break; /* said again at the next call */
        if (sent < 0) return -1;
        at += (size_t)sent;
    }
    return (ssize_t)at;
}

void tls_bye(struct tls_session *s)
{
    if (s->shaken && !s->over) gnutls_bye(s->session, GNUTLS_SHUT_WR);
    s->over = true;
}
