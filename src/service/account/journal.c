/* journal.c - see journal.h. */
#include "service/account/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "service/account/row.h"

/* A file: a header of one place, then places. A place: its length (0: empty), a hash of its bytes, the bytes of a row (row.h). */
enum { PLACE = 2048, MARK = 8, HASH = 16, GROW = 64 /* places */ };
static const char mark[MARK + 1] = "hearthj1";

struct place {
    uint32_t len;
    unsigned char hash[HASH];
    char bytes[ROW_PACKED];
};
_Static_assert(sizeof(struct place) <= PLACE, "one fits");

struct header {
    char mark[MARK];
    int64_t store;
};

struct journal {
    int fd;
    char *path;
    pthread_mutex_t lock;
    int *free; /* places that are empty, the last one the next to be used */
    int n_free, n_places, n_room;
    bool said; /* that it cannot be written */
};

static void hash_of(const struct place *p, unsigned char out[HASH])
{
    crypto_generichash(out, HASH, (const unsigned char *)p->bytes, p->len, NULL, 0);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

int journal_read(const unsigned char *bytes, size_t len, int64_t store, struct ledger_row *rows, int *damaged)
{
    struct header h;
    int n = 0;
    *damaged = 0;
    if (len < sizeof h) return 0;
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.mark, mark, MARK) != 0 || h.store != store) return 0;
    for (size_t at = PLACE; at + sizeof(struct place) <= len; at += PLACE) {
        struct place p;
        struct ledger_row r;
        unsigned char hash[HASH];
        memcpy(&p, bytes + at, sizeof p);
        if (!p.len) continue;
        bool ok = p.len <= sizeof p.bytes;
        if (ok) hash_of(&p, hash);
        ok = ok && !memcmp(hash, p.hash, HASH) && row_unpack(&r, p.bytes, p.len);
        if (!ok) ++*damaged;
        if (ok && rows) rows[n] = r;
        n += ok;
    }
    return n;
}

static bool is_ours(int fd, int64_t store)
{
    struct header h;
    return pread(fd, &h, sizeof h, 0) == sizeof h && !memcmp(h.mark, mark, MARK) && h.store == store;
}

static bool read_all(int fd, const char *path, unsigned char **out, size_t *len, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st)) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    *out = malloc((size_t)st.st_size + 1);
    if (!*out) return err_set(e, ERR_NOMEM, "out of memory");
    for (*len = 0; *len < (size_t)st.st_size;) {
        const ssize_t n = pread(fd, *out + *len, (size_t)st.st_size - *len, (off_t)*len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            free(*out);
            return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        }
        if (!n) break;
        *len += (size_t)n;
    }
    return true;
}

/* One file, whose lock is ours now. */
static bool recover(int fd, const char *path, int64_t store, journal_found *found, void *arg, struct err *e)
{
    unsigned char *bytes = NULL;
    size_t len = 0;
    int damaged;
    if (!read_all(fd, path, &bytes, &len, e)) return false;
    const int n = journal_read(bytes, len, store, NULL, &damaged);
    struct ledger_row *rows = calloc((size_t)n + 1, sizeof *rows);
    bool ok = rows || err_set(e, ERR_NOMEM, "out of memory");
    if (ok) journal_read(bytes, len, store, rows, &damaged);
    ok = ok && (!n || found(arg, rows, n, e) || err_wrap(e, "what a killed server left in %s", path));
    if (ok && damaged)
        log_error("%s: %d places of the journal are damaged; what they said of requests is lost", path,
                  damaged);
    if (ok) unlink(path);
    free(rows);
    free(bytes);
    return ok;
}

static bool recover_named(const char *folder, const char *name, int64_t store, journal_found *found,
                          void *arg, struct err *e)
{
    char path[4200];
    const char *dot = strrchr(name, '.');
    if (!dot || strcmp(dot, ".journal") != 0) return true;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return errno == ENOENT || err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    /* The lock of a server that runs is its own. */
    bool ok = true;
    if (!flock(fd, LOCK_EX | LOCK_NB) && is_ours(fd, store)) ok = recover(fd, path, store, found, arg, e);
    close(fd);
    return ok;
}

