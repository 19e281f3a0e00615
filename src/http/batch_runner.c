/* batch_runner.c - see batch_runner.h. */
#include "http/batch_runner.h"

#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/batch_files.h"
#include "http/batch_run.h"
#include "http/dialects/batch_parse.h"
#include "http/dialects/batch_print.h"
#include "http/inner.h"
#include "http/server_inside.h"
#include "service/account/account.h"
#include "service/account/line_answer.h"

#define TICK_S 1.0   /* how often other programs' batches and cancels are looked for */
#define TIDY_S 60.0  /* and files whose time is over */
#define RETRY_S 0.25 /* before a line is asked again, doubled each time ... */
#define RETRY_MOST_S 30.0
#define FAILED_S 5.0 /* before what the disk or the store failed at is tried again */
enum { MOST_OPEN = 64 /* batches at a time */, DOUBTS = 10 };
#define OTHER_SHARE UINT64_C(0x6261746368657321) /* a key's batches are dealt beside its other requests */

/* A line that is worked on, or waits to be asked again. */
struct work {
    struct work *next;
    struct batch_runner *runner;
    struct batch_run *run;
    int64_t line;
    struct buf body, reply;
    struct inner *inner; /* NULL: nothing is under way */
    atomic_bool over;
    bool answers;  /* what it was answered is there and not confirmed yet */
    bool admitted; /* its row is the books' business */
    bool kept;     /* its answer is in the store */
    int status, tries, doubts;
    double not_before;
};

struct batch_runner {
    struct server *server;
    struct store *store;
    struct file_folder *folder;
    struct batch_run *runs;
    struct work *works;
    int n_works;
    bool claimed;
    double listed_s, tidied_s; /* clock_seconds() of the last time */
    bool complained;           /* the log has that something cannot be done now */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t woken;
    bool poked, listing, stopping;
};

static void wake(struct batch_runner *b, bool list)
{
    pthread_mutex_lock(&b->lock);
    b->poked = true;
    b->listing |= list;
    pthread_cond_signal(&b->woken);
    pthread_mutex_unlock(&b->lock);
}

void batch_runner_poke(struct batch_runner *b)
{
    if (b) wake(b, true);
}

/* Said once until all goes well again. */
static void failed(struct batch_runner *b, const char *what, const struct err *e)
{
    if (!b->complained) log_error("batches: %s: %s", what, e->msg);
    b->complained = true;
}

/* ---- lines under way ----------------------------------------------------------------------------------------------- */

static void came(void *arg, bool over)
{
    struct work *w = arg;
    if (!over) return;
    atomic_store(&w->over, true);
    wake(w->runner, false);
}

static struct peer peer_from(const char *address)
{
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) return peer_of((const struct sockaddr *)&v4);
    inet_pton(AF_INET6, address, &v6.sin6_addr);
    return peer_of((const struct sockaddr *)&v6);
}

/* Nobody can be asked in the name of any more. */
static void answer_keyless(struct work *w)
{
    buf_clear(&w->reply);
    fault_print(&w->reply, DIALECT_OPENAI, FAULT_KEY, NULL, "The API key of this batch is no key any more.");
    w->status = fault_status(FAULT_KEY);
    w->admitted = false;
    w->answers = true;
}

static bool ask(struct batch_runner *b, struct work *w, struct err *e)
{
    struct principal who;
    char id[72];
    const struct batch_row *r = &w->run->row;
    if (!auth_principal_again(&b->server->auth, r->asker, &who)) {
        answer_keyless(w);
        return true;
    }
    who.share.id ^= OTHER_SHARE;
    who.share.priority = BATCH_PRIORITY;
    batch_request_id(r->id, w->line, id);
    const struct peer from = peer_from(r->address);
    const struct inner_line l = { .who = &who, .from = &from, .id = id, .batch = r->id, .line = w->line };
    atomic_store(&w->over, false);
    return inner_start_line(&w->inner, b->server, &l, r->endpoint, &w->body, came, w, e);
}

