/* express.c - POST /api/generate and POST /api/chat: which of two APIs is meant (dialects/shared_paths.h), and the Express servers' one. */
#include "http/dialects/express.h"

#include <stdlib.h>
#include <string.h>

#include "http/dialects/shared_paths.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/ollama.h"
#include "http/pictures.h"
#include "http/relay.h"
#include "http/text.h"
#include "http/wanted.h"

/* The body, new; NULL: answered. */
static json_t *read_body(struct exchange *x)
{
    struct fault f = { 0 };
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f)) return body;
    exchange_fault_from(x, &f);
    return NULL;
}

static void refuse(struct exchange *x, const char *why)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"error\":");
    json_out_cstr(&b, why);
    buf_putc(&b, '}');
    exchange_note(x, "%s", why);
    exchange_reply(x, 400, "application/json", &b);
}

static void ollama(struct exchange *x, bool chat, json_t *body)
{
    if (exchange_becomes(x, DIALECT_OLLAMA, chat ? "chat" : "completions")) ollama_run(x, chat, body);
}

static bool draws(void *arg, const char *name)
{
    const struct server *s = exchange_server(arg);
    const struct routed *route = relay_route(arg, name);
    for (int i = 0; route && i < route->n; i++)
        if (route->to[i].model) return route->to[i].model->image;
    return wanted_draws(s->registry, s->catalog, name);
}

/* The guide's own picture model where it is installed, else what this server draws with: NULL. */
static const char *usual_picture_model(struct exchange *x)
{
    struct model *m;
    struct err none = { 0 };
    const bool here = registry_find_image(exchange_server(x)->registry, EXPRESS_PICTURE_MODEL, &m, &none);
    return here ? EXPRESS_PICTURE_MODEL : NULL;
}

void api_generate_post(struct exchange *x)
{
    json_t *body = read_body(x);
    if (!body) return;
    const bool express = shared_generate(body, draws, x) == SHARED_EXPRESS;
    const char *why = express_generate_refusal(body);
    const json_t *model = json_object_get(body, "model");
    const bool named = model && !json_is_null(model);
    if (!express) ollama(x, false, body);
    json_decref(body);
    if (!express) return;
    if (!exchange_becomes(x, DIALECT_EXPRESS_IMAGE, "express-image"))
        return;
    else if (why)
        refuse(x, why);
    else
        pictures_run(x, &express_pictures, named ? NULL : usual_picture_model(x), PICTURE_GENERATE);
}

/* The guide's own chat model where it is installed, else the first that is; malloc()ed. NULL: none is. */
static char *usual_chat_model(struct exchange *x)
{
    struct registry *r = exchange_server(x)->registry;
    struct model *m;
    struct model_row *rows;
    struct err none = { 0 };
    int n;
    if (registry_find(r, EXPRESS_CHAT_MODEL, &m, &none)) return strdup(EXPRESS_CHAT_MODEL);
    if (!registry_list(r, &rows, &n, &none)) return NULL;
    const char *first = NULL;
    for (int i = 0; i < n && !first; i++)
        if (!rows[i].image && !rows[i].problem[0]) first = rows[i].id;
    char *out = first ? strdup(first) : NULL;
    free(rows);
    return out;
}

static void chat(struct exchange *x, const json_t *body)
{
    struct fault f = { 0 };
    json_t *request;
    const char *why = express_chat_refusal(body);
    if (why) {
        refuse(x, why);
        return;
    }
    char *model = usual_chat_model(x);
    if (express_chat(body, model ? model : EXPRESS_CHAT_MODEL, exchange_server(x)->o.strict_fields, &request,
                     &f)) {
        text_run(x, true, request, &express_style);
        json_decref(request);
    } else {
        exchange_fault_from(x, &f);
    }
    free(model);
}

void api_chat_post(struct exchange *x)
{
    json_t *body = read_body(x);
    if (!body) return;
    if (shared_chat(body) == SHARED_OLLAMA)
        ollama(x, true, body);
    else if (exchange_becomes(x, DIALECT_EXPRESS_CHAT, "express-chat"))
        chat(x, body);
    json_decref(body);
}
