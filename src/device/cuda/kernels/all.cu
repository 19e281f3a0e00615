/* all.cu - every kernel in one piece, so that one load brings them all. */
#include "device/cuda/kernels/attention.cuh"
#include "device/cuda/kernels/cells.cuh"
#include "device/cuda/kernels/conv.cuh"
#include "device/cuda/kernels/linear.cuh"
#include "device/cuda/kernels/norm.cuh"
#include "device/cuda/kernels/rope.cuh"
#include "device/cuda/kernels/route.cuh"
