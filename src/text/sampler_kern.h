/* sampler_kern.h - the passes over a whole vocabulary that sampling is made of.
 *
 * Every variant computes the same sums in the same order (16 lanes a block of 1,024, blocks in ascending order, no
 * fused multiply-add), so a seed gives the same token on every machine. NaN compares false and so never wins anything.
 * Threads   the tables are constant. */
#ifndef HEARTH_TEXT_SAMPLER_KERN_H
#define HEARTH_TEXT_SAMPLER_KERN_H

#include <stddef.h>
#include <stdint.h>

#define SAMPLER_CUTS 4 /* thresholds tried in one pass: the pass is then still bound by memory on AVX-512 */

struct sampler_kern {
    /* Largest of x[n]; -INFINITY when there is none. */
    float (*max)(const float *x, size_t n);
    /* First index at or after `from` with x[i] >= t; n when there is none. */
    size_t (*first_ge)(const float *x, size_t from, size_t n, float t);
    /* Sum of exp((x[i] - max) * scale), every term at most 1; terms below exp(-87) and those of NaN are 0.
     * w: NULL, or where the terms go; w == x is allowed. */
    double (*exp_sum)(const float *x, size_t n, float max, float scale, float *w);
    /* For each threshold: how many key[i] >= t, and the sum of their w[i] (w NULL: mass is the count). */
    void (*cut)(const float *key, const float *w, size_t n, const float t[SAMPLER_CUTS],
                double mass[SAMPLER_CUTS], size_t count[SAMPLER_CUTS]);
    /* The indices with lo <= x[i] < hi, ascending, into idx (room for n); returns how many. */
    size_t (*gather)(const float *x, size_t n, float lo, float hi, int32_t *idx);
    /* w[i] = 0 where key[i] < t or is NaN. key == w is allowed. */
    void (*zero_below)(const float *key, float *w, size_t n, float t);
    /* Sum of w[n]. */
    double (*sum)(const float *w, size_t n);
    /* The index that `target` in [0, sum) falls on when the w are laid end to end; the last positive one when rounding
     * leaves target beyond the end. Some w must be positive. */
    size_t (*draw)(const float *w, size_t n, double target);
};

/* The plain variant is complete on every machine; the others are for processors that have the instructions. */
extern const struct sampler_kern sampler_kern_plain;
#if defined(__x86_64__)
extern const struct sampler_kern sampler_kern_avx2;
extern const struct sampler_kern sampler_kern_avx512;
#elif defined(__aarch64__)
extern const struct sampler_kern sampler_kern_neon;
#endif

/* The fastest for these instruction sets (bits of enum isa). */
const struct sampler_kern *sampler_kern_pick(unsigned isa);

#endif
