/* norm.cuh - norms of rows, a warp a row, and the statistics of group norm, a block a group. */
#include "device/cuda/kernels/gpu.h"

enum { GROUP_THREADS = 256 };

KERNEL_BODY(norm_rows, norm_params)
{
    const int lane = threadIdx.x % WARP;
    const int64_t row = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= p.n) return;
    const float *x = p.x + row * p.ldx;
    float *y = p.y + row * p.ldy, sum = 0, squares = 0;
    for (int64_t i = lane; p.layer && i < p.n_embd; i += WARP) sum += x[i];
    const float mean = p.layer ? warp_sum(sum) / (float)p.n_embd : 0;
    for (int64_t i = lane; i < p.n_embd; i += WARP) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    const float inv = 1.0f / sqrtf(warp_sum(squares) / (float)p.n_embd + p.eps);
    for (int64_t i = lane; i < p.n_embd; i += WARP) {
        float v = (x[i] - mean) * inv;
        if (p.w) v *= p.w[i];
        if (p.b) v += p.b[i];
        if (p.scale) v *= 1.0f + p.scale[i];
        if (p.shift) v += p.shift[i];
        y[i] = v;
    }
}

/* The sum of a block's values, in every thread: a tree whose shape is the block's. */
static __device__ double block_sum(double *room, double v)
{
    room[threadIdx.x] = v;
    __syncthreads();
    for (int m = GROUP_THREADS / 2; m; m /= 2) {
        if ((int)threadIdx.x < m) room[threadIdx.x] += room[threadIdx.x + m];
        __syncthreads();
    }
    const double sum = room[0];
    __syncthreads();
    return sum;
}

KERNEL_BODY(group_fold, group_params)
{
    __shared__ double room[GROUP_THREADS];
    const int gc = p.c / p.groups, c0 = (int)blockIdx.x * gc;
    const int64_t n = p.hw * gc;
    double sum = 0, squares = 0;
    for (int64_t i = threadIdx.x; i < n; i += GROUP_THREADS) sum += p.x[i / gc * p.c + c0 + i % gc];
    const double mean = block_sum(room, sum) / (double)n;
    for (int64_t i = threadIdx.x; i < n; i += GROUP_THREADS) {
        const double off = p.x[i / gc * p.c + c0 + i % gc] - mean;
        squares += off * off;
    }
    const double inv = 1.0 / sqrt(block_sum(room, squares) / (double)n + (double)p.eps);
    for (int i = threadIdx.x; i < gc; i += GROUP_THREADS) {
        const double w = p.w ? (double)p.w[c0 + i] : 1.0;
        p.scale[c0 + i] = (float)(inv * w);
        p.shift[c0 + i] = (float)((p.b ? (double)p.b[c0 + i] : 0.0) - mean * inv * w);
    }
}
