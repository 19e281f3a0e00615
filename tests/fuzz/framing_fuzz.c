/* What a client sends, through a socket: however it is cut and however it is read, the library sees the same bytes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/intake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 16 << 10, LIMIT = 2000 };

static struct buf pass(const uint8_t *data, size_t size, size_t cut, size_t ask, enum fault_kind *fault)
{
    struct buf out = BUF_INIT(0);
    struct intake t;
    char block[4096];
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) || !intake_open(&t, fd[0], LIMIT)) abort();
    for (size_t at = 0; at < size;) {
        size_t n = size - at < cut ? size - at : cut;
        if (write(fd[1], data + at, n) != (ssize_t)n) abort();
        at += n;
        ssize_t got;
        while ((got = recv(fd[0], block, ask, 0)) > 0) {
            if ((size_t)got > ask) abort();
            buf_append(&out, block, (size_t)got);
        }
        if (got == 0 || errno != EAGAIN) abort(); /* the other end is open */
    }
    *fault = t.fault.kind;
    intake_close(&t);
    close(fd[0]);
    close(fd[1]);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum fault_kind f[3];
    if (size > MOST) return 0;
    struct buf whole = pass(data, size, MOST, sizeof(char[4096]), &f[0]),
               bytes = pass(data, size, 1, 7, &f[1]), odd = pass(data, size, 61, 4096, &f[2]);
    if (f[0] != f[1] || f[0] != f[2] || whole.len != bytes.len || whole.len != odd.len) abort();
    if (whole.len && (memcmp(whole.data, bytes.data, whole.len) || memcmp(whole.data, odd.data, whole.len)))
        abort();
    buf_free(&whole);
    buf_free(&bytes);
    buf_free(&odd);
    return 0;
}
