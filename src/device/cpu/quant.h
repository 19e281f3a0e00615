/* quant.h - products of quantised weights with activations rounded to int8: layouts and the kernel table.
 *
 * Numbers  A row of activations is cut into blocks of 32; a block is rounded to int8 with one f32 scale
 *          (|q| <= 127, nearest even). Weights keep the integers and scales of their file format, nothing is rounded
 *          again. For one weight row and one activation row, ascending over blocks (and the halves of a block where
 *          the format has a scale per 16):
 *              acc = fma((float)idot, w_scale * x_scale, acc)                  idot exact in int32
 *              acc = fma(w_min, x_scale * (float)sum_q, acc)                   formats with a minimum
 *          The integers are exact however they are grouped, and the f32 steps are the same for every row count, so a
 *          row's result does not depend on its neighbours, and all instruction sets give the same bits.
 *
 *          A fine layer (linear_set_fine) also rounds what a block's rounding left over, with a scale of its own, as if
 *          it were a second row, and adds the two results at the end: some 15 bits of each activation count.
 *
 * Weights  QUANT_GROUP (16) output rows form a group; a group is one stream that is read from its first byte to its last:
 *          pieces of one, two or eight blocks, each begun by the scales of its blocks, so that nothing has to be fetched
 *          from elsewhere. One block of a group is eight "words" w[j], j = 0..7, of 64 bytes:
 *          byte 4*r + i of w[j] is element 4*j + i of row r. A fused multiply of bytes with sums of four (VNNI) thus
 *          adds to 16 rows at once and never sums across lanes. Words are stored in bit planes of 64-byte vectors:
 *              4-bit plane  v[t], t < 4: w[t] low nibble, w[t+4] high
 *              2-bit plane  v[t], t < 2: w[4*t + s] at bits 2*s
 *              1-bit plane  v: w[j] at bit j
 *              bytes        v[j] = w[j]
 *          with the low bits' plane first. A 5-bit format is a 4-bit and a 1-bit plane, and so on.
 *          Missing rows of the last group have scale 0.
 *
 * Scales   of a piece, up to a multiple of 64 bytes. Plain blocks: f16 d[16] of two blocks, or f16 d[16] and m[16] of one. K
 *          formats, eight blocks: f16 d[16], f16 dmin[16] if any, then for each granule u8/i8 scale[16], and u8 min[16]
 *          if any (Q2_K: both in one byte). QS_E8: u8 e[16] of four blocks; QS_E4M3_16: u8 scale[16] of four halves of two; QS_GROUP:
 *          f16 d[16] and u8 z[16] of four. A last piece may have fewer blocks than its kind has.
 *
 * Panels   Rows of activations are stored in panels of up to QUANT_COLS rows so that a kernel reads one stream. */
#ifndef HEARTH_DEVICE_CPU_QUANT_H
#define HEARTH_DEVICE_CPU_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "device/backend.h"

#define QUANT_GROUP 16
#define QUANT_COLS 16 /* rows of a panel at most */
#define QUANT_BLOCK 32

enum quant_scales {
    QS_F16,     /* f16 d a block                              Q4_0 Q5_0 Q8_0 IQ4_NL */
    QS_F16_MIN, /* f16 d and m a block                        Q4_1 Q5_1             */
    QS_K_MIN,   /* f16 d, dmin; u8 scale, min a granule of 32 Q4_K Q5_K             */
    QS_K,       /* f16 d; i8 scale a granule of 32            IQ1_S IQ2_XXS IQ3 IQ4_XS */
    QS_K16,     /* f16 d; i8 scale a granule of 16            Q3_K Q6_K IQ1_M IQ2_XS IQ2_S */
    QS_K16_MIN, /* f16 d, dmin; nibbles scale, min, of 16     Q2_K TQ1_0 TQ2_0      */
    QS_E8,      /* u8 exponent a block: d = 2^(e - 127)       MXFP4                 */
    QS_E4M3_16, /* u8 e4m3 a granule of 16, times a half      NVFP4                 */
    QS_GROUP    /* f16 d and u8 zero point z of 128:
                   w = d * (q - z)                            W4_128                */
};

