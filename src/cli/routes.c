/* routes.c - `hearth routes`: a running server's upstreams, and how they do. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/options.h"
#include "format/json_memory.h"

enum { MOST = 16 << 20 };

static double milliseconds(const json_t *latency, const char *name)
{
    const json_t *v = json_object_get(latency, name);
    return json_is_number(v) ? json_number_value(v) : -1;
}

static const char *print_ms(const json_t *latency, const char *name, char out[20])
{
    const double ms = milliseconds(latency, name);
    if (ms < 0)
        snprintf(out, 20, "-");
    else
        snprintf(out, 20, "%.0f ms", ms);
    return out;
}

static long long number(const json_t *row, const char *name)
{
    return (long long)json_integer_value(json_object_get(row, name));
}

static const char *text(const json_t *row, const char *name)
{
    const char *s = json_string_value(json_object_get(row, name));
    return s ? s : "";
}

static void print_upstreams(const json_t *all)
{
    size_t i;
    json_t *u;
    char p50[20], p99[20];
    printf("%-24s  %-9s  %8s  %8s  %8s  %8s  %10s  %10s  %s\n", "UPSTREAM", "BREAKER", "ANSWERED", "FAILED",
           "REFUSED", "RETRIES", "P50", "P99", "COST");
    json_array_foreach(all, i, u)
    {
        const json_t *latency = json_object_get(u, "latency");
        printf("%-24s  %-9s  %8lld  %8lld  %8lld  %8lld  %10s  %10s  %s\n", text(u, "name"),
               text(u, "breaker"), number(u, "answered"), number(u, "failed"), number(u, "refused"),
               number(u, "retries"), print_ms(latency, "p50_ms", p50), print_ms(latency, "p99_ms", p99),
               text(u, "cost"));
        if (*text(u, "error")) printf("%-24s  %s\n", "", text(u, "error"));
    }
}

static void print_routes(const json_t *all)
{
    size_t i, k;
    json_t *r, *t;
    printf("\n%-48s  %-8s  %s\n", "MODEL", "CHOICE", "PLACES");
    json_array_foreach(all, i, r)
    {
        const json_t *shadow = json_object_get(r, "shadow");
        printf("%-48s  %-8s  ", text(r, "model"), text(r, "choice"));
        json_array_foreach(json_object_get(r, "to"), k, t) printf("%s%s", k ? ", " : "", text(t, "at"));
        if (json_is_object(shadow))
            printf("; %.3g of them to %s as well", json_number_value(json_object_get(shadow, "share")),
                   text(shadow, "at"));
        printf("\n");
    }
}

static int run(const struct options *o)
{
    struct err e = { ERR_NONE, "" };
    struct buf body = BUF_INIT(MOST);
    bool ok = fetch_get(*o->url ? o->url : FETCH_USUAL_URL, o->key, "/admin/v1/routes", &body, &e);
    json_t *root = ok ? json_memory_load(body.data ? body.data : "", body.len, 0, NULL) : NULL;
    ok = ok && (json_is_object(root) || err_set(&e, ERR_FORMAT, "the server's answer is no JSON"));
    if (ok && o->json) {
        ok = json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && printf("\n") > 0;
    } else if (ok) {
        print_upstreams(json_object_get(root, "data"));
        print_routes(json_object_get(root, "routes"));
    }
    if (!ok) fprintf(stderr, "hearth routes: %s\n", e.msg);
    json_decref(root);
    buf_free(&body);
    return ok ? 0 : 1;
}

int cmd_routes(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_ROUTES, argc, argv);
    if (rc < 0 && o.args.n) {
        fprintf(stderr, "hearth routes: expected no arguments, got %d; see hearth help routes\n", o.args.n);
        rc = 2;
    }
    if (rc < 0) rc = run(&o);
    options_free(&o);
    return rc;
}
