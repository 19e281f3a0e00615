/* webhooks.c - see webhooks.h. */
#include "service/account/webhooks.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "service/account/ages.h"
#include "service/account/events.h"

enum {
    LOOK_S = 1,       /* between two looks for something new */
    POST_S = 20,      /* for one post */
    FORGET_S = 3600,  /* between two looks for events that nobody needs */
    LEASE_MS = 40000, /* that an address is one server's: longer than a post */
    WAIT_MS = 1000,
    LONGEST_WAIT_MS = 3600 * 1000,
    DAY_MS = 86400000,
    KEEP_DAYS = 7,          /* events, behind the days */
    ANSWER_BYTES = 64 << 10 /* of an answer, which nobody reads */
};

/* ---- signatures ---------------------------------------------------------------------------------------------------- */

bool webhooks_key_parse(struct webhooks_key *out, const char *secret, struct err *e)
{
    const char *text = !strncmp(secret, "whsec_", 6) ? secret + 6 : NULL, *end;
    struct webhooks_key k;
    if (!text ||
        sodium_base642bin(k.bytes, sizeof k.bytes, text, strlen(text), NULL, &k.len, &end,
                          sodium_base64_VARIANT_ORIGINAL) ||
        *end || k.len < 24)
        return err_set(e, ERR_REQUEST,
                       "the secret of webhooks must be \"whsec_\" and base64 of 24 to 64 bytes: "
                       "echo whsec_$(head -c 32 /dev/urandom | base64)");
    *out = k;
    return true;
}

void webhooks_sign(const struct webhooks_key *k, const char *id, int64_t timestamp_s, const char *body,
                   char out[WEBHOOKS_SIGNATURE])
{
    crypto_auth_hmacsha256_state h;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    char head[80];
    const int n = snprintf(head, sizeof head, "%.40s.%" PRId64 ".", id, timestamp_s);
    crypto_auth_hmacsha256_init(&h, k->bytes, k->len);
    crypto_auth_hmacsha256_update(&h, (const unsigned char *)head, (size_t)n);
    crypto_auth_hmacsha256_update(&h, (const unsigned char *)body, strlen(body));
    crypto_auth_hmacsha256_final(&h, mac);
    snprintf(out, WEBHOOKS_SIGNATURE, "v1,");
    sodium_bin2base64(out + 3, WEBHOOKS_SIGNATURE - 3, mac, sizeof mac, sodium_base64_VARIANT_ORIGINAL);
}

int64_t webhooks_wait_ms(int64_t tries, uint32_t chance)
{
    const int64_t whole = tries < 12 ? (int64_t)WAIT_MS << tries : LONGEST_WAIT_MS;
    const int64_t most = whole < LONGEST_WAIT_MS ? whole : LONGEST_WAIT_MS;
    return most - (int64_t)((uint64_t)most / 2 * chance / UINT32_MAX);
}

/* ---- how far an address has come ----------------------------------------------------------------------------------- */

struct progress {
    int64_t seq;                        /* of the last event that it took, or that was given up */
    int64_t tries, next_ms, failing_ms; /* of the one behind it; failing_ms: since when, 0: not */
    char holder[40];                    /* the server that delivers, until then */
    int64_t held_ms;
    bool found;
};

static bool take_progress(void *arg, const struct store_row *r, struct err *e)
{
    struct progress *p = arg;
    (void)e;
    *p = (struct progress){
        r->v[0].number, r->v[1].number, r->v[2].number, r->v[3].number, "", r->v[5].number, true
    };
    snprintf(p->holder, sizeof p->holder, "%s", r->v[4].text);
    return true;
}

static bool read_progress(struct session *c, const char *url, struct progress *p, struct err *e)
{
    *p = (struct progress){ .found = false };
    return session_run(c,
                       "SELECT seq, tries, next_ms, failing_ms, holder, held_ms FROM webhooks WHERE url = $1",
                       STORE_ARGS(STORE_V(url)), take_progress, p, e);
}

