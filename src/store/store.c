/* store.c - see store.h: the writer's thread and its queue, and connections lent to readers. */
#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "store/backend.h"
#include "store/schema.h"

enum {
    BATCH = 512,      /* functions in one transaction: more would make the first wait for the last */
    IDLE_READERS = 8, /* connections kept for the next reader */
    CLOSE_S = 5       /* for what is posted, when the store is away */
};
#define AGAIN_S 0.5 /* between tries while the store is away */

struct session {
    const struct store_backend *b;
    void *connection;
    int64_t changed;
    struct session *next; /* idle */
};

struct job {
    store_fn *fn;
    void *arg;
    void (*done)(void *arg, const struct err *e); /* NULL: somebody waits */
    void (*late)(void *arg);                      /* NULL: nobody is to know, or knows already */
    struct err e;
    bool ok, over;
    struct job *next;
};

struct store {
    const struct store_backend *b;
    char *where, *shown;
    struct store_options o;

    pthread_mutex_t lock;
    pthread_cond_t work, written; /* for the writer; for those who wait */
    struct job *first, **last;
    int n_waiting;
    bool closing, away, running;
    double closed_at; /* clock_seconds() */
    struct err why;
    struct store_counts counts; /* away and waiting are set when somebody asks */
    struct session *idle;
    int n_idle;
    pthread_t thread;
};

static const struct store_backend *const backends[] = { &sqlite_backend, &postgres_backend };

static bool is_url(const char *where)
{
    return !strncmp(where, "postgresql://", 13) || !strncmp(where, "postgres://", 11);
}

int store_version(void) { return schema_version(); }
const char *store_name(const struct store *s) { return s->b->name; }
const char *store_where(const struct store *s) { return s->shown; }

/* postgresql://user:secret@host/db -> postgresql://user:***@host/db. What a parameter called password has is taken out too. */
static char *without_password(const char *where)
{
    char *out = malloc(strlen(where) + 8);
    if (!out) return NULL;
    const char *begin = strstr(where, "://"), *at = NULL, *colon = NULL;
    if (begin) at = strchr(begin + 3, '@');
    if (at) colon = memchr(begin + 3, ':', (size_t)(at - begin - 3));
    if (colon) {
        memcpy(out, where, (size_t)(colon - where) + 1);
        strcpy(out + (colon - where) + 1, "***");
        strcat(out, at);
    } else {
        strcpy(out, where);
    }
    char *secret = begin ? strstr(out, "password=") : NULL;
    if (secret) strcpy(secret + 9, "");
    return out;
}

/* ---- sessions ------------------------------------------------------------------------------------------------------ */

bool session_run(struct session *c, const char *sql, const struct store_value *args, int n, store_row_fn *row,
                 void *arg, struct err *e)
{
    return c->b->run(c->connection, sql, args, n, row, arg, &c->changed, e);
}

int64_t session_changed(const struct session *c) { return c->changed; }

static bool plain(struct session *c, const char *sql, struct err *e)
{
    return session_run(c, sql, STORE_NO_ARGS, NULL, NULL, e);
}

static struct session *session_new(struct store *s, struct err *e)
{
    struct session *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    c->b = s->b;
    if (s->b->open(&c->connection, s->where, &s->o, e)) return c;
    free(c);
    return NULL;
}

static void session_free(struct session *c)
{
    if (!c) return;
    c->b->close(c->connection);
    free(c);
}

