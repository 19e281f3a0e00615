/* ollama.c - POST /api/chat and /api/generate as Ollama has them: from the body to a generation, and from its events to an object or to lines
 * of JSON. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/admission.h"
#include "http/dialects/ollama.h"
#include "http/exchange.h"
#include "http/json_out.h"
#include "http/loading.h"
#include "http/ollama.h"
#include "http/prompt_policy.h"
#include "http/provenance.h"
#include "http/relayed_text.h"
#include "http/wanted.h"
#include "service/ending.h"
#include "service/generate.h"

struct talk {
    struct ollama_request request;
    struct ollama_reply reply;
    struct model *model;
    struct generation *generation; /* NULL: another server answers, */
    struct relayed_text *relayed;  /* which this is */
    struct usage usage;
    double waits_since; /* clock_seconds(): for the model */
    bool may_ask;       /* the safety policy has been asked, and lets it pass */
    bool last;          /* a stream's last line is out */
    bool failed;
    struct err error;
};

static void talk_free(void *arg)
{
    struct talk *t = arg;
    if (!t) return;
    generation_free(t->generation);
    relayed_text_free(t->relayed);
    wire_choice_free(&t->reply.said);
    ollama_free(&t->request);
    free(t);
}

static void talk_cancel(void *arg)
{
    struct talk *t = arg;
    if (t->relayed)
        relayed_text_cancel(t->relayed);
    else
        generation_cancel(t->generation);
}

static bool next_event(struct talk *t, struct reply_event *ev)
{
    return t->relayed ? relayed_text_next(t->relayed, ev) : generation_next(t->generation, ev);
}

static void on_event(void *arg) { exchange_wake(arg); }

static void no_memory(struct talk *t)
{
    t->failed = true;
    err_set(&t->error, ERR_NOMEM, "out of memory");
}

/* Books an event that is no piece. */
static void take_end(struct talk *t, const struct reply_event *ev)
{
    if (ev->type == REPLY_CHOICE_END) t->reply.said.finish = ev->finish;
    if (ev->type == REPLY_DONE) t->usage = ev->usage;
    if (ev->type != REPLY_ERROR) return;
    t->failed = true;
    t->error = ev->error;
}

static const char *early_end(struct exchange *x, const struct talk *t, enum fault_kind *kind)
{
    return exchange_early_end(x, t->failed ? &t->error : NULL, kind);
}

static void print_end(struct exchange *x, struct talk *t, struct buf *b, bool full)
{
    t->reply.total_s = clock_seconds() - exchange_started(x);
    ollama_print_end(b, &t->reply, &t->usage, full);
}

static bool collect(struct exchange *x, void *arg)
{
    struct talk *t = arg;
    struct reply_event ev;
    enum fault_kind kind;
    bool done = false;
    while (!done && next_event(t, &ev)) {
        done = ev.type == REPLY_DONE || ev.type == REPLY_ERROR;
        if (!wire_choice_take(&t->reply.said, &ev)) no_memory(t);
        take_end(t, &ev);
        reply_event_free(&ev);
    }
    const char *why = early_end(x, t, &kind);
    if (why) {
        exchange_fault(x, kind, NULL, "%s", why);
    } else if (done) {
        struct buf b = BUF_INIT(0);
        print_end(x, t, &b, true);
        exchange_reply(x, 200, "application/json; charset=utf-8", &b);
    }
    return why || done;
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct talk *t = arg;
    struct reply_event ev;
    enum fault_kind kind;
    if (t->last) return PRODUCED_END;
    while (!out->len) {
        const char *why = early_end(x, t, &kind);
        if (!why && !next_event(t, &ev)) return PRODUCED_NOTHING;
        if (!why) {
            const bool piece = ev.type == REPLY_TEXT || ev.type == REPLY_THOUGHT || ev.type == REPLY_CALL;
            if (piece && !ollama_print_piece(out, &t->reply, &ev)) no_memory(t);
            take_end(t, &ev);
            const bool done = ev.type == REPLY_DONE;
            reply_event_free(&ev);
            if (done && !exchange_timed_out(x)) {
                print_end(x, t, out, false);
                t->last = true;
                return PRODUCED_LAST;
            }
            if (!t->failed) continue;
            why = early_end(x, t, &kind);
        }
        char told[sizeof t->error.msg];
        exchange_tell(x, why, told, sizeof told);
        buf_clear(out);
        fault_print(out, DIALECT_OLLAMA, kind, NULL, told);
        buf_putc(out, '\n');
        exchange_note(x, "%.150s", why);
        t->last = true;
    }
    return PRODUCED_EVENT;
}

