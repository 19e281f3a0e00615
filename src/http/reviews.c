/* reviews.c - what a safety policy holds for a person: list and decide it, for who has a key with the scope admin; and, for who sent it, what was said. */
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "http/admin.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "service/account/account.h"
#include "service/account/reviews.h"

static json_t *public_json(const struct review *r)
{
    char made[DATES_TEXT], decided[DATES_TEXT];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s?, s:s?}", "object", "review", "id", r->id, "status", r->state,
        "policy", r->policy, "words", r->words, "created", dates_print(r->made_ms, made), "decided",
        r->decided_ms ? dates_print(r->decided_ms, decided) : NULL, "reason", *r->reason ? r->reason : NULL);
}

static json_t *whole_json(const struct review *r)
{
    json_t *o = public_json(r), *more = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "key", r->who, "project",
                                                  r->project, "address", r->address, "endpoint", r->endpoint,
                                                  "text", r->text, "decided_by", r->decided_by);
    if (!o || !more || json_object_update(o, more)) {
        json_decref(o);
        o = NULL;
    }
    json_decref(more);
    return o;
}

static bool no_json(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
}

static bool add_whole(void *list, const struct review *r, struct err *e)
{
    return !json_array_append_new(list, whole_json(r)) || no_json(e);
}

void admin_reviews_list(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    const char *after = exchange_query(x, "after"), *state = exchange_query(x, "status");
    int64_t most;
    if (!admin_number(x, "limit", 1, ADMIN_PAGE_MOST, ADMIN_PAGE_USUAL, &most)) return;
    bool known = !state;
    for (int i = 0; state && i < 3; i++) known |= !strcmp(state, review_states[i]);
    if (!known) {
        exchange_fault(x, FAULT_INVALID, "status", "status must be held, approved or refused, got \"%.40s\"",
                       state);
        return;
    }
    json_t *data = json_array();
    if (!data ||
        !review_each(admin_store(x), state, after ? after : "", (int)most + 1, add_whole, data, &e)) {
        if (data)
            admin_fault(x, &e);
        else
            exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        json_decref(data);
        return;
    }
    const bool more = json_array_size(data) > (size_t)most;
    if (more) json_array_remove(data, (size_t)most);
    const json_t *last = json_array_get(data, json_array_size(data) - 1);
    admin_reply(x, 200,
                json_pack("{s:s, s:O, s:b, s:s?}", "object", "list", "data", data, "has_more", (int)more,
                          "last", json_string_value(json_object_get(last, "id"))));
    json_decref(data);
}

static bool take_whole(void *out, const struct review *r, struct err *e)
{
    return (*(json_t **)out = whole_json(r)) || no_json(e);
}

static void reply_whole(struct exchange *x, const char *id)
{
    struct err e = { ERR_NONE, "" };
    json_t *o = NULL;
    if (review_find(admin_store(x), id, take_whole, &o, &e))
        admin_reply(x, 200, o);
    else
        admin_fault(x, &e);
}

void admin_review_get(struct exchange *x) { reply_whole(x, exchange_tail(x)); }

/* {"reason": "..."}, or nothing. False: answered. */
static bool read_reason(struct exchange *x, char reason[REVIEW_REASON])
{
    struct fault f = { 0 };
    json_t *body, *v;
    const char *name;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    reason[0] = 0;
    bool ok = json_in_parse(len ? bytes : "{}", len ? len : 2, &exchange_server(x)->json, &body, &f);
    if (ok) {
        if (!json_is_object(body)) ok = err_set(&f.err, ERR_REQUEST, "the body must be an object");
        json_object_foreach(body, name, v)
        {
            if (strcmp(name, "reason") != 0 || !json_is_string(v) || json_string_length(v) >= REVIEW_REASON ||
                strlen(json_string_value(v)) != json_string_length(v))
                ok = err_set(&f.err, ERR_REQUEST,
                             "a decision has a reason, a text of at most %d bytes, and nothing else",
                             REVIEW_REASON - 1);
            else
                memcpy(reason, json_string_value(v), json_string_length(v) + 1);
        }
        json_decref(body);
    }
    if (!ok) exchange_fault_from(x, &f);
    return ok;
}

/* .../ID/approve, .../ID/refuse */
void admin_review_decide(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    char id[REVIEW_ID], reason[REVIEW_REASON];
    const char *tail = exchange_tail(x), *slash = strchr(tail, '/');
    const struct actor by = admin_actor(x);
    const bool approve = slash && !strcmp(slash, "/approve");
    if (!slash || (!approve && strcmp(slash, "/refuse") != 0) || slash - tail >= (int)sizeof id) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at POST %.200s", exchange_path(x));
        return;
    }
    memcpy(id, tail, (size_t)(slash - tail));
    id[slash - tail] = 0;
    if (!read_reason(x, reason)) return;
    if (review_decide(admin_store(x), id, approve, reason, &by, clock_unix_ms(), &e))
        reply_whole(x, id);
    else
        admin_fault(x, &e);
}

struct mine {
    const char *who;
    json_t *o;
};

/* What another key sent is none of this one's business, nor that it is there. */
static bool take_mine(void *arg, const struct review *r, struct err *e)
{
    struct mine *m = arg;
    if (strcmp(m->who, r->who) != 0) return err_set(e, ERR_NOT_FOUND, "there is no review \"%.60s\"", r->id);
    return (m->o = public_json(r)) || no_json(e);
}

void review_get(struct exchange *x)
{
    struct err e = { ERR_NONE, "" };
    struct mine m = { .who = exchange_who(x)->id };
    if (!exchange_server(x)->o.account)
        exchange_fault(x, FAULT_URL, NULL,
                       "this server has no store, and so holds nothing for review; --store names one");
    else if (review_find(admin_store(x), exchange_tail(x), take_mine, &m, &e))
        admin_reply(x, 200, m.o);
    else
        admin_fault(x, &e);
}