static struct session *idle_take(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    struct session *c = s->idle;
    if (c) {
        s->idle = c->next;
        s->n_idle--;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

static struct session *reader_take(struct store *s, struct err *e)
{
    struct session *c = idle_take(s);
    return c ? c : session_new(s, e);
}

static void reader_give(struct store *s, struct session *c)
{
    bool keep = c->b->alive(c->connection);
    pthread_mutex_lock(&s->lock);
    keep = keep && s->n_idle < IDLE_READERS;
    if (keep) {
        c->next = s->idle;
        s->idle = c;
        s->n_idle++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!keep) session_free(c);
}

/* A reader inside a transaction. Idle connections may have died since they were used, also where they do not know it yet: then the next is
 * tried, and a new one last. */
static struct session *reader_begin(struct store *s, struct err *e)
{
    for (;;) {
        struct session *c = idle_take(s);
        const bool fresh = !c;
        if (fresh) c = session_new(s, e);
        if (!c || plain(c, s->b->begin_read, e)) return c;
        session_free(c);
        if (fresh) return NULL;
    }
}

bool store_read(struct store *s, store_fn *fn, void *arg, struct err *e)
{
    struct session *c = reader_begin(s, e);
    if (!c) return false;
    const bool ok = fn(arg, c, e);
    /* Nothing was written. One that cannot leave its transaction would refuse the next. */
    if (plain(c, "ROLLBACK", NULL))
        reader_give(s, c);
    else
        session_free(c);
    return ok;
}

/* ---- the writer ---------------------------------------------------------------------------------------------------- */

/* One of a batch, alone: what it wrote is taken back when it fails. */
static bool run_guarded(struct session *c, struct job *j, struct err *e)
{
    if (!plain(c, "SAVEPOINT one", e)) return false;
    j->e = (struct err){ ERR_NONE, "" };
    j->ok = j->fn(j->arg, c, &j->e);
    if (!j->ok && j->e.code == ERR_BUSY) return err_set(e, ERR_BUSY, "%s", j->e.msg);
    return (j->ok || plain(c, "ROLLBACK TO SAVEPOINT one", e)) && plain(c, "RELEASE SAVEPOINT one", e);
}

/* All of a batch in one transaction. Savepoints cost as much as a row, and nearly never are of use: they are taken in a second try, after one
 * of the batch has failed. False: nothing was written, and all of it is to be tried again. */
static bool transact(struct session *c, struct job *batch, struct err *e)
{
    bool guarded = false;
    for (;;) {
        bool failed = false, ok = plain(c, c->b->begin_write, e);
        if (!ok) return false;
        ok = !c->b->lock_writers || plain(c, c->b->lock_writers, e);
        for (struct job *j = batch; j && ok && !failed; j = j->next) {
            if (guarded) {
                ok = run_guarded(c, j, e);
                continue;
            }
            j->e = (struct err){ ERR_NONE, "" };
            j->ok = j->fn(j->arg, c, &j->e);
            failed = !j->ok;
            if (failed && j->e.code == ERR_BUSY) ok = err_set(e, ERR_BUSY, "%s", j->e.msg);
        }
        if (ok && !failed && plain(c, "COMMIT", e)) return true;
        plain(c, "ROLLBACK", NULL);
        if (!ok || !failed) return false;
        guarded = true;
    }
}

/* Under the lock: up to BATCH of those that wait. */
static struct job *take_batch(struct store *s)
{
    struct job *batch = s->first, *j = batch;
    int n = 1;
    while (n < BATCH && j->next) j = j->next, n++;
    s->first = j->next;
    if (!s->first) s->last = &s->first;
    j->next = NULL;
    s->n_waiting -= n;
    return batch;
}

/* Those that somebody waits for are over; the others are called and freed. */
static void report(struct store *s, struct job *batch)
{
    pthread_mutex_lock(&s->lock);
    for (struct job *j = batch, *next; j; j = next) {
        next = j->next;
        if (!j->done) j->over = true; /* gone as soon as the lock is */
    }
    pthread_cond_broadcast(&s->written);
    pthread_mutex_unlock(&s->lock);
}

static void call_done(struct job *batch)
{
    for (struct job *j = batch, *next; j; j = next) {
        next = j->next;
        j->done(j->arg, j->ok ? NULL : &j->e);
        free(j);
    }
}

/* Divides a batch into those that somebody waits for and those that were posted, each in their order. */
static void divide(struct job *batch, struct job **waited, struct job **posted)
{
    for (struct job *j = batch, *next; j; j = next) {
        struct job ***end = j->done ? &posted : &waited;
        next = j->next;
        **end = j;
        *end = &j->next;
        j->next = NULL;
    }
}

static void batch_over(struct store *s, struct job *batch)
{
    struct job *waited = NULL, *posted = NULL;
    divide(batch, &waited, &posted);
    report(s, waited);
    call_done(posted);
}

static void tell_late(struct job *j)
{
    void (*late)(void *) = j->late;
    j->late = NULL;
    if (late) late(j->arg);
}

/* The store is away: who waits is told, what was posted goes back to the front. */
static void put_back(struct store *s, struct job *batch, const struct err *why)
{
    struct job *waited = NULL, *posted = NULL;
    divide(batch, &waited, &posted);
    for (struct job *j = waited; j; j = j->next) {
        j->ok = false;
        j->e = *why;
    }
    report(s, waited);
    for (struct job *j = posted; j; j = j->next) tell_late(j);
    pthread_mutex_lock(&s->lock);
    struct job **end = &posted;
    for (; *end; end = &(*end)->next) s->n_waiting++;
    *end = s->first;
    if (!s->first) s->last = end;
    s->first = posted;
    if (!s->first) s->last = &s->first;
    pthread_mutex_unlock(&s->lock);
}

static void set_away(struct store *s, const struct err *why)
{
    pthread_mutex_lock(&s->lock);
    const bool was = s->away;
    s->away = why != NULL;
    if (why) s->why = *why;
    pthread_mutex_unlock(&s->lock);
    if (why && !was) log_error("the store is away, and requests that need it are refused: %s", why->msg);
    if (!why && was) log_info("the store is back");
}

/* Those that somebody waits for get the error at once, also those that come while the writer rests. */
static void rest(struct store *s)
{
    const struct timespec end = wait_end(AGAIN_S);
    pthread_mutex_lock(&s->lock);
    while (!s->closing && wait_until(&s->work, &s->lock, &end)) {
    }
    pthread_mutex_unlock(&s->lock);
}

static void give_up(struct store *s, const struct err *why)
{
    struct job *waited = NULL, *posted = NULL;
    divide(s->first, &waited, &posted);
    s->first = NULL;
    for (struct job *j = posted; j; j = j->next) {
        j->ok = false;
        j->e = *why;
    }
    call_done(posted);
}

/* Seconds: a sync of a good disk takes one of them, a busy or distant one several. */
const double store_bounds[STORE_BUCKETS] = { 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
                                             0.05,   0.1,   0.25,  0.5,   1,    5 };

static void count_commit(struct store *s, const struct job *batch, double seconds)
{
    uint64_t n = 0;
    int i = 0;
    for (const struct job *j = batch; j; j = j->next) n++;
    while (i < STORE_BUCKETS && seconds > store_bounds[i]) i++;
    if (!n) return; /* it was only looked at */
    pthread_mutex_lock(&s->lock);
    s->counts.written += n;
    s->counts.bucket[i]++;
    s->counts.commit_s += seconds;
    pthread_mutex_unlock(&s->lock);
}

static void count_failure(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->counts.failures++;
    pthread_mutex_unlock(&s->lock);
}

void store_count(struct store *s, struct store_counts *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->counts;
    out->away = s->away;
    out->waiting = s->n_waiting;
    pthread_mutex_unlock(&s->lock);
}

static void *writer_main(void *arg)
{
    struct store *s = arg;
    struct session *c = NULL;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->first && !s->closing && !s->away) pthread_cond_wait(&s->work, &s->lock);
        if (!s->first && (s->closing || !s->away)) {
            pthread_mutex_unlock(&s->lock);
            break;
        }
        struct job *batch = s->first ? take_batch(s) : NULL; /* NULL: only to see whether it is back */
        const bool closing = s->closing;
        pthread_mutex_unlock(&s->lock);

        struct err why = { ERR_NONE, "" };
        const double began = clock_seconds();
        if (!c) c = session_new(s, &why);
        if (c && transact(c, batch, &why)) {
            count_commit(s, batch, clock_seconds() - began);
            set_away(s, NULL);
            batch_over(s, batch);
            continue;
        }
        set_away(s, &why);
        count_failure(s);
        if (c && !c->b->alive(c->connection)) {
            session_free(c);
            c = NULL;
        }
        put_back(s, batch, &why);
        if (closing && clock_seconds() > s->closed_at + CLOSE_S) {
            give_up(s, &why);
            break;
        }
        rest(s);
        if (closing) nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    }
    session_free(c);
    return NULL;
}

