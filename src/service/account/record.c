/* record.c - see record.h. */
#include "service/account/record.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "format/json_memory.h"
#include "service/account/essence.h"

static bool is_form(const char *headers)
{
    json_t *h = json_memory_load(headers, strlen(headers), 0, NULL);
    const char *type = json_string_value(json_object_get(h, "Content-Type"));
    const bool form = type && !strncasecmp(type, "multipart/", 10);
    json_decref(h);
    return form;
}

void record_free(struct record *r)
{
    free(r->path);
    free(r->headers);
    free(r->answer_type);
    free(r->answer);
    buf_free(&r->body);
    *r = (struct record){ .path = NULL };
}

bool record_make(struct record *out, const char *uid, int64_t made_ms, const char *path,
                 struct recording *from, char answer_hash[65])
{
    struct buf essence = BUF_INIT(ESSENCE_MOST);
    struct err e = { ERR_NONE, "" };
    *out = (struct record){ .made_ms = made_ms };
    *answer_hash = 0;
    snprintf(out->uid, sizeof out->uid, "%s", uid);
    bool told = !from->answer.failed && essence_of(from->type, from->answer.data ? from->answer.data : "",
                                                   from->answer.len, &essence, &e);
    if (told)
        essence_hash(&essence, answer_hash);
    else
        log_warn("the answer of a recorded request is not kept: %s", *e.msg ? e.msg : "it is too long");
    if (!told) buf_clear(&essence);
    out->path = strdup(path);
    out->headers = from->headers;
    out->body = from->body;
    out->answer_type = strdup(from->type);
    out->answer = buf_take(&essence);
    from->headers = NULL;
    from->body = (struct buf){ 0 };
    if (out->path && out->headers && out->answer_type && out->answer) return true;
    record_free(out);
    return false;
}

bool record_put(const struct record *r, struct session *c, struct err *e)
{
    const char *body = r->body.data ? r->body.data : "";
    char *coded = NULL;
    if (is_form(r->headers)) {
        const size_t n = sodium_base64_encoded_len(r->body.len, sodium_base64_VARIANT_ORIGINAL);
        coded = malloc(n);
        if (!coded) return err_set(e, ERR_NOMEM, "out of memory");
        sodium_bin2base64(coded, n, (const unsigned char *)body, r->body.len, sodium_base64_VARIANT_ORIGINAL);
        body = coded;
    }
    const bool ok = session_run(c,
                                "INSERT INTO records (uid, made_ms, path, headers, body, answer_type, "
                                "answer) VALUES ($1, $2, $3, $4, $5, $6, $7) "
                                "ON CONFLICT (uid) DO NOTHING",
                                STORE_ARGS(STORE_V((const char *)r->uid), STORE_V(r->made_ms),
                                           STORE_V(r->path), STORE_V(r->headers), STORE_V(body),
                                           STORE_V(r->answer_type), STORE_V(r->answer)),
                                NULL, NULL, e);
    free(coded);
    return ok;
}

static bool take_record(void *arg, const struct store_row *row, struct err *e)
{
    struct record *r = arg;
    const char *body = row->v[3].text;
    r->made_ms = row->v[0].number;
    r->path = strdup(row->v[1].text);
    r->headers = strdup(row->v[2].text);
    r->answer_type = strdup(row->v[4].text);
    r->answer = strdup(row->v[5].text);
    r->body = BUF_INIT(0);
    if (!r->path || !r->headers || !r->answer_type || !r->answer)
        return err_set(e, ERR_NOMEM, "out of memory");
    if (!is_form(r->headers)) return buf_puts(&r->body, body) || err_set(e, ERR_NOMEM, "out of memory");
    size_t n = strlen(body), len = 0;
    unsigned char *bytes = malloc(n + 1);
    bool ok = bytes || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && (!sodium_base642bin(bytes, n + 1, body, n, NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) ||
                err_set(e, ERR_FORMAT, "the record of %s has a body that is not base64", r->uid));
    ok = ok && (buf_append(&r->body, bytes, len) || err_set(e, ERR_NOMEM, "out of memory"));
    free(bytes);
    return ok;
}

static bool get(void *arg, struct session *c, struct err *e)
{
    struct record *r = arg;
    return session_run(c,
                       "SELECT made_ms, path, headers, body, answer_type, answer FROM records WHERE uid = $1",
                       STORE_ARGS(STORE_V((const char *)r->uid)), take_record, r, e);
}

bool record_get(struct store *s, const char *uid, struct record *out, struct err *e)
{
    *out = (struct record){ .made_ms = 0 };
    snprintf(out->uid, sizeof out->uid, "%s", uid);
    bool ok = store_read(s, get, out, e);
    ok = ok && (out->path ||
                err_set(e, ERR_NOT_FOUND,
                        "that request was not recorded: a server with --record keeps what it is asked"));
    if (!ok) record_free(out);
    return ok;
}

/* ---- again --------------------------------------------------------------------------------------------------------- */

static bool json_with_seed(const struct record *r, const char *seed, struct buf *body, struct err *e)
{
    json_t *v = json_memory_load(r->body.data ? r->body.data : "", r->body.len, JSON_ALLOW_NUL, NULL);
    bool ok = json_is_object(v) || err_set(e, ERR_FORMAT, "the recorded body is no JSON object");
    ok = ok && (!*seed || !json_object_set_new(v, "seed", json_integer(strtoll(seed, NULL, 10))) ||
                err_set(e, ERR_NOMEM, "out of memory"));
    char *text = ok ? json_memory_dumps(v, JSON_COMPACT) : NULL;
    ok = ok && ((text && buf_puts(body, text)) || err_set(e, ERR_NOMEM, "out of memory"));
    free(text);
    json_decref(v);
    return ok;
}

/* A part of its own in front, where there is none: the body begins with the boundary's line. */
static bool form_with_seed(const struct record *r, const char *seed, struct buf *body, struct err *e)
{
    const char *bytes = r->body.data ? r->body.data : "";
    const char *line = memchr(bytes, '\n', r->body.len);
    const bool has = memmem(bytes, r->body.len, "name=\"seed\"", 11) != NULL;
    if (!line || strncmp(bytes, "--", 2) != 0) return err_set(e, ERR_FORMAT, "the recorded body is no form");
    if (*seed && !has) {
        buf_append(body, bytes, (size_t)(line + 1 - bytes));
        buf_printf(body, "Content-Disposition: form-data; name=\"seed\"\r\n\r\n%s\r\n", seed);
    }
    buf_append(body, bytes, r->body.len);
    return !body->failed || err_set(e, ERR_NOMEM, "out of memory");
}

bool record_with_seed(const struct record *r, const char *seed, struct buf *body, struct err *e)
{
    return is_form(r->headers) ? form_with_seed(r, seed, body, e) : json_with_seed(r, seed, body, e);
}
