/* kept_responses.c - see kept_responses.h. In memory a list from the oldest to the newest, and buckets to find one by its id. */
#include "service/kept_responses.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "store/store.h"

enum { BUCKETS = 1024, PRUNE_EVERY = 64 /* responses that are written */, PRUNE_MOST = 1000 /* at a time */ };

struct kept {
    struct kept *older, *newer; /* in the order of their time */
    struct kept *beside;        /* in its bucket */
    int64_t at_ms;
    char owner[KEPT_OWNER];
    struct kept_response is;
};

struct kept_responses {
    pthread_mutex_t lock;
    int users; /* who has it, and what waits to be written */
    struct store *store;
    unsigned written;
    struct kept_limits limits;
    struct kept *oldest, *newest;
    struct kept *bucket[BUCKETS];
    size_t bytes;
    int count;
};

void kept_response_free(struct kept_response *r)
{
    free(r->input);
    free(r->response);
    r->input = r->response = NULL;
}

bool kept_responses_new(struct kept_responses **out, const struct kept_limits *l, struct store *store,
                        struct err *e)
{
    struct kept_responses *k = calloc(1, sizeof *k);
    if (!k) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&k->lock, NULL);
    k->limits = *l;
    k->store = store;
    k->users = 1;
    *out = k;
    return true;
}

/* FNV-1a; ids are chance's already. */
static unsigned bucket_of(const char *id)
{
    uint32_t h = 2166136261U;
    for (; *id; id++) h = (h ^ (unsigned char)*id) * 16777619U;
    return h % BUCKETS;
}

static size_t size_of(const struct kept_response *r)
{
    return sizeof(struct kept) + r->input_len + r->response_len;
}

static void drop(struct kept_responses *k, struct kept *o)
{
    struct kept **at = &k->bucket[bucket_of(o->is.id)];
    while (*at != o) at = &(*at)->beside;
    *at = o->beside;
    *(o->older ? &o->older->newer : &k->oldest) = o->newer;
    *(o->newer ? &o->newer->older : &k->newest) = o->older;
    k->bytes -= size_of(&o->is);
    k->count--;
    kept_response_free(&o->is);
    free(o);
}

