/* picture_files.c - GET /files/NAME: pictures that were given out by URL. Who knows the name may read, for clients fetch them without a key. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http/exchange.h"
#include "http/handlers.h"
#include "service/files.h"

void files_get(struct exchange *x)
{
    int64_t size, mtime;
    struct blobs *files = exchange_server(x)->o.files;
    struct err e = { ERR_NOT_FOUND, "" };
    int fd = files ? blobs_get(files, exchange_tail(x), &size, &mtime, &e) : -1;
    if (fd < 0 && e.code == ERR_BUSY)
        exchange_fault(x, FAULT_UNAVAILABLE, NULL,
                       "the place where pictures are kept cannot be reached; try again later");
    else if (fd < 0 && e.code == ERR_NOMEM)
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
    else if (fd < 0)
        exchange_fault(x, FAULT_URL, NULL, "there is no such picture, or its time is over");
    if (fd < 0) return;
    const char *range = exchange_header_in(x, "Range");
    const char *dot = strrchr(exchange_tail(x), '.');
    const char *type = dot && !strcmp(dot, ".png")    ? "image/png"
                       : dot && !strcmp(dot, ".webp") ? "image/webp"
                                                      : "image/jpeg";
    long long from = 0, to = size - 1;
    bool part = false;
    if (range && !strncmp(range, "bytes=", 6) && !strchr(range, ',')) {
        long long a = -1, b = -1;
        if (range[6] == '-') {
            part = sscanf(range + 7, "%lld", &b) == 1 && b >= 0;
            if (part) from = b < size ? size - b : 0;
        } else if (sscanf(range + 6, "%lld-%lld", &a, &b) >= 1 && a >= 0) {
            from = a;
            if (b >= 0 && b < to) to = b;
            part = true;
        }
        if (part && (from >= size || to < from)) {
            struct buf none = BUF_INIT(0);
            close(fd);
            exchange_header(x, "Content-Range", "bytes */%lld", (long long)size);
            exchange_reply(x, 416, "text/plain", &none);
            return;
        }
    }
    struct buf b = BUF_INIT(0);
    char block[65536];
    off_t at = from;
    ssize_t n;
    while (at <= to &&
           (n = pread(fd, block,
                      (size_t)(to - at + 1 < (long long)sizeof block ? to - at + 1 : (long long)sizeof block),
                      at)) > 0) {
        buf_append(&b, block, (size_t)n);
        at += n;
    }
    close(fd);
    if (b.failed || at <= to) {
        buf_free(&b);
        exchange_fault(x, FAULT_SERVER, NULL, "the picture could not be read");
        return;
    }
    exchange_header(x, "Accept-Ranges", "bytes");
    exchange_header(x, "Cache-Control", "private, max-age=3600, immutable");
    exchange_header(x, "X-Content-Type-Options", "nosniff");
    if (part) exchange_header(x, "Content-Range", "bytes %lld-%lld/%lld", from, to, (long long)size);
    exchange_reply(x, part ? 206 : 200, type, &b);
}
