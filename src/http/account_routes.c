/* account_routes.c - what Firemoon's clients ask of their own account: /api/credits/balance, /api/generations, /api/usage. A key sees what is its own.
 *
 * The vendor documents paths and parameters, and of the answers little more than that they are there; these shapes are ours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "http/admin.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "service/account/money.h"
#include "service/account/statement.h"
#include "service/account/usage_buckets.h"

enum { MOST_LINES = 100, USUAL_LINES = 50 };

static bool has_account(struct exchange *x)
{
    if (exchange_server(x)->o.account) return true;
    exchange_fault(x, FAULT_URL, NULL, "this server has no store, and so no account; --store names one");
    return false;
}

static void finish(struct exchange *x, bool ok, struct buf *b, const struct err *e)
{
    if (ok)
        admin_reply_text(x, b);
    else
        admin_fault(x, e);
    buf_free(b);
}

/* ---- the balance --------------------------------------------------------------------------------------------------- */

void firemoon_balance_get(struct exchange *x)
{
    const struct key_record *k = exchange_who(x)->key;
    struct buf b = BUF_INIT(0);
    struct err e = { ERR_NONE, "" };
    char dollars[MONEY_TEXT];
    int64_t nano = 0;
    bool any = false;
    if (!has_account(x)) return;
    const bool ok = !k || statement_balance(admin_store(x), k, clock_unix_ms(), &any, &nano, &e);
    buf_printf(&b, "{\"balance\":%s,\"currency\":\"USD\",\"unlimited\":%s}",
               any ? money_print(nano, dollars) : "null", any ? "false" : "true");
    finish(x, ok, &b, &e);
}

/* ---- generations --------------------------------------------------------------------------------------------------- */

/* What is behind /api/v1/ in the path of one. */
static const char *endpoint_of(const char *path) { return !strncmp(path, "/api/v1/", 8) ? path + 8 : path; }

static bool put_line(void *arg, const struct statement_line *l, struct err *e)
{
    struct buf *b = arg;
    char dollars[MONEY_TEXT], at[32];
    struct tm tm;
    const time_t t = (time_t)(l->ended_ms / 1000);
    (void)e;
    if (b->data[b->len - 1] != '[') buf_putc(b, ',');
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, l->id);
    buf_puts(b, ",\"endpoint\":");
    json_out_cstr(b, endpoint_of(l->path));
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
    buf_printf(b,
               ",\"status\":\"%s\",\"prompt\":null,\"images\":[],\"num_images\":%" PRId64
               ",\"cost\":%s,\"latency_ms\":%" PRId64 ",\"created_at\":\"%s.%03dZ\"}",
               !strcmp(l->how, "done") ? "completed" : "failed", l->pictures, money_print(l->cost, dollars),
               l->total_us / 1000, at, (int)(l->ended_ms % 1000));
    return true;
}

/* Out of range: the nearest that is in it, as the vendor's pages let one guess. */
static int64_t clamped(struct exchange *x, const char *name, int64_t max, int64_t otherwise)
{
    const char *text = exchange_query(x, name);
    const long long v = text ? strtoll(text, NULL, 10) : otherwise;
    return v < 0 ? 0 : v > max ? max : v;
}

void firemoon_generations_get(struct exchange *x)
{
    const char *endpoint = exchange_query(x, "endpoint");
    const int64_t limit = clamped(x, "limit", MOST_LINES, USUAL_LINES),
                  offset = clamped(x, "offset", INT64_MAX, 0);
    char path[300] = "", dollars[MONEY_TEXT];
    struct buf b = BUF_INIT(0);
    struct err e = { ERR_NONE, "" };
    struct statement_sum sum;
    if (!has_account(x)) return;
    if (endpoint && *endpoint) snprintf(path, sizeof path, "/api/v1/%.250s", endpoint);
    bool ok = buf_puts(&b, "{\"generations\":[") || err_set(&e, ERR_NOMEM, "out of memory");
    ok = ok && statement_lines(admin_store(x), exchange_who(x)->id, "firemoon", path, limit, offset, put_line,
                               &b, &sum, &e);
    if (ok)
        buf_printf(&b,
                   "],\"stats\":{\"total\":%" PRId64 ",\"total_cost\":%s},\"pagination\":{\"limit\":%" PRId64
                   ",\"offset\":%" PRId64 ",\"total\":%" PRId64 ",\"has_more\":%s}}",
                   sum.n, money_print(sum.cost, dollars), limit, offset, sum.n,
                   offset < sum.n && limit < sum.n - offset ? "true" : "false");
    finish(x, ok, &b, &e);
}

