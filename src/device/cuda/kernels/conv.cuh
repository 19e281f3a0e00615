/* conv.cuh - convolutions, a thread an output: neighbours are output channels, whose weights stand side by side. */
#include "device/cuda/kernels/gpu.h"

KERNEL_BODY(conv_direct, conv_params)
{
    const int up = p.upsample > 1 ? p.upsample : 1, stride = p.stride > 1 ? p.stride : 1;
    const int64_t n = (int64_t)p.h_out * p.w_out * p.n_out;
    for (int64_t at = grid_first(); at < n; at += grid_step()) {
        const int o = (int)(at % p.n_out);
        const int64_t pixel = at / p.n_out;
        const int oy = (int)(pixel / p.w_out) * stride - p.pad_top,
                  ox = (int)(pixel % p.w_out) * stride - p.pad_left;
        const int c0 = p.depthwise ? o : 0, n_c = p.depthwise ? 1 : p.n_in;
        float sum = 0;
        for (int ky = 0; ky < p.kh; ky++)
            for (int kx = 0; kx < p.kw; kx++) {
                const int y = oy + ky, x = ox + kx;
                if (y < 0 || x < 0 || y >= p.h * up || x >= p.w_in * up) continue;
                const float *in = p.x + ((int64_t)(y / up) * p.w_in + x / up) * p.ldx + c0;
                const float *w = p.w + (int64_t)(ky * p.kw + kx) * n_c * p.n_out + o;
                for (int c = 0; c < n_c; c++) {
                    float v = in[c];
                    if (p.gn_scale) v = fmaf(v, p.gn_scale[c0 + c], p.gn_shift[c0 + c]);
                    if (p.in_silu) v = silu(v);
                    sum = fmaf(w[(int64_t)c * p.n_out], v, sum);
                }
            }
        if (p.bias) sum += p.bias[o];
        if (p.bias2) sum += p.bias2[o];
        float *y = p.y + pixel * p.ldy + o;
        float v = p.epi == E_ADD ? *y + sum : activated(p.epi, sum, 0);
        if (p.clamp_max > 0) v = fminf(v, p.clamp_max);
        *y = v;
    }
}
