/* driver.h - a CUDA driver whose GPU is the host's processor: for tests. Every rule of the driver that hearth relies on is held: addresses
 * that were freed or never given, copies beyond a piece, a thread without a context, unknown kernels are refused as the driver would. */
#ifndef HEARTH_DEVICE_CUDA_EMULATED_DRIVER_H
#define HEARTH_DEVICE_CUDA_EMULATED_DRIVER_H

#include "device/cuda/driver.h"

struct device;
struct pool;
/* A device on it. */
bool emulated_gpu_open(struct device **out, struct pool *pool, struct err *e);

const struct cuda_driver *emulated_driver(void);
/* What cuda_open_on() is to be given as the kernels' image. */
extern const char emulated_image[];
/* The nth launch from now fails, as a device does that is lost; 0: none. */
void emulated_fail_launch(int n);
/* So much memory is left; SIZE_MAX: the host's. */
void emulated_limit_memory(size_t bytes);
/* Pieces that were not freed. */
int emulated_pieces(void);

#endif
