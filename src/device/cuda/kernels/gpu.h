/* gpu.h - the language that kernels are written in: CUDA C++, or, under another compiler, the same on the host's processor
 * (emulated/emulate.h). KERNEL_BODY(name, params) begins a kernel that kernels.def lists; its argument is called p. */
#ifndef HEARTH_DEVICE_CUDA_GPU_H
#define HEARTH_DEVICE_CUDA_GPU_H

#include <float.h>
#include <math.h>
#include <stdint.h>

#include "device/cuda/params.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define KERNEL_BODY(name, params) extern "C" __global__ void name(const struct params p)
static __device__ __forceinline__ float half_value(uint16_t h) { return __half2float(__ushort_as_half(h)); }
static __device__ __forceinline__ uint16_t half_bits(float f) { return __half_as_ushort(__float2half_rn(f)); }
#else
#include "device/cuda/emulated/emulate.h"
#define KERNEL_BODY(name, params)                                                                            \
    static void name##_body(const struct params &p);                                                         \
    extern "C" void emulated_##name(const void *p) { name##_body(*(const struct params *)p); }               \
    static void name##_body(const struct params &p)
#endif

enum { WARP = 32 };

/* Sums and maxima over a warp, the same in all its lanes, in an order that depends on nothing. */
static __device__ __forceinline__ float warp_sum(float v)
{
    for (int m = WARP / 2; m; m /= 2) v += __shfl_xor_sync(0xffffffffu, v, m);
    return v;
}

static __device__ __forceinline__ float warp_max(float v)
{
    for (int m = WARP / 2; m; m /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, m));
    return v;
}

/* The element this thread has of a row of elements, and how many threads there are. */
static __device__ __forceinline__ int64_t grid_first(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ __forceinline__ int64_t grid_step(void) { return (int64_t)gridDim.x * blockDim.x; }

/* As enum epilogue of device.h, whose names are not read here. */
enum {
    E_STORE,
    E_ADD,
    E_GATE_ADD,
    E_SWIGLU,
    E_GEGLU,
    E_GEGLU_ERF,
    E_CLIPGLU,
    E_GELU_TANH,
    E_GELU_ERF,
    E_QUICK_GELU,
    E_SILU,
    E_RELU
};

static __device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
static __device__ __forceinline__ float quick_gelu(float x) { return x / (1.0f + expf(-1.702f * x)); }
static __device__ __forceinline__ float gelu_erf(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}
static __device__ __forceinline__ float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

/* v2: the product of the other part, for the paired ones. */
static __device__ __forceinline__ float activated(int epi, float v, float v2)
{
    switch (epi) {
    case E_SWIGLU: return silu(v) * v2;
    case E_GEGLU: return gelu_tanh(v) * v2;
    case E_GEGLU_ERF: return gelu_erf(v) * v2;
    case E_CLIPGLU: return quick_gelu(fminf(v, 7.0f)) * (fminf(fmaxf(v2, -7.0f), 7.0f) + 1.0f);
    case E_GELU_TANH: return gelu_tanh(v);
    case E_GELU_ERF: return gelu_erf(v);
    case E_QUICK_GELU: return quick_gelu(v);
    case E_SILU: return silu(v);
    case E_RELU: return v > 0 ? v : 0;
    default: return v;
    }
}

#endif