static bool recover_all(const char *folder, int64_t store, journal_found *found, void *arg, struct err *e)
{
    DIR *d = opendir(folder);
    if (!d) return err_set(e, ERR_IO, "%s: %s", folder, strerror(errno));
    bool ok = true;
    for (const struct dirent *f; ok && (f = readdir(d));)
        ok = recover_named(folder, f->d_name, store, found, arg, e);
    closedir(d);
    return ok;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

/* Under its last name only when it is locked, so that nobody takes it for a killed server's. */
static bool make_file(struct journal *j, const char *folder, int64_t store, struct err *e)
{
    char uid[33], path[4200], made[4200];
    struct header h = { .store = store };
    memcpy(h.mark, mark, MARK);
    ledger_uid(uid);
    snprintf(made, sizeof made, "%s/%s.new", folder, uid);
    snprintf(path, sizeof path, "%s/%s.journal", folder, uid);
    j->fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    j->path = strdup(path);
    if (j->fd < 0 || flock(j->fd, LOCK_EX | LOCK_NB) || pwrite(j->fd, &h, sizeof h, 0) != (ssize_t)sizeof h ||
        rename(made, path)) {
        err_set(e, ERR_IO, "%s: %s; --journal names another folder", made, strerror(errno));
        unlink(made);
        return false;
    }
    return j->path || err_set(e, ERR_NOMEM, "out of memory");
}

bool journal_open(struct journal **out, const char *folder, int64_t store, journal_found *found, void *arg,
                  struct err *e)
{
    if (mkdir(folder, 0700) && errno != EEXIST)
        return err_set(e, ERR_IO, "%s: %s; --journal names another folder", folder, strerror(errno));
    if (!recover_all(folder, store, found, arg, e)) return false;
    struct journal *j = calloc(1, sizeof *j);
    if (!j) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&j->lock, NULL);
    if (make_file(j, folder, store, e)) {
        *out = j;
        return true;
    }
    if (j->fd >= 0) close(j->fd);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
    return false;
}

void journal_close(struct journal *j)
{
    if (!j) return;
    const int left = j->n_places - j->n_free;
    if (left)
        log_error("%d rows could not be written to the store; %s keeps them for the next start", left,
                  j->path);
    else
        unlink(j->path);
    close(j->fd);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j->free);
    free(j);
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static off_t offset_of(int place) { return (off_t)PLACE * (place + 1); }

/* Under the lock. The room on the disk is taken beforehand, so that a full one is noticed here and not in the middle. */
static bool grow(struct journal *j)
{
    int *more = realloc(j->free, (size_t)(j->n_room + GROW) * sizeof *more);
    if (!more) return false;
    j->free = more;
    const int rc = posix_fallocate(j->fd, offset_of(j->n_room), (off_t)PLACE * GROW);
    if (rc) {
        errno = rc;
        return false;
    }
    j->n_room += GROW;
    return true;
}

static int take_place(struct journal *j)
{
    int place = -1, why = 0;
    pthread_mutex_lock(&j->lock);
    if (j->n_free)
        place = j->free[--j->n_free];
    else if (j->n_places < j->n_room || grow(j))
        place = j->n_places++;
    else
        why = errno;
    const bool say = place < 0 && !j->said;
    j->said = place < 0;
    pthread_mutex_unlock(&j->lock);
    if (say)
        log_error("%s cannot be written (%s): requests go on, but if this process is killed now, those under "
                  "way will have no row",
                  j->path, strerror(why));
    return place;
}

int journal_put(struct journal *j, int place, const struct ledger_row *row)
{
    struct place p = { .len = 0 };
    p.len = (uint32_t)row_pack(row, p.bytes);
    hash_of(&p, p.hash);
    if (place < 0) place = take_place(j);
    if (place < 0) return -1;
    const size_t n = offsetof(struct place, bytes) + p.len;
    if (pwrite(j->fd, &p, n, offset_of(place)) != (ssize_t)n)
        log_error("%s: %s: a request under way is not in it", j->path, strerror(errno));
    return place;
}

void journal_clear(struct journal *j, int place)
{
    const uint32_t empty = 0;
    if (place < 0) return;
    if (pwrite(j->fd, &empty, sizeof empty, offset_of(place)) != (ssize_t)sizeof empty)
        log_error("%s: %s", j->path, strerror(errno)); /* the row is in the ledger: harmless */
    pthread_mutex_lock(&j->lock);
    j->free[j->n_free++] = place;
    pthread_mutex_unlock(&j->lock);
}
