/* batch_print.c - see batch_print.h. */
#include "http/dialects/batch_print.h"

#include <inttypes.h>
#include <stdio.h>

#include "http/json_out.h"
#include "http/dialects/batch_parse.h"
#include "service/batch/batch_rows.h"
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

static void put_name(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, ",\"%s\":", name);
    json_out_cstr(b, *value ? value : NULL);
}

static void put_json(struct buf *b, const char *name, const char *json)
{
    buf_printf(b, ",\"%s\":%s", name, *json ? json : "null");
}

static void print_window(struct buf *b, int64_t s)
{
    if (s % 3600 == 0)
        buf_printf(b, "%" PRId64 "h", s / 3600);
    else if (s % 60 == 0)
        buf_printf(b, "%" PRId64 "m", s / 60);
    else
        buf_printf(b, "%" PRId64 "s", s);
}

void batch_print(struct buf *b, const struct batch_row *r)
{
    buf_printf(b, "{\"id\":\"%s\",\"object\":\"batch\",\"endpoint\":", r->id);
    json_out_cstr(b, r->endpoint);
    put_json(b, "errors", r->errors);
    put_name(b, "input_file_id", r->input_file);
    buf_puts(b, ",\"completion_window\":\"");
    print_window(b, r->window_s);
    buf_printf(b, "\",\"status\":\"%s\"", batch_state_name(r->state));
    put_name(b, "output_file_id", r->output_file);
    put_name(b, "error_file_id", r->error_file);
    put_time(b, "created_at", r->made_ms);
    put_time(b, "expires_at", r->expires_ms);
    for (int i = BATCH_FAILED; i < N_BATCH_STATES; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s_at", batch_state_name((enum batch_state)i));
        put_time(b, name, r->at_ms[i]);
    }
    buf_printf(b,
               ",\"request_counts\":{\"total\":%" PRId64 ",\"completed\":%" PRId64 ",\"failed\":%" PRId64 "}",
               r->total, r->done, r->failed);
    put_json(b, "metadata", r->metadata);
    buf_putc(b, '}');
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

void batch_print_answer(struct buf *b, const char *custom_id, const struct batch_answer *a)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, a->request);
    buf_puts(b, ",\"custom_id\":");
    json_out_cstr(b, custom_id);
    buf_printf(b, ",\"response\":{\"status_code\":%" PRId64 ",\"request_id\":", a->status);
    json_out_cstr(b, a->request);
    buf_printf(b, ",\"body\":%s},\"error\":null}\n", a->body);
}

void batch_print_unanswered(struct buf *b, const char *request, const char *custom_id, bool expired)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, request);
    buf_puts(b, ",\"custom_id\":");
    json_out_cstr(b, custom_id);
    buf_printf(b, ",\"response\":null,\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n",
               expired ? "batch_expired" : "batch_cancelled",
               expired ? "This request could not be executed before the completion window expired."
                       : "This request was not executed because its batch was cancelled.");
}

void batch_print_fault(struct buf *b, const struct batch_fault *f, int64_t line)
{
    buf_puts(b, "{\"code\":");
    json_out_cstr(b, f->code);
    if (line)
        buf_printf(b, ",\"line\":%" PRId64, line);
    else
        buf_puts(b, ",\"line\":null");
    buf_puts(b, ",\"message\":");
    json_out_cstr(b, f->msg);
    buf_puts(b, ",\"param\":");
    json_out_cstr(b, f->param);
    buf_putc(b, '}');
}
