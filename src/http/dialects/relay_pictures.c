/* relay_pictures.c - see relay_pictures.h. */
#include "http/dialects/relay_pictures.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/dialects/parse.h"

/* ---- the request --------------------------------------------------------------------------------------------------- */

const char *relay_picture_endpoint(const struct picture_wire *w)
{
    return w->task == PICTURE_EDIT   ? "/images/edits"
           : w->task == PICTURE_VARY ? "/images/variations"
                                     : "/images/generations";
}

static bool refuse(struct fault *f, const char *name)
{
    f->param = name;
    return err_set(&f->err, ERR_UNSUPPORTED,
                   "%s: another server serves this model, and cannot be asked for that; leave it out", name);
}

static bool check(const struct picture_wire *w, struct fault *f)
{
    const struct picture_request *q = &w->q;
    if (q->n_lora) return refuse(f, "loras");
    if (q->sampler) return refuse(f, "sampler");
    if (q->clip_skip) return refuse(f, "clip_skip");
    if (!q->safety) return refuse(f, "safety_check");
    if (q->expand_left || q->expand_right || q->expand_top || q->expand_bottom)
        return refuse(f, "expand_left");
    return true;
}

/* Takes over v. */
static bool put(json_t *o, const char *key, json_t *v)
{
    if (!v) return false;
    return !json_object_set_new(o, key, v);
}

static bool put_text(json_t *o, const char *key, const char *v)
{
    return !v || !*v || put(o, key, json_string(v));
}

json_t *relay_picture_body(const struct picture_wire *w, const char *model, struct fault *f)
{
    const struct picture_request *q = &w->q;
    char size[48];
    if (!check(w, f)) return NULL;
    json_t *body = json_object();
    snprintf(size, sizeof size, "%lldx%lld", (long long)q->width, (long long)q->height);
    bool ok = body && put(body, "model", json_string(model)) && put_text(body, "prompt", q->prompt) &&
              put(body, "n", json_integer((json_int_t)q->n)) &&
              put(body, "response_format", json_string("b64_json")) &&
              put_text(body, "negative_prompt", q->negative_prompt) && put_text(body, "quality", w->quality);
    ok = ok && (!q->width || put(body, "size", json_string(size)));
    ok = ok && (!q->steps || put(body, "num_inference_steps", json_integer((json_int_t)q->steps)));
    ok = ok && (q->guidance < 0 || put(body, "guidance_scale", json_real(q->guidance)));
    ok = ok && (q->strength < 0 || put(body, "strength", json_real(q->strength)));
    ok = ok && (!q->has_seed || put(body, "seed", json_integer((json_int_t)q->seed)));
    if (ok) return body;
    json_decref(body);
    parse_no_memory(f);
    return NULL;
}

/* ---- as a form ----------------------------------------------------------------------------------------------------- */

static void open_part(struct buf *b, const char *boundary, const char *name)
{
    buf_printf(b, "--%s\r\nContent-Disposition: form-data; name=\"%s\"", boundary, name);
}

static void put_field(struct buf *b, const char *boundary, const char *name, const json_t *v)
{
    open_part(b, boundary, name);
    buf_puts(b, "\r\n\r\n");
    if (json_is_string(v)) {
        buf_append(b, json_string_value(v), json_string_length(v));
    } else {
        char *text = json_memory_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        if (!text || !buf_puts(b, text)) b->failed = true;
        free(text);
    }
    buf_puts(b, "\r\n");
}

static bool put_file(struct buf *b, const char *boundary, const char *name, const struct image_pixels *p,
                     struct err *e)
{
    open_part(b, boundary, name);
    buf_printf(b, "; filename=\"%s.png\"\r\nContent-Type: image/png\r\n\r\n", name);
    const bool ok = image_file_png(b, p, NULL, 0, e);
    buf_puts(b, "\r\n");
    return ok;
}

/* What is to be drawn anew is transparent. */
static bool put_mask(struct buf *b, const char *boundary, const struct picture_request *q, struct err *e)
{
    const size_t n = (size_t)q->init.width * (size_t)q->init.height;
    struct image_pixels p = { q->init.width, q->init.height, 4, calloc(n, 4) };
    if (!p.data) return err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) p.data[4 * i + 3] = (unsigned char)(255 - q->mask[i]);
    const bool ok = put_file(b, boundary, "mask", &p, e);
    free(p.data);
    return ok;
}

