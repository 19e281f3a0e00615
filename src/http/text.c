/* text.c - chat completions and completions: from the body to a generation, and from its events to a reply or a stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/admission.h"
#include "http/costs.h"
#include "http/dialects/wire.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/prompt_policy.h"
#include "http/provenance.h"
#include "http/relayed_text.h"
#include "http/routes.h"
#include "http/text.h"
#include "http/wanted.h"
#include "service/ending.h"
#include "service/generate.h"

struct growing {             /* one choice */
    struct wire_choice said; /* of a stream only the tokens, and those only for raw_output */
    struct wire_growing growing;
    double last; /* when its latest piece came */
};

enum phase { PHASE_OPEN, PHASE_RUN, PHASE_BOOK, PHASE_USAGE, PHASE_DONE, PHASE_OVER };

struct text_work {
    struct wire_request request;
    struct wire_reply reply;
    struct model *model;
    struct generation *generation; /* NULL: another server answers, */
    struct relayed_text *relayed;  /* which this is */
    struct growing *choice;
    int n_choices;
    enum phase phase;
    int opened;  /* choices whose opening chunk is out */
    int n_ended; /* choices of a stream that are at their end */
    struct reply_event
        last; /* the end of the last of them, which may say what was used and so waits for the books */
    bool has_last;
    const struct text_sequel *sequel; /* NULL: nothing follows */
    void *sequel_arg;                 /* its own */
    struct usage usage;
    struct price price; /* reply.price, where there is one */
    bool may_ask;       /* the safety policy has been asked, and lets it pass */
    bool failed;
    struct err error;
};

static void work_free(void *arg)
{
    struct text_work *t = arg;
    if (!t) return;
    generation_free(t->generation);
    relayed_text_free(t->relayed);
    if (t->has_last) reply_event_free(&t->last);
    for (int i = 0; i < t->n_choices; i++) wire_choice_free(&t->choice[i].said);
    free(t->choice);
    wire_free(&t->request);
    if (t->sequel) t->sequel->release(t->sequel_arg);
    free(t);
}

static void work_cancel(void *arg)
{
    struct text_work *t = arg;
    if (t->relayed)
        relayed_text_cancel(t->relayed);
    else
        generation_cancel(t->generation);
}

static void on_event(void *arg) { exchange_wake(arg); }

/* ---- events -------------------------------------------------------------------------------------------------------- */

static const struct wire_printer *printer(const struct text_work *t) { return t->request.style->printer; }

static bool next_event(struct text_work *t, struct reply_event *ev)
{
    return t->relayed ? relayed_text_next(t->relayed, ev) : generation_next(t->generation, ev);
}

static void fail(struct text_work *t, const struct err *e)
{
    t->failed = true;
    t->error = *e;
}

static bool is_piece(const struct reply_event *ev)
{
    return ev->type == REPLY_TEXT || ev->type == REPLY_THOUGHT || ev->type == REPLY_CALL;
}

/* The stop string that a server may be set to leave in the output, as a piece of its own. NULL: it goes. */
static const char *stop_that_stays(const struct exchange *x, const struct text_work *t,
                                   const struct reply_event *ev)
{
    return t->request.style->stop_may_stay && exchange_server(x)->o.include_stop ? ev->stop_hit : NULL;
}

/* Books an event; `keep`: what it says is wanted later. */
static void take_event(struct exchange *x, struct text_work *t, struct reply_event *ev, bool keep)
{
    bool ok = true;
    if (is_piece(ev)) {
        struct growing *c = &t->choice[ev->index];
        wire_place_tokens(ev, &c->growing);
        const double now = clock_seconds();
        if (c->last > 0) metrics_inter_token(&exchange_server(x)->metrics, now - c->last);
        c->last = now;
        if (!keep && !printer(t)->keeps && t->request.raw_output) ok = wire_choice_keep_tokens(&c->said, ev);
    }
    if ((keep || printer(t)->keeps) && (is_piece(ev) || ev->type == REPLY_CHOICE_END)) {
        struct wire_choice *c = &t->choice[ev->index].said;
        const char *rest = stop_that_stays(x, t, ev);
        if (keep && ev->type == REPLY_TEXT) t->choice[ev->index].growing.bytes += ev->len;
        ok = wire_choice_take(c, ev) && (!rest || buf_puts(&c->text, rest));
    }
    if (ev->type == REPLY_DONE) t->usage = ev->usage;
    if (ev->type == REPLY_ERROR) fail(t, &ev->error);
    if (!ok) fail(t, &(struct err){ ERR_NOMEM, "out of memory" });
}

