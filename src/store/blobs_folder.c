/* blobs_folder.c - blobs in a folder: written under a temporary name first, then renamed. Files of an earlier run in the same folder count. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "store/blobs_inside.h"

enum {
    UNFINISHED_S = 60 /* silence of a file being written after which its writer is taken for dead */
};

struct folder {
    int dir;
    char *path;
    double retention_s;
    int64_t max_bytes;
    pthread_mutex_t lock; /* one prune at a time */
};

struct entry {
    char name[BLOBS_NAME];
    int64_t size, mtime;
};

/* ".NAME.part": a file of ours while it is written. */
static bool is_unfinished(const char *name)
{
    size_t n = strlen(name), tail = strlen(".part");
    char inner[BLOBS_NAME];
    if (name[0] != '.' || n <= tail + 1 || n - tail >= sizeof inner || strcmp(name + n - tail, ".part"))
        return false;
    snprintf(inner, sizeof inner, "%.*s", (int)(n - tail - 1), name + 1);
    return blobs_name_ok(inner);
}

static bool make_dirs(const char *path)
{
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return false;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) return false;
    }
    return true;
}

static void folder_close(void *place)
{
    struct folder *f = place;
    close(f->dir);
    pthread_mutex_destroy(&f->lock);
    free(f->path);
    free(f);
}

static int older_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->mtime < y->mtime ? -1 : x->mtime > y->mtime;
}

/* Removes what is too old, what a killed process left half written, and the oldest until `need` more bytes fit. Under the lock. */
static void prune(struct folder *f, int64_t need)
{
    struct entry *v = NULL;
    size_t n = 0, cap = 0;
    int64_t total = 0, now = (int64_t)time(NULL);
    DIR *d = opendir(f->path);
    for (struct dirent *de; d && (de = readdir(d));) {
        struct stat st;
        const bool unfinished = is_unfinished(de->d_name);
        if (!unfinished && !blobs_name_ok(de->d_name)) continue;
        if (fstatat(f->dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (unfinished && now - st.st_mtime <= UNFINISHED_S) continue;
        if (unfinished || (double)(now - st.st_mtime) > f->retention_s) {
            unlinkat(f->dir, de->d_name, 0);
            continue;
        }
        if (n == cap) {
            size_t more = cap ? cap * 2 : 64;
            struct entry *grown = realloc(v, more * sizeof *v);
            if (!grown) break;
            v = grown;
            cap = more;
        }
        snprintf(v[n].name, sizeof v[n].name, "%.63s", de->d_name);
        v[n].size = st.st_size;
        v[n++].mtime = st.st_mtime;
        total += st.st_size;
    }
    if (d) closedir(d);
    if (total + need > f->max_bytes && n) {
        qsort(v, n, sizeof *v, older_first);
        for (size_t i = 0; i < n && total + need > f->max_bytes; i++) {
            unlinkat(f->dir, v[i].name, 0);
            total -= v[i].size;
        }
    }
    free(v);
}

static bool folder_open(void **out, const char *dir, const struct blobs_options *o, struct err *e)
{
    struct folder *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(dir))) {
        free(f);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    f->retention_s = o->retention_s;
    f->max_bytes = o->max_bytes;
    if (!make_dirs(dir) || (f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        err_set(e, ERR_IO, "folder for pictures %s: %s", dir, strerror(errno));
        free(f->path);
        free(f);
        return false;
    }
    pthread_mutex_init(&f->lock, NULL);
    prune(f, 0);
    *out = f;
    return true;
}

static bool folder_put(void *place, const char *name, const void *data, size_t len, struct err *e)
{
    struct folder *f = place;
    char temporary[BLOBS_NAME + 8];
    snprintf(temporary, sizeof temporary, ".%.63s.part", name);

    pthread_mutex_lock(&f->lock);
    prune(f, (int64_t)len);
    pthread_mutex_unlock(&f->lock);
    int fd = openat(f->dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const char *at = data;
    bool ok = fd >= 0;
    while (ok && len) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR) continue;
        ok = n > 0;
        if (ok) {
            at += n;
            len -= (size_t)n;
        }
    }
    int why = ok ? 0 : errno; /* of the first call that failed */
    if (fd >= 0 && close(fd) != 0 && !why) why = errno;
    if (!why && renameat(f->dir, temporary, f->dir, name) != 0) why = errno;
    if (!why) return true;
    if (fd >= 0) unlinkat(f->dir, temporary, 0);
    log_error("a picture could not be written to %s: %s", f->path, strerror(why));
    return err_set(e, ERR_IO, "a picture could not be kept for its URL: %s", strerror(why));
}

static int folder_get(void *place, const char *name, int64_t *size, int64_t *mtime_unix, struct err *e)
{
    struct folder *f = place;
    struct stat st;
    const int fd = openat(f->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0) close(fd);
        err_set(e, ERR_NOT_FOUND, "there is no such file");
        return -1;
    }
    *size = st.st_size;
    *mtime_unix = st.st_mtime;
    return fd;
}

const struct blobs_place blobs_folder = { folder_open, folder_close, folder_put, folder_get };
