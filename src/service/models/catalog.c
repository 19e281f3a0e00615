/* catalog.c - reads the catalog with libyaml and finds models in it. */
#include "service/models/catalog.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "service/models/catalog_data.h"

struct catalog {
    struct catalog_model *m;
    int n;
};

/* ---- reading ------------------------------------------------------------------------------------------------------- */

struct reader {
    yaml_document_t doc;
    const char *file;
    struct err *e;
    bool ok; /* false after the first mistake, which *e describes */
};

static void fail(struct reader *r, const yaml_node_t *at, const char *what)
{
    if (r->ok) err_set(r->e, ERR_FORMAT, "%s:%zu: %s", r->file, at ? at->start_mark.line + 1 : 0, what);
    r->ok = false;
}

/* The value of `key` in a mapping; NULL when absent. */
static yaml_node_t *member(struct reader *r, const yaml_node_t *map, const char *key)
{
    if (!map || map->type != YAML_MAPPING_NODE) return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
        if (k && k->type == YAML_SCALAR_NODE && !strcmp((const char *)k->data.scalar.value, key))
            return yaml_document_get_node(&r->doc, p->value);
    }
    return NULL;
}

static char *text(struct reader *r, const yaml_node_t *map, const char *key)
{
    yaml_node_t *v = member(r, map, key);
    if (v && v->type != YAML_SCALAR_NODE) fail(r, v, "expected one value");
    char *s = strdup(v && v->type == YAML_SCALAR_NODE ? (const char *)v->data.scalar.value : "");
    if (!s) fail(r, v, "out of memory");
    return s;
}

static double number(struct reader *r, const yaml_node_t *map, const char *key)
{
    yaml_node_t *v = member(r, map, key);
    if (!v) return 0;
    if (v->type == YAML_SCALAR_NODE) {
        char *end;
        double d = strtod((const char *)v->data.scalar.value, &end);
        if (end != (char *)v->data.scalar.value && !*end && d >= 0 && d < 1e18) return d;
    }
    fail(r, v, "expected a number that is not negative");
    return 0;
}

static bool flag(struct reader *r, const yaml_node_t *map, const char *key)
{
    yaml_node_t *v = member(r, map, key);
    if (!v) return false;
    const char *s = v->type == YAML_SCALAR_NODE ? (const char *)v->data.scalar.value : "";
    if (!strcmp(s, "true")) return true;
    if (strcmp(s, "false")) fail(r, v, "expected true or false");
    return false;
}

static struct strings texts(struct reader *r, const yaml_node_t *map, const char *key)
{
    struct strings out = { 0 };
    yaml_node_t *v = member(r, map, key);
    if (!v) return out;
    if (v->type != YAML_SEQUENCE_NODE) {
        fail(r, v, "expected a list");
        return out;
    }
    size_t n = (size_t)(v->data.sequence.items.top - v->data.sequence.items.start);
    out.v = calloc(n ? n : 1, sizeof *out.v);
    for (size_t i = 0; out.v && i < n; i++) {
        yaml_node_t *item = yaml_document_get_node(&r->doc, v->data.sequence.items.start[i]);
        if (!item || item->type != YAML_SCALAR_NODE ||
            !(out.v[i] = strdup((const char *)item->data.scalar.value))) {
            fail(r, v, "expected a list of values");
            break;
        }
        out.n++;
    }
    if (!out.v) fail(r, v, "out of memory");
    return out;
}

bool catalog_parse_size(const char *s, int64_t *w, int64_t *h)
{
    int used = 0;
    long long a, b;
    if (sscanf(s, "%6lldx%6lld%n", &a, &b, &used) != 2 || s[used] != '\0' || a < 1 || b < 1) return false;
    *w = a;
    *h = b;
    return true;
}

static void check_sizes(struct reader *r, const yaml_node_t *y, const struct catalog_model *m)
{
    int64_t w, h;
    if (!r->ok) return;
    if (*m->native && !catalog_parse_size(m->native, &w, &h)) fail(r, y, "native must be WIDTHxHEIGHT");
    if (*m->native && !m->sizes.n) fail(r, y, "native needs sizes");
    for (int i = 0; i < m->sizes.n; i++) {
        if (!catalog_parse_size(m->sizes.v[i], &w, &h)) fail(r, y, "sizes must be WIDTHxHEIGHT");
    }
}

