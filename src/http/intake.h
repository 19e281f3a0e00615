/* intake.h - every byte of a connection before the HTTP library sees it.
 *
 * libmicrohttpd reads with recv(), and this file defines recv() for the whole program: for a connection of the server, it divides what
 * comes with framing.h and hands the library requests that are whole in their headers and in one spelling; for any other descriptor it is
 * the system's. So what the library would take lightly never reaches it, its own error pages are never seen, and a refusal is an ordinary
 * request that our own code answers in turn.
 *
 * With intake_use_tls() the connection speaks TLS, and this is where: what the library reads and sends passes through a session (tls.h), so
 * that framing is checked behind the cipher as without it. Its send(), sendmsg(), sendfile() and shutdown() are defined here as well for that.
 *
 * Memory   a block of headers is kept until it is whole, at most `limit` bytes; bodies pass through.
 * Threads  an intake belongs to the event loop of its connection, which is the only one that reads from it; intake_open() and
 *          intake_close() are called there too, before the first byte and before the descriptor is closed. */
#ifndef HEARTH_HTTP_INTAKE_H
#define HEARTH_HTTP_INTAKE_H

#include <stdatomic.h>

#include "http/framing.h"

/* Where a connection is. Times run only where the client has something to do. */
enum intake_phase {
    INTAKE_IDLE,    /* between requests */
    INTAKE_SENDING, /* a request has begun to come and is not whole */
    INTAKE_WORKING, /* it is whole: the time is ours */
};

enum intake_state {
    INTAKE_HEAD,
    INTAKE_LENGTH,
    INTAKE_CHUNK,
    INTAKE_CHUNK_DATA,
    INTAKE_CHUNK_END,
    INTAKE_TRAILER,
    INTAKE_REFUSED /* nothing more is handed on */
};

struct tls_session;

struct intake {
    int fd;
    struct tls_session *tls; /* NULL: none */
    size_t limit;
    enum intake_state state;
    uint64_t left; /* bytes of the body, or of its chunk */
    struct framing_head head;
    struct buf raw, ready; /* not looked at; for the library */
    size_t raw_at, ready_at, trailer;
    size_t thrown;              /* bytes behind a refused request */
    struct framing_fault fault; /* kind is FAULT_NONE unless state is INTAKE_REFUSED */
    bool fault_in_body;         /* the request it belongs to has begun already */
    unsigned n_heads;           /* requests handed on */
    atomic_int phase;
    atomic_llong since_ms, byte_ms; /* monotonic: of the phase; when the last byte came */
};

/* False: no such descriptor is possible (the table is as large as the system lets descriptors be), or no memory. */
bool intake_open(struct intake *t, int fd, size_t limit);
void intake_close(struct intake *t);
/* Right after intake_open(). The intake owns the session, and frees it when it is closed. */
void intake_use_tls(struct intake *t, struct tls_session *s);
/* Ends a connection at the socket, from any thread. */
void intake_cut(int fd);
void intake_set_phase(struct intake *t, enum intake_phase p);

#endif
