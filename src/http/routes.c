/* routes.c - the table of routes.def, and its matcher. */
#include "http/routes.h"

#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "http/handlers.h"
#include "http/metrics.h"

static const struct route routes[] = {
#define ROUTE(...) { __VA_ARGS__ },
#include "http/routes.def"
#undef ROUTE
};

enum { N_ROUTES = sizeof routes / sizeof *routes };
_Static_assert((int)N_ROUTES < (int)METRICS_ROUTES, "the last row of the counters is for unknown paths");

static const struct {
    const char *name;
    enum http_method method;
} methods[] = { { "GET", METHOD_GET },       { "HEAD", METHOD_GET },    { "POST", METHOD_POST },
                { "DELETE", METHOD_DELETE }, { "PATCH", METHOD_PATCH }, { "OPTIONS", METHOD_OPTIONS } };

enum http_method routes_method(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, name)) return methods[i].method;
    return METHOD_UNKNOWN;
}

/* True when path is `prefix` or lies below it; *rest is what follows. */
static bool below(const char *path, const char *prefix, const char **rest)
{
    size_t n = strlen(prefix);
    if (strncmp(path, prefix, n) || (path[n] && path[n] != '/')) return false;
    *rest = path + n;
    return true;
}

/* What stands behind the API's base; the doubled v1 comes from clients that put /v1 behind a base which has it already. */
static const char *behind_base(const char *path)
{
    const char *rest;
    if (below(path, "/inference/v1/v1", &rest) || below(path, "/inference/v1", &rest) ||
        below(path, "/v1", &rest))
        return rest;
    return NULL;
}

static bool is_ollamas(const char *path)
{
    static const char names[] = "tags|show|ps|version|pull|push|create|copy|delete|embed|embeddings";
    const char *rest;
    return !strncmp(path, "/api/", 5) &&
           (words_have(names, path + 5, NULL) || below(path, "/api/blobs", &rest));
}

enum api_dialect routes_dialect(const char *path, bool anthropic)
{
    const char *rest, *api = behind_base(path);
    if (api && (below(api, "/messages", &rest) || (anthropic && below(api, "/models", &rest))))
        return DIALECT_ANTHROPIC;
    if (below(path, "/inference", &rest)) return DIALECT_FIREWORKS;
    if (!strcmp(path, "/api/generate") || !strcmp(path, "/api/chat")) return DIALECT_SHARED;
    if (is_ollamas(path)) return DIALECT_OLLAMA;
    if (below(path, "/api", &rest)) return DIALECT_FIREMOON;
    return DIALECT_OPENAI;
}

static bool matches(const char *pattern, const char *path, const char **tail)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] != '*') return !strcmp(pattern, path);
    if (strncmp(pattern, path, n - 1) || !path[n - 1]) return false;
    *tail = path + n - 1;
    return true;
}

const struct route *routes_find(enum http_method method, const char *path, const char **tail,
                                unsigned *allowed)
{
    const char *api = behind_base(path);
    *allowed = 0;
    *tail = "";
    for (int i = 0; i < N_ROUTES; i++) {
        const char *p = routes[i].base == BASE_API ? api : path;
        if (!p || !matches(routes[i].path, p, tail)) continue;
        if (routes[i].method == method) return &routes[i];
        *allowed |= routes[i].method;
    }
    return NULL;
}

void routes_allow(unsigned allowed, char *out)
{
    *out = 0;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (!(allowed & methods[i].method)) continue;
        if (*out) strcat(out, ", ");
        strcat(out, methods[i].name);
    }
}

const struct route *routes_at(int row) { return row < N_ROUTES ? &routes[row] : NULL; }
int routes_row(const struct route *r) { return r ? (int)(r - routes) : METRICS_ROUTES - 1; }

const char *routes_name(int row)
{
    if (row >= N_ROUTES) return "other";
    return routes[row].path;
}
