/* upload.c - see upload.h. */
#include "http/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool upload_new(struct upload **out, struct file_folder *f, struct err *e)
{
    struct upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, ERR_NOMEM, "out of memory");
    u->folder = f;
    file_folder_id("file-", u->id);
    u->fd = file_folder_new(f, u->id, e);
    if (u->fd < 0) {
        free(u);
        return false;
    }
    *out = u;
    return true;
}

bool upload_take(struct upload *u, const char *bytes, size_t n, struct err *e)
{
    if (!file_folder_write(u->fd, bytes, n, e)) return false;
    u->bytes += (int64_t)n;
    return true;
}

const char *upload_map(const struct upload *u, struct err *e)
{
    if (!u->bytes) return "";
    const char *m = mmap(NULL, (size_t)u->bytes, PROT_READ, MAP_PRIVATE, u->fd, 0);
    if (m != MAP_FAILED) return m;
    err_set(e, ERR_IO, "the file cannot be read back: %s", strerror(errno));
    return NULL;
}

void upload_unmap(const struct upload *u, const char *bytes)
{
    if (u->bytes && bytes) munmap((void *)bytes, (size_t)u->bytes);
}

bool upload_keep(struct upload *u, struct err *e)
{
    const int fd = u->fd;
    u->fd = -1;
    return file_folder_keep(u->folder, fd, u->id, e);
}

void upload_free(struct upload *u)
{
    if (!u) return;
    if (u->fd >= 0) file_folder_drop(u->folder, u->fd, u->id);
    free(u);
}
