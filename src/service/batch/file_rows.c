/* file_rows.c - see file_rows.h. */
#include "service/batch/file_rows.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "service/account/keyring.h"

#define COLUMNS "id, owner, name, purpose, bytes, start, made_ms, expires_ms"

void file_owner(const struct principal *who, char owner[FILE_OWNER])
{
    char hex[2 * PRINCIPAL_HASH + 1];
    if (who->key && *who->key->project) {
        snprintf(owner, FILE_OWNER, "project:%.240s", who->key->project);
    } else if (who->key) {
        snprintf(owner, FILE_OWNER, "key:%s", who->key->id);
    } else {
        sodium_bin2hex(hex, sizeof hex, who->hash, sizeof who->hash);
        snprintf(owner, FILE_OWNER, "hash:%s", hex);
    }
}

static void take(const struct store_row *from, struct file_row *r)
{
    const struct store_value *v = from->v;
    *r = (struct file_row){
        .bytes = v[4].number, .start = v[5].number, .made_ms = v[6].number, .expires_ms = v[7].number
    };
    snprintf(r->id, sizeof r->id, "%s", v[0].text);
    snprintf(r->owner, sizeof r->owner, "%s", v[1].text);
    snprintf(r->name, sizeof r->name, "%s", v[2].text);
    snprintf(r->purpose, sizeof r->purpose, "%s", v[3].text);
}

/* ---- adding -------------------------------------------------------------------------------------------------------- */

bool file_rows_put(struct session *c, const struct file_row *r, struct err *e)
{
    return session_run(c,
                       "INSERT INTO files (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT "
                       "(id) DO NOTHING",
                       STORE_ARGS(STORE_V((const char *)r->id), STORE_V((const char *)r->owner),
                                  STORE_V((const char *)r->name), STORE_V((const char *)r->purpose),
                                  STORE_V(r->bytes), STORE_V(r->start), STORE_V(r->made_ms),
                                  STORE_V(r->expires_ms)),
                       NULL, NULL, e);
}

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

struct adding {
    const struct file_row *row;
    int64_t most;
};

static bool add(void *arg, struct session *c, struct err *e)
{
    const struct adding *a = arg;
    int64_t has = 0;
    if (!session_run(c, "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM files WHERE owner = $1",
                     STORE_ARGS(STORE_V((const char *)a->row->owner)), take_number, &has, e))
        return false;
    if (a->row->bytes > a->most - has)
        return err_set(e, ERR_LIMIT,
                       "with this one your files would have %lld bytes, and they may have %lld together; "
                       "delete some",
                       (long long)(has + a->row->bytes), (long long)a->most);
    return file_rows_put(c, a->row, e);
}

bool file_rows_add(struct store *s, const struct file_row *r, int64_t most, struct err *e)
{
    return store_write(s, add, &(struct adding){ r, most }, e);
}

/* ---- one ----------------------------------------------------------------------------------------------------------- */

struct wanted {
    const char *owner, *id;
    int64_t now_ms;
    struct file_row *out;
    bool found;
};

static bool take_one(void *arg, const struct store_row *r, struct err *e)
{
    struct wanted *w = arg;
    (void)e;
    take(r, w->out);
    w->found = true;
    return true;
}

static bool get(void *arg, struct session *c, struct err *e)
{
    struct wanted *w = arg;
    w->found = false;
    return session_run(c, "SELECT " COLUMNS " FROM files WHERE id = $1", STORE_ARGS(STORE_V(w->id)), take_one,
                       w, e);
}

static bool none_such(const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "No such File object: %.60s", id);
}

static bool is_mine(const struct wanted *w)
{
    const struct file_row *r = w->out;
    return w->found && (!w->owner || !strcmp(r->owner, w->owner)) &&
           (!r->expires_ms || r->expires_ms > w->now_ms);
}

bool file_rows_get(struct store *s, const char *owner, const char *id, int64_t now_ms, struct file_row *out,
                   struct err *e)
{
    struct wanted w = { owner, id, now_ms, out, false };
    return store_read(s, get, &w, e) && (is_mine(&w) || none_such(id, e));
}

static bool take_user(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    snprintf(arg, FILE_ID, "%s", r->v[0].text);
    return true;
}

static bool remove_one(void *arg, struct session *c, struct err *e)
{
    const struct wanted *w = arg;
    char user[FILE_ID] = "";
    if (!session_run(c,
                     "SELECT id FROM batches WHERE input_file = $1 AND state IN ('validating', "
                     "'in_progress', 'finalizing', 'cancelling') LIMIT 1",
                     STORE_ARGS(STORE_V(w->id)), take_user, user, e))
        return false;
    if (*user)
        return err_set(e, ERR_REQUEST, "%.60s is being read by %s: cancel that first, or wait for its end",
                       w->id, user);
    if (!session_run(c, "DELETE FROM files WHERE id = $1 AND owner = $2",
                     STORE_ARGS(STORE_V(w->id), STORE_V(w->owner)), NULL, NULL, e))
        return false;
    return session_changed(c) > 0 || none_such(w->id, e);
}

