/* limits.c - see limits.h. A table of those who have rules and asked; one lock, because what is done under it is a few additions. */
#include "service/account/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "service/account/period.h"

enum { BUCKETS = 1024 };

struct count {
    int64_t start_ms, used;
};

struct one {
    struct one *next;
    char *name;
    int64_t running;
    struct count count[N_LIMITED][PERIOD_TOTAL];
};

struct limits {
    pthread_mutex_t lock;
    struct one *bucket[BUCKETS];
};

struct limits *limits_new(void)
{
    struct limits *l = calloc(1, sizeof *l);
    if (l) pthread_mutex_init(&l->lock, NULL);
    return l;
}

void limits_free(struct limits *l)
{
    if (!l) return;
    for (int i = 0; i < BUCKETS; i++)
        for (struct one *o = l->bucket[i], *next; o; o = next) {
            next = o->next;
            free(o->name);
            free(o);
        }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* NULL: none of this name, or with `make` no memory. */
static struct one *find(struct limits *l, const char *name, bool make)
{
    unsigned h = 5381;
    for (const char *p = name; *p; p++) h = h * 33 + (unsigned char)*p;
    struct one **at = &l->bucket[h % BUCKETS];
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    if (*at || !make) return *at;
    struct one *o = calloc(1, sizeof *o);
    if (o) o->name = strdup(name);
    if (!o || !o->name) {
        free(o);
        return NULL;
    }
    return *at = o;
}

/* The count of the window that now_ms is in. */
static struct count *window(struct one *o, enum limited what, enum period p, int64_t now_ms)
{
    struct count *c = &o->count[what][p];
    const int64_t start = period_start(p, now_ms);
    const bool later = start > c->start_ms;
    const bool set_back_far = period_end(p, now_ms) < c->start_ms; /* by more than a window */
    if (later || set_back_far) *c = (struct count){ .start_ms = start };
    return c;
}

static bool full(struct one *o, const struct limited_one *who, int64_t now_ms, struct limit_hit *hit)
{
    const struct limit_rules *r = who->rules;
    if (r->concurrency && o->running >= r->concurrency) {
        *hit = (struct limit_hit){
            .who = who->name, .concurrency = true, .limit = r->concurrency, .again_ms = now_ms + 1000
        };
        return true;
    }
    for (int what = 0; what < N_LIMITED; what++)
        for (int p = 0; p < PERIOD_TOTAL; p++) {
            const int64_t most = r->most[what][p];
            if (!most) continue;
            const struct count *c = window(o, (enum limited)what, (enum period)p, now_ms);
            if (c->used < most) continue;
            *hit = (struct limit_hit){ .who = who->name,
                                       .what = (enum limited)what,
                                       .period = (enum period)p,
                                       .limit = most,
                                       .again_ms = period_end((enum period)p, c->start_ms) };
            return true;
        }
    return false;
}

static void add(struct one *o, const struct limit_rules *r, enum limited what, int64_t n, int64_t now_ms)
{
    for (int p = 0; p < PERIOD_TOTAL; p++)
        if (r->most[what][p]) window(o, what, (enum period)p, now_ms)->used += n;
}

enum limits_answer limits_enter(struct limits *l, const struct limited_one *who, int n, int64_t now_ms,
                                struct limit_hit *hit)
{
    enum limits_answer answer = LIMITS_ADMITTED;
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < n && answer == LIMITS_ADMITTED; i++) {
        struct one *o = limit_rules_any(who[i].rules) ? find(l, who[i].name, true) : NULL;
        if (!o && limit_rules_any(who[i].rules)) answer = LIMITS_NO_MEMORY;
        if (o && full(o, &who[i], now_ms, hit)) answer = LIMITS_FULL;
    }
    for (int i = 0; i < n && answer == LIMITS_ADMITTED; i++) {
        struct one *o = limit_rules_any(who[i].rules) ? find(l, who[i].name, false) : NULL;
        if (!o) continue;
        o->running++;
        add(o, who[i].rules, LIMITED_REQUESTS, 1, now_ms);
    }
    pthread_mutex_unlock(&l->lock);
    return answer;
}

void limits_leave(struct limits *l, const struct limited_one *who, int n, int64_t now_ms,
                  const struct usage *u)
{
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < n; i++) {
        struct one *o = find(l, who[i].name, false);
        if (!o) continue;
        o->running--;
        add(o, who[i].rules, LIMITED_PROMPT, u->prompt_tokens, now_ms);
        add(o, who[i].rules, LIMITED_GENERATED, u->completion_tokens, now_ms);
        add(o, who[i].rules, LIMITED_STEPS, u->steps, now_ms);
        add(o, who[i].rules, LIMITED_PICTURES, u->pictures, now_ms);
    }
    pthread_mutex_unlock(&l->lock);
}

struct limit_left limits_left(struct limits *l, const struct limited_one *who, int n, enum limited what,
                              int64_t now_ms)
{
    struct limit_left left = { 0 };
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < n; i++) {
        struct one *o = find(l, who[i].name, false);
        for (int p = 0; p < PERIOD_TOTAL; p++) {
            const int64_t most = who[i].rules->most[what][p];
            if (!most) continue;
            const struct count *c = o ? window(o, what, (enum period)p, now_ms) : NULL;
            const int64_t used = c ? c->used : 0, remaining = used < most ? most - used : 0;
            const int64_t reset = period_end((enum period)p, c ? c->start_ms : now_ms);
            if (left.limit &&
                (left.remaining < remaining || (left.remaining == remaining && left.reset_ms >= reset)))
                continue;
            left = (struct limit_left){ most, remaining, reset };
        }
    }
    pthread_mutex_unlock(&l->lock);
    return left;
}
