/* epilogue.h - what is done to a product's f32 results before they are stored. One definition for all kernels: a
 * kernel finishes a run of neighbouring outputs of one row in a small buffer and hands it here.
 *
 * Included by every instruction set's files, so static inline and free of branches inside the loops. */
#ifndef HEARTH_DEVICE_CPU_EPILOGUE_H
#define HEARTH_DEVICE_CPU_EPILOGUE_H

#include "device/cpu/fmath.h"
#include "device/backend.h"

/* y[i] = epilogue(v[i] + bias[i]) for n neighbouring outputs of one row. All pointers already stand at the first output
 * of the run; bias and gate may be NULL where the epilogue needs none. PAIRED epilogues: v and bias are the gate part,
 * v2 and bias2 the up part. v and v2 may be changed. */
static inline void epilogue_run(enum epilogue epi, float *restrict y, float *restrict v, float *restrict v2,
                                const float *restrict bias, const float *restrict bias2,
                                const float *restrict gate, int n)
{
    if (bias)
        for (int i = 0; i < n; i++) v[i] += bias[i];
    switch (epi) {
    case EPI_STORE:
        for (int i = 0; i < n; i++) y[i] = v[i];
        return;
    case EPI_ADD:
        for (int i = 0; i < n; i++) y[i] += v[i];
        return;
    case EPI_GATE_ADD:
        for (int i = 0; i < n; i++) y[i] = fmaf(gate[i], v[i], y[i]);
        return;
    case EPI_GELU_TANH:
        for (int i = 0; i < n; i++) y[i] = fmath_gelu_tanh(v[i]);
        return;
    case EPI_GELU_ERF:
        for (int i = 0; i < n; i++) y[i] = fmath_gelu_erf(v[i]);
        return;
    case EPI_QUICK_GELU:
        for (int i = 0; i < n; i++) y[i] = fmath_quick_gelu(v[i]);
        return;
    case EPI_SILU:
        for (int i = 0; i < n; i++) y[i] = fmath_silu(v[i]);
        return;
    case EPI_RELU:
        for (int i = 0; i < n; i++) y[i] = v[i] > 0.0f ? v[i] : 0.0f;
        return;
    case EPI_SWIGLU:
    case EPI_GEGLU:
    case EPI_GEGLU_ERF:
    case EPI_CLIPGLU: break;
    }
    if (bias2)
        for (int i = 0; i < n; i++) v2[i] += bias2[i];
    if (epi == EPI_SWIGLU)
        for (int i = 0; i < n; i++) y[i] = fmath_silu(v[i]) * v2[i];
    else if (epi == EPI_GEGLU)
        for (int i = 0; i < n; i++) y[i] = fmath_gelu_tanh(v[i]) * v2[i];
    else if (epi == EPI_CLIPGLU)
        for (int i = 0; i < n; i++) {
            const float up = v2[i] > 7.0f ? 7.0f : v2[i] < -7.0f ? -7.0f : v2[i];
            y[i] = fmath_quick_gelu(v[i] > 7.0f ? 7.0f : v[i]) * (up + 1.0f);
        }
    else
        for (int i = 0; i < n; i++) y[i] = fmath_gelu_erf(v[i]) * v2[i];
}

/* 1 / rms(x): 16 running sums in ascending order, folded in halves. The order is part of the promise: a row normalised
 * inside a product and by op_rmsnorm() is the same row. */
static inline float epilogue_rms_inv(const float *restrict x, int64_t n, float eps)
{
    float acc[16] = { 0 };
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) acc[l] = fmaf(x[i + l], x[i + l], acc[l]);
    for (int l = 0; i + l < n; l++) acc[l] = fmaf(x[i + l], x[i + l], acc[l]);
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) acc[l] += acc[l + half];
    return 1.0f / sqrtf(acc[0] / (float)n + eps);
}

#endif
