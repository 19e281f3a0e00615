/* batch_rows.c - see batch_rows.h. */
#include "service/batch/batch_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                              \
    "id, owner, asker, address, endpoint, input_file, output_file, error_file, metadata, errors, state, "    \
    "window_s, total, done, failed, made_ms, expires_ms, in_progress_ms, finalizing_ms, completed_ms, "      \
    "failed_ms, expired_ms, cancelling_ms, cancelled_ms"
#define OPEN "('validating', 'in_progress', 'finalizing', 'cancelling')"

static const char *const names[N_BATCH_STATES] = { "validating", "failed",  "in_progress", "finalizing",
                                                   "completed",  "expired", "cancelling",  "cancelled" };
const char *batch_state_name(enum batch_state s) { return names[s]; }

void batch_row_free(struct batch_row *r)
{
    free(r->metadata);
    free(r->errors);
    r->metadata = r->errors = NULL;
}

static bool take(const struct store_row *from, struct batch_row *r, struct err *e)
{
    const struct store_value *v = from->v;
    *r = (struct batch_row){ .window_s = v[11].number,
                             .total = v[12].number,
                             .done = v[13].number,
                             .failed = v[14].number,
                             .made_ms = v[15].number,
                             .expires_ms = v[16].number,
                             .at_ms = { [BATCH_IN_PROGRESS] = v[17].number,
                                        [BATCH_FINALIZING] = v[18].number,
                                        [BATCH_COMPLETED] = v[19].number,
                                        [BATCH_FAILED] = v[20].number,
                                        [BATCH_EXPIRED] = v[21].number,
                                        [BATCH_CANCELLING] = v[22].number,
                                        [BATCH_CANCELLED] = v[23].number } };
    snprintf(r->id, sizeof r->id, "%s", v[0].text);
    snprintf(r->owner, sizeof r->owner, "%s", v[1].text);
    snprintf(r->asker, sizeof r->asker, "%s", v[2].text);
    snprintf(r->address, sizeof r->address, "%s", v[3].text);
    snprintf(r->endpoint, sizeof r->endpoint, "%s", v[4].text);
    snprintf(r->input_file, sizeof r->input_file, "%s", v[5].text);
    snprintf(r->output_file, sizeof r->output_file, "%s", v[6].text);
    snprintf(r->error_file, sizeof r->error_file, "%s", v[7].text);
    for (int i = 0; i < N_BATCH_STATES; i++)
        if (!strcmp(names[i], v[10].text)) r->state = (enum batch_state)i;
    r->metadata = strdup(v[8].text);
    r->errors = strdup(v[9].text);
    if (r->metadata && r->errors) return true;
    batch_row_free(r);
    return err_set(e, ERR_NOMEM, "out of memory");
}

static bool add(void *arg, struct session *c, struct err *e)
{
    const struct batch_row *r = arg;
    return session_run(
        c,
        "INSERT INTO batches (" COLUMNS
        ") VALUES ($1, $2, $3, $4, $5, $6, '', '', $7, '', 'validating', $8, 0, 0, 0, $9, $10, "
        "0, 0, 0, 0, 0, 0, 0)",
        STORE_ARGS(STORE_V((const char *)r->id), STORE_V((const char *)r->owner),
                   STORE_V((const char *)r->asker), STORE_V((const char *)r->address),
                   STORE_V((const char *)r->endpoint), STORE_V((const char *)r->input_file),
                   STORE_V(r->metadata), STORE_V(r->window_s), STORE_V(r->made_ms), STORE_V(r->expires_ms)),
        NULL, NULL, e);
}

bool batch_rows_add(struct store *s, const struct batch_row *r, struct err *e)
{
    return store_write(s, add, (void *)r, e);
}

/* ---- one ----------------------------------------------------------------------------------------------------------- */

struct wanted {
    const char *owner, *id;
    struct batch_row *out;
    bool found;
    int64_t now_ms;
};

static bool take_one(void *arg, const struct store_row *r, struct err *e)
{
    struct wanted *w = arg;
    return w->found = take(r, w->out, e);
}

static bool get(void *arg, struct session *c, struct err *e)
{
    struct wanted *w = arg;
    w->found = false;
    return session_run(c, "SELECT " COLUMNS " FROM batches WHERE id = $1", STORE_ARGS(STORE_V(w->id)),
                       take_one, w, e);
}

static bool none_such(const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "No batch found with id '%.60s'.", id);
}

bool batch_rows_get(struct store *s, const char *owner, const char *id, struct batch_row *out, struct err *e)
{
    struct wanted w = { owner, id, out, false, 0 };
    if (!store_read(s, get, &w, e)) return false;
    if (w.found && (!owner || !strcmp(owner, out->owner))) return true;
    if (w.found) batch_row_free(out);
    return none_such(id, e);
}