void kept_responses_free(struct kept_responses *k)
{
    if (!k) return;
    pthread_mutex_lock(&k->lock);
    const int left = --k->users;
    pthread_mutex_unlock(&k->lock);
    if (left) return;
    while (k->oldest) drop(k, k->oldest);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* ---- in memory ----------------------------------------------------------------------------------------------------- */

static bool copy(struct kept_response *out, const struct kept_response *r)
{
    *out = *r;
    out->input = strndup(r->input, r->input_len);
    out->response = strndup(r->response, r->response_len);
    if (out->input && out->response) return true;
    kept_response_free(out);
    return false;
}

static bool put_in_memory(struct kept_responses *k, const char *owner, const struct kept_response *r,
                          int64_t now_ms)
{
    const size_t size = size_of(r);
    struct kept *o = size <= k->limits.bytes ? calloc(1, sizeof *o) : NULL;
    if (!o || !copy(&o->is, r)) {
        free(o);
        return false;
    }
    o->at_ms = now_ms;
    snprintf(o->owner, sizeof o->owner, "%s", owner);
    pthread_mutex_lock(&k->lock);
    while (k->oldest && (k->count >= k->limits.count || k->bytes + size > k->limits.bytes ||
                         now_ms - k->oldest->at_ms > k->limits.age_ms))
        drop(k, k->oldest);
    struct kept **bucket = &k->bucket[bucket_of(o->is.id)];
    o->beside = *bucket;
    *bucket = o;
    o->older = k->newest;
    *(k->newest ? &k->newest->newer : &k->oldest) = o;
    k->newest = o;
    k->bytes += size;
    k->count++;
    pthread_mutex_unlock(&k->lock);
    return true;
}

/* Under the lock. */
static struct kept *find(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms)
{
    for (struct kept *o = k->bucket[bucket_of(id)]; o; o = o->beside)
        if (!strcmp(o->is.id, id) && !strcmp(o->owner, owner))
            return now_ms - o->at_ms > k->limits.age_ms ? NULL : o;
    return NULL;
}

/* ---- in a store ---------------------------------------------------------------------------------------------------- */

struct post { /* until it is written down */
    struct kept_responses *k;
    struct kept_response is;
    char owner[KEPT_OWNER];
    int64_t now_ms;
    bool prune;
};

static void post_free(struct post *p)
{
    kept_responses_free(p->k);
    kept_response_free(&p->is);
    free(p);
}

static bool prune(struct session *c, const struct post *p, struct err *e)
{
    return session_run(c, "DELETE FROM responses WHERE made_ms < $1",
                       STORE_ARGS(STORE_V(p->now_ms - p->k->limits.age_ms)), NULL, NULL, e) &&
           session_run(
               c,
               "DELETE FROM responses WHERE id IN (SELECT id FROM responses WHERE owner = $1 ORDER BY "
               "made_ms DESC, id DESC LIMIT $2 OFFSET $3)",
               STORE_ARGS(STORE_V((const char *)p->owner), STORE_V((int64_t)PRUNE_MOST),
                          STORE_V((int64_t)p->k->limits.count)),
               NULL, NULL, e);
}

static bool write_down(void *arg, struct session *c, struct err *e)
{
    const struct post *p = arg;
    return session_run(
               c,
               "INSERT INTO responses (id, owner, previous, made_ms, input, response) VALUES ($1, $2, "
               "$3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
               STORE_ARGS(STORE_V((const char *)p->is.id), STORE_V((const char *)p->owner),
                          STORE_V((const char *)p->is.previous), STORE_V(p->now_ms),
                          STORE_V((const char *)p->is.input), STORE_V((const char *)p->is.response)),
               NULL, NULL, e) &&
           (!p->prune || prune(c, p, e));
}

/* What is written down is asked of the store, where another server may have removed it. */
static void written(void *arg, const struct err *failed)
{
    struct post *p = arg;
    if (failed) {
        log_warn("response %s is kept in memory only: %s", p->is.id, failed->msg);
    } else {
        pthread_mutex_lock(&p->k->lock);
        struct kept *o = find(p->k, p->owner, p->is.id, p->now_ms);
        if (o) drop(p->k, o);
        pthread_mutex_unlock(&p->k->lock);
    }
    post_free(p);
}

static void post(struct kept_responses *k, const char *owner, const struct kept_response *r, int64_t now_ms)
{
    struct err e = { 0 };
    struct post *p = calloc(1, sizeof *p);
    if (!p || !copy(&p->is, r)) {
        free(p);
        log_warn("response %s is kept in memory only: out of memory", r->id);
        return;
    }
    snprintf(p->owner, sizeof p->owner, "%s", owner);
    p->now_ms = now_ms;
    p->k = k;
    pthread_mutex_lock(&k->lock);
    k->users++;
    p->prune = !(k->written++ % PRUNE_EVERY);
    pthread_mutex_unlock(&k->lock);
    if (store_post(k->store, write_down, written, p, &e)) return;
    log_warn("response %s is kept in memory only: %s", r->id, e.msg);
    post_free(p);
}

struct asked {
    const char *owner, *id;
    int64_t since_ms;
    struct kept_response *out;
    bool found;
};

static bool take(void *arg, const struct store_row *row, struct err *e)
{
    struct asked *a = arg;
    struct kept_response r = { .input = (char *)row->v[1].text, .response = (char *)row->v[2].text };
    snprintf(r.id, sizeof r.id, "%s", a->id);
    snprintf(r.previous, sizeof r.previous, "%s", row->v[0].text);
    r.input_len = strlen(r.input);
    r.response_len = strlen(r.response);
    a->found = copy(a->out, &r);
    return a->found || err_set(e, ERR_NOMEM, "out of memory");
}

static bool look_up(void *arg, struct session *c, struct err *e)
{
    struct asked *a = arg;
    return session_run(
        c, "SELECT previous, input, response FROM responses WHERE id = $1 AND owner = $2 AND made_ms >= $3",
        STORE_ARGS(STORE_V(a->id), STORE_V(a->owner), STORE_V(a->since_ms)), take, a, e);
}

static bool forget(void *arg, struct session *c, struct err *e)
{
    struct asked *a = arg;
    if (!session_run(c, "DELETE FROM responses WHERE id = $1 AND owner = $2",
                     STORE_ARGS(STORE_V(a->id), STORE_V(a->owner)), NULL, NULL, e))
        return false;
    a->found = session_changed(c) > 0;
    return true;
}

/* ---- both ---------------------------------------------------------------------------------------------------------- */

bool kept_responses_put(struct kept_responses *k, const char *owner, const struct kept_response *r,
                        int64_t now_ms)
{
    if (!put_in_memory(k, owner, r, now_ms)) return false;
    if (k->store) post(k, owner, r, now_ms);
    return true;
}

static bool not_found(const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "Response with id '%.60s' not found.", id);
}

bool kept_responses_get(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms,
                        struct kept_response *out, struct err *e)
{
    pthread_mutex_lock(&k->lock);
    const struct kept *o = find(k, owner, id, now_ms);
    const bool ok = o && copy(out, &o->is);
    pthread_mutex_unlock(&k->lock);
    if (ok) return true;
    if (o) return err_set(e, ERR_NOMEM, "out of memory");
    struct asked a = { .owner = owner, .id = id, .since_ms = now_ms - k->limits.age_ms, .out = out };
    if (k->store && !store_read(k->store, look_up, &a, e)) {
        if (a.found) kept_response_free(out);
        return false;
    }
    return a.found || not_found(id, e);
}

/* What waits to be written is written before the removal: the store's writer keeps the order. */
bool kept_responses_remove(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms,
                           struct err *e)
{
    struct asked a = { .owner = owner, .id = id };
    pthread_mutex_lock(&k->lock);
    struct kept *o = find(k, owner, id, now_ms);
    const bool had = o != NULL;
    if (o) drop(k, o);
    pthread_mutex_unlock(&k->lock);
    if (k->store && !store_write(k->store, forget, &a, e)) return false;
    return had || a.found || not_found(id, e);
}