static void later(struct work *w)
{
    const double s = RETRY_S * exp2(w->tries < 10 ? w->tries : 10);
    w->tries++;
    w->not_before = clock_seconds() + (s < RETRY_MOST_S ? s : RETRY_MOST_S);
    if (w->run->not_before < w->not_before) w->run->not_before = w->not_before;
}

static void work_free(struct batch_runner *b, struct work *w)
{
    struct work **at = &b->works;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    b->n_works--;
    w->run->n_working--;
    inner_free(w->inner);
    buf_free(&w->body);
    buf_free(&w->reply);
    free(w);
}

static void take_reply(struct work *w)
{
    buf_clear(&w->reply);
    inner_take(w->inner, &w->reply);
    w->status = inner_status(w->inner);
    w->admitted = inner_admitted(w->inner);
    inner_free(w->inner);
    w->inner = NULL;
    line_flatten(&w->reply);
    w->answers = line_is_final(w->status) && w->reply.len && !w->reply.failed;
    if (!w->answers) later(w);
}

/* ---- what the store has of them ------------------------------------------------------------------------------------ */

/* In the writer's turn, behind the rows that were posted before. What was refused before it was admitted has no row, and is written here. */
static bool confirm(void *arg, struct session *c, struct err *e)
{
    const struct batch_runner *b = arg;
    for (struct work *w = b->works; w; w = w->next) {
        if (!w->answers) continue;
        if (!batch_lines_has(c, w->run->row.id, w->line, &w->kept, e)) return false;
        if (w->kept || w->admitted) continue;
        struct line_answer a = { .line = w->line, .status = w->status, .body = w->reply.data };
        snprintf(a.batch, sizeof a.batch, "%s", w->run->row.id);
        batch_request_id(a.batch, a.line, a.request);
        if (!line_answer_put(&a, c, e)) return false;
        w->kept = true;
    }
    return true;
}

/* Without a row there was no room for it, or the job still lets go of it: then it is looked for once more before it is asked again, which would be
 * in vain, for its uid is there once. */
static void doubt(struct work *w)
{
    w->not_before = clock_seconds() + TICK_S;
    if (++w->doubts < DOUBTS) return;
    w->answers = false;
    w->doubts = 0;
    later(w);
}

static void confirm_all(struct batch_runner *b)
{
    struct err e;
    const double now = clock_seconds();
    bool any = false;
    for (struct work *w = b->works; w; w = w->next) {
        if (w->inner && atomic_load(&w->over)) take_reply(w);
        any |= w->answers && w->not_before <= now;
    }
    if (!any) return;
    if (!store_write(b->store, confirm, b, &e)) {
        failed(b, "the answers that lines have cannot be read", &e);
        for (struct work *w = b->works; w; w = w->next)
            if (w->answers) w->not_before = now + TICK_S;
        return;
    }
    for (struct work *w = b->works, *next; w; w = next) {
        next = w->next;
        if (!w->answers) continue;
        if (w->kept) {
            batch_run_answered(w->run, w->line);
            w->run->not_before = 0; /* there is room again */
            work_free(b, w);
        } else {
            doubt(w);
        }
    }
}

/* ---- beginning ----------------------------------------------------------------------------------------------------- */

static bool is_working(const struct batch_runner *b, const struct batch_run *r, int64_t line)
{
    for (const struct work *w = b->works; w; w = w->next)
        if (w->run == r && w->line == line) return true;
    return false;
}

/* Its next line that nobody works on: after a failure of the disk its file is read anew. */
static bool next_line(struct batch_runner *b, struct batch_run *r, struct work *w)
{
    struct err e;
    do {
        buf_clear(&w->body);
        if (!batch_run_next(r, &b->server->json, &w->line, &w->body, &e)) {
            failed(b, r->row.id, &e);
            batch_run_rewind(r, b->server->o.max_body);
            r->not_before = clock_seconds() + FAILED_S;
            return false;
        }
    } while (w->line && is_working(b, r, w->line));
    return w->line != 0;
}

