/* advice.c - what this server advises: a model and parameters for a task or a picture, a batch within a budget, more words for a prompt.
 * Not part of the APIs that hearth speaks; docs/advice.md describes it. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/fields.h"
#include "base/log.h"
#include "service/account/account.h"
#include "service/account/measured.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "service/advice/advice.h"
#include "service/advice/prompts.h"
#include "service/models/registry.h"

enum form { RECOMMEND = FIELDS_RECOMMEND, PLAN = FIELDS_PLAN, ENHANCE = FIELDS_ENHANCE };

struct advice_request {
    json_t *body;
    const char *kind, *mode, *task, *complexity, *budget, *use_case, *quality, *priority, *model, *size,
        *prompt, *style;
    double dollars, total, guidance;
    int64_t steps, n;
    const json_t *prompts, *avoid;
    bool boost;
};

enum take { WORD, NUMBER, WHOLE, FLAG, TREE };

#define F(field) offsetof(struct advice_request, field)
static const struct advice_field {
    struct json_member member; /* forms: enum form */
    enum take take;
    size_t offset;
} fields[] = {
    { { "kind", RECOMMEND, "text" }, WORD, F(kind) },
    { { "mode", RECOMMEND | PLAN | ENHANCE, "'best'|'seed'" }, WORD, F(mode) },
    { { "task", RECOMMEND, "text" }, WORD, F(task) },
    { { "complexity", RECOMMEND, "text" }, WORD, F(complexity) },
    { { "budget", RECOMMEND, "text" }, WORD, F(budget) },
    { { "use_case", RECOMMEND, "text" }, WORD, F(use_case) },
    { { "quality", RECOMMEND | PLAN, "text" }, WORD, F(quality) },
    { { "priority", RECOMMEND, "text" }, WORD, F(priority) },
    { { "budget_per_image", RECOMMEND, "num 0..1e9" }, NUMBER, F(dollars) },
    { { "model", RECOMMEND | ENHANCE, "text" }, WORD, F(model) },
    { { "size", RECOMMEND, "text" }, WORD, F(size) },
    { { "steps", RECOMMEND, "int 1..2147483647" }, WHOLE, F(steps) },
    { { "guidance_scale", RECOMMEND, "num 0..1e9" }, NUMBER, F(guidance) },
    { { "total_budget", PLAN, "num 0..1e9" }, NUMBER, F(total) },
    { { "n", PLAN, "int 1..2147483647" }, WHOLE, F(n) },
    { { "prompts", PLAN, "any" }, TREE, F(prompts) },
    { { "prompt", ENHANCE, "text" }, WORD, F(prompt) },
    { { "style", ENHANCE, "text" }, WORD, F(style) },
    { { "add_quality", ENHANCE, "bool" }, FLAG, F(boost) },
    { { "avoid", ENHANCE, "any" }, TREE, F(avoid) },
};
#undef F

static bool take_field(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct advice_field *d = row;
    char *at = (char *)reader + d->offset;
    switch (d->take) {
    case WORD: return json_in_str(v, d->member.name, (const char **)at, f);
    case NUMBER: return json_in_num(v, d->member.name, 0, 1e9, (double *)at, f);
    case WHOLE: return json_in_int(v, d->member.name, 1, INT32_MAX, (int64_t *)at, f);
    case FLAG: return json_in_bool(v, d->member.name, (bool *)at, f);
    case TREE: *(const json_t **)at = v; return true;
    }
    return false;
}

const struct json_table advice_fields = JSON_TABLE(fields, take_field);

static bool open_request(struct exchange *x, enum form form, struct advice_request *r, enum advice_mode *mode,
                         struct fault *f)
{
    const struct json_place place = { .path = "",
                                      .form = form,
                                      .strict = exchange_server(x)->o.strict_fields };
    size_t len;
    const char *bytes = exchange_body(x, &len);
    *r = (struct advice_request){ .dollars = -1, .total = -1, .guidance = -1, .steps = -1, .boost = true };
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &r->body, f) ||
        !json_in_object(&advice_fields, &place, r, r->body, f))
        return false;
    if (r->mode && strcmp(r->mode, "best") && strcmp(r->mode, "seed")) {
        f->param = "mode";
        return err_set(&f->err, ERR_REQUEST, "mode must be best or seed");
    }
    *mode = r->mode && !strcmp(r->mode, "seed") ? ADVICE_SEED : ADVICE_BEST;
    return true;
}

