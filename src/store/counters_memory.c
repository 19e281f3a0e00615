/* counters_memory.c - counts of this process alone: a table by name; one lock, because what is done under it is a few additions. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/counters_inside.h"

enum { FIRST_BUCKETS = 1024 /* a power of two */ };

struct entry { /* a count, or the slots of one owner that are held */
    struct entry *next;
    uint64_t hash;
    int64_t start_ms, end_ms, used; /* slots have no window: 0, INT64_MAX */
    size_t n_who;
    char name[]; /* who, 0, what, 0 */
};

struct memory {
    pthread_mutex_t lock;
    struct entry **bucket;
    size_t n_buckets, n;
    int64_t latest_ms; /* the latest beginning of a window that was asked for: what ended before it is over */
};

static const char slots_what[] = "at once";

static void close_it(void *place)
{
    struct memory *m = place;
    for (size_t i = 0; m->bucket && i < m->n_buckets; i++)
        for (struct entry *o = m->bucket[i], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    free(m->bucket);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static bool open_it(void **place, const char *where, const struct counters_options *with, struct err *e)
{
    (void)where, (void)with;
    struct memory *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&m->lock, NULL);
    m->n_buckets = FIRST_BUCKETS;
    m->bucket = calloc(m->n_buckets, sizeof *m->bucket);
    if (!m->bucket) {
        close_it(m);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    *place = m;
    return true;
}

static const char *where_it_is(const void *place)
{
    (void)place;
    return "memory";
}

static bool is_settled(void *place)
{
    (void)place;
    return true;
}

static bool is_away(void *place, struct err *why)
{
    (void)place, (void)why;
    return false;
}

static uint64_t hash_more(uint64_t h, const char *s) /* FNV-1a, the 0 too */
{
    do h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    while (*s++);
    return h;
}

static bool over(const struct memory *m, const struct entry *o)
{
    return o->end_ms == INT64_MAX ? o->used <= 0 : o->end_ms <= m->latest_ms;
}

/* Before `more` entries are asked for, and none of them is in anyone's hands: twice the buckets, or as many when what is over made room, for
 * addresses come and go. Without memory it stays as it is. */
static void make_room(struct memory *m, int more)
{
    size_t live = 0;
    if (m->n + (size_t)more <= m->n_buckets) return;
    for (size_t i = 0; i < m->n_buckets; i++)
        for (struct entry *o = m->bucket[i]; o; o = o->next) live += !over(m, o);
    const size_t n = live * 2 > m->n_buckets ? m->n_buckets * 2 : m->n_buckets;
    struct entry **bucket = calloc(n, sizeof *bucket);
    if (!bucket) return;
    for (size_t i = 0; i < m->n_buckets; i++)
        for (struct entry *o = m->bucket[i], *next; o; o = next) {
            next = o->next;
            if (over(m, o)) {
                free(o);
                continue;
            }
            o->next = bucket[o->hash & (n - 1)];
            bucket[o->hash & (n - 1)] = o;
        }
    free(m->bucket);
    m->bucket = bucket;
    m->n_buckets = n;
    m->n = live;
}

/* NULL: none of this name, or with `make` no memory. */
static struct entry *find(struct memory *m, const char *who, const char *what, bool make)
{
    const size_t n_who = strlen(who), n_what = strlen(what);
    const uint64_t hash = hash_more(hash_more(UINT64_C(0xcbf29ce484222325), who), what);
    struct entry *o = m->bucket[hash & (m->n_buckets - 1)];
    while (o && (o->hash != hash || strcmp(o->name, who) != 0 || strcmp(o->name + o->n_who + 1, what) != 0))
        o = o->next;
    if (o || !make) return o;
    o = calloc(1, sizeof *o + n_who + n_what + 2);
    if (!o) return NULL;
    *o = (struct entry){
        .next = m->bucket[hash & (m->n_buckets - 1)], .hash = hash, .end_ms = INT64_MAX, .n_who = n_who
    };
    memcpy(o->name, who, n_who);
    memcpy(o->name + n_who + 1, what, n_what);
    m->bucket[hash & (m->n_buckets - 1)] = o;
    m->n++;
    return o;
}

/* The entry's window is the counter's, or the later one that it was in. */
static void turn(struct memory *m, struct entry *o, const struct counter *v)
{
    const bool new = o->end_ms == INT64_MAX, later = v->start_ms > o->start_ms;
    const bool set_back_far = v->end_ms < o->start_ms; /* by more than a window */
    if (new || later || set_back_far) {
        o->start_ms = v->start_ms;
        o->end_ms = v->end_ms;
        o->used = 0;
    }
    if (v->start_ms > m->latest_ms || set_back_far) m->latest_ms = v->start_ms;
}

static struct entry *entry_of(struct memory *m, const struct counter *v)
{
    struct entry *o = find(m, v->who, v->what, true);
    if (o) turn(m, o, v);
    return o;
}

static void tell(const struct entry *o, struct counter *v)
{
    v->used = o->used;
    v->until_ms = o->end_ms;
}

/* Under the lock: the index of the first that is full, -1: none. False: no memory. */
static bool first_full(struct memory *m, const struct counters_ask *a, int *by)
{
    *by = -1;
    for (int i = 0; i < a->n_slots; i++) {
        const struct entry *o = find(m, a->slots[i].who, slots_what, true);
        if (!o) return false;
        if (*by < 0 && o->used >= a->slots[i].most) *by = a->n_counters + i;
    }
    for (int i = 0; i < a->n_counters; i++) {
        const struct entry *o = entry_of(m, &a->counter[i]);
        if (!o) return false;
        if (*by < 0 && o->used >= a->counter[i].most) *by = i;
        tell(o, &a->counter[i]);
    }
    return true;
}

/* Under the lock. Slots that are missing are passed over: taking made them. */
static void add(struct memory *m, const struct counters_ask *a, int slots)
{
    for (int i = 0; i < a->n_slots; i++) {
        struct entry *o = find(m, a->slots[i].who, slots_what, false);
        if (o) o->used += slots;
    }
    for (int i = 0; i < a->n_counters; i++) {
        struct entry *o = a->counter[i].add ? entry_of(m, &a->counter[i]) : NULL;
        if (!o) continue;
        o->used += a->counter[i].add;
        tell(o, &a->counter[i]);
    }
}

static bool take(void *place, const struct counters_ask *ask, int *by, struct err *e)
{
    struct memory *m = place;
    pthread_mutex_lock(&m->lock);
    make_room(m, ask->n_slots + ask->n_counters);
    const bool ok = first_full(m, ask, by);
    if (ok && *by < 0) add(m, ask, 1);
    pthread_mutex_unlock(&m->lock);
    return ok || err_set(e, ERR_NOMEM, "out of memory");
}

static void give(void *place, const struct counters_ask *ask)
{
    struct memory *m = place;
    pthread_mutex_lock(&m->lock);
    make_room(m, ask->n_counters);
    add(m, ask, -1);
    pthread_mutex_unlock(&m->lock);
}

static void look(void *place, struct counter *v, int n)
{
    struct memory *m = place;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < n; i++) {
        struct entry *o = find(m, v[i].who, v[i].what, false);
        v[i].used = 0;
        v[i].until_ms = v[i].end_ms;
        if (!o) continue;
        turn(m, o, &v[i]);
        tell(o, &v[i]);
    }
    pthread_mutex_unlock(&m->lock);
}

void counters_memory_note(void *place, const struct counter *v, int n)
{
    struct memory *m = place;
    pthread_mutex_lock(&m->lock);
    make_room(m, n);
    for (int i = 0; i < n; i++) {
        struct entry *o = entry_of(m, &v[i]);
        if (!o) continue;
        o->used = v[i].used;
        o->end_ms = v[i].until_ms;
    }
    pthread_mutex_unlock(&m->lock);
}

const struct counters_backend counters_memory = {
    .name = "memory",
    .open = open_it,
    .close = close_it,
    .where = where_it_is,
    .settled = is_settled,
    .away = is_away,
    .take = take,
    .give = give,
    .look = look,
};
