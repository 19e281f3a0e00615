/* limits.c - see limits.h: rules become counters, and what the counters say becomes an answer. */
#include "service/account/limits.h"

#include "service/account/period.h"

/* A request's counters, and which rule each of them stands for. */
struct asked {
    struct counter counter[LIMITED_ONES * N_LIMITED * PERIOD_TOTAL];
    struct {
        int who;
        enum limited what;
        enum period period;
    } rule[LIMITED_ONES * N_LIMITED * PERIOD_TOTAL];
    struct slots slots[LIMITED_ONES];
    int slots_of[LIMITED_ONES];
    struct counters_ask ask;
};

/* Constants, because a counter's name is kept by pointer: "requests/minute". */
static const char *const names[N_LIMITED][PERIOD_TOTAL] = {
#define EACH_PERIOD(what)                                                                                    \
    {                                                                                                        \
        what "/minute", what "/15-minutes", what "/day", what "/month"                                       \
    }
    [LIMITED_REQUESTS] = EACH_PERIOD("requests"),          [LIMITED_PROMPT] = EACH_PERIOD("prompt-tokens"),
    [LIMITED_GENERATED] = EACH_PERIOD("generated-tokens"), [LIMITED_STEPS] = EACH_PERIOD("steps"),
    [LIMITED_PICTURES] = EACH_PERIOD("pictures"),
};

static void ask_for(struct asked *a, const char *id, const struct limited_one *who, int n, int64_t now_ms,
                    const int64_t add[N_LIMITED])
{
    int k = 0, n_slots = 0;
    for (int i = 0; i < n; i++) {
        const struct limit_rules *r = who[i].rules;
        if (r->concurrency) {
            a->slots_of[n_slots] = i;
            a->slots[n_slots++] = (struct slots){ who[i].name, r->concurrency };
        }
        for (int w = 0; w < N_LIMITED; w++)
            for (int p = 0; p < PERIOD_TOTAL; p++) {
                if (!r->most[w][p]) continue;
                a->rule[k].who = i;
                a->rule[k].what = (enum limited)w;
                a->rule[k].period = (enum period)p;
                a->counter[k++] = (struct counter){ .who = who[i].name,
                                                    .what = names[w][p],
                                                    .start_ms = period_start((enum period)p, now_ms),
                                                    .end_ms = period_end((enum period)p, now_ms),
                                                    .most = r->most[w][p],
                                                    .add = add[w] };
            }
    }
    a->ask = (struct counters_ask){ id, a->counter, k, a->slots, n_slots };
}

static void least(const struct asked *a, struct limit_left left[N_LIMITED])
{
    for (int w = 0; w < N_LIMITED; w++) left[w] = (struct limit_left){ 0 };
    for (int i = 0; i < a->ask.n_counters; i++) {
        const struct counter *c = &a->counter[i];
        struct limit_left *l = &left[a->rule[i].what];
        const int64_t remaining = c->used < c->most ? c->most - c->used : 0;
        const bool less =
            remaining < l->remaining || (remaining == l->remaining && c->until_ms > l->reset_ms);
        if (!l->limit || less) *l = (struct limit_left){ c->most, remaining, c->until_ms };
    }
}

static struct limit_hit hit_of(const struct asked *a, const struct limited_one *who, int by, int64_t now_ms)
{
    const int slot = by - a->ask.n_counters;
    if (slot >= 0)
        return (struct limit_hit){ .who = who[a->slots_of[slot]].name,
                                   .concurrency = true,
                                   .limit = a->slots[slot].most,
                                   .again_ms = now_ms + 1000 };
    return (struct limit_hit){ .who = who[a->rule[by].who].name,
                               .what = a->rule[by].what,
                               .period = a->rule[by].period,
                               .limit = a->counter[by].most,
                               .again_ms = a->counter[by].until_ms };
}

enum limits_answer limits_enter(struct counters *c, const char *id, const struct limited_one *who, int n,
                                int64_t now_ms, struct limit_left left[N_LIMITED], struct limit_hit *hit,
                                struct err *e)
{
    static const int64_t one_request[N_LIMITED] = { [LIMITED_REQUESTS] = 1 };
    struct asked a;
    int by = -1;
    ask_for(&a, id, who, n, now_ms, one_request);
    const bool any = a.ask.n_counters + a.ask.n_slots > 0;
    if (any && !counters_take(c, &a.ask, &by, e)) {
        limits_left(c, who, n, now_ms, left);
        return LIMITS_AWAY;
    }
    least(&a, left);
    if (by < 0) return LIMITS_ADMITTED;
    *hit = hit_of(&a, who, by, now_ms);
    return LIMITS_FULL;
}

void limits_leave(struct counters *c, const char *id, const struct limited_one *who, int n, int64_t now_ms,
                  const struct usage *u)
{
    const int64_t used[N_LIMITED] = { [LIMITED_PROMPT] = u->prompt_tokens,
                                      [LIMITED_GENERATED] = u->completion_tokens,
                                      [LIMITED_STEPS] = u->steps,
                                      [LIMITED_PICTURES] = u->pictures };
    struct asked a;
    ask_for(&a, id, who, n, now_ms, used);
    if (a.ask.n_counters + a.ask.n_slots > 0) counters_give(c, &a.ask);
}

void limits_left(struct counters *c, const struct limited_one *who, int n, int64_t now_ms,
                 struct limit_left left[N_LIMITED])
{
    static const int64_t nothing[N_LIMITED];
    struct asked a;
    ask_for(&a, "", who, n, now_ms, nothing);
    counters_look(c, a.counter, a.ask.n_counters);
    least(&a, left);
}
