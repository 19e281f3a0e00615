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

/* The whole of src [h, w, 3] scaled into the middle of dst [h2, w2, 3]; its edge pixels go on to the sides that another shape adds. */
bool picture_fit(unsigned char *dst, int w2, int h2, const unsigned char *src, int w, int h, struct err *e);

/* The picture that image to image starts from, width x height: init with its expansion (filled with its edge pixels), scaled as diffusers
 * does (resample.h). *mask: 255 where to repaint: the given mask and all that the expansion added, scaled likewise; NULL when neither is
 * there. Both are malloc'ed. */
bool picture_canvas(const struct image_rgb *init, const unsigned char *mask, int left, int top, int right,
                    int bottom, int width, int height, struct image_rgb *picture, unsigned char **mask_out,
                    struct err *e);

/* The mask [h * factor, w * factor] as the latent [h, w] sees it: a cell is painted anew (1) when its upper left pixel is at least half
 * on, as diffusers samples it; else 0. */
void picture_mask_latent(float *latent, int w, int h, const unsigned char *mask, int factor);

/* A byte of the result: what was drawn where the mask is at least half on, as in the latent; below that it fades into what was there,
 * which comes back as it was where the mask is 0. */
static inline unsigned char picture_lay(unsigned char drawn, unsigned char before, unsigned char mask)
{
    return mask > 127 ? drawn : (unsigned char)((drawn * mask + before * (128 - mask) + 64) / 128);
}

#endif
