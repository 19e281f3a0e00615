/* image_url.c - see image_url.h. */
#include "cli/image_url.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"

enum { MAX_ANSWER = 512 << 20 };

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    return buf_append(arg, data, size * n) ? size * n : 0;
}

static bool add_file(curl_mime *form, const char *name, const struct buf *file)
{
    curl_mimepart *part = curl_mime_addpart(form);
    return part && !curl_mime_name(part, name) && !curl_mime_data(part, file->data, file->len) &&
           !curl_mime_filename(part, name) && !curl_mime_type(part, "application/octet-stream");
}

static curl_mime *make_form(CURL *curl, const struct drawing *d)
{
    curl_mime *form = curl_mime_init(curl);
    const char *key;
    json_t *v;
    bool ok = form && add_file(form, "image", &d->init) && (!d->mask.len || add_file(form, "mask", &d->mask));
    json_object_foreach(d->fields, key, v)
    {
        char *text = json_is_string(v) ? strdup(json_string_value(v)) : json_memory_dumps(v, JSON_ENCODE_ANY);
        curl_mimepart *part = ok && text ? curl_mime_addpart(form) : NULL;
        ok = part && !curl_mime_name(part, key) && !curl_mime_data(part, text, CURL_ZERO_TERMINATED);
        free(text);
    }
    if (ok) return form;
    curl_mime_free(form);
    return NULL;
}

static bool fetch(const struct options *o, const struct drawing *d, struct buf *answer, struct err *e)
{
    size_t n = strlen(o->url);
    while (n && o->url[n - 1] == '/') n--;
    bool has_v1 = n >= 3 && !memcmp(o->url + n - 3, "/v1", 3);
    struct buf url = BUF_INIT(4096), auth = BUF_INIT(4096);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    char *body = NULL;
    curl_mime *form = NULL;
    long status = 0;
    bool ok = curl && buf_printf(&url, "%.*s%s/images/%s", (int)n, o->url, has_v1 ? "" : "/v1",
                                 d->init.len ? "edits" : "generations");
    if (ok && *o->key) {
        ok = buf_printf(&auth, "Authorization: Bearer %s", o->key) &&
             (headers = curl_slist_append(headers, auth.data)) != NULL;
    }
    if (ok && d->init.len) {
        ok = (form = make_form(curl, d)) != NULL && !curl_easy_setopt(curl, CURLOPT_MIMEPOST, form);
    } else if (ok) {
        struct curl_slist *more = curl_slist_append(headers, "Content-Type: application/json");
        if (more) headers = more;
        body = json_memory_dumps(d->fields, JSON_COMPACT);
        ok = more && body && !curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    if (!ok) {
        err_set(e, ERR_NOMEM, "out of memory");
    } else {
        curl_easy_setopt(curl, CURLOPT_URL, url.data);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        CURLcode rc = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        ok = rc == CURLE_OK || err_set(e, ERR_IO, "%s: %s", o->url, curl_easy_strerror(rc));
    }
    if (ok && status != 200) {
        json_t *a = json_memory_load(answer->data ? answer->data : "", answer->len, 0, NULL);
        const char *m = json_string_value(json_object_get(json_object_get(a, "error"), "message"));
        ok = err_set(e, ERR_IO, "%s answered %ld%s%s", o->url, status, m ? ": " : "", m ? m : "");
        json_decref(a);
    }
    curl_slist_free_all(headers);
    curl_mime_free(form);
    if (curl) curl_easy_cleanup(curl);
    free(body);
    buf_free(&url);
    buf_free(&auth);
    return ok;
}

bool image_url_draw(const struct options *o, const struct drawing *d,
                    bool (*take)(void *arg, const void *file, size_t n, int index, uint64_t seed,
                                 struct err *e),
                    void *arg, struct err *e)
{
    struct buf answer = BUF_INIT(MAX_ANSWER);
    bool ok = fetch(o, d, &answer, e);
    json_t *a = ok ? json_memory_load(answer.data ? answer.data : "", answer.len, 0, NULL) : NULL;
    const json_t *list = json_object_get(a, "data"), *one;
    size_t i;
    if (ok && !json_array_size(list)) ok = err_set(e, ERR_FORMAT, "%s answered without pictures", o->url);
    json_array_foreach(list, i, one)
    {
        const json_t *text = json_object_get(one, "b64_json");
        size_t len = json_string_length(text), n = 0;
        unsigned char *file = ok && len ? malloc(len) : NULL;
        uint64_t seed = (uint64_t)json_integer_value(json_object_get(one, "seed"));
        if (ok && (!file || sodium_base642bin(file, len, json_string_value(text), len, NULL, &n, NULL,
                                              sodium_base64_VARIANT_ORIGINAL) != 0)) {
            ok = err_set(e, ERR_FORMAT, "%s answered with a picture that is not base64", o->url);
        }
        ok = ok && take(arg, file, n, (int)i, seed, e);
        free(file);
    }
    json_decref(a);
    buf_free(&answer);
    return ok;
}
