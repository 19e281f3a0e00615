/* conv_internal.h - what the two ways to a dense convolution share: conv.c multiplies the picture as it stands by every tap of the
 * kernel, winograd.c multiplies small transformed squares of it. */
#ifndef HEARTH_DEVICE_CPU_CONV_INTERNAL_H
#define HEARTH_DEVICE_CPU_CONV_INTERNAL_H

#include <stdatomic.h>

#include "device/cpu/float_kern.h"

struct conv {
    bool f32, depthwise, winograd;
    int phases; /* outputs that an input pixel stands for, each with a kernel of its own: 4 when doubled, or 1 */
    int n_out, n_in, kh, kw;
    int cb;     /* channel blocks */
    int64_t kb; /* k blocks of all phases: taps times cb; 16 taps for Winograd and doubled kernels */
    int64_t panels;
    unsigned char *packed;
    float *w;    /* depthwise: [taps, n_out] */
    float *bias; /* [panels * 16], zeros where there is none */
    size_t bytes;
};

/* One call of op_conv2d(). */
struct conv_run {
    const struct device *d;
    const struct conv *c;
    const struct conv_args *a;
    int h_out, w_out; /* a doubled kernel's: of the picture before it is doubled */
    int stride, ldx, ldy;
    bool far;                       /* the output goes past the caches */
    float *bias;                    /* [panels * 16], this call's included */
    int rows, cols, bands, columns; /* outputs of a band; bands in all, and beside each other */
    atomic_int next_band;
};

/* The input pixel at row iy, column ix of the (doubled) picture; NULL in the padding. */
const float *conv_input_pixel(const struct conv_run *j, int iy, int ix);
/* y = epilogue(v + bias) for n outputs of a pixel; v may be changed. */
void conv_finish_pixel(const struct conv_run *j, float *y, float *v, const float *bias, int n);

/* winograd.c: one kernel [3, 3] as 16 factors; scratch of a thread; the run. */
void winograd_weights(float g[16], const float w[9]);
size_t winograd_scratch(const struct conv *c);
void winograd_run(struct conv_run *j);

#endif
