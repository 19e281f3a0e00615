/* rope.cuh - rotary positions: a warp a head of a row. */
#include "device/cuda/kernels/gpu.h"

static __device__ __forceinline__ void norm_head(float *x, const float *w, int n, float eps, int lane)
{
    float squares = 0;
    for (int i = lane; i < n; i += WARP) squares = fmaf(x[i], x[i], squares);
    const float inv = 1.0f / sqrtf(warp_sum(squares) / (float)n + eps);
    for (int i = lane; i < n; i += WARP) x[i] = x[i] * inv * w[i];
    __syncwarp();
}

static __device__ __forceinline__ void rotate(float *a, float *b, float c, float s)
{
    const float x = *a, y = *b;
    *a = fmaf(x, c, -(y * s));
    *b = fmaf(y, c, x * s);
}

KERNEL_BODY(rope_rows, rope_params)
{
    const int lane = threadIdx.x % WARP, half = p.n_rot / 2;
    const int64_t head = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (head >= p.n * p.n_head) return;
    const int64_t r = head / p.n_head;
    float *x = p.x + r * p.ld + head % p.n_head * p.head_dim;
    if (p.head_norm && !p.norm_after) norm_head(x, p.head_norm, p.head_dim, p.eps, lane);
    for (int i = lane; i < half; i += WARP) {
        const float angle = (float)p.pos[r] * p.freq[i];
        const float c = cosf(angle) * p.mscale, s = sinf(angle) * p.mscale;
        if (p.pairs)
            rotate(&x[2 * i], &x[2 * i + 1], c, s);
        else
            rotate(&x[i], &x[i + half], c, s);
    }
    __syncwarp();
    if (p.head_norm && p.norm_after) norm_head(x, p.head_norm, p.head_dim, p.eps, lane);
}

KERNEL_BODY(rope_by_table, rope_table_params)
{
    const int lane = threadIdx.x % WARP, half = p.head_dim / 2;
    const int64_t head = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (head >= p.n * p.n_head) return;
    const int64_t r = head / p.n_head;
    float *x = p.x + r * p.ld + head % p.n_head * p.head_dim;
    if (p.head_norm) norm_head(x, p.head_norm, p.head_dim, p.eps, lane);
    for (int i = lane; i < half; i += WARP)
        rotate(&x[2 * i], &x[2 * i + 1], p.cos[r * half + i], p.sin[r * half + i]);
}
