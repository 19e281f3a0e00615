/* batch_run.c - see batch_run.h. */
#include "http/batch_run.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/json_memory.h"
#include "http/dialects/batch_parse.h"
#include "http/dialects/batch_print.h"

enum {
    SLICE_LINES = 500,     /* that are validated before others get their turn ... */
    SLICE_BYTES = 2 << 20, /* ... and bytes of them */
    MOST_ERRORS = 100      /* that a batch shows */
};

/* ---- custom_ids ---------------------------------------------------------------------------------------------------- */

/* Their hashes, of 128 bits: two that are alike are taken for the same. */
struct seen {
    struct id {
        uint64_t a, b;
    } * v; /* [cap], a power of two; both 0: free */
    size_t n, cap;
};

static bool put(struct seen *s, struct id id, bool *new)
{
    size_t at = (size_t)id.a & (s->cap - 1);
    while (s->v[at].a | s->v[at].b) {
        if (s->v[at].a == id.a && s->v[at].b == id.b) {
            *new = false;
            return true;
        }
        at = (at + 1) & (s->cap - 1);
    }
    s->v[at] = id;
    s->n++;
    *new = true;
    return true;
}

static bool grow(struct seen *s)
{
    struct seen more = { calloc(s->cap ? s->cap * 2 : 1024, sizeof *more.v), 0, s->cap ? s->cap * 2 : 1024 };
    bool ignored;
    if (!more.v) return false;
    for (size_t i = 0; i < s->cap; i++)
        if (s->v[i].a | s->v[i].b) put(&more, s->v[i], &ignored);
    free(s->v);
    *s = more;
    return true;
}

static bool see(struct seen *s, const char *custom_id, bool *new)
{
    struct id id;
    crypto_generichash((unsigned char *)&id, sizeof id, (const unsigned char *)custom_id, strlen(custom_id),
                       NULL, 0);
    id.a |= 1;
    return (2 * s->n < s->cap || grow(s)) && put(s, id, new);
}

static void seen_free(struct seen *s)
{
    if (s) free(s->v);
    free(s);
}

/* ---- one batch ----------------------------------------------------------------------------------------------------- */

static void note_answered(void *arg, int64_t line) { batch_run_answered(arg, line); }

bool batch_run_open(struct batch_run **out, struct batch_row *row, struct store *s, struct file_folder *f,
                    size_t most_line, struct err *e)
{
    struct batch_run *r = calloc(1, sizeof *r);
    int64_t has;
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    r->row = *row;
    row->metadata = row->errors = NULL;
    r->errors = BUF_INIT(0);
    r->fd = -1;
    r->seen = calloc(1, sizeof *r->seen);
    /* Its time may be over while the batch is still open: then it stays. */
    bool ok = (r->seen || err_set(e, ERR_NOMEM, "out of memory")) &&
              file_rows_get(s, NULL, r->row.input_file, 0, &r->input, e);
    if (ok) r->fd = file_folder_get(f, r->input.id, &has, e);
    ok = ok && r->fd >= 0 && batch_lines_each(s, r->row.id, note_answered, r, e) &&
         (!r->no_memory || err_set(e, ERR_NOMEM, "out of memory"));
    if (!ok) {
        *row = r->row;
        r->row.metadata = r->row.errors = NULL;
        batch_run_free(r);
        return false;
    }
    batch_run_rewind(r, most_line);
    *out = r;
    return true;
}

void batch_run_free(struct batch_run *r)
{
    if (!r) return;
    line_reader_free(&r->reader);
    if (r->fd >= 0) close(r->fd);
    free(r->answered);
    seen_free(r->seen);
    buf_free(&r->errors);
    batch_row_free(&r->row);
    free(r);
}

void batch_run_rewind(struct batch_run *r, size_t most_line)
{
    line_reader_free(&r->reader);
    line_reader_init(&r->reader, r->fd, r->input.start, r->input.bytes, most_line);
    r->at_end = false;
}

/* ---- validating ---------------------------------------------------------------------------------------------------- */

static void complain(struct batch_run *r, const struct batch_fault *f, int64_t line)
{
    if (r->n_errors++ >= MOST_ERRORS) return;
    if (r->errors.len) buf_putc(&r->errors, ',');
    batch_print_fault(&r->errors, f, line);
}

