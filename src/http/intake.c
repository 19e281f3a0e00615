/* intake.c - see intake.h. */
#include "http/intake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/tls.h"

enum {
    READ_BYTES = 16 << 10,
    THROWN_BYTES = 4 << 20, /* read behind a refused request, so that the client gets to read the refusal */
    BLOCK_BITS = 10,
    BLOCK = 1 << BLOCK_BITS,
    BLOCKS = 1 << 12 /* descriptors below 4 Mi, which is as many as there can be of ours (max-connections) */
};

/* Whose descriptor it is. File-scope because recv() has no argument to reach it by; blocks are made when needed and stay. */
static _Atomic(_Atomic(struct intake *) *) table[BLOCKS];

static long long now_ms(void) { return (long long)(clock_seconds() * 1000) + 1; }

static struct intake *find(int fd)
{
    if (fd < 0 || fd >> BLOCK_BITS >= BLOCKS) return NULL;
    _Atomic(struct intake *) *b = atomic_load(&table[fd >> BLOCK_BITS]);
    return b ? atomic_load(&b[fd & (BLOCK - 1)]) : NULL;
}

static bool enter(int fd, struct intake *t)
{
    if (fd < 0 || fd >> BLOCK_BITS >= BLOCKS) return false;
    _Atomic(_Atomic(struct intake *) *) *at = &table[fd >> BLOCK_BITS];
    _Atomic(struct intake *) *b = atomic_load(at), *none = NULL;
    if (!b) {
        b = calloc(BLOCK, sizeof *b);
        if (!b) return false;
        if (!atomic_compare_exchange_strong(at, &none, b)) {
            free(b);
            b = none;
        }
    }
    atomic_store(&b[fd & (BLOCK - 1)], t);
    return true;
}

void intake_set_phase(struct intake *t, enum intake_phase p)
{
    atomic_store(&t->since_ms, now_ms());
    atomic_store(&t->byte_ms, now_ms());
    /* What came behind the request before is the beginning of the next one. */
    atomic_store(&t->phase, p == INTAKE_IDLE && t->raw.len > t->raw_at ? INTAKE_SENDING : p);
}

bool intake_open(struct intake *t, int fd, size_t limit)
{
    *t = (struct intake){ .fd = fd, .limit = limit };
    intake_set_phase(t, INTAKE_IDLE);
    return enter(fd, t);
}

void intake_close(struct intake *t)
{
    if (find(t->fd) == t) enter(t->fd, NULL);
    if (t->tls) tls_bye(t->tls); /* where the library ends without a shutdown() */
    tls_session_free(t->tls);
    t->tls = NULL;
    buf_free(&t->raw);
    buf_free(&t->ready);
}

void intake_use_tls(struct intake *t, struct tls_session *s) { t->tls = s; }

/* ---- what is read -------------------------------------------------------------------------------------------------- */

static void drop_raw(struct intake *t, size_t n)
{
    t->raw_at += n;
    if (t->raw_at < t->raw.len) return;
    buf_free(&t->raw); /* an idle connection keeps nothing */
    t->raw_at = 0;
}

static void refuse(struct intake *t, struct framing_fault f)
{
    t->fault = f;
    t->fault_in_body = t->state != INTAKE_HEAD;
    /* The library's request ends here. */
    if (t->state == INTAKE_CHUNK_END) buf_puts(&t->ready, "\r\n");
    if (t->fault_in_body) buf_puts(&t->ready, "0\r\n\r\n");
    t->state = INTAKE_REFUSED;
    drop_raw(t, t->raw.len - t->raw_at);
}

static void take_head(struct intake *t)
{
    const struct framing_head h = t->head;
    t->head = (struct framing_head){ 0 };
    t->n_heads++;
    drop_raw(t, h.used);
    t->left = h.length;
    t->state = h.chunked ? INTAKE_CHUNK : h.length ? INTAKE_LENGTH : INTAKE_HEAD;
}

/* Bytes that pass as they are. */
static void pass(struct intake *t)
{
    size_t n = t->raw.len - t->raw_at;
    if (n > t->left) n = (size_t)t->left;
    buf_append(&t->ready, t->raw.data + t->raw_at, n);
    t->left -= n;
    drop_raw(t, n);
    if (t->left) return;
    t->state = t->state == INTAKE_LENGTH ? INTAKE_HEAD : INTAKE_CHUNK_END;
}

