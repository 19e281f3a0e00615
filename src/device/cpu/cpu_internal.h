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

#include "device/backend.h"

#include "base/isa.h"

struct quant_kern; /* quant.h: int8 products with quantised weights */
struct attn_kern;  /* paged_attention.h: rotation, the paged cache, attention over it */
struct share;      /* split.h: how far each thread is */
struct float_kern; /* float_kern.h: products with float weights, norms, dense attention, convolution */

struct cpu_device {
    struct device base;
    struct pool *pool; /* base.pool */
    unsigned isa;      /* bits of enum isa in use */
    const struct quant_kern *quant;
    const struct attn_kern *attn;
    const struct float_kern *fl;
    unsigned char *shared;         /* scratch for all threads of an operation */
    unsigned char *thread;         /* and a piece for each thread */
    size_t shared_cap, thread_cap; /* bytes; thread_cap is one thread's */
    struct share *share;           /* [threads] */
    float *gathered;               /* op_moe()'s rows of a lot of experts: inputs, hidden, outputs */
    size_t gathered_cap;           /* floats */
};

static inline struct cpu_device *cpu_of(struct device *d) { return (struct cpu_device *)d; }

const struct quant_kern *quant_kern_pick(unsigned isa);
const struct attn_kern *attn_kern_pick(unsigned isa);
const struct float_kern *float_kern_pick(unsigned isa);

/* Makes sure of so many bytes of scratch (both 64-byte aligned; never shrinks). The caller holds the pool. */
bool scratch_reserve(struct cpu_device *d, size_t shared_bytes, size_t thread_bytes, struct err *e);
/* Makes sure that op_moe() can route through experts [n_hidden, n_in]. */
bool moe_reserve(struct cpu_device *d, int64_t n_in, int64_t n_hidden, struct err *e);
static inline void *scratch_shared(const struct cpu_device *d) { return d->shared; }
static inline void *scratch_thread(const struct cpu_device *d, int ith)
{
    return d->thread + (size_t)ith * d->thread_cap;
}

/* Layers whose weights are F32, F16, BF16 or F8 (float_linear.c). Same contract as linear_new() and op_linear();
 * the bias (NULL: none) belongs to the caller and is indexed as the layer's outputs are: CONCAT [sum of n_out],
 * PAIRED [gate n_out, then up n_out]. A quantised part is accepted too and expanded (a PAIRED layer of mixed types). */
struct float_linear;
bool float_linear_new(struct cpu_device *d, struct float_linear **out, const struct matrix *part, int n_parts,
                      enum linear_join join, int rows_hint, struct err *e);
void float_linear_free(struct float_linear *l);
bool float_linear_is_copy(const struct float_linear *l);
size_t float_linear_bytes(const struct float_linear *l);
void float_linear_run(struct cpu_device *d, const struct float_linear *l, const float *bias,
                      const struct linear_args *a);

/* The same by one thread, ith, for up to LINEAR_ALONE rows, not in place. */
enum { LINEAR_ALONE = 16 };
void float_linear_alone(struct cpu_device *d, const struct float_linear *l, const float *bias,
                        const struct linear_args *a, int ith);

/* Products of n layers of one shape, each of its own rows (LINEAR_ALONE at most, or they go one after the other), not in place: one job for the
 * pool in all. The bits of cpu_linear(). */
void linear_beside(struct cpu_device *d, const struct linear_args *a, int n);

/* memory.c: upload, download and copy are one. */
void *cpu_alloc(struct device *d, size_t bytes);
void *cpu_reserve(struct device *d, size_t bytes);
void cpu_unreserve(struct device *d, void *p, size_t bytes);
void cpu_free(struct device *d, void *p);
void cpu_lend(struct device *d, void *p, size_t bytes);
void cpu_copy(struct device *d, void *to, const void *from, size_t bytes);
float *cpu_read(struct device *d, const float *from, size_t n);

/* The other rows of the table, each in the file of its family. */
/* clang-format off */
bool cpu_linear_new(struct device *d, struct linear **out, const struct matrix *part, int n_parts, enum linear_join join,
    const float *bias, int rows_hint, struct err *e);
void cpu_linear_free(struct linear *l);
bool cpu_linear_is_copy(const struct linear *l);
void cpu_linear_set_fine(struct linear *l);
size_t cpu_linear_bytes(const struct linear *l);
bool cpu_conv_new(struct device *d, struct conv **out, enum dtype type, const void *w, int n_out, int n_in, int kh, int kw,
    int groups, unsigned use, const float *bias, struct err *e);
void cpu_conv_free(struct conv *c);
size_t cpu_conv_bytes(const struct conv *c);
bool cpu_table_new(struct device *d, struct table **out, const struct matrix *m, struct err *e);
void cpu_table_free(struct table *t);
size_t cpu_kv_page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim);
void cpu_linear(struct device *d, const struct linear_args *a);
void cpu_linear_each(struct device *d, const struct linear_each_args *a);
void cpu_moe(struct device *d, const struct moe_args *a);
void cpu_embed(struct device *d, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids, int64_t n);
void cpu_rope(struct device *d, const struct rope_args *a);
void cpu_attention_paged(struct device *d, const struct attn_args *a);
void cpu_rmsnorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_embd,
    const dev_float *w, float eps);
void cpu_layernorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_embd,
    const dev_float *w, const dev_float *b, float eps, const dev_float *scale, const dev_float *shift);
void cpu_attention(struct device *d, const struct attention_args *a);
void cpu_rope_table(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim, const dev_float *cos,
    const dev_float *sin, const dev_float *head_norm, float eps);
void cpu_conv2d(struct device *d, const struct conv_args *a);
void cpu_groupnorm_fold(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x, int64_t hw, int c, int groups,
    const dev_float *w, const dev_float *b, float eps);
void cpu_scale_shift(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c, const dev_float *scale,
    const dev_float *shift, bool silu);
void cpu_silu(struct device *d, dev_float *y, const dev_float *x, int64_t n);
void cpu_add(struct device *d, dev_float *y, const dev_float *a, const dev_float *b, int64_t n);
void cpu_axpby(struct device *d, dev_float *y, const dev_float *x, float a, float b, int64_t n);
void cpu_route(struct device *d, const struct route_args *a);
void cpu_copy_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_cols);
void cpu_gather(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, const dev_int *row, int64_t n,
    int64_t n_cols);
void cpu_fill(struct device *d, dev_float *y, float value, int64_t n);
void cpu_from_planes(struct device *d, const struct planes_args *a);
void cpu_to_planes(struct device *d, const struct planes_args *a);
void cpu_pack(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w);
void cpu_unpack(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w);
void cpu_timestep(struct device *d, dev_float *y, double t, int dim, double max_period);
void cpu_rope_grid(struct device *d, dev_float *cos, dev_float *sin, int64_t n, int64_t n_text, int grid_w, const int axes[3]);
void cpu_relative_bias(struct device *d, dev_float *bias, const dev_float *table, const dev_int *bucket, int n_head, int64_t n);
void cpu_epilogue(struct device *d, const struct epilogue_args *a);
void cpu_geglu(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff);
void cpu_scale(struct device *d, dev_float *y, const dev_float *x, float a, int64_t n);
void cpu_scale_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n,
                    int64_t n_cols);
void cpu_lincomb(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms, int64_t n);
void cpu_clamp(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n);
void cpu_guide(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by, int64_t n);
void cpu_mask(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels, int64_t plane);
void cpu_posterior(struct device *d, const struct posterior_args *a);
void cpu_tile(struct device *d, const struct tile_args *a);
void cpu_untile(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c);
/* clang-format on */

#endif
