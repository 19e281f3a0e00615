/* usage_buckets.c - see usage_buckets.h. */
#include "service/account/usage_buckets.h"

#include <stddef.h>
#include <string.h>

struct job {
    const char *key;
    int64_t width_ms, from_ms, to_ms;
    bool (*fn)(void *arg, const struct usage_part *p, struct err *e);
    void *arg;
};

static bool take(void *arg, const struct store_row *r, struct err *e)
{
    const struct job *j = arg;
    const struct store_value *v = r->v;
    const struct usage_part p = { v[0].number * j->width_ms,
                                  v[1].text,
                                  v[2].text,
                                  v[3].text,
                                  v[4].text,
                                  v[5].number,
                                  v[6].number,
                                  v[7].number,
                                  v[8].number,
                                  v[9].number,
                                  v[10].number,
                                  v[11].number };
    return j->fn(j->arg, &p, e);
}

static bool read_parts(void *arg, struct session *c, struct err *e)
{
    struct job *j = arg;
    return session_run(
        c,
        "SELECT ended_ms / $1, project, key_id, model, endpoint, count(*), "
        "sum(CASE WHEN how = 'done' THEN 0 ELSE 1 END), sum(prompt), sum(cached), "
        "sum(completion), sum(pictures), sum(cost) FROM ledger WHERE ended_ms >= $2 AND "
        "ended_ms < $3 AND (key_id = $4 OR $4 = '') AND model <> '' GROUP BY 1, 2, 3, 4, 5 ORDER "
        "BY 1, 2, 3, 4, 5",
        STORE_ARGS(STORE_V(j->width_ms), STORE_V(j->from_ms), STORE_V(j->to_ms), STORE_V(j->key)), take, j,
        e);
}

bool usage_buckets(struct store *s, const char *key, int64_t width_ms, int64_t from_ms, int64_t to_ms,
                   bool (*fn)(void *arg, const struct usage_part *p, struct err *e), void *arg, struct err *e)
{
    struct job j = { key ? key : "", width_ms, from_ms, to_ms, fn, arg };
    return store_read(s, read_parts, &j, e);
}

bool usage_draws(const char *endpoint)
{
    return !strncmp(endpoint, "image", 5) || !strcmp(endpoint, "workflow") || !strcmp(endpoint, "firemoon") ||
           !strcmp(endpoint, "express-image");
}
