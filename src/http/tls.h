/* tls.h - TLS for the server's connections: the certificate, and a session over a descriptor. GnuTLS does the work.
 *
 * What is spoken   TLS 1.3 and 1.2 with forward secrecy and authenticated ciphers, HTTP/1.1; nothing older, no renegotiation.
 * Certificates     a session keeps the one that it began with; tls_reload() gives new sessions another.
 * Threads          tls_reload() and the counters: any. A session belongs to the event loop of its connection. */
#ifndef HEARTH_HTTP_TLS_H
#define HEARTH_HTTP_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct tls;
struct tls_session;

/* cert: PEM, the server's own certificate first, then those between it and a root. key: PEM, not encrypted. ERR_IO or ERR_REQUEST says which
 * file is wrong and why: it cannot be read, has nothing of the kind, has ended or not begun, or the two do not belong together. */
bool tls_open(struct tls **out, const char *cert, const char *key, struct err *e);
void tls_close(struct tls *t); /* after the last session; NULL: nothing happens */
/* Reads both files again. On failure the old certificate is kept. */
bool tls_reload(struct tls *t, struct err *e);
/* When the certificate ends, in Unix seconds. */
int64_t tls_ends(struct tls *t);
/* A line in the log when it ends within 14 days. */
void tls_warn(struct tls *t);

struct tls_counts {
    unsigned long long done, failed, plain; /* handshakes; plain: that were none, but HTTP */
};
struct tls_counts tls_counts(const struct tls *t);

/* NULL: no memory. fd is borrowed, and does not block. */
struct tls_session *tls_session_new(struct tls *t, int fd);
void tls_session_free(struct tls_session *s);

/* As recv() and send() are on a descriptor that does not block: EAGAIN only when the descriptor says so, and tls_send() takes less than n only
 * then. The handshake is part of the first tls_recv(). After tls_send() has taken less, what it was not given yet follows next time. */
ssize_t tls_recv(struct tls_session *s, void *p, size_t n);
ssize_t tls_send(struct tls_session *s, const void *p, size_t n);
/* Tells the other side that nothing more comes. */
void tls_bye(struct tls_session *s);

/* The client began with something that is no TLS; tls_recv() fails with EPROTO, and what came is still to be read from the descriptor. */
bool tls_is_plain(const struct tls_session *s);
/* Whether bytes came since this was last asked, of a message that may not be whole. */
bool tls_heard(struct tls_session *s);

#endif
