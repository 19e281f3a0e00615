/* conv.c - convolutions: weights as f32 with the output channels side by side. */
#include "device/cuda/cuda_device.h"

#include <stdlib.h>

struct conv {
    struct conv_base base;
    const float *w, *bias;
    size_t bytes;
    bool depthwise;
};

/* [n_out, n_c, kh, kw] -> [kh, kw, n_c, n_out] */
static void turn(float *to, const float *from, int64_t n_out, int64_t n_c, int64_t taps)
{
    for (int64_t o = 0; o < n_out; o++)
        for (int64_t c = 0; c < n_c; c++)
            for (int64_t t = 0; t < taps; t++) to[(t * n_c + c) * n_out + o] = from[(o * n_c + c) * taps + t];
}

bool cuda_conv_new(struct device *base, struct conv **out, enum dtype type, const void *w, int n_out,
                   int n_in, int kh, int kw, int groups, unsigned use, const float *bias, struct err *e)
{
    struct cuda_device *d = cuda_of(base);
    (void)use;
    if (groups != 1 && (groups != n_in || n_out != n_in))
        return err_set(e, ERR_UNSUPPORTED, "a convolution of %d groups for %d channels", groups, n_in);
    const int64_t n_c = n_in / groups, taps = (int64_t)kh * kw, n = (int64_t)n_out * n_c * taps;
    struct conv *c = calloc(1, sizeof *c);
    float *plain = mem_aligned((size_t)n, sizeof *plain, false),
          *turned = mem_aligned((size_t)n, sizeof *turned, false);
    bool ok = (c && plain && turned) || err_set(e, ERR_NOMEM, "no memory for a convolution");
    if (ok) {
        c->base = (struct conv_base){ .device = base, .n_in = n_in, .n_out = n_out, .kh = kh, .kw = kw };
        c->depthwise = groups != 1;
        c->bytes = (size_t)n * sizeof *turned;
        dequant_row(type, w, plain, n);
        turn(turned, plain, n_out, n_c, taps);
        c->w = cuda_memory_of(d, turned, c->bytes, e);
        if (c->w && bias) c->bias = cuda_memory_of(d, bias, (size_t)n_out * sizeof *bias, e);
        ok = c->w && (!bias || c->bias);
    }
    mem_free(plain);
    mem_free(turned);
    if (ok)
        *out = c;
    else if (c && c->base.device)
        cuda_conv_free(c);
    else
        free(c);
    return ok;
}

void cuda_conv_free(struct conv *c)
{
    cuda_memory_free(cuda_of(c->base.device), c->w);
    cuda_memory_free(cuda_of(c->base.device), c->bias);
    free(c);
}

size_t cuda_conv_bytes(const struct conv *c) { return c->bytes; }

void cuda_conv2d(struct device *base, const struct conv_args *a)
{
    const struct conv *c = a->w;
    struct conv_params p = { .w = c->w,
                             .bias = c->bias,
                             .bias2 = a->bias2,
                             .gn_scale = a->gn_scale,
                             .gn_shift = a->gn_shift,
                             .x = a->x,
                             .y = a->y,
                             .n_out = c->base.n_out,
                             .n_in = c->base.n_in,
                             .kh = c->base.kh,
                             .kw = c->base.kw,
                             .depthwise = c->depthwise,
                             .h = a->h,
                             .w_in = a->w_in,
                             .ldx = a->ldx ? a->ldx : c->base.n_in,
                             .ldy = a->ldy ? a->ldy : c->base.n_out,
                             .stride = a->stride,
                             .pad_top = a->pad_top,
                             .pad_left = a->pad_left,
                             .upsample = a->upsample,
                             .epi = (int32_t)a->epi,
                             .in_silu = a->in_silu,
                             .clamp_max = a->clamp_max };
    int h, w;
    conv_out_size(a, &h, &w);
    p.h_out = h;
    p.w_out = w;
    if (h > 0 && w > 0) cuda_launch(cuda_of(base), K_conv_direct, cuda_over((int64_t)h * w * p.n_out), &p);
}
