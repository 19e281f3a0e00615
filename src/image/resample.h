/* resample.h - 8-bit pictures at another size, to the byte as Pillow's Image.resize(size, LANCZOS) does it: what diffusers' image
 * processors do to input pictures and masks.
 *
 * Formula  a windowed sinc of three lobes, widened by the factor when shrinking; weights in double, rounded to 22 bits; first the rows,
 *          rounded to bytes, then the columns. A direction whose size stays is left alone.
 * Threads  any; no state between calls. */
#ifndef HEARTH_IMAGE_RESAMPLE_H
#define HEARTH_IMAGE_RESAMPLE_H

#include <stdbool.h>

#include "base/err.h"

/* src [h, w, channels] into dst [h2, w2, channels]; they do not overlap. false: no memory. */
bool resample_lanczos(unsigned char *dst, int w2, int h2, const unsigned char *src, int w, int h,
                      int channels, struct err *e);

#endif
