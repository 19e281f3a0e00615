/* blobs_s3.c - blobs in a bucket, over S3's protocol: GET and PUT of objects, signed as AWS does (version 4), which libcurl knows how to do.
 * Connections are kept by handles that are lent to one caller at a time. */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "store/blobs_inside.h"
#include "store/s3_place.h"

enum {
    IDLE = 8,
    CONNECT_MS = 5000,
    SLOW_BYTES = 1000,
    SLOW_S = 10,
    TRIES = 3,
    URL = S3_BASE + BLOBS_NAME,
    ANSWER = 4096,
    LARGEST = 256 << 20
};

struct s3 {
    struct s3_place at;
    char region[48], *login; /* "KEY:SECRET" */
    int64_t max_bytes;
    pthread_mutex_t lock; /* guards what follows */
    CURL *idle[IDLE];
    int n_idle;
};

static void s3_close(void *place)
{
    struct s3 *s = place;
    if (!s) return;
    for (int i = 0; i < s->n_idle; i++) curl_easy_cleanup(s->idle[i]);
    pthread_mutex_destroy(&s->lock);
    free(s->login);
    free(s);
}

static bool s3_open(void **out, const char *where, const struct blobs_options *o, struct err *e)
{
    const char *region = o->s3_region && *o->s3_region ? o->s3_region : "us-east-1";
    struct s3_place at;
    if (!s3_place_parse(&at, where, o->s3_endpoint ? o->s3_endpoint : "", region, e)) return false;
    if (!o->s3_key || !*o->s3_key || !o->s3_secret || !*o->s3_secret)
        return err_set(e, ERR_REQUEST,
                       "files %s needs s3-key and s3-secret (HEARTH_S3_KEY and HEARTH_S3_SECRET)", where);
    struct s3 *s = calloc(1, sizeof *s);
    if (!s || asprintf(&s->login, "%s:%s", o->s3_key, o->s3_secret) < 0) {
        free(s);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    s->at = at;
    s->max_bytes = o->max_bytes;
    snprintf(s->region, sizeof s->region, "%s", region);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return true;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static CURL *take(struct s3 *s)
{
    pthread_mutex_lock(&s->lock);
    CURL *c = s->n_idle ? s->idle[--s->n_idle] : NULL;
    pthread_mutex_unlock(&s->lock);
    return c ? c : curl_easy_init();
}

static void give(struct s3 *s, CURL *c)
{
    curl_easy_reset(c); /* its connection stays */
    pthread_mutex_lock(&s->lock);
    const bool keep = s->n_idle < IDLE;
    if (keep) s->idle[s->n_idle++] = c;
    pthread_mutex_unlock(&s->lock);
    if (!keep) curl_easy_cleanup(c);
}

static size_t into_buf(char *p, size_t size, size_t n, void *arg)
{
    return buf_append(arg, p, size * n) ? size * n : 0;
}

static void prepare(struct s3 *s, CURL *c, const char *name, struct buf *answer)
{
    char url[URL], scheme[80];
    snprintf(url, sizeof url, "%s%s", s->at.base, name);
    snprintf(scheme, sizeof scheme, "aws:amz:%s:s3", s->region);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_AWS_SIGV4, scheme);
    curl_easy_setopt(c, CURLOPT_USERPWD, s->login);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, into_buf);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
}

/* What S3 names a failure: <Code>NoSuchBucket</Code>. */
static void code_of(const struct buf *answer, char *out, size_t cap)
{
    const char *from = answer->data ? strstr(answer->data, "<Code>") : NULL;
    snprintf(out, cap, "%s", from ? " " : "");
    for (size_t n = 1; from && n + 1 < cap; n++) {
        const char c = from[5 + n];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) break;
        out[n] = c;
        out[n + 1] = 0;
    }
}

