/* quant_pack.c - from the file's blocks to groups of 16 interleaved rows (quant.h). */
#include "device/cpu/quant.h"

#include <string.h>

#include "format/quant_codes.h"

/* type, bits, levels, offset, scales */
static const struct quant_format formats[] = {
    { DT_Q4_0, 4, NULL, 8, QS_F16 },
    { DT_Q4_1, 4, NULL, 0, QS_F16_MIN },
    { DT_Q5_0, 5, NULL, 16, QS_F16 },
    { DT_Q5_1, 5, NULL, 0, QS_F16_MIN },
    { DT_Q8_0, 8, NULL, 128, QS_F16 },
    { DT_IQ4_NL, 4, &quant_levels_iq4, 128, QS_F16 },
    { DT_Q2_K, 2, NULL, 0, QS_K16_MIN },
    { DT_Q3_K, 3, NULL, 4, QS_K16 },
    { DT_Q4_K, 4, NULL, 0, QS_K_MIN },
    { DT_Q5_K, 5, NULL, 0, QS_K_MIN },
    { DT_Q6_K, 6, NULL, 32, QS_K16 },
    { DT_IQ4_XS, 4, &quant_levels_iq4, 128, QS_K },
    { DT_IQ2_XXS, 3, &quant_levels_iq2, 128, QS_K },
    { DT_IQ2_XS, 3, &quant_levels_iq2, 128, QS_K16 },
    { DT_IQ2_S, 3, &quant_levels_iq2, 128, QS_K16 },
    { DT_IQ3_XXS, 4, &quant_levels_iq3_xxs, 128, QS_K },
    { DT_IQ3_S, 4, &quant_levels_iq3_s, 128, QS_K },
    { DT_IQ1_S, 3, &quant_levels_iq1, 128, QS_K },
    { DT_IQ1_M, 3, &quant_levels_iq1, 128, QS_K16 },
    { DT_TQ1_0, 2, NULL, 0, QS_K16_MIN },
    { DT_TQ2_0, 2, NULL, 0, QS_K16_MIN },
    { DT_MXFP4, 4, &quant_levels_fp4, 128, QS_E8 },
    { DT_NVFP4, 4, &quant_levels_fp4, 128, QS_E4M3_16 },
    { DT_W4_128, 4, NULL, 0, QS_GROUP },
};

const struct quant_format *quant_format_of(enum dtype t)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].type == t) return &formats[i];
    return NULL;
}

/* Integers are moved eight at a time, as the bytes of a word of 64 bits, whose lowest is the first. */
#define BYTES(v) ((uint64_t)(v)*0x0101010101010101u)

static inline uint64_t load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void store32(unsigned char *p, uint64_t v)
{
    uint32_t low = (uint32_t)v;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    low = __builtin_bswap32(low);
#endif
    memcpy(p, &low, sizeof low);
}

/* Bit i of b as byte i, 0 or 1. */
static inline uint64_t spread_bits(uint8_t b)
{
    const uint64_t one_each = BYTES(b) & 0x8040201008040201u;
    return (one_each + BYTES(0x7f)) >> 7 & BYTES(1);
}

/* ---- one block of 32 (sub-block j of a larger one) of a row as stored integers, and its scales where they come with them ---- */

static inline void nibbles(const uint8_t *qs, uint64_t q[4])
{
    const uint64_t a = load64(qs), b = load64(qs + 8);
    q[0] = a & BYTES(15);
    q[1] = b & BYTES(15);
    q[2] = a >> 4 & BYTES(15);
    q[3] = b >> 4 & BYTES(15);
}

static inline void fifth_bits(const uint8_t qh[4], uint64_t q[4])
{
    for (int i = 0; i < 4; i++) q[i] |= spread_bits(qh[i]) << 4;
}

/* Fields of `mask` at bit `at` of 32 bytes, to bit `to` of q. */
static inline void fields(const uint8_t *p, int at, uint8_t mask, int to, uint64_t q[4])
{
    for (int i = 0; i < 4; i++) q[i] |= (load64(p + 8 * i) >> at & BYTES(mask)) << to;
}

