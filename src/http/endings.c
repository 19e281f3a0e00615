/* endings.c - see endings.h. */
#include "http/endings.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/access_log.h"
#include "http/admission.h"
#include "http/exchange_inside.h"
#include "http/key_metrics.h"
#include "http/routes.h"
#include "http/traces.h"
#include "service/account/account.h"
#include "service/account/gate.h"
#include "service/account/line_answer.h"

static const char *last_part(const char *model)
{
    const char *slash = strrchr(model, '/');
    return slash ? slash + 1 : model;
}

/* What was made, as far as the note does not say it. */
static void describe(char *out, size_t cap, const struct ending *e)
{
    const struct usage *u = &e->usage;
    char first[40] = "";
    *out = 0;
    if (u->ttft_s > 0) snprintf(first, sizeof first, ", first after %.0f ms", u->ttft_s * 1e3);
    if (u->prompt_tokens)
        snprintf(out, cap, "%.70s prompt %d (cached %d) + %d tokens%s", last_part(e->model), u->prompt_tokens,
                 u->cached_tokens, u->completion_tokens, first);
    else if (u->steps && e->how != END_DONE)
        snprintf(out, cap, "%.70s %d picture%s, %d step%s", last_part(e->model), u->pictures,
                 u->pictures == 1 ? "" : "s", u->steps, u->steps == 1 ? "" : "s");
}

static void log_ending(void *arg, const struct ending *e)
{
    (void)arg;
    char made[200];
    describe(made, sizeof made, e);
    log_info("%s %s %d %.1f ms%s%s%s%s", e->of.id, e->path, e->status, e->seconds * 1e3, *made ? " " : "",
             made,
             !*e->note ? ""
             : *made   ? "; "
                       : " ",
             e->note);
    log_debug("%s ended: %s, %s of %s, %s, asked by %s", e->of.id, end_how_name(e->how), e->of.endpoint,
              e->of.dialect, *e->model ? e->model : "no model", e->of.who.id);
}

static void count_ending(void *arg, const struct ending *e) { metrics_ended(arg, e); }

/* Limits have it at the same moment as the ledger: whoever has read an answer to its end is held to what it used. */
static void take_books(void *arg, struct ending *e, void (*told)(void *told_arg), void *told_arg)
{
    const struct server *s = arg;
    if (s->o.gate) gate_ended(s->o.gate, e);
    if (s->o.account)
        account_book(s->o.account, e, told, told_arg);
    else if (told)
        told(told_arg);
}

/* A sink of all requests. */
static void add_every(struct ending_sinks *s, void (*take)(void *arg, const struct ending *e), void *arg)
{
    s->v[s->n++] = s->unadmitted[s->n_unadmitted++] = (struct ending_sink){ take, arg };
}

void endings_init(struct server *s)
{
    s->endings.v[0] = (struct ending_sink){ count_ending, &s->metrics };
    s->endings.v[1] = (struct ending_sink){ log_ending, NULL };
    s->endings.n = 2;
    if (s->o.gate || s->o.account) s->endings.books = (struct ending_books){ take_books, s };
    if (s->o.key_metrics)
        s->endings.v[s->endings.n++] = (struct ending_sink){ key_metrics_take, s->o.key_metrics };
    if (s->o.traces) add_every(&s->endings, traces_take, s->o.traces);
    if (s->o.access_log) add_every(&s->endings, access_log_take, s->o.access_log);
}

void endings_wait(struct server *s)
{
    while (atomic_load(&s->endings.open)) nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

bool endings_open(struct exchange *x)
{
    if (!x->is.endpoint) return true;
    x->ending = ending_open(&x->server->endings, &x->is, x->path);
    if (!x->ending) return false;
    admission_begun(x);
    metrics_admitted(&x->server->metrics, x->is.route);
    return true;
}

static enum end_how how_it_went(struct exchange *x, bool sent)
{
    const bool stopping = atomic_load(&x->server->draining);
    pthread_mutex_lock(&x->lock);
    const bool gone = x->gone, late = x->timed_out;
    pthread_mutex_unlock(&x->lock);
    if (x->blame == FAULT_TIMEOUT) return END_TIMEOUT;
    if (x->blame == FAULT_UNAVAILABLE && !gone) return stopping ? END_CANCELLED : END_REFUSED;
    if (x->blame != FAULT_NONE && x->blame != FAULT_UNAVAILABLE)
        return fault_status(x->blame) >= 500 ? END_ERROR : END_REFUSED;
    if (!sent && late) return stopping ? END_CANCELLED : END_TIMEOUT; /* nobody could be told */
    if (!sent || gone) return END_LEFT;
    return x->status >= 400 ? END_REFUSED : END_DONE;
}

/* What was not admitted ends here. */
static void end_unadmitted(struct exchange *x, bool sent)
{
    struct ending e = { .of = x->is,
                        .path = x->path,
                        .how = how_it_went(x, sent),
                        .status = x->status,
                        .seconds = clock_seconds() - x->is.started,
                        .bytes = x->bytes };
    snprintf(e.note, sizeof e.note, "%s", x->note);
    log_write(x->route && x->route->access == ACCESS_PUBLIC ? LOG_DEBUG : LOG_INFO, "%s %s %d %.1f ms%s%s",
              x->is.id, x->path, x->status, e.seconds * 1e3, *x->note ? " " : "", x->note);
    ending_unadmitted(&x->server->endings, &e);
}

/* From the books: x may have been over for long. */
static void told(void *arg)
{
    struct exchange *x = arg;
    atomic_store(&x->books, BOOKS_CLOSED);
    exchange_wake(x);
    exchange_unref(x);
}

void endings_heard(struct exchange *x, const char *bytes, size_t n)
{
    struct recording *r = x->ending ? x->ending->recording : NULL;
    if (!r || atomic_load(&x->books) != BOOKS_OPEN) return;
    snprintf(r->type, sizeof r->type, "%s", x->content_type ? x->content_type : "");
    if (n) buf_append(&r->answer, bytes, n);
}

static void keep_answer(struct exchange *x)
{
    struct buf *a = &x->ending->answer;
    if (!*x->is.batch || !line_is_final(x->status) || !x->reply.len) return;
    if (!buf_append(a, x->reply.data, x->reply.len)) {
        buf_free(a);
        return;
    }
    line_flatten(a);
    ending_error(x->ending, fault_name(x->blame));
}

bool endings_booked(struct exchange *x)
{
    if (!x->ending || (x->blame != FAULT_NONE && !*x->is.batch)) return true;
    if (atomic_load(&x->books) != BOOKS_OPEN) return atomic_load(&x->books) == BOOKS_CLOSED;
    endings_heard(x, x->reply.data, x->reply.len);
    keep_answer(x);
    atomic_store(&x->books, BOOKS_ASKED);
    atomic_fetch_add(&x->refs, 1);
    if (!ending_book(x->ending, how_it_went(x, true), x->status, x->note, told, x)) {
        atomic_fetch_sub(&x->refs, 1); /* the transport's is left */
        atomic_store(&x->books, BOOKS_CLOSED);
    }
    return atomic_load(&x->books) == BOOKS_CLOSED;
}

void endings_close(struct exchange *x, bool sent)
{
    if (x->ending) {
        ending_sent(x->ending, x->bytes);
        ending_error(x->ending, fault_name(x->blame));
        ending_went(x->ending, how_it_went(x, sent), x->status, x->note);
        ending_let_go(x->ending);
        x->ending = NULL;
    } else if (x->path) {
        end_unadmitted(x, sent);
    }
}
