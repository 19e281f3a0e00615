/* picture_input.c - pictures that come with a request: files of a form, or data URLs; and forms as a whole. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/picture_dialect.h"

static bool is_name(const struct multipart_part *p, const char *name)
{
    return p->name_len == strlen(name) && !memcmp(p->name, name, p->name_len);
}

/* An upload that does not decode is the client's fault, whatever the decoder calls it. */
static bool bad_picture(const char *name, struct fault *f)
{
    if (f->err.code != ERR_NOMEM) f->err.code = ERR_REQUEST;
    return err_wrap(&f->err, "%s", name);
}

/* A file's bytes, or "data:image/png;base64,..." in their place. */
static bool decode_picture(const char *data, size_t len, int channels, const struct image_limits *limits,
                           struct image_pixels *px, struct err *e)
{
    static const char scheme[] = "data:image/", base64[] = ";base64,";
    const char *at = len > 64 && !memcmp(data, scheme, sizeof scheme - 1)
                         ? memmem(data, 64, base64, sizeof base64 - 1)
                         : NULL;
    if (!at) return image_file_decode(data, len, channels, limits, px, e);
    at += sizeof base64 - 1;
    size_t n = len - (size_t)(at - data), got = 0;
    unsigned char *bytes = malloc(n / 4 * 3 + 3);
    if (!bytes) return err_set(e, ERR_NOMEM, "out of memory");
    bool ok = sodium_base642bin(bytes, n / 4 * 3 + 3, at, n, "\r\n ", &got, NULL,
                                sodium_base64_VARIANT_ORIGINAL) == 0 ||
              err_set(e, ERR_REQUEST, "the data URL is not base64");
    ok = ok && image_file_decode(bytes, got, channels, limits, px, e);
    free(bytes);
    return ok;
}

bool picture_input(struct picture_wire *w, const char *data, size_t len, const char *name, struct fault *f)
{
    struct image_pixels px;
    struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    limits.max_pixels = INT64_C(32) << 20;
    f->param = name;
    if (!decode_picture(data, len, 4, &limits, &px, &f->err)) return bad_picture(name, f);
    size_t n = (size_t)px.width * (size_t)px.height, at = 0;
    unsigned char *mask = NULL;
    while (at < n && px.data[4 * at + 3] == 255) at++;
    if (at < n && !(mask = malloc(n))) {
        free(px.data);
        return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; mask && i < n; i++) mask[i] = (unsigned char)(255 - px.data[4 * i + 3]);
    image_file_flatten(&px);
    free(w->transparent);
    free(w->q.init.pixels);
    w->transparent = mask;
    w->q.init = (struct image_rgb){ px.width, px.height, px.data };
    f->param = NULL;
    return true;
}

/* OpenAI's mask: where it is transparent, the picture is painted anew. */
static bool take_mask(struct picture_wire *w, const struct multipart_part *p, struct fault *f)
{
    struct image_pixels px;
    struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    f->param = "mask";
    if (!decode_picture(p->data, p->len, 4, &limits, &px, &f->err)) return bad_picture("mask", f);
    bool ok = px.width == w->q.init.width && px.height == w->q.init.height;
    if (!ok) {
        err_set(&f->err, ERR_REQUEST, "mask must be as large as the image (%dx%d), got %dx%d",
                w->q.init.width, w->q.init.height, px.width, px.height);
    }
    size_t n = (size_t)px.width * (size_t)px.height;
    unsigned char *mask = ok ? malloc(n) : NULL;
    if (ok && !mask) ok = err_set(&f->err, ERR_NOMEM, "out of memory");
    bool transparent = false;
    for (size_t i = 0; ok && i < n; i++) transparent |= px.data[4 * i + 3] < 255;
    for (size_t i = 0; ok && i < n; i++) {
        /* A mask without transparency is a black and white one: white is painted. Its grey is Rec. 601's, as Pillow converts. */
        const unsigned char *c = px.data + 4 * i;
        mask[i] = transparent
                      ? (unsigned char)(255 - c[3])
                      : (unsigned char)((c[0] * 19595u + c[1] * 38470u + c[2] * 7471u + 0x8000u) >> 16);
    }
    free(px.data);
    if (!ok) return false;
    free(w->q.mask);
    w->q.mask = mask;
    f->param = NULL;
    return true;
}

bool picture_wire_form(struct picture_wire *w, const struct multipart *m, bool strict, struct fault *f)
{
    const struct multipart_part *mask = NULL;
    bool have = false;
    w->strict = strict;
    if (w->task == PICTURE_GENERATE) w->task = PICTURE_EDIT;
    w->form = true;
    for (int i = 0; i < m->n; i++) {
        const struct multipart_part *p = &m->part[i];
        for (int k = 0; k < i; k++) {
            const struct multipart_part *o = &m->part[k];
            if (o->name_len != p->name_len || memcmp(o->name, p->name, p->name_len) || !o->len || !p->len ||
                is_name(p, "image") || is_name(p, "image[]"))
                continue;
            return err_set(&f->err, ERR_REQUEST, "the form has two parts called \"%.*s\"",
                           (int)(p->name_len < 80 ? p->name_len : 80), p->name);
        }
        bool image = is_name(p, "image") || is_name(p, "image[]") || is_name(p, "init_image") ||
                     is_name(p, "image[0]");
        if (image && have) {
            f->param = "image";
            return err_set(&f->err, ERR_UNSUPPORTED, "more than one input image is not supported");
        }
        if (image) {
            if (!picture_input(w, p->data, p->len, "image", f)) return false;
            have = true;
        } else if (is_name(p, "mask")) {
            mask = p;
        } else if (p->len) {
            char key[80];
            snprintf(key, sizeof key, "%.*s", (int)(p->name_len < 79 ? p->name_len : 79), p->name);
            json_t *v = json_stringn(p->data, p->len);
            if (!v) {
                return err_set(&f->err, ERR_REQUEST,
                               "the part \"%s\" is not text in UTF-8; files are taken as image and mask",
                               key);
            }
            bool ok = picture_wire_field(w, key, v, f);
            json_decref(v);
            if (!ok) return false;
        }
    }
    if (mask && w->task == PICTURE_VARY) {
        f->param = "mask";
        return err_set(&f->err, ERR_REQUEST, "a variation takes no mask; POST /v1/images/edits does");
    }
    if (mask && have && !take_mask(w, mask, f)) return false;
    w->q.any_size = w->q.width == 0;
    return picture_wire_whole(w, true, f);
}