static bool cancel(void *arg, struct session *c, struct err *e)
{
    struct wanted *w = arg;
    struct batch_row r;
    w->out = &r;
    if (!get(w, c, e)) return false;
    if (!w->found) return none_such(w->id, e);
    const enum batch_state is = r.state;
    const bool mine = !strcmp(r.owner, w->owner);
    batch_row_free(&r);
    if (!mine) return none_such(w->id, e);
    if (is == BATCH_CANCELLING) return true;
    if (is != BATCH_VALIDATING && is != BATCH_IN_PROGRESS)
        return err_set(e, ERR_REQUEST, "Cannot cancel a batch with status '%s'.", names[is]);
    return session_run(c, "UPDATE batches SET state = 'cancelling', cancelling_ms = $1 WHERE id = $2",
                       STORE_ARGS(STORE_V(w->now_ms), STORE_V(w->id)), NULL, NULL, e);
}

bool batch_rows_cancel(struct store *s, const char *owner, const char *id, int64_t now_ms, struct err *e)
{
    struct wanted w = { .owner = owner, .id = id, .now_ms = now_ms };
    return store_write(s, cancel, &w, e);
}

/* ---- lists --------------------------------------------------------------------------------------------------------- */

struct listing {
    const char *owner, *after;
    int limit, n;
    void (*fn)(void *arg, const struct batch_row *r);
    void *arg;
    bool more;
};

static bool take_listed(void *arg, const struct store_row *row, struct err *e)
{
    struct listing *l = arg;
    struct batch_row r;
    if (l->n == l->limit) {
        l->more = true;
        return true;
    }
    if (!take(row, &r, e)) return false;
    l->n++;
    l->fn(l->arg, &r);
    batch_row_free(&r);
    return true;
}

static bool list(void *arg, struct session *c, struct err *e)
{
    struct listing *l = arg;
    struct batch_row r = { .made_ms = INT64_MAX };
    struct wanted w = { .id = l->after, .out = &r };
    const int64_t limit = l->limit + 1;
    if (*l->after) {
        if (!get(&w, c, e)) return false;
        if (!w.found) return none_such(l->after, e);
        const bool mine = !strcmp(r.owner, l->owner);
        batch_row_free(&r);
        if (!mine) return none_such(l->after, e);
    }
    return session_run(
        c,
        "SELECT " COLUMNS " FROM batches WHERE owner = $1 AND (made_ms < $2 OR (made_ms = $2 "
        "AND id < $3)) ORDER BY made_ms DESC, id DESC LIMIT $4",
        STORE_ARGS(STORE_V(l->owner), STORE_V(r.made_ms), STORE_V((const char *)r.id), STORE_V(limit)),
        take_listed, l, e);
}

bool batch_rows_list(struct store *s, const char *owner, const char *after, int limit,
                     void (*fn)(void *arg, const struct batch_row *r), void *arg, bool *more, struct err *e)
{
    struct listing l = { owner, after, limit, 0, fn, arg, false };
    if (!store_read(s, list, &l, e)) return false;
    *more = l.more;
    return true;
}

static bool list_open(void *arg, struct session *c, struct err *e)
{
    struct listing *l = arg;
    const int64_t limit = l->limit;
    return session_run(
        c, "SELECT " COLUMNS " FROM batches WHERE state IN " OPEN " ORDER BY made_ms, id LIMIT $1",
        STORE_ARGS(STORE_V(limit)), take_listed, l, e);
}

bool batch_rows_open(struct store *s, int limit, void (*fn)(void *arg, const struct batch_row *r), void *arg,
                     struct err *e)
{
    struct listing l = { "", "", limit, 0, fn, arg, false };
    return store_read(s, list_open, &l, e);
}

/* ---- states -------------------------------------------------------------------------------------------------------- */

struct move {
    const char *id;
    enum batch_state from, to;
    int64_t now_ms, total;
    const char *text;
    const struct file_row *output, *errors;
    bool moved;
};

static bool enter(struct move *m, struct session *c, struct err *e)
{
    char sql[200];
    const char *from = names[m->from], *to = names[m->to];
    snprintf(sql, sizeof sql, "UPDATE batches SET state = $1, %s_ms = $2 WHERE id = $3 AND state = $4", to);
    if (!session_run(c, sql, STORE_ARGS(STORE_V(to), STORE_V(m->now_ms), STORE_V(m->id), STORE_V(from)), NULL,
                     NULL, e))
        return false;
    m->moved = session_changed(c) > 0;
    return true;
}

