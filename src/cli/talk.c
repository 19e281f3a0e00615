#include "cli/compute.h"
#include "cli/talk.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/pool.h"
#include "device/device.h"
#include "format/json_memory.h"
#include "http/dialects/wire.h"
#include "service/generate.h"
#include "service/models/model_folder.h"

enum { MAX_ANSWER = 64 << 20 };

struct talk {
    const struct options *o;
    char *model;
    /* here */
    struct catalog *catalog;
    struct pool *pool;
    struct device *device;
    struct registry *registry;
    struct model *local;
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool has_news;
    /* behind a URL */
    CURL *curl;
    struct curl_slist *headers;
    char *base; /* ends with /v1 */
};

/* ---- a model loaded here ----------------------------------------------------------------------------------- */

static bool pick_installed(struct talk *t, const char *model, struct err *e)
{
    if (model) return registry_add(t->registry, model, &t->local, e);
    struct model_row *rows;
    int n, n_text = 0;
    const char *only = NULL;
    if (!registry_list(t->registry, &rows, &n, e)) return false;
    for (int i = 0; i < n; i++) {
        if (rows[i].image || rows[i].problem[0]) continue;
        n_text++;
        only = rows[i].id;
    }
    bool ok;
    if (n_text == 0)
        ok = err_set(e, ERR_NOT_FOUND,
                     "no text model is installed in %s; `make starter` or `hearth pull` fetches one",
                     t->o->registry.models_dir);
    else if (n_text > 1)
        ok = err_set(e, ERR_REQUEST, "%d text models are installed; name one (`hearth models` lists them)",
                     n_text);
    else
        ok = registry_find(t->registry, only, &t->local, e);
    free(rows);
    return ok;
}

static bool open_local(struct talk *t, const char *model, struct err *e)
{
    const struct options *o = t->o;
    struct registry_options r = o->registry;
    r.lister = "`hearth models`";
    struct lm *lm;
    if (!catalog_load(&t->catalog, o->catalog, e) || !pool_new(&t->pool, o->threads, e) ||
        !compute_open(&t->device, t->pool, o->device, e) ||
        !registry_new(&t->registry, &r, t->catalog, t->device, t->device, e) ||
        !pick_installed(t, model, e) || !registry_acquire(t->registry, t->local, &lm, e)) {
        return false;
    }
    registry_release(t->registry, t->local); /* it stays loaded: nothing else asks for memory */
    t->model = strdup(model_id(t->local));
    return t->model || err_set(e, ERR_NOMEM, "out of memory");
}

static void wake(void *arg)
{
    struct talk *t = arg;
    pthread_mutex_lock(&t->lock);
    t->has_news = true;
    pthread_cond_signal(&t->news);
    pthread_mutex_unlock(&t->lock);
}

/* Waits for an event, at most a tenth of a second, so that a stop flag set by a signal is seen soon. */
static void wait_for_news(struct talk *t)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 100000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&t->lock);
    while (!t->has_news && pthread_cond_clockwait(&t->news, &t->lock, CLOCK_MONOTONIC, &until) == 0) continue;
    t->has_news = false;
    pthread_mutex_unlock(&t->lock);
}

/* Some content is more than a text: then it is read as a server reads it. */
static bool has_parts(const json_t *messages)
{
    const json_t *m;
    size_t i;
    bool any = false;
    json_array_foreach(messages, i, m) any |= json_is_array(json_object_get(m, "content"));
    return any;
}

static bool fill_request(const struct talk *t, const struct talk_question *ask, struct gen_request *q,
                         struct err *e)
{
    const struct options *o = t->o;
    const json_t *messages = ask->messages;
    gen_request_init(q);
    q->model = strdup(t->model);
    q->max_tokens = o->max_tokens;
    q->max_tokens_is_default = o->max_tokens < 0;
    q->overflow = messages ? OVERFLOW_TRUNCATE : OVERFLOW_LOWER;
    q->sampling.temperature = (float)o->temperature;
    q->sampling.top_p = (float)o->top_p;
    q->sampling.min_p = (float)o->min_p;
    q->sampling.top_k = (int)o->top_k;
    q->sampling.repetition_penalty = (float)o->repetition_penalty;
    q->has_seed = o->seed >= 0;
    q->sampling.seed = q->has_seed ? (uint64_t)o->seed : 0;
    if (messages) {
        struct fault f = { 0 };
        if (has_parts(messages) ? !wire_messages(messages, false, false, q, &f)
                                : !(q->messages = json_memory_copy(messages))) {
            if (f.err.code) *e = f.err;
            return f.err.code ? false : err_set(e, ERR_NOMEM, "out of memory");
        }
    } else {
        q->prompts = calloc(1, sizeof *q->prompts);
        if (q->prompts) {
            q->n_prompts = 1;
            q->prompts[0].len = strlen(ask->prompt);
            q->prompts[0].text = strdup(ask->prompt);
        }
    }
    if (!q->model || !(messages ? q->messages != NULL : q->prompts && q->prompts[0].text))
        return err_set(e, ERR_NOMEM, "out of memory");
    return wishes_to_request(ask->wishes, ask->choose, q, e);
}

