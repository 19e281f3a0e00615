#include "lm/prefix_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Bytes that wait to be written at most, pages between two looks at what the folder holds, and seconds after which a file under a passing name is
 * nobody's any more. */
enum { QUEUE_BYTES = 64 << 20, LOOK_EVERY = 64, PASSING_S = 3600, BUCKETS = 4096 };

/* In front of each page. A change of its meaning, or of a page's layout, is a new version. */
struct head {
    char magic[8];
    uint64_t page_bytes;
    unsigned char key[PREFIX_HASH], hash[PREFIX_HASH], sum[PREFIX_HASH];
};
static const char magic[8] = "hearthp1";

struct known {
    struct known *next;
    unsigned char hash[PREFIX_HASH];
};

struct job {
    struct job *next;
    unsigned char hash[PREFIX_HASH];
    struct head *file; /* with the page behind it */
};

struct prefix_store {
    char *dir; /* the model's own folder */
    unsigned char key[PREFIX_HASH];
    size_t page_bytes, limit;
    struct head *reading; /* [head + page] */
    pthread_t thread;
    bool started;

    pthread_mutex_t mu; /* guards what follows */
    pthread_cond_t work, room;
    struct known *known[BUCKETS];
    struct job *first, **last;
    size_t waiting;  /* bytes */
    bool stop, mute; /* mute: nothing is written any more */
    uint64_t number;
};

size_t prefix_file_head(void) { return sizeof(struct head); }

static size_t file_bytes(const struct prefix_store *s) { return sizeof(struct head) + s->page_bytes; }

void prefix_hash_begin(unsigned char hash[PREFIX_HASH], const unsigned char *space, size_t n_space)
{
    crypto_generichash(hash, PREFIX_HASH, space, n_space, NULL, 0);
}

void prefix_hash_page(unsigned char hash[PREFIX_HASH], const unsigned char before[PREFIX_HASH],
                      const int32_t *tokens, int n)
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, PREFIX_HASH);
    crypto_generichash_update(&st, before, PREFIX_HASH);
    crypto_generichash_update(&st, (const unsigned char *)tokens, (size_t)n * sizeof *tokens);
    crypto_generichash_final(&st, hash, PREFIX_HASH);
}

bool prefix_file_check(const void *file, size_t n, const unsigned char key[PREFIX_HASH],
                       const unsigned char hash[PREFIX_HASH], size_t page_bytes, const void **page)
{
    struct head h;
    unsigned char sum[PREFIX_HASH];
    if (n < sizeof h || n - sizeof h != page_bytes) return false;
    memcpy(&h, file, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.page_bytes != page_bytes ||
        memcmp(h.key, key, PREFIX_HASH) != 0 || memcmp(h.hash, hash, PREFIX_HASH) != 0)
        return false;
    const unsigned char *at = (const unsigned char *)file + sizeof h;
    crypto_generichash(sum, sizeof sum, at, page_bytes, NULL, 0);
    if (memcmp(h.sum, sum, sizeof sum) != 0) return false;
    *page = at;
    return true;
}

/* ---- what is known of the folder --------------------------------------------------------------------------------------- */

static struct known **bucket(struct prefix_store *s, const unsigned char *hash)
{
    uint32_t h;
    memcpy(&h, hash, sizeof h);
    return &s->known[h % BUCKETS];
}

static struct known **find(struct prefix_store *s, const unsigned char *hash)
{
    struct known **p = bucket(s, hash);
    while (*p && memcmp((*p)->hash, hash, PREFIX_HASH) != 0) p = &(*p)->next;
    return p;
}

/* Without memory it is not known, and written once more. */
static void learn(struct prefix_store *s, const unsigned char *hash)
{
    struct known **p = find(s, hash);
    if (*p || !(*p = calloc(1, sizeof **p))) return;
    memcpy((*p)->hash, hash, PREFIX_HASH);
}

static void unlearn(struct prefix_store *s, const unsigned char *hash)
{
    struct known **p = find(s, hash), *k = *p;
    if (!k) return;
    *p = k->next;
    free(k);
}

enum { NAME = 2 * PREFIX_HASH };

static char *path_of(const struct prefix_store *s, const unsigned char *hash)
{
    char name[NAME + 1], *path;
    sodium_bin2hex(name, sizeof name, hash, PREFIX_HASH);
    return asprintf(&path, "%s/%s", s->dir, name) < 0 ? NULL : path;
}

static bool hash_of(const char *name, unsigned char hash[PREFIX_HASH])
{
    size_t n;
    return strlen(name) == NAME && sodium_hex2bin(hash, PREFIX_HASH, name, NAME, NULL, &n, NULL) == 0 &&
           n == PREFIX_HASH;
}

struct page_file {
    unsigned char hash[PREFIX_HASH];
    time_t used;
};

static int by_use(const void *a, const void *b)
{
    const time_t x = ((const struct page_file *)a)->used, y = ((const struct page_file *)b)->used;
    return x < y ? -1 : x > y;
}

