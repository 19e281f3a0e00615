/* upstreams.c - see upstreams.h. */
#include "service/route/upstreams.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml_read.h"
#include "service/account/money.h"

enum {
    USUAL_CONTEXT = 131072 /* of a model that says none: what its budget is reserved by */
};

/* ---- rows of the file ---------------------------------------------------------------------------------------------- */

struct file {
    int version;
    const struct yaml_tree *upstreams, *routes;
};
static const struct yaml_row file_rows[] = {
    { .key = "version", .type = YAML_INT, .offset = offsetof(struct file, version), .min = 1, .max = 1 },
    { .key = "upstreams", .type = YAML_TREE, .offset = offsetof(struct file, upstreams), .needed = true },
    { .key = "routes", .type = YAML_TREE, .offset = offsetof(struct file, routes) },
    { .key = NULL },
};

struct upstream_line {
    char *name, *base_url, *key;
    const struct yaml_tree *models;
    double connect_s, first_s, between_s, whole_s, backoff_s, backoff_most_s, retry_share, open_s;
    int tries, failures;
};
static const struct upstream_line usual = { .connect_s = 5,
                                            .first_s = 120,
                                            .between_s = 60,
                                            .whole_s = 900,
                                            .backoff_s = 0.5,
                                            .backoff_most_s = 8,
                                            .retry_share = 0.2,
                                            .open_s = 10,
                                            .tries = 3,
                                            .failures = 5 };
#define F(f) offsetof(struct upstream_line, f)
#define SECONDS(k, f)                                                                                        \
    {                                                                                                        \
        .key = k, .type = YAML_NUMBER, .offset = F(f), .min = 0.01, .max = 86400                             \
    }
static const struct yaml_row upstream_rows[] = {
    { .key = "name", .type = YAML_STR, .offset = F(name), .needed = true },
    { .key = "base_url", .type = YAML_STR, .offset = F(base_url), .needed = true },
    { .key = "key", .type = YAML_STR, .offset = F(key) },
    { .key = "models", .type = YAML_TREE, .offset = F(models), .needed = true },
    SECONDS("connect_s", connect_s),
    SECONDS("first_byte_s", first_s),
    SECONDS("between_bytes_s", between_s),
    SECONDS("whole_s", whole_s),
    SECONDS("backoff_s", backoff_s),
    SECONDS("backoff_most_s", backoff_most_s),
    SECONDS("breaker_open_s", open_s),
    { .key = "tries", .type = YAML_INT, .offset = F(tries), .min = 1, .max = 20 },
    { .key = "retry_share", .type = YAML_NUMBER, .offset = F(retry_share), .min = 0, .max = 1 },
    { .key = "breaker_failures", .type = YAML_INT, .offset = F(failures), .min = 1, .max = 1000 },
    { .key = NULL },
};
#undef F

struct model_line {
    char *name, *theirs, *input, *cached_input, *output, *per_step, *per_picture;
    unsigned kind;
    int context;
};
#define F(f) offsetof(struct model_line, f)
static const struct yaml_row model_rows[] = {
    { .key = "name", .type = YAML_STR, .offset = F(name), .needed = true },
    { .key = "theirs", .type = YAML_STR, .offset = F(theirs) },
    { .key = "kind", .type = YAML_WORD, .offset = F(kind), .words = "text|image" },
    { .key = "context", .type = YAML_INT, .offset = F(context), .min = 1, .max = 100000000 },
    { .key = "input", .type = YAML_STR, .offset = F(input) },
    { .key = "cached_input", .type = YAML_STR, .offset = F(cached_input) },
    { .key = "output", .type = YAML_STR, .offset = F(output) },
    { .key = "per_step", .type = YAML_STR, .offset = F(per_step) },
    { .key = "per_picture", .type = YAML_STR, .offset = F(per_picture) },
    { .key = NULL },
};
#undef F

