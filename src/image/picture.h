/* picture.h - 8-bit pictures around the networks: scaling, canvases with masks, rounding. */
#ifndef HEARTH_IMAGE_PICTURE_H
#define HEARTH_IMAGE_PICTURE_H

#include "base/mem.h"
#include "image/image.h"

/* -1..1 to 0..255, rounded to nearest as diffusers does; NaN gives 0. */
static inline unsigned char picture_byte(float v)
{
    float x = v * 127.5f + 127.5f;
    return x >= 255 ? 255 : x > 0 ? (unsigned char)__builtin_lrintf(x) : 0;
}

/* src [h, w, channels] scaled into dst [h2, w2, channels], 1 to 4 channels. false: no memory. */
bool picture_scale(unsigned char *dst, int w2, int h2, const unsigned char *src, int w, int h, int channels,
                   struct err *e);

/* The picture that image to image starts from, width x height: init with its expansion (filled with its edge pixels), scaled. *mask: 255
 * where to repaint: the given mask and all that the expansion added; NULL when neither is there. Both are malloc'ed. */
bool picture_canvas(const struct image_rgb *init, const unsigned char *mask, int left, int top, int right,
                    int bottom, int width, int height, struct image_rgb *picture, unsigned char **mask_out,
                    struct err *e);

#endif
