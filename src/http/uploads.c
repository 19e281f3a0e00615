/* uploads.c - /v1/files: files that clients send, to be read by batches, and those that batches made. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/admin.h"
#include "http/dialects/batch_print.h"
#include "http/exchange.h"
#include "http/file_pages.h"
#include "http/handlers.h"
#include "http/multipart.h"
#include "http/upload.h"
#include "service/account/account.h"
#include "service/batch/file_rows.h"

enum { LEAST_EXPIRY_S = 3600, MOST_EXPIRY_S = 2592000, USUAL_PAGE = 10000 };

/* False: answered. */
static bool has_store(struct exchange *x)
{
    const struct server_options *o = &exchange_server(x)->o;
    if (o->account && o->uploads) return true;
    exchange_fault(x, FAULT_URL, NULL, "this server has no store, and so keeps no files; --store names one");
    return false;
}

/* ---- sending ------------------------------------------------------------------------------------------------------- */

struct form {
    const struct multipart_part *file, *purpose, *anchor, *seconds;
};

static bool is(const struct multipart_part *p, const char *name)
{
    return p->name_len == strlen(name) && !memcmp(p->name, name, p->name_len);
}

static bool says(const struct multipart_part *p, const char *value)
{
    return p->len == strlen(value) && !memcmp(p->data, value, p->len);
}

static bool find_parts(struct exchange *x, const struct multipart *m, struct form *f)
{
    *f = (struct form){ 0 };
    for (int i = 0; i < m->n; i++) {
        const struct multipart_part *p = &m->part[i];
        const struct multipart_part **to = is(p, "file")                     ? &f->file
                                           : is(p, "purpose")                ? &f->purpose
                                           : is(p, "expires_after[anchor]")  ? &f->anchor
                                           : is(p, "expires_after[seconds]") ? &f->seconds
                                                                             : NULL;
        if (to && *to) {
            exchange_fault(x, FAULT_INVALID, NULL, "the form has %.*s twice", (int)p->name_len, p->name);
            return false;
        }
        if (to)
            *to = p;
        else if (exchange_server(x)->o.strict_fields) {
            exchange_fault(
                x, FAULT_INVALID, NULL,
                "the form has \"%.*s\", which is unknown; file, purpose and expires_after are known",
                (int)(p->name_len < 60 ? p->name_len : 60), p->name);
            return false;
        }
    }
    return true;
}

static bool read_expiry(struct exchange *x, const struct form *f, int64_t now_ms, int64_t *expires_ms)
{
    char text[24], *end;
    *expires_ms = 0;
    if (!f->anchor && !f->seconds) return true;
    if (!f->anchor || !says(f->anchor, "created_at")) {
        exchange_fault(x, FAULT_INVALID, "expires_after", "expires_after.anchor must be \"created_at\"");
        return false;
    }
    snprintf(text, sizeof text, "%.*s", f->seconds && f->seconds->len < 20 ? (int)f->seconds->len : 0,
             f->seconds ? f->seconds->data : "");
    const long long s = strtoll(text, &end, 10);
    if (!*text || *end || s < LEAST_EXPIRY_S || s > MOST_EXPIRY_S) {
        exchange_fault(x, FAULT_INVALID, "expires_after",
                       "expires_after.seconds must be a whole number from %d to %d", LEAST_EXPIRY_S,
                       MOST_EXPIRY_S);
        return false;
    }
    *expires_ms = now_ms + s * 1000;
    return true;
}

static bool read_purpose(struct exchange *x, const struct form *f, struct file_row *r)
{
    if (!f->purpose) {
        exchange_fault(x, FAULT_INVALID, "purpose", "the form has no purpose; \"batch\" is one");
        return false;
    }
    if (!says(f->purpose, "batch")) {
        exchange_fault(x, FAULT_UNSUPPORTED, "purpose",
                       "purpose must be \"batch\", the only one that files are kept for here, got \"%.*s\"",
                       (int)(f->purpose->len < 60 ? f->purpose->len : 60), f->purpose->data);
        return false;
    }
    snprintf(r->purpose, sizeof r->purpose, "batch");
    return true;
}

/* bytes: the upload's. False: answered. */
static bool read_form(struct exchange *x, const struct multipart *m, const char *bytes, struct file_row *r)
{
    struct form f;
    const int64_t limit = exchange_server(x)->o.file_limit;
    if (!find_parts(x, m, &f) || !read_purpose(x, &f, r) || !read_expiry(x, &f, r->made_ms, &r->expires_ms))
        return false;
    if (!f.file || !f.file->file) {
        exchange_fault(x, FAULT_INVALID, "file",
                       "the form has no file; it is a part named file, with a filename");
        return false;
    }
    if ((int64_t)f.file->len > limit) {
        exchange_fault(x, FAULT_TOO_LARGE, "file", "the file is larger than the limit of %" PRId64 " bytes",
                       limit);
        return false;
    }
    r->bytes = (int64_t)f.file->len;
    r->start = f.file->len ? f.file->data - bytes : 0;
    snprintf(r->name, sizeof r->name, "%.*s", (int)(f.file->file_len < 200 ? f.file->file_len : 200),
             f.file->file);
    return true;
}