bool file_rows_remove(struct store *s, const char *owner, const char *id, struct err *e)
{
    struct wanted w = { .owner = owner, .id = id };
    return store_write(s, remove_one, &w, e);
}

/* ---- lists --------------------------------------------------------------------------------------------------------- */

struct listing {
    const struct file_page *p;
    void (*fn)(void *arg, const struct file_row *r);
    void *arg;
    int n;
    bool more;
};

static bool take_listed(void *arg, const struct store_row *row, struct err *e)
{
    struct listing *l = arg;
    struct file_row r;
    (void)e;
    if (l->n == l->p->limit) {
        l->more = true;
        return true;
    }
    take(row, &r);
    l->n++;
    l->fn(l->arg, &r);
    return true;
}

static bool list(void *arg, struct session *c, struct err *e)
{
    struct listing *l = arg;
    const struct file_page *p = l->p;
    struct file_row from = { .made_ms = p->ascending ? -1 : INT64_MAX };
    struct wanted w = { .owner = p->owner, .id = p->after, .now_ms = p->now_ms, .out = &from };
    const char *purpose = *p->purpose ? p->purpose : "";
    if (*p->after) {
        if (!get(&w, c, e)) return false;
        if (!is_mine(&w)) return none_such(p->after, e);
    }
    const char *sql = p->ascending ? "SELECT " COLUMNS " FROM files WHERE owner = $1 AND (made_ms > $2 OR "
                                     "(made_ms = $2 AND id > $3)) AND ($4 = '' OR purpose = $4) AND "
                                     "(expires_ms = 0 OR expires_ms > $5) ORDER BY made_ms, id LIMIT $6"
                                   : "SELECT " COLUMNS " FROM files WHERE owner = $1 AND (made_ms < $2 OR "
                                     "(made_ms = $2 AND id < $3)) AND ($4 = '' OR purpose = $4) AND "
                                     "(expires_ms = 0 OR expires_ms > $5) ORDER BY made_ms DESC, id DESC "
                                     "LIMIT $6";
    const int64_t limit = p->limit + 1, now_ms = p->now_ms;
    return session_run(c, sql,
                       STORE_ARGS(STORE_V(p->owner), STORE_V(from.made_ms), STORE_V((const char *)from.id),
                                  STORE_V(purpose), STORE_V(now_ms), STORE_V(limit)),
                       take_listed, l, e);
}

bool file_rows_list(struct store *s, const struct file_page *p,
                    void (*fn)(void *arg, const struct file_row *r), void *arg, bool *more, struct err *e)
{
    struct listing l = { p, fn, arg, 0, false };
    if (!store_read(s, list, &l, e)) return false;
    *more = l.more;
    return true;
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

struct expiring {
    int64_t now_ms;
    char id[64][FILE_ID];
    int n;
};

static bool take_old(void *arg, const struct store_row *r, struct err *e)
{
    struct expiring *x = arg;
    (void)e;
    snprintf(x->id[x->n++], FILE_ID, "%s", r->v[0].text);
    return true;
}

/* One that a batch still reads waits for its end. */
static bool expire(void *arg, struct session *c, struct err *e)
{
    struct expiring *x = arg;
    x->n = 0;
    return session_run(c,
                       "DELETE FROM files WHERE id IN (SELECT id FROM files f WHERE f.expires_ms > 0 AND "
                       "f.expires_ms < $1 AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.input_file = f.id "
                       "AND b.state IN ('validating', 'in_progress', 'finalizing', 'cancelling')) LIMIT 64) "
                       "RETURNING id",
                       STORE_ARGS(STORE_V(x->now_ms)), take_old, x, e);
}

bool file_rows_expire(struct store *s, int64_t now_ms, void (*fn)(void *arg, const char *id), void *arg,
                      struct err *e)
{
    struct expiring x = { .now_ms = now_ms };
    do {
        if (!store_write(s, expire, &x, e)) return false;
        for (int i = 0; i < x.n; i++) fn(arg, x.id[i]);
    } while (x.n == 64);
    return true;
}

bool file_rows_known(struct store *s, const char *id, bool *known, struct err *e)
{
    struct file_row r;
    struct wanted w = { .id = id, .out = &r };
    if (!store_read(s, get, &w, e)) return false;
    *known = w.found;
    return true;
}
