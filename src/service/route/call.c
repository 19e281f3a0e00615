/* call.c - one request at the upstreams of its plan, try by try, until one answers or none is left. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "format/json_memory.h"
#include "service/account/money.h"
#include "service/route/json_splice.h"
#include "service/route/router_inside.h"

enum {
    LONGEST_WAIT_S = 30, /* that an upstream may ask for before it is asked again */
    BYTES_A_TOKEN = 4    /* of an answer that does not say what it used */
};

/* ---- its beginning and its end ------------------------------------------------------------------------------------- */

static void free_strings(struct call_request *q)
{
    free((char *)q->path);
    free((char *)q->endpoint);
    free((char *)q->body);
    free((char *)q->model);
    free((char *)q->id);
    free((char *)q->isolation);
    free((char *)q->boundary);
}

void call_unref(struct call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) > 1) return;
    event_reader_free(&c->reader);
    buf_free(&c->body);
    buf_free(&c->got);
    buf_free(&c->events);
    buf_free(&c->held);
    free_strings(&c->q);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static bool copy(const char **to, const char *from, size_t n)
{
    char *own = malloc(n + 1);
    *to = own;
    if (!own) return false;
    memcpy(own, from, n);
    own[n] = 0;
    return true;
}

bool call_start(struct call **out, struct router *r, const struct plan *p, const struct call_request *q,
                struct err *e)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "out of memory");
    c->router = r;
    c->plan = *p;
    c->in = router_reading(r, p->route);
    c->q = *q;
    c->q.path = c->q.endpoint = c->q.body = c->q.model = c->q.id = c->q.isolation = c->q.boundary = NULL;
    c->began = clock_seconds();
    c->retry_after_s = -1;
    c->phase = PHASE_WAITING;
    atomic_init(&c->refs, 2);
    pthread_mutex_init(&c->lock, NULL);
    event_reader_init(&c->reader, ANSWER_EVENT);
    c->got = BUF_INIT(ANSWER_BYTES);
    if (!copy(&c->q.path, q->path, strlen(q->path)) ||
        !copy(&c->q.endpoint, q->endpoint, strlen(q->endpoint)) || !copy(&c->q.body, q->body, q->len) ||
        !copy(&c->q.model, q->model, strlen(q->model)) || !copy(&c->q.id, q->id, strlen(q->id)) ||
        (q->isolation && !copy(&c->q.isolation, q->isolation, strlen(q->isolation))) ||
        (q->boundary && !copy(&c->q.boundary, q->boundary, strlen(q->boundary)))) {
        atomic_store(&c->refs, 1);
        call_unref(c);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    c->shadow = !q->ready;
    *out = c;
    pthread_mutex_lock(&r->lock);
    c->next = r->queue;
    r->queue = c;
    pthread_mutex_unlock(&r->lock);
    curl_multi_wakeup(r->multi);
    return true;
}

void call_cancel(struct call *c)
{
    atomic_store(&c->cancelled, true);
    curl_multi_wakeup(c->router->multi);
}

void call_free(struct call *c)
{
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    c->orphan = true;
    pthread_mutex_unlock(&c->lock);
    call_cancel(c);
    call_unref(c);
}

static const struct target *target(const struct call *c) { return c->plan.to[c->at]; }
static const struct upstream *upstream(const struct call *c) { return &c->in->up->v[target(c)->upstream]; }

/* Its outcome is known: whoever waits is told, once. */
static void settle(struct call *c, enum call_is is, const struct err *why, int again_s)
{
    pthread_mutex_lock(&c->lock);
    const bool first = !c->settled;
    if (first) {
        c->settled = true;
        c->outcome = is;
        c->again_s = again_s;
        if (why) c->error = *why;
    }
    pthread_mutex_unlock(&c->lock);
    c->told = true;
    if (first && c->q.ready) c->q.ready(c->q.arg);
}

static void wake(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->orphan && c->q.wake) c->q.wake(c->q.arg);
    pthread_mutex_unlock(&c->lock);
}

static void drop_transfer(struct call *c)
{
    if (c->easy) {
        curl_multi_remove_handle(c->router->multi, c->easy);
        curl_easy_cleanup(c->easy);
    }
    curl_slist_free_all(c->headers);
    c->easy = NULL;
    c->headers = NULL;
}

