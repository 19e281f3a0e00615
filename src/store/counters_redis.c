/* counters_redis.c - counts that several servers share, in a Redis.
 *
 * Everything that a request takes or gives is one run of one script there, so that no two servers see each other half done. A count is a hash
 * (its window and what is used of it), slots are a sorted set of requests by the end of their lease, in the Redis's own time.
 *
 * Takes run on their callers' threads, over connections from a small pool. One thread does what nobody waits for: it gives what requests are to
 * give, renews leases, and looks whether a Redis that was away is back. When the reply to a take or a give is lost with its connection, it may
 * have been done: it is done again, so a request may count twice but never not at all. */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "store/counters_inside.h"
#include "store/redis_url.h"

enum {
    IDLE_MAX = 16,
    LOOK_MS = 250,
    GIVEN_MAX = 100000, /* that wait for a Redis that is away; beyond that leases run out by themselves */
    ID_TEXT = 40,
    CLOSE_S = 3
};

/* KEYS: a key for each counter, then one for each owner of slots. ARGV: take or give, the lease, the request, the number of counters; of each of
 * them start, end, most and add; the most of each owner of slots. Answers the index of the first that is full, or -1; then used and end of
 * each counter. */
static const char script[] =
    "local take, lease, id, n = ARGV[1] == 'take', tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local by, fresh, used, ends = -1, {}, {}, {}\n"
    "for i = n + 1, #KEYS do\n"
    "  if take then\n"
    "    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)\n"
    "    if by < 0 and redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[4 + 3 * n + i]) then by = i - 1 end\n"
    "  else\n"
    "    redis.call('ZREM', KEYS[i], id)\n"
    "  end\n"
    "end\n"
    "for i = 1, n do\n"
    "  local start, stop, most = tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2]), tonumber(ARGV[4 * i + "
    "3])\n"
    "  local h = redis.call('HMGET', KEYS[i], 'start', 'end', 'used')\n"
    "  fresh[i] = not h[1] or start > tonumber(h[1]) or stop < tonumber(h[1])\n"
    "  used[i], ends[i] = 0, stop\n"
    "  if not fresh[i] then used[i], ends[i] = tonumber(h[3]), tonumber(h[2]) end\n"
    "  if take and by < 0 and used[i] >= most then by = i - 1 end\n"
    "end\n"
    "local reply = { by }\n"
    "for i = 1, n do\n"
    "  if by < 0 and tonumber(ARGV[4 * i + 4]) > 0 then\n"
    "    if fresh[i] then\n"
    "      redis.call('HSET', KEYS[i], 'start', ARGV[4 * i + 1], 'end', ARGV[4 * i + 2], 'used', 0)\n"
    "      redis.call('PEXPIRE', KEYS[i], 2 * (tonumber(ARGV[4 * i + 2]) - tonumber(ARGV[4 * i + 1])))\n"
    "    end\n"
    "    used[i] = redis.call('HINCRBY', KEYS[i], 'used', ARGV[4 * i + 4])\n"
    "  end\n"
    "  reply[2 * i], reply[2 * i + 1] = used[i], ends[i]\n"
    "end\n"
    "for i = n + 1, #KEYS do\n"
    "  if take and by < 0 then\n"
    "    redis.call('ZADD', KEYS[i], now + lease, id)\n"
    "    redis.call('PEXPIRE', KEYS[i], 2 * lease)\n"
    "  end\n"
    "end\n"
    "return reply\n";

/* A run of the script as text, which a request that has ended leaves behind. */
struct command {
    struct command *next;
    int n;
    char **arg;
};

struct held { /* a request with slots, whose lease is renewed */
    struct held *next, *prev;
    char id[ID_TEXT];
    int n;
    char *key[];
};

struct redis {
    struct redis_url url;
    char shown[REDIS_URL_SHOWN];
    int lease_ms;
    void *mirror; /* what it said last: a place in memory */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t news;
    redisContext *idle[IDLE_MAX];
    int n_idle;
    bool away, closing, running;
    struct err why;
    struct command *first, **last; /* to be given */
    int n_given;
    int64_t lost; /* that could not even wait */
    struct held *held;
    pthread_t thread;
};

/* ---- connections --------------------------------------------------------------------------------------------------- */