static const struct work_ops talk_ops = { collect, produce, talk_cancel, talk_free };

/* ---- the request --------------------------------------------------------------------------------------------------- */

static void fault(struct exchange *x, struct talk *t, const struct fault *f)
{
    talk_free(t);
    exchange_fault_from(x, f);
}

/* An empty prompt: the model is there now, or goes with keep_alive 0. */
static void reply_loaded(struct exchange *x, struct talk *t)
{
    struct buf b = BUF_INIT(0);
    ollama_print_loaded(&b, &t->request, t->request.keeps && t->request.keep_s == 0);
    talk_free(t);
    exchange_reply(x, 200, "application/json; charset=utf-8", &b);
}

static void ask_others(struct exchange *x, struct talk *t, const struct routed *route,
                       const struct fault *busy);

static void start(struct exchange *x, struct talk *t, const struct err *loaded)
{
    struct fault f = { .err = *loaded };
    const struct ollama_request *q = &t->request;
    exchange_at_work(x);
    if (f.err.code != ERR_NONE) {
        fault(x, t, &f);
        return;
    }
    t->reply.load_s = clock_seconds() - t->waits_since;
    if (q->keeps) registry_keep(exchange_server(x)->registry, t->model, q->keep_s);
    if (q->load_only) {
        reply_loaded(x, t);
        return;
    }
    provenance_model(x, t->model);
    if (!generation_start(exchange_server(x)->registry, t->model, &q->wire.gen,
                          exchange_stop_flag(x, q->wire.stream), on_event, x, &t->generation, &f)) {
        if (f.err.code == ERR_BUSY) log_info("%s: %s", exchange_id(x), f.err.msg);
        const struct routed *route = relay_spill(x, q->wire.gen.model, &f);
        if (route)
            ask_others(x, t, route, &f);
        else
            fault(x, t, &f);
        return;
    }
    const int dropped = generation_dropped(t->generation);
    if (dropped) exchange_header(x, "X-Context-Truncated", "%d", dropped);
    if (q->wire.stream) exchange_lines(x);
    exchange_run(x, &talk_ops, t, q->wire.stream);
}

static void start_held(struct exchange *x, void *work, const struct err *loaded)
{
    start(x, work, loaded);
    loading_end(x);
}

static void load_model(struct exchange *x, void *work, const struct err *e)
{
    (void)e;
    struct talk *t = work;
    t->waits_since = clock_seconds();
    loading_then(x, t->model, start_held, t);
}

/* NAME:TAG where no model is called so is NAME-TAG, as other hubs call it. */
bool ollama_find(struct exchange *x, char *name, struct model **m, struct err *e)
{
    struct registry *r = exchange_server(x)->registry;
    char *colon = strrchr(name, ':');
    struct err other;
    if (registry_find(r, name, m, e)) return true;
    if (e->code != ERR_NOT_FOUND || !colon) return false;
    *colon = '-';
    const bool found = registry_find(r, name, m, &other);
    if (!found) *colon = ':';
    return found;
}

static bool find_model(struct exchange *x, struct talk *t, struct fault *f)
{
    struct gen_request *g = &t->request.wire.gen;
    char *name = t->request.load_only ? ollama_bare_name(t->request.name) : g->model;
    f->param = "model";
    bool ok = name ? ollama_find(x, name, &t->model, &f->err) : err_set(&f->err, ERR_NOMEM, "out of memory");
    if (t->request.load_only) free(name);
    if (ok && !t->request.load_only)
        ok = wanted_text(exchange_server(x)->registry, &t->request.wire, &t->model, f);
    if (!ok) return false;
    ending_model(exchange_ending(x), model_id(t->model));
    return t->request.load_only || t->may_ask || prompt_policy_text(x, g, f);
}