static void end_shadow(struct call *c, bool ok, const char *why)
{
    if (!c->shadow) return;
    shadow_record(c->router, c, c->got.data ? c->got.data : "", c->got.len, ok, why,
                  clock_seconds() - c->began);
    atomic_fetch_sub(&c->router->shadows, 1);
    call_unref(c); /* what nobody waits for has no owner */
}

/* Nothing more comes of it. After the first event of a stream that is told in the stream. */
static void end_with(struct call *c, const struct err *why, int again_s)
{
    drop_transfer(c);
    c->phase = PHASE_OVER;
    pthread_mutex_lock(&c->lock);
    const bool begun = c->settled;
    if (begun && !c->done) c->error = *why;
    pthread_mutex_unlock(&c->lock);
    if (begun)
        wake(c);
    else
        settle(c, CALL_FAILED, why, again_s);
    end_shadow(c, false, why->msg);
}

/* ---- what comes back ----------------------------------------------------------------------------------------------- */

static int64_t price_of(const struct call *c, const struct usage *u)
{
    return price_cost(&target(c)->model->price, u);
}

static bool spell(struct call *c, struct buf *out, const char *json, size_t len, const struct usage *u)
{
    char dollars[MONEY_TEXT];
    if (u) money_print(price_of(c, u), dollars);
    const struct answer_spelling s = { .model = c->q.model,
                                       .cost = u && c->q.says_cost ? dollars : NULL,
                                       .no_usage = c->q.stream && c->q.hides_usage };
    return answer_spell(out, json, len, &s);
}

/* An event's JSON may have come on several lines. */
static bool put_event(struct call *c, struct buf *to, const char *json, size_t len, const struct answer *a)
{
    const size_t before = to->len;
    buf_puts(to, "data: ");
    if (!spell(c, to, json, len, a->has_usage ? &a->usage : NULL)) return false;
    for (size_t i = before; i < to->len; i++)
        if (to->data[i] == '\n') to->data[i] = ' ';
    return buf_puts(to, "\n\n");
}

static void take_counts(struct call *c, const struct answer *a)
{
    c->n_said += a->n_said;
    c->n_pictures += a->n_pictures;
    c->n_finished += a->n_finished;
    if (!a->has_usage) return;
    c->has_usage = true;
    c->usage = a->usage; /* a stream's latest is the whole */
}

static void stream_is_whole(struct call *c)
{
    c->over = true;
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_mutex_unlock(&c->lock);
}

static bool take_event(void *arg, const char *data, size_t len, struct err *e)
{
    struct call *c = arg;
    struct answer a;
    if (c->over) return true;
    if (len == 6 && !memcmp(data, "[DONE]", 6)) {
        if (!c->streams) return err_set(e, ERR_FORMAT, "a stream without an event");
        stream_is_whole(c);
        return true;
    }
    if (!answer_read(&a, data, len, e)) return err_wrap(e, "an event that is");
    if (a.failed)
        return err_set(e, ERR_FORMAT, "an error: %s", *a.message ? a.message : "it does not say which");
    pthread_mutex_lock(&c->lock);
    take_counts(c, &a);
    const bool ended = c->n_finished >= c->q.n_choices;
    const bool ok = (!a.n_choices && a.has_usage && c->q.hides_usage) ||
                    put_event(c, ended ? &c->held : &c->events, data, len, &a);
    pthread_mutex_unlock(&c->lock);
    if (!ok) return err_set(e, ERR_NOMEM, "out of memory");
    c->streams = true;
    return true;
}

static bool is_stream(CURL *easy)
{
    char *type = NULL;
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
    return type && !strncasecmp(type, "text/event-stream", 17);
}

