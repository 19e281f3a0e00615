/* file_pages.h - pages of files and of batches, which have one form, and the ids in their paths. */
#ifndef HEARTH_HTTP_FILE_PAGES_H
#define HEARTH_HTTP_FILE_PAGES_H

#include <stdio.h>
#include <string.h>

#include "http/dialects/batch_print.h"
#include "http/exchange.h"
#include "service/batch/file_folder.h"

struct file_listing {
    struct buf b;
    char first[FILE_ID], last[FILE_ID];
};

static inline void file_listing_begin(struct file_listing *l)
{
    *l = (struct file_listing){ .b = BUF_INIT(0) };
    buf_puts(&l->b, "{\"object\":\"list\",\"data\":[");
}

/* Before the next row is printed into l->b: its id. */
static inline void file_listing_next(struct file_listing *l, const char id[FILE_ID])
{
    if (*l->last)
        buf_putc(&l->b, ',');
    else
        memcpy(l->first, id, sizeof l->first);
    memcpy(l->last, id, sizeof l->last);
}

static inline void file_listing_reply(struct exchange *x, struct file_listing *l, bool more)
{
    batch_print_page_end(&l->b, l->first, l->last, more);
    exchange_reply(x, 200, "application/json", &l->b);
}

/* The id in front of the path's rest, which is returned: "" or "/...". */
static inline const char *file_tail(const struct exchange *x, char id[FILE_ID])
{
    const char *tail = exchange_tail(x);
    const size_t n = strcspn(tail, "/");
    snprintf(id, FILE_ID, "%.*s", n < FILE_ID ? (int)n : FILE_ID - 1, tail);
    return tail + n;
}

#endif