struct quant_levels; /* format/quant_codes.h */

/* What a weight format is. Integers are stored unsigned: q = stored - offset. */
struct quant_format {
    enum dtype type;
    int bits; /* 2, 3, 4, 5, 6 or 8 */
    const struct quant_levels *
        levels; /* not NULL: what is stored is a code: it means levels->value[code] + 128, and d is d * factor */
    int offset; /* 0 for formats with a minimum */
    enum quant_scales scales;
};

/* NULL when t is not a quantised type. */
const struct quant_format *quant_format_of(enum dtype t);

static inline size_t quant_plane_bytes(const struct quant_format *f) /* of one block of a group */
{
    return (size_t)f->bits * QUANT_GROUP * QUANT_BLOCK / 8;
}
static inline int quant_piece_blocks(enum quant_scales s)
{
    return s == QS_F16 || s == QS_E4M3_16 ? 2 : s == QS_F16_MIN ? 1 : s == QS_E8 || s == QS_GROUP ? 4 : 8;
}
static inline bool quant_by_256(enum quant_scales s) { return quant_piece_blocks(s) == 8; }
/* Blocks of the piece that begins where `left` are left; K formats always have all. */
static inline int quant_piece_count(enum quant_scales s, int64_t left)
{
    const int per = quant_piece_blocks(s);
    return per == 8 || per == 1 || left >= per ? per : (int)left;
}
static inline bool quant_by_16(enum quant_scales s) /* a scale for each half of a block */
{
    return s == QS_K16 || s == QS_K16_MIN || s == QS_E4M3_16;
}
static inline size_t quant_piece_scales(enum quant_scales s) /* bytes, whole cache lines */
{
    return !quant_by_256(s) ? 64 : s == QS_K ? 192 : 320;
}
static inline size_t quant_group_bytes(const struct quant_format *f, int64_t n_blocks)
{
    const int64_t per = quant_piece_blocks(f->scales), pieces = (n_blocks + per - 1) / per;
    return (size_t)pieces * (quant_piece_scales(f->scales) + (size_t)per * quant_plane_bytes(f));
}
/* Where in a group block b's integers stand, and the scales of its piece. */
static inline size_t quant_planes_at(const struct quant_format *f, int64_t b)
{
    return (size_t)(b / quant_piece_blocks(f->scales) + 1) * quant_piece_scales(f->scales) +
           (size_t)b * quant_plane_bytes(f);
}
static inline size_t quant_scales_at(const struct quant_format *f, int64_t b)
{
    const int64_t per = quant_piece_blocks(f->scales), piece = b / per;
    return (size_t)piece * (quant_piece_scales(f->scales) + (size_t)per * quant_plane_bytes(f));
}

/* One matrix, packed. */
struct quant_part {
    const struct quant_format *format;
    unsigned char *data; /* n_groups * group_bytes, 64-byte aligned */
    size_t group_bytes;
    int64_t n_out, n_groups;
    float *row_scale; /* [n_groups * QUANT_GROUP], for finished sums; NULL: none */
};

/* Packs groups [g0, g1) of a matrix. n_in is a multiple of the type's block. */
void quant_pack(const struct quant_part *p, const struct matrix *m, int64_t g0, int64_t g1);

/* A panel of P activation rows. For each block: int8 q[P][32] (quant_i8mm.c interleaves pairs of rows), then five arrays of P
 *     f32 scale    x_scale
 *     f32 sum      x_scale * (float)sum of q
 *     i32 neg      -128 * sum of q          (a dot product with q + 128 starts from it)
 *     i32 neg_lo   -128 * sum of the first 16
 *     i32 neg_hi   -128 * sum of the last 16
 * (the integers are between an instruction set's two functions: quant_256.h has others) */
#define QUANT_ROW_BLOCK_BYTES (QUANT_BLOCK + 20) /* bytes a row and block */

