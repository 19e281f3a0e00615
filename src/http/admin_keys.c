/* admin_keys.c - keys over HTTP: what `hearth keys` does, for who has a key with the scope admin. */
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "http/admin.h"
#include "http/dialects/key_body.h"
#include "http/dialects/fields.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "service/account/account.h"
#include "service/account/key_json.h"

/* False: answered. */
static bool read_body(struct exchange *x, struct key_body *w)
{
    struct fault f = { 0 };
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (json_in_parse(len ? bytes : "{}", len ? len : 2, &exchange_server(x)->json, &body, &f)) {
        const bool ok = key_body_read(w, body, &f);
        json_decref(body);
        if (ok) return true;
    }
    exchange_fault_from(x, &f);
    return false;
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

/* What was changed holds at once, here; other servers see it within a second. */
static void refresh(struct exchange *x)
{
    struct err e;
    keyring_refresh(account_keyring(exchange_server(x)->o.account), &e);
}

/* The key as it is now; `secret` beside it where it was just made. */
static void reply_key(struct exchange *x, int status, const char *id, const char *secret)
{
    struct err e = { ERR_NONE, "" };
    struct key_list l;
    if (!key_list(admin_store(x), id, &l, &e)) {
        admin_fault(x, &e);
        return;
    }
    json_t *o = key_json(l.v[0], clock_unix_ms());
    if (o && secret && json_object_set_new(o, "key", json_string(secret))) {
        json_decref(o);
        o = NULL;
    }
    key_list_free(&l);
    admin_reply(x, status, o);
}

void admin_keys_list(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct key_list l;
    const int64_t now = clock_unix_ms();
    const char *after = exchange_query(x, "after");
    int64_t most;
    if (!admin_number(x, "limit", 1, ADMIN_PAGE_MOST, ADMIN_PAGE_USUAL, &most)) return;
    if (!key_page(admin_store(x), after ? after : "", (int)most + 1, &l, &e)) {
        admin_fault(x, &e);
        return;
    }
    const bool more = l.n > most;
    const int n = more ? (int)most : l.n;
    json_t *data = json_array();
    bool ok = data != NULL;
    for (int i = 0; ok && i < n; i++) ok = !json_array_append_new(data, key_json(l.v[i], now));
    json_t *o = ok ? json_pack("{s:s, s:O, s:b, s:s?}", "object", "list", "data", data, "has_more", (int)more,
                               "last", n ? l.v[n - 1]->id : NULL)
                   : NULL;
    key_list_free(&l);
    json_decref(data);
    admin_reply(x, 200, o);
}

void admin_keys_new(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct key_body w;
    char key[KEY_TEXT], id[PRINCIPAL_ID];
    const struct actor by = admin_actor(x);
    if (!read_body(x, &w)) return;
#define TEXT(field) (w.field ? w.field : "")
    const struct key_wish wish = { .name = TEXT(name),
                                   .project = TEXT(project),
                                   .scopes = TEXT(scopes),
                                   .addresses = TEXT(addresses),
                                   .limits = TEXT(limits),
                                   .budgets = TEXT(budgets),
                                   .tags = TEXT(tags),
                                   .expires_ms = w.expires_ms == KEY_EXPIRES_KEPT ? 0 : w.expires_ms,
                                   .weight = (int)w.weight,
                                   .priority = w.priority == KEY_PRIORITY_KEPT ? 0 : (int)w.priority,
                                   .by = &by };
#undef TEXT
    const bool ok = key_new(admin_store(x), &wish, clock_unix_ms(), key, id, &e);
    key_body_free(&w);
    if (!ok) {
        admin_fault(x, &e);
        return;
    }
    refresh(x);
    reply_key(x, 201, id, key);
}

void admin_key_get(struct exchange *x) { reply_key(x, 200, exchange_tail(x), NULL); }

void admin_key_change(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct key_body w;
    const struct actor by = admin_actor(x);
    if (!read_body(x, &w)) return;
    const struct key_wish wish = { .name = w.name,
                                   .project = w.project,
                                   .scopes = w.scopes,
                                   .addresses = w.addresses,
                                   .limits = w.limits,
                                   .budgets = w.budgets,
                                   .tags = w.tags,
                                   .expires_ms = w.expires_ms,
                                   .weight = (int)w.weight,
                                   .priority = (int)w.priority,
                                   .by = &by };
    const bool ok = key_change(admin_store(x), exchange_tail(x), &wish, clock_unix_ms(), &e);
    key_body_free(&w);
    if (!ok) {
        admin_fault(x, &e);
        return;
    }
    refresh(x);
    reply_key(x, 200, exchange_tail(x), NULL);
}

void admin_key_revoke(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    const struct actor by = admin_actor(x);
    if (!key_revoke(admin_store(x), exchange_tail(x), &by, clock_unix_ms(), &e)) {
        admin_fault(x, &e);
        return;
    }
    refresh(x);
    reply_key(x, 200, exchange_tail(x), NULL);
}

/* .../ID/rotate */
void admin_key_rotate(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    char key[KEY_TEXT], id[PRINCIPAL_ID];
    const char *tail = exchange_tail(x), *slash = strchr(tail, '/');
    const struct actor by = admin_actor(x);
    if (!slash || strcmp(slash, "/rotate") != 0 || slash - tail >= (int)sizeof id) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at POST %.200s", exchange_path(x));
        return;
    }
    memcpy(id, tail, (size_t)(slash - tail));
    id[slash - tail] = 0;
    if (!key_rotate(admin_store(x), id, &by, clock_unix_ms(), key, &e)) {
        admin_fault(x, &e);
        return;
    }
    refresh(x);
    reply_key(x, 200, id, key);
}

