/* batch_print.c - see batch_print.h. */
#include "http/dialects/batch_print.h"

#include <inttypes.h>

#include "http/json_out.h"
#include "service/batch/file_rows.h"

static void put_time(struct buf *b, const char *name, int64_t ms)
{
    if (ms)
        buf_printf(b, ",\"%s\":%" PRId64, name, ms / 1000);
    else
        buf_printf(b, ",\"%s\":null", name);
}

void batch_print_file(struct buf *b, const struct file_row *r)
{
    buf_printf(b, "{\"id\":\"%s\",\"object\":\"file\",\"bytes\":%" PRId64, r->id, r->bytes);
    put_time(b, "created_at", r->made_ms);
    put_time(b, "expires_at", r->expires_ms);
    buf_puts(b, ",\"filename\":");
    json_out_cstr(b, r->name);
    buf_puts(b, ",\"purpose\":");
    json_out_cstr(b, r->purpose);
    buf_puts(b, ",\"status\":\"processed\",\"status_details\":null}");
}

void batch_print_page_end(struct buf *b, const char *first, const char *last, bool more)
{
    buf_puts(b, "],\"first_id\":");
    json_out_cstr(b, *first ? first : NULL);
    buf_puts(b, ",\"last_id\":");
    json_out_cstr(b, *last ? last : NULL);
    buf_printf(b, ",\"has_more\":%s}", more ? "true" : "false");
}