static const char *early_end(struct exchange *x, const struct text_work *t, enum fault_kind *kind)
{
    return exchange_early_end(x, t->failed ? &t->error : NULL, kind);
}

/* ---- a full reply -------------------------------------------------------------------------------------------------- */

static void print_raw_output(struct buf *b, const struct text_work *t, int choice)
{
    const struct wire_choice *c = &t->choice[choice].said;
    size_t n;
    const char *text;
    int per_prompt = t->request.gen.n;
    const int32_t *ids = generation_prompt(t->generation, choice / per_prompt, &n, &text);
    buf_puts(b, "{\"prompt_fragments\":[");
    if (text) json_out_cstr(b, text);
    buf_puts(b, "],\"prompt_token_ids\":[");
    for (size_t i = 0; i < n; i++) buf_printf(b, "%s%d", i ? "," : "", ids[i]);
    struct buf completion = BUF_INIT(0), token_ids = BUF_INIT(0);
    for (size_t i = 0; i < c->n_tokens; i++) {
        size_t len;
        const char *s = tokenizer_bytes(t->reply.tokenizer, c->tokens[i].id, &len);
        if (c->tokens[i].from_prompt) continue;
        if (s) buf_append(&completion, s, len);
        buf_printf(&token_ids, "%s%d", token_ids.len ? "," : "", c->tokens[i].id);
    }
    buf_puts(b, "],\"completion\":");
    json_out_str(b, completion.data ? completion.data : "", completion.len);
    buf_printf(
        b, ",\"completion_token_ids\":[%s],\"completion_logprobs\":", token_ids.data ? token_ids.data : "");
    struct wire_piece all = { .text = completion.data ? completion.data : "",
                              .len = completion.len,
                              .tokens = c->tokens,
                              .n_tokens = c->n_tokens };
    wire_logprobs(b, &t->request, t->reply.tokenizer, &all);
    buf_puts(b, ",\"images\":null,\"grammar\":null}");
    buf_free(&completion);
    buf_free(&token_ids);
}

static void perf_headers(struct exchange *x, const struct text_work *t)
{
    const struct usage *u = &t->usage;
    const struct sampler_params *s = &t->request.gen.sampling;
    if (t->request.style->dialect == DIALECT_ANTHROPIC) return;
    if (exchange_dialect(x) != DIALECT_FIREWORKS) {
        exchange_header(x, "openai-processing-ms", "%.0f", (clock_seconds() - exchange_started(x)) * 1e3);
        exchange_header(x, "openai-version", "2020-10-01");
        return;
    }
    exchange_header(x, "fireworks-prompt-tokens", "%d", u->prompt_tokens);
    exchange_header(x, "fireworks-cached-prompt-tokens", "%d", u->cached_tokens);
    exchange_header(x, "fireworks-server-time-to-first-token", "%.4f", u->ttft_s);
    exchange_header(x, "fireworks-server-processing-time", "%.4f", u->total_s);
    exchange_header(
        x, "fireworks-sampling-options",
        "{\"temperature\": %g, \"top_p\": %g, \"top_k\": %d, \"min_p\": %g, \"max_tokens\": %lld}",
        (double)s->temperature, (double)s->top_p, s->top_k, (double)s->min_p,
        (long long)t->request.gen.max_tokens);
}

static void reply_full(struct exchange *x, struct text_work *t)
{
    struct wire_choice *c = calloc((size_t)t->n_choices, sizeof *c);
    struct buf b = BUF_INIT(0);
    bool ok = c != NULL;
    for (int i = 0; ok && i < t->n_choices; i++) {
        c[i] = t->choice[i].said;
        if (!t->request.raw_output) continue;
        struct buf raw = BUF_INIT(0);
        print_raw_output(&raw, t, i);
        c[i].raw_output = t->choice[i].said.raw_output = buf_take(&raw);
        ok = c[i].raw_output != NULL;
    }
    if (ok) {
        printer(t)->full(&b, &t->reply, c, t->n_choices, &t->usage);
        if (t->sequel) t->sequel->said(t->sequel_arg, &t->reply, c, &t->usage);
        perf_headers(x, t);
        costs_header(x, t->reply.price, &t->usage);
        exchange_reply(x, 200, "application/json", &b);
    } else {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
    }
    free(c); /* what its choices hold is the work's */
}

