/* device.h - the operations that networks are written in, and the memory they work on.
 *
 * Backends a device is a table of operations (device/backend.h) and what belongs to it; the functions here go through the table, once an
 *          operation. device_cpu_open() and device_cuda_open() make one. Nothing above this folder asks which backend it has.
 * Memory   tensors, norms, biases, caches and tables of numbers live in the device's memory: device_floats(), device_ints(),
 *          device_reserve(), or pieces of a struct device_arena. A host pointer goes nowhere but into device_upload(), and comes
 *          from device_download() and device_read(). dev_float and dev_int are types of their own that hold no value for the
 *          host: `x + n` and passing on compile in networks, `x[i] * 2` does not. Weights are given as they lie in the file.
 * Shapes   tensors are f32, row-major; leading dimensions (ld*) count floats. Outputs overlap inputs only where an operation says
 *          so. An operation allocates nothing: scratch belongs to the device and is sized when weights are prepared.
 * Weights  are prepared once (linear_new, conv_new, table_new): the device keeps a view into the mapped file or repacks into
 *          the layout its kernels want. After a repack the file's pages may be forgotten (linear_is_copy).
 * Order    every reduction has a fixed order that depends on the weight's shape alone: a result does not depend on
 *          how many rows go through together, on the thread count, or on what else is in the batch. A one-row
 *          product is bit for bit the same as that row inside a many-row product.
 * Queue    operations, uploads and copies happen in the order of the calls, perhaps after the call returned; arguments are read before
 *          it returns. device_read(), device_download() and device_finish() wait.
 * Errors   an operation that fails leaves its error with the device; what follows is not done. device_finish() reports the first
 *          error and takes it away, so that the next step begins anew: whoever asks for results asks it first.
 * Threads  one owner at a time: between device_acquire() and device_release(). Memory and objects may be given back by others. */
#ifndef HEARTH_DEVICE_DEVICE_H
#define HEARTH_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/pool.h"
#include "format/tensor.h"

struct device;

/* ---- elements of the device's memory ------------------------------------------------------------------------- */

#ifdef DEVICE_HOST_ELEMENTS /* backends whose memory is the host's: device/backend.h */
typedef float dev_float;
typedef int32_t dev_int;
typedef unsigned char dev_byte;
#else
typedef struct dev_float {
    float of_the_device;
} dev_float;
typedef struct dev_int {
    int32_t of_the_device;
} dev_int;
typedef struct dev_byte {
    unsigned char of_the_device;
} dev_byte;
#endif

/* ---- the device ---------------------------------------------------------------------------------------------- */

/* isa_mask restricts the instruction sets (bits of enum isa in base/isa.h); ~0u: all that isa_choose() finds. */
bool device_cpu_open(struct device **out, struct pool *pool, unsigned isa_mask, struct err *e);
/* A GPU by its number, through the NVIDIA driver (device/cuda). ERR_UNSUPPORTED: no driver, or hearth was built without CUDA;
 * ERR_NOT_FOUND: no GPU of that number. */
bool device_cuda_open(struct device **out, struct pool *pool, int ordinal, struct err *e);
void device_close(struct device *d);
const char *device_name(const struct device *d); /* "cpu avx512vnni bf16, 2 threads" */
/* The instruction sets of the host, for passes over results that are not operations of the device. */
unsigned device_isa(const struct device *d);
/* Such a pass, by its owner: fn for each part on the host's threads, as pool_run(). */
void device_run_host(struct device *d, void (*fn)(void *arg, int ith, int nth), void *arg);

/* Its owner: as pool_acquire(), pool_release(), pool_offer() and pool_stop_on(), whose lanes these are. */
void device_acquire(struct device *d, enum pool_lane lane);
void device_release(struct device *d);
void device_offer(struct device *d, enum pool_lane lane);
void device_stop_on(struct device *d, const atomic_bool *flag);

