#include "service/hub/partfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/filemap.h"
#include "format/gguf.h"
#include "format/safetensors.h"

#define BLOCK (1 << 20)

static bool make_dirs(const char *dir, struct err *e)
{
    char *path = strdup(dir);
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    bool ok = true;
    for (char *p = path + 1; ok && *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        ok = mkdir(path, 0777) == 0 || errno == EEXIST;
        *p = '/';
    }
    ok = ok && (mkdir(path, 0777) == 0 || errno == EEXIST);
    free(path);
    return ok || err_set(e, ERR_IO, "cannot make the folder %s: %s", dir, strerror(errno));
}

static bool hash_fd(int fd, crypto_hash_sha256_state *sha, int64_t *size)
{
    crypto_hash_sha256_init(sha);
    unsigned char *block = malloc(BLOCK);
    ssize_t n = block ? 0 : -1;
    *size = 0;
    while (block && (n = pread(fd, block, BLOCK, *size)) > 0) {
        crypto_hash_sha256_update(sha, block, (unsigned long long)n);
        *size += n;
    }
    free(block);
    return n == 0;
}

/* Locked, and still the file under that name: whoever had the lock before may have renamed it away. */
static bool lock_part(struct partfile *p, void (*waiting)(void *), void *arg, struct err *e)
{
    for (bool waited = false;;) {
        p->fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (p->fd < 0) return err_set(e, ERR_IO, "cannot write %s: %s", p->part, strerror(errno));
        int rc = flock(p->fd, LOCK_EX | LOCK_NB);
        if (rc != 0 && errno == EWOULDBLOCK) {
            if (!waited && waiting) waiting(arg);
            waited = true;
            while ((rc = flock(p->fd, LOCK_EX)) != 0 && errno == EINTR) {
            }
        }
        if (rc != 0) return err_set(e, ERR_IO, "cannot lock %s: %s", p->part, strerror(errno));
        struct stat mine, there;
        if (fstat(p->fd, &mine) == 0 && stat(p->part, &there) == 0 && mine.st_ino == there.st_ino &&
            mine.st_dev == there.st_dev) {
            return true;
        }
        close(p->fd);
        p->fd = -1;
    }
}

bool partfile_open(struct partfile *p, const char *dir, const char *name, void (*waiting)(void *), void *arg,
                   struct err *e)
{
    *p = (struct partfile){ .fd = -1 };
    if (!make_dirs(dir, e)) return false;
    if (asprintf(&p->path, "%s/%s", dir, name) < 0) p->path = NULL;
    if (asprintf(&p->part, "%s/.%s.part", dir, name) < 0) p->part = NULL;
    if (asprintf(&p->etag_path, "%s/.%s.part.etag", dir, name) < 0) p->etag_path = NULL;
    bool ok = (p->path && p->part && p->etag_path) || err_set(e, ERR_NOMEM, "no memory for a path");
    ok = ok && lock_part(p, waiting, arg, e);
    if (ok && !hash_fd(p->fd, &p->sha, &p->size)) ok = err_set(e, ERR_IO, "cannot read %s", p->part);
    if (!ok) partfile_close(p);
    return ok;
}

void partfile_close(struct partfile *p)
{
    if (p->fd >= 0) {
        if (p->size == 0 && p->part && p->etag_path) { /* nothing worth keeping; unlinked under the lock */
            unlink(
                p->etag_path); /* first: a process killed in between leaves a part, which the next one removes */
            unlink(p->part);
        }
        close(p->fd);
    }
    free(p->path);
    free(p->part);
    free(p->etag_path);
    *p = (struct partfile){ .fd = -1 };
}

bool partfile_append(struct partfile *p, const void *data, size_t n, struct err *e)
{
    const char *at = data;
    crypto_hash_sha256_update(&p->sha, data, n);
    while (n > 0) {
        ssize_t k = pwrite(p->fd, at, n, p->size);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return err_set(e, ERR_IO, "cannot write %s: %s", p->part, strerror(errno));
        at += k;
        n -= (size_t)k;
        p->size += k;
    }
    return true;
}

