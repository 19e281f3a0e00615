/* kernels.cc - the kernels, compiled for the host. */
#include "device/cuda/kernels/all.cu"

#include "device/cuda/emulated/fibres.h"

extern "C" const struct emulated_kernel emulated_kernels[] = {
#define KERNEL(name, params, meets) { #name, emulated_##name, sizeof(struct params), meets },
#include "device/cuda/kernels.def"
#undef KERNEL
    { NULL, NULL, 0, 0 }
};