struct route_line {
    char *model;
    unsigned choice;
    int spill_at;
    const struct yaml_tree *to, *shadow;
};
static const struct yaml_row route_rows[] = {
    { .key = "model", .type = YAML_STR, .offset = offsetof(struct route_line, model), .needed = true },
    { .key = "choice",
      .type = YAML_WORD,
      .offset = offsetof(struct route_line, choice),
      .words = "order|weighted|cheapest" },
    { .key = "spill_at",
      .type = YAML_INT,
      .offset = offsetof(struct route_line, spill_at),
      .min = 1,
      .max = 1000000 },
    { .key = "to", .type = YAML_TREE, .offset = offsetof(struct route_line, to), .needed = true },
    { .key = "shadow", .type = YAML_TREE, .offset = offsetof(struct route_line, shadow) },
    { .key = NULL },
};

struct target_line {
    char *at, *model;
    double weight, share;
};
#define F(f) offsetof(struct target_line, f)
static const struct yaml_row target_rows[] = {
    { .key = "at", .type = YAML_STR, .offset = F(at), .needed = true },
    { .key = "model", .type = YAML_STR, .offset = F(model) },
    { .key = "weight", .type = YAML_NUMBER, .offset = F(weight), .min = 0.001, .max = 1e6 },
    { .key = NULL },
};
static const struct yaml_row shadow_rows[] = {
    { .key = "at", .type = YAML_STR, .offset = F(at), .needed = true },
    { .key = "model", .type = YAML_STR, .offset = F(model) },
    { .key = "share", .type = YAML_NUMBER, .offset = F(share), .min = 0, .max = 1, .needed = true },
    { .key = NULL },
};
#undef F

/* ---- upstreams ----------------------------------------------------------------------------------------------------- */

static bool keep(char **to, const char *s, struct err *e)
{
    *to = strdup(s);
    return *to || err_set(e, ERR_NOMEM, "out of memory");
}

/* *list has n more than none of `size` bytes, zeroed. */
static bool room(void **list, int n, size_t size, struct err *e)
{
    *list = calloc((size_t)n + 1, size);
    return *list || err_set(e, ERR_NOMEM, "out of memory");
}

static bool read_prices(const struct yaml_doc *d, const struct yaml_tree *at, const struct model_line *l,
                        struct price *p, struct err *e)
{
    const struct {
        const char *name, *text;
        int64_t *to;
    } money[] = { { "input", l->input, &p->input },
                  { "cached_input", l->cached_input, &p->cached_input },
                  { "output", l->output, &p->output },
                  { "per_step", l->per_step, &p->step },
                  { "per_picture", l->per_picture, &p->picture } };
    for (size_t i = 0; i < sizeof money / sizeof *money; i++)
        if (*money[i].text && !money_parse(money[i].text, money[i].to))
            return yaml_bad(d, yaml_member(at, money[i].name), e,
                            "%s \"%.40s\" is no number of dollars such as 0.15", money[i].name,
                            money[i].text);
    if (!*l->cached_input) p->cached_input = p->input;
    return true;
}

static bool read_model(const struct yaml_doc *d, const struct yaml_tree *at, const struct upstream *u,
                       const struct model_line *l, struct upstream_model *m, struct err *e)
{
    if (!*l->name || strlen(l->name) > 150)
        return yaml_bad(d, at, e, "a model needs a name of up to 150 bytes");
    for (int i = 0; i < u->n_models - 1; i++)
        if (!strcmp(u->model[i].name, l->name)) return yaml_bad(d, at, e, "this model is there twice");
    m->image = l->kind == 1;
    m->context = l->context ? l->context : USUAL_CONTEXT;
    return keep(&m->name, l->name, e) && keep(&m->theirs, *l->theirs ? l->theirs : l->name, e) &&
           read_prices(d, at, l, &m->price, e);
}

