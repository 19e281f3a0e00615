/* models.c - the list of models that can be used, and one of them: as OpenAI and Fireworks' inference API show them, and as Fireworks'
 * control plane does (/v1/accounts/ACCOUNT/models). What is installed and cannot be used stands beside the list, under "unavailable",
 * with the reason: clients offer their users what is in "data". */
#include <stdlib.h>
#include <string.h>

#include "http/anthropic_models.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/models.h"
#include "service/models/registry.h"
#include "service/route/upstreams.h"
#include "service/route/router.h"

/* Every text model is shown tools, in a system message if need be; what the catalog says is whether it was made for them. */
static bool takes_tools(const struct model_row *m) { return !m->image && (!m->catalog || m->catalog->tools); }

/* What a request for a picture gets where it says nothing, and the sizes that the model is good at. */
static void print_drawing(struct buf *b, const struct catalog_model *c)
{
    buf_printf(b, ",\"defaults\":{\"steps\":%d,\"guidance_scale\":%g,\"size\":", c->steps, c->guidance);
    json_out_cstr(b, c->size ? c->size : "");
    buf_puts(b, "},\"sizes\":[");
    for (int i = 0; i < c->sizes.n; i++) {
        if (i) buf_putc(b, ',');
        json_out_cstr(b, c->sizes.v[i]);
    }
    buf_putc(b, ']');
}

/* alias: the name of one's own that it is listed under, or NULL. */
static void print_named(struct buf *b, const struct model_row *m, const char *alias)
{
    const struct catalog_model *c = m->catalog;
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, alias ? alias : m->id);
    if (alias) {
        buf_puts(b, ",\"alias_of\":");
        json_out_cstr(b, m->id);
    }
    buf_puts(b, ",\"object\":\"model\",\"owned_by\":");
    json_out_cstr(b, c && *c->owner ? c->owner : "local");
    buf_printf(b,
               ",\"created\":%lld,\"kind\":\"%s\",\"supports_chat\":%s,\"supports_image_input\":%s,"
               "\"supports_tools\":%s",
               (long long)(c && c->created ? c->created : m->installed_unix),
               m->image ? "FLUMINA_BASE_MODEL" : "HF_BASE_MODEL", m->image ? "false" : "true",
               m->sees ? "true" : "false", takes_tools(m) ? "true" : "false");
    if (m->n_ctx)
        buf_printf(b, ",\"context_length\":%d", m->n_ctx);
    else if (c && c->context)
        buf_printf(b, ",\"context_length\":%lld", (long long)c->context);
    if (m->image && c) print_drawing(b, c);
    if (m->problem[0]) {
        buf_puts(b, ",\"problem\":");
        json_out_cstr(b, m->problem);
    }
    buf_putc(b, '}');
}

static void print_model(struct buf *b, const struct model_row *m) { print_named(b, m, NULL); }

static void print_those(struct buf *b, const struct model_row *rows, int n, bool usable)
{
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (usable != !rows[i].problem[0]) continue;
        if (any) buf_putc(b, ',');
        any = true;
        print_model(b, &rows[i]);
    }
}

/* Each alias of a model that can be used, as a model of that name. */
static void print_aliases(struct buf *b, const struct aliases *a, const struct model_row *rows, int n)
{
    for (int k = 0; k < a->n; k++)
        for (int i = 0; i < n; i++)
            if (!rows[i].problem[0] && !strcmp(rows[i].id, a->v[k].model)) {
                buf_putc(b, ',');
                print_named(b, &rows[i], a->v[k].name);
            }
}

/* ---- models of other servers --------------------------------------------------------------------------------------- */

static void print_routed(struct buf *b, const struct upstreams *all, const struct routed *r)
{
    const struct target *t = NULL;
    for (int i = 0; i < r->n && !t; i++)
        if (r->to[i].upstream >= 0) t = &r->to[i];
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, r->model);
    buf_puts(b, ",\"object\":\"model\",\"owned_by\":");
    json_out_cstr(b, t ? all->v[t->upstream].name : "upstream");
    const bool image = t && t->model->image;
    buf_printf(b, ",\"created\":0,\"kind\":\"%s\",\"supports_chat\":%s,\"upstream\":true",
               image ? "FLUMINA_BASE_MODEL" : "HF_BASE_MODEL", image ? "false" : "true");
    if (t && !image) buf_printf(b, ",\"context_length\":%d", t->model->context);
    buf_putc(b, '}');
}

