#include "service/hub/download.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/version.h"
#include "service/hub/partfile.h"

#define MAX_HOPS 8
#define DEFAULT_TRIES 6
#define DEFAULT_BACKOFF_MS 500
#define MAX_BACKOFF_MS 60000

/* What an attempt came to: a word with the loop around it. */
enum outcome { DONE, AGAIN, FAILED };

/* One answer's headers, of the last hop; the linked fields of any hop. */
struct answer {
    long status;
    char etag[200], link[2048], linked_sha[65];
    int64_t length;                   /* Content-Length; -1 */
    int64_t range_start, range_total; /* Content-Range; -1 */
    int64_t retry_after_s;
};

struct transfer {
    const struct download_access *access;
    const struct download_watch *watch;
    CURL *curl;
    struct answer ans;
    struct err *e;
    bool broken_rule; /* *e says which; nothing to retry */

    struct buf *text;      /* the body, or ... */
    struct partfile *part; /* ... where it goes */
    int64_t expected;      /* bytes in all; -1 */
    int64_t resumed;       /* bytes there when this attempt began */
    bool began;            /* the first byte of this attempt's body has come */
    bool ignore_part;      /* this attempt starts from zero */
    double next_progress;
};

/* ---- URLs ------------------------------------------------------------------------------------------------------- */

/* "https://host:port" of a URL, lower case; false when it is no http or https URL. */
static bool origin_of(const char *url, char *out, size_t cap)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    if (ok) ok = snprintf(out, cap, "%s://%s:%s", scheme, host, port) < (int)cap;
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    for (char *p = out; ok && *p; p++) {
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p + 32);
    }
    return ok;
}

static bool is_loopback(const char *origin)
{
    static const char *const hosts[] = { "http://localhost:", "http://127.0.0.1:", "http://[::1]:" };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        if (strncmp(origin, hosts[i], strlen(hosts[i])) == 0) return true;
    }
    return false;
}

bool download_url_allowed(const char *url, struct err *e)
{
    char origin[400];
    if (!origin_of(url, origin, sizeof origin))
        return err_set(e, ERR_REQUEST, "%.200s: not a valid URL", url);
    if (strncmp(origin, "https://", 8) == 0 || is_loopback(origin)) return true;
    return err_set(e, ERR_REQUEST, "%.200s: expected https:// (http:// only to this machine)", url);
}

static bool redirect_allowed(const char *from, const char *to, struct err *e)
{
    if (!download_url_allowed(to, e)) return err_wrap(e, "redirected");
    if (strncasecmp(from, "https:", 6) == 0 && strncasecmp(to, "https:", 6) != 0) {
        return err_set(e, ERR_REQUEST, "redirected from https to %.200s", to);
    }
    return true;
}

static bool same_origin(const char *a, const char *b)
{
    char x[400], y[400];
    return a && origin_of(a, x, sizeof x) && origin_of(b, y, sizeof y) && strcmp(x, y) == 0;
}

bool download_is_sha256(const char *hex)
{
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdefABCDEF") == 64;
}

/* ---- headers ---------------------------------------------------------------------------------------------------- */

/* The value of header `name` in a line, without white space around it; false when it is another header. */
static bool header_is(const char *line, size_t n, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) != 0 || line[len] != ':') return false;
    const char *v = line + len + 1, *end = line + n;
    while (v < end && (*v == ' ' || *v == '\t')) v++;
    while (end > v && (unsigned char)end[-1] <= ' ') end--;
    if ((size_t)(end - v) >= cap) end = v; /* longer than anything we could use */
    memcpy(out, v, (size_t)(end - v));
    out[end - v] = '\0';
    return true;
}

static int64_t number(const char *s)
{
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    return end == s || errno || v < 0 ? -1 : (int64_t)v;
}