static bool write_progress(struct session *c, const char *url, const struct progress *p, struct err *e)
{
    const char *holder = p->holder;
    return session_run(
        c,
        "UPDATE webhooks SET seq = $1, tries = $2, next_ms = $3, failing_ms = $4, holder = $5, "
        "held_ms = $6 WHERE url = $7",
        STORE_ARGS(STORE_V(p->seq), STORE_V(p->tries), STORE_V(p->next_ms), STORE_V(p->failing_ms),
                   STORE_V(holder), STORE_V(p->held_ms), STORE_V(url)),
        NULL, NULL, e);
}

/* ---- one address --------------------------------------------------------------------------------------------------- */

struct webhooks {
    struct store *store;
    struct time_source time;
    struct webhooks_key key;
    int64_t give_up_ms;
    struct ages ages; /* of what is given up */
    double forgot_s;  /* the first address's thread's */
    char me[40];
    struct address {
        struct webhooks *all;
        char *url;
        pthread_t thread;
        bool running, away; /* away: the store was, at the last look */
    } * v;
    int n;
    atomic_bool closing;
    pthread_mutex_t lock;
    pthread_cond_t closes;
};

/* What one round is about. */
struct round {
    struct address *at;
    int64_t now_ms;
    int64_t give_up_before_ms;
    struct event ev;
    struct progress p;
    bool mine; /* there is an event, it is due, and this server is the one that delivers it */
    bool taken;
    int64_t wait_ms;
    bool given_up;
};

static bool is_due(const struct round *r)
{
    /* Times that no clock of now can have set are of one that was set back since. */
    const bool others = strcmp(r->p.holder, r->at->all->me) != 0 && r->p.held_ms > r->now_ms &&
                        r->p.held_ms <= r->now_ms + LEASE_MS,
               waits = r->p.next_ms > r->now_ms && r->p.next_ms <= r->now_ms + LONGEST_WAIT_MS;
    return r->p.found && !waits && !others;
}

static bool look(void *arg, struct session *c, struct err *e)
{
    struct round *r = arg;
    event_free(&r->ev);
    r->mine = false;
    if (!read_progress(c, r->at->url, &r->p, e)) return false;
    return !is_due(r) || events_next(c, r->p.seq, &r->ev, &r->mine, e);
}

static bool claim(void *arg, struct session *c, struct err *e)
{
    struct round *r = arg;
    if (!look(r, c, e)) return false;
    if (!r->mine) return true;
    snprintf(r->p.holder, sizeof r->p.holder, "%s", r->at->all->me);
    r->p.held_ms = r->now_ms + LEASE_MS;
    return write_progress(c, r->at->url, &r->p, e);
}

/* Written only by who still holds the address: another may have gone on after a post that took too long. */
static bool book(void *arg, struct session *c, struct err *e)
{
    struct round *r = arg;
    struct progress p;
    if (!read_progress(c, r->at->url, &p, e)) return false;
    if (!p.found || strcmp(p.holder, r->at->all->me) != 0 || p.seq != r->p.seq) return true;
    p.held_ms = 0;
    if (!p.failing_ms || p.failing_ms > r->now_ms)
        p.failing_ms = r->now_ms; /* the clock may have been set back */
    r->given_up = !r->taken && p.failing_ms <= r->give_up_before_ms;
    if (r->taken || r->given_up) {
        p.seq = r->ev.seq;
        p.tries = p.next_ms = p.failing_ms = 0;
    } else {
        p.next_ms = r->now_ms + r->wait_ms;
        p.tries++;
    }
    return write_progress(c, r->at->url, &p, e);
}

/* ---- a post -------------------------------------------------------------------------------------------------------- */

static size_t discard(char *data, size_t size, size_t n, void *arg)
{
    size_t *seen = arg;
    (void)data;
    *seen += size * n;
    return *seen > ANSWER_BYTES ? 0 : size * n;
}

static int stop_if_closing(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct webhooks *w = arg;
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(&w->closing);
}

static bool add_header(struct curl_slist **l, const char *name, const char *value)
{
    char line[200];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(*l, line);
    if (more) *l = more;
    return more != NULL;
}

