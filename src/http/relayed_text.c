/* relayed_text.c - see relayed_text.h. */
#include "http/relayed_text.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/dialects/relay_text.h"
#include "http/exchange.h"
#include "service/answer_filter.h"
#include "service/route/answer.h"

struct relayed_text {
    const struct wire_request *w;
    const char *model; /* the route's, which may go with the file: a copy */
    struct relay *relay;
    struct relay_text reply;
    struct event_reader reader;
    struct answer_filter *filter; /* NULL: everything may be said */
    struct usage usage;           /* 0 until it is known */
    bool whole;                   /* the upstream has said all but that it ends */
    bool over;                    /* the last event is queued */
    bool cut;                     /* nobody would see the rest: only the end is left */
    bool unread;                  /* an error has ended it */
};

void relayed_text_free(struct relayed_text *t)
{
    if (!t) return;
    relay_free(t->relay);
    relay_text_free(&t->reply);
    event_reader_free(&t->reader);
    answer_filter_free(t->filter);
    free((char *)t->model);
    free(t);
}

void relayed_text_cancel(struct relayed_text *t) { relay_cancel(t->relay); }

/* ---- its start ----------------------------------------------------------------------------------------------------- */

/* Whom it shares cached prompts with, where the body said so: none of it can be guessed by who sees the hash. */
static const char *isolation_of(struct exchange *x, const struct gen_request *q, char *out, size_t cap)
{
    char hex[2 * REQUEST_HASH + 1];
    unsigned char space[REQUEST_HASH];
    if (!q->isolated) return NULL;
    gen_request_space(q, space);
    sodium_bin2hex(hex, sizeof hex, space, sizeof space);
    snprintf(out, cap, "%s:%s", q->apart ? exchange_who(x)->id : "", hex);
    return out;
}

static bool init(struct relayed_text **out, const struct routed *route, const struct wire_request *w,
                 struct err *e)
{
    struct relayed_text *t = calloc(1, sizeof *t);
    const int n = (w->gen.messages ? 1 : w->gen.n_prompts) * w->gen.n;
    const bool hides = w->gen.thought_form == THOUGHT_HIDDEN || w->gen.thought_form == THOUGHT_INLINE ||
                       (w->gen.thought_form == THOUGHT_AS_SET && w->style->thoughts_in_text);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory");
    t->w = w;
    event_reader_init(&t->reader, ANSWER_EVENT);
    t->model = strdup(route->model);
    *out = t;
    return relay_text_init(&t->reply, &w->gen, n, hides, e) &&
           (!w->gen.words || answer_filter_new(&t->filter, w->gen.words, w->gen.policy, n, e)) &&
           (t->model || err_set(e, ERR_NOMEM, "out of memory"));
}

enum relay_is relayed_text_start(struct exchange *x, const struct routed *route, const struct wire_request *w,
                                 loading_next *fn, void *arg, struct relayed_text **out, struct fault *f)
{
    char apart[200];
    const bool chat = w->gen.messages != NULL;
    struct call_request q = { .path = chat ? "/v1/chat/completions" : "/v1/completions",
                              .endpoint = chat ? "/chat/completions" : "/completions",
                              .model = route->model,
                              .stream = w->stream,
                              .hides_usage = true,
                              .n_choices = w->gen.n,
                              .isolation = isolation_of(x, &w->gen, apart, sizeof apart) };
    enum relay_is is = RELAY_REFUSED;
    *out = NULL;
    json_t *body = relay_text_body(w, f);
    char *text = body ? json_memory_dumps(body, JSON_COMPACT) : NULL;
    if (body && !text) err_set(&f->err, ERR_NOMEM, "out of memory");
    q.body = text;
    q.len = text ? strlen(text) : 0;
    if (text && init(out, route, w, &f->err))
        is = relay_start(x, route, body, false, &q, fn, arg, &(*out)->relay, f);
    free(text);
    json_decref(body);
    if (is == RELAY_STARTED) return is; /* *out may be another's by now */
    relayed_text_free(*out);
    *out = NULL;
    return is;
}

enum call_is relayed_text_outcome(struct relayed_text *t, struct fault *f)
{
    return relay_outcome(t->relay, f);
}

const char *relayed_text_model(const struct relayed_text *t) { return t->model; }
void relayed_text_price(struct relayed_text *t, struct price *out) { relay_price(t->relay, out); }

/* ---- what comes ---------------------------------------------------------------------------------------------------- */

static bool take_event(void *arg, const char *data, size_t len, struct err *e)
{
    struct relayed_text *t = arg;
    return relay_text_read(&t->reply, data, len, &t->usage, e);
}

static void book(struct relayed_text *t)
{
    struct price price;
    relay_book(t->relay, &t->usage, &price);
}

/* Whole: all of it is there. */
static bool take_plain(struct relayed_text *t, struct err *e)
{
    struct buf b = BUF_INIT(0);
    book(t);
    t->over = true;
    bool ok = relay_answer(t->relay, &b) || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && relay_text_read(&t->reply, b.data ? b.data : "", b.len, &t->usage, e) &&
         relay_text_end(&t->reply, &t->usage, e);
    buf_free(&b);
    return ok;
}

/* What the stream has now. False: nothing, or *e says why it ended. */
static bool take_stream(struct relayed_text *t, struct err *e)
{
    struct buf b = BUF_INIT(0);
    bool ok = true;
    switch (relay_next(t->relay, &b, e)) {
    case CALL_NOTHING: ok = false; break;
    case CALL_LAST: book(t); t->whole = true; /* fall through */
    case CALL_EVENTS:
        ok = event_reader_feed(&t->reader, b.data ? b.data : "", b.len, take_event, t, e);
        break;
    case CALL_END:
        t->over = true;
        ok = relay_text_end(&t->reply, &t->usage, e);
        break;
    case CALL_BROKEN: ok = false; break;
    }
    buf_free(&b);
    return ok;
}

/* As the upstream says it. */
static bool next_said(struct relayed_text *t, struct reply_event *ev)
{
    struct err e = { ERR_NONE, "" };
    for (;;) {
        if (relay_text_next(&t->reply, ev)) return true;
        if (t->cut) *ev = (struct reply_event){ .type = REPLY_DONE, .usage = t->usage };
        if (t->cut) return !(t->cut = false);
        if (t->over) return false;
        if (t->w->stream ? take_stream(t, &e) : take_plain(t, &e)) continue;
        if (e.code == ERR_NONE) return false;
        t->over = true;
        book(t);
        *ev = (struct reply_event){ .type = REPLY_ERROR, .usage = t->usage, .error = e };
        return true;
    }
}

/* Nobody sees the rest, which is not waited for. */
static void cut(struct relayed_text *t)
{
    if (t->over || t->whole) return;
    relay_cancel(t->relay);
    book(t);
    t->over = t->cut = true;
}

bool relayed_text_next(struct relayed_text *t, struct reply_event *ev)
{
    struct err e = { ERR_NONE, "" };
    if (!t->filter) return next_said(t, ev);
    while (!answer_filter_next(t->filter, ev)) {
        struct reply_event said;
        if (t->unread || !next_said(t, &said)) return false;
        if (!answer_filter_take(t->filter, &said, &e)) {
            *ev = (struct reply_event){ .type = REPLY_ERROR, .usage = t->usage, .error = e };
            return t->unread = true;
        }
        if (answer_filter_over(t->filter)) cut(t);
    }
    return true;
}
