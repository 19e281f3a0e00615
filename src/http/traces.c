/* traces.c - see traces.h. Names of attributes are those of OpenTelemetry's conventions for HTTP and for generative models. */
#include "http/traces.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/version.h"
#include "base/wait.h"
#include "http/json_out.h"

enum {
    WAITING_BYTES = 8 << 20,
    BATCH_BYTES = 512 << 10, /* that make a batch go at once */
    GATHER_MS = 1000,        /* for others to come along */
    TRIES = 4,
    TIMEOUT_MS = 10000,
    LAST_TIMEOUT_MS = 2000 /* at the end of the process */
};

struct traces {
    char *url, resource[200];
    struct curl_slist *headers;
    CURL *curl; /* the thread's */
    atomic_ullong sent, dropped;
    atomic_bool away; /* said in the log */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t some;
    struct buf spans; /* of JSON, a comma between */
    int n_spans;
    bool closing;
};

/* ---- a span -------------------------------------------------------------------------------------------------------- */

static void open_attribute(struct buf *b, const char *key)
{
    const char last = b->len ? b->data[b->len - 1] : 0;
    buf_printf(b, "%s{\"key\":\"%s\",\"value\":{", last == '}' ? "," : "", key);
}

static void attribute(struct buf *b, const char *key, const char *value)
{
    if (!value || !*value) return;
    open_attribute(b, key);
    buf_puts(b, "\"stringValue\":");
    json_out_cstr(b, value);
    buf_puts(b, "}}");
}

/* Whole numbers are texts in protobuf's JSON. */
static void number(struct buf *b, const char *key, long long value)
{
    open_attribute(b, key);
    buf_printf(b, "\"intValue\":\"%lld\"}}", value);
}

/* Up to its attributes. */
static void open_span(struct buf *b, const struct trace_context *c, const unsigned char *span,
                      const unsigned char *parent, const char *name, int kind, int64_t from, int64_t to)
{
    char id[2 * TRACE_ID + 1];
    trace_context_hex(c->trace, TRACE_ID, id);
    buf_printf(b, "{\"traceId\":\"%s\"", id);
    trace_context_hex(span, SPAN_ID, id);
    buf_printf(b, ",\"spanId\":\"%s\"", id);
    trace_context_hex(parent, SPAN_ID, id);
    if (strspn(id, "0") < 2 * SPAN_ID) buf_printf(b, ",\"parentSpanId\":\"%s\"", id);
    buf_puts(b, ",\"name\":");
    json_out_cstr(b, name);
    buf_printf(b, ",\"kind\":%d,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\",\"attributes\":[",
               kind, (long long)from, (long long)to);
}

enum { KIND_INTERNAL = 1, KIND_SERVER = 2, STATUS_ERROR = 2 };

static int child(struct buf *b, const struct trace_context *c, const char *name, int64_t from, int64_t to)
{
    unsigned char id[SPAN_ID];
    if (to <= from) return 0;
    rng_os(id, sizeof id);
    buf_puts(b, ",");
    open_span(b, c, id, c->span, name, KIND_INTERNAL, from, to);
    buf_puts(b, "]}");
    return 1;
}

static int64_t nanos(double seconds) { return (int64_t)(seconds * 1e9); }

/* What the model did, reckoned from the end: the work ended with the request. */
static int children(struct buf *b, const struct ending *e, int64_t from, int64_t to)
{
    const struct trace_context *c = &e->of.trace;
    const struct usage *u = &e->usage;
    int64_t begin = to - nanos(u->total_s);
    if (u->total_s <= 0) return 0;
    if (begin < from) begin = from;
    const int64_t queued = begin + nanos(u->queue_s);
    int n = child(b, c, "queue", begin, queued < to ? queued : to);
    if (u->steps) return n + child(b, c, "drawing", queued, to);
    const int64_t first = u->ttft_s > 0 ? begin + nanos(u->ttft_s) : to;
    n += child(b, c, "prompt", queued, first < to ? first : to);
    return n + child(b, c, "generation", first, to);
}

static void print_attributes(struct buf *b, const struct ending *e)
{
    const struct usage *u = &e->usage;
    attribute(b, "http.request.method", e->of.method);
    attribute(b, "url.path", e->path);
    number(b, "http.response.status_code", e->status);
    number(b, "http.response.body.size", e->bytes);
    attribute(b, "client.address", e->of.address);
    attribute(b, "gen_ai.operation.name", e->of.endpoint);
    attribute(b, "gen_ai.request.model", e->model);
    if (u->prompt_tokens) number(b, "gen_ai.usage.input_tokens", u->prompt_tokens);
    if (u->completion_tokens) number(b, "gen_ai.usage.output_tokens", u->completion_tokens);
    if (u->cached_tokens) number(b, "hearth.cached_tokens", u->cached_tokens);
    if (u->pictures) number(b, "hearth.pictures", u->pictures);
    if (u->steps) number(b, "hearth.steps", u->steps);
    attribute(b, "hearth.request_id", e->of.id);
    attribute(b, "hearth.key", e->of.who.id);
    attribute(b, "hearth.end", end_how_name(e->how));
}