/* Waits for all that was asked for. false: something failed since the last call, *e says what. */
bool device_finish(struct device *d, struct err *e);
/* Notes a failure found outside the operations, as one of them would. */
void device_fail(struct device *d, const struct err *e);

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Memory of the device for n elements, 64-byte aligned, not cleared. NULL and *e when there is none. */
dev_float *device_floats(struct device *d, size_t n, struct err *e);
dev_int *device_ints(struct device *d, size_t n, struct err *e);
/* Addresses for much more than may ever be used (caches): where the device can, they become memory when first written. Page aligned. */
dev_byte *device_reserve(struct device *d, size_t bytes, struct err *e);
void device_unreserve(struct device *d, dev_byte *p, size_t bytes); /* NULL: nothing */
void device_free(struct device *d, void *p);                        /* floats and ints; NULL: nothing */
/* The content of a piece is no longer needed, though the piece is: others may have its memory until it is written again. */
void device_lend(struct device *d, void *p, size_t bytes);

/* Between the host's memory and the device's. The host's may be reused on return. */
void device_upload(struct device *d, dev_float *to, const float *from, size_t n);
void device_upload_ints(struct device *d, dev_int *to, const int32_t *from, size_t n);
void device_download(struct device *d, float *to, const dev_float *from, size_t n);
void device_upload_bytes(struct device *d, dev_byte *to, const void *from, size_t n);
void device_download_bytes(struct device *d, void *to, const dev_byte *from, size_t n);
/* A view of n elements for the host to read, without a copy where memory is one. Until the next operation or device_read(). After a
 * failure it is of anything; never NULL but when there is no memory for a copy (then the device has failed). */
const float *device_read(struct device *d, const dev_float *from, size_t n);
/* Likewise, and the view may be written to: the elements are the host's now, and of anything in the device afterwards. */
float *device_take(struct device *d, dev_float *from, size_t n);
/* Inside the device; pieces do not overlap. */
void device_copy(struct device *d, dev_float *to, const dev_float *from, size_t n);
void device_copy_bytes(struct device *d, dev_byte *to, const dev_byte *from, size_t n);

/* Memory that a forward pass takes piece by piece and gives back at once: sized beforehand by device_arena_cost(). A mark is the value of
 * `used`, to be set back to. */
struct device_arena {
    struct device *d;
    struct arena at; /* addresses of the device: nothing here is read or written */
};
bool device_arena_init(struct device_arena *a, struct device *d, size_t cap, struct err *e);
void device_arena_free(struct device_arena *a);
dev_float *device_arena_floats(struct device_arena *a, size_t n); /* NULL: the arena is full */
dev_int *device_arena_ints(struct device_arena *a, size_t n);
static inline size_t device_arena_cost(size_t n) { return arena_cost(n, sizeof(dev_float)); }

/* ---- linear layers ---------------------------------------------------------------------------------------- */

/* A weight matrix [n_out, n_in]. `scale` is for F8_E4M3, BF16 and int8 data, and for quantised blocks where it has one number a row or a matrix: w = data * scale[o / scale_rows, i / scale_cols]
 * (scale_rows = n_out and scale_cols = n_in: one scale for the tensor; NULL: no scale). */
struct matrix {
    enum dtype type;
    int64_t n_out, n_in;
    const void *data;   /* the host's: rows of dtype_row_bytes(type, n_in), no padding */
    const float *scale; /* the host's */
    int64_t scale_rows, scale_cols;
    const int32_t *
        from; /* the host's, [n_in], quantised blocks alone: column k is for input from[k]; NULL: for input k */
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
    EPI_CLIPGLU, /* y = quick_gelu(g) * (u + 1), g at most 7, u from -7 to 7 (PAIRED layers only; gpt-oss) */
    EPI_GELU_TANH,
    EPI_GELU_ERF,
    EPI_QUICK_GELU,
    EPI_SILU,
    EPI_RELU
};

struct linear_args {
    const struct linear *w;
    const dev_float *x;
    int64_t ldx; /* [n, n_in]  */
    dev_float *y;
    int64_t ldy;           /* [n, n_out] */
    int64_t n;             /* rows */
    const dev_float *norm; /* not NULL: each row of x is first RMS-normalised with this weight [n_in] */
    float eps;
    enum epilogue epi;
    const dev_float *gate; /* EPI_GATE_ADD: [n_out] */
};