static void answer(struct exchange *x, struct advice_request *r, bool ok, const struct fault *f,
                   struct buf *b)
{
    json_decref(r->body);
    if (ok) {
        exchange_reply(x, 200, "application/json", b);
        return;
    }
    buf_free(b);
    exchange_fault_from(x, f);
}

/* ---- printing ------------------------------------------------------------------------------------------------------ */

static void member(struct buf *b, bool *first, const char *name)
{
    buf_printf(b, "%s\"%s\":", *first ? "" : ",", name);
    *first = false;
}

static void number(struct buf *b, bool *first, const char *name, double v)
{
    if (v < 0) return;
    member(b, first, name);
    json_out_num(b, v);
}

static void print_parameters(struct buf *b, const struct advised *a)
{
    bool first = true;
    buf_puts(b, ",\"parameters\":{");
    number(b, &first, "temperature", a->temperature);
    number(b, &first, "top_p", a->top_p);
    number(b, &first, "top_k", a->top_k);
    number(b, &first, "max_tokens", a->max_tokens);
    number(b, &first, "steps", a->steps);
    number(b, &first, "guidance_scale", a->guidance);
    if (a->size) {
        member(b, &first, "size");
        json_out_cstr(b, a->size);
    }
    buf_putc(b, '}');
}

/* Of what is installed here and can be used, the nearest to what was recommended: of its kind, with what it can, of its family, large. */
static const char *nearest_here(const struct model_row *rows, int n, const struct catalog_model *to)
{
    const struct model_row *best = NULL;
    double most = -1;
    for (int i = 0; i < n; i++) {
        const struct catalog_model *c = rows[i].catalog;
        if (rows[i].problem[0] || rows[i].image != (to->kind == MODEL_IMAGE)) continue;
        double near = rows[i].loaded ? 0.5 : 0;
        if (c) {
            near += c->reasoning == to->reasoning ? 4 : 0;
            near += c->tools >= to->tools ? 4 : 0;
            near += !strcmp(c->family, to->family) ? 2 : 0;
            near += c->params_total > 0 ? log10((double)c->params_total) / 4 : 0;
        }
        if (near > most) best = &rows[i], most = near;
    }
    return best ? best->id : NULL;
}

/* How long it takes here: as it was measured, or guessed from what is like it; null where nothing is known. */
static void print_speed(struct exchange *x, struct buf *b, const struct advised *a)
{
    struct account *account = exchange_server(x)->o.account;
    const bool pictures = a->model->kind == MODEL_IMAGE;
    struct measured m = { 0 };
    struct err e;
    int64_t w = 0, h = 0;
    if (pictures && !catalog_parse_size(a->size ? a->size : a->model->size, &w, &h)) w = h = 0;
    const bool asked = account && (!pictures || (w && a->steps > 0));
    const bool ok = asked && (pictures ? measured_step(account_store(account), a->model->id, w * h, &m, &e)
                                       : measured_tokens(account_store(account), a->model->id, &m, &e));
    if (asked && !ok) log_warn("the ledger cannot be asked for advice: %s", e.msg);
    buf_printf(b, ",\"basis\":\"%s\",\"measured_rows\":%d,\"%s\":",
               m.rows >= MEASURED_LEAST && !m.like ? "measured" : "estimate", m.rows,
               pictures ? "seconds_per_image" : "tokens_per_second");
    if (m.rows)
        json_out_num(b, pictures ? m.value * a->steps : m.value);
    else
        buf_puts(b, "null");
}