/* False with the reason in why, which may be shown. */
static bool post(const struct webhooks *w, const char *url, const struct event *ev, char *why, size_t cap)
{
    char at[24], signature[WEBHOOKS_SIGNATURE], said[CURL_ERROR_SIZE] = "";
    const int64_t now_s = time_unix_ms(&w->time) / 1000;
    struct curl_slist *headers = NULL;
    size_t seen = 0;
    long status = 0;
    CURL *c = curl_easy_init();
    snprintf(at, sizeof at, "%" PRId64, now_s);
    webhooks_sign(&w->key, ev->id, now_s, ev->body, signature);
    bool ok = c && add_header(&headers, "Content-Type", "application/json") &&
              add_header(&headers, "webhook-id", ev->id) && add_header(&headers, "webhook-timestamp", at) &&
              add_header(&headers, "webhook-signature", signature) && add_header(&headers, "Expect", "");
    snprintf(why, cap, "out of memory");
    if (ok) {
        curl_easy_setopt(c, CURLOPT_URL, url);
        curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(c, CURLOPT_USERAGENT, "hearth");
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, ev->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(ev->body));
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, discard);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, &seen);
        curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)POST_S);
        curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, stop_if_closing);
        curl_easy_setopt(c, CURLOPT_XFERINFODATA, (void *)w);
        curl_easy_setopt(c, CURLOPT_ERRORBUFFER, said);
        const CURLcode rc = curl_easy_perform(c);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        /* What was said before the connection broke counts: the event was taken. */
        ok = status >= 200 && status < 300 && (rc == CURLE_OK || rc == CURLE_WRITE_ERROR);
        if (rc != CURLE_OK && !status)
            snprintf(why, cap, "%s", *said ? said : curl_easy_strerror(rc));
        else
            snprintf(why, cap, "it answered with status %ld", status);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return ok;
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

static void say(const struct round *r, const char *why)
{
    const char *url = r->at->url;
    if (r->given_up)
        log_error("webhook %.100s: event %s (%s) is given up after %" PRId64 " days: %s", url, r->ev.id,
                  r->ev.type, r->at->all->give_up_ms / DAY_MS, why);
    else if (!r->taken && !r->p.tries)
        log_warn("webhook %.100s: event %s (%s) was not taken and is posted again: %s", url, r->ev.id,
                 r->ev.type, why);
    else if (r->taken && r->p.tries)
        log_info("webhook %.100s: event %s (%s) was taken after %" PRId64 " tries", url, r->ev.id, r->ev.type,
                 r->p.tries + 1);
}

/* True: there may be more at once. */
static bool deliver_next(struct address *a)
{
    struct webhooks *w = a->all;
    struct round r = { .at = a, .now_ms = time_unix_ms(&w->time) };
    struct err e = { ERR_NONE, "" };
    char why[CURL_ERROR_SIZE + 60];
    bool ok = store_read(w->store, look, &r, &e);
    ok = ok && (!r.mine || store_write(w->store, claim, &r, &e));
    bool more = false;
    if (ok && r.mine) {
        r.taken = post(w, a->url, &r.ev, why, sizeof why);
        r.now_ms = time_unix_ms(&w->time);
        r.give_up_before_ms = ages_look(&w->ages, time_seconds(&w->time), r.now_ms).first_ms;
        r.wait_ms = webhooks_wait_ms(r.p.tries, randombytes_random());
        ok = (!r.taken && atomic_load(&w->closing)) || store_write(w->store, book, &r, &e);
        if (ok && !(atomic_load(&w->closing) && !r.taken)) say(&r, why);
        more = ok && (r.taken || r.given_up);
    }
    if (!ok && !a->away) log_warn("webhook %.100s waits for the store: %s", a->url, e.msg);
    a->away = !ok;
    event_free(&r.ev);
    return more;
}

struct forgetting {
    struct webhooks *w;
    int64_t now_ms, before_ms;
};

/* Says that its addresses are still there, and takes away what nobody waits for. */
static bool forget(void *arg, struct session *c, struct err *e)
{
    const struct forgetting *f = arg;
    for (int i = 0; i < f->w->n; i++) {
        const char *url = f->w->v[i].url;
        if (!session_run(c, "UPDATE webhooks SET seen_ms = $1 WHERE url = $2",
                         STORE_ARGS(STORE_V(f->now_ms), STORE_V(url)), NULL, NULL, e))
            return false;
    }
    return events_forget(c, f->before_ms, e);
}