/* y may be x only when n_in == n_out and epi is EPI_ADD with y == x and ld equal: not allowed otherwise. */
void op_linear(struct device *d, const struct linear_args *a);

/* Products side by side, those of attention's heads: y[r, i] = w[i] x[r, i] for n_w layers of one matrix each, all of one shape. x of the first stands
 * at x, that of the next dx floats further on in the same row, and so y and dy. No two outputs overlap. The same bits as op_linear(). */
struct linear_each_args {
    struct linear *const *w;
    int n_w;
    const dev_float *x;
    int64_t ldx, dx;
    dev_float *y;
    int64_t ldy, dy;
    int64_t n; /* rows */
};
void op_linear_each(struct device *d, const struct linear_each_args *a);

/* Routed experts: for row r and each of its k experts, y[r] += weight[r,k] * expert(x[r]) computed by
 * gate_up (PAIRED, gated by epi) then down; rows that chose the same expert go through together, each row's experts are
 * added in ascending expert order. expert ids [n, k], weights [n, k]. */
struct moe_args {
    struct linear *const *gate_up;
    struct linear *const *down;
    int n_expert;
    const dev_float *x;
    int64_t ldx;
    dev_float *y;
    int64_t ldy;
    int64_t n;
    const dev_int *expert;
    const dev_float *weight;
    int k;
    enum epilogue epi;    /* EPI_SWIGLU, EPI_GEGLU, EPI_GEGLU_ERF or EPI_CLIPGLU */
    bool weight_on_input; /* Llama 4: the weight multiplies the expert's input instead of its output */
};
void op_moe(struct device *d, const struct moe_args *a);

/* A table of rows that are looked up (any dtype, scaled or not), prepared once; the file's bytes may be read at every use. */
struct table;
bool table_new(struct device *d, struct table **out, const struct matrix *m, struct err *e);
void table_free(struct table *t);
/* Row ids[i] of a table into y[i, n_in], as f32. */
void op_embed(struct device *d, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids,
              int64_t n);

/* ---- language-model attention ------------------------------------------------------------------------------ */

enum rope_layout { ROPE_HALF, ROPE_INTERLEAVED }; /* pairs (i, i+d/2), or (2i, 2i+1) */

/* In place on x [n, n_head, head_dim] (row stride ld): optional RMS norm of each head (weight [head_dim] or NULL),
 * then rotation of the first n_rot channels by pos[r] * freq[i], cos and sin multiplied by mscale. freq [n_rot/2].
 * Query and key heads that stand side by side in a row (a CONCAT layer's output) may go through in one call. */
struct rope_args {
    dev_float *x;
    int64_t ld;
    int64_t n;
    int n_head, head_dim, n_rot;
    const dev_int *pos;
    const dev_float *freq;
    float mscale;
    enum rope_layout layout;
    const dev_float *head_norm;
    float eps;
    bool norm_after; /* norm_after: norm the head after the rotation */
};
void op_rope(struct device *d, const struct rope_args *a);

/* A paged key/value store of one layer. Page p holds KV_PAGE tokens: k [n_kv_head, KV_PAGE, k_dim] then
 * v [n_kv_head, KV_PAGE, v_dim] in the device's own element layout. v_in_k: a value is the first v_dim channels of its key (multi-head
 * latent attention) and is not kept twice; kv_page_bytes() then takes v_dim 0. */
#define KV_PAGE 32
enum kv_type { KV_F16, KV_Q8_0 };
size_t kv_page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim);

struct kv_layer {
    enum kv_type type;
    int n_kv_head, k_dim, v_dim;
    dev_byte *pages;
    size_t page_stride; /* bytes from page p to p+1 of this layer */
    bool v_in_k;
};

/* One sequence's part of a batch: rows [row, row+n) of q/k/v are its tokens at positions pos0..pos0+n-1. */
struct attn_seq {
    int64_t row, n;
    int32_t pos0;
};