/* False: this batch has none to begin now. */
static bool begin_line(struct batch_runner *b, struct batch_run *r)
{
    struct err e;
    if (r->row.state != BATCH_IN_PROGRESS || r->at_end || r->not_before > clock_seconds()) return false;
    struct work *w = calloc(1, sizeof *w);
    if (!w) return false;
    w->runner = b;
    w->run = r;
    atomic_init(&w->over, false);
    w->body = w->reply = BUF_INIT(0);
    if (!next_line(b, r, w)) {
        buf_free(&w->body);
        free(w);
        return false;
    }
    w->next = b->works;
    b->works = w;
    b->n_works++;
    r->n_working++;
    if (!ask(b, w, &e)) later(w);
    return true;
}

/* One of each batch in turn, as long as there are places. */
static void begin_lines(struct batch_runner *b)
{
    struct err e;
    const double now = clock_seconds();
    if (atomic_load(&b->server->draining)) return;
    for (struct work *w = b->works; w; w = w->next)
        if (!w->inner && !w->answers && w->not_before <= now && w->run->row.state == BATCH_IN_PROGRESS &&
            !ask(b, w, &e))
            later(w);
    for (bool any = true; any && b->n_works < b->server->o.batch_parallel;) {
        any = false;
        for (struct batch_run *r = b->runs; r && b->n_works < b->server->o.batch_parallel; r = r->next)
            any |= begin_line(b, r);
    }
}

/* ---- states -------------------------------------------------------------------------------------------------------- */

static bool move(struct batch_runner *b, struct batch_run *r, enum batch_state to, int64_t total,
                 const char *errors)
{
    struct err e;
    bool moved;
    if (!batch_rows_move(b->store, r->row.id, r->row.state, to, clock_unix_ms(), total, errors, &moved, &e)) {
        failed(b, r->row.id, &e);
        r->not_before = clock_seconds() + FAILED_S;
        return false;
    }
    if (moved) {
        r->row.state = to;
        log_info("%s: %s", r->row.id, batch_state_name(to));
    } else {
        wake(b, true); /* it was cancelled */
    }
    return moved;
}

static void fail(struct batch_runner *b, struct batch_run *r)
{
    struct buf all = BUF_INIT(0);
    buf_printf(&all, "{\"object\":\"list\",\"data\":[%s]}", r->errors.data ? r->errors.data : "");
    if (!all.failed) move(b, r, BATCH_FAILED, -1, all.data);
    buf_free(&all);
}

/* True: there is more to do at once. */
static bool validate(struct batch_runner *b, struct batch_run *r)
{
    struct err e;
    bool over;
    const size_t most = b->server->o.max_body;
    if (r->not_before > clock_seconds()) return false;
    if (!r->at_end) {
        if (!batch_run_validate(r, &b->server->json, b->server->o.batch_most_lines, &over, &e)) {
            failed(b, r->row.id, &e);
            r->not_before = clock_seconds() + FAILED_S;
            r->n_lines = r->n_errors = 0;
            buf_clear(&r->errors);
            batch_run_rewind(r, most);
            return false;
        }
        r->at_end = over;
        if (!over) return true;
    }
    if (r->n_errors) {
        fail(b, r);
        return false;
    }
    if (move(b, r, BATCH_IN_PROGRESS, r->n_lines, NULL)) batch_run_rewind(r, most);
    return true;
}