/* <URL>; rel="next" */
static void parse_link(struct answer *a, const char *value)
{
    const char *open = strchr(value, '<'), *close = open ? strchr(open, '>') : NULL;
    if (!close || !strstr(close, "rel=\"next\"")) return;
    snprintf(a->link, sizeof a->link, "%.*s", (int)(close - open - 1), open + 1);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct answer *a = &t->ans;
    char v[2048];
    (void)size;                                        /* always 1 */
    if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0) { /* a new answer: forget the last one's headers */
        char sha[65];
        memcpy(sha, a->linked_sha, sizeof sha);
        *a = (struct answer){ .length = -1, .range_start = -1, .range_total = -1, .retry_after_s = -1 };
        memcpy(a->linked_sha, sha, sizeof sha);
    } else if (header_is(line, n, "etag", v, sizeof a->etag)) {
        snprintf(a->etag, sizeof a->etag, "%.199s", v);
    } else if (header_is(line, n, "x-linked-etag", v, sizeof v)) {
        char *hex = v + (v[0] == '"');
        hex[strcspn(hex, "\"")] = '\0';
        if (download_is_sha256(hex)) snprintf(a->linked_sha, sizeof a->linked_sha, "%s", hex);
    } else if (header_is(line, n, "content-length", v, sizeof v)) {
        a->length = number(v);
    } else if (header_is(line, n, "retry-after", v, sizeof v)) {
        a->retry_after_s = number(v);
    } else if (header_is(line, n, "link", v, sizeof v)) {
        parse_link(a, v);
    } else if (header_is(line, n, "content-range", v, sizeof v)) {
        const char *slash = strchr(v, '/'); /* bytes FROM-TO/TOTAL */
        if (strncasecmp(v, "bytes ", 6) == 0 && slash) {
            a->range_start = number(v + 6);
            a->range_total = number(slash + 1); /* -1 for '*' */
        }
    }
    return n;
}

/* ---- bodies ----------------------------------------------------------------------------------------------------- */

static bool refuse(struct transfer *t)
{
    t->broken_rule = true;
    return false;
}

bool download_fits(const char *path, int64_t need, struct err *e)
{
    struct statvfs fs;
    char at[PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    while (statvfs(at, &fs) != 0) { /* what is not there yet will be where its folder is */
        char *slash = strrchr(at, '/');
        if (errno != ENOENT || !slash || slash == at) return true;
        *slash = '\0';
    }
    const double room = (double)fs.f_bavail * (double)fs.f_frsize, unit = need < 1e9 ? 1e6 : 1e9;
    if ((double)need <= room) return true;
    return err_set(e, ERR_IO, "needs %.1f %s more on the disk of %s, which has %.1f %s free",
                   (double)need / unit, unit < 1e9 ? "MB" : "GB", path, room / unit,
                   unit < 1e9 ? "MB" : "GB");
}

/* Before the first byte of a file: is this the continuation that was asked for, or all of it from the start? */
static bool begin_file(struct transfer *t)
{
    const struct answer *a = &t->ans;
    int64_t total = a->length;
    if (a->status == 206) {
        if (a->range_start != t->part->size) {
            err_set(t->e, ERR_IO, "asked for bytes from %lld, the server sent them from %lld",
                    (long long)t->part->size, (long long)a->range_start);
            return refuse(t);
        }
        total = a->range_total;
    } else if (t->part->size > 0) { /* the file changed, or the server knows no ranges */
        if (t->watch->note) t->watch->note(t->watch->arg, "the file changed on the server: starting over");
        if (!partfile_restart(t->part, t->e)) return refuse(t);
    }
    t->resumed = t->part->size;
    if (t->expected >= 0 && total >= 0 && total != t->expected) {
        err_set(t->e, ERR_FORMAT, "expected %lld bytes, the server offers %lld", (long long)t->expected,
                (long long)total);
        return refuse(t);
    }
    if (t->expected < 0) t->expected = total;
    if (t->expected >= 0 && !download_fits(t->part->part, t->expected - t->part->size, t->e))
        return refuse(t);
    if (a->status == 200) partfile_set_etag(t->part, a->etag);
    return true;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)size; /* always 1 */
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    t->ans.status = status;
    if (status != 200 && status != 206) return n; /* an error page or a redirect's text: nobody reads it */
    if (t->text) {
        if (buf_append(t->text, data, n)) return n;
        err_set(t->e, ERR_LIMIT, "the answer is longer than %zu bytes", t->text->max);
        refuse(t);
        return 0;
    }
    if (!t->began && !begin_file(t)) return 0;
    t->began = true;
    if (t->expected >= 0 && (int64_t)n > t->expected - t->part->size) {
        err_set(t->e, ERR_FORMAT, "the server sends more than the %lld bytes it announced",
                (long long)t->expected);
        refuse(t);
        return 0;
    }
    if (!partfile_append(t->part, data, n, t->e)) {
        refuse(t);
        return 0;
    }
    double now = clock_seconds();
    if (t->watch->progress && now >= t->next_progress) {
        t->watch->progress(t->watch->arg, t->part->size, t->expected, t->resumed);
        t->next_progress = now + 0.1;
    }
    return n;
}

