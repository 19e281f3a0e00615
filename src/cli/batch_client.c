/* batch_client.c - see batch_client.h. */
#include "cli/batch_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "format/json_memory.h"

enum { MOST_ANSWER = 16 << 20 };

/* One request. An answer goes into `body`, or, when it is good, to `fd`. */
struct call {
    const struct batch_client *c;
    CURL *curl;
    struct curl_slist *headers;
    curl_mime *form;
    struct buf url, auth, body;
    int fd; /* -1: the answer is JSON */
    int write_error;
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct call *k = arg;
    long status = 0;
    (void)size; /* always 1 */
    curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, &status);
    if (k->fd < 0 || status != 200) return buf_append(&k->body, data, n) ? n : 0;
    for (size_t at = 0; at < n;) {
        const ssize_t w = write(k->fd, data + at, n - at);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            k->write_error = errno;
            return 0;
        }
        at += (size_t)w;
    }
    return n;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t total, curl_off_t done)
{
    const struct call *k = arg;
    (void)down_total, (void)down;
    return k->c->sent && total > 0 ? k->c->sent(k->c->arg, done, total) : 0;
}

static bool call_open(struct call *k, const struct batch_client *c, const char *path, struct err *e)
{
    size_t n = strlen(c->url);
    while (n > 0 && c->url[n - 1] == '/') n--;
    if (n >= 3 && memcmp(c->url + n - 3, "/v1", 3) == 0) n -= 3;
    *k = (struct call){ .c = c, .fd = -1 };
    k->url = k->auth = BUF_INIT(4096);
    k->body = BUF_INIT(MOST_ANSWER);
    buf_append(&k->url, c->url, n);
    buf_puts(&k->url, path);
    buf_printf(&k->auth, "Authorization: Bearer %s", c->key);
    k->curl = curl_easy_init();
    if (*c->key) k->headers = curl_slist_append(NULL, k->auth.data);
    if (!k->curl || k->url.failed || k->auth.failed)
        return err_set(e, ERR_REQUEST, "the address or the key is too long");
    curl_easy_setopt(k->curl, CURLOPT_URL, k->url.data);
    curl_easy_setopt(k->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(k->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(k->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(k->curl, CURLOPT_WRITEDATA, k);
    return true;
}

static void call_close(struct call *k)
{
    curl_slist_free_all(k->headers);
    curl_mime_free(k->form);
    curl_easy_cleanup(k->curl);
    buf_free(&k->url);
    buf_free(&k->auth);
    buf_free(&k->body);
}

static bool may_come_again(long status) { return status == 429 || status == 503; }

static bool perform(struct call *k, struct err *e)
{
    long status = 0;
    curl_easy_setopt(k->curl, CURLOPT_HTTPHEADER, k->headers);
    const CURLcode rc = curl_easy_perform(k->curl);
    if (k->write_error)
        return err_set(e, ERR_IO, "the answers could not be written: %s", strerror(k->write_error));
    if (rc == CURLE_ABORTED_BY_CALLBACK) return err_set(e, ERR_CANCELLED, "interrupted");
    if (rc != CURLE_OK) return err_set(e, ERR_BUSY, "%.200s: %s", k->c->url, curl_easy_strerror(rc));
    curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) return true;
    json_t *root = json_memory_load(k->body.data ? k->body.data : "", k->body.len, 0, NULL);
    const char *message = json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    err_set(e, may_come_again(status) ? ERR_BUSY : ERR_IO, "%.120s answered %ld%s%.300s", k->c->url, status,
            message ? ": " : "", message ? message : "");
    json_decref(root);
    return false;
}

static json_t *answer(struct call *k, bool ok, struct err *e)
{
    json_t *root = NULL;
    if (ok && perform(k, e)) {
        root = json_memory_load(k->body.data ? k->body.data : "", k->body.len, 0, NULL);
        if (!json_is_string(json_object_get(root, "id"))) {
            json_decref(root);
            root = NULL;
            err_set(e, ERR_FORMAT, "%.200s answered with something that is neither a file nor a batch",
                    k->c->url);
        }
    }
    call_close(k);
    return root;
}

json_t *batch_client_upload(const struct batch_client *c, const char *path, struct err *e)
{
    struct call k;
    bool ok = call_open(&k, c, "/v1/files", e);
    k.form = ok ? curl_mime_init(k.curl) : NULL;
    curl_mimepart *purpose = k.form ? curl_mime_addpart(k.form) : NULL;
    curl_mimepart *file = k.form ? curl_mime_addpart(k.form) : NULL;
    if (ok && (!purpose || !file || curl_mime_name(purpose, "purpose") ||
               curl_mime_data(purpose, "batch", CURL_ZERO_TERMINATED) || curl_mime_name(file, "file")))
        ok = err_set(e, ERR_NOMEM, "out of memory");
    if (ok && curl_mime_filedata(file, path)) ok = err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    if (ok) {
        curl_easy_setopt(k.curl, CURLOPT_MIMEPOST, k.form);
        curl_easy_setopt(k.curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(k.curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(k.curl, CURLOPT_XFERINFODATA, &k);
    }
    return answer(&k, ok, e);
}

static bool post_json(struct call *k, const char *json, struct err *e)
{
    struct curl_slist *more = curl_slist_append(k->headers, "Content-Type: application/json");
    if (!more) return err_set(e, ERR_NOMEM, "out of memory");
    k->headers = more;
    curl_easy_setopt(k->curl, CURLOPT_POSTFIELDS, json);
    return true;
}

json_t *batch_client_create(const struct batch_client *c, const char *file, const char *endpoint,
                            const char *window, struct err *e)
{
    struct call k;
    bool ok = call_open(&k, c, "/v1/batches", e);
    json_t *body =
        json_pack("{ssssss}", "input_file_id", file, "endpoint", endpoint, "completion_window", window);
    char *text = body ? json_memory_dumps(body, JSON_COMPACT) : NULL;
    if (ok && !text)
        ok = err_set(e, ERR_REQUEST, "the file's name or the window is no text, or there is no memory");
    json_t *root = answer(&k, ok && post_json(&k, text, e), e);
    free(text);
    json_decref(body);
    return root;
}

json_t *batch_client_get(const struct batch_client *c, const char *batch, struct err *e)
{
    struct call k;
    char path[100];
    snprintf(path, sizeof path, "/v1/batches/%.60s", batch);
    const bool ok = call_open(&k, c, path, e);
    if (ok) curl_easy_setopt(k.curl, CURLOPT_TIMEOUT, 60L);
    return answer(&k, ok, e);
}

json_t *batch_client_cancel(const struct batch_client *c, const char *batch, struct err *e)
{
    struct call k;
    char path[100];
    snprintf(path, sizeof path, "/v1/batches/%.60s/cancel", batch);
    const bool ok = call_open(&k, c, path, e);
    return answer(&k, ok && post_json(&k, "", e), e);
}

bool batch_client_download(const struct batch_client *c, const char *file, int fd, struct err *e)
{
    struct call k;
    char path[100];
    snprintf(path, sizeof path, "/v1/files/%.60s/content", file);
    bool ok = call_open(&k, c, path, e);
    k.fd = fd;
    ok = ok && perform(&k, e);
    call_close(&k);
    return ok;
}

bool batch_client_delete(const struct batch_client *c, const char *file, struct err *e)
{
    struct call k;
    char path[100];
    snprintf(path, sizeof path, "/v1/files/%.60s", file);
    const bool ok = call_open(&k, c, path, e);
    if (ok) curl_easy_setopt(k.curl, CURLOPT_CUSTOMREQUEST, "DELETE");
    json_t *root = answer(&k, ok, e);
    json_decref(root);
    return root != NULL;
}