bool relay_picture_form(const struct picture_wire *w, const json_t *body, struct buf *out,
                        char boundary[RELAY_BOUNDARY], struct fault *f)
{
    const struct picture_request *q = &w->q;
    const struct image_pixels init = { q->init.width, q->init.height, 3, q->init.pixels };
    unsigned char random[12];
    char hex[2 * sizeof random + 1];
    const char *key;
    json_t *v;
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(hex, sizeof hex, random, sizeof random);
    snprintf(boundary, RELAY_BOUNDARY, "hearth-form-%s", hex);
    json_object_foreach((json_t *)body, key, v)
    {
        if (strcmp(key, "model") != 0) put_field(out, boundary, key, v);
    }
    if (!put_file(out, boundary, "image", &init, &f->err)) return false;
    if (q->mask && !put_mask(out, boundary, q, &f->err)) return false;
    buf_printf(out, "--%s--\r\n", boundary);
    return !out->failed || parse_no_memory(f);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

static enum image_format format_of(const unsigned char *bytes, size_t n)
{
    if (n > 3 && bytes[0] == 0xff && bytes[1] == 0xd8) return IMAGE_JPEG;
    return n > 12 && !memcmp(bytes, "RIFF", 4) ? IMAGE_WEBP : IMAGE_PNG;
}

static bool encode(const struct picture_wire *w, const struct image_pixels *px, struct buf *out,
                   struct err *e)
{
    switch (w->q.format) {
    case IMAGE_JPEG: return image_file_jpeg(out, px, w->q.quality, e);
    case IMAGE_WEBP: return image_file_webp(out, px, w->q.quality, e);
    default: return image_file_png(out, px, NULL, 0, e);
    }
}

/* Takes over `bytes`: they stay where they are a file of the right format, after they were decoded whole. */
static bool to_file(const struct picture_wire *w, unsigned char *bytes, size_t n, struct reply_picture *out,
                    struct err *e)
{
    const struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    struct image_pixels px;
    struct buf made = BUF_INIT(0);
    bool ok = image_file_decode(bytes, n, 3, &limits, &px, e);
    if (!ok) {
        free(bytes);
        e->code = e->code == ERR_NOMEM ? ERR_NOMEM : ERR_UPSTREAM;
        return err_wrap(e, "the upstream's picture");
    }
    out->width = px.width;
    out->height = px.height;
    if (format_of(bytes, n) == w->q.format) {
        out->bytes = bytes;
        out->len = n;
    } else {
        free(bytes);
        ok = encode(w, &px, &made, e);
        out->len = made.len;
        out->bytes = ok ? (unsigned char *)buf_take(&made) : NULL;
        if (ok && !out->bytes) ok = err_set(e, ERR_NOMEM, "out of memory");
        buf_free(&made);
    }
    free(px.data);
    return ok;
}

static bool read_picture(const struct picture_wire *w, const json_t *d, int i, struct reply_picture *out,
                         struct err *e)
{
    const json_t *b64 = json_object_get(d, "b64_json"), *seed = json_object_get(d, "seed");
    const size_t len = json_string_length(b64), cap = len / 4 * 3 + 3;
    size_t n;
    if (!json_is_string(b64))
        return err_set(e, ERR_UPSTREAM, "the upstream's answer has no bytes of picture %d (b64_json)", i + 1);
    unsigned char *bytes = malloc(cap);
    if (!bytes) return err_set(e, ERR_NOMEM, "out of memory");
    if (sodium_base642bin(bytes, cap, json_string_value(b64), len, "\r\n ", &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL)) {
        free(bytes);
        return err_set(e, ERR_UPSTREAM, "the upstream's picture %d is no base64", i + 1);
    }
    *out = (struct reply_picture){ .nsfw = json_is_true(json_object_get(d, "nsfw")),
                                   .filtered = json_is_true(json_object_get(d, "filtered")) };
    out->seed = json_is_integer(seed) ? (uint64_t)json_integer_value(seed)
                : w->q.has_seed       ? w->q.seed + (uint64_t)i
                                      : 0;
    return to_file(w, bytes, n, out, e);
}

bool relay_picture_read(const struct picture_wire *w, const char *json, size_t len, struct reply_picture *out,
                        int n, struct err *e)
{
    json_error_t why;
    json_t *root = json_memory_load(json, len, JSON_ALLOW_NUL, &why);
    const json_t *data = json_object_get(root, "data");
    int i = 0;
    bool ok = json_array_size(data) == (size_t)n ||
              err_set(e, ERR_UPSTREAM, "the upstream's answer has %zu pictures, and %d were asked for",
                      json_array_size(data), n);
    for (; ok && i < n; i++) ok = read_picture(w, json_array_get(data, (size_t)i), i, &out[i], e);
    for (; !ok && i-- > 0;) {
        free(out[i].bytes);
        out[i].bytes = NULL;
    }
    json_decref(root);
    return ok;
}