static int print_request(struct buf *b, const struct ending *e)
{
    struct timespec now;
    char name[300];
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t to = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec, from = to - nanos(e->seconds);
    snprintf(name, sizeof name, "%s %s", e->of.method, e->path);
    open_span(b, &e->of.trace, e->of.trace.span, e->of.trace.parent, name, KIND_SERVER, from, to);
    print_attributes(b, e);
    buf_puts(b, "]");
    if (e->status >= 500 || e->how == END_ERROR || e->how == END_TIMEOUT) {
        buf_printf(b, ",\"status\":{\"code\":%d,\"message\":", STATUS_ERROR);
        json_out_cstr(b, e->note);
        buf_puts(b, "}");
    }
    buf_puts(b, "}");
    return 1 + children(b, e, from, to);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

static size_t ignore(char *p, size_t size, size_t n, void *arg)
{
    (void)p, (void)arg;
    return size * n;
}

enum answer { ANSWER_TAKEN, ANSWER_AGAIN, ANSWER_NEVER };

static enum answer post(struct traces *t, const struct buf *body, long timeout_ms, char *why, size_t cap)
{
    long status = 0;
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, body->data);
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    const CURLcode rc = curl_easy_perform(t->curl);
    if (rc != CURLE_OK) {
        snprintf(why, cap, "%s", curl_easy_strerror(rc));
        return ANSWER_AGAIN;
    }
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    snprintf(why, cap, "HTTP status %ld", status);
    if (status >= 200 && status < 300) return ANSWER_TAKEN;
    /* What the standard names as passing. */
    return status == 429 || (status >= 502 && status <= 504) ? ANSWER_AGAIN : ANSWER_NEVER;
}

static bool closing(struct traces *t)
{
    pthread_mutex_lock(&t->lock);
    const bool yes = t->closing;
    pthread_mutex_unlock(&t->lock);
    return yes;
}

/* Until that time has passed, or the process ends. */
static void rest(struct traces *t, int ms)
{
    const struct timespec end = wait_end(1e-3 * ms);
    pthread_mutex_lock(&t->lock);
    while (!t->closing && wait_until(&t->some, &t->lock, &end)) {
    }
    pthread_mutex_unlock(&t->lock);
}

static void drop(struct traces *t, int n, const char *why)
{
    atomic_fetch_add(&t->dropped, (unsigned long long)n);
    if (!atomic_exchange(&t->away, true))
        log_warn("otlp %s: %s; spans are dropped (hearth_spans_dropped_total)", t->url, why);
}

static void send_batch(struct traces *t, const struct buf *spans, int n)
{
    struct buf body = BUF_INIT(0);
    char why[200] = "out of memory";
    enum answer a = ANSWER_NEVER;
    buf_printf(&body,
               "{\"resourceSpans\":[{\"resource\":{\"attributes\":[%s]},\"scopeSpans\":[{\"scope\":{\"name\":"
               "\"hearth\"},\"spans\":[",
               t->resource);
    buf_append(&body, spans->data, spans->len);
    buf_puts(&body, "]}]}]}");
    for (int i = 0; i < TRIES && !body.failed; i++) {
        const bool last = closing(t);
        a = post(t, &body, last ? LAST_TIMEOUT_MS : TIMEOUT_MS, why, sizeof why);
        if (a != ANSWER_AGAIN || last) break;
        if (i + 1 < TRIES) rest(t, 500 << i);
    }
    buf_free(&body);
    if (a != ANSWER_TAKEN) {
        drop(t, n, why);
        return;
    }
    atomic_fetch_add(&t->sent, (unsigned long long)n);
    if (atomic_exchange(&t->away, false)) log_info("otlp %s takes spans again", t->url);
}

static void *sender_main(void *arg)
{
    struct traces *t = arg;
    for (bool over = false; !over;) {
        pthread_mutex_lock(&t->lock);
        while (!t->n_spans && !t->closing) pthread_cond_wait(&t->some, &t->lock);
        const bool few = t->spans.len < BATCH_BYTES;
        pthread_mutex_unlock(&t->lock);
        if (few) rest(t, GATHER_MS);
        pthread_mutex_lock(&t->lock);
        struct buf spans = t->spans;
        const int n = t->n_spans;
        over = t->closing;
        t->spans = BUF_INIT(WAITING_BYTES);
        t->n_spans = 0;
        pthread_mutex_unlock(&t->lock);
        if (n) send_batch(t, &spans, n);
        buf_free(&spans);
    }
    return NULL;
}

