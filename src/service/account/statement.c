/* statement.c - see statement.h. */
#include "service/account/statement.h"

#include <stdio.h>

#include "service/account/budgets.h"

/* ---- the balance --------------------------------------------------------------------------------------------------- */

struct balance {
    const struct key_record *k;
    int64_t now_ms, nano;
    bool any;
};

static bool add_owner(struct balance *b, struct session *c, const char *owner,
                      const struct budget_rules *rules, struct err *e)
{
    for (int p = 0; p < N_PERIODS; p++) {
        struct budget_state s;
        if (rules->most[p] < 0 || rules->soft[p]) continue;
        if (!budget_read(c, owner, (enum period)p, b->now_ms, &s, e)) return false;
        const int64_t left = rules->most[p] - s.spent - s.reserved;
        if (!b->any || left < b->nano) b->nano = left;
        b->any = true;
    }
    return true;
}

static bool read_balance(void *arg, struct session *c, struct err *e)
{
    struct balance *b = arg;
    char owner[260];
    b->any = false;
    snprintf(owner, sizeof owner, "key:%s", b->k->id);
    if (!add_owner(b, c, owner, &b->k->budgets, e)) return false;
    snprintf(owner, sizeof owner, "project:%s", b->k->project);
    return !*b->k->project || add_owner(b, c, owner, &b->k->project_budgets, e);
}

bool statement_balance(struct store *s, const struct key_record *k, int64_t now_ms, bool *any, int64_t *nano,
                       struct err *e)
{
    struct balance b = { .k = k, .now_ms = now_ms };
    if (!store_read(s, read_balance, &b, e)) return false;
    *any = b.any;
    *nano = b.nano;
    return true;
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

struct lines {
    const char *key, *dialect, *path;
    int64_t limit, offset;
    bool (*fn)(void *arg, const struct statement_line *l, struct err *e);
    void *arg;
    struct statement_sum sum;
};

static bool take_sum(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(struct statement_sum *)arg = (struct statement_sum){ r->v[0].number, r->v[1].number };
    return true;
}

static bool take_line(void *arg, const struct store_row *r, struct err *e)
{
    const struct lines *j = arg;
    const struct store_value *v = r->v;
    const struct statement_line l = { v[0].text,   v[1].text,   v[2].text,  v[3].number,
                                      v[4].number, v[5].number, v[6].number };
    return j->fn(j->arg, &l, e);
}

static bool read_lines(void *arg, struct session *c, struct err *e)
{
#define WHOSE "FROM ledger WHERE key_id = $1 AND dialect = $2 AND (path = $3 OR $3 = '')"
    struct lines *j = arg;
    return session_run(c, "SELECT count(*), sum(cost) " WHOSE,
                       STORE_ARGS(STORE_V(j->key), STORE_V(j->dialect), STORE_V(j->path)), take_sum, &j->sum,
                       e) &&
           session_run(c,
                       "SELECT request, path, how, cost, total_us, ended_ms, pictures " WHOSE
                       " ORDER BY seq DESC LIMIT $4 OFFSET $5",
                       STORE_ARGS(STORE_V(j->key), STORE_V(j->dialect), STORE_V(j->path), STORE_V(j->limit),
                                  STORE_V(j->offset)),
                       take_line, j, e);
#undef WHOSE
}

bool statement_lines(struct store *s, const char *key, const char *dialect, const char *path, int64_t limit,
                     int64_t offset, bool (*fn)(void *arg, const struct statement_line *l, struct err *e),
                     void *arg, struct statement_sum *sum, struct err *e)
{
    struct lines j = { key, dialect, path, limit, offset, fn, arg, { 0, 0 } };
    if (!store_read(s, read_lines, &j, e)) return false;
    *sum = j.sum;
    return true;
}
