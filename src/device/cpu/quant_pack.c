/* quant_pack.c - from the file's blocks to groups of 16 interleaved rows (quant.h). */
#include "device/cpu/quant.h"

#include <string.h>

#include "format/quant.h"

static const struct quant_format formats[] = {
    /* type   bits  iq4  offset  scales */
    { DT_Q4_0, 4, false, 8, QS_F16 },     { DT_Q4_1, 4, false, 0, QS_F16_MIN },
    { DT_Q5_0, 5, false, 16, QS_F16 },    { DT_Q5_1, 5, false, 0, QS_F16_MIN },
    { DT_Q8_0, 8, false, 128, QS_F16 },   { DT_IQ4_NL, 4, true, 128, QS_F16 },
    { DT_Q2_K, 2, false, 0, QS_K16_MIN }, { DT_Q3_K, 3, false, 4, QS_K16 },
    { DT_Q4_K, 4, false, 0, QS_K_MIN },   { DT_Q5_K, 5, false, 0, QS_K_MIN },
    { DT_Q6_K, 6, false, 32, QS_K16 },    { DT_IQ4_XS, 4, true, 128, QS_K },
};

const struct quant_format *quant_format_of(enum dtype t)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].type == t) return &formats[i];
    return NULL;
}

/* ---- one block of 32 (sub-block j of 256) of a row as stored integers ---- */

static void nibbles(const uint8_t *qs, uint8_t q[32])
{
    for (int i = 0; i < 16; i++) {
        q[i] = qs[i] & 15;
        q[i + 16] = qs[i] >> 4;
    }
}

static void fifth_bits(const uint8_t qh[4], uint8_t q[32])
{
    for (int i = 0; i < 32; i++) q[i] |= (uint8_t)((qh[i >> 3] >> (i & 7) & 1) << 4);
}

static void two_bits(const uint8_t *qs, int j, uint8_t q[32])
{
    for (int i = 0; i < 32; i++) q[i] = qs[32 * (j >> 2) + i] >> 2 * (j & 3) & 3;
}

static void half_of_bytes(const uint8_t *qs, int j, uint8_t q[32])
{
    for (int i = 0; i < 32; i++) q[i] = qs[32 * (j >> 1) + i] >> 4 * (j & 1) & 15;
}

static void unpack_codes(enum dtype t, const unsigned char *block, int j, uint8_t q[32])
{
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
    case DT_Q8_0:
        for (int i = 0; i < 32; i++) q[i] = (uint8_t)(((const struct q8_0 *)block)->qs[i] + 128);
        break;
    case DT_Q2_K: two_bits(((const struct q2_k *)block)->qs, j, q); break;
    case DT_Q3_K: {
        const struct q3_k *b = (const struct q3_k *)block;
        two_bits(b->qs, j, q);
        for (int i = 0; i < 32; i++) q[i] |= (uint8_t)((b->hmask[i] >> j & 1) << 2);
        break;
    }
    case DT_Q4_K: half_of_bytes(((const struct q4_k *)block)->qs, j, q); break;
    case DT_Q5_K: {
        const struct q5_k *b = (const struct q5_k *)block;
        half_of_bytes(b->qs, j, q);
        for (int i = 0; i < 32; i++) q[i] |= (uint8_t)((b->qh[i] >> j & 1) << 4);
        break;
    }
    case DT_Q6_K: {
        const struct q6_k *b = (const struct q6_k *)block;
        int h = j >> 2, s = j & 3;
        const uint8_t *ql = b->ql + 64 * h + 32 * (s & 1), *qh = b->qh + 32 * h;
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)((ql[i] >> 4 * (s >> 1) & 15) | (qh[i] >> 2 * s & 3) << 4);
        break;
    }
    default: break;
    }
}

/* ---- bit planes ---- */

static void pack_planes(int bits, const uint8_t w[8][64], uint8_t *out)
{
    if (bits == 8) {
        memcpy(out, w, 512);
        return;
    }
    int done = 0;
    if (bits >= 4) {
        for (int t = 0; t < 4; t++)
            for (int i = 0; i < 64; i++)
                out[64 * t + i] = (uint8_t)((w[t][i] & 15) | (w[t + 4][i] & 15) << 4);
        out += 256;
        done = 4;
    }
    if (bits - done >= 2) {
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 64; i++) {
                int v = 0;
                for (int s = 0; s < 4; s++) v |= (w[4 * t + s][i] >> done & 3) << 2 * s;
                out[64 * t + i] = (uint8_t)v;
            }
        out += 128;
        done += 2;
    }
    if (bits - done == 1)
        for (int i = 0; i < 64; i++) {
            int v = 0;
            for (int s = 0; s < 8; s++) v |= (w[s][i] >> done & 1) << s;
            out[i] = (uint8_t)v;
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
    default: return;
    }
}

void quant_pack(const struct quant_part *p, const struct matrix *m, int64_t g0, int64_t g1)
{
    const struct quant_format *f = p->format;
    int64_t n_blocks = m->n_in / QUANT_BLOCK;
    const struct dtype_info *info = dtype_info(m->type);
    int per = info->block_elems / QUANT_BLOCK; /* 1 or 8 */
    size_t row_bytes = dtype_row_bytes(m->type, m->n_in);
    for (int64_t g = g0; g < g1; g++) {
        unsigned char *group = p->data + (size_t)g * p->group_bytes;
        int rows = (int)(m->n_out - g * QUANT_GROUP < QUANT_GROUP ? m->n_out - g * QUANT_GROUP : QUANT_GROUP);
        const unsigned char *src = (const unsigned char *)m->data + (size_t)g * QUANT_GROUP * row_bytes;
        for (int64_t b = 0; b < n_blocks; b++) {
            uint8_t w[8][64] = { { 0 } };
            unsigned char *scales = group + quant_scales_at(f, b);
            if (b % quant_piece_blocks(f->scales) == 0) memset(scales, 0, quant_piece_scales(f->scales));
            for (int r = 0; r < rows; r++) {
                const unsigned char *block =
                    src + (size_t)r * row_bytes + (size_t)(b / per) * (size_t)info->block_bytes;
                uint8_t q[32];
                unpack_codes(f->type, block, (int)(b % per), q);
                for (int j = 0; j < 8; j++) memcpy(w[j] + 4 * r, q + 4 * j, 4);
                if (b % per == 0) pack_scales(f->type, block, scales, b, r);
            }
            pack_planes(f->bits, (const uint8_t(*)[64])w, group + quant_planes_at(f, b));
        }
    }
}