static bool failed(struct err *e, const redisContext *c, const redisReply *r)
{
    if (r && r->type == REDIS_REPLY_ERROR) return err_set(e, ERR_BUSY, "Redis: %.200s", r->str);
    return err_set(e, ERR_BUSY, "Redis cannot be reached: %s", c && c->err ? c->errstr : "no answer");
}

static bool simple(redisContext *c, int n, const char **arg, struct err *e)
{
    redisReply *r = redisCommandArgv(c, n, arg, NULL);
    const bool ok = (r && r->type != REDIS_REPLY_ERROR) || failed(e, c, r);
    freeReplyObject(r);
    return ok;
}

static bool greet(const struct redis *p, redisContext *c, struct err *e)
{
    const char *auth[] = { "AUTH", p->url.user, p->url.password }, *plain[] = { "AUTH", p->url.password };
    char database[12];
    const char *select[] = { "SELECT", database }, *ping[] = { "PING" };
    snprintf(database, sizeof database, "%d", p->url.database);
    if (*p->url.password && !(*p->url.user ? simple(c, 3, auth, e) : simple(c, 2, plain, e))) return false;
    return simple(c, 2, select, e) && simple(c, 1, ping, e);
}

static redisContext *connect_to(const struct redis *p, struct err *e)
{
    const struct timeval wait = { COUNTERS_WAIT_MS / 1000, COUNTERS_WAIT_MS % 1000 * 1000 };
    redisContext *c = redisConnectWithTimeout(p->url.host, p->url.port, wait);
    if (!c) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (c->err || redisSetTimeout(c, wait) != REDIS_OK) {
        failed(e, c, NULL);
        redisFree(c);
        return NULL;
    }
    if (greet(p, c, e)) return c;
    redisFree(c);
    return NULL;
}

static redisContext *take_idle(struct redis *p)
{
    pthread_mutex_lock(&p->lock);
    redisContext *c = p->n_idle ? p->idle[--p->n_idle] : NULL;
    pthread_mutex_unlock(&p->lock);
    return c;
}

/* A connection that broke is of no more use. */
static void put_back(struct redis *p, redisContext *c)
{
    bool kept = false;
    pthread_mutex_lock(&p->lock);
    if (!c->err && p->n_idle < IDLE_MAX && !p->closing) {
        p->idle[p->n_idle++] = c;
        kept = true;
    }
    pthread_mutex_unlock(&p->lock);
    if (!kept) redisFree(c);
}

static void say_away(struct redis *p, const struct err *why)
{
    pthread_mutex_lock(&p->lock);
    const bool new = !p->away;
    p->away = true;
    p->why = *why;
    pthread_cond_signal(&p->news);
    pthread_mutex_unlock(&p->lock);
    if (new) log_error("%s: %s; requests that count there are refused until it is back", p->shown, why->msg);
}

static void say_back(struct redis *p)
{
    pthread_mutex_lock(&p->lock);
    const bool was = p->away;
    p->away = false;
    pthread_mutex_unlock(&p->lock);
    if (was) log_info("%s is back", p->shown);
}

/* ---- the script ---------------------------------------------------------------------------------------------------- */

/* arg[0..1] are filled in here. NULL with *e: the connection broke, or the script did. */
static redisReply *run_script(redisContext *c, int n, const char **arg, struct err *e)
{
    /* Sent whole: it is a kilobyte and a half, and a Redis that was restarted or changed over does not know its hash. */
    arg[0] = "EVAL";
    arg[1] = script;
    redisReply *r = redisCommandArgv(c, n, arg, NULL);
    if (r && r->type == REDIS_REPLY_ARRAY && r->elements >= 1) return r;
    failed(e, c, r);
    freeReplyObject(r);
    return NULL;
}

/* "hearth:WHAT:WHO" */
static char *key_of(const char *what, const char *who)
{
    char *s = NULL;
    return asprintf(&s, "hearth:%s:%s", what, who) < 0 ? NULL : s;
}

static void command_free(struct command *c)
{
    for (int i = 0; c && i < c->n; i++) free(c->arg[i]);
    if (c) free(c->arg);
    free(c);
}

static char *number(int64_t v)
{
    char *s = NULL;
    return asprintf(&s, "%" PRId64, v) < 0 ? NULL : s;
}

