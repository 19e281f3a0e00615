/* ollama_names.c - POST /api/copy and DELETE /api/delete: names of one's own for models, given and taken back (service/models/aliases.h). The
 * models themselves are files of the server's folder, which are its operator's to remove. */
#include <stdlib.h>

#include "http/dialects/fields.h"
#include "http/dialects/ollama.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "service/account/keyring.h"
#include "service/models/registry.h"

enum { COPY = FIELDS_OLLAMA_COPY, DELETE = FIELDS_OLLAMA_DELETE };

struct names { /* of a body; borrowed from it */
    const char *source, *destination, *model, *name;
};

static const struct row {
    struct json_member member; /* forms: COPY, DELETE */
    size_t offset;
} rows[] = {
#define F(name, form, shape)                                                                                 \
    {                                                                                                        \
        { #name, form, shape }, offsetof(struct names, name)                                                 \
    }
    F(source, COPY, "!text 1.."), F(destination, COPY, "!text 1.."), F(model, DELETE, "text 1.."),
    F(name, DELETE, "text 1.."), /* the older name of the field */
#undef F
};

static bool take(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct row *r = row;
    return json_in_str(v, r->member.name, (const char **)(void *)((char *)reader + r->offset), f);
}

const struct json_table ollama_name_fields = JSON_TABLE(rows, take);

/* Names are every client's, so who gives them must administer, where keys are asked for at all. */
static bool may_change(struct exchange *x)
{
    const struct principal *who = exchange_who(x);
    if (!who->known || (who->key && who->key->scopes.admin)) return true;
    exchange_fault(
        x, FAULT_FORBIDDEN, NULL,
        "this key may not change the names of models: that takes one of the store with the scope admin");
    return false;
}

/* The body, which is the caller's, with what it names; NULL: answered. */
static json_t *read_names(struct exchange *x, unsigned form, struct names *out)
{
    const struct json_place place = { .path = "",
                                      .form = form,
                                      .strict = exchange_server(x)->o.strict_fields };
    struct fault f = { 0 };
    json_t *body = NULL;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    bool ok = json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f) &&
              json_in_object(&ollama_name_fields, &place, out, body, &f);
    if (ok && form == DELETE && !out->model) out->model = out->name;
    f.param = ok ? json_in_missing(&ollama_name_fields, form, body) : f.param;
    if (ok && !f.param && form == DELETE && !out->model) f.param = "model";
    if (ok && f.param) ok = err_set(&f.err, ERR_REQUEST, "%s is required", f.param);
    if (ok) return body;
    json_decref(body);
    exchange_fault_from(x, &f);
    return NULL;
}

static void done(struct exchange *x, json_t *body, bool ok, const struct fault *f)
{
    struct buf none = BUF_INIT(0);
    json_decref(body);
    if (ok)
        exchange_reply(x, 200, "text/plain", &none);
    else
        exchange_fault_from(x, f);
}

void ollama_copy_post(struct exchange *x)
{
    struct fault f = { .param = "source" };
    struct names n = { 0 };
    json_t *body = may_change(x) ? read_names(x, COPY, &n) : NULL;
    if (!body) return;
    char *from = ollama_bare_name(n.source), *to = ollama_bare_name(n.destination);
    const bool ok = from && to ? registry_alias(exchange_server(x)->registry, to, from, &f.err)
                               : err_set(&f.err, ERR_NOMEM, "out of memory");
    free(from);
    free(to);
    done(x, body, ok, &f);
}

void ollama_delete_delete(struct exchange *x)
{
    struct fault f = { .param = "model" };
    struct names n = { 0 };
    struct model *m;
    struct err none = { 0 };
    struct registry *models = exchange_server(x)->registry;
    json_t *body = may_change(x) ? read_names(x, DELETE, &n) : NULL;
    if (!body) return;
    char *name = ollama_bare_name(n.model);
    bool ok = name ? registry_unalias(models, name, &f.err) : err_set(&f.err, ERR_NOMEM, "out of memory");
    if (!ok && f.err.code == ERR_NOT_FOUND) {
        const bool installed = registry_find(models, name, &m, &none) || none.code == ERR_REQUEST;
        if (installed)
            err_set(
                &f.err, ERR_UNSUPPORTED,
                "\"%.120s\" is an installed model, whose files are the operator's to remove (`hearth rm`); "
                "DELETE /api/delete takes back names that /api/copy gave",
                name);
        else
            err_set(&f.err, ERR_NOT_FOUND, "model \"%.120s\" not found", name);
    }
    free(name);
    done(x, body, ok, &f);
}
