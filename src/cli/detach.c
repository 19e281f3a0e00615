/* detach.c - see detach.h. */
#include "cli/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/options.h"

/* -1 and *e: it cannot be opened. */
static int open_state(const char *name, int flags, struct err *e)
{
    char *path = options_state_file(name);
    const int fd = path ? open(path, flags | O_CLOEXEC, 0600) : -1;
    if (fd < 0) err_set(e, ERR_IO, "%s in the state folder: %s", name, strerror(path ? errno : ENOENT));
    free(path);
    return fd;
}

/* The child has all that the parent had, the lock of the file among it, which holds until the last of them lets go. */
static bool begin_child(struct detached *d, int ready, int log, struct err *e)
{
    char pid[32];
    const int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid()), null = open("/dev/null", O_RDONLY);
    const bool ok = null >= 0 && dup2(null, STDIN_FILENO) >= 0 && setsid() >= 0 && !ftruncate(d->lock, 0) &&
                    pwrite(d->lock, pid, (size_t)n, 0) == n;
    if (null >= 0) close(null);
    close(log);
    d->ready = ready;
    return ok || err_set(e, ERR_IO, "the server cannot leave its terminal: %s", strerror(errno));
}

/* The status of the child that ended before it was ready, or 0. */
static int wait_ready(int ready, pid_t child)
{
    char byte;
    int status;
    ssize_t n;
    while ((n = read(ready, &byte, 1)) < 0 && errno == EINTR) continue;
    if (n == 1) return 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return 1;
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

bool detach_begin(struct detached *d, int *status, struct err *e)
{
    int ends[2] = { -1, -1 };
    *d = (struct detached){ open_state("serve.pid", O_RDWR | O_CREAT, e), -1 };
    if (d->lock < 0) return false;
    if (flock(d->lock, LOCK_EX | LOCK_NB)) {
        close(d->lock);
        d->lock = -1;
        return err_set(e, ERR_BUSY, "a detached server runs already (process %ld); `hearth stop` ends it",
                       (long)detached_pid());
    }
    const int log = open_state("serve.log", O_WRONLY | O_CREAT | O_APPEND, e);
    const bool piped = log >= 0 && !pipe2(ends, O_CLOEXEC);
    fflush(NULL);
    const pid_t child = piped ? fork() : -1;
    if (!child) {
        close(ends[0]);
        *status = -1;
        return begin_child(d, ends[1], log, e);
    }
    if (log >= 0 && child < 0) err_set(e, ERR_IO, "the server cannot be started: %s", strerror(errno));
    if (log >= 0) close(log);
    if (piped) close(ends[1]);
    if (child > 0) *status = wait_ready(ends[0], child);
    if (piped) close(ends[0]);
    close(d->lock);
    d->lock = -1;
    return child > 0;
}

void detach_ready(struct detached *d)
{
    const int log = open_state("serve.log", O_WRONLY | O_CREAT | O_APPEND, NULL);
    fflush(stdout);
    if (log >= 0) {
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        close(log);
    }
    const ssize_t told = write(d->ready, "", 1); /* nobody waits any more: that is as well */
    (void)told;
    close(d->ready);
    d->ready = -1;
}

pid_t detached_pid(void)
{
    char text[32] = "";
    long pid = 0;
    const int fd = open_state("serve.pid", O_RDONLY, NULL);
    if (fd < 0) return 0;
    if (flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK && pread(fd, text, sizeof text - 1, 0) > 0)
        pid = strtol(text, NULL, 10);
    close(fd);
    return pid > 1 ? (pid_t)pid : 0;
}

void detached_wait(void)
{
    while (detached_pid()) nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}