/* Counters that add nothing and are not asked about are left out: `all` keeps them. NULL: no memory. */
static struct command *command_new(const struct redis *p, const struct counters_ask *a, const char *how,
                                   bool all)
{
    int n = 0, k = 0;
    for (int i = 0; i < a->n_counters; i++) n += all || a->counter[i].add;
    struct command *c = calloc(1, sizeof *c);
    const int n_args = 7 + n * 5 + a->n_slots * 2;
    if (c) c->arg = calloc((size_t)n_args, sizeof *c->arg);
    if (!c || !c->arg) {
        free(c);
        return NULL;
    }
    c->n = n_args;
    char **arg = c->arg + 2, **more = c->arg + 3 + n + a->n_slots;
    *arg++ = number(n + a->n_slots);
    for (int i = 0; i < a->n_counters; i++)
        if (all || a->counter[i].add) *arg++ = key_of(a->counter[i].what, a->counter[i].who);
    for (int i = 0; i < a->n_slots; i++) *arg++ = key_of("at-once", a->slots[i].who);
    *more++ = strdup(how);
    *more++ = number(p->lease_ms);
    *more++ = strdup(a->id);
    *more++ = number(n);
    for (int i = 0; i < a->n_counters; i++) {
        const struct counter *v = &a->counter[i];
        if (!all && !v->add) continue;
        *more++ = number(v->start_ms);
        *more++ = number(v->end_ms);
        *more++ = number(v->most);
        *more++ = number(v->add);
    }
    for (int i = 0; i < a->n_slots; i++) *more++ = number(a->slots[i].most);
    for (k = 2; k < n_args && c->arg[k]; k++) {
    }
    if (k == n_args) return c;
    command_free(c);
    return NULL;
}

static redisReply *run_command(redisContext *c, const struct command *m, struct err *e)
{
    const char **arg = calloc((size_t)m->n, sizeof *arg);
    if (!arg) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    for (int i = 2; i < m->n; i++) arg[i] = m->arg[i];
    redisReply *r = run_script(c, m->n, arg, e);
    free(arg);
    return r;
}

/* A connection that had been idle may have been closed meanwhile: then over another one. One that does not answer is no reason to wait twice. */
static redisReply *run_anywhere(struct redis *p, const struct command *m, struct err *e)
{
    const double begun = clock_seconds();
    for (;;) {
        redisContext *c = take_idle(p);
        const bool was_idle = c != NULL;
        if (!c) c = connect_to(p, e);
        if (!c) return NULL;
        redisReply *r = run_command(c, m, e);
        const bool broke = c->err != 0;
        put_back(p, c);
        if (r || !was_idle || !broke || clock_seconds() - begun > COUNTERS_WAIT_MS / 2e3) return r;
    }
}

/* ---- leases -------------------------------------------------------------------------------------------------------- */

static struct held *held_new(const struct counters_ask *a)
{
    struct held *h = calloc(1, sizeof *h + (size_t)a->n_slots * sizeof(char *));
    if (!h) return NULL;
    snprintf(h->id, sizeof h->id, "%s", a->id);
    for (; h->n < a->n_slots; h->n++)
        if (!(h->key[h->n] = key_of("at-once", a->slots[h->n].who))) break;
    return h;
}

static void held_free(struct held *h)
{
    for (int i = 0; h && i < h->n; i++) free(h->key[i]);
    free(h);
}

static void hold(struct redis *p, struct held *h)
{
    pthread_mutex_lock(&p->lock);
    h->next = p->held;
    if (p->held) p->held->prev = h;
    p->held = h;
    pthread_mutex_unlock(&p->lock);
}

/* Under the lock. */
static struct held *let_go(struct redis *p, const char *id)
{
    struct held *h = p->held;
    while (h && strcmp(h->id, id) != 0) h = h->next;
    if (!h) return NULL;
    *(h->prev ? &h->prev->next : &p->held) = h->next;
    if (h->next) h->next->prev = h->prev;
    return h;
}

/* One command for each owner of slots: what requests it has and until when. Those that are gone by then were let go before, and are given
 * by this thread after this. */
