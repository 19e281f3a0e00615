/* noise.h - unit noise as PyTorch's CPU generator draws it: the same seed means the same picture as in diffusers.
 *
 * Format  mt19937 seeded with the low 32 bits; torch.randn's float32 path (Box-Muller over blocks of 16 from 24-bit uniforms, and
 *         for fewer than 16 values a pairwise method in double). Threads: one owner. */
#ifndef HEARTH_IMAGE_NOISE_H
#define HEARTH_IMAGE_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct noise {
    uint32_t state[624];
    int at;
    bool have_spare; /* of the pairwise method */
    double spare;
};

void noise_seed(struct noise *g, uint64_t seed);
/* torch.randn(n, generator=g) */
void noise_fill(struct noise *g, float *out, size_t n);

#endif