/* By its id, or by the name at its end. */
static bool is_installed(const struct model_row *rows, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!rows[i].problem[0] &&
            (!strcmp(rows[i].id, name) || !strcmp(catalog_last_part(rows[i].id), name)))
            return true;
    return false;
}

static void print_upstreams(struct buf *b, const struct router *r, const struct model_row *rows, int n)
{
    const struct upstreams *all = router_upstreams(r);
    for (int i = 0; i < all->n_routes; i++) {
        if (is_installed(rows, n, all->route[i].model)) continue;
        if (b->data[b->len - 1] != '[') buf_putc(b, ',');
        print_routed(b, all, &all->route[i]);
    }
}

void models_list(struct exchange *x)
{
    if (exchange_dialect(x) == DIALECT_ANTHROPIC) {
        anthropic_models_list(x);
        return;
    }
    struct fault f = { 0 };
    struct registry *r = exchange_server(x)->registry;
    struct aliases aliases;
    struct model_row *rows;
    int n;
    if (!registry_list(r, &rows, &n, &f.err)) {
        exchange_fault_from(x, &f);
        return;
    }
    if (!registry_aliases(r, &aliases, &f.err)) {
        free(rows);
        exchange_fault_from(x, &f);
        return;
    }
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"object\":\"list\",\"data\":[");
    print_those(&b, rows, n, true);
    print_aliases(&b, &aliases, rows, n);
    aliases_free(&aliases);
    if (exchange_server(x)->o.router && !b.failed) print_upstreams(&b, exchange_server(x)->o.router, rows, n);
    buf_puts(&b, "],\"unavailable\":[");
    print_those(&b, rows, n, false);
    buf_puts(&b, "]}");
    free(rows);
    exchange_reply(x, 200, "application/json", &b);
}

void models_answer_one(struct exchange *x, const struct model *m,
                       void (*print)(struct buf *b, const struct model_row *row))
{
    struct fault f = { .param = "model" };
    struct model_row *rows;
    int n;
    if (!registry_list(exchange_server(x)->registry, &rows, &n, &f.err)) {
        exchange_fault_from(x, &f);
        return;
    }
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < n && !b.len; i++)
        if (!strcmp(rows[i].id, model_id(m))) print(&b, &rows[i]);
    free(rows);
    exchange_reply(x, 200, "application/json", &b);
}

/* Of either kind. */
static bool find_model(struct exchange *x, const char *name, struct model **m, struct err *e)
{
    return registry_find(exchange_server(x)->registry, name, m, e) ||
           (e->code == ERR_REQUEST && registry_find_image(exchange_server(x)->registry, name, m, e));
}

/* The id may come with its slashes raw or as %2F: the path has been decoded. */
void models_get(struct exchange *x)
{
    if (exchange_dialect(x) == DIALECT_ANTHROPIC) {
        anthropic_models_get(x);
        return;
    }
    struct fault f = { .param = "model" };
    const struct router *r = exchange_server(x)->o.router;
    const struct upstreams *all = r ? router_upstreams(r) : NULL;
    struct model *m;
    const bool here = find_model(x, exchange_tail(x), &m, &f.err);
    const struct routed *route =
        all && !here ? upstreams_route(all, exchange_tail(x), strlen(exchange_tail(x))) : NULL;
    if (route) {
        struct buf b = BUF_INIT(0);
        print_routed(&b, all, route);
        exchange_reply(x, 200, "application/json", &b);
        return;
    }
    if (!here)
        exchange_fault_from(x, &f);
    else
        models_answer_one(x, m, print_model);
}

/* ---- the control plane's view -------------------------------------------------------------------------------------- */

