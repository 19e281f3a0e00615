/* prices.c - see prices.h. */
#include "service/account/prices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/yaml_read.h"
#include "service/account/money.h"
#include "service/models/catalog.h"

enum { MILLION = 1000000 };

struct prices {
    struct priced {
        char *model;
        struct price price;
    } * v; /* the catalog's first: of two for one model the later that has begun holds */
    int n;
};

static bool add(struct prices *p, const char *model, const struct price *price, struct err *e)
{
    struct priced *v = realloc(p->v, ((size_t)p->n + 1) * sizeof *v);
    char *name = strdup(model);
    if (v) p->v = v;
    if (!v || !name) {
        free(name);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    v[p->n++] = (struct priced){ name, *price };
    return true;
}

/* The catalog has dollars as doubles of a few decimals: nano-dollars are exact again. */
static int64_t nano(double dollars) { return llround(dollars * (double)MONEY_DOLLAR); }

static bool add_catalog(struct prices *p, const struct catalog *c, struct err *e)
{
    for (int i = 0; i < catalog_count(c); i++) {
        const struct catalog_model *m = catalog_at(c, i);
        struct price price = { .since_ms = INT64_MIN };
        if (m->price_unit == PRICE_PER_1M_TOKENS) {
            price.input = price.cached_input = nano(m->price_input);
            price.output = nano(m->price_output);
        } else if (m->price_unit == PRICE_PER_STEP) {
            price.step = nano(m->price_step);
        }
        price.batch = llround(m->price_batch * MILLION);
        if (!add(p, m->id, &price, e)) return false;
    }
    return true;
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

struct line {
    char *model, *since, *input, *cached_input, *output, *per_step, *per_picture, *batch;
};
#define F(f) offsetof(struct line, f)
static const struct yaml_row line_rows[] = {
    { .key = "model", .type = YAML_STR, .offset = F(model), .needed = true },
    { .key = "since", .type = YAML_STR, .offset = F(since) },
    { .key = "input", .type = YAML_STR, .offset = F(input) },
    { .key = "cached_input", .type = YAML_STR, .offset = F(cached_input) },
    { .key = "output", .type = YAML_STR, .offset = F(output) },
    { .key = "per_step", .type = YAML_STR, .offset = F(per_step) },
    { .key = "per_picture", .type = YAML_STR, .offset = F(per_picture) },
    { .key = "batch", .type = YAML_STR, .offset = F(batch) },
    { .key = NULL },
};
#undef F

static bool read_date(const char *text, int64_t *ms)
{
    struct tm tm = { 0 };
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    const int day = tm.tm_mday;
    if (!end || *end) return false;
    *ms = (int64_t)timegm(&tm) * 1000;
    return tm.tm_mday == day;
}

static bool add_line(struct prices *p, const struct catalog *c, const struct yaml_doc *d,
                     const struct yaml_tree *at, const struct line *l, struct err *e)
{
    struct price price = { .since_ms = INT64_MIN };
    const struct {
        const char *name, *text;
        int64_t *to;
    } money[] = { { "input", l->input, &price.input },
                  { "cached_input", l->cached_input, &price.cached_input },
                  { "output", l->output, &price.output },
                  { "per_step", l->per_step, &price.step },
                  { "per_picture", l->per_picture, &price.picture } };
    if (*l->since && !read_date(l->since, &price.since_ms))
        return yaml_bad(d, at, e, "since \"%.40s\" is no day such as 2026-01-31", l->since);
    for (size_t i = 0; i < sizeof money / sizeof *money; i++)
        if (*money[i].text && !money_parse(money[i].text, money[i].to))
            return yaml_bad(d, at, e, "%s \"%.40s\" is no number of dollars such as 0.15", money[i].name,
                            money[i].text);
    if (*l->batch && (!money_parse(l->batch, &price.batch) || price.batch <= 0 || price.batch > MONEY_DOLLAR))
        return yaml_bad(d, at, e, "batch \"%.40s\" is no part above 0 and up to 1, such as 0.5", l->batch);
    price.batch /= MONEY_DOLLAR / MILLION;
    if (!*l->cached_input) price.cached_input = price.input;
    const struct catalog_model *known = catalog_find(c, l->model);
    return add(p, known ? known->id : l->model, &price, e);
}

static bool add_file(struct prices *p, const struct catalog *c, const struct yaml_doc *d, struct err *e)
{
    const struct yaml_tree *list = yaml_member(&d->root, "prices");
    if (d->root.kind != YAML_KIND_MAP || !list || d->root.n != 1 || list->kind != YAML_KIND_LIST)
        return yaml_bad(d, NULL, e, "a list called prices is expected, and nothing else");
    for (int i = 0; i < list->n; i++) {
        struct line l = { 0 };
        bool ok = yaml_fill(d, &list->item[i], line_rows, &l, e) && add_line(p, c, d, &list->item[i], &l, e);
        yaml_fill_free(line_rows, &l);
        if (!ok) return false;
    }
    return true;
}

static bool open_doc(struct prices **out, const struct catalog *c, const struct yaml_doc *d, struct err *e)
{
    struct prices *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "out of memory");
    if (add_catalog(p, c, e) && (!d || add_file(p, c, d, e))) {
        *out = p;
        return true;
    }
    prices_close(p);
    return false;
}

bool prices_open(struct prices **out, const struct catalog *c, const char *path, struct err *e)
{
    struct yaml_doc d = { 0 };
    if (!*path) return open_doc(out, c, NULL, e);
    const bool ok = yaml_read_file(&d, path, e) && open_doc(out, c, &d, e);
    yaml_doc_free(&d);
    return ok;
}

bool prices_parse(struct prices **out, const struct catalog *c, const char *name, const char *text,
                  size_t len, struct err *e)
{
    struct yaml_doc d = { 0 };
    const bool ok = yaml_read_text(&d, name, text, len, e) && open_doc(out, c, &d, e);
    yaml_doc_free(&d);
    return ok;
}

void prices_close(struct prices *p)
{
    for (int i = 0; p && i < p->n; i++) free(p->v[i].model);
    if (p) free(p->v);
    free(p);
}

struct price prices_of(const struct prices *p, const char *model, int64_t at_ms)
{
    const struct price none = { .since_ms = INT64_MIN }, *best = &none;
    for (int i = 0; i < p->n; i++) {
        const struct price *v = &p->v[i].price;
        if (v->since_ms <= at_ms && v->since_ms >= best->since_ms && !strcmp(p->v[i].model, model)) best = v;
    }
    return *best;
}

__extension__ typedef __int128 wide;

static int64_t part(int64_t nano, int64_t millionths)
{
    return (int64_t)(((wide)nano * millionths + MILLION / 2) / MILLION);
}

struct price price_in_batch(const struct price *p)
{
    struct price of = *p;
    if (!p->batch) return of;
    of.input = part(p->input, p->batch);
    of.cached_input = part(p->cached_input, p->batch);
    of.output = part(p->output, p->batch);
    of.step = part(p->step, p->batch);
    of.picture = part(p->picture, p->batch);
    return of;
}

int64_t price_cost(const struct price *p, const struct usage *u)
{
    const wide million = 1000000;
    const wide tokens = (wide)(u->prompt_tokens - u->cached_tokens) * p->input +
                        (wide)u->cached_tokens * p->cached_input + (wide)u->completion_tokens * p->output;
    const wide all =
        (tokens + million / 2) / million + (wide)u->steps * p->step + (wide)u->pictures * p->picture;
    return all > MONEY_MAX ? MONEY_MAX : (int64_t)all;
}