/* Anything that is not "done" or "no such object" is the place's fault, which may pass: a wrong key is put right there too. */
static bool verdict(const struct s3 *s, CURL *c, CURLcode rc, const struct buf *answer, struct err *e)
{
    long status = 0;
    char code[60];
    if (rc != CURLE_OK && answer->failed)
        return err_set(e, ERR_BUSY, "the answer of %s is too large", s->at.bucket);
    if (rc != CURLE_OK) return err_set(e, ERR_BUSY, "bucket %s: %s", s->at.bucket, curl_easy_strerror(rc));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status < 300) return true;
    code_of(answer, code, sizeof code);
    if (status == 404 && strcmp(code, " NoSuchBucket"))
        return err_set(e, ERR_NOT_FOUND, "there is no such object");
    return err_set(e, ERR_BUSY, "bucket %s: HTTP status %ld%s", s->at.bucket, status, code);
}

/* S3 wants the body's hash as a header, and libcurl signs the one it is given. */
static struct curl_slist *hash_header(const void *data, size_t len)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char line[40 + 2 * sizeof hash] = "x-amz-content-sha256: ";
    crypto_hash_sha256(hash, data, len);
    sodium_bin2hex(line + strlen(line), 2 * sizeof hash + 1, hash, sizeof hash);
    return curl_slist_append(NULL, line);
}

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return !strcmp(dot, ".png")    ? "Content-Type: image/png"
           : !strcmp(dot, ".webp") ? "Content-Type: image/webp"
           : !strcmp(dot, ".jpg")  ? "Content-Type: image/jpeg"
                                   : "Content-Type: application/octet-stream";
}

static bool put_once(struct s3 *s, const char *name, const void *data, size_t len, struct err *e)
{
    struct buf answer = BUF_INIT(ANSWER);
    CURL *c = take(s);
    if (!c) return err_set(e, ERR_NOMEM, "out of memory");
    struct curl_slist *headers = curl_slist_append(hash_header(data, len), type_of(name));
    prepare(s, c, name, &answer);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, "PUT");
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, data);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    const bool ok = verdict(s, c, curl_easy_perform(c), &answer, e);
    give(s, c);
    curl_slist_free_all(headers);
    buf_free(&answer);
    return ok;
}

static bool s3_put(void *place, const char *name, const void *data, size_t len, struct err *e)
{
    for (int i = 0; i < TRIES; i++) {
        if (put_once(place, name, data, len, e)) return true;
        if (i + 1 < TRIES) usleep(200000U << i);
    }
    if (e->code == ERR_NOT_FOUND) e->code = ERR_BUSY;
    return false;
}

/* A file that has no name, so that callers read it as they read one of a folder. */
static int as_file(const struct buf *b, struct err *e)
{
    const int fd = memfd_create("hearth-blob", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < b->len;) {
        const ssize_t n = write(fd, b->data + at, b->len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            err_set(e, ERR_NOMEM, "no memory for a file of %zu bytes", b->len);
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    if (fd < 0)
        err_set(e, ERR_NOMEM, "no memory for a file of %zu bytes", b->len);
    else
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static int s3_get(void *place, const char *name, int64_t *size, int64_t *mtime_unix, struct err *e)
{
    struct s3 *s = place;
    struct buf answer = BUF_INIT(s->max_bytes < LARGEST ? (size_t)s->max_bytes : LARGEST);
    CURL *c = take(s);
    int fd = -1;
    if (!c) {
        err_set(e, ERR_NOMEM, "out of memory");
        return -1;
    }
    curl_off_t when = -1;
    struct curl_slist *headers = hash_header("", 0);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    prepare(s, c, name, &answer);
    curl_easy_setopt(c, CURLOPT_FILETIME, 1L);
    if (verdict(s, c, curl_easy_perform(c), &answer, e)) {
        curl_easy_getinfo(c, CURLINFO_FILETIME_T, &when);
        *size = (int64_t)answer.len;
        *mtime_unix = (int64_t)when;
        fd = as_file(&answer, e);
    }
    give(s, c);
    curl_slist_free_all(headers);
    buf_free(&answer);
    return fd;
}

const struct blobs_place blobs_s3 = { s3_open, s3_close, s3_put, s3_get };
