/* line_reader.h - the lines of a file, one after the other, however large the file is: memory for one line.
 *
 * A line ends with "\n", "\r\n" or the file. Lines of nothing but space count, but are not given out; nor is a byte order mark. */
#ifndef HEARTH_SERVICE_BATCH_LINE_READER_H
#define HEARTH_SERVICE_BATCH_LINE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct line_reader {
    int fd;            /* borrowed; read by position alone */
    int64_t at, end;   /* bytes of it */
    size_t most;       /* bytes of a line */
    int64_t line;      /* of the one that was given out last, from 1 */
    struct buf buf;    /* read, from `used` on not given out yet */
    size_t used, seen; /* seen: no end of a line before it */
};

/* The content is at bytes start .. start + bytes of fd. */
void line_reader_init(struct line_reader *r, int fd, int64_t start, int64_t bytes, size_t most);
void line_reader_free(struct line_reader *r);

enum line_read {
    LINE_READ,     /* *text is `len` bytes until the next call */
    LINE_TOO_LONG, /* r->line has more than `most`; it was passed over */
    LINE_END,
    LINE_FAILED /* *e says why */
};
enum line_read line_reader_next(struct line_reader *r, const char **text, size_t *len, struct err *e);

#endif