static void show_event(const struct reply_event *ev, const struct talk_sink *sink)
{
    if (ev->type == REPLY_TEXT && ev->len) sink->text(sink->arg, ev->text, ev->len);
    if (ev->type == REPLY_THOUGHT && ev->len && sink->thought) sink->thought(sink->arg, ev->text, ev->len);
    if (ev->type == REPLY_CALL && sink->call)
        sink->call(sink->arg, ev->call.index, ev->call.id, ev->call.name, ev->text ? ev->text : "", ev->len);
}

static bool ask_local(struct talk *t, const struct talk_question *ask, const struct talk_sink *sink,
                      const atomic_bool *stop, struct talk_stats *stats, struct err *e)
{
    struct gen_request q;
    struct generation *g = NULL;
    struct fault f = { 0 };
    double start = clock_seconds();
    if (!fill_request(t, ask, &q, e)) {
        gen_request_free(&q);
        return false;
    }
    bool ok = generation_start(t->registry, t->local, &q, stop, wake, t, &g, &f), over = false;
    if (!ok) *e = f.err;
    while (ok && !over) {
        struct reply_event ev;
        if (!generation_next(g, &ev)) {
            wait_for_news(t);
            if (stop && *stop && !stats->stopped) {
                stats->stopped = true;
                generation_cancel(g);
            }
            continue;
        }
        if (ev.type == REPLY_TEXT || ev.type == REPLY_THOUGHT || ev.type == REPLY_CALL) {
            if (stats->first_s == 0) stats->first_s = clock_seconds() - start;
            if (!stats->stopped) show_event(&ev, sink);
        } else if (ev.type == REPLY_CHOICE_END) {
            stats->hit_length = ev.finish == REPLY_LENGTH;
        } else if (ev.type == REPLY_DONE) {
            stats->prompt_tokens = ev.usage.prompt_tokens;
            stats->cached_tokens = ev.usage.cached_tokens;
            stats->completion_tokens = ev.usage.completion_tokens;
            over = true;
        } else if (ev.type == REPLY_ERROR) {
            over = true;
            ok = stats->stopped;
            if (!ok) *e = ev.error;
        }
        reply_event_free(&ev);
    }
    generation_free(g);
    gen_request_free(&q);
    stats->total_s = clock_seconds() - start;
    return ok;
}

/* ---- a model behind a URL ---------------------------------------------------------------------------------- */

struct transfer {
    struct buf body; /* of an error or a plain answer; of a stream, the line that is not complete yet */
    long status;
    CURL *curl;
    bool stream;
    const struct talk_sink *sink;
    struct talk_stats *stats;
    const atomic_bool *stop;
    double start;
    struct err *e;
    bool failed;
};

static void show_delta(const json_t *choice, const struct talk_sink *sink)
{
    const json_t *delta = json_object_get(choice, "delta"), *call;
    const json_t *text = json_object_get(delta, "content"),
                 *thought = json_object_get(delta, "reasoning_content");
    size_t i;
    if (!text) text = json_object_get(choice, "text");
    if (!thought) thought = json_object_get(delta, "reasoning");
    if (json_string_length(thought) && sink->thought)
        sink->thought(sink->arg, json_string_value(thought), json_string_length(thought));
    if (json_string_length(text)) sink->text(sink->arg, json_string_value(text), json_string_length(text));
    json_array_foreach(json_object_get(delta, "tool_calls"), i, call)
    {
        const json_t *function = json_object_get(call, "function"),
                     *piece = json_object_get(function, "arguments");
        if (!sink->call) break;
        sink->call(sink->arg, (int)json_integer_value(json_object_get(call, "index")),
                   json_string_value(json_object_get(call, "id")),
                   json_string_value(json_object_get(function, "name")),
                   json_is_string(piece) ? json_string_value(piece) : "", json_string_length(piece));
    }
}

