/* image.h - the compiled kernels, as cuModuleLoadData() takes them. */
#ifndef HEARTH_DEVICE_CUDA_IMAGE_H
#define HEARTH_DEVICE_CUDA_IMAGE_H

/* A fat binary in the program's constant data; NULL: built without CUDA. */
const void *cuda_image(void);

#endif