static size_t pending(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    const size_t n = c->events.len;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static bool take_stream(struct call *c, const char *data, size_t n)
{
    const bool had = c->streams;
    const bool ok = event_reader_feed(&c->reader, data, n, take_event, c, &c->broken);
    if (!had && c->streams && ok) settle(c, CALL_ANSWERED, NULL, 0);
    if (c->streams) wake(c);
    return ok;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct call *c = arg;
    long status = 0;
    (void)size; /* 1 */
    c->last_byte = clock_seconds();
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!c->got_byte) c->first_s = c->last_byte - c->sent;
    c->got_byte = true;
    if (status == 200 && c->q.stream && !c->shadow && is_stream(c->easy)) {
        if (pending(c) > PENDING_BYTES) {
            c->paused = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        return take_stream(c, data, n) ? n : 0;
    }
    const size_t most = status != 200 ? ERROR_BYTES : c->shadow ? SHADOW_BYTES : ANSWER_BYTES;
    if (n > most - c->got.len) {
        err_set(&c->broken, ERR_LIMIT, "more than %zu bytes", most);
        return 0;
    }
    return buf_append(&c->got, data, n) ? n : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct call *c = arg;
    (void)data, (void)size;
    c->last_byte = clock_seconds();
    c->got_head = true;
    return n;
}

/* ---- a try --------------------------------------------------------------------------------------------------------- */

static bool header(struct call *c, const char *fmt, const char *value)
{
    char line[8400];
    snprintf(line, sizeof line, fmt, value);
    struct curl_slist *more = curl_slist_append(c->headers, line);
    if (more) c->headers = more;
    return more != NULL;
}

static bool make_headers(struct call *c, const struct upstream *u)
{
    char hops[12];
    snprintf(hops, sizeof hops, "%d", c->q.hops + 1);
    return header(c, c->q.boundary ? "Content-Type: multipart/form-data; boundary=%s" : "Content-Type: %s",
                  c->q.boundary ? c->q.boundary : "application/json") &&
           header(c, "Accept: %s", c->q.stream ? "text/event-stream" : "application/json") &&
           header(c, "X-Request-Id: %s", c->q.id) && header(c, "X-Hearth-Hops: %s", hops) &&
           header(c, "%s", "Expect:") && (!u->key || header(c, "Authorization: Bearer %s", u->key)) &&
           (!c->q.isolation || header(c, "x-prompt-cache-isolation-key: %s", c->q.isolation));
}

/* The model's part goes in front of the others. */
static bool make_form(struct call *c)
{
    const struct call_request *q = &c->q;
    buf_clear(&c->body);
    buf_printf(&c->body, "--%s\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n%s\r\n", q->boundary,
               target(c)->model->theirs);
    return buf_append(&c->body, q->body, q->len);
}

static bool make_body(struct call *c, const struct upstream *u)
{
    struct buf named = BUF_INIT(0);
    const struct call_request *q = &c->q;
    const bool by_itself = q->usage_by_itself && u->whole_path && !q->hides_usage;
    json_t *theirs = json_string(target(c)->model->theirs);
    char *text = theirs ? json_memory_dumps(theirs, JSON_ENCODE_ANY) : NULL;
    static const char ask[] = "{\"include_usage\":true}";
    buf_clear(&c->body);
    bool ok = text && json_splice_set(&named, q->body, q->len, "model", text, strlen(text));
    if (ok && q->stream && !q->asks_usage && !by_itself)
        ok = json_splice_set(&c->body, named.data, named.len, "stream_options", ask, sizeof ask - 1);
    else
        ok = ok && buf_append(&c->body, named.data, named.len);
    free(text);
    json_decref(theirs);
    buf_free(&named);
    return ok;
}

static bool send_it(struct call *c)
{
    const struct upstream *u = upstream(c);
    char agent[100];
    snprintf(c->url, sizeof c->url, "%.2000s%.250s", u->base_url, u->whole_path ? c->q.path : c->q.endpoint);
    snprintf(agent, sizeof agent, "hearth/%s", hearth_version);
    c->easy = curl_easy_init();
    if (!c->easy || !(c->q.boundary ? make_form(c) : make_body(c, u)) || !make_headers(c, u)) return false;
    CURL *h = c->easy;
    curl_easy_setopt(h, CURLOPT_URL, c->url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)(u->connect_s * 1e3) + 1);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)(u->whole_s * 1e3) + 1);
    curl_easy_setopt(h, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(h, CURLOPT_POST, 1L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body.len);
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, c->body.data);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(h, CURLOPT_PRIVATE, c);
    return curl_multi_add_handle(c->router->multi, h) == CURLM_OK;
}

static void begin_anew(struct call *c)
{
    buf_clear(&c->got);
    event_reader_free(&c->reader);
    event_reader_init(&c->reader, ANSWER_EVENT);
    c->broken = (struct err){ ERR_NONE, "" };
    c->got_byte = c->got_head = c->streams = c->paused = c->over = c->late = false;
    c->n_finished = c->n_said = c->n_pictures = 0;
    c->has_usage = false;
    pthread_mutex_lock(&c->lock);
    buf_clear(&c->events);
    buf_clear(&c->held);
    pthread_mutex_unlock(&c->lock);
}

