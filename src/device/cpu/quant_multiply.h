/* quant_multiply.h - the walk of one thread over its groups: every instruction set's file includes it and supplies
 *
 *     dot(format, group, n_groups, n_blocks, panel, cols, next, next_lines, out)
 *
 *         out[g][c][16]: all 16 rows of one or two groups of a format with `cols` activation rows
 *
 * so that the epilogue is compiled for that instruction set too. */
#ifndef HEARTH_DEVICE_CPU_QUANT_MULTIPLY_H
#define HEARTH_DEVICE_CPU_QUANT_MULTIPLY_H

#include <string.h>

#include "device/cpu/epilogue.h"
#include "device/cpu/quant.h"

/* Weights to ask the memory for: `lines` cache lines from `at` with every block. lines 0: those that follow the present ones.
 * dot() takes both apart: a struct on the stack is read in one piece, which waits for all stores before it. */
struct quant_next {
    const unsigned char *at;
    size_t lines;
};
typedef float quant_sums[QUANT_COLS][QUANT_GROUP];
typedef void quant_dot(const struct quant_format *f, const unsigned char *const *group, int n_groups,
                       int64_t n_blocks, const unsigned char *panel, int cols, const unsigned char *next,
                       size_t next_lines, quant_sums *out);

/* F(name, bits, coded, offset, scales) for each format: their functions are made from one that is inlined with these
 * constants. */
#define QUANT_FORMATS(F)                                                                                     \
    F(q4_0, 4, false, 8, QS_F16)                                                                             \
    F(q4_1, 4, false, 0, QS_F16_MIN)                                                                         \
    F(q5_0, 5, false, 16, QS_F16)                                                                            \
    F(q5_1, 5, false, 0, QS_F16_MIN)                                                                         \
    F(q8_0, 8, false, 128, QS_F16)                                                                           \
    F(iq4_nl, 4, true, 128, QS_F16)                                                                          \
    F(q2_k, 2, false, 0, QS_K16_MIN)                                                                         \
    F(q3_k, 3, false, 4, QS_K16)                                                                             \
    F(q4_k, 4, false, 0, QS_K_MIN)                                                                           \
    F(q5_k, 5, false, 0, QS_K_MIN)                                                                           \
    F(q6_k, 6, false, 32, QS_K16)                                                                            \
    F(iq4_xs, 4, true, 128, QS_K)                                                                            \
    F(code3_k, 3, true, 128, QS_K)                                                                           \
    F(code3_k16, 3, true, 128, QS_K16)                                                                       \
    F(mxfp4, 4, true, 128, QS_E8)                                                                            \
    F(nvfp4, 4, true, 128, QS_E4M3_16)                                                                       \
    F(w4_128, 4, false, 0, QS_GROUP)