static bool print_advised(struct exchange *x, struct buf *b, const struct advised *a, enum advice_mode mode,
                          struct err *e)
{
    struct model_row *rows;
    int n;
    bool here = false;
    if (!registry_list(exchange_server(x)->registry, &rows, &n, e)) return false;
    for (int i = 0; i < n; i++) here |= rows[i].catalog == a->model && !rows[i].problem[0];
    buf_puts(b, "\"model\":");
    json_out_cstr(b, a->model->id);
    if (mode == ADVICE_SEED) {
        buf_puts(b, ",\"says\":");
        json_out_cstr(b, a->says);
    }
    print_parameters(b, a);
    buf_puts(b, ",\"why\":");
    json_out_cstr(b, a->why);
    if (a->model->kind == MODEL_IMAGE) {
        buf_puts(b, ",\"cost_per_image\":");
        json_out_num(b, (double)a->nano / 1e9);
        buf_printf(b, ",\"over_budget\":%s", a->over ? "true" : "false");
    } else {
        buf_puts(b, ",\"price\":{\"input\":");
        json_out_num(b, a->model->price_input);
        buf_puts(b, ",\"output\":");
        json_out_num(b, a->model->price_output);
        buf_puts(b, ",\"unit\":\"per_1m_tokens\"}");
    }
    print_speed(x, b, a);
    buf_printf(b, ",\"installed\":%s,\"nearest_here\":", here ? "true" : "false");
    json_out_cstr(b, here ? a->model->id : nearest_here(rows, n, a->model));
    free(rows);
    return true;
}

static const char *name_of(enum advice_mode mode) { return mode == ADVICE_SEED ? "seed" : "best"; }

/* ---- the handlers -------------------------------------------------------------------------------------------------- */

static bool is_for_pictures(const struct advice_request *r)
{
    if (r->kind) return !strcmp(r->kind, "image");
    return r->use_case || r->quality || r->priority || r->dollars >= 0 || r->steps > 0 || r->guidance >= 0 ||
           r->size;
}

void recommendations_post(struct exchange *x)
{
    struct advice_request r;
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0);
    enum advice_mode mode;
    struct advised a;
    bool ok = open_request(x, RECOMMEND, &r, &mode, &f);
    if (ok && r.kind && strcmp(r.kind, "text") && strcmp(r.kind, "image")) {
        f.param = "kind";
        ok = err_set(&f.err, ERR_REQUEST, "kind must be text or image");
    }
    const bool pictures = ok && is_for_pictures(&r);
    if (ok && pictures && (r.task || r.complexity || r.budget)) {
        f.param = r.task ? "task" : r.complexity ? "complexity" : "budget";
        ok = err_set(&f.err, ERR_REQUEST,
                     "%s is for text; pictures have use_case, quality and budget_per_image", f.param);
    }
    if (ok && pictures) {
        const struct image_question q = { r.quality, r.use_case,   r.priority, r.dollars, r.model,
                                          r.size,    (int)r.steps, r.guidance, mode };
        ok = advise_image(exchange_server(x)->o.advice, &q, &a, &f.err);
    } else if (ok) {
        const struct text_question q = { r.task, r.complexity, r.budget, mode };
        ok = advise_text(exchange_server(x)->o.advice, &q, &a, &f.err);
    }
    if (ok) {
        buf_printf(&b, "{\"object\":\"recommendation\",\"kind\":\"%s\",\"mode\":\"%s\",",
                   pictures ? "image" : "text", name_of(mode));
        ok = print_advised(x, &b, &a, mode, &f.err);
        buf_putc(&b, '}');
    }
    answer(x, &r, ok, &f, &b);
}