/* What lies in the folder, also of another server; what is above the limit goes, least lately used first. */
static void look(struct prefix_store *s)
{
    struct page_file *v = NULL;
    size_t n = 0, cap = 0;
    DIR *d = opendir(s->dir);
    const struct dirent *f;
    while (d && (f = readdir(d)) != NULL) {
        struct stat st;
        unsigned char hash[PREFIX_HASH];
        if (fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
        if (!hash_of(f->d_name, hash)) { /* left behind by one that was killed */
            if (strncmp(f->d_name, "passing-", 8) == 0 && st.st_mtime + PASSING_S < time(NULL))
                unlinkat(dirfd(d), f->d_name, 0);
            continue;
        }
        if ((size_t)st.st_size != file_bytes(s)) {
            unlinkat(dirfd(d), f->d_name, 0);
            continue;
        }
        if (n == cap) {
            cap = cap ? 2 * cap : 256;
            struct page_file *more = realloc(v, cap * sizeof *v);
            if (!more) break;
            v = more;
        }
        memcpy(v[n].hash, hash, PREFIX_HASH);
        v[n++].used = st.st_mtime;
    }
    if (d) closedir(d);
    if (n) qsort(v, n, sizeof *v, by_use);
    const size_t keep = s->limit / file_bytes(s), drop = n > keep ? n - keep : 0;
    for (size_t i = 0; i < n; i++) {
        char *path = i < drop ? path_of(s, v[i].hash) : NULL;
        if (path) unlink(path);
        free(path);
        pthread_mutex_lock(&s->mu);
        if (i < drop)
            unlearn(s, v[i].hash);
        else
            learn(s, v[i].hash);
        pthread_mutex_unlock(&s->mu);
    }
    free(v);
}

bool prefix_store_has(struct prefix_store *s, const unsigned char hash[PREFIX_HASH])
{
    pthread_mutex_lock(&s->mu);
    const bool has = *find(s, hash) != NULL;
    pthread_mutex_unlock(&s->mu);
    return has;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static bool read_all(int fd, void *to, size_t n)
{
    for (size_t at = 0; at < n;) {
        const ssize_t got = read(fd, (char *)to + at, n - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += (size_t)got;
    }
    return true;
}

const void *prefix_store_read(struct prefix_store *s, const unsigned char hash[PREFIX_HASH])
{
    const void *at = NULL;
    char *path = path_of(s, hash);
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    const bool whole = fd >= 0 && read_all(fd, s->reading, file_bytes(s)) &&
                       prefix_file_check(s->reading, file_bytes(s), s->key, hash, s->page_bytes, &at);
    if (whole) {
        futimens(fd,
                 NULL); /* used now; where that is not allowed the order of removal is worse, nothing else */
    } else {
        if (fd >= 0) {
            log_warn("%s is not what was written there: it is removed, and computed again", path);
            unlink(path);
        }
        pthread_mutex_lock(&s->mu);
        unlearn(s, hash);
        pthread_mutex_unlock(&s->mu);
    }
    if (fd >= 0) close(fd);
    free(path);
    return whole ? at : NULL;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static bool write_all(int fd, const void *from, size_t n)
{
    for (size_t at = 0; at < n;) {
        const ssize_t put = write(fd, (const char *)from + at, n - at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += (size_t)put;
    }
    return true;
}

/* No fsync: what a power cut takes of it is damaged, and found to be. */
static bool put_file(struct prefix_store *s, const struct job *j, uint64_t number)
{
    char *passing = NULL, *path = path_of(s, j->hash);
    if (asprintf(&passing, "%s/passing-%ld-%llu", s->dir, (long)getpid(), (unsigned long long)number) < 0)
        passing = NULL;
    const int fd =
        path && passing ? open(passing, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    bool ok = fd >= 0 && write_all(fd, j->file, file_bytes(s));
    if (fd >= 0) ok = close(fd) == 0 && ok;
    ok = ok && rename(passing, path) == 0;
    const int why = errno;
    if (fd >= 0 && !ok) unlink(passing);
    if (!ok)
        log_warn("%s: %s; prefixes are not kept there any more until the next start", s->dir, strerror(why));
    free(path);
    free(passing);
    return ok;
}

static void *write_jobs(void *arg)
{
    struct prefix_store *s = arg;
    int since = 0;
    pthread_mutex_lock(&s->mu);
    for (;;) {
        while (!s->first && !s->stop) pthread_cond_wait(&s->work, &s->mu);
        struct job *j = s->first;
        if (!j) break;
        s->first = j->next;
        if (!s->first) s->last = &s->first;
        const bool mute = s->mute || *find(s, j->hash);
        const uint64_t number = s->number++;
        pthread_mutex_unlock(&s->mu);
        if (!mute) {
            struct head *h = j->file;
            memcpy(h->magic, magic, sizeof magic);
            h->page_bytes = s->page_bytes;
            memcpy(h->key, s->key, PREFIX_HASH);
            memcpy(h->hash, j->hash, PREFIX_HASH);
            crypto_generichash(h->sum, PREFIX_HASH, (const unsigned char *)(h + 1), s->page_bytes, NULL, 0);
        }
        const bool ok = mute || put_file(s, j, number);
        if (ok && !mute && ++since % LOOK_EVERY == 0) look(s);
        pthread_mutex_lock(&s->mu);
        if (ok && !mute) learn(s, j->hash);
        s->mute |= !ok;
        s->waiting -= file_bytes(s);
        pthread_cond_broadcast(&s->room);
        free(j->file);
        free(j);
    }
    pthread_mutex_unlock(&s->mu);
    if (since) look(s);
    return NULL;
}

void *prefix_store_room(struct prefix_store *s, const unsigned char hash[PREFIX_HASH], bool wait)
{
    pthread_mutex_lock(&s->mu);
    while (wait && !s->mute && s->waiting + file_bytes(s) > QUEUE_BYTES && s->waiting > 0)
        pthread_cond_wait(&s->room, &s->mu);
    const bool room = s->waiting == 0 || s->waiting + file_bytes(s) <= QUEUE_BYTES;
    const bool take = room && !s->mute && s->limit >= file_bytes(s) && !*find(s, hash);
    if (take) s->waiting += file_bytes(s);
    pthread_mutex_unlock(&s->mu);
    struct head *file = take ? malloc(file_bytes(s)) : NULL;
    if (take && !file) {
        pthread_mutex_lock(&s->mu);
        s->waiting -= file_bytes(s);
        pthread_mutex_unlock(&s->mu);
    }
    return file ? file + 1 : NULL;
}

void prefix_store_write(struct prefix_store *s, const unsigned char hash[PREFIX_HASH], void *room)
{
    struct job *j = calloc(1, sizeof *j);
    struct head *file = (struct head *)room - 1;
    pthread_mutex_lock(&s->mu);
    if (j) {
        memcpy(j->hash, hash, PREFIX_HASH);
        j->file = file;
        *s->last = j;
        s->last = &j->next;
        pthread_cond_signal(&s->work);
    } else { /* without memory it is not kept */
        free(file);
        s->waiting -= file_bytes(s);
    }
    pthread_mutex_unlock(&s->mu);
}

void prefix_store_drop(struct prefix_store *s, void *room)
{
    pthread_mutex_lock(&s->mu);
    s->waiting -= file_bytes(s);
    pthread_cond_broadcast(&s->room);
    pthread_mutex_unlock(&s->mu);
    free((struct head *)room - 1);
}

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

/* A folder of this user's that nobody else can write to. */
static bool own_folder(const char *dir, struct err *e)
{
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, ERR_IO, "cannot make the folder %s: %s", dir, strerror(errno));
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) return err_set(e, ERR_IO, "%s is no folder", dir);
    if (st.st_uid != geteuid())
        return err_set(e, ERR_IO, "%s belongs to another user: what lies there is not to be trusted", dir);
    if (st.st_mode & 022)
        return err_set(e, ERR_IO,
                       "others may write to %s: what lies there is not to be trusted; chmod go-w it", dir);
    return true;
}

bool prefix_store_open(struct prefix_store **out, const char *dir, const unsigned char key[PREFIX_HASH],
                       size_t page_bytes, size_t limit_bytes, struct err *e)
{
    char name[NAME + 1];
    if (!own_folder(dir, e)) return false;
    struct prefix_store *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for the prefixes of %s", dir);
    s->last = &s->first;
    s->page_bytes = page_bytes;
    s->limit = limit_bytes;
    memcpy(s->key, key, PREFIX_HASH);
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->room, NULL);
    sodium_bin2hex(name, sizeof name, key, PREFIX_HASH);
    if (asprintf(&s->dir, "%s/%.16s", dir, name) < 0) s->dir = NULL;
    s->reading = malloc(file_bytes(s));
    bool ok = s->dir && s->reading;
    if (!ok) err_set(e, ERR_NOMEM, "no memory for the prefixes of %s", dir);
    ok = ok && own_folder(s->dir, e);
    if (ok) look(s);
    if (ok && pthread_create(&s->thread, NULL, write_jobs, s) != 0)
        ok = err_set(e, ERR_NOMEM, "cannot start the thread that writes prefixes");
    s->started = ok;
    if (ok)
        *out = s;
    else
        prefix_store_close(s);
    return ok;
}

void prefix_store_close(struct prefix_store *s)
{
    if (!s) return;
    if (s->started) {
        pthread_mutex_lock(&s->mu);
        s->stop = true;
        pthread_cond_signal(&s->work);
        pthread_mutex_unlock(&s->mu);
        pthread_join(s->thread, NULL);
    }
    for (int i = 0; i < BUCKETS; i++)
        for (struct known *k = s->known[i], *next; k; k = next) {
            next = k->next;
            free(k);
        }
    pthread_mutex_destroy(&s->mu);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->room);
    free(s->reading);
    free(s->dir);
    free(s);
}
