/* blobs.c - see blobs.h. */
#include "store/blobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/blobs_inside.h"

#define AWAY_S 2.0 /* after which a place that was away is asked again */
enum { DIGITS = 32 };

struct blobs {
    const struct blobs_place *is;
    void *place;
    char *where;
    double retention_s;
    int64_t max_bytes;
    pthread_mutex_t lock; /* guards what follows */
    bool away;
    double away_at;
    struct err why;
};

bool blobs_name_ok(const char *name)
{
    if (strspn(name, "0123456789abcdef") != DIGITS || name[DIGITS] != '.') return false;
    size_t n = strlen(name + DIGITS + 1);
    return n >= 1 && n <= 5 && strspn(name + DIGITS + 1, "abcdefghijklmnopqrstuvwxyz") == n;
}

bool blobs_open(struct blobs **out, const char *where, const struct blobs_options *o, struct err *e)
{
    struct blobs *b = calloc(1, sizeof *b);
    if (!b || !(b->where = strdup(where))) {
        free(b);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    b->is = strncmp(where, "s3:", 3) ? &blobs_folder : &blobs_s3;
    b->retention_s = o->retention_s;
    b->max_bytes = o->max_bytes;
    pthread_mutex_init(&b->lock, NULL);
    if (b->is->open(&b->place, where, o, e)) {
        *out = b;
        return true;
    }
    pthread_mutex_destroy(&b->lock);
    free(b->where);
    free(b);
    return false;
}

void blobs_close(struct blobs *b)
{
    if (!b) return;
    b->is->close(b->place);
    pthread_mutex_destroy(&b->lock);
    free(b->where);
    free(b);
}

/* What the place said; NULL: it answered. */
static void note(struct blobs *b, const struct err *why)
{
    pthread_mutex_lock(&b->lock);
    const bool was = b->away;
    b->away = why != NULL;
    b->away_at = clock_seconds();
    if (why) b->why = *why;
    pthread_mutex_unlock(&b->lock);
    if (why && !was)
        log_error("the place of files, %s, is away, and requests that need it are refused: %s", b->where,
                  why->msg);
    if (!why && was) log_info("the place of files, %s, is back", b->where);
}

bool blobs_away(struct blobs *b, struct err *why)
{
    pthread_mutex_lock(&b->lock);
    const bool away = b->away && clock_seconds() - b->away_at < AWAY_S;
    if (away && why) *why = b->why;
    pthread_mutex_unlock(&b->lock);
    return away;
}

bool blobs_failed(struct blobs *b)
{
    pthread_mutex_lock(&b->lock);
    const bool failed = b->away;
    pthread_mutex_unlock(&b->lock);
    return failed;
}

bool blobs_put(struct blobs *b, const char *name, const void *data, size_t len, struct err *e)
{
    struct err why = { ERR_NONE, "" };
    if (!blobs_name_ok(name)) return err_set(e, ERR_REQUEST, "\"%.80s\" is no name of a kept file", name);
    if ((int64_t)len > b->max_bytes)
        return err_set(e, ERR_LIMIT, "a picture of %zu bytes passes the limit of the pictures' folder", len);
    if (b->is->put(b->place, name, data, len, &why)) {
        note(b, NULL);
        return true;
    }
    if (why.code == ERR_BUSY) note(b, &why);
    return err_set(e, why.code, "%s", why.msg);
}

int blobs_get(struct blobs *b, const char *name, int64_t *size, int64_t *mtime_unix, struct err *e)
{
    struct err why = { ERR_NONE, "" };
    int fd = -1;
    if (!blobs_name_ok(name)) {
        err_set(e, ERR_NOT_FOUND, "\"%.80s\" is no name of a kept file", name);
        return -1;
    }
    /* One that hangs costs a time-out: not everybody pays it. */
    if (blobs_away(b, &why) || (fd = b->is->get(b->place, name, size, mtime_unix, &why)) < 0) {
        if (why.code == ERR_BUSY && !blobs_away(b, NULL)) note(b, &why);
        if (why.code == ERR_NOT_FOUND) note(b, NULL);
        err_set(e, why.code, "%s", why.msg);
        return -1;
    }
    note(b, NULL);
    if ((double)(time(NULL) - *mtime_unix) <= b->retention_s) return fd;
    close(fd);
    err_set(e, ERR_NOT_FOUND, "its time is over");
    return -1;
}