static bool move(void *arg, struct session *c, struct err *e)
{
    struct move *m = arg;
    if (!enter(m, c, e)) return false;
    if (m->moved && m->total >= 0 &&
        !session_run(c, "UPDATE batches SET total = $1 WHERE id = $2",
                     STORE_ARGS(STORE_V(m->total), STORE_V(m->id)), NULL, NULL, e))
        return false;
    return !m->moved || !m->text ||
           session_run(c, "UPDATE batches SET errors = $1 WHERE id = $2",
                       STORE_ARGS(STORE_V(m->text), STORE_V(m->id)), NULL, NULL, e);
}

bool batch_rows_move(struct store *s, const char *id, enum batch_state from, enum batch_state to,
                     int64_t now_ms, int64_t total, const char *errors, bool *moved, struct err *e)
{
    struct move m = { .id = id, .from = from, .to = to, .now_ms = now_ms, .total = total, .text = errors };
    if (!store_write(s, move, &m, e)) return false;
    *moved = m.moved;
    return true;
}

static bool close_one(void *arg, struct session *c, struct err *e)
{
    const struct move *m = arg;
    char sql[200];
    const char *to = names[m->to], *output = m->output ? m->output->id : "",
               *errors = m->errors ? m->errors->id : "";
    snprintf(sql, sizeof sql,
             "UPDATE batches SET state = $1, %s_ms = $2, output_file = $3, error_file = $4 WHERE id = $5",
             to);
    return (!m->output || file_rows_put(c, m->output, e)) && (!m->errors || file_rows_put(c, m->errors, e)) &&
           session_run(
               c, sql,
               STORE_ARGS(STORE_V(to), STORE_V(m->now_ms), STORE_V(output), STORE_V(errors), STORE_V(m->id)),
               NULL, NULL, e) &&
           session_run(c, "DELETE FROM batch_lines WHERE batch = $1", STORE_ARGS(STORE_V(m->id)), NULL, NULL,
                       e);
}

bool batch_rows_close(struct store *s, const char *id, enum batch_state to, int64_t now_ms,
                      const struct file_row *output, const struct file_row *errors, struct err *e)
{
    struct move m = { .id = id, .to = to, .now_ms = now_ms, .output = output, .errors = errors };
    return store_write(s, close_one, &m, e);
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

struct lines {
    const char *id;
    int64_t after, limit;
    void (*each)(void *arg, int64_t line);
    bool (*one)(void *arg, const struct batch_answer *a, struct err *e);
    void *arg;
};

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    const struct lines *l = arg;
    (void)e;
    l->each(l->arg, r->v[0].number);
    return true;
}

static bool each_line(void *arg, struct session *c, struct err *e)
{
    struct lines *l = arg;
    return session_run(c, "SELECT line FROM batch_lines WHERE batch = $1", STORE_ARGS(STORE_V(l->id)),
                       take_number, l, e);
}

bool batch_lines_each(struct store *s, const char *id, void (*fn)(void *arg, int64_t line), void *arg,
                      struct err *e)
{
    struct lines l = { .id = id, .each = fn, .arg = arg };
    return store_read(s, each_line, &l, e);
}

static bool take_answer(void *arg, const struct store_row *r, struct err *e)
{
    const struct lines *l = arg;
    const struct batch_answer a = { r->v[0].number, r->v[1].number, r->v[2].text, r->v[3].text };
    return l->one(l->arg, &a, e);
}

static bool page(void *arg, struct session *c, struct err *e)
{
    struct lines *l = arg;
    return session_run(c,
                       "SELECT line, status, request, body FROM batch_lines WHERE batch = $1 AND line > $2 "
                       "ORDER BY line LIMIT $3",
                       STORE_ARGS(STORE_V(l->id), STORE_V(l->after), STORE_V(l->limit)), take_answer, l, e);
}

bool batch_lines_page(struct store *s, const char *id, int64_t after, int limit,
                      bool (*fn)(void *arg, const struct batch_answer *a, struct err *e), void *arg,
                      struct err *e)
{
    struct lines l = { .id = id, .after = after, .limit = limit, .one = fn, .arg = arg };
    return store_read(s, page, &l, e);
}

static bool take_found(void *arg, const struct store_row *r, struct err *e)
{
    (void)r, (void)e;
    *(bool *)arg = true;
    return true;
}

bool batch_lines_has(struct session *c, const char *id, int64_t line, bool *has, struct err *e)
{
    *has = false;
    return session_run(c, "SELECT line FROM batch_lines WHERE batch = $1 AND line = $2",
                       STORE_ARGS(STORE_V(id), STORE_V(line)), take_found, has, e);
}