void plans_post(struct exchange *x)
{
    struct advice_request r;
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0);
    enum advice_mode mode;
    struct image_plan p;
    bool ok = open_request(x, PLAN, &r, &mode, &f);
    if (ok && r.prompts && (!json_is_array(r.prompts) || r.n)) {
        f.param = "prompts";
        ok = err_set(&f.err, ERR_REQUEST, "prompts must be an array, in place of n");
    }
    const int64_t n = ok && r.prompts ? (int64_t)json_array_size(r.prompts) : r.n;
    if (ok && (n < 1 || r.total < 0)) {
        f.param = n < 1 ? "n" : "total_budget";
        ok = err_set(&f.err, ERR_REQUEST, "%s is required: %s", f.param,
                     n < 1 ? "how many pictures, or prompts" : "dollars for all pictures");
    }
    ok = ok && advise_batch(exchange_server(x)->o.advice, r.quality, n, r.total, mode, &p, &f.err);
    if (ok) {
        buf_printf(&b, "{\"object\":\"plan\",\"mode\":\"%s\",\"n\":%lld,\"each\":{", name_of(mode),
                   (long long)n);
        ok = print_advised(x, &b, &p.each, mode, &f.err);
        buf_puts(&b, "},\"total_cost\":");
        json_out_num(&b, (double)p.nano / 1e9);
        buf_puts(&b, ",\"images_per_dollar\":");
        if (isinf(p.images_a_dollar))
            buf_puts(&b, "null");
        else
            json_out_num(&b, p.images_a_dollar);
        buf_printf(&b, ",\"over_budget\":%s,\"affordable\":%lld}", p.over ? "true" : "false",
                   (long long)(p.affordable < 0 ? n : p.affordable));
    }
    answer(x, &r, ok, &f, &b);
}

static bool read_words(const json_t *v, const char *name, struct str_list *out, struct fault *f)
{
    size_t i;
    json_t *w;
    f->param = name;
    if (v && !json_is_array(v)) return err_set(&f->err, ERR_REQUEST, "%s must be an array of strings", name);
    json_array_foreach(v, i, w)
    {
        if (!json_is_string(w)) return err_set(&f->err, ERR_REQUEST, "%s must be an array of strings", name);
        if (!str_list_add(out, json_string_value(w), json_string_length(w), &f->err)) return false;
    }
    return true;
}

void enhance_post(struct exchange *x)
{
    struct advice_request r;
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0), prompt = BUF_INIT(0), negative = BUF_INIT(0);
    struct str_list avoid = { 0 };
    enum advice_mode mode;
    const struct styles *styles = exchange_server(x)->o.styles;
    bool ok = open_request(x, ENHANCE, &r, &mode, &f);
    if (ok && !r.prompt) {
        f.param = "prompt";
        ok = err_set(&f.err, ERR_REQUEST, "prompt is required");
    }
    if (ok && r.avoid) ok = read_words(r.avoid, "avoid", &avoid, &f);
    const struct catalog_model *m = ok && r.model ? catalog_find(exchange_server(x)->catalog, r.model) : NULL;
    if (ok && m && !advice_takes_negative(m) && r.avoid) {
        f.param = "avoid";
        ok = err_set(&f.err, ERR_REQUEST,
                     "%s takes no negative prompt: say in the prompt what should be there", m->id);
    }
    f.param = ok ? "style" : f.param;
    ok = ok && styles_enhance(styles, r.prompt, r.style, r.boost, mode == ADVICE_BEST, &prompt, &f.err) &&
         styles_negative(styles, &avoid, &negative, &f.err);
    if (ok) {
        buf_puts(&b, "{\"object\":\"prompt\",\"prompt\":");
        json_out_str(&b, prompt.data, prompt.len);
        buf_puts(&b, ",\"negative_prompt\":");
        if (m && !advice_takes_negative(m))
            buf_puts(&b, "null");
        else
            json_out_str(&b, negative.data, negative.len);
        buf_puts(&b, ",\"styles\":[");
        for (int i = 0; i < styles_count(styles); i++) {
            if (i) buf_putc(&b, ',');
            json_out_cstr(&b, styles_name(styles, i));
        }
        buf_puts(&b, "]}");
    }
    str_list_clear(&avoid);
    buf_free(&prompt);
    buf_free(&negative);
    answer(x, &r, ok, &f, &b);
}
