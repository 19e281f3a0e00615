/* message_pictures.c - pictures among the messages of a chat: the forms that clients send, and data URLs.
 *
 *   {"type": "image_url", "image_url": {"url": URL, "detail": "low" | "high" | "auto"}}     chat completions; the URL alone too
 *   {"type": "input_image", "image_url": URL, "detail": ...}                                 responses */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/words.h"
#include "http/dialects/wire.h"
#include "http/json_in.h"

static json_t *bad(struct fault *f, const char *where, const char *what)
{
    f->param = "messages";
    err_set(&f->err, ERR_REQUEST, "%s%s", where, what);
    return NULL;
}

bool wire_is_picture(const char *type) { return !strcmp(type, "image_url") || !strcmp(type, "input_image"); }

/* "low": the picture in little; "high", "auto": with its details. */
static bool detail_of(const json_t *v, const char *where, bool *whole, struct fault *f)
{
    int kind;
    if (!v || json_is_null(v)) return true;
    if (!json_is_string(v) || !words_have("low|high|auto", json_string_value(v), &kind))
        return bad(f, where, "detail must be one of low, high, auto"), false;
    *whole = kind == 0;
    return true;
}

/* What a data URL holds; a transform behind it, which one SDK adds, is passed over. */
static bool decode(struct gen_picture *p, const char *url, size_t len, const char *where, struct fault *f)
{
    const char *comma = memchr(url, ',', len < 256 ? len : 256), *hash = memchr(url, '#', len);
    static const char base64[] = ";base64";
    const size_t tail = sizeof base64 - 1;
    if (!comma || comma - url < (ptrdiff_t)tail || strncasecmp(comma - tail, base64, tail) != 0)
        return bad(f, where, "a data URL must be data:image/png;base64,..."), false;
    if (hash && hash > comma) len = (size_t)(hash - url);
    const size_t n = len - (size_t)(comma + 1 - url), room = n / 4 * 3 + 3;
    if (n / 4 * 3 > REQUEST_PICTURE_BYTES + 3) {
        f->param = "messages";
        return err_set(&f->err, ERR_REQUEST, "%sthe picture's file is larger than %d MB", where,
                       REQUEST_PICTURE_BYTES >> 20);
    }
    unsigned char *bytes = malloc(room);
    if (!bytes) return err_set(&f->err, ERR_NOMEM, "out of memory");
    const char *wrong = NULL;
    if (sodium_base642bin(bytes, room, comma + 1, n, "\r\n ", &p->n, NULL, sodium_base64_VARIANT_ORIGINAL) !=
        0)
        wrong = "the data URL is not base64";
    else if (p->n == 0)
        wrong = "the data URL is empty";
    if (!wrong) {
        p->bytes = bytes;
        return true;
    }
    free(bytes);
    return bad(f, where, wrong), false;
}

static bool is_scheme(const char *url, size_t len, const char *scheme)
{
    return len >= strlen(scheme) && strncasecmp(url, scheme, strlen(scheme)) == 0;
}

static bool take(struct gen_picture *p, const json_t *url, const char *where, struct fault *f)
{
    const char *s = json_string_value(url);
    const size_t len = json_string_length(url);
    if (is_scheme(s, len, "data:")) return decode(p, s, len, where, f);
    if (!is_scheme(s, len, "https://") && !is_scheme(s, len, "http://"))
        return bad(f, where, "a picture must be a data URL (data:image/png;base64,...) or an http URL"),
               false;
    if (len > 4096 || strlen(s) != len) return bad(f, where, "the URL is too long or has a NUL in it"), false;
    p->url = strndup(s, len);
    return p->url || err_set(&f->err, ERR_NOMEM, "out of memory");
}

json_t *wire_picture(const json_t *part, size_t i, size_t k, bool strict, struct gen_request *q,
                     struct fault *f)
{
    static const char known[] = "type image_url detail file_id cache_control id", inner[] = "url detail";
    char where[64];
    const json_t *o = json_object_get(part, "image_url"),
                 *url = json_is_object(o) ? json_object_get(o, "url") : o;
    const json_t *file = json_object_get(part, "file_id");
    struct gen_picture p = { .message = i };
    snprintf(where, sizeof where, "messages[%zu].content[%zu].", i, k);
    if (!json_in_members(part, known, where, strict, "messages", f)) return NULL;
    if (file && !json_is_null(file))
        return bad(f, where, "file_id: there are no stored files here; send a data URL");
    if (json_is_object(o)) {
        char within[80];
        snprintf(within, sizeof within, "%simage_url.", where);
        if (!json_in_members(o, inner, within, strict, "messages", f)) return NULL;
    }
    if (!json_is_string(url))
        return bad(f, where, "image_url must be {\"url\": \"data:image/png;base64,...\"}");
    if (!detail_of(json_object_get(part, "detail"), where, &p.whole, f) ||
        !detail_of(json_object_get(o, "detail"), where, &p.whole, f))
        return NULL;
    if (q->n_pictures == REQUEST_MAX_PICTURES) {
        f->param = "messages";
        err_set(&f->err, ERR_REQUEST,
                "%sthis is more than %d pictures, which is the most that a request may have", where,
                REQUEST_MAX_PICTURES);
        return NULL;
    }
    struct gen_picture *all = realloc(q->picture, (size_t)(q->n_pictures + 1) * sizeof *all);
    if (!all) return err_set(&f->err, ERR_NOMEM, "out of memory"), NULL;
    q->picture = all;
    json_t *out =
        take(&p, url, where, f) ? json_pack("{s:s, s:i}", "type", "image", "picture", q->n_pictures) : NULL;
    if (out) {
        q->picture[q->n_pictures++] = p;
        return out;
    }
    free(p.bytes);
    free(p.url);
    if (!f->err.code) err_set(&f->err, ERR_NOMEM, "out of memory");
    return NULL;
}