static inline __attribute__((always_inline)) void unpack_codes(enum dtype t, const unsigned char *block,
                                                               int j, uint64_t q[4], int8_t scale[2])
{
    for (int i = 0; i < 4; i++) q[i] = 0;
    switch (t) {
    case DT_Q4_0: nibbles(((const struct q4_0 *)block)->qs, q); break;
    case DT_Q4_1: nibbles(((const struct q4_1 *)block)->qs, q); break;
    case DT_IQ4_NL: nibbles(((const struct iq4_nl *)block)->qs, q); break;
    case DT_IQ4_XS: nibbles(((const struct iq4_xs *)block)->qs + 16 * j, q); break;
    case DT_Q5_0:
        nibbles(((const struct q5_0 *)block)->qs, q);
        fifth_bits(((const struct q5_0 *)block)->qh, q);
        break;
    case DT_Q5_1:
        nibbles(((const struct q5_1 *)block)->qs, q);
        fifth_bits(((const struct q5_1 *)block)->qh, q);
        break;
    case DT_Q8_0: /* + 128 */
        for (int i = 0; i < 4; i++) q[i] = load64(((const struct q8_0 *)block)->qs + 8 * i) ^ BYTES(0x80);
        break;
    case DT_Q2_K: fields(((const struct q2_k *)block)->qs + 32 * (j >> 2), 2 * (j & 3), 3, 0, q); break;
    case DT_Q3_K:
        fields(((const struct q3_k *)block)->qs + 32 * (j >> 2), 2 * (j & 3), 3, 0, q);
        fields(((const struct q3_k *)block)->hmask, j, 1, 2, q);
        break;
    case DT_Q4_K: fields(((const struct q4_k *)block)->qs + 32 * (j >> 1), 4 * (j & 1), 15, 0, q); break;
    case DT_Q5_K:
        fields(((const struct q5_k *)block)->qs + 32 * (j >> 1), 4 * (j & 1), 15, 0, q);
        fields(((const struct q5_k *)block)->qh, j, 1, 4, q);
        break;
    case DT_Q6_K: {
        const struct q6_k *b = (const struct q6_k *)block;
        const int h = j >> 2, s = j & 3;
        fields(b->ql + 64 * h + 32 * (s & 1), 4 * (s >> 1), 15, 0, q);
        fields(b->qh + 32 * h, 2 * s, 3, 4, q);
        break;
    }
    case DT_TQ1_0: {
        uint8_t code[QUANT_BLOCK];
        quant_ternary((const struct tq1_0 *)block, j, code);
        for (int i = 0; i < 4; i++) q[i] = load64(code + 8 * i);
        break;
    }
    case DT_TQ2_0: fields(((const struct tq2_0 *)block)->qs + 32 * (j >> 2), 2 * (j & 3), 3, 0, q); break;
    case DT_W4_128: nibbles(((const struct w4_128 *)block)->qs + 16 * j, q); break;
    case DT_IQ2_XXS:
    case DT_IQ2_XS:
    case DT_IQ2_S:
    case DT_IQ3_XXS:
    case DT_IQ3_S:
    case DT_IQ1_S:
    case DT_IQ1_M:
    case DT_MXFP4:
    case DT_NVFP4: {
        uint8_t code[QUANT_BLOCK];
        quant_codes(t, block, j, code, scale);
        for (int i = 0; i < 4; i++) q[i] = load64(code + 8 * i);
        break;
    }
    default: break;
    }
}

/* ---- bit planes ---- */

/* A row's part of a block's planes; out stands at the row's four bytes of the first vector. */
static inline __attribute__((always_inline)) void put_planes(int bits, const uint64_t q[4],
                                                             unsigned char *out)
{
    if (bits == 8) {
        for (int i = 0; i < 4; i++) {
            store32(out + 128 * i, q[i]);
            store32(out + 128 * i + 64, q[i] >> 32);
        }
        return;
    }
    int done = 0;
    if (bits >= 4) {
        for (int i = 0; i < 2; i++) {
            const uint64_t v = (q[i] & BYTES(15)) | (q[i + 2] & BYTES(15)) << 4;
            store32(out + 128 * i, v);
            store32(out + 128 * i + 64, v >> 32);
        }
        out += 256;
        done = 4;
    }
    if (bits - done >= 2) {
        for (int i = 0; i < 2; i++) {
            const uint64_t a = q[2 * i] >> done & BYTES(3), b = q[2 * i + 1] >> done & BYTES(3);
            store32(out + 64 * i, a | a >> 30 | b << 4 | b >> 26);
        }
        out += 128;
        done += 2;
    }
    if (bits - done == 1) {
        uint64_t v = 0;
        for (int i = 0; i < 4; i++) {
            const uint64_t a = q[i] >> done & BYTES(1);
            v |= a << 2 * i | a >> 32 << (2 * i + 1);
        }
        store32(out, v);
    }
}

static void put16(unsigned char *p, int r, uint16_t v) { memcpy(p + 2 * r, &v, 2); }