/* May this place be asked now? Again only as often as it says, and within its budget of retries. */
static bool may_ask(struct call *c, int place)
{
    const struct target *t = c->plan.to[place];
    const struct upstream *u = &c->in->up->v[t->upstream];
    struct state *s = c->in->state[t->upstream];
    if (c->tries_at[place] >= (c->shadow ? 1 : u->tries)) return false;
    pthread_mutex_lock(&c->router->lock);
    const bool may = breaker_would(&s->breaker, clock_seconds()) &&
                     (!c->tries_at[place] || retry_budget_take(&s->budget)) &&
                     breaker_take(&s->breaker, clock_seconds());
    pthread_mutex_unlock(&c->router->lock);
    return may;
}

/* Finds the place that is asked next, behind `at`, and when. False: there is none. */
static bool next_place(struct call *c)
{
    const int n = c->plan.n;
    for (int k = 1; k <= n; k++) {
        const int place = (c->at + k) % n;
        const bool round = c->at + k >= n;
        if (c->left_out[place]) continue;
        const struct target *t = c->plan.to[place];
        if (t->upstream >= 0) {
            const struct upstream *u = &c->in->up->v[t->upstream];
            if (c->tries_at[place] >= (c->shadow ? 1 : u->tries)) continue;
            double wait = round ? retry_delay(u->backoff_s, u->backoff_most_s, c->round, router_draw()) : 0;
            if (c->tries_at[place] && c->retry_after_s > wait) wait = c->retry_after_s;
            if (wait > LONGEST_WAIT_S) continue;
            c->due = clock_seconds() + wait;
        }
        c->round += round;
        c->at = place;
        return true;
    }
    return false;
}

/* The next place after a failure, or the end. */
static void go_on(struct call *c, const struct err *why, int again_s)
{
    drop_transfer(c);
    if (!next_place(c)) {
        end_with(c, why, again_s);
        return;
    }
    c->last = *why;
    c->last_again_s = again_s;
    c->phase = PHASE_WAITING;
    if (target(c)->upstream < 0) {
        c->phase = PHASE_OVER;
        settle(c, CALL_HERE, NULL, 0);
    }
}

bool call_try(struct call *c)
{
    const struct err busy = { ERR_UPSTREAM_BUSY,
                              "the upstreams of this model are left alone after failures; try again later" };
    const struct err none = { ERR_NOMEM, "out of memory" };
    if (!may_ask(c, c->at)) {
        c->left_out[c->at] = true;
        go_on(c, c->last.code ? &c->last : &busy, c->last.code ? c->last_again_s : 1);
        return c->phase != PHASE_OVER;
    }
    begin_anew(c);
    router_sent(c, c->tries_at[c->at] > 0);
    c->tries_at[c->at]++;
    c->phase = PHASE_SENT;
    c->sent = c->last_byte = clock_seconds();
    if (send_it(c)) return true;
    router_news(c, NEWS_CANCELLED, 0, 0, NULL);
    end_with(c, &none, 0);
    return false;
}

/* ---- how it went --------------------------------------------------------------------------------------------------- */

struct verdict {
    struct err why;
    enum router_news news;
    bool final; /* the request's own fault: nobody else is asked */
    bool again; /* this place may be asked again */
    int again_s;
};

/* Neither the key nor where it is is any client's business. */
static void hide(char *message, const struct upstream *u)
{
    const char *host = strstr(u->base_url, "://");
    char at[300];
    answer_hide(message, u->key);
    answer_hide(message, u->base_url);
    if (!host) return;
    snprintf(at, sizeof at, "%.*s", (int)strcspn(host + 3, "/"), host + 3);
    answer_hide(message, at);
}