static void forget_now_and_then(struct webhooks *w)
{
    const double now_s = time_seconds(&w->time);
    struct forgetting f = { .w = w, .now_ms = time_unix_ms(&w->time) };
    struct err e;
    if (now_s - w->forgot_s < FORGET_S) return;
    f.before_ms = ages_look(&w->ages, now_s, f.now_ms).first_ms - KEEP_DAYS * (int64_t)DAY_MS;
    if (store_write(w->store, forget, &f, &e)) w->forgot_s = now_s; /* it is tried again otherwise */
}

static void *address_main(void *arg)
{
    struct address *a = arg;
    struct webhooks *w = a->all;
    while (!atomic_load(&w->closing)) {
        if (a == w->v) forget_now_and_then(w);
        if (deliver_next(a)) continue;
        const struct timespec end = wait_end(LOOK_S);
        pthread_mutex_lock(&w->lock);
        if (!atomic_load(&w->closing)) wait_until(&w->closes, &w->lock, &end);
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static bool enrol(void *arg, struct session *c, struct err *e)
{
    const struct address *a = arg;
    const char *url = a->url;
    const int64_t now_ms = time_unix_ms(&a->all->time);
    int64_t last;
    return events_last(c, &last, e) &&
           session_run(
               c,
               "INSERT INTO webhooks (url, seq, tries, next_ms, failing_ms, holder, held_ms, seen_ms) "
               "VALUES ($1, $2, 0, 0, 0, '', 0, $3) ON CONFLICT (url) DO UPDATE SET seen_ms = "
               "excluded.seen_ms",
               STORE_ARGS(STORE_V(url), STORE_V(last), STORE_V(now_ms)), NULL, NULL, e);
}

static bool open_address(struct webhooks *w, const char *url, struct err *e)
{
    struct address *a = &w->v[w->n];
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return err_set(e, ERR_REQUEST, "webhook %.100s: an address with http:// or https:// is needed", url);
    *a = (struct address){ .all = w, .url = strdup(url) };
    if (!a->url) return err_set(e, ERR_NOMEM, "out of memory");
    w->n++;
    return store_write(w->store, enrol, a, e);
}

bool webhooks_open(struct webhooks **out, struct store *s, const struct webhooks_options *o, struct err *e)
{
    unsigned char r[16];
    struct webhooks *w = calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_NOMEM, "out of memory");
    w->store = s;
    w->time = o->time;
    w->give_up_ms = o->days * DAY_MS;
    ages_init(&w->ages, w->give_up_ms, time_seconds(&w->time), time_unix_ms(&w->time));
    w->forgot_s = time_seconds(&w->time) - FORGET_S;
    pthread_mutex_init(&w->lock, NULL);
    wait_init(&w->closes);
    w->v = calloc((size_t)o->urls.n + 1, sizeof *w->v);
    bool ok = w->v || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && ((sodium_init() >= 0 && !curl_global_init(CURL_GLOBAL_DEFAULT)) ||
                err_set(e, ERR_IO, "libsodium or libcurl could not be started"));
    ok = ok && webhooks_key_parse(&w->key, o->secret, e);
    if (ok) {
        randombytes_buf(r, sizeof r);
        sodium_bin2hex(w->me, sizeof w->me, r, sizeof r);
    }
    for (int i = 0; ok && i < o->urls.n; i++) ok = open_address(w, o->urls.v[i], e);
    for (int i = 0; ok && i < w->n; i++) {
        w->v[i].running = !pthread_create(&w->v[i].thread, NULL, address_main, &w->v[i]);
        ok = w->v[i].running || err_set(e, ERR_NOMEM, "no thread could be started for a webhook");
    }
    if (ok)
        *out = w;
    else
        webhooks_close(w);
    return ok;
}

void webhooks_close(struct webhooks *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->closing, true);
    pthread_cond_broadcast(&w->closes);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->n; i++) {
        if (w->v[i].running) pthread_join(w->v[i].thread, NULL);
        free(w->v[i].url);
    }
    free(w->v);
    sodium_memzero(&w->key, sizeof w->key);
    ages_free(&w->ages);
    pthread_cond_destroy(&w->closes);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