/* Whether the model has said something with this event: its first one names a role alone. */
static bool says_something(const json_t *choice)
{
    const json_t *delta = json_object_get(choice, "delta");
    return json_string_length(json_object_get(choice, "text")) ||
           json_string_length(json_object_get(delta, "content")) ||
           json_string_length(json_object_get(delta, "reasoning_content")) ||
           json_string_length(json_object_get(delta, "reasoning")) || json_object_get(delta, "tool_calls");
}

static void read_event(struct transfer *x, const char *line, size_t len)
{
    if (len < 6 || memcmp(line, "data: ", 6) != 0 || (len == 12 && !memcmp(line, "data: [DONE]", 12))) return;
    json_t *o = json_memory_load(line + 6, len - 6, 0, NULL);
    const json_t *error = json_object_get(o, "error"), *usage = json_object_get(o, "usage");
    const json_t *choice = json_array_get(json_object_get(o, "choices"), 0);
    if (json_is_object(error)) {
        const char *m = json_string_value(json_object_get(error, "message"));
        err_set(x->e, ERR_IO, "the server says: %s", m ? m : "error");
        x->failed = true;
    }
    if (says_something(choice)) {
        if (x->stats->first_s == 0) x->stats->first_s = clock_seconds() - x->start;
        show_delta(choice, x->sink);
    }
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    if (finish) x->stats->hit_length = !strcmp(finish, "length");
    if (json_is_object(usage)) {
        const json_t *details = json_object_get(usage, "prompt_tokens_details");
        x->stats->prompt_tokens = (int)json_integer_value(json_object_get(usage, "prompt_tokens"));
        x->stats->completion_tokens = (int)json_integer_value(json_object_get(usage, "completion_tokens"));
        x->stats->cached_tokens = (int)json_integer_value(json_object_get(details, "cached_tokens"));
    }
    json_decref(o);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    n *= size;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
    if (!buf_append(&x->body, data, n)) return 0;
    if (!x->stream || x->status != 200) return n;
    char *line = x->body.data, *end;
    while ((end = memchr(line, '\n', x->body.len - (size_t)(line - x->body.data)))) {
        read_event(x, line, (size_t)(end - line));
        line = end + 1;
    }
    size_t rest = x->body.len - (size_t)(line - x->body.data);
    memmove(x->body.data, line, rest);
    x->body.len = rest;
    return n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct transfer *x = arg;
    (void)a, (void)b, (void)c, (void)d;
    return x->stop && *x->stop;
}

/* One request; body NULL: GET. The answer's own error message becomes *e. */
static bool transfer(struct talk *t, const char *path, const char *body, struct transfer *x, struct err *e)
{
    struct buf url = BUF_INIT(4096);
    buf_printf(&url, "%s%s", t->base, path);
    x->body = BUF_INIT(MAX_ANSWER);
    x->curl = t->curl;
    x->e = e;
    curl_easy_reset(t->curl);
    curl_easy_setopt(t->curl, CURLOPT_URL, url.data);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (body) curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, body);
    CURLcode rc = url.failed ? CURLE_OUT_OF_MEMORY : curl_easy_perform(t->curl);
    buf_free(&url);
    if (rc == CURLE_ABORTED_BY_CALLBACK && x->stop && *x->stop) {
        x->stats->stopped = true;
        return true;
    }
    if (rc != CURLE_OK) return err_set(e, ERR_IO, "%s: %s", t->base, curl_easy_strerror(rc));
    if (x->status == 200) return !x->failed;
    json_t *o = json_memory_load(x->body.data ? x->body.data : "", x->body.len, 0, NULL);
    const char *m = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    err_set(e, ERR_IO, "%s answered %ld%s%s", t->base, x->status, m ? ": " : "", m ? m : "");
    json_decref(o);
    return false;
}

static bool open_url(struct talk *t, const char *model, struct err *e)
{
    const char *url = t->o->url;
    size_t n = strlen(url);
    while (n && url[n - 1] == '/') n--;
    bool has_v1 = n >= 3 && !memcmp(url + n - 3, "/v1", 3);
    struct buf base = BUF_INIT(4096), auth = BUF_INIT(4096);
    buf_append(&base, url, n);
    if (!has_v1) buf_puts(&base, "/v1");
    t->base = buf_take(&base);
    t->curl = curl_easy_init();
    t->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (*t->o->key && buf_printf(&auth, "Authorization: Bearer %s", t->o->key)) {
        t->headers = curl_slist_append(t->headers, auth.data);
    }
    buf_free(&auth);
    if (!t->base || !t->curl || !t->headers) return err_set(e, ERR_NOMEM, "out of memory");
    if (model) return (t->model = strdup(model)) || err_set(e, ERR_NOMEM, "out of memory");

    struct transfer x = { 0 };
    bool ok = transfer(t, "/models", NULL, &x, e);
    json_t *o = ok ? json_memory_load(x.body.data ? x.body.data : "", x.body.len, 0, NULL) : NULL;
    const json_t *list = json_object_get(o, "data"), *row;
    size_t i;
    json_array_foreach(list, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "id"));
        if (id && !t->model && !json_is_false(json_object_get(row, "supports_chat"))) t->model = strdup(id);
    }
    if (ok && !t->model) ok = err_set(e, ERR_NOT_FOUND, "%s serves no text model", t->base);
    json_decref(o);
    buf_free(&x.body);
    return ok;
}