struct attn_args {
    const struct kv_layer *kv;
    const struct attn_seq *seq; /* [n_seq], the host's: how the work divides */
    int n_seq;
    const dev_int *where; /* [n_seq, 3]: row, n and pos0 of each again */
    const dev_int *
        page; /* [n_seq, max_pages]: the page of each sequence's tokens i*KV_PAGE..; enough for pos0+n tokens */
    int max_pages;
    const dev_float *q;
    int64_t ldq; /* [rows, n_head, k_dim] */
    const dev_float *k;
    int64_t ldk; /* [rows, n_kv_head, k_dim], rotated */
    const dev_float *v;
    int64_t ldv; /* [rows, n_kv_head, v_dim]; not read with v_in_k */
    dev_float *out;
    int64_t ldo; /* [rows, n_head, v_dim] */
    int n_head;
    float scale;
    int32_t chunk;  /* chunk > 0: only positions of the same chunk (Llama 4) */
    int32_t window; /* > 0: sliding window of so many positions */
    /* [n_head] a score that every query of the head sees besides, of a token without a value (gpt-oss); NULL: none */
    const dev_float *sink;
};
/* Writes k and v of every row into its page, then attends causally: rows see their sequence's positions <= their own.
 * Pages are walked in ascending order with one softmax update a page. */
void op_attention_paged(struct device *d, const struct attn_args *a);

/* ---- dense operations for encoders and image networks -------------------------------------------------------- */

/* y = rms(x) * w, or layer norm with w and b (NULL: ones and zeros); then optionally y = y * (1 + scale) + shift
 * (vectors [n_embd], NULL: none). y may be x. */
void op_rmsnorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                int64_t n_embd, const dev_float *w, float eps);
void op_layernorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                  int64_t n_embd, const dev_float *w, const dev_float *b, float eps, const dev_float *scale,
                  const dev_float *shift);

/* Full attention: out[i, h] = sum_j softmax_j(scale * q[i,h].k[j,h/g] + bias[h,i,j]) v[j,h/g], g = n_head / n_kv_head.
 * q, out [n_q, n_head, head_dim]; k, v [n_kv, n_kv_head, head_dim]; rows ld* floats apart, heads of a row adjacent, so q, k
 * and v may be slices of one buffer. out overlaps none of them. bias NULL or [n_head, n_q, n_kv], -INFINITY masks a key;
 * a row whose keys are all masked gives zeros. causal: j <= i only. precise: f32 products throughout (default: products
 * of values rounded to bf16 with f32 sums where the machine has them). head_dim <= 1024.
 * seq not NULL: rows belong to n_seq texts (pos0 is not read), and each sees its own alone; n_q and n_kv are the rows of all, and there is no
 * bias. */
struct attention_args {
    const dev_float *q;
    int64_t ldq;
    const dev_float *k;
    int64_t ldk;
    const dev_float *v;
    int64_t ldv;
    dev_float *out;
    int64_t ldo;
    int64_t n_q, n_kv;
    int n_head, n_kv_head, head_dim;
    float scale;
    const dev_float *bias;
    bool causal, precise;
    const struct attn_seq *seq; /* [n_seq], the host's */
    int n_seq;
};
void op_attention(struct device *d, const struct attention_args *a);

/* Rotation by given angles: x [n, n_head, head_dim] in place, cos/sin [n, head_dim/2], interleaved pairs (FLUX). With
 * head_norm not NULL each head is RMS-normalised first. */
void op_rope_table(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim,
                   const dev_float *cos, const dev_float *sin, const dev_float *head_norm, float eps);

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
    const dev_float *x;
    dev_float *y;
    int h, w_in;  /* input height and width */
    int ldx, ldy; /* floats from one pixel to the next (0: n_in, n_out) */
    int stride;   /* 0 and 1: one; at most 64 */
    int pad_top, pad_left, pad_bottom, pad_right;
    int upsample;      /* 0 and 1: none; 2: the input is read as if doubled by nearest neighbour */
    enum epilogue epi; /* EPI_STORE, EPI_ADD, EPI_SILU, EPI_RELU */
    const dev_float *gn_scale,
        *gn_shift; /* not NULL: the input is x*gn_scale[c] + gn_shift[c] (a folded group norm) ... */
    bool in_silu;  /* ... then SiLU, before the convolution; padding stays zero. Neither when depthwise */
    const dev_float *bias2; /* not NULL: [n_out], added to the bias for this call (a time embedding) */
    float clamp_max;        /* > 0: y = min(y, clamp_max), last of all (ReLU6) */
};
/* y [h_out, w_out, n_out], see conv_out_size(); y and x do not overlap. Needs no scratch of the caller's. */
void op_conv2d(struct device *d, const struct conv_args *a);
/* h_out = (h*upsample + pad_top + pad_bottom - kh) / stride + 1, and w_out likewise. */
void conv_out_size(const struct conv_args *a, int *h_out, int *w_out);

