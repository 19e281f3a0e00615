/* buf.h - a growable byte string with a maximum given at birth.
 *
 * Invariant  data is NULL or NUL-terminated at data[len]; len <= max.
 * Failure    an append that would pass max or finds no memory leaves the content as it was, sets `failed`, and
 *            returns false; later appends fail too, so a builder may check once at the end.
 * Threads    one owner at a time. */
#ifndef HEARTH_BASE_BUF_H
#define HEARTH_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap, max; /* bytes; max 0 means SIZE_MAX */
    bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

bool buf_append(struct buf *b, const void *data, size_t n);
bool buf_puts(struct buf *b, const char *s);
bool buf_putc(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b);          /* len 0, failed false, memory kept */
void buf_drop(struct buf *b, size_t n); /* forgets the first n bytes, which are there */
void buf_free(struct buf *b);
/* The string, owned by the caller (free()); the buf is empty afterwards. "" when nothing was written; NULL when
 * the buf had failed. */
char *buf_take(struct buf *b);

#endif
