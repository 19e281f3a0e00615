/* audit.c - see audit.h. */
#include "service/account/audit.h"

#include <stddef.h>

#define NAMES "seq, at_ms, who, from_address, act, target, before_json, after_json"

bool audit_add(struct session *c, const struct audit_row *r, struct err *e)
{
    return session_run(c,
                       "INSERT INTO audit (" NAMES
                       ") SELECT COALESCE(MAX(seq), 0) + 1, $1, $2, $3, $4, $5, $6, "
                       "$7 FROM audit",
                       STORE_ARGS(STORE_V(r->at_ms), STORE_V(r->who), STORE_V(r->from), STORE_V(r->act),
                                  STORE_V(r->target), STORE_V(r->before), STORE_V(r->after)),
                       NULL, NULL, e);
}

struct each {
    int64_t after, most;
    bool (*fn)(void *arg, const struct audit_row *row, struct err *e);
    void *arg;
};

static bool take(void *arg, const struct store_row *r, struct err *e)
{
    const struct each *j = arg;
    const struct store_value *v = r->v;
    const struct audit_row row = { v[0].number, v[1].number, v[2].text, v[3].text,
                                   v[4].text,   v[5].text,   v[6].text, v[7].text };
    return j->fn(j->arg, &row, e);
}

static bool read_rows(void *arg, struct session *c, struct err *e)
{
    struct each *j = arg;
    return session_run(c, "SELECT " NAMES " FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
                       STORE_ARGS(STORE_V(j->after), STORE_V(j->most)), take, j, e);
}

bool audit_each(struct store *s, int64_t after, int most,
                bool (*fn)(void *arg, const struct audit_row *row, struct err *e), void *arg, struct err *e)
{
    struct each j = { after, most, fn, arg };
    return store_read(s, read_rows, &j, e);
}
