/* batch.c - `hearth batch`: a file of requests through a running server, from its upload to the files of answers. */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/batch_client.h"
#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/options.h"
#include "format/json_memory.h"

enum {
    EXIT_SOME = 3, /* not every line has an answer that is none of an error */
    EXIT_DETACHED = 130,
    PATIENCE_S = 300, /* for a server that is away, and may be starting again */
    FIRST_LINE = 32 << 20
};

/* How often Ctrl-C was pressed. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted++;
}

struct job {
    const struct options *o;
    struct batch_client client;
    bool tty, drawn;
    char id[64], endpoint[80];
    bool cancelled;
    double began; /* when the first count was seen ... */
    int64_t had;  /* ... and what it was */
    char output[4096], errors[4096];
};

/* ---- what is on the screen ----------------------------------------------------------------------------------------- */

static void clear_line(struct job *j)
{
    if (j->drawn) fputs("\r\x1b[K", stderr);
    j->drawn = false;
}

static int width(void)
{
    struct winsize ws;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20 ? ws.ws_col : 80;
}

/* "in_progress  [########......] 41%  512/1248  3 failed  34.1/s  0:21 left" */
static void draw(struct job *j, const char *what, int64_t done, int64_t total, const char *tail)
{
    char cell[41];
    const int percent = total > 0 ? (int)(100 * done / total) : 0;
    int cells = width() - 1 - (int)strlen(what) - (int)strlen(tail) - 12;
    if (cells > 40) cells = 40;
    if (cells < 8) cells = 0;
    for (int i = 0; i < cells; i++) cell[i] = i < cells * percent / 100 ? '#' : '.';
    cell[cells] = 0;
    fprintf(stderr, "\r%s  [%s] %d%%  %s\x1b[K", what, cell, percent, tail);
    j->drawn = true;
}

static int show_sent(void *arg, long long done, long long total)
{
    struct job *j = arg;
    char tail[60];
    snprintf(tail, sizeof tail, "%.1f/%.1f MB", (double)done / 1e6, (double)total / 1e6);
    if (j->tty) draw(j, "sending", done, total, tail);
    return interrupted;
}

static int64_t count(const json_t *batch, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(batch, "request_counts"), name));
}

static const char *text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static void show_progress(struct job *j, const json_t *batch)
{
    const int64_t total = count(batch, "total"), failed = count(batch, "failed"),
                  done = count(batch, "completed") + failed;
    const double now = clock_seconds();
    char tail[160];
    if (!j->tty) return;
    if (done && !j->began) j->began = now, j->had = done;
    const double s = now - j->began, rate = j->began && s > 0.5 ? (double)(done - j->had) / s : 0;
    int n = snprintf(tail, sizeof tail, "%" PRId64 "/%" PRId64, done, total);
    if (failed) n += snprintf(tail + n, sizeof tail - (size_t)n, "  %" PRId64 " failed", failed);
    if (rate > 0) n += snprintf(tail + n, sizeof tail - (size_t)n, "  %.1f/s", rate);
    if (rate > 0 && total > done) {
        const long left = (long)((double)(total - done) / rate);
        snprintf(tail + n, sizeof tail - (size_t)n, "  %ld:%02ld left", left / 60, left % 60);
    }
    draw(j, text(batch, "status"), done, total, tail);
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

/* The endpoint of a batch is the url of its first line. */
static bool read_endpoint(struct job *j, const char *path, struct err *e)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n = 0;
    FILE *f = fopen(path, "r");
    if (!f) return err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    while ((n = getline(&line, &cap, f)) > 0 && n < FIRST_LINE && strspn(line, " \t\r\n") == (size_t)n) {
    }
    const char *from = line;
    if (n > 3 && !memcmp(line, "\xef\xbb\xbf", 3)) from += 3;
    json_t *first = n > 0 ? json_memory_load(from, strlen(from), 0, NULL) : NULL;
    snprintf(j->endpoint, sizeof j->endpoint, "%s", text(first, "url"));
    json_decref(first);
    free(line);
    fclose(f);
    return *j->endpoint || err_set(e, ERR_REQUEST,
                                   "%.200s: its first line is no request of a batch: a JSON object with "
                                   "custom_id, method, url and "
                                   "body",
                                   path);
}

