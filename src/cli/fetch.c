/* fetch.c - see fetch.h. */
#include "cli/fetch.h"

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>

#include "format/json_memory.h"

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    (void)size; /* always 1 */
    return buf_append(arg, data, n) ? n : 0;
}

/* json NULL: a GET. */
static bool fetch(const char *url, const char *key, const char *path, const char *json, struct buf *body,
                  struct err *e)
{
    struct buf whole = BUF_INIT(4096), auth = BUF_INIT(4096);
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/') n--;
    if (n >= 3 && memcmp(url + n - 3, "/v1", 3) == 0) n -= 3;
    buf_append(&whole, url, n);
    buf_puts(&whole, path);
    buf_printf(&auth, "Authorization: Bearer %s", key);
    CURL *c = curl_easy_init();
    struct curl_slist *headers = *key ? curl_slist_append(NULL, auth.data) : NULL;
    bool ok = false;
    if (json) {
        struct curl_slist *more = curl_slist_append(headers, "Content-Type: application/json");
        if (!more) curl_slist_free_all(headers);
        headers = more;
    }
    if (!c || whole.failed || auth.failed) {
        err_set(e, ERR_REQUEST, "the address or the key is too long");
        goto done;
    }
    curl_easy_setopt(c, CURLOPT_URL, whole.data);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    if (json)
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, json);
    else
        curl_easy_setopt(c, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
    CURLcode rc = curl_easy_perform(c);
    if (rc != CURLE_OK) {
        err_set(e, ERR_IO, "%.200s: %s", url, curl_easy_strerror(rc));
        goto done;
    }
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    ok = status == 200;
    if (!ok) {
        json_t *root = json_memory_load(body->data ? body->data : "", body->len, 0, NULL);
        const char *message = json_string_value(json_object_get(json_object_get(root, "error"), "message"));
        err_set(e, ERR_IO, "%.200s answered %ld%s%.150s", url, status, message ? ": " : "",
                message ? message : "");
        json_decref(root);
    }
done:
    if (!ok) buf_free(body);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    buf_free(&whole);
    buf_free(&auth);
    return ok;
}

bool fetch_get(const char *url, const char *key, const char *path, struct buf *body, struct err *e)
{
    return fetch(url, key, path, NULL, body, e);
}

bool fetch_post(const char *url, const char *key, const char *path, const char *json, struct buf *body,
                struct err *e)
{
    return fetch(url, key, path, json, body, e);
}
