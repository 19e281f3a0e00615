/* own_server.c - see own_server.h. */
#include "cli/own_server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/account/ledger.h"

extern char **environ;

/* Settings that an answer depends on. */
static bool decides(const char *setting)
{
    static const char *const names[] = { "ISA",    "CTX",      "KV_TYPE",  "THREADS", "CATALOG",
                                         "MMPROJ", "SAFETY",   "POLICY",   "LORAS",   "IMAGE_HOSTS",
                                         "C2PA",   "C2PA_KEY", "C2PA_CERT" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (!strncmp(setting, names[i], n) && setting[n] == '=') return true;
    }
    return false;
}

/* Of the child alone: nothing of this process's may be touched by others between fork and exec but what a signal handler might. */
_Noreturn static void become_server(int to, int log, char *const argv[], char *const env[], pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || dup2(to, 1) < 0 || dup2(log, 2) < 0) _exit(127);
    execve("/proc/self/exe", argv, env);
    _exit(127);
}

/* HEARTH_KEYS and HEARTH_CONFIG point into `key` and to a constant. malloc'ed, ended by NULL. */
static char **environment(char *key)
{
    static char config[] = "HEARTH_CONFIG=/dev/null";
    size_t n = 0, kept = 0;
    while (environ[n]) n++;
    char **env = malloc((n + 3) * sizeof *env);
    if (!env) return NULL;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "HEARTH_", 7) != 0 || decides(environ[i] + 7)) env[kept++] = environ[i];
    env[kept++] = config;
    env[kept++] = key;
    env[kept] = NULL;
    return env;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* Its last line, of which the end says why. */
static void last_line(const char *log, char *out, size_t cap)
{
    char line[1000];
    FILE *f = fopen(log, "r");
    snprintf(out, cap, "it ended without a word");
    while (f && fgets(line, sizeof line, f))
        if (*line != '\n') snprintf(out, cap, "%.*s", (int)strcspn(line, "\n"), line);
    if (f) fclose(f);
}

/* The line of its banner that says where it listens; false: it ended before. */
static bool read_url(int from, char *url, size_t cap)
{
    static const char mark[] = "  URL      ";
    char line[1000];
    bool found = false;
    FILE *f = fdopen(from, "r");
    if (!f) {
        close(from);
        return false;
    }
    while (!found && fgets(line, sizeof line, f))
        if (!strncmp(line, mark, sizeof mark - 1)) {
            snprintf(url, cap, "%.*s", (int)strcspn(line + sizeof mark - 1, "\n"), line + sizeof mark - 1);
            found = true;
        }
    fclose(f); /* it says no more there */
    return found;
}

static bool link_to(const char *what, const char *at, struct err *e)
{
    return !symlink(what, at) || err_set(e, ERR_IO, "%s: %s", at, strerror(errno));
}

/* A folder with this model alone. Beside it is what is beside the folder of models: what pictures are signed with, adapters. */
static bool link_model(const struct own_server *s, const char *models_dir, const char *path, const char *name,
                       struct err *e)
{
    static const char *const beside[] = { "c2pa", "loras" };
    char whole[PATH_MAX], at[300], dir[PATH_MAX];
    const char *last = strrchr(name, '/');
    struct stat st;
    snprintf(at, sizeof at, "%s/models", s->dir);
    if (mkdir(at, 0700) || !realpath(path, whole) || stat(whole, &st))
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    const char *end = strrchr(whole, '.');
    snprintf(at, sizeof at, "%s/models/%.150s%.20s", s->dir, last ? last + 1 : name,
             !S_ISDIR(st.st_mode) && end ? end : "");
    if (!link_to(whole, at, e)) return false;
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        snprintf(dir, sizeof dir, "%s/../%s", models_dir, beside[i]);
        snprintf(at, sizeof at, "%s/%s", s->dir, beside[i]);
        if (realpath(dir, whole) && !link_to(whole, at, e)) return false;
    }
    return true;
}

static bool start(struct own_server *s, const char *models, struct err *e)
{
    char log_name[80], files[80], key[80], why[300];
    int to[2];
    snprintf(log_name, sizeof log_name, "%s/log", s->dir);
    snprintf(files, sizeof files, "%s/files", s->dir);
    snprintf(key, sizeof key, "HEARTH_KEYS=%s", s->key);
    char *const argv[] = { "hearth",       "serve",   "--listen", "127.0.0.1:0",  "--models",
                           (char *)models, "--files", files,      "--preload=no", NULL };
    char **env = environment(key);
    if (!env) return err_set(e, ERR_NOMEM, "out of memory");
    const int log = open(log_name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (log < 0 || pipe2(to, O_CLOEXEC)) {
        err_set(e, ERR_IO, "%s: %s", log_name, strerror(errno));
        if (log >= 0) close(log);
        free(env);
        return false;
    }
    const pid_t parent = getpid();
    s->pid = fork();
    if (!s->pid) become_server(to[1], log, argv, env, parent);
    const int failed = errno;
    close(to[1]);
    close(log);
    free(env);
    if (s->pid < 0) {
        s->pid = 0;
        close(to[0]);
        return err_set(e, ERR_IO, "no server could be started: %s", strerror(failed));
    }
    if (read_url(to[0], s->url, sizeof s->url)) return true;
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
    last_line(log_name, why, sizeof why);
    return err_set(e, ERR_IO, "a server of this command's own could not be started: %s", why);
}

bool own_server_start(struct own_server *s, const char *models_dir, const char *path, const char *name,
                      struct err *e)
{
    char models[80];
    *s = (struct own_server){ .pid = 0 };
    ledger_uid(s->key);
    strcpy(s->dir, "/tmp/hearth-own-XXXXXX");
    if (!mkdtemp(s->dir)) {
        *s->dir = 0;
        return err_set(e, ERR_IO, "/tmp: %s", strerror(errno));
    }
    snprintf(models, sizeof models, "%s/models", s->dir);
    const bool ok =
        (!*path || link_model(s, models_dir, path, name, e)) && start(s, *path ? models : models_dir, e);
    if (!ok) own_server_stop(s);
    return ok;
}

void own_server_stop(struct own_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    s->pid = 0;
    if (*s->dir) nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    *s->dir = 0;
}
