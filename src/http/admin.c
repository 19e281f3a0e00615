/* admin.c - see admin.h; and what administrators read: sums of usage, the ledger, the audit. */
#include "http/admin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "service/account/account.h"
#include "service/account/ledger.h"
#include "service/account/money.h"

struct store *admin_store(const struct exchange *x) { return account_store(exchange_server(x)->o.account); }

struct actor admin_actor(const struct exchange *x)
{
    return (struct actor){ exchange_who(x)->id, exchange_address(x) };
}

void admin_reply_text(struct exchange *x, struct buf *b) { exchange_reply(x, 200, "application/json", b); }

void admin_reply(struct exchange *x, int status, json_t *o)
{
    struct buf b = BUF_INIT(0);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (text && buf_puts(&b, text))
        exchange_reply(x, status, "application/json", &b);
    else
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory, or what is in the store is no UTF-8");
    buf_free(&b);
    free(text);
}

void admin_fault(struct exchange *x, const struct err *e)
{
    enum fault_kind kind = fault_of(e->code);
    if (e->code == ERR_NOT_FOUND) kind = FAULT_NOT_FOUND;
    if (e->code == ERR_BUSY) kind = FAULT_UNAVAILABLE;
    exchange_fault(x, kind, NULL, "%s", e->msg);
}

/* ---- the query ----------------------------------------------------------------------------------------------------- */

static bool query_date(struct exchange *x, const char *name, int64_t otherwise, int64_t *ms)
{
    const char *text = exchange_query(x, name);
    *ms = otherwise;
    if (!text || !*text || dates_parse(text, clock_unix_ms(), ms)) return true;
    exchange_fault(
        x, FAULT_INVALID, name,
        "%s must be a date such as 2026-01-31, or so long ago, such as -12h or -30d, got \"%.40s\"", name,
        text);
    return false;
}

/* since and until of the query, as the commands read them. False: answered. */
static bool admin_span(struct exchange *x, int64_t *from_ms, int64_t *to_ms)
{
    return query_date(x, "since", INT64_MIN, from_ms) && query_date(x, "until", INT64_MAX, to_ms);
}

bool admin_number(struct exchange *x, const char *name, int64_t min, int64_t max, int64_t otherwise,
                  int64_t *out)
{
    const char *text = exchange_query(x, name);
    char *end;
    *out = otherwise;
    if (!text) return true;
    const long long v = strtoll(text, &end, 10);
    if (*text && !*end && v >= min && v <= max) {
        *out = v;
        return true;
    }
    exchange_fault(x, FAULT_INVALID, name,
                   "%s must be a whole number from %" PRId64 " to %" PRId64 ", got \"%.40s\"", name, min, max,
                   text);
    return false;
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

/* A list whose rows have a number: as many as were asked for, and whether there are more. */
struct page {
    struct buf b;
    int64_t most, n, last;
    bool more;
};

static bool page_open(struct exchange *x, struct page *p, int64_t *after)
{
    *p = (struct page){ .b = BUF_INIT(0) };
    if (!admin_number(x, "limit", 1, ADMIN_PAGE_MOST, ADMIN_PAGE_USUAL, &p->most) ||
        !admin_number(x, "after", 0, INT64_MAX, 0, after))
        return false;
    return buf_puts(&p->b, "{\"object\":\"list\",\"data\":[");
}

/* False: the page is full. */
static bool page_row(struct page *p, int64_t seq)
{
    p->more = p->n == p->most;
    if (p->more) return false;
    buf_printf(&p->b, "%s{\"seq\":%" PRId64, p->n++ ? "," : "", seq);
    p->last = seq;
    return true;
}

static void page_close(struct exchange *x, struct page *p, bool ok, const struct err *e)
{
    if (ok) {
        buf_printf(&p->b, "],\"has_more\":%s,\"last\":%" PRId64 "}", p->more ? "true" : "false", p->last);
        admin_reply_text(x, &p->b);
    } else {
        admin_fault(x, e);
    }
    buf_free(&p->b);
}

static void put_text(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, ",\"%s\":", name);
    json_out_cstr(b, value);
}

