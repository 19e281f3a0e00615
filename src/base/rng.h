/* rng.h - random numbers. State belongs to whoever uses it: a seed gives the same result whoever else is asking.
 *
 * philox  counter based (Salmon et al. 2011, Philox4x32-10): number i of stream `seed` without numbers 0..i-1.
 *         Used by token sampling.
 * rng_os  bytes from the operating system, for keys, names and seeds nobody gave. */
#ifndef HEARTH_BASE_RNG_H
#define HEARTH_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* The four 32-bit words of block `counter` of stream (seed, stream). */
void philox_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);
/* Uniform in [0, 1), 53 bits. */
double philox_uniform(uint64_t seed, uint64_t stream, uint64_t counter);

void rng_os(void *out, size_t n);

#endif