static void close_run(struct batch_runner *b, struct batch_run *r, enum batch_state to)
{
    struct err e;
    struct batch_files files;
    const struct server *s = b->server;
    const double keep_s = s->o.batch_keep_s;
    const struct batch_writing w = { .store = b->store,
                                     .folder = b->folder,
                                     .json = &s->json,
                                     .batch = &r->row,
                                     .input = &r->input,
                                     .most_line = s->o.max_body,
                                     .expired = to == BATCH_EXPIRED,
                                     .expires_ms =
                                         keep_s > 0 ? clock_unix_ms() + (int64_t)(keep_s * 1e3) : 0 };
    if (r->not_closed_before > clock_seconds()) return;
    if (batch_files_write(&w, &files, &e) &&
        batch_rows_close(b->store, r->row.id, to, clock_unix_ms(), files.has_output ? &files.output : NULL,
                         files.has_errors ? &files.errors : NULL, &e)) {
        r->row.state = to;
        log_info("%s: %s", r->row.id, batch_state_name(to));
        return;
    }
    failed(b, "a batch cannot be brought to its end now", &e);
    r->not_closed_before = clock_seconds() + FAILED_S;
}

/* Lines that wait are given up; with `all` those that are under way too. */
static void give_up(struct batch_runner *b, const struct batch_run *r, bool all)
{
    for (struct work *w = b->works, *next; w; w = next) {
        next = w->next;
        if (w->run != r || w->answers) continue;
        if (!w->inner)
            work_free(b, w);
        else if (all)
            inner_cancel(w->inner);
    }
}

static bool step(struct batch_runner *b, struct batch_run *r)
{
    const bool expired = clock_unix_ms() >= r->row.expires_ms;
    switch (r->row.state) {
    case BATCH_VALIDATING:
    case BATCH_IN_PROGRESS:
        if (expired) {
            give_up(b, r, true);
            if (!r->n_working) close_run(b, r, BATCH_EXPIRED);
            return false;
        }
        if (r->row.state == BATCH_VALIDATING) return validate(b, r);
        if (r->at_end && !r->n_working && r->not_before <= clock_seconds())
            return move(b, r, BATCH_FINALIZING, -1, NULL);
        return false;
    case BATCH_FINALIZING: close_run(b, r, BATCH_COMPLETED); return false;
    case BATCH_CANCELLING:
        give_up(b, r, false);
        if (!r->n_working) close_run(b, r, BATCH_CANCELLED);
        return false;
    default: return false;
    }
}

static bool is_over(const struct batch_run *r)
{
    return r->row.state == BATCH_FAILED || r->row.state == BATCH_COMPLETED || r->row.state == BATCH_EXPIRED ||
           r->row.state == BATCH_CANCELLED;
}

static void drop_over(struct batch_runner *b)
{
    for (struct batch_run **at = &b->runs; *at;) {
        struct batch_run *r = *at;
        if (!is_over(r) || r->n_working) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        batch_run_free(r);
        wake(b, true); /* for one that had no place */
    }
}

/* ---- which there are ----------------------------------------------------------------------------------------------- */

/* Its file was taken away under it. */
static void fail_unopened(struct batch_runner *b, struct batch_row *row, const struct err *why)
{
    struct batch_run r = { .row = *row, .errors = BUF_INIT(0) };
    struct batch_fault f = { .code = "missing_file", .param = "input_file_id" };
    snprintf(f.msg, sizeof f.msg, "%.200s", why->msg);
    batch_print_fault(&r.errors, &f, 0);
    fail(b, &r);
    buf_free(&r.errors);
}

static void take_listed(void *arg, const struct batch_row *row)
{
    struct batch_runner *b = arg;
    struct batch_run **at = &b->runs;
    struct err e;
    for (; *at; at = &(*at)->next)
        if (!strcmp((*at)->row.id, row->id)) {
            if (row->state == BATCH_CANCELLING) (*at)->row.state = row->state;
            return;
        }
    struct batch_row own = *row;
    own.metadata = strdup(row->metadata);
    own.errors = strdup(row->errors);
    if (!own.metadata || !own.errors ||
        !batch_run_open(at, &own, b->store, b->folder, b->server->o.max_body, &e)) {
        if (own.metadata && own.errors && e.code == ERR_NOT_FOUND)
            fail_unopened(b, &own, &e);
        else
            failed(b, row->id, &e);
        batch_row_free(&own);
    }
}