/* ---- usage --------------------------------------------------------------------------------------------------------- */

/* Where a period begins; false: it is none. Days are those of UTC, a week begins on Monday. */
static bool begin_of(const char *period, int64_t now_ms, int64_t *from_ms)
{
    const time_t now = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (!strcmp(period, "all")) return *from_ms = INT64_MIN, true;
    if (!strcmp(period, "week"))
        tm.tm_mday -= (tm.tm_wday + 6) % 7;
    else if (!strcmp(period, "month"))
        tm.tm_mday = 1;
    else if (!strcmp(period, "year"))
        tm.tm_mday = 1, tm.tm_mon = 0;
    else if (strcmp(period, "today") != 0)
        return false;
    *from_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

struct usage_page {
    struct buf b; /* by model */
    char model[200];
    int64_t requests, images, cost; /* of that model */
    struct {
        int64_t requests, images, cost, failed;
    } all;
};

static void close_model(struct usage_page *p)
{
    char dollars[MONEY_TEXT];
    if (!*p->model) return;
    if (p->b.len) buf_putc(&p->b, ',');
    buf_puts(&p->b, "{\"model\":");
    json_out_cstr(&p->b, p->model);
    buf_printf(&p->b, ",\"requests\":%" PRId64 ",\"images\":%" PRId64 ",\"cost\":%s}", p->requests, p->images,
               money_print(p->cost, dollars));
    p->requests = p->images = p->cost = 0;
}

/* Parts come by project, key and model; a key that changed its project has a model twice, side by side or not. */
static bool take_part(void *arg, const struct usage_part *part, struct err *e)
{
    struct usage_page *p = arg;
    (void)e;
    if (strcmp(p->model, part->model) != 0) {
        close_model(p);
        snprintf(p->model, sizeof p->model, "%s", part->model);
    }
    p->requests += part->requests;
    p->images += part->pictures;
    p->cost += part->cost;
    p->all.requests += part->requests;
    p->all.images += part->pictures;
    p->all.cost += part->cost;
    p->all.failed += part->failed;
    return true;
}

void firemoon_usage_get(struct exchange *x)
{
    const char *asked = exchange_query(x, "period"), *period = asked && *asked ? asked : "all";
    struct usage_page p = { .b = BUF_INIT(0) };
    struct buf b = BUF_INIT(0);
    struct err e = { ERR_NONE, "" };
    char dollars[MONEY_TEXT];
    int64_t from;
    if (!has_account(x)) return;
    if (!begin_of(period, clock_unix_ms(), &from)) {
        exchange_fault(x, FAULT_INVALID, "period",
                       "Invalid value for period: must be one of [today, week, month, year, all]");
        return;
    }
    const bool ok =
        usage_buckets(admin_store(x), exchange_who(x)->id, INT64_MAX, from, INT64_MAX, take_part, &p, &e);
    close_model(&p);
    buf_printf(&b,
               "{\"period\":\"%s\",\"totals\":{\"requests\":%" PRId64 ",\"images\":%" PRId64
               ",\"cost\":%s},\"by_model\":[%s],\"generations\":{\"succeeded\":%" PRId64
               ",\"failed\":%" PRId64 "}}",
               period, p.all.requests, p.all.images, money_print(p.all.cost, dollars),
               p.b.data ? p.b.data : "", p.all.requests - p.all.failed, p.all.failed);
    if (p.b.failed) b.failed = true;
    buf_free(&p.b);
    finish(x, ok, &b, &e);
}
