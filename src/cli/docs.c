/* docs.c - `hearth docs [PAGE]`: the pages that were installed beside the program, in a browser where there is one. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/options.h"

/* From the folder of the program: where `make install` and the tarball put pages, and where a checkout has them. */
static const char *const places[] = { "../share/doc/hearth", "../../docs" };

/* The file of a page, "routing" or "routing.md"; "" for the first one. */
static bool find_page(const char *page, char out[PATH_MAX], struct err *e)
{
    char program[PATH_MAX], path[2 * PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0) return err_set(e, ERR_IO, "/proc/self/exe cannot be read");
    program[n] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    if (!*page) page = "getting-started";
    if (strchr(page, '/')) return err_set(e, ERR_REQUEST, "\"%.100s\" is no name of a page", page);
    const size_t len = strlen(page);
    const bool named = len > 3 && !strcmp(page + len - 3, ".md");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s/%.200s%s", program, places[i], page, named ? "" : ".md");
        if (realpath(path, out)) return true;
    }
    return err_set(e, ERR_NOT_FOUND,
                   "there is no page \"%.100s\" beside the program; `hearth docs` is where they begin", page);
}

/* A browser, where a desktop is there and somebody looks on; false: none. */
static bool open_page(const char *path)
{
    const char *desktop[] = { getenv("DISPLAY"), getenv("WAYLAND_DISPLAY") };
    if (!isatty(STDOUT_FILENO) || (!desktop[0] && !desktop[1])) return false;
    const pid_t child = fork();
    if (!child) {
        execlp("xdg-open", "xdg-open", path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
}

int cmd_docs(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    char path[PATH_MAX];
    int rc = options_parse(&o, CMD_DOCS, argc, argv);
    if (rc < 0 && o.args.n > 1) {
        fprintf(stderr, "hearth docs: expected one page, got %d; see hearth help docs\n", o.args.n);
        rc = 2;
    }
    if (rc < 0) {
        const bool ok = find_page(o.args.n ? o.args.v[0] : "", path, &e);
        if (!ok)
            fprintf(stderr, "hearth docs: %s\n", e.msg);
        else if (!open_page(path))
            printf("%s\n", path);
        rc = ok ? 0 : 1;
    }
    options_free(&o);
    return rc;
}