static bool collect(struct exchange *x, void *arg)
{
    struct text_work *t = arg;
    struct reply_event ev;
    enum fault_kind kind;
    bool done = false;
    while (!done && next_event(t, &ev)) {
        done = ev.type == REPLY_DONE || ev.type == REPLY_ERROR;
        take_event(x, t, &ev, true);
        reply_event_free(&ev);
    }
    const char *why = early_end(x, t, &kind);
    if (why)
        exchange_fault(x, kind, NULL, "%s", why);
    else if (done)
        reply_full(x, t);
    return why || done;
}

/* ---- a stream ------------------------------------------------------------------------------------------------------ */

static void stream_end(struct exchange *x, struct text_work *t, const struct reply_event *ev, struct buf *out)
{
    struct buf raw = BUF_INIT(0);
    struct wire_growing *g = &t->choice[ev->index].growing;
    const char *stays = stop_that_stays(x, t, ev);
    if (stays) {
        struct reply_event rest = {
            .type = REPLY_TEXT, .index = ev->index, .text = (char *)stays, .len = strlen(stays)
        };
        printer(t)->piece(out, &t->reply, g, &rest);
    }
    if (t->request.raw_output) print_raw_output(&raw, t, ev->index);
    printer(t)->end(out, &t->reply, g, ev, raw.data);
    buf_free(&raw);
}

/* One step of the stream; false when there is nothing to say now. */
static bool stream_step(struct exchange *x, struct text_work *t, struct buf *out)
{
    struct reply_event ev;
    enum fault_kind kind;
    const char *why;
    switch (t->phase) {
    case PHASE_OPEN:
        printer(t)->open(out, &t->reply, &t->choice[t->opened].growing, t->opened);
        t->opened++;
        if (t->opened == t->n_choices) t->phase = PHASE_RUN;
        return true;
    case PHASE_RUN:
        why = early_end(x, t, &kind);
        if (!why && !next_event(t, &ev)) return false;
        if (!why) {
            take_event(x, t, &ev, false);
            if (is_piece(&ev)) printer(t)->piece(out, &t->reply, &t->choice[ev.index].growing, &ev);
            if (ev.type == REPLY_DONE) t->phase = PHASE_BOOK;
            if (ev.type == REPLY_CHOICE_END && ++t->n_ended == t->n_choices) {
                t->last = ev;
                t->has_last = true;
                return true;
            }
            if (ev.type == REPLY_CHOICE_END && !exchange_timed_out(x)) stream_end(x, t, &ev, out);
            reply_event_free(&ev);
            why = early_end(x, t, &kind);
        }
        if (!why) return true;
        char told[sizeof t->error.msg];
        exchange_tell(x, why, told, sizeof told);
        printer(t)->fault(out, &t->reply, &t->choice[0].growing, kind, told);
        exchange_note(x, "%.150s", why);
        t->phase = PHASE_OVER; /* nothing follows an error, no [DONE] either */
        return true;
    case PHASE_BOOK:
        if (t->has_last) stream_end(x, t, &t->last, out);
        t->phase = PHASE_USAGE;
        return true;
    case PHASE_USAGE:
        printer(t)->usage(out, &t->reply, &t->choice[0].growing, &t->usage);
        if (t->sequel) t->sequel->said(t->sequel_arg, &t->reply, &t->choice[0].said, &t->usage);
        t->phase = PHASE_DONE;
        return true;
    case PHASE_DONE:
        printer(t)->done(out, &t->reply, &t->choice[0].growing);
        t->phase = PHASE_OVER;
        return true;
    case PHASE_OVER: return true;
    }
    return true;
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct text_work *t = arg;
    while (!out->len) { /* some steps have nothing to print */
        if (t->phase == PHASE_OVER) return PRODUCED_END;
        const bool last = t->phase == PHASE_BOOK;
        if (!stream_step(x, t, out)) return PRODUCED_NOTHING;
        if (last) return PRODUCED_LAST;
        if (out->failed) return PRODUCED_END;
    }
    return PRODUCED_EVENT;
}

