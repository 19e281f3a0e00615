/* batches.c - /v1/batches: to make, see and cancel batches; batch_runner.c works on them. */
#include <string.h>

#include "base/clock.h"
#include "http/admin.h"
#include "http/batch_runner.h"
#include "http/dialects/batch_parse.h"
#include "http/dialects/batch_print.h"
#include "http/exchange.h"
#include "http/file_pages.h"
#include "http/handlers.h"
#include "service/account/account.h"
#include "service/batch/batch_rows.h"

enum { PAGE_MOST = 100, PAGE_USUAL = 20 };

/* False: answered. */
static bool has_store(struct exchange *x)
{
    const struct server_options *o = &exchange_server(x)->o;
    if (o->account && o->uploads) return true;
    exchange_fault(x, FAULT_URL, NULL, "this server has no store, and so no batches; --store names one");
    return false;
}

static void reply(struct exchange *x, const char *owner, const char *id)
{
    struct err e = { ERR_NONE, "" };
    struct batch_row r;
    struct buf b = BUF_INIT(0);
    if (!batch_rows_get(admin_store(x), owner, id, &r, &e)) {
        admin_fault(x, &e);
        return;
    }
    batch_print(&b, &r);
    batch_row_free(&r);
    exchange_reply(x, 200, "application/json", &b);
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

static bool read_body(struct exchange *x, struct batch_row *r)
{
    struct fault f = { 0 };
    const struct server *s = exchange_server(x);
    json_t *body = NULL;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    const bool ok =
        json_in_parse(bytes, len, &s->json, &body, &f) && batch_parse(r, body, s->o.strict_fields, &f);
    json_decref(body);
    if (!ok) exchange_fault_from(x, &f);
    return ok;
}

static bool check_file(struct exchange *x, const struct batch_row *r)
{
    struct err e = { ERR_NONE, "" };
    struct file_row f;
    if (!file_rows_get(admin_store(x), r->owner, r->input_file, r->made_ms, &f, &e)) {
        if (e.code == ERR_NOT_FOUND)
            exchange_fault(x, FAULT_INVALID, "input_file_id", "%s", e.msg);
        else
            admin_fault(x, &e);
        return false;
    }
    if (!strcmp(f.purpose, "batch")) return true;
    exchange_fault(x, FAULT_INVALID, "input_file_id", "%s has the purpose %s; a batch reads one of batch",
                   f.id, f.purpose);
    return false;
}

void batches_post(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct batch_row r = { .made_ms = clock_unix_ms() };
    if (!has_store(x) || !read_body(x, &r)) return;
    file_folder_id("batch_", r.id);
    file_owner(exchange_who(x), r.owner);
    auth_asker(exchange_who(x), r.asker);
    snprintf(r.address, sizeof r.address, "%s", exchange_address(x));
    r.expires_ms = r.made_ms + r.window_s * 1000;
    const bool good = check_file(x, &r), made = good && batch_rows_add(admin_store(x), &r, &e);
    batch_row_free(&r);
    if (made) {
        batch_runner_poke(exchange_server(x)->batches);
        reply(x, r.owner, r.id);
    } else if (good) {
        admin_fault(x, &e);
    }
}

/* ---- those that are there ------------------------------------------------------------------------------------------ */

static void put_row(void *arg, const struct batch_row *r)
{
    struct file_listing *l = arg;
    file_listing_next(l, r->id);
    batch_print(&l->b, r);
}

void batches_list(struct exchange *x)
{
    char owner[FILE_OWNER];
    struct err e = { ERR_NONE, "" };
    struct file_listing l;
    const char *after = exchange_query(x, "after");
    int64_t limit;
    bool more;
    if (!has_store(x) || !admin_number(x, "limit", 1, PAGE_MOST, PAGE_USUAL, &limit)) return;
    file_owner(exchange_who(x), owner);
    file_listing_begin(&l);
    if (!batch_rows_list(admin_store(x), owner, after ? after : "", (int)limit, put_row, &l, &more, &e)) {
        buf_free(&l.b);
        admin_fault(x, &e);
        return;
    }
    file_listing_reply(x, &l, more);
}

void batches_get(struct exchange *x)
{
    char id[FILE_ID], owner[FILE_OWNER];
    if (!has_store(x)) return;
    if (*file_tail(x, id)) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at GET %.200s", exchange_path(x));
        return;
    }
    file_owner(exchange_who(x), owner);
    reply(x, owner, id);
}

void batches_act(struct exchange *x)
{
    char id[FILE_ID], owner[FILE_OWNER];
    struct err e = { ERR_NONE, "" };
    if (!has_store(x)) return;
    if (strcmp(file_tail(x, id), "/cancel") != 0) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at POST %.200s", exchange_path(x));
        return;
    }
    file_owner(exchange_who(x), owner);
    if (!batch_rows_cancel(admin_store(x), owner, id, clock_unix_ms(), &e)) {
        admin_fault(x, &e);
        return;
    }
    batch_runner_poke(exchange_server(x)->batches);
    reply(x, owner, id);
}
