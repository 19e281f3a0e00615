/* catalog.c - reads the catalog, by tables of its keys, and finds models in it. */
#include "service/models/catalog.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "format/yaml_read.h"
#include "service/models/catalog_data.h"

struct catalog {
    struct catalog_model *m;
    int n;
};

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* The names are those of service/tools, which this folder does not know; its test does. */
static const char *const formats[] = { "hermes", "llama3", "llama4", "deepseek", "mistral", "json" };
#define CALLS "false|true|hermes|llama3|llama4|deepseek|mistral|json"

#define F(field) offsetof(struct catalog_model, field)
#define END                                                                                                  \
    {                                                                                                        \
        .key = NULL                                                                                          \
    }
static const struct yaml_row parameter_rows[] = {
    { .key = "total", .type = YAML_WHOLE, .offset = F(params_total) },
    { .key = "active", .type = YAML_WHOLE, .offset = F(params_active) },
    END,
};
static const struct yaml_row price_rows[] = {
    { .key = "unit", .type = YAML_WORD, .offset = F(price_unit), .words = "none|per_1m_tokens|per_step" },
    { .key = "input", .type = YAML_NUMBER, .offset = F(price_input) },
    { .key = "output", .type = YAML_NUMBER, .offset = F(price_output) },
    { .key = "per_step", .type = YAML_NUMBER, .offset = F(price_step) },
    { .key = "batch", .type = YAML_NUMBER, .offset = F(price_batch) },
    END,
};
static const struct yaml_row budget_rows[] = {
    { .key = "minimal", .type = YAML_WHOLE, .offset = F(budgets.minimal) },
    { .key = "low", .type = YAML_WHOLE, .offset = F(budgets.low) },
    { .key = "medium", .type = YAML_WHOLE, .offset = F(budgets.medium) },
    { .key = "high", .type = YAML_WHOLE, .offset = F(budgets.high) },
    END,
};
static const struct yaml_row default_rows[] = {
    { .key = "steps", .type = YAML_INT, .offset = F(steps) },
    { .key = "guidance", .type = YAML_NUMBER, .offset = F(guidance) },
    { .key = "size", .type = YAML_STR, .offset = F(size) },
    END,
};
static const struct yaml_row model_rows[] = {
    { .key = "id", .type = YAML_STR, .offset = F(id), .needed = true },
    { .key = "name", .type = YAML_STR, .offset = F(name) },
    { .key = "kind", .type = YAML_WORD, .offset = F(kind), .words = "text|image" },
    { .key = "family", .type = YAML_STR, .offset = F(family) },
    { .key = "arch", .type = YAML_STR, .offset = F(arch) },
    { .key = "aliases", .type = YAML_STRS, .offset = F(aliases) },
    { .key = "owner", .type = YAML_STR, .offset = F(owner) },
    { .key = "created", .type = YAML_WHOLE, .offset = F(created) },
    { .key = "parameters", .type = YAML_WITHIN, .within = parameter_rows },
    { .key = "context", .type = YAML_WHOLE, .offset = F(context) },
    { .key = "tools", .type = YAML_WORD, .offset = F(calls), .words = CALLS },
    { .key = "image_input", .type = YAML_BOOL, .offset = F(image_input) },
    { .key = "reasoning", .type = YAML_WORD, .offset = F(reasoning), .words = "none|inline|split" },
    { .key = "budgets", .type = YAML_WITHIN, .within = budget_rows },
    { .key = "price", .type = YAML_WITHIN, .within = price_rows },
    { .key = "defaults", .type = YAML_WITHIN, .within = default_rows },
    { .key = "sizes", .type = YAML_STRS, .offset = F(sizes) },
    { .key = "native", .type = YAML_STR, .offset = F(native) },
    { .key = "source", .type = YAML_STR, .offset = F(source) },
    { .key = "files", .type = YAML_STRS, .offset = F(files) },
    END,
};
#undef F

struct file {
    int version;
    const struct yaml_tree *models;
};
static const struct yaml_row file_rows[] = {
    { .key = "version", .type = YAML_INT, .offset = offsetof(struct file, version), .min = 1, .max = 1 },
    { .key = "models", .type = YAML_TREE, .offset = offsetof(struct file, models), .needed = true },
    END,
};

bool catalog_parse_size(const char *s, int64_t *w, int64_t *h)
{
    int used = 0;
    long long a, b;
    if (sscanf(s, "%6lldx%6lld%n", &a, &b, &used) != 2 || s[used] != '\0' || a < 1 || b < 1) return false;
    *w = a;
    *h = b;
    return true;
}

static bool check_model(const struct yaml_doc *d, const struct yaml_tree *at, const struct catalog_model *m,
                        struct err *e)
{
    int64_t w, h;
    if (!*m->id) return yaml_bad(d, at, e, "a model needs an id");
    if (*m->native && !catalog_parse_size(m->native, &w, &h))
        return yaml_bad(d, yaml_member(at, "native"), e, "native must be WIDTHxHEIGHT");
    if (!(m->price_batch >= 0 && m->price_batch <= 1))
        return yaml_bad(d, yaml_member(at, "price"), e,
                        "batch must be a part of the price, above 0 and up to 1");
    if (*m->native && !m->sizes.n) return yaml_bad(d, yaml_member(at, "native"), e, "native needs sizes");
    for (int i = 0; i < m->sizes.n; i++)
        if (!catalog_parse_size(m->sizes.v[i], &w, &h))
            return yaml_bad(d, yaml_member(at, "sizes"), e, "sizes must be WIDTHxHEIGHT");
    return true;
}