bool partfile_restart(struct partfile *p, struct err *e)
{
    if (ftruncate(p->fd, 0) != 0) return err_set(e, ERR_IO, "cannot write %s: %s", p->part, strerror(errno));
    unlink(p->etag_path);
    p->size = 0;
    crypto_hash_sha256_init(&p->sha);
    return true;
}

void partfile_etag(const struct partfile *p, char *out, size_t cap)
{
    out[0] = '\0';
    FILE *f = fopen(p->etag_path, "r");
    if (!f) return;
    if (!fgets(out, (int)cap, f)) out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

/* Without it a later run starts over, so failing to write it is no error. */
void partfile_set_etag(const struct partfile *p, const char *etag)
{
    FILE *f = fopen(p->etag_path, "w");
    if (!f) return;
    fprintf(f, "%s\n", etag);
    fclose(f);
}

static void hex_of(const crypto_hash_sha256_state *state, char out[65])
{
    crypto_hash_sha256_state copy = *state;
    unsigned char sum[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&copy, sum);
    sodium_bin2hex(out, 65, sum, sizeof sum);
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcasecmp(s + n - m, tail) == 0;
}

/* A server may send an error page with status 200, and without a sum nothing else would notice. */
static bool check_content(const struct partfile *p, struct err *e)
{
    bool is_gguf = ends_with(p->path, ".gguf");
    if (!is_gguf && !ends_with(p->path, ".safetensors")) return true;
    struct filemap m;
    if (!filemap_open(&m, p->part, e)) return false;
    struct gguf *g = NULL;
    struct safetensors *st = NULL;
    struct err why = { 0 };
    bool ok = is_gguf ? gguf_parse(&g, m.data, m.size, &why) : safetensors_parse(&st, m.data, m.size, &why);
    /* Element types that this build cannot run may be fetched all the same: another one can. */
    if (!ok && why.code == ERR_UNSUPPORTED) ok = true;
    if (!ok) err_set(e, why.code, "what came is no such model file: %s", why.msg);
    gguf_free(g);
    safetensors_free(st);
    filemap_close(&m);
    return ok;
}

bool partfile_finish(struct partfile *p, int64_t size, const char *sha256, struct err *e)
{
    if (size >= 0 && p->size != size) {
        err_set(e, ERR_IO, "expected %lld bytes, got %lld", (long long)size, (long long)p->size);
        if (p->size > size) (void)partfile_restart(p, NULL);
        return false;
    }
    char got[65];
    hex_of(&p->sha, got);
    if (sha256 && strcasecmp(got, sha256) != 0) {
        (void)partfile_restart(p, NULL);
        return err_set(e, ERR_FORMAT, "expected SHA-256 %.64s, got %s: nothing was installed", sha256, got);
    }
    if (!check_content(p, e)) {
        (void)partfile_restart(p, NULL);
        return false;
    }
    /* On disk before it has its name, so that a power cut cannot leave half a file under it. */
    bool ok = fdatasync(p->fd) == 0;
    if (ok) unlink(p->etag_path); /* before the part goes: nobody would look for it afterwards */
    if (!ok || rename(p->part, p->path) != 0) {
        return err_set(e, ERR_IO, "cannot install %s: %s", p->path, strerror(errno));
    }
    close(p->fd);
    p->fd = -1;
    return true;
}

bool partfile_is_installed(const struct partfile *p, int64_t size, const char *sha256)
{
    int fd = open(p->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    struct stat st;
    bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size < 0 || st.st_size == size);
    if (same && sha256) {
        crypto_hash_sha256_state sha;
        char got[65];
        int64_t n;
        same = hash_fd(fd, &sha, &n);
        hex_of(&sha, got);
        same = same && strcasecmp(got, sha256) == 0;
    }
    close(fd);
    return same;
}