/* Rows [0, n) in panels: all have `width` rows but the last, which has the rest. */
struct quant_panels {
    unsigned char *data;
    int64_t n, n_blocks;
    int width;
};
/* n rows in as few panels of at most `most` as possible, of nearly the same size. */
static inline int quant_panel_rows(int64_t n, int most)
{
    int64_t panels = (n + most - 1) / most;
    return panels ? (int)((n + panels - 1) / panels) : 1;
}
/* The panel that holds a row, and what is left of it: *cols rows, row *c within them. */
static inline unsigned char *quant_panel_at(const struct quant_panels *p, int64_t row, int *cols, int *c)
{
    int64_t first = row / p->width * p->width;
    *cols = (int)(p->n - first < p->width ? p->n - first : p->width);
    *c = (int)(row - first);
    return p->data + (size_t)first * (size_t)p->n_blocks * QUANT_ROW_BLOCK_BYTES;
}
static inline size_t quant_panels_bytes(int64_t n, int64_t n_in)
{
    return (size_t)n * (size_t)(n_in / QUANT_BLOCK) * QUANT_ROW_BLOCK_BYTES;
}

/* One product, as all threads see it. Group index g runs over the parts one after another (CONCAT) or over pairs of
 * groups of both parts (PAIRED). */
struct quant_job {
    const struct quant_part *part;
    int n_parts;
    enum linear_join join;
    const float *bias;
    const int32_t *from; /* [n_in]: which of a row's values stands at each place; NULL: as they come */
    const struct linear_args *a;
    int64_t
        row0; /* panels hold rows [row0, row0 + panels.n) of the arguments; fine: half as many, two places a row */
    bool fine; /* a row is rounded twice: the second place holds what the first left over */
    struct quant_panels panels;
    int64_t n_groups;
};

struct quant_kern {
    /* Rows of a panel when n rows go through together: at most QUANT_COLS. */
    int (*panel_rows)(int64_t n);
    /* Normalises (when a->norm) and rounds rows [r0, r1) of the panels. */
    void (*round_rows)(const struct quant_job *j, int64_t r0, int64_t r1, float *row_buf /* n_in */);
    /* Outputs of groups [g0, g1) for all rows of the panels. unpacked: scratch of quant_unpacked_scratch(). */
    void (*multiply)(const struct quant_job *j, int64_t g0, int64_t g1, unsigned char *unpacked);
};
extern const struct quant_kern quant_kern_plain, quant_kern_avx2, quant_kern_avxvnni, quant_kern_avx512,
    quant_kern_amx, quant_kern_neon, quant_kern_dotprod, quant_kern_i8mm;

/* Groups whose integers are unpacked when many rows share the work: to bytes, or (wide: a kernel's choice for 8-bit words) to 16
 * bits. Scratch for one, how many are worth having at once, and for those with their sums (at least two: gate and up). */
static inline bool quant_is_wide(const struct quant_format *f)
{
    return (f->bits == 8 || f->levels) && !quant_by_16(f->scales);
}
static inline size_t quant_unpacked_step(bool by_16, bool min, bool wide) /* bytes of a block */
{
    return (wide ? 1024 : 512) + 64 * (size_t)((by_16 ? 2 : 1) * (min ? 2 : 1));
}
static inline size_t quant_unpacked_bytes(int64_t n_in, bool wide)
{
    return (size_t)(n_in / QUANT_BLOCK) * (wide ? 1024 + 64 : 512 + 4 * 64);
}
static inline int64_t quant_unpacked_lot(size_t each)
{
    int64_t lot = (int64_t)(((size_t)384 << 10) / each);
    return lot < 2 ? 2 : lot > 64 ? 64 : lot;
}
static inline size_t quant_unpacked_scratch(int64_t n_in)
{
    size_t most = 0;
    for (int wide = 0; wide < 2; wide++) {
        const size_t each = quant_unpacked_bytes(n_in, wide);
        const size_t all =
            (size_t)quant_unpacked_lot(each) * (each + QUANT_COLS * QUANT_GROUP * sizeof(float));
        if (all > most) most = all;
    }
    return most;
}

#endif