/* One step over what was read; false when more is needed first. */
static bool advance(struct intake *t)
{
    const size_t n = t->raw.len - t->raw_at;
    if (!n) return false; /* there may be no memory to point into either */
    const char *p = t->raw.data + t->raw_at;
    struct framing_fault f = { FAULT_NONE, NULL };
    enum framing got = FRAMING_MORE;
    size_t used = 0;
    switch (t->state) {
    case INTAKE_HEAD:
        got = framing_head(&t->head, p, n, t->limit, &t->ready);
        f = t->head.fault;
        if (got == FRAMING_DONE) take_head(t);
        if (got == FRAMING_BAD) t->n_heads++;
        break;
    case INTAKE_LENGTH:
    case INTAKE_CHUNK_DATA:
        pass(t);
        got = FRAMING_DONE;
        break;
    case INTAKE_CHUNK:
        got = framing_chunk(p, n, &used, &t->left, &f);
        if (got != FRAMING_DONE) break;
        drop_raw(t, used);
        t->trailer = 0;
        t->state = t->left ? INTAKE_CHUNK_DATA : INTAKE_TRAILER;
        if (t->left) buf_printf(&t->ready, "%llx\r\n", (unsigned long long)t->left);
        break;
    case INTAKE_CHUNK_END:
        if (p[0] != '\r' || (n > 1 && p[1] != '\n')) {
            got = FRAMING_BAD;
            f = (struct framing_fault){ FAULT_INVALID, "a chunk of the body is not as long as it says" };
        } else if (n > 1) {
            drop_raw(t, 2);
            buf_puts(&t->ready, "\r\n");
            t->state = INTAKE_CHUNK;
            got = FRAMING_DONE;
        }
        break;
    case INTAKE_TRAILER:
        got = framing_trailer(p, n, &used, &f);
        if (got != FRAMING_DONE) break;
        drop_raw(t, used);
        t->trailer += used;
        if (t->trailer > t->limit) {
            got = FRAMING_BAD;
            f = (struct framing_fault){ FAULT_HEADERS, "there is too much behind the body" };
        } else if (used == 2) {
            buf_puts(&t->ready, "0\r\n\r\n");
            t->state = INTAKE_HEAD;
        }
        break;
    case INTAKE_REFUSED: drop_raw(t, n); break;
    }
    if (got == FRAMING_BAD) refuse(t, f);
    return got != FRAMING_MORE;
}

/* The system's recv(), by its other name. */
static ssize_t from_system(int fd, void *p, size_t n, int flags)
{
    return recvfrom(fd, p, n, flags, NULL, NULL);
}