void traces_take(void *arg, const struct ending *e)
{
    struct traces *t = arg;
    struct buf b = BUF_INIT(0);
    if (!e->of.trace.known || !e->of.trace.sampled) return;
    const int n = print_request(&b, e);
    pthread_mutex_lock(&t->lock);
    const bool room = !b.failed && b.len + 1 <= WAITING_BYTES - t->spans.len &&
                      (!t->n_spans || buf_putc(&t->spans, ',')) && buf_append(&t->spans, b.data, b.len);
    if (room) {
        if (!t->n_spans) pthread_cond_signal(&t->some);
        t->n_spans += n;
    } else if (t->spans.failed) { /* half of one may be there: nothing of it can be sent */
        drop(t, t->n_spans, "out of memory");
        buf_free(&t->spans);
        t->spans = BUF_INIT(WAITING_BYTES);
        t->n_spans = 0;
    }
    pthread_mutex_unlock(&t->lock);
    buf_free(&b);
    if (!room) drop(t, n, "more come than it takes");
}

struct traces_counts traces_counts(const struct traces *t)
{
    return (struct traces_counts){ atomic_load(&t->sent), atomic_load(&t->dropped) };
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

/* A URL without a path is a collector's address. */
static char *whole_url(const char *url, struct err *e)
{
    struct buf b = BUF_INIT(4096);
    const char *host = !strncmp(url, "http://", 7) ? url + 7 : !strncmp(url, "https://", 8) ? url + 8 : NULL;
    if (!host || !*host || *host == '/' || strpbrk(url, " \t\r\n")) {
        err_set(e, ERR_REQUEST, "otlp must be a URL such as http://collector:4318, got \"%.200s\"", url);
        return NULL;
    }
    const char *path = strchr(host, '/');
    buf_puts(&b, url);
    if (!path) buf_puts(&b, "/v1/traces");
    if (path && !path[1]) buf_puts(&b, "v1/traces");
    char *whole = buf_take(&b);
    if (!whole) err_set(e, ERR_NOMEM, "out of memory");
    return whole;
}

static bool add_header(struct traces *t, const char *line, struct err *e)
{
    struct curl_slist *more = curl_slist_append(t->headers, line);
    if (more) t->headers = more;
    return more || err_set(e, ERR_NOMEM, "out of memory");
}

static bool prepare(struct traces *t, const struct str_list *headers, struct err *e)
{
    if (!add_header(t, "Content-Type: application/json", e) || !add_header(t, "Expect:", e)) return false;
    for (int i = 0; i < headers->n; i++) {
        if (!strchr(headers->v[i], ':') || strpbrk(headers->v[i], "\r\n"))
            return err_set(e, ERR_REQUEST, "otlp-header must be as \"Name: value\"");
        if (!add_header(t, headers->v[i], e)) return false;
    }
    t->curl = curl_easy_init();
    if (!t->curl) return err_set(e, ERR_NOMEM, "out of memory");
    curl_easy_setopt(t->curl, CURLOPT_URL, t->url);
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, ignore);
    snprintf(t->resource, sizeof t->resource,
             "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"hearth\"}},"
             "{\"key\":\"service.version\",\"value\":{\"stringValue\":\"%.60s\"}}",
             hearth_version);
    return true;
}

bool traces_open(struct traces **out, const char *url, const struct str_list *headers, struct err *e)
{
    struct traces *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    wait_init(&t->some);
    t->spans = BUF_INIT(WAITING_BYTES);
    bool ok = (t->url = whole_url(url, e)) && prepare(t, headers, e);
    if (ok && !(t->running = !pthread_create(&t->thread, NULL, sender_main, t)))
        ok = err_set(e, ERR_NOMEM, "no thread could be started for traces");
    if (ok)
        *out = t;
    else
        traces_close(t);
    return ok;
}

void traces_close(struct traces *t)
{
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    t->closing = true;
    pthread_cond_broadcast(&t->some);
    pthread_mutex_unlock(&t->lock);
    if (t->running) pthread_join(t->thread, NULL);
    if (t->curl) curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    buf_free(&t->spans);
    pthread_cond_destroy(&t->some);
    pthread_mutex_destroy(&t->lock);
    free(t->url);
    free(t);
}