/* NAME.jsonl becomes NAME.answers.jsonl and NAME.errors.jsonl. */
static void name_files(struct job *j, const char *path)
{
    const size_t n = strlen(path);
    const int stem = (int)(n > 6 && !strcmp(path + n - 6, ".jsonl") ? n - 6 : n);
    snprintf(j->output, sizeof j->output, "%.*s.answers.jsonl", stem, path);
    if (*j->o->output) snprintf(j->output, sizeof j->output, "%s", j->o->output);
    snprintf(j->errors, sizeof j->errors, "%.*s.errors.jsonl", stem, path);
}

static bool is_free(const struct job *j, const char *path, struct err *e)
{
    return j->o->overwrite || !strcmp(path, "-") || access(path, F_OK) != 0 ||
           err_set(e, ERR_REQUEST, "%.200s is there already; --overwrite replaces it, --output names another",
                   path);
}

static bool fetch_file(struct job *j, const char *id, const char *path, struct err *e)
{
    const bool standard = !strcmp(path, "-");
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (j->o->overwrite ? O_TRUNC : O_EXCL);
    const int fd = standard ? STDOUT_FILENO : open(path, flags, 0644);
    if (fd < 0) return err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    bool ok = batch_client_download(&j->client, id, fd, e);
    if (!standard && close(fd) && ok) ok = err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    if (!ok && !standard) unlink(path);
    return ok;
}

/* ---- the batch ----------------------------------------------------------------------------------------------------- */

static json_t *begin(struct job *j, const char *path, struct err *e)
{
    json_t *file, *batch = NULL;
    if (!read_endpoint(j, path, e) || !(file = batch_client_upload(&j->client, path, e))) return NULL;
    clear_line(j);
    batch = batch_client_create(&j->client, text(file, "id"), j->endpoint, j->o->window, e);
    if (!batch) batch_client_delete(&j->client, text(file, "id"), &(struct err){ 0 });
    json_decref(file);
    return batch;
}

static bool is_over(const json_t *batch)
{
    static const char *const over[] = { "completed", "failed", "expired", "cancelled" };
    for (size_t i = 0; i < sizeof over / sizeof *over; i++)
        if (!strcmp(text(batch, "status"), over[i])) return true;
    return false;
}

/* The first Ctrl-C cancels the batch, the second leaves it alone. */
static bool heed_interrupt(struct job *j, struct err *e)
{
    if (!interrupted || j->cancelled) return true;
    clear_line(j);
    fprintf(stderr, "hearth batch: cancelling %s; Ctrl-C again leaves it to the server\n", j->id);
    json_t *batch = batch_client_cancel(&j->client, j->id, e);
    json_decref(batch);
    j->cancelled = true;
    return batch || e->code == ERR_BUSY || e->code == ERR_IO; /* it may be over */
}

/* Until it is over, across a server that is started again. NULL with *e, ERR_CANCELLED: it was left alone. */
static json_t *follow(struct job *j, struct err *e)
{
    double seen = clock_seconds(), pause_s = 0.1;
    for (;;) {
        if (!heed_interrupt(j, e)) return NULL;
        if (interrupted > 1) {
            err_set(e, ERR_CANCELLED, "%s goes on by itself; `hearth batch %s` waits for it again", j->id,
                    j->id);
            return NULL;
        }
        json_t *batch = batch_client_get(&j->client, j->id, e);
        if (batch) {
            seen = clock_seconds();
            show_progress(j, batch);
            if (is_over(batch)) return batch;
            json_decref(batch);
        } else if (e->code != ERR_BUSY || clock_seconds() - seen > PATIENCE_S) {
            return NULL;
        }
        nanosleep(&(struct timespec){ (time_t)pause_s, (long)((pause_s - (double)(time_t)pause_s) * 1e9) },
                  NULL);
        if (pause_s < 1) pause_s *= 1.5;
    }
}