static bool ask_url(struct talk *t, const struct talk_question *ask, const struct talk_sink *sink,
                    const atomic_bool *stop, struct talk_stats *stats, struct err *e)
{
    const struct options *o = t->o;
    const json_t *messages = ask->messages;
    json_t *q = json_pack("{s:s, s:b, s:{s:b}, s:f, s:f}", "model", t->model, "stream", 1, "stream_options",
                          "include_usage", 1, "temperature", o->temperature, "top_p", o->top_p);
    if (messages)
        json_object_set_new(q, "messages", json_memory_copy(messages));
    else
        json_object_set_new(q, "prompt", json_string(ask->prompt));
    if (o->max_tokens >= 0)
        json_object_set_new(q, "max_tokens", json_integer(o->max_tokens));
    else if (!messages)
        json_object_set_new(q, "max_tokens", json_integer(512)); /* plain completions default to 16 */
    /* What not every server knows is sent only when asked for. */
    if (o->top_k > 0) json_object_set_new(q, "top_k", json_integer(o->top_k));
    if (o->min_p > 0) json_object_set_new(q, "min_p", json_real(o->min_p));
    if (o->repetition_penalty != 1)
        json_object_set_new(q, "repetition_penalty", json_real(o->repetition_penalty));
    if (o->seed >= 0) json_object_set_new(q, "seed", json_integer(o->seed));
    char *body = wishes_to_body(ask->wishes, ask->choose, q) ? json_memory_dumps(q, JSON_COMPACT) : NULL;
    json_decref(q);
    if (!body) return err_set(e, ERR_REQUEST, "the text is not valid UTF-8");
    struct transfer x = {
        .stream = true, .sink = sink, .stats = stats, .stop = stop, .start = clock_seconds()
    };
    bool ok = transfer(t, messages ? "/chat/completions" : "/completions", body, &x, e);
    stats->total_s = clock_seconds() - x.start;
    buf_free(&x.body);
    free(body);
    return ok;
}

/* ---- both -------------------------------------------------------------------------------------------------- */

bool talk_open(struct talk **out, const struct options *o, const char *model, struct err *e)
{
    struct talk *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory");
    t->o = o;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->news, NULL);
    if (*o->url ? open_url(t, model, e) : open_local(t, model, e)) {
        *out = t;
        return true;
    }
    talk_close(t);
    return false;
}

void talk_close(struct talk *t)
{
    if (!t) return;
    registry_free(t->registry);
    device_close(t->device);
    pool_free(t->pool);
    catalog_free(t->catalog);
    if (t->curl) curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->news);
    free(t->base);
    free(t->model);
    free(t);
}

const char *talk_model(const struct talk *t) { return t->model; }

bool talk_names_model(const struct options *o, const char *name)
{
    struct catalog *catalog = NULL;
    struct installed_list have = { 0 };
    bool found = access(name, F_OK) == 0;
    if (!found && catalog_load(&catalog, o->catalog, NULL)) found = catalog_find(catalog, name) != NULL;
    if (!found && !strpbrk(name, " \t\n") && *o->url)
        found = true; /* a word: what would it be a prompt for? */
    if (!found && model_folder_scan(o->registry.models_dir, &have, NULL)) {
        int len;
        const char *bare = catalog_bare_name(name, &len);
        for (int i = 0; i < have.n && !found; i++)
            found = (int)strlen(have.v[i].name) == len && !memcmp(have.v[i].name, bare, (size_t)len);
    }
    installed_list_free(&have);
    catalog_free(catalog);
    return found;
}

bool talk_ask(struct talk *t, const struct talk_question *question, const struct talk_sink *sink,
              const atomic_bool *stop, struct talk_stats *stats, struct err *e)
{
    *stats = (struct talk_stats){ 0 };
    return (t->curl ? ask_url : ask_local)(t, question, sink, stop, stats, e);
}