static bool parse(struct exchange *x, const struct upload *u, struct file_row *r)
{
    struct multipart *m = malloc(sizeof *m);
    struct err e = { ERR_NOMEM, "out of memory" };
    const char *type = exchange_header_in(x, "Content-Type"), *bytes = m ? upload_map(u, &e) : NULL;
    bool ok = false;
    if (!bytes) {
        exchange_fault(x, FAULT_SERVER, NULL, "%s", e.msg);
    } else if (!type || strncasecmp(type, "multipart/form-data", 19)) {
        exchange_fault(x, FAULT_MEDIA, NULL,
                       "this endpoint takes multipart/form-data: a file and its purpose");
    } else if (!multipart_parse(m, type, bytes, (size_t)u->bytes, &e)) {
        exchange_fault(x, FAULT_INVALID, NULL, "%s", e.msg);
    } else {
        ok = read_form(x, m, bytes, r);
    }
    upload_unmap(u, bytes);
    free(m);
    return ok;
}

void uploads_post(struct exchange *x)
{
    const struct server_options *o = &exchange_server(x)->o;
    struct upload *u = exchange_upload(x);
    struct file_row r = { .made_ms = clock_unix_ms() };
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(0);
    if (!has_store(x)) return;
    if (!u) {
        exchange_fault(x, FAULT_INVALID, NULL, "the body is empty; a form with a file is expected");
        return;
    }
    if (!parse(x, u, &r)) return;
    memcpy(r.id, u->id, sizeof r.id);
    file_owner(exchange_who(x), r.owner);
    /* The bytes first: a row never stands for what is not there. */
    if (!upload_keep(u, &e)) {
        exchange_fault(x, e.code == ERR_BUSY ? FAULT_UNAVAILABLE : FAULT_SERVER, NULL, "%s", e.msg);
        return;
    }
    if (!file_rows_add(admin_store(x), &r, o->files_total, &e)) {
        /* ERR_BUSY: it may have come to be. Then it stays, and goes with the others that no row knows. */
        if (e.code != ERR_BUSY) file_folder_remove(o->uploads, r.id);
        admin_fault(x, &e);
        return;
    }
    batch_print_file(&b, &r);
    exchange_reply(x, 200, "application/json", &b);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static void put_row(void *arg, const struct file_row *r)
{
    struct file_listing *l = arg;
    file_listing_next(l, r->id);
    batch_print_file(&l->b, r);
}

void uploads_list(struct exchange *x)
{
    char owner[FILE_OWNER];
    struct err e = { ERR_NONE, "" };
    struct file_listing l;
    const char *order = exchange_query(x, "order"), *after = exchange_query(x, "after"),
               *purpose = exchange_query(x, "purpose");
    int64_t limit;
    bool more;
    if (!has_store(x) || !admin_number(x, "limit", 1, FILE_PAGE, USUAL_PAGE, &limit)) return;
    if (order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0) {
        exchange_fault(x, FAULT_INVALID, "order", "order must be asc or desc");
        return;
    }
    file_owner(exchange_who(x), owner);
    const struct file_page p = { .owner = owner,
                                 .purpose = purpose ? purpose : "",
                                 .after = after ? after : "",
                                 .ascending = order && !strcmp(order, "asc"),
                                 .limit = (int)limit,
                                 .now_ms = clock_unix_ms() };
    file_listing_begin(&l);
    if (!file_rows_list(admin_store(x), &p, put_row, &l, &more, &e)) {
        buf_free(&l.b);
        admin_fault(x, &e);
        return;
    }
    file_listing_reply(x, &l, more);
}

static void reply_content(struct exchange *x, const struct file_row *r)
{
    struct err e = { ERR_NONE, "" };
    int64_t has;
    const int fd = file_folder_get(exchange_server(x)->o.uploads, r->id, &has, &e);
    if (fd < 0) {
        exchange_fault(x, FAULT_NOT_FOUND, NULL, "%s", e.msg);
    } else if (has < r->start + r->bytes) {
        close(fd);
        exchange_fault(x, FAULT_SERVER, NULL, "%s was cut short on the disk", r->id);
    } else {
        exchange_reply_file(x, "application/octet-stream", fd, r->start, r->bytes);
    }
}

void uploads_get(struct exchange *x)
{
    char id[FILE_ID], owner[FILE_OWNER];
    struct file_row r;
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(0);
    const char *rest = file_tail(x, id);
    if (!has_store(x)) return;
    if (*rest && strcmp(rest, "/content") != 0) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at GET %.200s", exchange_path(x));
        return;
    }
    file_owner(exchange_who(x), owner);
    if (!file_rows_get(admin_store(x), owner, id, clock_unix_ms(), &r, &e)) {
        admin_fault(x, &e);
    } else if (*rest) {
        reply_content(x, &r);
    } else {
        batch_print_file(&b, &r);
        exchange_reply(x, 200, "application/json", &b);
    }
}

void uploads_delete(struct exchange *x)
{
    char id[FILE_ID], owner[FILE_OWNER];
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(0);
    if (!has_store(x)) return;
    if (*file_tail(x, id)) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at DELETE %.200s", exchange_path(x));
        return;
    }
    file_owner(exchange_who(x), owner);
    if (!file_rows_remove(admin_store(x), owner, id, &e)) {
        admin_fault(x, &e);
        return;
    }
    file_folder_remove(exchange_server(x)->o.uploads, id);
    buf_printf(&b, "{\"id\":\"%s\",\"object\":\"file\",\"deleted\":true}", id);
    exchange_reply(x, 200, "application/json", &b);
}