static bool check_line(struct batch_run *r, const char *text, size_t len, const struct json_limits *l,
                       struct err *e)
{
    struct batch_line line;
    struct batch_fault f;
    bool new;
    r->n_lines++;
    if (!batch_parse_line(&line, text, len, l, r->row.endpoint, &f)) {
        complain(r, &f, r->reader.line);
        return true;
    }
    json_decref(line.root);
    if (!see(r->seen, line.custom_id, &new)) return err_set(e, ERR_NOMEM, "out of memory");
    if (new) return true;
    f.code = "duplicate_custom_id";
    f.param = "custom_id";
    snprintf(f.msg, sizeof f.msg, "The custom_id '%.80s' of this line is that of an earlier one.",
             line.custom_id);
    complain(r, &f, r->reader.line);
    return true;
}

/* What is wrong with the whole. */
static void check_whole(struct batch_run *r, int64_t most_lines)
{
    struct batch_fault f = { .code = "empty_file", .msg = "The file has no lines." };
    if (!r->n_lines) complain(r, &f, 0);
    if (r->n_lines <= most_lines) return;
    f.code = "too_many_requests";
    snprintf(f.msg, sizeof f.msg, "The file has more than %lld lines, the most that a batch may have here.",
             (long long)most_lines);
    r->n_errors = 0; /* so that it is shown */
    buf_clear(&r->errors);
    complain(r, &f, 0);
}

bool batch_run_validate(struct batch_run *r, const struct json_limits *l, int64_t most_lines, bool *over,
                        struct err *e)
{
    const char *text;
    size_t len, bytes = 0;
    struct batch_fault f = { .code = "line_too_large" };
    *over = false;
    for (int i = 0; i < SLICE_LINES && bytes < SLICE_BYTES; i++) {
        switch (line_reader_next(&r->reader, &text, &len, e)) {
        case LINE_FAILED: return false;
        case LINE_READ:
            if (!check_line(r, text, len, l, e)) return false;
            bytes += len;
            break;
        case LINE_TOO_LONG:
            r->n_lines++;
            snprintf(f.msg, sizeof f.msg, "This line has more than %zu bytes.", r->reader.most);
            complain(r, &f, r->reader.line);
            break;
        case LINE_END: *over = true; break;
        }
        if (*over || r->n_lines > most_lines) break;
    }
    *over |= r->n_lines > most_lines;
    if (*over) check_whole(r, most_lines);
    if (*over) {
        seen_free(r->seen);
        r->seen = calloc(1, sizeof *r->seen);
    }
    return !r->errors.failed || err_set(e, ERR_NOMEM, "out of memory");
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

static bool batch_run_has(const struct batch_run *r, int64_t line)
{
    const size_t at = (size_t)line / 8;
    return at < r->answered_bytes && r->answered[at] >> (line % 8) & 1;
}

void batch_run_answered(struct batch_run *r, int64_t line)
{
    const size_t at = (size_t)line / 8;
    if (at >= r->answered_bytes) {
        const size_t bytes = 2 * at + 256;
        unsigned char *v = realloc(r->answered, bytes);
        if (!v) {
            r->no_memory = true; /* the store knows it all the same: the line is asked again in vain */
            return;
        }
        memset(v + r->answered_bytes, 0, bytes - r->answered_bytes);
        r->answered = v;
        r->answered_bytes = bytes;
    }
    r->answered[at] |= (unsigned char)(1 << line % 8);
}

bool batch_run_next(struct batch_run *r, const struct json_limits *l, int64_t *line, struct buf *body,
                    struct err *e)
{
    const char *text;
    size_t len;
    *line = 0;
    for (;;) {
        const enum line_read got = line_reader_next(&r->reader, &text, &len, e);
        if (got == LINE_FAILED) return false;
        r->at_end = got == LINE_END;
        if (r->at_end) return true;
        if (got == LINE_READ && !batch_run_has(r, r->reader.line)) break;
    }
    struct batch_line of;
    struct batch_fault f;
    if (!batch_parse_line(&of, text, len, l, r->row.endpoint, &f))
        return err_set(e, ERR_FORMAT, "line %lld is not as it was when the batch was validated: %.150s",
                       (long long)r->reader.line, f.msg);
    char *sent = json_memory_dumps(of.body, JSON_COMPACT);
    json_decref(of.root);
    const bool ok = sent && buf_puts(body, sent);
    free(sent);
    *line = r->reader.line;
    return ok || err_set(e, ERR_NOMEM, "out of memory");
}
