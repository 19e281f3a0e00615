/* cells.cuh - what each element decides for itself: bound by memory, so one kernel does, and the switch costs nothing. */
#include "device/cuda/kernels/gpu.h"

KERNEL_BODY(cells, cells_params)
{
    for (int64_t i = grid_first(); i < p.n * p.n_cols; i += grid_step()) {
        const int64_t r = i / p.n_cols, c = i % p.n_cols;
        float *y = p.y + r * p.ldy + c;
        const float x = p.x ? p.x[(p.row ? p.row[r] : r) * p.ldx + c] : 0;
        switch (p.what) {
        case CELLS_COPY: *y = x; break;
        case CELLS_FILL: *y = p.a; break;
        case CELLS_SILU: *y = silu(x); break;
        case CELLS_ADD: *y = x + p.z[i]; break;
        case CELLS_AXPBY: *y = p.a * x + p.b * *y; break;
        case CELLS_SCALE: *y = x * p.a; break;
        case CELLS_SCALE_ROWS: *y = x * p.scale[r]; break;
        case CELLS_SCALE_SHIFT: {
            const float v = x * p.scale[c] + p.shift[c];
            *y = p.flag ? silu(v) : v;
            break;
        }
        case CELLS_EPILOGUE:
            if (p.flag == E_ADD)
                *y += x;
            else if (p.flag == E_GATE_ADD)
                *y += p.scale[c] * x;
            else
                *y = activated(p.flag, x, 0);
            break;
        case CELLS_GEGLU: *y = x * gelu_erf(p.x[r * p.ldx + c + p.n_cols]); break;
        case CELLS_CLAMP: *y = fminf(fmaxf(x, -p.a), p.a) / p.b; break;
        case CELLS_GUIDE: *y = p.z[i] + p.a * (x - p.z[i]); break;
        case CELLS_MASK: *y = p.scale[c] * *y + (1.0f - p.scale[c]) * x; break;
        case CELLS_UNTILE: *y /= p.scale[r]; break;
        }
    }
}

KERNEL_BODY(lincomb, lincomb_params)
{
    for (int64_t i = grid_first(); i < p.n; i += grid_step()) {
        double sum = p.by[0] * (double)p.x[0][i];
        for (int t = 1; t < p.n_terms; t++) sum += p.by[t] * (double)p.x[t][i];
        p.y[i] = (float)sum;
    }
}

KERNEL_BODY(planes, planes_params)
{
    const int64_t n = (int64_t)p.c * p.h * p.w;
    for (int64_t i = grid_first(); i < n; i += grid_step()) {
        const int k = (int)(i % p.c);
        const int64_t pixel = i / p.c, plane = k * p.plane + pixel / p.w * p.row + pixel % p.w;
        float v = p.x[p.to_planes ? i : plane];
        if (p.mul) v *= p.mul[k];
        if (p.add) v += p.add[k];
        p.y[p.to_planes ? plane : i] = v;
    }
}

KERNEL_BODY(pack_tokens, pack_params)
{
    const int64_t n = (int64_t)p.c * p.h * p.w;
    for (int64_t i = grid_first(); i < n; i += grid_step()) {
        const int x = (int)(i % p.w), y = (int)(i / p.w % p.h);
        const int64_t ch = i / p.w / p.h, token = (int64_t)(y / 2) * (p.w / 2) + x / 2;
        const int64_t at = token * 4 * p.c + ch * 4 + y % 2 * 2 + x % 2;
        p.y[p.unpack ? i : at] = p.x[p.unpack ? at : i];
    }
}

KERNEL_BODY(relative_bias, bias_params)
{
    const int64_t n = p.n_head * p.n * p.n;
    for (int64_t at = grid_first(); at < n; at += grid_step()) {
        const int64_t j = at % p.n, i = at / p.n % p.n, h = at / p.n / p.n;
        p.bias[at] = p.table[(int64_t)p.bucket[j - i + p.n - 1] * p.n_head + h];
    }
}

KERNEL_BODY(posterior, posterior_params)
{
    for (int64_t at = grid_first(); at < p.plane * p.c; at += grid_step()) {
        const int64_t i = at / p.c, k = at % p.c;
        const float *moments = p.moments + i * 2 * p.c;
        float v = moments[k];
        if (p.noise)
            v += expf(0.5f * fminf(fmaxf(moments[p.c + k], -30.0f), 20.0f)) * p.noise[k * p.plane + i];
        v = (v - p.shift[k]) * p.scaling;
        p.y[k * p.plane + i] = p.std ? v / p.std[k] : v;
    }
}

/* The weight of a tile's pixel: a ramp where a neighbour overlaps. */
static __device__ __forceinline__ float ramp(int at, int n, int lap, bool first, bool last)
{
    float w = 1;
    if (!first && at < lap) w = ((float)at + 0.5f) / (float)lap;
    if (!last && n - 1 - at < lap) w = fminf(w, ((float)(n - 1 - at) + 0.5f) / (float)lap);
    return w;
}

KERNEL_BODY(add_tile, tile_params)
{
    for (int64_t i = grid_first(); i < (int64_t)p.h * p.w; i += grid_step()) {
        const int y = (int)(i / p.w), x = (int)(i % p.w);
        const float wy = ramp(y, p.h, p.lap, p.outer & 1, p.outer & 4);
        const float k = wy * ramp(x, p.w, p.lap, p.outer & 2, p.outer & 8);
        const int64_t at = ((int64_t)p.y0 + y) * p.wide + p.x0 + x;
        p.weight[at] += k;
        for (int ch = 0; ch < p.c; ch++) p.picture[at * p.c + ch] += k * p.tile[i * p.c + ch];
    }
}
