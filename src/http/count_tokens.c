/* count_tokens.c - see count_tokens.h. */
#include "http/count_tokens.h"

#include <stdlib.h>

#include "http/exchange.h"
#include "http/json_in.h"
#include "http/wanted.h"
#include "service/tokenize.h"

struct counting {
    struct wire_request request;
    struct model *model;
    void (*print)(struct buf *b, int64_t tokens);
};

static void counting_free(struct counting *c)
{
    wire_free(&c->request);
    free(c);
}

static bool count(struct exchange *x, const struct counting *c, struct tokenized *out, struct fault *f)
{
    struct tokenizing t;
    if (!tokenize_begin(&t, exchange_server(x)->registry, c->model, &f->err)) return false;
    const bool ok = tokenize_prompt(&t, &c->request.gen, 0, exchange_stop_flag(x, false), out, f);
    tokenize_end(&t);
    return ok;
}

static void loaded(struct exchange *x, void *arg, const struct err *e)
{
    struct counting *c = arg;
    struct fault f = { .err = *e };
    struct tokenized n;
    exchange_at_work(x);
    if (f.err.code == ERR_NONE && count(x, c, &n, &f)) {
        struct buf b = BUF_INIT(0);
        c->print(&b, n.prompt);
        exchange_reply(x, 200, "application/json", &b);
    } else {
        exchange_fault_from(x, &f);
    }
    loading_end(x);
    counting_free(c);
}

static void load(struct exchange *x, void *arg, const struct err *e)
{
    struct counting *c = arg;
    (void)e;
    loading_then(x, c->model, loaded, c);
}

static bool read_request(struct exchange *x, struct counting *c, const struct wire_style *style,
                         struct fault *f)
{
    const struct server *s = exchange_server(x);
    size_t len;
    const char *bytes = exchange_body(x, &len);
    json_t *body;
    if (!json_in_parse(bytes, len, &s->json, &body, f)) return false;
    const bool ok = style->parse(&c->request, body, true, s->o.strict_fields, style, f);
    json_decref(body);
    return ok;
}

void count_tokens(struct exchange *x, const struct wire_style *style,
                  void (*print)(struct buf *b, int64_t tokens))
{
    struct fault f = { 0 };
    struct counting *c = calloc(1, sizeof *c);
    if (!c) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    c->print = print;
    if (!read_request(x, c, style, &f)) {
        free(c);
        exchange_fault_from(x, &f);
        return;
    }
    exchange_free_body(x);
    c->request.gen.who = *exchange_who(x);
    c->request.gen.image_hosts = exchange_server(x)->o.image_hosts;
    if (!wanted_text(exchange_server(x)->registry, &c->request, &c->model, &f)) {
        counting_free(c);
        exchange_fault_from(x, &f);
        return;
    }
    bool fetches = false; /* pictures: that takes as long as others take to send them */
    for (int i = 0; i < c->request.gen.n_pictures; i++) fetches |= c->request.gen.picture[i].url != NULL;
    if (fetches)
        loading_on_long(x, load, c);
    else
        load(x, c, NULL);
}
