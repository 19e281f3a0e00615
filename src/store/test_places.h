/* test_places.h - for tests: an empty store of each kind. A real PostgreSQL is started, from the distribution's package, in a folder of
 * its own and as a user who is not root; where its programs are missing the test fails and says what to install. */
#ifndef HEARTH_STORE_TEST_PLACES_H
#define HEARTH_STORE_TEST_PLACES_H

#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"

struct places {
    char dir[64];
    char bin[200]; /* of PostgreSQL */
    pid_t postgres;
    int n; /* stores made so far */
};
enum place { PLACE_SQLITE, PLACE_POSTGRES, N_PLACES };

static inline void places_sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* PostgreSQL will not run as root. */
static inline void places_become_other(void)
{
    const struct passwd *p = getpwnam("postgres");
    if (geteuid()) return;
    if (!p || setgroups(0, NULL) || setgid(p->pw_gid) || setuid(p->pw_uid)) _exit(126);
}

static inline pid_t places_spawn(const struct places *p, char *const argv[])
{
    pid_t pid = fork();
    if (pid) return pid;
    char log[100];
    places_become_other();
    prctl(PR_SET_PDEATHSIG, SIGINT); /* a test that fails takes it along */
    snprintf(log, sizeof log, "%s/log", p->dir);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    if (chdir(p->dir)) _exit(126);
    execv(argv[0], argv);
    _exit(127);
}

static inline int places_run(const struct places *p, char *const argv[])
{
    int status;
    pid_t pid = places_spawn(p, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The database "postgres", which is always there. */
static inline void places_url(const struct places *p, const char *database, char *out, size_t cap)
{
    snprintf(out, cap, "postgresql://hearth@/%s?host=%s", database, p->dir);
}

static inline void places_start_postgres(struct places *p)
{
    char program[220], server[220], data[100], sockets[100], url[200];
    snprintf(server, sizeof server, "%s/postgres", p->bin);
    snprintf(data, sizeof data, "%s/data", p->dir);
    snprintf(sockets, sizeof sockets, "%s", p->dir);
    char *const argv[] = { server,
                           "-D",
                           data,
                           "-k",
                           sockets,
                           "-c",
                           "listen_addresses=",
                           "-c",
                           "max_connections=200",
                           "-c",
                           "shared_buffers=16MB",
                           "-c",
                           "fsync=off",
                           NULL };
    p->postgres = places_spawn(p, argv);
    snprintf(program, sizeof program, "%s/psql", p->bin);
    places_url(p, "postgres", url, sizeof url);
    char *const ready[] = { program, "-q", "-d", url, "-c", "SELECT 1", NULL };
    /* Until it answers a question, which one that accepts connections may not do yet. One that was killed leaves memory to its last
     * children for a moment, and while they live the next one ends at once. */
    for (int i = 0; places_run(p, ready); i++) {
        if (i >= 1200) fail_msg("PostgreSQL does not start: %s/log", p->dir);
        if (waitpid(p->postgres, NULL, WNOHANG) == p->postgres) p->postgres = places_spawn(p, argv);
        places_sleep_ms(100);
    }
}

/* sig: SIGINT ends its connections and stops, SIGQUIT kills it as it stands. */
static inline void places_stop_postgres(struct places *p, int sig)
{
    if (!p->postgres) return;
    kill(p->postgres, sig);
    waitpid(p->postgres, NULL, 0);
    p->postgres = 0;
}

static inline void places_open(struct places *p)
{
    *p = (struct places){ .postgres = 0 };
    strcpy(p->dir, "/tmp/hearth-store-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    const struct passwd *other = getpwnam("postgres");
    if (!geteuid() && other) assert_int_equal(chown(p->dir, other->pw_uid, other->pw_gid), 0);
    glob_t g;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &g))
        fail_msg("PostgreSQL is missing: tools/setup/packages.sh test installs it");
    snprintf(p->bin, sizeof p->bin, "%.*s",
             (int)(strrchr(g.gl_pathv[g.gl_pathc - 1], '/') - g.gl_pathv[g.gl_pathc - 1]),
             g.gl_pathv[g.gl_pathc - 1]);
    globfree(&g);
    char program[220], data[100];
    snprintf(program, sizeof program, "%s/initdb", p->bin);
    snprintf(data, sizeof data, "%s/data", p->dir);
    char *const argv[] = { program, "-D", data, "-U",   "hearth",     "-A",
                           "trust", "-N", "-E", "UTF8", "--locale=C", NULL };
    if (places_run(p, argv)) fail_msg("initdb failed: %s/log", p->dir);
    places_start_postgres(p);
}

static inline int places_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void places_close(struct places *p)
{
    places_stop_postgres(p, SIGINT);
    nftw(p->dir, places_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Where a new, empty store of this kind can be. */
static inline void places_new(struct places *p, enum place kind, char *out, size_t cap)
{
    const int i = p->n++;
    if (kind == PLACE_SQLITE) {
        snprintf(out, cap, "%s/store%d.db", p->dir, i);
        return;
    }
    char program[220], name[20];
    snprintf(program, sizeof program, "%s/createdb", p->bin);
    snprintf(name, sizeof name, "store%d", i);
    /* Not of template1: that cannot be copied while anybody, such as the vacuum, is connected to it. */
    char *const argv[] = { program, "-h", p->dir, "-U", "hearth", "-T", "template0", name, NULL };
    if (places_run(p, argv)) fail_msg("createdb failed: %s/log", p->dir);
    places_url(p, name, out, cap);
}

/* One for the process: a test program's group set-up and tear-down, and where its tests find it. */
static inline struct store *places_store_busy(const char *where, double busy_s)
{
    struct store *s = NULL;
    struct err e = { ERR_NONE, "" };
    if (!store_open(&s, where, &(struct store_options){ .migrate = true, .busy_s = busy_s }, &e))
        fail_msg("%s: %s", where, e.msg);
    return s;
}

/* Waits for others longer than any disk takes. */
static inline struct store *places_store(const char *where) { return places_store_busy(where, 120); }

static inline int places_setup(void **state)
{
    struct places *p = malloc(sizeof *p);
    *state = p;
    if (p) places_open(p);
    return p ? 0 : -1;
}

static inline int places_teardown(void **state)
{
    places_close(*state);
    free(*state);
    return 0;
}

#endif