/* Calls PREFIX_FORMAT(...), of the one format that stands for all which differ in their levels alone. */
#define QUANT_CHOOSE(format, prefix, ...)                                                                    \
    switch ((format)->type) {                                                                                \
    case DT_Q4_0: prefix##_q4_0(__VA_ARGS__); return;                                                        \
    case DT_Q4_1: prefix##_q4_1(__VA_ARGS__); return;                                                        \
    case DT_Q5_0: prefix##_q5_0(__VA_ARGS__); return;                                                        \
    case DT_Q5_1: prefix##_q5_1(__VA_ARGS__); return;                                                        \
    case DT_Q8_0: prefix##_q8_0(__VA_ARGS__); return;                                                        \
    case DT_IQ4_NL: prefix##_iq4_nl(__VA_ARGS__); return;                                                    \
    case DT_TQ1_0:                                                                                           \
    case DT_TQ2_0:                                                                                           \
    case DT_Q2_K: prefix##_q2_k(__VA_ARGS__); return;                                                        \
    case DT_Q3_K: prefix##_q3_k(__VA_ARGS__); return;                                                        \
    case DT_Q4_K: prefix##_q4_k(__VA_ARGS__); return;                                                        \
    case DT_Q5_K: prefix##_q5_k(__VA_ARGS__); return;                                                        \
    case DT_Q6_K: prefix##_q6_k(__VA_ARGS__); return;                                                        \
    case DT_IQ3_XXS:                                                                                         \
    case DT_IQ3_S:                                                                                           \
    case DT_IQ4_XS: prefix##_iq4_xs(__VA_ARGS__); return;                                                    \
    case DT_IQ1_S:                                                                                           \
    case DT_IQ2_XXS: prefix##_code3_k(__VA_ARGS__); return;                                                  \
    case DT_IQ1_M:                                                                                           \
    case DT_IQ2_S:                                                                                           \
    case DT_IQ2_XS: prefix##_code3_k16(__VA_ARGS__); return;                                                 \
    case DT_MXFP4: prefix##_mxfp4(__VA_ARGS__); return;                                                      \
    case DT_NVFP4: prefix##_nvfp4(__VA_ARGS__); return;                                                      \
    case DT_W4_128: prefix##_w4_128(__VA_ARGS__); return;                                                    \
    default: return;                                                                                         \
    }

/* The part and the group in it that a job's group index g means, and its first output. */
static inline const struct quant_part *quant_locate(const struct quant_job *j, int64_t g, int64_t *in_part,
                                                    int64_t *first_out)
{
    const struct quant_part *p = j->part;
    int64_t base = 0;
    if (j->join == LINEAR_CONCAT)
        for (; g >= p->n_groups; p++) {
            g -= p->n_groups;
            base += p->n_out;
        }
    *in_part = g;
    *first_out = base + g * QUANT_GROUP;
    return p;
}

static inline void quant_scale(float (*v)[QUANT_GROUP], const float *by, int cols)
{
    for (int c = 0; c < cols; c++) {
        for (int i = 0; i < QUANT_GROUP; i++) v[c][i] *= by[i];
        __asm__ volatile(
            "" ::
                : "memory"); /* row by row: gcc would take a column of rows at once, and permute */
    }
}

/* Finishes one group's results for the panel whose first row (in the arguments) is `row`. v2: the up part's. by, by2: what their rows are
 * multiplied by; NULL: nothing. */
static inline void quant_store(const struct quant_job *j, int64_t row, int cols, int64_t first_out, int n,
                               int64_t n_out_part, const float *by, const float *by2, float (*v)[QUANT_GROUP],
                               float (*v2)[QUANT_GROUP])
{
    const struct linear_args *a = j->a;
    const float *bias = j->bias ? j->bias + first_out : NULL;
    const float *bias2 = j->bias && v2 ? j->bias + n_out_part + first_out : NULL;
    const float *gate = a->gate ? a->gate + first_out : NULL;
    if (j->fine) { /* places 2c and 2c + 1 are one row */
        row = j->row0 + (row - j->row0) / 2;
        cols /= 2;
        for (int c = 0; c < cols; c++)
            for (int i = 0; i < QUANT_GROUP; i++) {
                v[c][i] = v[2 * c][i] + v[2 * c + 1][i];
                if (v2) v2[c][i] = v2[2 * c][i] + v2[2 * c + 1][i];
            }
    }
    if (by) quant_scale(v, by, cols);
    if (v2 && by2) quant_scale(v2, by2, cols);
    for (int c = 0; c < cols; c++) {
        float *y = a->y + (row + c) * a->ldy + first_out;
        if (n == QUANT_GROUP) /* a constant length: straight vector code */
            epilogue_run(a->epi, y, v[c], v2 ? v2[c] : NULL, bias, bias2, gate, QUANT_GROUP);
        else
            epilogue_run(a->epi, y, v[c], v2 ? v2[c] : NULL, bias, bias2, gate, n);
    }
}