/* What an answer with this status means. */
static void judge_status(struct call *c, long status, struct verdict *v)
{
    const char *name = upstream(c)->name;
    struct answer a;
    curl_off_t after = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &after);
    const bool says =
        answer_read(&a, c->got.data ? c->got.data : "", c->got.len, NULL) && a.failed && *a.message;
    if (after > 0) c->retry_after_s = (double)after;
    v->again_s = after > 0 && after < 86400 ? (int)after : 1;
    switch (status) {
    case 400:
    case 413:
    case 422:
        v->news = NEWS_REFUSED;
        v->final = true;
        if (says) hide(a.message, upstream(c));
        err_set(&v->why, ERR_REQUEST, "the upstream \"%s\" refused the request%s%s", name, says ? ": " : "",
                says ? a.message : "");
        return;
    case 401:
    case 402:
    case 403:
        v->news = NEWS_REFUSED;
        err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" refused this server (status %ld)", name, status);
        return;
    case 408:
    case 409:
    case 425:
    case 429:
        v->news = NEWS_REFUSED;
        v->again = true;
        err_set(&v->why, ERR_UPSTREAM_BUSY, "the upstream \"%s\" takes no more requests now", name);
        return;
    case 503:
        v->news = NEWS_FAILED;
        v->again = true;
        err_set(&v->why, ERR_UPSTREAM_BUSY, "the upstream \"%s\" cannot serve now", name);
        return;
    case 504:
        v->news = NEWS_FAILED;
        v->again = true;
        err_set(&v->why, ERR_UPSTREAM_LATE, "the upstream \"%s\" got no answer in time", name);
        return;
    default: break;
    }
    v->news = status >= 500 || status == 200 ? NEWS_FAILED : NEWS_REFUSED;
    v->again = v->news == NEWS_FAILED;
    if (status >= 300 && status < 400)
        err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" answered with a redirect, which is not followed",
                name);
    else
        err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" answered with status %ld", name, status);
}

/* What a transfer that failed means. */
static void judge_transfer(struct call *c, CURLcode code, struct verdict *v)
{
    const char *name = upstream(c)->name;
    v->news = NEWS_FAILED;
    v->again = true;
    if (c->broken.code == ERR_NOMEM || c->got.failed)
        err_set(&v->why, ERR_NOMEM, "out of memory");
    else if (c->broken.code)
        err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" sent %.300s", name, c->broken.msg);
    else if (c->late || code == CURLE_OPERATION_TIMEDOUT)
        err_set(&v->why, ERR_UPSTREAM_LATE, "the upstream \"%s\" did not answer in time", name);
    else if (code == CURLE_OK || code == CURLE_PARTIAL_FILE || code == CURLE_GOT_NOTHING ||
             code == CURLE_RECV_ERROR)
        err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" ended the connection before its answer was whole",
                name);
    else
        err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" cannot be reached: %s", name,
                curl_easy_strerror(code));
}

/* Books with the upstream what it will ask to be paid for. */
static void spend(struct call *c)
{
    struct usage u;
    struct price price;
    call_used(c, &u, &price);
    router_spent(c, &u, price_cost(&price, &u));
}

static void answered(struct call *c)
{
    router_news(c, NEWS_ANSWERED, c->first_s, clock_seconds() - c->sent, NULL);
    spend(c);
    drop_transfer(c);
    c->phase = PHASE_OVER;
}

void call_fail(struct call *c, enum err_code code, const char *why)
{
    struct err e;
    err_set(&e, code, "%s", why);
    if (c->over) { /* it has all that it wanted */
        answered(c);
        return;
    }
    if (c->told && c->streams) spend(c);
    if (c->phase == PHASE_SENT) router_news(c, NEWS_CANCELLED, 0, 0, NULL);
    end_with(c, &e, 0);
}

/* A plain answer, whole. */
static bool take_answer(struct call *c, struct verdict *v)
{
    struct answer a;
    struct err e;
    const bool parsed = answer_read(&a, c->got.data ? c->got.data : "", c->got.len, &e);
    v->news = NEWS_FAILED;
    v->again = true;
    if (!parsed || a.failed)
        return err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" answered with %s", upstream(c)->name,
                       parsed ? "an error in place of an answer" : e.msg);
    pthread_mutex_lock(&c->lock);
    take_counts(c, &a);
    pthread_mutex_unlock(&c->lock);
    return true;
}

/* Something whole where a stream was asked for. */
static void judge_plain(struct call *c, struct verdict *v)
{
    v->news = NEWS_FAILED;
    v->again = true;
    err_set(&v->why, ERR_UPSTREAM, "the upstream \"%s\" answered with no stream of events",
            upstream(c)->name);
}

