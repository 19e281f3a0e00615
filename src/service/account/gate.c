/* gate.c - see gate.h. */
#include "service/account/gate.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/account/endpoint_rules.h"
#include "service/account/keyring.h"

/* What held from a moment on. A request leaves by the rules that it entered by, so that older ones are kept. */
struct gate_rules {
    double from_s; /* of the clock that nobody sets */
    struct limit_rules address;
    struct endpoint_rules endpoints;
    struct gate_rules *older;
};

struct gate {
    struct counters *counters;
    struct time_source time;
    _Atomic(struct gate_rules *) rules;
};

bool gate_set_limits(struct gate *g, const char *address_limits, const char *endpoint_limits, struct err *e)
{
    struct gate_rules *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    if (!(limit_rules_parse(&r->address, address_limits, e) || err_wrap(e, "address-limits")) ||
        !(endpoint_rules_parse(&r->endpoints, endpoint_limits, e) || err_wrap(e, "endpoint-limits"))) {
        free(r);
        return false;
    }
    r->older = atomic_load(&g->rules);
    r->from_s = time_seconds(&g->time);
    atomic_store(&g->rules, r);
    return true;
}

/* Those that held when it came; of one that was not admitted (it has no time) those that hold now. */
static const struct gate_rules *rules_of(const struct gate *g, const struct identity *is)
{
    const struct gate_rules *r = atomic_load(&g->rules);
    while (is->asked_ms && r->older && is->started < r->from_s) r = r->older;
    return r;
}

bool gate_open(struct gate **out, const struct gate_options *o, struct err *e)
{
    struct gate *g = calloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_NOMEM, "out of memory");
    g->time = o->time;
    if (gate_set_limits(g, o->address_limits, o->endpoint_limits, e) &&
        (counters_open(&g->counters, o->counters, &(struct counters_options){ 0 }, e) ||
         err_wrap(e, "counters"))) {
        *out = g;
        return true;
    }
    gate_close(g);
    return false;
}

void gate_close(struct gate *g)
{
    if (!g) return;
    counters_close(g->counters);
    for (struct gate_rules *r = atomic_load(&g->rules), *older; r; r = older) {
        older = r->older;
        free(r);
    }
    free(g);
}

const char *gate_where(const struct gate *g) { return counters_where(g->counters); }
bool gate_waits(const struct gate *g) { return counters_shared(g->counters); }
bool gate_away(struct gate *g, struct err *why) { return counters_away(g->counters, why); }

/* Who is limited in a request. */
struct asker {
    char key[PRINCIPAL_ID + 8], project[260], address[60], at[160];
    struct limited_one v[LIMITED_ONES];
    int n;
};

static void limited_of(const struct gate *g, const struct identity *is, struct asker *l)
{
    const struct key_record *k = is->who.key;
    const struct gate_rules *rules = rules_of(g, is);
    const struct limit_rules *here = is->endpoint ? endpoint_rules_of(&rules->endpoints, is->endpoint) : NULL;
    l->n = 0;
    if (k) {
        snprintf(l->key, sizeof l->key, "key:%s", k->id);
        l->v[l->n++] = (struct limited_one){ l->key, &k->limits };
    }
    if (k && *k->project) {
        snprintf(l->project, sizeof l->project, "project:%s", k->project);
        l->v[l->n++] = (struct limited_one){ l->project, &k->project_limits };
    }
    snprintf(l->address, sizeof l->address, "address:%s", is->address);
    l->v[l->n++] = (struct limited_one){ l->address, &rules->address };
    if (!here) return;
    snprintf(l->at, sizeof l->at, "%s at %s", l->address, is->endpoint);
    l->v[l->n++] = (struct limited_one){ l->at, here };
}

bool gate_enter(struct gate *g, const struct identity *is, struct limit_left left[N_LIMITED],
                struct gate_refusal *r)
{
    struct asker who;
    struct limit_hit hit;
    struct err away;
    *r = (struct gate_refusal){ .why = GATE_AWAY };
    limited_of(g, is, &who);
    const enum limits_answer answer =
        limits_enter(g->counters, is->uid, who.v, who.n, time_unix_ms(&g->time), left, &hit, &away);
    if (answer == LIMITS_ADMITTED) return true;
    if (answer == LIMITS_AWAY) {
        snprintf(r->msg, sizeof r->msg, "%s",
                 away.code == ERR_NOMEM ? "out of memory"
                                        : "what is asked cannot be counted now; try again later");
        return false;
    }
    r->why = GATE_FULL;
    r->again_ms = hit.again_ms;
    if (hit.concurrency)
        snprintf(r->msg, sizeof r->msg, "%s: %lld requests at once", hit.who, (long long)hit.limit);
    else
        snprintf(r->msg, sizeof r->msg, "%s: %lld %s/%s", hit.who, (long long)hit.limit,
                 limited_name(hit.what), period_name(hit.period));
    return false;
}

static void leave(struct gate *g, const struct identity *is, const struct usage *u)
{
    struct asker who;
    limited_of(g, is, &who);
    limits_leave(g->counters, is->uid, who.v, who.n, time_unix_ms(&g->time), u);
}

void gate_undo(struct gate *g, const struct identity *is) { leave(g, is, &(struct usage){ 0 }); }
void gate_ended(void *arg, const struct ending *e) { leave(arg, &e->of, &e->usage); }

void gate_left(struct gate *g, const struct identity *is, struct limit_left left[N_LIMITED])
{
    struct asker who;
    limited_of(g, is, &who);
    limits_left(g->counters, who.v, who.n, time_unix_ms(&g->time), left);
}