static bool read_models(const struct yaml_doc *d, const struct yaml_tree *list, struct upstream *u,
                        struct err *e)
{
    if (list->kind != YAML_KIND_LIST || !list->n)
        return yaml_bad(d, list, e, "expected a list of models, each with a name");
    if (!room((void **)&u->model, list->n, sizeof *u->model, e)) return false;
    for (int i = 0; i < list->n; i++) {
        struct model_line l = { 0 };
        bool ok = yaml_fill(d, &list->item[i], model_rows, &l, e);
        u->n_models++;
        ok = ok && read_model(d, &list->item[i], u, &l, &u->model[i], e);
        yaml_fill_free(model_rows, &l);
        if (!ok) return false;
    }
    return true;
}

/* Where the URL leads is the operator's business; what else it may hold (a user, a question) is not sent. */
static bool read_url(const struct yaml_doc *d, const struct yaml_tree *at, struct upstream *u, struct err *e)
{
    CURLU *c = curl_url();
    char *scheme = NULL, *path = NULL, *other = NULL;
    bool ok = c && curl_url_set(c, CURLUPART_URL, u->base_url, 0) == CURLUE_OK &&
              curl_url_get(c, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              (!strcmp(scheme, "http") || !strcmp(scheme, "https")) &&
              curl_url_get(c, CURLUPART_PATH, &path, 0) == CURLUE_OK;
    static const CURLUPart none[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
                                      CURLUPART_FRAGMENT };
    for (size_t i = 0; ok && i < sizeof none / sizeof *none; i++)
        if (curl_url_get(c, none[i], &other, 0) == CURLUE_OK) {
            curl_free(other);
            ok = false;
        }
    size_t n = strlen(u->base_url);
    while (ok && n && u->base_url[n - 1] == '/') u->base_url[--n] = 0;
    u->whole_path = ok && !strcmp(path, "/");
    curl_free(scheme);
    curl_free(path);
    curl_url_cleanup(c);
    ok = ok && n <= 1000;
    return ok || yaml_bad(d, at, e,
                          "base_url must be as https://api.example.com/v1, without a user and a question");
}

static bool name_is_good(const char *s)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    return *s && strlen(s) <= 60 && strspn(s, good) == strlen(s) && strcmp(s, "here") != 0;
}

static bool read_upstream(const struct yaml_doc *d, const struct yaml_tree *at, struct upstreams *all,
                          const struct upstream_line *l, struct upstream *u, struct err *e)
{
    if (!name_is_good(l->name))
        return yaml_bad(d, at, e,
                        "the name of an upstream has letters, digits, '-', '_' and '.', up to 60, and is not "
                        "\"here\", which is this server");
    for (int i = 0; i < all->n - 1; i++)
        if (!strcmp(all->v[i].name, l->name)) return yaml_bad(d, at, e, "this upstream is there twice");
    if (*l->key && strncmp(l->key, "secret:", 7) != 0)
        return yaml_bad(
            d, yaml_member(at, "key"), e,
            "a key does not belong into this file: say secret:NAME (`hearth secrets set NAME`), or leave "
            "it out and give it as --upstream-key %s=KEY",
            l->name);
    u->connect_s = l->connect_s;
    u->first_s = l->first_s;
    u->between_s = l->between_s;
    u->whole_s = l->whole_s;
    u->tries = l->tries;
    u->backoff_s = l->backoff_s;
    u->backoff_most_s = l->backoff_most_s;
    u->retry_share = l->retry_share;
    u->breaker_failures = l->failures;
    u->breaker_open_s = l->open_s;
    return keep(&u->name, l->name, e) && keep(&u->base_url, l->base_url, e) &&
           keep(&u->key_setting, l->key, e) && read_url(d, yaml_member(at, "base_url"), u, e) &&
           read_models(d, l->models, u, e);
}

