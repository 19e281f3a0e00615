/* params.h - what a kernel is given: one struct a kernel, by value. Read by the host's C and by the kernels; plain data alone.
 *
 * Pointers  are of the device's memory. Shapes, strides and meanings are those of device.h's operations. */
#ifndef HEARTH_DEVICE_CUDA_PARAMS_H
#define HEARTH_DEVICE_CUDA_PARAMS_H

#include <stdint.h>

/* A weight matrix as it lies in the file: `type` is an enum dtype that kernels/weights.cuh reads. */
struct gpu_matrix {
    const unsigned char *data;
    const float *scale;  /* NULL: none; [.., scale_across] */
    const int32_t *from; /* NULL, or the input that each column is for */
    int64_t row_bytes, n_out, n_in, scale_rows, scale_cols, scale_across;
    int32_t type, unused;
};

struct gpu_layer {
    struct gpu_matrix part[4];
    const float *bias; /* NULL: none; [all parts' n_out] */
    int64_t n_in, n_out;
    int32_t n_parts, paired;
};

struct linear_params {
    struct gpu_layer layer;
    const float *x, *gate;
    float *y;
    int64_t ldx, ldy, n;
    int32_t epi, unused;
};

/* Rows and experts of a row: pair p is expert[p] of row p / k. */
struct expert_params {
    const struct gpu_layer *const *layer; /* [n_expert] */
    const int32_t *expert;
    const float *weight; /* NULL: not here; else it multiplies the input */
    const float *x;
    float *y; /* [pairs, n_out] */
    int64_t ldx, n_out, pairs;
    int32_t k, per_row; /* per_row: x has a row for every pair, not for every k of them */
    int32_t epi, unused;
};

struct join_params { /* y[r] += sum over k of weight * part[r * k + j] */
    float *y;
    const float *part, *weight; /* weight NULL: ones */
    int64_t ldy, n, n_cols;
    int32_t k, unused;
};

struct embed_params {
    struct gpu_matrix table;
    const int32_t *ids;
    float *y;
    int64_t ldy, n;
};

struct rope_params {
    float *x;
    const int32_t *pos;
    const float *freq, *head_norm;
    int64_t ld, n;
    int32_t n_head, head_dim, n_rot, pairs, norm_after;
    float mscale, eps;
};

struct rope_table_params {
    float *x;
    const float *cos, *sin, *head_norm;
    int64_t ld, n;
    int32_t n_head, head_dim;
    float eps;
    int32_t unused;
};

/* Where things stand in one head's part of a page: keys [k_dim, KV_PAGE], their scales [k_blocks, KV_PAGE], values [KV_PAGE, v_pad],
 * their scales [KV_PAGE, v_blocks]. */
struct page_layout {
    int64_t k_scales, v, v_scales, head_bytes;
    int32_t k_dim, v_dim, v_pad, k_blocks, v_blocks, v_in_k, q8, unused;
};

struct paged_params {
    struct page_layout layout;
    unsigned char *pages;
    int64_t page_stride;
    const int32_t *where, *page;
    const float *q, *k, *v, *sink;
    float *out;
    int64_t ldq, ldk, ldv, ldo;
    int32_t n_seq, max_pages, n_head, n_kv_head, chunk, window;
    float scale;
    int32_t unused;
};

struct attention_params {
    const float *q, *k, *v, *bias;
    float *out;
    int64_t ldq, ldk, ldv, ldo, n_q, n_kv;
    int32_t n_head, n_kv_head, head_dim, causal;
    float scale;
    int32_t unused;
};

struct norm_params {
    float *y;
    const float *x, *w, *b, *scale, *shift;
    int64_t ldy, ldx, n, n_embd;
    float eps;
    int32_t layer; /* a layer norm */
};

struct group_params {
    float *scale, *shift;
    const float *x, *w, *b;
    int64_t hw;
    int32_t c, groups;
    float eps;
    int32_t unused;
};

struct conv_params {
    const float *w; /* [kh, kw, n_in / groups, n_out] */
    const float *bias, *bias2, *gn_scale, *gn_shift;
    const float *x;
    float *y;
    int32_t n_out, n_in, kh, kw, depthwise;
    int32_t h, w_in, h_out, w_out, ldx, ldy, stride, pad_top, pad_left, upsample, epi, in_silu;
    float clamp_max;
};

struct route_params {
    float *logits, *weight;
    int32_t *expert;
    const float *bias;
    int64_t n;
    int32_t n_expert, k, n_group, n_group_used, group_best, softmax, renorm;
    float scale;
};

/* What goes over elements, or rows of them. */
struct cells_params {
    float *y;
    const float *x, *z, *scale, *shift;
    const int32_t *row;
    int64_t ldy, ldx, n, n_cols;
    float a, b;
    int32_t what, flag; /* what: enum cells_op */
};
enum cells_op {
    CELLS_COPY,        /* y[r, c] = x[row ? row[r] : r, c] */
    CELLS_FILL,        /* y = a */
    CELLS_SILU,        /* y = silu(x) */
    CELLS_ADD,         /* y = x + z */
    CELLS_AXPBY,       /* y = a x + b y */
    CELLS_SCALE,       /* y = x a */
    CELLS_SCALE_ROWS,  /* y[r] = x[r] scale[r] */
    CELLS_SCALE_SHIFT, /* y = x scale[c] + shift[c]; flag: then silu */
    CELLS_EPILOGUE,    /* y = epi(x), epi is flag; scale: the gate */
    CELLS_GEGLU,       /* y[r, c] = x[r, c] gelu_erf(x[r, c + n_cols]) */
    CELLS_CLAMP,       /* y = clamp(x, -a, a) / b */
    CELLS_GUIDE,       /* y = z + a (x - z) */
    CELLS_MASK,        /* y[r, c] = m y + (1 - m) x, m = scale[c] */
    CELLS_UNTILE       /* y[r, c] /= scale[r] */
};

enum { GPU_LINCOMB_MOST = 8 };
struct lincomb_params {
    double by[GPU_LINCOMB_MOST];
    const float *x[GPU_LINCOMB_MOST];
    float *y;
    int64_t n;
    int32_t n_terms, unused;
};

struct planes_params {
    float *y;
    const float *x, *mul, *add;
    int64_t plane, row;
    int32_t c, h, w, to_planes;
};

struct pack_params {
    float *y;
    const float *x;
    int32_t c, h, w, unpack;
};

struct bias_params {
    float *bias;
    const float *table;
    const int32_t *bucket;
    int64_t n;
    int32_t n_head, unused;
};

struct posterior_params {
    float *y;
    const float *moments, *noise, *shift, *std;
    int64_t plane;
    float scaling;
    int32_t c;
};

struct tile_params {
    float *picture, *weight;
    const float *tile;
    int32_t h, w, c, y0, x0, wide, lap, outer;
};

#endif