/* The scales of row r, block b, at `s`: those of the block's piece. For K formats called once per 256 (b % 8 == 0). */
static void pack_scales(enum dtype t, const unsigned char *block, unsigned char *s, int64_t b, int r)
{
    switch (t) {
    case DT_Q4_0: put16(s + 32 * (b % 2), r, ((const struct q4_0 *)block)->d); return;
    case DT_Q5_0: put16(s + 32 * (b % 2), r, ((const struct q5_0 *)block)->d); return;
    case DT_Q8_0: put16(s + 32 * (b % 2), r, ((const struct q8_0 *)block)->d); return;
    case DT_IQ4_NL: put16(s + 32 * (b % 2), r, ((const struct iq4_nl *)block)->d); return;
    case DT_Q4_1:
        put16(s, r, ((const struct q4_1 *)block)->d);
        put16(s + 32, r, ((const struct q4_1 *)block)->m);
        return;
    case DT_Q5_1:
        put16(s, r, ((const struct q5_1 *)block)->d);
        put16(s + 32, r, ((const struct q5_1 *)block)->m);
        return;
    case DT_Q4_K:
    case DT_Q5_K: { /* both begin with d, dmin, scales */
        const struct q4_k *q = (const struct q4_k *)block;
        put16(s, r, q->d);
        put16(s + 32, r, q->dmin);
        for (int j = 0; j < 8; j++)
            quant_k_scale_min(q->scales, j, s + 64 + 32 * j + r, s + 64 + 32 * j + 16 + r);
        return;
    }
    case DT_IQ4_XS: {
        const struct iq4_xs *q = (const struct iq4_xs *)block;
        put16(s, r, q->d);
        for (int j = 0; j < 8; j++) {
            int low = q->scales_l[j >> 1] >> 4 * (j & 1) & 15, high = q->scales_h >> 2 * j & 3;
            s[32 + 16 * j + r] = (unsigned char)((low | high << 4) - 32);
        }
        return;
    }
    case DT_Q3_K:
    case DT_Q6_K: {
        int8_t scales[16];
        uint16_t d;
        if (t == DT_Q3_K) {
            quant_q3_k_scales(((const struct q3_k *)block)->scales, scales);
            d = ((const struct q3_k *)block)->d;
        } else {
            memcpy(scales, ((const struct q6_k *)block)->scales, 16);
            d = ((const struct q6_k *)block)->d;
        }
        put16(s, r, d);
        for (int g = 0; g < 16; g++) s[32 + 16 * g + r] = (unsigned char)scales[g];
        return;
    }
    case DT_Q2_K: {
        const struct q2_k *q = (const struct q2_k *)block;
        put16(s, r, q->d);
        put16(s + 32, r, q->dmin);
        for (int g = 0; g < 16; g++) s[64 + 16 * g + r] = q->scales[g];
        return;
    }
    case DT_TQ1_0:
    case DT_TQ2_0: { /* d * (q - 1) */
        const uint16_t d =
            t == DT_TQ1_0 ? ((const struct tq1_0 *)block)->d : ((const struct tq2_0 *)block)->d;
        put16(s, r, d);
        put16(s + 32, r, d);
        for (int g = 0; g < 16; g++) s[64 + 16 * g + r] = 0x11;
        return;
    }
    case DT_IQ2_XXS:
    case DT_IQ2_XS:
    case DT_IQ2_S:
    case DT_IQ3_XXS:
    case DT_IQ3_S:
    case DT_IQ1_S:
    case DT_IQ1_M: put16(s, r, quant_codes_d(t, block)); return;
    case DT_MXFP4: /* levels are doubled; the two smallest, below what f32 has of full precision, become 0 */
        s[16 * (b % 4) + r] = (unsigned char)(block[0] ? block[0] - 1 : 0);
        return;
    case DT_NVFP4:
        for (int g = 0; g < 4; g++) s[16 * g + r] = block[g] == 0x7f ? 0 : block[g] & 0x7f;
        return;
    case DT_W4_128:
        put16(s, r, ((const struct w4_128 *)block)->d);
        s[32 + r] = ((const struct w4_128 *)block)->zero;
        return;
    default: return;
    }
}

/* The scales that came with the codes of block b. */
static inline void put_code_scales(const struct quant_format *f, unsigned char *s, int64_t b, int r,
                                   const int8_t scale[2])
{
    const int j = (int)(b % 8);
    if (f->scales == QS_K) s[32 + 16 * j + r] = (unsigned char)scale[0];
    for (int h = 0; h < 2 && f->scales == QS_K16; h++) s[32 + 16 * (2 * j + h) + r] = (unsigned char)scale[h];
}

/* Eight blocks of the group's rows at a time: what a row has of them is one piece of the file, and what all rows have of them is one
 * piece of the group. type is a constant where this is inlined. */