static bool read_upstreams(const struct yaml_doc *d, const struct yaml_tree *list, struct upstreams *all,
                           struct err *e)
{
    if (list->kind != YAML_KIND_LIST || list->n > UPSTREAMS_MOST)
        return yaml_bad(d, list, e, "expected a list of up to %d upstreams", UPSTREAMS_MOST);
    if (!room((void **)&all->v, list->n, sizeof *all->v, e)) return false;
    for (int i = 0; i < list->n; i++) {
        struct upstream_line l = usual;
        bool ok = yaml_fill(d, &list->item[i], upstream_rows, &l, e);
        all->n++;
        ok = ok && read_upstream(d, &list->item[i], all, &l, &all->v[i], e);
        yaml_fill_free(upstream_rows, &l);
        if (!ok) return false;
    }
    return true;
}

/* ---- routes -------------------------------------------------------------------------------------------------------- */

static const struct upstream_model *model_of(const struct upstream *u, const char *name)
{
    for (int i = 0; i < u->n_models; i++)
        if (!strcmp(u->model[i].name, name)) return &u->model[i];
    return NULL;
}

/* `model`: the route's own name, where the line says no other. */
static bool find_target(const struct yaml_doc *d, const struct yaml_tree *at, const struct upstreams *all,
                        const struct target_line *l, const char *model, struct target *t, struct err *e)
{
    *t = (struct target){ .upstream = UPSTREAM_NONE, .weight = l->weight > 0 ? l->weight : 1 };
    if (!strcmp(l->at, "here")) {
        if (*l->model) return yaml_bad(d, at, e, "here a model has the route's own name: leave `model` out");
        t->upstream = UPSTREAM_HERE;
        return true;
    }
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->v[i].name, l->at)) t->upstream = i;
    if (t->upstream < 0) return yaml_bad(d, at, e, "there is no upstream \"%.60s\" above", l->at);
    t->model = model_of(&all->v[t->upstream], *l->model ? l->model : model);
    return t->model || yaml_bad(d, at, e, "upstream \"%s\" has no model \"%.150s\" in its list", l->at,
                                *l->model ? l->model : model);
}

static bool read_target(const struct yaml_doc *d, const struct yaml_tree *at, const struct yaml_row *rows,
                        const struct upstreams *all, const char *model, struct target *t, double *share,
                        struct err *e)
{
    struct target_line l = { 0 };
    const bool ok = yaml_fill(d, at, rows, &l, e) && find_target(d, at, all, &l, model, t, e);
    if (share) *share = l.share;
    yaml_fill_free(rows, &l);
    return ok;
}

static bool read_route(const struct yaml_doc *d, const struct yaml_tree *at, const struct upstreams *all,
                       const struct route_line *l, struct routed *r, struct err *e)
{
    r->shadow.upstream = UPSTREAM_NONE;
    r->choice = (enum choice)l->choice;
    for (int i = 0; i < all->n_routes - 1; i++)
        if (!strcmp(all->route[i].model, l->model)) return yaml_bad(d, at, e, "this model has two routes");
    if (l->to->kind != YAML_KIND_LIST || !l->to->n || l->to->n > UPSTREAMS_MOST)
        return yaml_bad(d, l->to, e, "expected a list of up to %d places, each as { at: NAME }",
                        UPSTREAMS_MOST);
    if (!keep(&r->model, l->model, e) || !room((void **)&r->to, l->to->n, sizeof *r->to, e)) return false;
    for (int i = 0; i < l->to->n; i++, r->n++)
        if (!read_target(d, &l->to->item[i], target_rows, all, l->model, &r->to[i], NULL, e)) return false;
    r->spill_at = l->spill_at;
    bool here = false, there = false;
    for (int i = 0; i < r->n; i++) *(r->to[i].upstream == UPSTREAM_HERE ? &here : &there) = true;
    if (r->spill_at && !(here && there))
        return yaml_bad(d, yaml_member(at, "spill_at"), e,
                        "spill_at is for a route with { at: here } and an upstream among its places");
    if (!l->shadow) return true;
    if (!read_target(d, l->shadow, shadow_rows, all, l->model, &r->shadow, &r->shadow_share, e)) return false;
    return r->shadow.upstream >= 0 ||
           yaml_bad(d, l->shadow, e, "a shadow is an upstream: what is asked here is no comparison");
}

