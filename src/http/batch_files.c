/* batch_files.c - see batch_files.h. Lines and answers are read side by side, a page of answers at a time. */
#include "http/batch_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/dialects/batch_parse.h"
#include "http/dialects/batch_print.h"
#include "service/batch/line_reader.h"

enum { PAGE = 16 /* answers, of which each may be a picture */, PIECE = 256 << 10 };

void batch_request_id(const char *batch, int64_t line, char out[72])
{
    const char *digits = strchr(batch, '_');
    snprintf(out, 72, "batch_req_%.24s_%" PRId64, digits ? digits + 1 : batch, line);
}

/* One of the two, made when its first line comes. */
struct file {
    struct file_folder *folder;
    char id[FILE_ID];
    int fd;
    int64_t bytes;
    struct buf b;
};

static bool flush(struct file *f, struct err *e)
{
    if (f->b.failed) return err_set(e, ERR_NOMEM, "out of memory");
    if (f->fd < 0 && (f->fd = file_folder_new(f->folder, f->id, e)) < 0) return false;
    if (!file_folder_write(f->fd, f->b.data ? f->b.data : "", f->b.len, e)) return false;
    f->bytes += (int64_t)f->b.len;
    buf_clear(&f->b);
    return true;
}

static void file_init(struct file *f, const struct batch_writing *w, const char *what)
{
    const char *digits = strchr(w->batch->id, '_');
    *f = (struct file){ .folder = w->folder, .fd = -1, .b = BUF_INIT(0) };
    snprintf(f->id, sizeof f->id, "file-%.24s-%.6s", digits ? digits + 1 : w->batch->id, what);
}

/* Whole and on the disk; nothing where no line came. */
static bool file_close(struct file *f, const struct batch_writing *w, const char *what, struct file_row *row,
                       bool *has, struct err *e)
{
    *has = f->fd >= 0 || f->b.len;
    if (!*has) return true;
    if (!flush(f, e)) return false;
    const int fd = f->fd;
    f->fd = -1;
    if (!file_folder_keep(f->folder, fd, f->id, e)) return false;
    *row = (struct file_row){ .bytes = f->bytes, .made_ms = clock_unix_ms(), .expires_ms = w->expires_ms };
    memcpy(row->id, f->id, sizeof row->id);
    memcpy(row->owner, w->batch->owner, sizeof row->owner);
    snprintf(row->name, sizeof row->name, "%s_%s.jsonl", w->batch->id, what);
    snprintf(row->purpose, sizeof row->purpose, "batch_output");
    return true;
}

static void file_end(struct file *f)
{
    if (f->fd >= 0) file_folder_drop(f->folder, f->fd, f->id);
    buf_free(&f->b);
}

struct answers {
    struct answer {
        int64_t line, status;
        char *request, *body;
    } v[PAGE];
    int n, at;
    int64_t last;
    bool over;
};

static void answers_clear(struct answers *a)
{
    for (int i = 0; i < a->n; i++) {
        free(a->v[i].request);
        free(a->v[i].body);
    }
    a->n = a->at = 0;
}

static bool take(void *arg, const struct batch_answer *from, struct err *e)
{
    struct answers *a = arg;
    struct answer *to = &a->v[a->n++];
    *to = (struct answer){ from->line, from->status, strdup(from->request), strdup(from->body) };
    return (to->request && to->body) || err_set(e, ERR_NOMEM, "out of memory");
}

/* The answer of this line, or NULL; lines come in their order. */
static bool find(struct answers *a, const struct batch_writing *w, int64_t line, const struct answer **out,
                 struct err *e)
{
    *out = NULL;
    for (;;) {
        while (a->at < a->n && a->v[a->at].line < line) a->at++;
        if (a->at < a->n) break;
        if (a->over) return true;
        answers_clear(a);
        if (!batch_lines_page(w->store, w->batch->id, a->last, PAGE, take, a, e)) return false;
        a->over = a->n < PAGE;
        if (a->n) a->last = a->v[a->n - 1].line;
    }
    if (a->v[a->at].line == line) *out = &a->v[a->at];
    return true;
}

static bool put_line(const struct batch_writing *w, struct answers *a, struct file *output,
                     struct file *errors, int64_t line, const char *text, size_t len, struct err *e)
{
    const struct answer *of;
    struct batch_line l;
    struct batch_fault ignored;
    char request[72];
    if (!find(a, w, line, &of, e)) return false;
    struct file *to = of && of->status < 400 ? output : errors;
    const bool read = batch_parse_line(&l, text, len, w->json, w->batch->endpoint, &ignored);
    if (of) {
        const struct batch_answer answer = { of->line, of->status, of->request, of->body };
        batch_print_answer(&to->b, l.custom_id, &answer);
    } else {
        batch_request_id(w->batch->id, line, request);
        batch_print_unanswered(&to->b, request, l.custom_id, w->expired);
    }
    if (read) json_decref(l.root);
    return to->b.len < PIECE || flush(to, e);
}

static bool put_lines(const struct batch_writing *w, int fd, struct file *output, struct file *errors,
                      struct err *e)
{
    struct line_reader r;
    struct answers *a = calloc(1, sizeof *a);
    const char *text;
    size_t len;
    enum line_read got = LINE_FAILED;
    bool ok = a || err_set(e, ERR_NOMEM, "out of memory");
    line_reader_init(&r, fd, w->input->start, w->input->bytes, w->most_line);
    while (ok && (got = line_reader_next(&r, &text, &len, e)) != LINE_END) {
        ok = got != LINE_FAILED;
        if (got == LINE_READ) ok = put_line(w, a, output, errors, r.line, text, len, e);
    }
    line_reader_free(&r);
    if (a) answers_clear(a);
    free(a);
    return ok;
}

bool batch_files_write(const struct batch_writing *w, struct batch_files *out, struct err *e)
{
    struct file output, errors;
    int64_t has;
    *out = (struct batch_files){ .has_output = false };
    const int fd = file_folder_get(w->folder, w->input->id, &has, e);
    if (fd < 0) return false;
    file_init(&output, w, "output");
    file_init(&errors, w, "errors");
    const bool ok = put_lines(w, fd, &output, &errors, e) &&
                    file_close(&output, w, "output", &out->output, &out->has_output, e) &&
                    file_close(&errors, w, "error", &out->errors, &out->has_errors, e);
    file_end(&output);
    file_end(&errors);
    close(fd);
    return ok;
}
