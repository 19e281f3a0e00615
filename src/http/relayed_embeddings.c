/* relayed_embeddings.c - see relayed_embeddings.h. */
#include "http/relayed_embeddings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "format/json_memory.h"
#include "http/costs.h"
#include "http/exchange.h"
#include "http/prompt_policy.h"
#include "http/relay.h"
#include "service/embed.h"
#include "service/ending.h"

struct asking {
    const struct embedding_wire *w;
    struct relay *relay;
    char *model;
    void (*here)(struct exchange *x, void *arg);
    void (*drop)(void *arg);
    void *arg;
};

/* Without the owner's part, which goes on elsewhere. */
static void asking_free(struct asking *a)
{
    relay_free(a->relay);
    free(a->model);
    free(a);
}

static void end(struct exchange *x, struct asking *a, const struct fault *f)
{
    a->drop(a->arg);
    asking_free(a);
    exchange_fault_from(x, f);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

static bool useless(struct err *e)
{
    return err_set(e, ERR_UPSTREAM, "the upstream's answer has not a vector for each text");
}

/* The vector of text i, wherever it stands in the list. */
static const json_t *vector_of(const json_t *data, int i)
{
    const json_t *one = json_array_get(data, (size_t)i), *says = json_object_get(one, "index");
    size_t k;
    if (json_is_integer(says) && json_integer_value(says) != i) {
        json_array_foreach(data, k, one)
        {
            if (json_integer_value(json_object_get(one, "index")) == i) break;
        }
    }
    return json_object_get(one, "embedding");
}

static bool put_vector(struct buf *b, const struct embedding_wire *w, int i, const json_t *v, struct err *e)
{
    const size_t n = json_array_size(v);
    if (!n || n > 1 << 20) return useless(e);
    float *is = malloc(n * sizeof *is), *shaped = malloc(n * sizeof *shaped);
    bool ok = (is && shaped) || err_set(e, ERR_NOMEM, "out of memory");
    for (size_t k = 0; ok && k < n; k++) {
        const json_t *x = json_array_get(v, k);
        is[k] = (float)json_number_value(x);
        if (!json_is_number(x) || !isfinite(is[k])) ok = useless(e);
    }
    if (ok)
        embedding_wire_vector(b, w, i, shaped,
                              embedding_shape(is, (int)n, (int)w->dimensions, w->normalize, shaped));
    free(is);
    free(shaped);
    return ok;
}

static bool print(struct exchange *x, struct asking *a, struct buf *b, const struct usage *u, struct err *e)
{
    struct buf got = BUF_INIT(0);
    bool ok = relay_answer(a->relay, &got) || err_set(e, ERR_NOMEM, "out of memory");
    json_t *root = ok ? json_memory_load(got.data, got.len, 0, NULL) : NULL;
    const json_t *data = json_object_get(root, "data");
    if (ok && json_array_size(data) != (size_t)a->w->gen.n_prompts) ok = useless(e);
    embedding_wire_head(b, a->w);
    for (int i = 0; ok && i < a->w->gen.n_prompts; i++) ok = put_vector(b, a->w, i, vector_of(data, i), e);
    embedding_wire_end(b, a->w, a->model, u, 0, clock_seconds() - exchange_started(x));
    json_decref(root);
    buf_free(&got);
    return ok;
}

static void answered(struct exchange *x, struct asking *a)
{
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0);
    struct usage u;
    struct price price;
    relay_book(a->relay, &u, &price);
    if (!print(x, a, &b, &u, &f.err)) {
        buf_free(&b);
        end(x, a, &f);
        return;
    }
    costs_header(x, exchange_server(x)->o.account ? &price : NULL, &u);
    a->drop(a->arg);
    asking_free(a);
    exchange_reply(x, 200, "application/json; charset=utf-8", &b);
}

static void go_here(struct exchange *x, struct asking *a)
{
    void (*here)(struct exchange * x, void *arg) = a->here;
    void *arg = a->arg;
    asking_free(a);
    here(x, arg);
}

static void go_on(struct exchange *x, void *arg, const struct err *none)
{
    struct asking *a = arg;
    struct fault f = { 0 };
    (void)none;
    switch (relay_outcome(a->relay, &f)) {
    case CALL_HERE: go_here(x, a); break;
    case CALL_FAILED: end(x, a, &f); break;
    case CALL_ANSWERED: answered(x, a); break;
    }
}

/* ---- the request --------------------------------------------------------------------------------------------------- */

/* New; NULL: no memory, or texts that are none. */
static json_t *body_of(const struct embedding_wire *w, const char *model, struct err *e)
{
    json_t *texts = json_array();
    for (int i = 0; i < w->gen.n_prompts; i++) {
        const struct prompt *p = &w->gen.prompts[i];
        if (!p->text) {
            json_decref(texts);
            err_set(e, ERR_UNSUPPORTED,
                    "input: another server serves this model, and takes texts in this form, not token ids");
            return NULL;
        }
        json_array_append_new(texts, json_stringn(p->text, p->len));
    }
    json_t *body = json_pack("{s:s, s:o, s:s}", "model", model, "input", texts, "encoding_format", "float");
    if (!body) err_set(e, ERR_NOMEM, "out of memory");
    return body;
}

void relayed_embeddings(struct exchange *x, const struct routed *route, const struct embedding_wire *w,
                        void (*here)(struct exchange *x, void *arg), void (*drop)(void *arg), void *arg)
{
    struct fault f = { 0 };
    struct call_request q = {
        .path = "/v1/embeddings", .endpoint = "/embeddings", .model = route->model, .n_choices = 1
    };
    struct asking *a = calloc(1, sizeof *a);
    if (!a) {
        drop(arg);
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    *a = (struct asking){ .w = w, .here = here, .drop = drop, .arg = arg, .model = strdup(route->model) };
    ending_model(exchange_ending(x), route->model);
    json_t *body = body_of(w, route->model, &f.err);
    char *text = body ? json_memory_dumps(body, JSON_COMPACT) : NULL;
    bool ok = text && a->model;
    if (!ok && f.err.code == ERR_NONE) err_set(&f.err, ERR_NOMEM, "out of memory");
    q.body = text;
    q.len = text ? strlen(text) : 0;
    ok = ok && prompt_policy_body(x, body, &f);
    const enum relay_is is =
        ok ? relay_start(x, route, body, false, &q, go_on, a, &a->relay, &f) : RELAY_REFUSED;
    free(text);
    json_decref(body);
    if (is == RELAY_HERE) go_here(x, a);
    if (is == RELAY_REFUSED) end(x, a, &f);
}
