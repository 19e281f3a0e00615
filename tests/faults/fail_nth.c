/* fail_nth.c - a preload library under which one call of the system's fails.
 *
 * FAIL_CALL   the function: malloc (strdup and asprintf call it, so theirs count too), calloc, realloc, mmap, open (and openat), fopen,
 *             read, pread, write, pthread_create
 * FAIL_NTH    which of its calls fails, from 1, counted from the end of the libraries' start-up, over all threads
 * FAIL_COUNT  how many fail from there on (default 1)
 * FAIL_REPORT a file that is made when a call failed: a run that never came so far leaves none
 *
 * Calls that the C library makes inside itself do not pass here: what stdio writes is not write's. Of write only the program's own calls
 * count, of the rest those of its libraries too. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { MALLOC, CALLOC, REALLOC, MMAP, OPEN, FOPEN, READ, PREAD, WRITE, PTHREAD_CREATE, N_CALLS };

static const char *const names[N_CALLS] = { "malloc", "calloc", "realloc", "mmap",  "open",
                                            "fopen",  "read",   "pread",   "write", "pthread_create" };

static int chosen = -1; /* set before main, read by all threads */
static long first, last;
static const char *report;
static const void *program; /* where the executable lies: only its own calls of write count */
static atomic_long calls;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static bool fails(enum call c, int why)
{
    if ((int)c != chosen) return false;
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (n < first || n > last) return false;
    if (report) syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, report, O_CREAT | O_WRONLY, 0600));
    errno = why;
    return true;
}

/* Initialised after the libraries that it stands in front of, before the program. */
__attribute__((constructor)) static void begin(void)
{
    const char *call = getenv("FAIL_CALL"), *nth = getenv("FAIL_NTH"), *count = getenv("FAIL_COUNT");
    if (!call || !nth) return;
    report = getenv("FAIL_REPORT");
    first = atol(nth);
    Dl_info of;
    if (dladdr((const void *)getauxval(AT_ENTRY), &of)) program = of.dli_fbase;
    last = first + (count ? atol(count) : 1) - 1;
    for (int i = 0; i < N_CALLS; i++)
        if (!strcmp(call, names[i])) chosen = i;
}

void *malloc(size_t size) { return fails(MALLOC, ENOMEM) ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails(CALLOC, ENOMEM) ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return fails(REALLOC, ENOMEM) ? NULL : __libc_realloc(p, size); }

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (fails(MMAP, ENOMEM)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}

static int open_at(int dir, const char *path, int flags, mode_t mode)
{
    if (fails(OPEN, EMFILE)) return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define OPENS(flags) ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE)
#define WITH_MODE(flags)                                                                                     \
    mode_t mode = 0;                                                                                         \
    if (OPENS(flags)) {                                                                                      \
        va_list rest;                                                                                        \
        va_start(rest, flags);                                                                               \
        mode = va_arg(rest, mode_t);                                                                         \
        va_end(rest);                                                                                        \
    }
int open(const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}
int openat(int dir, const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return open_at(dir, path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    return fails(FOPEN, EMFILE) ? NULL : real(path, mode);
}

ssize_t read(int fd, void *to, size_t len) { return fails(READ, EIO) ? -1 : syscall(SYS_read, fd, to, len); }
ssize_t write(int fd, const void *from, size_t len)
{
    Dl_info of; /* libmicrohttpd wakes its threads by a write that the system never refuses */
    bool ours = dladdr(__builtin_return_address(0), &of) && of.dli_fbase == program;
    return ours && fails(WRITE, ENOSPC) ? -1 : syscall(SYS_write, fd, from, len);
}
ssize_t pread(int fd, void *to, size_t len, off_t at)
{
    return fails(PREAD, EIO) ? -1 : syscall(SYS_pread64, fd, to, len, at);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT,
                                                                                       "pthread_create");
    return fails(PTHREAD_CREATE, EAGAIN) ? EAGAIN : real(thread, attr, run, arg);
}