static void list(struct batch_runner *b)
{
    struct err e;
    if (batch_rows_open(b->store, MOST_OPEN, take_listed, b, &e))
        b->complained = false;
    else
        failed(b, "they cannot be read now", &e);
    b->listed_s = clock_seconds();
}

static void remove_bytes(void *arg, const char *id) { file_folder_remove(arg, id); }

static void remove_unknown(void *arg, const char *id)
{
    struct batch_runner *b = arg;
    struct err e;
    bool known;
    if (file_rows_known(b->store, id, &known, &e) && !known) file_folder_remove(b->folder, id);
}

static void tidy(struct batch_runner *b)
{
    struct err e;
    if (!file_rows_expire(b->store, clock_unix_ms(), remove_bytes, b->folder, &e))
        failed(b, "files whose time is over cannot be removed now", &e);
    b->tidied_s = clock_seconds();
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

/* Until something is to be done: woken, a line's time to be asked again, or a tick. */
static void rest(struct batch_runner *b)
{
    struct timespec until;
    double s = TICK_S;
    const double now = clock_seconds();
    for (const struct work *w = b->works; w; w = w->next)
        if (!w->inner && w->not_before - now < s) s = w->not_before > now ? w->not_before - now : 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + (int64_t)(s * 1e9) + 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&b->lock);
    while (!b->poked && !b->stopping)
        if (pthread_cond_timedwait(&b->woken, &b->lock, &until)) break;
    b->poked = false;
    pthread_mutex_unlock(&b->lock);
}

static bool is_stopping(struct batch_runner *b, bool *listing)
{
    pthread_mutex_lock(&b->lock);
    const bool stopping = b->stopping;
    *listing = b->listing;
    b->listing = false;
    pthread_mutex_unlock(&b->lock);
    return stopping;
}

static bool claim(struct batch_runner *b)
{
    if (b->claimed || !file_folder_claim(b->folder)) return b->claimed;
    b->claimed = true;
    file_folder_each_old(b->folder, remove_unknown, b);
    return true;
}

static void *run(void *arg)
{
    struct batch_runner *b = arg;
    bool listing, more;
    while (!is_stopping(b, &listing)) {
        more = false;
        if (claim(b)) {
            const double now = clock_seconds();
            if (listing || now - b->listed_s >= TICK_S) list(b);
            if (now - b->tidied_s >= TIDY_S) tidy(b);
            confirm_all(b);
            for (struct batch_run *r = b->runs; r; r = r->next) more |= step(b, r);
            drop_over(b);
            begin_lines(b);
        }
        if (!more) rest(b);
    }
    while (b->works) work_free(b, b->works);
    return NULL;
}

bool batch_runner_start(struct batch_runner **out, struct server *s, struct err *e)
{
    struct batch_runner *b = calloc(1, sizeof *b);
    pthread_condattr_t attr;
    if (!b) return err_set(e, ERR_NOMEM, "out of memory");
    b->server = s;
    b->store = account_store(s->o.account);
    b->folder = s->o.uploads;
    b->listed_s = b->tidied_s = -TIDY_S;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->woken, &attr);
    pthread_condattr_destroy(&attr);
    if (!pthread_create(&b->thread, NULL, run, b)) {
        *out = b;
        return true;
    }
    free(b);
    return err_set(e, ERR_NOMEM, "no thread for batches can be started");
}

void batch_runner_stop(struct batch_runner *b)
{
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_signal(&b->woken);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    while (b->runs) {
        struct batch_run *r = b->runs;
        b->runs = r->next;
        batch_run_free(r);
    }
    pthread_cond_destroy(&b->woken);
    pthread_mutex_destroy(&b->lock);
    free(b);
}
