/* route.cuh - which experts a row goes to: a warp a row. The rules are those of op_route(). */
#include "device/cuda/kernels/gpu.h"

enum { MOST_EXPERTS = 4096, MOST_GROUPS = 64, GROUP_BEST = 8 };

struct routed {
    const float *score, *bias;
    const unsigned char *shut; /* [n_expert] these cannot be chosen (any more) */
};

static __device__ __forceinline__ float merit(const struct routed *r, int i)
{
    return r->shut[i] ? -INFINITY : r->bias ? r->score[i] + r->bias[i] : r->score[i];
}

/* Is expert a before expert b? An open one before a shut one, then the better, then the lower; what is no number after what is one. */
static __device__ __forceinline__ bool is_before(const struct routed *r, int a, int b)
{
    if (r->shut[a] != r->shut[b]) return !r->shut[a];
    const float ma = merit(r, a), mb = merit(r, b);
    if (ma > mb || mb > ma) return ma > mb;
    return a < b;
}

/* The best of [lo, hi), in every lane. */
static __device__ int best_of(const struct routed *r, int lo, int hi)
{
    int best = lo;
    for (int i = lo + (int)(threadIdx.x % WARP); i < hi; i += WARP)
        if (is_before(r, i, best)) best = i;
    for (int m = WARP / 2; m; m /= 2) {
        const int other = __shfl_xor_sync(0xffffffffu, best, m);
        if (is_before(r, other, best)) best = other;
    }
    return best;
}

static __device__ __forceinline__ void set_shut(unsigned char *shut, int i, unsigned char to)
{
    __syncwarp();
    if (threadIdx.x % WARP == 0) shut[i] = to;
    __syncwarp();
}

static __device__ float worth(const struct routed *r, unsigned char *shut, int lo, int hi, int wanted)
{
    int taken[GROUP_BEST], k = 0;
    float sum = 0;
    for (; k < wanted && k < hi - lo && k < GROUP_BEST; k++) {
        taken[k] = best_of(r, lo, hi);
        sum += merit(r, taken[k]);
        set_shut(shut, taken[k], 1);
    }
    while (k) set_shut(shut, taken[--k], 0);
    return sum;
}

/* Grid: a block of one warp a row. */
KERNEL_BODY(route_rows, route_params)
{
    __shared__ unsigned char shut[MOST_EXPERTS];
    const int lane = threadIdx.x % WARP, n = p.n_expert;
    const bool late = !p.softmax && !p.bias && p.n_group <= 1;
    float *score = p.logits + (int64_t)blockIdx.x * n, *weight = p.weight + (int64_t)blockIdx.x * p.k;
    int32_t *expert = p.expert + (int64_t)blockIdx.x * p.k;
    const struct routed r = { score, p.bias, shut };
    for (int i = lane; i < n; i += WARP) shut[i] = 0;
    if (p.softmax) {
        float max = -INFINITY, sum = 0;
        for (int i = lane; i < n; i += WARP) max = fmaxf(max, score[i]);
        max = warp_max(max);
        for (int i = lane; i < n; i += WARP) sum += score[i] = expf(score[i] - max);
        sum = warp_sum(sum);
        for (int i = lane; i < n; i += WARP) score[i] /= sum;
    } else if (!late) {
        for (int i = lane; i < n; i += WARP) score[i] = 1.0f / (1.0f + expf(-score[i]));
    }
    __syncwarp();
    if (p.n_group > 1) {
        const int size = n / p.n_group;
        float of[MOST_GROUPS];
        for (int g = 0; g < p.n_group; g++) of[g] = worth(&r, shut, g * size, (g + 1) * size, p.group_best);
        for (int g = 0; g < p.n_group; g++) {
            int above = 0;
            for (int o = 0; o < p.n_group; o++) above += of[o] > of[g] || (of[o] == of[g] && o < g);
            for (int i = lane; above >= p.n_group_used && i < size; i += WARP) shut[g * size + i] = 1;
        }
        __syncwarp();
    }
    float kept = 0;
    for (int j = 0; j < p.k; j++) {
        const int best = best_of(&r, 0, n);
        const float w = late ? 1.0f / (1.0f + expf(-score[best])) : score[best];
        set_shut(shut, best, 1);
        kept += w;
        if (lane) continue;
        int at = j; /* in ascending order */
        for (; at > 0 && expert[at - 1] > best; at--) {
            expert[at] = expert[at - 1];
            weight[at] = weight[at - 1];
        }
        expert[at] = best;
        weight[at] = w;
    }
    if (lane) return;
    for (int j = 0; j < p.k; j++)
        weight[j] = (p.renorm ? weight[j] / (kept + 1e-20f) : weight[j]) * (p.scale == 0 ? 1.0f : p.scale);
}
