/* device.h - the operations that networks are written in.
 *
 * Memory   activations are f32, row-major, in memory that the caller owns (an arena sized once); leading dimensions
 *          (ld*) count floats. Outputs overlap inputs only where an operation says so. An operation allocates
 *          nothing: scratch belongs to the device and is sized when weights are prepared.
 * Weights  are prepared once (linear_new, conv_new): the device keeps a view into the mapped file or repacks into
 *          the layout its kernels want. After a repack the file's pages may be forgotten (linear_is_copy).
 * Order    every reduction has a fixed order that depends on the weight's shape alone: a result does not depend on
 *          how many rows go through together, on the thread count, or on what else is in the batch. A one-row
 *          product is bit for bit the same as that row inside a many-row product.
 * Threads  one owner at a time, who holds the pool (base/pool.h). */
#ifndef HEARTH_DEVICE_DEVICE_H
#define HEARTH_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "format/tensor.h"

struct device;

/* isa_mask restricts the instruction sets (bits of enum isa in base/isa.h); ~0u: all that isa_choose() finds. */
bool device_cpu_open(struct device **out, struct pool *pool, unsigned isa_mask, struct err *e);
void device_close(struct device *d);
struct pool *device_pool(struct device *d);
/* The instruction sets in use, for passes over its results that are not operations of the device. */
unsigned device_isa(const struct device *d);
const char *device_name(const struct device *d); /* "cpu avx512vnni bf16, 2 threads" */

/* ---- linear layers ---------------------------------------------------------------------------------------- */

/* A weight matrix [n_out, n_in]. `scale` is for F8_E4M3 and int8 data: w = data * scale[o / scale_rows, i / scale_cols]
 * (scale_rows = n_out and scale_cols = n_in: one scale for the tensor; NULL: no scale). */
struct matrix {
    enum dtype type;
    int64_t n_out, n_in;
    const void *data; /* rows of dtype_row_bytes(type, n_in), no padding */
    const float *scale;
    int64_t scale_rows, scale_cols;
    bool stay; /* F16 and BF16: better read from the file at every use than copied (F8 always is) */
};

/* How the parts of one layer stand in its output. CONCAT: after each other (q, k, v). PAIRED: two parts of equal
 * shape, gate and up, whose outputs meet in one epilogue (EPI_SWIGLU); n_out of the layer is that of one part. */
enum linear_join { LINEAR_CONCAT, LINEAR_PAIRED };

struct linear;

/* Prepares 1 to 4 matrices of the same n_in as one layer. bias: [sum of n_out] f32 or NULL, copied.
 * rows_hint: 1 when mostly few rows at a time will be multiplied (language models), many when hundreds (images). F16 weights keep
 * their bits, but in a layer for many rows on a machine that is faster at bf16. */
bool linear_new(struct device *d, struct linear **out, const struct matrix *part, int n_parts,
                enum linear_join join, const float *bias, int rows_hint, struct err *e);
void linear_free(struct linear *l);
int64_t linear_n_in(const struct linear *l);
int64_t linear_n_out(const struct linear *l);
bool linear_is_copy(const struct linear *l); /* true: the file's bytes are not read any more */
/* Quantised weights meet activations rounded to 8 bits, unless the layer is fine: then to about 15, at twice the
 * arithmetic and the same bytes streamed. For layers of small models, whose outputs the coarser rounding moves visibly.
 * Layers of float weights do not care. Before the first product. */
void linear_set_fine(struct linear *l);
size_t linear_bytes(const struct linear *l); /* memory of its own, and bytes streamed by a one-row product */

enum epilogue {
    EPI_STORE,     /* y = v */
    EPI_ADD,       /* y += v                                 (residual)               */
    EPI_GATE_ADD,  /* y += gate[o] * v                       (modulated residual)     */
    EPI_SWIGLU,    /* y = silu(v_gate) * v_up                (PAIRED layers only)     */
    EPI_GEGLU,     /* y = gelu_tanh(v_gate) * v_up           (PAIRED layers only; T5) */
    EPI_GEGLU_ERF, /* y = v_up * gelu_erf(v_gate)            (PAIRED layers only; UNet feed-forward) */
    EPI_GELU_TANH,
    EPI_GELU_ERF,
    EPI_QUICK_GELU,
    EPI_SILU,
    EPI_RELU
};

struct linear_args {
    const struct linear *w;
    const float *x;
    int64_t ldx; /* [n, n_in]  */
    float *y;
    int64_t ldy;       /* [n, n_out] */
    int64_t n;         /* rows */
    const float *norm; /* not NULL: each row of x is first RMS-normalised with this weight [n_in] */
    float eps;
    enum epilogue epi;
    const float *gate; /* EPI_GATE_ADD: [n_out] */
};

