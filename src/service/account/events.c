/* events.c - see events.h. */
#include "service/account/events.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dates.h"
#include "base/rng.h"
#include "format/json_memory.h"

static void new_id(char out[40])
{
    unsigned char r[16];
    rng_os(r, sizeof r);
    snprintf(out, 5, "evt_");
    sodium_bin2hex(out + 4, 33, r, sizeof r);
}

static bool found(void *arg, const struct store_row *r, struct err *e)
{
    (void)r, (void)e;
    *(bool *)arg = true;
    return true;
}

bool events_has(struct session *c, const char *once, bool *has, struct err *e)
{
    *has = false;
    return session_run(c, "SELECT 1 FROM events WHERE once = $1", STORE_ARGS(STORE_V(once)), found, has, e);
}

bool events_add(struct session *c, const char *type, const char *once, const json_t *data, int64_t now_ms,
                struct err *e)
{
    char at[DATES_TEXT], id[40];
    const char *name = *once ? once : id, *own = id;
    json_t *o = json_pack("{s:s, s:s, s:O}", "type", type, "timestamp", dates_print(now_ms, at), "data",
                          (json_t *)data);
    char *body = o ? json_memory_dumps(o, JSON_COMPACT) : NULL;
    new_id(id);
    bool ok = body || err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
    ok = ok && session_run(c,
                           "INSERT INTO events (seq, id, once, at_ms, type, body) SELECT COALESCE(MAX(seq), "
                           "0) + 1, $1, $2, $3, $4, $5 FROM events WHERE 1 = 1 ON CONFLICT (once) DO NOTHING",
                           STORE_ARGS(STORE_V(own), STORE_V(name), STORE_V(now_ms), STORE_V(type),
                                      STORE_V((const char *)body)),
                           NULL, NULL, e);
    free(body);
    json_decref(o);
    return ok;
}

struct taken {
    struct event ev;
    bool found;
};

static bool take(void *arg, const struct store_row *r, struct err *e)
{
    struct taken *t = arg;
    const struct store_value *v = r->v;
    t->ev = (struct event){ .seq = v[0].number, .at_ms = v[1].number, .body = strdup(v[4].text) };
    if (!t->ev.body) return err_set(e, ERR_NOMEM, "out of memory");
    snprintf(t->ev.id, sizeof t->ev.id, "%s", v[2].text);
    snprintf(t->ev.type, sizeof t->ev.type, "%s", v[3].text);
    return t->found = true;
}

bool events_next(struct session *c, int64_t after, struct event *out, bool *found, struct err *e)
{
    struct taken t = { .found = false };
    if (!session_run(c, "SELECT seq, at_ms, id, type, body FROM events WHERE seq > $1 ORDER BY seq LIMIT 1",
                     STORE_ARGS(STORE_V(after)), take, &t, e)) {
        free(t.ev.body);
        return false;
    }
    *out = t.ev;
    *found = t.found;
    return true;
}

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

bool events_last(struct session *c, int64_t *seq, struct err *e)
{
    *seq = 0;
    return session_run(c, "SELECT COALESCE(MAX(seq), 0) FROM events", STORE_NO_ARGS, take_number, seq, e);
}

bool events_forget(struct session *c, int64_t before_ms, struct err *e)
{
    const int64_t month_ms = 32 * INT64_C(86400000), long_ago = before_ms - month_ms;
    return session_run(
        c,
        "DELETE FROM events WHERE at_ms < $1 AND seq < (SELECT MAX(o.seq) FROM events o) AND seq <= "
        "COALESCE((SELECT MIN(w.seq) FROM webhooks w WHERE w.seen_ms >= $1), seq) AND (once = id OR (at_ms < "
        "$2 AND once NOT LIKE '% total %'))",
        STORE_ARGS(STORE_V(before_ms), STORE_V(long_ago)), NULL, NULL, e);
}

void event_free(struct event *ev)
{
    free(ev->body);
    ev->body = NULL;
}
