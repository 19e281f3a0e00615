/* float_kern.h - kernels of products with float weights, and of the operations around them.
 *
 * Everything that multiplies (linear layers, convolution, dense attention) is cut into tiles of 1024 bytes, 16 rows of
 * 64 bytes: the shape of an AMX tile register, and one 512-bit load a row.
 *   A tile  16 rows of the left matrix, 64 bytes of k each: 32 bf16 or 16 f32
 *   B tile  16 columns of the right matrix: bf16 as [16 pairs of k][16 columns][2] (gemm_armbf16.c: [8 fours of k][16 columns][4]),
 *           f32 and f16 as [16 k][16 columns]
 *   panel   the B tiles of 16 columns, ascending k, one after the other
 * A k block is the 32 (bf16) or 16 values of k that a tile holds; the last one is padded with zeros.
 * f16 stands for a right matrix that stays f16, in B tiles of half the size, against a left one of at least 16 bits: f32, or
 * two bf16 parts with AMX. Its 11 bits count in full, at the price of f32 products (four bf16 products with AMX).
 *
 * Order   a column's sum runs over ascending k and never depends on how many rows or columns go along. bf16: within a
 *         k block AMX adds even and odd k apart and then both to the sum; the others add pair after pair. So results
 *         are the same bits on one machine whatever the batch, and differ in the last digits between machines.
 * Threads kernels keep no state; A, B and C of threads that run at the same time do not overlap where one writes. */
#ifndef HEARTH_DEVICE_CPU_FLOAT_KERN_H
#define HEARTH_DEVICE_CPU_FLOAT_KERN_H

#include "device/cpu/cpu_internal.h"

#define TILE_BYTES 1024
#define TILE_ROWS 16
#define TILE_ROW_BYTES 64

/* The left matrix of a product: where its tiles are. Convolution reads shifted views of one picture this way. */
struct tiles {
    const unsigned char *const *tile; /* [ceil(m / 16)] first row of each tile at k block 0 */
    const ptrdiff_t *k_off;           /* [kb] bytes from there to k block i; NULL: i * TILE_BYTES */
    ptrdiff_t row;                    /* bytes from one row of a tile to the next: a multiple of 64 */
};

/* What pack_row does to a value before it is rounded: ((x * inv) * mul[i] + add[i]), then SiLU. */
struct row_map {
    const float *mul; /* NULL: x unchanged, inv and add are not used */
    const float *add; /* NULL: none */
    float inv;
    bool silu;
};

/* Softmax of one block of keys for a few queries, see softmax below. */
struct softmax_rows {
    float *score;  /* [n, ld] in: q.k */
    int64_t ld;    /* floats */
    int n, n_keys; /* queries, keys of the block */
    int n_padded;  /* probabilities of keys [n_keys, n_padded) become zero */
    float scale;
    const float *bias; /* NULL, or first key of the first query */
    int64_t ld_bias;
    int64_t causal_limit; /* query r sees keys j <= causal_limit + r only; INT64_MAX / 2: all */
    float *max, *sum;     /* [n] running maximum and sum, updated */
    float *shrink;        /* [n] out: by what older results have to be multiplied */
};

enum float_form { FORM_BF16, FORM_F32, FORM_F16 };

static inline int form_k(enum float_form f) { return f == FORM_BF16 ? 32 : 16; } /* values of a k block */
static inline size_t form_tile(enum float_form f) { return f == FORM_F16 ? TILE_BYTES / 2 : TILE_BYTES; }

struct float_kern {
    const char *name;
    bool bf16_faster; /* than f16: where haste matters more than three bits, F16 weights may become bf16 */
    int kb_chunk;     /* k blocks whose B tiles of one register tile fit the first cache together */

    /* C[m, 16 * np] (+)= A B; C has rows for whole tiles of m (rows beyond m may be written), ldc in floats; panel p
     * begins at b + p * b_panel. A's rows beyond m are readable; what they hold does not matter. */
    void (*product_bf16)(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                         int m, int np, int64_t kb, bool add);
    void (*product_f32)(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add);
    void (*product_f16)(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add);
    /* sum[n] (+)= part[n] * scale[n] */
    void (*add_scaled)(float *sum, const float *part, const float *scale, int n, bool add);

    /* One row of n floats into A tiles: k block i goes to dst + i * step, its tail filled with zeros. */
    void (*pack_row_bf16)(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                          const struct row_map *map);
    void (*pack_row_f32)(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                         const struct row_map *map);
    void (*pack_row_f16)(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                         const struct row_map *map);

    /* One panel of B tiles from 16 rows (columns of B) of n values of a float type (f16: of F16 or F32).
     * The tail of the last k block is filled with zeros. Rows need no alignment. */
    void (*pack_panel_bf16)(unsigned char *dst, const unsigned char *const row[16], enum dtype type,
                            int64_t n);
    void (*pack_panel_f32)(unsigned char *dst, const unsigned char *const row[16], enum dtype type,
                           int64_t n);
    void (*pack_panel_f16)(unsigned char *dst, const unsigned char *const row[16], enum dtype type,
                           int64_t n);