/* y may be x only when n_in == n_out and epi is EPI_ADD with y == x and ld equal: not allowed otherwise. */
void op_linear(struct device *d, const struct linear_args *a);

/* Routed experts: for row r and each of its k experts, y[r] += weight[r,k] * expert(x[r]) computed by
 * gate_up (PAIRED, SwiGLU) then down; rows that chose the same expert go through together, each row's experts are
 * added in ascending expert order. expert ids [n, k], weights [n, k]. */
struct moe_args {
    struct linear *const *gate_up;
    struct linear *const *down;
    int n_expert;
    const float *x;
    int64_t ldx;
    float *y;
    int64_t ldy;
    int64_t n;
    const int32_t *expert;
    const float *weight;
    int k;
    bool weight_on_input; /* Llama 4: the weight multiplies the expert's input instead of its output */
};
void op_moe(struct device *d, const struct moe_args *a);

/* Row ids[i] of an embedding table (any dtype) into y[i, n_embd], as f32. */
void op_embed(struct device *d, float *y, int64_t ldy, const struct matrix *table, const int32_t *ids,
              int64_t n);

/* ---- language-model attention ------------------------------------------------------------------------------ */

enum rope_layout { ROPE_HALF, ROPE_INTERLEAVED }; /* pairs (i, i+d/2), or (2i, 2i+1) */

/* In place on x [n, n_head, head_dim] (row stride ld): optional RMS norm of each head (weight [head_dim] or NULL),
 * then rotation of the first n_rot channels by pos[r] * freq[i], cos and sin multiplied by mscale. freq [n_rot/2].
 * Query and key heads that stand side by side in a row (a CONCAT layer's output) may go through in one call. */
struct rope_args {
    float *x;
    int64_t ld;
    int64_t n;
    int n_head, head_dim, n_rot;
    const int32_t *pos;
    const float *freq;
    float mscale;
    enum rope_layout layout;
    const float *head_norm;
    float eps;
    bool norm_after; /* norm_after: norm the head after the rotation */
};
void op_rope(struct device *d, const struct rope_args *a);

/* A paged key/value store of one layer. Page p holds KV_PAGE tokens: k [n_kv_head, KV_PAGE, k_dim] then
 * v [n_kv_head, KV_PAGE, v_dim] in the device's own element layout. */
#define KV_PAGE 32
enum kv_type { KV_F16, KV_Q8_0 };
size_t kv_page_bytes(enum kv_type t, int n_kv_head, int k_dim, int v_dim);

struct kv_layer {
    enum kv_type type;
    int n_kv_head, k_dim, v_dim;
    unsigned char *pages;
    size_t page_stride; /* bytes from page p to p+1 of this layer */
};

/* One sequence's part of a batch: rows [row, row+n) of q/k/v are its tokens at positions pos0..pos0+n-1. page[i] is the
 * page of tokens i*KV_PAGE.. ; enough pages for pos0+n tokens are present. */
struct attn_seq {
    int64_t row, n;
    int32_t pos0;
    const int32_t *page;
};

struct attn_args {
    const struct kv_layer *kv;
    const struct attn_seq *seq;
    int n_seq;
    const float *q;
    int64_t ldq; /* [rows, n_head, k_dim] */
    const float *k;
    int64_t ldk; /* [rows, n_kv_head, k_dim], rotated */
    const float *v;
    int64_t ldv; /* [rows, n_kv_head, v_dim] */
    float *out;
    int64_t ldo; /* [rows, n_head, v_dim] */
    int n_head;
    float scale;
    int32_t chunk;  /* chunk > 0: only positions of the same chunk (Llama 4) */
    int32_t window; /* > 0: sliding window of so many positions */
};
/* Writes k and v of every row into its page, then attends causally: rows see their sequence's positions <= their own.
 * Pages are walked in ascending order with one softmax update a page. */
void op_attention_paged(struct device *d, const struct attn_args *a);

/* ---- dense operations for encoders and image networks -------------------------------------------------------- */

/* y = rms(x) * w, or layer norm with w and b (NULL: ones and zeros); then optionally y = y * (1 + scale) + shift
 * (vectors [n_embd], NULL: none). y may be x. */
void op_rmsnorm(struct device *d, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n,
                int64_t n_embd, const float *w, float eps);
void op_layernorm(struct device *d, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n,
                  int64_t n_embd, const float *w, const float *b, float eps, const float *scale,
                  const float *shift);

