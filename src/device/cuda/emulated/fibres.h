/* fibres.h - runs a kernel's grid on the calling thread: see emulate.h. */
#ifndef HEARTH_DEVICE_CUDA_FIBRES_H
#define HEARTH_DEVICE_CUDA_FIBRES_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emulated_kernel {
    const char *name; /* NULL: behind the last */
    void (*run)(const void *params);
    size_t params_bytes;
    int meets; /* its threads wait for each other */
};
extern const struct emulated_kernel emulated_kernels[];

/* One grid at a time: whoever calls holds a lock. Blocks of at most 1,024 threads, whole warps where threads meet. */
void emulated_run(const struct emulated_kernel *k, const void *params, const unsigned grid[3],
                  const unsigned block[3]);

#ifdef __cplusplus
}
#endif

#endif
