/* cuda_device.h - a GPU behind device.h: what the files of this folder share. device_cuda_open() in device.h opens one. */
#ifndef HEARTH_DEVICE_CUDA_CUDA_DEVICE_H
#define HEARTH_DEVICE_CUDA_CUDA_DEVICE_H

#include "device/backend.h"

#include "device/cuda/driver.h"
#include "device/cuda/params.h"

enum cuda_kernel {
#define KERNEL(name, params, meets) K_##name,
#include "device/cuda/kernels.def"
#undef KERNEL
    N_CUDA_KERNELS
};

struct cuda_device {
    struct device base;
    const struct cuda_driver *driver;
    int ordinal, handle;
    void *context, *module, *stream;
    void *kernel[N_CUDA_KERNELS];
    void *scratch; /* of operations; grows with the first of its size */
    size_t scratch_bytes;
    float *view; /* what device_read() gave, the host's */
    size_t view_bytes;
};

static inline struct cuda_device *cuda_of(struct device *d) { return (struct cuda_device *)d; }

/* On a driver that is given, with the kernels of an image that is given: what tests do. */
bool cuda_open_on(struct device **out, struct pool *pool, const struct cuda_driver *driver, const void *image,
                  int ordinal, struct err *e);

/* Scratch for one operation, aligned to 256 bytes; NULL: there is none and the device has failed. */
void *cuda_scratch(struct cuda_device *d, size_t bytes);
/* Memory of the device with a copy of what the host has. NULL and *e: there is none. */
void *cuda_memory_of(struct cuda_device *d, const void *from, size_t bytes, struct err *e);
void cuda_memory_free(struct cuda_device *d, const void *p);

struct cuda_grid {
    unsigned x, y, threads;
};
void cuda_launch(struct cuda_device *d, enum cuda_kernel k, struct cuda_grid grid, const void *params);
/* A grid whose threads take n things in turn. */
struct cuda_grid cuda_over(int64_t n);
/* One with a warp for each of n things, `warps` in a block. */
struct cuda_grid cuda_warps(int64_t n, int warps);

/* The rows of the table, each in the file of its family. */
/* clang-format off */
bool cuda_linear_new(struct device *d, struct linear **out, const struct matrix *part, int n_parts, enum linear_join join,
    const float *bias, int rows_hint, struct err *e);
void cuda_linear_free(struct linear *l);
bool cuda_linear_is_copy(const struct linear *l);
void cuda_linear_set_fine(struct linear *l);
size_t cuda_linear_bytes(const struct linear *l);
bool cuda_conv_new(struct device *d, struct conv **out, enum dtype type, const void *w, int n_out, int n_in, int kh, int kw,
    int groups, unsigned use, const float *bias, struct err *e);
void cuda_conv_free(struct conv *c);
size_t cuda_conv_bytes(const struct conv *c);
bool cuda_table_new(struct device *d, struct table **out, const struct matrix *m, struct err *e);
void cuda_table_free(struct table *t);
size_t cuda_kv_page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim);
void cuda_linear(struct device *d, const struct linear_args *a);
void cuda_linear_each(struct device *d, const struct linear_each_args *a);
void cuda_moe(struct device *d, const struct moe_args *a);
void cuda_embed(struct device *d, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids, int64_t n);
void cuda_rope(struct device *d, const struct rope_args *a);
void cuda_attention_paged(struct device *d, const struct attn_args *a);
void cuda_rmsnorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_embd,
    const dev_float *w, float eps);
void cuda_layernorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_embd,
    const dev_float *w, const dev_float *b, float eps, const dev_float *scale, const dev_float *shift);
void cuda_attention(struct device *d, const struct attention_args *a);
void cuda_rope_table(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim, const dev_float *cos,
    const dev_float *sin, const dev_float *head_norm, float eps);
void cuda_conv2d(struct device *d, const struct conv_args *a);
void cuda_groupnorm_fold(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x, int64_t hw, int c, int groups,
    const dev_float *w, const dev_float *b, float eps);
void cuda_route(struct device *d, const struct route_args *a);
void cuda_scale_shift(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c, const dev_float *scale,
    const dev_float *shift, bool silu);
void cuda_silu(struct device *d, dev_float *y, const dev_float *x, int64_t n);
void cuda_add(struct device *d, dev_float *y, const dev_float *a, const dev_float *b, int64_t n);
void cuda_axpby(struct device *d, dev_float *y, const dev_float *x, float a, float b, int64_t n);
void cuda_copy_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_cols);
void cuda_gather(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, const dev_int *row, int64_t n,
    int64_t n_cols);
void cuda_fill(struct device *d, dev_float *y, float value, int64_t n);
void cuda_from_planes(struct device *d, const struct planes_args *a);
void cuda_to_planes(struct device *d, const struct planes_args *a);
void cuda_pack(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w);
void cuda_unpack(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w);
void cuda_timestep(struct device *d, dev_float *y, double t, int dim, double max_period);
void cuda_rope_grid(struct device *d, dev_float *cos, dev_float *sin, int64_t n, int64_t n_text, int grid_w, const int axes[3]);
void cuda_relative_bias(struct device *d, dev_float *bias, const dev_float *table, const dev_int *bucket, int n_head, int64_t n);
void cuda_epilogue(struct device *d, const struct epilogue_args *a);
void cuda_geglu(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff);
void cuda_scale(struct device *d, dev_float *y, const dev_float *x, float a, int64_t n);
void cuda_scale_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n, int64_t n_cols);
void cuda_lincomb(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms, int64_t n);
void cuda_clamp(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n);
void cuda_guide(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by, int64_t n);
void cuda_mask(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels, int64_t plane);
void cuda_posterior(struct device *d, const struct posterior_args *a);
void cuda_tile(struct device *d, const struct tile_args *a);
void cuda_untile(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c);
/* clang-format on */

#endif
