/* image.c - puts the compiled kernels into the binary's constant data, where make found nvcc (HEARTH_CUDA_IMAGE names the file). */
#include "device/cuda/image.h"

#include <stddef.h>

#ifdef HEARTH_CUDA_IMAGE
extern const unsigned char cuda_kernels_image[];
__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        "cuda_kernels_image:\n"
        ".incbin \"" HEARTH_CUDA_IMAGE "\"\n"
        ".byte 0\n"
        ".popsection\n");

/* The 0 behind an empty file: an nvcc was found that could not compile them; make said so. */
const void *cuda_image(void) { return cuda_kernels_image[0] ? cuda_kernels_image : NULL; }
#else
const void *cuda_image(void) { return NULL; }
#endif
