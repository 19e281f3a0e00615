/* anthropic_models.c - see anthropic_models.h. */
#include "http/anthropic_models.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/exchange.h"
#include "http/json_out.h"
#include "http/models.h"
#include "service/models/registry.h"

enum { PAGE = 20, MOST_OF_A_PAGE = 1000 };

static void put_time(struct buf *b, int64_t unix_s)
{
    const time_t t = (time_t)unix_s;
    struct tm tm;
    char text[40];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_out_cstr(b, text);
}

static void put_model(struct buf *b, const struct model_row *m)
{
    const struct catalog_model *c = m->catalog;
    const long long context = m->n_ctx ? m->n_ctx : c ? (long long)c->context : 0;
    buf_puts(b, "{\"type\":\"model\",\"id\":");
    json_out_cstr(b, m->id);
    buf_puts(b, ",\"display_name\":");
    json_out_cstr(b, c && *c->name ? c->name : catalog_last_part(m->id));
    buf_puts(b, ",\"created_at\":");
    put_time(b, c && c->created ? c->created : m->installed_unix);
    if (context) buf_printf(b, ",\"max_input_tokens\":%lld", context);
    buf_putc(b, '}');
}

static bool usable(const struct model_row *m) { return !m->image && !m->problem[0]; }

/* The place of the model that the parameter names; -1: it is not given; n: there is none such. */
static int place_of(struct exchange *x, const char *parameter, const struct model_row *rows, int n)
{
    const char *id = exchange_query(x, parameter);
    int i = 0;
    if (!id) return -1;
    while (i < n && strcmp(rows[i].id, id) != 0) i++;
    return i;
}

static void print_page(struct buf *b, const struct model_row *const *page, int n, bool more)
{
    buf_puts(b, "{\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_putc(b, ',');
        put_model(b, page[i]);
    }
    buf_puts(b, "],\"first_id\":");
    json_out_cstr(b, n ? page[0]->id : NULL);
    buf_puts(b, ",\"last_id\":");
    json_out_cstr(b, n ? page[n - 1]->id : NULL);
    buf_printf(b, ",\"has_more\":%s}", more ? "true" : "false");
}

/* The page behind after_id or, where that is given, in front of before_id. */
static void answer_page(struct exchange *x, const struct model_row *rows, int n)
{
    const char *asked = exchange_query(x, "limit");
    char *end = NULL;
    const long size = asked ? strtol(asked, &end, 10) : PAGE;
    const int after = place_of(x, "after_id", rows, n), before = place_of(x, "before_id", rows, n);
    if ((asked && (end == asked || *end)) || size < 1 || size > MOST_OF_A_PAGE) {
        exchange_fault(x, FAULT_INVALID, "limit", "limit must be a number from 1 to %d", MOST_OF_A_PAGE);
        return;
    }
    if (after == n || before == n) {
        exchange_fault(x, FAULT_INVALID, NULL, "%s must be the id of a model of the list",
                       after == n ? "after_id" : "before_id");
        return;
    }
    const struct model_row **page = calloc((size_t)(n ? n : 1), sizeof *page);
    if (!page) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    int found = 0, first = 0;
    for (int i = after + 1; i < (before < 0 ? n : before); i++)
        if (usable(&rows[i])) page[found++] = &rows[i];
    const bool more = found > size;
    if (more && before >= 0) first = found - (int)size;
    struct buf b = BUF_INIT(0);
    print_page(&b, page + first, more ? (int)size : found, more);
    free(page);
    exchange_reply(x, 200, "application/json", &b);
}

void anthropic_models_list(struct exchange *x)
{
    struct fault f = { 0 };
    struct model_row *rows;
    int n;
    if (!registry_list(exchange_server(x)->registry, &rows, &n, &f.err)) {
        exchange_fault_from(x, &f);
        return;
    }
    answer_page(x, rows, n);
    free(rows);
}

void anthropic_models_get(struct exchange *x)
{
    struct fault f = { .param = "model" };
    struct model *m;
    if (registry_find(exchange_server(x)->registry, exchange_tail(x), &m, &f.err))
        models_answer_one(x, m, put_model);
    else
        exchange_fault_from(x, &f);
}
