/* counters.c - see counters.h: the list of places, and which one a URL means. */
#include "store/counters.h"

#include <stdlib.h>
#include <string.h>

#include "store/counters_inside.h"

static const struct counters_backend *const backends[] = { &counters_memory, &counters_redis };

struct counters {
    const struct counters_backend *b;
    void *place;
};

static const struct counters_backend *meant(const char *where)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const char *scheme = backends[i]->scheme;
        if (scheme ? !strncmp(where, scheme, strlen(scheme)) : !*where) return backends[i];
    }
    return NULL;
}

bool counters_open(struct counters **out, const char *where, const struct counters_options *o, struct err *e)
{
    struct counters *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "out of memory");
    c->b = meant(where);
    const bool ok =
        (c->b ||
         err_set(e, ERR_REQUEST, "\"%.80s\" is no place for counts: redis://HOST:PORT/DATABASE is", where)) &&
        c->b->open(&c->place, where, o, e);
    if (ok)
        *out = c;
    else
        free(c);
    return ok;
}

void counters_close(struct counters *c)
{
    if (!c) return;
    c->b->close(c->place);
    free(c);
}

const char *counters_name(const struct counters *c) { return c->b->name; }
const char *counters_where(const struct counters *c) { return c->b->where(c->place); }
bool counters_shared(const struct counters *c) { return c->b->shared; }
bool counters_settled(struct counters *c) { return c->b->settled(c->place); }
bool counters_away(struct counters *c, struct err *why) { return c->b->away(c->place, why); }

bool counters_take(struct counters *c, const struct counters_ask *ask, int *by, struct err *e)
{
    return c->b->take(c->place, ask, by, e);
}

void counters_give(struct counters *c, const struct counters_ask *ask) { c->b->give(c->place, ask); }
void counters_look(struct counters *c, struct counter *v, int n) { c->b->look(c->place, v, n); }