static bool renew(struct redis *p, redisContext *c, struct err *e)
{
    int n = 0;
    pthread_mutex_lock(&p->lock);
    for (const struct held *h = p->held; h; h = h->next) {
        for (int i = 0; i < h->n; i++, n++)
            redisAppendCommand(c, "EVAL %s 1 %s %s %d",
                               "local t = redis.call('TIME') redis.call('ZADD', KEYS[1], t[1] * 1000 + "
                               "math.floor(t[2] / 1000) + ARGV[2], "
                               "ARGV[1]) redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2]) return 1",
                               h->key[i], h->id, p->lease_ms);
    }
    pthread_mutex_unlock(&p->lock);
    for (; n > 0; n--) {
        redisReply *r = NULL;
        if (redisGetReply(c, (void **)&r) != REDIS_OK || !r || r->type == REDIS_REPLY_ERROR) {
            failed(e, c, r);
            freeReplyObject(r);
            return false;
        }
        freeReplyObject(r);
    }
    return true;
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

static bool give_one(struct redis *p, redisContext *c, bool *more, struct err *e)
{
    pthread_mutex_lock(&p->lock);
    struct command *m = p->first;
    pthread_mutex_unlock(&p->lock);
    *more = m != NULL;
    if (!m) return true;
    redisReply *r = run_command(c, m, e);
    if (!r) return false;
    freeReplyObject(r);
    pthread_mutex_lock(&p->lock);
    p->first = m->next;
    if (!p->first) p->last = &p->first;
    p->n_given--;
    pthread_mutex_unlock(&p->lock);
    command_free(m);
    return true;
}

/* Until there is something to do; false: it is to close, and nothing is left that could be done. */
static bool wait_for_news(struct redis *p, double *until)
{
    const struct timespec end = wait_end(1e-3 * LOOK_MS);
    pthread_mutex_lock(&p->lock);
    if (!p->closing && (p->away || !p->first)) wait_until(&p->news, &p->lock, &end);
    const bool closing = p->closing, left = p->first != NULL, away = p->away;
    pthread_mutex_unlock(&p->lock);
    if (!closing) return true;
    if (*until == 0) *until = clock_seconds() + CLOSE_S;
    if (left && away) nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    return left && clock_seconds() < *until;
}

/* All that is due, over one connection. */
static bool tend(struct redis *p, redisContext **c, double *renewed, struct err *e)
{
    const char *ping[] = { "PING" };
    bool more = true;
    if (!*c) *c = connect_to(p, e);
    if (!*c || !simple(*c, 1, ping, e)) return false;
    say_back(p);
    if (clock_seconds() - *renewed > p->lease_ms / 4000.0) {
        if (!renew(p, *c, e)) return false;
        *renewed = clock_seconds();
    }
    while (more)
        if (!give_one(p, *c, &more, e)) return false;
    return true;
}

static void *tend_main(void *arg)
{
    struct redis *p = arg;
    redisContext *c = NULL;
    double renewed = clock_seconds(), until = 0;
    while (wait_for_news(p, &until)) {
        struct err e = { ERR_NONE, "" };
        if (tend(p, &c, &renewed, &e)) continue;
        say_away(p, &e);
        if (c) redisFree(c);
        c = NULL;
        renewed = 0; /* it may have lost them */
    }
    if (c) redisFree(c);
    return NULL;
}

/* ---- the place ----------------------------------------------------------------------------------------------------- */

static void close_it(void *place)
{
    struct redis *p = place;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_signal(&p->news);
    pthread_mutex_unlock(&p->lock);
    if (p->running) pthread_join(p->thread, NULL);
    while (p->n_idle) redisFree(p->idle[--p->n_idle]);
    for (struct command *m = p->first, *next; m; m = next) {
        next = m->next;
        command_free(m);
    }
    for (struct held *h = p->held, *next; h; h = next) {
        next = h->next;
        held_free(h);
    }
    if (p->mirror) counters_memory.close(p->mirror);
    pthread_cond_destroy(&p->news);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static bool open_it(void **place, const char *where, const struct counters_options *o, struct err *e)
{
    struct redis *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "out of memory");
    p->lease_ms = o->lease_ms ? o->lease_ms : COUNTERS_LEASE_MS;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    wait_init(&p->news);
    bool ok = redis_url_parse(&p->url, where, e) && counters_memory.open(&p->mirror, "", o, e);
    if (ok) {
        redis_url_show(&p->url, p->shown);
        struct err why;
        redisContext *c = connect_to(p, &why);
        if (c)
            put_back(p, c);
        else
            say_away(p, &why);
        p->running = !pthread_create(&p->thread, NULL, tend_main, p);
        ok = p->running || err_set(e, ERR_NOMEM, "no thread could be started for the counters");
    }
    if (ok)
        *place = p;
    else
        close_it(p);
    return ok;
}

static const char *where_it_is(const void *place) { return ((const struct redis *)place)->shown; }

static bool is_settled(void *place)
{
    struct redis *p = place;
    pthread_mutex_lock(&p->lock);
    const bool settled = !p->first;
    pthread_mutex_unlock(&p->lock);
    return settled;
}

static bool is_away(void *place, struct err *why)
{
    struct redis *p = place;
    pthread_mutex_lock(&p->lock);
    const bool away = p->away;
    if (away) *why = p->why;
    pthread_mutex_unlock(&p->lock);
    return away;
}

/* What it said of each counter; false: something else than the script says. */
static bool read_reply(const redisReply *r, const struct counters_ask *a, int *by)
{
    if (r->elements != 1 + 2 * (size_t)a->n_counters) return false;
    for (size_t i = 0; i < r->elements; i++)
        if (r->element[i]->type != REDIS_REPLY_INTEGER) return false;
    if (r->element[0]->integer < -1 || r->element[0]->integer >= a->n_counters + a->n_slots) return false;
    *by = (int)r->element[0]->integer;
    for (int i = 0; i < a->n_counters; i++) {
        a->counter[i].used = r->element[1 + 2 * i]->integer;
        a->counter[i].until_ms = r->element[2 + 2 * i]->integer;
    }
    return true;
}

static bool take(void *place, const struct counters_ask *ask, int *by, struct err *e)
{
    struct redis *p = place;
    if (is_away(p, e)) return false;
    if (strlen(ask->id) >= ID_TEXT) return err_set(e, ERR_LIMIT, "too long an id");
    struct command *m = command_new(p, ask, "take", true);
    struct held *h = ask->n_slots ? held_new(ask) : NULL;
    bool ok = (m && (!ask->n_slots || (h && h->n == ask->n_slots))) || err_set(e, ERR_NOMEM, "out of memory");
    redisReply *r = ok ? run_anywhere(p, m, e) : NULL;
    if (ok && !r && e->code == ERR_BUSY) say_away(p, e);
    ok = ok && r &&
         (read_reply(r, ask, by) || err_set(e, ERR_BUSY, "Redis answers something else than was asked"));
    freeReplyObject(r);
    command_free(m);
    if (ok && *by < 0 && h) {
        hold(p, h);
        h = NULL;
    }
    held_free(h);
    if (ok) counters_memory_note(p->mirror, ask->counter, ask->n_counters);
    return ok;
}

static void give(void *place, const struct counters_ask *ask)
{
    struct redis *p = place;
    bool any = ask->n_slots > 0;
    for (int i = 0; i < ask->n_counters; i++) any |= ask->counter[i].add > 0;
    if (!any) return;
    struct command *m = command_new(p, ask, "give", false);
    pthread_mutex_lock(&p->lock);
    struct held *h = ask->n_slots ? let_go(p, ask->id) : NULL;
    const bool kept = m && p->n_given < GIVEN_MAX;
    if (kept) {
        *p->last = m;
        p->last = &m->next;
        p->n_given++;
    }
    const bool first_lost = !kept && p->lost++ == 0;
    pthread_cond_signal(&p->news);
    pthread_mutex_unlock(&p->lock);
    held_free(h);
    if (!kept) command_free(m);
    if (first_lost)
        log_error("%s: what requests used cannot be kept until it is back, and is not counted", p->shown);
}

static void look(void *place, struct counter *v, int n)
{
    counters_memory.look(((struct redis *)place)->mirror, v, n);
}

const struct counters_backend counters_redis = {
    .name = "redis",
    .scheme = "redis://",
    .shared = true,
    .open = open_it,
    .close = close_it,
    .where = where_it_is,
    .settled = is_settled,
    .away = is_away,
    .take = take,
    .give = give,
    .look = look,
};