static inline __attribute__((always_inline)) void
pack_groups(const enum dtype type, const struct quant_part *p, const struct matrix *m, int64_t g0, int64_t g1)
{
    const struct quant_format f = *p->format;
    const int64_t n_blocks = m->n_in / QUANT_BLOCK;
    const struct dtype_info *info = dtype_info(type);
    const size_t block_bytes = (size_t)info->block_bytes, row_bytes = dtype_row_bytes(type, m->n_in);
    const int per = info->block_elems / QUANT_BLOCK;
    for (int64_t g = g0; g < g1; g++) {
        unsigned char *group = p->data + (size_t)g * p->group_bytes;
        const int64_t left = m->n_out - g * QUANT_GROUP;
        const int rows = left < QUANT_GROUP ? (int)left : QUANT_GROUP;
        const unsigned char *src = (const unsigned char *)m->data + (size_t)g * QUANT_GROUP * row_bytes;
        if (rows < QUANT_GROUP) memset(group, 0, p->group_bytes);
        for (int64_t b0 = 0; b0 < n_blocks; b0 += 8) {
            const int64_t b1 = b0 + 8 < n_blocks ? b0 + 8 : n_blocks;
            for (int64_t b = b0; b < b1; b++)
                if (b % quant_piece_blocks(f.scales) == 0)
                    memset(group + quant_scales_at(&f, b), 0, quant_piece_scales(f.scales));
            for (int r = 0; r < rows; r++) {
                const unsigned char *row = src + (size_t)r * row_bytes;
                for (int64_t b = b0; b < b1; b++) {
                    const unsigned char *block = row + (size_t)(b / per) * block_bytes;
                    uint64_t q[4];
                    int8_t scale[2] = { 0, 0 }; /* none came */
                    unpack_codes(type, block, (int)(b % per), q, scale);
                    put_planes(f.bits, q, group + quant_planes_at(&f, b) + 4 * r);
                    unsigned char *scales = group + quant_scales_at(&f, b);
                    if (b % per == 0) pack_scales(type, block, scales, b, r);
                    if (scale[0]) put_code_scales(&f, scales, b, r, scale);
                }
            }
        }
    }
}

void quant_pack(const struct quant_part *p, const struct matrix *m, int64_t g0, int64_t g1)
{
    switch (p->format->type) {
    case DT_Q4_0: pack_groups(DT_Q4_0, p, m, g0, g1); return;
    case DT_Q4_1: pack_groups(DT_Q4_1, p, m, g0, g1); return;
    case DT_Q5_0: pack_groups(DT_Q5_0, p, m, g0, g1); return;
    case DT_Q5_1: pack_groups(DT_Q5_1, p, m, g0, g1); return;
    case DT_Q8_0: pack_groups(DT_Q8_0, p, m, g0, g1); return;
    case DT_IQ4_NL: pack_groups(DT_IQ4_NL, p, m, g0, g1); return;
    case DT_Q2_K: pack_groups(DT_Q2_K, p, m, g0, g1); return;
    case DT_Q3_K: pack_groups(DT_Q3_K, p, m, g0, g1); return;
    case DT_Q4_K: pack_groups(DT_Q4_K, p, m, g0, g1); return;
    case DT_Q5_K: pack_groups(DT_Q5_K, p, m, g0, g1); return;
    case DT_Q6_K: pack_groups(DT_Q6_K, p, m, g0, g1); return;
    case DT_IQ4_XS: pack_groups(DT_IQ4_XS, p, m, g0, g1); return;
    case DT_IQ2_XXS: pack_groups(DT_IQ2_XXS, p, m, g0, g1); return;
    case DT_IQ2_XS: pack_groups(DT_IQ2_XS, p, m, g0, g1); return;
    case DT_IQ2_S: pack_groups(DT_IQ2_S, p, m, g0, g1); return;
    case DT_IQ3_XXS: pack_groups(DT_IQ3_XXS, p, m, g0, g1); return;
    case DT_IQ3_S: pack_groups(DT_IQ3_S, p, m, g0, g1); return;
    case DT_IQ1_S: pack_groups(DT_IQ1_S, p, m, g0, g1); return;
    case DT_IQ1_M: pack_groups(DT_IQ1_M, p, m, g0, g1); return;
    case DT_TQ1_0: pack_groups(DT_TQ1_0, p, m, g0, g1); return;
    case DT_TQ2_0: pack_groups(DT_TQ2_0, p, m, g0, g1); return;
    case DT_MXFP4: pack_groups(DT_MXFP4, p, m, g0, g1); return;
    case DT_NVFP4: pack_groups(DT_NVFP4, p, m, g0, g1); return;
    case DT_W4_128: pack_groups(DT_W4_128, p, m, g0, g1); return;
    default: return;
    }
}
