#include "format/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/mapfault.h"

static bool map_fd(struct filemap *m, int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return err_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return err_set(e, ERR_IO, "cannot read %s: not a regular file", path);
    if (st.st_size == 0) return err_set(e, ERR_FORMAT, "%s is empty", path);
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_set(e, errno == ENOMEM ? ERR_NOMEM : ERR_IO, "cannot map %s: %s", path, strerror(errno));
    struct mapfault *fault = mapfault_watch(p, (size_t)st.st_size);
    if (!fault) {
        munmap(p, (size_t)st.st_size);
        return err_set(e, ERR_NOMEM, "no memory to map %s", path);
    }
    *m = (struct filemap){ p, (size_t)st.st_size, fd, st.st_mtim, fault };
    return true;
}

bool filemap_open(struct filemap *m, const char *path, struct err *e)
{
    struct stat st; /* before it is opened: opening a device may already do something */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, ERR_IO, "cannot read %s: not a regular file", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a FIFO must not hang us */
    if (fd < 0) {
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path,
                       strerror(errno));
    }
    bool ok = map_fd(m, fd, path, e);
    if (!ok) close(fd);
    return ok;
}

void filemap_close(struct filemap *m)
{
    if (m->data) {
        mapfault_forget(m->fault);
        munmap((void *)m->data, m->size);
        close(m->fd);
    }
    *m = (struct filemap){ 0 };
}

bool filemap_changed(const struct filemap *m)
{
    struct stat st;
    return mapfault_hit(m->fault) || fstat(m->fd, &st) != 0 || (size_t)st.st_size != m->size ||
           st.st_mtim.tv_sec != m->modified.tv_sec || st.st_mtim.tv_nsec != m->modified.tv_nsec;
}

void filemap_forget(const void *data, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t skip = (page - (uintptr_t)data % page) % page; /* to the first whole page */
    if (n < skip + page) return;
    (void)madvise((char *)data + skip, (n - skip) / page * page,
                  MADV_DONTNEED); /* failing costs memory only */
}