    /* B tiles of x itself, x [n_k, n] with n columns: ceil(n / 16) panels of ceil(n_k / kblock) tiles, zero padded. */
    void (*pack_b_bf16)(unsigned char *dst, size_t b_panel, const float *x, int64_t ldx, int n_k, int n);
    void (*pack_b_f32)(unsigned char *dst, size_t b_panel, const float *x, int64_t ldx, int n_k, int n);

    /* Scores in, probabilities out as the rows of A tiles at p (tile t of a 16-row group holds the t-th k block;
     * groups are p_group bytes apart). */
    void (*softmax_bf16)(const struct softmax_rows *s, unsigned char *p, ptrdiff_t p_group);
    void (*softmax_f32)(const struct softmax_rows *s, unsigned char *p, ptrdiff_t p_group);

    /* y = epilogue(v * scale + bias), see epilogue_run(); scale NULL: none. */
    void (*finish)(enum epilogue epi, float *y, float *v, float *v2, const float *scale, const float *scale2,
                   const float *bias, const float *bias2, const float *gate, int n);

    /* y = v + bias, where y will not be read soon and is much. */
    void (*store_far)(float *y, const float *v, const float *bias, int n);

    float (*rms_inv)(const float *x, int64_t n, float eps);
    void (*rmsnorm_row)(float *y, const float *x, int64_t n, const float *w, float eps);
    void (*layernorm_row)(float *y, const float *x, int64_t n, const float *w, const float *b, float eps,
                          const float *scale, const float *shift);
    /* n pixels of c channels: s[c] += sum(x - x0), q[c] += sum((x - x0)^2), through f32 sums of at most 64 pixels. */
    void (*moments)(double *s, double *q, float *tmp, const float *x, int64_t n, int c, const float *x0);
    void (*rope_row)(float *x, int n_head, int head_dim, const float *cos, const float *sin,
                     const float *head_norm, float eps);
    void (*silu)(float *y, const float *x, int64_t n);
    void (*add)(float *y, const float *a, const float *b, int64_t n);
    void (*axpby)(float *y, const float *x, float a, float b, int64_t n);
    void (*scale_shift)(float *y, const float *x, int c, const float *scale, const float *shift, bool silu);
    void (*clamp)(float *y, int64_t n, float max);
    void (*scale_row)(float *y, const float *x, int64_t n, float by);
    /* Depthwise convolution of one output pixel: n_tap pixels x[t] (NULL: padding), weights [n_tap, c]. */
    void (*depthwise)(float *y, const float *const *x, const float *w, int n_tap, int c, const float *bias);
};

static inline void form_product(const struct float_kern *fk, enum float_form f, float *c, int64_t ldc,
                                const struct tiles *a, const unsigned char *b, size_t b_panel, int m, int np,
                                int64_t kb, bool add)
{
    (f == FORM_BF16  ? fk->product_bf16
     : f == FORM_F32 ? fk->product_f32
                     : fk->product_f16)(c, ldc, a, b, b_panel, m, np, kb, add);
}

static inline void form_pack_row(const struct float_kern *fk, enum float_form f, unsigned char *dst,
                                 ptrdiff_t step, const float *x, int64_t n, const struct row_map *map)
{
    (f == FORM_BF16  ? fk->pack_row_bf16
     : f == FORM_F32 ? fk->pack_row_f32
                     : fk->pack_row_f16)(dst, step, x, n, map);
}

static inline void form_pack_panel(const struct float_kern *fk, enum float_form f, unsigned char *dst,
                                   const unsigned char *const row[16], enum dtype type, int64_t n)
{
    (f == FORM_BF16  ? fk->pack_panel_bf16
     : f == FORM_F32 ? fk->pack_panel_f32
                     : fk->pack_panel_f16)(dst, row, type, n);
}

extern const struct float_kern float_kern_avx2, float_kern_avx512, float_kern_avx512bf16, float_kern_amx,
    float_kern_neon, float_kern_armbf16;

/* How products are cut into tasks: a strip of panels by a block of rows, whose sums [ROW_BLOCK, LD_SUMS] the thread
 * holds in its scratch; with a chunk of A and of B they fill two thirds of a 1 MiB cache. */
#define STRIP 12 /* panels: a multiple of the 2, 3 and 4 that register tiles take */
#define ROW_BLOCK 256
#define LD_SUMS (STRIP * 16 + 16) /* no power of two, so that rows spread over the sets of a cache */

/* Panels a task for `panels` of them (or tiles): strips of equal, even size, at most `max`. */
static inline int64_t strip_size(int64_t panels, int64_t max)
{
    const int64_t n = (panels + max - 1) / max, size = (panels + n - 1) / n;
    return size + size % 2 <= max ? size + size % 2 : size;
}

/* Scratch that operations without weights of their own may count on (memory is taken when it is first written). */
#define FLOAT_SCRATCH_SHARED ((size_t)24 << 20)
#define FLOAT_SCRATCH_THREAD ((size_t)6 << 20)

#endif
