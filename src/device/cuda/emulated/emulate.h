/* emulate.h - CUDA's language on the host's processor, for tests: the kernels' sources compile as C++ and run block by block. Threads of a
 * block that meet are fibres (fibres.cc): they go on in turn from meeting to meeting. Stricter than the device: a thread that leaves before
 * others meet, or a lane that does not come to a shuffle of its warp, ends the program with a message. */
#ifndef HEARTH_DEVICE_CUDA_EMULATE_H
#define HEARTH_DEVICE_CUDA_EMULATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern "C" {
#include "format/tensor.h"

struct emulated_dim {
    unsigned x, y, z;
};
extern struct emulated_dim threadIdx, blockIdx, blockDim, gridDim;

void emulated_block_meets(void);
void emulated_warp_meets(void);
/* The 8 bytes that lane `from` of this thread's warp gave, when all of it have. */
uint64_t emulated_exchange(uint64_t mine, int from);
int emulated_lane(void);
}

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static

static inline void __syncthreads(void) { emulated_block_meets(); }
static inline void __syncwarp(unsigned = 0xffffffffu) { emulated_warp_meets(); }

template <typename T> static inline T __shfl_sync(unsigned, T v, int lane)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = emulated_exchange(bits, lane & 31);
    memcpy(&v, &bits, sizeof v);
    return v;
}

template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int m)
{
    return __shfl_sync(mask, v, emulated_lane() ^ m);
}

static inline float half_value(uint16_t h) { return f16_to_f32(h); }
static inline uint16_t half_bits(float f) { return f32_to_f16(f); }

#endif
