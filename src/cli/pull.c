/* pull.c - `hearth pull`: fetch a model into the model folder, with a progress bar where there is a terminal. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "lm/lm.h"
#include "service/models/catalog.h"
#include "service/hub/hub.h"

/* What is on the screen: one line that is drawn over, on standard error. */
struct bar {
    bool tty, drawn;
    char name[256];
    int i, n;
    double started; /* when the first byte of this file came */
};

static void clear_line(struct bar *b)
{
    if (b->drawn) fputs("\r\x1b[K", stderr);
    b->drawn = false;
}

static void show_note(void *arg, const char *text)
{
    clear_line(arg);
    fprintf(stderr, "hearth pull: %s\n", text);
}

static void show_plan(void *arg, int n_files, int64_t bytes, const char *dir)
{
    clear_line(arg);
    fprintf(stderr, "%d file%s", n_files, n_files == 1 ? "" : "s");
    if (bytes >= 0) fprintf(stderr, ", %.1f MB", (double)bytes / 1e6);
    fprintf(stderr, ", to %s\n", dir);
}

static void show_file(void *arg, const char *name, int i, int n)
{
    struct bar *b = arg;
    clear_line(b);
    snprintf(b->name, sizeof b->name, "%s", name);
    b->i = i;
    b->n = n;
    b->started = 0;
    if (!b->tty) fprintf(stderr, "[%d/%d] %s\n", i, n, name);
}

static int terminal_width(void)
{
    struct winsize ws;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20 ? ws.ws_col : 80;
}

/* "[2/5] model.gguf  41% [########............]  1.2/3.0 GB  34.1 MB/s  0:52 left" */
static void show_progress(void *arg, int64_t done, int64_t total, int64_t resumed)
{
    struct bar *b = arg;
    if (!b->tty) return;
    double now = clock_seconds();
    if (b->started == 0) b->started = now;
    double seconds = now - b->started, rate = seconds > 0.5 ? (double)(done - resumed) / seconds : 0;
    double unit = total >= 1000000000 || done >= 1000000000 ? 1e9 : 1e6;
    char tail[120], head[300];
    int n = 0;
    if (total > 0) {
        n = snprintf(tail, sizeof tail, "%.1f/%.1f %s", (double)done / unit, (double)total / unit,
                     unit > 1e8 ? "GB" : "MB");
    } else {
        n = snprintf(tail, sizeof tail, "%.1f %s", (double)done / unit, unit > 1e8 ? "GB" : "MB");
    }
    if (rate > 0) n += snprintf(tail + n, sizeof tail - (size_t)n, "  %.1f MB/s", rate / 1e6);
    if (rate > 0 && total > done) {
        long left = (long)((double)(total - done) / rate);
        snprintf(tail + n, sizeof tail - (size_t)n, "  %ld:%02ld left", left / 60, left % 60);
    }
    int percent = total > 0 ? (int)(100.0 * (double)done / (double)total) : 0;
    snprintf(head, sizeof head, "[%d/%d] %s", b->i, b->n, b->name);

    int width = terminal_width() - 1, cells = width - (int)strlen(head) - (int)strlen(tail) - 12;
    char cell[41];
    if (cells > 40) cells = 40;
    if (total > 0 && cells >= 8) {
        for (int i = 0; i < cells; i++) cell[i] = i < cells * percent / 100 ? '#' : '.';
        cell[cells] = '\0';
        fprintf(stderr, "\r%s %3d%% [%s] %s\x1b[K", head, percent, cell, tail);
    } else {
        int room = width - (int)strlen(tail) - 2;
        fprintf(stderr, "\r%.*s  %s\x1b[K", room > 0 ? room : 0, head, tail);
    }
    b->drawn = true;
}

/* What to fetch for an argument: itself, or where the catalog finds the model of that name. A path that exists is a path.
 * On failure NULL; the answer lives as long as the catalog. */
static const char *source_of(const char *what, const struct catalog *c, struct err *e)
{
    if (strncmp(what, "hf:", 3) == 0 || strstr(what, "://") || access(what, F_OK) == 0) return what;
    const struct catalog_model *m = catalog_find(c, what);
    if (!m) return what; /* hub_pull() says that there is no such file */
    if (m->kind == MODEL_TEXT && !lm_supports(m->arch)) {
        err_set(e, ERR_UNSUPPORTED, "%s cannot run here: there is no engine for %s yet. Nothing was fetched",
                m->id, m->arch);
        return NULL;
    }
    if (*m->source) return m->source;
    err_set(e, ERR_NOT_FOUND, "%s: the catalog does not say where its weights come from; name them", m->id);
    return NULL;
}

int cmd_pull(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_PULL, argc, argv);
    if (rc >= 0) goto done;
    if (o.args.n != 1) {
        fprintf(stderr, "hearth pull: expected one model, got %d; see hearth pull --help\n", o.args.n);
        rc = 2;
        goto done;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT); /* before there are threads */
    struct bar bar = { .tty = options_colours(STDERR_FILENO) };
    struct hub_watch watch = { .download = { .progress = show_progress, .note = show_note, .arg = &bar },
                               .file = show_file,
                               .plan = show_plan,
                               .arg = &bar };
    struct hub_options hub = { .hub = o.hub,
                               .token = o.hub_token,
                               .models_dir = o.registry.models_dir,
                               .sha256 = o.sha256,
                               .tries = (int)o.tries };
    struct err e = { 0 };
    char *path = NULL;
    struct catalog *catalog = NULL;
    const char *source = catalog_load(&catalog, o.catalog, &e) ? source_of(o.args.v[0], catalog, &e) : NULL;
    if (source && hub_pull(&hub, source, &watch, &path, &e)) {
        clear_line(&bar);
        printf("%s\n", path);
        rc = 0;
    } else {
        clear_line(&bar);
        fprintf(stderr, "hearth pull: %s\n", e.msg);
        rc = 1;
    }
    free(path);
    catalog_free(catalog);
    curl_global_cleanup();
done:
    options_free(&o);
    return rc;
}