void call_ended(struct call *c, CURLcode code)
{
    struct verdict v = { .again_s = 1 };
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (c->over) { /* its stream was whole; how the connection ended does not matter */
        answered(c);
        wake(c);
        return;
    }
    const bool whole_error = status != 200 && status != 0 && (code == CURLE_OK || code == CURLE_WRITE_ERROR);
    if (code == CURLE_OK && status == 200 && c->shadow) {
        if (!c->q.stream && !take_answer(c, &v)) {
            router_news(c, v.news, 0, 0, v.why.msg);
            end_with(c, &v.why, 0);
            return;
        }
        answered(c);
        end_shadow(c, true, NULL);
        return;
    }
    if (code == CURLE_OK && status == 200 && !c->q.stream && take_answer(c, &v)) {
        answered(c);
        settle(c, CALL_ANSWERED, NULL, 0);
        return;
    }
    if (whole_error)
        judge_status(c, status, &v);
    else if (code == CURLE_OK && status == 200 && c->q.stream && !is_stream(c->easy))
        judge_plain(c, &v);
    else if (!v.why.code)
        judge_transfer(c, code, &v);
    log_info("%s at upstream %s: %s", c->q.id, upstream(c)->name, v.why.msg);
    router_news(c, v.news, 0, 0, v.why.msg);
    if (c->told || v.final) {
        end_with(c, &v.why, 0);
        return;
    }
    if (!v.again) c->left_out[c->at] = true;
    go_on(c, &v.why, v.again_s);
}

void call_tick(struct call *c, double now)
{
    const bool stop =
        !c->over && ((c->q.stop && !c->told && atomic_load(c->q.stop)) || atomic_load(&c->cancelled));
    if (stop) {
        call_fail(c, ERR_CANCELLED, "the client left");
        return;
    }
    if (c->phase == PHASE_WAITING) {
        if (now >= c->due) call_try(c);
        return;
    }
    if (c->paused && pending(c) < PENDING_BYTES / 2) {
        c->paused = false;
        c->last_byte = now;
        curl_easy_pause(c->easy, CURLPAUSE_CONT);
        return;
    }
    const struct upstream *u = upstream(c);
    const double limit = c->over ? 1 : c->got_head ? u->between_s : u->first_s;
    if (c->paused || now - c->last_byte <= limit) return;
    c->late = true;
    call_ended(c, CURLE_OPERATION_TIMEDOUT);
}

/* ---- for whoever waits --------------------------------------------------------------------------------------------- */

enum call_is call_outcome(const struct call *c, struct err *e, int *again_s)
{
    struct call *own = (struct call *)c;
    pthread_mutex_lock(&own->lock);
    const enum call_is is = c->outcome;
    if (is == CALL_FAILED) *e = c->error;
    *again_s = c->again_s;
    pthread_mutex_unlock(&own->lock);
    return is;
}

const char *call_at(const struct call *c) { return upstream(c)->name; }

void call_used(struct call *c, struct usage *u, struct price *price)
{
    pthread_mutex_lock(&c->lock);
    *price = target(c)->model->price;
    *u = c->usage;
    if (!c->has_usage) {
        *u = c->q.guess;
        u->completion_tokens = c->q.stream || c->n_pictures ? c->n_said : (int)(c->got.len / BYTES_A_TOKEN);
    }
    u->pictures = c->n_pictures;
    u->steps = c->n_pictures * c->q.guess.steps;
    pthread_mutex_unlock(&c->lock);
}

bool call_answer(struct call *c, struct buf *out)
{
    return spell(c, out, c->got.data ? c->got.data : "", c->got.len, c->has_usage ? &c->usage : NULL);
}

/* Moves all of one to the end of the other. */
static bool move_bytes(struct buf *out, struct buf *from)
{
    const bool ok = buf_append(out, from->data ? from->data : "", from->len);
    buf_clear(from);
    return ok;
}

enum call_next call_next(struct call *c, struct buf *out, struct err *e)
{
    enum call_next is = CALL_NOTHING;
    pthread_mutex_lock(&c->lock);
    if (c->events.len) {
        const bool much = c->events.len > PENDING_BYTES / 2;
        move_bytes(out, &c->events);
        is = CALL_EVENTS;
        if (much) curl_multi_wakeup(c->router->multi);
    } else if (c->done && !c->handed_last) {
        move_bytes(out, &c->held);
        c->handed_last = true;
        is = CALL_LAST;
    } else if (c->done) {
        buf_puts(out, "data: [DONE]\n\n");
        is = CALL_END;
    } else if (c->error.code) {
        *e = c->error;
        is = CALL_BROKEN;
    }
    pthread_mutex_unlock(&c->lock);
    return is;
}
