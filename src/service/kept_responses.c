/* kept_responses.c - see kept_responses.h. A list from the oldest to the newest, and buckets to find one by its id. */
#include "service/kept_responses.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct kept {
    struct kept *older, *newer; /* in the order of their time */
    struct kept *beside;        /* in its bucket */
    int64_t at_ms;
    char owner[KEPT_OWNER];
    struct kept_response is;
};

struct kept_responses {
    pthread_mutex_t lock;
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

bool kept_responses_new(struct kept_responses **out, const struct kept_limits *l, struct err *e)
{
    struct kept_responses *k = calloc(1, sizeof *k);
    if (!k) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&k->lock, NULL);
    k->limits = *l;
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
    while (k->oldest) drop(k, k->oldest);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static bool copy(struct kept_response *out, const struct kept_response *r)
{
    *out = *r;
    out->input = strndup(r->input, r->input_len);
    out->response = strndup(r->response, r->response_len);
    if (out->input && out->response) return true;
    kept_response_free(out);
    return false;
}

bool kept_responses_put(struct kept_responses *k, const char *owner, const struct kept_response *r,
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

bool kept_responses_get(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms,
                        struct kept_response *out, struct err *e)
{
    pthread_mutex_lock(&k->lock);
    const struct kept *o = find(k, owner, id, now_ms);
    const bool ok = o && copy(out, &o->is);
    pthread_mutex_unlock(&k->lock);
    if (ok) return true;
    return o ? err_set(e, ERR_NOMEM, "out of memory")
             : err_set(e, ERR_NOT_FOUND, "Response with id '%.60s' not found.", id);
}

bool kept_responses_remove(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms)
{
    pthread_mutex_lock(&k->lock);
    struct kept *o = find(k, owner, id, now_ms);
    if (o) drop(k, o);
    pthread_mutex_unlock(&k->lock);
    return o != NULL;
}