/* Group norm statistics folded into a per-channel scale and shift: x [hw, c], c a multiple of groups; w and b [c] or
 * NULL (ones, zeros): group_norm(x) = x*scale + shift. */
void op_groupnorm_fold(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x, int64_t hw,
                       int c, int groups, const dev_float *w, const dev_float *b, float eps);
/* y = silu?(x*scale[c] + shift[c]); y may be x. */
void op_scale_shift(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c,
                    const dev_float *scale, const dev_float *shift, bool silu);

void op_silu(struct device *d, dev_float *y, const dev_float *x, int64_t n); /* y may be x */
void op_add(struct device *d, dev_float *y, const dev_float *a, const dev_float *b,
            int64_t n); /* y may be a */
void op_axpby(struct device *d, dev_float *y, const dev_float *x, float a, float b,
              int64_t n); /* y = a*x + b*y */

/* ---- routing ------------------------------------------------------------------------------------------------- */

/* How logits become scores: a softmax over all experts, or each one's sigmoid. Sigmoids of large logits are equal: without a bias and
 * groups it is the logits that are compared (Llama 4). */
enum route_kind { ROUTE_SOFTMAX, ROUTE_SIGMOID };
enum { ROUTE_EXPERTS = 4096, ROUTE_GROUPS = 64, ROUTE_GROUP_BEST = 8 }; /* at most */

/* Which experts each row goes to: logits [n, n_expert] (overwritten) -> expert [n, k] ascending, as op_moe() adds them, and weight
 * [n, k]. The k experts of the highest score plus bias are chosen; ties go to the lower expert, and of what is no number to any.
 * n_group > 1: experts stand in groups of n_expert / n_group, and only those of the n_group_used best groups can be chosen, a group
 * being worth the sum of its group_best highest (DeepSeek-V3: 2; V2: 1); n_group_used groups have k experts at least.
 * A weight is the score without the bias; renorm: divided by their sum; then times `scale`. */
struct route_args {
    enum route_kind kind;
    dev_float *logits;
    int64_t n;
    int n_expert, k;
    const dev_float *bias;                 /* [n_expert], for the choice alone; NULL: none */
    int n_group, n_group_used, group_best; /* n_group 0 and 1: no groups */
    bool renorm;
    float scale; /* 0 counts as 1 */
    dev_int *expert;
    dev_float *weight;
};
void op_route(struct device *d, const struct route_args *a);

/* ---- rows, columns, layouts ------------------------------------------------------------------------------------ */

/* y[r, :n_cols] = x[r, :n_cols]: joins columns, splits them, moves rows. y and x do not overlap. */
void op_copy_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                  int64_t n_cols);
/* y[i, :n_cols] = x[row[i], :n_cols] */
void op_gather(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
               const dev_int *row, int64_t n, int64_t n_cols);
void op_fill(struct device *d, dev_float *y, float value, int64_t n);

/* Between planes [c, h, w] and pixels [h, w, c], with a factor and a summand for each channel on the way (each NULL: none):
 * pixel = plane * mul[c] + add[c], rounded after each. */
struct planes_args {
    dev_float *y;
    const dev_float *x;
    int c, h, w;
    int64_t plane, row; /* of the planes' side: floats from one plane, and one row, to the next */
    const dev_float *mul, *add;
};
void op_from_planes(struct device *d, const struct planes_args *a); /* x: planes; y: pixels */
void op_to_planes(struct device *d, const struct planes_args *a);   /* x: pixels; y: planes */

