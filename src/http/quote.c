/* quote.c - POST /v1/quote: what a request would cost at most. It is read as its endpoint reads it, its prompt is counted, and nothing is run.
 *
 * {"endpoint": "/v1/chat/completions", "request": {...}} */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "http/dialects/firemoon.h"
#include "http/dialects/picture_dialect.h"
#include "http/dialects/fields.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "http/routes.h"
#include "http/wanted.h"
#include "service/account/account.h"
#include "service/account/money.h"
#include "service/tokenize.h"

struct quote {
    json_t *body;
    const json_t *endpoint, *request; /* of the body */
    struct wire_request text;         /* one of the two, as `reads` and `draws` say */
    struct picture_wire pictures;
    bool reads, draws;
    bool in_batch; /* asked for as a line of a batch, which may pay less */
    struct model *model;
    struct usage most;
};

static void quote_free(struct quote *q)
{
    if (!q) return;
    if (q->draws) picture_wire_free(&q->pictures);
    if (q->reads) wire_free(&q->text);
    json_decref(q->body);
    free(q);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

static void put_money(struct buf *b, const char *name, int64_t nano)
{
    char dollars[MONEY_TEXT];
    buf_printf(b, "\"%s\":%s", name, money_print(nano, dollars));
}

static void put_price(struct buf *b, const struct price *p)
{
    char since[DATES_TEXT];
    const struct {
        const char *name;
        int64_t nano;
    } parts[] = { { "input", p->input },
                  { "cached_input", p->cached_input },
                  { "output", p->output },
                  { "per_step", p->step },
                  { "per_picture", p->picture } };
    buf_puts(b, ",\"price\":{");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        put_money(b, parts[i].name, parts[i].nano);
        buf_putc(b, ',');
    }
    buf_puts(b, "\"since\":");
    json_out_cstr(b, p->since_ms == INT64_MIN ? NULL : dates_print(p->since_ms, since));
    buf_putc(b, '}');
}

static void put_usage(struct buf *b, const char *name, const struct usage *u, const struct price *p,
                      bool draws)
{
    buf_printf(b, ",\"%s\":{", name);
    put_money(b, "cost", price_cost(p, u));
    if (draws)
        buf_printf(b, ",\"pictures\":%d,\"steps\":%d}", u->pictures, u->steps);
    else
        buf_printf(b, ",\"prompt_tokens\":%d,\"completion_tokens\":%d}", u->prompt_tokens,
                   u->completion_tokens);
}

static void answer(struct exchange *x, const struct quote *q)
{
    struct buf b = BUF_INIT(0);
    struct price p = account_price(exchange_server(x)->o.account, model_id(q->model), NULL);
    if (q->in_batch) p = price_in_batch(&p);
    buf_puts(&b, "{\"object\":\"quote\",\"model\":");
    json_out_cstr(&b, model_id(q->model));
    buf_puts(&b, ",\"endpoint\":");
    json_out_cstr(&b, json_string_value(q->endpoint));
    put_usage(&b, "at_most", &q->most, &p, q->draws);
    put_usage(&b, "reserved", &q->most, &p,
              q->draws); /* the same, since prompts are counted before they are paid for */
    put_price(&b, &p);
    buf_putc(&b, '}');
    exchange_reply(x, 200, "application/json", &b);
}

/* ---- counting ------------------------------------------------------------------------------------------------------ */

static bool count(struct exchange *x, struct quote *q, struct fault *f)
{
    struct tokenizing t;
    const struct gen_request *g = &q->text.gen;
    const int64_t prompts = g->n_prompts > 1 ? g->n_prompts : 1,
                  choices = g->best_of > g->n ? g->best_of : g->n;
    int64_t prompt = 0, completion = 0;
    if (!tokenize_begin(&t, exchange_server(x)->registry, q->model, &f->err)) return false;
    bool ok = true;
    for (int64_t i = 0; ok && i < prompts; i++) {
        struct tokenized n;
        ok = tokenize_prompt(&t, g, (int)i, exchange_stop_flag(x, false), &n, f);
        if (ok) prompt += n.prompt;
        if (ok) completion += n.room * choices;
    }
    tokenize_end(&t);
    q->most = (struct usage){ .prompt_tokens = (int)prompt, .completion_tokens = (int)completion };
    return ok;
}

static void counted(struct exchange *x, void *arg, const struct err *loaded)
{
    struct quote *q = arg;
    struct fault f = { .err = *loaded };
    exchange_at_work(x);
    if (f.err.code == ERR_NONE && count(x, q, &f))
        answer(x, q);
    else
        exchange_fault_from(x, &f);
    loading_end(x);
    quote_free(q);
}

/* ---- the request --------------------------------------------------------------------------------------------------- */

static bool take(void *reader, const void *row, const json_t *v, struct fault *f)
{
    struct quote *q = reader;
    const struct json_member *m = row;
    if (!strcmp(m->name, "endpoint")) {
        q->endpoint = v;
        return json_is_string(v) || json_in_bad(v, "endpoint", "a path such as \"/v1/chat/completions\"", f);
    }
    if (!strcmp(m->name, "batch")) return json_in_bool(v, "batch", &q->in_batch, f);
    q->request = v;
    return json_is_object(v) || json_in_bad(v, "request", "the object that would be sent there", f);
}