/* A part's row scales from a group on. */
static inline const float *quant_row_scale(const struct quant_part *p, int64_t in_part)
{
    return p->row_scale ? p->row_scale + in_part * QUANT_GROUP : NULL;
}

static inline int quant_rows_left(const struct quant_part *p, int64_t in_part)
{
    int64_t left = p->n_out - in_part * QUANT_GROUP;
    return left < QUANT_GROUP ? (int)left : QUANT_GROUP;
}

/* What panel i of n_panels asks for while the groups of `now` go over it: its share of the groups that come next. A single
 * panel's kernel asks for what is just ahead. */
static inline struct quant_next quant_share(const struct quant_job *j, const unsigned char *const now[2],
                                            int n_groups, size_t group_bytes, int64_t i, int64_t n_panels)
{
    if (n_panels < 2) return (struct quant_next){ now[0], 0 };
    const bool paired = j->join == LINEAR_PAIRED;
    const int64_t shares =
        paired ? n_panels / 2
               : n_panels; /* gate's next group for one half of the panels, up's for the other */
    const size_t bytes = group_bytes * (size_t)n_groups,
                 share = (bytes / 64 + (size_t)shares - 1) / (size_t)shares;
    const size_t goes = (size_t)(j->panels.n_blocks * (j->panels.width > 6 ? 2 : 1));
    const unsigned char *from = now[paired && i >= shares ? 1 : 0] + bytes;
    return (struct quant_next){ from + (size_t)(i % shares) * share * 64, (share + goes - 1) / goes };
}

/* Two groups at a time: gate and up, or neighbours. */
static inline void quant_multiply_direct(const struct quant_job *j, int64_t g0, int64_t g1, quant_dot *dot)
{
    const struct quant_panels *x = &j->panels;
    const size_t row_bytes = (size_t)x->n_blocks * QUANT_ROW_BLOCK_BYTES;
    const bool paired = j->join == LINEAR_PAIRED;
    const int64_t n_panels = (x->n + x->width - 1) / x->width;
    int n;
    for (int64_t g = g0; g < g1; g += n) {
        int64_t in_part, first_out;
        const struct quant_part *p = quant_locate(j, g, &in_part, &first_out), *up = j->part + 1;
        const unsigned char *group[2] = { p->data + (size_t)in_part * p->group_bytes };
        n = !paired && g + 1 < g1 && in_part + 1 < p->n_groups ? 2 : 1;
        group[1] = paired ? up->data + (size_t)g * up->group_bytes : group[0] + p->group_bytes;
        for (int64_t r = 0; r < x->n; r += x->width) {
            const int cols = (int)(x->n - r < x->width ? x->n - r : x->width);
            const unsigned char *panel = x->data + (size_t)r * row_bytes;
            const struct quant_next next = quant_share(j, group, n, p->group_bytes, r / x->width, n_panels);
            _Alignas(64) quant_sums v[2];
            for (int c = 0; c < cols && j->a->n > 1; c++) /* where the sums will go: a row each, far apart */
                __builtin_prefetch(&j->a->y[(j->row0 + r + c) * j->a->ldy + first_out], 1);
            if (paired && up->format != p->format) {
                dot(p->format, group, 1, x->n_blocks, panel, cols, next.at, next.lines, v);
                dot(up->format, group + 1, 1, x->n_blocks, panel, cols, next.at, next.lines, v + 1);
            } else {
                dot(p->format, group, paired ? 2 : n, x->n_blocks, panel, cols, next.at, next.lines, v);
            }
            for (int i = 0; i < n; i++)
                quant_store(j, j->row0 + r, cols, first_out + i * QUANT_GROUP,
                            quant_rows_left(p, in_part + i), p->n_out, quant_row_scale(p, in_part + i),
                            paired ? quant_row_scale(up, in_part) : NULL, v[i], paired ? v[1] : NULL);
        }
    }
}