static void print_errors(const json_t *batch)
{
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(json_object_get(batch, "errors"), "data"), i, one)
    {
        const json_t *line = json_object_get(one, "line");
        if (json_is_integer(line))
            fprintf(stderr, "line %lld: %s (%s)\n", (long long)json_integer_value(line), text(one, "message"),
                    text(one, "code"));
        else
            fprintf(stderr, "%s (%s)\n", text(one, "message"), text(one, "code"));
    }
}

/* The exit status. */
static int finish(struct job *j, const json_t *batch, struct err *e)
{
    const char *output = text(batch, "output_file_id"), *errors = text(batch, "error_file_id"),
               *status = text(batch, "status");
    clear_line(j);
    if ((*output && !fetch_file(j, output, j->output, e)) ||
        (*errors && !fetch_file(j, errors, j->errors, e))) {
        fprintf(stderr, "hearth batch: %s\n`hearth batch %s` fetches the answers again\n", e->msg, j->id);
        return 1;
    }
    if (j->o->json) json_dumpf(batch, stdout, JSON_INDENT(1)), putchar('\n');
    print_errors(batch);
    fprintf(stderr, "%s %s: %" PRId64 " of %" PRId64 " answered, %" PRId64 " with an error\n", j->id, status,
            count(batch, "completed") + count(batch, "failed"), count(batch, "total"),
            count(batch, "failed"));
    if (*output && strcmp(j->output, "-") != 0) fprintf(stderr, "answers  %s\n", j->output);
    if (*errors) fprintf(stderr, "errors   %s\n", j->errors);
    if (!strcmp(status, "failed")) return 1;
    return *errors || strcmp(status, "completed") != 0 ? EXIT_SOME : 0;
}

static int run(struct job *j, struct err *e)
{
    const char *what = j->o->args.v[0];
    const bool known = !strncmp(what, "batch_", 6) && access(what, F_OK) != 0;
    name_files(j, what);
    if (j->o->json && !strcmp(j->output, "-")) {
        err_set(e, ERR_REQUEST, "--json and --output - both mean standard output; give one of them");
        return 2;
    }
    if (!is_free(j, j->output, e) || !is_free(j, j->errors, e)) return 2;
    json_t *batch = known ? batch_client_get(&j->client, what, e) : begin(j, what, e);
    if (!batch) return 1;
    snprintf(j->id, sizeof j->id, "%s", text(batch, "id"));
    if (j->o->detach) {
        if (j->o->json)
            json_dumpf(batch, stdout, JSON_INDENT(1)), putchar('\n');
        else
            printf("%s\n", j->id);
        json_decref(batch);
        return 0;
    }
    if (!j->tty && !known) fprintf(stderr, "%s\n", j->id);
    json_decref(batch);
    batch = follow(j, e);
    if (!batch) return e->code == ERR_CANCELLED ? EXIT_DETACHED : 1;
    e->code = ERR_NONE;
    *e->msg = 0;
    const int rc = finish(j, batch, e);
    *e->msg = 0; /* it has been said */
    json_decref(batch);
    return rc;
}

int cmd_batch(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    int rc = options_parse(&o, CMD_BATCH, argc, argv);
    if (rc < 0 && o.args.n != 1) {
        fprintf(stderr,
                "hearth batch: expected one file or the id of a batch, got %d; see hearth help batch\n",
                o.args.n);
        rc = 2;
    }
    if (rc < 0) {
        struct job *j = calloc(1, sizeof *j);
        curl_global_init(CURL_GLOBAL_DEFAULT);
        if (j) {
            j->o = &o;
            j->tty = options_colours(STDERR_FILENO);
            j->client = (struct batch_client){ *o.url ? o.url : FETCH_USUAL_URL, o.key, show_sent, j };
            sigaction(SIGINT, &(struct sigaction){ .sa_handler = on_interrupt }, NULL);
        } else {
            err_set(&e, ERR_NOMEM, "out of memory");
        }
        rc = j ? run(j, &e) : 1;
        if (j) clear_line(j);
        if (*e.msg && rc) fprintf(stderr, "hearth batch: %s\n", e.msg);
        free(j);
        curl_global_cleanup();
    }
    options_free(&o);
    return rc;
}
