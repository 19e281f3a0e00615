/* replay.c - `hearth replay ID`: a recorded request again, with the seed of its row, and whether the answer is the same. */
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/own_server.h"
#include "format/json_memory.h"
#include "service/account/essence.h"
#include "service/account/ledger.h"
#include "service/account/record.h"
#include "service/models/fingerprint.h"
#include "service/models/model_folder.h"

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    (void)size; /* always 1 */
    return buf_append(arg, data, n) ? n : 0;
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    struct buf line = BUF_INIT(16384);
    struct curl_slist *more =
        buf_printf(&line, "%s: %s", name, value) ? curl_slist_append(list, line.data) : NULL;
    buf_free(&line);
    if (!more) curl_slist_free_all(list);
    return more;
}

/* The recorded ones, and the key of this command. */
static struct curl_slist *headers_of(const struct record *r, const char *key)
{
    struct buf bearer = BUF_INIT(4096);
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    json_t *h = json_memory_load(r->headers, strlen(r->headers), 0, NULL), *v;
    const char *name;
    json_object_foreach(h, name, v) if (list && json_is_string(v)) list =
        add_header(list, name, json_string_value(v));
    if (list && *key && buf_printf(&bearer, "Bearer %s", key))
        list = add_header(list, "Authorization", bearer.data);
    buf_free(&bearer);
    json_decref(h);
    return list;
}

struct answer {
    struct buf bytes;
    char type[100];
    long status;
};

static bool where_to(const char *server, const char *path, struct buf *url, struct err *e)
{
    size_t n = strlen(server);
    while (n && server[n - 1] == '/') n--;
    if (n >= 3 && !memcmp(server + n - 3, "/v1", 3)) n -= 3;
    buf_append(url, server, n);
    for (const unsigned char *p = (const unsigned char *)path; *p; p++) /* it was decoded */
        if (*p <= ' ' || *p > '~' || strchr("%?#\"<>", *p))
            buf_printf(url, "%%%02X", *p);
        else
            buf_putc(url, (char)*p);
    return !url->failed || err_set(e, ERR_REQUEST, "the address is too long");
}

static bool post(const char *server, const char *key, const struct record *r, const struct buf *body,
                 struct answer *out, struct err *e)
{
    struct buf url = BUF_INIT(8192);
    CURL *c = curl_easy_init();
    struct curl_slist *headers = c ? headers_of(r, key) : NULL;
    bool ok = headers || err_set(e, ERR_NOMEM, "out of memory");
    if (ok) ok = where_to(server, r->path, &url, e);
    if (ok) {
        char *type = NULL;
        curl_easy_setopt(c, CURLOPT_URL, url.data);
        curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body->data ? body->data : "");
        curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, &out->bytes);
        const CURLcode rc = curl_easy_perform(c);
        ok = rc == CURLE_OK ||
             err_set(e, ERR_IO, "%.100s: %s%s", server, curl_easy_strerror(rc),
                     rc == CURLE_COULDNT_CONNECT ? "; without --url it is made again here" : "");
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &out->status);
        curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
        snprintf(out->type, sizeof out->type, "%s", type ? type : "");
    }
    if (ok && out->status != 200) {
        json_t *v = json_memory_load(out->bytes.data ? out->bytes.data : "", out->bytes.len, 0, NULL);
        const json_t *error = json_object_get(v, "error");
        const char *m = json_string_value(json_is_string(error) ? error : json_object_get(error, "message"));
        ok =
            err_set(e, ERR_IO, "%.200s answered %ld%s%.150s", server, out->status, m ? ": " : "", m ? m : "");
        json_decref(v);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    buf_free(&url);
    return ok;
}