typedef void quant_unpack(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                          unsigned char *out);
/* Called before dot() whenever its row count or the size of its granules changes. */
typedef void quant_setup(int cols, bool by_16);
typedef void quant_dot_unpacked(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                                const unsigned char *panel, int cols, float (*out)[QUANT_GROUP]);

/* Groups are unpacked in lots that fit the second-level cache. A piece of a panel that stays in the first level passes over
 * all groups of a lot before its next piece, so sums are kept in memory between pieces: dot() adds to `out`. wide: unpack()
 * makes 16 bits of 8-bit words. */
static inline void quant_multiply_unpacked(const struct quant_job *j, int64_t g0, int64_t g1,
                                           unsigned char *buf, quant_unpack *unpack, quant_setup *setup,
                                           quant_dot_unpacked *dot, const bool wide)
{
    enum { PIECE = 20 << 10 };
    const struct quant_panels *x = &j->panels;
    const size_t row_bytes = (size_t)x->n_blocks * QUANT_ROW_BLOCK_BYTES;
    bool any_wide = false;
    for (int i = 0; i < j->n_parts; i++) any_wide |= wide && quant_is_wide(j->part[i].format);
    const size_t each = quant_unpacked_bytes(x->n_blocks * QUANT_BLOCK, any_wide);
    const int parts = j->join == LINEAR_PAIRED ? 2 : 1;
    int64_t lot = quant_unpacked_lot(each) / parts;
    if (lot < 1) lot = 1;
    int set_cols = 0;
    bool set_by_16 = false;
    quant_sums *v = (quant_sums *)(buf + (size_t)(lot * parts) * each);
    for (; g0 < g1; g0 += lot) {
        int64_t n_groups = g1 - g0 < lot ? g1 - g0 : lot, in_part, first_out;
        for (int64_t i = 0; i < n_groups * parts; i++) {
            const struct quant_part *p = quant_locate(j, g0 + i / parts, &in_part, &first_out) + i % parts;
            unpack(p->format, p->data + (size_t)in_part * p->group_bytes, x->n_blocks,
                   buf + (size_t)i * each);
        }
        for (int64_t r = 0; r < x->n; r += x->width) {
            const int cols = (int)(x->n - r < x->width ? x->n - r : x->width);
            const unsigned char *panel = x->data + (size_t)r * row_bytes;
            const int64_t piece = PIECE / (cols * QUANT_ROW_BLOCK_BYTES) / 4 * 4;
            memset(v, 0, (size_t)(n_groups * parts) * sizeof *v);
            for (int64_t b = 0; b < x->n_blocks; b += piece) {
                int64_t n = x->n_blocks - b < piece ? x->n_blocks - b : piece;
                for (int64_t i = 0; i < n_groups * parts; i++) {
                    const struct quant_part *p =
                        quant_locate(j, g0 + i / parts, &in_part, &first_out) + i % parts;
                    const bool by_16 = quant_by_16(p->format->scales);
                    if (cols != set_cols || by_16 != set_by_16) setup(cols, by_16);
                    set_cols = cols;
                    set_by_16 = by_16;
                    const size_t step =
                        quant_unpacked_step(by_16, p->format->offset == 0, wide && quant_is_wide(p->format));
                    dot(p->format, buf + (size_t)i * each + (size_t)b * step, n,
                        panel + (size_t)(b * cols) * QUANT_ROW_BLOCK_BYTES, cols, v[i]);
                }
            }
            for (int64_t g = 0; g < n_groups; g++) {
                const struct quant_part *p = quant_locate(j, g0 + g, &in_part, &first_out);
                quant_store(j, j->row0 + r, cols, first_out, quant_rows_left(p, in_part), p->n_out,
                            quant_row_scale(p, in_part), parts == 2 ? quant_row_scale(p + 1, in_part) : NULL,
                            v[g * parts], parts == 2 ? v[g * parts + 1] : NULL);
            }
        }
    }
}

#endif