/* ---- one request ------------------------------------------------------------------------------------------------ */

static void set_options(struct transfer *t, const char *url)
{
    CURL *c = t->curl;
    char agent[100];
    snprintf(agent, sizeof agent, "hearth/%s", hearth_version);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); /* each hop is looked at first */
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT,
                     1024L); /* under 1 kB/s for half a minute is a dead connection */
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 30L);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
}

/* Follows redirects to an answer with a body. The headers depend on the hop: the token is for one origin only. */
static CURLcode follow(struct transfer *t, const char *url)
{
    char here[2048];
    if (snprintf(here, sizeof here, "%s", url) >= (int)sizeof here) return CURLE_URL_MALFORMAT;
    for (int hop = 0; hop < MAX_HOPS; hop++) {
        curl_easy_reset(t->curl);
        set_options(t, here);
        char line[400], etag[200];
        struct curl_slist *headers = NULL;
        const char *token = t->access->token;
        if (token && *token && same_origin(t->access->origin, here)) {
            snprintf(line, sizeof line, "Authorization: Bearer %.350s", token);
            headers = curl_slist_append(headers, line);
        }
        if (t->part && t->part->size > 0) {
            snprintf(line, sizeof line, "Range: bytes=%lld-", (long long)t->part->size);
            headers = curl_slist_append(headers, line);
            partfile_etag(t->part, etag, sizeof etag);
            if (etag[0] == '"') { /* a strong validator */
                snprintf(line, sizeof line, "If-Range: %s", etag);
                headers = curl_slist_append(headers, line);
            }
        }
        curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
        CURLcode rc = curl_easy_perform(t->curl);
        curl_slist_free_all(headers);
        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->ans.status);
        if (rc != CURLE_OK) return rc;
        char *to = NULL;
        curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &to);
        if (t->ans.status < 300 || t->ans.status > 399 || !to) return rc;
        if (!redirect_allowed(here, to, t->e) || strlen(to) >= sizeof here) {
            t->broken_rule = true;
            return CURLE_URL_MALFORMAT;
        }
        memmove(here, to, strlen(to) + 1);
    }
    return CURLE_TOO_MANY_REDIRECTS;
}

static bool explain_status(const struct transfer *t, struct err *e)
{
    long s = t->ans.status;
    bool have_token = t->access->token && *t->access->token;
    if (s == 401 || s == 403) {
        return err_set(e, ERR_REQUEST, "refused with %ld: it is gated, private or does not exist; %s", s,
                       have_token
                           ? "the token given does not open it (terms may have to be accepted on the hub)"
                           : "if you have access, give a token with --hub-token or HEARTH_HUB_TOKEN");
    }
    if (s == 404 || s == 410) return err_set(e, ERR_NOT_FOUND, "not there (%ld)", s);
    return err_set(e, ERR_IO, "the server answered %ld", s);
}