/* Full attention: out[i, h] = sum_j softmax_j(scale * q[i,h].k[j,h/g] + bias[h,i,j]) v[j,h/g], g = n_head / n_kv_head.
 * q, out [n_q, n_head, head_dim]; k, v [n_kv, n_kv_head, head_dim]; rows ld* floats apart, heads of a row adjacent, so q, k
 * and v may be slices of one buffer. out overlaps none of them. bias NULL or [n_head, n_q, n_kv], -INFINITY masks a key;
 * a row whose keys are all masked gives zeros. causal: j <= i only. precise: f32 products throughout (default: products
 * of values rounded to bf16 with f32 sums where the machine has them). head_dim <= 1024. */
struct attention_args {
    const float *q;
    int64_t ldq;
    const float *k;
    int64_t ldk;
    const float *v;
    int64_t ldv;
    float *out;
    int64_t ldo;
    int64_t n_q, n_kv;
    int n_head, n_kv_head, head_dim;
    float scale;
    const float *bias;
    bool causal, precise;
};
void op_attention(struct device *d, const struct attention_args *a);

/* Rotation by given angles: x [n, n_head, head_dim] in place, cos/sin [n, head_dim/2], interleaved pairs (FLUX). With
 * head_norm not NULL each head is RMS-normalised first. */
void op_rope_table(struct device *d, float *x, int64_t ld, int64_t n, int n_head, int head_dim,
                   const float *cos, const float *sin, const float *head_norm, float eps);

/* Images are NHWC f32: [h, w, c] a picture, batch by calling again. */
struct conv;
/* w [n_out, n_in/groups, kh, kw] of a float type as in the file, unscaled; bias [n_out] f32 or NULL. groups is 1, or
 * n_in with n_out == n_in (depthwise). Both are copied: the file's bytes are not read any more. F32 weights are
 * multiplied in f32; narrower ones in bf16 products with f32 sums where the machine has them.
 * use is a sum of what holds:
 * CONV_DOUBLED promises stride 1, upsample 2 and all pads 1: with a 3x3 kernel four outputs then take 16 products instead of 36,
 * and the weights 16/9 of the memory.
 * CONV_EXACT asks for all bits of F16 weights, and 16 of what they meet, where bf16 products would be faster. */
enum conv_use { CONV_ANY = 0, CONV_DOUBLED = 1, CONV_EXACT = 2 };
bool conv_new(struct device *d, struct conv **out, enum dtype type, const void *w, int n_out, int n_in,
              int kh, int kw, int groups, unsigned use, const float *bias, struct err *e);
void conv_free(struct conv *c);
size_t conv_bytes(const struct conv *c); /* memory of its own */
struct conv_args {
    const struct conv *w;
    const float *x;
    float *y;
    int h, w_in;  /* input height and width */
    int ldx, ldy; /* floats from one pixel to the next (0: n_in, n_out) */
    int stride;   /* 0 and 1: one; at most 64 */
    int pad_top, pad_left, pad_bottom, pad_right;
    int upsample;      /* 0 and 1: none; 2: the input is read as if doubled by nearest neighbour */
    enum epilogue epi; /* EPI_STORE, EPI_ADD, EPI_SILU, EPI_RELU */
    const float *gn_scale,
        *gn_shift; /* not NULL: the input is x*gn_scale[c] + gn_shift[c] (a folded group norm) ... */
    bool in_silu;  /* ... then SiLU, before the convolution; padding stays zero. Neither when depthwise */
    const float *bias2; /* not NULL: [n_out], added to the bias for this call (a time embedding) */
    float clamp_max;    /* > 0: y = min(y, clamp_max), last of all (ReLU6) */
};
/* y [h_out, w_out, n_out], see conv_out_size(); y and x do not overlap. Needs no scratch of the caller's. */
void op_conv2d(struct device *d, const struct conv_args *a);
/* h_out = (h*upsample + pad_top + pad_bottom - kh) / stride + 1, and w_out likewise. */
void conv_out_size(const struct conv_args *a, int *h_out, int *w_out);

/* Group norm statistics folded into a per-channel scale and shift: x [hw, c], c a multiple of groups; w and b [c] or
 * NULL (ones, zeros): group_norm(x) = x*scale + shift. */
void op_groupnorm_fold(struct device *d, float *scale, float *shift, const float *x, int64_t hw, int c,
                       int groups, const float *w, const float *b, float eps);
/* y = silu?(x*scale[c] + shift[c]); y may be x. */
void op_scale_shift(struct device *d, float *y, const float *x, int64_t hw, int c, const float *scale,
                    const float *shift, bool silu);

void op_silu(struct device *d, float *y, const float *x, int64_t n);                    /* y may be x */
void op_add(struct device *d, float *y, const float *a, const float *b, int64_t n);     /* y may be a */
void op_axpby(struct device *d, float *y, const float *x, float a, float b, int64_t n); /* y = a*x + b*y */

#endif