static bool read_routes(const struct yaml_doc *d, const struct yaml_tree *list, struct upstreams *all,
                        struct err *e)
{
    int most = list ? list->n : 0;
    if (list && list->kind != YAML_KIND_LIST) return yaml_bad(d, list, e, "expected a list under `routes:`");
    for (int i = 0; i < all->n; i++) most += all->v[i].n_models;
    if (!room((void **)&all->route, most, sizeof *all->route, e)) return false;
    for (int i = 0; list && i < list->n; i++) {
        struct route_line l = { 0 };
        bool ok = yaml_fill(d, &list->item[i], route_rows, &l, e);
        all->n_routes++;
        ok = ok && read_route(d, &list->item[i], all, &l, &all->route[i], e);
        yaml_fill_free(route_rows, &l);
        if (!ok) return false;
    }
    return true;
}

/* A route for each model that none was written for: here, then each upstream that has it. */
static bool add_usual_routes(struct upstreams *all, struct err *e)
{
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < all->v[i].n_models; k++) {
            const char *name = all->v[i].model[k].name;
            if (upstreams_route(all, name, strlen(name))) continue;
            struct routed *r = &all->route[all->n_routes++];
            r->shadow.upstream = UPSTREAM_NONE;
            if (!keep(&r->model, name, e) || !room((void **)&r->to, all->n + 1, sizeof *r->to, e))
                return false;
            r->to[r->n++] = (struct target){ UPSTREAM_HERE, NULL, 1 };
            for (int j = i; j < all->n; j++) {
                const struct upstream_model *m = model_of(&all->v[j], name);
                if (m) r->to[r->n++] = (struct target){ j, m, 1 };
            }
        }
    return true;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

static bool read_file(const struct yaml_doc *d, struct upstreams *all, struct err *e)
{
    struct file f = { 0 };
    return yaml_fill(d, &d->root, file_rows, &f, e) && read_upstreams(d, f.upstreams, all, e) &&
           read_routes(d, f.routes, all, e) && add_usual_routes(all, e);
}

static bool open_doc(struct upstreams **out, const struct yaml_doc *d, struct err *e)
{
    struct upstreams *all = calloc(1, sizeof *all);
    if (!all) return err_set(e, ERR_NOMEM, "out of memory");
    if (read_file(d, all, e)) {
        *out = all;
        return true;
    }
    upstreams_free(all);
    return false;
}

bool upstreams_load(struct upstreams **out, const char *path, struct err *e)
{
    struct yaml_doc d = { 0 };
    const bool ok = yaml_read_file(&d, path, e) && open_doc(out, &d, e);
    yaml_doc_free(&d);
    return ok;
}

bool upstreams_parse(struct upstreams **out, const char *name, const char *text, size_t len, struct err *e)
{
    struct yaml_doc d = { 0 };
    const bool ok = yaml_read_text(&d, name, text, len, e) && open_doc(out, &d, e);
    yaml_doc_free(&d);
    return ok;
}

void upstreams_free(struct upstreams *u)
{
    if (!u) return;
    for (int i = 0; i < u->n; i++) {
        struct upstream *v = &u->v[i];
        for (int k = 0; k < v->n_models; k++) {
            free(v->model[k].name);
            free(v->model[k].theirs);
        }
        if (v->key) sodium_memzero(v->key, strlen(v->key));
        free(v->key);
        free(v->model);
        free(v->name);
        free(v->base_url);
        free(v->key_setting);
    }
    for (int i = 0; i < u->n_routes; i++) {
        free(u->route[i].model);
        free(u->route[i].to);
    }
    free(u->v);
    free(u->route);
    free(u);
}

const struct routed *upstreams_route(const struct upstreams *u, const char *name, size_t len)
{
    for (int i = 0; i < u->n_routes; i++)
        if (u->route[i].model && strlen(u->route[i].model) == len && !memcmp(u->route[i].model, name, len))
            return &u->route[i];
    return NULL;
}