static const struct work_ops text_ops = { collect, produce, work_cancel, work_free };

/* ---- the request --------------------------------------------------------------------------------------------------- */

/* False: answered, and t is gone. */
static bool make_choices(struct exchange *x, struct text_work *t)
{
    const size_t n = (size_t)(t->request.chat ? 1 : t->request.gen.n_prompts) * (size_t)t->request.gen.n;
    t->choice = calloc(n, sizeof *t->choice);
    if (!t->choice) {
        work_free(t);
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return false;
    }
    t->n_choices = (int)n;
    for (size_t i = 0; i < n; i++) t->choice[i].growing.said = &t->choice[i].said;
    return true;
}

static void refuse(struct exchange *x, struct text_work *t, const struct fault *f);
static void ask_others(struct exchange *x, struct text_work *t, const struct routed *route,
                       const struct fault *busy);

/* No room here: others are asked, where the route says so. */
static bool spills(struct exchange *x, struct text_work *t, const struct fault *f)
{
    const struct routed *route = relay_spill(x, t->request.gen.model, f);
    if (!route) return false;
    free(t->choice);
    t->choice = NULL;
    t->n_choices = 0;
    ask_others(x, t, route, f);
    return true;
}

static void start(struct exchange *x, struct text_work *t, const struct err *loaded)
{
    struct model *m = t->model;
    struct fault f = { .err = *loaded };
    exchange_at_work(x);
    if (f.err.code != ERR_NONE) {
        if (!spills(x, t, &f)) refuse(x, t, &f);
        return;
    }
    const char *text;
    if (!make_choices(x, t)) return;
    provenance_model(x, m);
    if (!generation_start(exchange_server(x)->registry, m, &t->request.gen,
                          exchange_stop_flag(x, t->request.stream), on_event, x, &t->generation, &f)) {
        if (f.err.code == ERR_BUSY) log_info("%s: %s", exchange_id(x), f.err.msg);
        if (spills(x, t, &f)) return;
        enum fault_kind kind;
        const char *why = f.err.code == ERR_CANCELLED ? early_end(x, t, &kind) : NULL;
        if (why)
            exchange_fault(x, kind, NULL, "%s", why);
        else
            exchange_fault_from(x, &f);
        work_free(t);
        return;
    }
    wire_reply_init(&t->reply, &t->request, model_id(m), generation_tokenizer(t->generation));
    if (costs_price(x, model_id(m), &t->price)) t->reply.price = &t->price;
    t->reply.dropped = generation_dropped(t->generation);
    t->reply.prompt_ids = generation_prompt(t->generation, 0, &t->reply.n_prompt_ids, &text);
    if (t->reply.dropped) exchange_header(x, "X-Context-Truncated", "%d", t->reply.dropped);
    const char *ignored = generation_ignored(t->generation);
    if (ignored) {
        exchange_header(x, "X-Schema-Ignored", "%s", ignored);
        log_info("%s: keywords of a schema that no draft has decide nothing: %s", exchange_id(x), ignored);
    }
    exchange_run(x, &text_ops, t, t->request.stream);
}

static void start_held(struct exchange *x, void *work, const struct err *loaded)
{
    start(x, work, loaded);
    loading_end(x);
}

static void load_model(struct exchange *x, void *work, const struct err *e)
{
    (void)e;
    struct text_work *t = work;
    loading_then(x, t->model, start_held, t);
}

/* Has the request pictures that are to be fetched? That takes as long as others take to send them. */
static bool fetches(const struct gen_request *q)
{
    bool any = false;
    for (int i = 0; i < q->n_pictures; i++) any |= q->picture[i].url != NULL;
    return any;
}

static bool may_cost(void *x, const struct usage *most, struct err *e)
{
    return admission_reserve(x, most, e);
}

static void refuse(struct exchange *x, struct text_work *t, const struct fault *f)
{
    work_free(t);
    exchange_fault_from(x, f);
}

static void run_here(struct exchange *x, struct text_work *t)
{
    struct fault f = { 0 };
    bool ok = wanted_text(exchange_server(x)->registry, &t->request, &t->model, &f);
    if (ok) ending_model(t->request.gen.ending, model_id(t->model));
    if (!ok || !(t->may_ask || prompt_policy_text(x, &t->request.gen, &f)))
        refuse(x, t, &f);
    else if (fetches(&t->request.gen))
        loading_on_long(x, load_model, t);
    else
        load_model(x, t, NULL);
}

