/* line_reader.c - see line_reader.h. */
#include "service/batch/line_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 64 << 10 };

void line_reader_init(struct line_reader *r, int fd, int64_t start, int64_t bytes, size_t most)
{
    *r = (struct line_reader){ .fd = fd, .at = start, .end = start + bytes, .most = most };
    r->buf = BUF_INIT(0);
}

void line_reader_free(struct line_reader *r) { buf_free(&r->buf); }

/* One block more. False: the file cannot be read. */
static bool fill(struct line_reader *r, struct err *e)
{
    char block[BLOCK];
    const int64_t left = r->end - r->at;
    ssize_t n;
    do n = pread(r->fd, block, left < BLOCK ? (size_t)left : BLOCK, (off_t)r->at);
    while (n < 0 && errno == EINTR);
    if (n < 0) return err_set(e, ERR_IO, "the file cannot be read: %s", strerror(errno));
    if (n == 0) return err_set(e, ERR_IO, "the file was cut short on the disk");
    if (r->used) {
        buf_drop(&r->buf, r->used);
        r->seen -= r->used;
        r->used = 0;
    }
    r->at += n;
    return buf_append(&r->buf, block, (size_t)n) || err_set(e, ERR_NOMEM, "out of memory");
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return false;
    return true;
}

enum line_read line_reader_next(struct line_reader *r, const char **text, size_t *len, struct err *e)
{
    bool too_long = false;
    for (;;) {
        const bool some = r->seen < r->buf.len;
        const char *end = some ? memchr(r->buf.data + r->seen, '\n', r->buf.len - r->seen) : NULL;
        const bool last = !end && r->at >= r->end;
        const size_t until = end ? (size_t)(end - r->buf.data) : r->buf.len;
        size_t n = until - r->used;
        if (!end && !last) {
            if (n > r->most) { /* what came of it is not needed any more */
                too_long = true;
                r->used = until;
            }
            r->seen = until;
            if (!fill(r, e)) return LINE_FAILED;
            continue;
        }
        if (last && n == 0 && !too_long) return LINE_END;
        r->line++;
        *text = r->buf.data + r->used;
        r->used = r->seen = until + (end != NULL);
        if (too_long || n > r->most) return LINE_TOO_LONG;
        if (r->line == 1 && n >= 3 && !memcmp(*text, "\xef\xbb\xbf", 3)) *text += 3, n -= 3;
        while (n && (*text)[n - 1] == '\r') n--;
        *len = n;
        if (!is_blank(*text, n)) return LINE_READ;
    }
}