/* HTTP where TLS is spoken. Nothing of it is read but thrown away, for it may hold a key; the connection goes on without TLS, for the answer. */
static void refuse_plain(struct intake *t)
{
    tls_session_free(t->tls);
    t->tls = NULL;
    buf_puts(&t->ready, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    t->n_heads++;
    refuse(t, (struct framing_fault){ FAULT_INVALID,
                                      "this port speaks HTTPS only: the URL begins with https://" });
}

static ssize_t from_client(struct intake *t, void *p, size_t n, int flags)
{
    if (!t->tls) return from_system(t->fd, p, n, flags);
    const ssize_t got = tls_recv(t->tls, p, n);
    /* A part of a message is a sign of life, where one is being sent. */
    if (got < 0 && tls_heard(t->tls) && atomic_load(&t->phase) == INTAKE_SENDING)
        atomic_store(&t->byte_ms, now_ms());
    return got;
}

static ssize_t read_some(struct intake *t, void *p, size_t n, int flags)
{
    ssize_t got = from_client(t, p, n, flags);
    if (got <= 0) return got;
    atomic_store(&t->byte_ms, now_ms());
    if (atomic_load(&t->phase) == INTAKE_IDLE) {
        atomic_store(&t->since_ms, now_ms());
        atomic_store(&t->phase, INTAKE_SENDING);
    }
    return got;
}

/* Reads behind what is there already. As recv(). */
static ssize_t fill(struct intake *t, int flags)
{
    char block[READ_BYTES];
    if (t->state == INTAKE_REFUSED && t->thrown >= THROWN_BYTES) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = read_some(t, block, sizeof block, flags);
    if (n <= 0) return n;
    if (t->state == INTAKE_REFUSED) {
        t->thrown += (size_t)n;
        return n;
    }
    if (t->raw_at) { /* the rest of a block, with what follows it */
        memmove(t->raw.data, t->raw.data + t->raw_at, t->raw.len - t->raw_at);
        t->raw.len -= t->raw_at;
        t->raw_at = 0;
    }
    if (buf_append(&t->raw, block, (size_t)n)) return n;
    errno = ECONNRESET; /* no memory for a few kilobytes: give the connection up */
    return -1;
}

static size_t hand_out(struct intake *t, char *out, size_t max)
{
    size_t n = t->ready.len - t->ready_at;
    if (n > max) n = max;
    if (n) memcpy(out, t->ready.data + t->ready_at, n);
    t->ready_at += n;
    if (t->ready_at == t->ready.len) {
        buf_free(&t->ready);
        t->ready_at = 0;
    }
    return n;
}

/* The library takes a read that brings less than it asked for as the sign that nothing is left, so that nothing may be left then. */
static ssize_t intake_read(struct intake *t, char *out, size_t max, int flags)
{
    size_t got = 0;
    while (got < max) {
        if (t->ready.failed || t->raw.failed) { /* before anything is handed out: some of it is lost */
            errno = ECONNRESET;
            return -1;
        }
        got += hand_out(t, out + got, max - got);
        if (got == max) break;
        if (advance(t)) continue;
        ssize_t n;
        if ((t->state == INTAKE_LENGTH || t->state == INTAKE_CHUNK_DATA) && max - got >= READ_BYTES / 4) {
            /* A body goes where the library wants it. */
            size_t want = max - got < t->left ? max - got : (size_t)t->left;
            n = read_some(t, out + got, want, flags);
            if (n > 0) {
                got += (size_t)n;
                t->left -= (uint64_t)n;
                if (!t->left) t->state = t->state == INTAKE_LENGTH ? INTAKE_HEAD : INTAKE_CHUNK_END;
            }
        } else {
            n = fill(t, flags);
        }
        if (n > 0) continue;
        if (n < 0 && t->tls && tls_is_plain(t->tls)) {
            refuse_plain(t);
            continue;
        }
        /* The library will not look again before the descriptor has news, and an end that came with the last bytes is none: make it some. */
        if (got && (n == 0 || errno != EAGAIN)) syscall(SYS_shutdown, t->fd, SHUT_RD);
        if (got) break; /* the end, or the error, comes again at the next call */
        return n;
    }
    return (ssize_t)got;
}

/* ---- the library's calls ------------------------------------------------------------------------------------------- */

/* Defined here, so that the library's calls of them come here. Other descriptors get what the system does. */
ssize_t recv(int fd, void *p, size_t n, int flags)
{
    struct intake *t = find(fd);
    if (!t || (flags & MSG_PEEK)) return from_system(fd, p, n, flags);
    return intake_read(t, p, n, flags);
}

static struct tls_session *session_of(int fd)
{
    struct intake *t = find(fd);
    return t ? t->tls : NULL;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    struct tls_session *s = session_of(fd);
    return s ? tls_send(s, p, n) : sendto(fd, p, n, flags, NULL, 0);
}

/* A reply's headers and its body as one record, where they fit. */
static ssize_t send_gathered(struct tls_session *s, const struct iovec *v, size_t n_v)
{
    char block[READ_BYTES];
    size_t sent = 0;
    for (size_t i = 0, at = 0; i < n_v;) {
        size_t n = 0;
        while (i < n_v && n < sizeof block) {
            const size_t left = v[i].iov_len - at, take = left < sizeof block - n ? left : sizeof block - n;
            if (take) memcpy(block + n, (const char *)v[i].iov_base + at, take);
            n += take;
            at += take;
            if (at == v[i].iov_len) i++, at = 0;
        }
        const ssize_t got = n ? tls_send(s, block, n) : 0;
        if (got < 0) return sent && errno == EAGAIN ? (ssize_t)sent : -1;
        sent += (size_t)got;
        if ((size_t)got < n) break;
    }
    return (ssize_t)sent;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct tls_session *s = session_of(fd);
    return s ? send_gathered(s, m->msg_iov, m->msg_iovlen) : syscall(SYS_sendmsg, fd, m, flags);
}

/* The library reads and sends itself where this is not possible. */
ssize_t sendfile64(int to, int from, off64_t *at, size_t n)
{
    if (session_of(to)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_sendfile, to, from, at, n);
}

int shutdown(int fd, int how)
{
    struct tls_session *s = how == SHUT_RD ? NULL : session_of(fd);
    if (s) tls_bye(s);
    return (int)syscall(SYS_shutdown, fd, how);
}

/* Not by shutdown(): the session belongs to the event loop. */
void intake_cut(int fd) { syscall(SYS_shutdown, fd, SHUT_RDWR); }