static void run_here(struct exchange *x, struct talk *t)
{
    struct fault f = { 0 };
    if (find_model(x, t, &f))
        load_model(x, t, NULL);
    else
        fault(x, t, &f);
}

/* ---- another server's models --------------------------------------------------------------------------------------- */

const struct routed *ollama_route(struct exchange *x, const char *name)
{
    const struct routed *route = relay_route(x, name);
    char *other = route ? NULL : strdup(name), *colon = other ? strrchr(other, ':') : NULL;
    if (colon) *colon = '-';
    if (colon) route = relay_route(x, other);
    free(other);
    return route;
}

static void relayed(struct exchange *x, void *arg, const struct err *none)
{
    struct talk *t = arg;
    struct fault f = { 0 };
    (void)none;
    switch (relayed_text_outcome(t->relayed, &f)) {
    case CALL_HERE:
        relayed_text_free(t->relayed);
        t->relayed = NULL;
        run_here(x, t);
        return;
    case CALL_FAILED: fault(x, t, &f); return;
    case CALL_ANSWERED: break;
    }
    if (t->request.wire.stream) exchange_lines(x);
    exchange_run(x, &talk_ops, t, t->request.wire.stream);
}

static void ask_others(struct exchange *x, struct talk *t, const struct routed *route,
                       const struct fault *busy)
{
    struct fault f = { 0 };
    switch (relayed_text_start(x, route, &t->request.wire, relayed, t, &t->relayed, &f)) {
    case RELAY_HERE: run_here(x, t); break;
    case RELAY_STARTED: break;
    case RELAY_REFUSED: fault(x, t, busy && f.err.code == ERR_UNSUPPORTED ? busy : &f); break;
    }
}

static void run_elsewhere(struct exchange *x, struct talk *t, const struct routed *route)
{
    struct fault f = { 0 };
    struct wire_request *w = &t->request.wire;
    ending_model(exchange_ending(x), route->model);
    t->may_ask = prompt_policy_text(x, &w->gen, &f);
    if (t->may_ask)
        ask_others(x, t, route, NULL);
    else
        fault(x, t, &f);
}

/* An empty prompt: there is nothing to load, nor to unload, where another server has the model. */
static bool loads_elsewhere(struct exchange *x, struct talk *t)
{
    struct model *m;
    struct err none = { 0 };
    char *name = ollama_bare_name(t->request.name);
    const bool elsewhere = name && ollama_route(x, name) && !ollama_find(x, name, &m, &none);
    free(name);
    return elsewhere;
}

static bool may_cost(void *x, const struct usage *most, struct err *e)
{
    return admission_reserve(x, most, e);
}

void ollama_run(struct exchange *x, bool chat, json_t *body)
{
    struct fault f = { 0 };
    struct talk *t = calloc(1, sizeof *t);
    if (!t) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    provenance_json(x, body);
    if (!ollama_parse(&t->request, body, chat, exchange_server(x)->o.strict_fields, &f)) {
        free(t);
        exchange_fault_from(x, &f);
        return;
    }
    exchange_free_body(x);
    t->reply.request = &t->request;
    if (*t->request.ignored)
        log_info("%s: options that change nothing here: %s", exchange_id(x), t->request.ignored);
    struct gen_request *g = &t->request.wire.gen;
    g->who = *exchange_who(x);
    g->ending = exchange_ending(x);
    g->may = may_cost;
    g->may_arg = x;
    g->apart = !exchange_server(x)->o.share_prefixes;
    const struct routed *route = t->request.load_only ? NULL : ollama_route(x, g->model);
    if (t->request.load_only && loads_elsewhere(x, t))
        reply_loaded(x, t);
    else if (route)
        run_elsewhere(x, t, route);
    else
        run_here(x, t);
}