/* ---- the ledger ---------------------------------------------------------------------------------------------------- */

static bool put_ledger_row(void *arg, const struct ledger_row *r, struct err *e)
{
    struct page *p = arg;
    (void)e;
    if (!page_row(p, r->seq)) return true;
#define TEXT(name, size) put_text(&p->b, #name, r->name);
#define NUMBER(name) buf_printf(&p->b, ",\"" #name "\":%" PRId64, r->name);
    LEDGER_FIELDS(TEXT, NUMBER)
#undef TEXT
#undef NUMBER
    put_text(&p->b, "hash", r->hash);
    buf_putc(&p->b, '}');
    return true;
}

void admin_ledger_get(struct exchange *x)
{
    struct page p;
    struct err e = { ERR_NONE, "" };
    int64_t from, to, after;
    if (!admin_span(x, &from, &to) || !page_open(x, &p, &after)) return;
    const bool ok = ledger_page(admin_store(x), after, from, to, (int)p.most + 1, put_ledger_row, &p, &e);
    page_close(x, &p, ok, &e);
}

/* ---- the audit ----------------------------------------------------------------------------------------------------- */

static bool put_audit_row(void *arg, const struct audit_row *r, struct err *e)
{
    struct page *p = arg;
    char at[DATES_TEXT];
    (void)e;
    if (!page_row(p, r->seq)) return true;
    put_text(&p->b, "at", dates_print(r->at_ms, at));
    put_text(&p->b, "who", r->who);
    put_text(&p->b, "from", r->from);
    put_text(&p->b, "act", r->act);
    put_text(&p->b, "target", r->target);
    buf_printf(&p->b, ",\"before\":%s,\"after\":%s,\"hash\":\"%s\"}", *r->before ? r->before : "null",
               *r->after ? r->after : "null", r->hash);
    return true;
}

void admin_audit_get(struct exchange *x)
{
    struct page p;
    struct err e = { ERR_NONE, "" };
    int64_t after;
    if (!page_open(x, &p, &after)) return;
    const bool ok = audit_each(admin_store(x), after, (int)p.most + 1, put_audit_row, &p, &e);
    page_close(x, &p, ok, &e);
}

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

static bool put_usage_line(void *arg, const struct usage_line *l, struct err *e)
{
    struct buf *b = arg;
    char dollars[MONEY_TEXT];
    (void)e;
    if (b->data[b->len - 1] != '[') buf_putc(b, ',');
    buf_puts(b, "{\"name\":");
    json_out_cstr(b, l->by);
    buf_printf(b,
               ",\"requests\":%" PRId64 ",\"prompt_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64
               ",\"completion_tokens\":%" PRId64 ",\"reasoning_tokens\":%" PRId64 ",\"pictures\":%" PRId64
               ",\"steps\":%" PRId64 ",\"cost\":%s}",
               l->requests, l->prompt, l->cached, l->completion, l->reasoning, l->pictures, l->steps,
               money_print(l->cost, dollars));
    return true;
}

void admin_usage_get(struct exchange *x)
{
    const char *by = exchange_query(x, "by");
    struct buf b = BUF_INIT(0);
    struct err e = { ERR_NONE, "" };
    int64_t from, to;
    int i = USAGE_BY_MODEL;
    if (by)
        for (i = 0; i < N_USAGE_BY && strcmp(by, usage_by_name[i]) != 0;) i++;
    if (i == N_USAGE_BY) {
        exchange_fault(x, FAULT_INVALID, "by", "by must be one of " USAGE_BY_WORDS ", got \"%.40s\"", by);
        return;
    }
    if (!admin_span(x, &from, &to)) return;
    buf_printf(&b, "{\"object\":\"list\",\"by\":\"%s\",\"data\":[", usage_by_name[i]);
    if (!b.failed && ledger_usage(admin_store(x), (enum usage_by)i, from, to, put_usage_line, &b, &e)) {
        buf_puts(&b, "]}");
        admin_reply_text(x, &b);
    } else {
        admin_fault(x, &e);
    }
    buf_free(&b);
}
