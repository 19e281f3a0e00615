/* budgets.c - see budgets.h. */
#include "service/account/budgets.h"

#include <string.h>

/* One budget of one owner, in the window that a moment is in. */
struct place {
    const char *owner, *period;
    int64_t start_ms;
};

static bool change(struct session *c, const struct place *p, int64_t spent, int64_t reserved, struct err *e)
{
    return session_run(
        c,
        "INSERT INTO spending (owner, period, start_ms, spent, reserved) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (owner, period, start_ms) DO UPDATE SET spent = spending.spent + excluded.spent, "
        "reserved = spending.reserved + excluded.reserved",
        STORE_ARGS(STORE_V(p->owner), STORE_V(p->period), STORE_V(p->start_ms), STORE_V(spent),
                   STORE_V(reserved)),
        NULL, NULL, e);
}

static bool take_state(void *arg, const struct store_row *r, struct err *e)
{
    struct budget_state *s = arg;
    (void)e;
    s->spent = r->v[0].number;
    s->reserved = r->v[1].number;
    return true;
}

static bool state_of(struct session *c, const struct place *p, struct budget_state *out, struct err *e)
{
    *out = (struct budget_state){ 0 };
    return session_run(
        c, "SELECT spent, reserved FROM spending WHERE owner = $1 AND period = $2 AND start_ms = $3",
        STORE_ARGS(STORE_V(p->owner), STORE_V(p->period), STORE_V(p->start_ms)), take_state, out, e);
}

bool budget_read(struct session *c, const char *owner, enum period p, int64_t now_ms,
                 struct budget_state *out, struct err *e)
{
    return state_of(c, &(struct place){ owner, period_name(p), period_start(p, now_ms) }, out, e);
}

bool budget_look(struct session *c, const struct budget_one *who, int n, int64_t nano, int64_t now_ms,
                 enum budget_answer *answer, struct budget_hit *hit, struct err *e)
{
    *answer = BUDGET_OPEN;
    for (int i = 0; i < n; i++)
        for (int p = 0; p < N_PERIODS; p++) {
            const int64_t most = who[i].rules->most[p];
            struct budget_state s;
            if (most < 0) continue;
            if (!budget_read(c, who[i].owner, (enum period)p, now_ms, &s, e)) return false;
            if (s.spent + s.reserved + nano <= most) continue;
            if (*answer == BUDGET_OPEN || !who[i].rules->soft[p])
                *hit =
                    (struct budget_hit){ who[i].owner, (enum period)p, most,
                                         s.spent,      s.reserved,     period_end((enum period)p, now_ms) };
            *answer = BUDGET_WARNS;
            if (who[i].rules->soft[p]) continue;
            *answer = BUDGET_SPENT;
            return true;
        }
    return true;
}

bool budget_reserve(struct session *c, const char *id, const struct budget_one *who, int n, int64_t nano,
                    int64_t now_ms, enum budget_answer *answer, struct budget_hit *hit, struct err *e)
{
    /* All are looked at before one is changed. What is read stays so: whoever writes to the store has it alone. */
    if (!budget_look(c, who, n, nano, now_ms, answer, hit, e)) return false;
    if (*answer == BUDGET_SPENT) return true;
    for (int i = 0; i < n; i++)
        for (int p = 0; p < N_PERIODS; p++) {
            const struct place at = { who[i].owner, period_name((enum period)p),
                                      period_start((enum period)p, now_ms) };
            if (who[i].rules->most[p] < 0) continue;
            if (!session_run(c,
                             "INSERT INTO reservations (id, owner, period, start_ms, nano, made_ms) VALUES "
                             "($1, $2, $3, $4, $5, $6)",
                             STORE_ARGS(STORE_V(id), STORE_V(at.owner), STORE_V(at.period),
                                        STORE_V(at.start_ms), STORE_V(nano), STORE_V(now_ms)),
                             NULL, NULL, e) ||
                !change(c, &at, 0, nano, e))
                return false;
        }
    return true;
}

struct reserved {
    int64_t start_ms, nano;
    bool found;
};

static bool take_reserved(void *arg, const struct store_row *r, struct err *e)
{
    struct reserved *v = arg;
    (void)e;
    *v = (struct reserved){ r->v[0].number, r->v[1].number, true };
    return true;
}

/* It is paid out of the window that it was reserved in. */
static bool settle_one(struct session *c, const char *id, const char *owner, enum period p, int64_t cost,
                       int64_t now_ms, struct err *e)
{
    struct reserved v = { period_start(p, now_ms), 0, false };
    struct place at = { owner, period_name(p), 0 };
    if (!session_run(
            c,
            "DELETE FROM reservations WHERE id = $1 AND owner = $2 AND period = $3 RETURNING start_ms, nano",
            STORE_ARGS(STORE_V(id), STORE_V(owner), STORE_V(at.period)), take_reserved, &v, e))
        return false;
    at.start_ms = v.start_ms;
    return (!v.found && !cost) || change(c, &at, cost, -v.nano, e);
}

bool budget_settle(struct session *c, const char *id, const struct budget_one *who, int n, int64_t cost,
                   int64_t now_ms, struct err *e)
{
    for (int i = 0; i < n; i++)
        for (int p = 0; p < N_PERIODS; p++)
            if (who[i].rules->most[p] >= 0 &&
                !settle_one(c, id, who[i].owner, (enum period)p, cost, now_ms, e))
                return false;
    return true;
}

bool budget_settle_reserved(struct session *c, const char *id, int64_t cost, struct err *e)
{
#define MINE                                                                                                 \
    "FROM reservations r WHERE r.id = $2 AND r.owner = spending.owner AND r.period = spending.period AND "   \
    "r.start_ms = spending.start_ms)"
    return session_run(c,
                       "UPDATE spending SET spent = spent + $1, reserved = reserved - (SELECT r.nano " MINE
                       " WHERE EXISTS (SELECT 1 " MINE,
                       STORE_ARGS(STORE_V(cost), STORE_V(id)), NULL, NULL, e) &&
           session_run(c, "DELETE FROM reservations WHERE id = $1", STORE_ARGS(STORE_V(id)), NULL, NULL, e);
#undef MINE
}

bool budget_release(struct session *c, const struct age_bounds *alive, int64_t *n, struct err *e)
{
#define DEAD "(r.made_ms < $1 OR r.made_ms > $2)"
#define HERE                                                                                                 \
    "FROM reservations r WHERE r.owner = spending.owner AND r.period = spending.period AND "                 \
    "r.start_ms = spending.start_ms AND " DEAD ")"
    const int64_t first = alive->first_ms, last = alive->last_ms;
    if (!session_run(c,
                     "UPDATE spending SET reserved = reserved - (SELECT sum(r.nano) " HERE
                     " WHERE EXISTS (SELECT 1 " HERE,
                     STORE_ARGS(STORE_V(first), STORE_V(last)), NULL, NULL, e) ||
        !session_run(c, "DELETE FROM reservations AS r WHERE " DEAD,
                     STORE_ARGS(STORE_V(first), STORE_V(last)), NULL, NULL, e))
        return false;
    *n = session_changed(c);
    return true;
#undef DEAD
#undef HERE
}

bool budget_read_all(void *arg, struct session *c, struct err *e)
{
    struct budget_states *s = arg;
    for (int p = 0; p < N_PERIODS; p++)
        if (!budget_read(c, s->owner, (enum period)p, s->now_ms, &s->state[p], e)) return false;
    return true;
}