static void push(struct store *s, struct job *j)
{
    *s->last = j;
    s->last = &j->next;
    s->n_waiting++;
    pthread_cond_signal(&s->work);
}

bool store_write(struct store *s, store_fn *fn, void *arg, struct err *e)
{
    struct job j = { .fn = fn, .arg = arg };
    pthread_mutex_lock(&s->lock);
    if (s->away && s->n_waiting) { /* behind those that wait for it to come back */
        j.e = s->why;
        pthread_mutex_unlock(&s->lock);
        return err_set(e, ERR_BUSY, "%s", j.e.msg);
    }
    push(s, &j);
    while (!j.over) pthread_cond_wait(&s->written, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return j.ok || err_set(e, j.e.code, "%s", j.e.msg);
}

bool store_post(struct store *s, store_fn *fn, void (*done)(void *arg, const struct err *e), void *arg,
                struct err *e)
{
    return store_post_late(s, fn, done, NULL, arg, e);
}

bool store_post_late(struct store *s, store_fn *fn, void (*done)(void *arg, const struct err *e),
                     void (*late)(void *arg), void *arg, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j) return err_set(e, ERR_NOMEM, "out of memory");
    j->fn = fn;
    j->arg = arg;
    j->done = done;
    j->late = late;
    pthread_mutex_lock(&s->lock);
    const bool room = s->n_waiting < STORE_WAITING;
    if (room && s->away) tell_late(j);
    if (room) push(s, j);
    pthread_mutex_unlock(&s->lock);
    if (room) return true;
    free(j);
    return err_set(e, ERR_BUSY, "%d rows wait for the store already", STORE_WAITING);
}