static enum outcome attempt(struct transfer *t, const char *url)
{
    struct err *e = t->e;
    t->began = false;
    t->resumed = t->part ? t->part->size : 0;
    if (t->text) buf_clear(t->text);
    CURLcode rc = follow(t, url);
    if (t->broken_rule) return FAILED;
    switch (rc) {
    case CURLE_OK: break;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_OUT_OF_MEMORY: err_set(e, ERR_IO, "%s", curl_easy_strerror(rc)); return FAILED;
    default: err_set(e, ERR_IO, "%s", curl_easy_strerror(rc)); return AGAIN;
    }
    long s = t->ans.status;
    if (s == 416 && t->part &&
        t->part->size > 0) { /* nothing behind what we have: complete, or not this file */
        if (t->part->size == t->expected) return DONE;
        if (!partfile_restart(t->part, e)) return FAILED;
        err_set(e, ERR_IO, "the part that is here does not belong to this file");
        return AGAIN;
    }
    if (s == 408 || s == 429 || s >= 500) {
        explain_status(t, e);
        return AGAIN;
    }
    if (s != 200 && s != 206) {
        explain_status(t, e);
        return FAILED;
    }
    if (!t->text && !t->began && !begin_file(t)) return FAILED; /* an empty file */
    if (t->part && t->expected >= 0 && t->part->size < t->expected) {
        err_set(e, ERR_IO, "the connection ended after %lld of %lld bytes", (long long)t->part->size,
                (long long)t->expected);
        return AGAIN;
    }
    return DONE;
}