static void read_model(struct reader *r, const yaml_node_t *y, struct catalog_model *m)
{
    static const char *const known[] = { "id",      "name",        "kind",      "family",     "arch",
                                         "aliases", "owner",       "created",   "parameters", "context",
                                         "tools",   "image_input", "reasoning", "price",      "defaults",
                                         "sizes",   "native",      "source",    "files" };
    if (!y || y->type != YAML_MAPPING_NODE) {
        fail(r, y, "expected a model");
        return;
    }
    for (yaml_node_pair_t *p = y->data.mapping.pairs.start; p < y->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
        bool found = false;
        for (size_t i = 0; k && k->type == YAML_SCALAR_NODE && i < sizeof known / sizeof *known; i++)
            found |= !strcmp(known[i], (const char *)k->data.scalar.value);
        if (!found) fail(r, k, "a model has no such key");
    }
    const yaml_node_t *params = member(r, y, "parameters"), *price = member(r, y, "price"),
                      *defaults = member(r, y, "defaults");
    m->id = text(r, y, "id");
    m->name = text(r, y, "name");
    m->family = text(r, y, "family");
    m->arch = text(r, y, "arch");
    m->owner = text(r, y, "owner");
    m->source = text(r, y, "source");
    m->size = text(r, defaults, "size");
    m->aliases = texts(r, y, "aliases");
    m->files = texts(r, y, "files");
    m->sizes = texts(r, y, "sizes");
    m->native = text(r, y, "native");
    m->created = (int64_t)number(r, y, "created");
    m->params_total = (int64_t)number(r, params, "total");
    m->params_active = (int64_t)number(r, params, "active");
    m->context = (int64_t)number(r, y, "context");
    m->tools = flag(r, y, "tools");
    m->image_input = flag(r, y, "image_input");
    m->price_input = number(r, price, "input");
    m->price_output = number(r, price, "output");
    m->price_step = number(r, price, "per_step");
    m->steps = (int)number(r, defaults, "steps");
    m->guidance = number(r, defaults, "guidance");
    char *kind = text(r, y, "kind"), *unit = text(r, price, "unit"), *reasoning = text(r, y, "reasoning");
    if (m->id && !*m->id) fail(r, y, "a model needs an id");
    if (kind && !strcmp(kind, "image"))
        m->kind = MODEL_IMAGE;
    else if (kind && strcmp(kind, "text"))
        fail(r, y, "kind must be text or image");
    if (unit && !strcmp(unit, "per_1m_tokens"))
        m->price_unit = PRICE_PER_1M_TOKENS;
    else if (unit && !strcmp(unit, "per_step"))
        m->price_unit = PRICE_PER_STEP;
    else if (unit && *unit)
        fail(r, price, "unit must be per_1m_tokens or per_step");
    check_sizes(r, y, m);
    m->reasoning_inline = reasoning && !strcmp(reasoning, "inline");
    free(kind);
    free(unit);
    free(reasoning);
}

static bool read_models(struct reader *r, struct catalog *c)
{
    yaml_node_t *root = yaml_document_get_root_node(&r->doc), *list = root ? member(r, root, "models") : NULL;
    if (!list || list->type != YAML_SEQUENCE_NODE) {
        fail(r, root, "expected a list under `models:`");
        return false;
    }
    size_t n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    c->m = calloc(n ? n : 1, sizeof *c->m);
    if (!c->m) return err_set(r->e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n && r->ok; i++) {
        yaml_node_t *y = yaml_document_get_node(&r->doc, list->data.sequence.items.start[i]);
        c->n++;
        read_model(r, y, &c->m[i]);
        for (size_t j = 0; j < i && r->ok; j++)
            if (!strcmp(c->m[j].id, c->m[i].id)) fail(r, y, "this id is there twice");
    }
    return r->ok;
}

bool catalog_load(struct catalog **out, const char *path, struct err *e)
{
    bool builtin = !path || !*path;
    struct reader r = { .file = builtin ? "the built-in catalog" : path, .e = e, .ok = true };
    FILE *f = builtin ? NULL : fopen(path, "r");
    if (!builtin && !f) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    yaml_parser_t p;
    bool ok = false;
    struct catalog *c = calloc(1, sizeof *c);
    if (!c || !yaml_parser_initialize(&p)) {
        err_set(e, ERR_NOMEM, "out of memory");
        goto end;
    }
    if (builtin)
        yaml_parser_set_input_string(&p, (const unsigned char *)catalog_builtin,
                                     (size_t)(catalog_builtin_end - catalog_builtin));
    else
        yaml_parser_set_input_file(&p, f);
    if (yaml_parser_load(&p, &r.doc)) {
        ok = read_models(&r, c);
        yaml_document_delete(&r.doc);
    } else {
        err_set(e, ERR_FORMAT, "%s:%zu: %s", r.file, p.problem_mark.line + 1,
                p.problem ? p.problem : "not YAML");
    }
    yaml_parser_delete(&p);
end:
    if (f) fclose(f);
    if (ok)
        *out = c;
    else
        catalog_free(c);
    return ok;
}

static void free_strings(struct strings *s)
{
    for (int i = 0; i < s->n; i++) free(s->v[i]);
    free(s->v);
}

void catalog_free(struct catalog *c)
{
    if (!c) return;
    for (int i = 0; i < c->n; i++) {
        struct catalog_model *m = &c->m[i];
        char *all[] = { m->id, m->name, m->family, m->arch, m->owner, m->source, m->size, m->native };
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) free(all[k]);
        free_strings(&m->aliases);
        free_strings(&m->files);
        free_strings(&m->sizes);
    }
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

bool catalog_owns_file(const struct catalog_model *m, const char *file)
{
    if (!strncmp(m->id, "accounts/", 9) && !strcasecmp(catalog_last_part(m->id), file)) return true;
    if (*m->source && !strcasecmp(catalog_last_part(m->source), file)) return true;
    for (int i = 0; i < m->files.n; i++)
        if (!fnmatch(m->files.v[i], file, FNM_CASEFOLD)) return true;
    return false;
}
