/* driver.h - the CUDA driver as a table of functions, so that one binary runs with and without it, and tests have one of their own
 * (emulated/driver.c). Nothing of CUDA is linked: libcuda.so.1 is opened when somebody asks for a GPU.
 *
 * Attributes  numbers of cuDeviceGetAttribute(), from the driver's published header. */
#ifndef HEARTH_DEVICE_CUDA_DRIVER_H
#define HEARTH_DEVICE_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cuda_driver {
#define CALL(field, symbol, arguments) int(*field) arguments;
#include "device/cuda/driver_calls.def"
#undef CALL
};

enum {
    CUDA_OK = 0,
    CUDA_NO_MEMORY = 2,
    CUDA_ATTRIBUTE_PROCESSORS = 16,
    CUDA_ATTRIBUTE_MAJOR = 75,
    CUDA_ATTRIBUTE_MINOR = 76,
    CUDA_STREAM_NON_BLOCKING = 1
};

/* The driver of this machine, opened once; it stays for the life of the process. NULL and *e (ERR_UNSUPPORTED): there is none, or it lacks
 * something. Any thread. */
const struct cuda_driver *cuda_driver_open(struct err *e);

/* *e from a driver's answer: "WHAT: CUDA_ERROR_NAME: text". ERR_NOMEM when memory is what it lacked, else ERR_IO. Always false. */
bool cuda_error(const struct cuda_driver *c, int error, const char *what, struct err *e);

#endif
