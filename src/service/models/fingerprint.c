/* fingerprint.c - see fingerprint.h. */
#include "service/models/fingerprint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { END = 1 << 20, BLOCK = 4096, BLOCKS = 64, DEEPEST = 8 /* folders */ };

struct print {
    crypto_hash_sha256_state h;
    unsigned char *bytes; /* [END] */
};

static bool feed(struct print *p, int fd, const char *path, off_t at, size_t n, struct err *e)
{
    for (size_t got = 0; got < n;) {
        const ssize_t k = pread(fd, p->bytes + got, n - got, at + (off_t)got);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        if (!k) return err_set(e, ERR_IO, "%s: it became shorter while it was read", path);
        got += (size_t)k;
    }
    crypto_hash_sha256_update(&p->h, p->bytes, n);
    return true;
}

/* name: below the model's folder. */
static bool add_file(struct print *p, const char *path, const char *name, struct err *e)
{
    struct stat st;
    char head[4200];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    const int n = snprintf(head, sizeof head, "%s%c%lld%c", name, 0, (long long)st.st_size, 0);
    crypto_hash_sha256_update(&p->h, (const unsigned char *)head,
                              n < (int)sizeof head ? (size_t)n : sizeof head);
    bool ok;
    if (st.st_size <= 2 * END) {
        ok = true;
        for (off_t at = 0; ok && at < st.st_size; at += END)
            ok = feed(p, fd, path, at, (size_t)(st.st_size - at < END ? st.st_size - at : END), e);
    } else {
        const off_t between = st.st_size - 2 * END;
        ok = feed(p, fd, path, 0, END, e);
        for (int i = 0; ok && i < BLOCKS && between >= BLOCK; i++)
            ok = feed(p, fd, path, END + (between - BLOCK) / BLOCKS * i, BLOCK, e);
        ok = ok && feed(p, fd, path, st.st_size - END, END, e);
    }
    close(fd);
    return ok;
}

static int shown(const struct dirent *d) { return d->d_name[0] != '.'; }

/* strcmp() and no locale's order. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool add_folder(struct print *p, const char *path, const char *name, int depth, struct err *e)
{
    struct dirent **list;
    const int n = scandir(path, &list, shown, by_name);
    if (n < 0) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char at[4200], called[4200];
        struct stat st;
        snprintf(at, sizeof at, "%s/%s", path, list[i]->d_name);
        snprintf(called, sizeof called, "%s/%s", name, list[i]->d_name);
        free(list[i]);
        if (!ok || stat(at, &st)) continue; /* a link to nothing is no part of it */
        if (S_ISREG(st.st_mode))
            ok = add_file(p, at, called, e);
        else if (S_ISDIR(st.st_mode) && depth < DEEPEST)
            ok = add_folder(p, at, called, depth + 1, e);
    }
    free(list);
    return ok;
}

bool fingerprint_of(const char *path, char out[FINGERPRINT], struct err *e)
{
    struct print p = { .bytes = malloc(END) };
    struct stat st;
    unsigned char hash[crypto_hash_sha256_BYTES];
    if (!p.bytes) return err_set(e, ERR_NOMEM, "out of memory");
    crypto_hash_sha256_init(&p.h);
    bool ok = !stat(path, &st) || err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    /* A single file's name is its owner's business: it is what it holds. */
    ok = ok && (S_ISDIR(st.st_mode) ? add_folder(&p, path, "", 0, e) : add_file(&p, path, "", e));
    free(p.bytes);
    if (!ok) return false;
    crypto_hash_sha256_final(&p.h, hash);
    sodium_bin2hex(out, FINGERPRINT, hash, sizeof hash);
    return true;
}
