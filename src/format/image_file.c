#include "format/image_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/image_codec.h"

static bool image_file_format(const void *data, size_t n, enum image_format *out)
{
    const unsigned char *s = data;
    if (n >= 8 && memcmp(s, "\x89PNG\r\n\x1a\n", 8) == 0) {
        *out = IMAGE_PNG;
    } else if (n >= 3 && memcmp(s, "\xff\xd8\xff", 3) == 0) {
        *out = IMAGE_JPEG;
    } else if (n >= 12 && memcmp(s, "RIFF", 4) == 0 && memcmp(s + 8, "WEBP", 4) == 0) {
        *out = IMAGE_WEBP;
    } else {
        return false;
    }
    return true;
}

const char *image_format_mime(enum image_format f)
{
    static const char *const names[] = {
        [IMAGE_PNG] = "image/png", [IMAGE_JPEG] = "image/jpeg", [IMAGE_WEBP] = "image/webp"
    };
    return names[f];
}

bool image_reserve(struct image_pixels *p, uint64_t width, uint64_t height, int channels,
                   const struct image_limits *limits, struct err *e)
{
    uint64_t side = (uint64_t)limits->max_side;
    if (width == 0 || height == 0) return err_set(e, ERR_FORMAT, "the picture has no pixels");
    if (width > side || height > side || width * height > (uint64_t)limits->max_pixels) {
        return err_set(e, ERR_LIMIT,
                       "the picture has %llu x %llu pixels, the limits are %lld pixels and %d on a side",
                       (unsigned long long)width, (unsigned long long)height, (long long)limits->max_pixels,
                       limits->max_side);
    }
    size_t bytes;
    unsigned char *data = mem_mul((size_t)(width * height), (size_t)channels, &bytes) ? malloc(bytes) : NULL;
    if (!data) {
        return err_set(e, ERR_NOMEM, "no memory for a picture of %llu x %llu", (unsigned long long)width,
                       (unsigned long long)height);
    }
    *p = (struct image_pixels){ (int)width, (int)height, channels, data };
    return true;
}

void image_file_flatten(struct image_pixels *p)
{
    if (p->channels != 4) return;
    size_t n = (size_t)p->width * (size_t)p->height;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *s = p->data + 4 * i;
        unsigned alpha = s[3];
        for (size_t c = 0; c < 3; c++) {
            p->data[3 * i + c] = (unsigned char)((s[c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
    }
    p->channels = 3;
}

static bool add_alpha(struct image_pixels *p, struct err *e)
{
    size_t n = (size_t)p->width * (size_t)p->height, bytes;
    unsigned char *data = mem_mul(n, 4, &bytes) ? malloc(bytes) : NULL;
    if (!data) return err_set(e, ERR_NOMEM, "no memory for a picture of %d x %d", p->width, p->height);
    for (size_t i = 0; i < n; i++) {
        memcpy(data + 4 * i, p->data + 3 * i, 3);
        data[4 * i + 3] = 255;
    }
    free(p->data);
    p->data = data;
    p->channels = 4;
    return true;
}

bool image_file_decode(const void *data, size_t n, int channels, const struct image_limits *limits,
                       struct image_pixels *out, struct err *e)
{
    enum image_format format;
    if (n > limits->max_bytes) {
        return err_set(e, ERR_LIMIT, "the picture has %zu bytes, the limit is %zu", n, limits->max_bytes);
    }
    if (!image_file_format(data, n, &format)) {
        return err_set(e, ERR_FORMAT, "expected a PNG, JPEG or WebP picture, found something else");
    }
    struct image_pixels p = { 0 };
    bool ok = format == IMAGE_PNG    ? png_decode(data, n, limits, &p, e)
              : format == IMAGE_JPEG ? jpeg_decode(data, n, limits, &p, e)
                                     : webp_decode(data, n, limits, &p, e);
    if (ok && channels == 3) image_file_flatten(&p);
    if (ok && channels == 4 && p.channels == 3) ok = add_alpha(&p, e);
    if (!ok) {
        free(p.data);
        return false;
    }
    *out = p;
    return true;
}
