/* cpu_internal.h - what the files of the CPU device share: the device, its scratch memory, the seams between the
 * kernel families.
 *
 * Families  each has one table of kernels, complete in plain C, and a function that picks the table for a set of
 *           instructions once at start. Plain C defines every entry; where the order of additions allows it the
 *           fast versions give the same bits, and their tests say so.
 * Scratch   grows only while weights are prepared (the preparer holds the pool), so that operations allocate nothing.
 *           Its content lives for one operation. */
#ifndef HEARTH_DEVICE_CPU_INTERNAL_H
#define HEARTH_DEVICE_CPU_INTERNAL_H

#include "base/isa.h"
#include "device/device.h"

struct quant_kern; /* quant.h: int8 products with quantised weights */
struct attn_kern;  /* paged_attention.h: rotation, the paged cache, attention over it */
struct share;      /* split.h: how far each thread is */
struct float_kern; /* float_kern.h: products with float weights, norms, dense attention, convolution */

struct device {
    struct pool *pool;
    unsigned isa; /* bits of enum isa in use */
    const struct quant_kern *quant;
    const struct attn_kern *attn;
    const struct float_kern *fl;
    unsigned char *shared;         /* scratch for all threads of an operation */
    unsigned char *thread;         /* and a piece for each thread */
    size_t shared_cap, thread_cap; /* bytes; thread_cap is one thread's */
    struct share *share;           /* [threads] */
    float *gathered;               /* op_moe()'s rows of one expert: inputs, hidden, outputs */
    size_t gathered_cap;           /* floats */
    char name[80];
};

const struct quant_kern *quant_kern_pick(unsigned isa);
const struct attn_kern *attn_kern_pick(unsigned isa);
const struct float_kern *float_kern_pick(unsigned isa);

/* Makes sure of so many bytes of scratch (both 64-byte aligned; never shrinks). The caller holds the pool. */
bool scratch_reserve(struct device *d, size_t shared_bytes, size_t thread_bytes, struct err *e);
/* Makes sure that op_moe() can route through experts [n_hidden, n_in]. */
bool moe_reserve(struct device *d, int64_t n_in, int64_t n_hidden, struct err *e);
static inline void *scratch_shared(const struct device *d) { return d->shared; }
static inline void *scratch_thread(const struct device *d, int ith)
{
    return d->thread + (size_t)ith * d->thread_cap;
}

/* Layers whose weights are F32, F16, BF16 or F8 (float_linear.c). Same contract as linear_new() and op_linear();
 * the bias (NULL: none) belongs to the caller and is indexed as the layer's outputs are: CONCAT [sum of n_out],
 * PAIRED [gate n_out, then up n_out]. A quantised part is accepted too and expanded (a PAIRED layer of mixed types). */
struct float_linear;
bool float_linear_new(struct device *d, struct float_linear **out, const struct matrix *part, int n_parts,
                      enum linear_join join, int rows_hint, struct err *e);
void float_linear_free(struct float_linear *l);
bool float_linear_is_copy(const struct float_linear *l);
size_t float_linear_bytes(const struct float_linear *l);
void float_linear_run(struct device *d, const struct float_linear *l, const float *bias,
                      const struct linear_args *a);

#endif
