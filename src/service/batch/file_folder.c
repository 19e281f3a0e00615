/* file_folder.c - see file_folder.h. */
#include "service/batch/file_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rng.h"

#define PART ".part"
#define CLAIM ".batches" /* locked by the process that works on them */
enum { DIGITS = 24, OLD_S = 3600 };

struct file_folder {
    int dir;
    char *path;
    int claim; /* -1: another process has it, or nobody asked yet */
};

void file_folder_id(const char *prefix, char id[FILE_ID])
{
    unsigned char r[DIGITS / 2];
    rng_os(r, sizeof r);
    int n = snprintf(id, FILE_ID, "%.14s", prefix);
    for (int i = 0; i < DIGITS / 2; i++) n += snprintf(id + n, (size_t)(FILE_ID - n), "%02x", r[i]);
}

bool file_folder_id_ok(const char *id)
{
    const size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-_");
    return n > 0 && n < FILE_ID && !id[n];
}

static void part_name(const char *id, char out[FILE_ID + 8]) { snprintf(out, FILE_ID + 8, "%s" PART, id); }

static bool is_part(const char *name)
{
    const size_t n = strlen(name), tail = strlen(PART);
    return n > tail && !strcmp(name + n - tail, PART);
}

/* Halves that nobody writes any more: a lock on them is to be had. */
static void sweep(struct file_folder *f)
{
    DIR *d = opendir(f->path);
    for (struct dirent *de; d && (de = readdir(d));) {
        if (!is_part(de->d_name)) continue;
        const int fd = openat(f->dir, de->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) continue;
        if (!flock(fd, LOCK_EX | LOCK_NB)) unlinkat(f->dir, de->d_name, 0);
        close(fd);
    }
    if (d) closedir(d);
}

bool file_folder_open(struct file_folder **out, const char *path, struct err *e)
{
    struct file_folder *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    f->claim = -1;
    if ((mkdir(path, 0700) && errno != EEXIST) ||
        (f->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        err_set(e, ERR_IO, "folder of uploads %s: %s", path, strerror(errno));
        free(f->path);
        free(f);
        return false;
    }
    sweep(f);
    *out = f;
    return true;
}

void file_folder_close(struct file_folder *f)
{
    if (!f) return;
    if (f->claim >= 0) close(f->claim);
    close(f->dir);
    free(f->path);
    free(f);
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static bool failed(int why, struct err *e)
{
    const bool full = why == ENOSPC || why == EDQUOT || why == EFBIG;
    return err_set(e, full ? ERR_BUSY : ERR_IO, "%s%s",
                   full ? "the file could not be kept, the disk is full: try again when there is room on it"
                        : "the file could not be written: ",
                   full ? "" : strerror(why));
}

int file_folder_new(struct file_folder *f, const char *id, struct err *e)
{
    char part[FILE_ID + 8];
    part_name(id, part);
    const int fd = openat(f->dir, part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        log_error("%s/%s: %s", f->path, part, strerror(errno));
        failed(errno, e);
        return -1;
    }
    flock(fd, LOCK_EX | LOCK_NB);
    return fd;
}

bool file_folder_write(int fd, const void *bytes, size_t n, struct err *e)
{
    const char *at = bytes;
    while (n) {
        const ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return failed(w < 0 ? errno : ENOSPC, e);
        at += w;
        n -= (size_t)w;
    }
    return true;
}

bool file_folder_keep(struct file_folder *f, int fd, const char *id, struct err *e)
{
    char part[FILE_ID + 8];
    part_name(id, part);
    if (fsync(fd) || renameat(f->dir, part, f->dir, id) || fsync(f->dir)) {
        const int why = errno;
        log_error("%s/%s: %s", f->path, part, strerror(why));
        file_folder_drop(f, fd, id);
        return failed(why, e);
    }
    close(fd);
    return true;
}

void file_folder_drop(struct file_folder *f, int fd, const char *id)
{
    char part[FILE_ID + 8];
    part_name(id, part);
    unlinkat(f->dir, part, 0); /* before its lock goes */
    close(fd);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

int file_folder_get(struct file_folder *f, const char *id, int64_t *bytes, struct err *e)
{
    struct stat st;
    const int fd = file_folder_id_ok(id) ? openat(f->dir, id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        if (fd >= 0) close(fd);
        err_set(e, ERR_NOT_FOUND, "the bytes of %.60s are not there any more", id);
        return -1;
    }
    *bytes = st.st_size;
    return fd;
}

void file_folder_remove(struct file_folder *f, const char *id)
{
    if (file_folder_id_ok(id)) unlinkat(f->dir, id, 0);
}

void file_folder_each_old(struct file_folder *f, void (*fn)(void *arg, const char *id), void *arg)
{
    const time_t now = time(NULL);
    DIR *d = opendir(f->path);
    for (struct dirent *de; d && (de = readdir(d));) {
        struct stat st;
        if (!file_folder_id_ok(de->d_name) || fstatat(f->dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        if (S_ISREG(st.st_mode) && now - st.st_mtime > OLD_S) fn(arg, de->d_name);
    }
    if (d) closedir(d);
}

bool file_folder_claim(struct file_folder *f)
{
    if (f->claim >= 0) return true;
    const int fd = openat(f->dir, CLAIM, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) {
        f->claim = fd;
        return true;
    }
    if (fd >= 0) close(fd);
    return false;
}