bool store_away(struct store *s, struct err *why)
{
    pthread_mutex_lock(&s->lock);
    const bool away = s->away;
    if (away && why) *why = s->why;
    pthread_mutex_unlock(&s->lock);
    return away;
}

/* ---- opening and keeping ------------------------------------------------------------------------------------------- */

bool store_open(struct store **out, const char *where, const struct store_options *o, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "out of memory");
    s->o = *o;
    s->b = backends[is_url(where)];
    s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    wait_init(&s->work);
    pthread_cond_init(&s->written, NULL);
    s->where = strdup(where);
    s->shown = without_password(where);
    bool ok = (s->where && s->shown) || err_set(e, ERR_NOMEM, "out of memory");
    struct session *c = ok ? session_new(s, e) : NULL;
    ok = c && schema_apply(s->b, c->connection, s->shown, o->migrate, e);
    if (ok) {
        reader_give(s, c);
        s->running = !pthread_create(&s->thread, NULL, writer_main, s);
        if (!s->running) ok = err_set(e, ERR_NOMEM, "no thread could be started for the store");
    } else {
        session_free(c);
    }
    if (ok)
        *out = s;
    else
        store_close(s);
    return ok;
}

void store_close(struct store *s)
{
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    s->closed_at = clock_seconds();
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    if (s->running) pthread_join(s->thread, NULL);
    for (struct session *c = s->idle, *next; c; c = next) {
        next = c->next;
        session_free(c);
    }
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->written);
    pthread_mutex_destroy(&s->lock);
    free(s->where);
    free(s->shown);
    free(s);
}

static bool check_it(void *arg, struct session *c, struct err *e)
{
    (void)arg;
    return c->b->check(c->connection, e);
}

bool store_check(struct store *s, struct err *e) { return store_read(s, check_it, NULL, e); }

bool store_backup(struct store *s, const char *path, struct err *e)
{
    struct session *c = reader_take(s, e); /* outside a transaction: the copy has its own */
    if (!c) return false;
    const bool ok = c->b->backup(c->connection, path, e);
    reader_give(s, c);
    return ok;
}