static const struct json_member rows[] = { { "endpoint", 1, "!text" },
                                           { "request", 1, "!object" },
                                           { "batch", 1, "bool" } };
const struct json_table quote_fields = JSON_TABLE(rows, take);

static bool read_body(struct exchange *x, struct quote *q, struct fault *f)
{
    const struct json_place place = { .path = "", .form = 1, .strict = true };
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &q->body, f) ||
        !json_in_object(&quote_fields, &place, q, q->body, f))
        return false;
    f->param = q->endpoint ? "request" : "endpoint";
    return (q->endpoint && q->request) ||
           err_set(&f->err, ERR_REQUEST, "%s is required: {\"endpoint\": PATH, \"request\": {...}}",
                   f->param);
}

/* The picture dialect of an endpoint, and the model that its path names, which is written into `model`. NULL: it draws nothing. */
static const struct picture_dialect *dialect_of(const struct route *r, const char *tail, char *model,
                                                size_t cap, struct fault *f)
{
    *model = 0;
    if (r->handler == images_generations) return &openai_pictures;
    if (r->handler == firemoon_post) {
        const char *name = firemoon_model(tail);
        snprintf(model, cap, "%s", name ? name : "");
        if (name) return &firemoon_pictures;
    }
    if (r->handler == workflows_post || r->handler == image_generation_post) {
        snprintf(model, cap, "%s", tail);
        char *verb = r->handler == workflows_post ? strstr(model, "/text_to_image") : NULL;
        if (verb) *verb = 0;
        return r->handler == workflows_post ? &workflow_pictures : &sdxl_pictures;
    }
    err_set(&f->err, ERR_UNSUPPORTED, "there is nothing to quote at this endpoint");
    f->param = "endpoint";
    return NULL;
}

/* The style of an endpoint of texts, or NULL. */
static const struct wire_style *text_style_of(const struct route *r, enum api_dialect d)
{
    if (r->handler == messages_post) return &anthropic_style;
    if (r->handler == responses_post) return &responses_style;
    if (r->handler != chat_post && r->handler != completions_post) return NULL;
    return d == DIALECT_FIREWORKS ? &fireworks_style : &openai_style;
}

/* Parses what would be sent, as its endpoint does. */
static bool read_request(struct exchange *x, struct quote *q, struct fault *f)
{
    const struct server *s = exchange_server(x);
    const char *path = json_string_value(q->endpoint), *tail;
    unsigned allowed;
    char model[300];
    const struct route *r = routes_find(METHOD_POST, path, &tail, &allowed);
    const enum api_dialect d = routes_dialect(path, false);
    json_t *request = (json_t *)q->request;
    if (!r || !r->endpoint) {
        f->param = "endpoint";
        return err_set(&f->err, ERR_REQUEST, "\"%.100s\" is no endpoint that costs anything", path);
    }
    const struct wire_style *style = text_style_of(r, d);
    if (style) {
        q->reads =
            style->parse(&q->text, request, r->handler != completions_post, s->o.strict_fields, style, f);
        if (q->reads) q->text.gen.image_hosts = s->o.image_hosts; /* pictures count as tokens */
        return q->reads && wanted_text(s->registry, &q->text, &q->model, f);
    }
    const struct picture_dialect *pictures = dialect_of(r, tail, model, sizeof model, f);
    if (!pictures) return false;
    q->draws = true;
    picture_wire_init(&q->pictures, pictures, d == DIALECT_FIREWORKS);
    return picture_wire_json(&q->pictures, request, s->o.strict_fields, f) &&
           wanted_pictures(s->registry, &q->pictures, *model ? model : NULL, &q->model, &q->most, f);
}

/* A key learns nothing of models that it may not ask. */
static bool may_ask(struct exchange *x, const struct quote *q, struct fault *f)
{
    const struct key_record *k = exchange_who(x)->key;
    f->param = "model";
    return !k || scopes_model(&k->scopes, model_id(q->model)) ||
           err_set(&f->err, ERR_NOT_FOUND,
                   "Model not found, inaccessible, and/or not deployed: this key may not ask \"%.150s\"",
                   model_id(q->model));
}

void quote_post(struct exchange *x)
{
    struct fault f = { 0 };
    if (!exchange_server(x)->o.account) {
        exchange_fault(x, FAULT_URL, NULL,
                       "this server has no store, and so nothing costs anything; --store names one");
        return;
    }
    struct quote *q = calloc(1, sizeof *q);
    if (!q) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    if (!read_body(x, q, &f) || !read_request(x, q, &f) || !may_ask(x, q, &f)) {
        exchange_fault_from(x, &f);
        quote_free(q);
        return;
    }
    exchange_free_body(x);
    if (!q->draws) {
        loading_then(x, q->model, counted, q);
        return;
    }
    answer(x, q);
    quote_free(q);
}
