/* test_redis.h - for tests: a real Redis of their own, from the distribution's package, in a folder of its own and on a port that the kernel
 * gave. Where it is missing the test fails and says what to install. */
#ifndef HEARTH_STORE_TEST_REDIS_H
#define HEARTH_STORE_TEST_REDIS_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/counters.h"

enum { REDIS_PATIENCE_S = 120, REDIS_TRIES = 20 };

struct test_redis {
    char dir[64];
    int port;
    pid_t pid;
};

static inline void redis_sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static inline int redis_free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) &&
                !getsockname(fd, (struct sockaddr *)&a, &n));
    close(fd);
    return ntohs(a.sin_port);
}

static inline bool redis_answers(int port)
{
    const struct sockaddr_in a = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)port) };
    char reply[8] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct timeval wait = { 10, 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    const bool ok = !connect(fd, (const struct sockaddr *)&a, sizeof a) &&
                    send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, reply, 5, MSG_WAITALL) == 5 &&
                    !strncmp(reply, "+PONG", 5);
    close(fd);
    return ok;
}

/* On the port that it had before, or on a free one. False: somebody else was faster at the port. */
static inline bool redis_start_once(struct test_redis *r)
{
    char port[12], log[100];
    const char *dir = r->dir;
    snprintf(port, sizeof port, "%d", r->port);
    r->pid = fork();
    if (!r->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails takes it along */
        snprintf(log, sizeof log, "%s/log", dir);
        const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--databases", "100",
               "--save", "", "--appendonly", "no", "--dir", dir, NULL);
        _exit(127);
    }
    for (int i = 0; i < REDIS_PATIENCE_S * 20; i++) {
        int status;
        if (waitpid(r->pid, &status, WNOHANG) == r->pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                fail_msg("redis-server is missing: tools/setup/packages.sh test installs it");
            r->pid = 0;
            return false;
        }
        if (redis_answers(r->port)) return true;
        redis_sleep_ms(50);
    }
    fail_msg("redis-server does not answer: %s/log", r->dir);
    return false;
}

static inline void redis_start(struct test_redis *r)
{
    for (int i = 0; i < REDIS_TRIES; i++)
        if (redis_start_once(r)) return;
    fail_msg("redis-server cannot have port %d: %s/log", r->port, r->dir);
}

static inline void redis_open(struct test_redis *r)
{
    *r = (struct test_redis){ .pid = 0 };
    strcpy(r->dir, "/tmp/hearth-redis-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    for (int i = 0; i < REDIS_TRIES; i++) {
        r->port = redis_free_port();
        if (redis_start_once(r)) return;
    }
    fail_msg("redis-server does not start: %s/log", r->dir);
}

static inline void redis_kill(struct test_redis *r)
{
    if (!r->pid) return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static inline int redis_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void redis_close(struct test_redis *r)
{
    redis_kill(r);
    nftw(r->dir, redis_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The URL of a database that nobody else uses. */
static inline void redis_url(const struct test_redis *r, int database, char *out, size_t cap)
{
    snprintf(out, cap, "redis://127.0.0.1:%d/%d", r->port, database);
}

#endif
