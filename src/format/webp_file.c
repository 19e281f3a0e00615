/* webp_file.c - WebP through libwebp: still pictures, lossy and lossless. */
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/encode.h>

#include "base/mem.h"
#include "format/image_codec.h"
#include "format/orientation.h"

bool webp_decode(const void *data, size_t n, const struct image_limits *limits, struct image_pixels *p,
                 struct err *e)
{
    WebPBitstreamFeatures f;
    VP8StatusCode status = WebPGetFeatures(data, n, &f);
    if (status == VP8_STATUS_NOT_ENOUGH_DATA) return err_set(e, ERR_FORMAT, "WebP: truncated");
    if (status != VP8_STATUS_OK) return err_set(e, ERR_FORMAT, "WebP: damaged header");
    if (f.has_animation)
        return err_set(e, ERR_UNSUPPORTED, "WebP: an animation is not supported, only still pictures");
    if (f.width < 0 || f.height < 0) return err_set(e, ERR_FORMAT, "WebP: damaged header");
    int channels = f.has_alpha ? 4 : 3;
    if (!image_reserve(p, (uint64_t)f.width, (uint64_t)f.height, channels, limits, e)) return false;
    int stride = f.width * channels;
    size_t bytes = (size_t)stride * (size_t)f.height;
    unsigned char *done = channels == 4 ? WebPDecodeRGBAInto(data, n, p->data, bytes, stride)
                                        : WebPDecodeRGBInto(data, n, p->data, bytes, stride);
    if (!done) return err_set(e, ERR_FORMAT, "WebP: truncated or damaged");
    return orientation_apply(p, orientation_in_webp(data, n), e);
}

bool image_file_webp(struct buf *out, const struct image_pixels *p, int quality, struct err *e)
{
    if (p->width > WEBP_MAX_DIMENSION || p->height > WEBP_MAX_DIMENSION) {
        return err_set(e, ERR_LIMIT, "a WebP has at most %d pixels on a side", WEBP_MAX_DIMENSION);
    }
    unsigned char *file = NULL;
    int stride = p->width * p->channels;
    size_t n;
    if (quality == 0) {
        n = p->channels == 4 ? WebPEncodeLosslessRGBA(p->data, p->width, p->height, stride, &file)
                             : WebPEncodeLosslessRGB(p->data, p->width, p->height, stride, &file);
    } else {
        n = p->channels == 4 ? WebPEncodeRGBA(p->data, p->width, p->height, stride, (float)quality, &file)
                             : WebPEncodeRGB(p->data, p->width, p->height, stride, (float)quality, &file);
    }
    bool ok = n > 0 && buf_append(out, file, n);
    WebPFree(file);
    return ok || err_set(e, ERR_NOMEM, "no memory to write a WebP of %d x %d", p->width, p->height);
}