/* ---- as Firemoon's clients make one -------------------------------------------------------------------------------- */

struct firemoon_key {
    const char *description, *scope; /* of the body */
};

static bool take_firemoon(void *reader, const void *row, const json_t *v, struct fault *f)
{
    struct firemoon_key *k = reader;
    const struct json_member *m = row;
    return json_in_str(v, m->name, strcmp(m->name, "scope") != 0 ? &k->description : &k->scope, f);
}

static const struct json_member rows[] = { { "description", 1, "text" }, { "scope", 1, "'full_access'" } };
const struct json_table firemoon_key_fields = JSON_TABLE(rows, take_firemoon);

/* POST /api/keys {"description": "...", "scope": "full_access"}: there of who has logged in, here of who administers. The key may ask every model
 * and endpoint, and administers nothing. */
void firemoon_keys_post(struct exchange *x)
{
    const struct json_place place = { .path = "", .form = 1, .strict = true };
    struct firemoon_key k = { "", "full_access" };
    struct fault f = { 0 };
    struct key_list l = { .n = 0 };
    char key[KEY_TEXT], id[PRINCIPAL_ID], at[DATES_TEXT];
    json_t *body, *o = NULL;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    const struct actor by = admin_actor(x);
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f)) {
        exchange_fault_from(x, &f);
        return;
    }
    bool ok = json_in_object(&firemoon_key_fields, &place, &k, body, &f);
    if (ok && strcmp(k.scope, "full_access") != 0) {
        f.param = "scope";
        ok = err_set(&f.err, ERR_REQUEST,
                     "scope must be \"full_access\", got \"%.40s\"; POST /admin/v1/keys makes others",
                     k.scope);
    }
    const struct key_wish wish = { .name = k.description,
                                   .project = "",
                                   .scopes = "",
                                   .addresses = "",
                                   .limits = "",
                                   .budgets = "",
                                   .tags = "",
                                   .by = &by };
    if (!ok)
        exchange_fault_from(x, &f);
    else if (!key_new(admin_store(x), &wish, clock_unix_ms(), key, id, &f.err) ||
             !key_list(admin_store(x), id, &l, &f.err))
        admin_fault(x, &f.err);
    else {
        refresh(x);
        o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "key", key, "description", l.v[0]->name, "scope",
                      "full_access", "created_at", dates_print(l.v[0]->made_ms, at));
        admin_reply(x, 201, o);
    }
    key_list_free(&l);
    json_decref(body);
}