static void wait_before_retry(const struct transfer *t, int failures)
{
    int base = t->access->backoff_ms ? t->access->backoff_ms : DEFAULT_BACKOFF_MS;
    double ms = base;
    for (int i = 1; i < failures && ms < MAX_BACKOFF_MS; i++) ms *= 2;
    uint16_t random;
    rng_os(&random, sizeof random);
    ms *= 0.75 + 0.5 * random / 65536; /* so that many clients do not come back together */
    if (t->ans.retry_after_s > 0) ms = 1000.0 * (double)t->ans.retry_after_s;
    if (ms > MAX_BACKOFF_MS) ms = MAX_BACKOFF_MS;
    if (t->watch->note) {
        char text[512];
        snprintf(text, sizeof text, "%s; trying again in %.1f s", t->e->msg, ms / 1000);
        t->watch->note(t->watch->arg, text);
    }
    struct timespec ts = { (time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000L };
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {
    }
}

/* Attempts until done; a retry after progress does not count. */
static bool fetch(struct transfer *t, const char *url)
{
    if (!download_url_allowed(url, t->e)) return false;
    t->curl = curl_easy_init();
    if (!t->curl) return err_set(t->e, ERR_NOMEM, "no memory for a connection");
    int tries = t->access->tries ? t->access->tries : DEFAULT_TRIES, failures = 0;
    enum outcome o;
    for (;;) {
        o = attempt(t, url);
        if (o != AGAIN) break;
        failures = t->began ? 1 : failures + 1;
        if (failures >= tries) {
            err_wrap(t->e, "gave up after %d attempts", failures);
            break;
        }
        wait_before_retry(t, failures);
    }
    curl_easy_cleanup(t->curl);
    return o == DONE;
}

/* ---- the door --------------------------------------------------------------------------------------------------- */

static const struct download_watch nobody = { 0 };

static void waiting(void *arg)
{
    const struct download_watch *w = arg;
    if (w->note) w->note(w->arg, "another hearth is fetching this file: waiting for it");
}

bool download_text(const struct download_access *a, const char *url, struct buf *out, char *next,
                   size_t next_cap, const struct download_watch *w, struct err *e)
{
    struct err why = { 0 };
    struct transfer t = { .access = a, .watch = w ? w : &nobody, .e = &why, .text = out, .expected = -1 };
    if (!fetch(&t, url)) return err_set(e, why.code, "%.250s: %s", url, why.msg);
    if (next) {
        bool usable = t.ans.link[0] && same_origin(url, t.ans.link);
        if (snprintf(next, next_cap, "%s", usable ? t.ans.link : "") >= (int)next_cap) next[0] = '\0';
    }
    return true;
}

/* Fetches what is missing. A part from an earlier run may be of another file that a weak validator did not tell from
 * this one: then the sum is wrong, and one more try from the start decides. */
static bool fetch_and_finish(struct transfer *t, const char *url, const char *sha256, int64_t size)
{
    char etag[200];
    partfile_etag(t->part, etag, sizeof etag);
    if (t->part->size > 0 && etag[0] != '"' && !sha256 && !partfile_restart(t->part, t->e)) return false;
    if (size >= 0 && t->part->size > size && !partfile_restart(t->part, t->e)) return false;
    for (int round = 0;; round++) {
        bool resumed = t->part->size > 0;
        if (size < 0 || t->part->size < size || size == 0) {
            t->expected = size;
            if (!fetch(t, url)) return false;
        }
        const char *sum = sha256 ? sha256 : t->ans.linked_sha[0] ? t->ans.linked_sha : NULL;
        if (partfile_finish(t->part, t->expected, sum, t->e)) return true;
        if (!resumed || round > 0 || t->part->size > 0) return false;
        if (t->watch->note) t->watch->note(t->watch->arg, "the resumed file is not right: starting over");
    }
}

bool download_file(const struct download_access *a, const char *url, const char *dir, const char *name,
                   const char *sha256, int64_t size, const struct download_watch *w, bool *was_there,
                   struct err *e)
{
    if (!w) w = &nobody;
    struct partfile part;
    struct err why = { 0 };
    if (!partfile_open(&part, dir, name, waiting, (void *)w, e)) return false;
    bool there = partfile_is_installed(&part, size, sha256), ok = there;
    if (!there) {
        struct transfer t = { .access = a, .watch = w, .e = &why, .part = &part, .expected = size };
        ok = fetch_and_finish(&t, url, sha256, size);
        if (ok && w->progress) w->progress(w->arg, part.size, part.size, t.resumed);
    }
    partfile_close(&part);
    if (!ok) return err_set(e, why.code, "%.250s: %s", url, why.msg);
    if (was_there) *was_there = there;
    return true;
}

static bool copy_bytes(struct partfile *part, int fd, const struct download_watch *w, struct err *e)
{
    int64_t total = lseek(fd, 0, SEEK_END), at = 0;
    size_t cap = 1 << 20;
    char *block = malloc(cap);
    if (!block) return err_set(e, ERR_NOMEM, "no memory to copy");
    ssize_t n;
    bool ok = true;
    double next = 0;
    while (ok && (n = pread(fd, block, cap, at)) > 0) {
        ok = partfile_append(part, block, (size_t)n, e);
        at += n;
        if (w->progress && clock_seconds() >= next) {
            w->progress(w->arg, at, total, 0);
            next = clock_seconds() + 0.1;
        }
    }
    if (ok && n < 0) ok = err_set(e, ERR_IO, "cannot read: %s", strerror(errno));
    free(block);
    return ok;
}

bool download_copy(const char *source, const char *dir, const char *name, const char *sha256,
                   const struct download_watch *w, bool *was_there, struct err *e)
{
    if (!w) w = &nobody;
    int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_set(e, ERR_IO, "cannot open %s: %s", source, strerror(errno));
    int64_t size = lseek(fd, 0, SEEK_END);
    struct partfile part;
    bool ok = partfile_open(&part, dir, name, waiting, (void *)w, e), there = false;
    if (ok) {
        there = sha256 && partfile_is_installed(&part, size, sha256);
        ok = there || (partfile_restart(&part, e) && copy_bytes(&part, fd, w, e) &&
                       partfile_finish(&part, size, sha256, e));
        if (!ok) {
            (void)(part.fd >= 0 && partfile_restart(&part, NULL)); /* a copy is not resumed */
            err_wrap(e, "%.250s", source);
        } else if (!there && w->progress) {
            w->progress(w->arg, size, size, 0);
        }
        partfile_close(&part);
    }
    close(fd);
    if (ok && was_there) *was_there = there;
    return ok;
}