static bool read_models(const struct yaml_doc *d, struct catalog *c, struct err *e)
{
    struct file file = { 0 };
    if (!yaml_fill(d, &d->root, file_rows, &file, e)) return false;
    if (file.models->kind != YAML_KIND_LIST)
        return yaml_bad(d, file.models, e, "expected a list under `models:`");
    c->m = calloc((size_t)file.models->n + 1, sizeof *c->m);
    if (!c->m) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i < file.models->n; i++) {
        const struct yaml_tree *at = &file.models->item[i];
        c->n++;
        if (!yaml_fill(d, at, model_rows, &c->m[i], e) || !check_model(d, at, &c->m[i], e)) return false;
        c->m[i].tools = c->m[i].calls != CALLS_NO;
        for (int j = 0; j < i; j++)
            if (!strcmp(c->m[j].id, c->m[i].id)) return yaml_bad(d, at, e, "this id is there twice");
    }
    return true;
}

bool catalog_load(struct catalog **out, const char *path, struct err *e)
{
    struct yaml_doc d = { 0 };
    struct catalog *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "out of memory");
    bool ok = path && *path ? yaml_read_file(&d, path, e)
                            : yaml_read_text(&d, "the built-in catalog", catalog_builtin,
                                             (size_t)(catalog_builtin_end - catalog_builtin), e);
    ok = ok && read_models(&d, c, e);
    yaml_doc_free(&d);
    if (ok)
        *out = c;
    else
        catalog_free(c);
    return ok;
}

void catalog_free(struct catalog *c)
{
    if (!c) return;
    for (int i = 0; i < c->n; i++) yaml_fill_free(model_rows, &c->m[i]);
    free(c->m);
    free(c);
}

int catalog_count(const struct catalog *c) { return c->n; }
const struct catalog_model *catalog_at(const struct catalog *c, int i) { return &c->m[i]; }

/* ---- finding ------------------------------------------------------------------------------------------------------- */

const char *catalog_last_part(const char *id)
{
    const char *slash = strrchr(id, '/');
    return slash ? slash + 1 : id;
}

const char *catalog_bare_name(const char *name, int *len)
{
    size_t end = strcspn(name, "#"), at = 0;
    for (;;) { /* an account prefix, also doubled */
        const char *p = name + at;
        if (strncmp(p, "accounts/", 9)) break;
        const char *rest = memchr(p + 9, '/', end > at + 9 ? end - at - 9 : 0);
        if (!rest) break;
        if (!strncmp(rest, "/models/", 8))
            at = (size_t)(rest - name) + 8;
        else if (!strncmp(rest, "/deployedModels/", 16))
            at = (size_t)(rest - name) + 16;
        else
            break;
    }
    if (at > end) at = end;
    if (!strncmp(name + at, "fireworks/", 10)) at += 10;
    *len = (int)(end > at ? end - at : 0);
    return name + at;
}

static bool is(const char *s, const char *name, int len)
{
    return strlen(s) == (size_t)len && !strncmp(s, name, (size_t)len);
}

const struct catalog_model *catalog_find(const struct catalog *c, const char *name)
{
    int len, whole = (int)strcspn(name, "#");
    for (int i = 0; i < c->n; i++)
        if (is(c->m[i].id, name, whole)) return &c->m[i];
    const char *bare = catalog_bare_name(name, &len);
    if (!len) return NULL;
    for (int i = 0; i < c->n; i++) {
        const struct catalog_model *m = &c->m[i];
        if (!strncmp(m->id, "accounts/", 9) && is(catalog_last_part(m->id), bare, len)) return m;
        for (int k = 0; k < m->aliases.n; k++)
            if (is(m->aliases.v[k], bare, len)) return m;
    }
    for (int i = 0; i < c->n; i++)
        if (!strncmp(c->m[i].source, "hf:", 3) && is(c->m[i].source + 3, bare, len)) return &c->m[i];
    /* accounts/A/deployedModels/NAME-DEP: the longest name that DEP hangs on */
    const struct catalog_model *best = NULL;
    if (!strstr(name, "/deployedModels/")) return NULL;
    for (int i = 0; i < c->n; i++) {
        const char *last = catalog_last_part(c->m[i].id);
        size_t n = strlen(last);
        if (n < (size_t)len && !strncmp(last, bare, n) && bare[n] == '-' &&
            (!best || n > strlen(catalog_last_part(best->id))))
            best = &c->m[i];
    }
    return best;
}

const char *catalog_calls_format(const struct catalog_model *c)
{
    return c->calls >= CALLS_FORMATS ? formats[c->calls - CALLS_FORMATS] : NULL;
}

int64_t catalog_think_budget(const struct catalog_model *c, const char *effort)
{
    /* Fireworks says of Qwen3 that low is about 3,000 tokens; the others are those of common gateways. More than high: as long as it takes. */
    static const struct think_budgets usual = { 512, 3000, 8192, 24576 };
    const struct think_budgets none = { 0, 0, 0, 0 }, *own = c ? &c->budgets : &none;
    const int64_t by_effort[][2] = { { own->minimal, usual.minimal },
                                     { own->low, usual.low },
                                     { own->medium, usual.medium },
                                     { own->high, usual.high } };
    int i;
    if (!words_have("minimal|low|medium|high", effort, &i)) return -1;
    return by_effort[i][0] ? by_effort[i][0] : by_effort[i][1];
}

bool catalog_owns_file(const struct catalog_model *m, const char *file)
{
    if (!strncmp(m->id, "accounts/", 9) && !strcasecmp(catalog_last_part(m->id), file)) return true;
    if (*m->source && !strcasecmp(catalog_last_part(m->source), file)) return true;
    for (int i = 0; i < m->files.n; i++)
        if (!fnmatch(m->files.v[i], file, FNM_CASEFOLD)) return true;
    return false;
}