/* *same: what was found. */
static bool compare(const struct ledger_row *row, const struct record *r, const struct answer *a, bool *same,
                    struct err *e)
{
    struct buf now = BUF_INIT(ESSENCE_MOST), before = BUF_INIT(ESSENCE_MOST);
    char hash[ESSENCE_HASH], where[500] = "";
    if (!*row->answer_hash)
        return err_set(e, ERR_NOT_FOUND,
                       "what was answered then was not kept: there is nothing to compare with");
    bool ok = essence_of(a->type, a->bytes.data ? a->bytes.data : "", a->bytes.len, &now, e) &&
              (buf_puts(&before, r->answer) || err_set(e, ERR_NOMEM, "out of memory"));
    if (ok) {
        essence_hash(&now, hash);
        *same = !strcmp(hash, row->answer_hash);
        if (*same)
            printf("same bytes: %s\n", hash);
        else if (essence_differ(&before, &now, where, sizeof where))
            printf("another answer: %s\n", where);
        else
            printf("the record of that answer was changed: its hash is not the ledger's, %s\n",
                   row->answer_hash);
    }
    buf_free(&now);
    buf_free(&before);
    return ok;
}

/* ---- where it is made again ---------------------------------------------------------------------------------------- */

/* Whether one of the installed models is of the files that answered. */
static bool installed_has(const char *dir, const char *hash, struct err *e)
{
    struct installed_list l;
    char one[FINGERPRINT];
    bool found = false;
    if (!model_folder_scan(dir, &l, e)) return false;
    for (int i = 0; !found && i < l.n; i++)
        found =
            fingerprint_of(l.v[i].path, one, NULL) && !strcmp(one, hash); /* what cannot be read is another */
    installed_list_free(&l);
    return found ||
           err_set(e, ERR_NOT_FOUND,
                   "no model in %s has the files that answered (their hash is %.16s...); --model names "
                   "them, --url a server that has them",
                   dir, hash);
}

/* A server of this command's own, over the files that the row's hash is of. */
static bool serve_again(struct own_server *s, const struct ledger_row *row, const struct options *o,
                        struct err *e)
{
    char hash[FINGERPRINT];
    if (!*o->model)
        return (!*row->model_hash || installed_has(o->registry.models_dir, row->model_hash, e)) &&
               own_server_start(s, o->registry.models_dir, "", "", e);
    if (!fingerprint_of(o->model, hash, e)) return false;
    if (*row->model_hash && strcmp(hash, row->model_hash) != 0)
        return err_set(e, ERR_REQUEST,
                       "%.150s: other files than those that answered: their hash is %.16s..., not %.16s...",
                       o->model, hash, row->model_hash);
    return own_server_start(s, o->registry.models_dir, o->model, row->model, e);
}

static bool replay(struct store *s, const struct options *o, bool *same, struct err *e)
{
    struct ledger_row row;
    struct record r = { .made_ms = 0 };
    struct buf body = BUF_INIT(0);
    struct answer a = { .bytes = BUF_INIT(RECORDING_MOST) };
    struct own_server own = { .pid = 0 };
    const bool here = !*o->url;
    const bool ok = ledger_find(s, o->args.v[0], &row, e) && record_get(s, row.uid, &r, e) &&
                    record_with_seed(&r, row.seed, &body, e) && (!here || serve_again(&own, &row, o, e)) &&
                    post(here ? own.url : o->url, here ? own.key : o->key, &r, &body, &a, e) &&
                    compare(&row, &r, &a, same, e);
    own_server_stop(&own);
    record_free(&r);
    buf_free(&body);
    buf_free(&a.bytes);
    return ok;
}

int cmd_replay(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    bool same = false;
    int rc = options_parse(&o, CMD_REPLAY, argc, argv);
    if (rc >= 0) goto done;
    rc = 2;
    if (o.args.n != 1 || !*o.store) {
        fprintf(stderr, o.args.n != 1
                            ? "hearth replay: say which request: its X-Request-Id, or its uid in the ledger\n"
                            : "hearth replay: --store names the file or the URL that keeps the records\n");
        goto done;
    }
    if (*o.model && *o.url) {
        fprintf(stderr,
                "hearth replay: --model is of a server of this command's own, and --url names another\n");
        goto done;
    }
    rc = 0;
    if (!store_open(&s, o.store, &(struct store_options){ .must_exist = true }, &e) ||
        !replay(s, &o, &same, &e)) {
        fprintf(stderr, "hearth replay: %s\n", e.msg);
        rc = 1;
    } else if (!same) {
        rc = 3;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
