#include "image/picture.h"

#include <stdlib.h>
#include <string.h>

#include <stb/stb_image_resize.h>

#include "image/resample.h"

bool picture_scale(unsigned char *dst, int w2, int h2, const unsigned char *src, int w, int h, int channels,
                   struct err *e)
{
    if (w == w2 && h == h2) {
        memcpy(dst, src, (size_t)w * (size_t)h * (size_t)channels);
        return true;
    }
    if (stbir_resize_uint8(src, w, h, 0, dst, w2, h2, 0, channels)) return true;
    return err_set(e, ERR_NOMEM, "no memory to scale a picture from %dx%d to %dx%d", w, h, w2, h2);
}

static int clamp(int v, int most) { return v < 0 ? 0 : v > most ? most : v; }

bool picture_canvas(const struct image_rgb *init, const unsigned char *mask, int left, int top, int right,
                    int bottom, int width, int height, struct image_rgb *picture, unsigned char **mask_out,
                    struct err *e)
{
    size_t wide = (size_t)init->width + (size_t)left + (size_t)right;
    size_t high = (size_t)init->height + (size_t)top + (size_t)bottom, cells;
    bool expands = left || top || right || bottom;
    if (!mem_mul(wide, high, &cells) || cells > (size_t)1 << 28) {
        return err_set(e, ERR_LIMIT, "the expanded picture would have %zux%zu pixels", wide, high);
    }
    unsigned char *rgb = calloc(cells, 3), *grey = expands || mask ? calloc(cells, 1) : NULL;
    unsigned char *out = malloc((size_t)width * (size_t)height * 3), *out_mask = NULL;
    bool ok = rgb && out && (grey || !(expands || mask));
    if (grey) {
        out_mask = malloc((size_t)width * (size_t)height);
        ok = ok && out_mask;
    }
    if (!ok) err_set(e, ERR_NOMEM, "no memory for a canvas of %zux%zu", wide, high);
    for (size_t y = 0; ok && y < high; y++) {
        int sy = (int)y - top;
        for (size_t x = 0; x < wide; x++) {
            int sx = (int)x - left;
            size_t from = (size_t)clamp(sy, init->height - 1) * (size_t)init->width +
                          (size_t)clamp(sx, init->width - 1);
            memcpy(rgb + (y * wide + x) * 3, init->pixels + from * 3, 3);
            bool inside = sx >= 0 && sy >= 0 && sx < init->width && sy < init->height;
            if (grey) grey[y * wide + x] = !inside ? 255 : mask ? mask[from] : 0;
        }
    }
    ok = ok && resample_lanczos(out, width, height, rgb, (int)wide, (int)high, 3, e);
    if (ok && grey) ok = resample_lanczos(out_mask, width, height, grey, (int)wide, (int)high, 1, e);
    free(rgb);
    free(grey);
    if (!ok) {
        free(out);
        free(out_mask);
        return false;
    }
    *picture = (struct image_rgb){ width, height, out };
    *mask_out = out_mask;
    return true;
}

bool picture_fit(unsigned char *dst, int w2, int h2, const unsigned char *src, int w, int h, struct err *e)
{
    int64_t across = (int64_t)w2 * h, down = (int64_t)h2 * w;
    if (across == down) return picture_scale(dst, w2, h2, src, w, h, 3, e);
    /* The side that is short decides; the other is rounded, and is at least a pixel. */
    int wide = across < down ? w2 : (int)((down + h / 2) / h),
        high = across < down ? (int)((across + w / 2) / w) : h2;
    wide = clamp(wide, w2) ? clamp(wide, w2) : 1;
    high = clamp(high, h2) ? clamp(high, h2) : 1;
    unsigned char *small = malloc((size_t)wide * (size_t)high * 3);
    if (!small) return err_set(e, ERR_NOMEM, "no memory to scale a picture to %dx%d", w2, h2);
    bool ok = picture_scale(small, wide, high, src, w, h, 3, e);
    int left = (w2 - wide) / 2, top = (h2 - high) / 2;
    for (int y = 0; ok && y < h2; y++) {
        for (int x = 0; x < w2; x++) {
            size_t from = (size_t)clamp(y - top, high - 1) * (size_t)wide + (size_t)clamp(x - left, wide - 1);
            memcpy(dst + ((size_t)y * (size_t)w2 + (size_t)x) * 3, small + from * 3, 3);
        }
    }
    free(small);
    return ok;
}

void picture_mask_latent(float *latent, int w, int h, const unsigned char *mask, int factor)
{
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++)
            latent[y * w + x] = mask[(y * factor) * (w * factor) + x * factor] > 127 ? 1.0f : 0.0f;
    }
}