/* Latent x [c, h, w] to tokens [h/2 * w/2, 4c] and back (FLUX): the channel is slowest inside a token, then dy, then dx. */
void op_pack(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w);
void op_unpack(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w);

/* ---- positions ------------------------------------------------------------------------------------------------- */

/* Sinusoids of a number: dim/2 cosines, then dim/2 sines, of t * max_period^(-i / (dim/2)). */
void op_timestep(struct device *d, dev_float *y, double t, int dim, double max_period);
/* Angles for op_rope_table(), cos and sin [n, half], half = (axes[0] + axes[1] + axes[2]) / 2: the first n_text tokens stand at (0,0,0),
 * the others at (0, y, x) of a picture grid_w tokens wide; an axis of width a has frequencies 10000^(-2k/a). */
void op_rope_grid(struct device *d, dev_float *cos, dev_float *sin, int64_t n, int64_t n_text, int grid_w,
                  const int axes[3]);
/* bias [n_head, n, n] of op_attention() from distances: bias[h, i, j] = table[bucket[j - i + n - 1], h]; table [.., n_head]. */
void op_relative_bias(struct device *d, dev_float *bias, const dev_float *table, const dev_int *bucket,
                      int n_head, int64_t n);

/* ---- between products ------------------------------------------------------------------------------------------ */

/* What a layer's epilogue does, for a product v [n, n_out] that had to wait: y = epi(v), and with EPI_ADD and EPI_GATE_ADD y += it.
 * Not the paired ones. y may be v. */
struct epilogue_args {
    enum epilogue epi;
    dev_float *y;
    int64_t ldy;
    const dev_float *v;
    int64_t ldv;
    int64_t n, n_out;
    const dev_float *gate; /* [n_out] */
};
void op_epilogue(struct device *d, const struct epilogue_args *a);
/* y [n, n_ff] = x[:, :n_ff] * gelu_erf(x[:, n_ff:]): value first, gate second. */
void op_geglu(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff);
void op_scale(struct device *d, dev_float *y, const dev_float *x, float a,
              int64_t n); /* y = a*x; y may be x */

/* y[r, :n_cols] *= by[r], in place: what a position alone decides. */
void op_scale_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n,
                   int64_t n_cols);

/* ---- steps of a schedule, and pictures -------------------------------------------------------------------------- */

/* y = sum of by * x over the terms, in double, in their order, rounded once; y may be any x. 1 to 8 terms. */
struct lincomb_term {
    double by;
    const dev_float *x;
};
enum { LINCOMB_MOST = 8 };
void op_lincomb(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms, int64_t n);
/* y = clamp(x, -bound, bound) / over; y may be x. */
void op_clamp(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n);
/* Classifier-free guidance: y = u + by * (v - u); y may be v or u. */
void op_guide(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by, int64_t n);
/* y = m*y + (1-m)*x for channels of `plane` elements each; mask m [plane]. */
void op_mask(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels,
             int64_t plane);
/* A sample of what an autoencoder's encoder says: moments [plane, 2c] (means, then logarithms of variances, held in -30..20), noise
 * [c, plane] (NULL: the means) -> y [c, plane], y = (v - shift[c]) * scaling / std[c]; shift [c], std [c] (NULL: ones). */
struct posterior_args {
    dev_float *y;
    const dev_float *moments, *noise, *shift, *std;
    float scaling;
    int c;
    int64_t plane;
};
void op_posterior(struct device *d, const struct posterior_args *a);
/* Adds a tile [h, w, c] at (y0, x0) to a picture of width `wide`, [.., wide, c], and its weight to weight [.., wide]: 1, but ramps from
 * the edges that meet a neighbour over `lap` pixels. Bits of `outer` name edges that do not. */
enum tile_edge { TILE_TOP = 1, TILE_LEFT = 2, TILE_BOTTOM = 4, TILE_RIGHT = 8 };
struct tile_args {
    dev_float *picture, *weight;
    const dev_float *tile;
    int h, w, c, y0, x0, wide, lap;
    unsigned outer;
};
void op_tile(struct device *d, const struct tile_args *a);
/* picture [n, c] is divided by weight [n]: after its last tile. */
void op_untile(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c);

#endif