/* Another server was asked. */
static void relayed(struct exchange *x, void *arg, const struct err *none)
{
    struct text_work *t = arg;
    struct fault f = { 0 };
    (void)none;
    switch (relayed_text_outcome(t->relayed, &f)) {
    case CALL_HERE:
        relayed_text_free(t->relayed);
        t->relayed = NULL;
        run_here(x, t);
        return;
    case CALL_FAILED: refuse(x, t, &f); return;
    case CALL_ANSWERED: break;
    }
    if (!make_choices(x, t)) return;
    wire_reply_init(&t->reply, &t->request, relayed_text_model(t->relayed), NULL);
    relayed_text_price(t->relayed, &t->price);
    if (exchange_server(x)->o.account) t->reply.price = &t->price;
    exchange_run(x, &text_ops, t, t->request.stream);
}

static void ask_others(struct exchange *x, struct text_work *t, const struct routed *route,
                       const struct fault *busy)
{
    struct fault f = { 0 };
    switch (relayed_text_start(x, route, &t->request, relayed, t, &t->relayed, &f)) {
    case RELAY_HERE: run_here(x, t); break;
    case RELAY_STARTED: break;
    case RELAY_REFUSED: refuse(x, t, busy && f.err.code == ERR_UNSUPPORTED ? busy : &f); break;
    }
}

static void run_elsewhere(struct exchange *x, struct text_work *t, const struct routed *route)
{
    struct fault f = { 0 };
    ending_model(t->request.gen.ending, route->model);
    t->may_ask = prompt_policy_text(x, &t->request.gen, &f);
    if (t->may_ask)
        ask_others(x, t, route, NULL);
    else
        refuse(x, t, &f);
}

/* t->request was parsed; from here on it is t's to end. */
static void run(struct exchange *x, struct text_work *t, const json_t *body)
{
    provenance_json(x, body);
    exchange_free_body(x);
    const char *isolation = exchange_header_in(x, "x-prompt-cache-isolation-key");
    if (isolation) gen_request_isolate(&t->request.gen, isolation, strlen(isolation));
    t->request.gen.who = *exchange_who(x);
    t->request.gen.ending = exchange_ending(x);
    t->request.gen.image_hosts = exchange_server(x)->o.image_hosts;
    t->request.gen.apart = !exchange_server(x)->o.share_prefixes;
    t->request.gen.may = may_cost;
    t->request.gen.may_arg = x;
    const struct routed *route = relay_route(x, t->request.gen.model);
    if (route)
        run_elsewhere(x, t, route);
    else
        run_here(x, t);
}

static struct text_work *work_new(struct exchange *x)
{
    struct text_work *t = calloc(1, sizeof *t);
    if (!t) exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
    return t;
}

void text_run(struct exchange *x, bool chat, json_t *body, const struct wire_style *style)
{
    struct fault f = { 0 };
    struct text_work *t = work_new(x);
    if (!t) return;
    if (style->parse(&t->request, body, chat, exchange_server(x)->o.strict_fields, style, &f)) {
        run(x, t, body);
        return;
    }
    free(t);
    exchange_fault_from(x, &f);
}

void text_run_read(struct exchange *x, const json_t *body, struct wire_request *w,
                   const struct text_sequel *s, void *arg)
{
    struct text_work *t = work_new(x);
    if (!t) {
        wire_free(w);
        if (s) s->release(arg);
        return;
    }
    t->request = *w;
    t->sequel = s;
    t->sequel_arg = arg;
    run(x, t, body);
}

void text_post(struct exchange *x, bool chat, const struct wire_style *style)
{
    struct fault f = { 0 };
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f)) {
        exchange_fault_from(x, &f);
        return;
    }
    text_run(x, chat, body, style);
    json_decref(body);
}

/* Of chat completions, by the base that the path has. */
static const struct wire_style *style_of(const struct exchange *x)
{
    return exchange_dialect(x) == DIALECT_FIREWORKS ? &fireworks_style : &openai_style;
}

void chat_post(struct exchange *x) { text_post(x, true, style_of(x)); }
void completions_post(struct exchange *x) { text_post(x, false, style_of(x)); }