static void print_account_model(struct buf *b, const struct model_row *m)
{
    const struct catalog_model *c = m->catalog;
    long long context = m->n_ctx ? m->n_ctx : c ? (long long)c->context : 0;
    buf_puts(b, "{\"name\":");
    json_out_cstr(b, m->id);
    buf_puts(b, ",\"displayName\":");
    json_out_cstr(b, c && *c->name ? c->name : catalog_last_part(m->id));
    buf_printf(b,
               ",\"kind\":\"%s\",\"state\":\"%s\",\"public\":true,\"contextLength\":%lld,"
               "\"supportsImageInput\":%s,\"supportsTools\":%s",
               m->image ? "FLUMINA_BASE_MODEL" : "HF_BASE_MODEL",
               m->problem[0] ? "STATE_UNSPECIFIED" : "READY", context, m->sees ? "true" : "false",
               takes_tools(m) ? "true" : "false");
    if (m->problem[0]) {
        buf_puts(b, ",\"status\":{\"code\":\"FAILED_PRECONDITION\",\"message\":");
        json_out_cstr(b, m->problem);
        buf_putc(b, '}');
    }
    buf_putc(b, '}');
}

static long query_number(struct exchange *x, const char *name, long min, long max, long otherwise)
{
    const char *s = exchange_query(x, name);
    char *end;
    long v = s ? strtol(s, &end, 10) : otherwise;
    return !s || end == s || *end || v < min ? otherwise : v > max ? max : v;
}

/* A page of the account's models; the token is the number of rows before the page. */
static void account_page(struct exchange *x, const char *account, size_t len, const struct model_row *rows,
                         int n)
{
    struct buf b = BUF_INIT(0);
    long size = query_number(x, "pageSize", 1, 200, 50), skip = query_number(x, "pageToken", 0, n, 0),
         total = 0, printed = 0;
    buf_puts(&b, "{\"models\":[");
    for (int i = 0; i < n; i++) {
        const char *id = rows[i].id;
        if (strncmp(id, "accounts/", 9) || strncmp(id + 9, account, len) || id[9 + len] != '/') continue;
        if (total++ < skip || printed >= size) continue;
        if (printed++) buf_putc(&b, ',');
        print_account_model(&b, &rows[i]);
    }
    buf_puts(&b, "],\"nextPageToken\":\"");
    if (skip + printed < total) buf_printf(&b, "%ld", skip + printed);
    buf_printf(&b, "\",\"totalSize\":%ld}", total);
    exchange_reply(x, 200, "application/json", &b);
}

/* An account is there when a model is its own. */
static void account_itself(struct exchange *x, const char *account, const struct model_row *rows, int n)
{
    const size_t len = strlen(account);
    struct buf b = BUF_INIT(0);
    int i = 0;
    while (i < n && (strncmp(rows[i].id, "accounts/", 9) || strncmp(rows[i].id + 9, account, len) ||
                     rows[i].id[9 + len] != '/'))
        i++;
    if (i == n) {
        exchange_fault(x, FAULT_NOT_FOUND, NULL, "there is no account \"%.100s\"", account);
        return;
    }
    buf_printf(&b, "{\"name\":\"accounts/%.*s\",\"displayName\":\"%.*s\"", (int)len, rows[i].id + 9, (int)len,
               rows[i].id + 9);
    buf_puts(&b, ",\"state\":\"READY\",\"status\":{\"code\":\"OK\",\"message\":\"\"}}");
    exchange_reply(x, 200, "application/json", &b);
}

void account_models_get(struct exchange *x)
{
    struct fault f = { 0 };
    const char *tail = exchange_tail(x), *rest = strchr(tail, '/'),
               *name = rest && !strncmp(rest, "/models/", 8) ? rest + 8 : NULL;
    struct model_row *rows;
    struct model *m = NULL;
    int n;
    if (rest && !name && strcmp(rest, "/models") != 0) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at GET %.200s", exchange_path(x));
        return;
    }
    if ((name && !find_model(x, name, &m, &f.err)) ||
        !registry_list(exchange_server(x)->registry, &rows, &n, &f.err)) {
        exchange_fault_from(x, &f);
        return;
    }
    if (!rest) {
        account_itself(x, tail, rows, n);
    } else if (name) {
        struct buf b = BUF_INIT(0);
        for (int i = 0; i < n && !b.len; i++)
            if (!strcmp(rows[i].id, model_id(m))) print_account_model(&b, &rows[i]);
        exchange_reply(x, 200, "application/json", &b);
    } else {
        account_page(x, tail, (size_t)(rest - tail), rows, n);
    }
    free(rows);
}
